// Mixture of experts: y = Σ over the picked (each -> BF16) + shared -> BF16. Which expert has which rows is found out
// on the device; the host keeps a table of every layer's experts there.
#include <algorithm>

#include "backends/cuda/cuda_verbs.h"
#include "lib/base/error.h"

namespace dsv4::cuda {
namespace {

ExpertView views_of(const Expert& e) { return {view_of(e.w1), view_of(e.w2), view_of(e.w3)}; }

bool is_quantised(const WeightView& w) { return w.dtype == DType::kF8E4M3 || w.dtype == DType::kFP4; }

// Whether only the plain kernels take it: the others read 16 bytes of a row at a time and widen to BF16, w1 and w3
// alike.
bool plain_only(const ExpertView& e) {
  for (const WeightView* w : {&e.w1, &e.w2, &e.w3}) {
    if (!w->aligned || w->dtype == DType::kF32) return true;
  }
  return e.w1.dtype != e.w3.dtype;
}

}  // namespace

const ExpertTable& ExpertScratch::table_for(const Gpu& gpu, const Experts& experts) {
  if (experts.routed.empty() || static_cast<int64_t>(experts.routed.size()) > kMostExperts) {
    fail(Status::kUnsupported, "cuda backend: {} routed experts: expected 1 to {}", experts.routed.size(),
         kMostExperts);
  }
  ExpertTable& table = tables[experts.routed.data()];
  // Another model may have come to lie where an earlier one was: the weights themselves decide.
  const auto same = [&] {
    if (table.views.size() != experts.routed.size() + 1) return false;
    for (size_t e = 0; e < experts.routed.size(); ++e) {
      if (!(table.views[e] == views_of(experts.routed[e]))) return false;
    }
    return table.views.back() == views_of(experts.shared);
  };
  if (same()) return table;

  ExpertTable made;
  for (const Expert& e : experts.routed) made.views.push_back(views_of(e));
  made.views.push_back(views_of(experts.shared));
  for (const ExpertView& view : made.views) {
    made.width = std::max(made.width, view.w1.rows);
    made.plain = made.plain || plain_only(view);
    made.quantised_x = made.quantised_x || is_quantised(view.w1);
    made.quantised_h = made.quantised_h || is_quantised(view.w2);
  }
  const size_t bytes = made.views.size() * sizeof(ExpertView);
  made.device = DeviceBuffer(gpu, bytes, "table of a layer's experts", DeviceBuffer::kUninitialised);
  check(cudaMemcpyAsync(made.device.as<void>(), made.views.data(), bytes, cudaMemcpyHostToDevice, gpu.stream()),
        "cuda: copying a table of experts failed");
  table = std::move(made);
  return table;
}

void CudaBackend::experts(Mat y, Mat x, const Route& route, const Experts& experts) {
  if (x.rows == 0) return;
  const ExpertTable& table = experts_.table_for(gpu_, experts);
  const int64_t k = route.experts.cols, picks = x.rows * (k + 1);
  if (static_cast<size_t>(picks * quantised_stride(table.width)) * sizeof(bf16) > experts_.hidden.size() ||
      static_cast<size_t>(picks * x.cols) * sizeof(bf16) > experts_.outputs.size() ||
      static_cast<size_t>(picks) * sizeof(ExpertItem) > experts_.items.size()) {
    fail(Status::kInternal, "cuda backend: {} rows with {} experts each of width {}: more than was reserved", x.rows, k,
         table.width);
  }
  ExpertStep step;
  step.x = x.row<bf16>(0);
  step.x_stride = x.stride;
  step.y = y.row<bf16>(0);
  step.y_stride = y.stride;
  step.route_experts = route.experts.row<int32_t>(0);
  step.route_experts_stride = route.experts.stride;
  step.route_weights = route.weights.row<float>(0);
  step.route_weights_stride = route.weights.stride;
  step.rows = static_cast<int32_t>(x.rows);
  step.cols = static_cast<int32_t>(x.cols);
  step.k = static_cast<int32_t>(k);
  step.experts = static_cast<int32_t>(experts.routed.size());
  step.limit = experts.limit;
  step.x_aligned = x.stride % 8 == 0 && reinterpret_cast<uintptr_t>(step.x) % 16 == 0;
  run_experts(gpu_, experts_, table, step);
}

}  // namespace dsv4::cuda
