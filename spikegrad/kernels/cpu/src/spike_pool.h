// A spiking neuron and the max-pool behind it, over time, channels-last.
//
//   u[t] = v_rest + beta (v[t-1] - v_rest) + g x[t]
//   s[t] = [u >= threshold];  v[t] = u after reset
//   y[t] = the maximum of s[t] over a window
//   index[t] = which one it was, the first of equals
//
// Operations stand in the order of the reference, so that spikes and gradients equal those of the
// scan and of torch's pool. Neither spikes nor membranes are stored: the backward pass runs the
// membranes again. A piece is some windows of one row of windows, all steps, small enough for the
// second-level cache.
#pragma once

#include "common.h"
#include "surrogate.h"
#include "wide.h"

#include <algorithm>

namespace spikegrad {
namespace {

// Rows of the parameter matrix [10, 1], as in neuron.h.
enum PoolParam {
  kPoolBeta = 1,
  kPoolGain = 3,
  kPoolThreshold,
  kPoolRest,
  kPoolReset,
  kPoolDrop = 9
};
enum class PoolReset : int64_t { subtract, zero, none };

template <class T>
struct SpikePool {
  int64_t steps, batch, height, width, channels, kh, kw;
  int64_t x_step;   // 0: the same input at every step
  const T *x, *v0;  // [T or 1, B, H, W, C], [B, H, W, C]
  T beta, gain, threshold, rest, reset_to, drop;
  PoolReset reset;

  int64_t out_height() const { return height / kh; }
  int64_t out_width() const { return width / kw; }
  int64_t image() const { return height * width * channels; }
  int64_t pooled() const { return out_height() * out_width() * channels; }
  // Windows of a piece: their membranes of all steps in 256 KB.
  int64_t windows() const {
    const int64_t bytes = steps * kh * kw * channels * static_cast<int64_t>(sizeof(T));
    return std::clamp<int64_t>((int64_t{1} << 15) / bytes, 1,
                               std::max<int64_t>(1, (width + kw - 1) / kw));
  }
  int64_t pieces_of_row() const { return ((width + kw - 1) / kw + windows() - 1) / windows(); }
  int64_t rows() const { return (height + kh - 1) / kh; }
  int64_t pieces() const { return batch * rows() * pieces_of_row(); }
  int64_t piece_size() const { return kh * windows() * kw * channels; }
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

// One step of one run: spikes to s, v in place; membranes before reset to u, if kept.
template <class T, PoolReset kR, bool kKept>
void run_step(const SpikePool<T>& f, const T* x, T* v, T* u, T* s, int64_t n) {
  using V = Lane<T>;
  const V rest = all_of(f.rest), beta = all_of(f.beta), gain = all_of(f.gain);
  const V threshold = all_of(f.threshold), drop = all_of(f.drop), reset_to = all_of(f.reset_to);
  over_channels<T>(n, [&](int64_t j, auto some) {
    const V now = rest + beta * (take(v + j, some) - rest) + gain * take(x + j, some);
    const Mask<T> fired = at_least<T>(now - threshold, V{});
    V after = now;
    if (kR == PoolReset::subtract) after = now - keep<T>(fired, drop);
    if (kR == PoolReset::zero) after = now + keep<T>(fired, reset_to - now);
    if (kKept) put<T>(u + j, now, some);
    put<T>(s + j, keep<T>(fired, all_of(T(1))), some);
    put<T>(v + j, after, some);
  });
}

template <class T, PoolReset kR>
void start(const SpikePool<T>& f, const Piece& p, T* v) {
  for (int64_t k = 0; k < p.rows; ++k)
    for (int64_t j = 0; j < p.run; ++j) v[k * p.run + j] = f.v0 ? f.v0[p.at(f, k) + j] : f.rest;
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
          const Lane<T> spike = take(s + h * p.run + at, n);
          which = spike > most ? every<T>(k) : which;
          most = spike > most ? spike : most;
        }
      put<T>(y + w * f.channels + c, most, n);
      put_bytes<T>(index + w * f.channels + c, which, n);
    });
}

