// Zeros and ones as the bits of a word.
#pragma once

#include "common.h"

namespace spikegrad {

#if defined(__AVX512F__)
// What compress and expand leave elsewhere. As instructions that zero they wait on AMD's Zen 4 for
// the register that they overwrite, so each for the vector before: ours merge into these zeros.
inline __m512 opaque_zeros() {
  __m512 zero = _mm512_setzero_ps();
  asm("" : "+v"(zero));
  return zero;
}
#endif

inline uint64_t mask_of(int n) { return n == 64 ? ~uint64_t{0} : (uint64_t{1} << n) - 1; }

// The ones among up to 64 values as bits; `odd` collects values that are neither 0 nor 1.
template <class T>
inline uint64_t bits_of(const T* __restrict x, int n, bool& odd) {
  uint64_t ones = 0, zeros = 0;
  for (int j = 0; j < n; ++j) {
    ones |= static_cast<uint64_t>(x[j] == T(1)) << j;
    zeros |= static_cast<uint64_t>(x[j] == T(0)) << j;
  }
  odd |= (ones | zeros) != mask_of(n);
  return ones;
}
template <>
inline uint64_t bits_of<float>(const float* __restrict x, int n, bool& odd) {
  uint64_t ones = 0, zeros = 0;
  int j = 0;
#if defined(__AVX512F__)
  for (; j + 16 <= n; j += 16) {
    const __m512 v = _mm512_loadu_ps(x + j);
    ones |= static_cast<uint64_t>(_mm512_cmp_ps_mask(v, _mm512_set1_ps(1), _CMP_EQ_OQ)) << j;
    zeros |= static_cast<uint64_t>(_mm512_cmp_ps_mask(v, _mm512_setzero_ps(), _CMP_EQ_OQ)) << j;
  }
#elif defined(__AVX2__)
  for (; j + 8 <= n; j += 8) {
    const __m256 v = _mm256_loadu_ps(x + j);
    const __m256 one = _mm256_cmp_ps(v, _mm256_set1_ps(1), _CMP_EQ_OQ);
    const __m256 zero = _mm256_cmp_ps(v, _mm256_setzero_ps(), _CMP_EQ_OQ);
    ones |= static_cast<uint64_t>(static_cast<unsigned>(_mm256_movemask_ps(one))) << j;
    zeros |= static_cast<uint64_t>(static_cast<unsigned>(_mm256_movemask_ps(zero))) << j;
  }
#endif
  for (; j < n; ++j) {
    ones |= static_cast<uint64_t>(x[j] == 1.0f) << j;
    zeros |= static_cast<uint64_t>(x[j] == 0.0f) << j;
  }
  odd |= (ones | zeros) != mask_of(n);
  return ones;
}

}  // namespace spikegrad
