/* One conversation script for every language: conversation.expected is what this program prints, and what the program
 * of each binding has to print, byte for byte. CONVERSATION.md describes the steps.
 *
 *   conversation samples/models/tiny
 *
 * Everything is greedy, or drawn from logits that the program itself has written: the ids are the same everywhere. */
#include <dsv4.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { kMostTokens = 1024, kContext = 1024, kTextSize = 128 };

static const char kTools[] =
    "{\"messages\": [{\"role\": \"system\", \"content\": \"You are a helpful assistant.\"}],"
    " \"tools\": ["
    "{\"type\": \"function\", \"function\": {\"name\": \"get_weather\", \"description\": \"Get the weather in a city\","
    " \"parameters\": {\"type\": \"object\", \"properties\": {\"city\": {\"type\": \"string\"}},"
    " \"required\": [\"city\"]}}},"
    "{\"type\": \"function\", \"function\": {\"name\": \"get_time\", \"description\": \"Get the time in a city\","
    " \"parameters\": {\"type\": \"object\", \"properties\": {\"city\": {\"type\": \"string\"}},"
    " \"required\": [\"city\"]}}}]}";

/* The script ends at the first call that goes wrong. */
static void must(dsv4_status status, dsv4_error* error) {
  if (status == DSV4_OK) return;
  fprintf(stderr, "conversation: %s: %s\n", dsv4_status_name(status), dsv4_error_message(error));
  exit(1);
}

static void must_be(const char* what, int true_or_not) {
  if (true_or_not) return;
  fprintf(stderr, "conversation: expected %s\n", what);
  exit(1);
}

/* ------------------------------------------------------------------------------------------------ what is printed */

static void print_ids(const char* name, const int32_t* ids, size_t count) {
  printf("%s:", name);
  for (size_t i = 0; i < count; ++i) printf(" %d", (int)ids[i]);
  putchar('\n');
}

static void print_timeline(const char* name, dsv4_session* session) {
  int32_t ids[kMostTokens];
  size_t count = 0;
  dsv4_error* error = NULL;
  must(dsv4_session_tokens(session, ids, kMostTokens, &count, &error), error);
  must_be("a timeline of at most 1024 tokens", count <= kMostTokens);
  print_ids(name, ids, count);
}

/* ------------------------------------------------------------------------------------------------ sessions, turns */

/* What a turn is asked to do, and what is kept of its events. */
typedef struct Turn {
  size_t answer_at;     /* at this TOKEN event, counted from 1; 0: never */
  int32_t answer;       /* the callback answers this */
  dsv4_session* cancel; /* NULL, or what dsv4_session_cancel is called with then */
  int32_t ids[kMostTokens];
  size_t count;
  int32_t reason; /* of DONE */
  char call_id[kTextSize], call_name[kTextSize], call_arguments[kTextSize];
} Turn;

static int32_t on_event(void* user, const dsv4_event* event) {
  Turn* turn = user;
  if (event->type == DSV4_EVENT_DONE) {
    turn->reason = event->reason;
  } else if (event->type == DSV4_EVENT_TOOL_CALL) {
    snprintf(turn->call_id, kTextSize, "%s", event->call->id);
    snprintf(turn->call_name, kTextSize, "%s", event->call->name);
    snprintf(turn->call_arguments, kTextSize, "%s", event->call->arguments);
  } else if (event->type == DSV4_EVENT_TOKEN && turn->count < kMostTokens) {
    turn->ids[turn->count++] = event->token->token;
    if (turn->count == turn->answer_at) {
      if (turn->cancel != NULL) dsv4_session_cancel(turn->cancel);
      return turn->answer;
    }
  }
  return DSV4_CONTINUE;
}

static dsv4_session* new_session(dsv4_model* model) {
  dsv4_session_options options = DSV4_SESSION_OPTIONS_INIT;
  dsv4_session* session = NULL;
  dsv4_error* error = NULL;
  options.context = kContext;
  must(dsv4_session_create(model, &options, &session, &error), error);
  return session;
}

