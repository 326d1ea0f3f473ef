/* One call for each status that can be brought about at will, and what the library says to it. The handbook
 * (docs/errors.md) quotes these lines; a test holds it to them.
 *   every_error samples/models/tiny FOLDER_FOR_FILES */
#include <dsv4.h>
#include <stdio.h>
#include <string.h>

static int failures = 0;

static void show(dsv4_status expected, dsv4_status status, dsv4_error** error) {
  printf("%s: %s\n", dsv4_status_name(status), dsv4_error_message(*error));
  if (status != expected) {
    fprintf(stderr, "expected %s\n", dsv4_status_name(expected));
    ++failures;
  }
  dsv4_error_release(error);
}

static int32_t write_nothing(void* user, const void* data, size_t size) {
  (void)user, (void)data, (void)size;
  return 1;
}

static int64_t read_text(void* user, void* data, size_t size) {
  size_t* left = user;
  const size_t n = size < *left ? size : *left;
  memset(data, 'x', n);
  *left -= n;
  return (int64_t)n;
}

static int32_t give_up(void* user, uint64_t done, uint64_t total) {
  (void)user, (void)done, (void)total;
  return 1;
}

static void about_models(const char* folder, dsv4_error** error) {
  dsv4_model_options options = DSV4_MODEL_OPTIONS_INIT;
  dsv4_model* other = NULL;
  dsv4_session* session = NULL;
  show(DSV4_E_INVALID_ARGUMENT, dsv4_model_open(NULL, NULL, &other, error), error);
  options.backend = "tpu";
  show(DSV4_E_UNSUPPORTED, dsv4_model_open(folder, &options, &other, error), error);
  show(DSV4_E_NOT_FOUND, dsv4_model_open("models/deepseek-v4", NULL, &other, error), error);
  dsv4_model_options_init(&options, sizeof options);
  options.host_memory_limit = 1000;
  if (dsv4_model_open(folder, &options, &other, error) != DSV4_OK) ++failures;
  show(DSV4_E_OUT_OF_MEMORY_HOST, dsv4_session_create(other, NULL, &session, error), error);
  dsv4_model_release(&other);
  dsv4_model_options_init(&options, sizeof options);
  options.progress = give_up;
  show(DSV4_E_CANCELLED, dsv4_model_open(folder, &options, &other, error), error);
}

static void about_snapshots(dsv4_model* model, dsv4_session* session, const char* files, dsv4_error** error) {
  dsv4_session_options with_draft = DSV4_SESSION_OPTIONS_INIT;
  dsv4_session* other = NULL;
  char path[512];
  size_t left = 100000;
  snprintf(path, sizeof path, "%s/saved.dsv4", files);
  show(DSV4_E_IO, dsv4_session_save(session, write_nothing, NULL, NULL, error), error);
  show(DSV4_E_CORRUPT, dsv4_session_restore(session, read_text, &left, error), error);
  with_draft.flags = DSV4_SESSION_DRAFT;
  if (dsv4_session_create(model, &with_draft, &other, error) != DSV4_OK) ++failures;
  if (dsv4_session_save_path(session, path, NULL, error) != DSV4_OK) ++failures;
  show(DSV4_E_INCOMPATIBLE, dsv4_session_restore_path(other, path, error), error);
  dsv4_session_release(&other);
}

static void about_sessions(dsv4_model* model, dsv4_session* session, dsv4_error** error) {
  dsv4_session_options small = DSV4_SESSION_OPTIONS_INIT;
  dsv4_session* other = NULL;
  int32_t ids[16] = {0};
  if (dsv4_session_append_message(session, DSV4_ROLE_USER, "Hello!", DSV4_NUL_TERMINATED, error) != DSV4_OK) ++failures;
  if (dsv4_session_start(session, NULL, error) != DSV4_OK) ++failures;
  show(DSV4_E_BUSY, dsv4_session_clear(session, error), error);
  small.context = 8;
  if (dsv4_session_create(model, &small, &other, error) != DSV4_OK) ++failures;
  show(DSV4_E_CONTEXT_FULL, dsv4_session_append_tokens(other, ids, 16, error), error);
  dsv4_session_release(&other);
}

int main(int argc, char** argv) {
  dsv4_model* model = NULL;
  dsv4_session* session = NULL;
  dsv4_error* error = NULL;
  if (argc != 3) return 2;
  dsv4_status status = dsv4_model_open(argv[1], NULL, &model, &error);
  if (status == DSV4_OK) status = dsv4_session_create(model, NULL, &session, &error);
  if (status != DSV4_OK) {
    fprintf(stderr, "%s\n", dsv4_error_message(error));
    return 1;
  }
  about_models(argv[1], &error);
  about_snapshots(model, session, argv[2], &error);
  about_sessions(model, session, &error);
  dsv4_session_release(&session);
  dsv4_model_release(&model);
  return failures != 0;
}
