// The backend fails: every verb of a call in turn, before and after it had its effect, with each status that a device
// may have. The call answers that status; the session is at its last committed token and goes on bit for bit as it
// would have.
//
// What runs by default takes some of the places; every one (400 of the
// 3,200 of a turn with messages):  verb_faults_test --no-skip -tc='every*'

#include <memory>
#include <string>
#include <utility>

#include <doctest/doctest.h>

#include "backends/cpu/cpu_backend.h"
#include "backends/reference/reference_backend.h"
#include "lib/api/handles.h"
#include "lib/checkpoint/checkpoint.h"
#include "tests/faults/fault_scenes.h"
#include "tests/support/failing_backend.h"

using namespace dsv4;
using namespace dsv4::test;

namespace {

constexpr int64_t kStepRows = 128;

// As dsv4_model_open makes it, but for what is around the backend.
dsv4_model* model_on(const std::string& folder, std::unique_ptr<Backend> backend) {
  auto handle = std::make_unique<dsv4_model>();
  handle->engine = std::make_shared<Engine>(
      std::make_unique<Model>(Checkpoint::open(folder, {}), std::move(backend), kStepRows));
  if (folder == kTinyFolder) handle->engine->tokenizer = Tokenizer::load(folder + "/tokenizer.json");
  return handle.release();
}

class Disturbed {
 public:
  Disturbed(const std::string& folder, std::unique_ptr<Backend> backend, Status status, VerbFault::When when)
      : fault_(std::make_shared<VerbFault>()),
        stage(model_on(folder, std::make_unique<FailingBackend>(std::move(backend), fault_))) {
    fault_->status = status;
    fault_->when = when;
  }
  void run(const std::string& name, const MakeScene& make, int64_t most) {
    Injector injector;
    injector.begin = [this](int64_t nth) { fault_->arm(nth); };
    injector.end = [this] {
      fault_->armed = false;
      return fault_->fired;
    };
    injector.calls = [this] { return fault_->seen; };
    const Sweep done = sweep(name, make, injector, most, {static_cast<dsv4_status>(fault_->status)});
    CHECK(done.failed == done.runs - 1);  // no verb can be done without
  }

 private:
  std::shared_ptr<VerbFault> fault_;

 public:
  const Stage stage;
};

struct Session {
  dsv4_session* get;
  explicit Session(dsv4_session* s) : get(s) {}
  ~Session() { dsv4_session_release(&get); }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
};

std::unique_ptr<Backend> cpu_backend(int threads) {
  CpuOptions options;
  options.threads = threads;
  return make_cpu_backend(options);
}

void use_tokens(std::unique_ptr<Backend> backend, Status status, VerbFault::When when, int64_t most) {
  Disturbed d(kMicroFolder, std::move(backend), status, when);
  const Session empty(d.stage.create(1024, 8)), some(d.stage.evaluated(21, 8)), whole(d.stage.create(1024, 64));
  d.run("create", create_scene(d.stage), most);
  d.run("fork", fork_scene(d.stage, some.get), most);
  d.run("eval in chunks", eval_scene(d.stage, some.get, 20, false), most);
  d.run("eval with rows", eval_scene(d.stage, empty.get, 20, true), most);
  d.run("eval of more rows than can be taken back", eval_scene(d.stage, whole.get, 150, false), most);
  d.run("generate from tokens", generate_tokens_scene(d.stage, some.get, 6), most);
  d.run("start and poll from tokens", poll_tokens_scene(d.stage, some.get, 6), most);
}

void use_messages(int64_t most) {
  Disturbed d(kTinyFolder, cpu_backend(1), Status::kDeviceLost, VerbFault::When::kBefore);
  const Session talked(d.stage.conversed());
  d.run("generate from messages", generate_messages_scene(d.stage, talked.get, Say::kTools, false), most);
  d.run("start and poll from messages", generate_messages_scene(d.stage, talked.get, Say::kTools, true), most);
}

void all(int64_t most) {
  use_tokens(make_reference_backend(), Status::kDeviceLost, VerbFault::When::kBefore, most);
  use_tokens(make_reference_backend(), Status::kOutOfMemoryDevice, VerbFault::When::kAfter, most);
  use_tokens(make_reference_backend(), Status::kInternal, VerbFault::When::kBefore, most);
  use_tokens(cpu_backend(2), Status::kDeviceLost, VerbFault::When::kAfter, most);
}

}  // namespace

TEST_CASE("a verb fails") {
  all(8);
  use_messages(4);
}
TEST_CASE("every verb fails" * doctest::skip()) {
  all(kEvery);
  use_messages(400);
}
