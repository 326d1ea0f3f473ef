// Products of rows and weights: linear, project_out, logits, and what the other verbs multiply with.
// Input rows are packed once per call; then the weights' rows, of all products together, are shared out in units that
// threads take one after the other: one barrier per call, and every thread streams whole runs of a weight's rows.
#include <algorithm>
#include <atomic>
#include <cstring>

#include "backends/cpu/cpu_verbs.h"
#include "lib/base/error.h"

namespace dsv4::cpu {

WeightView view_of(const Weight& w) {
  return {w.as<uint8_t>(), w.scale, w.cols * dtype_bits(w.dtype) / 8, w.scale_cols, w.cols};
}

Format format_of(const Weight& w) {
  switch (w.dtype) {
    case DType::kF8E4M3: return kFormatE4M3;
    case DType::kFP4: return kFormatFP4;
    case DType::kBF16: return kFormatBF16;
    default: return kFormatF32;
  }
}

XForm form_for(Format format, bool quantise) {
  if (format == kFormatF32) return kXF32;
  if (format == kFormatBF16) return kXPlain;
  return quantise ? kXQuantised : kXRaw;
}

// Rows lie kPad columns further apart than they are wide: at a distance of a power of two, as most widths are, rows
// that are read side by side would throw each other out of the first cache.
int64_t CpuBackend::packed_bytes(XForm form, int64_t cols) const {
  return ((cols + kPad - 1) / kPad * kPad + kPad) * (form == kXF32 ? 4 : k_.x_bytes);
}

const void* CpuBackend::packed_row(XForm form, int64_t row, int64_t cols) const {
  return packed_[form].as<uint8_t>() + row * packed_bytes(form, cols);
}

const void* const* CpuBackend::pack(XForm form, Mat x) {
  check(reinterpret_cast<intptr_t>(packed_row(form, x.rows, x.cols)) -
            reinterpret_cast<intptr_t>(packed_[form].as<uint8_t>()),
        packed_[form], "input rows");
  check(x.rows * static_cast<int64_t>(sizeof(void*)), pointers_[form], "input rows");
  const void** pointers = pointers_[form].as<const void*>();
  each_row(x.rows, x.cols, [&](int64_t r, int) {
    void* to = const_cast<void*>(packed_row(form, r, x.cols));
    k_.pack(form, to, x.row<uint16_t>(r), x.cols);
    pointers[r] = to;
  });
  return pointers;
}

namespace {
constexpr int64_t kLeastRows = 64;  // input rows from which on oneDNN is faster than our kernels
constexpr int64_t kLeastTall = 32;  // and weight rows
constexpr int64_t kFewRows = 63;    // input rows past which a weight streams, rather than they past it
}  // namespace

bool CpuBackend::onednn_takes(int64_t rows) const { return onednn_ != nullptr && rows >= kLeastRows; }

void CpuBackend::multiply(float* y, int64_t y_stride, const WeightView& w, Format format, int64_t first, int64_t count,
                          Inputs x, ThreadScratch& scratch) {
  if (k_.dot_blocked != nullptr) {
    if (x.blocked != nullptr && k_.dot_blocked(y, y_stride, w, format, first, count, x.blocked, x.rows,
                                               scratch.tile.as<void>(), x.then)) {
      return;
    }
  } else if (multiply_onednn(y, y_stride, w, format, first, count, x, scratch)) {
    return;
  }
  if (multiply_tiled(y, y_stride, w, format, first, count, x, scratch)) return;
  multiply_direct(y, y_stride, w, format, first, count, x);
}

const void* CpuBackend::tile_of(const WeightView& w, Format format, int64_t first, int64_t count, int64_t col,
                                int64_t cols, void* tile, int64_t* stride) const {
  const bool bf16 = bf16_tile(format);
  if (w.cols % kPad == 0 && format == (bf16 ? kFormatBF16 : kFormatF32)) {
    *stride = w.cols;
    return w.data + first * w.row_bytes + col * (bf16 ? 2 : 4);
  }
  *stride = (cols + kPad - 1) / kPad * kPad;
  return k_.widen[format](tile, *stride, w, first, count, col, cols) ? tile : nullptr;
}

// Rows are blocked in pieces of kRowChunk, the last ones of a half and a quarter of it, so that few shapes occur; and
// in parts of kTileCols columns, those of one piece one after the other.
const uint8_t* CpuBackend::block_onednn(const Block& to, int64_t offset, const void* const* x, int64_t rows,
                                        int64_t cols) {
  const int64_t whole = rows / kLeastRows * kLeastRows, element = k_.x_bytes;
  const int64_t wide = (cols + kPad - 1) / kPad * kPad;
  if (onednn_ == nullptr || whole == 0 || offset + whole * wide * element > to.bytes()) return nullptr;
  const uint8_t* const* in = reinterpret_cast<const uint8_t* const*>(x);
  const int64_t distance = in[1] - in[0];
  if (distance < wide * element || distance % element != 0) return nullptr;
  for (int64_t m = 1; m < rows; ++m) {
    if (in[m] - in[m - 1] != distance) return nullptr;
  }
  std::atomic<bool> done{true};
  const int64_t chunks = (whole + kRowChunk - 1) / kRowChunk, parts = (wide + kTileCols - 1) / kTileCols;
  share(chunks * parts, [&](int64_t u, int thread) {
    const int64_t col = u % parts * kTileCols, part = std::min(kTileCols, wide - col), begin = u / parts * kRowChunk;
    const int64_t end = std::min(begin + kRowChunk, whole);
    for (int64_t m = begin, piece = kRowChunk; m < end; m += piece) {
      while (piece > end - m) piece /= 2;
      uint8_t* out = to.as<uint8_t>() + offset + (m * wide + piece * col) * element;
      if (!onednn_->block(thread, piece, part, distance / element, out, in[m] + col * element)) {
        done.store(false, std::memory_order_relaxed);
      }
    }
  });
  return done.load(std::memory_order_relaxed) ? to.as<uint8_t>() + offset : nullptr;
}

// What is left over of the rows goes to our own kernel, which reads the same tile. Weight rows are what oneDNN sees as
// rows: its result is turned over at the end.
bool CpuBackend::multiply_onednn(float* y, int64_t y_stride, const WeightView& w, Format format, int64_t first,
                                 int64_t count, Inputs x, ThreadScratch& scratch) {
  const bool bf16 = k_.bf16_tiles;
  const int64_t whole = x.rows / kLeastRows * kLeastRows, element = k_.x_bytes;
  if (x.blocked == nullptr || whole == 0 || count < kLeastTall) return false;
  const int64_t all = (w.cols + kPad - 1) / kPad * kPad;
  void* tile = scratch.tile.as<void>();
  float* turned = scratch.turned.as<float>();
  for (int64_t col = 0; col < w.cols; col += kTileCols) {
    const int64_t cols = std::min(kTileCols, w.cols - col), wide = (cols + kPad - 1) / kPad * kPad;
    if (!k_.widen[format](tile, wide, w, first, count, col, cols)) return false;
    for (int64_t m = 0, piece = kRowChunk; m < whole; m += piece) {
      while (piece > whole - m) piece /= 2;
      const MatmulShape shape{count, piece, wide, wide, kRowChunk, col > 0};
      const uint8_t* in = x.blocked + (m * all + piece * col) * element;
      if (!onednn_->multiply(scratch.thread, shape, turned + m, tile, in)) return false;
    }
    if (whole < x.rows) {
      (bf16 ? k_.dot_bf16 : k_.dot_f32)(y + whole * y_stride, y_stride, tile, wide, count, x.x + whole, x.rows - whole,
                                        col, wide, col > 0, {});
    }
  }
  for (int64_t i = 0; i < count; i += 16) {  // a cache line of y at a time
    const int64_t tall = std::min<int64_t>(16, count - i);
    for (int64_t m = 0; m < whole; ++m) {
      for (int64_t k = 0; k < tall; ++k) y[m * y_stride + i + k] = turned[(i + k) * kRowChunk + m];
    }
  }
  return true;
}

bool CpuBackend::multiply_tiled(float* y, int64_t y_stride, const WeightView& w, Format format, int64_t first,
                                int64_t count, Inputs x, ThreadScratch& scratch) {
  const int64_t rows = x.rows;
  if (rows <= k_.few_rows[format]) return false;
  const bool bf16 = bf16_tile(format);
  const auto dot = bf16 ? k_.dot_bf16 : k_.dot_f32;
  // A tile fits the first cache. With few input rows the weight is what streams: its rows are read end to end, and while
  // some are multiplied the next ones are fetched. With many the input streams, and its columns of a tile stay in the
  // second cache while the weight's tiles pass.
  const bool few = rows <= kFewRows;
  const int64_t height = bf16 && !few ? 16 : 8, width = kTileCols;
  const auto piece = [&](int64_t i, int64_t col, const Ahead& ahead) {
    const int64_t tall = std::min(height, count - i), cols = std::min(width, w.cols - col);
    const int64_t wide = (cols + kPad - 1) / kPad * kPad;
    int64_t stride = 0;
    const void* tile = tile_of(w, format, first + i, tall, col, cols, scratch.tile.as<void>(), &stride);
    if (tile != nullptr) dot(y + i, y_stride, tile, stride, tall, x.x, rows, col, wide, col > 0, ahead);
    return tile != nullptr;
  };
  if (few) {
    for (int64_t i = 0; i < count; i += height) {
      Ahead next = x.then;
      if (i + height < count) {
        next = {w.data + (first + i + height) * w.row_bytes, std::min(height, count - i - height) * w.row_bytes};
      }
      for (int64_t col = 0; col < w.cols; col += width) {
        const int64_t begin = next.bytes * col / w.cols, end = next.bytes * std::min(col + width, w.cols) / w.cols;
        if (!piece(i, col, {next.data + begin, end - begin})) return false;
      }
    }
    return true;
  }
  for (int64_t col = 0; col < w.cols; col += width) {
    for (int64_t i = 0; i < count; i += height) {
      if (!piece(i, col, {})) return false;
    }
  }
  return true;
}

void CpuBackend::multiply_direct(float* y, int64_t y_stride, const WeightView& w, Format format, int64_t first,
                                 int64_t count, Inputs x) {
  // Input rows in parts of nearly equal size; all of them meet the weight rows while these are in the second cache.
  const int64_t most = k_.max_direct[format], parts = (x.rows + most - 1) / most;
  for (int64_t m = 0, part = 0; part < parts; ++part) {
    const int64_t rows = (x.rows - m + parts - part - 1) / (parts - part);
    k_.direct[format](y + m * y_stride, y_stride, w, first, count, x.x + m, static_cast<int>(rows));
    m += rows;
  }
}

Inputs CpuBackend::inputs_at(const void* const* x, const uint8_t* blocked, int64_t m, int64_t rows,
                             int64_t cols) const {
  const int64_t bytes = (cols + kPad - 1) / kPad * kPad * k_.x_bytes;
  return {x + m, rows, blocked == nullptr ? nullptr : blocked + m * bytes, {}};
}

void CpuBackend::run_tasks(std::span<const Task> tasks) {
  // A unit: some weight rows of one task. Small enough that all threads get some, whole groups of rows that the
  // kernels take together. For oneDNN its height must not depend on the number of threads: it is free to sum tiles of
  // different heights in different orders.
  int64_t total = 0;
  for (const Task& t : tasks) total += t.count;
  int64_t unit = std::clamp(total / (pool_.size() * 8) / 8 * 8, int64_t{8}, kUnitRows);
  if (k_.dot_blocked != nullptr && tasks.front().blocked != nullptr) {
    unit = std::clamp(total / (pool_.size() * 4) / 32 * 32, int64_t{32}, kBlockedUnit);
  } else if (onednn_takes(tasks.front().rows)) {
    unit = total >= 32 * kTileRows ? kTileRows : kUnitRows;
  }
  const auto units_of = [&](const Task& t) { return (t.count + unit - 1) / unit; };
  int64_t units = 0;
  for (const Task& t : tasks) units += units_of(t);
  share(units, [&](int64_t u, int thread) {
    const Task* t = tasks.data();
    for (; u >= units_of(*t); ++t) u -= units_of(*t);
    ThreadScratch& scratch = threads_[static_cast<size_t>(thread)];
    const int64_t begin = u * unit, count = std::min(unit, t->count - begin);
    float* sums = scratch.sums[0].as<float>();
    for (int64_t m = 0; m < t->rows; m += row_chunk_) {
      const int64_t rows = std::min(row_chunk_, t->rows - m);
      const Inputs inputs = inputs_at(t->x, t->blocked, m, rows, t->view.cols);
      multiply(sums, sums_stride_, t->view, t->format, t->first + begin, count, inputs, scratch);
      for (int64_t r = 0; r < rows; ++r) {
        const float* from = sums + r * sums_stride_;
        if (t->out.dtype == DType::kF32) {
          std::memcpy(t->out.row<float>(m + r) + begin, from, static_cast<size_t>(count) * 4);
        } else {
          k_.store_bf16(t->out.row<uint16_t>(m + r) + begin, from, count);
        }
      }
    }
  });
}

void CpuBackend::linear(std::span<const Product> products, Mat x) {
  const FloatMode mode;
  if (x.rows == 0) return;
  const void* const* packed[kXForms] = {};
  const uint8_t* blocked[kXForms] = {};
  Task tasks[kMaxTasks];
  for (size_t done = 0; done < products.size();) {
    const size_t count = std::min(products.size() - done, size_t{kMaxTasks});
    for (size_t i = 0; i < count; ++i) {
      const Product& p = products[done + i];
      const Format format = format_of(*p.weight);
      const XForm form = form_for(format, true);
      if (packed[form] == nullptr) {
        packed[form] = pack(form, x);
        blocked[form] = block_rows(form, blocked_[form], 0, packed[form], x.rows, x.cols);
      }
      tasks[i] = {view_of(*p.weight), format, 0, p.weight->rows, packed[form], x.rows, p.out, blocked[form]};
    }
    run_tasks({tasks, count});
    done += count;
  }
  check_memory();
}

void CpuBackend::project_out(Mat y, Mat low, Mat o, const Weight& wo_a, const Weight& wo_b, int64_t groups) {
  const FloatMode mode;
  if (o.rows == 0) return;
  const int64_t width = o.cols / groups, rank = wo_a.rows / groups;
  const Format format = format_of(wo_a);
  const XForm form = form_for(format, false);
  // Each group's part of a row is packed as a row of its own, groups one after the other.
  const int64_t bytes = packed_bytes(form, width);
  const int64_t blocked = k_.dot_blocked != nullptr ? blocked_bytes(o.rows, width) : o.rows * bytes;  // of a group
  check(o.rows * groups * bytes, packed_[form], "attention output");
  check(o.rows * groups * static_cast<int64_t>(sizeof(void*)), pointers_[form], "attention output");
  uint8_t* packed = packed_[form].as<uint8_t>();
  const void** pointers = pointers_[form].as<const void*>();
  each_row(o.rows, o.cols, [&](int64_t r, int) {
    for (int64_t g = 0; g < groups; ++g) {
      uint8_t* to = packed + (g * o.rows + r) * bytes;
      k_.pack(form, to, o.row<uint16_t>(r) + g * width, width);
      pointers[g * o.rows + r] = to;
    }
  });
  Task tasks[kMaxTasks];
  for (int64_t done = 0; done < groups;) {
    const int64_t count = std::min<int64_t>(groups - done, kMaxTasks);
    for (int64_t i = 0; i < count; ++i) {
      const int64_t g = done + i;
      Mat out = low;
      out.data = low.row<bf16>(0) + g * rank;
      out.cols = rank;
      tasks[i] = {view_of(wo_a),
                  format,
                  g * rank,
                  rank,
                  pointers + g * o.rows,
                  o.rows,
                  out,
                  block_rows(form, blocked_[form], g * blocked, pointers + g * o.rows, o.rows, width)};
    }
    run_tasks({tasks, static_cast<size_t>(count)});
    done += count;
  }
  const Product product{y, &wo_b};
  linear({&product, 1}, low);
}

void CpuBackend::logits(Mat out, Mat x, const Weight& head) {
  const FloatMode mode;
  if (x.rows == 0) return;
  const Format format = format_of(head);
  const XForm form = form_for(format, false);
  const void* const* packed = pack(form, x);
  const Task task{view_of(head), format, 0,   head.rows,
                  packed,        x.rows, out, block_rows(form, blocked_[form], 0, packed, x.rows, x.cols)};
  run_tasks({&task, 1});
  check_memory();
}

}  // namespace dsv4::cpu
