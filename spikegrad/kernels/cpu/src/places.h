// Values at some columns of every row alone, side by side in memory: the membranes and the
// gradients that a surrogate with compact support asks for.
//
// Words [T, B, tiles] name the columns. Values stand in the order tile, group of kGroup samples,
// step, sample, column: what one piece of a layer's work reads and writes lies together.
#pragma once

#include "spikes.h"
#include "timeline.h"

namespace spikegrad {

constexpr int64_t kGroup = 32;  // samples whose states one piece of work holds
inline int64_t groups_of(int64_t batch) { return (batch + kGroup - 1) / kGroup; }

// Where the values of every row and tile begin.
class Places {
 public:
  Places() = default;
  Places(const uint64_t* words, const Timeline& time, int64_t tiles)
      : words_(words), time_(time), steps_(time.steps), tiles_(tiles),
        groups_(groups_of(time.batch)), starts_(tiles * groups_ * steps_ + 1) {
    const int64_t steps = steps_, batch = time.batch;
    parallel_each(steps, std::max<int64_t>(1, 16384 / (batch * tiles)), [&](int64_t t) {
      for (int64_t group = 0; group < groups_; ++group) {
        const int64_t last = std::min(time_.alive(t), (group + 1) * kGroup);
        for (int64_t tile = 0; tile < tiles; ++tile) {
          int64_t count = 0;
          for (int64_t b = group * kGroup; b < last; ++b) count += ones(tile, t, b);
          starts_[(tile * groups_ + group) * steps + t + 1] = count;
        }
      }
    });
    starts_[0] = 0;
    for (int64_t k = 0; k < tiles * groups_ * steps; ++k) starts_[k + 1] += starts_[k];
  }
  explicit operator bool() const { return words_ != nullptr; }
  int64_t count() const { return starts_[tiles_ * groups_ * steps_]; }
  uint64_t word(int64_t tile, int64_t t, int64_t b) const {
    return words_[time_.row(t, b) * tiles_ + tile];
  }
  // How many values a tile has.
  int64_t many(int64_t tile) const {
    const int64_t each = groups_ * steps_;
    return starts_[(tile + 1) * each] - starts_[tile * each];
  }
  // The first value of a group's step.
  int64_t start(int64_t tile, int64_t group, int64_t t) const {
    return starts_[(tile * groups_ + group) * steps_ + t];
  }
  // Rows [first, first + n) of a tile, `stride` apart -> their places among all values; of
  // sequences of one length.
  template <class T>
  void put(int64_t tile, int64_t first, int64_t n, const T* from, int64_t stride, T* all) const {
    const int64_t batch = time_.batch;
    int64_t t = first / batch, b = first % batch;
    T* to = all + start(tile, b / kGroup, t);
    for (int64_t k = b / kGroup * kGroup; k < b; ++k) to += ones(tile, t, k);
    for (int64_t r = 0; r < n; ++r) {
      if (b == batch) b = 0, ++t;
      if (b % kGroup == 0) to = all + start(tile, b / kGroup, t);
      compress_row(word(tile, t, b++), from + r * stride, to);
    }
  }
  // 64 columns of one row of a tile -> its places among all values.
  template <class T>
  void put_row(int64_t tile, int64_t t, int64_t b, const T* from, T* all) const {
    T* to = all + start(tile, b / kGroup, t);
    for (int64_t k = b / kGroup * kGroup; k < b; ++k) to += ones(tile, t, k);
    compress_row(word(tile, t, b), from, to);
  }

 private:
  int64_t ones(int64_t tile, int64_t t, int64_t b) const {
    return __builtin_popcountll(word(tile, t, b));
  }
  const uint64_t* words_ = nullptr;
  Timeline time_;
  int64_t steps_ = 0, tiles_ = 0, groups_ = 0;
  Scratch<int64_t> starts_;
};

}  // namespace spikegrad
