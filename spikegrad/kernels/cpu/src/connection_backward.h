// The gradients of a connection's weight, bias and input, from those of its currents.
#pragma once

#include "connection.h"
#include "weight_gradient.h"

namespace spikegrad {

constexpr int64_t kSegmentRows = 1600;  // rows of the gradients that exist at a time

inline int64_t segment_steps(int64_t batch) {
  return std::max<int64_t>(1, kSegmentRows / std::max<int64_t>(1, batch));
}

// What a backward pass needs to know besides the call.
struct Needs {
  int64_t ones;  // spikes of the input; -1: it is numbers
  bool x, weight;
  bool once = false;  // the gradient of the currents is the same at every step
};

// Whether x is one step seen T times whose product and gradient are taken once.
inline bool may_be_constant(const ConnectionCall& call, const Needs& needs) {
  return call.weight.has_value() && !call.in_bits.has_value() && is_static(call.x) && !needs.x;
}

template <class T>
struct ConnectionBack : Sizes {
  const ConnectionCall& call;
  const Needs needs;
  const ScalarType dtype;
  const int64_t tiles, words, stride;
  const bool constant;
  const int64_t most_rows;
  Scratch<T> total, wt, spread;
  bool started = false;  // the gradient of the weight has its first part
  bool by_events = false, by_numbers = false, by_support = false;
  Places in_places;                           // of the input's support
  int64_t first_word = 0, last_word = words;  // those of the input that have a place, or all
  Tensor dx, dweight, dbias;                  // empty where nobody needs them

  // most: rows whose gradients exist at a time.
  ConnectionBack(const ConnectionCall& c, const Needs& n, bool is_constant, int64_t most)
      : Sizes(c.sizes()), call(c), needs(n), dtype(c.x.scalar_type()), tiles(tiles_of(outputs)),
        words(tiles_of(inputs)), stride(padded<T>(outputs)), constant(is_constant),
        most_rows(std::min(rows(), most)), dx(none(dtype)), dweight(none(dtype)),
        dbias(none(dtype)) {
    if (needs.weight) choose_weight();
    if (needs.x && !needs.once) choose_input();
  }

  // Rows [r0, r0 + n) of the gradient of the current -> gradients of weight, bias and input.
  void products(const Rows<T>& g, int64_t r0, int64_t n) {
    if (needs.weight && by_events) {
      weight_gradient(g, n, outputs, words_of(call.in_bits) + r0 * words, inputs, total.get(),
                      mutable_data<T>(dbias), !started);
      started = true;
    } else if (needs.weight) {
      add_bias(g.first, n);
      if (!by_numbers) add_dense(g.first, numbers(r0, n), n);
      if (by_numbers)
        number_gradient(g.first, stride, n, outputs, data<T>(call.x) + r0 * inputs, inputs, started,
                        mutable_data<T>(dweight));
      started = true;
    }
    if (needs.x) input_gradient(g, r0, n);
  }
  // Of a connection alone: the gradient of the currents is the gradient that comes in.
  void from(const Tensor& g) {
    if (needs.once) return from_one(g);
    // Rows that nobody needs filled up stay where they are, if they lie apart.
    const bool here = g.stride(2) == 1 && g.stride(1) >= outputs &&
                      g.stride(0) == batch * g.stride(1) && tiles >= 4 && by_events && !by_support;
    const int64_t most = here && !needs.x ? rows() : most_rows;
    const Scratch<T> dI(here ? 0 : most * stride);
    for (int64_t r0 = 0; r0 < rows(); r0 += most) {
      const int64_t n = std::min(rows() - r0, most);
      if (!here) rows_of(g, r0, n, dI);
      products(here ? Rows<T>{data<T>(g) + r0 * g.stride(1), g.stride(1), false}
                    : Rows<T>{dI, stride, true},
               r0, n);
    }
  }
  // The weight's gradient as it is returned, once all rows were there.
  void finish() {
    if (by_events) untiled(total.get(), outputs, inputs, mutable_data<T>(dweight));
  }

