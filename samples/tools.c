/* A model that calls functions of this program: the loop that every agent is made of.
 *   tools samples/models/tiny
 *   tools samples/models/tiny "What is the weather in Oslo?"
 *
 * 1. The tools are told to the model as JSON schemas, with the conversation.
 * 2. generate ends with DSV4_DONE_TOOL_CALLS where the model wants something; each call came as an event.
 * 3. The program does what is asked, appends the results, and generates again, until the model has nothing to ask. */
#include <dsv4.h>
#include <stdio.h>
#include <string.h>

static const char kConversation[] =
    "{\"messages\": [{\"role\": \"system\", \"content\": \"You are a helpful assistant.\"}],"
    " \"tools\": ["
    "{\"type\": \"function\", \"function\": {\"name\": \"get_weather\", \"description\": \"Get the weather in a city\","
    " \"parameters\": {\"type\": \"object\", \"properties\": {\"city\": {\"type\": \"string\"}},"
    " \"required\": [\"city\"]}}},"
    "{\"type\": \"function\", \"function\": {\"name\": \"get_time\", \"description\": \"Get the time in a city\","
    " \"parameters\": {\"type\": \"object\", \"properties\": {\"city\": {\"type\": \"string\"}},"
    " \"required\": [\"city\"]}}}]}";

enum { kMaxCalls = 8, kMaxRounds = 4, kTextSize = 256 };

typedef struct Call {
  char id[kTextSize], name[kTextSize], arguments[kTextSize];
} Call;

typedef struct Turn {
  Call calls[kMaxCalls];
  size_t count;
  int too_long; /* something did not fit: better no call than half of one */
} Turn;

static int copy_text(char *out, const char *text) { return snprintf(out, kTextSize, "%s", text) >= kTextSize; }

/* Events run inside generate, and their texts live no longer than the callback: what is needed later is copied. */
static int32_t on_event(void *user, const dsv4_event *event) {
  Turn *turn = user;
  if (event->type == DSV4_EVENT_CONTENT) {
    fputs(event->text, stdout);
    fflush(stdout);
  } else if (event->type == DSV4_EVENT_MALFORMED) {
    printf("[not a call: %s]\n", event->text);
  } else if (event->type == DSV4_EVENT_TOOL_CALL && turn->count == kMaxCalls) {
    turn->too_long = 1;
  } else if (event->type == DSV4_EVENT_TOOL_CALL) {
    Call *call = &turn->calls[turn->count++];
    turn->too_long |= copy_text(call->id, event->call->id) | copy_text(call->name, event->call->name) |
                      copy_text(call->arguments, event->call->arguments);
  }
  return DSV4_CONTINUE;
}

/* The string that stands for `key` in `{"key": "value", ...}`. The library hands over arguments that are valid JSON,
 * but not what the schema promises: a model may leave an argument out or give a number. Real hosts use a JSON library;
 * this knows flat objects of strings, and refuses the rest. */
static int string_argument(const char *json, const char *key, char *out) {
  char name[kTextSize];
  char *field = name; /* names and values take turns */
  size_t length = 0;
  const char *at = json + strspn(json, " \t\r\n");
  if (*at++ != '{') return 0;
  for (;;) {
    at += strspn(at, " \t\r\n:,");
    if (*at++ != '"') return 0; /* the end, or a value that is not a string */
    for (length = 0; *at != '"'; ++at) {
      if (*at == '\\' && *++at != '"' && *at != '\\' && *at != '/') return 0; /* \n and \u do not occur in a city */
      if (*at == '\0' || length + 1 == kTextSize) return 0;
      field[length++] = *at;
    }
    field[length] = '\0';
    ++at;
    if (field == out && strcmp(name, key) == 0) return 1;
    field = field == name ? out : name;
  }
}

/* The tools themselves. A real one would ask the network; these make something up, always the same for a city. What
 * goes wrong is a result, too: the model reads it and can say so. */
