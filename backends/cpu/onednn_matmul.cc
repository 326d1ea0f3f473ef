// The only file that computes with oneDNN. Primitives are made for fixed shapes (its kernels for unknown ones are much
// slower) and kept per thread, so that nothing is shared but the engine. Their scratch memory is ours too: left to
// itself oneDNN would allocate it at every call.
#include "backends/cpu/onednn_matmul.h"

#ifdef DSV4_ONEDNN

#include <algorithm>
#include <cstdlib>
#include <new>
#include <string_view>
#include <utility>
#include <vector>

#include <dnnl.hpp>

#include "lib/base/error.h"

#if DNNL_CPU_RUNTIME == DNNL_RUNTIME_OMP
// oneDNN's own OpenMP, whichever that is in this process; weak, because a host that links us need not link it. Declared
// here since clang has no <omp.h> of its own.
extern "C" {
int omp_get_max_threads() __attribute__((weak));
void omp_set_num_threads(int) __attribute__((weak));
}
#endif

namespace dsv4::cpu {
namespace {

// Shapes one thread keeps. A model has a few dozen: widths of its weights by heights of a tile by pieces of the rows.
constexpr size_t kShapes = 256;

// oneDNN writes through the null pointer when memory runs out while it makes a kernel, and its OpenMP ends the process
// where it has none for what it keeps of a thread. A kernel takes some 100 KB: so neither is begun unless there is room
// for many. A large piece comes straight from the system, and costs microseconds.
void need_room() {
  constexpr size_t kRoom = size_t{4} << 20;
  void* const room = std::malloc(kRoom);
  if (room == nullptr) throw std::bad_alloc();
  std::free(room);
}

// One thread for oneDNN on this thread. Thread 0 is the host's: its own setting comes back.
class OneThread {
 public:
#if DNNL_CPU_RUNTIME == DNNL_RUNTIME_OMP
  OneThread() : before_(omp_get_max_threads()) {  // may throw std::bad_alloc
    if (before_ == 1) return;
    need_room();  // OpenMP takes memory for a thread that it first hears of; microseconds beside a product of many rows
    omp_set_num_threads(1);
  }
  ~OneThread() {
    if (before_ != 1) omp_set_num_threads(before_);
  }
  static bool possible() { return omp_get_max_threads != nullptr && omp_set_num_threads != nullptr; }
#else
  OneThread() = default;
  static bool possible() { return DNNL_CPU_RUNTIME == DNNL_RUNTIME_SEQ; }
#endif
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;

#if DNNL_CPU_RUNTIME == DNNL_RUNTIME_OMP
 private:
  int before_;
#endif
};

using dnnl::memory;

struct Product {
  MatmulShape key;
  dnnl::matmul primitive;  // none: oneDNN refused this shape
  memory w, x, dst, scratch;
};

struct Blocking {
  struct Key {
    int64_t rows, cols, x_stride;
    bool operator==(const Key&) const = default;
  } key;
  dnnl::reorder primitive;
  memory x, blocked, scratch;
};

// The last shapes of one thread.
template <class Entry>
struct Cache {
  std::vector<Entry> entries;
  size_t last = 0;    // the one used last: the next call is mostly for the same
  size_t oldest = 0;  // to be dropped when all kShapes are taken

  template <class Key, class Make>
  Entry& find(const Key& key, Make&& make) {
    if (last < entries.size() && entries[last].key == key) return entries[last];
    const auto at = std::find_if(entries.begin(), entries.end(), [&](const Entry& e) { return e.key == key; });
    if (at != entries.end()) {
      last = static_cast<size_t>(at - entries.begin());
      return *at;
    }
    need_room();
    Entry made = make();
    if (entries.size() < kShapes) {
      last = entries.size();
      entries.push_back(std::move(made));
    } else {
      last = oldest;
      oldest = (oldest + 1) % kShapes;
      entries[last] = std::move(made);
    }
    return entries[last];
  }
};

bool no_memory(const dnnl::error& e) { return e.status == dnnl_out_of_memory; }

// A description of a primitive; empty where oneDNN has none.
template <class Description, class... Args>
Description made(Args&&... args) {
  try {
    return Description(std::forward<Args>(args)...);
  } catch (const dnnl::error& e) {
    if (no_memory(e)) throw;
    return {};
  }
}

// What one thread owns, on cache lines of its own.
struct alignas(64) PerThread {
  dnnl::stream stream;
  Cache<Product> products;
  Cache<Blocking> blockings;
  std::vector<uint8_t> scratch;  // of the shape that wants most

