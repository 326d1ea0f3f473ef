// Mixture of experts.
//   s = score(gate·x); the k with the largest s + bias (or the token's own, in hash layers); weight = s / Σs · scale
//   expert: g = min(w1·x, limit), u = clamp(w3·x, ±limit), h = silu(g)·u·weight -> BF16, w2·h -> BF16
// A pick is one (row, expert) pair. Picks are sorted by expert, so that every expert's weights are read once per step;
// the shared expert comes last with a pick for every row. The sum of a row's outputs is taken in the order of its
// route, whatever the threads did.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "backends/cpu/cpu_verbs.h"
#include "lib/base/error.h"

namespace dsv4::cpu {
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
  for (int64_t i = 0; i < n; ++i) {
    s[i] = scoring == Scoring::kSigmoid ? 1.0f / (1.0f + std::exp(-s[i])) : std::sqrt(softplus(s[i]));
  }
}

template <class T>
T read_at(const void* data, int64_t i) {  // a checkpoint's tensors may lie at any address
  T v;
  std::memcpy(&v, static_cast<const uint8_t*>(data) + i * static_cast<int64_t>(sizeof(T)), sizeof(T));
  return v;
}

int32_t hash_expert(const Weight& hash, int32_t token, int64_t i, int64_t experts) {
  const int64_t at = token * hash.cols + i;
  const int64_t e = hash.dtype == DType::kI64 ? read_at<int64_t>(hash.data, at) : read_at<int32_t>(hash.data, at);
  return static_cast<int32_t>(std::clamp<int64_t>(e, 0, experts - 1));  // the table is untrusted
}

// The k largest of s + bias, falling; equal ones by lower index; a NaN counts as the lowest.
void pick_experts(int32_t* picked, const float* s, const Weight& bias, int64_t experts, int64_t k) {
  float value[64];
  int64_t found = 0;
  for (int64_t e = 0; e < experts; ++e) {
    float v = s[e] + (bias.empty() ? 0.0f : read_at<float>(bias.data, e));
    if (std::isnan(v)) v = -INFINITY;
    int64_t at = found;
    while (at > 0 && value[at - 1] < v) --at;
    if (at >= k) continue;
    found = std::min(found + 1, k);
    for (int64_t i = found - 1; i > at; --i) {
      value[i] = value[i - 1];
      picked[i] = picked[i - 1];
    }
    value[at] = v;
    picked[at] = static_cast<int32_t>(e);
  }
}

}  // namespace

void CpuBackend::route(const Route& out, Mat x, Mat tokens, const Gate& gate) {
  const FloatMode mode;
  if (x.rows == 0) return;
  const int64_t experts = gate.weight.rows, k = out.experts.cols;
  if (k > 64) fail(Status::kInternal, "cpu backend: {} experts per token: at most 64", k);
  check(x.rows * experts * 4, mixes_, "routing scores");
  const Mat scores{mixes_.as<void>(), DType::kF32, x.rows, experts, experts};
  const Format format = format_of(gate.weight);
  const XForm form = form_for(format, false);
  const void* const* packed = pack(form, x);
  const uint8_t* blocked = nullptr;  // oneDNN is no faster here: few weight rows
  if (k_.dot_blocked != nullptr) blocked = block_rows(form, blocked_[form], 0, packed, x.rows, x.cols);
  const Task task{view_of(gate.weight), format, 0, experts, packed, x.rows, scores, blocked};
  run_tasks({&task, 1});
  const bool normalise = gate.normalise && gate.scoring != Scoring::kSoftmax;
  each_row(x.rows, experts * 16, [&](int64_t r, int) {
    float* s = scores.row<float>(r);
    int32_t* picked = out.experts.row<int32_t>(r);
    float* weight = out.weights.row<float>(r);
    apply_scoring(s, experts, gate.scoring);
    if (gate.hash.empty()) {
      pick_experts(picked, s, gate.bias, experts, k);
    } else {
      for (int64_t i = 0; i < k; ++i) picked[i] = hash_expert(gate.hash, *tokens.row<int32_t>(r), i, experts);
    }
    float sum = 0.0f;
    for (int64_t i = 0; i < k; ++i) sum += s[picked[i]];
    for (int64_t i = 0; i < k; ++i) weight[i] = s[picked[i]] / (normalise ? sum : 1.0f) * gate.scale;
  });
}

