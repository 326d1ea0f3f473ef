// Verbs that treat every row by itself: weighted norm, products, logits, the table of rotary angles.
#include <cmath>

#include "backends/reference/reference_math.h"
#include "backends/reference/reference_verbs.h"

namespace dsv4::reference {

void ReferenceBackend::norm(Mat y, Mat x, const Weight& weight, float eps) {
  for (int64_t r = 0; r < x.rows; ++r) {
    read_row(scratch_.row.data(), x, r);
    weighted_norm(scratch_.row.data(), x.cols, weight, eps);
    write_row(y, r, scratch_.row.data());
  }
}

// out = x · weightᵀ. Each weight row is widened once and meets all input rows.
void ReferenceBackend::product(Mat out, Mat x, const Weight& weight, bool quantise) {
  for (int64_t r = 0; r < x.rows; ++r) {
    float* input = scratch_.input.data() + r * x.cols;
    read_row(input, x, r);
    if (quantise) quantise_e4m3(input, x.cols, 128);
  }
  for (int64_t i = 0; i < weight.rows; ++i) {
    const float* w = weight_row(weight, i, scratch_.weight.data());
    for (int64_t r = 0; r < x.rows; ++r) {
      const float y = dot(w, scratch_.input.data() + r * x.cols, x.cols);
      if (out.dtype == DType::kF32) {
        out.row<float>(r)[i] = y;
      } else {
        out.row<bf16>(r)[i] = to_bf16(y);
      }
    }
  }
}

void ReferenceBackend::linear(std::span<const Product> products, Mat x) {
  for (const Product& p : products) product(p.out, x, *p.weight, p.weight->quantised());
}

void ReferenceBackend::logits(Mat out, Mat x, const Weight& head) { product(out, x, head, false); }

void ReferenceBackend::rope(Mat table, Mat positions, Mat frequencies) {
  const int64_t pairs = frequencies.cols;
  for (int64_t r = 0; r < table.rows; ++r) {
    const auto position = static_cast<float>(*positions.row<int32_t>(r));
    for (int64_t i = 0; i < pairs; ++i) {
      const float angle = position * frequencies.row<float>(0)[i];  // one FP32 product, as the published program has it
      table.row<float>(r)[i] = static_cast<float>(std::cos(static_cast<double>(angle)));
      table.row<float>(r)[pairs + i] = static_cast<float>(std::sin(static_cast<double>(angle)));
    }
  }
}

}  // namespace dsv4::reference
