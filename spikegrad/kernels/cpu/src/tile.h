// A step of LIF neurons on one tile in registers: neuron.h's forward_step and backward_step for the
// neurons that most networks are made of, without a place in memory for what nobody reads again.
//
// Taken by layer.h for IF and LIF without a refractory period, backward without parameter gradients
// and for surrogates that are plain arithmetic. The same operations in the same order as neuron.h, to
// the last bit, which the tests compare.
#pragma once

#include "lanes.h"
#include "neuron.h"

namespace spikegrad {

template <class T>
struct MaskOf;
template <>
struct MaskOf<float> {
  typedef int32_t type __attribute__((vector_size(64)));
};
template <>
struct MaskOf<double> {
  typedef int64_t type __attribute__((vector_size(64)));
};
template <class T>
using Mask = typename MaskOf<T>::type;

// The lanes of a mask as bits.
template <class T>
inline uint64_t bits_of_mask(Mask<T> m) {
  uint64_t word = 0;
  for (int j = 0; j < kLanes<T>; ++j) word |= static_cast<uint64_t>(m[j] & 1) << j;
  return word;
}
#if defined(__AVX512F__) && defined(__AVX512DQ__)
template <>
inline uint64_t bits_of_mask<float>(Mask<float> m) {
  return _mm512_movepi32_mask((__m512i)m);
}
template <>
inline uint64_t bits_of_mask<double>(Mask<double> m) {
  return _mm512_movepi64_mask((__m512i)m);
}
#endif

// mask ? a : 0
template <class T>
inline Lane<T> kept_where(Mask<T> m, Lane<T> a) {
  return (Lane<T>)((Mask<T>)a & m);
}
template <class T>
inline Lane<T> all_of(T value) {
  Lane<T> v = {};
  return v + value;
}
template <class T>
inline Lane<T> absolute(Lane<T> a) {
  return a < T(0) ? -a : a;
}

// Surrogates whose derivative a few operations make.
inline bool is_plain(Family family) {
  return family == Family::triangle || family == Family::boxcar || family == Family::arctan ||
         family == Family::fast_sigmoid;
}

// unit_derivative of surrogate.h at z = k d.
template <class T>
[[gnu::always_inline]] inline Lane<T> plain_derivative(Family family, Lane<T> z) {
  const Lane<T> one = all_of(T(1)), none = {};
  switch (family) {
    case Family::triangle: {
      const Lane<T> h = one - absolute<T>(z);
      return h > none ? h : none;
    }
    case Family::boxcar:
      return kept_where<T>(absolute<T>(z) <= one, all_of(T(0.5)));
    case Family::arctan:
      return all_of(T(0.31830988618379067)) / (one + z * z);
    default: {  // fast_sigmoid
      const Lane<T> q = one + absolute<T>(z);
      return all_of(T(0.5)) / (q * q);
    }
  }
}

// x, v in; u, v out, u past the caches if it is large; the words of spikes and, with a slope, of the compact support.
template <class T, Reset kR>
[[gnu::always_inline]] inline void lif_forward(const Each<T>& p, const Lane<T>* x, T* v, T* u,
                                               bool past, bool compact, Family family, const T* slope,
                                               uint64_t& spikes, uint64_t& support) {
  spikes = support = 0;
  for (int k = 0; k < kVectors<T>; ++k) {
    const int at = k * kLanes<T>;
    auto param = [&](int row) { return load(p.p + row * p.columns + at); };
    const Lane<T> rest = param(kRest);
    const Lane<T> now = rest + param(kBeta) * (load(v + at) - rest) + param(kGainMem) * x[k];
    const Lane<T> d = now - param(kThreshold);
    const Mask<T> spike = d >= Lane<T>{};
    spikes |= bits_of_mask<T>(spike) << at;
    if (compact) {
      const Lane<T> a = absolute<T>(d * load(slope + at));
      const Mask<T> inside = family == Family::triangle ? all_of(T(1)) - a > Lane<T>{}
                                                        : a <= all_of(T(1));
      support |= bits_of_mask<T>(inside) << at;
    }
    Lane<T> after = now;
    if (kR == Reset::subtract) after = now - kept_where<T>(spike, param(kDrop));
    if (kR == Reset::zero) after = now + kept_where<T>(spike, param(kReset) - now);
    store(v + at, after);
    if (u && past)
      store_past(u + at, now);
    else if (u)
      store(u + at, now);
  }
}

// incoming, u, dv in; dv, dx out.
template <class T, Reset kR>
[[gnu::always_inline]] inline void lif_backward(const Rule<T>& f, const Each<T>& p, int64_t column,
                                                const T* incoming, const T* u, T* dv, T* dx) {
  const bool each = f.slope_columns > 1;
  for (int k = 0; k < kVectors<T>; ++k) {
    const int at = k * kLanes<T>;
    auto param = [&](int row) { return load(p.p + row * p.columns + at); };
    auto own = [&](const T* q) { return each ? load(q + column + at) : all_of(*q); };
    const Lane<T> now = load(u + at), later = load(dv + at);
    const Lane<T> d = now - param(kThreshold);
    const Lane<T> g = own(f.amplitude) * plain_derivative<T>(f.shape.family, d * own(f.slope));
    Lane<T> du = later, ds = load(incoming + at);
    if (kR == Reset::subtract && f.attached) ds = ds - later * param(kDrop);
    if (kR == Reset::zero) {
      if (f.attached) ds = ds + later * (param(kReset) - now);
      du = kept_where<T>(d < Lane<T>{}, later);
    }
    du = du + ds * g;
    store(dx + at, param(kGainMem) * du);
    store(dv + at, param(kBeta) * du);
  }
}

}  // namespace spikegrad
