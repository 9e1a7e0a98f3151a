// A whole layer back through time: see layer_typed.h.
//
// Time is walked in segments from the end. Of a segment exist: the gradient of the current, the
// products made from it, and in a lean call what the forward pass did not keep, computed again.
#pragma once

#include "layer_forward.h"

namespace spikegrad {

template <class T>
struct Back {
  const BackwardCall& call;
  const Words& w;
  Engine<T> e;
  const ScalarType dtype;
  const int64_t steps, batch, outputs, tiles, inputs, rows, stride, words;
  const bool constant;  // x is one step seen T times, its product and its gradient are taken once
  const int64_t piece;
  Scratch dI, weight_total, back_total, wt, back_wt, back_dense, spread, part_memory;
  bool started = false;  // the gradient of the weight has its first part
  bool by_events = false, by_numbers = false, by_support = false, back_support = false;
  Places in_places, places;  // of the input's support, of this layer's own
  BackwardResult r;
  LayerBack<T> f{};

  explicit Back(const BackwardCall& c)
      : call(c), w(c.words),
        e(c.sizes(), c.weight, c.bias, c.feedback, c.first, c.params, c.slope, c.words),
        dtype(c.params.scalar_type()), steps(e.steps), batch(e.batch), outputs(e.outputs),
        tiles(e.tiles), inputs(e.inputs), rows(steps * batch),
        stride(padded<T>(outputs)), words(tiles_of(inputs)),
        constant(c.weight.has_value() && !c.in_bits.has_value() && is_static(c.x) && !c.need_x &&
                 !c.feedback.has_value()),
        // Of a constant input no gradient of all steps exists that segments would keep small.
        piece(constant && !w.lean ? steps : segment_steps(batch)),
        r{none(dtype), none(dtype), none(dtype), none(dtype), none(dtype),
          none(dtype), none(dtype), none(dtype), none(ScalarType::Double)} {}

  const uint64_t* bits_in() const {
    return call.spikes() ? reinterpret_cast<const uint64_t*>(data<int64_t>(*call.in_bits)) : nullptr;
  }
  static const uint64_t* words_of(const Tensor& t) {
    return t.numel() ? reinterpret_cast<const uint64_t*>(data<int64_t>(t)) : nullptr;
  }

  // Whether a connection alone has the same gradient at every step.
  bool once() const {
    return (w.kind & kIdentity) && call.grad_y->stride(0) == 0 && steps > 1 &&
           (call.spikes() || constant);
  }
  // Which way each product goes, and room for it.
  void choose() {
    const double all = static_cast<double>(rows) * static_cast<double>(inputs);
    if (call.need_weight && call.spikes() && inputs <= kMostColumns)
      by_events = static_cast<double>(call.ones) <= w.crossover.weight * all;
    if (call.need_weight && !call.spikes() && !once() && (constant || call.x.is_contiguous())) {
      const int64_t many = constant ? batch : rows;
      const double most = most_nonzeros(w.crossover.weight, many, inputs, outputs);
      by_numbers = nonzeros(data<T>(call.x), many, inputs, most) >= 0;
    }
    if (call.need_weight) {
      r.dweight = pooled({outputs, inputs}, dtype);
      r.dbias = fresh_tensor({outputs}, dtype);
      std::memset(mutable_data<T>(r.dbias), 0, outputs * sizeof(T));
      if (by_events) weight_total = zeros_of_tiles(inputs);
    }
    if (call.need_x) {
      if (once()) {
        r.dx = none(dtype);
      } else if (call.x.dim() == 1) {
        in_places = Places(words_of(*call.in_support), steps, batch, words);
        SG_CHECK(in_places.count() == call.x.numel(), "x must have one element a place");
        r.dx = pooled({call.x.numel()}, dtype);
      } else {
        r.dx = pooled({steps, batch, call.weight.has_value() ? inputs : outputs}, dtype);
      }
      if (call.weight.has_value() && call.in_support.has_value() && !once()) {
        const uint64_t* s = words_of(*call.in_support);
        by_support = static_cast<double>(ones(s, rows * words)) <= w.crossover.input * all;
      }
      if (by_support) wt = transposed(data<T>(*call.weight), outputs, inputs);
    }
    if (call.feedback.has_value()) {
      const double square = static_cast<double>(rows) * static_cast<double>(outputs);
      const uint64_t* s = words_of(call.support);
      back_support =
          s && static_cast<double>(ones(s, rows * tiles)) <= w.crossover.input * square;
      if (back_support)
        back_wt = transposed(data<T>(*call.feedback), outputs, outputs);
      else
        back_dense = scratch<T>(batch * outputs);
      if (call.need_feedback) {
        r.dfeedback = pooled({outputs, outputs}, dtype);
        back_total = zeros_of_tiles(outputs);
      }
    }
    if (call.need_first) r.dfirst = fresh_tensor({batch, outputs}, dtype);
  }

