// Real numbers of which many are 0 (an image, spikes that a dropout scaled): products along those
// that are not.
#pragma once

#include "places.h"
#include "products.h"

namespace spikegrad {

// Which of up to 64 values are not 0.
template <class T>
inline uint64_t nonzero_word(const T* x, int n) {
  return word_where(x, n, [](Lane<T> v) { return unequal<T>(v, Lane<T>{}); });
}

template <class T>
inline int64_t nonzeros_in(const T* row, int64_t columns) {
  int64_t count = 0;
  for (int64_t w = 0; w < tiles_of(columns); ++w)
    count += __builtin_popcountll(nonzero_word(row + w * kTile, columns_of(w, columns)));
  return count;
}
// How many of x [R, N] are not 0, counted as long as there are no more than `most`; else -1. A row
// of sixteen is looked at first: where they say that it will be more, nobody pays for a pass.
template <class T>
int64_t nonzeros(const T* x, int64_t rows, int64_t columns, double most) {
  if (most < 0) return -1;
  int64_t some = 0, looked = 0;
  for (int64_t r = 0; r < rows; r += 16, ++looked) some += nonzeros_in(x + r * columns, columns);
  // A few rows may not be like the others; from sixteen on a wrong guess is one near the crossover,
  // where either way takes as long.
  const double sure = looked < 16 ? 1.5 : 1.05;
  if (static_cast<double>(some) * static_cast<double>(rows) >
      sure * most * static_cast<double>(looked))
    return -1;
  std::atomic<int64_t> all{0};
  parallel(
      rows, std::max<int64_t>(1, (int64_t{1} << 16) / columns), [&](int64_t begin, int64_t end) {
        constexpr int64_t kRows = 64;
        for (int64_t r = begin; r < end && static_cast<double>(all.load()) <= most; r += kRows) {
          int64_t count = 0;
          for (int64_t k = r; k < std::min(end, r + kRows); ++k)
            count += nonzeros_in(x + k * columns, columns);
          all += count;
        }
      });
  return static_cast<double>(all.load()) <= most ? all.load() : -1;
}

// y [R, N] = bias + x W^T. bias: of all tiles, or null.
//
// 64 inputs at a time: what W has for them and a tile lies in the first-level cache, turned around.
template <class T>
void number_product(const T* x, int64_t rows, int64_t inputs, const T* weight, const T* bias,
                    int64_t outputs, T* y) {
  const int64_t tiles = tiles_of(outputs);
  const int64_t many = std::clamp<int64_t>(rows * tiles / 4, 64, 256);  // rows of a piece of work
  const int64_t pieces = (rows + many - 1) / many;
  const bool whole_rows = by_whole_rows<T>(inputs, outputs);
  parallel(tiles * pieces, 1, [&](int64_t begin, int64_t end) {
    const Scratch<T> sums(many * kTile), turned(kTile * kTile);
    for (int64_t piece = begin; piece < end; ++piece) {
      const int64_t tile = whole_rows ? piece % tiles : piece / pieces;
      const int64_t r0 = (whole_rows ? piece / tiles : piece % pieces) * many;
      const int64_t r1 = std::min(rows, r0 + many);
      const int n = columns_of(tile, outputs);
      by_vectors<T>(n, [&]<int V>() {
        for (int64_t part = 0; part < tiles_of(inputs); ++part) {
          const int m = columns_of(part, inputs);
          transpose(weight + tile * kTile * inputs + part * kTile, inputs, n, m, turned.get(),
                    kTile);
          for (int64_t r = r0; r < r1; ++r) {
            const T* from = x + r * inputs + part * kTile;
            T* row = sums + (r - r0) * kTile;
            Lane<T> sum[V] = {};
            for (int v = 0; v < V; ++v) {
              if (part > 0) sum[v] = load(row + v * kLanes<T>);
              if (part == 0 && bias) sum[v] = load(bias + tile * kTile + v * kLanes<T>);
            }
            for (uint64_t word = nonzero_word(from, m); word; word &= word - 1) {
              const int i = __builtin_ctzll(word);
              const Lane<T> value = all_of(from[i]);
              for (int v = 0; v < V; ++v)
                sum[v] = fused<T>(value, load(turned + i * kTile + v * kLanes<T>), sum[v]);
            }
            for (int v = 0; v < V; ++v) store(row + v * kLanes<T>, sum[v]);
          }
        }
      });
      for (int64_t r = r0; r < r1; ++r)
        std::memcpy(y + r * outputs + tile * kTile, sums + (r - r0) * kTile, n * sizeof(T));
    }
  });
}

// The numbers of up to 64 columns and 128 rows that are not 0, column by column.
template <class T>
struct NumberColumns {
  static constexpr int kRows = 128;
  alignas(64) T values[kTile][kRows + kTransposed];
  uint8_t rows[kTile][kRows + kListSlack];
  int count[kTile];