static void say(dsv4_session* session, const char* text) {
  dsv4_error* error = NULL;
  must(dsv4_session_append_message(session, DSV4_ROLE_USER, text, DSV4_NUL_TERMINATED, &error), error);
}

/* What all turns have in common: greedy, no reasoning, an event for each token. */
static dsv4_generate_options greedy(void) {
  dsv4_generate_options options = DSV4_GENERATE_OPTIONS_INIT;
  options.temperature = 0;
  options.reasoning = DSV4_REASONING_NONE;
  options.max_tokens = 100;
  options.token_events = 1;
  return options;
}

static void generate(dsv4_session* session, const dsv4_generate_options* options, Turn* turn) {
  dsv4_error* error = NULL;
  must(dsv4_session_generate(session, options, on_event, turn, NULL, &error), error);
}

/* A whole turn: question, answer, and the timeline after it. */
static void ask(const char* name, dsv4_session* session, const char* text) {
  const dsv4_generate_options options = greedy();
  Turn turn = {0};
  say(session, text);
  generate(session, &options, &turn);
  must_be("a turn that the model ends", turn.reason == DSV4_DONE_STOP);
  print_timeline(name, session);
}

/* ------------------------------------------------------------------------------------------------------ the steps */

static void step_text(dsv4_model* model) {
  int32_t ids[kMostTokens];
  size_t count = 0;
  dsv4_conversation* conversation = NULL;
  dsv4_render_options options = DSV4_RENDER_OPTIONS_INIT;
  dsv4_error* error = NULL;
  must(dsv4_tokenize(model, "Hello, w\xc3\xb6rld!", DSV4_NUL_TERMINATED, 0, ids, kMostTokens, &count, &error), error);
  print_ids("tokenize", ids, count);
  must(dsv4_conversation_create(&conversation, &error), error);
  must(dsv4_conversation_add(conversation, DSV4_ROLE_SYSTEM, "Answer briefly.", DSV4_NUL_TERMINATED, &error), error);
  must(dsv4_conversation_add(conversation, DSV4_ROLE_USER, "Hello!", DSV4_NUL_TERMINATED, &error), error);
  options.reasoning = DSV4_REASONING_HIGH;
  must(dsv4_render_tokens(model, conversation, &options, ids, kMostTokens, &count, &error), error);
  print_ids("render", ids, count);
  dsv4_conversation_release(&conversation);
}

static void step_chat(dsv4_model* model) {
  dsv4_session* session = new_session(model);
  ask("chat-1", session, "My name is Emma.");
  ask("chat-2", session, "What is my name?");
  dsv4_session_release(&session);
}

static void step_think(dsv4_model* model) {
  dsv4_session* session = new_session(model);
  dsv4_generate_options options = greedy();
  Turn turn = {0};
  options.reasoning = DSV4_REASONING_HIGH;
  say(session, "What is 12 plus 34?");
  generate(session, &options, &turn);
  print_ids("think", turn.ids, turn.count);
  dsv4_session_release(&session);
}

static void step_tools(dsv4_model* model) {
  dsv4_session* session = new_session(model);
  dsv4_conversation* conversation = NULL;
  const dsv4_generate_options options = greedy();
  dsv4_error* error = NULL;
  Turn call = {0}, answer = {0};
  must(dsv4_conversation_from_json(kTools, DSV4_NUL_TERMINATED, &conversation, &error), error);
  must(dsv4_session_set_conversation(session, conversation, &error), error);
  dsv4_conversation_release(&conversation);
  say(session, "What is the weather in Paris?");
  generate(session, &options, &call);
  must_be("a turn that ends with calls", call.reason == DSV4_DONE_TOOL_CALLS);
  must_be("a call of get_weather", strcmp(call.call_name, "get_weather") == 0);
  must_be("an argument Paris", strstr(call.call_arguments, "\"Paris\"") != NULL);
  print_ids("tool-call", call.ids, call.count);
  must(dsv4_session_append_tool_result(session, call.call_id, "{\"temperature\": 21, \"condition\": \"sunny\"}",
                                       DSV4_NUL_TERMINATED, &error),
       error);
  generate(session, &options, &answer);
  print_ids("tool-answer", answer.ids, answer.count);
  print_timeline("tool-timeline", session);
  dsv4_session_release(&session);
}

