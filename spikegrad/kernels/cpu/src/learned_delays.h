// Taps of learned delays, made where they are read: of all synapses at once they would take many
// times the memory of the weights.
//
// Neurons are cut into parts, and inputs into blocks whose taps stay in the second-level cache. Of
// a part exist the currents of some samples, or their gradients, by neuron, time side by side; what
// a block adds to them is the work of delayed.h.
#pragma once

#include "delayed.h"
#include "simd/functions.h"

#include <cmath>

namespace spikegrad {

// Weights [N, I] and delays (steps) alike, or [E] of some synapses alone.
template <class T>
struct Learned {
  const T *weight, *delay;
  const Synapses* some;  // null: all of them
  int64_t inputs, outputs, most;
  T sigma;       // of Gaussians, or 0: the two steps around a delay
  int64_t half;  // of a Gaussian's width in steps

  // K, and as many as a kernel takes.
  int64_t there() const { return sigma > 0 ? std::min(most + 1, 2 * half + 1) : 2; }
  int64_t count() const { return taken<T>(there()); }
  // A delay that memory can bear; Python has refused others.
  T delay_at(int64_t at) const {
    const T d = delay[at];
    return d > 0 ? std::min(d, static_cast<T>(most)) : T(0);
  }
  int64_t first_of(T d) const {
    if (sigma > 0) return std::clamp<int64_t>(std::llrint(d) - half, 0, most + 1 - there());
    return std::min<int64_t>(static_cast<int64_t>(d), most - 1);
  }
};

// The shares of a Gaussian's taps, 0 behind them up to a whole vector: `to` and `distance`, if
// anybody wants it, have room for that.
template <class T>
void gaussian_shares(const Learned<T>& c, T delay, int64_t first, T* to, T* distance) {
  const int64_t there = c.there();
  const T nearest = std::clamp<T>(std::nearbyint(delay), T(first), T(first + there - 1)) - delay;
  const T shift = nearest / c.sigma * (nearest / c.sigma);
  Lane<T> apart, total{};
  for (int v = 0; v < kLanes<T>; ++v) apart[v] = static_cast<T>(first + v) - delay;
  for (int64_t k = 0; k < there; k += kLanes<T>, apart = apart + T(kLanes<T>)) {
    if (distance) store(distance + k, apart);
    const Lane<T> scaled = apart / c.sigma;
    store(to + k, exp_of<T>(T(-0.5) * (scaled * scaled - shift)));
    for (int64_t n = there; n < k + kLanes<T>; ++n) to[n] = 0;
    total = total + load(to + k);
  }
  T sum = 0;
  for (int v = 0; v < kLanes<T>; ++v) sum += total[v];
  for (int64_t k = 0; k < there; k += kLanes<T>) store(to + k, load(to + k) / sum);
}

// The synapses of some inputs to some neurons, as delayed.h takes them.
template <class T>
class Block {
 public:
  // To neurons [j0, j1), whose currents are rows of so many numbers.
  Block(const Learned<T>& c, int64_t j0, int64_t j1, int64_t row)
      : c_(c), j0_(j0), j1_(j1), row_(row), count_(c.count()), shares_(room()), apart_(room()) {
    std::fill_n(shares_.get(), room(), T(0));
    constexpr int64_t kBytes = int64_t{192} << 10;
    const int64_t each = (j1 - j0) * count_ * static_cast<int64_t>(sizeof(T));
    inputs_ = std::clamp<int64_t>(kBytes / each, 1, c.inputs);
  }
  int64_t inputs() const { return inputs_; }

  // Those of inputs [i0, i1); taps: or room for their gradients, zeros.
  void make(int64_t i0, int64_t i1, bool taps) {
    i0_ = i0;
    starts_.assign(1, 0);
    for (int64_t i = i0; i < i1; ++i)
      starts_.push_back(starts_.back() +
                        (c_.some ? c_.some->from(i, j1_) - c_.some->from(i, j0_) : j1_ - j0_));
    const auto synapses = static_cast<size_t>(starts_.back());
    weights_.resize(synapses), delays_.resize(synapses), place_.resize(synapses);
    if (c_.some)
      copy_some(i0, i1);
    else
      copy_all(i0, i1);
    for (size_t s = 0; s < synapses; ++s)
      place_[s] += static_cast<int32_t>(c_.first_of(delays_[s]));
    numbers_.resize(synapses * static_cast<size_t>(count_));
    if (!taps) return std::fill(numbers_.begin(), numbers_.end(), T(0));
    for (size_t s = 0; s < synapses; ++s) put_taps(s, numbers_.data() + s * count_);
  }
  T* numbers() { return numbers_.data(); }
  const int32_t* place() const { return place_.data(); }
  Delayed<T> view() const {
    const Synapses own{starts_.data(), nullptr, static_cast<int64_t>(starts_.size()) - 1,
                       c_.outputs};
    return {own, numbers_.data(), nullptr, count_, c_.most, c_.there()};
  }
  // The gradients of the taps as those of weights and delays, added up.
  void gradients(T* dweight, T* ddelay) {
    const int64_t inputs = static_cast<int64_t>(starts_.size()) - 1;
    for (int64_t k = 0; k < inputs; ++k) {
      const int64_t base = c_.some ? c_.some->from(i0_ + k, j0_) : j0_;
      for (int64_t s = starts_[k]; s < starts_[k + 1]; ++s) {
        const int64_t e = base + s - starts_[k];
        const int64_t at = c_.some ? e : e * c_.inputs + i0_ + k;
        gradient(s, dweight[at], ddelay[at]);
      }
    }
  }

