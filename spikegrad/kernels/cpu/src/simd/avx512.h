// AVX-512: F, BW, DQ and VL; byte compress (VBMI2) and products of bit matrices (GFNI) where the
// compiler may use them.
#pragma once

#include "rounding.h"

#include <immintrin.h>

namespace spikegrad {

// What compress and expand leave elsewhere. As instructions that zero they wait on AMD's Zen 4 for
// the register that they overwrite, so each for the vector before: ours merge into these zeros.
inline __m512 opaque_zeros() {
  __m512 zero = _mm512_setzero_ps();
  asm("" : "+v"(zero));
  return zero;
}
inline __mmask16 first_of(int n) { return static_cast<__mmask16>((1u << n) - 1); }

#define SPIKEGRAD_COMPARE(name, predicate)                           \
  template <>                                                        \
  inline Mask<float> name<float>(Lane<float> a, Lane<float> b) {     \
    return _mm512_cmp_ps_mask((__m512)a, (__m512)b, predicate);      \
  }                                                                  \
  template <>                                                        \
  inline Mask<double> name<double>(Lane<double> a, Lane<double> b) { \
    return _mm512_cmp_pd_mask((__m512d)a, (__m512d)b, predicate);    \
  }
SPIKEGRAD_COMPARE(at_least, _CMP_GE_OQ)
SPIKEGRAD_COMPARE(above, _CMP_GT_OQ)
SPIKEGRAD_COMPARE(equal, _CMP_EQ_OQ)
SPIKEGRAD_COMPARE(unequal, _CMP_NEQ_UQ)
#undef SPIKEGRAD_COMPARE

template <>
inline unsigned bits_of<float>(Mask<float> mask) {
  return mask;
}
template <>
inline unsigned bits_of<double>(Mask<double> mask) {
  return mask;
}
template <>
inline Mask<float> mask_from<float>(uint64_t bits) {
  return static_cast<Mask<float>>(bits);
}
template <>
inline Mask<double> mask_from<double>(uint64_t bits) {
  return static_cast<Mask<double>>(bits);
}
template <>
inline Lane<float> keep<float>(Mask<float> mask, Lane<float> a) {
  return (Lane<float>)_mm512_maskz_mov_ps(mask, (__m512)a);
}
template <>
inline Lane<double> keep<double>(Mask<double> mask, Lane<double> a) {
  return (Lane<double>)_mm512_maskz_mov_pd(mask, (__m512d)a);
}
template <>
inline Lane<float> positive_part<float>(Lane<float> a) {
  return (Lane<float>)_mm512_max_ps((__m512)a, _mm512_setzero_ps());
}
template <>
inline Lane<float> fused<float>(Lane<float> a, Lane<float> b, Lane<float> c) {
  return (Lane<float>)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
}
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

template <>
inline Mask<float> nonzero<float>(Integers<float> a) {
  return _mm512_test_epi32_mask((__m512i)a, (__m512i)a);
}
template <>
inline Mask<double> nonzero<double>(Integers<double> a) {
  return _mm512_test_epi64_mask((__m512i)a, (__m512i)a);
}
template <>
inline bool any_of<float>(Mask<float> mask) {
  return mask != 0;
}
template <>
inline bool any_of<double>(Mask<double> mask) {
  return mask != 0;
}
template <>
inline Lane<float> select<float>(Mask<float> mask, Lane<float> a, Lane<float> b) {
  return (Lane<float>)_mm512_mask_blend_ps(mask, (__m512)b, (__m512)a);
}
template <>
inline Lane<double> select<double>(Mask<double> mask, Lane<double> a, Lane<double> b) {
  return (Lane<double>)_mm512_mask_blend_pd(mask, (__m512d)b, (__m512d)a);
}
// The instruction returns its second operand if one is NaN, and of two zeros.
#define SPIKEGRAD_LARGER(name, instruction)                                                 \
  template <>                                                                               \
  inline Lane<float> name<float>(Lane<float> a, Lane<float> b) {                            \
    return select<float>(is_nan<float>(a), a,                                               \
                         (Lane<float>)_mm512_##instruction##_ps((__m512)a, (__m512)b));     \
  }                                                                                         \
  template <>                                                                               \
  inline Lane<double> name<double>(Lane<double> a, Lane<double> b) {                        \
    return select<double>(is_nan<double>(a), a,                                             \
                          (Lane<double>)_mm512_##instruction##_pd((__m512d)a, (__m512d)b)); \
  }
SPIKEGRAD_LARGER(maximum, max)
SPIKEGRAD_LARGER(minimum, min)
#undef SPIKEGRAD_LARGER
#define SPIKEGRAD_ROUND(name, mode)                                                  \
  template <>                                                                        \
  inline Lane<float> name<float>(Lane<float> a) {                                    \
    return (Lane<float>)_mm512_roundscale_ps((__m512)a, mode | _MM_FROUND_NO_EXC);   \
  }                                                                                  \
  template <>                                                                        \
  inline Lane<double> name<double>(Lane<double> a) {                                 \
    return (Lane<double>)_mm512_roundscale_pd((__m512d)a, mode | _MM_FROUND_NO_EXC); \
  }
SPIKEGRAD_ROUND(nearest, _MM_FROUND_TO_NEAREST_INT)
SPIKEGRAD_ROUND(floor_of, _MM_FROUND_TO_NEG_INF)
SPIKEGRAD_ROUND(ceil_of, _MM_FROUND_TO_POS_INF)
SPIKEGRAD_ROUND(truncated, _MM_FROUND_TO_ZERO)
#undef SPIKEGRAD_ROUND
template <>
inline Lane<float> square_root<float>(Lane<float> a) {
  return (Lane<float>)_mm512_sqrt_ps((__m512)a);
}
template <>
inline Lane<double> square_root<double>(Lane<double> a) {
  return (Lane<double>)_mm512_sqrt_pd((__m512d)a);
}
template <>
inline Lane<float> times_power_of_2<float>(Lane<float> a, Lane<float> n) {
  return (Lane<float>)_mm512_scalef_ps((__m512)a, (__m512)n);
}
template <>
inline Lane<double> times_power_of_2<double>(Lane<double> a, Lane<double> n) {
  return (Lane<double>)_mm512_scalef_pd((__m512d)a, (__m512d)n);
}

template <>
inline Lane<float> load_front<float>(const float* p, int n) {
  return (Lane<float>)_mm512_maskz_loadu_ps(first_of(std::min(n, 16)), p);
}
template <>
inline void store_front<float>(float* p, Lane<float> v, int n) {
  _mm512_mask_storeu_ps(p, first_of(std::min(n, 16)), (__m512)v);
}
template <>
inline void stream<float>(float* p, Lane<float> v) {
  _mm512_stream_ps(p, (__m512)v);
}
template <>
inline void stream<double>(double* p, Lane<double> v) {
  _mm512_stream_pd(p, (__m512d)v);
}

inline __m512 compressed(__mmask16 mask, __m512 v) {
  return _mm512_mask_compress_ps(opaque_zeros(), mask, v);
}
template <>
inline void compress_store<float>(unsigned bits, Lane<float> v, float*& to) {
  const __mmask16 mask = static_cast<__mmask16>(bits);
  _mm512_storeu_ps(to, compressed(mask, (__m512)v));
  to += __builtin_popcount(mask);
}
template <>
inline Lane<float> expand_load<float>(unsigned bits, const float*& from) {
  const __mmask16 mask = static_cast<__mmask16>(bits);
  const int n = __builtin_popcount(mask);
  const __m512 v = _mm512_maskz_loadu_ps(first_of(n), from);
  from += n;
  return (Lane<float>)_mm512_mask_expand_ps(opaque_zeros(), mask, v);
}
template <>
inline void compress_row<float>(uint64_t word, const float* row, float*& to) {
  for (int j = 0; j < kTile; j += 16) {
    const __mmask16 mask = static_cast<__mmask16>(word >> j);
    const int n = __builtin_popcount(mask);
    const __m512 v = _mm512_maskz_loadu_ps(mask, row + j);
    _mm512_mask_storeu_ps(to, first_of(n), compressed(mask, v));
    to += n;
  }
}

template <>
inline void store_bytes<float>(uint8_t* p, Integers<float> numbers) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8((__m512i)numbers));
}
template <>
inline Integers<float> load_bytes<float>(const uint8_t* p) {
  return (Integers<float>)_mm512_cvtepu8_epi32(
      _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}

#if defined(__AVX512VBMI2__)
// The places of the ones of a word, side by side.
inline __m512i places_of(uint64_t word) {
  alignas(64) static constexpr auto all = [] {
    struct {
      uint8_t at[64];
    } made{};
    for (int j = 0; j < 64; ++j) made.at[j] = static_cast<uint8_t>(j);
    return made;
  }();
  return _mm512_mask_compress_epi8((__m512i)opaque_zeros(), word, _mm512_load_si512(all.at));
}
template <>
inline uint8_t* list_ones<uint8_t>(uint64_t word, int first, uint8_t* to) {
  _mm512_storeu_si512(to,
                      _mm512_add_epi8(places_of(word), _mm512_set1_epi8(static_cast<char>(first))));
  return to + __builtin_popcountll(word);
}
template <>
inline uint16_t* list_ones<uint16_t>(uint64_t word, int first, uint16_t* to) {
  const int n = __builtin_popcountll(word);
  const __m512i places = places_of(word);
  const __m512i from = _mm512_set1_epi16(static_cast<int16_t>(first));
  const __m512i low = _mm512_add_epi16(_mm512_cvtepu8_epi16(_mm512_castsi512_si256(places)), from);
  if (n <= 16) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_castsi512_si256(low));
  } else {
    _mm512_storeu_si512(to, low);
    if (n > 32)
      _mm512_storeu_si512(
          to + 32,
          _mm512_add_epi16(_mm512_cvtepu8_epi16(_mm512_extracti64x4_epi64(places, 1)), from));
  }
  return to + n;
}
#endif

}  // namespace spikegrad
