// Checkpoints: places inside a session to which its state can go back exactly, however long ago they were.
//
// One is a copy of the rows that later steps write over (state_parts.h, kRecent): the window and the unfinished groups,
// for Flash's shape 4.5 MB at multiples of 128 and up to 15 MB elsewhere. Compressed and index rows are never written
// over before the place they belong to is given up, so they need no copy.
//
// Policy: at most `most` are kept. Where one has to go, it is the one whose absence costs least: that between the two
// neighbours that are nearest to each other, measured against their distance from the newest. So they lie close
// together near the end and ever farther apart towards the beginning, and going back n tokens evaluates about n / 2
// again at worst.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "lib/model/model.h"
#include "lib/session/engine.h"

namespace dsv4 {

class Checkpoints {
 public:
  // `most` 0: none are ever taken.
  Checkpoints(std::shared_ptr<Engine> engine, const StateShape& shape, int64_t most);
  // Shares the copies, which nobody changes.
  Checkpoints(const Checkpoints& other) = default;
  Checkpoints& operator=(const Checkpoints&) = delete;

  int64_t newest() const { return list_.empty() ? 0 : list_.back().position; }
  int64_t count() const { return static_cast<int64_t>(list_.size()); }
  uint64_t bytes() const;

  // Takes one of a state whose newest committed position lies at most kRollback behind `position`. Does nothing where
  // there is one already, and where memory, or the memory limit, has no room for it.
  void take(const SequenceState& state, int64_t position);
  // The copy at exactly this position, or nullptr.
  const std::vector<uint8_t>* rows_at(int64_t position) const;
  // Puts one in that comes from elsewhere: the rows of state_parts(position, kRecent). As take() does, or not.
  void add(int64_t position, std::vector<uint8_t> rows);
  // Brings the newest one at or before `position` into the state and returns its position; 0, and the state as it is,
  // when there is none. Later ones are forgotten. Allocates nothing; throws what the backend does.
  int64_t restore(SequenceState& state, int64_t position);
  // The tokens behind `position` are not what they were.
  void forget_after(int64_t position);
  void swap(Checkpoints& other) noexcept { list_.swap(other.list_); }  // of a timeline of the same kind

 private:
  struct Place {
    int64_t position;
    std::vector<StatePart> parts;  // what the rows are: made with them, as going back must not need memory
    std::shared_ptr<const std::vector<uint8_t>> rows;
    std::shared_ptr<MemoryShare> share;
  };
  std::vector<Place>::iterator find(int64_t position);  // the first at or behind it
  void insert(Place place);

  std::shared_ptr<Engine> engine_;
  StateShape shape_;
  int64_t most_;
  std::vector<Place> list_;  // rising
};

}  // namespace dsv4
