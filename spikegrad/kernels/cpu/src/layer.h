// A whole layer: currents from spikes (or given), feedback, neuron; forward and back through time.
//
// Outputs are walked in tiles of 64 columns, time within a tile, the rows of a group within a step:
// a tile's weights stay in the second-level cache and its states in the first, and nothing of size
// [T, B, N] is written but what the backward pass reads. With feedback every column of a step is
// needed before the next step, so there the tiles of one step are walked over the whole batch.
//
// Inside, rows of N columns are cut into padded tiles: [tile][row][64], row = t B + b. Columns
// beyond N see no current; they neither spike nor stand in a support (tile_params).
#pragma once

#include "neuron.h"
#include "products.h"
#include "tile.h"

namespace spikegrad {

// What of every step is kept for the backward pass, [tile][rows][64] from step `origin` on.
template <class T>
struct Kept {
  int64_t origin = 0, rows = 0;
  T *u = nullptr, *i = nullptr, *a = nullptr, *current = nullptr;
  uint8_t* ready = nullptr;
  T** few =
      nullptr;  // [tile][groups] where u goes on, if it holds the membranes of the support alone
};

template <class T>
struct States {  // [tile][B][64]
  T *v = nullptr, *i = nullptr, *a = nullptr;
  int32_t* silent = nullptr;
};

template <class T>
struct Layer : Source<T> {
  int64_t steps, batch, outputs, tiles;
  const T* first;         // [B, N], added at the first step, or null
  uint16_t* back_list;    // [B][N + kListSlack] the spikes of the step before
  int32_t* back_count;    // [B]
  const T* back_weights;  // [tile][N][64], or null: no feedback
  const T* params;        // [tiles][kRows][64]
  bool alike;             // one value for all columns
  int32_t refractory;
  Shape shape;  // of a surrogate with compact support
  States<T> state;
  Kept<T> kept;
  uint64_t *bits, *support;  // words of every step, row and tile, so far apart, or null
  int64_t word_t, word_b, word_tile;
  T* y;  // [T, B, N]: spikes, or membranes of neurons that never spike, or null
};

// The current of one row and tile.
template <class T>
[[gnu::always_inline]] inline void current_of(const Layer<T>& f, int64_t tile, int64_t t, int64_t b,
                                              Lane<T>* sum) {
  const int n = columns_of(tile, f.outputs);
  if (f.current) {
    load_row(f.current + t * f.current_t + b * f.current_b + tile * kTile, n, sum);
  } else {
    for (int v = 0; v < kVectors<T>; ++v)
      sum[v] = f.bias ? load(f.bias + tile * kTile + v * kLanes<T>) : Lane<T>{};
    const int64_t* start = f.start + t * f.batch + b;
    add_rows(sum, f.weights + tile * f.inputs * kTile, f.list + *start, start[1] - *start);
  }
  if (f.back_weights && f.back_count[b]) {
    Lane<T> back[kVectors<T>] = {};
    add_rows(back, f.back_weights + tile * f.outputs * kTile,
             f.back_list + b * (f.outputs + kListSlack), f.back_count[b]);
    for (int v = 0; v < kVectors<T>; ++v) sum[v] = sum[v] + back[v];
  }
  if (t == 0 && f.first) add_row(f.first + b * f.outputs + tile * kTile, n, sum);
}

// Where the surrogate's derivative is not 0.
template <class T>
inline uint64_t support_of(T edge, const T* d, const T* slope) {
  alignas(64) T h[kTile];
  for (int j = 0; j < kTile; ++j) {
    const T z = d[j] * slope[j];
    h[j] = (z < 0 ? -z : z) < edge ? T(1) : T(0);
  }
  return positive(h);
}

// ready [64]: 0 or 1. The product gathers the lowest bits of eight bytes in the highest byte.
inline uint64_t ready_word(const uint8_t* ready) {
  uint64_t word = 0;
  for (int j = 0; j < kTile; j += 8) {
    uint64_t eight;
    std::memcpy(&eight, ready + j, 8);
    word |= (eight * 0x0102040810204080 >> 56) << j;
  }
  return word;
}

// One tile, rows [b0, b1), steps [t0, t1).
template <class T, class P, bool kSyn, bool kAda, bool kFire, Reset kR, bool kSilent>
void layer_forward(const Layer<T>& f, int64_t tile, int64_t b0, int64_t b1, int64_t t0,
                   int64_t t1) {
  alignas(64) T x[kTile], s[kTile], d[kTile], nowhere[kTile];
  alignas(64) uint8_t open[kTile];
  const P p = tile_of(f.params, tile);
  const T edge = compact_of<T>(f.shape.family).edge;
  const int n = columns_of(tile, f.outputs);
  const int64_t step = f.batch * kTile;
  for (int64_t t = t0; t < t1; ++t)
    for (int64_t b = b0; b < b1; ++b) {
      const int64_t at = (tile * f.batch + b) * kTile;
      const int64_t keep = (tile * f.kept.rows + (t - f.kept.origin) * f.batch + b) * kTile;
      const int64_t row = t * f.batch + b;
      Lane<T> sum[kVectors<T>];
      current_of(f, tile, t, b, sum);
      if (f.kept.u) fetch(f.kept.u + keep + step, true);
      T* u = f.kept.u ? f.kept.u + keep : nowhere;
      for (int v = 0; v < kVectors<T>; ++v) store(x + v * kLanes<T>, sum[v]);
      T* i = kSyn ? f.state.i + at : nullptr;
      T* a = kAda ? f.state.a + at : nullptr;
      uint8_t* ready = kSilent && f.kept.ready ? f.kept.ready + keep : open;
      if (f.kept.current) std::memcpy(f.kept.current + keep, x, sizeof x);
      if (kAda && f.kept.a) std::memcpy(f.kept.a + keep, a, kTile * sizeof(T));
      forward_step<T, P, kSyn, kAda, kFire, kR, kSilent>(
          p, kTile, f.refractory, x, f.state.v + at, i, a, kSilent ? f.state.silent + at : nullptr,
          u, s, ready, d);
      if (kSyn && f.kept.i) std::memcpy(f.kept.i + keep, i, kTile * sizeof(T));
      const int64_t place = t * f.word_t + b * f.word_b + tile * f.word_tile;
      if (kFire && f.bits) f.bits[place] = positive(s) & mask_of(n);
      if (kFire && f.support) {
        uint64_t word = support_of(edge, d, p.p + kSlope * kTile) & mask_of(n);
        if (kSilent) word &= ready_word(ready);
        f.support[place] = word;
      }
      if (f.y) std::memcpy(f.y + row * f.outputs + tile * kTile, kFire ? s : u, n * sizeof(T));
    }
}

template <class T>
struct LayerBack {
  int64_t steps, batch, outputs, tiles;
  const T* grad_y;  // by strides, or at the places alone, or null
  int64_t grad_t, grad_b, grad_n;
  const Places* places;  // of the support, where the gradient or the membranes are of it alone
  bool few_gradients, few_membranes;
  const uint64_t* spikes;  // [T][B][tiles], with few membranes
  const T* grad_steady;    // [B, N] of every step, or null
  const T* grad_last;      // [B, N] of the last spikes, or null
  const T* back;        // [B][64] of this tile: through the feedback from the step after, or null
  const T* back_dense;  // the same as [B, N] of all tiles
  const T* params;      // [tiles][kRows][64]
  bool alike;           // one value for all columns
  Rule<T> rule;
  States<T> state;  // dv, di, da
  Kept<T> kept;
  States<T> before;     // states at kept.origin
  const T* derivative;  // of a user's surrogate, [tile][T B][64], else null
  T* out;               // dI, rows of padded N from step `origin` on
  int64_t origin;
  bool total;    // add up over time: one row a sample
  double* sums;  // [kParams + 1][64] of this tile and group, added to
};

// The gradient that comes in at one row and tile. word, few: of the support, where the gradient is
// of it alone; few moves on.
template <class T>
[[gnu::always_inline]] inline void incoming_of(const LayerBack<T>& f, int64_t tile, int64_t t,
                                               int64_t b, uint64_t word, const T*& few,
                                               Lane<T>* sum) {
  const int n = columns_of(tile, f.outputs);
  for (int v = 0; v < kVectors<T>; ++v) sum[v] = Lane<T>{};
  if (f.few_gradients) {
#pragma GCC unroll 16
    for (int v = 0; v < kVectors<T>; ++v)
      sum[v] = expand_load<T>(static_cast<unsigned>(word >> (v * kLanes<T>)), few);
  } else if (f.grad_y) {
    const T* from = f.grad_y + t * f.grad_t + b * f.grad_b + tile * kTile * f.grad_n;
    if (f.grad_n == 1) {
      load_row(from, n, sum);
      if (t > 0 && f.grad_t) fetch(from - f.grad_t, false);
    } else {
      alignas(64) T row[kTile];
      for (int j = 0; j < n; ++j) row[j] = from[j * f.grad_n];
      load_row(row, n, sum);
    }
  }
  const int64_t at = b * f.outputs + tile * kTile;
  if (f.grad_steady) add_row(f.grad_steady + at, n, sum);
  if (f.grad_last && t == f.steps - 1) add_row(f.grad_last + at, n, sum);
  if (f.back_dense) add_row(f.back_dense + at, n, sum);
  if (f.back) add_row(f.back + b * kTile, kTile, sum);
}
// Where the values of a row of the support begin: of gradients and of membranes. Asked for once a
// group and step.
template <class T>
struct Few {
  const T *gradients = nullptr, *membranes = nullptr;
  void start(const LayerBack<T>& f, int64_t tile, int64_t t, int64_t b) {
    const int64_t group = b / kGroup, first = f.places->start(tile, group, t);
    if (f.few_gradients) gradients = f.grad_y + first;
    if (f.few_membranes)
      membranes = f.kept.u + (tile * f.batch + b) * f.steps * kTile + first -
                  f.places->start(tile, group, 0);
  }
};

// One tile, rows [b0, b1), steps from t1 - 1 down to t0.
template <class T, class P, bool kSyn, bool kAda, bool kFire, Reset kR, bool kGrads>
void layer_backward(const LayerBack<T>& f, int64_t tile, int64_t b0, int64_t b1, int64_t t0,
                    int64_t t1) {
  alignas(64) T incoming[kTile], dx[kTile];
  alignas(64) T sums[kGrads ? kParams + 1 : 1][kTile];
  if (kGrads) std::memset(sums, 0, sizeof sums);
  const P p = tile_of(f.params, tile);
  const int64_t stride = padded<T>(f.outputs), step = f.batch * kTile;
  Few<T> few;
  for (int64_t t = t1; t-- > t0;)
    for (int64_t b = b0; b < b1; ++b) {
      const int64_t at = (tile * f.batch + b) * kTile;
      const int64_t kept = (tile * f.kept.rows + (t - f.kept.origin) * f.batch + b) * kTile;
      uint64_t word = 0;
      if (f.places) {
        word = f.places->word(tile, t, b);
        if (b % kGroup == 0) few.start(f, tile, t, b);
      }
      Lane<T> sum[kVectors<T>];
      incoming_of(f, tile, t, b, word, few.gradients, sum);
      store_row(sum, kTile, incoming, false);
      if (kFire && t > f.kept.origin) fetch(f.kept.u + kept - step, false);
      T* out = f.out + ((f.total ? 0 : (t - f.origin) * f.batch) + b) * stride + tile * kTile;
      Moment<T> m{};
      m.incoming = incoming;
      m.u = kFire ? f.kept.u + kept : nullptr;
      m.a = kAda ? f.kept.a + kept : nullptr;
      m.ready = f.kept.ready ? f.kept.ready + kept : nullptr;
      m.derivative = f.derivative ? f.derivative + kept : nullptr;
      if (kGrads) {
        const bool earlier = t > f.kept.origin;
        m.x = f.kept.current + kept;
        m.v0 = f.before.v + at;
        if (earlier) {
          m.before = f.kept.u + kept - step;
          m.a_before = kAda ? m.a - step : nullptr;
          m.ready_before = m.ready ? m.ready - step : nullptr;
        }
        m.i_now = kSyn ? f.kept.i + kept : nullptr;
        m.i_old = !kSyn ? nullptr : earlier ? m.i_now - step : f.before.i + at;
      }
      backward_step<T, P, kSyn, kAda, kFire, kR, kGrads, kTile>(
          f.rule, p, tile * kTile, kTile, m, f.state.v + at, kSyn ? f.state.i + at : nullptr,
          kAda ? f.state.a + at : nullptr, sums, dx);
      if (f.total)
        for (int j = 0; j < kTile; ++j) out[j] += dx[j];
      else
        std::memcpy(out, dx, sizeof dx);
    }
  if (kGrads)
    for (int row = 0; row <= kParams; ++row)
      for (int j = 0; j < kTile; ++j) f.sums[row * kTile + j] += sums[row][j];
}

}  // namespace spikegrad
