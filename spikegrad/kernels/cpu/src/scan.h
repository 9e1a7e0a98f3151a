// Neuron scans over time: currents [T, B, N] that exist already, one neuron step after the other.
//
// [T, B, N] is walked in blocks of columns of the flat [B*N] (of one row when parameters are per
// neuron), time innermost within a block, so that states stay in the first-level cache and every
// step streams. Blocks do not depend on the number of threads.

#pragma once

#include "neuron.h"
#include "tiles.h"

namespace spikegrad {

constexpr int kBlock = 1024;

// How [B, N] is cut into blocks.
struct Blocks {
  int64_t rows, columns, per_row, count, tiles;  // tiles: of a block with all its columns
  Blocks(int64_t batch, int64_t features, bool per_neuron) {
    rows = per_neuron ? batch : 1;
    columns = per_neuron ? features : batch * features;
    per_row = (columns + kBlock - 1) / kBlock;
    count = rows * per_row;
    tiles = tiles_of(std::min<int64_t>(kBlock, columns));
  }
  void at(int64_t block, int64_t& offset, int64_t& column, int& n) const {
    column = block % per_row * kBlock;
    offset = block / per_row * columns + column;
    n = static_cast<int>(std::min<int64_t>(kBlock, columns - column));
  }
};

// Whether rows of p, `step` apart, go past the caches.
template <class T>
inline bool streams(const T* p, int64_t step, int64_t steps) {
  return kStreams && p && steps * step * static_cast<int64_t>(sizeof(T)) >= kStreamed &&
         reinterpret_cast<uintptr_t>(p) % 64 == 0 && step * sizeof(T) % 64 == 0;
}
template <class T>
inline void stream_row(T* to, const T* from, int n) {
  int j = 0;
  for (; j + kLanes<T> <= n; j += kLanes<T>) stream<T>(to + j, load(from + j));
  std::memcpy(to + j, from + j, (n - j) * sizeof(T));
}

template <class T>
struct Forward {
  const T* x;
  int64_t x_step, step, steps;
  const T *i0, *v0, *a0;
  const int32_t* silent0;
  const T* params;
  int64_t param_columns;
  int32_t refractory;
  T *s, *u, *i, *a;  // [T, B, N]; i and a are null when not kept
  uint8_t* ready;    // [T, B, N], with a refractory period only
  T *i_end, *v_end, *a_end;
  int32_t* silent_end;
};

// A state's n columns from offset on, or zeros, or of membranes the rest.
template <class T>
void start(const T* from, int64_t offset, int n, T* to) {
  if (from)
    std::copy(from + offset, from + offset + n, to);
  else
    std::fill(to, to + n, T(0));
}
template <class T, class P>
void start_at_rest(const P& p, const T* from, int64_t offset, int n, T* to) {
  if (from) return start(from, offset, n, to);
  across(n, [&](int j) { to[j] = p(kRest, j); });
}

template <class T, class P, bool kSyn, bool kAda, bool kFire, Reset kR, bool kSilent>
void forward_block(const Forward<T>& f, int64_t offset, int64_t column, int n) {
  alignas(64) T v[kBlock], i[kBlock], a[kBlock];
  alignas(64) int32_t silent[kBlock];
  const P p{f.params + (f.param_columns > 1 ? column : 0), f.param_columns};
  alignas(64) T s_row[kBlock], u_row[kBlock];
  const bool past = streams(f.u, f.step, f.steps) && offset * sizeof(T) % 64 == 0;
  start_at_rest(p, f.v0, offset, n, v);
  if (kSyn) start(f.i0, offset, n, i);
  if (kAda) start(f.a0, offset, n, a);
  if (kSilent) start(f.silent0, offset, n, silent);
  for (int64_t t = 0; t < f.steps; ++t) {
    const int64_t at = t * f.step + offset;
    if (kAda && f.a) std::memcpy(f.a + at, a, n * sizeof(T));
    forward_step<T, P, kSyn, kAda, kFire, kR, kSilent>(
        p, n, f.refractory, f.x + t * f.x_step + offset, v, i, a, silent, past ? u_row : f.u + at,
        !kFire ? nullptr
        : past ? s_row
               : f.s + at,
        kSilent ? f.ready + at : nullptr, nullptr);
    if (past) stream_row(f.u + at, u_row, n);
    if (kFire && past) stream_row(f.s + at, s_row, n);
    if (kSyn && f.i) std::memcpy(f.i + at, i, n * sizeof(T));
  }
  std::copy(v, v + n, f.v_end + offset);
  if (kSyn) std::copy(i, i + n, f.i_end + offset);
  if (kAda) std::copy(a, a + n, f.a_end + offset);
  if (kSilent) std::copy(silent, silent + n, f.silent_end + offset);
}

template <class T>
struct Backward {
  int64_t step, steps, batch, features;
  const T *grad_s, *grad_v, *grad_i, *grad_a;  // null: zero; grad_s by strides
  int64_t grad_t, grad_b, grad_n;
  const T *x, *u, *i, *a;  // x by x_step; i: with parameter gradients of a synapse
  int64_t x_step;
  const uint8_t* ready;
  const T *i0, *v0;
  const T* params;
  int64_t param_columns;
  Rule<T> rule;
  const T* derivative;  // of a user's surrogate, evaluated by torch, else null
  T* dx;
  T *di0, *dv0, *da0;
  double* dparams;  // [blocks, kParams + 1, columns of the block or 1]