  Rows<T> filled() const { return {dI.as<T>(), stride, true}; }
  // [tile][columns][64], each tile's from the thread that will add to them.
  Scratch zeros_of_tiles(int64_t columns) const {
    Scratch memory = scratch<T>(tiles * columns * kTile);
    parallel(tiles, 1, [&](int64_t begin, int64_t end) {
      std::memset(memory.as<T>() + begin * columns * kTile, 0,
                  (end - begin) * columns * kTile * sizeof(T));
    });
    return memory;
  }

  // Rows [r0, r0 + n) of the gradient of the current -> gradients of weight, bias and input.
  void products(const Rows<T>& g, int64_t r0, int64_t n) {
    const T* gradient = g.first;
    if (call.need_weight && by_events) {
      weight_gradient(g, n, outputs, bits_in() + r0 * words, inputs, weight_total.as<T>(),
                      mutable_data<T>(r.dbias));
    } else if (call.need_weight) {
      add_bias(gradient, n);
      by_numbers ? add_numbers(gradient, r0, n) : add_dense(gradient, numbers(r0, n), n);
    }
    if (!call.need_x) return;
    T* to = mutable_data<T>(r.dx);
    if (!call.weight.has_value()) {
      for (int64_t k = 0; k < n; ++k)
        std::memcpy(to + (r0 + k) * outputs, gradient + k * stride, outputs * sizeof(T));
    } else if (by_support) {
      const uint64_t* support = words_of(*call.in_support) + r0 * words;
      if (in_places)
        sampled(gradient, stride, n, outputs, support, wt.as<T>(), inputs,
                [&](int64_t word, int64_t first, int64_t many, const T* from) {
                  in_places.put(word, r0 + first, many, from, kTile, to);
                });
      else
        sampled(gradient, stride, n, outputs, support, wt.as<T>(), inputs,
                ToRows<T>{to + r0 * inputs, inputs});
    } else if (in_places) {
      if (!spread.as<T>()) spread = scratch<T>(std::min(rows, piece * batch) * inputs);
      call_mm_out(view_of(gradient, n, outputs, g.apart, dtype), *call.weight,
                  view_of(spread.as<T>(), n, inputs, inputs, dtype));
      parallel(words, 1, [&](int64_t begin, int64_t end) {
        for (int64_t word = begin; word < end; ++word)
          in_places.put(word, r0, n, spread.as<T>() + word * kTile, inputs, to);
      });
    } else {
      call_mm_out(view_of(gradient, n, outputs, g.apart, dtype), *call.weight,
                  view_of(to + r0 * inputs, n, inputs, inputs, dtype));
    }
  }
  void add_bias(const T* gradient, int64_t n) {
    T* db = mutable_data<T>(r.dbias);
    parallel(tiles, 1, [&](int64_t begin, int64_t end) {
      for (int64_t tile = begin; tile < end; ++tile) {
        Lane<T> sum[kVectors<T>] = {};
        for (int64_t k = 0; k < n; ++k)
          for (int v = 0; v < kVectors<T>; ++v)
            sum[v] = sum[v] + load(gradient + k * stride + tile * kTile + v * kLanes<T>);
        for (int j = 0; j < columns_of(tile, outputs); ++j)
          db[tile * kTile + j] += sum[j / kLanes<T>][j % kLanes<T>];
      }
    });
  }
  // The input's rows as numbers.
  Tensor numbers(int64_t r0, int64_t n) {
    if (constant) return torch::stable::select(call.x, 0, 0);
    if (!call.spikes()) {
      Tensor x = call.x;
      return torch::stable::reshape(torch::stable::narrow(x, 0, r0 / batch, n / batch), {n, inputs});
    }
    if (!spread.as<T>()) spread = scratch<T>(std::min(rows, piece * batch) * inputs);
    unpack(bits_in() + r0 * words, n, inputs, spread.as<T>());
    return view_of(spread.as<T>(), n, inputs, inputs, dtype);
  }
  void add_numbers(const T* gradient, int64_t r0, int64_t n) {
    number_gradient(gradient, stride, n, outputs, data<T>(call.x) + r0 * inputs, inputs, started,
                    mutable_data<T>(r.dweight));
    started = true;
  }
  void add_dense(const T* gradient, const Tensor& x, int64_t n) {
    const Tensor transposed_gradient =
        torch::stable::transpose(view_of(gradient, n, outputs, stride, dtype), 0, 1);
    if (!started) {
      started = true;
      return call_mm_out(transposed_gradient, x, r.dweight);
    }
    const Tensor part = torch::stable::matmul(transposed_gradient, x);
    const T* from = data<T>(part);
    T* to = mutable_data<T>(r.dweight);
    parallel(outputs * inputs, 1 << 15, [&](int64_t begin, int64_t end) {
      for (int64_t k = begin; k < end; ++k) to[k] += from[k];
    });
  }

