#include "lib/session/engine.h"

#include "lib/base/error.h"

namespace dsv4 {

const Tokenizer& Engine::need_tokenizer() const {
  if (tokenizer == nullptr) {
    fail(Status::kNotFound, "{}: no tokenizer there; this model can evaluate token ids, but not text", tokenizer_path);
  }
  return *tokenizer;
}

MemoryShare::MemoryShare(Engine& engine, uint64_t bytes) : engine_(engine), bytes_(bytes) {
  // Never counted before it is granted: others would be refused for the sake of one that does not fit.
  uint64_t used = engine.memory_used.load();
  do {
    if (engine.memory_limit != 0 && (used > engine.memory_limit || bytes > engine.memory_limit - used)) {
      fail(Status::kOutOfMemoryHost,
           "session state: {} bytes needed, {} of the limit of {} bytes (host_memory_limit) are in use", bytes, used,
           engine.memory_limit);
    }
  } while (!engine.memory_used.compare_exchange_weak(used, used + bytes));
}

MemoryShare::~MemoryShare() { engine_.memory_used.fetch_sub(bytes_); }

}  // namespace dsv4
