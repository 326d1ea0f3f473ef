/* A host that was compiled against the baseline header, and never again: its structs are shorter than today's, and it
 * runs with today's library.
 *   old_client samples/models/tiny
 *
 * Each struct lies in front of bytes that are not zero and not the library's: a library that took the struct for one of
 * its own length would read them as options, or write over them. */
#include "baseline/dsv4_baseline.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The lengths of the baseline. A new baseline (surface_test.sh --new-baseline) is the moment to change them. */
_Static_assert(sizeof(dsv4_build_info) == 56, "not the baseline header");
_Static_assert(sizeof(dsv4_model_options) == 80, "not the baseline header");
_Static_assert(sizeof(dsv4_estimate) == 48, "not the baseline header");

enum { kBehind = 256, kByte = 0x5a };
#define OLD(type)                  \
  struct {                         \
    type it;                       \
    unsigned char behind[kBehind]; \
  }

static int failures = 0;
static void check(int good, const char* what) {
  if (good) return;
  printf("FAILED: %s\n", what);
  ++failures;
}
#define CHECK(condition) check(condition, #condition)

static void set_behind(unsigned char* behind) { memset(behind, kByte, kBehind); }
static int untouched(const unsigned char* behind) {
  for (int i = 0; i < kBehind; ++i)
    if (behind[i] != kByte) return 0;
  return 1;
}

/* Every call must succeed: what fails says so and ends the program. */
static void must(dsv4_status status, dsv4_error* error, const char* what) {
  if (status == DSV4_OK) return;
  printf("FAILED: %s: %s: %s\n", what, dsv4_status_name(status), dsv4_error_message(error));
  exit(1);
}
#define MUST(call) must(call, error, #call)

typedef struct Turn {
  char text[1024];
  char call_id[64], call_name[64];
  int32_t reason;
} Turn;

static int32_t on_event(void* user, const dsv4_event* event) {
  Turn* turn = user;
  CHECK(event->struct_size >= sizeof(dsv4_event));
  if (event->type == DSV4_EVENT_CONTENT) strncat(turn->text, event->text, sizeof turn->text - 1 - strlen(turn->text));
  if (event->type == DSV4_EVENT_TOOL_CALL) {
    snprintf(turn->call_id, sizeof turn->call_id, "%s", event->call->id);
    snprintf(turn->call_name, sizeof turn->call_name, "%s", event->call->name);
  }
  if (event->type == DSV4_EVENT_DONE) turn->reason = event->reason;
  return DSV4_CONTINUE;
}

static Turn ask(dsv4_session* session, const char* question) {
  OLD(dsv4_generate_options) options = {DSV4_GENERATE_OPTIONS_INIT, {0}};
  OLD(dsv4_generate_stats) stats = {{0}, {0}};
  dsv4_error* error = NULL;
  Turn turn = {{0}, {0}, {0}, DSV4_DONE_NONE};
  set_behind(options.behind);
  set_behind(stats.behind);
  options.it.temperature = 0;
  options.it.reasoning = DSV4_REASONING_NONE;
  stats.it.struct_size = sizeof stats.it;
  if (question != NULL)
    MUST(dsv4_session_append_message(session, DSV4_ROLE_USER, question, DSV4_NUL_TERMINATED, &error));
  MUST(dsv4_session_generate(session, &options.it, on_event, &turn, &stats.it, &error));
  CHECK(untouched(stats.behind));
  CHECK(stats.it.generated_tokens > 0 && stats.it.reason == turn.reason);
  return turn;
}

