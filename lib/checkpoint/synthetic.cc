// A model of a given shape with random weights in one piece of memory, for benchmarks and capacity planning.
//
// Filling 12 GB must take seconds, so bulk weights are cut out of a few pre-made random patterns at random places, by
// all cores; the values are such that every product of unit-variance rows has about unit variance again:
//   FP4    any nibble; rms of the 16 codes 2.93                          scale 2^round(log2(1 / (rms · sqrt(cols))))
//   E4M3   any sign and mantissa, four exponents; rms as counted         likewise
//   BF16   normal / sqrt(cols) (embedding: normal)
// Gates are drawn one by one, so that no two experts are alike and learned routing spreads over all of them.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <exception>
#include <map>
#include <vector>

#include "lib/base/error.h"
#include "lib/base/mix.h"
#include "lib/base/thread_pool.h"
#include "lib/checkpoint/loaded_checkpoint.h"

namespace dsv4 {
namespace {

constexpr size_t kPattern = size_t{1} << 20;  // a pattern stays in the cache of the core that copies it
constexpr size_t kPiece = size_t{128} << 10;  // bytes copied from one random place of it
constexpr uint64_t kAlign = 64;

// splitmix64: any seed, any number of independent streams.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t next() { return mix64(state_ += kMixStep); }
  // Sum of four 16-bit uniforms, scaled to variance 1: close enough to a normal, and bounded.
  float normal() {
    const uint64_t r = next();
    const auto sum = static_cast<float>((r & 0xffff) + (r >> 16 & 0xffff) + (r >> 32 & 0xffff) + (r >> 48));
    return (sum / 65535.0f - 2.0f) * 1.7320508f;
  }

 private:
  uint64_t state_;
};

enum class Fill : uint8_t { kBytes, kE4M3, kBf16, kSame, kNormal, kOnes, kBase, kTable };

// One piece of work: how some bytes are filled.
struct Task {
  uint8_t* to = nullptr;
  uint64_t bytes = 0;
  Fill fill = Fill::kSame;
  int exponent = 0;     // kBf16: normal · 2^exponent; kSame: the byte
  float spread = 0;     // kNormal, kOnes: standard deviation
  DType dtype = DType::kF32;
  uint64_t seed = 0;
};

// 2^e next to the value that gives unit variance over `cols` products with codes of this rms.
int unit_exponent(double rms, int64_t cols) {
  return static_cast<int>(std::lround(-std::log2(rms * std::sqrt(static_cast<double>(cols)))));
}

uint8_t random_e4m3(uint64_t r) {
  // Exponent field 5..8 (2^-2 .. 2^1): moderate, never NaN.
  return static_cast<uint8_t>((r & 0x80) | (5 + (r >> 8 & 3)) << 3 | (r & 7));
}

double e4m3_rms() {
  double sum = 0;
  for (uint64_t r = 0; r < 32; ++r) {
    const double v = kE4M3[random_e4m3((r & 7) | (r >> 3) << 8)];
    sum += v * v / 32;
  }
  return std::sqrt(sum);
}

double e2m1_rms() {
  double sum = 0;
  for (float v : kE2M1) sum += double{v} * v / 16;
  return std::sqrt(sum);
}

class Maker {
 public:
  Maker(const Config& config, uint64_t seed, const OpenOptions& options)
      : options_(options), seed_(seed), out_(std::make_unique<LoadedCheckpoint>()) {
    out_->config_ = config;
    out_->tensors_ = TensorSlots<Tensor>(config);
  }

  std::unique_ptr<Checkpoint> make() {
    lay_out();
    make_patterns();
    fill();
    out_->finish(false);
    return std::move(out_);
  }

 private:
  const Config& config() const { return out_->config_; }

  static uint64_t aligned(uint64_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }

