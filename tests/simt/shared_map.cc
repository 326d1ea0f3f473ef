#include "tests/simt/shared_map.h"

#include <string>
#include <vector>

namespace dsv4::simt {

void SharedMap::begin(int64_t bytes, bool races) {
  struct Storage {
    std::vector<unsigned char> bytes, written;
    std::vector<uint32_t> writer, reader;
  };
  static thread_local Storage storage;
  const auto size = static_cast<size_t>((bytes + 15) / 16 * 16);
  if (size > storage.bytes.size()) {
    storage.bytes.resize(size);
    storage.written.resize(size);
    storage.writer.resize(size / 4);
    storage.reader.resize(size / 4);
    bytes_ = storage.bytes.data();
    written_ = storage.written.data();
    writer_ = storage.writer.data();
    reader_ = storage.reader.data();
  }
  size_ = static_cast<int64_t>(size);
  races_ = races;
  if (size > 0) std::memset(written_, 0, size);
  restart_clock();
}

void SharedMap::restart_clock() {
  time_ = block_met_ = 1;
  for (uint32_t& t : warp_met_) t = 1;
  if (!races_ || size_ == 0) return;
  std::memset(writer_, 0, static_cast<size_t>(size_));
  std::memset(reader_, 0, static_cast<size_t>(size_));
}

void SharedMap::block_met() {
  if (++time_ > Touch::kLastTime) return restart_clock();
  block_met_ = time_;
  for (uint32_t& t : warp_met_) t = time_;
}

void SharedMap::warp_met(int warp) {
  // Rather forget who touched what than take a new time for an old one.
  if (++time_ > Touch::kLastTime) return restart_clock();
  warp_met_[warp] = time_;
}

void SharedMap::raise_unwritten(int offset, int bytes) const {
  int first = offset;
  while (written_[first] != 0) ++first;
  raise("shared memory is read before it was written: byte " + std::to_string(first) + " of " + std::to_string(size_) +
        ", in a read of " + std::to_string(bytes) + " bytes at " + std::to_string(offset));
}

void SharedMap::raise_race(uint32_t word, const char* now, const char* before, uint32_t touch) const {
  raise("race in shared memory: bytes [" + std::to_string(word * 4) + ", " + std::to_string(word * 4 + 4) + ") are " +
        now + " here and " + before + " by thread " + std::to_string(touch & Touch::kThread) +
        " without a barrier in between");
}

}  // namespace dsv4::simt
