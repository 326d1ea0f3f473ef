// Whole models on the cuda backend under the executor: against the goldens, recorded steps against plain ones, states that
// move between backends, and a device that fails at every call in turn.
#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "backends/cuda/cuda_backend.h"
#include "backends/reference/reference_backend.h"
#include "lib/backend/decorator.h"
#include "lib/base/error.h"
#include "lib/session/timeline.h"
#include "tests/simt/fake_cuda.h"
#include "tests/support/golden_agreement.h"
#include "tests/support/golden_file.h"

namespace dsv4::test {
namespace {

constexpr int64_t kStepRows = 128;

std::unique_ptr<Model> open_model(const std::string& name, std::unique_ptr<Backend> backend) {
  std::unique_ptr<Checkpoint> checkpoint = Checkpoint::open(golden_dir(name), {});
  backend->expect_weights(checkpoint->weight_bytes());
  return std::make_unique<Model>(std::move(checkpoint), std::move(backend), kStepRows);
}
std::unique_ptr<Model> open_cuda(const std::string& name) { return open_model(name, make_cuda_backend({})); }

std::vector<int32_t> golden_tokens(const std::string& name, size_t count) {
  std::vector<int32_t> tokens = GoldenFile(golden_dir(name) + "/golden.safetensors").get("tokens").ints();
  tokens.resize(std::min(tokens.size(), count));
  return tokens;
}

// A backend whose steps are never recorded.
class Plain final : public Decorator {
 public:
  using Decorator::Decorator;
};

// Some sequences of one model, evaluated by steps of the test's choosing.
struct Sequences {
  explicit Sequences(Model& m, size_t count, int64_t context = 400) : model(m) {
    for (size_t i = 0; i < count; ++i) states.push_back(model.make_state(context, model.has_draft()));
    positions.resize(count);
    logits.resize(count, std::vector<float>(static_cast<size_t>(model.config().vocab)));
  }
  struct Part {
    size_t sequence;
    std::vector<int32_t> tokens;
  };
  // All parts in one step.
  void step(const std::vector<Part>& parts) {
    std::vector<Chunk> chunks;
    for (const Part& part : parts) {
      Chunk c;
      c.state = states[part.sequence].get();
      c.position = positions[part.sequence];
      c.tokens = part.tokens;
      c.last_logits = logits[part.sequence].data();
      c.draft = model.has_draft();
      chunks.push_back(c);
    }
    model.evaluate(chunks);
    for (const Part& part : parts) positions[part.sequence] += static_cast<int64_t>(part.tokens.size());
  }

