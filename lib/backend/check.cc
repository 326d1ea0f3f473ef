// Two backends in step: everything exists twice, as the tested backend made it and as the reference did. Callers hold
// the tested one's pointers; a table of address ranges and one of weights lead from them to the reference's.
#include "lib/backend/check.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "lib/backend/state_parts.h"
#include "lib/base/error.h"
#include "lib/base/kv_row.h"

namespace dsv4 {
namespace {

using Kind = CheckReport::Kind;
using Line = CheckReport::Line;
using Place = CheckReport::Place;

bool in_runs(int64_t row, std::span<const Run> runs) {
  return std::any_of(runs.begin(), runs.end(),
                     [&](const Run& run) { return row >= run.first_row && row < run.first_row + run.rows; });
}

size_t dense_bytes(const Mat& m, int64_t rows) {
  return static_cast<size_t>(rows * m.cols) * static_cast<size_t>(dtype_bits(m.dtype)) / 8;
}

// ---------------------------------------------------------------------------------------------------------- states

class PairState final : public SequenceState {
 public:
  // Rows that wait for commit(): only then can they be read.
  struct Pending {
    int layer;
    StateRows rows;
    int64_t call;
    Run run;
  };

  PairState(const StateShape& shape, std::unique_ptr<SequenceState> tested, std::unique_ptr<SequenceState> reference)
      : shape_(shape), tested_(std::move(tested)), reference_(std::move(reference)) {}

  size_t bytes() const override { return tested_->bytes() + reference_->bytes(); }
  void export_rows(int layer, StateRows which, int64_t first, int64_t count, uint8_t* out) const override {
    tested_->export_rows(layer, which, first, count, out);
  }
  void import_rows(int layer, StateRows which, int64_t first, int64_t count, const uint8_t* in) override {
    tested_->import_rows(layer, which, first, count, in);
    reference_->import_rows(layer, which, first, count, in);
  }

  const StateShape& shape() const { return shape_; }
  SequenceState* tested() const { return tested_.get(); }
  SequenceState* reference() const { return reference_.get(); }
  std::vector<Pending>& pending() { return pending_; }

  // Compares rows [first, first + count) of one kind; step_row(i) is the row of the step that row i comes from.
  void compare(Line& line, int64_t call, int layer, StateRows which, int64_t first, int64_t count,
               const std::function<int64_t(int64_t)>& step_row);

 private:
  StateShape shape_;
  std::unique_ptr<SequenceState> tested_;
  std::unique_ptr<SequenceState> reference_;
  std::vector<Pending> pending_;
};

void PairState::compare(Line& line, int64_t call, int layer, StateRows which, int64_t first, int64_t count,
                        const std::function<int64_t(int64_t)>& step_row) {
  const bool carry = which == StateRows::kCarry;
  const LayerShape l = carry ? LayerShape{} : shape_.layers[static_cast<size_t>(layer)];
  const size_t bytes = carry ? static_cast<size_t>(shape_.carry) * 2 : row_bytes(l, which);
  if (count <= 0 || bytes == 0) return;
  std::vector<uint8_t> a(static_cast<size_t>(count) * bytes), b(a.size());
  tested_->export_rows(layer, which, first, count, a.data());
  reference_->export_rows(layer, which, first, count, b.data());
  for (int64_t i = 0; i < count; ++i) {
    const uint8_t* row_a = a.data() + static_cast<size_t>(i) * bytes;
    const uint8_t* row_b = b.data() + static_cast<size_t>(i) * bytes;
    Place at;
    at.call = call;
    at.row = step_row(first + i);
    switch (which) {
      case StateRows::kWindow:
      case StateRows::kCompressed: check_kv_row(line, at, {l.head_dim - l.rope_dim, l.rope_dim}, row_a, row_b); break;
      case StateRows::kIndex: check_index_row(line, at, {l.index_dim}, row_a, row_b); break;
      case StateRows::kTail:
      case StateRows::kIndexTail: check_row(line, at, static_cast<int64_t>(bytes / 4), row_a, row_b); break;
      case StateRows::kCarry: check_row(line, at, shape_.carry, row_a, row_b); break;
    }
  }
  if (a != b) reference_->import_rows(layer, which, first, count, a.data());
}

PairState& pair_state(const Run& run) { return static_cast<PairState&>(*run.state); }

// The same runs on each of the two.
struct BothRuns {
  std::vector<Run> tested, reference;

