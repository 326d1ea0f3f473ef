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
  const uint64_t used = engine.memory_used.fetch_add(bytes);
  if (engine.memory_limit != 0 && used + bytes > engine.memory_limit) {
    engine.memory_used.fetch_sub(bytes);
    fail(Status::kOutOfMemoryHost,
         "session state: {} bytes needed, {} of the limit of {} bytes (host_memory_limit) are in use", bytes, used,
         engine.memory_limit);
  }
}

MemoryShare::~MemoryShare() { engine_.memory_used.fetch_sub(bytes_); }

}  // namespace dsv4
