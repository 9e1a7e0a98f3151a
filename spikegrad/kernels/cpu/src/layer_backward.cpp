// A whole layer back through time.
//
// Time is walked in segments from the end. Of a segment exist: the gradient of the current, the
// products made from it, and in a lean call what the forward pass did not keep, computed again.
#include "dense.h"
#include "layer_engine.h"
#include "sparse_feedback.h"

namespace spikegrad {
namespace {

// A backward call: what the forward call was, gradients that come in, what the forward pass left,
// and what is wanted; lean: what the steps keep is computed again.
struct BackCall {
  LayerCall layer;
  Needs needs;
  const Maybe &grad_y, &grad_last, &grad_ends, &grad_steady, &grad_pending;
  const Tensor &reals, &masks, &current, &bits, &support, &marks;
  bool need_feedback, need_first, lean;
};

template <class T>
struct Back : LayerSizes {
  const BackCall& call;
  const LayerCall& layer;
  const Program& p;
  Engine<T> e;
  const ScalarType dtype;
  const int64_t tiles, stride;
  // Of a constant input no gradient of all steps exists that segments would keep small.
  const bool constant;
  const int64_t piece;
  ConnectionBack<T> in;
  Scratch<T> dI, back_total, back_weight, carry, start;
  std::optional<SparseFeedback<T>> sparse;  // feedback along some synapses
  std::optional<DelayedFeedbackBack<T>> delayed;
  Scratch<T> again, reals, current;  // what a lean call computes again
  Scratch<uint64_t> masks;
  bool back_support = false, back_started = false;
  Places places;  // of this layer's own support
  Tensor dfeedback, dfirst, sums;
  LayerBack<T> f{};
  std::vector<int64_t> groups_before;
  Scratch<uint64_t> before;  // of a segment's rows the spikes of the step before

  explicit Back(const BackCall& c)
      : LayerSizes(c.layer.sizes()), call(c), layer(c.layer), p(layer.program), e(layer),
        dtype(layer.params.scalar_type()), tiles(e.tiles), stride(padded<T>(width)),
        constant(may_be_constant(layer.in, c.needs) && !layer.feedback.has_value()),
        piece(constant && !c.lean ? steps : segment_steps(batch)),
        in(layer.in, c.needs, constant, piece * batch), dfeedback(none(dtype)), dfirst(none(dtype)),
        sums(none(ScalarType::Double)) {
    if (layer.feedback.has_value()) choose_feedback();
    if (call.need_first) dfirst = fresh_tensor({batch, width}, dtype);
    prepare();
    if (call.lean) prepare_again();
    f.compacted = is_compacted(p, f.kept, tiles);
  }

  Rows<T> filled() const { return {dI, stride, true}; }
  // Which way the products with the feedback's weight go, and the weight as they read it.
  void choose_feedback() {
    const double square = static_cast<double>(rows()) * static_cast<double>(outputs);
    const uint64_t* s = words_of(call.support);
    if (layer.delayed_feedback()) {
      delayed.emplace(layer.back_taps<T>(), s, time, data<T>(call.grad_pending));
      return;
    }
    back_support =
        s && static_cast<double>(ones(s, rows() * tiles)) <= layer.in.crossover.input * square;
    const T* weight = data<T>(layer.feedback);
    if (call.need_feedback) dfeedback = pooled(sizes_of(*layer.feedback), dtype);
    if (layer.sparse_feedback()) {
      T* const dw = call.need_feedback ? mutable_data<T>(dfeedback) : nullptr;
      sparse.emplace(layer.back_synapses(), weight, words_of(call.bits), s, time, stride, dw);
      return;
    }
    back_weight =
        back_support ? transposed(weight, width, outputs) : packed_columns(weight, width, outputs);
    if (!call.need_feedback) return;
    back_total = Scratch<T>(tiles_of(width) * outputs * kTile);
  }

