#include "lib/backend/check_report.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>

#include <fmt/format.h>

namespace dsv4 {
namespace {

using Kind = CheckReport::Kind;
using Line = CheckReport::Line;
using Place = CheckReport::Place;

void note(Line& line, const Place& place, double distance, bool beyond) {
  ++line.differing;
  line.beyond += beyond;
  if (!(distance > line.distance)) return;
  line.distance = distance;
  line.worst = place;
}

// Sign and magnitude as a number line: the value `steps` further is the next but so many.
int64_t on_line(uint32_t bits, uint32_t sign) {
  const auto magnitude = static_cast<int64_t>(bits & (sign - 1));
  return (bits & sign) != 0 ? -magnitude : magnitude;
}
int64_t steps_between(uint32_t a, uint32_t b, uint32_t sign) { return std::abs(on_line(a, sign) - on_line(b, sign)); }

bool same_value(float a, float b) { return a == b || (std::isnan(a) && std::isnan(b)); }

void note_step(Line& line, Place at, int64_t col, uint32_t tested, uint32_t reference, uint32_t sign) {
  ++line.elements;
  const int64_t steps = steps_between(tested, reference, sign);
  if (steps == 0) return;
  at.col = col;
  at.tested = tested;
  at.reference = reference;
  line.steps = std::max(line.steps, steps);
  note(line, at, static_cast<double>(steps), steps > 1);
}

constexpr uint32_t kNoSign = 0x100;  // of a byte that is a scale

std::vector<float> widened_row(Kind kind, const uint8_t* row, int64_t cols) {
  if (kind == Kind::kF32) return dense_row<float>(row, cols);
  std::vector<float> out;
  for (const bf16 v : dense_row<bf16>(row, cols)) out.push_back(to_float(v));
  return out;
}

}  // namespace

Kind check_kind(DType dtype) {
  if (dtype == DType::kBF16) return Kind::kBF16;
  return dtype == DType::kF32 ? Kind::kF32 : Kind::kInteger;
}

Line check_line(const char* verb, const std::string& output, Kind kind) {
  Line line;
  line.verb = verb;
  line.output = output;
  line.kind = kind;
  line.calls = 1;
  return line;
}

void check_floats(Line& line, Place at, std::span<const float> tested, std::span<const float> reference) {
  double largest = 0;
  for (const float v : reference) {
    if (std::isfinite(v)) largest = std::max(largest, std::fabs(static_cast<double>(v)));
  }
  line.elements += static_cast<int64_t>(tested.size());
  for (size_t i = 0; i < tested.size(); ++i) {
    const float a = tested[i], b = reference[i];
    if (same_value(a, b)) continue;
    at.col = static_cast<int64_t>(i);
    at.tested = a;
    at.reference = b;
    double distance = std::fabs(static_cast<double>(a) - static_cast<double>(b)) / largest;
    if (!std::isfinite(distance)) distance = std::numeric_limits<double>::infinity();
    bool beyond = distance > CheckReport::kF32Beyond;
    if (line.kind == Kind::kBF16) {
      const int64_t steps = steps_between(to_bf16(a).bits, to_bf16(b).bits, 0x8000);
      line.steps = std::max(line.steps, steps);
      beyond = steps > 1;
    }
    note(line, at, distance, beyond);
  }
}

void check_picks(Line& line, Place at, std::span<const int32_t> tested, std::span<const int32_t> reference) {
  line.elements += static_cast<int64_t>(tested.size());
  for (size_t i = 0; i < tested.size(); ++i) {
    if (tested[i] == reference[i]) continue;
    at.col = static_cast<int64_t>(i);
    at.tested = tested[i];
    at.reference = reference[i];
    const bool beyond = std::find(reference.begin(), reference.end(), tested[i]) == reference.end();
    note(line, at, beyond ? 2 : 1, beyond);
  }
}

void check_kv_row(Line& line, const Place& at, const KvRowLayout& kv, const uint8_t* tested, const uint8_t* reference) {
  for (int64_t i = 0; i < kv.codes(); i += 2) {
    uint16_t a, b;
    std::memcpy(&a, tested + i, 2);
    std::memcpy(&b, reference + i, 2);
    note_step(line, at, i, a, b, 0x8000);
  }
  for (int64_t i = kv.codes(); i < kv.scales(); ++i) note_step(line, at, i, tested[i], reference[i], 0x80);
  for (int64_t i = kv.scales(); i < kv.bytes(); ++i) note_step(line, at, i, tested[i], reference[i], kNoSign);
}

void check_index_row(Line& line, const Place& at, const IndexRowLayout& index, const uint8_t* tested,
                     const uint8_t* reference) {
  for (int64_t i = 0; i < index.scales(); ++i) {
    for (const int shift : {0, 4}) note_step(line, at, i, tested[i] >> shift & 15, reference[i] >> shift & 15, 8);
  }
  for (int64_t i = index.scales(); i < index.bytes(); ++i) {
    note_step(line, at, i, tested[i], reference[i], kNoSign);
  }
}

void check_row(Line& line, const Place& at, int64_t cols, const uint8_t* tested, const uint8_t* reference) {
  if (line.kind == Kind::kInteger) {
    check_picks(line, at, dense_row<int32_t>(tested, cols), dense_row<int32_t>(reference, cols));
  } else {
    check_floats(line, at, widened_row(line.kind, tested, cols), widened_row(line.kind, reference, cols));
  }
}

bool line_up_weights(std::span<const int32_t> tested, std::span<const int32_t> reference, std::span<float> weights) {
  std::vector<float> out;
  std::vector<bool> taken(reference.size());
  for (const int32_t expert : tested) {
    size_t i = 0;
    while (i < reference.size() && (taken[i] || reference[i] != expert)) ++i;
    if (i == reference.size()) return false;
    taken[i] = true;
    out.push_back(weights[i]);
  }
  std::copy(out.begin(), out.end(), weights.begin());
  return true;
}

// ----------------------------------------------------------------------------------------------------------- report

std::vector<CheckReport::Line> CheckReport::lines() const {
  const std::lock_guard lock(mutex_);
  return lines_;
}

void CheckReport::clear() {
  const std::lock_guard lock(mutex_);
  lines_.clear();
  calls_.clear();
}

int64_t CheckReport::begin(const std::string& verb) {
  const std::lock_guard lock(mutex_);
  return ++calls_[verb];
}

void CheckReport::add(const Line& line) {
  const std::lock_guard lock(mutex_);
  const auto at = std::find_if(lines_.begin(), lines_.end(), [&](const Line& l) {
    return l.verb == line.verb && l.output == line.output && l.kind == line.kind;
  });
  if (at == lines_.end()) {
    lines_.push_back(line);
    return;
  }
  at->calls += line.calls;
  at->elements += line.elements;
  at->differing += line.differing;
  at->beyond += line.beyond;
  at->steps = std::max(at->steps, line.steps);
  if (!(line.distance > at->distance)) return;
  at->distance = line.distance;
  at->worst = line.worst;
}

std::string check_table(std::span<const CheckReport::Line> lines) {
  const auto percent = [](int64_t part, int64_t whole) {
    return whole == 0 ? 0.0 : 100.0 * static_cast<double>(part) / static_cast<double>(whole);
  };
  const auto kind = [](Kind k) {
    return k == Kind::kBF16 ? "BF16" : k == Kind::kF32 ? "F32" : k == Kind::kInteger ? "picks" : "packed";
  };
  std::string out = fmt::format("{:<12} {:<11} {:<6} {:>7} {:>11} {:>10} {:>9} {:>6} {:>9}  {}\n", "verb", "output",
                                "kind", "calls", "elements", "differing", "beyond", "steps", "distance",
                                "worst: call, row, column: tested, reference");
  for (const Line& l : lines) {
    out += fmt::format("{:<12} {:<11} {:<6} {:>7} {:>11} {:>9.4f}% {:>8.4f}% {:>6} {:>9.2e}", l.verb, l.output,
                       kind(l.kind), l.calls, l.elements, percent(l.differing, l.elements),
                       percent(l.beyond, l.elements), l.steps, l.distance);
    if (l.differing > 0) {
      out += fmt::format("  {}, {}, {}: {:.9g}, {:.9g}", l.worst.call, l.worst.row, l.worst.col, l.worst.tested,
                         l.worst.reference);
    }
    out += '\n';
  }
  return out;
}

}  // namespace dsv4
