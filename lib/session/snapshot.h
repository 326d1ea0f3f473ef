// Snapshots: a session as a stream of bytes, and back. SNAPSHOT.md says what each byte means.
//
//   header | TOKENS | STATE, in chunks of 1 MiB | LOGITS | CONVERSATION | TURN | MARK | END
//
// The state is the rows that state_parts.h lists, in the model's own format, so that every backend reads what another
// wrote. Memory stays bounded by a few chunks, whatever the length. Reading is all or nothing: the session changes when
// the last byte has been checked, and not before.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "lib/backend/backend.h"
#include "lib/session/session.h"

namespace dsv4 {

struct SnapshotOptions {
  static constexpr int kDefaultLevel = 1;  // of zstd, by tests/bench/snapshot_bench.cc
  static constexpr int kLowest = -7, kHighest = 19;

  int level = kDefaultLevel;
  bool compress = true;
  int threads = 0;  // 0: what the state's size is worth
};

// What stands at the beginning of a snapshot.
struct SnapshotHeader {
  uint64_t fingerprint = 0;
  uint64_t tokens = 0;
  uint64_t evaluated = 0;  // of them, reflected in the state
  uint64_t context = 0;    // of the session that wrote it
  uint64_t state_bytes = 0;
  uint32_t vocab = 0;
  Profile profile = Profile::kPreview;
  Session::Drive drive = Session::Drive::kNone;
  bool open_turn = false;  // a turn was interrupted, and can be resumed
  uint32_t window = 0;
  uint32_t carry = 0;  // width of the draft head's residual row; 0 without a draft head
  std::vector<LayerShape> layers;
};

// Takes all `size` bytes, or throws.
using ByteSink = std::function<void(const void* data, size_t size)>;

struct ByteSource {
  std::function<size_t(void* data, size_t size)> read;  // up to `size` bytes; 0: the end; or throws
  std::string name;                                     // for messages: a path, or "snapshot"
  bool whole = false;                                   // nothing may follow the snapshot
};

// Error: what the sink throws; kUnsupported (a conversation that could not be read back).
void save_snapshot(const Session& session, const ByteSink& sink, const SnapshotOptions& options);
// Reads up to the END section, and no further unless nothing may follow it. Errors: kCorrupt, kUnsupported (another
// format version), kIncompatible (another model or layout), kContextFull, kOutOfMemoryHost (both states count against
// the limit while this runs), and what the source throws. The session has not changed then.
void restore_snapshot(Session& session, const ByteSource& source);
SnapshotHeader peek_snapshot(const ByteSource& source);

}  // namespace dsv4