uint16_t* CpuBackend::hidden_row(int64_t pick) const { return hidden_.as<uint16_t>() + pick * hidden_stride_; }

// Sorts the picks by expert (a counting sort keeps rows in order) and notes where each went.
void CpuBackend::group_rows(const Route& route, int64_t rows, const Experts& experts) {
  const int64_t k = route.experts.cols, count = static_cast<int64_t>(experts.routed.size());
  check(rows * (k + 1) * 4, pick_row_, "expert picks");
  check((count + 1) * static_cast<int64_t>(sizeof(Group)), groups_, "expert groups");
  Group* groups = groups_.as<Group>();
  int32_t* pick_row = pick_row_.as<int32_t>();
  float* pick_weight = pick_weight_.as<float>();
  int32_t* pick_of = pick_of_.as<int32_t>();
  for (int64_t e = 0; e < count; ++e) groups[e] = {&experts.routed[static_cast<size_t>(e)], 0, 0, nullptr};
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t i = 0; i < k; ++i) ++groups[route.experts.row<int32_t>(r)[i]].count;
  }
  int64_t first = 0;
  for (int64_t e = 0; e < count; ++e) {
    groups[e].first = first;
    first += groups[e].count;
    groups[e].count = 0;
  }
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t i = 0; i < k; ++i) {
      Group& g = groups[route.experts.row<int32_t>(r)[i]];
      const int64_t pick = g.first + g.count++;
      pick_row[pick] = static_cast<int32_t>(r);
      pick_weight[pick] = route.weights.row<float>(r)[i];
      pick_of[r * k + i] = static_cast<int32_t>(pick);
    }
  }
  for (int64_t r = 0; r < rows; ++r) {
    pick_row[first + r] = static_cast<int32_t>(r);
    pick_weight[first + r] = 1.0f;
  }
  groups[count] = {&experts.shared, first, rows, nullptr};
  group_count_ = std::remove_if(groups, groups + count + 1, [](const Group& g) { return g.count == 0; }) - groups;
}

// With several input rows the weight rows of a tile are fetched while those before are multiplied: the more of them, the
// fewer are the first.
int64_t CpuBackend::tile_height(const Group& group) const { return group.count > 2 ? sums_stride_ : kUnitRows; }

// oneDNN wants an expert's input rows at even distances. Their copies lie where packed h will, which comes later.
void CpuBackend::gather_inputs(Group& group, XForm form, int64_t cols) {
  const int64_t bytes = packed_bytes(form, cols);
  if (form == kXF32 || !onednn_takes(group.count)) return;
  if ((group.first + group.count) * bytes > hidden_packed_.bytes()) return;
  const void** x0 = pick_x_[0].as<const void*>();
  const void** x1 = pick_x_[1].as<const void*>();
  const int32_t* row = pick_row_.as<int32_t>() + group.first;
  if (row[group.count - 1] - row[0] != group.count - 1) {  // else they rise by one: the shared expert
    each_row(group.count, bytes / 2, [&](int64_t i, int) {
      const int64_t pick = group.first + i;
      uint8_t* to = hidden_packed_.as<uint8_t>() + pick * bytes;
      std::memcpy(to, x0[pick], static_cast<size_t>(bytes));
      x0[pick] = x1[pick] = to;
    });
  }
  block_group(group, x0, cols);
}

void CpuBackend::block_group(Group& group, const void* const* x, int64_t cols) {
  const int64_t wide = (cols + kPad - 1) / kPad * kPad;
  group.blocked = block_onednn(pick_blocked_, group.first * wide * k_.x_bytes, x + group.first, group.count, cols);
}

