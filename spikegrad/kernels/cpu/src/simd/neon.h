// NEON on aarch64.
#pragma once

#include "rounding.h"

#include <arm_neon.h>

namespace spikegrad {

template <>
inline unsigned bits_of<float>(Mask<float> mask) {
  const uint32x4_t each = {1, 2, 4, 8};
  return vaddvq_u32(vandq_u32((uint32x4_t)mask, each));
}
template <>
inline unsigned bits_of<double>(Mask<double> mask) {
  const uint64x2_t each = {1, 2};
  return static_cast<unsigned>(vaddvq_u64(vandq_u64((uint64x2_t)mask, each)));
}
template <>
inline Lane<float> fused<float>(Lane<float> a, Lane<float> b, Lane<float> c) {
  return (Lane<float>)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
}
template <>
inline void sums_of<float>(const Lane<float>* v, float* out) {
  const float32x4_t ab = vpaddq_f32((float32x4_t)v[0], (float32x4_t)v[1]);
  const float32x4_t cd = vpaddq_f32((float32x4_t)v[2], (float32x4_t)v[3]);
  vst1q_f32(out, vpaddq_f32(ab, cd));
}

template <>
inline bool any_of<float>(Mask<float> mask) {
  return vmaxvq_u32((uint32x4_t)mask) != 0;
}
template <>
inline bool any_of<double>(Mask<double> mask) {
  return vmaxvq_u32((uint32x4_t)mask) != 0;
}
#define SPIKEGRAD_ONE(name, instruction)                     \
  template <>                                                \
  inline Lane<float> name<float>(Lane<float> a) {            \
    return (Lane<float>)instruction##q_f32((float32x4_t)a);  \
  }                                                          \
  template <>                                                \
  inline Lane<double> name<double>(Lane<double> a) {         \
    return (Lane<double>)instruction##q_f64((float64x2_t)a); \
  }
SPIKEGRAD_ONE(nearest, vrndn)
SPIKEGRAD_ONE(floor_of, vrndm)
SPIKEGRAD_ONE(ceil_of, vrndp)
SPIKEGRAD_ONE(truncated, vrnd)
SPIKEGRAD_ONE(square_root, vsqrt)
#undef SPIKEGRAD_ONE
#define SPIKEGRAD_LARGER(name, instruction)                                  \
  template <>                                                                \
  inline Lane<float> name<float>(Lane<float> a, Lane<float> b) {             \
    return (Lane<float>)instruction##q_f32((float32x4_t)a, (float32x4_t)b);  \
  }                                                                          \
  template <>                                                                \
  inline Lane<double> name<double>(Lane<double> a, Lane<double> b) {         \
    return (Lane<double>)instruction##q_f64((float64x2_t)a, (float64x2_t)b); \
  }
SPIKEGRAD_LARGER(maximum, vmax)
SPIKEGRAD_LARGER(minimum, vmin)
#undef SPIKEGRAD_LARGER

// The bytes that compress or expand four lanes, by four bits.
struct ByteTable {
  alignas(64) uint8_t at[16][16];
};
inline constexpr ByteTable kCompressBytes = [] {
  ByteTable made{};
  for (int bits = 0; bits < 16; ++bits) {
    for (int b = 0; b < 16; ++b) made.at[bits][b] = 255;  // beyond the vector: a zero
    for (int j = 0, k = 0; j < 4; ++j)
      if (bits >> j & 1) {
        for (int b = 0; b < 4; ++b) made.at[bits][4 * k + b] = static_cast<uint8_t>(4 * j + b);
        ++k;
      }
  }
  return made;
}();
inline constexpr ByteTable kExpandBytes = [] {
  ByteTable made{};
  for (int bits = 0; bits < 16; ++bits)
    for (int j = 0, k = 0; j < 4; ++j) {
      const bool there = bits >> j & 1;
      for (int b = 0; b < 4; ++b)
        made.at[bits][4 * j + b] = there ? static_cast<uint8_t>(4 * k + b) : uint8_t{255};
      k += there;
    }
  return made;
}();
template <>
inline void compress_store<float>(unsigned bits, Lane<float> v, float*& to) {
  const uint8x16_t bytes = vld1q_u8(kCompressBytes.at[bits & 15]);
  vst1q_f32(to, vreinterpretq_f32_u8(vqtbl1q_u8(vreinterpretq_u8_f32((float32x4_t)v), bytes)));
  to += __builtin_popcount(bits & 15);
}
template <>
inline Lane<float> expand_load<float>(unsigned bits, const float*& from) {
  const int n = __builtin_popcount(bits & 15);
  const uint8x16_t v = vreinterpretq_u8_f32((float32x4_t)load_front(from, n));
  from += n;
  return (Lane<float>)vreinterpretq_f32_u8(vqtbl1q_u8(v, vld1q_u8(kExpandBytes.at[bits & 15])));
}

template <>
inline void store_bytes<float>(uint8_t* p, Integers<float> numbers) {
  const uint16x4_t words = vmovn_u32((uint32x4_t)numbers);
  const uint8x8_t bytes = vmovn_u16(vcombine_u16(words, words));
  const uint32_t four = vget_lane_u32(vreinterpret_u32_u8(bytes), 0);
  std::memcpy(p, &four, sizeof four);
}
template <>
inline Integers<float> load_bytes<float>(const uint8_t* p) {
  uint32_t four;
  std::memcpy(&four, p, sizeof four);
  const uint16x8_t words = vmovl_u8(vreinterpret_u8_u32(vdup_n_u32(four)));
  return (Integers<float>)vmovl_u16(vget_low_u16(words));
}

}  // namespace spikegrad
