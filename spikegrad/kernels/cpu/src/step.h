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

constexpr int kMostOutputs = 2;  // spikes, and the membrane

// One scan. States, parameters and what is kept are numbered as in the generated file. What is kept
// lies block by block: [blocks][T][reals][block], and masks as bits of a vector's lanes.
template <class T>
struct StepScan {
  int64_t steps, columns;  // columns: B*N, also the distance of two steps
  const T* x;              // [inputs][T, B, N], steps x_step apart
  int64_t x_step, x_input;
  const T* noise;   // [T, B, N], null where nothing is by chance
  const T* starts;  // [states][B*N]
  const T* params;  // [rows][1 or N]
  int64_t param_columns;
  T* y[kMostOutputs];  // [T, B, N]
  T* ends;             // [states][B*N]
  T* reals;
  uint16_t* masks;
  T* marks;         // [segments][states][B*N], null without segments
  int64_t segment;  // steps after which states are kept, 0: never
  bool keep, past;  // keep: reals and masks are written; past: past the caches
  // Backward.
  const T *grad[kMostOutputs], *grad_ends;  // null: zero
  int64_t grad_step[kMostOutputs];          // 0 with grad_same: one number for all
  bool grad_same[kMostOutputs];
  T *dx, *dstarts;  // [inputs][T, B, N], [smooth][B*N]
  double* sums;     // [parts][learned][1 or N]
};

template <class T>
using StepFunction = void (*)(const StepScan<T>&, int64_t block, int64_t offset, int64_t column,
                              int n, char* room);  // room: of one segment's reals and masks

// One step of some rows of a tile: 64 columns of so many samples. Rows of what a program writes and
// reads lie kTile apart unless it says otherwise, numbers of one kind behind those of another.
template <class T>
struct RowsStep {
  int64_t rows;
  int n;            // columns that exist
  const T* params;  // [kinds][64], or [kinds] where all neurons are alike
  const T* x;
  int64_t x_row, x_input;  // x_input: from an input to the next
  T* states;               // [kinds][rows][64], `state` apart; in and out
  int64_t state;
  uint64_t *spikes, *support;  // a word a row, `word` apart; null: nobody asks
  int64_t word;
  T* y;  // of neurons whose output is no spike, else null
  int64_t y_row;
  bool keep, past;  // past: kept numbers go past the caches
  T* reals;         // [kinds][rows][64], `real` apart
  int64_t real;
  uint64_t* masks;  // [kinds][rows], `mask` apart
  int64_t mask;
  int64_t ahead;  // from a row of reals to the same of the next step
  T** few;        // where numbers of the support alone go on, or null: all are kept
};

// The same backward.
template <class T>
struct RowsBack {
  int64_t rows;
  const T* params;
  const T* grad;
  int64_t grad_row;
  const uint64_t *spikes, *support, *spikes_before, *support_before;
  int64_t word;
  const T *reals, *reals_before;
  int64_t real;
  const uint64_t *masks, *masks_before;
  int64_t mask;
  int64_t ahead;
  const T *x, *x_before;  // [inputs][rows][64], `x_input` apart, where a program reads them
  int64_t x_input;
  const T* first;  // states before this step where it is the first that was kept, else null
  T* carry;        // gradients of the states, in and out
  int64_t state;
  T* sums;  // [learned][64], added to
  T* dx;
  int64_t dx_row, dx_input;
  bool add;  // to dx
  const T** few;
};

template <class T>
using RowsFunction = void (*)(const RowsStep<T>&);
template <class T>
using RowsBackFunction = void (*)(const RowsBack<T>&);

// Ask for a row of a tile one step ahead: steps lie too far apart for the CPU to guess.
template <class T>
inline void fetch(const T* row, bool write) {
  const char* p = reinterpret_cast<const char*>(row);
  for (size_t line = 0; line < kTile * sizeof(T); line += 64)
    write ? __builtin_prefetch(p + line, 1) : __builtin_prefetch(p + line, 0);
}

template <class T>
[[gnu::always_inline]] inline Lane<T> load_part(const T* p, int left) {
  return left >= kLanes<T> ? load(p) : load_front(p, std::max(left, 0));
}
template <class T>
[[gnu::always_inline]] inline void store_part(T* p, Lane<T> v, int left, bool past) {
  if (left < kLanes<T>)
    store_front(p, v, std::max(left, 0));
  else if (past)
    stream<T>(p, v);
  else
    store(p, v);
}

// n values up to a whole block, behind them one that no neuron reads.
template <int kBlock, class T>
inline void copy_block(const T* from, int n, T* to, T behind = T(0)) {
  std::copy(from, from + n, to);
  std::fill(to + n, to + kBlock, behind);
}

}  // namespace spikegrad
