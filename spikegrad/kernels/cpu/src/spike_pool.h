// A spiking neuron and the max-pool behind it, over time, channels-last.
//
//   y[t] = the maximum of the spikes of a window
//   index[t] = which one it was, the first of equals
//
// What the neuron is, a generated program knows (programs.h). Neither spikes nor what is kept of a
// step is stored: the backward pass runs the neurons again. A piece is some windows of one row of
// windows, all steps, small enough for the second-level cache. Its neurons lie in rows of 64, each
// run of them filled up to whole rows.
#pragma once

#include "programs.h"
#include "step.h"
#include "tiles.h"
#include "wide.h"

#include <algorithm>

namespace spikegrad {
namespace {

template <class T>
struct SpikePool {
  const Program* program;
  const T* params;  // [kinds]
  int64_t steps, batch, height, width, channels, kh, kw;
  int64_t x_step;   // 0: the same input at every step
  const T* x;       // [T or 1, B, H, W, C]
  const T* starts;  // [kinds][B H W C], or [kinds] where all begin alike
  bool alike;

  int64_t out_height() const { return height / kh; }
  int64_t out_width() const { return width / kw; }
  int64_t image() const { return height * width * channels; }
  int64_t neurons() const { return batch * image(); }
  int64_t pooled() const { return out_height() * out_width() * channels; }
  // Windows of a piece: what a backward pass has of all steps in 256 KB.
  int64_t windows() const {
    const int64_t kept = std::max<int64_t>(1, program->reals);
    const int64_t bytes = steps * kh * kw * channels * kept * static_cast<int64_t>(sizeof(T));
    return std::clamp<int64_t>((int64_t{1} << 15) / bytes, 1,
                               std::max<int64_t>(1, (width + kw - 1) / kw));
  }
  int64_t pieces_of_row() const { return ((width + kw - 1) / kw + windows() - 1) / windows(); }
  int64_t rows() const { return (height + kh - 1) / kh; }
  int64_t pieces() const { return batch * rows() * pieces_of_row(); }
  int64_t run() const { return tiles_of(windows() * kw * channels) * kTile; }  // filled up
  int64_t piece_size() const { return kh * run(); }
};

// Where a piece lies: its rows are contiguous runs of `run` numbers, `rows` of them. Windows that
// would reach over the edge have neurons but no output.
struct Piece {
  int64_t image, row, rows, column, run, windows, out;

  template <class T>
  Piece(const SpikePool<T>& f, int64_t number) {
    const int64_t per_row = f.pieces_of_row(), strip = number / per_row % f.rows();
    image = number / per_row / f.rows();
    row = strip * f.kh, rows = std::min(f.kh, f.height - row);
    column = number % per_row * f.windows() * f.kw;
    run = std::min(f.windows() * f.kw, f.width - column) * f.channels;
    windows = rows == f.kh
                  ? std::min(f.windows(), f.out_width() - std::min(f.out_width(), column / f.kw))
                  : 0;
    out = image * f.pooled() + (strip * f.out_width() + column / f.kw) * f.channels;
  }
  // Where row k of the piece starts in [B, H, W, C].
  template <class T>
  int64_t at(const SpikePool<T>& f, int64_t k) const {
    return image * f.image() + ((row + k) * f.width + column) * f.channels;
  }
};

// What a thread has of its piece: states and outputs of the neurons; for the backward pass also
// what is kept of all steps, the gradients of the states and of the input.
template <class T>
struct Room {
  const SpikePool<T>& f;
  const int64_t size, words, per_run;  // numbers and words of a step, words of a run
  Scratch states, spikes_as_numbers, spikes, support, last_row;
  Scratch reals, masks, inputs, carry, gradient, first, sums;
  std::vector<T*> few;  // where what is kept of a run at a step begins, in the support alone