 private:
  // For the taps of a synapse, in whole vectors.
  int64_t room() const { return (count_ + kLanes<T> - 1) / kLanes<T> * kLanes<T>; }
  // Weights, delays and neurons' rows, synapse by synapse.
  void copy_some(int64_t i0, int64_t i1) {
    for (int64_t i = i0; i < i1; ++i) {
      const int64_t first = c_.some->from(i, j0_), base = starts_[i - i0];
      for (int64_t s = base; s < starts_[i - i0 + 1]; ++s) {
        const int64_t e = first + s - base;
        weights_[s] = c_.weight[e], delays_[s] = c_.delay_at(e);
        place_[s] = static_cast<int32_t>((c_.some->targets[e] - j0_) * row_);
      }
    }
  }
  void copy_all(int64_t i0, int64_t i1) {
    const int64_t width = j1_ - j0_;
    for (int64_t j = 0; j < width; ++j)
      for (int64_t i = i0; i < i1; ++i) {
        const int64_t s = (i - i0) * width + j, at = (j0_ + j) * c_.inputs + i;
        weights_[s] = c_.weight[at], delays_[s] = c_.delay_at(at);
        place_[s] = static_cast<int32_t>(j * row_);
      }
  }
  int64_t first_at(int64_t s) const { return c_.first_of(delays_[s]); }
  void put_taps(int64_t s, T* to) {
    const T w = weights_[s], d = delays_[s];
    if (c_.sigma > 0) {
      gaussian_shares<T>(c_, d, first_at(s), shares_, nullptr);
      for (int64_t k = 0; k < c_.there(); ++k) to[k] = w * shares_[k];
      std::fill(to + c_.there(), to + count_, T(0));  // also of an infinite weight
    } else {
      const T share = d - static_cast<T>(first_at(s));
      to[0] = w * (1 - share), to[1] = w * share;
    }
  }
  void gradient(int64_t s, T& dweight, T& ddelay) {
    const T w = weights_[s], d = delays_[s];
    const T* grad = numbers_.data() + s * count_;
    if (!(c_.sigma > 0)) {
      const T share = d - static_cast<T>(first_at(s));
      dweight += grad[0] * (1 - share) + grad[1] * share;
      ddelay += (grad[1] - grad[0]) * w;
      return;
    }
    gaussian_shares<T>(c_, d, first_at(s), shares_, apart_);
    T sum = 0, slope = 0;
    for (int64_t k = 0; k < c_.there(); ++k) sum += grad[k] * shares_[k];
    // The logarithm of a share grows with the delay by distance / sigma^2, less its mean.
    for (int64_t k = 0; k < c_.there(); ++k) slope += (grad[k] - sum) * shares_[k] * apart_[k];
    dweight += sum;
    ddelay += slope * (w / (c_.sigma * c_.sigma));
  }

  const Learned<T>& c_;
  const int64_t j0_, j1_, row_, count_;
  int64_t inputs_ = 1, i0_ = 0;
  Scratch<T> shares_, apart_;
  std::vector<int64_t> starts_;
  std::vector<int32_t> place_;
  std::vector<T> weights_, delays_, numbers_;
};

// Samples whose events, and rows of currents, exist at a time: so many that the taps are read far
// more often than they are made.
inline int64_t samples_of(int64_t batch, int64_t events, int64_t inputs, int64_t row) {
  const int64_t most = std::max<int64_t>(int64_t{1} << 17, 64 * inputs);
  // What a sample takes however few its events are: where they begin, and eight rows a thread.
  const int64_t bytes = batch * 8 * (inputs + 8 * row);
  const int64_t groups = std::max((events + most - 1) / most, bytes >> 25);
  if (groups < 2) return batch;
  return std::max<int64_t>((batch + groups - 1) / groups, std::min<int64_t>(8, batch));
}

// Neurons of a part, whose rows of currents stay in the second-level cache; two parts a thread.
inline int64_t part_of_neurons(int64_t outputs, int64_t bytes_each) {
  const int64_t threads = torch::stable::get_num_threads();
  const int64_t even = threads == 1 ? outputs : (outputs + 2 * threads - 1) / (2 * threads);
  return std::clamp<int64_t>((int64_t{512} << 10) / bytes_each, 4,
                             std::clamp<int64_t>(even, 4, 64));
}

// In how many pieces some samples are cut where the work has so few others.
inline int64_t pieces_of(int64_t samples, int64_t others) {
  const int64_t threads = torch::stable::get_num_threads();
  return others >= threads ? 1 : std::min(samples, (2 * threads + others - 1) / others);
}

}  // namespace spikegrad
