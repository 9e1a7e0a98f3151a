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
  const int64_t steps, batch, outputs, tiles, rows, stride;
  // Of a constant input no gradient of all steps exists that segments would keep small.
  const bool constant;
  const int64_t piece;
  ConnectionBack<T> in;
  Scratch dI, back_total, back_wt, back_dense;
  bool back_support = false;
  Places places;  // of this layer's own support
  BackwardResult r;
  LayerBack<T> f{};

  explicit Back(const BackwardCall& c)
      : call(c), w(c.words), e(c.in, c.feedback, c.first, c.params, c.slope, c.words),
        dtype(c.params.scalar_type()), steps(e.steps), batch(e.batch), outputs(e.outputs),
        tiles(e.tiles), rows(steps * batch), stride(padded<T>(outputs)),
        constant(may_be_constant(c.in, c.needs) && !c.feedback.has_value()),
        piece(constant && !w.lean ? steps : segment_steps(batch)),
        in(c.in, c.needs, constant, piece), r{none(dtype), none(dtype), none(dtype),
                                              none(dtype), none(dtype), none(dtype),
                                              none(dtype), none(dtype), none(ScalarType::Double)} {
    if (call.feedback.has_value()) choose_feedback();
    if (call.need_first) r.dfirst = fresh_tensor({batch, outputs}, dtype);
  }

  static const uint64_t* words_of(const Tensor& t) {
    return t.numel() ? reinterpret_cast<const uint64_t*>(data<int64_t>(t)) : nullptr;
  }
  Rows<T> filled() const { return {dI.as<T>(), stride, true}; }
  // Which way the products with the feedback's weight go, and room for them.
  void choose_feedback() {
    const double square = static_cast<double>(rows) * static_cast<double>(outputs);
    const uint64_t* s = words_of(call.support);
    back_support = s && static_cast<double>(ones(s, rows * tiles)) <= w.crossover.input * square;
    if (back_support)
      back_wt = transposed(data<T>(*call.feedback), outputs, outputs);
    else
      back_dense = scratch<T>(batch * outputs);
    if (!call.need_feedback) return;
    r.dfeedback = pooled({outputs, outputs}, dtype);
    back_total = zeros_of_tiles<T>(tiles, outputs);
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
    // A thread takes what it will read again: tiles, whose products come next, or of a constant
    // input, whose gradient is small, the groups whose membranes it wrote.
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
          sampled_tile(words_of(call.support) + t * batch * tiles + tile, tiles, next, stride,
                       batch, back_wt.as<T>() + tile * kTile * stride, stride, outputs,
                       back.as<T>());
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
                  static_cast<T*>(nullptr), false);
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
  set_row(e.params.template as<T>(), kAmplitude, data<T>(call.amplitude),
          call.amplitude.size(0) > 1, outputs, T(0));
  to_columns(data<T>(call.slope), each, outputs, T(2), slopes.as<T>());
  to_columns(data<T>(call.amplitude), call.amplitude.size(0) > 1, outputs, T(0),
             amplitudes.as<T>());
  f.rule = {Shape{Family{w.family}, w.shape_a, w.shape_b},
            slopes.as<T>(),
            amplitudes.as<T>(),
            each ? outputs : 1,
            static_cast<T>(w.gain),
            w.attached,
            w.keep && call.grad_slope};
  f.derivative = data<T>(call.derivative);
  f.state = gradients.states, f.before = start.states, f.out = dI.as<T>(), f.total = constant;
  auto at = [](const Tensor& t) { return t.numel() ? const_cast<T*>(data<T>(t)) : nullptr; };
  f.kept = {0,
            rows,
            at(call.u),
            at(call.i),
            at(call.a),
            at(call.current),
            call.ready.numel() ? const_cast<uint8_t*>(data<uint8_t>(call.ready)) : nullptr,
            nullptr};

  // What a lean call computes again.
  StateMemory<T> again(lean ? batch : 0, outputs);
  Scratch u, i, a, current, ready;
  if (lean) {
    const int64_t size = tiles * piece * batch * kTile;
    u = scratch<T>(size), a = scratch<T>(ada ? size : 0), i = scratch<T>(syn && w.keep ? size : 0);
    current = scratch<T>(w.keep ? size : 0), ready = scratch<uint8_t>(silent ? size : 0);
    f.kept = {0,
              piece * batch,
              u.as<T>(),
              syn && w.keep ? i.as<T>() : nullptr,
              ada ? a.as<T>() : nullptr,
              w.keep ? current.as<T>() : nullptr,
              silent ? ready.as<uint8_t>() : nullptr,
              nullptr};
    e.f.kept = f.kept, e.f.state = again.states;
    e.f.bits = const_cast<uint64_t*>(words_of(call.bits));
    Tensor packed = none(dtype);
    e.choose(call.in, packed);
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
    if (!constant) in.products(filled(), t0 * batch, (t1 - t0) * batch);
    if (back) feedback_products(t0, t1);
  }
  if (constant) in.products(filled(), 0, batch);
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
  back.through_time();
  const ConnectionGradients in = back.in.finish();
  back.r.dx = in.dx, back.r.dweight = in.dweight, back.r.dbias = in.dbias;
  if (call.need_feedback)
    untiled(back.back_total.template as<T>(), back.outputs, back.outputs,
            mutable_data<T>(back.r.dfeedback));
  return std::move(back.r);
}

}  // namespace spikegrad
