// A checkpoint folder, opened: config, and every tensor found, checked and mapped. Nothing is read but headers.
//
// One table (tensor_table.cc) says which tensors a config calls for, under which names, with which shapes and formats;
// opening, validation and the size estimate all walk it. Nothing outside this folder knows a tensor's name.
//
// Opening takes time in the number of tensors, not in bytes. What is looked at besides headers:
//  - every entry of the hash routing tables, since they become addresses: [0, experts);
//  - scale bytes (255 is NaN and refused): those of dense weights, one per 16,384 weights, always; those of routed
//    experts, 8.9 GB in Flash, when they are at most kScanLimit together, or with OpenOptions::verify. Otherwise
//    check_values() looks at one tensor when somebody is about to read it anyway. A NaN scale that is never looked
//    at yields NaN, not a crash;
//  - a few bytes of some tensors per layer, for the fingerprint.
// The folder must not change while it is open: a file cut short under its mapping is SIGBUS on POSIX.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "lib/base/number.h"
#include "lib/checkpoint/config.h"

namespace dsv4 {

// What a tensor is for. Roles of a block take a layer in [0, config.blocks()): MTP head i is layer config.layers + i.
enum class TensorRole : uint8_t {
  // of the model (layer -1)
  kEmbed, kHead,
  // of the model (layer -1) and of each MTP head
  kNorm, kHcHeadFn, kHcHeadBase, kHcHeadScale,
  // of a block
  kHcAttnFn, kHcAttnBase, kHcAttnScale, kHcFfnFn, kHcFfnBase, kHcFfnScale, kAttnNorm, kFfnNorm,
  kSink, kWqA, kQNorm, kWqB, kWkv, kKvNorm, kWoA, kWoB,
  kCompressWkv, kCompressWgate, kCompressApe, kCompressNorm,                    // ratio 4 and 128
  kIndexWqB, kIndexWeights, kIndexWkv, kIndexWgate, kIndexApe, kIndexNorm,      // ratio 4
  kGate, kGateBias, kGateHash,                                                  // bias: learned; hash: hash layers
  kExpertW1, kExpertW2, kExpertW3,                                              // with an expert's number
  kSharedW1, kSharedW2, kSharedW3,
  // of an MTP head
  kMtpEProj, kMtpHProj, kMtpENorm, kMtpHNorm,
  kCount
};

// Data is aligned for its element type, no further. Floats that the model rounds nowhere are F32; embeddings, norms,
// the head, gates and compressors are BF16 as published or F32; linears are quantised or BF16 or F32.
struct Tensor {
  const uint8_t* data = nullptr;   // nullptr: the role does not apply to this layer
  const uint8_t* scale = nullptr;  // E8M0: [ceil(rows/128), ceil(cols/128)] for E4M3, [rows, cols/32] for FP4
  DType dtype = DType::kF32;       // kFP4 for packed experts, whatever the file calls the bytes
  int64_t rows = 0;                // 1 for vectors
  int64_t cols = 0;                // elements, also for FP4
  size_t bytes = 0;                // of data and scale
};

struct OpenOptions {
  bool text_only = false;                                            // the language part of a vision checkpoint
  bool verify = false;                                               // read every scale: time in bytes
  std::function<void(const std::string&)> note;                      // things to report; may be empty
  std::function<bool(uint64_t done, uint64_t total)> progress;       // tensors; false cancels (kCancelled)
};

class Checkpoint {
 public:
  static constexpr uint64_t kScanLimit = 64u << 20;

  // Error: kNotFound, kIo, kCorrupt, kUnsupported, kCancelled; the message names file and tensor.
  static std::unique_ptr<Checkpoint> open(const std::string& folder, const OpenOptions& options);
  // A model of a given shape with random weights in memory, for benchmarks and capacity planning. Experts are FP4,
  // dense weights FP8 as published; values are scaled so that activations keep their size and routing spreads.
  static std::unique_ptr<Checkpoint> synthetic(const Config& config, uint64_t seed, const OpenOptions& options);

  virtual ~Checkpoint() = default;
  virtual const Config& config() const = 0;
  virtual const std::string& folder() const = 0;  // "" for a synthetic one
  virtual const Tensor& get(TensorRole role, int64_t layer, int64_t expert = 0) const = 0;
  // Reads one tensor's scales or table entries. Error kCorrupt names the tensor, the place and the value.
  virtual void check_values(TensorRole role, int64_t layer, int64_t expert = 0) const = 0;
  virtual uint64_t weight_bytes() const = 0;      // of the tensors in use
  // Of the config, of every tensor's role, shape and format, and of a few bytes of some tensors in every layer, so
  // that two trainings of one shape differ. The same whatever aliases the names use and however shards are cut.
  virtual uint64_t fingerprint() const = 0;
  virtual const std::vector<std::string>& notes() const = 0;  // "drafter: DSpark, not used"
};

// Bytes of weights that the table expects for a config, without opening any shard. Experts as `expert_dtype` says.
uint64_t expected_weight_bytes(const Config& config);

}  // namespace dsv4
