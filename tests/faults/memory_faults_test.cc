// Every piece of memory that a call asks for is refused once, and from there on all of them: the host lives, the call
// answers DSV4_E_OUT_OF_MEMORY_HOST with a message, or does without and gives the same result, and made again it gives
// bit for bit what it gives undisturbed. Leaks are the address sanitizer's to find.
//
// What runs by default takes some of the places of each call, evenly spread; the cases that are skipped take each one:
//   memory_faults_test --no-skip -tc='every*'

#include <doctest/doctest.h>

#include "lib/text/constraint.h"
#include "tests/faults/fault_scenes.h"
#include "tests/support/sanitizers.h"

using namespace dsv4::test;

namespace {

const std::vector<dsv4_status> kNoMemory = {DSV4_E_OUT_OF_MEMORY_HOST};

void in_both_spans(const std::string& name, const MakeScene& make, int64_t most) {
  if (kSanitized && most != kEvery) most = (most + 2) / 3;
  sweep(name, make, {FaultOf::kMemory, FaultKind::kFail, FaultSpan::kOnce}, most, kNoMemory);
  sweep(name + ", from then on", make, {FaultOf::kMemory, FaultKind::kFail, FaultSpan::kFromThenOn}, most, kNoMemory);
}

struct Owned {
  dsv4_session* get;
  explicit Owned(dsv4_session* s) : get(s) {}
  ~Owned() { dsv4_session_release(&get); }
  Owned(const Owned&) = delete;
  Owned& operator=(const Owned&) = delete;
};

void open_models(int64_t most) {
  in_both_spans("open micro, reference", open_scene(kMicroFolder, "reference"), most);
  in_both_spans("open micro, cpu", open_scene(kMicroFolder, "cpu"), most);
  in_both_spans("open tiny, cpu", open_scene(kTinyFolder, "cpu"), most);
}

void use_tokens(int64_t most) {
  // Products of many rows are oneDNN's. Its own cache of kernels, the process's, has met the shapes before: what is left
  // is what each of our threads makes, and that is less of what only oneDNN could survive.
  const MakeScene first_eval = first_eval_scene(kMicroFolder, 80);
  REQUIRE(first_eval()->call(nullptr) == DSV4_OK);
  in_both_spans("the first eval of 80 tokens, cpu", first_eval, most);
  const Stage stage(open_model(kMicroFolder, "reference"));
  const Owned empty(stage.create()), some(stage.evaluated(21, 8)), many(stage.evaluated(300, 64));
  in_both_spans("create", create_scene(stage), most);
  in_both_spans("append tokens", append_tokens_scene(stage, some.get), most);
  in_both_spans("eval in chunks", eval_scene(stage, some.get, 20, false), most);
  in_both_spans("eval with rows", eval_scene(stage, empty.get, 20, true), most);
  in_both_spans("generate from tokens", generate_tokens_scene(stage, some.get, 8), most);
  in_both_spans("start and poll from tokens", poll_tokens_scene(stage, some.get, 8), most);
  in_both_spans("fork", fork_scene(stage, many.get), most);
  in_both_spans("rewind", rewind_scene(stage, many.get, 270), most);
  in_both_spans("save to a path", save_scene(stage, many.get, Way::kPath), most);
  in_both_spans("save to a callback", save_scene(stage, many.get, Way::kCallback), most);
  in_both_spans("restore from a path", restore_scene(stage, some.get, many.get, Way::kPath), most);
  in_both_spans("restore from a callback", restore_scene(stage, some.get, many.get, Way::kCallback), most);
}

void use_messages(int64_t most) {
  const Stage stage(open_model(kTinyFolder, "cpu", 1));
  const Owned empty(stage.create(1024, 1)), cut(stage.interrupted()), talked(stage.conversed());
  in_both_spans("append a message", append_message_scene(stage, talked.get), most);
  in_both_spans("append JSON", append_json_scene(stage, talked.get), most);
  in_both_spans("set the conversation", set_conversation_scene(stage, talked.get), most);
  in_both_spans("generate from messages", generate_messages_scene(stage, talked.get, Say::kTools, false), most);
  in_both_spans("start and poll from messages", generate_messages_scene(stage, talked.get, Say::kTools, true), most);
  in_both_spans("resume a turn", resume_scene(stage, cut.get), most);
  in_both_spans("save a conversation", save_scene(stage, cut.get, Way::kPath), most);
  in_both_spans("restore a conversation", restore_scene(stage, empty.get, cut.get, Way::kPath), most);
  if (dsv4::ConstraintCompiler::available())
    in_both_spans("generate a required call", generate_messages_scene(stage, talked.get, Say::kConstrained, false),
                  most);
}

}  // namespace

TEST_CASE("opening a model") { open_models(40); }
TEST_CASE("a session driven by tokens") { use_tokens(25); }
TEST_CASE("a session driven by messages") { use_messages(25); }
TEST_CASE("every piece of memory: opening a model" * doctest::skip()) { open_models(kEvery); }
TEST_CASE("every piece of memory: a session driven by tokens" * doctest::skip()) { use_tokens(kEvery); }
TEST_CASE("every piece of memory: a session driven by messages" * doctest::skip()) { use_messages(kEvery); }
