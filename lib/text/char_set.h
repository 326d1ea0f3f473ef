// A set of Unicode characters as sorted ranges, for the grammars of constrained output.
//
// Its universe are the characters that such output may hold: U+0001..U+FFFFF without surrogates. The last plane is left
// out because its first byte in UTF-8 (0xF4) is kept for the mark that stands for ｜DSML｜ (grammar.h), and NUL because
// hosts cut strings there; JSON writes it as an escape.
#pragma once

#include <cstdint>
#include <vector>

namespace dsv4 {

class CharSet {
 public:
  struct Range {
    uint32_t first;
    uint32_t last;
  };
  static constexpr uint32_t kLast = 0xfffff;

  CharSet() = default;
  CharSet(uint32_t first, uint32_t last) { add(first, last); }
  static CharSet all();
  static CharSet of(const char* ascii);  // each of these characters

  CharSet& add(uint32_t first, uint32_t last);  // what lies outside of the universe is dropped
  CharSet& add(uint32_t c) { return add(c, c); }
  CharSet& add(const CharSet& other);
  CharSet complement() const;
  CharSet intersect(const CharSet& other) const;
  CharSet without(const CharSet& other) const { return intersect(other.complement()); }

  bool empty() const { return ranges_.empty(); }
  bool contains(uint32_t c) const;
  const std::vector<Range>& ranges() const { return ranges_; }  // ascending, with gaps between them

 private:
  void insert(uint32_t first, uint32_t last);
  std::vector<Range> ranges_;
};

}  // namespace dsv4
