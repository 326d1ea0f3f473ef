// VerbTimes: what every verb of a backend costs. Seconds until its work is done, the weights it had to read (with their
// scales, each once a call; of experts those that the call picked), and the multiply-adds of its products with them.
#pragma once

#include <mutex>
#include <vector>

#include "lib/backend/decorator.h"

namespace dsv4 {

class VerbTimes final : public Decorator {
 public:
  struct Line {
    const char* verb;
    int64_t calls;
    double seconds;
    double weight_bytes;
    double multiply_adds;
  };
  explicit VerbTimes(std::unique_ptr<Backend> inner) : Decorator(std::move(inner)) {}
  // From any thread: what the verbs have cost since the last clear(), in the order of their first calls.
  std::vector<Line> lines() const;
  void clear();

  void hc_pre(Mat x, Mat mix, Mat X, const HyperConnection& hc) override;
  void hc_post_pre(Mat x, Mat mix, Mat X, Mat y, const HyperConnection& next) override;
  void hc_head(Mat x, Mat X, const HyperConnection& head) override;
  void linear(std::span<const Product> products, Mat x) override;
  void project_out(Mat y, Mat low, Mat o, const Weight& wo_a, const Weight& wo_b, int64_t groups) override;
  void route(const Route& out, Mat x, Mat tokens, const Gate& gate) override;
  void experts(Mat y, Mat x, const Route& route, const Experts& experts) override;
  void logits(Mat out, Mat x, const Weight& head) override;

 protected:
  void verb(const char* name, const Mat& out, const std::function<void()>& call) override;

 private:
  void add(const Weight& weight, int64_t rows);  // a product of the verb that comes next, with so many input rows

  mutable std::mutex mutex_;
  std::vector<Line> lines_;
  double weight_bytes_ = 0;  // of the verb that comes next
  double multiply_adds_ = 0;
};

}  // namespace dsv4
