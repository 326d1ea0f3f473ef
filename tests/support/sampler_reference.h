// What lib/sample/sampler.h says, written down as plainly as possible: a list of steps over doubles and full sorts. The
// order of the steps is an argument, so that a test can show that it notices another one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "lib/sample/sampler.h"

enum class Step { kBias, kRepetition, kCounts, kEdit, kMask, kTopK, kTemperature, kTopP, kMinP };

inline const std::vector<Step> kDocumentedOrder = {Step::kBias,        Step::kRepetition, Step::kCounts,
                                                   Step::kEdit,        Step::kMask,       Step::kTopK,
                                                   Step::kTemperature, Step::kTopP,       Step::kMinP};

struct SampleCase {
  std::vector<float> logits = {};
  dsv4::SamplerOptions options = {};
  std::vector<int32_t> tokens = {};  // prompt and answer so far
  size_t prompt = 0;                 // how many of them are the prompt
  std::vector<uint32_t> mask = {};   // empty: all
  dsv4::EditLogits edit = {};        // may be empty

  dsv4::Sampler sampler() const { return dsv4::Sampler(options, static_cast<int64_t>(logits.size())); }
  dsv4::PenaltyHistory history() const;
  dsv4::PickInputs inputs(const dsv4::PenaltyHistory& history) const { return {logits, &history, mask, &edit}; }
};

// One draw by a sampler of its own.
int32_t pick_token(const SampleCase& c, dsv4::Rng& rng);

// weights[i] = p of i / the largest p; 0 where a step took the token out. Logits are floats between the steps.
std::vector<double> reference_weights(const SampleCase& c, const std::vector<Step>& order = kDocumentedOrder);

// A host that scales, adds, forbids, and wants one token above all others.
bool busy_edit(std::span<float> logits);

// `size` logits in +-spread / 2; rounded to whole numbers for many ties.
std::vector<float> random_logits(size_t size, uint64_t seed, double spread, bool with_ties);