// The rows of a tile that a kernel reads first.
Ahead CpuBackend::ahead_of(const Weight& w, int64_t tile, const Group& group) {
  const WeightView view = view_of(w);
  const int64_t rows = std::min<int64_t>(w.rows - tile, group.blocked != nullptr ? 32 : 8);
  return {view.data + tile * view.row_bytes, rows * view.row_bytes};
}

// Some rows of w1 and w3, from `tile` on, with all the expert's picks, to the same columns of h.
void CpuBackend::expert_hidden(int64_t tile, const Group& group, float limit, Ahead then, ThreadScratch& scratch) {
  const Expert& e = *group.expert;
  const int64_t count = std::min(tile_height(group), e.w1.rows - tile);
  float* g = scratch.sums[0].as<float>();
  float* u = scratch.sums[1].as<float>();
  for (int64_t done = 0; done < group.count; done += row_chunk_) {
    const int64_t pick = group.first + done, rows = std::min(row_chunk_, group.count - done);
    Inputs x0 = inputs_at(pick_x_[0].as<const void*>() + group.first, group.blocked, done, rows, e.w1.cols);
    Inputs x1 = inputs_at(pick_x_[1].as<const void*>() + group.first, group.blocked, done, rows, e.w3.cols);
    const WeightView w1 = view_of(e.w1), w3 = view_of(e.w3);
    x0.then = ahead_of(e.w3, tile, group);
    if (done + rows == group.count) x1.then = then;
    multiply(g, sums_stride_, w1, format_of(e.w1), tile, count, x0, scratch);
    multiply(u, sums_stride_, w3, format_of(e.w3), tile, count, x1, scratch);
    for (int64_t r = 0; r < rows; ++r) {
      k_.swiglu(hidden_row(pick + r) + tile, g + r * sums_stride_, u + r * sums_stride_,
                pick_weight_.as<float>()[pick + r], limit, count);
    }
  }
}

// Some rows of w2, from `tile` on, with all the expert's picks, to their outputs.
void CpuBackend::expert_output(int64_t tile, const Group& group, int64_t hidden, Ahead then, ThreadScratch& scratch) {
  const Weight& w2 = group.expert->w2;
  const int64_t count = std::min(tile_height(group), w2.rows - tile);
  float* sums = scratch.sums[0].as<float>();
  for (int64_t done = 0; done < group.count; done += row_chunk_) {
    const int64_t pick = group.first + done, rows = std::min(row_chunk_, group.count - done);
    Inputs h = inputs_at(pick_h_.as<const void*>() + group.first, group.blocked, done, rows, w2.cols);
    if (done + rows == group.count) h.then = then;
    multiply(sums, sums_stride_, view_of(w2), format_of(w2), tile, count, h, scratch);
    for (int64_t r = 0; r < rows; ++r) {
      k_.store_bf16(outputs_.as<uint16_t>() + (pick + r) * hidden + tile, sums + r * sums_stride_, count);
    }
  }
}

