/* A session put away as bytes and taken up again, through callbacks: a save game, a database, a socket.
 *   snapshot_in_memory samples/models/tiny */
#include <dsv4.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct Bytes {
  unsigned char* data;
  size_t size, read;
} Bytes;

/* Takes all of it, or says no, and then save is DSV4_E_IO. */
static int32_t write_bytes(void* user, const void* data, size_t size) {
  Bytes* bytes = user;
  unsigned char* larger = realloc(bytes->data, bytes->size + size);
  if (larger == NULL) return 1;
  bytes->data = larger;
  memcpy(bytes->data + bytes->size, data, size);
  bytes->size += size;
  return 0;
}

static int64_t read_bytes(void* user, void* data, size_t size) {
  Bytes* bytes = user;
  const size_t left = bytes->size - bytes->read;
  if (size > left) size = left;
  memcpy(data, bytes->data + bytes->read, size);
  bytes->read += size;
  return (int64_t)size;
}

static int32_t on_event(void* user, const dsv4_event* event) {
  (void)user;
  if (event->type == DSV4_EVENT_CONTENT) fputs(event->text, stdout);
  if (event->type == DSV4_EVENT_DONE) fputs("\n", stdout);
  return DSV4_CONTINUE;
}

static dsv4_status ask(dsv4_session* session, const char* json, dsv4_error** error) {
  dsv4_generate_options options = DSV4_GENERATE_OPTIONS_INIT;
  options.temperature = 0;
  const dsv4_status status = dsv4_session_append_json(session, json, DSV4_NUL_TERMINATED, error);
  return status != DSV4_OK ? status : dsv4_session_generate(session, &options, on_event, NULL, NULL, error);
}

int main(int argc, char** argv) {
  dsv4_model* model = NULL;
  dsv4_session *before = NULL, *after = NULL;
  dsv4_snapshot_info info = {0};
  dsv4_error* error = NULL;
  Bytes bytes = {0};
  if (argc != 2) return 2;
  info.struct_size = sizeof info;
  dsv4_status status = dsv4_model_open(argv[1], NULL, &model, &error);
  if (status == DSV4_OK) status = dsv4_session_create(model, NULL, &before, &error);
  if (status == DSV4_OK) status = ask(before, "{\"role\": \"user\", \"content\": \"My name is Emma.\"}", &error);
  if (status == DSV4_OK) status = dsv4_session_save(before, write_bytes, &bytes, NULL, &error);
  dsv4_session_release(&before);

  /* Before memory is taken for it: what is it? */
  if (status == DSV4_OK) status = dsv4_snapshot_peek(read_bytes, &bytes, &info, &error);
  if (status == DSV4_OK) printf("%zu bytes for %u tokens\n", bytes.size, (unsigned)info.tokens);
  bytes.read = 0;
  if (status == DSV4_OK) status = dsv4_session_create(model, NULL, &after, &error);
  if (status == DSV4_OK) status = dsv4_session_restore(after, read_bytes, &bytes, &error);
  if (status == DSV4_OK) status = ask(after, "{\"role\": \"user\", \"content\": \"What is my name?\"}", &error);

  if (status != DSV4_OK) fprintf(stderr, "%s: %s\n", dsv4_status_name(status), dsv4_error_message(error));
  dsv4_error_release(&error);
  dsv4_session_release(&after);
  dsv4_model_release(&model);
  free(bytes.data);
  return status == DSV4_OK ? 0 : 1;
}
