// JSON numbers within bounds, as a grammar over their decimal digits: exact, without arithmetic in floating point.
// What is written has at most 18 digits before the point and 18 behind it, and no exponent; zero has no sign.
#pragma once

#include <string>
#include <string_view>

#include "lib/text/grammar.h"

namespace dsv4 {

inline constexpr int kMaxNumberDigits = 18;

struct NumberBounds {
  std::string least, most;  // JSON numbers; "": none
  bool least_excluded = false, most_excluded = false;
  int fraction_digits = kMaxNumberDigits;  // 0: integers, written without a point
};
// Grammar::never() when nothing lies between. Error kUnsupported, beginning with `what`, for a bound with more digits
// than numbers may have.
Grammar::Part bounded_number(Grammar& grammar, const NumberBounds& bounds, std::string_view what);

// Exact: the sign of a - b for two JSON numbers.
int compare_numbers(std::string_view a, std::string_view b);
bool is_integer(std::string_view number);  // 1, 1.0, 10e-1

}  // namespace dsv4
