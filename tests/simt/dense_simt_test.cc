// Products of many rows by a library (backends/cuda/dense_library.h), which here is fake_cublaslt.cc: the CUDA backend
// with it against the reference, which products it takes, and what happens where it is missing or fails.
#include <cublasLt.h>

#include <functional>
#include <string>

#include "backends/cuda/dense_kernels.h"
#include "backends/cuda/dense_library.h"
#include "lib/base/dynamic_module.h"
#include "lib/base/error.h"
#include "tests/simt/fake_cuda.h"
#include "tests/simt/products_simt_rig.h"

using namespace dsv4;
using test::product_limits;
using test::RandomNumbers;
using test::RandomWeight;
using test::Side;

namespace {

constexpr DType kFormats[] = {DType::kF8E4M3, DType::kFP4, DType::kBF16, DType::kF32};
constexpr float kOrder = 2e-6f;  // what the order of FP32 sums may move, of the largest output
constexpr const char* kFake = DSV4_FAKE_CUBLASLT;

// What the fake says of itself; reset by the destructor, which also sees that nothing it has made is left.
class FakeLibrary {
 public:
  FakeLibrary() {
    std::string reason;
    module_ = open_module(kFake, reason);
    REQUIRE_MESSAGE(module_ != nullptr, reason);
    products_before_ = calls("cublasLtMatmul");
  }
  ~FakeLibrary() {
    fail("", 0);
    CHECK(reinterpret_cast<int64_t (*)()>(find_symbol(module_, "dsv4_fake_cublaslt_alive"))() == 0);
    CHECK(simt::unreleased() == "");
    simt::reset_fake_cuda();
  }
  void fail(const char* function, int status) {
    reinterpret_cast<void (*)(const char*, int)>(find_symbol(module_, "dsv4_fake_cublaslt_fail"))(function, status);
  }
  int64_t calls(const char* function) const {
    return reinterpret_cast<int64_t (*)(const char*)>(find_symbol(module_, "dsv4_fake_cublaslt_calls"))(function);
  }
  int64_t products() const { return calls("cublasLtMatmul") - products_before_; }

 private:
  void* module_ = nullptr;
  int64_t products_before_ = 0;
};

CudaOptions options_with(const char* library) {
  CudaOptions options;
  options.dense_library = library;
  return options;
}
std::unique_ptr<Backend> backend_with(const char* library) { return make_cuda_backend(options_with(library)); }

struct Case {
  int64_t rows, cols;
  std::vector<RandomWeight> weights;
  std::vector<bf16> x;

  // Every format, each to BF16 and to F32.
  Case(int64_t in_rows, int64_t in_cols, int64_t height, uint32_t seed) : rows(in_rows), cols(in_cols) {
    RandomNumbers random(seed);
    x = random.row(rows * cols, 3.0f);
    for (const DType format : kFormats) {
      weights.emplace_back(random, format, height, cols);
      weights.emplace_back(random, format, height, cols);
    }
  }
  std::vector<Mat> run(Side& side) const { return test::linear_outputs(side, weights, x, rows, cols); }
};

// Outputs of a case on a backend with this library, against the reference's.
void check_case(const Case& c, const Limits& limits, const char* library) {
  CAPTURE(c.rows);
  CAPTURE(c.cols);
  test::against_reference(
      limits, [&](Side& side) { return c.run(side); }, kOrder, options_with(library));
}

Status status_of(const std::function<void()>& body, std::string& message) {
  try {
    body();
  } catch (const Error& error) {
    message = error.what();
    return error.status();
  }
  return Status::kOk;
}

}  // namespace

TEST_CASE("dense library: every format and output, from 256 rows on") {
  uint32_t seed = 1;
  for (const int64_t rows : {255, 256, 300}) {
    for (const int64_t cols : {128, 200}) {
      FakeLibrary library;
      check_case(Case(rows, cols, 136, seed++), product_limits(rows, 512, 512), kFake);
      CHECK(library.products() == (rows < 256 ? 0 : 12));  // F32 weights are our own kernels'
    }
  }
}

TEST_CASE("dense library: a weight wider than the scratch passes in pieces") {
  FakeLibrary library;
  // Room for 256 of 392 rows: two pieces for each of the four quantised weights; twice.
  check_case(Case(256, 192, 392, 20), product_limits(256, 192, 300), kFake);
  CHECK(library.products() == 2 * (4 * 2 + 2));
}