  bool spikes() const { return needs.ones >= 0; }
  // Which way each product goes, and room for it.
  void choose_weight() {
    if (spikes() && !needs.once && inputs <= kMostColumns)
      by_events = static_cast<double>(needs.ones) <= call.crossover.weight * numbers_in();
    if (!spikes() && !needs.once && (constant || call.x.is_contiguous())) {
      const int64_t many = constant ? batch : rows();
      const double most = most_weight(call.crossover.weight, many, inputs, outputs);
      by_numbers = nonzeros(data<T>(call.x), many, inputs, most) >= 0;
    }
    dweight = pooled({outputs, inputs}, dtype);
    dbias = fresh_tensor({outputs}, dtype);
    std::memset(mutable_data<T>(dbias), 0, outputs * sizeof(T));
    if (by_events) total = Scratch<T>(tiles * inputs * kTile);
  }
  void choose_input() {
    const uint64_t* support = words_of(call.in_support);
    if (call.x.dim() == 1) {
      in_places = Places(support, Timeline(steps, batch), words);
      SG_CHECK(in_places.count() == call.x.numel(), "x must have one element a place");
      dx = pooled({call.x.numel()}, dtype);
      // Of signals side by side some want no gradient.
      while (first_word < words && in_places.many(first_word) == 0) ++first_word;
      while (last_word > first_word && in_places.many(last_word - 1) == 0) --last_word;
    } else {
      dx = pooled({steps, batch, inputs}, dtype);
    }
    if (call.weight.has_value() && support)
      by_support =
          static_cast<double>(ones(support, rows() * words)) <=
          call.crossover.input * static_cast<double>(rows()) * static_cast<double>(wanted());
    if (by_support) wt = transposed(data<T>(call.weight), outputs, inputs);
  }
  double numbers_in() const { return static_cast<double>(rows()) * static_cast<double>(inputs); }
  // Columns of the input whose gradient somebody wants.
  int64_t wanted() const { return std::min(inputs, last_word * kTile) - first_word * kTile; }
  // Rows of numbers as wide as the input, of one part of the gradient.
  T* room() {
    if (!spread) spread = Scratch<T>(most_rows * inputs);
    return spread;
  }
  // dx of rows [r0, r0 + n): all of it, or where the support says so.
  void input_gradient(const Rows<T>& g, int64_t r0, int64_t n) {
    T* to = mutable_data<T>(dx);
    // A word's columns of rows [first, first + many), `apart`, to their places in dx.
    auto put = [&](int64_t word, int64_t first, int64_t many, const T* from, int64_t apart) {
      if (in_places) return in_places.put(word, r0 + first, many, from, apart, to);
      for (int64_t r = 0; r < many; ++r)
        std::memcpy(to + (r0 + first + r) * inputs + word * kTile, from + r * apart,
                    columns_of(word, inputs) * sizeof(T));
    };
    if (!call.weight.has_value() && !in_places) {
      parallel_each(n, rows_a_thread(inputs), [&](int64_t r) {
        std::memcpy(to + (r0 + r) * inputs, g.first + r * g.apart, inputs * sizeof(T));
      });
    } else if (!call.weight.has_value()) {
      for (int64_t word = 0; word < words; ++word) put(word, 0, n, g.first + word * kTile, g.apart);
    } else if (by_support) {
      const uint64_t* support = words_of(call.in_support) + r0 * words;
      sampled(g.first, stride, n, outputs, support, wt.get(), inputs,
              [&](int64_t word, int64_t first, int64_t many, const T* from) {
                put(word, first, many, from, kTile);
              });
    } else {
      if (wanted() <= 0) return;
      T* made = in_places ? room() : to + r0 * inputs;
      const int64_t wide = wanted();
      const T* weight = data<T>(*call.weight) + first_word * kTile;
      call_mm_out(view_of(g.first, n, outputs, g.apart, dtype),
                  view_of(weight, outputs, wide, inputs, dtype),
                  view_of(made, n, wide, wide, dtype));
      if (in_places)
        parallel_each(last_word - first_word, 1,
                      [&](int64_t k) { put(first_word + k, 0, n, made + k * kTile, wide); });
    }
  }
  void add_bias(const T* gradient, int64_t n) {
    T* db = mutable_data<T>(dbias);
    parallel_each(tiles, 1, [&](int64_t tile) {
      Lane<T> sum[kVectors<T>] = {};
      for (int64_t k = 0; k < n; ++k) add_row(gradient + k * stride + tile * kTile, kTile, sum);
      for (int j = 0; j < columns_of(tile, outputs); ++j)
        db[tile * kTile + j] += sum[j / kLanes<T>][j % kLanes<T>];
    });
  }
  // The input's rows as numbers.
  Tensor numbers(int64_t r0, int64_t n) {
    if (constant) return torch::stable::select(call.x, 0, 0);
    if (!spikes()) {
      Tensor all = torch::stable::reshape(call.x, {rows(), inputs});
      return torch::stable::narrow(all, 0, r0, n);
    }
    unpack(words_of(call.in_bits) + r0 * words, n, inputs, room());
    return view_of(room(), n, inputs, inputs, dtype);
  }
  void add_dense(const T* gradient, const Tensor& x, int64_t n) {
    const Tensor transposed_gradient =
        torch::stable::transpose(view_of(gradient, n, outputs, stride, dtype), 0, 1);
    if (!started) return call_mm_out(transposed_gradient, x, dweight);
    const Tensor part = torch::stable::matmul(transposed_gradient, x);
    const T* from = data<T>(part);
    T* to = mutable_data<T>(dweight);
    parallel_each(outputs * inputs, 1 << 15, [&](int64_t k) { to[k] += from[k]; });
  }

