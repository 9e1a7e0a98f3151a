// Products of spikes where so many synapses exist that those of a dense connection are faster: 64
// outputs side by side, zeros where there is no synapse. Their sums have the same order, so that
// results are equal bit for bit.
#pragma once

#include "sparse.h"
#include "weight_gradient.h"

namespace spikegrad {

// Whether rows of spikes are worth tiles: 16 times the memory of the synapses at most. A synapse
// alone costs about as much as 10 that lie side by side.
inline bool in_tiles(const Synapses& s, int64_t rows) {
  constexpr int64_t kRows = 256, kTimes = 16;
  return s.inputs <= kMostColumns && rows >= kRows &&
         s.inputs * tiles_of(s.outputs) * kTile <= kTimes * s.count();
}

// f(number of a tiled [tile][I][64], synapse) for all synapses.
template <class F>
void over_tiles(const Synapses& s, const F& f) {
  parallel_each(s.inputs, 16, [&](int64_t i) {
    for (int64_t e = s.starts[i]; e < s.starts[i + 1]; ++e) {
      const int64_t j = s.targets[e];
      f((j / kTile * s.inputs + i) * kTile + j % kTile, e);
    }
  });
}

// W as [tile][I][64].
template <class T>
Scratch<T> tiled(const Synapses& s, const T* w) {
  const int64_t size = tiles_of(s.outputs) * kTile * s.inputs;
  Scratch<T> made(size);
  std::memset(made, 0, size * sizeof(T));
  over_tiles(s, [&](int64_t at, int64_t e) { made[at] = w[e]; });
  return made;
}

// y [R, N], as sparse_product makes it.
template <class T>
void sparse_product_in_tiles(const Synapses& s, const T* w, const uint64_t* bits, int64_t rows,
                             const T* bias, T* y) {
  const int64_t width = tiles_of(s.outputs) * kTile, words = tiles_of(s.inputs);
  const Scratch<T> weights = tiled(s, w), biases(width);
  std::memset(biases, 0, width * sizeof(T));
  if (bias) std::memcpy(biases, bias, s.outputs * sizeof(T));
  const Lists lists = lists_of(bits, rows, words, starts_of(bits, rows, words));
  Source<T> source{};
  source.list = lists.list, source.start = lists.start, source.weights = weights;
  source.inputs = s.inputs, source.bias = biases;
  currents(source, 0, rows, s.outputs, y, s.outputs);
}

// dw [E] = the products of spikes and the rows of dy [R, N].
template <class T>
void sparse_weight_gradient_in_tiles(const Synapses& s, const uint64_t* bits, const T* dy,
                                     int64_t rows, T* dw) {
  const Scratch<T> total(tiles_of(s.outputs) * s.inputs * kTile);
  weight_gradient(Rows<T>{dy, s.outputs, false}, rows, s.outputs, bits, s.inputs, total.get(),
                  static_cast<T*>(nullptr), true);
  over_tiles(s, [&](int64_t at, int64_t e) { dw[e] = total[at]; });
}

}  // namespace spikegrad
