// Check: a backend that runs every verb on two others, the one under test and a reference, and counts where they
// differ.
//
// Both get the same inputs: after each verb the tested backend's output, and the rows that it wrote into states,
// replace the reference's, so that a difference is found in the verb that made it and never again behind it. What the
// caller sees is the tested backend's. Nothing but the seam is used (upload, download, export, import), so that the two
// may live on different machines. Only the reference is asked for more than the seam promises: its states must take
// rows of positions that are not committed yet, as lib/backend/host_state.h does.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include "lib/backend/backend.h"
#include "lib/backend/check_report.h"

namespace dsv4 {

class Check final : public Backend {
 public:
  Check(std::unique_ptr<Backend> tested, std::unique_ptr<Backend> reference, std::shared_ptr<CheckReport> report);

  std::string name() const override { return tested_->name(); }
  std::string description() const override;
  double matrix_peak() override { return tested_->matrix_peak(); }
  double copy_peak() override { return tested_->copy_peak(); }
  uint64_t free_device_bytes() const override { return tested_->free_device_bytes(); }

  std::unique_ptr<Memory> allocate(size_t bytes) override;
  bool expect_weights(uint64_t bytes) override;
  Weight prepare(const HostTensor& tensor) override;
  std::unique_ptr<SequenceState> make_state(const StateShape& shape) override;
  size_t state_bytes(const StateShape& shape) const override;
  void reserve(const Limits& limits) override;
  void upload(Mat to, const void* from) override;
  void download(void* to, Mat from) override;

  void run(uint64_t key, std::span<const Run> runs, const std::function<void()>& body) override;
  void commit(std::span<const Run> runs) override;
  void synchronize() override;

  void embed(Mat X, Mat tokens, const Weight& table) override;
  void hc_pre(Mat x, Mat mix, Mat X, const HyperConnection& hc) override;
  void hc_post(Mat X, Mat y, Mat mix) override;
  void hc_post_pre(Mat x, Mat mix, Mat X, Mat y, const HyperConnection& next) override;
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
  struct Range {
    size_t size;
    uint8_t* twin;
  };
  using Ranges = std::map<const uint8_t*, Range>;  // the tested backend's memory, by where it begins
  class PairMemory;
  struct Output {
    std::string name;
    Mat mat;
  };
  struct Both {  // one matrix of either backend, dense
    std::vector<uint8_t> tested, reference;
  };

  // The reference's counterpart of what the tested backend made.
  Mat twin(Mat m) const;
  Weight twin(const Weight& w) const;
  HyperConnection twin(const HyperConnection& hc) const;
  Expert twin(const Expert& e) const;

  Both fetch(const Mat& m);
  void settle(const Mat& m, const Both& both);  // the reference goes on from the tested backend's values
  // Counts the call; returns its number. Of outputs that only rows of runs have (`runs` given), the others are left
  // out: nobody reads them.
  int64_t compare(const char* verb, const std::vector<Output>& outputs, const std::span<const Run>* runs = nullptr);

  std::unique_ptr<Backend> tested_;
  std::unique_ptr<Backend> reference_;
  std::shared_ptr<CheckReport> report_;
  Ranges memory_;
  std::map<std::tuple<const void*, int64_t, int64_t>, Weight> weights_;  // by the tested one's data, rows and columns
};

}  // namespace dsv4
