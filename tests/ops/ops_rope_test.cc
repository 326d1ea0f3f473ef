// The table of rotary angles against the published program's, up to position 1,048,575.
#include <cmath>

#include <doctest/doctest.h>

#include "tests/support/backends_under_test.h"
#include "tests/support/op_check_rig.h"

namespace dsv4::test {

TEST_CASE("rope: cos and sin agree with the recorded table to 1e-6") {
  const GoldenFile file(std::string(DSV4_TEST_DATA) + "/golden/rope.safetensors");
  const std::vector<int32_t> positions = file.get("positions").ints();
  REQUIRE(positions.size() == 13);
  for (const BackendUnderTest& under_test : backends_under_test()) {
    const std::unique_ptr<Backend> backend = under_test.make();
    Limits limits;
    limits.rows = limits.inner = limits.outer = 64;
    backend->reserve(limits);
    for (const std::string kind : {"plain", "yarn"}) {
      Rig rig(*backend);
      const std::vector<float> frequencies = file.get(kind + ".freq").floats();
      const std::vector<float> cos = file.get(kind + ".cos").floats(), sin = file.get(kind + ".sin").floats();
      const std::vector<float> table = rig.get<float>(rig.rope_table(positions, frequencies));
      const size_t pairs = frequencies.size();
      float worst = 0;
      for (size_t p = 0; p < positions.size(); ++p) {
        for (size_t i = 0; i < pairs; ++i) {
          worst = std::max(worst, std::fabs(table[p * 2 * pairs + i] - cos[p * pairs + i]));
          worst = std::max(worst, std::fabs(table[p * 2 * pairs + pairs + i] - sin[p * pairs + i]));
        }
      }
      CHECK_MESSAGE(worst <= 1e-6f, under_test.name << " " << kind << ": " << worst);
    }
  }
}

}  // namespace dsv4::test