  void take(const T* x, int64_t stride, int many, int columns) {
    alignas(64) T turned[kTile * kTransposed];
    std::fill(count, count + columns, 0);
    for (int r = 0; r < many; r += kTransposed) {
      const int some = std::min(kTransposed, many - r);
      transpose(x + r * stride, stride, some, columns, turned, kTransposed);
      for (int c = 0; c < columns; ++c) append(c, r, turned + c * kTransposed, some);
    }
  }

 private:
  void append(int c, int r, const T* v, int some) {
    int& next = count[c];
    T* to = values[c] + next;
    const uint64_t word = nonzero_word(v, some);
    for (int j = 0; j < some; j += kLanes<T>)
      compress_store<T>(static_cast<unsigned>(word >> j), load(v + j), to);
    list_ones(word, r, rows[c] + next);
    next += std::popcount(word);
  }
};
// dW [N, I] = the products of numbers x [R, I] and gradients dy [R], `stride` apart; add: on top.
template <class T>
void number_gradient(const T* dy, int64_t stride, int64_t rows, int64_t outputs, const T* x,
                     int64_t inputs, bool add, T* dw) {
  // Tiles of outputs at a time: their sums stay in the second-level cache, and two threads at least
  // have outputs of their own, whose weights they will update.
  const int64_t tiles = tiles_of(outputs), kept = std::clamp<int64_t>((tiles + 1) / 2, 1, 8);
  constexpr int kRows = NumberColumns<T>::kRows;
  const int64_t parts = tiles_of(inputs), groups = (tiles + kept - 1) / kept;
  parallel(parts * groups, 1, [&](int64_t begin, int64_t end) {
    const Scratch<T> kept_sums(kept * kTile * kTile), spare(kTile * kTile);
    const Scratch<NumberColumns<T>> memory(1);
    NumberColumns<T>& columns = *memory;
    for (int64_t piece = begin; piece < end; ++piece) {
      const int64_t part = piece % parts, first = piece / parts * kept;
      const int64_t last = std::min(tiles, first + kept);
      const int m = columns_of(part, inputs);
      for (int64_t r = 0; r < rows; r += kRows) {
        const int many = static_cast<int>(std::min<int64_t>(kRows, rows - r));
        columns.take(x + r * inputs + part * kTile, inputs, many, m);
        for (int64_t tile = first; tile < last; ++tile) {
          T* to = kept_sums + (tile - first) * kTile * kTile;
          const T* gradients = dy + r * stride + tile * kTile;
          by_vectors<T>(columns_of(tile, outputs), [&]<int V>() {
            for (int i = 0; i < m; ++i) {
              Lane<T> sum[V] = {};
              T* row = to + i * kTile;
              for (int v = 0; r > 0 && v < V; ++v) sum[v] = load(row + v * kLanes<T>);
              for (int e = 0; e < columns.count[i]; ++e) {
                const T* g = gradients + columns.rows[i][e] * stride;
                const Lane<T> value = all_of(columns.values[i][e]);
                for (int v = 0; v < V; ++v)
                  sum[v] = fused<T>(value, load(g + v * kLanes<T>), sum[v]);
              }
              for (int v = 0; v < V; ++v) store(row + v * kLanes<T>, sum[v]);
            }
          });
        }
      }
      for (int64_t tile = first; tile < last; ++tile) {
        const T* sums = kept_sums + (tile - first) * kTile * kTile;
        const int n = columns_of(tile, outputs);
        T* to = dw + tile * kTile * inputs + part * kTile;
        if (!add) transpose(sums, kTile, m, n, to, inputs);
        if (!add) continue;
        transpose(sums, kTile, m, n, spare.get(), kTile);
        for (int j = 0; j < n; ++j)
          for (int i = 0; i < m; ++i) to[j * inputs + i] += spare[j * kTile + i];
      }
    }
  });
}

}  // namespace spikegrad
