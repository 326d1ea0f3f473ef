#include "lib/text/added_tokens.h"

namespace dsv4 {

int32_t AddedTokens::child(int32_t node, uint8_t byte) const {
  if (node == 0) return first_[byte];
  for (int32_t c = nodes_[static_cast<size_t>(node)].child; c >= 0; c = nodes_[static_cast<size_t>(c)].sibling) {
    if (nodes_[static_cast<size_t>(c)].byte == byte) return c;
  }
  return -1;
}

bool AddedTokens::insert(std::string_view content, int32_t id) {
  int32_t node = 0;
  for (const char c : content) {
    const uint8_t byte = static_cast<uint8_t>(c);
    int32_t next = child(node, byte);
    if (next < 0) {
      next = static_cast<int32_t>(nodes_.size());
      Node& parent = nodes_[static_cast<size_t>(node)];
      Node fresh;
      fresh.byte = byte;
      if (node == 0) {
        first_[byte] = next;
      } else {
        fresh.sibling = parent.child;
        parent.child = next;
      }
      nodes_.push_back(fresh);
    }
    node = next;
  }
  int32_t& slot = nodes_[static_cast<size_t>(node)].id;
  if (slot >= 0) return false;
  slot = id;
  return true;
}

int32_t AddedTokens::find(std::string_view content) const {
  int32_t node = 0;
  for (const char c : content) {
    node = child(node, static_cast<uint8_t>(c));
    if (node < 0) return -1;
  }
  return nodes_[static_cast<size_t>(node)].id;
}

AddedTokens::Match AddedTokens::search(std::string_view text, size_t from) const {
  for (size_t begin = from; begin < text.size(); ++begin) {
    int32_t node = first_[static_cast<uint8_t>(text[begin])];
    Match best;
    for (size_t at = begin + 1; node >= 0; ++at) {
      const int32_t id = nodes_[static_cast<size_t>(node)].id;
      if (id >= 0) best = {begin, at, id};
      if (at >= text.size()) break;
      node = child(node, static_cast<uint8_t>(text[at]));
    }
    if (best.id >= 0) return best;
  }
  return {text.size(), text.size(), -1};
}

}  // namespace dsv4
