// A block's shared memory with what is known of it: for each byte whether it was written, for each word of four bytes
// who touched it last and when. Time is a count of the block's synchronisations; an access happened before another one
// if the same thread did both, or their warp met in between, or their block did. Of the halves of a word only the last
// touched is known: a race can be missed, but what is reported is one.
#pragma once

#include <cstdint>
#include <cstring>

#include "tests/simt/executor.h"

namespace dsv4::simt {

// Thread, bytes, kind and time of a word's last write or read, in 32 bits.
struct Touch {
  static constexpr int kBytesShift = 10;
  static constexpr int kFlagShift = 14;
  static constexpr int kTimeShift = 15;
  static constexpr uint32_t kThread = (1u << kBytesShift) - 1;
  static constexpr uint32_t kFlag =
      1u << kFlagShift;  // of a write: atomic; of a read: threads of other warps read, too
  static constexpr uint32_t kLastTime = (1u << (32 - kTimeShift)) - 1;
};

class SharedMap {
 public:
  constexpr SharedMap() = default;

  // A new block: nothing is written, nobody has touched anything.
  void begin(int64_t bytes, bool races);
  void block_met();
  void warp_met(int warp);

  int64_t size() const { return size_; }

  template <int kSize>
  void read(int offset, void* to) {
    check_written<kSize>(offset);
    if (races_) each_word<kSize>(offset, [this](uint32_t word, uint32_t bytes) { note_read(word, bytes); });
    std::memcpy(to, bytes_ + offset, kSize);
  }
  template <int kSize>
  void write(int offset, const void* from) {
    if (races_) {
      const bool same = std::memcmp(bytes_ + offset, from, kSize) == 0;
      each_word<kSize>(offset, [this, same](uint32_t word, uint32_t bytes) { note_write(word, bytes, same, 0); });
    }
    std::memset(written_ + offset, 0xff, kSize);
    std::memcpy(bytes_ + offset, from, kSize);
  }
  // An update that atomic updates of other threads may surround.
  template <class F>
  int update(int offset, F change) {
    check_written<4>(offset);
    int old;
    std::memcpy(&old, bytes_ + offset, 4);
    if (races_) note_write(static_cast<uint32_t>(offset) / 4, 0xfu << Touch::kBytesShift, false, Touch::kFlag);
    const int value = change(old);
    std::memcpy(bytes_ + offset, &value, 4);
    return old;
  }
  // What an asynchronous copy will overwrite cannot be read any more.
  void forget(int offset, int bytes) { std::memset(written_ + offset, 0, static_cast<size_t>(bytes)); }

 private:
  template <int kSize>
  void check_written(int offset) const {
    unsigned char all[kSize];
    std::memset(all, 0xff, kSize);
    if (std::memcmp(written_ + offset, all, kSize) != 0) raise_unwritten(offset, kSize);
  }
  template <int kSize, class F>
  static void each_word(int offset, F f) {
    const auto at = static_cast<uint32_t>(offset);
    if constexpr (kSize < 4) {
      f(at / 4, ((1u << kSize) - 1) << (at % 4 + Touch::kBytesShift));
    } else {
      for (uint32_t i = 0; i < kSize / 4; ++i) f(at / 4 + i, 0xfu << Touch::kBytesShift);
    }
  }

  // Whether what `touch` says may have happened at the same time as what the running thread does now.
  bool unordered(uint32_t touch) const {
    const uint32_t thread = touch & Touch::kThread;
    const uint32_t me = thread_idx.x;
    if (thread == me) return false;
    const uint32_t since = thread / kLanes == me / kLanes ? warp_met_[me / kLanes] : block_met_;
    return (touch >> Touch::kTimeShift) >= since;
  }
  uint32_t now(uint32_t bytes) const { return thread_idx.x | bytes | (time_ << Touch::kTimeShift); }

  void note_read(uint32_t word, uint32_t bytes) {
    const uint32_t w = writer_[word];
    if ((w & bytes) != 0 && unordered(w)) raise_race(word, "read", "written", w);
    const uint32_t r = reader_[word];
    uint32_t next = now(bytes);
    if (r == next) return;
    if ((r & bytes) != 0 && (r >> Touch::kTimeShift) >= block_met_) {
      if ((r & Touch::kThread) / kLanes != thread_idx.x / kLanes) {
        next |= Touch::kFlag;
      } else {
        next |= r & Touch::kFlag;
      }
    }
    reader_[word] = next;
  }
  void note_write(uint32_t word, uint32_t bytes, bool same, uint32_t atomic) {
    const uint32_t w = writer_[word];
    if ((w & bytes) != 0 && !same && !(w & atomic) && unordered(w)) raise_race(word, "written", "written", w);
    const uint32_t r = reader_[word];
    if ((r & bytes) != 0) {
      const bool others = (r & Touch::kFlag) != 0 && (r >> Touch::kTimeShift) >= block_met_;
      if (others || unordered(r)) raise_race(word, "written", "read", r);
    }
    writer_[word] = now(bytes) | atomic;
  }

  [[noreturn]] void raise_unwritten(int offset, int bytes) const;
  [[noreturn]] void raise_race(uint32_t word, const char* now, const char* before, uint32_t touch) const;
  void restart_clock();

  unsigned char* bytes_ = nullptr;    // [size]
  unsigned char* written_ = nullptr;  // [size], 0xff where written
  uint32_t* writer_ = nullptr;        // [size / 4] touches
  uint32_t* reader_ = nullptr;        // [size / 4]
  int64_t size_ = 0;
  int64_t capacity_ = 0;
  uint32_t time_ = 1;
  uint32_t block_met_ = 1;             // time of the last meeting of the block
  uint32_t warp_met_[kMaxWarps] = {};  // of each warp, the block's included
  bool races_ = false;
};

extern constinit thread_local SharedMap shared_map;

}  // namespace dsv4::simt