  Room(const SpikePool<T>& problem, bool back)
      : f(problem), size(f.piece_size()), words(size / kTile), per_run(words / f.kh),
        states(scratch<T>(f.program->states * size)), spikes_as_numbers(scratch<T>(size)),
        spikes(scratch<uint64_t>(words * (back ? f.steps : 1))),
        support(scratch<uint64_t>(words * (back ? f.steps : 1))), last_row(scratch<T>(kTile)) {
    if (!back) return;
    const Program& p = *f.program;
    reals = scratch<T>(p.reals * f.steps * size),
    masks = scratch<uint64_t>(p.masks * f.steps * words);
    inputs = scratch<T>(p.reads_input ? f.steps * size : 0);
    carry = scratch<T>(p.smooth * size), gradient = scratch<T>(size);
    first = scratch<T>(p.states * size), sums = scratch<T>(p.learned * kTile);
    few.resize(f.steps * f.kh);
  }
};

// The states at the beginning of one row of the piece.
template <class T>
void start(const SpikePool<T>& f, const Piece& p, int64_t size, T* states) {
  for (int64_t kind = 0; kind < f.program->states; ++kind)
    for (int64_t k = 0; k < p.rows; ++k) {
      T* to = states + kind * size + k * f.run();
      if (f.alike) {
        std::fill(to, to + f.run(), f.starts[kind]);
      } else {
        std::memcpy(to, f.starts + kind * f.neurons() + p.at(f, k), p.run * sizeof(T));
        std::fill(to + p.run, to + f.run(), to[p.run - 1]);
      }
    }
}

// Rows [first, first + n) of the 64-column rows of run k at step t.
template <class T>
void some_rows(const SpikePool<T>& f, Room<T>& r, int64_t t, int64_t k, int64_t first, int64_t n,
               const T* x, bool keep, T*& few) {
  const int64_t at = k * f.run() + first * kTile, word = k * r.per_run + first;
  const int64_t step = keep ? t : 0;
  RowsStep<T> c{};
  c.rows = n, c.n = kTile, c.params = f.params, c.x = x, c.x_row = kTile;
  c.states = r.states.template as<T>() + at, c.state = r.size;
  c.spikes = r.spikes.template as<uint64_t>() + step * r.words + word;
  c.support = r.support.template as<uint64_t>() + step * r.words + word;
  c.word = 1, c.keep = keep;
  if (keep) {
    c.reals = r.reals.template as<T>() + t * r.size + at, c.real = f.steps * r.size;
    c.masks = r.masks.template as<uint64_t>() + t * r.words + word, c.mask = f.steps * r.words;
    c.few = &few;
    if (f.program->reads_input)
      std::memcpy(r.inputs.template as<T>() + t * r.size + at, x, n * kTile * sizeof(T));
  }
  reinterpret_cast<RowsFunction<T>>(f.program->forward)(c);
}

// One step of all neurons of a piece: their spikes as words, and what is kept.
template <class T>
void neurons_step(const SpikePool<T>& f, Room<T>& r, const Piece& p, int64_t t, bool keep) {
  for (int64_t k = 0; k < p.rows; ++k) {
    const T* x = f.x + t * f.x_step + p.at(f, k);
    const int64_t whole = p.run / kTile, rest = p.run % kTile;
    T* few = nullptr;
    if (keep) few = r.few[t * f.kh + k] = r.reals.template as<T>() + t * r.size + k * f.run();
    if (whole) some_rows(f, r, t, k, 0, whole, x, keep, few);
    if (!rest) continue;
    // The row is not read beyond its end, which may be that of the tensor.
    T* last = r.last_row.template as<T>();
    std::memcpy(last, x + whole * kTile, rest * sizeof(T));
    std::fill(last + rest, last + kTile, last[rest - 1]);
    some_rows(f, r, t, k, whole, 1, last, keep, few);
  }
}

// The spikes of a step as numbers, in rows of the filled-up runs.
template <class T>
const T* numbers_of(const SpikePool<T>& f, Room<T>& r, const Piece& p) {
  T* s = r.spikes_as_numbers.template as<T>();
  const uint64_t* words = r.spikes.template as<uint64_t>();
  for (int64_t k = 0; k < p.rows; ++k)
    for (int64_t w = 0; w < tiles_of(p.run); ++w)
      for (int j = 0; j < kTile; j += kLanes<T>) {
        const auto bits = static_cast<unsigned>(words[k * r.per_run + w] >> j);
        store(s + k * f.run() + w * kTile + j, keep<T>(mask_from<T>(bits), all_of(T(1))));
      }
  return s;
}

// The maxima of the spikes s of a piece over its windows: to y and index [windows, C].
template <class T>
void pool_step(const SpikePool<T>& f, const Piece& p, const T* s, T* y, uint8_t* index) {
  for (int64_t w = 0; w < p.windows; ++w)
    over_channels<T>(f.channels, [&](int64_t c, auto n) {
      Lane<T> most{};
      Integers<T> which{};
      for (int64_t h = 0, k = 0; h < f.kh; ++h)
        for (int64_t at = w * f.kw * f.channels + c; k < (h + 1) * f.kw; ++k, at += f.channels) {
          const Lane<T> spike = take(s + h * f.run() + at, n);
          which = spike > most ? every<T>(k) : which;
          most = spike > most ? spike : most;
        }
      put<T>(y + w * f.channels + c, most, n);
      put_bytes<T>(index + w * f.channels + c, which, n);
    });
}

template <class T>
void forward_piece(const SpikePool<T>& f, Room<T>& r, int64_t number, T* y, uint8_t* index,
                   T* ends) {
  const Piece p(f, number);
  start(f, p, r.size, r.states.template as<T>());
  for (int64_t t = 0; t < f.steps; ++t) {
    const int64_t out = t * f.batch * f.pooled() + p.out;
    neurons_step(f, r, p, t, false);
    pool_step(f, p, numbers_of(f, r, p), y + out, index + out);
  }
  for (int64_t kind = 0; kind < f.program->states; ++kind)
    for (int64_t k = 0; k < p.rows; ++k)
      std::memcpy(ends + kind * f.neurons() + p.at(f, k),
                  r.states.template as<T>() + kind * r.size + k * f.run(), p.run * sizeof(T));
}

template <class T>
struct SpikePoolBack {
  const T *grad_y, *grad_ends;  // [T, B, OH, OW, C], [kinds][B, H, W, C]; null: zero
  const uint8_t* index;
  T *dx, *dstarts;  // [T or 1, B, H, W, C]; [kinds][B, H, W, C]
  double* sums;     // [pieces][learned]
};

// The pooled gradient [windows, C] at the neurons [rows, run] that it came from.
template <class T>
void route(const SpikePool<T>& f, const Piece& p, const T* y, const uint8_t* index, T* to) {
  const int64_t channels = f.channels, covered = p.windows * f.kw * channels;
  for (int64_t w = 0; w < p.windows; ++w)
    over_channels<T>(channels, [&](int64_t c, auto n) {
      const Lane<T> from = take(y + w * channels + c, n);
      const Integers<T> which = take_bytes<T>(index + w * channels + c, n);
      for (int64_t h = 0, k = 0; h < f.kh; ++h)
        for (int64_t at = w * f.kw * channels + c; k < (h + 1) * f.kw; ++k, at += channels)
          put<T>(to + h * f.run() + at, which == every<T>(k) ? from : Lane<T>{}, n);
    });
  for (int64_t k = 0; k < p.rows; ++k)
    std::memset(to + k * f.run() + covered, 0, (f.run() - covered) * sizeof(T));
}

// One step back of all neurons of a piece.
template <class T>
void neurons_back(const SpikePool<T>& f, Room<T>& r, const Piece& p, int64_t t) {
  const Program& program = *f.program;
  const bool first = t == 0;
  for (int64_t k = 0; k < p.rows; ++k) {
    const int64_t at = k * f.run(), word = t * r.words + k * r.per_run;
    RowsBack<T> c{};
    c.rows = tiles_of(p.run), c.params = f.params;
    c.grad = r.spikes_as_numbers.template as<T>() + at, c.grad_row = kTile;
    c.spikes = r.spikes.template as<uint64_t>() + word, c.spikes_before = c.spikes - r.words;
    c.support = r.support.template as<uint64_t>() + word, c.support_before = c.support - r.words;
    c.word = 1;
    c.reals = r.reals.template as<T>() + t * r.size + at, c.reals_before = c.reals - r.size;
    c.real = f.steps * r.size;
    c.masks = r.masks.template as<uint64_t>() + word, c.masks_before = c.masks - r.words;
    c.mask = f.steps * r.words;
    if (program.reads_input)
      c.x = r.inputs.template as<T>() + t * r.size + at, c.x_before = c.x - r.size;
    c.first = first ? r.first.template as<T>() + at : nullptr;
    c.carry = r.carry.template as<T>() + at, c.state = r.size;
    c.sums = r.sums.template as<T>();
    c.dx = r.gradient.template as<T>() + at, c.dx_row = kTile, c.add = f.x_step == 0;
    const T* few = r.few[t * f.kh + k];
    c.few = &few;
    reinterpret_cast<RowsBackFunction<T>>(program.backward)(c);
  }
}

template <class T>
void backward_piece(const SpikePool<T>& f, const SpikePoolBack<T>& b, Room<T>& r, int64_t number) {
  const Program& program = *f.program;
  const Piece p(f, number);
  T *carry = r.carry.template as<T>(), *dx = r.gradient.template as<T>();
  T* incoming = r.spikes_as_numbers.template as<T>();
  start(f, p, r.size, r.states.template as<T>());
  std::memcpy(r.first.template as<T>(), r.states.template as<T>(),
              program.states * r.size * sizeof(T));
  for (int64_t t = 0; t < f.steps; ++t) neurons_step(f, r, p, t, true);
  std::memset(carry, 0, program.smooth * r.size * sizeof(T));
  for (int64_t kind = 0; b.grad_ends && kind < program.smooth; ++kind)
    for (int64_t k = 0; k < p.rows; ++k)
      std::memcpy(carry + kind * r.size + k * f.run(),
                  b.grad_ends + kind * f.neurons() + p.at(f, k), p.run * sizeof(T));
  std::memset(dx, 0, r.size * sizeof(T));
  std::memset(incoming, 0, r.size * sizeof(T));
  if (program.learned) std::memset(r.sums.template as<T>(), 0, program.learned * kTile * sizeof(T));
  for (int64_t t = f.steps; t-- > 0;) {
    const int64_t out = t * f.batch * f.pooled() + p.out;
    if (b.grad_y) route(f, p, b.grad_y + out, b.index + out, incoming);
    neurons_back(f, r, p, t);
    if (f.x_step != 0 || t == 0)
      for (int64_t k = 0; k < p.rows; ++k)
        std::memcpy(b.dx + t * f.x_step + p.at(f, k), dx + k * f.run(), p.run * sizeof(T));
  }
  for (int64_t kind = 0; kind < program.smooth; ++kind)
    for (int64_t k = 0; k < p.rows; ++k)
      std::memcpy(b.dstarts + kind * f.neurons() + p.at(f, k), carry + kind * r.size + k * f.run(),
                  p.run * sizeof(T));
  for (int64_t k = 0; k < program.learned; ++k) {
    double* total = b.sums + number * program.learned + k;
    *total = 0;
    for (int j = 0; j < kTile; ++j) *total += r.sums.template as<T>()[k * kTile + j];
  }
}

}  // namespace
}  // namespace spikegrad
