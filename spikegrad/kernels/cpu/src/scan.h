// Neuron scans over time: one superset of IF, LIF, CUBA-LIF, ALIF and LI.
//
//   i[t] = alpha i[t-1] + g_syn x[t]                      (synapse, else i = x)
//   u[t] = v_rest + beta (v[t-1] - v_rest) + g_mem i[t]
//   d[t] = u[t] - (threshold + kappa a[t]);  s[t] = [d >= 0] and not refractory
//   a[t+1] = rho a[t] + s[t]                              (adaptive, else kappa a = 0)
//   v[t] = u - s drop  |  u + s (v_reset - u)  |  u         drop = threshold - v_rest
//
// The definition is spikegrad/functional; operations stand in its order and are not contracted, so
// that float32 results equal the reference bit for bit. [T, B, N] is walked in blocks of columns of
// the flat [B*N] (of one row when parameters are per neuron), time innermost within a block, so
// that states stay in the first-level cache and every step streams. Blocks do not depend on the
// number of threads.

#pragma once

#include "common.h"
#include "surrogate.h"

#include <algorithm>
#include <tuple>

namespace spikegrad {

constexpr int kBlock = 1024;

// Rows of the parameter matrix [kParams, 1 or N].
// The gains and the drop are rows of their own, computed by torch as the reference computes them.
enum Param {
  kAlpha, kBeta, kGainSyn, kGainMem, kThreshold, kRest, kReset, kRho, kKappa, kDrop, kParams
};
static_assert(kParams == 10);
enum class Reset : int64_t { subtract, zero, none };
enum Kind : int64_t { kSynapse = 1, kAdaptive = 2, kSpiking = 4 };

// Parameters as the inner loops read them: one value, or one per column.
template <class T>
struct One {
  const T* p;
  int64_t columns;
  T operator()(int row, int) const { return p[row]; }
};
template <class T>
struct Each {
  const T* p;
  int64_t columns;
  T operator()(int row, int j) const { return p[row * columns + j]; }
};
template <class T>
struct Same {
  T value;
  T operator()(int) const { return value; }
};
template <class T>
struct Column {
  const T* p;
  T operator()(int j) const { return p[j]; }
};

// How [B, N] is cut into blocks.
struct Blocks {
  int64_t rows, columns, per_row, count;
  Blocks(int64_t batch, int64_t features, bool per_neuron) {
    rows = per_neuron ? batch : 1;
    columns = per_neuron ? features : batch * features;
    per_row = (columns + kBlock - 1) / kBlock;
    count = rows * per_row;
  }
  void at(int64_t block, int64_t& offset, int64_t& column, int& n) const {
    column = block % per_row * kBlock;
    offset = block / per_row * columns + column;
    n = static_cast<int>(std::min<int64_t>(kBlock, columns - column));
  }
};

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

template <class T, class P, bool kSyn, bool kAda, bool kFire, Reset kR, bool kSilent>
void forward_block(const Forward<T>& f, int64_t offset, int64_t column, int n) {
  alignas(64) T v[kBlock], i[kBlock], a[kBlock];
  alignas(64) int32_t silent[kBlock];
  const P p{f.params + (f.param_columns > 1 ? column : 0), f.param_columns};
  for (int j = 0; j < n; ++j) {
    v[j] = f.v0 ? f.v0[offset + j] : p(kRest, j);
    i[j] = kSyn && f.i0 ? f.i0[offset + j] : T(0);
    a[j] = kAda && f.a0 ? f.a0[offset + j] : T(0);
    silent[j] = kSilent && f.silent0 ? f.silent0[offset + j] : 0;
  }
  for (int64_t t = 0; t < f.steps; ++t) {
    const T* __restrict x = f.x + t * f.x_step + offset;
    T* __restrict s = f.s ? f.s + t * f.step + offset : nullptr;
    T* __restrict us = f.u + t * f.step + offset;
    if (kSyn && f.i) {
      T* __restrict is = f.i + t * f.step + offset;
      for (int j = 0; j < n; ++j) is[j] = p(kAlpha, j) * i[j] + p(kGainSyn, j) * x[j];
    }
    if (kAda && f.a) {
      T* __restrict as = f.a + t * f.step + offset;
      for (int j = 0; j < n; ++j) as[j] = a[j];
    }
    uint8_t* __restrict readies = kSilent ? f.ready + t * f.step + offset : nullptr;
#pragma GCC ivdep
    for (int j = 0; j < n; ++j) {
      if (kSyn) i[j] = p(kAlpha, j) * i[j] + p(kGainSyn, j) * x[j];
      const T rest = p(kRest, j);
      const T u = rest + p(kBeta, j) * (v[j] - rest) + p(kGainMem, j) * (kSyn ? i[j] : x[j]);
      us[j] = u;
      if (!kFire) {
        v[j] = u;
        continue;
      }
      const T threshold = p(kThreshold, j);
      const T d = u - (kAda ? threshold + p(kKappa, j) * a[j] : threshold);
      T spike = d >= T(0) ? T(1) : T(0);
      if (kSilent) {
        const bool ready = silent[j] == 0;
        spike = ready ? spike : T(0);
        const int32_t less = silent[j] > 0 ? silent[j] - 1 : 0;
        silent[j] = spike != T(0) ? f.refractory : less;
        readies[j] = ready;
      }
      s[j] = spike;
      if (kAda) a[j] = p(kRho, j) * a[j] + spike;
      if (kR == Reset::subtract) v[j] = u - spike * p(kDrop, j);
      if (kR == Reset::zero) v[j] = u + spike * (p(kReset, j) - u);
      if (kR == Reset::none) v[j] = u;
    }
  }
  for (int j = 0; j < n; ++j) {
    f.v_end[offset + j] = v[j];
    if (kSyn) f.i_end[offset + j] = i[j];
    if (kAda) f.a_end[offset + j] = a[j];
    if (kSilent) f.silent_end[offset + j] = silent[j];
  }
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
  Shape shape;
  const T *slope, *amplitude;  // [1 or N]
  int64_t slope_columns;
  T gain;
  const T* derivative;  // of a user's surrogate, evaluated by torch, else null
  bool attached;
  T* dx;
  T *di0, *dv0, *da0;
  double* dparams;  // [blocks, kParams, columns of the block or 1]
  double* dslope;
};

// The surrogate at d of one block: g, and with a learned slope the derivative by it.
template <class T>
void surrogate_block(const Backward<T>& f, const T* d, int64_t offset, int64_t column, T* g, T* by,
                     int n) {
  if (f.derivative) {
    std::memcpy(g, f.derivative + offset, n * sizeof(T));
    return;
  }
  const bool each = f.slope_columns > 1;
  const T* slope = f.slope + (each ? column : 0);
  const T* amplitude = f.amplitude + (each ? column : 0);
  if (each)
    unit_derivative(f.shape, d, Column<T>{slope}, g, n);
  else
    unit_derivative(f.shape, d, Same<T>{*slope}, g, n);
  if (by)
    for (int j = 0; j < n; ++j) by[j] = f.gain * (d[j] * g[j]);
  if (each)
    for (int j = 0; j < n; ++j) g[j] = amplitude[j] * g[j];
  else
    for (int j = 0; j < n; ++j) g[j] = *amplitude * g[j];
}

template <class T, class P, bool kSyn, bool kAda, bool kFire, Reset kR, bool kGrads>
void backward_block(const Backward<T>& f, int64_t block, int64_t offset, int64_t column, int n) {
  alignas(64) T dv[kBlock], di[kBlock], da[kBlock], d[kBlock], g[kBlock], by[kBlock], gs[kBlock];
  alignas(64) T sums[kGrads ? kParams + 1 : 1][kGrads ? kBlock : 1];
  const P p{f.params + (f.param_columns > 1 ? column : 0), f.param_columns};
  if (kGrads) std::memset(sums, 0, sizeof sums);
  for (int j = 0; j < n; ++j) {
    dv[j] = f.grad_v ? f.grad_v[offset + j] : T(0);
    di[j] = kSyn && f.grad_i ? f.grad_i[offset + j] : T(0);
    da[j] = kAda && f.grad_a ? f.grad_a[offset + j] : T(0);
  }
  const bool dense = f.grad_n == 1 && f.grad_b == f.features;
  for (int64_t t = f.steps; t-- > 0;) {
    const int64_t at = t * f.step + offset;
    const T* __restrict u = f.u + at;
    const T* __restrict a = kAda ? f.a + at : nullptr;
    const T* incoming = gs;
    if (!f.grad_s) {
      std::memset(gs, 0, n * sizeof(T));
    } else if (dense) {
      incoming = f.grad_s + t * f.grad_t + offset;
    } else {
      for (int j = 0; j < n; ++j) {
        const int64_t e = offset + j;
        gs[j] = f.grad_s[t * f.grad_t + e / f.features * f.grad_b + e % f.features * f.grad_n];
      }
    }
    if (kFire) {
      for (int j = 0; j < n; ++j)
        d[j] = u[j] - (kAda ? p(kThreshold, j) + p(kKappa, j) * a[j] : p(kThreshold, j));
      surrogate_block(f, d, f.derivative ? at : offset, column, g, f.dslope ? by : nullptr, n);
    }
    const uint8_t* __restrict ready = kFire && f.ready ? f.ready + at : nullptr;
    if (ready) {
      for (int j = 0; j < n; ++j) {
        const T open = ready[j] ? T(1) : T(0);
        g[j] *= open;
        if (f.dslope) by[j] *= open;
        d[j] = ready[j] ? d[j] : T(-1);  // from here on d says whether it spiked
      }
    }
    const T* __restrict x = f.x ? f.x + t * f.x_step + offset : nullptr;
    const T* __restrict before = kGrads && t > 0 ? f.u + at - f.step : nullptr;
    const T* __restrict a_before = kGrads && kAda && t > 0 ? f.a + at - f.step : nullptr;
    const uint8_t* __restrict ready_before =
        kGrads && f.ready && t > 0 ? f.ready + at - f.step : nullptr;
    const T* __restrict i_now = kGrads && kSyn ? f.i + at : nullptr;
    const T* __restrict i_old = kGrads && kSyn ? (t > 0 ? i_now - f.step : f.i0 ? f.i0 + offset
                                                                              : nullptr)
                                               : nullptr;
    T* __restrict dx = f.dx + at;
    const bool attached = f.attached;
#pragma GCC ivdep
    for (int j = 0; j < n; ++j) {
      const T rest = p(kRest, j);
      T du = dv[j];
      T dd = T(0);
      if (kFire) {
        const T spike = d[j] >= T(0) ? T(1) : T(0);
        T ds = incoming[j];
        if (kAda) ds += da[j];
        if (kR == Reset::subtract) {
          if (attached) ds -= dv[j] * p(kDrop, j);
          if (kGrads) sums[kDrop][j] -= dv[j] * spike;
        }
        if (kR == Reset::zero) {
          if (attached) ds += dv[j] * (p(kReset, j) - u[j]);
          du = dv[j] * (T(1) - spike);
          if (kGrads) sums[kReset][j] += dv[j] * spike;
        }
        dd = ds * g[j];
        du += dd;
        if (kGrads) {
          sums[kThreshold][j] -= dd;
          if (f.dslope) sums[kParams][j] += ds * by[j];
          if (kAda) {
            sums[kKappa][j] -= dd * a[j];
            sums[kRho][j] += da[j] * a[j];
          }
        }
        if (kAda) da[j] = p(kRho, j) * da[j] - p(kKappa, j) * dd;
      } else {
        du += incoming[j];
      }
      if (kSyn) {
        di[j] += p(kGainMem, j) * du;
        dx[j] = p(kGainSyn, j) * di[j];
      } else {
        dx[j] = p(kGainMem, j) * du;
      }
      if (kGrads) {
        T old = f.v0 ? f.v0[offset + j] : rest;
        if (before) {
          old = before[j];
          if (kFire) {
            const T threshold = p(kThreshold, j);
            T e = old - (kAda ? threshold + p(kKappa, j) * a_before[j] : threshold);
            if (ready_before) e = ready_before[j] ? e : T(-1);
            const T spike = e >= T(0) ? T(1) : T(0);
            if (kR == Reset::subtract) old = old - spike * p(kDrop, j);
            if (kR == Reset::zero) old = old + spike * (p(kReset, j) - old);
          }
        }
        sums[kBeta][j] += du * (old - rest);
        sums[kRest][j] += du * (T(1) - p(kBeta, j));
        if (kSyn) {
          sums[kGainMem][j] += du * i_now[j];
          sums[kGainSyn][j] += di[j] * x[j];
          sums[kAlpha][j] += di[j] * (i_old ? i_old[j] : T(0));
        } else {
          sums[kGainMem][j] += du * x[j];
        }
      }
      if (kSyn) di[j] = p(kAlpha, j) * di[j];
      dv[j] = p(kBeta, j) * du;
    }
  }
  for (int j = 0; j < n; ++j) {
    f.dv0[offset + j] = dv[j];
    if (kSyn) f.di0[offset + j] = di[j];
    if (kAda) f.da0[offset + j] = da[j];
  }
  if (!kGrads) return;
  if (!f.v0)  // at rest the first membrane is v_rest itself
    for (int j = 0; j < n; ++j) sums[kRest][j] += dv[j];
  const bool each = f.param_columns > 1;
  const int64_t width = each ? f.param_columns : 1;
  double* out = f.dparams + (each ? block / ((f.features + kBlock - 1) / kBlock) : block) *
                                (kParams + 1) * width;
  for (int row = 0; row <= kParams; ++row) {
    if (each) {
      for (int j = 0; j < n; ++j) out[row * width + column + j] = sums[row][j];
    } else {
      double total = 0;
      for (int j = 0; j < n; ++j) total += sums[row][j];
      out[row] = total;
    }
  }
}

}  // namespace spikegrad
