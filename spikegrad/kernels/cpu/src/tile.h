// A step of LIF neurons on one tile in registers: neuron.h's forward_step and backward_step for the
// neurons that most networks are made of, without a place in memory for what nobody reads again.
//
// Taken by layer.h for IF and LIF without a refractory period, backward without
// parameter gradients and for surrogates that are plain arithmetic. The same operations in the same
// order as neuron.h, to the last bit, which the tests compare.
#pragma once

#include "neuron.h"
#include "places.h"
#include "tiles.h"

#include <cmath>

namespace spikegrad {

// unit_derivative of surrogate.h at z = k d, of a plain family.
template <class T>
[[gnu::always_inline]] inline Lane<T> plain_derivative(Family family, Lane<T> z) {
  const Lane<T> one = all_of(T(1));
  switch (family) {
    case Family::triangle:
      return positive_part<T>(one - absolute<T>(z));
    case Family::boxcar:
      return keep<T>(at_least<T>(one, absolute<T>(z)), all_of(T(0.5)));
    case Family::arctan:
      return all_of(T(0.31830988618379067)) / (one + z * z);
    case Family::fast_sigmoid: {
      const Lane<T> q = one + absolute<T>(z);
      return all_of(T(0.5)) / (q * q);
    }
    case Family::sigmoid:
    case Family::gaussian:
    case Family::exponential:
    case Family::algebraic:
    case Family::multi_gaussian:
    case Family::q_pseudospike:
    case Family::leaky:
    case Family::straight_through:
    case Family::own:
      break;
  }
  return all_of(kUnknown<T>);
}

// A value per layer [1] or per neuron [N] as one per column of all tiles.
template <class T>
void to_columns(const T* from, bool each, int64_t columns, T rest, T* to) {
  std::fill(to, to + tiles_of(columns) * kTile, rest);
  for (int64_t j = 0; j < columns; ++j) to[j] = from[each ? j : 0];
}

// A tile's parameters, slope and amplitude, row by row: [kRows][64].
constexpr int kSlope = kParams, kAmplitude = kParams + 1, kRows = kParams + 2;
template <class T>
struct Tiled {
  const T* p;
  T operator()(int row, int j) const { return p[row * kTile + j]; }
  Lane<T> at(int row, int j) const { return load(p + row * kTile + j); }
};
// The same where all columns are alike: in registers.
template <class T>
struct Alike {
  Lane<T> rows[kRows];
  explicit Alike(const Tiled<T>& p) {
    for (int row = 0; row < kRows; ++row) rows[row] = p.at(row, 0);
  }
  Lane<T> at(int row, int) const { return rows[row]; }
};
// And where the rest is 0 and the gain of the input 1, which takes three operations less.
template <class T>
struct Unit : Alike<T> {
  using Alike<T>::Alike;
  static bool fits(const Tiled<T>& p) { return p(kRest, 0) == T(0) && p(kGainMem, 0) == T(1); }
};
template <class P>
constexpr bool kUnit = false;
template <class T>
constexpr bool kUnit<Unit<T>> = true;
// f(parameters) in their quickest form. alike: all columns of the tile are.
template <class T, class F>
void by_parameters(const Tiled<T>& p, bool alike, const F& f) {
  if (!alike) return f(p);
  Unit<T>::fits(p) ? f(Unit<T>(p)) : f(Alike<T>(p));
}
template <class T>
Tiled<T> tile_of(const T* params, int64_t tile) {
  return {params + tile * kRows * kTile};
}
// A value per layer [1] or per neuron [N] as one row of all tiles.
template <class T>
void set_row(T* params, int row, const T* from, bool each, int64_t columns, T rest) {
  for (int64_t tile = 0; tile < tiles_of(columns); ++tile) {
    T* to = params + (tile * kRows + row) * kTile;
    const int n = columns_of(tile, columns);
    for (int j = 0; j < kTile; ++j) to[j] = j < n ? from[each ? tile * kTile + j : 0] : rest;
  }
}
// Parameters of all tiles [tiles][kRows][64], the amplitude not set. Columns beyond N never spike
// and are in no support: nothing reaches them, their threshold is 1 and their slope 2.
template <class T>
Scratch tile_params(const Tensor& params, const Tensor& slope, int64_t columns) {
  Scratch memory = scratch<T>(tiles_of(columns) * kRows * kTile);
  for (int row = 0; row < kParams; ++row)
    set_row(memory.as<T>(), row, data<T>(params) + row * params.size(1), params.size(1) > 1,
            columns, row == kThreshold ? T(1) : T(0));
  set_row(memory.as<T>(), kSlope, data<T>(slope), slope.size(0) > 1, columns, T(2));
  return memory;
}

// A surrogate of compact support: 0 from |k d| = edge on, at unit slope top - fall |k d| within. Of
// other families nobody asks.
template <class T>
struct Compact {
  T edge, top, fall;
};
template <class T>
inline Compact<T> compact_of(Family family) {
  switch (family) {
    case Family::triangle:
      return {T(1), T(1), T(1)};
    case Family::boxcar:  // at 1 it is not 0 yet
      return {std::nextafter(T(1), T(2)), T(0.5), T(0)};
    case Family::arctan:
    case Family::sigmoid:
    case Family::fast_sigmoid:
    case Family::gaussian:
    case Family::exponential:
    case Family::algebraic:
    case Family::multi_gaussian:
    case Family::q_pseudospike:
    case Family::leaky:
    case Family::straight_through:
    case Family::own:
      break;
  }
  return {std::numeric_limits<T>::infinity(), kUnknown<T>, kUnknown<T>};
}

// What a step says of its columns, a bit each.
struct Fired {
  uint64_t spikes = 0, support = 0;  // support: of a compact surrogate
};

// x, v in; v out. leave(k, membranes, spikes, support) takes every vector as it was before the
// reset.
template <class T, Reset kR, bool kCompact, class P, class F>
[[gnu::always_inline]] inline Fired lif_forward(const P& p, const Lane<T>* x, T* v, T edge,
                                                const F& leave) {
  Fired fired;
#pragma GCC unroll 16
  for (int k = 0; k < kVectors<T>; ++k) {
    const int at = k * kLanes<T>;
    auto param = [&](int row) { return p.at(row, at); };
    Lane<T> now;
    if constexpr (kUnit<P>)
      now = param(kBeta) * load(v + at) + x[k];
    else
      now = param(kRest) + param(kBeta) * (load(v + at) - param(kRest)) + param(kGainMem) * x[k];
    const Lane<T> d = now - param(kThreshold);
    const Mask<T> spike = at_least<T>(d, Lane<T>{});
    fired.spikes |= static_cast<uint64_t>(bits_of<T>(spike)) << at;
    unsigned inside = 0;
    if (kCompact) {
      inside = bits_of<T>(above<T>(all_of(edge), absolute<T>(d * param(kSlope))));
      fired.support |= static_cast<uint64_t>(inside) << at;
    }
    Lane<T> after = now;
    if (kR == Reset::subtract) after = now - keep<T>(spike, param(kDrop));
    if (kR == Reset::zero) after = now + keep<T>(spike, param(kReset) - now);
    store(v + at, after);
    leave(k, now, spike, inside);
  }
  return fired;
}

// What a step backward reads of its membranes: all of them, or those of the support alone with the
// words of support and spikes.
template <class T>
struct Membranes {
  const T* u = nullptr;
  const T* few = nullptr;
  uint64_t support = 0, spikes = 0;
};

// incoming, membranes, dv in; dv, dx out.
template <class T, Reset kR, bool kFew, class P>
[[gnu::always_inline]] inline void lif_backward(Family family, bool attached, const P& p,
                                                const Lane<T>* incoming, const Membranes<T>& m,
                                                T* dv, Lane<T>* dx) {
  const T* few = m.few;
  const Compact<T> within = compact_of<T>(family);
  const Lane<T> top = all_of(within.top), fall = all_of(within.fall);
#pragma GCC unroll 16
  for (int k = 0; k < kVectors<T>; ++k) {
    const int at = k * kLanes<T>;
    auto param = [&](int row) { return p.at(row, at); };
    const unsigned inside = static_cast<unsigned>(m.support >> at);
    const Lane<T> now = kFew ? expand_load<T>(inside, few) : load(m.u + at);
    const Lane<T> later = load(dv + at), d = now - param(kThreshold);
    const Lane<T> z = d * param(kSlope);
    Lane<T> g =
        param(kAmplitude) * (kFew ? top - fall * absolute<T>(z) : plain_derivative<T>(family, z));
    if (kFew) g = keep<T>(mask_from<T>(inside), g);
    Lane<T> du = later, ds = incoming[k];
    if (kR == Reset::subtract && attached) ds = ds - later * param(kDrop);
    if (kR == Reset::zero) {
      if (attached) ds = ds + later * (param(kReset) - now);
      const Mask<T> below = kFew ? mask_from<T>(~(m.spikes >> at)) : above<T>(Lane<T>{}, d);
      du = keep<T>(below, later);
    }
    du = du + ds * g;
    dx[k] = kUnit<P> ? du : param(kGainMem) * du;
    store(dv + at, param(kBeta) * du);
  }
}

}  // namespace spikegrad
