// Layers of IF and LIF neurons without a refractory period: the walk of layer.h with the steps of
// tile.h, so that a row of a tile stays in registers from its current to its spikes, and back.
#pragma once

#include "layer.h"

namespace spikegrad {

template <class T, Reset kR, bool kCompact, bool kFew, class P>
void plain_rows(const Layer<T>& f, const P& p, int64_t tile, int64_t b0, int64_t b1, int64_t t0,
                int64_t t1) {
  const int n = columns_of(tile, f.outputs);
  const int64_t step = f.batch * kTile, groups = groups_of(f.batch);
  const int64_t bytes = f.tiles * f.kept.rows * kTile * static_cast<int64_t>(sizeof(T));
  const bool past = bytes >= kStreamed && reinterpret_cast<uintptr_t>(f.kept.u) % 64 == 0;
  const T edge = compact_of<T>(f.shape.family).edge;
  // Where the kept membranes of a group go on; read and written again for every step only where a
  // call walks several groups: the places of other threads' groups lie in the same cache line.
  T** const places = kFew ? f.kept.few + tile * groups : nullptr;
  T* few = kFew ? places[b0 / kGroup] : nullptr;
  const bool several = b1 - b0 > kGroup;
  for (int64_t t = t0; t < t1; ++t)
    for (int64_t b = b0; b < b1; ++b) {
      const int64_t at = (tile * f.batch + b) * kTile, row = t * f.batch + b;
      const int64_t keep = (tile * f.kept.rows + row - f.kept.origin * f.batch) * kTile;
      if (kFew && several && b % kGroup == 0) few = places[b / kGroup];
      if (!kFew && f.kept.u && !past) fetch(f.kept.u + keep + step, true);
      Lane<T> x[kVectors<T>], u[kVectors<T>];
      current_of(f, tile, t, b, x);
      const Fired fired = lif_forward<T, kR, kCompact>(
          p, x, f.state.v + at, edge, [&](int k, Lane<T> now, Mask<T>, unsigned inside) {
            if (kFew)
              compress_store<T>(inside, now, few);
            else
              u[k] = now;
          });
      if (kFew && several) places[b / kGroup] = few;
      if (!kFew && f.kept.u) store_row(u, kTile, f.kept.u + keep, past);
      if (f.kept.current) store_row(x, kTile, f.kept.current + keep, false);
      const int64_t place = t * f.word_t + b * f.word_b + tile * f.word_tile;
      if (f.bits) f.bits[place] = fired.spikes;
      if (kCompact) f.support[place] = fired.support;
      if (f.y) unpack_row(&fired.spikes, n, f.y + row * f.outputs + tile * kTile);
    }
  if (kFew && !several) places[b0 / kGroup] = few;
}

template <class T, Reset kR>
void plain_layer_forward(const Layer<T>& f, int64_t tile, int64_t b0, int64_t b1, int64_t t0,
                         int64_t t1) {
  const Tiled<T> own = tile_of(f.params, tile);
  auto rows = [&]<bool kCompact, bool kFew>() {
    by_parameters(own, f.alike && columns_of(tile, f.outputs) == kTile, [&](const auto& p) {
      plain_rows<T, kR, kCompact, kFew>(f, p, tile, b0, b1, t0, t1);
    });
  };
  if (f.kept.few) return rows.template operator()<true, true>();
  f.support ? rows.template operator()<true, false>() : rows.template operator()<false, false>();
}

template <class T, Reset kR, bool kFew, class P>
void plain_rows_back(const LayerBack<T>& f, const P& p, int64_t tile, int64_t b0, int64_t b1,
                     int64_t t0, int64_t t1) {
  const int64_t stride = padded<T>(f.outputs), step = f.batch * kTile;
  const Family family = f.rule.shape.family;
  Few<T> few;
  for (int64_t t = t1; t-- > t0;)
    for (int64_t b = b0; b < b1; ++b) {
      const int64_t at = (tile * f.batch + b) * kTile, row = t * f.batch + b;
      Membranes<T> m;
      if (f.places) {
        m.support = f.places->word(tile, t, b);
        if (b % kGroup == 0) few.start(f, tile, t, b);
      }
      Lane<T> incoming[kVectors<T>], dx[kVectors<T>];
      incoming_of(f, tile, t, b, m.support, few.gradients, incoming);
      if (kFew) {
        m.few = few.membranes;
        few.membranes += __builtin_popcountll(m.support);
        if (f.spikes) m.spikes = f.spikes[row * f.tiles + tile];
      } else {
        m.u = f.kept.u + (tile * f.kept.rows + row - f.kept.origin * f.batch) * kTile;
        if (t > f.kept.origin) fetch(m.u - step, false);
      }
      lif_backward<T, kR, kFew>(family, f.rule.attached, p, incoming, m, f.state.v + at, dx);
      T* out = f.out + ((f.total ? 0 : (t - f.origin) * f.batch) + b) * stride + tile * kTile;
      if (f.total) add_row(out, kTile, dx);
      store_row(dx, kTile, out, false);
    }
}

template <class T, Reset kR>
void plain_layer_backward(const LayerBack<T>& f, int64_t tile, int64_t b0, int64_t b1, int64_t t0,
                          int64_t t1) {
  const Tiled<T> own = tile_of(f.params, tile);
  auto rows = [&]<bool kFew>() {
    by_parameters(own, f.alike && columns_of(tile, f.outputs) == kTile,
                  [&](const auto& p) { plain_rows_back<T, kR, kFew>(f, p, tile, b0, b1, t0, t1); });
  };
  f.few_membranes ? rows.template operator()<true>() : rows.template operator()<false>();
}

}  // namespace spikegrad
