// One step of a neuron, forward and backward: a superset of IF, LIF, CUBA-LIF, ALIF and LI.
//
//   i[t] = alpha i[t-1] + g_syn x[t]                      (synapse, else i = x)
//   u[t] = v_rest + beta (v[t-1] - v_rest) + g_mem i[t]
//   d[t] = u[t] - (threshold + kappa a[t]);  s[t] = [d >= 0] and not refractory
//   a[t+1] = rho a[t] + s[t]                              (adaptive, else kappa a = 0)
//   v[t] = u - s drop  |  u + s (v_reset - u)  |  u         drop = threshold - v_rest
//
// The definition is spikegrad/functional; operations stand in its order and are not contracted, so
// that float32 results equal the reference bit for bit. The steps know n columns side by side;
// layer.h walks over time, batch and columns. Scans of currents that exist are generated (step.h).
#pragma once

#include "common.h"
#include "surrogate.h"

namespace spikegrad {

// Rows of the parameter matrix [kParams, 1 or N].
// The gains and the drop are rows of their own, computed by torch as the reference computes them.
enum Param {
  kAlpha,
  kBeta,
  kGainSyn,
  kGainMem,
  kThreshold,
  kRest,
  kReset,
  kRho,
  kKappa,
  kDrop,
  kParams
};
static_assert(kParams == 10);
enum class Reset : int64_t { subtract, zero, none };
enum Kind : int64_t { kSynapse = 1, kAdaptive = 2, kSpiking = 4 };

// A value as the inner loops read it: one, or one per column.
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

// f(j) of n columns side by side, which touch nothing of each other. Not unrolled: what is left
// behind the last whole vector would stand there fifteen times, and takes long to compile.
template <class F>
[[gnu::always_inline]] inline void across(int n, const F& f) {
#pragma GCC ivdep
#pragma GCC unroll 1
  for (int j = 0; j < n; ++j) f(j);
}

// forward_step<...>(p, n, refractory, x [n]; v, i, a, silent [n] in and out; u, s, ready, d [n]
// out; d null where nobody asks)
template <class T, class P, bool kSyn, bool kAda, bool kFire, Reset kR, bool kSilent>
[[gnu::always_inline]] inline void forward_step(const P& p, int n, int32_t refractory,
                                                const T* __restrict x, T* __restrict v,
                                                T* __restrict i, T* __restrict a,
                                                int32_t* __restrict silent, T* __restrict us,
                                                T* __restrict s, uint8_t* __restrict readies,
                                                T* __restrict ds) {
  across(n, [&](int j) {
    if (kSyn) i[j] = p(kAlpha, j) * i[j] + p(kGainSyn, j) * x[j];
    const T rest = p(kRest, j);
    const T u = rest + p(kBeta, j) * (v[j] - rest) + p(kGainMem, j) * (kSyn ? i[j] : x[j]);
    us[j] = u;
    if (!kFire) {
      v[j] = u;
      return;
    }
    const T threshold = p(kThreshold, j);
    const T d = u - (kAda ? threshold + p(kKappa, j) * a[j] : threshold);
    if (ds) ds[j] = d;
    T spike = d >= T(0) ? T(1) : T(0);
    if (kSilent) {
      const bool ready = silent[j] == 0;
      spike = ready ? spike : T(0);
      const int32_t less = silent[j] > 0 ? silent[j] - 1 : 0;
      silent[j] = spike != T(0) ? refractory : less;
      readies[j] = ready;
    }
    s[j] = spike;
    if (kAda) a[j] = p(kRho, j) * a[j] + spike;
    if (kR == Reset::subtract) v[j] = u - spike * p(kDrop, j);
    if (kR == Reset::zero) v[j] = u + spike * (p(kReset, j) - u);
    if (kR == Reset::none) v[j] = u;
  });
}

// What the surrogate is, with slope and amplitude [1 or N].
template <class T>
struct Rule {
  Shape shape;
  const T *slope, *amplitude;
  int64_t slope_columns;
  T gain;
  bool attached;    // the reset's spike keeps its gradient
  bool grad_slope;  // the slope is learned
};

// The surrogate at d [n] of columns from `column` on: g, and with a learned slope the derivative by
// it.
template <class T>
void surrogate_block(const Rule<T>& f, const T* d, int64_t column, T* g, T* by, int n) {
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

// What one backward step reads of its step and of the one before, each [n].
template <class T>
struct Moment {
  const T *incoming, *u, *a;       // a: adaptive
  const uint8_t* ready;            // null without a refractory period
  const T* derivative;             // of a user's surrogate, else null
  const T *x, *before, *a_before;  // from here on for parameter gradients; before: u[t-1] or null,
  const uint8_t* ready_before;     // then the membrane after reset is v0
  const T *v0, *i_now, *i_old;
};

// d [n]: how far membranes are above the threshold.
template <class T, class P, bool kAda>
[[gnu::always_inline]] inline void distances(const P& p, int n, const T* __restrict u,
                                             const T* __restrict a, T* __restrict d) {
  across(n, [&](int j) {
    d[j] = u[j] - (kAda ? p(kThreshold, j) + p(kKappa, j) * a[j] : p(kThreshold, j));
  });
}
// From distances to spikes, 1 or 0; ready: null without a refractory period.
template <class T>
[[gnu::always_inline]] inline void fire(int n, const uint8_t* __restrict ready, T* __restrict d) {
  if (ready) across(n, [&](int j) { d[j] = ready[j] ? d[j] : T(-1); });
  across(n, [&](int j) { d[j] = d[j] >= T(0) ? T(1) : T(0); });
}

// The membrane that a step started from, [n]: what the reset of the step before left. room [n]: for
// values that exist nowhere else.
template <class T, class P, bool kAda, bool kFire, Reset kR>
[[gnu::always_inline]] inline const T* membrane_before(const P& p, int n, const Moment<T>& m,
                                                       T* __restrict room) {
  if (!m.before) return m.v0;
  if (!kFire || kR == Reset::none) return m.before;
  distances<T, P, kAda>(p, n, m.before, m.a_before, room);
  fire(n, m.ready_before, room);
  const T* __restrict u = m.before;
  across(n, [&](int j) {
    room[j] =
        kR == Reset::zero ? u[j] + room[j] * (p(kReset, j) - u[j]) : u[j] - room[j] * p(kDrop, j);
  });
  return room;
}

// backward_step<...>(...; dv, di, da [n] in and out; sums [kParams + 1][kWidth] added to; dx [n]
// out). No branch within a loop: what may be absent is settled before, for compilers to vectorise.
template <class T, class P, bool kSyn, bool kAda, bool kFire, Reset kR, bool kGrads, int kWidth>
[[gnu::always_inline]] inline void backward_step(const Rule<T>& f, const P& p, int64_t column,
                                                 int n, const Moment<T>& m, T* __restrict dv,
                                                 T* __restrict di, T* __restrict da,
                                                 T (*__restrict sums)[kWidth], T* __restrict dx) {
  alignas(64) T d[kWidth], g[kWidth], by[kWidth], back[kWidth], room[kWidth];
  const T* __restrict u = m.u;
  const T* __restrict a = m.a;
  const T* __restrict incoming = m.incoming;
  const bool attached = f.attached, grad_slope = kGrads && f.grad_slope;
  if (kFire) {
    distances<T, P, kAda>(p, n, u, a, d);
    if (m.derivative) {
      std::memcpy(g, m.derivative, n * sizeof(T));
      if (grad_slope)  // only area normalisation learns a slope: g = gain k p(k d)
        across(n,
               [&](int j) { by[j] = d[j] * g[j] / f.slope[f.slope_columns > 1 ? column + j : 0]; });
    } else {
      surrogate_block(f, d, column, g, grad_slope ? by : nullptr, n);
    }
  }
  if (kFire && m.ready) {
    across(n, [&](int j) { g[j] *= m.ready[j] ? T(1) : T(0); });
    if (grad_slope) across(n, [&](int j) { by[j] *= m.ready[j] ? T(1) : T(0); });
  }
  T* __restrict spike = d;
  if (kFire && (kGrads || kR == Reset::zero)) fire(n, m.ready, spike);
  // What comes back to the spike: from its readers, its adaptation and, if attached, its reset.
  const T* __restrict ds = incoming;
  if (kFire && (kAda || (attached && kR != Reset::none))) {
    ds = back;
    across(n, [&](int j) { back[j] = kAda ? incoming[j] + da[j] : incoming[j]; });
    if (attached && kR == Reset::subtract)
      across(n, [&](int j) { back[j] -= dv[j] * p(kDrop, j); });
    if (attached && kR == Reset::zero)
      across(n, [&](int j) { back[j] += dv[j] * (p(kReset, j) - u[j]); });
  }
  const T* __restrict old =
      kGrads ? membrane_before<T, P, kAda, kFire, kR>(p, n, m, room) : nullptr;
  const T* __restrict x = m.x;
  const T* __restrict i_now = m.i_now;
  const T* __restrict i_old = m.i_old;
  across(n, [&](int j) {
    T du = dv[j];
    if (kFire) {
      if (kR == Reset::zero) du = dv[j] * (T(1) - spike[j]);
      const T dd = ds[j] * g[j];
      du += dd;
      if (kGrads) {
        if (kR == Reset::subtract) sums[kDrop][j] -= dv[j] * spike[j];
        if (kR == Reset::zero) sums[kReset][j] += dv[j] * spike[j];
        sums[kThreshold][j] -= dd;
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
      sums[kBeta][j] += du * (old[j] - p(kRest, j));
      sums[kRest][j] += du * (T(1) - p(kBeta, j));
      sums[kGainMem][j] += du * (kSyn ? i_now[j] : x[j]);
      if (kSyn) {
        sums[kGainSyn][j] += di[j] * x[j];
        sums[kAlpha][j] += di[j] * i_old[j];
      }
    }
    if (kSyn) di[j] = p(kAlpha, j) * di[j];
    dv[j] = p(kBeta, j) * du;
  });
  if (kFire && grad_slope) across(n, [&](int j) { sums[kParams][j] += ds[j] * by[j]; });
}

// f<R>() of the reset.
template <class F>
auto by_reset(Reset reset, const F& f) {
  if (reset == Reset::subtract) return f.template operator()<Reset::subtract>();
  if (reset == Reset::zero) return f.template operator()<Reset::zero>();
  return f.template operator()<Reset::none>();
}

// Pick the instance of a function by what the neuron has: go(Run<T, P, S, A, K, R, flag>()).
template <template <class, class, bool, bool, bool, Reset, bool> class Run, class T, class P,
          class F>
void select_for(int64_t kind, Reset reset, bool flag, const F& go) {
  auto by_flag = [&]<bool S, bool A, bool K, Reset R>() {
    flag ? go(Run<T, P, S, A, K, R, true>()) : go(Run<T, P, S, A, K, R, false>());
  };
  auto fires = [&]<bool S, bool A>() {
    by_reset(reset, [&]<Reset R>() { by_flag.template operator()<S, A, true, R>(); });
  };
  if (!(kind & kSpiking)) return by_flag.template operator()<false, false, false, Reset::none>();
  if (kind & kSynapse) return fires.template operator()<true, false>();
  if (kind & kAdaptive) return fires.template operator()<false, true>();
  fires.template operator()<false, false>();
}

}  // namespace spikegrad
