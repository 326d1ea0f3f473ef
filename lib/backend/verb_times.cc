#include "lib/backend/verb_times.h"

#include <algorithm>
#include <chrono>
#include <string_view>
#include <utility>

namespace dsv4 {
namespace {

double bytes_of(const Weight& w) {
  double bytes = static_cast<double>(w.rows * w.cols) * dtype_bits(w.dtype) / 8;
  if (w.dtype == DType::kF8E4M3) bytes += static_cast<double>((w.rows + 127) / 128 * w.scale_cols);
  if (w.dtype == DType::kFP4) bytes += static_cast<double>(w.rows * w.scale_cols);
  return bytes;
}

}  // namespace

std::vector<VerbTimes::Line> VerbTimes::lines() const {
  const std::lock_guard lock(mutex_);
  return lines_;
}

void VerbTimes::clear() {
  const std::lock_guard lock(mutex_);
  lines_.clear();
}

void VerbTimes::add(const Weight& weight, int64_t rows) {
  weight_bytes_ += bytes_of(weight);
  multiply_adds_ += static_cast<double>(weight.rows * weight.cols) * static_cast<double>(rows);
}

void VerbTimes::hc_pre(Mat x, Mat mix, Mat X, const HyperConnection& hc) {
  add(hc.fn, X.rows);
  Decorator::hc_pre(x, mix, X, hc);
}
void VerbTimes::hc_post_pre(Mat x, Mat mix, Mat X, Mat y, const HyperConnection& next) {
  add(next.fn, X.rows);
  Decorator::hc_post_pre(x, mix, X, y, next);
}
void VerbTimes::hc_head(Mat x, Mat X, const HyperConnection& head) {
  add(head.fn, X.rows);
  Decorator::hc_head(x, X, head);
}
void VerbTimes::linear(std::span<const Product> products, Mat x) {
  for (const Product& p : products) add(*p.weight, x.rows);
  Decorator::linear(products, x);
}
void VerbTimes::project_out(Mat y, Mat low, Mat o, const Weight& wo_a, const Weight& wo_b, int64_t groups) {
  add(wo_a, o.rows);
  add(wo_b, o.rows);
  Decorator::project_out(y, low, o, wo_a, wo_b, groups);
}
void VerbTimes::route(const Route& out, Mat x, Mat tokens, const Gate& gate) {
  add(gate.weight, x.rows);
  Decorator::route(out, x, tokens, gate);
}
void VerbTimes::logits(Mat out, Mat x, const Weight& head) {
  add(head, x.rows);
  Decorator::logits(out, x, head);
}

void VerbTimes::experts(Mat y, Mat x, const Route& route, const Experts& experts) {
  std::vector<int32_t> picked(static_cast<size_t>(route.experts.rows * route.experts.cols));
  inner().download(picked.data(), route.experts);
  std::sort(picked.begin(), picked.end());
  for (size_t i = 0; i < picked.size();) {
    size_t end = i;
    while (end < picked.size() && picked[end] == picked[i]) ++end;
    const Expert& e = experts.routed[static_cast<size_t>(picked[i])];
    for (const Weight* w : {&e.w1, &e.w2, &e.w3}) add(*w, static_cast<int64_t>(end - i));
    i = end;
  }
  for (const Weight* w : {&experts.shared.w1, &experts.shared.w2, &experts.shared.w3}) add(*w, x.rows);
  Decorator::experts(y, x, route, experts);
}

void VerbTimes::verb(const char* name, const Mat&, const std::function<void()>& call) {
  // Taken first: a call that throws leaves nothing to the next one.
  const double weight_bytes = std::exchange(weight_bytes_, 0), multiply_adds = std::exchange(multiply_adds_, 0);
  const auto start = std::chrono::steady_clock::now();
  call();
  inner().synchronize();
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const std::lock_guard lock(mutex_);
  const auto at =
      std::find_if(lines_.begin(), lines_.end(), [&](const Line& l) { return std::string_view(l.verb) == name; });
  Line& line = at != lines_.end() ? *at : lines_.emplace_back(Line{name, 0, 0, 0, 0});
  ++line.calls;
  line.seconds += seconds;
  line.weight_bytes += weight_bytes;
  line.multiply_adds += multiply_adds;
}

}  // namespace dsv4
