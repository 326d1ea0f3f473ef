/* A model's raw output, from a log or from a sampler of your own, read as generate reads it.
 *   parse_output samples/models/tiny */
#include <dsv4.h>
#include <stdio.h>

static int32_t on_event(void* user, const dsv4_event* event) {
  (void)user;
  if (event->type == DSV4_EVENT_REASONING) printf("reasoning: %s\n", event->text);
  if (event->type == DSV4_EVENT_CONTENT) printf("content: %s\n", event->text);
  if (event->type == DSV4_EVENT_DONE) printf("done: %s\n", dsv4_done_name(event->reason));
  return DSV4_CONTINUE;
}

/* In pieces of any size, as they come; a tag may be cut anywhere. */
static dsv4_status parse_text(dsv4_parser* parser, dsv4_error** error) {
  static const char* const kPieces[] = {"Two and three", " is five.</th", "ink>It is 5."};
  for (int i = 0; i < 3; ++i) {
    const dsv4_status status = dsv4_parser_push_text(parser, kPieces[i], DSV4_NUL_TERMINATED, error);
    if (status != DSV4_OK) return status;
  }
  return dsv4_parser_finish(parser, DSV4_DONE_STOP, error);
}

static dsv4_status parse_tokens(dsv4_model* model, dsv4_parser* parser, dsv4_error** error) {
  int32_t ids[32];
  size_t count = 0;
  dsv4_status status = dsv4_tokenize(model, "Hello!", DSV4_NUL_TERMINATED, 0, ids, 32, &count, error);
  if (status == DSV4_OK) status = dsv4_parser_push_tokens(parser, ids, count, error);
  return status == DSV4_OK ? dsv4_parser_finish(parser, DSV4_DONE_LENGTH, error) : status;
}

int main(int argc, char** argv) {
  dsv4_parser_options thinking = DSV4_PARSER_OPTIONS_INIT;
  dsv4_model* model = NULL;
  dsv4_parser *of_text = NULL, *of_tokens = NULL;
  dsv4_error* error = NULL;
  char json[1024];
  size_t length = 0;
  if (argc != 2) return 2;
  thinking.start = DSV4_START_REASONING;
  dsv4_status status = dsv4_parser_create(NULL, &thinking, on_event, NULL, &of_text, &error); /* needs no model */
  if (status == DSV4_OK) status = parse_text(of_text, &error);
  if (status == DSV4_OK) status = dsv4_parser_message_json(of_text, json, sizeof json, &length, &error);
  if (status == DSV4_OK && length <= sizeof json) printf("%.*s\n", (int)length, json);
  if (status == DSV4_OK) status = dsv4_model_open(argv[1], NULL, &model, &error);
  if (status == DSV4_OK) status = dsv4_parser_create(model, NULL, on_event, NULL, &of_tokens, &error);
  if (status == DSV4_OK) status = parse_tokens(model, of_tokens, &error);

  if (status != DSV4_OK) fprintf(stderr, "%s: %s\n", dsv4_status_name(status), dsv4_error_message(error));
  dsv4_error_release(&error);
  dsv4_parser_release(&of_text);
  dsv4_parser_release(&of_tokens);
  dsv4_model_release(&model);
  return status == DSV4_OK ? 0 : 1;
}
