// A whole layer back through time.
//
// Time is walked in segments from the end. Of a segment exist: the gradient of the current, the
// products made from it, and in a lean call what the forward pass did not keep, computed again.
#include "layer_engine.h"

namespace spikegrad {
namespace {

template <class T>
struct Back {
  const BackwardCall& call;
  const Program& p;
  Engine<T> e;
  const ScalarType dtype;
  const int64_t steps, batch, outputs, tiles, rows, stride;
  // Of a constant input no gradient of all steps exists that segments would keep small.
  const bool constant;
  const int64_t piece;
  ConnectionBack<T> in;
  Scratch dI, back_total, back_wt, back_dense, carry, start;
  Scratch again, reals, current, masks;  // what a lean call computes again
  bool back_support = false;
  Places places;  // of this layer's own support
  BackwardResult r;
  LayerBack<T> f{};

  explicit Back(const BackwardCall& c)
      : call(c), p(c.program), e(p, c.in, c.feedback, c.first, c.params),
        dtype(c.params.scalar_type()), steps(e.steps), batch(e.batch), outputs(e.outputs),
        tiles(e.tiles), rows(steps * batch), stride(padded<T>(outputs)),
        constant(may_be_constant(c.in, c.needs) && !c.feedback.has_value()),
        piece(constant && !c.lean ? steps : segment_steps(batch)),
        in(c.in, c.needs, constant, piece), r{none(dtype),
                                              none(dtype),
                                              none(dtype),
                                              none(dtype),
                                              none(dtype),
                                              none(dtype),
                                              none(ScalarType::Double)} {
    if (call.feedback.has_value()) choose_feedback();
    if (call.need_first) r.dfirst = fresh_tensor({batch, outputs}, dtype);
    prepare();
    if (call.lean) prepare_again();
  }

  Rows<T> filled() const { return {dI.as<T>(), stride, true}; }
  // Which way the products with the feedback's weight go, and room for them.
  void choose_feedback() {
    const double square = static_cast<double>(rows) * static_cast<double>(outputs);
    const uint64_t* s = words_at(call.support);
    back_support =
        s && static_cast<double>(ones(s, rows * tiles)) <= call.in.crossover.input * square;
    if (back_support)
      back_wt = transposed(data<T>(*call.feedback), outputs, outputs);
    else
      back_dense = scratch<T>(batch * outputs);
    if (!call.need_feedback) return;
    r.dfeedback = pooled({outputs, outputs}, dtype);
    back_total = zeros_of_tiles<T>(tiles, outputs);
  }

  void prepare();
  void prepare_gradients();
  void prepare_again();
  void through_time();
  void segment(int64_t t0, int64_t t1);
  void feedback_step(int64_t t, int64_t t0);
  void feedback_products(int64_t t0, int64_t t1);
};

// What the steps read: gradients, states, what was kept.
template <class T>
void Back<T>::prepare() {
  const int64_t slots = (call.feedback.has_value() ? piece + 1 : piece) * batch;
  dI = scratch<T>((constant ? batch : slots) * stride);
  if (constant) std::memset(dI.as<T>(), 0, batch * stride * sizeof(T));
  if (p.learned) {
    r.sums = fresh_tensor({tiles, groups_of(batch), p.learned, kTile}, ScalarType::Double);
    std::memset(mutable_data<double>(r.sums), 0, r.sums.numel() * sizeof(double));
  }
  carry = scratch<T>(p.smooth * e.size), start = scratch<T>(p.states * e.size);
  if (call.grad_ends.has_value())
    to_tiles(*call.grad_ends, p.smooth, batch, outputs, true, carry.as<T>());
  else
    std::memset(carry.as<T>(), 0, p.smooth * e.size * sizeof(T));
  to_tiles(call.states, p.states, batch, outputs, false, start.as<T>());
  f.steps = steps, f.batch = batch, f.outputs = outputs, f.tiles = tiles;
  f.program = &p, f.params = e.f.params;
  f.carry = carry.as<T>(), f.before = start.as<T>(), f.out = dI.as<T>(), f.total = constant;
  if (p.reads_spikes) f.spikes = words_at(call.bits);
  if (p.reads_support) f.support = words_at(call.support);
  auto at = [](const Tensor& t) { return t.numel() ? const_cast<T*>(data<T>(t)) : nullptr; };
  f.kept = {
      0,       rows, at(call.reals), at(call.current), const_cast<uint64_t*>(words_at(call.masks)),
      nullptr, true};
  prepare_gradients();
}

template <class T>
void Back<T>::prepare_gradients() {
  f.few_gradients = call.grad_y.has_value() && call.grad_y->dim() == 1;
  if (p.within || f.few_gradients) {
    SG_CHECK(words_at(call.support), "expected the words of the support");
    places = Places(words_at(call.support), steps, batch, tiles);
    f.places = &places;
  }
  f.grad_y = data<T>(call.grad_y);
  f.grad_steady = data<T>(call.grad_steady), f.grad_last = data<T>(call.grad_last);
  if (f.few_gradients) {
    SG_CHECK(call.grad_y->is_contiguous() && call.grad_y->numel() == places.count(),
             "the gradient must have one element a place");
  } else if (call.grad_y.has_value()) {
    f.grad_t = call.grad_y->stride(0), f.grad_b = call.grad_y->stride(1);
    f.grad_n = call.grad_y->stride(2);
  }
}

// Room for what a lean call computes again, a segment at a time.
template <class T>
void Back<T>::prepare_again() {
  const int64_t size = tiles * piece * batch;
  again = scratch<T>(p.states * e.size);
  reals = scratch<T>(p.reals * size * kTile), masks = scratch<uint64_t>(p.masks * size);
  current = scratch<T>(p.reads_input ? size * kTile : 0);
  f.kept = {0,
            piece * batch,
            reals.as<T>(),
            p.reads_input ? current.as<T>() : nullptr,
            masks.as<uint64_t>(),
            nullptr,
            true};
  e.f.states = again.as<T>();
  e.f.bits = const_cast<uint64_t*>(words_at(call.bits));
  Tensor packed = none(dtype);
  e.choose(call.in, packed);
}

// One step of the neurons with what comes back through the feedback from the step after.
template <class T>
void Back<T>::feedback_step(int64_t t, int64_t t0) {
  T* gradient = dI.as<T>();
  double* all = p.learned ? mutable_data<double>(r.sums) : nullptr;
  const int64_t groups = groups_of(batch);
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
        sampled_tile(words_at(call.support) + t * batch * tiles + tile, tiles, next, stride, batch,
                     back_wt.as<T>() + tile * kTile * stride, stride, outputs, back.as<T>());
        mine.back = back.as<T>();
      }
      mine.sums = all ? all + tile * groups * p.learned * kTile : nullptr;
      layer_backward(mine, tile, 0, batch, t, t + 1);
    }
  });
}