  // What the steps read: gradients, states, what was kept.
  void prepare() {
    const int64_t slots = (layer.feedback.has_value() ? piece + 1 : piece) * batch;
    dI = Scratch<T>((constant ? batch : slots) * stride);
    if (constant) std::memset(dI, 0, batch * stride * sizeof(T));
    if (p.learned) {
      sums = fresh_tensor({tiles, groups_of(batch), p.learned, kTile}, ScalarType::Double);
      f.sums = mutable_data<double>(sums);
      std::memset(f.sums, 0, sums.numel() * sizeof(double));
    }
    carry = Scratch<T>(p.smooth * e.size), start = Scratch<T>(p.states * e.size);
    if (call.grad_ends.has_value())
      to_tiles(*call.grad_ends, p.smooth, batch, outputs, true, carry.get());
    else
      std::memset(carry, 0, p.smooth * e.size * sizeof(T));
    to_tiles(layer.states, p.states, batch, outputs, false, start.get());
    f.time = &time, f.batch = batch, f.outputs = outputs, f.tiles = tiles;
    f.program = &p, f.params = e.f.params;
    f.carry = carry, f.before = start, f.out = dI, f.total = constant;
    if (p.reads_spikes) f.spikes = words_of(call.bits);
    if (p.reads_support) f.support = words_of(call.support);
    auto at = [](const Tensor& t) { return t.numel() ? const_cast<T*>(data<T>(t)) : nullptr; };
    uint64_t* const all_masks = const_cast<uint64_t*>(words_of(call.masks));
    f.kept = {0, steps, rows(), at(call.reals), at(call.current), all_masks, nullptr, true};
    prepare_gradients();
  }

  void prepare_gradients() {
    f.few_gradients = call.grad_y.has_value() && call.grad_y->dim() == 1;
    if (is_compacted(p, f.kept, tiles) || f.few_gradients) {
      SG_CHECK(words_of(call.support), "expected the words of the support");
      places = Places(words_of(call.support), time, tiles);
      f.places = &places;
    }
    f.grad_y = data<T>(call.grad_y);
    f.grad_steady = data<T>(call.grad_steady), f.grad_last = data<T>(call.grad_last);
    if (f.few_gradients)
      check_tensor(call.grad_y, {places.count()}, dtype,
                   "the gradient must have one element a place");
    else if (call.grad_y.has_value())
      f.grad_t = call.grad_y->stride(0), f.grad_b = call.grad_y->stride(1),
      f.grad_n = call.grad_y->stride(2);
  }

  // Room for what a lean call computes again, a segment at a time.
  void prepare_again() {
    const int64_t size = tiles * piece * batch;
    again = Scratch<T>(p.states * e.size);
    reals = Scratch<T>(p.reals * size * kTile), masks = Scratch<uint64_t>(p.masks * size);
    if (p.reads_input) current = Scratch<T>(p.inputs * size * kTile);
    f.kept = {0, piece, piece * batch, reals, current, masks, nullptr, true};
    e.f.states = again;
    e.f.bits = const_cast<uint64_t*>(words_of(call.bits));
    Tensor packed;
    e.choose(layer.in, packed);
  }

  // One step of the neurons with what comes back through the feedback from the step after.
  void feedback_step(int64_t t, int64_t t0) {
    T* gradient = dI;
    // The slot behind the segment holds the first step of the segment after it.
    const T* next = t < steps - 1 ? gradient + (time.row(t + 1) - time.row(t0)) * stride : nullptr;
    const int64_t groups = groups_of(batch), each = sparse && sparse->by_tiles() ? groups : 1;
    const int64_t now = time.alive(t), later = delayed ? now : time.alive(t + 1);
    if (next && sparse) sparse->begin(next, later);
    parallel(tiles * groups / each, 1, [&](int64_t begin, int64_t end) {
      const Scratch<T> back(kGroup * kTile);
      for (int64_t piece = begin * each; piece < end * each; ++piece) {
        const int64_t tile = piece / groups, b0 = piece % groups * kGroup;
        if (b0 >= now) continue;
        // Nothing comes back to samples that have no step after this one.
        const int64_t b1 = std::min(now, b0 + kGroup), n = std::min(b1, later) - b0;
        LayerBack<T> mine = f;
        if (n <= 0)
          mine.back = nullptr;
        else if (delayed)
          delayed->step(t, tile, b0, n, back.get());
        else if (sparse)
          sparse->step(t, tile, b0, n, next, back.get());
        else if (back_support)
          sampled_tile(words_of(call.support) + time.row(t, b0) * tiles + tile, tiles,
                       next + b0 * stride, stride, n, back_weight + tile * kTile * stride, stride,
                       width, back.get());
        else
          dense_tile(next + b0 * stride, stride, n, back_weight + tile * width * kTile, width,
                     back.get());
        if (n > 0) {
          mine.back = back.get();
          std::memset(back + n * kTile, 0, (b1 - b0 - n) * kTile * sizeof(T));
        }
        layer_backward(mine, tile, b0, b1, t, t + 1);
      }
    });
    if (delayed) delayed->put(t, gradient + (time.row(t) - time.row(t0)) * stride, stride);
  }

