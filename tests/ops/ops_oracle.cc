#include "tests/ops/ops_oracle.h"

#include <algorithm>
#include <cmath>

namespace dsv4::test {

const std::vector<float>& Oracle::tensor(const std::string& name) {
  const auto it = tensors_.find(name);
  if (it != tensors_.end()) return it->second;
  return tensors_[name] = micro_.widened(name);
}

Balls Oracle::hc(const std::string& prefix, const float* X, const std::string& norm) {
  const int64_t m = c_.streams, n = c_.hidden;
  const Balls flat = points(X, m * n);
  const std::vector<float>& fn = tensor(prefix + "_fn");
  const std::vector<float>& base = tensor(prefix + "_base");
  const float scale = tensor(prefix + "_scale")[0];
  double square = 0;
  for (const Ball& b : flat) square += b.v * b.v;
  const double rms = std::sqrt(square / static_cast<double>(m * n) + c_.norm_eps);
  Balls x(static_cast<size_t>(n));
  for (int64_t j = 0; j < m; ++j) {
    const Ball mix = sloppy(div(dot_balls(fn.data() + j * m * n, flat), {rms, 0}));
    const Ball logit = add(sloppy(mul(mix, {scale, 0})), {base[static_cast<size_t>(j)], 0});
    const Ball pre = add(sigmoid_ball(logit), {c_.hc_eps, 0});
    for (int64_t i = 0; i < n; ++i) {
      Ball& sum = x[static_cast<size_t>(i)];
      const Ball term = mul(pre, flat[static_cast<size_t>(j * n + i)]);
      sum = add(sum, sloppy(term));
    }
  }
  round_balls(x);
  if (!norm.empty()) norm_balls(x, tensor(norm).data(), c_.norm_eps);
  return x;
}

Balls Oracle::hc_post(const float* post, const float* comb, const float* X, const float* y) const {
  const int64_t m = c_.streams, n = c_.hidden;
  Balls out(static_cast<size_t>(m * n));
  for (int64_t k = 0; k < m; ++k) {
    for (int64_t i = 0; i < n; ++i) {
      double sum = static_cast<double>(post[k]) * y[i], size = std::fabs(sum);
      for (int64_t j = 0; j < m; ++j) {
        const double term = static_cast<double>(comb[j * m + k]) * X[j * n + i];
        sum += term;
        size += std::fabs(term);
      }
      out[static_cast<size_t>(k * n + i)] = rounded({sum, kSlop * size});
    }
  }
  return out;
}

Balls Oracle::product(const std::string& weight, const Balls& x) {
  const DType dtype = micro_.host(weight).dtype;
  Balls input = x;
  if (dtype == DType::kF8E4M3 || dtype == DType::kFP4) {
    quant_e4m3_balls(input, 0, static_cast<int64_t>(input.size()), 128);
  }
  Balls y = product_balls(tensor(weight), input);
  round_balls(y);
  return y;
}

Balls Oracle::normed_product(const std::string& weight, const std::string& norm, const float* x) {
  Balls y = product(weight, points(x, c_.hidden));
  norm_balls(y, tensor(norm).data(), c_.norm_eps);
  return y;
}

Balls Oracle::q(const MicroLayer& layer, const float* qr, int64_t position) {
  const int64_t rank = micro_.host(layer.name + ".attn.wq_b").cols;
  const Balls all = product(layer.name + ".attn.wq_b", points(qr, rank));
  Balls out;
  for (int64_t h = 0; h < c_.heads; ++h) {
    Balls head(all.begin() + h * c_.head_dim, all.begin() + (h + 1) * c_.head_dim);
    norm_balls(head, nullptr, c_.norm_eps);
    rope_balls(head, nope(c_.head_dim), static_cast<double>(position), micro_.frequencies(layer.ratio), false);
    out.insert(out.end(), head.begin(), head.end());
  }
  return out;
}

Balls Oracle::kv(const MicroLayer& layer, const float* x, int64_t position) {
  Balls y = normed_product(layer.name + ".attn.wkv", layer.name + ".attn.kv_norm.weight", x);
  rope_balls(y, nope(c_.head_dim), static_cast<double>(position), micro_.frequencies(layer.ratio), false);
  quant_e4m3_balls(y, 0, nope(c_.head_dim), 64);
  return y;
}

Balls Oracle::entry(const MicroLayer& layer, const std::string& name, bool index, int64_t j,
                    const std::vector<float>& x) {
  const std::string prefix = layer.name + "." + name;
  const int64_t width = index ? c_.index_dim : c_.head_dim, ratio = layer.ratio;
  const bool overlapping = ratio == 4;
  const std::vector<float>& ape = tensor(prefix + ".ape");
  const int64_t channels = static_cast<int64_t>(ape.size()) / ratio;
  std::vector<Balls> k, z;
  for (int64_t p = (overlapping && j > 0 ? j - 1 : j) * ratio; p < (j + 1) * ratio; ++p) {
    const Balls row = points(x.data() + p * c_.hidden, c_.hidden);
    const Balls kp = product_balls(tensor(prefix + ".wkv"), row), zp = product_balls(tensor(prefix + ".wgate"), row);
    const int64_t from = overlapping && p >= j * ratio ? width : 0;
    k.emplace_back(kp.begin() + from, kp.begin() + from + width);
    z.emplace_back();
    for (int64_t i = 0; i < width; ++i) {
      const Ball bias{ape[static_cast<size_t>(p % ratio * channels + from + i)], 0};
      z.back().push_back(add(zp[static_cast<size_t>(from + i)], bias));
    }
  }
  Balls y;
  for (size_t i = 0; i < static_cast<size_t>(width); ++i) {
    Balls logits;
    std::vector<Balls> values;
    for (size_t p = 0; p < k.size(); ++p) {
      logits.push_back(z[p][i]);
      values.push_back({k[p][i]});
    }
    y.push_back(rounded(softmax_balls(logits, values, nullptr)[0]));
  }
  norm_balls(y, tensor(prefix + ".norm.weight").data(), c_.norm_eps);
  rope_balls(y, nope(width), static_cast<double>(j * ratio), micro_.frequencies(ratio), false);
  if (index) {
    hadamard_balls(y);
    quant_e2m1_balls(y);
  } else {
    quant_e4m3_balls(y, 0, nope(width), 64);
  }
  return y;
}

Balls Oracle::index_q(const MicroLayer& layer, const float* qr, int64_t position) {
  const std::string weight = layer.name + ".attn.indexer.wq_b";
  const Balls all = product(weight, points(qr, micro_.host(weight).cols));
  Balls out;
  for (int64_t h = 0; h < c_.index_heads; ++h) {
    Balls head(all.begin() + h * c_.index_dim, all.begin() + (h + 1) * c_.index_dim);
    rope_balls(head, nope(c_.index_dim), static_cast<double>(position), micro_.frequencies(layer.ratio), false);
    hadamard_balls(head);
    quant_e2m1_balls(head);
    out.insert(out.end(), head.begin(), head.end());
  }
  return out;
}

Balls Oracle::attend(const MicroLayer& layer, const float* q, const std::vector<Balls>& keys, int64_t position) {
  const std::vector<float>& sinks = tensor(layer.name + ".attn.attn_sink");
  const Ball scale{1 / std::sqrt(static_cast<double>(c_.head_dim)), 0};
  Balls out;
  for (int64_t h = 0; h < c_.heads; ++h) {
    Balls logits;
    for (const Balls& key : keys) logits.push_back(sloppy(mul(dot_balls(q + h * c_.head_dim, key), scale)));
    const Ball sink{sinks[static_cast<size_t>(h)], 0};
    Balls head = softmax_balls(logits, keys, &sink);
    round_balls(head);
    rope_balls(head, nope(c_.head_dim), static_cast<double>(position), micro_.frequencies(layer.ratio), true);
    out.insert(out.end(), head.begin(), head.end());
  }
  return out;
}

Balls Oracle::low(const MicroLayer& layer, const float* o) {
  const std::vector<float>& w = tensor(layer.name + ".attn.wo_a");
  const int64_t width = c_.heads * c_.head_dim / c_.groups;
  const int64_t rank = static_cast<int64_t>(w.size()) / width / c_.groups;
  Balls out;
  for (int64_t i = 0; i < c_.groups * rank; ++i) {
    out.push_back(rounded(dot_balls(w.data() + i * width, points(o + i / rank * width, width))));
  }
  return out;
}

Balls Oracle::expert(const std::string& name, const Balls& x, float weight) {
  const Balls w1 = product(name + ".w1", x), w3 = product(name + ".w3", x);
  const double limit = c_.swiglu_limit;
  const auto clamp = [&](Ball b, double lo) {
    const double from = std::clamp(b.v - b.r, lo, limit), to = std::clamp(b.v + b.r, lo, limit);
    return Ball{(from + to) / 2, (to - from) / 2};
  };
  Balls h;
  for (size_t i = 0; i < w1.size(); ++i) {
    const Ball g = clamp(w1[i], -INFINITY), u = clamp(w3[i], -limit);
    h.push_back(rounded(sloppy(mul(mul(mul(g, sigmoid_ball(g)), u), {weight, 0}))));
  }
  return product(name + ".w2", h);
}

Balls Oracle::ffn(const MicroLayer& layer, const float* x, const int32_t* experts, const float* weights) {
  const Balls input = points(x, c_.hidden);
  Balls sum = expert(layer.name + ".ffn.shared_experts", input, 1.0f);
  for (int64_t i = 0; i < c_.picks; ++i) {
    const Balls y = expert(layer.name + ".ffn.experts." + std::to_string(experts[i]), input, weights[i]);
    for (size_t c = 0; c < sum.size(); ++c) sum[c] = add(sum[c], y[c]);
  }
  round_balls(sum);
  return sum;
}

Balls Oracle::draft_input(int32_t token, const float* X) {
  const int64_t m = c_.streams, n = c_.hidden;
  Balls e = points(tensor("embed").data() + token * n, n);
  norm_balls(e, tensor("mtp.0.enorm.weight").data(), c_.norm_eps);
  e = product("mtp.0.e_proj", e);
  Balls out;
  for (int64_t k = 0; k < m; ++k) {
    Balls h = points(X + k * n, n);
    norm_balls(h, tensor("mtp.0.hnorm.weight").data(), c_.norm_eps);
    h = product("mtp.0.h_proj", h);
    for (size_t i = 0; i < h.size(); ++i) out.push_back(rounded(add(e[i], h[i])));
  }
  return out;
}

Balls Oracle::logits(const Balls& x) { return product_balls(tensor("head"), x); }

}  // namespace dsv4::test
