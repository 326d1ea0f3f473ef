// The cpu backend's routing and experts against the reference: from one row an expert to many, in every format.
#include "tests/ops/cpu_reference_rig.h"

using namespace dsv4;
using namespace dsv4::test;

TEST_CASE("routing and experts") {
  for (const int64_t rows : {1, 2, 3, 8, 9, 65, 300}) {
    for (const DType dtype : {DType::kFP4, DType::kF8E4M3, DType::kBF16}) {
      if (rows > 9 && dtype == DType::kBF16) continue;
      CAPTURE(rows);
      CAPTURE(dtype_name(dtype));
      const int64_t n = 192, width = 160, shared_width = 320, count = 12, k = 3, vocab = 50;
      std::vector<TestWeight> w;
      for (int64_t e = 0; e <= count; ++e) {
        const int64_t wide = e < count ? width : shared_width;
        const DType type = e < count ? dtype : DType::kF8E4M3;
        w.emplace_back(type, wide, n);
        w.emplace_back(type, n, wide);
        w.emplace_back(type, wide, n);
      }
      const TestWeight gate(DType::kBF16, count, n), bias(DType::kF32, 1, count);
      std::vector<int64_t> table;
      for (int64_t i = 0; i < vocab * k; ++i) table.push_back(i * 7 % (count - 2));
      const HostTensor hash{table.data(), nullptr, DType::kI64, vocab, k};
      std::vector<int32_t> tokens;
      for (int64_t r = 0; r < rows; ++r) tokens.push_back(static_cast<int32_t>(r * 11 % vocab));
      const std::vector<bf16> x = random_bf16(rows * n, 2.0f);
      for (const bool hashed : {false, true}) {
        against_reference(
            [&](Bench& b) {
              Gate g;
              g.weight = ready(b, gate);
              if (hashed) {
                g.hash = b.backend->prepare(hash);
              } else {
                g.bias = ready(b, bias);
              }
              g.scoring = rows % 3 == 0   ? Scoring::kSoftmax
                          : rows % 3 == 1 ? Scoring::kSqrtSoftplus
                                          : Scoring::kSigmoid;
              g.scale = 1.5f;
              const Route route{b.rig.mat(DType::kI32, rows, k), b.rig.mat(DType::kF32, rows, k)};
              const Mat in = b.rig.put(DType::kBF16, rows, n, x.data()), y = b.rig.mat(DType::kBF16, rows, n);
              b.backend->route(route, in, b.rig.put(tokens), g);
              std::vector<Expert> experts;
              for (int64_t e = 0; e <= count; ++e) {
                const size_t at = static_cast<size_t>(e) * 3;
                experts.push_back({ready(b, w[at]), ready(b, w[at + 1]), ready(b, w[at + 2])});
              }
              b.backend->experts(y, in, route, {{experts.data(), static_cast<size_t>(count)}, experts.back(), 10.0f});
              const std::vector<int32_t> picked = b.rig.get<int32_t>(route.experts);
              Outputs out = floats(b, {y});
              out.emplace_back(picked.begin(), picked.end());
              return out;
            },
            Exactness::kBF16, 0.02f, rows > 9 ? n : 0);  // with a few rows, one would be most of them
      }
    }
  }
}
