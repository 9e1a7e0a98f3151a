// Products of a connection with delays: cost follows the synapses of what is not 0, and their taps.
//
//   c[t + d_e + k, j] += x[t, i] w[e, k]                 for each synapse e: i -> j   (add_events)
//   dw[e, k]          += x[t, i] dc[t + d_e + k, j]                                   (sum_events)
//   dx[t, i]           = sum over e, k of w[e, k] dc[t + d_e + k, j]                  (input_rows)
//
// A sample's currents lie by neuron, time side by side: all taps of a synapse are one place in
// memory, and so are the steps of an input's gradient. Each sample's sums run over its inputs, of
// each over its steps, then over the taps, however the work is cut.
#pragma once

#include "simd/transpose.h"
#include "sparse.h"

namespace spikegrad {

constexpr int64_t kSamples = 8;  // whose gradients of currents are there at a time

// As many taps as a kernel takes for K: of more than eight whole vectors.
template <class T>
int64_t taken(int64_t count) {
  if (count <= 2) return count;
  if (count <= 8) return count <= 4 ? 4 : 8;
  return (count + kLanes<T> - 1) / kLanes<T> * kLanes<T>;
}

// One connection: numbers of a synapse that arrive from `first` steps on, `most` at the latest.
template <class T>
struct Delayed {
  Synapses synapses;
  const T* taps;         // [E, count]
  const int32_t* first;  // [E]
  int64_t count, most;   // count: `taken`, zeros behind the K that there are
  int64_t there;         // K
};

// Rows of a sample's currents: T steps, those on their way behind them, and room for what the taps
// behind the K add, which is 0. An odd number, so that rows do not share a few sets of the cache.
template <class T>
int64_t row_of(int64_t steps, int64_t most, int64_t count) {
  return (steps + most + taken<T>(count) - count) | 1;
}

// Rows of K taps as rows of `taken`, and back.
template <class T>
void widen(const T* from, int64_t rows, int64_t count, T* to) {
  const int64_t wide = taken<T>(count);
  parallel_each(rows, 4096, [&](int64_t e) {
    std::copy_n(from + e * count, count, to + e * wide);
    std::fill_n(to + e * wide + count, wide - count, T(0));
  });
}
template <class T>
void narrow(const T* from, int64_t rows, int64_t count, T* to) {
  const int64_t wide = taken<T>(count);
  parallel_each(rows, 4096,
                [&](int64_t e) { std::copy_n(from + e * wide, count, to + e * count); });
}

// A connection with its taps as the kernels take them, in memory of its own where these are wide.
template <class T>
class Wide : public Delayed<T> {
 public:
  Wide(const Synapses& synapses, const Tensor& taps, const Tensor& first, int64_t most)
      : Delayed<T>{synapses, data<T>(taps), data<int32_t>(first), taken<T>(taps.size(1)),
                   most,     taps.size(1)} {
    if (this->count == this->there) return;
    own_ = Scratch<T>(synapses.count() * this->count);
    widen<T>(this->taps, synapses.count(), this->there, own_);
    this->taps = own_;
  }

 private:
  Scratch<T> own_;
};

// place [E]: where a synapse adds what leaves at step 0, in rows of the neurons [N][row].
template <class T>
Scratch<int32_t> places_of(const Delayed<T>& c, int64_t row) {
  Scratch<int32_t> place(c.synapses.count());
  int32_t* to = place;
  std::atomic<bool> good{true};
  parallel(c.synapses.count(), 16384, [&](int64_t begin, int64_t end) {
    bool within = true;
    for (int64_t e = begin; e < end; ++e) {
      within &= c.first[e] >= 0 && c.first[e] + c.there - 1 <= c.most;
      to[e] = static_cast<int32_t>(c.synapses.targets[e] * row + c.first[e]);
    }
    if (!within) good.store(false, std::memory_order_relaxed);
  });
  SG_CHECK(good, "taps must lie within [0, most]");
  return place;
}

// When every input of a sample is not 0, by input, and what it is then, else 1.
template <class T>
class Events {
 public:
  Events(int64_t steps, int64_t inputs)
      : steps_(steps), inputs_(inputs), ends_(inputs + 1), list_(inputs + kListSlack) {}
  // bits [T, B, W] of x [T, B, I], or null: they are 1.
  void read(const uint64_t* bits, const T* x, int64_t sample, int64_t batch) {
    const int64_t words = tiles_of(inputs_);
    std::fill(ends_.begin(), ends_.end(), 0);
    for (int64_t t = 0; t < steps_; ++t) {
      const int64_t n = list_sources(bits + (t * batch + sample) * words, 0, words, list_);
      for (int64_t k = 0; k < n; ++k) ++ends_[list_[k] + 1];
    }
    for (int64_t i = 0; i < inputs_; ++i) ends_[i + 1] += ends_[i];
    const auto many = static_cast<size_t>(ends_[inputs_]);
    steps_of_.resize(many), values_.resize(x ? many : 0);
    from_.assign(ends_.begin(), ends_.end() - 1);
    for (int64_t t = 0; t < steps_; ++t) {
      const int64_t r = t * batch + sample;
      const int64_t n = list_sources(bits + r * words, 0, words, list_);
      for (int64_t k = 0; k < n; ++k) {
        const int64_t at = from_[list_[k]]++;
        steps_of_[at] = static_cast<int32_t>(t);
        if (x) values_[at] = x[r * inputs_ + list_[k]];
      }
    }
  }
  // f(step, value) for the events of an input in order.
  template <class F>
  [[gnu::always_inline]] inline void of(int64_t input, const F& f) const {
    for (int64_t k = ends_[input]; k < ends_[input + 1]; ++k)
      f(steps_of_[k], values_.empty() ? T(1) : values_[k]);
  }

