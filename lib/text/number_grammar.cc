#include "lib/text/number_grammar.h"

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "lib/base/error.h"

namespace dsv4 {

namespace {

// A decimal number as two rows of digits: no zeros at the left of `whole`, none at the right of `fraction`.
struct Decimal {
  bool negative = false;
  std::string whole, fraction;
  bool is_zero() const { return whole.empty() && fraction.empty(); }
};

constexpr int64_t kMaxExponent = 400;

// `number` is a JSON number. False when its exponent is beyond all use.
bool read_decimal(std::string_view number, Decimal& out) {
  out = {};
  size_t at = 0;
  if (at < number.size() && number[at] == '-') {
    out.negative = true;
    ++at;
  }
  std::string digits;
  int64_t point = 0;  // digits before the point
  bool after = false;
  for (; at < number.size() && (number[at] == '.' || (number[at] >= '0' && number[at] <= '9')); ++at) {
    if (number[at] == '.') {
      after = true;
    } else {
      digits += number[at];
      if (!after) ++point;
    }
  }
  if (at < number.size()) {  // e
    const bool down = number.substr(at + 1, 1) == "-";
    int64_t exponent = 0;
    for (const char c : number.substr(at + 1)) {
      if (c >= '0' && c <= '9') exponent = std::min<int64_t>(exponent * 10 + (c - '0'), 1'000'000);
    }
    point += down ? -exponent : exponent;
  }
  const size_t begin = std::min(digits.find_first_not_of('0'), digits.size());
  digits.erase(0, begin);
  point -= static_cast<int64_t>(begin);
  while (!digits.empty() && digits.back() == '0') digits.pop_back();
  if (digits.empty()) {
    out.negative = false;
    return true;
  }
  if (point > kMaxExponent || point < -kMaxExponent) return false;
  if (point <= 0) {
    out.fraction = std::string(static_cast<size_t>(-point), '0') + digits;
  } else if (static_cast<size_t>(point) >= digits.size()) {
    out.whole = digits + std::string(static_cast<size_t>(point) - digits.size(), '0');
  } else {
    out.whole = digits.substr(0, static_cast<size_t>(point));
    out.fraction = digits.substr(static_cast<size_t>(point));
  }
  return true;
}

int compare_magnitudes(const Decimal& a, const Decimal& b) {
  if (a.whole.size() != b.whole.size()) return a.whole.size() < b.whole.size() ? -1 : 1;
  const int whole = a.whole.compare(b.whole);
  const int order = whole != 0 ? whole : a.fraction.compare(b.fraction);  // no zeros at the right: this is the order
  return order < 0 ? -1 : order > 0 ? 1 : 0;
}

int compare(const Decimal& a, const Decimal& b) {
  if (a.negative != b.negative) return a.negative ? -1 : 1;
  return a.negative ? compare_magnitudes(b, a) : compare_magnitudes(a, b);
}

struct Bound {
  bool present = false;
  bool excluded = false;
  Decimal value;
};

constexpr int64_t kMostWhole = 999'999'999'999'999'999;
static_assert(kMaxNumberDigits == 18);

int64_t whole_of(const Decimal& d) {
  int64_t value = 0;
  for (const char c : d.whole) value = value * 10 + (c - '0');
  return value;
}

class NumberWriter {
 public:
  NumberWriter(Grammar& grammar, int fraction_digits) : g_(grammar), fraction_digits_(fraction_digits) {}

  // Numbers without a sign from `least` (present) to `most`.
  Grammar::Part between(const Bound& least, const Bound& most) {
    const int64_t a = whole_of(least.value);
    const int64_t b = most.present ? whole_of(most.value) : kMostWhole;
    if (fraction_digits_ == 0) {
      const int64_t first = a + (!least.value.fraction.empty() || least.excluded ? 1 : 0);
      const int64_t last = b - (most.present && most.excluded && most.value.fraction.empty() ? 1 : 0);
      return whole_range(first, last);
    }
    if (a > b) return g_.never();
    if (a == b && most.present) return g_.sequence({g_.text(std::to_string(a)), fraction_between(least, most)});
    std::vector<Grammar::Part> parts = {g_.sequence({g_.text(std::to_string(a)), fraction_from(least)})};
    const int64_t last = most.present ? b - 1 : b;
    parts.push_back(g_.sequence({whole_range(a + 1, last), any_fraction()}));
    if (most.present) parts.push_back(g_.sequence({g_.text(std::to_string(b)), fraction_to(most)}));
    return g_.choice(parts);
  }