typedef struct Bytes {
  unsigned char* data;
  size_t size, capacity, read;
} Bytes;

static int32_t write_bytes(void* user, const void* data, size_t size) {
  Bytes* bytes = user;
  if (bytes->size + size > bytes->capacity) {
    const size_t capacity = 2 * (bytes->size + size);
    unsigned char* grown = realloc(bytes->data, capacity);
    if (grown == NULL) return 1;
    bytes->data = grown;
    bytes->capacity = capacity;
  }
  memcpy(bytes->data + bytes->size, data, size);
  bytes->size += size;
  return 0;
}

static int64_t read_bytes(void* user, void* data, size_t size) {
  Bytes* bytes = user;
  const size_t left = bytes->size - bytes->read;
  const size_t taken = size < left ? size : left;
  if (taken != 0) memcpy(data, bytes->data + bytes->read, taken);
  bytes->read += taken;
  return (int64_t)taken;
}

static void step_snapshot(dsv4_model* model) {
  dsv4_session *saved = new_session(model), *restored = new_session(model);
  dsv4_error* error = NULL;
  Bytes bytes = {0};
  ask("saved", saved, "I live in Oslo.");
  must(dsv4_session_save(saved, write_bytes, &bytes, NULL, &error), error);
  must(dsv4_session_restore(restored, read_bytes, &bytes, &error), error);
  print_timeline("restored", restored);
  ask("saved-next", saved, "Where do I live?");
  ask("restored-next", restored, "Where do I live?");
  free(bytes.data);
  dsv4_session_release(&restored);
  dsv4_session_release(&saved);
}

static void step_fork(dsv4_model* model) {
  dsv4_session *trunk = new_session(model), *branch = NULL;
  dsv4_error* error = NULL;
  ask("trunk", trunk, "I have a cat called Luna.");
  must(dsv4_session_fork(trunk, &branch, &error), error);
  ask("fork-a", trunk, "What is my cat called?");
  dsv4_session_release(&trunk); /* the branch stands by itself */
  ask("fork-b", branch, "Repeat: river moon table");
  dsv4_session_release(&branch);
}

/* Four ways to end a turn at its third token, and what the session does after each. */
static void step_cancel(dsv4_model* model) {
  dsv4_session* session = new_session(model);
  dsv4_generate_options options = greedy(), resume = greedy();
  Turn stop = {3, DSV4_STOP, NULL, {0}, 0, 0, "", "", ""}, stopped = {0};
  Turn pause = {3, DSV4_PAUSE, NULL, {0}, 0, 0, "", "", ""}, paused = {0};
  Turn back = {3, DSV4_CANCEL, NULL, {0}, 0, 0, "", "", ""};
  Turn cancel = {3, DSV4_CONTINUE, session, {0}, 0, 0, "", "", ""};
  resume.resume = 1;

  say(session, "What can you do?");
  generate(session, &options, &stop);
  must_be("the reason host", stop.reason == DSV4_DONE_HOST);
  print_timeline("stop", session);
  generate(session, &resume, &stopped);
  print_timeline("stop-resumed", session);

  say(session, "Who are you?");
  generate(session, &options, &pause);
  must_be("the reason paused", pause.reason == DSV4_DONE_PAUSED);
  print_timeline("pause", session);
  generate(session, &resume, &paused);
  print_timeline("pause-resumed", session);

  say(session, "What is 20 plus 31?");
  must_be("the status cancelled",
          dsv4_session_generate(session, &options, on_event, &back, NULL, NULL) == DSV4_E_CANCELLED);
  must_be("the reason cancelled", back.reason == DSV4_DONE_CANCELLED);
  print_timeline("taken-back", session);

  /* The question is still there and is answered again; a cancel keeps what there is of it, and the session goes on. */
  must_be("the status cancelled",
          dsv4_session_generate(session, &options, on_event, &cancel, NULL, NULL) == DSV4_E_CANCELLED);
  must_be("the reason cancelled", cancel.reason == DSV4_DONE_CANCELLED);
  print_timeline("cancelled", session);
  ask("cancelled-next", session, "Thank you.");
  dsv4_session_release(&session);
}

