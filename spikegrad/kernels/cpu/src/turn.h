// Turning matrices around, 16 by 16.
#pragma once

#include "lanes.h"

namespace spikegrad {

constexpr int kTurned = 16;

// to[c][r] = from[r][c] for r < rows, c < columns, both at most 16; rows lie `stride`, `by` apart.
template <class T>
inline void turn_block(const T* from, int64_t stride, int rows, int columns, T* to, int64_t by) {
  for (int r = 0; r < rows; ++r)
    for (int c = 0; c < columns; ++c) to[c * by + r] = from[r * stride + c];
}
#if defined(__AVX512F__)
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
inline void turn_block<float>(const float* from, int64_t stride, int rows, int columns, float* to,
                              int64_t by) {
  const __mmask16 wide = static_cast<__mmask16>((1u << columns) - 1);
  const __mmask16 high = static_cast<__mmask16>((1u << rows) - 1);
  __m512 v[16];
#pragma GCC unroll 16
  for (int r = 0; r < 16; ++r)
    v[r] = r < rows ? _mm512_maskz_loadu_ps(wide, from + r * stride) : _mm512_setzero_ps();
  exchange<1>(v), exchange<2>(v), exchange<4>(v), exchange<8>(v);
#pragma GCC unroll 16
  for (int c = 0; c < 16; ++c)
    if (c < columns) _mm512_mask_storeu_ps(to + c * by, high, v[c]);
}
#endif

// The same of any size.
template <class T>
inline void turn(const T* from, int64_t stride, int64_t rows, int64_t columns, T* to, int64_t by) {
  auto some = [](int64_t left) { return static_cast<int>(std::min<int64_t>(kTurned, left)); };
  for (int64_t c = 0; c < columns; c += kTurned)
    for (int64_t r = 0; r < rows; r += kTurned)
      turn_block(from + r * stride + c, stride, some(rows - r), some(columns - c), to + c * by + r,
                 by);
}

}  // namespace spikegrad
