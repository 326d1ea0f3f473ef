// The residual state X, m streams of n, and verbs that treat every row by itself.
//   mix = fn · flat(X) / rms(flat(X));  pre = sigmoid(mix·scale + base) + eps;  x = Σ_j pre[j]·X[j]
//   X'[k] = post[k]·y + Σ_j comb[j][k]·X[j], comb made doubly stochastic by Sinkhorn's iteration
// fn (F32, 24 x 16384 in Flash) is the only large thing here: its rows are shared out among the threads when few rows
// of X meet it, rows of X otherwise.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "backends/cpu/cpu_verbs.h"

namespace dsv4::cpu {
namespace {

float sigmoid(float x) { return 1.0f / (1.0f + std::exp(-x)); }

// Element i of an F32 or BF16 vector of a checkpoint, which may lie at any address.
float element(const Weight& w, int64_t i) {
  if (w.dtype == DType::kF32) {
    float v;
    std::memcpy(&v, w.as<uint8_t>() + 4 * i, 4);
    return v;
  }
  bf16 v;
  std::memcpy(&v, w.as<uint8_t>() + 2 * i, 2);
  return to_float(v);
}

// C [m, m]: row j, column k. Softmax over k, then columns and rows by turns divided by their sums.
void sinkhorn(float* C, int m, int iterations, float eps) {
  for (int j = 0; j < m; ++j) {
    float* row = C + j * m;
    const float top = *std::max_element(row, row + m);
    float sum = 0.0f;
    for (int k = 0; k < m; ++k) sum += row[k] = std::exp(row[k] - top);
    for (int k = 0; k < m; ++k) row[k] = row[k] / sum + eps;
  }
  float sums[kMaxStreams];
  const auto divide_columns = [&] {
    std::fill_n(sums, m, eps);
    for (int j = 0; j < m; ++j)
      for (int k = 0; k < m; ++k) sums[k] += C[j * m + k];
    for (int j = 0; j < m; ++j)
      for (int k = 0; k < m; ++k) C[j * m + k] /= sums[k];
  };
  divide_columns();
  for (int i = 1; i < iterations; ++i) {
    for (int j = 0; j < m; ++j) {
      float sum = eps;
      for (int k = 0; k < m; ++k) sum += C[j * m + k];
      for (int k = 0; k < m; ++k) C[j * m + k] /= sum;
    }
    divide_columns();
  }
}

}  // namespace

double inverse_rms(double sum_squares, int64_t n, float eps) {
  return 1.0 / std::sqrt(sum_squares / static_cast<double>(n) + static_cast<double>(eps));
}

void CpuBackend::embed(Mat X, Mat tokens, const Weight& table) {
  const FloatMode mode;
  const int64_t n = table.cols;
  for (int64_t r = 0; r < X.rows; ++r) {
    const int64_t token = *tokens.row<int32_t>(r);
    bf16* to = X.row<bf16>(r);
    if (table.dtype == DType::kBF16) {
      std::memcpy(to, table.as<uint8_t>() + token * n * 2, static_cast<size_t>(n) * 2);
    } else {
      for (int64_t i = 0; i < n; ++i) to[i] = to_bf16(element(table, token * n + i));
    }
    for (int64_t i = n; i < X.cols; i += n) std::memcpy(to + i, to, static_cast<size_t>(std::min(n, X.cols - i)) * 2);
  }
}

void CpuBackend::weighted_norm(uint16_t* y, const uint16_t* x, int64_t n, double sum_squares, const Weight& weight,
                               float eps) {
  const double factor = inverse_rms(sum_squares, n, eps);
  if (weight.dtype == DType::kBF16) return k_.scale_row(y, x, weight.as<uint16_t>(), factor, n);
  for (int64_t i = 0; i < n; ++i) {
    y[i] = to_bf16(static_cast<float>(to_float(bf16{x[i]}) * factor * element(weight, i))).bits;
  }
}

void CpuBackend::mixes(Mat X, const HyperConnection& hc) {
  const int64_t count = hc.fn.rows, cols = X.cols;
  check(X.rows * count * 4, mixes_, "mixes");
  const Mat out{mixes_.as<void>(), DType::kF32, X.rows, count, count};
  const Format format = format_of(hc.fn);
  const XForm form = form_for(format, false);
  if (X.rows <= 4 || format != kFormatF32 || cols % kPad != 0) {
    const Task task{view_of(hc.fn), format, 0, count, pack(form, X), X.rows, out};
    return run_tasks({&task, 1});
  }
  const void* const* x = pack(form, X);
  constexpr int64_t kRows = 12;  // of X at a time: whole blocks of every kernel's registers
  share((X.rows + kRows - 1) / kRows, [&](int64_t unit, int) {
    const int64_t first = unit * kRows, rows = std::min(kRows, X.rows - first);
    for (int64_t col = 0; col < cols; col += kTileCols) {
      k_.dot_f32(out.row<float>(first), count, hc.fn.as<float>() + col, cols, count, x + first, rows, col,
                 std::min(kTileCols, cols - col), col > 0, {});
    }
  });
}

void CpuBackend::hc_pre(Mat x, Mat mix, Mat X, const HyperConnection& hc) {
  const FloatMode mode;
  const int64_t n = x.cols;
  const int m = static_cast<int>(X.cols / n), count = m * (m + 2);
  mixes(X, hc);
  each_row(X.rows, 3 * X.cols, [&](int64_t r, int) {
    float* v = mixes_.as<float>() + r * count;
    const uint16_t* streams = X.row<uint16_t>(r);
    const auto factor = static_cast<float>(inverse_rms(k_.sum_squares(streams, X.cols), X.cols, hc.norm_eps));
    for (int i = 0; i < count; ++i) {
      v[i] = v[i] * factor * element(hc.scale, i < m ? 0 : i < 2 * m ? 1 : 2) + element(hc.base, i);
    }
    for (int j = 0; j < m; ++j) v[j] = sigmoid(v[j]) + hc.eps;
    for (int k = m; k < 2 * m; ++k) v[k] = 2.0f * sigmoid(v[k]);
    sinkhorn(v + 2 * m, m, hc.sinkhorn, hc.eps);
    std::memcpy(mix.row<float>(r), v + m, static_cast<size_t>(count - m) * 4);
    uint16_t* y = x.row<uint16_t>(r);
    const double sum = k_.hc_mix(y, streams, v, m, n);
    if (!hc.norm.empty()) weighted_norm(y, y, n, sum, hc.norm, hc.norm_eps);
  });
}

void CpuBackend::hc_head(Mat x, Mat X, const HyperConnection& head) {
  const FloatMode mode;
  const int64_t n = x.cols;
  const int m = static_cast<int>(X.cols / n);
  mixes(X, head);
  each_row(X.rows, 3 * X.cols, [&](int64_t r, int) {
    float* v = mixes_.as<float>() + r * m;
    const uint16_t* streams = X.row<uint16_t>(r);
    const auto factor = static_cast<float>(inverse_rms(k_.sum_squares(streams, X.cols), X.cols, head.norm_eps));
    for (int j = 0; j < m; ++j) {
      v[j] = sigmoid(v[j] * factor * element(head.scale, 0) + element(head.base, j)) + head.eps;
    }
    uint16_t* y = x.row<uint16_t>(r);
    const double sum = k_.hc_mix(y, streams, v, m, n);
    if (!head.norm.empty()) weighted_norm(y, y, n, sum, head.norm, head.norm_eps);
  });
}

void CpuBackend::hc_post(Mat X, Mat y, Mat mix) {
  const FloatMode mode;
  const int64_t n = y.cols;
  const int m = static_cast<int>(X.cols / n);
  each_row(X.rows, X.cols, [&](int64_t r, int) {
    const float* post = mix.row<float>(r);
    k_.hc_spread(X.row<uint16_t>(r), y.row<uint16_t>(r), post, post + m, m, n);
  });
}

void CpuBackend::norm(Mat y, Mat x, const Weight& weight, float eps) {
  const FloatMode mode;
  each_row(x.rows, x.cols, [&](int64_t r, int) {
    const uint16_t* from = x.row<uint16_t>(r);
    weighted_norm(y.row<uint16_t>(r), from, x.cols, k_.sum_squares(from, x.cols), weight, eps);
  });
}

void CpuBackend::rope(Mat table, Mat positions, Mat frequencies) {
  const FloatMode mode;
  const int64_t pairs = frequencies.cols;
  each_row(table.rows, 64 * pairs, [&](int64_t r, int) {
    const auto position = static_cast<float>(*positions.row<int32_t>(r));
    float* cos = table.row<float>(r);
    for (int64_t i = 0; i < pairs; ++i) {
      const float angle = position * frequencies.row<float>(0)[i];  // one FP32 product, as the published program has it
      cos[i] = static_cast<float>(std::cos(static_cast<double>(angle)));
      cos[pairs + i] = static_cast<float>(std::sin(static_cast<double>(angle)));
    }
  });
}

void CpuBackend::carry(Mat previous, Mat X, std::span<const Run> runs) {
  const FloatMode mode;
  const size_t bytes = static_cast<size_t>(X.cols) * 2;
  for (const Run& run : runs) {
    if (run.rows == 0) continue;
    const Mat rows = X.slice(run.first_row, run.rows), before = previous.slice(run.first_row, run.rows);
    std::memcpy(before.row<bf16>(0), host_state(run).carried(run.position - 1), bytes);
    for (int64_t r = 1; r < run.rows; ++r) std::memcpy(before.row<bf16>(r), rows.row<bf16>(r - 1), bytes);
    host_state(run).store_carry(run.position, rows);
  }
}

void CpuBackend::merge(Mat X, Mat e, Mat h) {
  const FloatMode mode;
  const int64_t n = e.cols;
  each_row(X.rows, X.cols, [&](int64_t r, int) {
    for (int64_t k = 0; k < X.cols; k += n) {
      k_.add_rows(X.row<uint16_t>(r) + k, e.row<uint16_t>(r), h.row<uint16_t>(r) + k, n);
    }
  });
}

}  // namespace dsv4::cpu
