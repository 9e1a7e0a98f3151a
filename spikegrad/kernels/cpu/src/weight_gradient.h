// The gradient of a weight behind spikes: dW[:, i] = sum over r in which i spiked of dy[r].
//
// Sums stand in the second-level cache and take turns in registers; the rows of dy that they are
// made of, a chunk of rows of a strip of columns, stay in the first-level cache. A visit of a sum
// costs as much as a few rows, so where few spike a strip is half as wide and a chunk has twice the
// rows: half as many visits. Rows are taken a span of memory at a time: every strip meets all pages
// of a span, more of them than the CPU's table of pages holds would be looked up strip by strip (at
// 4 KB a page that takes 0.3 ms of 3 at 2.5 % of spikes). A sum runs over the rows in order,
// however the work is cut.
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

// The front of rows as rows of V vectors, one behind the other and filled up with zeros; sum +=
// them.
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

// A strip of n columns of rows dy: total [I][64], and the sums of the rows as whole vectors, or
// null.
template <class T>
struct Strip {
  Rows<T> dy;
  int64_t rows;
  int n;
  int64_t part;  // of the inputs
  T *total, *sums;
  T* copied;   // room for a chunk of rows that are not filled
  bool fresh;  // nobody wrote to total yet
};

// The rows that a thread reads next.
template <class T>
struct Ahead {
  const T* first;
  int64_t rows;
};

// Chunks [c0, c1) of a strip.
template <int V, class T>
void strip_gradient(const Strip<T>& s, const Columns& columns, int64_t c0, int64_t c1,
                    const Ahead<T>& after) {
  constexpr int kWide = V * kLanes<T>;
  const Rows<T>& dy = s.dy;
  const int64_t apart = dy.filled ? dy.apart : kWide;
  Lane<T> all[V] = {};
  for (int v = 0; s.sums && v < V; ++v) all[v] = load(s.sums + v * kLanes<T>);
  for (int64_t c = c0; c < c1; ++c) {
    const int64_t first = c * columns.rows, many = std::min(s.rows - first, columns.rows);
    const T* block = dy.first + first * dy.apart;
    if (!dy.filled) block = copy_rows<V>(block, dy.apart, many, s.n, s.copied, all);
    for (int64_t r = 0; s.sums && dy.filled && r < many; ++r)
      for (int v = 0; v < V; ++v) all[v] = all[v] + load(block + r * apart + v * kLanes<T>);
    // Meanwhile the rows of the next chunk come closer.
    const int64_t later = s.rows - first - many;
    const bool begins = s.fresh && c == 0;
    Ahead<T> ahead = after;
    if (!dy.filled && c + 1 < c1)
      ahead = {dy.first + (first + many) * dy.apart, std::min(later, columns.rows)};
    columns.visit(c, s.part, [&](int64_t i, const uint8_t* places, int spikes) {
      if (ahead.rows) {
        --ahead.rows;
        for (int v = 0; v < V; ++v) __builtin_prefetch(ahead.first + v * kLanes<T>, 0, 2);
        ahead.first += dy.apart;
      }
      Lane<T> sum[V];
      T* to = s.total + i * kTile;
      for (int v = 0; v < V; ++v) sum[v] = begins ? Lane<T>{} : load(to + v * kLanes<T>);
      for (int e = 0; e < spikes; ++e) {
        const T* g = block + places[e] * apart;
        for (int v = 0; v < V; ++v) sum[v] = sum[v] + load(g + v * kLanes<T>);
      }
      for (int v = 0; v < V; ++v) store(to + v * kLanes<T>, sum[v]);
    });
    if (begins)
      columns.visit_silent(c, s.part, [&](int64_t i) {
        for (int v = 0; v < V; ++v) store(s.total + i * kTile + v * kLanes<T>, Lane<T>{});
      });
  }
  for (int v = 0; s.sums && v < V; ++v) store(s.sums + v * kLanes<T>, all[v]);
}

// total [tiles][I][64] += the products of spikes (bits [R, W]) and gradients dy [R], or if it is
// fresh = them; db [N] += the sums of dy, if there is a db.
template <class T>
void weight_gradient(const Rows<T>& dy, int64_t rows, int64_t outputs, const uint64_t* bits,
                     int64_t inputs, T* total, T* db, bool fresh) {
  constexpr int64_t kSpan = int64_t{4} << 20;  // bytes
  // Narrow layers have few strips: their inputs are cut into parts as well.
  const Columns columns(bits, rows, inputs, 8 / tiles_of(outputs));
  const int64_t wide = columns.few ? kTile / 2 : kTile, strips = (outputs + wide - 1) / wide;
  const int64_t parts = columns.parts, chunks = columns.chunks;
  const int64_t chunk = columns.rows * dy.apart;  // numbers from one to the next
  const int64_t span = std::max<int64_t>(1, kSpan / (chunk * static_cast<int64_t>(sizeof(T))));
  const Scratch<T> sums(strips * wide);
  std::fill_n(sums.get(), strips * wide, T(0));
  parallel(strips * parts, 1, [&](int64_t begin, int64_t end) {
    const Scratch<T> copied(dy.filled ? 0 : columns.rows * wide);
    auto chunk_of = [&](int64_t piece, int64_t c) -> Ahead<T> {
      return {dy.first + piece / parts * wide + c * chunk,
              std::min(rows - c * columns.rows, columns.rows)};
    };
    for (int64_t c0 = 0; c0 < chunks; c0 += span)
      for (int64_t piece = begin; piece < end; ++piece) {
        const int64_t c1 = std::min(chunks, c0 + span);
        const int64_t j = piece / parts * wide, part = piece % parts;
        const int n = static_cast<int>(std::min(wide, outputs - j));
        Strip<T> strip{{dy.first + j, dy.apart, dy.filled}, rows, n, part};
        strip.total = total + j / kTile * inputs * kTile + j % kTile, strip.fresh = fresh;
        strip.sums = db && part == 0 ? sums + j : nullptr, strip.copied = copied;
        Ahead<T> next{nullptr, 0};
        if (!dy.filled && piece + 1 < end) next = chunk_of(piece + 1, c0);
        if (!dy.filled && piece + 1 == end && c1 < chunks) next = chunk_of(begin, c1);
        by_vectors<T>(n, [&]<int V>() { strip_gradient<V>(strip, columns, c0, c1, next); });
      }
  });
  for (int64_t j = 0; db && j < outputs; ++j) db[j] += sums[j];
}

// total [tiles][I][64] as W's gradient [N, I]
template <class T>
void untiled(const T* total, int64_t outputs, int64_t inputs, T* out) {
  over_weights(tiles_of(outputs), inputs, [&](int64_t tile, int64_t i, int64_t many) {
    transpose(total + (tile * inputs + i) * kTile, kTile, many, columns_of(tile, outputs),
              out + tile * kTile * inputs + i, inputs);
  });
}

}  // namespace spikegrad
