// Products with spikes: cost follows the spikes, not the size of the matrices.
//
//   y[r]     = sum over i that spiked in r of W[:, i]              (add_rows, currents)
//   dx[r, i] = dy[r] . W[:, i], for the i whose support word says so (sampled)
//
// The third, the gradient of the weight, is for weight_gradient.h.
//
// Outputs are walked in tiles of 64 columns. A tile's weights lie together ([tile][i][64]) so that
// they stay in the second-level cache, and its 64 sums stay in registers. Sums run over the
// spikes of a row, or over the rows, in order; how the work is cut does not depend on the number of
// threads. Numbers instead of spikes are for nonzeros.h.
#pragma once

#include "spikes.h"

namespace spikegrad {

constexpr int64_t kWeightPiece = 256;  // inputs whose weights a thread turns around at a time

// f(tile, first input, inputs) for all pieces of a weight.
template <class F>
void over_weights(int64_t tiles, int64_t inputs, const F& f) {
  const int64_t pieces = (inputs + kWeightPiece - 1) / kWeightPiece;
  parallel_each(tiles * pieces, 2, [&](int64_t piece) {
    const int64_t i = piece % pieces * kWeightPiece;
    f(piece / pieces, i, std::min(kWeightPiece, inputs - i));
  });
}
// W [N, I] as [tile][i][64], the last tile filled with zeros.
template <class T>
Scratch<T> tiled(const T* weight, int64_t outputs, int64_t inputs) {
  const int64_t tiles = tiles_of(outputs);
  Scratch<T> made(tiles * inputs * kTile);
  over_weights(tiles, inputs, [&](int64_t tile, int64_t i, int64_t many) {
    const int n = columns_of(tile, outputs);
    T* to = made + (tile * inputs + i) * kTile;
    if (n < kTile) std::memset(to, 0, many * kTile * sizeof(T));
    for (int r = 0; r < n; ++r)  // more rows at a time than the CPU asks for by itself
      for (int64_t c = 0; c < many; c += kLanes<T>)
        __builtin_prefetch(weight + (tile * kTile + r) * inputs + i + c, 0, 2);
    transpose(weight + tile * kTile * inputs + i, inputs, n, many, to, kTile);
  });
  return made;
}

// W [N, I] as [I][padded N], filled with zeros.
template <class T>
Scratch<T> transposed(const T* weight, int64_t outputs, int64_t inputs) {
  const int64_t stride = padded<T>(outputs), tiles = tiles_of(outputs);
  Scratch<T> made(inputs * stride);
  over_weights(tiles, inputs, [&](int64_t tile, int64_t i, int64_t many) {
    const int n = columns_of(tile, outputs);
    T* to = made + i * stride + tile * kTile;
    transpose(weight + tile * kTile * inputs + i, inputs, n, many, to, stride);
    for (int64_t k = 0; tile == tiles - 1 && k < many; ++k)
      std::memset(to + k * stride + n, 0, (stride - outputs) * sizeof(T));
  });
  return made;
}

// f<V>() with as many vectors as n columns of a tile need: 1, 2, half of them or all.
template <class T, class F>
void by_vectors(int n, const F& f) {
  if (n <= kLanes<T>) return f.template operator()<1>();
  if (n <= 2 * kLanes<T>) return f.template operator()<2>();
  if (n <= kTile / 2) return f.template operator()<kVectors<T> / 2>();
  f.template operator()<kVectors<T>>();
}

// sum [64, or V vectors of it] += the rows of w [I][64] that a list names, two at a time. Always
// inline: the sum must stay in registers.
template <class T, int V = kVectors<T>>
[[gnu::always_inline]] inline void add_rows(Lane<T>* sum, const T* w, const uint16_t* list,
                                            int64_t count) {
  int64_t e = 0;
  for (; e + 1 < count; e += 2) {
    const T* one = w + int64_t{list[e]} * kTile;
    const T* two = w + int64_t{list[e + 1]} * kTile;
    for (int v = 0; v < V; ++v)
      sum[v] = (sum[v] + load(one + v * kLanes<T>)) + load(two + v * kLanes<T>);
  }
  if (e < count) {
    const T* one = w + int64_t{list[e]} * kTile;
    for (int v = 0; v < V; ++v) sum[v] = sum[v] + load(one + v * kLanes<T>);
  }
}

// Where the currents of rows come from: rows of numbers, or lists of spikes.
template <class T>
struct Source {
  const T* current;  // rows of N columns, or null: from spikes
  int64_t current_t, current_b;
  const uint16_t* list;  // spikes of the input
  const int64_t* start;
  const T* weights;  // [tile][I][64]
  int64_t inputs;
  const T* bias;  // [tiles 64] or null