  // A connection alone: the gradient of the current is the gradient that comes in.
  void only_products() {
    const Tensor& g = *call.grad_y;
    if (once()) return only_once(g);
    SG_CHECK(!constant, "a static input has a gradient that is constant over time, or needs one");
    // Rows that nobody needs filled up stay where they are.
    const bool here = g.stride(2) == 1 && g.stride(0) == batch * g.stride(1) && tiles >= 4 &&
                      by_events && !by_support;
    const int64_t most = here && !call.need_x ? rows : std::min(rows, piece * batch);
    if (!here) dI = scratch<T>(most * stride);
    for (int64_t r0 = 0; r0 < rows; r0 += most) {
      const int64_t n = std::min(rows - r0, most);
      if (!here) rows_of(g, r0, n, dI.as<T>());
      products(here ? Rows<T>{data<T>(g) + r0 * g.stride(1), g.stride(1), false} : filled(), r0, n);
    }
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
  // The same gradient at every step (the mean over time behind): counts of spikes are enough.
  void only_once(const Tensor& g) {
    dI = scratch<T>(batch * stride);
    rows_of(g, 0, batch, dI.as<T>());
    const T* gradient = dI.as<T>();
    if (call.need_weight) {
      add_bias(gradient, batch);
      T* db = mutable_data<T>(r.dbias);
      for (int64_t j = 0; j < outputs; ++j) db[j] *= static_cast<T>(steps);
      spread = scratch<T>(batch * inputs);
      count_spikes(spread.as<T>());
      add_dense(gradient, view_of(spread.as<T>(), batch, inputs, inputs, dtype), batch);
      by_events = false;
    }
    if (!call.need_x) return;
    const Tensor one =
        torch::stable::matmul(view_of(gradient, batch, outputs, stride, dtype), *call.weight);
    r.dx = call.x.dim() == 1 ? one : expanded(one, {steps, batch, inputs});
  }
  void count_spikes(T* counts) const {
    if (constant) {
      const T* x = data<T>(call.x);
      for (int64_t k = 0; k < batch * inputs; ++k) counts[k] = static_cast<T>(steps) * x[k];
      return;
    }
    const uint64_t* bits = bits_in();
    parallel(batch * words, 64, [&](int64_t begin, int64_t end) {
      alignas(64) T row[kTile];
      for (int64_t place = begin; place < end; ++place) {
        const int64_t b = place / words, k = place % words;
        Lane<T> sum[kVectors<T>] = {};
        for (int64_t t = 0; t < steps; ++t) {
          const uint64_t word = bits[t * batch * words + place];
          for (int v = 0; v < kVectors<T>; ++v)
            sum[v] += kept_where<T>(static_cast<Bits<T>>(word >> (v * kLanes<T>)), all_of(T(1)));
        }
        for (int v = 0; v < kVectors<T>; ++v) store(row + v * kLanes<T>, sum[v]);
        std::memcpy(counts + b * inputs + k * kTile, row, columns_of(k, inputs) * sizeof(T));
      }
    });
  }

  void through_time();
  void segment(int64_t t0, int64_t t1, LayerBackRun<T> run);
  void feedback_products(int64_t t0, int64_t t1);
  void finish(const States<T>& gradients);
};

// Steps t1 - 1 to t0 of the neurons: dI of the segment.
template <class T>
void Back<T>::segment(int64_t t0, int64_t t1, LayerBackRun<T> run) {
  f.origin = t0;
  const int64_t groups = groups_of(batch);
  double* all = w.keep ? mutable_data<double>(r.sums) : nullptr;
  if (!call.feedback.has_value()) {
    // A thread takes what it will read again: tiles, whose products come next, or of a constant input,
    // whose gradient is small, the groups whose membranes it wrote.
    parallel(tiles * groups, 1, [&](int64_t begin, int64_t end) {
      for (int64_t k = begin; k < end; ++k) {
        const int64_t tile = constant ? k % tiles : k / groups;
        const int64_t group = constant ? k / tiles : k % groups;
        LayerBack<T> mine = f;
        mine.sums = all ? all + (tile * groups + group) * (kParams + 1) * kTile : nullptr;
        run(mine, tile, group * kGroup, std::min(batch, (group + 1) * kGroup), t0, t1);
      }
    });
    return;
  }
  T* gradient = dI.as<T>();
  for (int64_t t = t1; t-- > t0;) {
    // The slot behind the segment holds the first step of the segment after it.
    const T* next = t < steps - 1 ? gradient + (t + 1 - t0) * batch * stride : nullptr;
    if (next && !back_support) {
      call_mm_out(view_of(next, batch, outputs, stride, dtype), *call.feedback,
                  view_of(back_dense.as<T>(), batch, outputs, outputs, dtype));
    }
    f.back_dense = next && !back_support ? back_dense.as<T>() : nullptr;
    parallel(tiles, 1, [&](int64_t begin, int64_t end) {
      const Scratch back = scratch<T>(batch * kTile);
      for (int64_t tile = begin; tile < end; ++tile) {
        LayerBack<T> mine = f;
        if (next && back_support) {
          sampled_tile(words_of(call.support) + t * batch * tiles + tile, tiles, next, stride, batch,
                       back_wt.as<T>() + tile * kTile * stride, stride, outputs, back.as<T>());
          mine.back = back.as<T>();
        }
        mine.sums = all ? all + tile * groups * (kParams + 1) * kTile : nullptr;
        run(mine, tile, 0, batch, t, t + 1);
      }
    });
  }
}

// The feedback weight saw the spikes of the step before.
template <class T>
void Back<T>::feedback_products(int64_t t0, int64_t t1) {
  const int64_t from = std::max<int64_t>(1, t0), n = (t1 - from) * batch;
  if (!call.need_feedback || n <= 0) return;
  weight_gradient(Rows<T>{dI.as<T>() + (from - t0) * batch * stride, stride, true}, n, outputs,
                  words_of(call.bits) + (from - 1) * batch * tiles, outputs, back_total.as<T>(),
                  static_cast<T*>(nullptr));
}

template <class T>
void Back<T>::through_time() {
  const bool lean = w.lean, syn = w.kind & kSynapse, ada = w.kind & kAdaptive;
  const bool silent = w.refractory > 0, back = call.feedback.has_value();
  const int64_t slots = (back ? piece + 1 : piece) * batch, groups = groups_of(batch);
  dI = scratch<T>((constant ? batch : slots) * stride);
  if (constant) std::memset(dI.as<T>(), 0, batch * stride * sizeof(T));
  if (w.keep) {
    r.sums = fresh_tensor({tiles, groups, kParams + 1, kTile}, ScalarType::Double);
    std::memset(mutable_data<double>(r.sums), 0, r.sums.numel() * sizeof(double));
  }
  StateMemory<T> gradients(batch, outputs), start(batch, outputs);
  gradients.start(data<T>(call.grad_v), data<T>(call.grad_i), data<T>(call.grad_a), nullptr,
                  e.f.params, batch, outputs, w.kind, false);
  if (!call.grad_v.has_value()) std::memset(gradients.states.v, 0, gradients.size * sizeof(T));
  // marks: states at the start of every segment, in a full call of the first one alone
  if (w.keep || lean) restore(data<T>(call.marks), start.size, w.kind, silent, start.states);
  f.steps = steps, f.batch = batch, f.outputs = outputs, f.tiles = tiles;
  f.few_membranes = w.few();
  f.few_gradients = call.grad_y.has_value() && call.grad_y->dim() == 1;
  if (f.few_membranes || f.few_gradients) {
    places = Places(words_of(call.support), steps, batch, tiles);
    f.places = &places;
  }
  if (f.few_membranes) f.spikes = words_of(call.bits);
  if (call.grad_y.has_value()) f.grad_y = data<T>(*call.grad_y);
  if (f.few_gradients) {
    SG_CHECK(call.grad_y->is_contiguous() && call.grad_y->numel() == places.count(),
             "the gradient must have one element a place");
  } else if (call.grad_y.has_value()) {
    f.grad_t = call.grad_y->stride(0), f.grad_b = call.grad_y->stride(1);
    f.grad_n = call.grad_y->stride(2);
  }
  f.grad_steady = data<T>(call.grad_steady), f.grad_last = data<T>(call.grad_last);
  f.params = e.f.params;
  f.alike = e.f.alike && call.amplitude.size(0) == 1;
  const Scratch slopes = scratch<T>(tiles * kTile), amplitudes = scratch<T>(tiles * kTile);
  const bool each = call.slope.size(0) > 1;
  set_row(e.params.template as<T>(), kAmplitude, data<T>(call.amplitude), call.amplitude.size(0) > 1,
          outputs, T(0));
  to_columns(data<T>(call.slope), each, outputs, T(2), slopes.as<T>());
  to_columns(data<T>(call.amplitude), call.amplitude.size(0) > 1, outputs, T(0), amplitudes.as<T>());
  f.rule = {Shape{Family{w.family}, w.shape_a, w.shape_b}, slopes.as<T>(), amplitudes.as<T>(),
            each ? outputs : 1, static_cast<T>(call.gain), w.attached, w.keep && call.grad_slope};
  f.derivative = data<T>(call.derivative);
  f.state = gradients.states, f.before = start.states, f.out = dI.as<T>(), f.total = constant;
  auto at = [](const Tensor& t) { return t.numel() ? const_cast<T*>(data<T>(t)) : nullptr; };
  f.kept = {0, rows, at(call.u), at(call.i), at(call.a), at(call.current),
            call.ready.numel() ? const_cast<uint8_t*>(data<uint8_t>(call.ready)) : nullptr, nullptr};

  // What a lean call computes again.
  StateMemory<T> again(lean ? batch : 0, outputs);
  Scratch u, i, a, current, ready;
  if (lean) {
    const int64_t size = tiles * piece * batch * kTile;
    u = scratch<T>(size), a = scratch<T>(ada ? size : 0), i = scratch<T>(syn && w.keep ? size : 0);
    current = scratch<T>(w.keep ? size : 0), ready = scratch<uint8_t>(silent ? size : 0);
    f.kept = {0, piece * batch, u.as<T>(), syn && w.keep ? i.as<T>() : nullptr,
              ada ? a.as<T>() : nullptr, w.keep ? current.as<T>() : nullptr,
              silent ? ready.as<uint8_t>() : nullptr, nullptr};
    e.f.kept = f.kept, e.f.state = again.states;
    e.f.bits = const_cast<uint64_t*>(words_of(call.bits));
    Tensor packed = none(dtype);
    const Maybe nothing, &bits = call.spikes() ? call.in_bits : nothing;
    choose_current(e, ForwardCall{call.x, bits, call.weight, call.bias, call.feedback, call.first,
                                  nothing, nothing, nothing, nothing, call.params, call.slope, w},
                   packed);
  }
  const LayerBackRun<T> run = backward_of<T>(w);
  const LayerRun<T> forward = forward_of<T>(w);
  for (int64_t k = (steps + piece - 1) / piece; k-- > 0;) {
    const int64_t t0 = k * piece, t1 = std::min(steps, t0 + piece);
    if (lean) {
      const T* from = data<T>(call.marks) + k * states_of(w.kind, silent) * start.size;
      restore(from, start.size, w.kind, silent, start.states);
      restore(from, start.size, w.kind, silent, again.states);
      f.kept.origin = e.f.kept.origin = t0;
      e.run(t0, t1, forward);
    }
    if (back && t1 < steps)
      std::memmove(dI.as<T>() + (t1 - t0) * batch * stride, dI.as<T>(), batch * stride * sizeof(T));
    segment(t0, t1, run);
    if (!constant) products(filled(), t0 * batch, (t1 - t0) * batch);
    if (back) feedback_products(t0, t1);
  }
  if (constant) products(filled(), 0, batch);
  if (call.need_first)
    for (int64_t b = 0; b < batch; ++b)
      std::memcpy(mutable_data<T>(r.dfirst) + b * outputs, dI.as<T>() + b * stride,
                  outputs * sizeof(T));
  finish(gradients.states);
}

template <class T, class P, bool S, bool A, bool K, Reset R, bool X>
struct RunLayerBack {
  static constexpr LayerBackRun<T> run = &layer_backward<T, P, S, A, K, R, X>;
};
template <class T>
LayerBackRun<T> backward_of(const Words& w) {
  if (w.plain() && !w.keep && is_plain(Family{w.family}))
    return by_reset(Reset{w.reset},
                    []<Reset R>() -> LayerBackRun<T> { return &plain_layer_backward<T, R>; });
  LayerBackRun<T> chosen = nullptr;
  select_for<RunLayerBack, T, Tiled<T>>(w.kind, Reset{w.reset}, w.keep,
                                       [&](auto it) { chosen = it.run; });
  return chosen;
}

template <class T>
void Back<T>::finish(const States<T>& gradients) {
  auto out = [&](bool there, const T* from) {
    Tensor made = there ? fresh_tensor({batch, outputs}, dtype) : none(dtype);
    if (there) from_tiles(from, batch, outputs, mutable_data<T>(made));
    return made;
  };
  r.dv0 = out(true, gradients.v);
  r.di0 = out(w.kind & kSynapse, gradients.i), r.da0 = out(w.kind & kAdaptive, gradients.a);
  if (w.keep && !call.v0.has_value()) {  // at rest the first membrane is v_rest itself
    double* sums = mutable_data<double>(r.sums);
    for (int64_t tile = 0; tile < tiles; ++tile)
      for (int64_t b = 0; b < batch; ++b)
        for (int j = 0; j < kTile; ++j)
          sums[(tile * groups_of(batch) * (kParams + 1) + kRest) * kTile + j] +=
              gradients.v[(tile * batch + b) * kTile + j];
  }
}

template <class T>
BackwardResult layer_backward_call(const BackwardCall& call) {
  Back<T> back(call);
  back.choose();
  if (call.words.kind & kIdentity)
    back.only_products();
  else
    back.through_time();
  if (call.need_weight && back.by_events)
    untiled(back.weight_total.template as<T>(), back.outputs, back.inputs,
            mutable_data<T>(back.r.dweight));
  if (call.need_feedback)
    untiled(back.back_total.template as<T>(), back.outputs, back.outputs,
            mutable_data<T>(back.r.dfeedback));
  return std::move(back.r);
}

}  // namespace spikegrad
