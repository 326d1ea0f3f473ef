// Products of rows and weights: linear, project_out, logits, and what the other verbs multiply with.
// Input rows are packed once per call; then the weights' rows, of all products together, are shared out in units that
// threads take one after the other: one barrier per call, and every thread streams whole runs of a weight's rows.
#include <algorithm>
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

const void* CpuBackend::packed_row(XForm form, int64_t row, int64_t cols) const {
  const int64_t bytes = (cols + kPad - 1) / kPad * kPad * (form == kXF32 ? 4 : k_.x_bytes);
  return packed_[form].as<uint8_t>() + row * bytes;
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

void CpuBackend::multiply(float* y, int64_t y_stride, const WeightView& w, Format format, int64_t first, int64_t count,
                          const void* const* x, int64_t rows, ThreadScratch& scratch) {
  const auto direct = [&] {
    for (int64_t m = 0; m < rows; m += kMaxDirect) {
      k_.direct[format](y + m * y_stride, y_stride, w, first, count, x + m,
                        static_cast<int>(std::min<int64_t>(rows - m, kMaxDirect)));
    }
  };
  if (rows <= kMaxDirect) return direct();
  const bool bf16 = k_.bf16_tiles && format != kFormatF32;
  const auto dot = bf16 ? k_.dot_bf16 : k_.dot_f32;
  const bool as_it_lies = w.cols % kPad == 0 && (bf16 ? format == kFormatBF16 : format == kFormatF32);
  void* tile = scratch.tile.as<void>();
  const auto piece = [&](int64_t i, int64_t tall, int64_t col) {
    const int64_t cols = std::min(kTileCols, w.cols - col), wide = (cols + kPad - 1) / kPad * kPad;
    const void* from = tile;
    if (as_it_lies) {
      from = w.data + (first + i) * w.row_bytes + col * (bf16 ? 2 : 4);
    } else if (!k_.widen[format](tile, wide, w, first + i, tall, col, cols)) {
      return false;
    }
    dot(y + i, y_stride, from, as_it_lies ? w.cols : wide, tall, x, rows, col, wide, col > 0);
    return true;
  };
  // A tile fits the first cache. With few input rows the weight is what streams: its rows are read end to end. With
  // many the input is, and its columns of a tile stay in the second cache while the weight's tiles pass.
  const bool few = rows <= 32;
  const int64_t height = bf16 && !few ? 16 : 8;
  if (few) {
    for (int64_t i = 0; i < count; i += height) {
      for (int64_t col = 0; col < w.cols; col += kTileCols) {
        if (!piece(i, std::min(height, count - i), col)) return direct();
      }
    }
    return;
  }
  for (int64_t col = 0; col < w.cols; col += kTileCols) {
    for (int64_t i = 0; i < count; i += height) {
      if (!piece(i, std::min(height, count - i), col)) return direct();
    }
  }
}

void CpuBackend::run_tasks(std::span<const Task> tasks) {
  // A unit: some weight rows of one task. Small enough that all threads get some, whole groups of rows that the
  // kernels take together.
  int64_t total = 0;
  for (const Task& t : tasks) total += t.count;
  const int64_t unit = std::clamp(total / (pool_.size() * 8) / 8 * 8, int64_t{8}, kTileRows);
  const auto units_of = [&](const Task& t) { return (t.count + unit - 1) / unit; };
  int64_t units = 0;
  for (const Task& t : tasks) units += units_of(t);
  share(units, [&](int64_t u, int thread) {
    const Task* t = tasks.data();
    for (; u >= units_of(*t); ++t) u -= units_of(*t);
    ThreadScratch& scratch = threads_[static_cast<size_t>(thread)];
    const int64_t begin = u * unit, count = std::min(unit, t->count - begin);
    float* sums = scratch.sums[0].as<float>();
    for (int64_t m = 0; m < t->rows; m += kRowChunk) {
      const int64_t rows = std::min(kRowChunk, t->rows - m);
      multiply(sums, kTileRows, t->view, t->format, t->first + begin, count, t->x + m, rows, scratch);
      for (int64_t r = 0; r < rows; ++r) {
        const float* from = sums + r * kTileRows;
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
  if (x.rows == 0) return;
  const void* const* packed[kXForms] = {};
  Task tasks[kMaxTasks];
  for (size_t done = 0; done < products.size();) {
    const size_t count = std::min(products.size() - done, size_t{kMaxTasks});
    for (size_t i = 0; i < count; ++i) {
      const Product& p = products[done + i];
      const Format format = format_of(*p.weight);
      const XForm form = form_for(format, true);
      if (packed[form] == nullptr) packed[form] = pack(form, x);
      tasks[i] = {view_of(*p.weight), format, 0, p.weight->rows, packed[form], x.rows, p.out};
    }
    run_tasks({tasks, count});
    done += count;
  }
}

void CpuBackend::project_out(Mat y, Mat low, Mat o, const Weight& wo_a, const Weight& wo_b, int64_t groups) {
  if (o.rows == 0) return;
  const int64_t width = o.cols / groups, rank = wo_a.rows / groups;
  const Format format = format_of(wo_a);
  const XForm form = form_for(format, false);
  // Each group's part of a row is packed as a row of its own, groups one after the other.
  const int64_t bytes = (width + kPad - 1) / kPad * kPad * (form == kXF32 ? 4 : k_.x_bytes);
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
      tasks[i] = {view_of(wo_a), format, g * rank, rank, pointers + g * o.rows, o.rows, out};
    }
    run_tasks({tasks, static_cast<size_t>(count)});
    done += count;
  }
  const Product product{y, &wo_b};
  linear({&product, 1}, low);
}

void CpuBackend::logits(Mat out, Mat x, const Weight& head) {
  if (x.rows == 0) return;
  const Format format = format_of(head);
  const XForm form = form_for(format, false);
  const Task task{view_of(head), format, 0, head.rows, pack(form, x), x.rows, out};
  run_tasks({&task, 1});
}

}  // namespace dsv4::cpu
