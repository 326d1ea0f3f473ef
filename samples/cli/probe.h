// How fast this machine reads memory: threads sum a buffer too large for any cache. Decoding reads weights once per
// token and does little with them, so this is the ceiling that its speed is given as a percentage of.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace cli {

class BandwidthProbe {
 public:
  // Each thread fills its own slice, so that the pages lie near it.
  BandwidthProbe(size_t bytes, size_t threads);

  // Reads the whole buffer `passes` times; GB/s (10^9) of each pass is added to `out`.
  void run(size_t passes, std::vector<double>& out);

 private:
  struct Free {
    void operator()(uint64_t* words) const;
  };

  size_t threads_;
  size_t slice_;  // words of a thread
  std::unique_ptr<uint64_t[], Free> words_;
  uint64_t checksum_ = 0;  // kept, so that the reads are not optimised away
};

}  // namespace cli