 private:
  Grammar::Part digit(char first, char last) {
    return first > last ? g_.never() : g_.set(CharSet(static_cast<uint8_t>(first), static_cast<uint8_t>(last)));
  }
  Grammar::Part digits(int64_t at_least, int64_t at_most) {
    return at_most < at_least ? g_.never() : g_.repeat(digit('0', '9'), at_least, at_most);
  }
  Grammar::Part zeros(int64_t at_least, int64_t at_most) {
    return at_most < at_least ? g_.never() : g_.repeat(g_.text("0"), at_least, at_most);
  }
  Grammar::Part one(char c) { return g_.text(std::string(1, c)); }

  // ---- whole numbers
  Grammar::Part whole_range(int64_t first, int64_t last) {
    std::vector<Grammar::Part> parts;
    int64_t low = 0, high = 9;
    for (int length = 1; length <= kMaxNumberDigits; ++length) {
      const int64_t a = std::max(first, low), b = std::min(last, high);
      if (a <= b) parts.push_back(same_length(std::to_string(a), std::to_string(b), 0));
      low = high + 1;
      if (length < kMaxNumberDigits) high = high * 10 + 9;
    }
    return g_.choice(parts);
  }
  Grammar::Part same_length(const std::string& a, const std::string& b, size_t at) {
    const auto rest = static_cast<int64_t>(a.size() - at);
    if (rest == 0) return g_.empty();
    if (a.find_first_not_of('0', at) == std::string::npos && b.find_first_not_of('9', at) == std::string::npos) {
      return digits(rest, rest);
    }
    if (a[at] == b[at]) return g_.sequence({one(a[at]), same_length(a, b, at + 1)});
    const std::string nines(a.size(), '9'), zeros(a.size(), '0');
    return g_.choice({
        g_.sequence({one(a[at]), same_length(a, nines, at + 1)}),
        g_.sequence({digit(static_cast<char>(a[at] + 1), static_cast<char>(b[at] - 1)), digits(rest - 1, rest - 1)}),
        g_.sequence({one(b[at]), same_length(zeros, b, at + 1)}),
    });
  }

  // ---- what follows the whole part: nothing, or a point and digits
  int64_t left(size_t at) const { return fraction_digits_ - static_cast<int64_t>(at); }  // digits there may still be

  Grammar::Part any_fraction() { return g_.optional(g_.sequence({g_.text("."), digits(1, fraction_digits_)})); }
  Grammar::Part fraction_from(const Bound& least) {
    if (least.value.fraction.empty() && !least.excluded) return any_fraction();
    return g_.sequence({g_.text("."), digits_from(least, 0)});
  }
  Grammar::Part fraction_to(const Bound& most) {
    const std::string& f = most.value.fraction;
    if (f.empty()) {
      return most.excluded ? g_.never() : g_.optional(g_.sequence({g_.text("."), zeros(1, fraction_digits_)}));
    }
    return g_.optional(g_.sequence({g_.text("."), digits_to(most, 0)}));
  }
  Grammar::Part fraction_between(const Bound& least, const Bound& most) {
    const bool whole_fits = least.value.fraction.empty() && !least.excluded &&
                            !(most.value.fraction.empty() && most.excluded);
    const Grammar::Part part = g_.sequence({g_.text("."), digits_between(least, most, 0)});
    return whole_fits ? g_.optional(part) : part;
  }

