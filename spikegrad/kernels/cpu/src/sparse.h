// Products of a connection that has some synapses alone: cost follows the synapses of what is not
// 0.
//
//   y[r, j]  = sum over the synapses i -> j of x[r, i] w        (sparse_product)
//   dw      += x[r, i] dy[r, j], for each synapse i -> j        (sparse_weight_gradient)
//   dx[r, i] = sum over the synapses i -> j of w dy[r, j]       (sparse_tile)
//
// All three take the synapses of one source after the other. A source that is 0 costs nothing in
// the first two, one whose gradient nobody reads nothing in the third. Sums run over the sources,
// the rows or the synapses in order, however the work is cut.
#pragma once

#include "places.h"

namespace spikegrad {

// The synapses of source i are those from starts[i] to starts[i + 1], their targets rise.
struct Synapses {
  const int64_t* starts;   // [I + 1]
  const int32_t* targets;  // [E]
  int64_t inputs, outputs;

  int64_t count() const { return starts[inputs]; }
  // The first synapse of a source with target j or one behind it. The search begins where it is if
  // targets are spread evenly.
  int64_t from(int64_t i, int64_t j) const {
    const int64_t first = starts[i], end = starts[i + 1];
    if (j <= 0) return first;
    if (j >= outputs) return end;
    int64_t e = first + (end - first) * j / outputs;
    while (e > first && targets[e - 1] >= j) --e;
    while (e < end && targets[e] < j) ++e;
    return e;
  }
};

inline Synapses synapses_of(const Tensor& starts, const Tensor& targets, int64_t outputs) {
  return {data<int64_t>(starts), data<int32_t>(targets), starts.numel() - 1, outputs};
}
// What memory safety needs besides the values of starts and targets, at which Python looked.
inline void check_synapses(const Tensor& weight, const Tensor& starts, const Tensor& targets,
                           int64_t outputs, ScalarType dtype) {
  SG_CHECK(starts.dim() == 1 && starts.numel() > 1 && outputs > 0, "starts must be [I + 1]");
  check_tensor(starts, {starts.numel()}, ScalarType::Long, "starts must be int64 [I + 1]");
  check_tensor(targets, {weight.numel()}, ScalarType::Int, "targets must be int32 [E]");
  check_tensor(weight, {targets.numel()}, dtype, "the weight must be [E], one number a synapse");
  const int64_t* at = data<int64_t>(starts);
  SG_CHECK(at[0] == 0 && at[starts.numel() - 1] == targets.numel(), "starts must go from 0 to E");
}

// x [R, I] -> which are not 0, 64 a word; whether all of these are 1.
template <class T>
bool pack_nonzeros(const T* x, int64_t rows, int64_t columns, uint64_t* bits) {
  const int64_t words = tiles_of(columns);
  std::atomic<bool> real{false};
  parallel_each(rows, rows_a_thread(columns), [&](int64_t r) {
    bool odd = false;
    for (int64_t w = 0; w < words; ++w) {
      const T* from = x + r * columns + w * kTile;
      const int n = columns_of(w, columns);
      const uint64_t ones = ones_of(from, n, odd);
      bits[r * words + w] =
          odd ? word_where(from, n, [](Lane<T> v) { return unequal<T>(v, Lane<T>{}); }) : ones;
    }
    if (odd) real.store(true, std::memory_order_relaxed);
  });
  return !real;
}

// f(k, first, end) for the k-th of some sources and its synapses with targets in [j0, j1).
// Meanwhile those of the next source come closer: they lie far away.
template <class T, class F>
[[gnu::always_inline]] inline void visit(const Synapses& s, const T* w, const int32_t* sources,
                                         int64_t count, int64_t j0, int64_t j1, const F& f) {
  if (!count) return;
  int64_t first = s.from(sources[0], j0), end = s.from(sources[0], j1);
  for (int64_t k = 0; k < count; ++k) {
    int64_t next = 0, behind = 0;
    if (k + 1 < count) {
      next = s.from(sources[k + 1], j0), behind = s.from(sources[k + 1], j1);
      for (int64_t e = next; e < std::min(behind, next + 64); e += 16) {
        __builtin_prefetch(s.targets + e);
        for (int64_t c = 0; c < 16; c += 64 / static_cast<int64_t>(sizeof(T)))
          __builtin_prefetch(w + e + c);
      }
    }
    f(k, first, end);
    first = next, end = behind;
  }
}

// The columns of the ones of words [w0, w1) of a row.
inline int64_t list_sources(const uint64_t* bits, int64_t w0, int64_t w1, int32_t* out) {
  int32_t* to = out;
  for (int64_t w = w0; w < w1; ++w)
    if (bits[w]) to = list_ones(bits[w], static_cast<int>(w * kTile), to);
  return to - out;
}

// In how many parts rows of work are cut, so that all threads have some.
inline int64_t parts_of(int64_t rows) {
  const int64_t threads = torch::stable::get_num_threads();
  return rows < 4 * threads ? threads : 1;
}

// y += the weights of n synapses of one source. Their targets differ, so that four sums need not
// wait for each other.
template <class T>
[[gnu::always_inline]] inline void add_along(const int32_t* targets, const T* w, int64_t n, T* y) {
  int64_t e = 0;
  for (; e + 3 < n; e += 4) {
    T sum[4];
    for (int k = 0; k < 4; ++k) sum[k] = y[targets[e + k]] + w[e + k];
    for (int k = 0; k < 4; ++k) y[targets[e + k]] = sum[k];
  }
  for (; e < n; ++e) y[targets[e]] += w[e];
}

// y [R][N], rows `apart`: the bias, if there is one, and what the sources add that bits name. x:
// their values [R, I], or null: they are 1.
template <class T>
void sparse_product(const Synapses& s, const T* __restrict w, const uint64_t* bits, const T* x,
                    int64_t rows, const T* bias, T* y, int64_t apart) {
  const int64_t words = tiles_of(s.inputs), parts = parts_of(rows);
  parallel(rows * parts, 1, [&](int64_t begin, int64_t end) {
    const Scratch<int32_t> list(s.inputs + kListSlack);
    for (int64_t piece = begin; piece < end; ++piece) {
      const int64_t r = piece / parts, part = piece % parts;
      const int64_t j0 = s.outputs * part / parts, j1 = s.outputs * (part + 1) / parts;
      T* __restrict to = y + r * apart;
      if (bias)
        std::memcpy(to + j0, bias + j0, (j1 - j0) * sizeof(T));
      else
        std::memset(to + j0, 0, (j1 - j0) * sizeof(T));
      const int64_t n = list_sources(bits + r * words, 0, words, list);
      visit(s, w, list, n, j0, j1, [&](int64_t k, int64_t first, int64_t last) {
        if (!x) return add_along(s.targets + first, w + first, last - first, to);
        const T value = x[r * s.inputs + list[k]];
        for (int64_t e = first; e < last; ++e) to[s.targets[e]] += value * w[e];
      });
    }
  });
}

// dw [E] += the products of what bits name with the rows of dy [R][N], `apart`; fresh: = them.
template <class T>
void sparse_weight_gradient(const Synapses& s, const uint64_t* bits, const T* x, const T* dy,
                            int64_t apart, int64_t rows, bool fresh, T* __restrict dw) {
  const int64_t words = tiles_of(s.inputs);
  const int64_t pieces = std::min<int64_t>(words, 2 * torch::stable::get_num_threads());
  parallel_each(pieces, 1, [&](int64_t k) {
    const int64_t w0 = words * k / pieces, w1 = words * (k + 1) / pieces;
    const int64_t i0 = w0 * kTile, i1 = std::min(s.inputs, w1 * kTile);
    if (fresh) std::memset(dw + s.starts[i0], 0, (s.starts[i1] - s.starts[i0]) * sizeof(T));
    const Scratch<int32_t> list(i1 - i0 + kListSlack);
    for (int64_t r = 0; r < rows; ++r) {
      const T* from = dy + r * apart;
      const int64_t n = list_sources(bits + r * words, w0, w1, list);
      visit(s, dw, list, n, 0, s.outputs, [&](int64_t m, int64_t first, int64_t last) {
        const T value = x ? x[r * s.inputs + list[m]] : T(1);
        for (int64_t e = first; e < last; ++e) dw[e] += value * from[s.targets[e]];
      });
    }
  });
}

// The sum of w dy over n synapses: four sums take turns, one alone would wait for itself.
template <class T>
[[gnu::always_inline]] inline T along(const int32_t* targets, const T* w, int64_t n, const T* dy) {
  T sum[4] = {};
  int64_t e = 0;
  for (; e + 3 < n; e += 4)
    for (int k = 0; k < 4; ++k) sum[k] += w[e + k] * dy[targets[e + k]];
  for (; e < n; ++e) sum[0] += w[e] * dy[targets[e]];
  return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

// out [rows][64] = the input's gradients of the 64 sources of a tile, from rows of dy [N], `apart`,
// where the tile's words, `words` apart, have ones (null: everywhere), 0 elsewhere.
template <class T>
void sparse_tile(const Synapses& s, const T* w, int64_t tile, const uint64_t* support,
                 int64_t words, const T* dy, int64_t apart, int64_t rows, T* out) {
  const uint64_t all = mask_of(columns_of(tile, s.inputs));
  std::memset(out, 0, rows * kTile * sizeof(T));
  int32_t list[kTile + kListSlack];
  for (int64_t r = 0; r < rows; ++r) {
    const uint64_t word = support ? support[r * words] & all : all;
    if (!word) continue;
    const int64_t n =
        list_ones(word, static_cast<int>(tile * kTile), static_cast<int32_t*>(list)) - list;
    visit(s, w, list, n, 0, s.outputs, [&](int64_t k, int64_t first, int64_t last) {
      out[r * kTile + list[k] % kTile] =
          along(s.targets + first, w + first, last - first, dy + r * apart);
    });
  }
}

}  // namespace spikegrad
