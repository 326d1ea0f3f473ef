#include "lib/session/checkpoints.h"

#include <algorithm>
#include <limits>
#include <new>
#include <utility>

#include "lib/base/error.h"

namespace dsv4 {

Checkpoints::Checkpoints(std::shared_ptr<Engine> engine, const StateShape& shape, int64_t most)
    : engine_(std::move(engine)), shape_(shape), most_(most) {}

uint64_t Checkpoints::bytes() const {
  uint64_t bytes = 0;
  for (const Place& place : list_) bytes += place.rows->size();
  return bytes;
}

std::vector<Checkpoints::Place>::iterator Checkpoints::find(int64_t position) {
  return std::lower_bound(list_.begin(), list_.end(), position,
                          [](const Place& place, int64_t p) { return place.position < p; });
}

const std::vector<uint8_t>* Checkpoints::rows_at(int64_t position) const {
  const auto at = const_cast<Checkpoints*>(this)->find(position);
  return at != list_.end() && at->position == position ? at->rows.get() : nullptr;
}

void Checkpoints::take(const SequenceState& state, int64_t position) {
  if (most_ == 0 || position <= 0 || rows_at(position) != nullptr) return;
  try {
    Place place{position, state_parts(shape_, position, StateExtent::kRecent), nullptr, nullptr};
    const size_t bytes = total_bytes(place.parts);
    place.share = std::make_shared<MemoryShare>(*engine_, bytes);
    const auto rows = std::make_shared<std::vector<uint8_t>>(bytes);
    engine_->model->export_state(state, place.parts, rows->data());
    place.rows = rows;
    insert(std::move(place));
  } catch (const Error& e) {
    if (e.status() != Status::kOutOfMemoryHost) throw;
  } catch (const std::bad_alloc&) {
  }  // without memory for it, going back will cost more, and nothing else changes
}

void Checkpoints::add(int64_t position, std::vector<uint8_t> rows) {
  if (most_ == 0 || rows_at(position) != nullptr) return;
  std::shared_ptr<MemoryShare> share;
  try {
    share = std::make_shared<MemoryShare>(*engine_, rows.size());
  } catch (const Error&) {
    return;  // no room for it under the limit
  }
  insert({position, state_parts(shape_, position, StateExtent::kRecent),
          std::make_shared<const std::vector<uint8_t>>(std::move(rows)), std::move(share)});
}

// Where that makes one too many, the one goes whose absence costs least.
void Checkpoints::insert(Place place) {
  list_.insert(find(place.position), std::move(place));
  if (count() <= most_) return;
  const double end = static_cast<double>(newest()) + 1;
  size_t worst = 0;
  double least = std::numeric_limits<double>::infinity();
  for (size_t i = 0; i + 1 < list_.size(); ++i) {  // never the newest
    const double before = i == 0 ? 0 : static_cast<double>(list_[i - 1].position);
    const double cost = (static_cast<double>(list_[i + 1].position) - before) / (end - before);
    if (cost < least) {
      least = cost;
      worst = i;
    }
  }
  list_.erase(list_.begin() + static_cast<std::ptrdiff_t>(worst));
}

int64_t Checkpoints::restore(SequenceState& state, int64_t position) {
  forget_after(position);
  if (list_.empty()) return 0;
  const Place& place = list_.back();
  engine_->model->import_state(state, place.parts, place.rows->data());
  return place.position;
}

void Checkpoints::forget_after(int64_t position) {
  while (!list_.empty() && list_.back().position > position) list_.pop_back();
}

}  // namespace dsv4
