// Vectors of 64 bytes, tiles of 64 columns, words of 64 bits.
#pragma once

#include "common.h"

namespace spikegrad {

constexpr int kTile = 64;

template <class T>
struct LaneOf;
template <>
struct LaneOf<float> {
  typedef float type __attribute__((vector_size(64)));
};
template <>
struct LaneOf<double> {
  typedef double type __attribute__((vector_size(64)));
};
template <class T>
using Lane = typename LaneOf<T>::type;
template <class T>
constexpr int kLanes = 64 / sizeof(T);
template <class T>
constexpr int kVectors = kTile / kLanes<T>;  // vectors of one tile

template <class T>
inline Lane<T> load(const T* p) {
  Lane<T> v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
template <class T>
inline void store(T* p, Lane<T> v) {
  std::memcpy(p, &v, sizeof v);
}

// Up to 64 values of a row as vectors, zeros behind them.
template <class T>
[[gnu::always_inline]] inline void load_row(const T* from, int n, Lane<T>* to) {
  if (n < kTile) {
    alignas(64) T whole[kTile] = {};
    std::memcpy(whole, from, n * sizeof(T));
    for (int k = 0; k < kVectors<T>; ++k) to[k] = load(whole + k * kLanes<T>);
  } else {
    for (int k = 0; k < kVectors<T>; ++k) to[k] = load(from + k * kLanes<T>);
  }
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
constexpr int64_t kStreamed = int64_t{16} << 20;  // bytes of a tensor
template <class T>
inline void store_past(T* p, Lane<T> v) {
#if defined(__AVX512F__)
  _mm512_stream_si512(reinterpret_cast<__m512i*>(p), (__m512i)v);
#else
  store(p, v);
#endif
}

// The front of a tile's row; past: past the caches, if it is whole.
template <class T>
[[gnu::always_inline]] inline void store_row(const Lane<T>* from, int n, T* to, bool past) {
  if (n < kTile)
    std::memcpy(to, from, n * sizeof(T));
  else if (past)
    for (int k = 0; k < kVectors<T>; ++k) store_past(to + k * kLanes<T>, from[k]);
  else
    for (int k = 0; k < kVectors<T>; ++k) store(to + k * kLanes<T>, from[k]);
}

// Ask for a row of a tile one step ahead: steps lie too far apart for the CPU to guess.
template <class T>
inline void fetch(const T* row, bool write) {
  const char* p = reinterpret_cast<const char*>(row);
  for (size_t line = 0; line < kTile * sizeof(T); line += 64)
    write ? __builtin_prefetch(p + line, 1) : __builtin_prefetch(p + line, 0);
}

// a b + c, rounded once where the CPU can. For gradients only: spikes are sums without products.
inline Lane<float> fused(Lane<float> a, Lane<float> b, Lane<float> c) {
#if defined(__AVX512F__)
  return (Lane<float>)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#else
  return a * b + c;
#endif
}
inline Lane<double> fused(Lane<double> a, Lane<double> b, Lane<double> c) { return a * b + c; }

// The sums of four vectors.
template <class T>
inline void sums_of(const Lane<T>* v, T* out) {
  for (int k = 0; k < 4; ++k) {
    T sum = 0;
    for (int j = 0; j < kLanes<T>; ++j) sum += v[k][j];
    out[k] = sum;
  }
}
#if defined(__AVX512F__)
template <>
inline void sums_of<float>(const Lane<float>* v, float* out) {
  const __m512 a = (__m512)v[0], b = (__m512)v[1], c = (__m512)v[2], d = (__m512)v[3];
  const __m512 ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
  const __m512 cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
  const __m512 all =
      _mm512_add_ps(_mm512_shuffle_ps(ab, cd, 0x44), _mm512_shuffle_ps(ab, cd, 0xee));
  const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(all), _mm512_extractf32x8_ps(all, 1));
  _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1)));
}
#endif

// Which of 64 values are above zero.
template <class T>
inline uint64_t positive(const T* x) {
  uint64_t word = 0;
  for (int j = 0; j < kTile; ++j) word |= static_cast<uint64_t>(x[j] > T(0)) << j;
  return word;
}
#if defined(__AVX512F__)
template <>
inline uint64_t positive<float>(const float* x) {
  uint64_t word = 0;
  for (int j = 0; j < kTile; j += 16)
    word |= static_cast<uint64_t>(
                _mm512_cmp_ps_mask(_mm512_loadu_ps(x + j), _mm512_setzero_ps(), _CMP_GT_OQ))
            << j;
  return word;
}
#endif

inline int64_t tiles_of(int64_t columns) { return (columns + kTile - 1) / kTile; }
inline int columns_of(int64_t tile, int64_t columns) {
  return static_cast<int>(std::min<int64_t>(kTile, columns - tile * kTile));
}

// Rows of matrices that several tiles walk start at odd multiples of a cache line: a stride of a
// power of two would put them all into a few sets of the cache.
template <class T>
int64_t padded(int64_t columns) {
  return tiles_of(columns) * kTile + kLanes<T>;
}

}  // namespace spikegrad