  void lay_out() {
    uint64_t total = 0;
    for_each_tensor(config(), [&](const TableRow& row, int64_t layer, int64_t) {
      const DType dtype = published_dtype(row, config());
      const int64_t rows = row.rows(config(), layer), cols = row.cols(config(), layer);
      total += aligned(data_bytes(dtype, rows, cols)) + aligned(scale_bytes(dtype, rows, cols));
    });
    uint8_t* next = out_->memory_.emplace_back(total).data();
    for_each_tensor(config(), [&](const TableRow& row, int64_t layer, int64_t expert) {
      Tensor t;
      t.dtype = published_dtype(row, config());
      t.rows = row.rows(config(), layer);
      t.cols = row.cols(config(), layer);
      const uint64_t data = data_bytes(t.dtype, t.rows, t.cols), scale = scale_bytes(t.dtype, t.rows, t.cols);
      t.data = next;
      next += aligned(data);
      if (scale != 0) {
        t.scale = next;
        next += aligned(scale);
      }
      t.bytes = data + scale;
      *out_->tensors_.find(row.role, layer, expert) = t;
      add_tasks(row, t);
    });
  }

  void add(const uint8_t* to, uint64_t bytes, Fill how, int exponent, float spread, DType dtype) {
    // Memory is the maker's own; tensors see it as constant.
    tasks_.push_back(
        {const_cast<uint8_t*>(to), bytes, how, exponent, spread, dtype, Random(seed_ + tasks_.size()).next()});
  }

  void add_tasks(const TableRow& row, const Tensor& t) {
    const uint64_t bytes = data_bytes(t.dtype, t.rows, t.cols);
    const float unit = 1.0f / std::sqrt(static_cast<float>(t.cols));
    switch (row.role) {
      case TensorRole::kEmbed: return add(t.data, bytes, Fill::kBf16, 0, 0, t.dtype);
      case TensorRole::kGate: return add(t.data, bytes, Fill::kNormal, 0, unit, t.dtype);
      case TensorRole::kGateHash: return add(t.data, bytes, Fill::kTable, 0, 0, t.dtype);
      case TensorRole::kHcAttnScale:
      case TensorRole::kHcFfnScale:
      case TensorRole::kHcHeadScale: return add(t.data, bytes, Fill::kOnes, 0, 0, t.dtype);
      case TensorRole::kHcAttnBase:
      case TensorRole::kHcFfnBase: return add(t.data, bytes, Fill::kBase, 0, 0, t.dtype);
      case TensorRole::kHcHeadBase:
      case TensorRole::kGateBias: return;  // zero, as the memory is
      case TensorRole::kHcAttnFn:
      case TensorRole::kHcFfnFn:
      case TensorRole::kHcHeadFn: return add(t.data, bytes, Fill::kNormal, 0, 0.1f * unit, t.dtype);
      default: break;
    }
    if (row.rank == 1 && row.format == Format::kFloat) return add(t.data, bytes, Fill::kOnes, 0, 0.05f, t.dtype);
    if (row.format == Format::kF32) return add(t.data, bytes, Fill::kNormal, 0, 0.1f, t.dtype);
    if (t.dtype == DType::kBF16) return add(t.data, bytes, Fill::kBf16, unit_exponent(1, t.cols), 0, t.dtype);
    const bool fp4 = t.dtype == DType::kFP4;
    add(t.data, bytes, fp4 ? Fill::kBytes : Fill::kE4M3, 0, 0, t.dtype);
    const int exponent = unit_exponent(fp4 ? e2m1_rms() : e4m3_rms(), t.cols);
    add(t.scale, scale_bytes(t.dtype, t.rows, t.cols), Fill::kSame, 127 + exponent, 0, t.dtype);
  }

  void make_patterns() {
    Random random(seed_ ^ 0x5eed);
    bytes_.resize(kPattern);
    e4m3_.resize(kPattern);
    for (uint8_t& b : bytes_) b = static_cast<uint8_t>(random.next());
    for (uint8_t& b : e4m3_) b = random_e4m3(random.next());
    for (const Task& t : tasks_) {
      if (t.fill != Fill::kBf16 || !bf16_[t.exponent].empty()) continue;
      std::vector<uint8_t>& pattern = bf16_[t.exponent];
      pattern.resize(kPattern);
      for (size_t i = 0; i < kPattern; i += 2) {
        const bf16 v = to_bf16(std::ldexp(random.normal(), t.exponent));
        std::memcpy(&pattern[i], &v, 2);
      }
    }
  }