  bool grad_dense() const { return grad_n == 1 && grad_b == features; }
  bool grad_constant() const {  // of a sum
    return grad_s && grad_t == 0 && grad_b == 0 && grad_n == 0;
  }
  // Step t of the gradient, n columns of [B*N] from offset on, by its strides.
  void gather(int64_t t, int64_t offset, int n, T* to) const {
    int64_t b = offset / features, c = offset % features;
    for (int j = 0; j < n; ++j) {
      to[j] = grad_s[t * grad_t + b * grad_b + c * grad_n];
      if (++c == features) c = 0, ++b;
    }
  }
};

// With gradients of parameters a step touches twenty arrays: pieces of a block keep them in the
// first-level cache, and rows of sums that are no power of two apart fall on all of its sets.
constexpr int kPiece = 256, kApart = kPiece + 16;

// A piece of a block; `begun`: whether pieces before it left sums.
template <class T, class P, bool kSyn, bool kAda, bool kFire, Reset kR, bool kGrads>
void backward_piece(const Backward<T>& f, int64_t block, bool begun, int64_t offset, int64_t column,
                    int n) {
  constexpr int kWide = kGrads ? kApart : kBlock;
  alignas(64) T dv[kWide], di[kWide], da[kWide], gs[kWide];
  alignas(64) T sums[kGrads ? kParams + 1 : 1][kWide], v_first[kWide], i_first[kWide];
  const P p{f.params + (f.param_columns > 1 ? column : 0), f.param_columns};
  if (kGrads) std::memset(sums, 0, sizeof sums);
  start(f.grad_v, offset, n, dv);
  if (kSyn) start(f.grad_i, offset, n, di);
  if (kAda) start(f.grad_a, offset, n, da);
  if (kGrads) start_at_rest(p, f.v0, offset, n, v_first);
  if (kGrads && kSyn) start(f.i0, offset, n, i_first);
  alignas(64) T dx_row[kWide];
  const bool past = streams(f.dx, f.step, f.steps) && offset * sizeof(T) % 64 == 0;
  const bool dense = f.grad_dense(), constant = f.grad_constant();
  if (!f.grad_s || constant) std::fill(gs, gs + n, constant ? *f.grad_s : T(0));
  for (int64_t t = f.steps; t-- > 0;) {
    const int64_t at = t * f.step + offset;
    Moment<T> m{};
    m.incoming = gs;
    if (f.grad_s && dense) {
      m.incoming = f.grad_s + t * f.grad_t + offset;
    } else if (f.grad_s && !constant) {
      f.gather(t, offset, n, gs);
    }
    m.u = f.u + at;
    m.a = kAda ? f.a + at : nullptr;
    m.ready = f.ready ? f.ready + at : nullptr;
    m.derivative = f.derivative ? f.derivative + at : nullptr;
    if (kGrads) {
      m.x = f.x + t * f.x_step + offset;
      m.v0 = v_first;
      if (t > 0) {
        m.before = m.u - f.step;
        m.a_before = kAda ? m.a - f.step : nullptr;
        m.ready_before = m.ready ? m.ready - f.step : nullptr;
      }
      m.i_now = kSyn ? f.i + at : nullptr;
      m.i_old = !kSyn ? nullptr : t > 0 ? m.i_now - f.step : i_first;
    }
    backward_step<T, P, kSyn, kAda, kFire, kR, kGrads, kWide>(f.rule, p, column, n, m, dv, di, da,
                                                              sums, past ? dx_row : f.dx + at);
    if (past) stream_row(f.dx + at, dx_row, n);
  }
  std::copy(dv, dv + n, f.dv0 + offset);
  if (kSyn) std::copy(di, di + n, f.di0 + offset);
  if (kAda) std::copy(da, da + n, f.da0 + offset);
  if (!kGrads) return;
  if (!f.v0)  // at rest the first membrane is v_rest itself
    across(n, [&](int j) { sums[kRest][j] += dv[j]; });
  const bool each = f.param_columns > 1;
  const int64_t width = each ? f.param_columns : 1;
  double* out = f.dparams + (each ? block / ((f.features + kBlock - 1) / kBlock) : block) *
                                (kParams + 1) * width;
  for (int row = 0; row <= kParams; ++row) {
    if (each) {
      across(n, [&](int j) { out[row * width + column + j] = sums[row][j]; });
    } else {
      double total = begun ? out[row] : 0;
      for (int j = 0; j < n; ++j) total += sums[row][j];
      out[row] = total;
    }
  }
}

template <class T, class P, bool kSyn, bool kAda, bool kFire, Reset kR, bool kGrads>
void backward_block(const Backward<T>& f, int64_t block, int64_t offset, int64_t column, int n) {
  constexpr int kWide = kGrads ? kPiece : kBlock;
  for (int from = 0; from < n; from += kWide)
    backward_piece<T, P, kSyn, kAda, kFire, kR, kGrads>(f, block, from > 0, offset + from,
                                                        column + from, std::min(kWide, n - from));
}

}  // namespace spikegrad
