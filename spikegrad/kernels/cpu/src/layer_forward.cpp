// A whole layer forward.
#include "layer_engine.h"

namespace spikegrad {
namespace {

// A tensor [T, B, N] of one zero: an edge for autograd where only bits are passed on.
template <class T>
Tensor ghost(const std::vector<int64_t>& sizes, ScalarType dtype) {
  static T zero = 0;
  return tensor_at(&zero, sizes, std::vector<int64_t>(sizes.size(), 0), dtype);
}

// What a call is besides its tensors. keep: a backward pass may follow; lean: for it states are
// kept now and then alone; dense: outputs are wanted as numbers, not only as bits; places: bits are
// passed on with a gradient at the places of the support alone.
struct How {
  bool keep, lean, dense, places;
};

using Layered = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor,
                           Tensor, Tensor, Tensor, Tensor>;

template <class T>
Layered forward(const LayerCall& call, const How& how) {
  const Program& p = call.program;
  const ScalarType dtype = call.params.scalar_type(), words = ScalarType::Long;
  Engine<T> e(call);
  const bool keep = how.keep && !how.lean, dense = how.dense || !p.spikes;
  const int64_t rows = e.rows(), tiles = e.tiles, piece = segment_steps(e.batch);
  const int64_t segments = how.keep && how.lean ? (e.steps + piece - 1) / piece : 0;
  const int64_t lead = e.time.ragged ? 1 : e.steps, each = rows / lead;
  const std::vector<int64_t> whole{lead, each, e.outputs}, row{lead, each, tiles};
  const Pages pages = p.within ? Pages::small : Pages::large;
  Tensor y = pooled_if(dense, whole, dtype), last = none(dtype), steady = none(dtype), packed;
  Tensor reals = pooled_if(keep && p.reals, {p.reals, tiles, rows, int64_t{kTile}}, dtype, pages);
  Tensor masks = pooled_if(keep && p.masks, {p.masks, tiles, rows}, words);
  Tensor current =
      pooled_if(keep && p.reads_input, {p.inputs * tiles, rows, int64_t{kTile}}, dtype);
  Tensor bits = pooled_if(p.spikes, row, words);
  Tensor support = pooled_if(p.spikes && p.support && (how.keep || how.places), row, words);
  Tensor marks = pooled_if(segments, {segments, p.states, e.size}, dtype);
  const Tensor choice = e.choose(call.in, packed).told();
  const Scratch<T> states(p.states * e.size);
  to_tiles(call.states, p.states, e.batch, e.outputs, false, states.get());
  e.f.states = states;
  auto at = [](Tensor& t) { return t.numel() ? mutable_data<T>(t) : nullptr; };
  e.keep({0, e.steps, rows, at(reals), at(current), words_of(masks), nullptr, keep});
  e.f.bits = words_of(bits), e.f.support = words_of(support), e.f.y = at(y);
  if (call.delayed_feedback()) e.begin_delays(call);
  for (int64_t k = 0; k < segments; ++k) {
    const int64_t size = p.states * e.size;
    std::memcpy(mutable_data<T>(marks) + k * size, states, size * sizeof(T));
    e.run(k * piece, std::min(e.steps, (k + 1) * piece));
  }
  if (!segments) e.run(0, e.steps);
  if (how.places) steady = ghost<T>({e.batch, e.outputs}, dtype);
  if (!dense && how.places)
    y = ghost<T>({ones(e.f.support, rows * tiles)}, dtype);
  else if (!dense)
    y = ghost<T>(whole, dtype);
  if (call.feedback.has_value()) {
    last = fresh_tensor({e.batch, e.outputs}, dtype);
    for (int64_t t = 0; t < e.steps; ++t) {  // of the samples that end with this step
      const int64_t left = e.time.alive(t + 1), ended = e.time.alive(t) - left;
      unpack(e.f.bits + e.time.row(t, left) * tiles, ended, e.outputs,
             mutable_data<T>(last) + left * e.outputs);
    }
  }
  Tensor pending = none(dtype);
  if (call.delayed_feedback()) {
    pending = pooled(sizes_of(*call.arriving), dtype);
    e.fed.delayed->left(e.steps, mutable_data<T>(pending));
  }
  const Tensor ends = from_tiles(states.get(), p.states, e.batch, e.outputs, dtype);
  return {y,      last,  reals, masks,  current, bits,   support,
          packed, marks, ends,  choice, steady,  pending};
}

// Arguments and results: LayerCall and LayerOutputs of layer_operator.py.
Layered layer(int64_t program, const Tensor& x, const Maybe& in_bits, const Maybe& in_support,
              const Maybe& weight, const Maybe& bias, const Maybe& feedback,
              const Maybe& back_starts, const Maybe& back_targets, const Maybe& back_first,
              const Maybe& arriving, const Maybe& first, const Tensor& states, const Tensor& params,
              bool keep, bool lean, bool dense, bool places, const std::vector<double>& shares,
              const std::vector<int64_t>& starts, int64_t neurons) {
  const Program& p = program_of(program);
  const ConnectionCall in{x, in_bits, in_support, weight, bias, Crossover(shares)};
  const LayerCall call{p,        in,    feedback, back_starts, back_targets, back_first,
                       arriving, first, states,   params,      starts,       neurons};
  check_layer(call);
  SG_CHECK(weight.has_value() || ((x.stride(2) == 1 || x.size(2) == 1) &&
                                  (x.stride(1) == x.size(2) || x.size(1) == 1)),
           "a current must be dense in [B, N]");
  SG_CHECK(!places || (p.support && p.spikes && !dense && starts.empty()),
           "places are of bits with a support, of samples of one length");
  SG_CHECK(!lean || !call.delayed_feedback(), "delayed feedback is not lean");
  if (arriving.has_value())
    check_tensor(arriving, sizes_of(*arriving), params.scalar_type(),
                 "arriving must be a contiguous [B, D, N]");
  const How how{keep, lean, dense, places};
  return by_type(params.scalar_type(), [&]<class T>() { return forward<T>(call, how); });
}

}  // namespace
}  // namespace spikegrad

STABLE_TORCH_LIBRARY_IMPL(spikegrad, CPU, m) { m.impl("layer", TORCH_BOX(&spikegrad::layer)); }
