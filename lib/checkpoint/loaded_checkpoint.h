// What both ways to a checkpoint (a folder, random weights) fill in: the tensors by role, and what keeps them alive.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "lib/base/large_memory.h"
#include "lib/checkpoint/checkpoint.h"
#include "lib/checkpoint/safetensors.h"
#include "lib/checkpoint/tensor_table.h"

namespace dsv4 {

class LoadedCheckpoint final : public Checkpoint {
 public:
  const Config& config() const override { return config_; }
  const std::string& folder() const override { return folder_; }
  const Tensor& get(TensorRole role, int64_t layer, int64_t expert) const override;
  void check_values(TensorRole role, int64_t layer, int64_t expert) const override;
  uint64_t weight_bytes() const override { return bytes_; }
  uint64_t fingerprint() const override { return fingerprint_; }
  const std::vector<std::string>& notes() const override { return notes_; }

  // Once every tensor is in its slot: checks the values that opening checks (checkpoint.h), sums the bytes and makes
  // the fingerprint. Reads single pages all over the shards, all asked for before the first is waited for.
  void finish(bool verify);

  Config config_;
  std::string folder_;
  TensorSlots<Tensor> tensors_;
  std::vector<std::string> notes_;
  uint64_t bytes_ = 0;
  uint64_t fingerprint_ = 0;

  // What the tensors point into.
  std::vector<SafetensorsFile> shards_;
  std::vector<LargeMemory> memory_;

 private:
  void prefetch(const uint8_t* data, uint64_t bytes) const;
  void add_to_fingerprint();
};

}  // namespace dsv4