  Model& model;
  std::vector<std::unique_ptr<SequenceState>> states;
  std::vector<int64_t> positions;
  std::vector<std::vector<float>> logits;
};

double kl(const std::vector<float>& a, const std::vector<float>& b) {
  const auto normaliser = [](const std::vector<float>& x) {
    const double max = *std::max_element(x.begin(), x.end());
    double sum = 0;
    for (const float f : x) sum += std::exp(f - max);
    return max + std::log(sum);
  };
  const double za = normaliser(a), zb = normaliser(b);
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += std::exp(a[i] - za) * ((a[i] - za) - (b[i] - zb));
  return sum;
}

std::vector<uint8_t> exported(Model& model, const SequenceState& state, int64_t positions, int64_t context) {
  const std::vector<StatePart> parts =
      state_parts(Model::state_shape(model.config(), context, model.max_rows(), model.has_draft()), positions,
                  StateExtent::kAll);
  std::vector<uint8_t> out(total_bytes(parts));
  model.export_state(state, parts, out.data());
  return out;
}

struct Fresh {  // a device nobody has touched, and nothing left on it afterwards
  Fresh() { simt::reset_fake_cuda(); }
  ~Fresh() {
    CHECK(simt::unreleased() == "");
    simt::reset_fake_cuda();
    simt::fake_device() = {};
  }
};

}  // namespace

TEST_CASE("micro: logits and draft logits agree with the published program") {
  const Fresh fresh;
  const GoldenFile golden(golden_dir("micro") + "/golden.safetensors");
  const std::vector<int32_t> tokens = golden.get("tokens").ints();
  const std::vector<float> logits = golden.get("logits").floats(), draft = golden.get("draft_logits").floats();
  const auto rows = static_cast<int64_t>(tokens.size());
  const auto engine = std::make_shared<Engine>(open_cuda("micro"));
  const int64_t vocab = engine->model->config().vocab;
  int64_t best = 0, best_draft = 0;
  for (const int64_t chunk : {kStepRows, int64_t{7}, int64_t{1}}) {
    const Evaluated got = evaluate(engine, tokens, chunk);
    const std::string what = "micro, cuda (executor), chunks of " + std::to_string(chunk);
    const Agreement main = compare(got.logits.data(), logits.data(), rows, vocab);
    const Agreement head = compare(got.draft.data() + vocab, draft.data(), rows - 1, vocab);
    check_agreement(what, main, &kBounds[0]);
    check_agreement(what + ", draft", head, nullptr);
    best = std::max(best, main.early_exact);
    best_draft = std::max(best_draft, head.early_exact);
  }
  CHECK(best >= kEarly - 2);
  CHECK(best_draft >= kEarly - 2);
}

TEST_CASE("a recorded step gives the bits of a plain one, whatever sequences and positions it is replayed with") {
  const Fresh fresh;
  for (const std::string name : {"micro", "micro2"}) {
    CAPTURE(name);
    const std::vector<int32_t> tokens = golden_tokens(name, 270);
    const auto recorded = open_cuda(name);
    const auto plain = open_model(name, std::make_unique<Plain>(make_cuda_backend({})));
    Sequences a(*recorded, 3), b(*plain, 3);
    const auto both = [&](const std::vector<Sequences::Part>& parts) {
      a.step(parts);
      b.step(parts);
      for (const Sequences::Part& part : parts) CHECK(a.logits[part.sequence] == b.logits[part.sequence]);
    };
    both({{0, {tokens.begin(), tokens.begin() + 100}}});
    both({{1, {tokens.begin(), tokens.begin() + 37}}});
    both({{2, {tokens.begin(), tokens.begin() + 5}}});
    const int64_t before = simt::calls("cudaGraphLaunch");
    for (size_t i = 0; i < 24; ++i) {
      const size_t first = i % 3, second = (i + 1) % 3;  // the same shapes, other states
      const int32_t x = tokens[i + 110], y = tokens[i + 130];
      both({{first, {x}}});
      both({{second, {x}}, {first, {y}}});
      both({{0, {x, y}}, {1, {y, x}}, {2, {x, x}}});
    }
    CHECK(simt::calls("cudaGraphLaunch") - before >= 3 * 22);
  }
}

TEST_CASE("a state moves between cuda and the reference backend, byte for byte, and goes on there") {
  const Fresh fresh;
  for (const std::string name : {"micro", "micro2"}) {
    CAPTURE(name);
    const std::vector<int32_t> tokens = golden_tokens(name, 200);
    const auto cuda = open_cuda(name), reference = open_model(name, make_reference_backend());
    for (const int64_t length : {int64_t{3}, int64_t{64}, int64_t{150}}) {
      CAPTURE(length);
      Sequences there(*cuda, 2), here(*reference, 2);
      for (int64_t at = 0; at < length; at += kStepRows) {
        const auto end = tokens.begin() + std::min(at + kStepRows, length);
        there.step({{0, {tokens.begin() + at, end}}});
        here.step({{0, {tokens.begin() + at, end}}});
      }
      const StateShape shape =
          Model::state_shape(cuda->config(), 400, cuda->max_rows(), cuda->has_draft());
      const std::vector<StatePart> parts = state_parts(shape, length, StateExtent::kAll);
      const std::vector<uint8_t> from_cuda = exported(*cuda, *there.states[0], length, 400);
      const std::vector<uint8_t> from_reference = exported(*reference, *here.states[0], length, 400);
      reference->import_state(*here.states[1], parts, from_cuda.data());
      cuda->import_state(*there.states[1], parts, from_reference.data());
      CHECK(exported(*reference, *here.states[1], length, 400) == from_cuda);
      CHECK(exported(*cuda, *there.states[1], length, 400) == from_reference);
      here.positions[1] = there.positions[1] = length;
      // Each goes on with the other's state as its owner does.
      there.step({{0, {tokens[0]}}});
      there.step({{1, {tokens[0]}}});
      here.step({{0, {tokens[0]}}});
      here.step({{1, {tokens[0]}}});
      CHECK(kl(there.logits[0], here.logits[1]) < 0.01);
      CHECK(kl(here.logits[0], there.logits[1]) < 0.01);
    }
  }
}

TEST_CASE("host and device keep to their memory, and queued work does not look at what the host has changed since") {
  const Fresh fresh;
  const std::vector<int32_t> tokens = golden_tokens("micro", 60);
  std::vector<std::vector<float>> seen;
  for (const bool deferred : {false, true}) {
    simt::fake_device().deferred = deferred;
    simt::fake_device().strict = !deferred;
    const auto model = open_cuda("micro");
    Sequences s(*model, 2);
    s.step({{0, {tokens.begin(), tokens.begin() + 30}}, {1, {tokens.begin(), tokens.begin() + 9}}});
    for (size_t i = 30; i < 36; ++i) s.step({{0, {tokens[i]}}, {1, {tokens[i + 1]}}});
    seen.insert(seen.end(), s.logits.begin(), s.logits.end());
  }
  CHECK(seen[0] == seen[2]);
  CHECK(seen[1] == seen[3]);
}

TEST_CASE("weights that do not fit are refused with the bytes that are missing") {
  const Fresh fresh;
  simt::fake_device().memory = size_t{100} << 20;
  const auto backend = make_cuda_backend({});
  try {
    backend->expect_weights(uint64_t{150} << 30);
    FAIL("150 GB on a card of 100 MB");
  } catch (const Error& e) {
    CHECK(e.status() == Status::kOutOfMemoryDevice);
    CHECK(std::string(e.what()).find("bytes are missing") != std::string::npos);
  }
  CudaOptions limited;
  limited.memory_limit = 1000;
  const auto small = make_cuda_backend(limited);
  try {
    small->allocate(1001);
    FAIL("more than the limit");
  } catch (const Error& e) {
    CHECK(e.status() == Status::kOutOfMemoryDevice);
    CHECK(std::string(e.what()).find("device_memory_limit") != std::string::npos);
  }
}

TEST_CASE("no driver, no card, an old card: reasons that can be read") {
  const Fresh fresh;
  const auto reason = [] {
    try {
      make_cuda_backend({});
    } catch (const Error& e) {
      CHECK(e.status() == Status::kUnsupported);
      return std::string(e.what());
    }
    return std::string();
  };
  simt::fake_device().devices = 0;
  CHECK(reason().find("no NVIDIA GPU") != std::string::npos);
  simt::fake_device() = {};
  simt::fake_device().driver = 0;
  CHECK(reason().find("driver") != std::string::npos);
  simt::fake_device() = {};
  simt::fake_device().major = 7;
  CHECK(reason().find("compute capability 7.0") != std::string::npos);
}

TEST_CASE("a lost device is a status, again and again, and everything can be released") {
  const Fresh fresh;
  const std::vector<int32_t> tokens = golden_tokens("micro", 20);
  const auto model = open_cuda("micro");
  Sequences s(*model, 1);
  s.step({{0, tokens}});
  simt::lose_device(cudaErrorIllegalAddress);
  for (int i = 0; i < 3; ++i) {
    try {
      s.step({{0, {tokens[0]}}});
      FAIL("a lost device answered");
    } catch (const Error& e) {
      CHECK(e.status() == Status::kDeviceLost);
    }
  }
  CHECK_THROWS_AS(exported(*model, *s.states[0], 20, 400), Error);
  CHECK_THROWS_AS(model->make_state(100, false), Error);
}

namespace {

// Opens, evaluates a prompt and decodes; at the end, what the sequence holds. `s` keeps what there was of it.
struct Life {
  std::unique_ptr<Model> model;
  std::unique_ptr<Sequences> sequences;

