#include "lib/model/weights.h"

#include "lib/base/error.h"
#include "lib/model/rotary.h"

namespace dsv4 {
namespace {

// Hands tensors to the backend, and tells how far it has come.
class Loader {
 public:
  Loader(const Checkpoint& checkpoint, Backend& backend, const WeightProgress& progress)
      : checkpoint_(checkpoint), backend_(backend), progress_(progress) {}

  const Checkpoint& checkpoint() const { return checkpoint_; }
  Weight get(TensorRole role, int64_t layer, int64_t expert) {
    const Tensor& t = checkpoint_.get(role, layer, expert);
    if (t.data == nullptr) return {};
    const Weight w = backend_.prepare({t.data, t.scale, t.dtype, t.rows, t.cols});
    done_ += t.bytes;
    if (progress_ && !progress_(done_, checkpoint_.weight_bytes())) fail(Status::kCancelled, "opening was cancelled");
    return w;
  }

 private:
  const Checkpoint& checkpoint_;
  Backend& backend_;
  const WeightProgress& progress_;
  uint64_t done_ = 0;
};

// Reads the tensors of one block.
class BlockLoader {
 public:
  BlockLoader(Loader& loader, int64_t layer) : loader_(loader), config_(loader.checkpoint().config()), layer_(layer) {}

  Weight get(TensorRole role, int64_t expert = 0) const { return loader_.get(role, layer_, expert); }

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

  Loader& loader_;
  const Config& config_;
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

std::unique_ptr<Weights> load_weights(const Checkpoint& checkpoint, Backend& backend, const WeightProgress& progress) {
  const Config& config = checkpoint.config();
  auto w = std::make_unique<Weights>();
  load_frequencies(*w, config, backend);

  Loader loader(checkpoint, backend, progress);
  const BlockLoader model(loader, -1);
  w->embedding = model.get(TensorRole::kEmbed);
  w->head = model.get(TensorRole::kHead);
  w->hc_head = model.hyper(TensorRole::kHcHeadFn, TensorRole::kHcHeadBase, TensorRole::kHcHeadScale, TensorRole::kNorm);
  w->layers.reserve(static_cast<size_t>(config.layers));
  for (int64_t l = 0; l < config.layers; ++l) {
    w->layers.push_back(BlockLoader(loader, l).block(w->frequencies));
  }
  if (config.mtp_layers != 0) {
    const BlockLoader mtp(loader, config.layers);
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