// Steps t1 - 1 to t0 of the neurons: dI of the segment.
template <class T>
void Back<T>::segment(int64_t t0, int64_t t1) {
  f.origin = t0;
  if (call.feedback.has_value()) {
    for (int64_t t = t1; t-- > t0;) feedback_step(t, t0);
    return;
  }
  const int64_t groups = groups_of(batch);
  double* all = p.learned ? mutable_data<double>(r.sums) : nullptr;
  // A thread takes what it will read again: tiles, whose products come next, or of a constant
  // input, whose gradient is small, the groups whose membranes it wrote.
  parallel(tiles * groups, 1, [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) {
      const int64_t tile = constant ? k % tiles : k / groups;
      const int64_t group = constant ? k / tiles : k % groups;
      LayerBack<T> mine = f;
      mine.sums = all ? all + (tile * groups + group) * p.learned * kTile : nullptr;
      layer_backward(mine, tile, group * kGroup, std::min(batch, (group + 1) * kGroup), t0, t1);
    }
  });
}

// The feedback weight saw the spikes of the step before.
template <class T>
void Back<T>::feedback_products(int64_t t0, int64_t t1) {
  const int64_t from = std::max<int64_t>(1, t0), n = (t1 - from) * batch;
  if (!call.need_feedback || n <= 0) return;
  weight_gradient(Rows<T>{dI.as<T>() + (from - t0) * batch * stride, stride, true}, n, outputs,
                  words_at(call.bits) + (from - 1) * batch * tiles, outputs, back_total.as<T>(),
                  static_cast<T*>(nullptr), false);
}

template <class T>
void Back<T>::through_time() {
  const bool back = call.feedback.has_value();
  for (int64_t k = (steps + piece - 1) / piece; k-- > 0;) {
    const int64_t t0 = k * piece, t1 = std::min(steps, t0 + piece);
    if (call.lean) {
      const T* from = data<T>(call.marks) + k * p.states * e.size;
      std::memcpy(start.as<T>(), from, p.states * e.size * sizeof(T));
      std::memcpy(again.as<T>(), from, p.states * e.size * sizeof(T));
      f.kept.origin = t0;
      e.keep(f.kept);
      e.run(t0, t1);
    }
    if (back && t1 < steps)
      std::memmove(dI.as<T>() + (t1 - t0) * batch * stride, dI.as<T>(), batch * stride * sizeof(T));
    segment(t0, t1);
    if (!constant) in.products(filled(), t0 * batch, (t1 - t0) * batch);
    if (back) feedback_products(t0, t1);
  }
  if (constant) in.products(filled(), 0, batch);
  if (call.need_first)
    for (int64_t b = 0; b < batch; ++b)
      std::memcpy(mutable_data<T>(r.dfirst) + b * outputs, dI.as<T>() + b * stride,
                  outputs * sizeof(T));
  r.dstates = from_tiles(carry.as<T>(), p.smooth, batch, outputs, dtype);
}

}  // namespace

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

template BackwardResult layer_backward_call<float>(const BackwardCall&);
template BackwardResult layer_backward_call<double>(const BackwardCall&);

}  // namespace spikegrad
