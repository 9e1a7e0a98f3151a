// A vector of channels at a time, for kernels over channels-last images.
#pragma once

#include "simd/simd.h"

namespace spikegrad {

// f(first, how many) for channels, or other numbers side by side, a vector at a time; where it is
// whole, how many is a constant. f takes `auto`.
template <class T, class F>
[[gnu::always_inline]] inline void over_channels(int64_t channels, const F& f) {
  int64_t c = 0;
  for (; c + kLanes<T> <= channels; c += kLanes<T>) f(c, std::integral_constant<int, kLanes<T>>());
  if (c < channels) f(c, static_cast<int>(channels - c));
}

// A number in every lane.
template <class T>
[[gnu::always_inline]] inline Integers<T> every(int64_t k) {
  return Integers<T>{} + static_cast<std::remove_reference_t<decltype(Integers<T>{}[0])>>(k);
}

// The first n of a vector; zeros beyond.
template <class T>
[[gnu::always_inline]] inline Lane<T> take(const T* p, int n) {
  return n == kLanes<T> ? load(p) : load_front(p, n);
}
template <class T>
[[gnu::always_inline]] inline void put(T* p, Lane<T> v, int n) {
  n == kLanes<T> ? store<T>(p, v) : store_front<T>(p, v, n);
}
template <class T>
[[gnu::always_inline]] inline Integers<T> take_bytes(const uint8_t* p, int n) {
  if (n == kLanes<T>) return load_bytes<T>(p);
  uint8_t whole[kLanes<T>] = {};
  std::memcpy(whole, p, n);
  return load_bytes<T>(whole);
}
template <class T>
[[gnu::always_inline]] inline void put_bytes(uint8_t* p, Integers<T> numbers, int n) {
  if (n == kLanes<T>) return store_bytes<T>(p, numbers);
  uint8_t whole[kLanes<T>];
  store_bytes<T>(whole, numbers);
  std::memcpy(p, whole, n);
}

}  // namespace spikegrad
