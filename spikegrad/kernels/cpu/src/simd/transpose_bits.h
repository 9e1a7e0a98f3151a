// Transposes of matrices of bits, 64 by 64.
//
// transpose_bits(from, stride, rows, words, to): rows of up to 8 words, `stride` apart, word by
// word: bit c of the w-th word of row r is bit r of to[w][c]. Of 64 rows those from `rows` on count
// as zeros.
#pragma once

#include "set.h"

#include <cstdint>
#include <cstring>

#if defined(SPIKEGRAD_SIMD_AVX512) && defined(__GFNI__) && defined(__AVX512VBMI__)
#define SPIKEGRAD_BIT_MATRICES
#include <immintrin.h>
#endif

namespace spikegrad {

#if defined(SPIKEGRAD_BIT_MATRICES)
// Of each pair of vectors s apart the off-diagonal blocks of s by s words change places.
template <int s>
[[gnu::always_inline]] inline void exchange_words(__m512i* v) {
  alignas(64) static constexpr auto index = [] {
    struct {
      int64_t first[8], second[8];
    } at{};
    for (int j = 0; j < 8; ++j) {
      at.first[j] = j & s ? 8 + j - s : j;
      at.second[j] = j & s ? 8 + j : j + s;
    }
    return at;
  }();
  const __m512i first = _mm512_load_si512(index.first), second = _mm512_load_si512(index.second);
#pragma GCC unroll 8
  for (int k = 0; k < 8; ++k) {
    if (k & s) continue;
    const __m512i a = v[k], b = v[k + s];
    v[k] = _mm512_permutex2var_epi64(a, first, b);
    v[k + s] = _mm512_permutex2var_epi64(a, second, b);
  }
}
[[gnu::always_inline]] inline void transpose_words(__m512i* v) {
  exchange_words<1>(v), exchange_words<2>(v), exchange_words<4>(v);
}
// Byte c of word r -> byte r of word c, or with `back` byte 7 - r.
template <bool back>
[[gnu::always_inline]] inline __m512i transpose_bytes(__m512i v) {
  alignas(64) static constexpr auto index = [] {
    struct {
      uint8_t at[64];
    } made{};
    for (int r = 0; r < 8; ++r)
      for (int c = 0; c < 8; ++c) made.at[c * 8 + (back ? 7 - r : r)] = uint8_t(r * 8 + c);
    return made;
  }();
  return _mm512_permutexvar_epi8(_mm512_load_si512(index.at), v);
}

inline void transpose_bits(const uint64_t* from, int64_t stride, int rows, int words,
                           uint64_t (*to)[64]) {
  const __mmask8 there = static_cast<__mmask8>((1u << words) - 1);
  for (int r = 0; r < 64; r += 8) {
    __m512i v[8];
#pragma GCC unroll 8
    for (int k = 0; k < 8; ++k)
      v[k] = r + k < rows ? _mm512_maskz_loadu_epi64(there, from + (r + k) * stride)
                          : _mm512_setzero_si512();
    transpose_words(v);
#pragma GCC unroll 8
    for (int w = 0; w < 8; ++w)
      if (w < words) _mm512_storeu_si512(to[w] + r, v[w]);
  }
  // A product with the matrix of a word's 8 bytes transposes it, if its rows stand in reverse.
  const __m512i units = _mm512_set1_epi64(static_cast<int64_t>(0x8040201008040201));
  for (int w = 0; w < words; ++w) {
    __m512i v[8];
#pragma GCC unroll 8
    for (int k = 0; k < 8; ++k) {
      const __m512i bytes = transpose_bytes<true>(_mm512_loadu_si512(to[w] + 8 * k));
      v[k] = _mm512_gf2p8affine_epi64_epi8(units, bytes, 0);
    }
    transpose_words(v);
#pragma GCC unroll 8
    for (int k = 0; k < 8; ++k) _mm512_storeu_si512(to[w] + 8 * k, transpose_bytes<false>(v[k]));
  }
}
#else
typedef uint64_t WordLane __attribute__((vector_size(kLaneBytes)));
constexpr int kWordLanes = kLaneBytes / 8;

// Of eight vectors, `apart` rows from each other, pairs 4, 2 and 1 places apart exchange blocks of
// bits: 4, 2, 1 times `apart` by as many.
template <int apart>
[[gnu::always_inline]] inline void exchange_bits(WordLane* rows) {
  WordLane v[8];
#pragma GCC unroll 8
  for (int k = 0; k < 8; ++k) v[k] = rows[k * apart];
#pragma GCC unroll 3
  for (int s = 4; s; s >>= 1) {
    const int shift = s * apart;
    // Of 64 bits those that lie in the lower half of blocks of 2 shift.
    const uint64_t low = ~uint64_t{0} / ((uint64_t{1} << shift) + 1);
#pragma GCC unroll 8
    for (int k = 0; k < 8; ++k) {
      if (k & s) continue;
      const WordLane changed = ((v[k] >> shift) ^ v[k + s]) & low;
      v[k] ^= changed << shift, v[k + s] ^= changed;
    }
  }
#pragma GCC unroll 8
  for (int k = 0; k < 8; ++k) rows[k * apart] = v[k];
}

// As many words of a row at a time as a vector has: all exchanges are between vectors.
inline void transpose_bits(const uint64_t* from, int64_t stride, int rows, int words,
                           uint64_t (*to)[64]) {
  alignas(64) WordLane v[64];
  for (int w = 0; w < words; w += kWordLanes) {
    const int some = words - w < kWordLanes ? words - w : kWordLanes;
    for (int r = 0; r < rows; ++r) {
      if (some == kWordLanes)
        std::memcpy(&v[r], from + r * stride + w, sizeof v[r]);
      else
        for (int k = 0; k < kWordLanes; ++k) v[r][k] = k < some ? from[r * stride + w + k] : 0;
    }
    std::memset(v + rows, 0, (64 - rows) * sizeof v[0]);
    for (int k = 0; k < 8; ++k) exchange_bits<8>(v + k);
    for (int k = 0; k < 64; k += 8) exchange_bits<1>(v + k);
    for (int k = 0; k < some; ++k)
      for (int c = 0; c < 64; ++c) to[w + k][c] = v[c][k];
  }
}
#endif

}  // namespace spikegrad
