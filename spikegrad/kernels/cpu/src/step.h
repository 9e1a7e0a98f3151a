// What C++ that is generated from a neuron's step is given, and what it needs besides the folder
// simd/: a scan over time of one block of columns. No header of torch is included here, so that a
// generated file compiles within a second or two.
#pragma once

#include "simd/simd.h"

#include <algorithm>

// What a program exports is named after its key where a library holds several.
#define SPIKEGRAD_JOINED(pass, key) spikegrad_step_##pass##key
#define SPIKEGRAD_NAMED(pass, key) SPIKEGRAD_JOINED(pass, key)
#ifndef SPIKEGRAD_STEP_KEY
#define SPIKEGRAD_STEP_KEY
#endif
#define SPIKEGRAD_STEP(pass) SPIKEGRAD_NAMED(pass, SPIKEGRAD_STEP_KEY)

namespace spikegrad {

// Columns of [B*N] that are walked together: their states stay in the first-level cache.
constexpr int kStepBlock = 1024;

// One scan. States, parameters and what is kept are numbered as in the generated file. What is kept
// lies block by block: [blocks][T][reals][kStepBlock], and masks as bits of a vector's lanes.
template <class T>
struct StepScan {
  int64_t steps, columns;  // columns: B*N, also the distance of two steps
  const T* x;              // [T, B, N], steps x_step apart
  int64_t x_step;
  const T* starts;  // [states][B*N]
  const T* params;  // [rows][1 or N]
  int64_t param_columns;
  T *y, *ends;  // [T, B, N], [states][B*N]
  T* reals;
  uint16_t* masks;
  T* marks;         // [segments][states][B*N], null without segments
  int64_t segment;  // steps after which states are kept, 0: never
  bool keep, past;  // keep: reals and masks are written; past: past the caches
  // Backward.
  const T *grad, *grad_ends;  // null: zero
  int64_t grad_step;          // 0 with grad_same: one number for all
  bool grad_same;
  T *dx, *dstarts;
  double* sums;  // [parts][learned][1 or N]
};

template <class T>
using StepFunction = void (*)(const StepScan<T>&, int64_t block, int64_t offset, int64_t column,
                              int n, char* room);  // room: of one segment's reals and masks

// The groups of lanes in a block.
template <class T>
constexpr int kGroups = kStepBlock / kLanes<T>;

template <class T>
[[gnu::always_inline]] inline Lane<T> load_part(const T* p, int left) {
  return left >= kLanes<T> ? load(p) : load_front(p, left);
}
template <class T>
[[gnu::always_inline]] inline void store_part(T* p, Lane<T> v, int left, bool past) {
  if (left < kLanes<T>)
    store_front(p, v, left);
  else if (past)
    stream<T>(p, v);
  else
    store(p, v);
}

// n values, zeros behind them up to a whole block.
template <class T>
inline void copy_block(const T* from, int n, T* to) {
  std::copy(from, from + n, to);
  std::fill(to + n, to + kStepBlock, T(0));
}
// A row of parameters from a column on; behind its end the last one, which no neuron reads.
template <class T>
inline void copy_row(const T* from, int n, T* to) {
  std::copy(from, from + n, to);
  std::fill(to + n, to + kStepBlock, from[n - 1]);
}

}  // namespace spikegrad