TEST_CASE("dense library: shapes that it does not take are our own kernels'") {
  FakeLibrary library;
  check_case(Case(256, 128, 131, 30), product_limits(256, 512, 512), kFake);  // weight rows
  check_case(Case(256, 130, 136, 31), product_limits(256, 512, 512), kFake);  // columns
  check_case(Case(256, 128, 136, 32), product_limits(256, 128, 100), kFake);  // room for no piece: BF16 only
  CHECK(library.products() == 4);
}

TEST_CASE("dense library: project_out's second product") {
  FakeLibrary library;
  RandomNumbers random(40);
  const int64_t rows = 256, groups = 2, width = 64, rank = 64, hidden = 96;
  const std::vector<bf16> o = random.row(rows * groups * width);
  const RandomWeight wo_a(random, DType::kF8E4M3, groups * rank, width);
  const RandomWeight wo_b(random, DType::kF8E4M3, hidden, groups * rank);
  const Limits limits = product_limits(rows, 512, 512);
  Side reference(make_reference_backend(), limits), device(backend_with(kFake), limits);
  std::vector<float> y[2];
  for (int i = 0; i < 2; ++i) {
    Side& side = i == 0 ? reference : device;
    const Mat low = side.rig.mat(DType::kBF16, rows, groups * rank), out = side.rig.mat(DType::kBF16, rows, hidden);
    side.backend->project_out(out, low, side.rig.put(DType::kBF16, rows, groups * width, o.data()),
                              side.backend->prepare(wo_a.tensor), side.backend->prepare(wo_b.tensor), groups);
    y[i] = side.rig.floats(out);
  }
  test::check_close(y[0], y[1], false, 2e-2f);  // a flip in low moves its quantised code
  CHECK(library.products() == 1);
}

TEST_CASE("dense library: all codes widen exactly, in paired order") {
  FakeLibrary library;
  for (const DType format : {DType::kF8E4M3, DType::kFP4}) {
    for (const int scale : {1, 9, 80, 127, 180, 246}) {
      RandomNumbers random(50);
      const int64_t rows = 300, cols = 168, first = 128, count = 172;
      RandomWeight weight(random, format, rows, cols, scale, 1);
      cuda::Gpu gpu(0);
      cuda::DeviceBuffer data(gpu, weight.bytes.size(), "codes"), scales(gpu, weight.scales.size(), "scales");
      cuda::DeviceBuffer out(gpu, static_cast<size_t>(count * cols) * 2, "widened");
      std::memcpy(data.as<uint8_t>(), weight.bytes.data(), weight.bytes.size());
      std::memcpy(scales.as<uint8_t>(), weight.scales.data(), weight.scales.size());
      const int64_t scale_cols = format == DType::kFP4 ? (cols + 31) / 32 : (cols + 127) / 128;
      const Weight w{data.as<void>(), scales.as<uint8_t>(), format, rows, cols, scale_cols};
      cuda::widen_rows(gpu, out.as<bf16>(), cuda::view_of(w), first, count);
      int64_t wrong = 0;
      for (int64_t r = 0; r < count; ++r) {
        for (int64_t c = 0; c < cols; ++c) {
          const int64_t at = (first + r) * cols + c;
          const uint8_t byte = weight.bytes[static_cast<size_t>(format == DType::kFP4 ? at / 2 : at)];
          const float code = format == DType::kFP4 ? kE2M1[byte >> (at % 2 * 4) & 15] : kE4M3[byte];
          const float want = round_bf16(code * e8m0_to_float(static_cast<uint8_t>(scale)));
          const int64_t place = c / 8 * 8 + c % 4 * 2 + c / 4 % 2;
          wrong += want != to_float(out.as<bf16>()[r * cols + place]);
        }
      }
      CHECK(wrong == 0);
    }
  }
}

TEST_CASE("dense library: missing, without its functions, or without a device, our own kernels do it") {
  FakeLibrary library;
  const Case c(256, 128, 136, 60);
  const Limits limits = product_limits(256, 512, 512);
  check_case(c, limits, "/nowhere/libcublasLt.so");
  check_case(c, limits, "libm.so.6");
  check_case(c, limits, "");  // no library at all, where the executor is the device
  for (const char* function : {"cublasLtCreate", "cublasLtMatmulDescCreate", "cublasLtMatmulDescSetAttribute",
                               "cublasLtMatmulPreferenceCreate", "cublasLtMatmulPreferenceSetAttribute"}) {
    library.fail(function, CUBLAS_STATUS_NOT_INITIALIZED);
    check_case(c, limits, kFake);
  }
  library.fail("cublasLtMatmulAlgoGetHeuristic", CUBLAS_STATUS_NOT_SUPPORTED);
  check_case(c, limits, kFake);
  CHECK(library.products() == 0);
}