  Grammar::Part not_all_zero(int64_t most) {
    if (most <= 0) return g_.never();
    return g_.choice({g_.sequence({digit('1', '9'), digits(0, most - 1)}),
                      g_.sequence({g_.text("0"), not_all_zero(most - 1)})});
  }
  // Digits from place `at` on, where everything before was that of the bound.
  Grammar::Part digits_from(const Bound& least, size_t at) {
    const std::string& f = least.value.fraction;
    if (at >= f.size()) return least.excluded ? not_all_zero(left(at)) : digits(0, left(at));
    if (left(at) <= 0) return g_.never();
    return g_.choice({g_.sequence({digit(static_cast<char>(f[at] + 1), '9'), digits(0, left(at) - 1)}),
                      g_.sequence({one(f[at]), digits_from(least, at + 1)})});
  }
  Grammar::Part digits_to(const Bound& most, size_t at) {
    const std::string& f = most.value.fraction;
    if (at >= f.size()) return most.excluded ? g_.never() : zeros(at == 0 ? 1 : 0, left(at));
    if (left(at) <= 0) return g_.empty();  // what is cut off makes it smaller
    std::vector<Grammar::Part> parts = {
        g_.sequence({digit('0', static_cast<char>(f[at] - 1)), digits(0, left(at) - 1)}),
        g_.sequence({one(f[at]), digits_to(most, at + 1)})};
    if (at > 0) parts.push_back(g_.empty());
    return g_.choice(parts);
  }
  Grammar::Part digits_between(const Bound& least, const Bound& most, size_t at) {
    const std::string &a = least.value.fraction, &b = most.value.fraction;
    if (at >= a.size() && at >= b.size()) {  // the same number
      return least.excluded || most.excluded ? g_.never() : zeros(at == 0 ? 1 : 0, left(at));
    }
    const char from = at < a.size() ? a[at] : '0', to = at < b.size() ? b[at] : '0';
    std::vector<Grammar::Part> parts;
    if (at > 0 && at >= a.size() && !least.excluded) parts.push_back(g_.empty());  // then at < b.size(): smaller than b
    if (left(at) > 0 && from == to) {
      parts.push_back(g_.sequence({one(from), digits_between(least, most, at + 1)}));
    } else if (left(at) > 0 && from < to) {
      parts.push_back(g_.sequence({one(from), digits_from(least, at + 1)}));
      parts.push_back(g_.sequence(
          {digit(static_cast<char>(from + 1), static_cast<char>(to - 1)), digits(0, left(at) - 1)}));
      parts.push_back(g_.sequence({one(to), digits_to(most, at + 1)}));
    }
    return g_.choice(parts);
  }

  Grammar& g_;
  const int64_t fraction_digits_;
};

Bound read_bound(const std::string& text, bool excluded, std::string_view what) {
  Bound bound;
  if (text.empty()) return bound;
  bound.present = true;
  bound.excluded = excluded;
  if (!read_decimal(text, bound.value) || bound.value.whole.size() > kMaxNumberDigits ||
      bound.value.fraction.size() > kMaxNumberDigits) {
    fail(Status::kUnsupported, "{}: the bound {} has more than {} digits before or after the point", what, text,
         kMaxNumberDigits);
  }
  return bound;
}

}  // namespace

Grammar::Part bounded_number(Grammar& grammar, const NumberBounds& bounds, std::string_view what) {
  const Bound least = read_bound(bounds.least, bounds.least_excluded, what);
  const Bound most = read_bound(bounds.most, bounds.most_excluded, what);
  if (least.present && most.present && compare(least.value, most.value) > 0) return grammar.never();
  Bound zero;
  zero.present = true;
  NumberWriter writer(grammar, bounds.fraction_digits);
  std::vector<Grammar::Part> parts;
  if (!most.present || !most.value.negative) {
    parts.push_back(writer.between(least.present && !least.value.negative ? least : zero, most));
  }
  if (!least.present || least.value.negative) {  // the mirror image, without zero
    Bound nearest = zero;
    nearest.excluded = true;
    if (most.present && most.value.negative) nearest = most;
    parts.push_back(grammar.sequence({grammar.text("-"), writer.between(nearest, least)}));
  }
  return grammar.choice(parts);
}

int compare_numbers(std::string_view a, std::string_view b) {
  Decimal x, y;
  const bool x_fits = read_decimal(a, x), y_fits = read_decimal(b, y);
  if (x_fits && y_fits) return compare(x, y);
  // Exponents beyond all use: by sign and size of the exponent, roughly; no schema in earnest comes here.
  const auto rank = [](std::string_view text, bool fits, const Decimal& d) {
    if (fits) return d.is_zero() ? 0 : d.negative ? -1 : 1;
    const bool tiny = text.find('-', 1) != std::string_view::npos;
    return (text.front() == '-' ? -1 : 1) * (tiny ? 1 : 2);
  };
  return rank(a, x_fits, x) - rank(b, y_fits, y);
}

bool is_integer(std::string_view number) {
  Decimal d;
  return read_decimal(number, d) ? d.fraction.empty() : number.find('-', 1) == std::string_view::npos;
}

}  // namespace dsv4
