// The class behind make_reference_backend(), and the scratch that its verbs work in. One source file per subject:
// streams (embedding, hyper-connections, heads), rows, attention, compress (compressor and indexer), experts.
#pragma once

#include <string>
#include <vector>

#include "backends/reference/reference_backend.h"
#include "lib/backend/host_state.h"

namespace dsv4::reference {

// Sized by reserve() and make_state(), so that no verb allocates.
struct Scratch {
  std::vector<float> row;        // [widest row]: one activation row in FP32
  std::vector<float> weight;     // [widest row]: one weight row, widened
  std::vector<float> mixes;      // [2m + m·m]
  std::vector<float> input;      // [rows, widest row]: what a product sees of its input rows
  std::vector<float> hidden;     // h of one expert, for the rows that picked it (and all rows for the shared one)
  std::vector<double> sum;       // [rows, hidden]: the outputs of the experts
  std::vector<float> keys;       // [keys, head_dim]: what one token attends to, unpacked
  std::vector<float> scores;     // of the keys, the entries or the experts; routing weights of one expert's rows
  std::vector<int32_t> order;    // of the entries, the experts, or the rows of one expert
  std::vector<double> value;     // [head_dim]: Σ p·key of one head
  std::vector<float> pooled;     // [width]: one compressed entry
  std::vector<float> biased;     // [experts]: score + bias
};

class ReferenceBackend final : public Backend {
 public:
  std::string name() const override { return "reference"; }
  std::string description() const override { return "reference: plain FP32 loops"; }

  std::unique_ptr<Memory> allocate(size_t bytes) override;
  Weight prepare(const HostTensor& tensor) override;
  std::unique_ptr<SequenceState> make_state(const StateShape& shape) override;
  size_t state_bytes(const StateShape& shape) const override;
  void reserve(const Limits& limits) override;
  void upload(Mat to, const void* from) override;
  void download(void* to, Mat from) override;

  void commit(std::span<const Run> runs) override;
  void synchronize() override {}

  void embed(Mat X, Mat tokens, const Weight& table) override;
  void hc_pre(Mat x, Mat mix, Mat X, const HyperConnection& hc) override;
  void hc_post(Mat X, Mat y, Mat mix) override;
  void hc_head(Mat x, Mat X, const HyperConnection& head) override;

  void norm(Mat y, Mat x, const Weight& weight, float eps) override;
  void linear(std::span<const Product> products, Mat x) override;
  void rope(Mat table, Mat positions, Mat frequencies) override;

  void query(Mat q, Mat rope, const Query& options) override;
  void append(const Cache& cache, Mat kv, Mat rope, const Append& options) override;
  void compress(const Cache& cache, Mat k, Mat z, const Compressor& options) override;
  void index(Mat top, const Cache& cache, Mat q, Mat w, const Indexer& options) override;
  void attend(Mat o, const Cache& cache, Mat q, Mat top, Mat rope, const Attention& options) override;
  void project_out(Mat y, Mat low, Mat o, const Weight& wo_a, const Weight& wo_b, int64_t groups) override;

  void route(const Route& out, Mat x, Mat tokens, const Gate& gate) override;
  void experts(Mat y, Mat x, const Route& route, const Experts& experts) override;

  void logits(Mat out, Mat x, const Weight& head) override;
  void carry(Mat previous, Mat X, std::span<const Run> runs) override;
  void merge(Mat X, Mat e, Mat h) override;

 private:
  void size_scratch();
  void product(Mat out, Mat x, const Weight& weight, bool quantise);
  void sum_streams(float* x, const float* X, const float* pre, int64_t m, int64_t n);
  void compress_run(const Run& run, HostLayer& layer, Mat k, Mat z, const Compressor& options);
  int64_t gather_keys(const HostLayer& layer, int64_t position, const int32_t* top, int64_t top_count,
                      const Attention& options);
  void expert_sum(const Expert& expert, const int32_t* rows, int64_t count, const float* weights, float limit);

  Limits limits_;
  int64_t state_keys_ = 0;  // most keys of one token: window, and all entries of a layer that has no indexer
  int64_t state_entries_ = 0;
  Scratch scratch_;
};

}  // namespace dsv4::reference
