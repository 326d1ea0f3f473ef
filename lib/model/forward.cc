// The forward pass of DeepSeek-V4, once, for every backend (spec: model.md §3). One line is one equation; what a verb
// computes, and where it rounds, stands in lib/backend/backend.h.

#include "lib/base/error.h"
#include "lib/model/model.h"

namespace dsv4 {
namespace {

// The columns of a buffer that this layer uses.
Mat columns(Mat m, int64_t cols) {
  m.cols = cols;
  return m;
}

}  // namespace

void Model::attention(Step& s, const Layer& w, const Cache& cache) const {
  Backend& be = *backend_;
  Buffers& b = s.b;
  const Mat rope = b.rope[w.ratio != 0];

  Product of_x[7] = {{b.qr, &w.wq_a}, {b.kv, &w.wkv}};  // every projection of x in one call
  size_t n = 2;
  const Mat ck = columns(b.ck, w.compressor.wkv.rows), cz = columns(b.cz, w.compressor.wgate.rows);
  if (w.ratio != 0) {
    of_x[n++] = {ck, &w.compressor.wkv};
    of_x[n++] = {cz, &w.compressor.wgate};
  }
  if (w.ratio == 4) {
    of_x[n++] = {b.ik, &w.index_compressor.wkv};
    of_x[n++] = {b.iz, &w.index_compressor.wgate};
    of_x[n++] = {b.iw, &w.index_weights};
  }
  be.linear({of_x, n}, b.x);
  be.norm(b.qr, b.qr, w.q_norm, w.query.eps);
  const Product of_qr[2] = {{b.q, &w.wq_b}, {b.iq, &w.index_wq_b}};
  be.linear({of_qr, w.ratio == 4 ? 2u : 1u}, b.qr);

  be.query(b.q, rope, w.query);            // per-head rms, rope
  be.append(cache, b.kv, rope, w.append);  // norm, rope, quantise, into the window
  if (w.ratio != 0) be.compress(cache, ck, cz, w.compressor.options);
  if (w.ratio == 4) {  // CSA: which of the finished entries to look at
    be.compress(cache, b.ik, b.iz, w.index_compressor.options);
    be.query(b.iq, rope, w.index_query);  // rope, Hadamard, quantise
    be.index(b.top, cache, b.iq, b.iw, w.indexer);
  }
  be.attend(b.o, cache, b.q, b.top, rope, w.attention);  // window, entries and sink; inverse rope
  be.project_out(b.y, b.low, b.o, w.wo_a, w.wo_b, config().o_groups);
}

void Model::block(Step& s, const Layer& w, int layer) const {
  Backend& be = *backend_;
  Buffers& b = s.b;
  attention(s, w, {s.runs, layer});
  be.hc_post_pre(b.x, b.mix, b.X, b.y, w.hc_ffn);
  be.route(b.route, b.x, b.tokens, w.gate);
  be.experts(b.y, b.x, b.route, w.experts);
}

void Model::forward(Step& s) const {
  Backend& be = *backend_;
  Buffers& b = s.b;
  const std::vector<Layer>& layers = weights_->layers;
  be.rope(b.rope[0], b.positions, weights_->frequencies[0]);
  be.rope(b.rope[1], b.positions, weights_->frequencies[1]);
  be.embed(b.X, b.tokens, weights_->embedding);
  be.hc_pre(b.x, b.mix, b.X, layers.front().hc_attn);
  for (size_t l = 0; l < layers.size(); ++l) {
    if (s.is_cancelled()) fail(Status::kCancelled, "cancelled");
    block(s, layers[l], static_cast<int>(l));
    if (l + 1 < layers.size()) {
      be.hc_post_pre(b.x, b.mix, b.X, b.y, layers[l + 1].hc_attn);
    } else {
      be.hc_post(b.X, b.y, b.mix);
    }
  }
}

}  // namespace dsv4
