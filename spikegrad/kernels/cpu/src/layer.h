// A whole layer: currents from spikes (or given), feedback, neuron; forward and back through time.
//
// Outputs are walked in tiles of 64 columns, time within a tile, the rows of a group within a step:
// a tile's weights stay in the second-level cache and its states in the first, and nothing of size
// [T, B, N] is written but what the backward pass reads. With feedback every column of a step is
// needed before the next step, so there the tiles of one step are walked over the whole batch.
//
// Inside, rows of N columns are cut into padded tiles: [tile][row][64], row = t B + b. Columns
// beyond N are neurons like the last one, to whom nothing comes in and whom nobody reads.
//
// Of neurons with several inputs a row of currents has the tiles of the first input of all neurons,
// then those of the next: a connection to them has as many outputs, `width`.
//
// What a neuron is, a generated program knows (programs.h): it takes the currents of some rows of a
// tile and its states, and leaves spikes and what is kept.
#pragma once

#include "places.h"
#include "products.h"
#include "programs.h"

namespace spikegrad {

constexpr int64_t kMostInputs = 8;  // of a neuron; MOST_INPUTS of backend.py

// The columns of a row of currents of N neurons.
inline int64_t width_of(int64_t inputs, int64_t neurons) {
  return inputs == 1 ? neurons : inputs * tiles_of(neurons) * kTile;
}

// What of steps [origin, last) is kept for the backward pass: numbers [kinds][tile][rows][64],
// masks [kinds][tile][rows], and the currents [inputs][tile][rows][64].
template <class T>
struct Kept {
  int64_t origin = 0, last = 0, rows = 0;
  T *reals = nullptr, *current = nullptr;
  uint64_t* masks = nullptr;
  T** few = nullptr;  // [tile][groups] where numbers go on that are kept in the support alone
  bool keep = false;
};

// Whether so much is kept that the support alone is worth the work: what stays in the caches costs
// less if it is kept whole.
template <class T>
bool is_compacted(const Program& p, const Kept<T>& kept, int64_t tiles) {
  constexpr int64_t kSmall = int64_t{4} << 20;  // bytes
  return p.within && tiles * kept.rows * kTile * static_cast<int64_t>(sizeof(T)) > kSmall;
}

// Where the numbers of a group begin that are kept in the support alone; before: the rows of the
// groups before it.
template <class T>
T* part_of(const Kept<T>& kept, int64_t tile, int64_t before) {
  return kept.reals + (tile * kept.rows + before) * kTile;
}

template <class T>
struct Layer : Source<T> {
  const Timeline* time;
  int64_t batch, outputs, tiles;
  int64_t width;           // columns of currents
  int64_t apart, by_tile;  // between two inputs, and two tiles, in `current`
  const T* first;          // [B, width], added at the first step, or null
  uint16_t* back_list;     // [B][N + kListSlack] the spikes of the step before
  int32_t* back_count;     // [B]
  const T* back_weights;   // [tile of currents][N][64], or null: none, or along some synapses alone
  const T* back;           // [B][padded width] what comes back along these, or null
  const Program* program;
  const T* params;  // [tiles][kinds][64], or [kinds] where all neurons are alike
  T* states;        // [kinds][tile][B][64]
  Kept<T> kept;
  uint64_t *bits, *support;  // words of every row and tile, so far apart, or null
  int64_t word_b, word_tile;
  bool one_step;  // words of one step alone
  T* y;           // [T, B, N]: spikes, or what the neurons return, or null