TEST_CASE("dense library: a failing product is a status with the function's name") {
  FakeLibrary library;
  const Case c(256, 128, 136, 70);
  const Limits limits = product_limits(256, 512, 512);
  Side side(backend_with(kFake), limits);
  for (const char* function : {"cublasLtMatrixLayoutCreate", "cublasLtMatmulAlgoGetHeuristic", "cublasLtMatmul"}) {
    CAPTURE(function);
    std::string message;
    library.fail(function, CUBLAS_STATUS_INTERNAL_ERROR);
    CHECK(status_of([&] { c.run(side); }, message) == Status::kInternal);
    CHECK(message == std::string("cuda: ") + function + " failed: status 14");
  }
  std::string message;
  library.fail("cublasLtMatrixLayoutCreate", CUBLAS_STATUS_ALLOC_FAILED);
  const Case other(264, 128, 136, 71);
  Side taller(backend_with(kFake), product_limits(264, 512, 512));
  CHECK(status_of([&] { other.run(taller); }, message) == Status::kOutOfMemoryHost);
  library.fail("", 0);
  c.run(side);  // and the next step is as good as any
}

TEST_CASE("dense library: what it refuses, and why") {
  FakeLibrary library;
  cuda::Gpu gpu(0);
  cuda::DeviceBuffer memory(gpu, 1 << 20, "matrices");
  const Weight weight{memory.as<void>(), nullptr, DType::kBF16, 64, 64, 0};
  cuda::ProductJob job;
  job.weight = cuda::view_of(weight);
  job.x = memory.as<bf16>();
  job.out = memory.as<uint8_t>() + (1 << 19);
  job.x_stride = job.out_stride = 64;
  job.aligned = true;

  cuda::DenseLibrary dense(gpu, kFake);
  dense.reserve(product_limits(255, 64, 64));
  CHECK((dense.refusal(job, 256) == "steps of so many rows were not reserved"));
  dense.reserve(product_limits(256, 64, 64));
  CHECK((dense.refusal(job, 255) == "few rows"));
  REQUIRE(cudaStreamBeginCapture(gpu.stream(), cudaStreamCaptureModeThreadLocal) == cudaSuccess);
  CHECK((dense.refusal(job, 256) == "a new shape in a recorded step"));
  cudaGraph_t graph = nullptr;
  REQUIRE(cudaStreamEndCapture(gpu.stream(), &graph) == cudaSuccess);
  cudaGraphDestroy(graph);
  CHECK((dense.refusal(job, 256) == ""));
  REQUIRE(cudaStreamBeginCapture(gpu.stream(), cudaStreamCaptureModeThreadLocal) == cudaSuccess);
  CHECK((dense.refusal(job, 256) == ""));  // known by now
  REQUIRE(cudaStreamEndCapture(gpu.stream(), &graph) == cudaSuccess);
  cudaGraphDestroy(graph);
  const int64_t made = library.calls("cublasLtMatmulAlgoGetHeuristic");
  for (int64_t rows = 256; rows < 256 + 600; ++rows) CHECK((dense.refusal(job, rows) == ""));  // more than are kept
  CHECK(library.calls("cublasLtMatmulAlgoGetHeuristic") == made + 599);

  cuda::ProductJob odd = job;
  odd.out = memory.as<uint8_t>() + 8;
  CHECK((dense.refusal(odd, 256) == "a matrix whose rows do not begin at multiples of 16 bytes"));
  odd = job;
  odd.out_stride = 65;
  CHECK((dense.refusal(odd, 256) == "a matrix whose rows do not begin at multiples of 16 bytes"));
  cuda::DenseLibrary missing(gpu, "libm.so.6");
  missing.reserve(product_limits(256, 64, 64));
  CHECK((missing.refusal(job, 256) == "cuda: cuBLASLt: cublasLtCreate is missing"));
}

TEST_CASE("dense library: it does without where device memory is short") {
  FakeLibrary library;
  simt::fake_device().memory = size_t{24} << 20;  // not enough for its workspace
  cuda::Gpu gpu(0);
  cuda::DenseLibrary dense(gpu, kFake);
  dense.reserve(product_limits(256, 64, 64));
  cuda::ProductJob job;
  job.weight.rows = job.weight.cols = 64;
  job.weight.dtype = DType::kBF16;
  job.aligned = true;
  CHECK(dense.refusal(job, 256).find("workspace of cuBLASLt: 33554432 bytes of device memory needed") !=
        std::string_view::npos);
}
