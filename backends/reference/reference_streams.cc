// The residual state X, m streams of n, and how a sub-layer reads and writes it: manifold hyper-connections (mHC).
//   mix = fn · flat(X) / rms(flat(X));  pre = sigmoid(mix·scale + base) + eps;  x = Σ_j pre[j]·X[j]
//   X'[k] = post[k]·y + Σ_j comb[j][k]·X[j], comb made doubly stochastic by Sinkhorn's iteration
#include <cmath>
#include <cstring>

#include "backends/reference/reference_math.h"
#include "backends/reference/reference_verbs.h"

namespace dsv4::reference {
namespace {

// mix[i] = fn[i] · X / sqrt(mean(X²) + eps), for every row of fn; X is one token's streams, flat.
void project(float* mix, const float* X, const HyperConnection& hc, float* scratch) {
  const auto scale = static_cast<float>(inverse_rms(X, hc.fn.cols, hc.norm_eps));
  for (int64_t i = 0; i < hc.fn.rows; ++i) mix[i] = dot(weight_row(hc.fn, i, scratch), X, hc.fn.cols) * scale;
}

// C [m, m]: row j, column k. Softmax over k, then columns and rows by turns divided by their sums.
void sinkhorn(float* C, int64_t m, int iterations, float eps) {
  const auto divide_rows = [&] {
    for (int64_t j = 0; j < m; ++j) {
      float sum = eps;
      for (int64_t k = 0; k < m; ++k) sum += C[j * m + k];
      for (int64_t k = 0; k < m; ++k) C[j * m + k] /= sum;
    }
  };
  const auto divide_columns = [&] {
    for (int64_t k = 0; k < m; ++k) {
      float sum = eps;
      for (int64_t j = 0; j < m; ++j) sum += C[j * m + k];
      for (int64_t j = 0; j < m; ++j) C[j * m + k] /= sum;
    }
  };
  for (int64_t j = 0; j < m; ++j) {
    float* row = C + j * m;
    float top = row[0], sum = 0.0f;
    for (int64_t k = 1; k < m; ++k) top = std::fmax(top, row[k]);
    for (int64_t k = 0; k < m; ++k) sum += row[k] = std::exp(row[k] - top);
    for (int64_t k = 0; k < m; ++k) row[k] = row[k] / sum + eps;
  }
  divide_columns();
  for (int i = 1; i < iterations; ++i) {
    divide_rows();
    divide_columns();
  }
}

}  // namespace

void ReferenceBackend::embed(Mat X, Mat tokens, const Weight& table) {
  for (int64_t r = 0; r < X.rows; ++r) {
    const float* e = weight_row(table, *tokens.row<int32_t>(r), scratch_.weight.data());
    for (int64_t i = 0; i < X.cols; ++i) X.row<bf16>(r)[i] = to_bf16(e[i % table.cols]);
  }
}

// x = Σ_j pre[j]·X[j] -> BF16
void ReferenceBackend::sum_streams(float* x, const float* X, const float* pre, int64_t m, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    float sum = 0.0f;
    for (int64_t j = 0; j < m; ++j) sum += pre[j] * X[j * n + i];
    x[i] = round_bf16(sum);
  }
}

void ReferenceBackend::hc_pre(Mat x, Mat mix, Mat X, const HyperConnection& hc) {
  const int64_t n = x.cols, m = X.cols / n;
  float* flat = scratch_.row.data();
  float* v = scratch_.mixes.data();
  for (int64_t r = 0; r < X.rows; ++r) {
    read_row(flat, X, r);
    project(v, flat, hc, scratch_.weight.data());
    for (int64_t i = 0; i < hc.fn.rows; ++i) {
      const int64_t part = i < m ? 0 : i < 2 * m ? 1 : 2;  // pre, post, comb
      v[i] = v[i] * weight_at(hc.scale, part) + weight_at(hc.base, i);
    }
    for (int64_t j = 0; j < m; ++j) v[j] = sigmoid(v[j]) + hc.eps;
    for (int64_t k = m; k < 2 * m; ++k) v[k] = 2.0f * sigmoid(v[k]);
    sinkhorn(v + 2 * m, m, hc.sinkhorn, hc.eps);
    write_row(mix, r, v + m);
    sum_streams(flat, flat, v, m, n);  // in place: element i is read from every stream before it is written
    if (!hc.norm.empty()) weighted_norm(flat, n, hc.norm, hc.norm_eps);
    write_row(x, r, flat);
  }
}

void ReferenceBackend::hc_post(Mat X, Mat y, Mat mix) {
  const int64_t n = y.cols, m = X.cols / n;
  float* old = scratch_.row.data();
  for (int64_t r = 0; r < X.rows; ++r) {
    const float* post = mix.row<float>(r);  // [m]
    const float* comb = post + m;           // [m, m]
    const bf16* out = y.row<bf16>(r);
    read_row(old, X, r);
    for (int64_t k = 0; k < m; ++k) {
      for (int64_t i = 0; i < n; ++i) {
        // The streams are summed before y joins them: another order of these FP32 sums lands on the other side of a
        // BF16 tie in 24 to 35 of a million values, this one in none (recorded steps of micro and micro2).
        float sum = comb[k] * old[i];
        for (int64_t j = 1; j < m; ++j) sum += comb[j * m + k] * old[j * n + i];
        X.row<bf16>(r)[k * n + i] = to_bf16(post[k] * to_float(out[i]) + sum);
      }
    }
  }
}

void ReferenceBackend::hc_head(Mat x, Mat X, const HyperConnection& head) {
  const int64_t n = x.cols, m = X.cols / n;
  float* flat = scratch_.row.data();
  float* v = scratch_.mixes.data();
  for (int64_t r = 0; r < X.rows; ++r) {
    read_row(flat, X, r);
    project(v, flat, head, scratch_.weight.data());
    for (int64_t j = 0; j < m; ++j) {
      v[j] = sigmoid(v[j] * weight_at(head.scale, 0) + weight_at(head.base, j)) + head.eps;
    }
    sum_streams(flat, flat, v, m, n);
    if (!head.norm.empty()) weighted_norm(flat, n, head.norm, head.norm_eps);
    write_row(x, r, flat);
  }
}

void ReferenceBackend::carry(Mat previous, Mat X, std::span<const Run> runs) {
  const size_t bytes = static_cast<size_t>(X.cols) * 2;
  for (const Run& run : runs) {
    if (run.rows == 0) continue;
    const Mat rows = X.slice(run.first_row, run.rows);
    const Mat before = previous.slice(run.first_row, run.rows);
    std::memcpy(before.row<bf16>(0), host_state(run).carried(run.position - 1), bytes);
    for (int64_t r = 1; r < run.rows; ++r) std::memcpy(before.row<bf16>(r), rows.row<bf16>(r - 1), bytes);
    host_state(run).store_carry(run.position, rows);
  }
}

void ReferenceBackend::merge(Mat X, Mat e, Mat h) {
  const int64_t n = e.cols;
  for (int64_t r = 0; r < X.rows; ++r) {
    for (int64_t i = 0; i < X.cols; ++i) {
      X.row<bf16>(r)[i] = to_bf16(to_float(e.row<bf16>(r)[i % n]) + to_float(h.row<bf16>(r)[i]));
    }
  }
}

}  // namespace dsv4::reference
