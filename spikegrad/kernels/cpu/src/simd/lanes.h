// Vectors of one register, tiles of 64 columns, words of 64 bits: types, and what needs no
// instruction of its own.
#pragma once

#include "set.h"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace spikegrad {

constexpr int kTile = 64;

template <class T>
struct LaneOf;
template <>
struct LaneOf<float> {
  typedef float type __attribute__((vector_size(kLaneBytes)));
  typedef int32_t integers __attribute__((vector_size(kLaneBytes)));
};
template <>
struct LaneOf<double> {
  typedef double type __attribute__((vector_size(kLaneBytes)));
  typedef int64_t integers __attribute__((vector_size(kLaneBytes)));
};
template <class T>
using Lane = typename LaneOf<T>::type;
// Integers of the same width, one for each lane.
template <class T>
using Integers = typename LaneOf<T>::integers;
// Which lanes: mask registers where there are some, else a vector of all ones and all zeros.
#if defined(SPIKEGRAD_SIMD_AVX512)
template <class T>
using Mask = std::conditional_t<sizeof(T) == 4, uint16_t, uint8_t>;
#else
template <class T>
using Mask = Integers<T>;
#endif
template <class T>
constexpr int kLanes = kLaneBytes / static_cast<int>(sizeof(T));
template <class T>
constexpr int kVectors = kTile / kLanes<T>;  // vectors of one tile

template <class T>
[[gnu::always_inline]] inline Lane<T> load(const T* p) {
  Lane<T> v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
template <class T>
[[gnu::always_inline]] inline void store(T* p, Lane<T> v) {
  std::memcpy(p, &v, sizeof v);
}
template <class T>
[[gnu::always_inline]] inline Lane<T> all_of(T value) {
  return value - Lane<T>{};  // no operation, where a sum would turn -0 into 0 and is one
}
// 0, 1, 2, ...
template <class T>
[[gnu::always_inline]] inline Integers<T> lane_numbers() {
  Integers<T> v;
  for (int j = 0; j < kLanes<T>; ++j) v[j] = j;
  return v;
}

inline uint64_t mask_of(int n) { return n == 64 ? ~uint64_t{0} : (uint64_t{1} << n) - 1; }

}  // namespace spikegrad
