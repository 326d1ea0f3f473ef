// Engine: everything that sessions of one model share. Immutable but for the account of their memory.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "lib/model/model.h"
#include "lib/session/scheduler.h"
#include "lib/text/constraint.h"
#include "lib/text/prompt.h"
#include "lib/text/tokenizer.h"

namespace dsv4 {

struct Engine {
  explicit Engine(std::unique_ptr<Model> m) : model(std::move(m)), scheduler(*model) {}

  const std::unique_ptr<Model> model;
  Scheduler scheduler;
  std::unique_ptr<Tokenizer> tokenizer;             // nullptr: the checkpoint has none
  std::string tokenizer_path;                       // where it was looked for
  std::unique_ptr<ConstraintCompiler> constraints;  // nullptr without a tokenizer
  Profile profile = Profile::kPreview;
  bool profile_found = false;  // recognised from config.json
  uint64_t memory_limit = 0;   // bytes of sessions together; 0: none
  std::atomic<uint64_t> memory_used{0};

  const Tokenizer& need_tokenizer() const;  // Error kNotFound
};

// A share of the engine's memory limit, given back when it goes. What a session holds for as long as it lives is counted
// when it is created (Timeline) and never grows: state, logits, token ids for all of its context. Its checkpoints are
// counted one by one and done without where there is no room. Not counted is what lasts for one call only: a turn's
// buffers for its draws, some 12 bytes for each token of the vocabulary, and the few megabytes of a snapshot.
class MemoryShare {
 public:
  MemoryShare(Engine& engine, uint64_t bytes);  // Error kOutOfMemoryHost: over the limit
  ~MemoryShare();
  MemoryShare(const MemoryShare&) = delete;
  MemoryShare& operator=(const MemoryShare&) = delete;

 private:
  Engine& engine_;
  uint64_t bytes_;
};

}  // namespace dsv4
