// Which lanes of a vector: the low bits of a number, as the CPU's mask registers hold them.
#pragma once

#include "lanes.h"

#include <type_traits>

namespace spikegrad {

template <class T>
using Bits = std::conditional_t<sizeof(T) == 4, uint16_t, uint8_t>;

template <class T>
inline Lane<T> all_of(T value) {
  Lane<T> v = {};
  return v + value;
}

template <class T, class F>
inline Bits<T> bits_where(const F& holds) {
  Bits<T> bits = 0;
  for (int j = 0; j < kLanes<T>; ++j) bits |= static_cast<Bits<T>>(holds(j) << j);
  return bits;
}
// Where a >= b, a > b.
template <class T>
inline Bits<T> at_least(Lane<T> a, Lane<T> b) {
  return bits_where<T>([&](int j) { return a[j] >= b[j]; });
}
template <class T>
inline Bits<T> above(Lane<T> a, Lane<T> b) {
  return bits_where<T>([&](int j) { return a[j] > b[j]; });
}
// a where a bit says so, 0 elsewhere.
template <class T>
inline Lane<T> kept_where(Bits<T> bits, Lane<T> a) {
  for (int j = 0; j < kLanes<T>; ++j)
    if (!(bits >> j & 1)) a[j] = T(0);
  return a;
}
template <class T>
inline Lane<T> absolute(Lane<T> a) {
  return a < T(0) ? -a : a;
}
// a where it is above 0, 0 elsewhere.
template <class T>
inline Lane<T> positive_part(Lane<T> a) {
  const Lane<T> none = {};
  return a > none ? a : none;
}

#if defined(__AVX512F__) && defined(__AVX512DQ__)
template <>
inline Bits<float> at_least<float>(Lane<float> a, Lane<float> b) {
  return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_GE_OQ);
}
template <>
inline Bits<double> at_least<double>(Lane<double> a, Lane<double> b) {
  return _mm512_cmp_pd_mask((__m512d)a, (__m512d)b, _CMP_GE_OQ);
}
template <>
inline Bits<float> above<float>(Lane<float> a, Lane<float> b) {
  return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_GT_OQ);
}
template <>
inline Bits<double> above<double>(Lane<double> a, Lane<double> b) {
  return _mm512_cmp_pd_mask((__m512d)a, (__m512d)b, _CMP_GT_OQ);
}
template <>
inline Lane<float> kept_where<float>(Bits<float> bits, Lane<float> a) {
  return (Lane<float>)_mm512_maskz_mov_ps(bits, (__m512)a);
}
template <>
inline Lane<double> kept_where<double>(Bits<double> bits, Lane<double> a) {
  return (Lane<double>)_mm512_maskz_mov_pd(bits, (__m512d)a);
}
template <>
inline Lane<float> absolute<float>(Lane<float> a) {
  return (Lane<float>)_mm512_abs_ps((__m512)a);
}
template <>
inline Lane<float> positive_part<float>(Lane<float> a) {
  return (Lane<float>)_mm512_max_ps((__m512)a, _mm512_setzero_ps());
}
#endif

}  // namespace spikegrad
