// The MTP draft head, depth 1 (spec: model.md §3, "MTP"): from the residual state at position t and the token at t + 1
// it predicts the token at t + 2. A step's rows are tokens t + 1; `previous` holds X at t.

#include <algorithm>

#include "lib/model/model.h"

namespace dsv4 {

void Model::draft(Step& s) const {
  Backend& be = *backend_;
  Buffers& b = s.b;
  const DraftHead& w = *weights_->draft;
  const float eps = config().norm_eps;
  const int64_t m = config().streams, n = config().hidden;

  const int kind = w.block.ratio != 0;
  be.rope(b.rope[kind], b.positions, weights_->frequencies[kind]);
  be.embed(b.x, b.tokens, weights_->embedding);
  be.norm(b.x, b.x, w.e_norm, eps);
  const Product e{b.y, &w.e_proj};
  be.linear({&e, 1}, b.x);

  // Every stream is a row of its own here, so a step goes through in parts that fit the backend's rows.
  const int64_t part = std::max<int64_t>(limits_.rows / m, 1);
  for (int64_t first = 0; first < s.rows(); first += part) {
    const int64_t rows = std::min(part, s.rows() - first);
    const Mat from = b.previous.slice(first, rows).reshape(rows * m, n);
    const Product h{b.streams.slice(first, rows).reshape(rows * m, n), &w.h_proj};
    be.norm(from, from, w.h_norm, eps);
    be.linear({&h, 1}, from);
  }
  be.merge(b.X, b.y, b.streams);

  be.hc_pre(b.x, b.mix, b.X, w.block.hc_attn);
  block(s, w.block, static_cast<int>(config().layers));
  be.hc_post(b.X, b.y, b.mix);
}

}  // namespace dsv4
