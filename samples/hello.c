/* The whole of libdsv4 on one page: open a checkpoint, ask, print the answer as it comes.
 *   hello samples/models/tiny "Hello!"                                                                              */
#include <dsv4.h>
#include <stdio.h>

static int32_t on_event(void *user, const dsv4_event *event) {
  (void)user;
  if (event->type == DSV4_EVENT_CONTENT) {
    fputs(event->text, stdout);
    fflush(stdout);
  }
  return DSV4_CONTINUE;
}

int main(int argc, char **argv) {
  dsv4_model *model = NULL;
  dsv4_session *session = NULL;
  dsv4_error *error = NULL;
  dsv4_generate_options options = DSV4_GENERATE_OPTIONS_INIT;
  options.temperature = 0; /* greedy: the same answer every time */

  if (argc != 3) {
    fprintf(stderr, "usage: %s CHECKPOINT_FOLDER \"question\"\n", argv[0]);
    return 2;
  }
  dsv4_status status = dsv4_model_open(argv[1], NULL, &model, &error);
  if (status == DSV4_OK) status = dsv4_session_create(model, NULL, &session, &error);
  if (status == DSV4_OK)
    status = dsv4_session_append_message(session, DSV4_ROLE_USER, argv[2], DSV4_NUL_TERMINATED, &error);
  if (status == DSV4_OK) status = dsv4_session_generate(session, &options, on_event, NULL, NULL, &error);

  if (status == DSV4_OK)
    putchar('\n');
  else
    fprintf(stderr, "%s: %s\n", dsv4_status_name(status), dsv4_error_message(error));
  dsv4_error_release(&error);
  dsv4_session_release(&session);
  dsv4_model_release(&model);
  return status == DSV4_OK ? 0 : 1;
}
