/* The long beginning that many sessions share is evaluated once, saved, and restored for each of them.
 *   snapshot samples/models/tiny [FILE]
 *
 * FILE (default snapshot.dsv4) stays, for the next run of a program: dsv4 peek FILE says what it holds. */
#define _POSIX_C_SOURCE 199309L
#include <dsv4.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static dsv4_status tell(dsv4_conversation* c, const char* user, const char* assistant, dsv4_error** error) {
  const dsv4_status status = dsv4_conversation_add(c, DSV4_ROLE_USER, user, DSV4_NUL_TERMINATED, error);
  if (status != DSV4_OK) return status;
  return dsv4_conversation_add(c, DSV4_ROLE_ASSISTANT, assistant, DSV4_NUL_TERMINATED, error);
}

/* What all sessions are to know: some facts, and a good deal of other talk after them. */
static dsv4_status make_beginning(dsv4_conversation** c, dsv4_error** error) {
  dsv4_status status = dsv4_conversation_create(c, error);
  if (status == DSV4_OK) status = tell(*c, "My name is Emma.", "OK.", error);
  if (status == DSV4_OK) status = tell(*c, "I live in Oslo.", "OK.", error);
  if (status == DSV4_OK) status = tell(*c, "I have a cat called Luna.", "OK.", error);
  for (int i = 11; status == DSV4_OK && i < 41; ++i) {
    char question[64], answer[64];
    snprintf(question, sizeof question, "What is %d + %d?", i, 2 * i);
    snprintf(answer, sizeof answer, "%d + %d = %d.", i, 2 * i, 3 * i);
    status = tell(*c, question, answer, error);
  }
  return status;
}

static int32_t on_event(void* user, const dsv4_event* event) {
  (void)user;
  if (event->type == DSV4_EVENT_CONTENT) fputs(event->text, stdout);
  return DSV4_CONTINUE;
}

static dsv4_status ask(dsv4_session* session, const char* question, dsv4_error** error) {
  dsv4_generate_options options = DSV4_GENERATE_OPTIONS_INIT;
  options.temperature = 0;
  options.reasoning = DSV4_REASONING_NONE;
  options.max_tokens = 40;
  dsv4_status status = dsv4_session_append_message(session, DSV4_ROLE_USER, question, DSV4_NUL_TERMINATED, error);
  printf("  %-24s ", question);
  if (status == DSV4_OK) status = dsv4_session_generate(session, &options, on_event, NULL, NULL, error);
  printf("\n");
  return status;
}

/* A session that knows the beginning: from the file, or by evaluating it. */
static dsv4_status begin(dsv4_model* model, const dsv4_conversation* beginning, const char* file,
                         dsv4_session** session, double* seconds, dsv4_error** error) {
  const double start = now();
  dsv4_status status = dsv4_session_create(model, NULL, session, error);
  if (status == DSV4_OK && file != NULL) status = dsv4_session_restore_path(*session, file, error);
  if (status == DSV4_OK && file == NULL) status = dsv4_session_set_conversation(*session, beginning, error);
  if (status == DSV4_OK && file == NULL) status = dsv4_session_eval(*session, NULL, 0, NULL, error);
  *seconds = now() - start;
  return status;
}

int main(int argc, char** argv) {
  static const char* const kQuestions[] = {"What is my name?", "Where do I live?", "What is my cat called?",
                                           "What is 20 + 35?"};
  const char* const file = argc > 2 ? argv[2] : "snapshot.dsv4";
  const int sessions = 12;
  dsv4_model* model = NULL;
  dsv4_session* session = NULL;
  dsv4_conversation* beginning = NULL;
  dsv4_error* error = NULL;
  dsv4_session_info info = {0};
  double once = 0, restoring = 0, seconds = 0;

  info.struct_size = sizeof info;
  if (argc < 2 || argc > 3) {
    fprintf(stderr, "usage: %s CHECKPOINT_FOLDER [FILE]\n", argv[0]);
    return 2;
  }
  dsv4_status status = dsv4_model_open(argv[1], NULL, &model, &error);
  if (status == DSV4_OK) status = make_beginning(&beginning, &error);
  if (status == DSV4_OK) status = begin(model, beginning, NULL, &session, &once, &error);
  const double start = now();
  if (status == DSV4_OK) status = dsv4_session_save_path(session, file, NULL, &error);
  if (status == DSV4_OK) status = dsv4_session_info_get(session, &info, &error);
  if (status == DSV4_OK) {
    printf("A beginning of %d tokens: evaluated in %.1f ms, saved to %s in %.1f ms.\n", (int)info.tokens, once * 1e3,
           file, (now() - start) * 1e3);
  }
  for (int i = 0; status == DSV4_OK && i < sessions; ++i) {
    dsv4_session_release(&session);
    status = begin(model, beginning, file, &session, &seconds, &error);
    restoring += seconds;
    if (status == DSV4_OK) status = ask(session, kQuestions[i % 4], &error);
  }
  if (status == DSV4_OK) {
    printf(
        "%d sessions restored in %.1f ms; to evaluate the beginning for each would have taken about %.1f ms: %.1f ms "
        "saved.\n",
        sessions, restoring * 1e3, once * 1e3 * sessions, (once * sessions - restoring) * 1e3);
  } else {
    fprintf(stderr, "%s: %s\n", dsv4_status_name(status), dsv4_error_message(error));
  }
  dsv4_error_release(&error);
  dsv4_session_release(&session);
  dsv4_conversation_release(&beginning);
  dsv4_model_release(&model);
  return status == DSV4_OK ? 0 : 1;
}