static void run_tool(const Call *call, char *result) {
  static const char *const skies[] = {"sunny", "cloudy", "rainy", "windy", "snowy", "foggy"};
  char city[kTextSize];
  unsigned seed = 7;
  if (!string_argument(call->arguments, "city", city)) {
    copy_text(result, "{\"error\": \"the argument city is missing\"}");
    return;
  }
  for (const char *c = city; *c != '\0'; ++c) seed = seed * 31 + (unsigned char)*c;
  if (strcmp(call->name, "get_weather") == 0)
    snprintf(result, kTextSize, "{\"temperature\": %u, \"condition\": \"%s\"}", seed % 40, skies[seed / 40 % 6]);
  else if (strcmp(call->name, "get_time") == 0)
    snprintf(result, kTextSize, "{\"time\": \"%02u:%02u\"}", seed % 24, seed / 24 % 60);
  else
    copy_text(result, "{\"error\": \"there is no such tool\"}");
}

/* One question, with as many calls as the model wants for it. */
static dsv4_status ask(dsv4_session *session, const char *question, dsv4_error **error) {
  dsv4_generate_options options = DSV4_GENERATE_OPTIONS_INIT;
  dsv4_generate_stats stats = {0};
  options.temperature = 0; /* greedy: the same answer every time */
  options.reasoning = DSV4_REASONING_NONE;
  stats.struct_size = sizeof stats;

  printf("> %s\n", question);
  dsv4_status status = dsv4_session_append_message(session, DSV4_ROLE_USER, question, DSV4_NUL_TERMINATED, error);
  for (int round = 0; status == DSV4_OK && round < kMaxRounds; ++round) {
    Turn turn = {0};
    status = dsv4_session_generate(session, &options, on_event, &turn, &stats, error);
    if (status != DSV4_OK || stats.reason != DSV4_DONE_TOOL_CALLS) break;
    if (turn.too_long) {
      fputs("more calls, or longer ones, than this sample has room for\n", stderr);
      return DSV4_E_UNSUPPORTED;
    }
    for (size_t i = 0; i < turn.count && status == DSV4_OK; ++i) {
      char result[kTextSize];
      run_tool(&turn.calls[i], result);
      printf("  %s %s -> %s\n", turn.calls[i].name, turn.calls[i].arguments, result);
      status = dsv4_session_append_tool_result(session, turn.calls[i].id, result, DSV4_NUL_TERMINATED, error);
    }
  }
  putchar('\n');
  if (status == DSV4_OK && stats.reason != DSV4_DONE_STOP)
    fprintf(stderr, "the turn ended with: %s\n", dsv4_done_name(stats.reason));
  return status;
}

int main(int argc, char **argv) {
  static const char *const questions[] = {"What is the weather in Paris?", "What is the time in Tokyo?"};
  dsv4_model *model = NULL;
  dsv4_session *session = NULL;
  dsv4_conversation *conversation = NULL;
  dsv4_error *error = NULL;

  if (argc < 2) {
    fprintf(stderr, "usage: %s CHECKPOINT_FOLDER [\"question\" ...]\n", argv[0]);
    return 2;
  }
  dsv4_status status = dsv4_model_open(argv[1], NULL, &model, &error);
  if (status == DSV4_OK) status = dsv4_session_create(model, NULL, &session, &error);
  if (status == DSV4_OK)
    status = dsv4_conversation_from_json(kConversation, DSV4_NUL_TERMINATED, &conversation, &error);
  if (status == DSV4_OK) status = dsv4_session_set_conversation(session, conversation, &error);

  /* All in one conversation: each turn goes on from the state of the one before. */
  if (argc > 2) {
    for (int i = 2; status == DSV4_OK && i < argc; ++i) status = ask(session, argv[i], &error);
  } else {
    for (size_t i = 0; status == DSV4_OK && i < 2; ++i) status = ask(session, questions[i], &error);
  }

  if (status != DSV4_OK) fprintf(stderr, "%s: %s\n", dsv4_status_name(status), dsv4_error_message(error));
  dsv4_error_release(&error);
  dsv4_conversation_release(&conversation);
  dsv4_session_release(&session);
  dsv4_model_release(&model);
  return status == DSV4_OK ? 0 : 1;
}