  explicit BothRuns(std::span<const Run> runs) : tested(runs.begin(), runs.end()), reference(tested) {
    for (size_t i = 0; i < runs.size(); ++i) {
      tested[i].state = pair_state(runs[i]).tested();
      reference[i].state = pair_state(runs[i]).reference();
    }
  }
};

Line waiting_line(StateRows which) {
  switch (which) {
    case StateRows::kTail: return check_line("compress", "tail", Kind::kF32);
    case StateRows::kIndexTail: return check_line("compress", "index tail", Kind::kF32);
    default: return check_line("carry", "carried", Kind::kBF16);
  }
}

using PendingLines = std::map<std::pair<StateRows, int64_t>, Line>;  // by call, over all runs

// After a commit: of what the step's verbs left in a state for later, the rows that later steps will read.
void compare_committed(const Run& run, PendingLines& lines) {
  PairState& state = pair_state(run);
  const std::vector<StatePart> parts = state_parts(state.shape(), run.position + run.rows, StateExtent::kRecent);
  for (const PairState::Pending& p : std::exchange(state.pending(), {})) {
    Line& line = lines.try_emplace({p.rows, p.call}, waiting_line(p.rows)).first->second;
    for (const StatePart& part : parts) {
      if (part.layer != p.layer || part.rows != p.rows) continue;
      const int64_t first = std::max(part.first, p.run.position);
      const int64_t end = std::min(part.first + part.count, p.run.position + p.run.rows);
      state.compare(line, p.call, p.layer, p.rows, first, end - first,
                    [&](int64_t position) { return p.run.first_row + position - p.run.position; });
    }
  }
}

}  // namespace

// ----------------------------------------------------------------------------------------------- memory and weights

class Check::PairMemory final : public Memory {
 public:
  PairMemory(Ranges& ranges, std::unique_ptr<Memory> tested, std::unique_ptr<Memory> reference)
      : ranges_(ranges), tested_(std::move(tested)), reference_(std::move(reference)) {
    begin_ = static_cast<const uint8_t*>(tested_->data());
    ranges_[begin_] = {tested_->size(), static_cast<uint8_t*>(reference_->data())};
  }
  ~PairMemory() override { ranges_.erase(begin_); }
  PairMemory(const PairMemory&) = delete;
  PairMemory& operator=(const PairMemory&) = delete;
  void* data() override { return tested_->data(); }
  size_t size() const override { return tested_->size(); }

