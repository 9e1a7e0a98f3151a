// Whole numbers: roundings, conversions, powers of 2; and the square root, which rounds once too.
#pragma once

#include "select.h"

#include <cmath>
#include <utility>

namespace spikegrad {

template <class T>
[[gnu::always_inline]] inline Lane<T> square_root(Lane<T> a) {
  Lane<T> v;
  for (int j = 0; j < kLanes<T>; ++j) v[j] = std::sqrt(a[j]);
  return v;
}

// The nearest whole number, of two the even one, as torch.round. Adding 2^23 (2^52) leaves no room
// for a fraction; larger numbers have none, and NaN stays.
template <class T>
[[gnu::always_inline]] inline Lane<T> nearest(Lane<T> a) {
  const Lane<T> size = absolute<T>(a), whole = all_of(sizeof(T) == 4 ? T(0x1p23) : T(0x1p52));
  return with_sign_of<T>(select<T>(above<T>(whole, size), (size + whole) - whole, a), a);
}
// The sign of zero is that of the number in each of these, as in std::floor, ceil and trunc.
template <class T>
[[gnu::always_inline]] inline Lane<T> floor_of(Lane<T> a) {
  const Lane<T> near = nearest<T>(a);
  return with_sign_of<T>(near - keep<T>(above<T>(near, a), all_of(T(1))), a);
}
template <class T>
[[gnu::always_inline]] inline Lane<T> ceil_of(Lane<T> a) {
  const Lane<T> near = nearest<T>(a);
  return with_sign_of<T>(near + keep<T>(above<T>(a, near), all_of(T(1))), a);
}
template <class T>
[[gnu::always_inline]] inline Lane<T> truncated(Lane<T> a) {
  return with_sign_of<T>(floor_of<T>(absolute<T>(a)), a);
}

// Whole numbers of a magnitude below 2^31 (2^63) as integers, and integers as numbers.
template <class T>
[[gnu::always_inline]] inline Integers<T> integers_of(Lane<T> a) {
  return __builtin_convertvector(a, Integers<T>);
}
template <class T>
[[gnu::always_inline]] inline Lane<T> numbers_of(Integers<T> a) {
  return __builtin_convertvector(a, Lane<T>);
}

// a 2^n for whole n of a magnitude of at most 250 (2000): beyond the largest number infinite, 0 or
// subnormal below the smallest. In two steps, since 2^n alone may be out of range.
template <class T>
[[gnu::always_inline]] inline Lane<T> times_power_of_2(Lane<T> a, Lane<T> n) {
  constexpr int kFraction = sizeof(T) == 4 ? 23 : 52, kBias = sizeof(T) == 4 ? 127 : 1023;
  const Integers<T> whole = integers_of<T>(n), half = whole >> 1;
  const Lane<T> first = (Lane<T>)((half + kBias) << kFraction);
  const Lane<T> second = (Lane<T>)((whole - half + kBias) << kFraction);
  return a * first * second;
}

// The lanes of float32 as two vectors of float64, in order, and back, rounded.
struct Widened {
  Lane<double> low, high;
};
typedef float HalfLane __attribute__((vector_size(kLaneBytes / 2)));
template <int... j>
[[gnu::always_inline]] inline Widened widened(Lane<float> a, std::integer_sequence<int, j...>) {
  constexpr int half = kLanes<double>;
  const HalfLane low = __builtin_shufflevector(a, a, j...);
  const HalfLane high = __builtin_shufflevector(a, a, (half + j)...);
  return {__builtin_convertvector(low, Lane<double>), __builtin_convertvector(high, Lane<double>)};
}
template <int... j>
[[gnu::always_inline]] inline Lane<float> narrowed(Widened a, std::integer_sequence<int, j...>) {
  const HalfLane low = __builtin_convertvector(a.low, HalfLane);
  const HalfLane high = __builtin_convertvector(a.high, HalfLane);
  return __builtin_shufflevector(low, high, j...);
}
[[gnu::always_inline]] inline Widened widened(Lane<float> a) {
  return widened(a, std::make_integer_sequence<int, kLanes<double>>());
}
[[gnu::always_inline]] inline Lane<float> narrowed(Widened a) {
  return narrowed(a, std::make_integer_sequence<int, kLanes<float>>());
}

}  // namespace spikegrad
