// Transposes of matrices of numbers, in blocks of 16 by 16.
#pragma once

#include "set.h"

#if defined(SPIKEGRAD_SIMD_AVX512)
#include "avx512.h"
#elif defined(SPIKEGRAD_SIMD_AVX2)
#include "avx2.h"
#elif defined(SPIKEGRAD_SIMD_NEON)
#include "neon.h"
#endif
#include "rounding.h"

namespace spikegrad {

constexpr int kTransposed = 16;

// to[c][r] = from[r][c] for r < rows, c < columns, both at most 16; rows lie `stride`, `by` apart.
template <class T>
inline void transpose_block(const T* from, int64_t stride, int rows, int columns, T* to,
                            int64_t by) {
  for (int r = 0; r < rows; ++r)
    for (int c = 0; c < columns; ++c) to[c * by + r] = from[r * stride + c];
}

#if defined(SPIKEGRAD_SIMD_AVX512)
// Of each pair of rows s apart the off-diagonal blocks of s by s change places, s = 1, 2, 4, 8.
template <int s>
[[gnu::always_inline]] inline void exchange(__m512* v) {
  alignas(64) static constexpr auto index = [] {
    struct {
      int first[16], second[16];
    } at{};
    for (int j = 0; j < 16; ++j) {
      at.first[j] = j & s ? 16 + j - s : j;
      at.second[j] = j & s ? 16 + j : j + s;
    }
    return at;
  }();
  const __m512i first = _mm512_load_si512(index.first), second = _mm512_load_si512(index.second);
#pragma GCC unroll 16
  for (int k = 0; k < 16; ++k) {
    if (k & s) continue;
    const __m512 a = v[k], b = v[k + s];
    v[k] = _mm512_permutex2var_ps(a, first, b);
    v[k + s] = _mm512_permutex2var_ps(a, second, b);
  }
}
template <>
inline void transpose_block<float>(const float* from, int64_t stride, int rows, int columns,
                                   float* to, int64_t by) {
  const __mmask16 wide = first_of(columns), high = first_of(rows);
  __m512 v[16];
#pragma GCC unroll 16
  for (int r = 0; r < 16; ++r)
    v[r] = r < rows ? _mm512_maskz_loadu_ps(wide, from + r * stride) : _mm512_setzero_ps();
  exchange<1>(v), exchange<2>(v), exchange<4>(v), exchange<8>(v);
#pragma GCC unroll 16
  for (int c = 0; c < 16; ++c)
    if (c < columns) _mm512_mask_storeu_ps(to + c * by, high, v[c]);
}

#elif defined(SPIKEGRAD_SIMD_AVX2)
[[gnu::always_inline]] inline void transpose_registers(__m256* v) {
  __m256 a[8], b[8];
#pragma GCC unroll 4
  for (int k = 0; k < 8; k += 2) {
    a[k] = _mm256_unpacklo_ps(v[k], v[k + 1]);
    a[k + 1] = _mm256_unpackhi_ps(v[k], v[k + 1]);
  }
#pragma GCC unroll 2
  for (int k = 0; k < 8; k += 4) {
    b[k] = _mm256_shuffle_ps(a[k], a[k + 2], 0x44);
    b[k + 1] = _mm256_shuffle_ps(a[k], a[k + 2], 0xee);
    b[k + 2] = _mm256_shuffle_ps(a[k + 1], a[k + 3], 0x44);
    b[k + 3] = _mm256_shuffle_ps(a[k + 1], a[k + 3], 0xee);
  }
#pragma GCC unroll 4
  for (int k = 0; k < 4; ++k) {
    v[k] = _mm256_permute2f128_ps(b[k], b[k + 4], 0x20);
    v[k + 4] = _mm256_permute2f128_ps(b[k], b[k + 4], 0x31);
  }
}
// 8 by 8, or the front of it.
template <bool kWhole>
[[gnu::always_inline]] inline void transpose_eight(const float* from, int64_t stride, int rows,
                                                   int columns, float* to, int64_t by) {
  __m256 v[8];
  const __m256i wide = first_of(columns), high = first_of(rows);
#pragma GCC unroll 8
  for (int r = 0; r < 8; ++r)
    v[r] = kWhole     ? _mm256_loadu_ps(from + r * stride)
           : r < rows ? _mm256_maskload_ps(from + r * stride, wide)
                      : _mm256_setzero_ps();
  transpose_registers(v);
#pragma GCC unroll 8
  for (int c = 0; c < 8; ++c) {
    if (kWhole)
      _mm256_storeu_ps(to + c * by, v[c]);
    else if (c < columns)
      _mm256_maskstore_ps(to + c * by, high, v[c]);
  }
}
template <>
inline void transpose_block<float>(const float* from, int64_t stride, int rows, int columns,
                                   float* to, int64_t by) {
  auto eight = [&](int r, int c) {
    const float* corner = from + r * stride + c;
    float* out = to + c * by + r;
    if (rows - r >= 8 && columns - c >= 8)
      transpose_eight<true>(corner, stride, 8, 8, out, by);
    else
      transpose_eight<false>(corner, stride, rows - r, columns - c, out, by);
  };
  // A vector is half a cache line. Lines that lie far apart, often a power of two, displace each
  // other, so the side where they do has both halves of a line one after the other.
  if (by > stride) {
    for (int c = 0; c < columns; c += 8)
      for (int r = 0; r < rows; r += 8) eight(r, c);
  } else {
    for (int r = 0; r < rows; r += 8)
      for (int c = 0; c < columns; c += 8) eight(r, c);
  }
}

#elif defined(SPIKEGRAD_SIMD_NEON)
template <>
inline void transpose_block<float>(const float* from, int64_t stride, int rows, int columns,
                                   float* to, int64_t by) {
  for (int r = 0; r < rows; r += 4)
    for (int c = 0; c < columns; c += 4) {
      const int high = std::min(4, rows - r), wide = std::min(4, columns - c);
      float32x4_t v[4];
      for (int k = 0; k < 4; ++k)
        v[k] =
            k < high ? (float32x4_t)load_front(from + (r + k) * stride + c, wide) : vdupq_n_f32(0);
      const float32x4x2_t ab = vtrnq_f32(v[0], v[1]), cd = vtrnq_f32(v[2], v[3]);
      const float32x4_t out[4] = {vcombine_f32(vget_low_f32(ab.val[0]), vget_low_f32(cd.val[0])),
                                  vcombine_f32(vget_low_f32(ab.val[1]), vget_low_f32(cd.val[1])),
                                  vcombine_f32(vget_high_f32(ab.val[0]), vget_high_f32(cd.val[0])),
                                  vcombine_f32(vget_high_f32(ab.val[1]), vget_high_f32(cd.val[1]))};
      for (int k = 0; k < wide; ++k) store_front(to + (c + k) * by + r, (Lane<float>)out[k], high);
    }
}
#endif

// The same of any size.
template <class T>
inline void transpose(const T* from, int64_t stride, int64_t rows, int64_t columns, T* to,
                      int64_t by) {
  auto some = [](int64_t left) { return static_cast<int>(std::min<int64_t>(kTransposed, left)); };
  for (int64_t c = 0; c < columns; c += kTransposed)
    for (int64_t r = 0; r < rows; r += kTransposed)
      transpose_block(from + r * stride + c, stride, some(rows - r), some(columns - c),
                      to + c * by + r, by);
}

}  // namespace spikegrad
