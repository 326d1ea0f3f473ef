// Attention with one key/value head over a sliding window and compressed entries, with a sink:
//   s = q·k / sqrt(d);  p = exp(s) / (Σ exp(s) + exp(sink));  o = Σ p·k, rotated back by the token's own position
#include <algorithm>
#include <cmath>

#include "backends/reference/reference_math.h"
#include "backends/reference/reference_verbs.h"

namespace dsv4::reference {

void ReferenceBackend::query(Mat q, Mat rope, const Query& options) {
  const int64_t d = options.head_dim, dims = rope.cols;
  float* x = scratch_.row.data();
  for (int64_t r = 0; r < q.rows; ++r) {
    const float* cos = rope.row<float>(r);
    read_row(x, q, r);
    for (int64_t h = 0; h < options.heads; ++h) {
      float* head = x + h * d;
      if (options.rms) {
        const double scale = inverse_rms(head, d, options.eps);
        for (int64_t i = 0; i < d; ++i) head[i] = round_bf16(static_cast<float>(head[i] * scale));
      }
      rotate(head, d, cos, cos + dims / 2, dims);
      if (options.hadamard) {
        hadamard(head, d);
        quantise_e2m1(head, d);
      }
    }
    write_row(q, r, x);
  }
}

void ReferenceBackend::append(const Cache& cache, Mat kv, Mat rope, const Append& options) {
  const int64_t dims = rope.cols;
  float* x = scratch_.row.data();
  for (const Run& run : cache.runs) {
    HostLayer& layer = host_state(run).layer(cache.layer);
    for (int64_t i = 0; i < run.rows; ++i) {
      const int64_t r = run.first_row + i;
      const float* cos = rope.row<float>(r);
      read_row(x, kv, r);
      weighted_norm(x, kv.cols, options.norm, options.eps);
      rotate(x, kv.cols, cos, cos + dims / 2, dims);
      layer.kv.pack(layer.window_row(run.position + i), x);
    }
  }
}

// Unpacks what the token at `position` may see: its window, then compressed entries. Returns how many keys there are.
int64_t ReferenceBackend::gather_keys(const HostLayer& layer, int64_t position, const int32_t* top, int64_t top_count,
                                      const Attention& options) {
  int64_t count = 0;
  const auto take = [&](const uint8_t* row) {
    layer.kv.unpack(scratch_.keys.data() + count * options.head_dim, row);
    ++count;
  };
  for (int64_t p = std::max<int64_t>(position - options.window + 1, 0); p <= position; ++p) take(layer.window_row(p));
  if (options.ratio == 4) {
    for (int64_t i = 0; i < top_count; ++i) {
      if (top[i] >= 0) take(layer.compressed_row(top[i]));
    }
  } else if (options.ratio != 0) {
    for (int64_t j = 0; j < (position + 1) / options.ratio; ++j) take(layer.compressed_row(j));
  }
  return count;
}

void ReferenceBackend::attend(Mat o, const Cache& cache, Mat q, Mat top, Mat rope, const Attention& options) {
  const int64_t d = options.head_dim, dims = rope.cols;
  const float scale = 1.0f / std::sqrt(static_cast<float>(d));
  const float* keys = scratch_.keys.data();
  float* p = scratch_.scores.data();
  double* value = scratch_.value.data();
  float* x = scratch_.row.data();
  for (const Run& run : cache.runs) {
    const HostLayer& layer = host_state(run).layer(cache.layer);
    for (int64_t r = run.first_row; r < run.first_row + run.rows; ++r) {
      const int32_t* picked = options.ratio == 4 ? top.row<int32_t>(r) : nullptr;
      const int64_t count = gather_keys(layer, run.position + r - run.first_row, picked, top.cols, options);
      const float* cos = rope.row<float>(r);
      read_row(x, q, r);
      for (int64_t h = 0; h < options.heads; ++h) {
        float* head = x + h * d;  // the query on the way in, the output on the way out
        const float sink = weight_at(options.sink, h);
        float highest = sink;
        for (int64_t j = 0; j < count; ++j) {
          p[j] = dot(head, keys + j * d, d) * scale;
          highest = std::max(highest, p[j]);
        }
        double sum = std::exp(sink - highest);
        for (int64_t j = 0; j < count; ++j) sum += p[j] = std::exp(p[j] - highest);
        std::fill_n(value, d, 0.0);
        for (int64_t j = 0; j < count; ++j) {
          for (int64_t i = 0; i < d; ++i) value[i] += static_cast<double>(p[j]) * static_cast<double>(keys[j * d + i]);
        }
        for (int64_t i = 0; i < d; ++i) head[i] = round_bf16(static_cast<float>(value[i] / sum));
        rotate_back(head, d, cos, cos + dims / 2, dims);
      }
      write_row(o, r, x);
    }
  }
}

void ReferenceBackend::project_out(Mat y, Mat low, Mat o, const Weight& wo_a, const Weight& wo_b, int64_t groups) {
  const int64_t width = o.cols / groups, rank = wo_a.rows / groups;
  float* x = scratch_.row.data();
  for (int64_t i = 0; i < wo_a.rows; ++i) {
    // De-quantised to BF16; exact, since E4M3 has fewer bits.
    const float* w = weight_row(wo_a, i, scratch_.weight.data());
    for (int64_t r = 0; r < o.rows; ++r) {
      const bf16* part = o.row<bf16>(r) + i / rank * width;
      for (int64_t c = 0; c < width; ++c) x[c] = to_float(part[c]);
      low.row<bf16>(r)[i] = to_bf16(dot(w, x, width));
    }
  }
  product(y, low, wo_b, wo_b.quantised());
}

}  // namespace dsv4::reference
