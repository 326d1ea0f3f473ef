#include "verb_table.h"

#include <algorithm>
#include <cstdio>

namespace cli {
namespace {

// Verbs that are products of rows with weights and little else.
bool is_product(const std::string& verb) {
  return verb == "linear" || verb == "project_out" || verb == "experts" || verb == "logits";
}

void print_line(const std::string& verb, double calls, double ms, double percent) {
  std::printf("  %-14s%8.1f%11.3f%9.1f", verb.c_str(), calls, ms, percent);
}

}  // namespace

void VerbTable::add(const dsv4_model* model, double seconds) {
  seconds_ += seconds;
  dsv4_verb_time time{};
  for (size_t i = 0;; ++i) {
    time.struct_size = sizeof time;
    if (dsv4_model_verb_time(model, i, &time, nullptr) != DSV4_OK) break;  // behind the last one
    const auto at = std::find_if(lines_.begin(), lines_.end(), [&](const Line& l) { return l.verb == time.verb; });
    Line& line = at != lines_.end() ? *at : lines_.emplace_back();
    line.verb = time.verb;
    line.calls += static_cast<double>(time.calls);
    line.seconds += time.seconds;
    line.weight_bytes += static_cast<double>(time.weight_bytes);
    line.multiply_adds += time.multiply_adds;
  }
}

double VerbTable::multiply_adds_per_s() const {
  double multiply_adds = 0;
  for (const Line& l : lines_) multiply_adds += l.multiply_adds;
  return seconds_ > 0 ? multiply_adds / seconds_ : 0;
}

void VerbTable::print(const std::string& title) const {
  double steps = 1, all = 0, products = 0;
  for (const Line& l : lines_) {
    if (l.verb == "embed") steps = l.calls;  // once a step
    all += l.seconds;
    if (is_product(l.verb)) products += l.seconds;
  }
  const double total = std::max(seconds_, all);
  std::vector<Line> sorted = lines_;
  std::sort(sorted.begin(), sorted.end(), [](const Line& a, const Line& b) { return a.seconds > b.seconds; });
  std::printf("\n%s: %.0f steps of %.2f ms\n", title.c_str(), steps, total / steps * 1e3);
  std::printf("  %-14s%8s%11s%9s%10s%9s%10s\n", "a step", "calls", "ms", "%", "MB", "GB/s", "GFLOP/s");
  for (const Line& l : sorted) {
    print_line(l.verb, l.calls / steps, l.seconds / steps * 1e3, 100 * l.seconds / total);
    if (l.weight_bytes > 0) {
      std::printf("%10.1f%9.1f%10.0f", l.weight_bytes / steps / 1e6, l.weight_bytes / l.seconds / 1e9,
                  2 * l.multiply_adds / l.seconds / 1e9);
    }
    std::printf("\n");
  }
  if (seconds_ > 0) {
    print_line("between verbs", 0, (total - all) / steps * 1e3, 100 * (total - all) / total);
    std::printf("\n");
  }
  std::printf("  all but weight products (linear, project_out, experts, logits): %.1f %%\n",
              100 * (total - products) / total);
}

void clear_verb_times(dsv4_model* model) {
  check([&](dsv4_error** error) { return dsv4_model_verb_times_clear(model, error); });
}

}  // namespace cli
