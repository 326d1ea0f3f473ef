// Opening the checkpoints that the repository holds, and the figures of the published shapes.
#include <doctest/doctest.h>

#include <cstring>
#include <string>
#include <vector>

#include "lib/base/error.h"
#include "lib/checkpoint/checkpoint.h"
#include "lib/checkpoint/tensor_table.h"

using namespace dsv4;

namespace {

std::string golden(const char* name) { return std::string(DSV4_TEST_DATA "/golden/") + name; }
std::string tiny() { return DSV4_SOURCE_DIR "/samples/models/tiny"; }

}  // namespace

TEST_CASE("golden checkpoints and the tiny model open, every tensor of the table in its place") {
  struct Expected {
    std::string folder;
    DType experts;
    int64_t layers, head_dim;
  };
  const Expected all[] = {{golden("micro"), DType::kFP4, 3, 128},
                          {golden("micro2"), DType::kF8E4M3, 3, 192},
                          {golden("flash"), DType::kFP4, 5, 128},
                          {golden("base"), DType::kF8E4M3, 3, 128},
                          {tiny(), DType::kFP4, 4, 128}};
  for (const Expected& e : all) {
    CAPTURE(e.folder);
    const auto checkpoint = Checkpoint::open(e.folder, {});
    const Config& c = checkpoint->config();
    CHECK(c.layers == e.layers);
    CHECK(c.head_dim == e.head_dim);
    CHECK(c.mtp_layers == 1);
    CHECK(checkpoint->notes().empty());
    CHECK(checkpoint->weight_bytes() == expected_weight_bytes(c));
    int64_t missing = 0;
    for_each_tensor(c, [&](const TableRow& row, int64_t layer, int64_t expert) {
      const Tensor& t = checkpoint->get(row.role, layer, expert);
      missing += t.data == nullptr || has_scale(t.dtype) != (t.scale != nullptr);
      if (is_expert(row.role)) CHECK(t.dtype == e.experts);
    });
    CHECK(missing == 0);
    CHECK(checkpoint->get(TensorRole::kExpertW1, c.layers, c.experts - 1).data != nullptr);  // the MTP head's
    CHECK(checkpoint->get(TensorRole::kExpertW1, 0, c.experts).data == nullptr);
    CHECK(checkpoint->get(TensorRole::kEmbed, 0).data == nullptr);
  }
}

TEST_CASE("tensors point at the file's own bytes") {
  const auto checkpoint = Checkpoint::open(golden("micro"), {});
  const Tensor& norm = checkpoint->get(TensorRole::kNorm, -1);
  CHECK(norm.dtype == DType::kBF16);
  CHECK(norm.rows == 1);
  CHECK(norm.cols == 128);
  const Tensor& w1 = checkpoint->get(TensorRole::kExpertW1, 0, 3);
  CHECK(w1.cols == 128);  // elements, two a byte
  CHECK(w1.bytes == 128 * 64 + 128 * 4);
  const Tensor& hash = checkpoint->get(TensorRole::kGateHash, 0);
  CHECK(hash.rows == 260);
  CHECK(hash.cols == 2);
  CHECK(checkpoint->get(TensorRole::kGateHash, 1).data == nullptr);
  CHECK(checkpoint->get(TensorRole::kGateBias, 0).data == nullptr);
}

TEST_CASE("the table counts what Flash publishes: 69,187 tensors, 148.66 GB (of 2^30 bytes, headers included)") {
  const Config flash = published_config("flash");
  int64_t count = 0;
  for_each_tensor(flash, [&](const TableRow& row, int64_t, int64_t) {
    count += has_scale(published_dtype(row, flash)) ? 2 : 1;
  });
  CHECK(count == 69187);
  const double headers = 69187 * 115.0;  // a tensor's entry in a header is about as long
  CHECK((static_cast<double>(expected_weight_bytes(flash)) + headers) / (1 << 30) == doctest::Approx(148.66).epsilon(0.0001));
}
