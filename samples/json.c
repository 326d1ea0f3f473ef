/* An answer that is JSON of a given schema, whatever the model would rather say.
 *   json samples/models/tiny
 *
 * Before each token everything is struck out that the schema does not allow there; among the rest the model chooses.
 * Token events tell what it thought of that: log-probabilities are the model's own, from before the striking out. */
#include <dsv4.h>
#include <stdio.h>
#include <string.h>

static const char kSchema[] =
    "{\"type\": \"object\","
    " \"properties\": {"
    "  \"first\": {\"type\": \"string\", \"pattern\": \"^Your name is [A-Z][a-z]{1,9}\\\\.$\"},"
    "  \"second\": {\"type\": \"string\", \"pattern\": \"^You live in [A-Z][a-z]{1,9}\\\\.$\"},"
    "  \"third\": {\"type\": \"string\", \"pattern\": \"^Your cat is called [A-Z][a-z]{1,9}\\\\.$\"}},"
    " \"required\": [\"first\", \"second\", \"third\"], \"additionalProperties\": false}";

#define TOLD(fact) "{\"role\": \"user\", \"content\": \"" fact "\"}, {\"role\": \"assistant\", \"content\": \"OK.\"}, "
static const char kConversation[] = "[" TOLD("My name is Emma.") TOLD("I live in Oslo.")
    TOLD("I have a cat called Luna.") "{\"role\": \"user\", \"content\": \"What is my name?\"}]";

typedef struct Answer {
  const dsv4_model *model;
  char own[1024]; /* the answer again, with a dash for each character that the model would not have written by itself */
  size_t length;
  double logprob; /* of all of it */
} Answer;

static int32_t on_event(void *user, const dsv4_event *event) {
  Answer *answer = user;
  if (event->type == DSV4_EVENT_CONTENT) {
    fputs(event->text, stdout);
    fflush(stdout);
  } else if (event->type == DSV4_EVENT_TOKEN) {
    char *text = answer->own + answer->length;
    const size_t room = sizeof answer->own - 1 - answer->length;
    size_t length = 0;
    answer->logprob += event->token->logprob;
    if (dsv4_detokenize(answer->model, &event->token->token, 1, 0, text, room, &length, NULL) != DSV4_OK ||
        length > room)
      return DSV4_STOP;
    if (event->token->token != event->token->top[0].token) memset(text, '-', length);
    answer->length += length;
  }
  return DSV4_CONTINUE;
}

int main(int argc, char **argv) {
  dsv4_model *model = NULL;
  dsv4_session *session = NULL;
  dsv4_conversation *conversation = NULL;
  dsv4_error *error = NULL;
  dsv4_generate_options options = DSV4_GENERATE_OPTIONS_INIT;
  options.temperature = 0; /* greedy: the same answer every time */
  options.reasoning = DSV4_REASONING_NONE;
  options.grammar_kind = DSV4_GRAMMAR_JSON_SCHEMA;
  options.grammar = kSchema;
  options.token_events = 1; /* each token, and the one that the model held most probable */
  options.top_logprobs = 1;

  if (argc != 2) {
    fprintf(stderr, "usage: %s CHECKPOINT_FOLDER\n", argv[0]);
    return 2;
  }
  dsv4_status status = dsv4_model_open(argv[1], NULL, &model, &error);
  if (status == DSV4_OK) status = dsv4_session_create(model, NULL, &session, &error);
  if (status == DSV4_OK)
    status = dsv4_conversation_from_json(kConversation, DSV4_NUL_TERMINATED, &conversation, &error);
  if (status == DSV4_OK) status = dsv4_session_set_conversation(session, conversation, &error);

  Answer answer = {0};
  answer.model = model;
  if (status == DSV4_OK) status = dsv4_session_generate(session, &options, on_event, &answer, NULL, &error);

  if (status == DSV4_OK)
    printf(
        "\n%s\nSecond line: what the model would have written there by itself; the dashes are the schema's doing.\n"
        "Left alone, it would have said all this with a probability of e^%.0f.\n",
        answer.own, answer.logprob);
  else
    fprintf(stderr, "%s: %s\n", dsv4_status_name(status), dsv4_error_message(error));
  dsv4_error_release(&error);
  dsv4_conversation_release(&conversation);
  dsv4_session_release(&session);
  dsv4_model_release(&model);
  return status == DSV4_OK ? 0 : 1;
}
