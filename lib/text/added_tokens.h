// Finds added tokens in a text: leftmost, and of those that begin there the longest. A byte trie over the contents.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace dsv4 {

class AddedTokens {
 public:
  static constexpr size_t kLengthLimit = 1024;  // bytes of one token: bounds the work at every byte of a text

  AddedTokens() { nodes_.emplace_back(); }
  bool insert(std::string_view content, int32_t id);  // false when the content is there already
  bool empty() const { return nodes_.size() == 1; }
  // The id of exactly this content, -1 when there is none.
  int32_t find(std::string_view content) const;

  struct Match {
    size_t begin = 0;
    size_t end = 0;  // equal to begin: none
    int32_t id = -1;
  };
  // The first match in text[from, size).
  Match search(std::string_view text, size_t from) const;

 private:
  struct Node {
    int32_t id = -1;
    int32_t child = -1;    // first child
    int32_t sibling = -1;  // next child of the same parent
    uint8_t byte = 0;
  };
  int32_t child(int32_t node, uint8_t byte) const;

  std::vector<Node> nodes_;
  std::array<int32_t, 256> first_ = filled();  // the root's children: nearly every byte of a text ends here
  static std::array<int32_t, 256> filled() {
    std::array<int32_t, 256> a;
    a.fill(-1);
    return a;
  }
};

}  // namespace dsv4