 private:
  int64_t steps_, inputs_;
  std::vector<int32_t> ends_, from_;
  std::vector<int32_t> steps_of_;
  std::vector<T> values_;
  Scratch<int32_t> list_;
};

// to [0, K) += value * from; K: one, two, four or eight, or 0 for `count`, a multiple of a vector's
// lanes.
template <class T, int K>
[[gnu::always_inline]] inline void add_scaled(T* to, const T* from, T value, int64_t count) {
  if constexpr (K == 0) {
    for (int64_t k = 0; k < count; k += kLanes<T>)
      store(to + k, load(to + k) + value * load(from + k));
  } else {
    T sum[K];  // first all sums, then all stores: the compiler sees that they do not overlap
    for (int k = 0; k < K; ++k) sum[k] = to[k] + value * from[k];
    for (int k = 0; k < K; ++k) to[k] = sum[k];
  }
}

// Not inline: among all of its caller's numbers the compiler runs out of registers.
//
// What inputs add to a sample's currents [N][row], of neurons [j0, j1); input 0 of c is `origin` of
// the events.
template <class T, int K>
[[gnu::noinline]] void add_events(const Delayed<T>& c, const int32_t* place,
                                  const Events<T>& events, int64_t j0, int64_t j1, T* currents,
                                  int64_t origin = 0) {
  const int64_t count = K ? K : c.count;
  for (int64_t i = 0; i < c.synapses.inputs; ++i) {
    const int64_t first = c.synapses.from(i, j0), end = c.synapses.from(i, j1);
    events.of(origin + i, [&](int32_t step, T value) {
      T* const at = currents + step;
      for (int64_t e = first; e < end; ++e) {
        add_scaled<T, K>(at + place[e], c.taps + e * count, value, count);
      }
    });
  }
}

// dw [E, K] += what the events of inputs [i0, i1) meet in the gradient of currents [N][row].
template <class T, int K>
[[gnu::noinline]] void sum_events(const Delayed<T>& c, const int32_t* place,
                                  const Events<T>& events, int64_t i0, int64_t i1,
                                  const T* gradient, T* dw, int64_t origin = 0) {
  const int64_t count = K ? K : c.count;
  for (int64_t i = i0; i < i1; ++i) {
    const int64_t first = c.synapses.starts[i], end = c.synapses.starts[i + 1];
    events.of(origin + i, [&](int32_t step, T value) {
      const T* const at = gradient + step;
      for (int64_t e = first; e < end; ++e) {
        add_scaled<T, K>(dw + e * count, at + place[e], value, count);
      }
    });
  }
}

// out [rows of inputs i0 to i1][T], `apart`: the inputs' gradients of a sample at every step.
template <class T>
void input_rows(const Delayed<T>& c, const int32_t* place, const T* gradient, int64_t steps,
                int64_t i0, int64_t i1, int64_t apart, T* out) {
  constexpr int kAtOnce = 4;  // vectors of steps that stay in registers
  constexpr int64_t kWide = kAtOnce * kLanes<T>;
  for (int64_t i = i0; i < i1; ++i) {
    const int64_t first = c.synapses.starts[i], end = c.synapses.starts[i + 1];
    T* const to = out + (i - i0) * apart;
    int64_t t = 0;
    for (; t + kWide <= steps; t += kWide) {
      Lane<T> sum[kAtOnce] = {};
      for (int64_t e = first; e < end; ++e)
        for (int64_t k = 0; k < c.there; ++k) {
          const T w = c.taps[e * c.count + k];
          const T* const from = gradient + place[e] + k + t;
#pragma GCC unroll 4
          for (int v = 0; v < kAtOnce; ++v) sum[v] = sum[v] + w * load(from + v * kLanes<T>);
        }
      for (int v = 0; v < kAtOnce; ++v) store(to + t + v * kLanes<T>, sum[v]);
    }
    for (; t < steps; t += kLanes<T>) {
      const int n = static_cast<int>(std::min<int64_t>(kLanes<T>, steps - t));
      Lane<T> sum{};
      for (int64_t e = first; e < end; ++e)
        for (int64_t k = 0; k < c.there; ++k)
          sum = sum + c.taps[e * c.count + k] * load_front(gradient + place[e] + k + t, n);
      store_front(to + t, sum, n);
    }
  }
}

// f<K>() for one tap, two, four, eight, or any number of vectors of them (0).
template <class F>
void by_count(int64_t count, const F& f) {
  if (count == 1) return f.template operator()<1>();
  if (count == 2) return f.template operator()<2>();
  if (count == 4) return f.template operator()<4>();
  if (count == 8) return f.template operator()<8>();
  f.template operator()<0>();
}

}  // namespace spikegrad
