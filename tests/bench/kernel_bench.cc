// Speed of the cpu backend's products, against what the machine can do: bytes per second of few input rows against a
// probe that only reads, and operations per second of many input rows against oneDNN where it is built in.
// usage: kernel_bench [--mb N] [--threads N] [--isa LEVEL] [--rows N] [--seconds S] [--clock cpu]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "backends/cpu/cpu_backend.h"
#include "lib/base/thread_pool.h"

using namespace dsv4;

namespace {

struct Options {
  int64_t mb = 1024;
  int threads = 0;  // 0: one, then all
  std::string isa;  // "": every level
  int64_t many = 512;
  double seconds = 0.4;  // of every figure
};

bool cpu_time = false;  // --clock cpu: what one thread got done in the time it had, on a machine with other load

double now() {
  if (cpu_time) return static_cast<double>(std::clock()) / CLOCKS_PER_SEC;
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Seconds of one pass, each of a few milliseconds: the fastest twentieth of many, since other load on the machine only
// ever adds time. pass(i) should touch other memory than pass(i - 1).
template <class F>
double pass_seconds(double seconds, F&& pass) {
  std::vector<double> times;
  const double end = now() + seconds;
  int64_t i = 0;
  pass(i++);
  while (times.size() < 20 || now() < end) {
    const double start = now();
    pass(i++);
    times.push_back(now() - start);
  }
  std::nth_element(times.begin(), times.begin() + static_cast<long>(times.size() / 20), times.end());
  return times[times.size() / 20];
}

// Reads `bytes` with every thread on its own part; the sum keeps the compiler from dropping the reads.
uint64_t read_all(ThreadPool& pool, const uint8_t* data, int64_t bytes) {
  std::vector<uint64_t> sums(static_cast<size_t>(pool.size()) * 16);
  pool.split(bytes / 8, 4096, [&](int64_t begin, int64_t end, int thread) {
    const uint64_t* p = reinterpret_cast<const uint64_t*>(data);
    uint64_t s[8] = {};
    for (int64_t i = begin; i + 8 <= end; i += 8) {
      for (int k = 0; k < 8; ++k) s[k] ^= p[i + k];
    }
    for (const uint64_t v : s) sums[static_cast<size_t>(thread) * 16] ^= v;
  });
  uint64_t all = 0;
  for (const uint64_t v : sums) all ^= v;
  return all;
}

struct Matrix {
  DType dtype;
  int64_t rows, cols;
};

class ManyWeights {
 public:
  ManyWeights(Backend& backend, const uint8_t* bytes, int64_t size, const uint8_t* scales, Matrix m, int64_t rows)
      : backend_(backend) {
    const int64_t each = m.rows * m.cols * dtype_bits(m.dtype) / 8;
    for (int64_t at = 0; at + each <= size; at += each) {
      weights_.push_back(backend.prepare({bytes + at, scales, m.dtype, m.rows, m.cols}));
    }
    bytes_ = each;
    x_memory_ = backend.allocate(static_cast<size_t>(rows * m.cols) * 2);
    y_memory_ = backend.allocate(static_cast<size_t>(rows * m.rows) * 2);
    x_ = {x_memory_->data(), DType::kBF16, rows, m.cols, m.cols};
    y_ = {y_memory_->data(), DType::kBF16, rows, m.rows, m.rows};
    std::mt19937 random(1);
    for (int64_t i = 0; i < rows * m.cols; ++i) {
      static_cast<bf16*>(x_.data)[i] = to_bf16(static_cast<float>(random() % 2001) / 1000.0f - 1.0f);
    }
  }
  int64_t bytes() const { return bytes_; }  // of one weight
  void pass(int64_t i) {
    const Product p{y_, &weights_[static_cast<size_t>(i) % weights_.size()]};
    backend_.linear({&p, 1}, x_);
  }

 private:
  Backend& backend_;
  std::vector<Weight> weights_;
  int64_t bytes_ = 0;
  std::unique_ptr<Memory> x_memory_, y_memory_;
  Mat x_, y_;
};

Limits limits(int64_t rows) {
  Limits l;
  l.rows = rows;
  l.streams = 1;
  l.hidden = l.inner = l.outer = 4096;
  return l;
}

void run(const Options& o, const uint8_t* bytes, const uint8_t* scales, const std::string& isa, int threads) {
  const std::unique_ptr<Backend> backend = make_cpu_backend({threads, isa});
  backend->reserve(limits(std::max<int64_t>(o.many, 8)));
  std::printf("%s\n", backend->description().c_str());
  const int64_t size = o.mb << 20;
  ThreadPool pool(threads);
  constexpr int64_t kPart = 16 << 20;
  const auto read = [&](int64_t i) { read_all(pool, bytes + i % (size / kPart) * kPart, kPart); };
  const double probe = static_cast<double>(kPart) / pass_seconds(o.seconds, read) / 1e9;
  std::printf("  %-9s %6.1f GB/s read\n", "probe", probe);
  const Matrix formats[3] = {{DType::kF8E4M3, 4096, 4096}, {DType::kFP4, 4096, 4096}, {DType::kBF16, 4096, 4096}};
  for (const Matrix& m : formats) {
    std::printf("  %-9s", dtype_name(m.dtype));
    for (const int64_t rows : {1, 2, 3, 4, 8, 16, 32}) {
      ManyWeights p(*backend, bytes, size, scales, m, rows);
      const double gb = static_cast<double>(p.bytes()) / pass_seconds(o.seconds, [&](int64_t i) { p.pass(i); }) / 1e9;
      std::printf("  %lld: %5.1f (%3.0f %%)", static_cast<long long>(rows), gb, 100 * gb / probe);
      std::fflush(stdout);
    }
    std::printf("  GB/s by rows\n");
  }
  if (const double peak = backend->matrix_peak(); peak > 0) {
    std::printf("  oneDNN's peak: %7.0f GFLOP/s\n", 2e-9 * peak);
  }
  for (Matrix m : formats) {
    m.rows = 256 * threads;
    ManyWeights p(*backend, bytes, 64 << 20, scales, m, o.many);
    const double t = pass_seconds(o.seconds, [&](int64_t i) { p.pass(i); });
    std::printf("  %-9s %lld rows: %7.0f GFLOP/s\n", dtype_name(m.dtype), static_cast<long long>(o.many),
                2.0 * static_cast<double>(o.many * m.rows * m.cols) / t / 1e9);
  }
}

}  // namespace

int main(int argc, char** argv) {
  Options o;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string name = argv[i];
    if (name == "--mb") o.mb = std::max(64l, std::atol(argv[i + 1]));
    if (name == "--threads") o.threads = std::atoi(argv[i + 1]);
    if (name == "--isa") o.isa = argv[i + 1];
    if (name == "--rows") o.many = std::max(1l, std::atol(argv[i + 1]));
    if (name == "--clock") cpu_time = std::strcmp(argv[i + 1], "cpu") == 0;
    if (name == "--seconds") o.seconds = std::atof(argv[i + 1]);
  }
  // Random codes without NaN, and scales near 1: bytes of the range that E4M3, FP4 and BF16 all read as numbers, and as
  // normal ones, since a checkpoint has one subnormal code in thousands and some processors take 150 cycles for each.
  std::vector<uint64_t> memory(static_cast<size_t>(o.mb << 20) / 8);
  std::mt19937_64 random(7);
  for (uint64_t& v : memory) v = (random() & 0xb7b7b7b7b7b7b7b7ull) | 0x2020202020202020ull;
  const std::vector<uint8_t> scales(4096 * 128, 120);
  const uint8_t* bytes = reinterpret_cast<const uint8_t*>(memory.data());
  std::vector<int> teams = {1};
  if (usable_cores() > 1 && !cpu_time) teams.push_back(usable_cores());
  if (o.threads > 0) teams = {o.threads};
  for (const std::string& isa : cpu_isa_levels()) {
    if ((o.isa.empty() && isa == "scalar") || (!o.isa.empty() && o.isa != isa)) continue;
    for (const int threads : teams) run(o, bytes, scales.data(), isa, threads);
  }
  return 0;
}
