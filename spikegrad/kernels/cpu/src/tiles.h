// Rows of tiles as vectors: loads, sums and stores of up to 64 columns, and words of them.
#pragma once

#include "common.h"
#include "step.h"

namespace spikegrad {

// f(first, how many) for channels, or other numbers side by side, a vector at a time; where it is
// whole, how many is a constant. f takes `auto`.
template <class T, class F>
[[gnu::always_inline]] inline void over_channels(int64_t channels, const F& f) {
  int64_t c = 0;
  for (; c + kLanes<T> <= channels; c += kLanes<T>) f(c, std::integral_constant<int, kLanes<T>>());
  if (c < channels) f(c, static_cast<int>(channels - c));
}

// Up to 64 values of a row as vectors, zeros behind them.
template <class T>
[[gnu::always_inline]] inline void load_row(const T* from, int n, Lane<T>* to) {
  if (n == kTile)
    for (int k = 0; k < kVectors<T>; ++k) to[k] = load(from + k * kLanes<T>);
  else
    for (int k = 0; k < kVectors<T>; ++k)
      to[k] = load_part(from + k * kLanes<T>, n - k * kLanes<T>);
}
// The same, added.
template <class T>
[[gnu::always_inline]] inline void add_row(const T* from, int n, Lane<T>* sum) {
  Lane<T> row[kVectors<T>];
  load_row(from, n, row);
  for (int k = 0; k < kVectors<T>; ++k) sum[k] = sum[k] + row[k];
}

// Rows that the caches will have lost before anybody reads them again go past the caches: a store
// into a cache would first read what it overwrites.
template <class T>
bool streamed(const T* first, int64_t n) {
  constexpr int64_t kMany = int64_t{16} << 20;  // bytes of a tensor
  return kStreams && n * static_cast<int64_t>(sizeof(T)) >= kMany &&
         reinterpret_cast<uintptr_t>(first) % 64 == 0;
}

// The front of a tile's row; past: past the caches, if it is whole.
template <class T>
[[gnu::always_inline]] inline void store_row(const Lane<T>* from, int n, T* to, bool past) {
  if (n < kTile)
    std::memcpy(to, from, n * sizeof(T));
  else if (past)
    for (int k = 0; k < kVectors<T>; ++k) stream<T>(to + k * kLanes<T>, from[k]);
  else
    for (int k = 0; k < kVectors<T>; ++k) store(to + k * kLanes<T>, from[k]);
}

// Which of up to 64 values of a row hold: holds(a vector) -> mask. Nothing behind them is read.
template <class T, class F>
[[gnu::always_inline]] inline uint64_t word_where(const T* x, int n, const F& holds) {
  uint64_t word = 0;
  if (n == kTile) {
#pragma GCC unroll 16
    for (int j = 0; j < kTile; j += kLanes<T>)
      word |= static_cast<uint64_t>(bits_of<T>(holds(load(x + j)))) << j;
    return word;
  }
  for (int j = 0; j < n; j += kLanes<T>)
    word |= static_cast<uint64_t>(bits_of<T>(holds(load_front(x + j, n - j)))) << j;
  return word & mask_of(n);
}
inline int64_t tiles_of(int64_t columns) { return (columns + kTile - 1) / kTile; }
inline int columns_of(int64_t tile, int64_t columns) {
  return static_cast<int>(std::min<int64_t>(kTile, columns - tile * kTile));
}

// Rows of matrices that several tiles walk start at odd multiples of a cache line: a stride of a
// power of two would put them all into a few sets of the cache.
template <class T>
int64_t padded(int64_t columns) {
  return tiles_of(columns) * kTile + 64 / static_cast<int64_t>(sizeof(T));
}

}  // namespace spikegrad
