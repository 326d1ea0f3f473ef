// What the verbs of a model's backend cost, as a table.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "client.h"

namespace cli {

class VerbTable {
 public:
  struct Line {
    std::string verb;
    double calls = 0;
    double seconds = 0;
    double weight_bytes = 0;
    double multiply_adds = 0;
  };

  // Adds what was measured since the last clear_verb_times(); `seconds`: how long it took from outside, 0 if unknown.
  void add(const dsv4_model* model, double seconds);
  double multiply_adds_per_s() const;  // with weights, of the whole time; 0 if nothing was added
  // A line for every verb, the dearest first, by step.
  void print(const std::string& title) const;

 private:
  std::vector<Line> lines_;
  double seconds_ = 0;
};

void clear_verb_times(dsv4_model* model);

}  // namespace cli
