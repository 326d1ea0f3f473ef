/* A request put together piece by piece, and what becomes of it: JSON again, the prompt's text, its tokens.
 *   conversation_by_hand samples/models/tiny */
#include <dsv4.h>
#include <stdio.h>
#include <stdlib.h>

enum { kRoom = 65536 };

static dsv4_status build(dsv4_conversation* c, dsv4_error** error) {
  dsv4_status status = dsv4_conversation_add(c, DSV4_ROLE_SYSTEM, "Answer briefly.", DSV4_NUL_TERMINATED, error);
  if (status == DSV4_OK)
    status = dsv4_conversation_add(c, DSV4_ROLE_USER, "What is the weather in Paris?", DSV4_NUL_TERMINATED, error);
  if (status == DSV4_OK) /* what a model said elsewhere comes as JSON, calls and all */
    status = dsv4_conversation_append_json(
        c,
        "{\"role\": \"assistant\", \"content\": \"\", \"tool_calls\": [{\"id\": \"call_1\", \"type\": \"function\","
        " \"function\": {\"name\": \"get_weather\", \"arguments\": \"{\\\"city\\\": \\\"Paris\\\"}\"}}]}",
        DSV4_NUL_TERMINATED, error);
  if (status == DSV4_OK)
    status = dsv4_conversation_add_tool_result(c, "call_1", "{\"temperature\": 21, \"condition\": \"sunny\"}",
                                               DSV4_NUL_TERMINATED, error);
  return status;
}

/* The prompt's tokens, and what they spell: the same text that dsv4_render gives. */
static dsv4_status show_prompt(dsv4_model* model, const dsv4_conversation* c, char* text, dsv4_error** error) {
  dsv4_render_options options = DSV4_RENDER_OPTIONS_INIT;
  int32_t ids[1024];
  size_t count = 0, length = 0;
  dsv4_status status;
  options.reasoning = DSV4_REASONING_NONE;
  status = dsv4_render(model, c, &options, text, kRoom, &length, error);
  if (status != DSV4_OK || length > kRoom) return status;
  printf("prompt of %zu bytes: %.*s\n", length, (int)length, text);
  status = dsv4_render_tokens(model, c, &options, ids, 1024, &count, error);
  if (status != DSV4_OK || count > 1024) return status;
  status = dsv4_detokenize(model, ids, count, DSV4_TEXT_SPECIAL, text, kRoom, &length, error);
  if (status == DSV4_OK) printf("%zu tokens that spell %zu bytes\n", count, length);
  return status;
}

int main(int argc, char** argv) {
  char* text = malloc(kRoom);
  dsv4_model* model = NULL;
  dsv4_conversation* c = NULL;
  dsv4_error* error = NULL;
  size_t count = 0, length = 0;
  if (argc != 2 || text == NULL) return 2;
  dsv4_status status = dsv4_model_open(argv[1], NULL, &model, &error);
  if (status == DSV4_OK) status = dsv4_conversation_create(&c, &error);
  if (status == DSV4_OK) status = build(c, &error);
  if (status == DSV4_OK) status = dsv4_conversation_count(c, &count, &error);
  for (size_t i = 0; status == DSV4_OK && i < count; ++i) {
    status = dsv4_conversation_message_json(c, i, text, kRoom, &length, &error);
    if (status == DSV4_OK && length <= kRoom) printf("message %zu: %.*s\n", i, (int)length, text);
  }
  /* (NULL, 0) asks for the size. */
  if (status == DSV4_OK) status = dsv4_conversation_json(c, NULL, 0, &length, &error);
  if (status == DSV4_OK) printf("the whole request: %zu bytes of JSON\n", length);
  if (status == DSV4_OK) status = show_prompt(model, c, text, &error);
  if (status == DSV4_OK) status = dsv4_tokenize(model, "Hello!", DSV4_NUL_TERMINATED, 0, NULL, 0, &count, &error);
  if (status == DSV4_OK) printf("\"Hello!\" is %zu tokens\n", count);

  if (status != DSV4_OK) fprintf(stderr, "%s: %s\n", dsv4_status_name(status), dsv4_error_message(error));
  dsv4_error_release(&error);
  dsv4_conversation_release(&c);
  dsv4_model_release(&model);
  free(text);
  return status == DSV4_OK ? 0 : 1;
}
