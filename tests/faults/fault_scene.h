// Scenes: kinds of calls through the C interface, each of which can be made again and again from the same beginning,
// and the sweep that makes one fail at every place in turn.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "include/dsv4.h"
#include "tests/support/fault_hooks.h"

namespace dsv4::test {

class Scene {
 public:
  virtual ~Scene() = default;
  // The call. What it needs was made before, and it may be made again after it failed.
  virtual dsv4_status call(dsv4_error** error) = 0;
  // What a host sees without changing anything: must be the same before the call and after one that failed. "" where
  // a failed call may have got part of the way.
  virtual std::string before() = 0;
  // All that a host can find out after a call that succeeded, bit for bit; may change the session.
  virtual std::string after() = 0;
};

using MakeScene = std::function<std::unique_ptr<Scene>()>;

struct Sweep {
  int64_t calls = 0;     // that can fail, in an undisturbed run
  int64_t runs = 0;      // with one of them failing
  int64_t failed = 0;    // runs whose call failed, as it should
  int64_t survived = 0;  // runs whose call could do without, and had the same result
};

constexpr int64_t kEvery = INT64_MAX;

// Checks (doctest) the call with each of at most `most` places failing, evenly spread. `allowed`: what it may answer.
Sweep sweep(const std::string& name, const MakeScene& make, const FaultSpec& spec, int64_t most,
            const std::vector<dsv4_status>& allowed);

// The same with another way of making something fail: begin(n) arms, end() disarms and says whether it came to it.
struct Injector {
  std::function<void(int64_t nth)> begin;
  std::function<bool()> end;
  std::function<int64_t()> calls;
};
Sweep sweep(const std::string& name, const MakeScene& make, const Injector& injector, int64_t most,
            const std::vector<dsv4_status>& allowed);

}  // namespace dsv4::test
