// The input's gradient along some synapses, 32 rows at a time.
//
// Where most sources are wanted in one row of a group or another, their synapses are walked once
// for all rows: dy lies turned around, [N][32], and a synapse is one product of vectors.
#pragma once

#include "sparse.h"

namespace spikegrad {

// Whether groups are faster than rows one by one. wanted: gradients that somebody reads, of all.
inline bool in_groups(int64_t wanted, int64_t rows, int64_t batch, int64_t inputs) {
  constexpr int64_t kLeast = 8, kWanted = 2;  // rows of a group, and of a source in it
  const int64_t groups = (rows / batch) * groups_of(batch);
  return batch >= kLeast && wanted >= kWanted * groups * inputs;
}

// Columns [j0, j1) of up to 32 rows of dy, `apart`, to `to` [N][32].
template <class T>
void turn_group(const T* dy, int64_t apart, int64_t rows, int64_t j0, int64_t j1, T* to) {
  if (rows < kGroup) std::memset(to + j0 * kGroup, 0, (j1 - j0) * kGroup * sizeof(T));
  transpose(dy + j0, apart, rows, j1 - j0, to + j0 * kGroup, kGroup);
}

// Of the rows of a group, those in which a source spiked.
template <class T>
struct Spiked {
  Mask<T> of[kGroup / kLanes<T>];
  explicit Spiked(uint64_t rows) {
    for (int v = 0; v < kGroup / kLanes<T>; ++v) of[v] = mask_from<T>(rows >> (v * kLanes<T>));
  }
};

// One source: sum [32] = the products of its weights with rows of `turned`; kWeight: and dw += what
// the rows in which it spiked add to the gradients of its weights.
template <bool kWeight, class T>
[[gnu::always_inline]] inline void sparse_source(const int32_t* targets, const T* w, int64_t count,
                                                 const T* turned, const Spiked<T>& spiked, T* dw,
                                                 T* sum) {
  constexpr int V = kGroup / kLanes<T>;
  Lane<T> all[2][V] = {};
  auto add = [&](int64_t e, Lane<T>* to) {
    const T* from = turned + int64_t{targets[e]} * kGroup;
    const Lane<T> value = all_of(w[e]);
    Lane<T> some{};
    for (int v = 0; v < V; ++v) {
      const Lane<T> row = load(from + v * kLanes<T>);
      to[v] = fused<T>(value, row, to[v]);
      if (kWeight) some = some + keep<T>(spiked.of[v], row);
    }
    return some;
  };
  int64_t e = 0;
  for (; e + 3 < count; e += 4) {
    Lane<T> some[4];
    for (int k = 0; k < 4; ++k) some[k] = add(e + k, all[k % 2]);
    T made[4];
    if (kWeight) sums_of<T>(some, made);
    for (int k = 0; kWeight && k < 4; ++k) dw[e + k] += made[k];
  }
  for (; e < count; ++e) {
    Lane<T> some[4] = {add(e, all[0])};
    T made[4];
    if (kWeight) sums_of<T>(some, made);
    if (kWeight) dw[e] += made[0];
  }
  for (int v = 0; v < V; ++v) store(sum + v * kLanes<T>, all[0][v] + all[1][v]);
}

// out [rows][64] = the gradients of the 64 sources of a tile, from dy turned around. dw [E], or
// null: is added to, from the words of the tile's spikes, `words` apart.
template <class T>
void sparse_group(const Synapses& s, const T* w, int64_t tile, const T* turned, int64_t rows,
                  T* out, const uint64_t* spikes = nullptr, int64_t words = 0, T* dw = nullptr) {
  alignas(64) T made[kTile * kGroup];
  uint64_t spiked[kTile] = {};
  for (int64_t r = 0; dw && r < rows; ++r)
    for (uint64_t b = spikes[r * words]; b; b &= b - 1)
      spiked[std::countr_zero(b)] |= uint64_t{1} << r;
  const int n = columns_of(tile, s.inputs);
  for (int k = 0; k < n; ++k) {
    const int64_t first = s.starts[tile * kTile + k];
    const int64_t count = s.starts[tile * kTile + k + 1] - first;
    const Spiked<T> those(spiked[k]);
    T* const sum = made + k * kGroup;
    if (spiked[k])
      sparse_source<true>(s.targets + first, w + first, count, turned, those, dw + first, sum);
    else
      sparse_source<false>(s.targets + first, w + first, count, turned, those,
                           static_cast<T*>(nullptr), sum);
  }
  transpose(made, kGroup, n, rows, out, kTile);
  for (int64_t r = 0; n < kTile && r < rows; ++r)
    std::memset(out + r * kTile + n, 0, (kTile - n) * sizeof(T));
}

// dx of all rows and tiles where the support has ones (null: everywhere), something elsewhere:
// leave(tile, first row, rows, from [rows][64]).
template <class T, class F>
void sparse_input_gradient(const Synapses& s, const T* w, const uint64_t* support, const T* dy,
                           int64_t apart, int64_t rows, const F& leave) {
  const int64_t words = tiles_of(s.inputs);
  const int64_t wanted = support ? ones(support, rows * words) : rows * s.inputs;
  const bool turn = in_groups(wanted, rows, rows, s.inputs);
  const int64_t many = turn ? kGroup : 1;  // rows of a piece
  const int64_t pieces = (rows + many - 1) / many;
  const int64_t parts = turn ? 1 : std::min(words, parts_of(pieces));
  parallel(pieces * parts, 1, [&](int64_t begin, int64_t end) {
    alignas(64) T out[kGroup * kTile];
    const Scratch<T> turned(turn ? s.outputs * kGroup : 0);
    for (int64_t k = begin; k < end; ++k) {
      const int64_t first = k / parts * many, n = std::min(rows - first, many), part = k % parts;
      const T* from = dy + first * apart;
      if (turn) turn_group(from, apart, n, 0, s.outputs, turned.get());
      for (int64_t tile = words * part / parts; tile < words * (part + 1) / parts; ++tile) {
        if (turn)
          sparse_group(s, w, tile, turned.get(), n, out);
        else
          sparse_tile(s, w, tile, support ? support + first * words + tile : nullptr, words, from,
                      apart, n, out);
        leave(tile, first, n, out);
      }
    }
  });
}

}  // namespace spikegrad
