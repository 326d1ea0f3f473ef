// Decorator: a backend that passes every verb on to another one. Tracing, timing, comparing and failing on purpose are
// subclasses that override `verb`, or single verbs; the forward pass knows nothing of them.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "lib/backend/backend.h"

namespace dsv4 {

class Decorator : public Backend {
 public:
  explicit Decorator(std::unique_ptr<Backend> inner) : inner_(std::move(inner)) {}
  Backend& inner() { return *inner_; }

  std::string name() const override { return inner_->name(); }
  std::string description() const override { return inner_->description(); }
  double matrix_peak() override { return inner_->matrix_peak(); }
  double copy_peak() override { return inner_->copy_peak(); }
  uint64_t free_device_bytes() const override { return inner_->free_device_bytes(); }
  std::unique_ptr<Memory> allocate(size_t bytes) override { return inner_->allocate(bytes); }
  bool expect_weights(uint64_t bytes) override { return inner_->expect_weights(bytes); }
  Weight prepare(const HostTensor& tensor) override { return inner_->prepare(tensor); }
  std::unique_ptr<SequenceState> make_state(const StateShape& shape) override { return inner_->make_state(shape); }
  size_t state_bytes(const StateShape& shape) const override { return inner_->state_bytes(shape); }
  void reserve(const Limits& limits) override { inner_->reserve(limits); }
  void upload(Mat to, const void* from) override { inner_->upload(to, from); }
  void download(void* to, Mat from) override { inner_->download(to, from); }
  void run(uint64_t, std::span<const Run>, const std::function<void()>& body) override { body(); }  // no replay: every verb must come by
  void commit(std::span<const Run> runs) override { inner_->commit(runs); }
  void synchronize() override { inner_->synchronize(); }

  void embed(Mat X, Mat tokens, const Weight& table) override {
    verb("embed", X, [&] { inner_->embed(X, tokens, table); });
  }
  void hc_pre(Mat x, Mat mix, Mat X, const HyperConnection& hc) override {
    verb("hc_pre", x, [&] { inner_->hc_pre(x, mix, X, hc); });
  }
  void hc_post(Mat X, Mat y, Mat mix) override {
    verb("hc_post", X, [&] { inner_->hc_post(X, y, mix); });
  }
  void hc_post_pre(Mat x, Mat mix, Mat X, Mat y, const HyperConnection& next) override {
    verb("hc_post_pre", X, [&] { inner_->hc_post_pre(x, mix, X, y, next); });
  }
  void hc_head(Mat x, Mat X, const HyperConnection& head) override {
    verb("hc_head", x, [&] { inner_->hc_head(x, X, head); });
  }
  void norm(Mat y, Mat x, const Weight& weight, float eps) override {
    verb("norm", y, [&] { inner_->norm(y, x, weight, eps); });
  }
  void linear(std::span<const Product> products, Mat x) override {
    verb("linear", products.front().out, [&] { inner_->linear(products, x); });
  }
  void rope(Mat table, Mat positions, Mat frequencies) override {
    verb("rope", table, [&] { inner_->rope(table, positions, frequencies); });
  }
  void query(Mat q, Mat rope, const Query& options) override {
    verb("query", q, [&] { inner_->query(q, rope, options); });
  }
  void append(const Cache& cache, Mat kv, Mat rope, const Append& options) override {
    verb("append", kv, [&] { inner_->append(cache, kv, rope, options); });
  }
  void compress(const Cache& cache, Mat k, Mat z, const Compressor& options) override {
    verb("compress", k, [&] { inner_->compress(cache, k, z, options); });
  }
  void index(Mat top, const Cache& cache, Mat q, Mat w, const Indexer& options) override {
    verb("index", top, [&] { inner_->index(top, cache, q, w, options); });
  }
  void attend(Mat o, const Cache& cache, Mat q, Mat top, Mat rope, const Attention& options) override {
    verb("attend", o, [&] { inner_->attend(o, cache, q, top, rope, options); });
  }
  void project_out(Mat y, Mat low, Mat o, const Weight& wo_a, const Weight& wo_b, int64_t groups) override {
    verb("project_out", y, [&] { inner_->project_out(y, low, o, wo_a, wo_b, groups); });
  }
  void route(const Route& out, Mat x, Mat tokens, const Gate& gate) override {
    verb("route", out.weights, [&] { inner_->route(out, x, tokens, gate); });
  }
  void experts(Mat y, Mat x, const Route& route, const Experts& experts) override {
    verb("experts", y, [&] { inner_->experts(y, x, route, experts); });
  }
  void logits(Mat out, Mat x, const Weight& head) override {
    verb("logits", out, [&] { inner_->logits(out, x, head); });
  }
  void carry(Mat previous, Mat X, std::span<const Run> runs) override {
    verb("carry", previous, [&] { inner_->carry(previous, X, runs); });
  }
  void merge(Mat X, Mat e, Mat h) override {
    verb("merge", X, [&] { inner_->merge(X, e, h); });
  }

 protected:
  // Around every verb: `call` runs it, `out` is its (first) output. The default runs it.
  virtual void verb(const char* name, const Mat& out, const std::function<void()>& call) {
    (void)name;
    (void)out;
    call();
  }

 private:
  std::unique_ptr<Backend> inner_;
};

// Trace: shows every verb's output to a sink, in order, once it is there.
class Trace final : public Decorator {
 public:
  using Sink = std::function<void(const char* verb, const Mat& out, Backend& backend)>;
  Trace(std::unique_ptr<Backend> inner, Sink sink) : Decorator(std::move(inner)), sink_(std::move(sink)) {}

 protected:
  void verb(const char* name, const Mat& out, const std::function<void()>& call) override {
    call();
    sink_(name, out, inner());
  }

 private:
  Sink sink_;
};

}  // namespace dsv4
