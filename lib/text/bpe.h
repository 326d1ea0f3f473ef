// Byte-pair merging: of all adjacent pairs of tokens that the merge table knows, the one with the lowest rank (then
// the leftmost) is joined, until none is left. Short pieces are scanned, long ones use a heap over a linked list, so
// that a piece of n bytes takes O(n log n) whatever it holds.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace dsv4 {

// (left, right) -> rank and the token that replaces the pair. Open addressing: a merge looks up every pair it sees.
class MergeTable {
 public:
  static constexpr uint32_t kNone = 0xffffffffu;
  struct Merge {
    uint32_t rank = kNone;
    int32_t token = -1;
  };

  void reserve(size_t count);
  bool insert(int32_t left, int32_t right, Merge merge);  // false when the pair is there already
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
};

// What one call of encode works in; reused from piece to piece.
struct BpeScratch {
  struct Node {
    int32_t token;
    int32_t next;   // node to the right, -1: none
    int32_t prev;   // node to the left, -1: none
    uint32_t rank;  // of the pair (this, next); kNone when it cannot merge
    int32_t joined; // what that pair becomes
  };
  std::vector<Node> nodes;
  std::vector<uint64_t> heap;
};

// Appends the tokens of `piece` (at most 2^31 - 1 bytes) to `out`. byte_tokens[b] is the token of byte b.
void bpe_encode(const MergeTable& merges, const std::array<int32_t, 256>& byte_tokens, std::string_view piece,
                BpeScratch& scratch, std::vector<int32_t>& out);

}  // namespace dsv4
