// Which instruction set these kernels are compiled for: the build says it by one define.
//
// This folder is the only place that names an instruction set. Every set offers the same
// operations (simd.h); a tile stays 64 columns, the number of lanes is a constant of the set.
#pragma once

#if !defined(SPIKEGRAD_SIMD_AVX512) && !defined(SPIKEGRAD_SIMD_AVX2) && \
    !defined(SPIKEGRAD_SIMD_NEON) && !defined(SPIKEGRAD_SIMD_GENERIC)
#error "compile with -DSPIKEGRAD_SIMD_AVX512, _AVX2, _NEON or _GENERIC"
#endif

namespace spikegrad {

#if defined(SPIKEGRAD_SIMD_AVX512)
constexpr int kLaneBytes = 64;
constexpr int kRegisters = 32;
constexpr const char* kSet = "avx512";
#elif defined(SPIKEGRAD_SIMD_AVX2)
constexpr int kLaneBytes = 32;
constexpr int kRegisters = 16;
constexpr const char* kSet = "avx2";
#elif defined(SPIKEGRAD_SIMD_NEON)
constexpr int kLaneBytes = 16;
constexpr int kRegisters = 32;
constexpr const char* kSet = "neon";
#else
constexpr int kLaneBytes = 16;
constexpr int kRegisters = 16;
constexpr const char* kSet = "generic";
#endif

}  // namespace spikegrad
