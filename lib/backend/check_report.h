// CheckReport: what two backends that did the same have differed in, output by output of every verb, and the
// comparisons that fill it: one row of numbers of the tested backend against the reference's. Distances are counted in
// steps of the format where it has few values (BF16, codes, scales), and relative to the row's largest magnitude where
// sums cancel.
#pragma once

#include <cstdint>
#include <cstring>
#include <map>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "lib/base/kv_row.h"
#include "lib/base/number.h"

namespace dsv4 {

// What a Check has found. From any thread.
class CheckReport {
 public:
  enum class Kind {
    kBF16,
    kF32,
    kInteger,  // picks: which positions of `top` and `experts` hold another number
    kPacked    // rows of states as they are kept: BF16 values, codes, scales
  };
  // Where the worst difference was. The layer follows from the call: a step calls a verb equally often for each.
  struct Place {
    int64_t call = 0;  // of this verb, from 1
    int64_t row = 0;   // of the matrix; of states, the row of the step that wrote (or finished) theirs
    int64_t col = 0;   // of packed rows the byte (lib/base/kv_row.h)
    double tested = 0;
    double reference = 0;
  };
  // One output of one verb: a matrix by the name that backend.h gives it, product i of n of linear() as "i/n"; or the
  // rows of a state that the verb writes.
  struct Line {
    std::string verb, output;
    Kind kind = Kind::kBF16;
    int64_t calls = 0;
    int64_t elements = 0;
    int64_t differing = 0;  // ±0 are the same, and so are two NaN
    // BF16 and codes: more than one step apart. F32: by more than kF32Beyond. Integers: not one of the other's row
    // either, which is an error unless scores were tied; a mere change of order is not counted.
    int64_t beyond = 0;
    int64_t steps = 0;    // kBF16 and kPacked: the most values of the format that lie between the two, plus one
    double distance = 0;  // the largest, in what `worst` is chosen by: kBF16 and kF32 the difference relative to the
                          // row's largest magnitude (sums cancel); kPacked steps; kInteger 1 for order, 2 for beyond
    Place worst;
  };
  static constexpr double kF32Beyond = 1e-5;  // relative to the row's largest magnitude

  std::vector<Line> lines() const;  // in the order of first calls, since the last clear()
  void clear();

  int64_t begin(const std::string& verb);  // which call of this verb it is
  void add(const Line& line);              // of one call

 private:
  mutable std::mutex mutex_;
  std::vector<Line> lines_;
  std::map<std::string, int64_t> calls_;
};

// The lines as a table for a terminal, 120 columns or a little more.
std::string check_table(std::span<const CheckReport::Line> lines);

// ------------------------------------------------------------------------------------------------- one row of each

CheckReport::Kind check_kind(DType dtype);
CheckReport::Line check_line(const char* verb, const std::string& output, CheckReport::Kind kind);  // of one call

// Each adds a row to a line; `at` is the place without column and values.
void check_floats(CheckReport::Line& line, CheckReport::Place at, std::span<const float> tested,
                  std::span<const float> reference);  // kBF16 or kF32
void check_picks(CheckReport::Line& line, CheckReport::Place at, std::span<const int32_t> tested,
                 std::span<const int32_t> reference);
void check_kv_row(CheckReport::Line& line, const CheckReport::Place& at, const KvRowLayout& kv, const uint8_t* tested,
                  const uint8_t* reference);
void check_index_row(CheckReport::Line& line, const CheckReport::Place& at, const IndexRowLayout& index,
                     const uint8_t* tested, const uint8_t* reference);
// `cols` elements as they lie in memory, of the line's kind, which is not kPacked.
void check_row(CheckReport::Line& line, const CheckReport::Place& at, int64_t cols, const uint8_t* tested,
               const uint8_t* reference);

// Brings a row's weights into the order in which the tested backend names the same experts. False: it names others,
// and the weights of other picks have nothing to do with these.
bool line_up_weights(std::span<const int32_t> tested, std::span<const int32_t> reference, std::span<float> weights);

template <class T>
std::vector<T> dense_row(const uint8_t* row, int64_t cols) {
  std::vector<T> out(static_cast<size_t>(cols));
  if (cols > 0) std::memcpy(out.data(), row, out.size() * sizeof(T));
  return out;
}

}  // namespace dsv4