  void reserve(const memory& m) {
    const size_t needed = m.get_desc().get_size() + 64;
    if (needed > scratch.size()) scratch.resize(needed);
  }
  uint8_t* aligned_scratch() {
    return scratch.data() + (64 - reinterpret_cast<uintptr_t>(scratch.data()) % 64) % 64;
  }
};

}  // namespace

struct OnednnMatmul::Impl {
  dnnl::engine engine;
  memory::data_type type;
  std::vector<PerThread> threads;

  dnnl::matmul::primitive_desc describe(const MatmulShape& s, const memory::desc& x) const {
    const memory::desc w({s.count, s.cols}, type, memory::dims{s.w_stride, 1});
    const memory::desc dst({s.count, s.rows}, memory::data_type::f32, memory::dims{s.dst_stride, 1});
    dnnl::primitive_attr attributes;
    attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    attributes.set_fpmath_mode(dnnl::fpmath_mode::strict);  // whatever ONEDNN_DEFAULT_FPMATH_MODE says
    if (s.add) {
      dnnl::post_ops sum;
      sum.append_sum(1.0f);
      attributes.set_post_ops(sum);
    }
    return made<dnnl::matmul::primitive_desc>(engine, w, x, dst, attributes);
  }
  // How x is to lie: what oneDNN likes best for a tile of the usual height, and the same for every other.
  memory::desc blocked_desc(int64_t rows, int64_t cols) const {
    const memory::desc any({cols, rows}, type, memory::format_tag::any);
    const auto d = describe({64, rows, cols, cols, 256, false}, any);
    if (!d || std::string_view(d.impl_info_str()).starts_with("ref")) return {};  // its plain loops: slower than ours
    const size_t dense = static_cast<size_t>(rows * cols) * memory::data_type_size(type);
    return d.weights_desc().get_size() == dense ? d.weights_desc() : memory::desc();
  }
  Product make_product(const MatmulShape& s) const {
    Product p{s, {}, {}, {}, {}, {}};
    const memory::desc x = blocked_desc(s.rows, s.cols);
    if (x.is_zero()) return p;
    const auto d = describe(s, x);
    if (!d || std::string_view(d.impl_info_str()).starts_with("ref")) return p;
    p.primitive = dnnl::matmul(d);
    p.w = memory(d.src_desc(), engine, DNNL_MEMORY_NONE);
    p.x = memory(x, engine, DNNL_MEMORY_NONE);
    p.dst = memory(d.dst_desc(), engine, DNNL_MEMORY_NONE);
    p.scratch = memory(d.scratchpad_desc(), engine, DNNL_MEMORY_NONE);
    return p;
  }
  Blocking make_blocking(const Blocking::Key& key) const {
    Blocking b{key, {}, {}, {}, {}};
    const memory::desc to = blocked_desc(key.rows, key.cols);
    if (to.is_zero()) return b;
    const memory::desc from({key.cols, key.rows}, type, memory::dims{1, key.x_stride});
    dnnl::primitive_attr attributes;
    attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    const auto d = made<dnnl::reorder::primitive_desc>(engine, from, engine, to, attributes);
    if (!d) return b;
    b.primitive = dnnl::reorder(d);
    b.x = memory(from, engine, DNNL_MEMORY_NONE);
    b.blocked = memory(to, engine, DNNL_MEMORY_NONE);
    b.scratch = memory(d.scratchpad_desc(), engine, DNNL_MEMORY_NONE);
    return b;
  }
};

OnednnMatmul::OnednnMatmul(int threads, bool bf16) {
  if (!OneThread::possible()) {
    refusal_ = "oneDNN's number of threads cannot be set";
    return;
  }
  try {
    const OneThread one;
    need_room();
    auto impl = std::make_unique<Impl>();
    impl->engine = dnnl::engine(dnnl::engine::kind::cpu, 0);
    impl->type = bf16 ? memory::data_type::bf16 : memory::data_type::f32;
    impl->threads.resize(static_cast<size_t>(threads));
    for (PerThread& t : impl->threads) t.stream = dnnl::stream(impl->engine);
    if (impl->blocked_desc(256, 1024).is_zero()) {
      refusal_ = bf16 ? "oneDNN has no fast BF16 product for this machine"
                      : "oneDNN has no fast FP32 product for this machine";
      return;
    }
    impl_ = std::move(impl);
  } catch (const dnnl::error& e) {
    if (no_memory(e)) fail(Status::kOutOfMemoryHost, "cpu backend: oneDNN: {}", e.what());
    refusal_ = std::string("oneDNN: ") + e.what();
  }
}

bool OnednnMatmul::block(int thread, int64_t rows, int64_t cols, int64_t x_stride, void* blocked,
                         const void* x) noexcept {
  if (impl_ == nullptr) return false;
  try {
    const OneThread one;
    PerThread& t = impl_->threads[static_cast<size_t>(thread)];
    const Blocking::Key key{rows, cols, x_stride};
    Blocking& b = t.blockings.find(key, [&] { return impl_->make_blocking(key); });
    if (!b.primitive) return false;
    t.reserve(b.scratch);
    b.x.set_data_handle(const_cast<void*>(x));
    b.blocked.set_data_handle(blocked);
    b.scratch.set_data_handle(t.aligned_scratch());
    const dnnl_exec_arg_t arguments[] = {
        {DNNL_ARG_FROM, b.x.get()}, {DNNL_ARG_TO, b.blocked.get()}, {DNNL_ARG_SCRATCHPAD, b.scratch.get()}};
    dnnl::error::wrap_c_api(dnnl_primitive_execute(b.primitive.get(), t.stream.get(), 3, arguments), "cannot reorder");
    return true;
  } catch (...) {
    return refuse();
  }
}

// Nothing waits for the stream: one of a CPU runs what it is given in the call that gives it.
bool OnednnMatmul::multiply(int thread, const MatmulShape& shape, float* dst, const void* w,
                            const void* blocked) noexcept {
  if (impl_ == nullptr) return false;
  try {
    const OneThread one;
    PerThread& t = impl_->threads[static_cast<size_t>(thread)];
    Product& p = t.products.find(shape, [&] { return impl_->make_product(shape); });
    if (!p.primitive) return false;
    t.reserve(p.scratch);
    p.w.set_data_handle(const_cast<void*>(w));
    p.x.set_data_handle(const_cast<void*>(blocked));
    p.dst.set_data_handle(dst);
    p.scratch.set_data_handle(t.aligned_scratch());
    const dnnl_exec_arg_t arguments[] = {{DNNL_ARG_SRC, p.w.get()},
                                         {DNNL_ARG_WEIGHTS, p.x.get()},
                                         {DNNL_ARG_DST, p.dst.get()},
                                         {DNNL_ARG_SCRATCHPAD, p.scratch.get()}};
    dnnl::error::wrap_c_api(dnnl_primitive_execute(p.primitive.get(), t.stream.get(), 4, arguments), "cannot multiply");
    return true;
  } catch (...) {
    return refuse();
  }
}

bool OnednnMatmul::refuse() noexcept {
  try {
    throw;
  } catch (const dnnl::error& e) {
    if (no_memory(e)) out_of_memory_.store(true, std::memory_order_relaxed);
  } catch (...) {  // std::bad_alloc
    out_of_memory_.store(true, std::memory_order_relaxed);
  }
  return false;
}

void OnednnMatmul::check_memory() {
  if (!out_of_memory_.exchange(false, std::memory_order_relaxed)) return;
  fail(Status::kOutOfMemoryHost, "cpu backend: no memory for a product by oneDNN");
}

OnednnMatmul::~OnednnMatmul() = default;

}  // namespace dsv4::cpu

#else

namespace dsv4::cpu {

struct OnednnMatmul::Impl {};

OnednnMatmul::OnednnMatmul(int, bool) : refusal_("this build has no oneDNN") {}
OnednnMatmul::~OnednnMatmul() = default;
bool OnednnMatmul::multiply(int, const MatmulShape&, float*, const void*, const void*) noexcept { return false; }
bool OnednnMatmul::block(int, int64_t, int64_t, int64_t, void*, const void*) noexcept { return false; }
void OnednnMatmul::check_memory() {}

}  // namespace dsv4::cpu

#endif
