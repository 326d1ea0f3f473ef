#include "tests/support/op_check.h"

#include <bit>
#include <cmath>
#include <cstdio>

#include <doctest/doctest.h>

#include "tests/support/bf16_steps.h"

namespace dsv4::test {
namespace {

double one_ulp(double x) { return std::ldexp(1.0, std::max(std::ilogb(std::max(std::fabs(x), 0x1p-126)), -126) - 7); }

}  // namespace

void OpTable::check(const std::string& op, const std::string& where, const std::vector<float>& got,
                    const std::vector<float>& want, int64_t cols, const std::function<Balls(int64_t row)>& explain) {
  REQUIRE_MESSAGE(got.size() == want.size(), op << " " << where);
  int64_t beyond = 0, unexplained = 0;
  for (int64_t r = 0; r < static_cast<int64_t>(got.size()) / cols; ++r) {
    Balls balls;
    for (int64_t c = 0; c < cols; ++c) {
      const auto i = static_cast<size_t>(r * cols + c);
      if (bf16_steps(got[i], want[i]) <= 1) continue;
      ++beyond;
      if (balls.empty()) balls = explain(r);
      const Ball& b = balls[static_cast<size_t>(c)];
      const double reach = b.r * 1.0001 + one_ulp(std::fabs(b.v) + b.r);
      if (std::fabs(got[i] - b.v) <= reach && std::fabs(want[i] - b.v) <= reach) continue;
      if (++unexplained <= 3) {
        MESSAGE(backend_ << ": " << where << " " << op << " row " << r << " column " << c << ": got " << got[i]
                         << ", recorded " << want[i] << ", computed " << b.v << " +- " << b.r);
      }
    }
  }
  count(op, where, static_cast<int64_t>(got.size()), beyond, beyond - unexplained);
}

void OpTable::count(const std::string& op, const std::string& where, int64_t elements, int64_t beyond,
                    int64_t explained) {
  Line& line = lines_[op];
  line.elements += elements;
  line.beyond += beyond;
  const double fraction = static_cast<double>(beyond) / static_cast<double>(elements);
  if (fraction >= line.worst) {
    line.worst = fraction;
    line.where = where;
  }
  CHECK_MESSAGE(fraction <= kMostBeyondOneUlp, backend_ << ": " << where << " " << op << ": " << beyond << " of "
                                                        << elements << " elements are more than 1 ulp off");
  CHECK_MESSAGE(explained == beyond, backend_ << ": " << where << " " << op << ": " << beyond - explained
                                              << " elements are off with no flip inside the step");
}

void OpTable::print() const {
  for (const auto& [op, line] : lines_) {
    std::printf("%-14s %-14s worst %.5f (%s), in all %lld of %lld beyond 1 ulp, each a flip inside the step\n",
                backend_.c_str(), op.c_str(), line.worst, line.where.c_str(), static_cast<long long>(line.beyond),
                static_cast<long long>(line.elements));
  }
}

}  // namespace dsv4::test
