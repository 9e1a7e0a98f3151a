// Feedback with delays, forward and back in time.
//
//   c[t + 1 + d_e + k, j] += w[e, k]       for a spike of i at step t, each synapse e: i -> j
//   back[t, i] = sum over e, k of w[e, k] dc[t + 1 + d_e + k, j]
//
// The numbers of a neuron lie by time, so that all taps of a synapse are one place in memory. Not
// all steps are there, but those that a spike can reach and some more, so that they seldom move.
#pragma once

#include "delayed.h"

namespace spikegrad {

// Numbers [B][N][length], those of step t at t - base; as many steps as `reach` are wanted at a
// time.
template <class T>
class Window {
 public:
  // Steps between two moves: few, so that a window stays in the caches, but more where much is
  // moved.
  static int64_t ahead_of(int64_t reach) { return std::max<int64_t>(8, reach / 4); }

  Window(int64_t batch, int64_t neurons, int64_t reach, int64_t base)
      : batch_(batch), neurons_(neurons), reach_(reach), length_(length_of(reach)), base_(base),
        numbers_(batch * neurons * length_) {
    std::memset(numbers_, 0, batch * neurons * length_ * sizeof(T));
  }
  // An odd number, as `row_of`.
  static int64_t length_of(int64_t reach) { return (reach + ahead_of(reach)) | 1; }
  int64_t length() const { return length_; }
  // A sample's first neuron at a step.
  T* at(int64_t b, int64_t t) const { return numbers_ + b * neurons_ * length_ + (t - base_); }

  // Steps [t, t + reach) are there afterwards, with zeros where nothing was.
  void move_to(int64_t t) {
    const int64_t by = t - base_;
    if (by + reach_ <= length_) return;
    parallel_each(batch_ * neurons_, 256, [&](int64_t k) {
      T* const row = numbers_ + k * length_;
      std::memmove(row, row + by, (length_ - by) * sizeof(T));
      std::fill_n(row + length_ - by, by, T(0));
    });
    base_ = t;
  }
  // The same back in time: step t is there, and of those behind it what can be reached.
  void move_back_to(int64_t t) {
    if (t >= base_) return;
    const int64_t by = base_ - t + ahead_of(reach_) - 1;
    parallel_each(batch_ * neurons_, 256, [&](int64_t k) {
      T* const row = numbers_ + k * length_;
      std::memmove(row + by, row, (length_ - by) * sizeof(T));
    });
    base_ -= by;
  }

  // One step of a sample from and to a row [N].
  void read(int64_t b, int64_t t, T* row) const {
    const T* const from = at(b, t);
    for (int64_t j = 0; j < neurons_; ++j) row[j] = from[j * length_];
  }
  void write(int64_t b, int64_t t, const T* row) const {
    T* const to = at(b, t);
    for (int64_t j = 0; j < neurons_; ++j) to[j * length_] = row[j];
  }
  // Steps [t, t + n) of all samples from and to [B][n][N].
  void fill(int64_t t, int64_t n, const T* from) const {
    parallel_each(batch_, 1, [&](int64_t b) {
      transpose(from + b * n * neurons_, neurons_, n, neurons_, at(b, t), length_);
    });
  }
  void copy(int64_t t, int64_t n, T* to) const {
    parallel_each(batch_, 1, [&](int64_t b) {
      transpose(at(b, t), length_, neurons_, n, to + b * n * neurons_, neurons_);
    });
  }

 private:
  int64_t batch_, neurons_, reach_, length_, base_;
  Scratch<T> numbers_;
};

// The steps that one spike can reach, with the room that wide taps take behind them.
template <class T>
int64_t reach_of(const Delayed<T>& c) {
  return c.most + 1 + c.count - c.there;
}

// Forward: the currents on their way.
template <class T>
class DelayedFeedback {
 public:
  // arriving: [B][most + 1][N], what is on its way at step 0.
  DelayedFeedback(Wide<T> c, int64_t batch, const T* arriving)
      : c_(std::move(c)), window_(batch, c_.synapses.inputs, reach_of<T>(c_), 0),
        place_(places_of<T>(c_, window_.length())), batch_(batch) {
    window_.fill(0, c_.most + 1, arriving);
  }
  // What arrives at step t, rows [B][stride].
  void arrived(int64_t t, T* rows, int64_t stride) const {
    parallel_each(batch_, 8, [&](int64_t b) { window_.read(b, t, rows + b * stride); });
  }
  // The spikes of step t, words [B][tiles], go on their way; then what arrives at step t + 1.
  void add(const uint64_t* bits, int64_t t, T* rows, int64_t stride) {
    const int64_t words = tiles_of(c_.synapses.inputs);
    window_.move_to(t + 1);
    by_count(c_.count, [&]<int K>() {
      const int64_t count = K ? K : c_.count;
      parallel(batch_, 1, [&](int64_t begin, int64_t end) {
        const Scratch<int32_t> list(c_.synapses.inputs + kListSlack);
        for (int64_t b = begin; b < end; ++b) {
          T* const to = window_.at(b, t + 1);
          const int64_t n = list_sources(bits + b * words, 0, words, list);
          for (int64_t k = 0; k < n; ++k) {
            const int64_t last = c_.synapses.starts[list[k] + 1];
            for (int64_t e = c_.synapses.starts[list[k]]; e < last; ++e)
              add_scaled<T, K>(to + place_[e], c_.taps + e * count, T(1), count);
          }
          window_.read(b, t + 1, rows + b * stride);
        }
      });
    });
  }
  // What is on its way behind step t - 1, [B][most + 1][N].
  void left(int64_t t, T* to) {
    window_.move_to(t);
    window_.copy(t, c_.most + 1, to);
  }

