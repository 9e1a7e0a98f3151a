// Dense products with a weight that stays the same over many calls: packed once, then a tile of 64
// columns at a time, whose sums stay in registers (Goto & van de Geijn 2008, ACM TOMS 34).
#pragma once

#include "tiles.h"

namespace spikegrad {

// W [K, N] as [tile][K][64], the last tile filled with zeros.
template <class T>
Scratch<T> packed_columns(const T* weight, int64_t depth, int64_t columns) {
  const int64_t tiles = tiles_of(columns);
  Scratch<T> made(tiles * depth * kTile);
  parallel_each(tiles, 1, [&](int64_t tile) {
    const int n = columns_of(tile, columns);
    T* to = made + tile * depth * kTile;
    for (int64_t k = 0; k < depth; ++k, to += kTile)
      copy_block<kTile>(weight + k * columns + tile * kTile, n, to);
  });
  return made;
}

// As many sums as the registers hold beside the weight's vectors and one number of the rows.
constexpr int kDenseRows = 6, kDenseVectors = kRegisters >= 32 ? 4 : 2;

// out [kRows][64], some vectors of them: added to, or begun.
template <int kRows, class T>
[[gnu::always_inline]] inline void dense_block(const T* x, int64_t x_stride, const T* w,
                                               int64_t depth, bool add, T* out) {
  constexpr int V = kDenseVectors;
  Lane<T> sum[kRows][V];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) sum[r][v] = add ? load(out + r * kTile + v * kLanes<T>) : Lane<T>{};
  for (int64_t k = 0; k < depth; ++k, w += kTile) {
    Lane<T> weights[V];
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) weights[v] = load(w + v * kLanes<T>);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const Lane<T> value = all_of(x[r * x_stride + k]);
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) sum[r][v] = fused<T>(value, weights[v], sum[r][v]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) store(out + r * kTile + v * kLanes<T>, sum[r][v]);
}

// out [R][64] = x [R, K] times a tile of a packed weight.
template <class T>
void dense_tile(const T* x, int64_t x_stride, int64_t rows, const T* w, int64_t depth, T* out) {
  // What a block reads of the weight stays in the first-level cache for all rows.
  constexpr int64_t kDepth = 16384 / (kDenseVectors * kLaneBytes) * (kRegisters >= 32 ? 2 : 1);
  for (int64_t k = 0; k < depth; k += kDepth)
    for (int v = 0; v < kVectors<T>; v += kDenseVectors) {
      const int64_t some = std::min(kDepth, depth - k);
      const T* here = w + k * kTile + v * kLanes<T>;
      auto block = [&]<int kRows>(int64_t r) {
        dense_block<kRows>(x + r * x_stride + k, x_stride, here, some, k > 0,
                           out + r * kTile + v * kLanes<T>);
      };
      int64_t r = 0;
      for (; r + kDenseRows <= rows; r += kDenseRows) block.template operator()<kDenseRows>(r);
      for (; r + 2 <= rows; r += 2) block.template operator()<2>(r);
      if (r < rows) block.template operator()<1>(r);
    }
}

}  // namespace spikegrad