  // The current of a row and tile along the spikes: so many vectors of it.
  template <int V>
  [[gnu::always_inline]] void follow(int64_t tile, int64_t row, Lane<T>* sum) const {
    for (int v = 0; v < V; ++v)
      sum[v] = bias ? load(bias + tile * kTile + v * kLanes<T>) : Lane<T>{};
    add_rows<T, V>(sum, weights + tile * inputs * kTile, list + start[row],
                   start[row + 1] - start[row]);
  }
};

// Whether a product hands out whole rows: where the second-level cache holds all of the weight. A
// thread then meets the rows that it made, listed or read before, and owns the lines of the output.
// Else tiles, each with its part of the weight.
template <class T>
bool by_whole_rows(int64_t inputs, int64_t outputs) {
  constexpr int64_t kHeld = int64_t{256} << 10;  // bytes
  return tiles_of(outputs) * kTile * inputs * static_cast<int64_t>(sizeof(T)) <= kHeld;
}

// y [R, N], rows `stride` and tiles `by_tile` apart: the currents of `rows` rows of spikes from
// `from` on.
template <class T>
void currents(const Source<T>& x, int64_t from, int64_t rows, int64_t outputs, T* out,
              int64_t stride, int64_t by_tile = kTile) {
  constexpr int64_t kPiece = 256;
  const int64_t tiles = tiles_of(outputs), pieces = (rows + kPiece - 1) / kPiece;
  const bool past = stride % kLanes<T> == 0 && streamed(out, rows * stride);
  const bool whole_rows = by_whole_rows<T>(x.inputs, outputs);
  parallel_each(tiles * pieces, 1, [&](int64_t k) {
    const int64_t tile = whole_rows ? k % tiles : k / pieces;
    const int64_t first = (whole_rows ? k / tiles : k % pieces) * kPiece;
    const int n = columns_of(tile, outputs);
    by_vectors<T>(n, [&]<int V>() {
      for (int64_t r = first; r < std::min(rows, first + kPiece); ++r) {
        Lane<T> sum[kVectors<T>];
        x.template follow<V>(tile, from + r, sum);
        store_row(sum, n, out + r * stride + tile * by_tile, past);
      }
    });
  });
}

// A piece of a row of dy: in registers where there are enough of them, else where it lies.
constexpr bool kHoldPiece = kRegisters >= 32;
template <class T>
constexpr int kPieceVectors = kHoldPiece ? 16 : 1024 / kLaneBytes;
template <class T>
struct Piece {
  const T* from;
  Lane<T> held[kHoldPiece ? kPieceVectors<T> : 1];
  Piece(const T* p, int vectors) : from(p) {
    for (int n = 0; kHoldPiece && n < vectors; ++n) held[n] = load(from + n * kLanes<T>);
  }
  Lane<T> operator()(int n) const { return kHoldPiece ? held[n] : load(from + n * kLanes<T>); }
};

// kMany dots of a piece with rows of wt, added to out at the lowest ones of a word. Two sums a dot
// take turns: one alone would wait for itself.
template <int kMany, int kVectors, class T>
[[gnu::always_inline]] inline void dots(uint64_t& word, const Piece<T>& g, int vectors, const T* wt,
                                        int64_t stride, T* out) {
  const T* row[kMany];
  int place[kMany];
  for (int k = 0; k < kMany; ++k, word &= word - 1) {
    place[k] = std::countr_zero(word);
    row[k] = wt + place[k] * stride;
  }
  Lane<T> even[4] = {}, odd[4] = {};
  const int count = kVectors > 0 ? kVectors : vectors;
  auto add = [&](int n, Lane<T>* sum) {
    for (int k = 0; k < kMany; ++k) sum[k] = fused<T>(g(n), load(row[k] + n * kLanes<T>), sum[k]);
  };
  int n = 0;
#pragma GCC unroll 16
  for (; n + 1 < count; n += 2) add(n, even), add(n + 1, odd);
  if (n < count) add(n, even);
  for (int k = 0; k < kMany; ++k) even[k] = even[k] + odd[k];
  T made[4];
  sums_of<T>(even, made);
  for (int k = 0; k < kMany; ++k) out[place[k]] += made[k];
}
template <int kVectors, class T>
inline void all_dots(uint64_t word, const Piece<T>& g, int vectors, const T* wt, int64_t stride,
                     T* out) {
  int left = std::popcount(word);
  for (; left >= 4; left -= 4) dots<4, kVectors>(word, g, vectors, wt, stride, out);
  if (left == 3) dots<3, kVectors>(word, g, vectors, wt, stride, out);
  if (left == 2) dots<2, kVectors>(word, g, vectors, wt, stride, out);
  if (left == 1) dots<1, kVectors>(word, g, vectors, wt, stride, out);
}

// out [R][64] = dots of rows dy [R][padded N] with the 64 rows of wt that a tile has, where the
// word of a row has ones, 0 elsewhere. N is walked in pieces and the tile in halves: what a piece
// of 32 rows of wt takes stays in the first-level cache.
template <class T>
void sampled_tile(const uint64_t* support, int64_t words, const T* dy, int64_t dy_stride,
                  int64_t rows, const T* wt, int64_t stride, int64_t width, T* out) {
  constexpr int kPiece = kPieceVectors<T>;
  std::memset(out, 0, rows * kTile * sizeof(T));
  for (int64_t n0 = 0; n0 < width; n0 += kPiece * kLanes<T>) {
    const int many =
        static_cast<int>(std::min<int64_t>(kPiece, (width - n0 + kLanes<T> - 1) / kLanes<T>));
    for (int half = 0; half < 2; ++half) {
      const uint64_t mask = uint64_t{0xffffffff} << (32 * half);
      for (int64_t r = 0; r < rows; ++r) {
        const uint64_t word = support[r * words] & mask;
        if (!word) continue;
        const Piece<T> g(dy + r * dy_stride + n0, many);
        if (many == kPiece)
          all_dots<kPiece>(word, g, kPiece, wt + n0, stride, out + r * kTile);
        else
          all_dots<0>(word, g, many, wt + n0, stride, out + r * kTile);
      }
    }
  }
}

// (dy W) where support [R, words] has ones, 0 elsewhere: leave(word, first row, rows, from
// [rows][64])
template <class T, class F>
void sampled(const T* dy, int64_t dy_stride, int64_t rows, int64_t outputs, const uint64_t* support,
             const T* wt, int64_t inputs, const F& leave) {
  const int64_t words = tiles_of(inputs), stride = padded<T>(outputs);
  constexpr int64_t kRows = 256;  // their gradients stay in the second-level cache
  const int64_t pieces = (rows + kRows - 1) / kRows;
  parallel(pieces, 1, [&](int64_t begin, int64_t end) {
    const Scratch<T> out(kRows * kTile);
    for (int64_t piece = begin; piece < end; ++piece) {
      const int64_t first = piece * kRows, n = std::min(rows - first, kRows);
      for (int64_t word = 0; word < words; ++word) {
        sampled_tile(support + first * words + word, words, dy + first * dy_stride, dy_stride, n,
                     wt + word * kTile * stride, stride, outputs, out.get());
        leave(word, first, n, out.get());
      }
    }
  });
}

}  // namespace spikegrad
