// Scans of IF and LIF neurons in registers: the steps of tile.h on the blocks of scan.h.
//
// With a surrogate of compact support the membranes inside it are kept, one behind the other in a
// part [T tiles 64] of each block, and words that say where they were.
#pragma once

#include "scan.h"
#include "tile.h"
#include "words.h"

#include <limits>

namespace spikegrad {

template <class T>
struct Plain {
  int64_t steps;
  int64_t tiles;    // of a block with all its columns
  const T* params;  // [tiles][kRows][64]
  bool each;        // else the same tile everywhere
  uint64_t *support,
      *bits;  // [blocks][T][tiles] with few membranes; bits where the reset reads them
  Tiled<T> own(int64_t column) const { return tile_of(params, each ? column / kTile : 0); }
};

// f(own): the parameters of the tile that a column is in, in their quickest form.
template <class T, class F>
void by_owner(const Plain<T>& q, const F& f) {
  const Tiled<T> all = q.own(0);
  if (q.each) return f([&](int64_t column) { return q.own(column); });
  if (Unit<T>::fits(all))
    f([p = Unit<T>(all)](int64_t) -> const Unit<T>& { return p; });
  else
    f([p = Alike<T>(all)](int64_t) -> const Alike<T>& { return p; });
}

template <class T, Reset kR, bool kFew, class O>
void plain_block(const Forward<T>& f, const Plain<T>& q, const O& own, T edge, int64_t block,
                 int64_t offset, int64_t column, int n) {
  alignas(64) T v[kBlock];
  // Beyond n: no number spikes or stands in a support.
  std::fill(v, v + kBlock, std::numeric_limits<T>::quiet_NaN());
  for (int j = 0; j < n; ++j)
    v[j] = f.v0 ? f.v0[offset + j] : q.own(column + j / kTile * kTile)(kRest, j % kTile);
  const bool past = streams(f.s, f.step, f.steps) && offset * sizeof(T) % 64 == 0 &&
                    reinterpret_cast<uintptr_t>(f.u) % 64 == 0;
  T* few = kFew ? f.u + block * q.steps * q.tiles * kTile : nullptr;
  for (int64_t t = 0; t < f.steps; ++t)
    for (int64_t tile = 0; tile * kTile < n; ++tile) {
      const int64_t j = tile * kTile, at = t * f.step + offset + j;
      const int m = columns_of(tile, n);
      Lane<T> x[kVectors<T>], u[kVectors<T>], s[kVectors<T>];
      const T* from = f.x + t * f.x_step + offset + j;
      load_row(from, m, x);
      if (f.x_step && t + 1 < f.steps) fetch(from + f.x_step, false);
      const Fired fired = lif_forward<T, kR, kFew>(
          own(column + j), x, v + j, edge, [&](int k, Lane<T> now, Mask<T> spike, unsigned inside) {
            s[k] = keep<T>(spike, all_of(T(1)));
            if (kFew)
              compress_store<T>(inside, now, few);
            else
              u[k] = now;
          });
      store_row(s, m, f.s + at, past);
      if (!kFew && f.u) store_row(u, m, f.u + at, past);
      if (!kFew) continue;
      const int64_t word = (block * q.steps + t) * q.tiles + tile;
      q.support[word] = fired.support;
      if (kR == Reset::zero) q.bits[word] = fired.spikes;
    }
  std::memcpy(f.v_end + offset, v, n * sizeof(T));
}

template <class T, Reset kR, bool kFew, class O>
void plain_block_back(const Backward<T>& f, const Plain<T>& q, const O& own, int64_t block,
                      int64_t offset, int64_t column, int n) {
  alignas(64) T dv[kBlock], gs[kBlock], u_end[kTile];
  std::memset(dv, 0, sizeof dv);
  for (int j = 0; f.grad_v && j < n; ++j) dv[j] = f.grad_v[offset + j];
  const int64_t words = block * q.steps * q.tiles;
  const T* part = nullptr;  // walked from its end
  if (kFew) {
    part = f.u + words * kTile;
    for (int64_t t = 0; t < q.steps; ++t)
      part += count_of(q.support + words + t * q.tiles, tiles_of(n));
  }
  const bool past = streams(f.dx, f.step, f.steps) && offset * sizeof(T) % 64 == 0;
  const bool dense = f.grad_dense(), constant = f.grad_constant();
  std::fill(gs, gs + kBlock, constant ? *f.grad_s : T(0));
  for (int64_t t = f.steps; t-- > 0;) {
    const T* row = gs;
    if (f.grad_s && dense)
      row = f.grad_s + t * f.grad_t + offset;
    else if (f.grad_s && !constant)
      f.gather(t, offset, n, gs);
    for (int64_t tile = tiles_of(n); tile-- > 0;) {
      const int64_t j = tile * kTile, at = t * f.step + offset + j;
      const int m = columns_of(tile, n);
      Lane<T> incoming[kVectors<T>], dx[kVectors<T>];
      load_row(row + j, m, incoming);
      Membranes<T> from;
      if (kFew) {
        const int64_t word = words + t * q.tiles + tile;
        from.support = q.support[word];
        if (kR == Reset::zero) from.spikes = q.bits[word];
        part -= __builtin_popcountll(from.support);
        from.few = part;
      } else if (m < kTile) {
        std::memset(u_end, 0, sizeof u_end), std::memcpy(u_end, f.u + at, m * sizeof(T));
        from.u = u_end;
      } else {
        from.u = f.u + at;
        if (t > 0) fetch(from.u - f.step, false);
      }
      const Family family = f.rule.shape.family;
      lif_backward<T, kR, kFew>(family, f.rule.attached, own(column + j), incoming, from, dv + j,
                                dx);
      store_row(dx, m, f.dx + at, past);
    }
  }
  std::memcpy(f.dv0 + offset, dv, n * sizeof(T));
}

template <class T, Reset kR, bool kFew>
void plain_forward(const Forward<T>& f, const Plain<T>& q, T edge, int64_t block, int64_t offset,
                   int64_t column, int n) {
  by_owner(q, [&](const auto& own) {
    plain_block<T, kR, kFew>(f, q, own, edge, block, offset, column, n);
  });
}
template <class T, Reset kR, bool kFew>
void plain_backward(const Backward<T>& f, const Plain<T>& q, int64_t block, int64_t offset,
                    int64_t column, int n) {
  by_owner(q, [&](const auto& own) {
    plain_block_back<T, kR, kFew>(f, q, own, block, offset, column, n);
  });
}

// Pick the instance: go(function).
template <class T, class F>
void plain_forward_of(Reset reset, bool few, const F& go) {
  by_reset(reset, [&]<Reset R>() {
    few ? go(&plain_forward<T, R, true>) : go(&plain_forward<T, R, false>);
  });
}
template <class T, class F>
void plain_backward_of(Reset reset, bool few, const F& go) {
  by_reset(reset, [&]<Reset R>() {
    few ? go(&plain_backward<T, R, true>) : go(&plain_backward<T, R, false>);
  });
}

}  // namespace spikegrad