void CpuBackend::experts(Mat y, Mat x, const Route& route, const Experts& experts) {
  const FloatMode mode;
  if (x.rows == 0) return;
  const int64_t n = x.cols, k = route.experts.cols, picks = x.rows * (k + 1);
  group_rows(route, x.rows, experts);
  Group* groups = groups_.as<Group>();
  check(picks * n * 2, outputs_, "expert outputs");

  // What every pick multiplies with: packed rows of x, in the form that its weights want.
  const void* const* packed[kXForms] = {};
  int64_t widest = 0;
  for (int64_t i = 0; i < group_count_; ++i) {
    const Weight* inputs[2] = {&groups[i].expert->w1, &groups[i].expert->w3};
    for (int w = 0; w < 2; ++w) {
      const XForm form = form_for(format_of(*inputs[w]), true);
      if (packed[form] == nullptr) packed[form] = pack(form, x);
      const void** to = pick_x_[w].as<const void*>();
      for (int64_t p = groups[i].first; p < groups[i].first + groups[i].count; ++p) {
        to[p] = packed[form][pick_row_.as<int32_t>()[p]];
      }
    }
    const XForm form = form_for(format_of(*inputs[0]), true);
    if (form == form_for(format_of(*inputs[1]), true)) gather_inputs(groups[i], form, n);
    widest = std::max(widest, groups[i].expert->w1.rows);
  }
  if (widest > hidden_stride_) {
    fail(Status::kInternal, "cpu backend: experts of width {} reserved, {} needed", hidden_stride_, widest);
  }

  if (k_.dot_blocked != nullptr) block_groups(pick_x_[0].as<const void*>(), &Expert::w1);

  const auto each_tile = [&](const Weight Expert::*weight, auto body) {
    int64_t tiles = 0;
    const auto tiles_of = [&](const Group& g) {
      return ((g.expert->*weight).rows + tile_height(g) - 1) / tile_height(g);
    };
    const auto group_of = [&](int64_t& tile) -> const Group& {
      const Group* g = groups;
      for (; tile >= tiles_of(*g); ++g) tile -= tiles_of(*g);
      tile *= tile_height(*g);
      return *g;
    };
    for (int64_t i = 0; i < group_count_; ++i) tiles += tiles_of(groups[i]);
    share_ahead(tiles, [&](int64_t tile, int64_t next, int thread) {
      const Group& g = group_of(tile);
      Ahead then;
      if (next >= 0) {
        const Group& after = group_of(next);
        then = ahead_of(after.expert->*weight, next, after);
      }
      body(tile, g, then, threads_[static_cast<size_t>(thread)]);
    });
  };
  each_tile(&Expert::w1, [&](int64_t tile, const Group& g, Ahead then, ThreadScratch& s) {
    expert_hidden(tile, g, experts.limit, then, s);
  });

  const void** pointers = pick_h_.as<const void*>();
  for (int64_t i = 0; i < group_count_; ++i) {
    Group& g = groups[i];
    const XForm form = form_for(format_of(g.expert->w2), true);
    each_row(g.count, g.expert->w1.rows, [&](int64_t p, int) {
      const int64_t pick = g.first + p;
      void* to = hidden_packed_.as<float>() + pick * hidden_stride_;
      k_.pack(form, to, hidden_row(pick), g.expert->w1.rows);
      pointers[pick] = to;
    });
    g.blocked = nullptr;
    if (form != kXF32 && onednn_takes(g.count)) block_group(g, pointers, g.expert->w1.rows);
  }
  if (k_.dot_blocked != nullptr) block_groups(pointers, &Expert::w2);
  each_tile(&Expert::w2, [&](int64_t tile, const Group& g, Ahead then, ThreadScratch& s) {
    expert_output(tile, g, n, then, s);
  });
  check_memory();

  const int64_t shared = x.rows * k;
  each_row(x.rows, n * (k + 1), [&](int64_t r, int thread) {
    float* sum = threads_[static_cast<size_t>(thread)].sums[0].as<float>();
    const int32_t* pick_of = pick_of_.as<int32_t>() + r * k;
    for (int64_t c = 0; c < n; c += kRowChunk * kTileRows) {
      const int64_t part = std::min(kRowChunk * kTileRows, n - c);
      std::memset(sum, 0, static_cast<size_t>(part) * 4);
      for (int64_t i = 0; i < k; ++i) k_.sum_bf16(sum, outputs_.as<uint16_t>() + pick_of[i] * n + c, part);
      k_.sum_bf16(sum, outputs_.as<uint16_t>() + (shared + r) * n + c, part);
      k_.store_bf16(y.row<uint16_t>(r) + c, sum, part);
    }
  });
}

}  // namespace dsv4::cpu