  // Rows of the incoming gradient, padded. By tiles where there are some: the products of a tile
  // come next, and a thread reads what it wrote.
  void rows_of(const Tensor& g, int64_t r0, int64_t n, T* to) const {
    constexpr int64_t kRows = 256;
    const T* from = data<T>(g);
    const int64_t by_t = g.stride(0), by_b = g.stride(1), by_n = g.stride(2);
    const bool by_tile = tiles >= 4;
    parallel(by_tile ? tiles : (n + kRows - 1) / kRows, 1, [&](int64_t begin, int64_t end) {
      const int64_t k0 = by_tile ? 0 : begin * kRows, k1 = by_tile ? n : std::min(n, end * kRows);
      const int64_t j0 = by_tile ? begin * kTile : 0;
      const int64_t j1 = by_tile ? std::min(outputs, end * kTile) : outputs;
      for (int64_t k = k0; k < k1; ++k) {
        const int64_t t = (r0 + k) / batch, b = (r0 + k) % batch;
        const T* row = from + t * by_t + b * by_b;
        T* out = to + k * stride;
        if (by_n == 1)
          std::memcpy(out + j0, row + j0, (j1 - j0) * sizeof(T));
        else
          for (int64_t j = j0; j < j1; ++j) out[j] = row[j * by_n];
        if (j1 == outputs) std::memset(out + outputs, 0, (stride - outputs) * sizeof(T));
      }
    });
  }
  // The same gradient at every step (the mean over time behind): the sum of x over time is enough.
  void from_one(const Tensor& g) {
    const Scratch<T> one_step(batch * stride);
    rows_of(g, 0, batch, one_step);
    const T* gradient = one_step;
    if (needs.weight) {
      add_bias(gradient, batch);
      T* db = mutable_data<T>(dbias);
      for (int64_t j = 0; j < outputs; ++j) db[j] *= static_cast<T>(steps);
      add_dense(gradient, sum_over_time(), batch);
    }
    if (!needs.x) return;
    const Tensor one =
        torch::stable::matmul(view_of(gradient, batch, outputs, stride, dtype), *call.weight);
    dx = call.x.dim() == 1 ? one : expanded(one, {steps, batch, inputs});
  }
  // x [B, I] of all steps.
  Tensor sum_over_time() const {
    if (!spikes()) return call_sum(call.x, 0);
    Tensor made = pooled({batch, inputs}, dtype);
    T* sums = mutable_data<T>(made);
    const uint64_t* bits = words_of(call.in_bits);
    parallel_each(batch * words, 64, [&](int64_t place) {
      const int64_t b = place / words, k = place % words;
      Lane<T> sum[kVectors<T>] = {};
      for (int64_t t = 0; t < steps; ++t) {
        const uint64_t word = bits[t * batch * words + place];
        for (int v = 0; v < kVectors<T>; ++v)
          sum[v] += keep<T>(mask_from<T>(word >> (v * kLanes<T>)), all_of(T(1)));
      }
      store_row(sum, columns_of(k, inputs), sums + b * inputs + k * kTile, false);
    });
    return made;
  }
};

}  // namespace spikegrad
