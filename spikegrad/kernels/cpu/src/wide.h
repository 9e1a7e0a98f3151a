// A vector of channels at a time, for kernels over channels-last images.
#pragma once

#include "simd/simd.h"

namespace spikegrad {

// Values, numbers of the same width, bytes: kLanes<T> of each.
template <class T>
struct Wide {
  static constexpr int kStep = kLanes<T>;
  using Values = Lane<T>;
  using Numbers = Integers<T>;
  using Number = std::remove_reference_t<decltype(Numbers{}[0])>;
  typedef uint8_t Bytes __attribute__((vector_size(kLanes<T>)));
  // How many of the channels from c on are in this step.
  static int left(int64_t channels, int64_t c) {
    return static_cast<int>(std::min<int64_t>(kStep, channels - c));
  }
};

// n of a step; zeros beyond.
template <class T>
[[gnu::always_inline]] inline Lane<T> take(const T* p, int n) {
  return load_front(p, n);
}
template <class T>
[[gnu::always_inline]] inline void put(T* p, Lane<T> v, int n) {
  store_front<T>(p, v, n);
}
template <class T>
[[gnu::always_inline]] inline Integers<T> take_numbers(const uint8_t* p, int n) {
  typename Wide<T>::Bytes v{};
  std::memcpy(&v, p, n == kLanes<T> ? sizeof v : static_cast<size_t>(n));
  return __builtin_convertvector(v, Integers<T>);
}
template <class T>
[[gnu::always_inline]] inline void put_numbers(uint8_t* p, Integers<T> numbers, int n) {
  const auto v = __builtin_convertvector(numbers, typename Wide<T>::Bytes);
  std::memcpy(p, &v, n == kLanes<T> ? sizeof v : static_cast<size_t>(n));
}

}  // namespace spikegrad
