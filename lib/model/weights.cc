#include "lib/model/weights.h"

#include "lib/model/rotary.h"

namespace dsv4 {
namespace {

// Reads the tensors of one block.
class BlockLoader {
 public:
  BlockLoader(const Checkpoint& checkpoint, Backend& backend, int64_t layer)
      : checkpoint_(checkpoint), config_(checkpoint.config()), backend_(backend), layer_(layer) {}

  Weight get(TensorRole role, int64_t expert = 0) const {
    const Tensor& t = checkpoint_.get(role, layer_, expert);
    if (t.data == nullptr) return {};
    return backend_.prepare({t.data, t.scale, t.dtype, t.rows, t.cols});
  }

  HyperConnection hyper(TensorRole fn, TensorRole base, TensorRole scale, TensorRole norm) const {
    HyperConnection hc;
    hc.fn = get(fn);
    hc.base = get(base);
    hc.scale = get(scale);
    hc.norm = get(norm);
    hc.sinkhorn = config_.sinkhorn;
    hc.eps = config_.hc_eps;
    hc.norm_eps = config_.norm_eps;
    return hc;
  }

  Layer block(const Mat frequencies[2]) const {
    Layer w;
    w.ratio = config_.ratio(layer_);
    w.hc_attn = hyper(TensorRole::kHcAttnFn, TensorRole::kHcAttnBase, TensorRole::kHcAttnScale, TensorRole::kAttnNorm);
    w.hc_ffn = hyper(TensorRole::kHcFfnFn, TensorRole::kHcFfnBase, TensorRole::kHcFfnScale, TensorRole::kFfnNorm);
    attention(w);
    if (w.ratio != 0) {
      w.compressor = compressor(TensorRole::kCompressWkv, TensorRole::kCompressWgate, TensorRole::kCompressApe,
                                TensorRole::kCompressNorm,
                                {w.ratio, config_.head_dim, false, {}, {}, config_.norm_eps, frequencies[1]});
    }
    if (w.ratio == 4) {
      w.index_wq_b = get(TensorRole::kIndexWqB);
      w.index_weights = get(TensorRole::kIndexWeights);
      w.index_query = {config_.index_heads, config_.index_dim, false, true, config_.norm_eps};
      w.indexer = {config_.index_heads, config_.index_dim};
      w.index_compressor =
          compressor(TensorRole::kIndexWkv, TensorRole::kIndexWgate, TensorRole::kIndexApe, TensorRole::kIndexNorm,
                     {w.ratio, config_.index_dim, true, {}, {}, config_.norm_eps, frequencies[1]});
    }
    mixture(w);
    return w;
  }

 private:
  void attention(Layer& w) const {
    w.wq_a = get(TensorRole::kWqA);
    w.q_norm = get(TensorRole::kQNorm);
    w.wq_b = get(TensorRole::kWqB);
    w.query = {config_.heads, config_.head_dim, true, false, config_.norm_eps};
    w.wkv = get(TensorRole::kWkv);
    w.append = {get(TensorRole::kKvNorm), config_.norm_eps};
    w.attention = {config_.heads, config_.head_dim, config_.window, w.ratio, get(TensorRole::kSink)};
    w.wo_a = get(TensorRole::kWoA);
    w.wo_b = get(TensorRole::kWoB);
  }

  CompressorWeights compressor(TensorRole wkv, TensorRole wgate, TensorRole ape, TensorRole norm,
                               Compressor options) const {
    options.ape = get(ape);
    options.norm = get(norm);
    return {get(wkv), get(wgate), options};
  }

  void mixture(Layer& w) const {
    w.gate.weight = get(TensorRole::kGate);
    w.gate.bias = get(TensorRole::kGateBias);
    w.gate.hash = get(TensorRole::kGateHash);
    w.gate.scoring = config_.scoring == ScoringFunc::kSigmoid   ? Scoring::kSigmoid
                     : config_.scoring == ScoringFunc::kSoftmax ? Scoring::kSoftmax
                                                                : Scoring::kSqrtSoftplus;
    w.gate.normalise = config_.normalise_topk;
    w.gate.scale = config_.routed_scale;
    w.routed.reserve(static_cast<size_t>(config_.experts));
    for (int64_t e = 0; e < config_.experts; ++e) {
      w.routed.push_back({get(TensorRole::kExpertW1, e), get(TensorRole::kExpertW2, e), get(TensorRole::kExpertW3, e)});
    }
    w.experts.routed = w.routed;  // the vector's memory stays where it is when the layer moves
    w.experts.shared = {get(TensorRole::kSharedW1), get(TensorRole::kSharedW2), get(TensorRole::kSharedW3)};
    w.experts.limit = config_.swiglu_limit;
  }

  const Checkpoint& checkpoint_;
  const Config& config_;
  Backend& backend_;
  int64_t layer_;
};

void load_frequencies(Weights& w, const Config& config, Backend& backend) {
  const int64_t half = config.rope_dim / 2;
  w.frequency_memory = backend.allocate(static_cast<size_t>(2 * half) * sizeof(float));
  for (int kind = 0; kind < 2; ++kind) {
    float* data = static_cast<float*>(w.frequency_memory->data()) + kind * half;
    w.frequencies[kind] = {data, DType::kF32, 1, half, half};
    const std::vector<float> f = rotary_frequencies(config, kind == 1);
    backend.upload(w.frequencies[kind], f.data());
  }
}

}  // namespace

std::unique_ptr<Weights> load_weights(const Checkpoint& checkpoint, Backend& backend) {
  const Config& config = checkpoint.config();
  auto w = std::make_unique<Weights>();
  load_frequencies(*w, config, backend);

  const BlockLoader model(checkpoint, backend, -1);
  w->embedding = model.get(TensorRole::kEmbed);
  w->head = model.get(TensorRole::kHead);
  w->hc_head = model.hyper(TensorRole::kHcHeadFn, TensorRole::kHcHeadBase, TensorRole::kHcHeadScale, TensorRole::kNorm);
  w->layers.reserve(static_cast<size_t>(config.layers));
  for (int64_t l = 0; l < config.layers; ++l) {
    w->layers.push_back(BlockLoader(checkpoint, backend, l).block(w->frequencies));
  }
  if (config.mtp_layers != 0) {
    const BlockLoader mtp(checkpoint, backend, config.layers);
    w->draft = std::make_unique<DraftHead>();
    w->draft->e_proj = mtp.get(TensorRole::kMtpEProj);
    w->draft->h_proj = mtp.get(TensorRole::kMtpHProj);
    w->draft->e_norm = mtp.get(TensorRole::kMtpENorm);
    w->draft->h_norm = mtp.get(TensorRole::kMtpHNorm);
    w->draft->block = mtp.block(w->frequencies);
    w->draft->head =
        mtp.hyper(TensorRole::kHcHeadFn, TensorRole::kHcHeadBase, TensorRole::kHcHeadScale, TensorRole::kNorm);
  }
  return w;
}

}  // namespace dsv4
