// Runs the verbs of one layer that touch a sequence's state, in steps of any shape: one or several sequences, any
// number of rows, steps that are dropped, steps that go back. Every row has its recorded inputs, whatever its step.
#pragma once

#include <cstdint>
#include <vector>

#include "tests/support/golden_micro.h"

namespace dsv4::test {

// What is fed to one sequence, by token.
struct Content {
  int64_t rows = 0;
  std::vector<bf16> x;        // [rows, hidden]: attn.in
  std::vector<bf16> q;        // [rows, heads * head_dim]
  std::vector<bf16> index_q;  // [rows, index_heads * index_dim]; empty without an indexer
  std::vector<int32_t> top;   // [rows, index_topk] for attend(); empty: what index() finds

  static Content recorded(const Micro& micro, const MicroLayer& layer);
  Content rotated(int64_t by) const;  // the same rows from another start: another sequence of the same length
};

struct Piece {
  size_t sequence = 0;
  int64_t first = 0;  // position
  int64_t rows = 0;
  int64_t shift = 0;  // takes the content of positions first + shift …, wrapped: a wrong future
};
struct Step {
  std::vector<Piece> pieces;
  bool commit = true;
};

// What came out, by token or by entry; of the committed steps.
struct Trace {
  std::vector<uint8_t> kv, compressed, index;  // packed rows
  std::vector<int32_t> top;
  std::vector<bf16> o, w;

  bool operator==(const Trace& other) const;
  // Largest share of differing elements in any part: bytes of rows, picks, outputs more than 1 BF16 ulp apart. What a
  // flip does is far below a percent; a row of another sequence or step is not.
  double difference(const Trace& other) const;
};

std::vector<Trace> run_attention(Backend& backend, const Micro& micro, const MicroLayer& layer,
                                 const std::vector<Content>& contents, const std::vector<Step>& steps);

std::vector<Step> in_chunks(int64_t rows, int64_t chunk);

}  // namespace dsv4::test
