// Byte-pair merging: of all adjacent pairs of tokens that the merge table knows, the one with the lowest rank (then
// the leftmost) is joined, until none is left. Short pieces are scanned. Long ones keep their pairs in one bucket per
// rank, so that a piece of n bytes takes O(n log n) whatever it holds, and in practice little more than a pass.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace dsv4 {

// (left, right) -> rank and the token that replaces the pair. Open addressing: a merge looks up every pair it sees.
// Trained tables are in order: a merge that uses a token ranks behind every merge that makes it. bpe_encode relies on
// that (a merge then makes pairs of higher rank only), and the loader checks it.
class MergeTable {
 public:
  static constexpr uint32_t kNone = 0xffffffffu;
  struct Merge {
    uint32_t rank = kNone;
    int32_t token = -1;
  };

  void reserve(size_t count);
  bool insert(int32_t left, int32_t right, Merge merge);  // false when the pair is there already
  uint32_t ranks() const { return ranks_; }               // largest rank + 1
  Merge find(int32_t left, int32_t right) const {
    const uint64_t key = pair_key(left, right);
    for (size_t at = hash(key);; at = (at + 1) & mask_) {
      const Slot& slot = slots_[at];
      if (slot.key == key) return slot.merge;
      if (slot.key == kEmpty) return Merge();
    }
  }

 private:
  static constexpr uint64_t kEmpty = ~uint64_t{0};  // no pair: ids are not negative
  struct Slot {
    uint64_t key = kEmpty;
    Merge merge;
  };
  static uint64_t pair_key(int32_t left, int32_t right) {
    return uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
  }
  size_t hash(uint64_t key) const { return static_cast<size_t>((key * 0x9e3779b97f4a7c15u) >> 20) & mask_; }

  std::vector<Slot> slots_ = std::vector<Slot>(2);
  size_t mask_ = 1;
  size_t count_ = 0;
  uint32_t ranks_ = 0;
};

// A set of ranks that finds its smallest member: a bitmap with two levels of summary above it.
class RankSet {
 public:
  void resize(uint32_t ranks);
  void insert(uint32_t rank);
  void erase(uint32_t rank);
  uint32_t first() const;  // MergeTable::kNone when empty

 private:
  std::vector<uint64_t> bits_;    // one bit a rank
  std::vector<uint64_t> words_;   // one bit a word of bits_ that is not zero
  std::vector<uint64_t> blocks_;  // one bit a word of words_ that is not zero
};

constexpr size_t kPieceLimit = size_t{1} << 29;  // three entries a byte stay below 2^31

// What one call of encode works in; reused from piece to piece. Buckets and waiting are empty between pieces.
struct BpeScratch {
  struct Node {
    int32_t token;
    int32_t next;    // node to the right, -1: none
    int32_t prev;    // node to the left, -1: none
    uint32_t rank;   // of the pair (this, next); kNone when it cannot merge
    int32_t joined;  // what that pair becomes
  };
  struct Entry {
    int32_t node;
    int32_t next;  // entry of the same bucket, -1: none
  };
  std::vector<Node> nodes;
  std::vector<Entry> entries;
  std::vector<int32_t> buckets;  // [ranks] first entry, -1: none
  RankSet waiting;               // ranks whose bucket is not empty
  std::vector<int32_t> batch;    // nodes of the bucket at hand
};

// Appends the tokens of `piece` (at most kPieceLimit bytes) to `out`. byte_tokens[b] is the token of byte b.
void bpe_encode(const MergeTable& merges, const std::array<int32_t, 256>& byte_tokens, std::string_view piece,
                BpeScratch& scratch, std::vector<int32_t>& out);

}  // namespace dsv4