  void fill() {
    std::atomic<size_t> next{0};
    std::atomic<size_t> done{0};
    std::atomic<bool> cancelled{false};
    // Large tensors would leave the last core alone with the embedding: they are cut.
    std::vector<Task> cut;
    constexpr uint64_t kPart = 64 * kPiece;
    for (const Task& t : tasks_) {
      const bool whole = t.fill != Fill::kBytes && t.fill != Fill::kE4M3 && t.fill != Fill::kBf16;
      for (uint64_t at = 0; at < t.bytes; at += whole ? t.bytes : kPart) {
        Task part = t;
        part.to = t.to + at;
        part.bytes = whole ? t.bytes : std::min(kPart, t.bytes - at);
        part.seed = t.seed + at;
        cut.push_back(part);
      }
    }
    ThreadPool pool(std::min(usable_cores(), 16));
    pool.run([&](int thread) {
      for (size_t i = next++; i < cut.size() && !cancelled; i = next++) {
        run(cut[i]);
        const size_t n = ++done;
        // The caller's callback is called on the caller's thread only.
        if (thread == 0 && !report(n, cut.size())) cancelled = true;
      }
    });
    if (thrown_) std::rethrow_exception(thrown_);
    if (cancelled) fail(Status::kCancelled, "making a synthetic model was cancelled");
  }

  // A pool's job must not throw: what the callback throws waits for its end.
  bool report(uint64_t n, uint64_t total) {
    try {
      return !options_.progress || options_.progress(n, total);
    } catch (...) {
      thrown_ = std::current_exception();
      return false;
    }
  }

  void run(const Task& t) const {
    Random random(t.seed);
    switch (t.fill) {
      case Fill::kBytes: copy(t, bytes_, 1, random); break;
      case Fill::kE4M3: copy(t, e4m3_, 1, random); break;
      case Fill::kBf16: copy(t, bf16_.at(t.exponent), 2, random); break;
      case Fill::kSame: std::memset(t.to, t.exponent, t.bytes); break;
      case Fill::kNormal: draw(t, 0, random); break;
      case Fill::kOnes: draw(t, 1, random); break;
      case Fill::kBase: base(t); break;
      case Fill::kTable: table(t); break;
    }
  }

  static void copy(const Task& t, const std::vector<uint8_t>& pattern, size_t unit, Random& random) {
    for (uint64_t at = 0; at < t.bytes; at += kPiece) {
      const uint64_t size = std::min<uint64_t>(kPiece, t.bytes - at);
      const size_t from = random.next() % ((kPattern - kPiece) / unit) * unit;
      std::memcpy(t.to + at, pattern.data() + from, size);
    }
  }

  static void draw(const Task& t, float mean, Random& random) {
    if (t.dtype == DType::kBF16) {
      auto* to = reinterpret_cast<bf16*>(t.to);
      for (uint64_t i = 0; i < t.bytes / 2; ++i) to[i] = to_bf16(mean + t.spread * random.normal());
    } else {
      auto* to = reinterpret_cast<float*>(t.to);
      for (uint64_t i = 0; i < t.bytes / 4; ++i) to[i] = mean + t.spread * random.normal();
    }
  }

  // Streams are read half each, written once each, and mostly keep to themselves: their size grows by what the
  // layers add and by nothing else.
  void base(const Task& t) const {
    auto* to = reinterpret_cast<float*>(t.to);
    const int64_t m = config().streams;
    for (int64_t j = 0; j < m; ++j) to[2 * m + j * m + j] = 2.0f;
  }

  // Every token its own experts, all of them equally often, none twice for one token.
  void table(const Task& t) const {
    auto* to = reinterpret_cast<int64_t*>(t.to);
    const int64_t k = config().experts_per_token, n = config().experts, step = n / k;
    for (int64_t token = 0; token < config().vocab; ++token) {
      const auto first =
          static_cast<int64_t>(Random(t.seed + static_cast<uint64_t>(token)).next() % static_cast<uint64_t>(n));
      for (int64_t i = 0; i < k; ++i) to[token * k + i] = (first + i * step) % n;
    }
  }

  const OpenOptions& options_;
  uint64_t seed_;
  std::unique_ptr<LoadedCheckpoint> out_;
  std::vector<Task> tasks_;
  std::vector<uint8_t> bytes_, e4m3_;
  std::map<int, std::vector<uint8_t>> bf16_;  // by exponent
  std::exception_ptr thrown_;
};

}  // namespace

std::unique_ptr<Checkpoint> Checkpoint::synthetic(const Config& config, uint64_t seed, const OpenOptions& options) {
  return Maker(config, seed, options).make();
}

}  // namespace dsv4