  // The given or computed current of a sample's step.
  const T* current_at(int64_t t, int64_t b) const {
    const int64_t by_t = time->ragged ? time->row(t) * this->current_b : t * this->current_t;
    return this->current + by_t + b * this->current_b;
  }
};

// The current of one row and tile into one of the neurons' inputs.
template <class T>
[[gnu::always_inline]] inline void current_of(const Layer<T>& f, int64_t input, int64_t tile,
                                              int64_t t, int64_t b, Lane<T>* sum) {
  const int n = columns_of(tile, f.outputs);
  const int64_t part = input * f.tiles + tile;
  if (f.current) {
    load_row(f.current_at(t, b) + input * f.apart + tile * f.by_tile, n, sum);
  } else {
    f.template follow<kVectors<T>>(part, f.time->row(t, b), sum);
  }
  if (f.back_weights && f.back_count[b]) {
    Lane<T> back[kVectors<T>] = {};
    add_rows(back, f.back_weights + part * f.outputs * kTile,
             f.back_list + b * (f.outputs + kListSlack), f.back_count[b]);
    for (int v = 0; v < kVectors<T>; ++v) sum[v] = sum[v] + back[v];
  }
  if (f.back) add_row(f.back + b * padded<T>(f.width) + part * kTile, kTile, sum);
  if (t == 0 && f.first) add_row(f.first + b * f.width + part * kTile, n, sum);
}

// Some rows of a tile, where they lie or made in a place of their own; of several inputs one behind
// the other.
template <class T>
struct RowsAt {
  const T* at;
  int64_t apart, input = 0;
};
// The currents of rows [b, b + n) at one step; room [inputs][32][64].
template <class T>
RowsAt<T> currents_at(const Layer<T>& f, int64_t tile, int64_t t, int64_t b, int64_t n, T* room) {
  const bool whole = columns_of(tile, f.outputs) == kTile;
  if (f.current && whole && !f.back_weights && !f.back && !(t == 0 && f.first))
    return {f.current_at(t, b) + tile * f.by_tile, f.current_b, f.apart};
  for (int64_t input = 0; input < f.program->inputs; ++input)
    for (int64_t k = 0; k < n; ++k) {
      Lane<T> sum[kVectors<T>];
      current_of(f, input, tile, t, b + k, sum);
      store_row(sum, kTile, room + (input * kGroup + k) * kTile, false);
    }
  return {room, kTile, kGroup * kTile};
}

// What every step of some rows has in common.
template <class T>
RowsStep<T> rows_step(const Layer<T>& f, int64_t tile) {
  const Program& p = *f.program;
  RowsStep<T> c{};
  c.n = columns_of(tile, f.outputs);
  c.params = f.params + (p.each ? tile * p.parameters * kTile : 0);
  c.state = f.tiles * f.batch * kTile, c.word = f.word_b;
  c.keep = f.kept.keep, c.real = f.tiles * f.kept.rows * kTile, c.mask = f.tiles * f.kept.rows;
  c.past = !f.kept.few && streamed(f.kept.reals, c.real);
  c.ahead = f.batch * kTile;
  return c;
}

// The outputs of some rows as numbers.
template <class T>
void write_outputs(const Layer<T>& f, const RowsStep<T>& c, int64_t tile, int64_t row) {
  T* to = f.y + row * f.outputs + tile * kTile;
  for (int64_t k = 0; k < c.rows; ++k, to += f.outputs) {
    if (f.program->spikes)
      unpack_row(c.spikes + k * c.word, c.n, to);
    else if (c.y_row == kTile)
      std::memcpy(to, c.y + k * kTile, c.n * sizeof(T));
  }
}

// The currents of some rows where the backward pass reads them.
template <class T>
void keep_currents(const Layer<T>& f, const RowsStep<T>& c, int64_t keep) {
  for (int64_t input = 0; input < f.program->inputs; ++input)
    for (int64_t k = 0; k < c.rows; ++k)
      std::memcpy(f.kept.current + (input * f.tiles * f.kept.rows + keep + k) * kTile,
                  c.x + input * c.x_input + k * c.x_row, kTile * sizeof(T));
}

// One tile, rows [b0, b1), steps [t0, t1).
template <class T>
void layer_forward(const Layer<T>& f, int64_t tile, int64_t b0, int64_t b1, int64_t t0,
                   int64_t t1) {
  alignas(64) T x[kMostInputs * kGroup * kTile], y[kGroup * kTile];
  const auto run = reinterpret_cast<RowsFunction<T>>(f.program->forward);
  const bool few = f.kept.few, several = b1 - b0 > kGroup;
  T** const places = few ? f.kept.few + tile * groups_of(f.batch) : nullptr;
  // Of one group in a place of this thread's own: those of other threads' groups lie in the same
  // cache line.
  T* place = few ? places[b0 / kGroup] : nullptr;
  RowsStep<T> c = rows_step(f, tile);
  for (int64_t t = t0; t < t1; ++t) {
    const int64_t end = std::min(b1, f.time->alive(t));
    for (int64_t b = b0; b < end; b += kGroup) {
      const int64_t row = f.time->row(t, b);
      const int64_t word = (f.one_step ? b : row) * f.word_b + tile * f.word_tile;
      const int64_t keep = tile * f.kept.rows + row - f.time->row(f.kept.origin);
      c.rows = std::min(kGroup, end - b);
      const RowsAt<T> in = currents_at(f, tile, t, b, c.rows, x);
      c.x = in.at, c.x_row = in.apart, c.x_input = in.input;
      c.states = f.states + (tile * f.batch + b) * kTile;
      c.spikes = f.bits ? f.bits + word : nullptr;
      c.support = f.support ? f.support + word : nullptr;
      const bool direct = f.y && c.n == kTile;
      c.y = direct ? f.y + row * f.outputs + tile * kTile : y, c.y_row = direct ? f.outputs : kTile;
      if (c.keep) {
        if (f.kept.reals) c.reals = f.kept.reals + keep * kTile;
        if (f.kept.masks) c.masks = f.kept.masks + keep;
        if (few) c.few = several ? places + b / kGroup : &place;
        if (f.kept.current) keep_currents(f, c, keep);
      }
      run(c);
      if (f.y) write_outputs(f, c, tile, row);
    }
  }
  if (few && !several) places[b0 / kGroup] = place;
}

template <class T>
struct LayerBack {
  const Timeline* time;
  int64_t batch, outputs, tiles;
  const T* grad_y;  // by strides, or at the places alone, or null
  int64_t grad_t, grad_b, grad_n;
  const Places* places;  // of the support, where the gradient or what is kept is of it alone
  bool few_gradients;
  const uint64_t *spikes, *support;  // [T][B][tiles], where the program reads them
  const T* grad_steady;              // [B, N] of every step, or null
  const T* grad_last;                // [B, N] of the last spikes, or null
  const T* back;  // [32][64] of this tile and group: through the feedback, or null
  const Program* program;
  const T* params;  // as in Layer
  T* carry;         // gradients of the states, [kinds][tile][B][64]
  Kept<T> kept;
  bool compacted;         // what is kept is of the support alone
  const int64_t* groups;  // [groups] the kept rows of the groups before each
  const T* before;        // states at kept.origin
  T* out;                 // dI, rows of padded width from step `origin` on
  int64_t origin;
  bool total;    // add up over time: one row a sample
  double* sums;  // [tile][groups][learned][64], added to

