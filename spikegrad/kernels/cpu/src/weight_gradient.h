// The gradient of a weight behind spikes: dW[:, i] = sum over r in which i spiked of dy[r].
//
// Sums stand in the second-level cache and take turns in registers; the rows of dy that they are made
// of, a chunk of rows of a strip of columns, stay in the first-level cache. A visit of a sum costs
// as much as a few rows, so where few spike a strip is half as wide and a chunk has twice the
// rows: half as many visits. A sum runs over the rows in order, however the work is cut.
#pragma once

#include "columns.h"
#include "products.h"

namespace spikegrad {

// Rows of a gradient, `apart`. filled: up to whole tiles, and no power of two apart (`padded`).
template <class T>
struct Rows {
  const T* first;
  int64_t apart;
  bool filled;
};

// The front of rows as rows of V vectors, one behind the other and filled up with zeros; sum += them.
template <int V, class T>
const T* copy_rows(const T* from, int64_t stride, int64_t rows, int n, T* to, Lane<T>* sum) {
  constexpr int kWide = V * kLanes<T>;
  Lane<T> all[V];
  for (int v = 0; v < V; ++v) all[v] = sum[v];
  for (int64_t r = 0; r < rows; ++r, from += stride, to += kWide) {
    if (n < kWide) {
      std::memcpy(to, from, n * sizeof(T));
      std::fill(to + n, to + kWide, T(0));
    }
    for (int v = 0; v < V; ++v) {
      const Lane<T> row = load((n < kWide ? to : from) + v * kLanes<T>);
      if (n == kWide) store(to + v * kLanes<T>, row);
      all[v] = all[v] + row;
    }
  }
  for (int v = 0; v < V; ++v) sum[v] = all[v];
  return to - rows * kWide;
}

// A strip's n columns: total [I][64] and db [n], if there is one, from its rows dy. copied: room for a
// chunk of rows that are not filled.
template <int V, class T>
void strip_gradient(const Rows<T>& dy, int64_t rows, int n, const Columns& columns, int64_t part,
                    T* total, T* db, T* copied) {
  constexpr int kWide = V * kLanes<T>;
  Lane<T> all[V] = {};
  const T* ahead = dy.first;
  for (int64_t c = 0; c < columns.chunks; ++c) {
    const int64_t first = c * columns.rows, many = std::min(rows - first, columns.rows);
    const T* block = dy.first + first * dy.apart;
    if (!dy.filled) block = copy_rows<V>(block, dy.apart, many, n, copied, all);
    const int64_t apart = dy.filled ? dy.apart : kWide;
    for (int64_t r = 0; db && dy.filled && r < many; ++r)
      for (int v = 0; v < V; ++v) all[v] = all[v] + load(block + r * apart + v * kLanes<T>);
    // Meanwhile the rows of the next chunk come closer.
    ahead += many * dy.apart;
    const T* row = ahead;
    int64_t left = dy.filled ? 0 : std::min(rows - first - many, columns.rows);
    columns.visit(c, part, [&](int64_t i, const uint8_t* places, int spikes) {
      if (left) {
        --left;
        for (int v = 0; v < V; ++v) __builtin_prefetch(row + v * kLanes<T>, 0, 2);
        row += dy.apart;
      }
      Lane<T> sum[V];
      T* to = total + i * kTile;
      for (int v = 0; v < V; ++v) sum[v] = load(to + v * kLanes<T>);
      for (int e = 0; e < spikes; ++e) {
        const T* g = block + places[e] * apart;
        for (int v = 0; v < V; ++v) sum[v] = sum[v] + load(g + v * kLanes<T>);
      }
      for (int v = 0; v < V; ++v) store(to + v * kLanes<T>, sum[v]);
    });
  }
  for (int j = 0; db && j < n; ++j) db[j] += all[j / kLanes<T>][j % kLanes<T>];
}

// total [tiles][I][64] += the products of spikes (bits [R, W]) and gradients dy [R]; db [N] += the sums
// of dy, if there is a db.
template <class T>
void weight_gradient(const Rows<T>& dy, int64_t rows, int64_t outputs, const uint64_t* bits,
                     int64_t inputs, T* total, T* db) {
  // Narrow layers have few strips: their inputs are cut into parts as well.
  const Columns columns(bits, rows, inputs, 8 / tiles_of(outputs));
  const int64_t wide = columns.few ? kTile / 2 : kTile, strips = (outputs + wide - 1) / wide;
  const int64_t parts = columns.parts;
  parallel(strips * parts, 1, [&](int64_t begin, int64_t end) {
    const Scratch copied = scratch<T>(dy.filled ? 0 : columns.rows * wide);
    for (int64_t piece = begin; piece < end; ++piece) {
      const int64_t j = piece / parts * wide, part = piece % parts;
      const int n = static_cast<int>(std::min(wide, outputs - j));
      const Rows<T> strip{dy.first + j, dy.apart, dy.filled};
      by_vectors<T>(n, [&]<int V>() {
        strip_gradient<V>(strip, rows, n, columns, part,
                          total + j / kTile * inputs * kTile + j % kTile,
                          db && part == 0 ? db + j : nullptr, copied.template as<T>());
      });
    }
  });
}

// total [tiles][I][64] as W's gradient [N, I]
template <class T>
void untiled(const T* total, int64_t outputs, int64_t inputs, T* out) {
  over_weights(tiles_of(outputs), inputs, [&](int64_t tile, int64_t i, int64_t many) {
    turn(total + (tile * inputs + i) * kTile, kTile, many, columns_of(tile, outputs),
         out + tile * kTile * inputs + i, inputs);
  });
}

}  // namespace spikegrad