  void live(const std::vector<int32_t>& tokens) {
    if (model == nullptr) model = open_cuda("micro");
    if (sequences == nullptr) sequences = std::make_unique<Sequences>(*model, 1);
    Sequences& s = *sequences;
    if (s.positions[0] == 0) s.step({{0, {tokens.begin(), tokens.begin() + 20}}});
    while (s.positions[0] < 24) s.step({{0, {tokens[static_cast<size_t>(s.positions[0])]}}});
  }
};

}  // namespace

TEST_CASE("every call of the runtime fails in turn: a status, nothing lost, and it goes on as if nothing had been") {
  const Fresh fresh;
  const std::vector<int32_t> tokens = golden_tokens("micro", 30);
  std::vector<float> undisturbed;
  int64_t calls = 0;
  {
    const int64_t before = simt::calls();
    Life life;
    life.live(tokens);
    undisturbed = life.sequences->logits[0];
    calls = simt::calls() - before;
  }
  REQUIRE(calls > 100);
  // Evenly spread places, with steps that share no factor with what repeats inside a life.
  constexpr int64_t kPlaces = 60;
  int failures = 0;
  for (int64_t i = 0; i < kPlaces; ++i) {
    const int64_t nth = 1 + i * calls / kPlaces;
    const cudaError_t error = i % 2 == 0 ? cudaErrorMemoryAllocation : cudaErrorInvalidValue;
    CAPTURE(nth);
    Life life;
    simt::fail_call(nth, error);
    try {
      life.live(tokens);
    } catch (const Error& e) {
      ++failures;
      CHECK((e.status() == Status::kOutOfMemoryDevice || e.status() == Status::kOutOfMemoryHost ||
             e.status() == Status::kInternal || e.status() == Status::kUnsupported));
      CHECK(std::string(e.what()).find("cuda") != std::string::npos);
    }
    simt::reset_fake_cuda();
    life.live(tokens);
    CHECK(life.sequences->logits[0] == undisturbed);
  }
  CHECK(failures >= kPlaces * 3 / 4);  // what a destructor meets is nobody's failure
}

}  // namespace dsv4::test