static void look_at_build(const char* folder) {
  OLD(dsv4_build_info) info = {{0}, {0}};
  OLD(dsv4_estimate) estimate = {{0}, {0}};
  OLD(dsv4_model_options) options;
  dsv4_error* error = NULL;
  set_behind(info.behind);
  set_behind(estimate.behind);
  set_behind(options.behind);
  info.it.struct_size = sizeof info.it;
  MUST(dsv4_build_info_get(&info.it, &error));
  CHECK(untouched(info.behind));
  CHECK(info.it.compiler != NULL && strstr(info.it.backends, "cpu") != NULL);
  dsv4_model_options_init(&options.it, sizeof options.it);
  CHECK(untouched(options.behind));
  options.it.backend = "cpu";
  estimate.it.struct_size = sizeof estimate.it;
  MUST(dsv4_model_estimate(folder, &options.it, 1024, &estimate.it, &error));
  CHECK(untouched(estimate.behind));
  CHECK(estimate.it.fits == 1 && estimate.it.state_bytes > 0);
}

static void chat(dsv4_model* model) {
  OLD(dsv4_session_options) options = {DSV4_SESSION_OPTIONS_INIT, {0}};
  dsv4_session* session = NULL;
  dsv4_error* error = NULL;
  set_behind(options.behind);
  options.it.context = 1024;
  MUST(dsv4_session_create(model, &options.it, &session, &error));
  CHECK(strcmp(ask(session, "My name is Emma.").text, "OK.") == 0);
  CHECK(strcmp(ask(session, "What is my name?").text, "Your name is Emma.") == 0);
  dsv4_session_release(&session);
}

static void call_a_tool(dsv4_model* model) {
  static const char request[] =
      "{\"messages\": [{\"role\": \"system\", \"content\": \"You are a helpful assistant.\"}], \"tools\": ["
      "{\"type\": \"function\", \"function\": {\"name\": \"get_weather\", \"description\": \"Get the weather in a "
      "city\","
      " \"parameters\": {\"type\": \"object\", \"properties\": {\"city\": {\"type\": \"string\"}},"
      " \"required\": [\"city\"]}}}]}";
  dsv4_session* session = NULL;
  dsv4_conversation* conversation = NULL;
  dsv4_error* error = NULL;
  Turn turn;
  MUST(dsv4_session_create(model, NULL, &session, &error));
  MUST(dsv4_conversation_from_json(request, DSV4_NUL_TERMINATED, &conversation, &error));
  MUST(dsv4_session_set_conversation(session, conversation, &error));
  turn = ask(session, "What is the weather in Paris?");
  CHECK(turn.reason == DSV4_DONE_TOOL_CALLS && strcmp(turn.call_name, "get_weather") == 0);
  MUST(dsv4_session_append_tool_result(session, turn.call_id, "{\"temperature\": 21, \"condition\": \"sunny\"}",
                                       DSV4_NUL_TERMINATED, &error));
  turn = ask(session, NULL);
  CHECK(turn.reason == DSV4_DONE_STOP && strstr(turn.text, "21") != NULL);
  dsv4_conversation_release(&conversation);
  dsv4_session_release(&session);
}

int main(int argc, char** argv) {
  OLD(dsv4_model_options) options = {DSV4_MODEL_OPTIONS_INIT, {0}};
  OLD(dsv4_model_info) info = {{0}, {0}};
  dsv4_model* model = NULL;
  dsv4_error* error = NULL;
  if (argc != 2) return 2;
  set_behind(options.behind);
  set_behind(info.behind);
  look_at_build(argv[1]);
  options.it.backend = "cpu";
  MUST(dsv4_model_open(argv[1], &options.it, &model, &error));
  info.it.struct_size = sizeof info.it;
  MUST(dsv4_model_info_get(model, &info.it, &error));
  CHECK(untouched(info.behind));
  CHECK(info.it.struct_size == sizeof info.it && info.it.vocab > 0 && info.it.notes != NULL);
  chat(model);
  call_a_tool(model);

  /* Values of the baseline mean today what they meant then. */
  CHECK(dsv4_model_open("no/such/folder", NULL, &model, &error) == DSV4_E_NOT_FOUND && error != NULL);
  CHECK(dsv4_error_status(error) == DSV4_E_NOT_FOUND);
  dsv4_error_release(&error);
  dsv4_model_release(&model);
  printf("a host of the baseline with library %u: %d failures\n", (unsigned)dsv4_version(), failures);
  return failures != 0;
}