  // Steps t1 - 1 to t0 of the neurons: dI of the segment.
  void segment(int64_t t0, int64_t t1) {
    f.origin = t0;
    if (layer.feedback.has_value()) {
      for (int64_t t = t1; t-- > t0;) feedback_step(t, t0);
      return;
    }
    const int64_t groups = groups_of(batch);
    // A thread takes what it will read again: tiles, whose products come next, or of a constant
    // input, whose gradient is small, the groups whose membranes it wrote.
    parallel_each(tiles * groups, 1, [&](int64_t k) {
      const int64_t tile = constant ? k % tiles : k / groups;
      const int64_t group = constant ? k / tiles : k % groups;
      layer_backward(f, tile, group * kGroup, std::min(batch, (group + 1) * kGroup), t0, t1);
    });
  }

  // The feedback weight saw the spikes of the step before.
  void feedback_products(int64_t t0, int64_t t1) {
    const int64_t from = std::max<int64_t>(1, t0);
    if (!call.need_feedback || t1 <= from) return;
    const int64_t n = time.row(t1) - time.row(from);
    const T* gradient = dI + (time.row(from) - time.row(t0)) * stride;
    const uint64_t* bits = words_before(from, t1);
    if (sparse)
      sparse->products(gradient, bits, n, !back_started);
    else
      weight_gradient(Rows<T>{gradient, stride, true}, n, width, bits, outputs, back_total.get(),
                      static_cast<T*>(nullptr), !back_started);
    back_started = true;
  }

  // Words of the spikes of the step before, of the rows of steps [from, t1).
  const uint64_t* words_before(int64_t from, int64_t t1) {
    const uint64_t* bits = words_of(call.bits);
    if (!time.ragged) return bits + time.row(from - 1) * tiles;
    if (!before) before = Scratch<uint64_t>(piece * batch * tiles);
    uint64_t* to = before;
    for (int64_t t = from; t < t1; to += time.alive(t++) * tiles)
      std::memcpy(to, bits + time.row(t - 1) * tiles, time.alive(t) * tiles * sizeof(uint64_t));
    return before;
  }

  // The gradient of rows [r0, r0 + n) of currents that were given, input beside input without the
  // columns between them.
  void given_gradient(int64_t r0, int64_t n) {
    if (!call.needs.x) return;
    T* const to = mutable_data<T>(in.dx) + r0 * p.inputs * outputs;
    parallel_each(n, 64, [&](int64_t r) {
      for (int64_t input = 0; input < p.inputs; ++input)
        std::memcpy(to + (r * p.inputs + input) * outputs, dI + r * stride + input * tiles * kTile,
                    outputs * sizeof(T));
    });
  }