 private:
  Wide<T> c_;
  Window<T> window_;
  Scratch<int32_t> place_;
  int64_t batch_;
};

// Back in time: the gradients of the currents that a spike reached.
template <class T>
class DelayedFeedbackBack {
 public:
  // support: words [T, B, tiles] of the neurons whose gradient somebody reads, null for all; left:
  // the gradient of what is on its way at the end, [B][most + 1][N], or null.
  DelayedFeedbackBack(Wide<T> c, const uint64_t* support, const Timeline& time, const T* left)
      : c_(std::move(c)), time_(time), support_(support), tiles_(tiles_of(c_.synapses.inputs)),
        window_(time.batch, c_.synapses.inputs, reach_of<T>(c_),
                time.steps - Window<T>::ahead_of(reach_of<T>(c_))),
        place_(places_of<T>(c_, window_.length())) {
    if (left) window_.fill(time.steps, c_.most + 1, left);
  }
  // out [n][64]: what comes back at step t to samples [b0, b0 + n) of a tile.
  void step(int64_t t, int64_t tile, int64_t b0, int64_t n, T* out) const {
    by_count(c_.count, [&]<int K>() {
      for (int64_t k = 0; k < n; ++k) {
        const T* const from = window_.at(b0 + k, t + 1);
        const uint64_t wanted =
            support_ ? support_[time_.row(t, b0 + k) * tiles_ + tile] : ~uint64_t{0};
        T* const to = out + k * kTile;
        std::fill_n(to, kTile, T(0));
        const int columns = columns_of(tile, c_.synapses.inputs);
        for (int j = 0; j < columns; ++j)
          if (wanted >> j & 1) to[j] = reached<K>(tile * kTile + j, from);
      }
    });
  }
  // The gradients of the currents of step t, rows [B][stride].
  void put(int64_t t, const T* rows, int64_t stride) {
    window_.move_back_to(t);
    parallel_each(time_.batch, 8, [&](int64_t b) { window_.write(b, t, rows + b * stride); });
  }

 private:
  // Over the synapses of a neuron; some sums at once, which do not wait for each other.
  template <int K>
  T reached(int64_t i, const T* from) const {
    const int64_t end = c_.synapses.starts[i + 1], count = K ? K : c_.count;
    int64_t e = c_.synapses.starts[i];
    if constexpr (K == 0) {
      Lane<T> sum{};
      for (; e < end; ++e)
        for (int64_t k = 0; k < count; k += kLanes<T>)
          sum = sum + load(c_.taps + e * count + k) * load(from + place_[e] + k);
      T total = 0, parts[kLanes<T>];
      store(parts, sum);
      for (const T part : parts) total += part;
      return total;
    } else {
      constexpr int kSums = 4;
      T sums[kSums] = {};
      auto add = [&](int64_t at, T& sum) {
        for (int k = 0; k < K; ++k) sum += c_.taps[at * K + k] * from[place_[at] + k];
      };
      for (; e + kSums <= end; e += kSums)
        for (int s = 0; s < kSums; ++s) add(e + s, sums[s]);
      for (int s = 0; e < end; ++e, ++s) add(e, sums[s]);
      return (sums[0] + sums[1]) + (sums[2] + sums[3]);
    }
  }

  Wide<T> c_;
  const Timeline time_;
  const uint64_t* support_;
  int64_t tiles_;
  Window<T> window_;
  Scratch<int32_t> place_;
};

}  // namespace spikegrad
