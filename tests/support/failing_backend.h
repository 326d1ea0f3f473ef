// FailingBackend: a decorator whose Nth call fails with a status of the test's choice, before or after it had its effect.
// Every verb of the seam counts, and what stands around them: memory, weights, states, transfers, commit, synchronize.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <utility>

#include "lib/backend/decorator.h"
#include "lib/base/error.h"

namespace dsv4::test {

// What the test holds in its hands while the backend is the model's.
struct VerbFault {
  enum class When { kBefore, kAfter };
  bool armed = false;
  int64_t nth = 0;  // from 1; 0: counts only
  Status status = Status::kInternal;
  When when = When::kBefore;
  int64_t seen = 0;
  bool fired = false;

  void arm(int64_t n) {
    nth = n;
    seen = 0;
    fired = false;
    armed = true;
  }
};

class FailingBackend final : public Decorator {
 public:
  FailingBackend(std::unique_ptr<Backend> inner, std::shared_ptr<VerbFault> fault)
      : Decorator(std::move(inner)), fault_(std::move(fault)) {}

  std::unique_ptr<Memory> allocate(size_t bytes) override {
    std::unique_ptr<Memory> made;
    pass("allocate", [&] { made = inner().allocate(bytes); });
    return made;
  }
  Weight prepare(const HostTensor& tensor) override {
    Weight made;
    pass("prepare", [&] { made = inner().prepare(tensor); });
    return made;
  }
  std::unique_ptr<SequenceState> make_state(const StateShape& shape) override {
    std::unique_ptr<SequenceState> made;
    pass("make_state", [&] { made = inner().make_state(shape); });
    return made;
  }
  void reserve(const Limits& limits) override {
    pass("reserve", [&] { inner().reserve(limits); });
  }
  void upload(Mat to, const void* from) override {
    pass("upload", [&] { inner().upload(to, from); });
  }
  void download(void* to, Mat from) override {
    pass("download", [&] { inner().download(to, from); });
  }
  // Its contract: where it fails, the step never happened.
  void commit(std::span<const Run> runs) override {
    if (comes_now()) give_up("commit");
    inner().commit(runs);
  }
  void synchronize() override {
    pass("synchronize", [&] { inner().synchronize(); });
  }

 protected:
  void verb(const char* name, const Mat&, const std::function<void()>& call) override { pass(name, call); }

 private:
  bool comes_now() {
    if (!fault_->armed || ++fault_->seen != fault_->nth) return false;
    fault_->fired = true;
    return true;
  }
  [[noreturn]] void give_up(const char* name) const { fail(fault_->status, "test: {} has failed", name); }
  template <class Call>
  void pass(const char* name, const Call& call) {
    const bool now = comes_now();
    if (!now || fault_->when == VerbFault::When::kAfter) call();
    if (now) give_up(name);
  }

  std::shared_ptr<VerbFault> fault_;
};

}  // namespace dsv4::test