  const T* grad_at(int64_t t, int64_t b) const {
    return grad_y + (time->ragged ? time->row(t) * grad_b : t * grad_t) + b * grad_b;
  }
  // Whether a gradient comes in at the last step of a sample.
  bool last_at(int64_t t, int64_t b) const { return grad_last && b >= time->alive(t + 1); }
};

// The gradient that comes in at one row and tile. few: where those of the support alone go on.
template <class T>
[[gnu::always_inline]] inline void incoming_of(const LayerBack<T>& f, int64_t tile, int64_t t,
                                               int64_t b, const T*& few, Lane<T>* sum) {
  const int n = columns_of(tile, f.outputs);
  for (int v = 0; v < kVectors<T>; ++v) sum[v] = Lane<T>{};
  if (f.few_gradients) {
    const uint64_t word = f.places->word(tile, t, b);
#pragma GCC unroll 16
    for (int v = 0; v < kVectors<T>; ++v)
      sum[v] = expand_load<T>(static_cast<unsigned>(word >> (v * kLanes<T>)), few);
  } else if (f.grad_y) {
    const T* from = f.grad_at(t, b) + tile * kTile * f.grad_n;
    if (f.grad_n == 1) {
      load_row(from, n, sum);
      if (t > 0 && f.grad_t) fetch(f.grad_at(t - 1, b) + tile * kTile, false);
    } else {
      alignas(64) T row[kTile];
      for (int j = 0; j < n; ++j) row[j] = from[j * f.grad_n];
      load_row(row, n, sum);
    }
  }
  const int64_t at = b * f.outputs + tile * kTile;
  if (f.grad_steady) add_row(f.grad_steady + at, n, sum);
  if (f.last_at(t, b)) add_row(f.grad_last + at, n, sum);
  if (f.back) add_row(f.back + b % kGroup * kTile, kTile, sum);
}

// The gradients that come in at rows [b, b + n), at the beginning of a group; room [n][64].
template <class T>
RowsAt<T> incoming_at(const LayerBack<T>& f, int64_t tile, int64_t t, int64_t b, int64_t n,
                      T* room) {
  const bool alone = !f.few_gradients && f.grad_y && f.grad_n == 1 && !f.grad_steady && !f.back &&
                     !f.last_at(t, b + n - 1);
  if (alone && columns_of(tile, f.outputs) == kTile) {
    for (int64_t k = 0; t > 0 && f.grad_t && k < n; ++k)
      fetch(f.grad_at(t - 1, b + k) + tile * kTile, false);
    return {f.grad_at(t, b) + tile * kTile, f.grad_b};
  }
  const T* few = f.few_gradients ? f.grad_y + f.places->start(tile, b / kGroup, t) : nullptr;
  for (int64_t k = 0; k < n; ++k) {
    Lane<T> sum[kVectors<T>];
    incoming_of(f, tile, t, b + k, few, sum);
    store_row(sum, kTile, room + k * kTile, false);
  }
  return {room, kTile};
}

// Where the kept numbers of a group's step begin that are kept in the support alone.
template <class T>
const T* few_at(const LayerBack<T>& f, int64_t tile, int64_t t, int64_t b) {
  const int64_t group = b / kGroup, first = f.places->start(tile, group, f.kept.origin);
  return part_of(f.kept, tile, f.groups[group]) + f.places->start(tile, group, t) - first;
}

template <class T>
RowsBack<T> rows_back(const LayerBack<T>& f, int64_t tile) {
  const Program& p = *f.program;
  RowsBack<T> c{};
  c.params = f.params + (p.each ? tile * p.parameters * kTile : 0);
  c.word = f.tiles, c.state = f.tiles * f.batch * kTile;
  c.real = f.tiles * f.kept.rows * kTile, c.mask = f.tiles * f.kept.rows;
  c.ahead = f.batch * kTile;
  c.x_input = f.tiles * f.kept.rows * kTile;
  c.dx_row = padded<T>(width_of(p.inputs, f.outputs)), c.dx_input = f.tiles * kTile;
  c.add = f.total;
  return c;
}

// One tile, rows [b0, b1), steps from t1 - 1 down to t0.
template <class T>
void layer_backward(const LayerBack<T>& f, int64_t tile, int64_t b0, int64_t b1, int64_t t0,
                    int64_t t1) {
  alignas(64) T incoming[kGroup * kTile];
  const Program& p = *f.program;
  const auto run = reinterpret_cast<RowsBackFunction<T>>(p.backward);
  const Scratch<T> sums(p.learned * kTile);
  std::memset(sums, 0, p.learned * kTile * sizeof(T));
  const int n = columns_of(tile, f.outputs);
  RowsBack<T> c = rows_back(f, tile);
  c.sums = sums;
  for (int64_t t = t1; t-- > t0;) {
    const int64_t end = std::min(b1, f.time->alive(t)), before = f.time->back(t);
    const int64_t step = before * kTile, words = before * f.tiles;
    for (int64_t b = b0; b < end; b += kGroup) {
      const int64_t row = f.time->row(t, b);
      const int64_t keep = tile * f.kept.rows + row - f.time->row(f.kept.origin);
      const int64_t at = (tile * f.batch + b) * kTile, word = row * f.tiles + tile;
      c.rows = std::min(kGroup, end - b);
      const RowsAt<T> in = incoming_at(f, tile, t, b, c.rows, incoming);
      c.grad = in.at, c.grad_row = in.apart;
      if (f.kept.reals) c.reals = f.kept.reals + keep * kTile, c.reals_before = c.reals - step;
      if (f.kept.masks) c.masks = f.kept.masks + keep, c.masks_before = c.masks - before;
      c.x = f.kept.current ? f.kept.current + keep * kTile : nullptr;
      c.x_before = c.x ? c.x - step : nullptr;
      if (f.spikes) c.spikes = f.spikes + word, c.spikes_before = c.spikes - words;
      if (f.support) c.support = f.support + word, c.support_before = c.support - words;
      c.first = t == f.kept.origin ? f.before + at : nullptr;
      c.carry = f.carry + at;
      c.dx = f.out + (f.total ? b : row - f.time->row(f.origin)) * c.dx_row + tile * kTile;
      const T* few = f.compacted ? few_at(f, tile, t, b) : nullptr;
      c.few = f.compacted ? &few : nullptr;
      run(c);
      for (int64_t input = 0; n < kTile && input < p.inputs; ++input)
        for (int64_t k = 0; k < c.rows; ++k)
          std::memset(c.dx + input * c.dx_input + k * c.dx_row + n, 0, (kTile - n) * sizeof(T));
    }
  }
  const int64_t part = (tile * groups_of(f.batch) + b0 / kGroup) * p.learned * kTile;
  for (int64_t k = 0; k < p.learned; ++k)
    for (int j = 0; j < n; ++j) f.sums[part + k * kTile + j] += sums[k * kTile + j];
}

}  // namespace spikegrad
