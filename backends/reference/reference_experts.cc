// Mixture of experts.
//   s = score(gate·x); the k with the largest s + bias (or the token's own, in hash layers); weight = s / Σs · scale
//   expert: g = min(w1·x, limit), u = clamp(w3·x, ±limit), h = silu(g)·u·weight -> BF16, w2·h -> BF16
#include <algorithm>
#include <cmath>

#include "backends/reference/reference_math.h"
#include "backends/reference/reference_verbs.h"

namespace dsv4::reference {
namespace {

float softplus(float x) { return x > 20.0f ? x : std::log1p(std::exp(x)); }  // beyond 20 they are the same float

void apply_scoring(float* s, int64_t n, Scoring scoring) {
  if (scoring == Scoring::kSoftmax) {
    const float highest = *std::max_element(s, s + n);
    double sum = 0;
    for (int64_t i = 0; i < n; ++i) sum += s[i] = std::exp(s[i] - highest);
    for (int64_t i = 0; i < n; ++i) s[i] = static_cast<float>(s[i] / sum);
    return;
  }
  for (int64_t i = 0; i < n; ++i) s[i] = scoring == Scoring::kSigmoid ? sigmoid(s[i]) : std::sqrt(softplus(s[i]));
}

int32_t hash_expert(const Weight& hash, int32_t token, int64_t i, int64_t experts) {
  const int64_t at = token * hash.cols + i;
  const int64_t e = hash.dtype == DType::kI64 ? hash.as<int64_t>()[at] : hash.as<int32_t>()[at];
  return static_cast<int32_t>(std::clamp<int64_t>(e, 0, experts - 1));  // the table is untrusted
}

float silu(float x) { return x / (1.0f + std::exp(-x)); }  // one rounding fewer than x * sigmoid(x)

}  // namespace

void ReferenceBackend::route(const Route& out, Mat x, Mat tokens, const Gate& gate) {
  const int64_t experts = gate.weight.rows, k = out.experts.cols;
  const bool normalise = gate.normalise && gate.scoring != Scoring::kSoftmax;
  float* score = scratch_.scores.data();
  float* biased = scratch_.biased.data();
  for (int64_t r = 0; r < x.rows; ++r) {
    int32_t* picked = out.experts.row<int32_t>(r);
    float* weight = out.weights.row<float>(r);
    read_row(scratch_.row.data(), x, r);
    for (int64_t e = 0; e < experts; ++e) {
      score[e] = dot(weight_row(gate.weight, e, scratch_.weight.data()), scratch_.row.data(), x.cols);
    }
    apply_scoring(score, experts, gate.scoring);
    if (gate.hash.empty()) {
      for (int64_t e = 0; e < experts; ++e) biased[e] = score[e] + (gate.bias.empty() ? 0.0f : weight_at(gate.bias, e));
      pick_best(scratch_.order.data(), biased, experts, k);
      std::copy_n(scratch_.order.data(), k, picked);
    } else {
      for (int64_t i = 0; i < k; ++i) picked[i] = hash_expert(gate.hash, *tokens.row<int32_t>(r), i, experts);
    }
    float sum = 0.0f;
    for (int64_t i = 0; i < k; ++i) sum += score[picked[i]];
    for (int64_t i = 0; i < k; ++i) weight[i] = score[picked[i]] / (normalise ? sum : 1.0f) * gate.scale;
  }
}

// Adds one expert's output to scratch sum, for `count` rows of scratch input (x, quantised already if the weights are).
// `rows` and `weights` name the rows and their routing weights.
void ReferenceBackend::expert_sum(const Expert& expert, const int32_t* rows, int64_t count, const float* weights,
                                  float limit) {
  const int64_t n = expert.w1.cols, width = expert.w1.rows;
  float* h = scratch_.hidden.data();
  for (int64_t i = 0; i < width; ++i) {
    const float* w1 = weight_row(expert.w1, i, scratch_.weight.data());
    const float* w3 = weight_row(expert.w3, i, scratch_.row.data());
    for (int64_t r = 0; r < count; ++r) {
      const float* x = scratch_.input.data() + rows[r] * n;
      float g = round_bf16(dot(w1, x, n));
      float u = round_bf16(dot(w3, x, n));
      if (limit > 0.0f) {
        g = std::min(g, limit);
        u = std::clamp(u, -limit, limit);
      }
      h[r * width + i] = round_bf16(silu(g) * u * weights[r]);
    }
  }
  if (expert.w2.quantised()) {
    for (int64_t r = 0; r < count; ++r) quantise_e4m3(h + r * width, width, 128);
  }
  for (int64_t i = 0; i < n; ++i) {
    const float* w2 = weight_row(expert.w2, i, scratch_.weight.data());
    for (int64_t r = 0; r < count; ++r) {
      scratch_.sum[static_cast<size_t>(rows[r] * n + i)] += round_bf16(dot(w2, h + r * width, width));
    }
  }
}

void ReferenceBackend::experts(Mat y, Mat x, const Route& route, const Experts& experts) {
  const int64_t n = x.cols;
  bool loaded = false, loaded_quantised = false;
  const auto load_input = [&](const Weight& w1) {
    const bool quantise = w1.quantised();
    if (loaded && loaded_quantised == quantise) return;
    loaded = true;
    loaded_quantised = quantise;
    for (int64_t r = 0; r < x.rows; ++r) {
      float* input = scratch_.input.data() + r * n;
      read_row(input, x, r);
      if (quantise) quantise_e4m3(input, n, 128);
    }
  };
  int32_t* rows = scratch_.order.data();
  float* weights = scratch_.scores.data();
  std::fill_n(scratch_.sum.data(), x.rows * n, 0.0);
  for (size_t e = 0; e < experts.routed.size(); ++e) {
    int64_t count = 0;
    for (int64_t r = 0; r < x.rows; ++r) {
      for (int64_t i = 0; i < route.experts.cols; ++i) {
        if (route.experts.row<int32_t>(r)[i] != static_cast<int32_t>(e)) continue;
        rows[count] = static_cast<int32_t>(r);
        weights[count++] = route.weights.row<float>(r)[i];
      }
    }
    if (count == 0) continue;
    load_input(experts.routed[e].w1);
    expert_sum(experts.routed[e], rows, count, weights, experts.limit);
  }
  for (int64_t r = 0; r < x.rows; ++r) {
    rows[r] = static_cast<int32_t>(r);
    weights[r] = 1.0f;
  }
  load_input(experts.shared.w1);
  expert_sum(experts.shared, rows, x.rows, weights, experts.limit);
  for (int64_t r = 0; r < x.rows; ++r) {
    const double* sum = scratch_.sum.data() + r * n;
    for (int64_t i = 0; i < n; ++i) y.row<bf16>(r)[i] = to_bf16(static_cast<float>(sum[i]));
  }
}

}  // namespace dsv4::reference