  void through_time() {
    const bool apart = p.inputs > 1 && !layer.in.weight.has_value();
    const bool back = layer.feedback.has_value();
    for (int64_t k = (steps + piece - 1) / piece; k-- > 0;) {
      const int64_t t0 = k * piece, t1 = std::min(steps, t0 + piece);
      if (call.lean) {
        const T* from = data<T>(call.marks) + k * p.states * e.size;
        std::memcpy(start, from, p.states * e.size * sizeof(T));
        std::memcpy(again, from, p.states * e.size * sizeof(T));
        f.kept.origin = t0, f.kept.last = t1;
        e.keep(f.kept);
        e.run(t0, t1);
      }
      if (back && t1 < steps)
        std::memmove(dI + (time.row(t1) - time.row(t0)) * stride, dI,
                     time.alive(t1) * stride * sizeof(T));
      groups_before = kept_before(time, f.kept);
      f.groups = groups_before.data();
      segment(t0, t1);
      const int64_t r0 = time.row(t0), many = time.row(t1) - r0;
      if (apart)
        given_gradient(r0, many);
      else if (!constant)
        in.products(filled(), r0, many);
      if (back) feedback_products(t0, t1);
    }
    if (constant) in.products(filled(), 0, batch);
    for (int64_t b = 0; call.need_first && b < batch; ++b)
      std::memcpy(mutable_data<T>(dfirst) + b * width, dI + b * stride, width * sizeof(T));
    in.finish();
    if (!call.need_feedback) return;
    T* const to = mutable_data<T>(dfeedback);
    if (!back_started)  // of one step
      std::memset(to, 0, dfeedback.numel() * sizeof(T));
    else if (!sparse)
      untiled(back_total.get(), width, outputs, to);
  }
};

void check_kept(const BackCall& call) {
  const Program& p = call.layer.program;
  const LayerSizes s = call.layer.sizes();
  const int64_t all = tiles_of(s.outputs) * s.rows(), words = call.lean ? 0 : all;
  SG_CHECK(call.reals.numel() == p.reals * words * kTile && call.masks.numel() == p.masks * words &&
               call.current.numel() == (p.reads_input ? p.inputs * words * kTile : 0),
           "kept values of another call");
  const bool bits = p.spikes && (p.reads_spikes || call.lean || call.layer.feedback.has_value());
  SG_CHECK(!bits || call.bits.numel() == all, "expected the words of the spikes");
  SG_CHECK(!(p.reads_support || p.within) || call.support.numel() == all,
           "expected the words of the support");
}

using LayerGradients = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

// -> (dx, dweight, dbias, dfeedback, dfirst, dstates [smooth or 0, B, N], sums [tiles, groups,
// learned, 64] of the parameters' gradients)
LayerGradients layer_gradients(
    int64_t program, const Maybe& grad_y, const Maybe& grad_last, const Maybe& grad_ends,
    const Maybe& grad_steady, const Maybe& grad_pending, const Tensor& x, const Maybe& in_bits,
    const Maybe& in_support, const Maybe& weight, const Maybe& bias, const Maybe& feedback,
    const Maybe& back_starts, const Maybe& back_targets, const Maybe& back_first,
    const Maybe& arriving, const Maybe& first, const Tensor& states, const Tensor& params,
    const Tensor& reals, const Tensor& masks, const Tensor& current, const Tensor& bits,
    const Tensor& support, const Tensor& marks, const Tensor& told, bool need_x, bool need_weight,
    bool need_feedback, bool need_first, bool need_states, bool lean,
    const std::vector<double>& shares, const std::vector<int64_t>& starts, int64_t neurons) {
  const Program& p = program_of(program);
  const ConnectionCall all{x, in_bits, in_support, weight, bias, Crossover(shares)};
  const LayerCall asked{p,        all,   feedback, back_starts, back_targets, back_first,
                        arriving, first, states,   params,      starts,       neurons};
  check_layer(asked);
  const LayerSizes s = asked.sizes();
  const ScalarType dtype = params.scalar_type();
  for (const Maybe* one : {&grad_steady, &grad_last})
    check_tensor(*one, {s.batch, s.outputs}, dtype,
                 "gradients of one step must be a contiguous [B, N]");
  check_tensor(grad_ends, {p.smooth, s.batch, s.outputs}, dtype,
               "a state's gradient must be a contiguous [B, N]");
  const Choice choice = choice_of(told);
  const LayerCall layer{p,          met(all, choice), feedback, back_starts, back_targets,
                        back_first, arriving,         first,    states,      params,
                        starts,     neurons};
  const Needs needs{ones_of(choice, all), need_x, need_weight};
  if (arriving.has_value())
    check_tensor(grad_pending, sizes_of(*arriving), dtype,
                 "the gradient of what is on its way must be a contiguous [B, D, N]");
  SG_CHECK(!layer.delayed_feedback() || (!need_feedback && !lean),
           "the gradient of delayed feedback is another operator's");
  const BackCall call{layer,        needs,         grad_y,     grad_last, grad_ends, grad_steady,
                      grad_pending, reals,         masks,      current,   bits,      support,
                      marks,        need_feedback, need_first, lean};
  check_kept(call);
  return by_type(dtype, [&]<class T>() {
    Back<T> back(call);
    back.through_time();
    const Tensor dstates =
        from_tiles(back.carry.get(), need_states ? p.smooth : 0, s.batch, s.outputs, dtype);
    return LayerGradients(back.in.dx, back.in.dweight, back.in.dbias, back.dfeedback, back.dfirst,
                          dstates, back.sums);
  });
}

}  // namespace
}  // namespace spikegrad

STABLE_TORCH_LIBRARY_IMPL(spikegrad, CPU, m) {
  m.impl("layer_backward", TORCH_BOX(&spikegrad::layer_gradients));
}
