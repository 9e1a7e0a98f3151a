// AVX2, FMA and BMI: no mask registers, so masks are vectors and compress and expand are
// permutations from a table.
#pragma once

#include "rounding.h"
#include "tables.h"

#include <immintrin.h>

namespace spikegrad {

template <>
inline unsigned bits_of<float>(Mask<float> mask) {
  return static_cast<unsigned>(_mm256_movemask_ps((__m256)mask));
}
template <>
inline unsigned bits_of<double>(Mask<double> mask) {
  return static_cast<unsigned>(_mm256_movemask_pd((__m256d)mask));
}
template <>
inline Lane<float> fused<float>(Lane<float> a, Lane<float> b, Lane<float> c) {
  return (Lane<float>)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
}
template <>
inline void sums_of<float>(const Lane<float>* v, float* out) {
  const __m256 ab = _mm256_hadd_ps((__m256)v[0], (__m256)v[1]);
  const __m256 cd = _mm256_hadd_ps((__m256)v[2], (__m256)v[3]);
  const __m256 all = _mm256_hadd_ps(ab, cd);
  _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps(all, 1)));
}

template <>
inline bool any_of<float>(Mask<float> mask) {
  return !_mm256_testz_si256((__m256i)mask, (__m256i)mask);
}
template <>
inline bool any_of<double>(Mask<double> mask) {
  return !_mm256_testz_si256((__m256i)mask, (__m256i)mask);
}
// The instruction returns its second operand if one is NaN, and of two zeros.
#define SPIKEGRAD_LARGER(name, instruction)                                                 \
  template <>                                                                               \
  inline Lane<float> name<float>(Lane<float> a, Lane<float> b) {                            \
    return select<float>(is_nan<float>(a), a,                                               \
                         (Lane<float>)_mm256_##instruction##_ps((__m256)a, (__m256)b));     \
  }                                                                                         \
  template <>                                                                               \
  inline Lane<double> name<double>(Lane<double> a, Lane<double> b) {                        \
    return select<double>(is_nan<double>(a), a,                                             \
                          (Lane<double>)_mm256_##instruction##_pd((__m256d)a, (__m256d)b)); \
  }
SPIKEGRAD_LARGER(maximum, max)
SPIKEGRAD_LARGER(minimum, min)
#undef SPIKEGRAD_LARGER
#define SPIKEGRAD_ROUND(name, mode)                                             \
  template <>                                                                   \
  inline Lane<float> name<float>(Lane<float> a) {                               \
    return (Lane<float>)_mm256_round_ps((__m256)a, mode | _MM_FROUND_NO_EXC);   \
  }                                                                             \
  template <>                                                                   \
  inline Lane<double> name<double>(Lane<double> a) {                            \
    return (Lane<double>)_mm256_round_pd((__m256d)a, mode | _MM_FROUND_NO_EXC); \
  }
SPIKEGRAD_ROUND(nearest, _MM_FROUND_TO_NEAREST_INT)
SPIKEGRAD_ROUND(floor_of, _MM_FROUND_TO_NEG_INF)
SPIKEGRAD_ROUND(ceil_of, _MM_FROUND_TO_POS_INF)
SPIKEGRAD_ROUND(truncated, _MM_FROUND_TO_ZERO)
#undef SPIKEGRAD_ROUND
template <>
inline Lane<float> square_root<float>(Lane<float> a) {
  return (Lane<float>)_mm256_sqrt_ps((__m256)a);
}
template <>
inline Lane<double> square_root<double>(Lane<double> a) {
  return (Lane<double>)_mm256_sqrt_pd((__m256d)a);
}

// All ones in the first n lanes.
inline __m256i first_of(int n) {
  alignas(32) static constexpr int32_t kOnes[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kOnes + 8 - std::min(n, 8)));
}
template <>
inline Lane<float> load_front<float>(const float* p, int n) {
  return (Lane<float>)_mm256_maskload_ps(p, first_of(n));
}
template <>
inline void store_front<float>(float* p, Lane<float> v, int n) {
  _mm256_maskstore_ps(p, first_of(n), (__m256)v);
}
template <>
inline void stream<float>(float* p, Lane<float> v) {
  _mm256_stream_ps(p, (__m256)v);
}
template <>
inline void stream<double>(double* p, Lane<double> v) {
  _mm256_stream_pd(p, (__m256d)v);
}

inline __m256i permutation(const LaneTable& table, unsigned bits) {
  return _mm256_cvtepu8_epi32(
      _mm_loadl_epi64(reinterpret_cast<const __m128i*>(table.at[bits & 255])));
}
template <>
inline void compress_store<float>(unsigned bits, Lane<float> v, float*& to) {
  _mm256_storeu_ps(to, _mm256_permutevar8x32_ps((__m256)v, permutation(kCompressTable, bits)));
  to += __builtin_popcount(bits & 255);
}
template <>
inline Lane<float> expand_load<float>(unsigned bits, const float*& from) {
  const int n = __builtin_popcount(bits & 255);
  const __m256 v = _mm256_maskload_ps(from, first_of(n));
  from += n;
  return keep<float>(mask_from<float>(bits),
                     (Lane<float>)_mm256_permutevar8x32_ps(v, permutation(kExpandTable, bits)));
}

template <>
inline void store_bytes<float>(uint8_t* p, Integers<float> numbers) {
  const __m256i v = (__m256i)numbers;
  const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packus_epi16(words, words));
}
template <>
inline Integers<float> load_bytes<float>(const uint8_t* p) {
  return (Integers<float>)_mm256_cvtepu8_epi32(
      _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
}

// Eight ones at a time by the table: no branch depends on how many there are.
template <>
inline uint16_t* list_ones<uint16_t>(uint64_t word, int first, uint16_t* to) {
  __m128i from = _mm_set1_epi16(static_cast<int16_t>(first));
  const __m128i eight = _mm_set1_epi16(8);
  const int bytes = word >> 32 ? 8 : 4;  // a picture's channels are often 32
#pragma GCC unroll 4
  for (int byte = 0; byte < bytes; ++byte, word >>= 8) {
    const uint8_t* places = kCompressTable.at[word & 255];
    const __m128i wide =
        _mm_cvtepu8_epi16(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(places)));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm_add_epi16(wide, from));
    from = _mm_add_epi16(from, eight);
    to += __builtin_popcountll(word & 255);
  }
  return to;
}
// Words of sixteen bits, as the columns of numbers have (nonzeros.h), by two look-ups; others,
// which have few ones, one by one.
template <>
inline uint8_t* list_ones<uint8_t>(uint64_t word, int first, uint8_t* to) {
  if (word >> 16) return list_each(word, first, to);
  for (int byte = 0; byte < 2; ++byte, word >>= 8) {
    const __m128i places =
        _mm_loadl_epi64(reinterpret_cast<const __m128i*>(kCompressTable.at[word & 255]));
    const __m128i from = _mm_set1_epi8(static_cast<char>(first + 8 * byte));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(to), _mm_add_epi8(places, from));
    to += __builtin_popcountll(word & 255);
  }
  return to;
}

}  // namespace spikegrad
