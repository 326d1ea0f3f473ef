// The backends that the op, golden and model tests run on. A new backend is one line in backends_under_test.cc.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "lib/backend/backend.h"

namespace dsv4::test {

struct BackendUnderTest {
  std::string name;  // as it is shown: "reference", "cpu avx2"
  std::function<std::unique_ptr<Backend>()> make;
  // A row's bits do not depend on the other rows of its step. A backend with kernels for one and for many rows differs
  // in the order of its sums, and is held to the goldens instead.
  bool same_bits_in_any_step = false;
};

// Those that this machine can run.
const std::vector<BackendUnderTest>& backends_under_test();

}  // namespace dsv4::test
