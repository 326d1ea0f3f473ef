#include "lib/text/bpe.h"

#include <algorithm>
#include <functional>

namespace dsv4 {
namespace {

constexpr size_t kScanLimit = 48;  // up to here scanning for the best pair beats a heap

void encode_short(const MergeTable& merges, const std::array<int32_t, 256>& byte_tokens, std::string_view piece,
                  std::vector<int32_t>& out) {
  int32_t tokens[kScanLimit];
  MergeTable::Merge pairs[kScanLimit];  // pairs[i] joins tokens[i] and tokens[i + 1]
  size_t n = piece.size();
  for (size_t i = 0; i < n; ++i) tokens[i] = byte_tokens[static_cast<uint8_t>(piece[i])];
  for (size_t i = 0; i + 1 < n; ++i) pairs[i] = merges.find(tokens[i], tokens[i + 1]);
  while (n > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < n; ++i) {
      if (pairs[i].rank < pairs[best].rank) best = i;
    }
    if (pairs[best].rank == MergeTable::kNone) break;
    tokens[best] = pairs[best].token;
    std::copy(tokens + best + 2, tokens + n, tokens + best + 1);
    if (best + 2 < n) std::copy(pairs + best + 2, pairs + n - 1, pairs + best + 1);
    --n;
    if (best + 1 < n) pairs[best] = merges.find(tokens[best], tokens[best + 1]);
    if (best > 0) pairs[best - 1] = merges.find(tokens[best - 1], tokens[best]);
  }
  out.insert(out.end(), tokens, tokens + n);
}

// Heap entries are rank << 32 | node: the smallest is the lowest rank, then the leftmost. An entry is stale when its
// node's pair has another rank by now.
class LongPiece {
 public:
  LongPiece(const MergeTable& merges, BpeScratch& scratch) : merges_(merges), nodes_(scratch.nodes), heap_(scratch.heap) {}

  void start(const std::array<int32_t, 256>& byte_tokens, std::string_view piece) {
    const int32_t n = static_cast<int32_t>(piece.size());
    nodes_.resize(piece.size());
    heap_.clear();
    for (int32_t i = 0; i < n; ++i) {
      node(i) = {byte_tokens[static_cast<uint8_t>(piece[static_cast<size_t>(i)])], i + 1 < n ? i + 1 : -1, i - 1,
                 MergeTable::kNone, -1};
    }
    for (int32_t i = 0; i < n; ++i) {
      pair(i);
      if (node(i).rank != MergeTable::kNone) heap_.push_back(entry(i));
    }
    std::make_heap(heap_.begin(), heap_.end(), std::greater<>());
  }

  void merge_all() {
    while (!heap_.empty()) {
      std::pop_heap(heap_.begin(), heap_.end(), std::greater<>());
      const uint64_t top = heap_.back();
      heap_.pop_back();
      const int32_t i = static_cast<int32_t>(top & 0xffffffffu);
      if (node(i).rank != static_cast<uint32_t>(top >> 32)) continue;
      const int32_t gone = node(i).next;
      node(i).token = node(i).joined;
      node(i).next = node(gone).next;
      node(gone).rank = MergeTable::kNone;
      if (node(i).next >= 0) node(node(i).next).prev = i;
      update(i);
      if (node(i).prev >= 0) update(node(i).prev);
    }
  }

  void take(std::vector<int32_t>& out) const {
    for (int32_t i = 0; i >= 0; i = nodes_[static_cast<size_t>(i)].next) {
      out.push_back(nodes_[static_cast<size_t>(i)].token);
    }
  }

 private:
  BpeScratch::Node& node(int32_t i) { return nodes_[static_cast<size_t>(i)]; }
  uint64_t entry(int32_t i) { return uint64_t{node(i).rank} << 32 | static_cast<uint32_t>(i); }
  void pair(int32_t i) {
    BpeScratch::Node& n = node(i);
    const MergeTable::Merge merge = n.next < 0 ? MergeTable::Merge() : merges_.find(n.token, node(n.next).token);
    n.rank = merge.rank;
    n.joined = merge.token;
  }
  void update(int32_t i) {
    pair(i);
    if (node(i).rank == MergeTable::kNone) return;
    heap_.push_back(entry(i));
    std::push_heap(heap_.begin(), heap_.end(), std::greater<>());
  }

  const MergeTable& merges_;
  std::vector<BpeScratch::Node>& nodes_;
  std::vector<uint64_t>& heap_;
};

}  // namespace

void MergeTable::reserve(size_t count) {
  size_t size = 2;
  while (size < 2 * count + 2) size *= 2;  // at most half full: find always meets an empty slot
  if (size <= slots_.size()) return;
  std::vector<Slot> old(size);
  old.swap(slots_);
  mask_ = size - 1;
  count_ = 0;
  for (const Slot& slot : old) {
    if (slot.key == kEmpty) continue;
    insert(static_cast<int32_t>(slot.key >> 32), static_cast<int32_t>(slot.key & 0xffffffffu), slot.merge);
  }
}

bool MergeTable::insert(int32_t left, int32_t right, Merge merge) {
  reserve(count_ + 1);
  const uint64_t key = pair_key(left, right);
  size_t at = hash(key);
  while (slots_[at].key != kEmpty) {
    if (slots_[at].key == key) return false;
    at = (at + 1) & mask_;
  }
  slots_[at] = {key, merge};
  ++count_;
  return true;
}

void bpe_encode(const MergeTable& merges, const std::array<int32_t, 256>& byte_tokens, std::string_view piece,
                BpeScratch& scratch, std::vector<int32_t>& out) {
  if (piece.size() <= kScanLimit) return encode_short(merges, byte_tokens, piece, out);
  LongPiece work(merges, scratch);
  work.start(byte_tokens, piece);
  work.merge_all();
  work.take(out);
}

}  // namespace dsv4
