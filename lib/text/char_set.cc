#include "lib/text/char_set.h"

#include <algorithm>
#include <utility>

namespace dsv4 {

CharSet CharSet::all() { return CharSet(1, kLast); }

CharSet CharSet::of(const char* ascii) {
  CharSet out;
  for (; *ascii != '\0'; ++ascii) out.add(static_cast<uint8_t>(*ascii));
  return out;
}

CharSet& CharSet::add(uint32_t first, uint32_t last) {
  first = std::max(first, 1u);
  last = std::min(last, kLast);
  if (first < 0xd800) insert(first, std::min(last, 0xd7ffu));
  if (last > 0xdfff) insert(std::max(first, 0xe000u), last);
  return *this;
}

CharSet& CharSet::add(const CharSet& other) {
  for (const Range& range : other.ranges_) insert(range.first, range.last);
  return *this;
}

void CharSet::insert(uint32_t first, uint32_t last) {
  if (first > last) return;
  // Everything that touches [first, last] becomes one range with it.
  auto begin = std::lower_bound(ranges_.begin(), ranges_.end(), first,
                                [](const Range& range, uint32_t c) { return range.last + 1 < c; });
  auto end = begin;
  for (; end != ranges_.end() && end->first <= last + 1; ++end) {
    first = std::min(first, end->first);
    last = std::max(last, end->last);
  }
  ranges_.insert(ranges_.erase(begin, end), Range{first, last});
}

CharSet CharSet::complement() const {
  CharSet out;
  uint32_t next = 1;
  for (const Range& range : ranges_) {
    if (range.first > next) out.add(next, range.first - 1);
    next = range.last + 1;
  }
  if (next <= kLast) out.add(next, kLast);
  return out;
}

CharSet CharSet::intersect(const CharSet& other) const {
  CharSet out;
  for (auto a = ranges_.begin(), b = other.ranges_.begin(); a != ranges_.end() && b != other.ranges_.end();) {
    const uint32_t first = std::max(a->first, b->first), last = std::min(a->last, b->last);
    out.insert(first, last);
    if (a->last < b->last) {
      ++a;
    } else {
      ++b;
    }
  }
  return out;
}

bool CharSet::contains(uint32_t c) const {
  const auto at = std::lower_bound(ranges_.begin(), ranges_.end(), c,
                                   [](const Range& range, uint32_t value) { return range.last < value; });
  return at != ranges_.end() && at->first <= c;
}

}  // namespace dsv4