 private:
  Ranges& ranges_;
  std::unique_ptr<Memory> tested_;
  std::unique_ptr<Memory> reference_;
  const uint8_t* begin_ = nullptr;
};

Check::Check(std::unique_ptr<Backend> tested, std::unique_ptr<Backend> reference, std::shared_ptr<CheckReport> report)
    : tested_(std::move(tested)), reference_(std::move(reference)), report_(std::move(report)) {}

std::string Check::description() const {
  return fmt::format("check of {} against {}", tested_->description(), reference_->description());
}

std::unique_ptr<Memory> Check::allocate(size_t bytes) {
  std::unique_ptr<Memory> tested = tested_->allocate(bytes);
  return std::make_unique<PairMemory>(memory_, std::move(tested), reference_->allocate(bytes));
}

bool Check::expect_weights(uint64_t bytes) {
  const bool tested = tested_->expect_weights(bytes);
  return reference_->expect_weights(bytes) || tested;
}

Weight Check::prepare(const HostTensor& tensor) {
  const Weight w = tested_->prepare(tensor);
  weights_[{w.data, w.rows, w.cols}] = reference_->prepare(tensor);
  return w;
}

std::unique_ptr<SequenceState> Check::make_state(const StateShape& shape) {
  std::unique_ptr<SequenceState> tested = tested_->make_state(shape);
  return std::make_unique<PairState>(shape, std::move(tested), reference_->make_state(shape));
}

size_t Check::state_bytes(const StateShape& shape) const {
  return tested_->state_bytes(shape) + reference_->state_bytes(shape);
}

void Check::reserve(const Limits& limits) {
  tested_->reserve(limits);
  reference_->reserve(limits);
}

void Check::upload(Mat to, const void* from) {
  tested_->upload(to, from);
  reference_->upload(twin(to), from);
}

void Check::download(void* to, Mat from) { tested_->download(to, from); }

Mat Check::twin(Mat m) const {
  if (m.empty()) return m;
  const auto* at = static_cast<const uint8_t*>(m.data);
  auto next = memory_.upper_bound(at);
  if (next == memory_.begin() || at >= std::prev(next)->first + std::prev(next)->second.size) {
    fail(Status::kInternal, "check: a matrix of {} x {} outside the memory that this backend has made", m.rows, m.cols);
  }
  --next;
  m.data = next->second.twin + (at - next->first);
  return m;
}

Weight Check::twin(const Weight& w) const {
  if (w.empty()) return w;
  const auto at = weights_.find({w.data, w.rows, w.cols});
  if (at == weights_.end()) {
    fail(Status::kInternal, "check: a weight of {} x {} that this backend has not prepared", w.rows, w.cols);
  }
  return at->second;
}

HyperConnection Check::twin(const HyperConnection& hc) const {
  HyperConnection out = hc;
  for (Weight HyperConnection::*w :
       {&HyperConnection::fn, &HyperConnection::base, &HyperConnection::scale, &HyperConnection::norm}) {
    out.*w = twin(hc.*w);
  }
  return out;
}

Expert Check::twin(const Expert& e) const { return {twin(e.w1), twin(e.w2), twin(e.w3)}; }

Check::Both Check::fetch(const Mat& m) {
  Both both;
  both.tested.resize(dense_bytes(m, m.rows));
  both.reference.resize(both.tested.size());
  if (both.tested.empty()) return both;
  tested_->download(both.tested.data(), m);
  reference_->download(both.reference.data(), twin(m));
  return both;
}

void Check::settle(const Mat& m, const Both& both) {
  if (both.tested != both.reference) reference_->upload(twin(m), both.tested.data());
}

int64_t Check::compare(const char* verb, const std::vector<Output>& outputs, const std::span<const Run>* runs) {
  const int64_t call = report_->begin(verb);
  for (const Output& out : outputs) {
    const Both both = fetch(out.mat);
    Line line = check_line(verb, out.name, check_kind(out.mat.dtype));
    for (int64_t r = 0; r < out.mat.rows; ++r) {
      if (runs != nullptr && !in_runs(r, *runs)) continue;
      const size_t at = dense_bytes(out.mat, r);
      check_row(line, {call, r, 0, 0, 0}, out.mat.cols, both.tested.data() + at, both.reference.data() + at);
    }
    settle(out.mat, both);
    report_->add(line);
  }
  return call;
}

// --------------------------------------------------------------------------------------------------------- a step

// No recording: every verb must come by.
void Check::run(uint64_t, std::span<const Run> runs, const std::function<void()>& body) {
  for (const Run& run : runs) pair_state(run).pending().clear();  // a step that was dropped may have left some
  body();
}

void Check::commit(std::span<const Run> runs) {
  const BothRuns both(runs);
  tested_->commit(both.tested);  // first: if it fails, the step has happened on neither
  reference_->commit(both.reference);
  PendingLines lines;
  for (const Run& run : runs) compare_committed(run, lines);
  for (const auto& [call, line] : lines) report_->add(line);
}

void Check::synchronize() {
  tested_->synchronize();
  reference_->synchronize();
}

void Check::embed(Mat X, Mat tokens, const Weight& table) {
  tested_->embed(X, tokens, table);
  reference_->embed(twin(X), twin(tokens), twin(table));
  compare("embed", {{"X", X}});
}

void Check::hc_pre(Mat x, Mat mix, Mat X, const HyperConnection& hc) {
  tested_->hc_pre(x, mix, X, hc);
  reference_->hc_pre(twin(x), twin(mix), twin(X), twin(hc));
  compare("hc_pre", {{"x", x}, {"mix", mix}});
}

void Check::hc_post(Mat X, Mat y, Mat mix) {
  tested_->hc_post(X, y, mix);
  reference_->hc_post(twin(X), twin(y), twin(mix));
  compare("hc_post", {{"X", X}});
}

void Check::hc_post_pre(Mat x, Mat mix, Mat X, Mat y, const HyperConnection& next) {
  tested_->hc_post_pre(x, mix, X, y, next);
  reference_->hc_post_pre(twin(x), twin(mix), twin(X), twin(y), twin(next));
  compare("hc_post_pre", {{"x", x}, {"mix", mix}, {"X", X}});
}

void Check::hc_head(Mat x, Mat X, const HyperConnection& head) {
  tested_->hc_head(x, X, head);
  reference_->hc_head(twin(x), twin(X), twin(head));
  compare("hc_head", {{"x", x}});
}

void Check::norm(Mat y, Mat x, const Weight& weight, float eps) {
  tested_->norm(y, x, weight, eps);
  reference_->norm(twin(y), twin(x), twin(weight), eps);
  compare("norm", {{"y", y}});
}

void Check::linear(std::span<const Product> products, Mat x) {
  std::vector<Weight> weights;
  std::vector<Product> twins;
  std::vector<Output> outputs;
  weights.reserve(products.size());  // they are pointed at
  for (const Product& p : products) {
    weights.push_back(twin(*p.weight));
    twins.push_back({twin(p.out), &weights.back()});
    outputs.push_back({fmt::format("{}/{}", twins.size(), products.size()), p.out});
  }
  tested_->linear(products, x);
  reference_->linear(twins, twin(x));
  compare("linear", outputs);
}

void Check::rope(Mat table, Mat positions, Mat frequencies) {
  tested_->rope(table, positions, frequencies);
  reference_->rope(twin(table), twin(positions), twin(frequencies));
  compare("rope", {{"table", table}});
}

// ------------------------------------------------------------------------------------------------------- attention

void Check::query(Mat q, Mat rope, const Query& options) {
  tested_->query(q, rope, options);
  reference_->query(twin(q), twin(rope), options);
  compare("query", {{"q", q}});
}

void Check::append(const Cache& cache, Mat kv, Mat rope, const Append& options) {
  const BothRuns both(cache.runs);
  Append of_reference = options;
  of_reference.norm = twin(options.norm);
  tested_->append({both.tested, cache.layer}, kv, rope, options);
  reference_->append({both.reference, cache.layer}, twin(kv), twin(rope), of_reference);

  const int64_t call = report_->begin("append");
  Line line = check_line("append", "window", Kind::kPacked);
  for (const Run& run : cache.runs) {
    pair_state(run).compare(line, call, cache.layer, StateRows::kWindow, run.position, run.rows,
                            [&](int64_t position) { return run.first_row + position - run.position; });
  }
  report_->add(line);
}

void Check::compress(const Cache& cache, Mat k, Mat z, const Compressor& options) {
  const BothRuns both(cache.runs);
  Compressor of_reference = options;
  of_reference.ape = twin(options.ape);
  of_reference.norm = twin(options.norm);
  of_reference.frequencies = twin(options.frequencies);
  tested_->compress({both.tested, cache.layer}, k, z, options);
  reference_->compress({both.reference, cache.layer}, twin(k), twin(z), of_reference);

  const int64_t call = report_->begin("compress"), ratio = options.ratio;
  const StateRows rows = options.index ? StateRows::kIndex : StateRows::kCompressed;
  const StateRows tail = options.index ? StateRows::kIndexTail : StateRows::kTail;
  Line line = check_line("compress", options.index ? "index" : "compressed", Kind::kPacked);
  for (const Run& run : cache.runs) {
    const int64_t first = run.position / ratio, end = (run.position + run.rows) / ratio;
    pair_state(run).compare(line, call, cache.layer, rows, first, end - first,
                            [&](int64_t entry) { return run.first_row + (entry + 1) * ratio - 1 - run.position; });
    pair_state(run).pending().push_back({cache.layer, tail, call, run});
  }
  report_->add(line);
}

void Check::index(Mat top, const Cache& cache, Mat q, Mat w, const Indexer& options) {
  const BothRuns both(cache.runs);
  tested_->index(top, {both.tested, cache.layer}, q, w, options);
  reference_->index(twin(top), {both.reference, cache.layer}, twin(q), twin(w), options);
  compare("index", {{"top", top}}, &cache.runs);
}

void Check::attend(Mat o, const Cache& cache, Mat q, Mat top, Mat rope, const Attention& options) {
  const BothRuns both(cache.runs);
  Attention of_reference = options;
  of_reference.sink = twin(options.sink);
  tested_->attend(o, {both.tested, cache.layer}, q, top, rope, options);
  reference_->attend(twin(o), {both.reference, cache.layer}, twin(q), twin(top), twin(rope), of_reference);
  compare("attend", {{"o", o}}, &cache.runs);
}

void Check::project_out(Mat y, Mat low, Mat o, const Weight& wo_a, const Weight& wo_b, int64_t groups) {
  tested_->project_out(y, low, o, wo_a, wo_b, groups);
  reference_->project_out(twin(y), twin(low), twin(o), twin(wo_a), twin(wo_b), groups);
  compare("project_out", {{"low", low}, {"y", y}});
}

// ----------------------------------------------------------------------------------------------- mixture and heads

void Check::route(const Route& out, Mat x, Mat tokens, const Gate& gate) {
  const Gate of_reference{twin(gate.weight), twin(gate.bias), twin(gate.hash),
                          gate.scoring,      gate.normalise,  gate.scale};
  tested_->route(out, x, tokens, gate);
  reference_->route({twin(out.experts), twin(out.weights)}, twin(x), twin(tokens), of_reference);

  const int64_t call = report_->begin("route");
  const Both experts = fetch(out.experts), weights = fetch(out.weights);
  Line picks = check_line("route", "experts", Kind::kInteger), values = check_line("route", "weights", Kind::kF32);
  for (int64_t r = 0; r < out.experts.rows; ++r) {
    const int64_t k = out.experts.cols;
    const size_t at = dense_bytes(out.experts, r);  // both have four bytes an element
    const std::vector<int32_t> tested = dense_row<int32_t>(experts.tested.data() + at, k);
    const std::vector<int32_t> reference = dense_row<int32_t>(experts.reference.data() + at, k);
    std::vector<float> want = dense_row<float>(weights.reference.data() + at, k);
    const Place place{call, r, 0, 0, 0};
    check_picks(picks, place, tested, reference);
    if (!line_up_weights(tested, reference, want)) continue;
    check_floats(values, place, dense_row<float>(weights.tested.data() + at, k), want);
  }
  settle(out.experts, experts);
  settle(out.weights, weights);
  report_->add(picks);
  report_->add(values);
}

void Check::experts(Mat y, Mat x, const Route& route, const Experts& experts) {
  std::vector<Expert> routed;
  routed.reserve(experts.routed.size());
  for (const Expert& e : experts.routed) routed.push_back(twin(e));
  tested_->experts(y, x, route, experts);
  reference_->experts(twin(y), twin(x), {twin(route.experts), twin(route.weights)},
                      {routed, twin(experts.shared), experts.limit});
  compare("experts", {{"y", y}});
}

void Check::logits(Mat out, Mat x, const Weight& head) {
  tested_->logits(out, x, head);
  reference_->logits(twin(out), twin(x), twin(head));
  compare("logits", {{"out", out}});
}

void Check::carry(Mat previous, Mat X, std::span<const Run> runs) {
  const BothRuns both(runs);
  tested_->carry(previous, X, both.tested);
  reference_->carry(twin(previous), twin(X), both.reference);
  const int64_t call = compare("carry", {{"previous", previous}}, &runs);
  for (const Run& run : runs) pair_state(run).pending().push_back({-1, StateRows::kCarry, call, run});
}

void Check::merge(Mat X, Mat e, Mat h) {
  tested_->merge(X, e, h);
  reference_->merge(twin(X), twin(e), twin(h));
  compare("merge", {{"X", X}});
}

}  // namespace dsv4
