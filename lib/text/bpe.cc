#include "lib/text/bpe.h"

#include <algorithm>
#include <bit>

namespace dsv4 {
namespace {

constexpr size_t kScanLimit = 48;  // up to here scanning for the best pair beats buckets

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

// Every node whose pair can merge has an entry in the bucket of that pair's rank. When the pair changes, the entry is
// left behind and a new one made; an entry is stale when its node's pair has another rank by now.
class LongPiece {
 public:
  LongPiece(const MergeTable& merges, BpeScratch& scratch) : merges_(merges), s_(scratch) {
    if (s_.buckets.size() != merges.ranks()) {
      s_.buckets.assign(merges.ranks(), -1);
      s_.waiting.resize(merges.ranks());
    }
  }

  void start(const std::array<int32_t, 256>& byte_tokens, std::string_view piece) {
    const int32_t n = static_cast<int32_t>(piece.size());
    s_.nodes.resize(piece.size());
    s_.entries.clear();
    for (int32_t i = 0; i < n; ++i) {
      const uint8_t byte = static_cast<uint8_t>(piece[static_cast<size_t>(i)]);
      node(i) = {byte_tokens[byte], i + 1 < n ? i + 1 : -1, i - 1, MergeTable::kNone, -1};
    }
    for (int32_t i = 0; i < n; ++i) update(i);
  }

  void merge_all() {
    for (uint32_t rank; (rank = s_.waiting.first()) != MergeTable::kNone;) {
      take_bucket(rank);
      for (const int32_t i : s_.batch) {
        if (node(i).rank == rank) merge(i);
      }
    }
  }

  void take(std::vector<int32_t>& out) const {
    for (int32_t i = 0; i >= 0; i = s_.nodes[static_cast<size_t>(i)].next) {
      out.push_back(s_.nodes[static_cast<size_t>(i)].token);
    }
  }

 private:
  BpeScratch::Node& node(int32_t i) { return s_.nodes[static_cast<size_t>(i)]; }

  // The nodes of a bucket from left to right, each once; the bucket is empty then.
  void take_bucket(uint32_t rank) {
    s_.batch.clear();
    for (int32_t e = s_.buckets[rank]; e >= 0; e = s_.entries[static_cast<size_t>(e)].next) {
      s_.batch.push_back(s_.entries[static_cast<size_t>(e)].node);
    }
    s_.buckets[rank] = -1;
    s_.waiting.erase(rank);
    std::reverse(s_.batch.begin(), s_.batch.end());  // entries made from left to right come out the other way
    if (!std::is_sorted(s_.batch.begin(), s_.batch.end())) std::sort(s_.batch.begin(), s_.batch.end());
  }

  void merge(int32_t i) {
    const int32_t gone = node(i).next;
    node(i).token = node(i).joined;
    node(i).next = node(gone).next;
    node(gone).rank = MergeTable::kNone;
    if (node(i).next >= 0) node(node(i).next).prev = i;
    update(i);
    if (node(i).prev >= 0) update(node(i).prev);
  }

  // Looks the pair of node i up again and puts it into its bucket.
  void update(int32_t i) {
    BpeScratch::Node& n = node(i);
    const MergeTable::Merge merge = n.next < 0 ? MergeTable::Merge() : merges_.find(n.token, node(n.next).token);
    n.rank = merge.rank;
    n.joined = merge.token;
    if (n.rank == MergeTable::kNone) return;
    int32_t& bucket = s_.buckets[n.rank];
    if (bucket < 0) s_.waiting.insert(n.rank);
    s_.entries.push_back({i, bucket});
    bucket = static_cast<int32_t>(s_.entries.size()) - 1;
  }

  const MergeTable& merges_;
  BpeScratch& s_;
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
  ranks_ = std::max(ranks_, merge.rank + 1);
  return true;
}

void RankSet::resize(uint32_t ranks) {
  bits_.assign(ranks / 64 + 1, 0);
  words_.assign(bits_.size() / 64 + 1, 0);
  blocks_.assign(words_.size() / 64 + 1, 0);
}

void RankSet::insert(uint32_t rank) {
  bits_[rank / 64] |= uint64_t{1} << rank % 64;
  words_[rank / 4096] |= uint64_t{1} << rank / 64 % 64;
  blocks_[rank / 262144] |= uint64_t{1} << rank / 4096 % 64;
}

void RankSet::erase(uint32_t rank) {
  bits_[rank / 64] &= ~(uint64_t{1} << rank % 64);
  if (bits_[rank / 64] == 0) words_[rank / 4096] &= ~(uint64_t{1} << rank / 64 % 64);
  if (words_[rank / 4096] == 0) blocks_[rank / 262144] &= ~(uint64_t{1} << rank / 4096 % 64);
}

uint32_t RankSet::first() const {
  for (size_t b = 0; b < blocks_.size(); ++b) {
    if (blocks_[b] == 0) continue;
    const size_t w = b * 64 + static_cast<size_t>(std::countr_zero(blocks_[b]));
    const size_t bit = w * 64 + static_cast<size_t>(std::countr_zero(words_[w]));
    return static_cast<uint32_t>(bit * 64 + static_cast<size_t>(std::countr_zero(bits_[bit])));
  }
  return MergeTable::kNone;
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