static void step_poll(dsv4_model* model) {
  dsv4_session* session = new_session(model);
  const dsv4_generate_options options = greedy();
  dsv4_error* error = NULL;
  Turn turn = {0};
  say(session, "Hello!");
  must(dsv4_session_start(session, &options, &error), error);
  must_be("a busy session", dsv4_session_clear(session, NULL) == DSV4_E_BUSY);
  while (turn.reason == DSV4_DONE_NONE) must(dsv4_session_poll(session, on_event, &turn, 4, 1000, NULL, &error), error);
  must_be("a turn that the model ends", turn.reason == DSV4_DONE_STOP);
  print_timeline("poll", session);
  dsv4_session_release(&session);
}

/* All tokens equal, so that only the seed decides. */
static int32_t flat_logits(void* user, float* logits, size_t vocab) {
  (void)user;
  for (size_t i = 0; i < vocab; ++i) logits[i] = i >= 300 && i < 364 ? 1.0F : -100.0F;
  return 0;
}

static void step_sample(dsv4_model* model) {
  static const char prompt[] = "Hello";
  dsv4_session* session = new_session(model);
  dsv4_generate_options options = DSV4_GENERATE_OPTIONS_INIT;
  int32_t ids[8];
  size_t count = 0;
  dsv4_error* error = NULL;
  Turn first = {0}, again = {0}, other = {0};
  options.temperature = 0.7;
  options.top_p = 0.95;
  options.seed = 42;
  options.max_tokens = 12;
  options.token_events = 1;
  options.logits = flat_logits;
  must(dsv4_tokenize(model, prompt, DSV4_NUL_TERMINATED, 0, ids, 8, &count, &error), error);
  must(dsv4_session_append_tokens(session, ids, count, &error), error);
  generate(session, &options, &first);
  must_be("the reason length", first.reason == DSV4_DONE_LENGTH);
  print_ids("seed-42", first.ids, first.count);
  must(dsv4_session_rewind(session, count, &error), error);
  generate(session, &options, &again);
  print_ids("seed-42-again", again.ids, again.count);
  must(dsv4_session_rewind(session, count, &error), error);
  options.seed = 43;
  generate(session, &options, &other);
  print_ids("seed-43", other.ids, other.count);
  dsv4_session_release(&session);
}

int main(int argc, char** argv) {
  dsv4_model_options options = DSV4_MODEL_OPTIONS_INIT;
  dsv4_model* model = NULL;
  dsv4_error* error = NULL;
  if (argc < 2 || argc > 3) {
    fprintf(stderr, "usage: %s CHECKPOINT_FOLDER [INSTRUCTION_SET]\n", argv[0]);
    return 2;
  }
  options.backend = "cpu";
  options.isa = argc == 3 ? argv[2] : NULL;
  must(dsv4_model_open(argv[1], &options, &model, &error), error);
  step_text(model);
  step_chat(model);
  step_think(model);
  step_tools(model);
  step_snapshot(model);
  step_fork(model);
  step_cancel(model);
  step_poll(model);
  step_sample(model);
  dsv4_model_release(&model);
  return 0;
}