template <class T, PoolReset kR>
void forward_piece(const SpikePool<T>& f, int64_t number, T* scratch, T* y, uint8_t* index,
                   T* v_end) {
  const Piece p(f, number);
  T *v = scratch, *s = v + f.piece_size();
  start<T, kR>(f, p, v);
  for (int64_t t = 0; t < f.steps; ++t) {
    const int64_t out = t * f.batch * f.pooled() + p.out;
    for (int64_t k = 0; k < p.rows; ++k)
      run_step<T, kR, false>(f, f.x + t * f.x_step + p.at(f, k), v + k * p.run, nullptr,
                             s + k * p.run, p.run);
    pool_step(f, p, s, y + out, index + out);
  }
  for (int64_t k = 0; k < p.rows; ++k)
    std::memcpy(v_end + p.at(f, k), v + k * p.run, p.run * sizeof(T));
}

template <class T>
struct SpikePoolBackward {
  const T *grad_y, *grad_v;  // [T, B, OH, OW, C], [B, H, W, C]; null: zero
  const uint8_t* index;
  Shape shape;
  T slope, amplitude;
  bool attached;
  T *dx, *dv0;  // [T or 1, B, H, W, C]; [B, H, W, C] or null
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
          put<T>(to + h * p.run + at, which == every<T>(k) ? from : Lane<T>{}, n);
    });
  for (int64_t k = 0; k < p.rows; ++k)
    std::memset(to + k * p.run + covered, 0, (p.run - covered) * sizeof(T));
}

// One step back of all neurons of a piece: dv of v[t] becomes that of v[t-1].
template <class T, PoolReset kR>
void step_back(const SpikePool<T>& f, const SpikePoolBackward<T>& b, const T* __restrict u,
               const T* __restrict g, const T* __restrict incoming, T* __restrict dv,
               T* __restrict dx, int64_t n) {
  const T beta = f.beta, gain = f.gain, threshold = f.threshold, drop = f.drop;
  const T reset_to = f.reset_to, amplitude = b.amplitude;
  const bool attached = b.attached, sum = f.x_step == 0;
#pragma GCC ivdep
  for (int64_t j = 0; j < n; ++j) {
    T du = dv[j], ds = incoming[j];
    if (kR == PoolReset::subtract) ds -= attached ? dv[j] * drop : T(0);
    if (kR == PoolReset::zero) {
      const T spike = u[j] - threshold >= T(0) ? T(1) : T(0);
      ds += attached ? dv[j] * (reset_to - u[j]) : T(0);
      du = dv[j] * (T(1) - spike);
    }
    du += ds * (amplitude * g[j]);
    dx[j] = (sum ? dx[j] : T(0)) + gain * du;
    dv[j] = beta * du;
  }
}

template <class T, PoolReset kR>
void backward_piece(const SpikePool<T>& f, const SpikePoolBackward<T>& b, int64_t number,
                    T* scratch) {
  const Piece p(f, number);
  const int64_t size = f.piece_size(), n = p.rows * p.run;
  T *u = scratch, *v = u + f.steps * size, *s = v + size, *g = s + size, *dx = g + size;
  start<T, kR>(f, p, v);
  for (int64_t t = 0; t < f.steps; ++t)
    for (int64_t k = 0; k < p.rows; ++k)
      run_step<T, kR, true>(f, f.x + t * f.x_step + p.at(f, k), v + k * p.run,
                            u + t * size + k * p.run, s, p.run);
  T *dv = v, *distance = dx + size;
  for (int64_t k = 0; k < p.rows; ++k)
    for (int64_t j = 0; j < p.run; ++j)
      dv[k * p.run + j] = b.grad_v ? b.grad_v[p.at(f, k) + j] : T(0);
  std::memset(dx, 0, n * sizeof(T));
  for (int64_t t = f.steps; t-- > 0;) {
    const int64_t out = t * f.batch * f.pooled() + p.out;
    if (b.grad_y)
      route(f, p, b.grad_y + out, b.index + out, s);
    else
      std::memset(s, 0, n * sizeof(T));
    for (int64_t j = 0; j < n; ++j) distance[j] = u[t * size + j] - f.threshold;
    const T slope = b.slope;
    unit_derivative(b.shape, distance, [slope](int64_t) { return slope; }, g, static_cast<int>(n));
    step_back<T, kR>(f, b, u + t * size, g, s, dv, dx, n);
    if (f.x_step != 0 || t == 0)
      for (int64_t k = 0; k < p.rows; ++k)
        std::memcpy(b.dx + t * f.x_step + p.at(f, k), dx + k * p.run, p.run * sizeof(T));
  }
  for (int64_t k = 0; b.dv0 && k < p.rows; ++k)
    std::memcpy(b.dv0 + p.at(f, k), dv + k * p.run, p.run * sizeof(T));
}

}  // namespace
}  // namespace spikegrad
