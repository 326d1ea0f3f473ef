#include "tests/faults/fault_scene.h"

#include <algorithm>
#include <cstdio>
#include <optional>

#include <doctest/doctest.h>

namespace dsv4::test {
namespace {

// An error must be there, say what the status says, and not be silent.
void check_error(dsv4_status status, dsv4_error* error, const std::vector<dsv4_status>& allowed) {
  const std::string message = dsv4_error_message(error);
  INFO("status ", std::string(dsv4_status_name(status)), ": ", message);
  CHECK(std::find(allowed.begin(), allowed.end(), status) != allowed.end());
  CHECK(error != nullptr);
  CHECK(dsv4_error_status(error) == status);
  CHECK(!message.empty());
}

}  // namespace

Sweep sweep(const std::string& name, const MakeScene& make, const Injector& injector, int64_t most,
            const std::vector<dsv4_status>& allowed) {
  Sweep sweep;
  std::unique_ptr<Scene> undisturbed = make();
  const std::string before = undisturbed->before();
  injector.begin(0);
  dsv4_error* error = nullptr;
  const dsv4_status first = undisturbed->call(&error);
  injector.end();
  sweep.calls = injector.calls();
  INFO(name, ": ", std::string(dsv4_error_message(error)));
  REQUIRE(first == DSV4_OK);
  const std::string after = undisturbed->after();
  undisturbed.reset();

  if (sweep.calls == 0) {
    std::printf("%-44s nothing that could fail\n", name.c_str());
    return sweep;
  }
  const int64_t step = most >= sweep.calls ? 1 : (sweep.calls + most - 1) / most;
  for (int64_t n = 1;; n += step) {
    INFO(name, ": number ", n, " of ", sweep.calls, " fails");
    std::unique_ptr<Scene> scene = make();
    injector.begin(n);
    const dsv4_status status = scene->call(&error);
    const bool fired = injector.end();
    ++sweep.runs;
    if (status != DSV4_OK) {
      check_error(status, error, allowed);
      dsv4_error_release(&error);
      CHECK(fired);
      ++sweep.failed;
      if (!before.empty()) CHECK((scene->before() == before));
      const dsv4_status again = scene->call(&error);
      INFO("again: ", std::string(dsv4_error_message(error)));
      REQUIRE(again == DSV4_OK);
    } else {
      CHECK(error == nullptr);
      if (fired) ++sweep.survived;
    }
    const std::string now = scene->after();
    CHECK((now == after));
    if (!fired) break;
  }
  // One run more than there are places: the last had nothing left to fail.
  std::printf("%-44s %7lld places, %6lld runs: %6lld failed, %5lld did without\n", name.c_str(),
              static_cast<long long>(sweep.calls), static_cast<long long>(sweep.runs),
              static_cast<long long>(sweep.failed), static_cast<long long>(sweep.survived));
  return sweep;
}

Sweep sweep(const std::string& name, const MakeScene& make, const FaultSpec& spec, int64_t most,
            const std::vector<dsv4_status>& allowed) {
  std::optional<Fault> fault;
  Injector injector;
  injector.begin = [&](int64_t nth) { fault.emplace(spec, nth); };
  injector.end = [&] {
    fault.reset();
    return Fault::fired();
  };
  injector.calls = [] { return Fault::calls(); };
  return sweep(name, make, injector, most, allowed);
}

}  // namespace dsv4::test
