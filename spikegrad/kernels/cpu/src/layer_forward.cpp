// A whole layer forward.
#include "layer_engine.h"

namespace spikegrad {
namespace {

// A tensor [T, B, N] of one zero: an edge for autograd where only bits are passed on.
template <class T>
Tensor ghost(const std::vector<int64_t>& sizes, ScalarType dtype) {
  static T zero = 0;
  const torch::stable::Device cpu(torch::headeronly::DeviceType::CPU);
  const std::vector<int64_t> strides(sizes.size(), 0);
  return torch::stable::from_blob(&zero, sizes, strides, cpu, dtype);
}

}  // namespace

template <class T>
ForwardResult layer_forward_call(const ForwardCall& call) {
  const Program& p = call.program;
  const How& how = call.how;
  const ScalarType dtype = call.in.x.scalar_type(), words = ScalarType::Long;
  Engine<T> e(p, call.in, call.feedback, call.first, call.params);
  const bool keep = how.keep && !how.lean, dense = how.dense || !p.spikes;
  const int64_t rows = e.steps * e.batch, piece = segment_steps(e.batch);
  auto made = [&](bool there, const std::vector<int64_t>& sizes, ScalarType type,
                  Pages pages = Pages::large) {
    return there ? pooled(sizes, type, pages) : none(type);
  };
  const std::vector<int64_t> whole{e.steps, e.batch, e.outputs}, row{e.steps, e.batch, e.tiles};
  const int64_t marks = how.keep && how.lean ? (e.steps + piece - 1) / piece : 0;
  const Pages pages = p.within ? Pages::small : Pages::large;
  ForwardResult r{made(dense, whole, dtype),
                  none(dtype),
                  made(keep && p.reals, {p.reals, e.tiles, rows, int64_t{kTile}}, dtype, pages),
                  made(keep && p.masks, {p.masks, e.tiles, rows}, words),
                  made(keep && p.reads_input, {e.tiles, rows, int64_t{kTile}}, dtype),
                  made(p.spikes, row, words),
                  made(p.spikes && p.support && (how.keep || how.places), row, words),
                  none(words),
                  made(marks, {marks, p.states, e.size}, dtype),
                  none(dtype),
                  none(words),
                  none(dtype)};
  r.choice = e.choose(call.in, r.packed).told();
  const Scratch states = scratch<T>(p.states * e.size);
  to_tiles(call.states, p.states, e.batch, e.outputs, false, states.as<T>());
  e.f.states = states.as<T>();
  auto at = [](Tensor& t) { return t.numel() ? mutable_data<T>(t) : nullptr; };
  e.keep({0, rows, at(r.reals), at(r.current), words_at(r.masks), nullptr, keep});
  e.f.bits = words_at(r.bits), e.f.support = words_at(r.support), e.f.y = at(r.y);
  for (int64_t k = 0; k < std::max<int64_t>(1, marks); ++k) {
    if (marks)
      std::memcpy(mutable_data<T>(r.marks) + k * p.states * e.size, e.f.states,
                  p.states * e.size * sizeof(T));
    e.run(k * piece, marks ? std::min(e.steps, (k + 1) * piece) : e.steps);
  }
  if (how.places) r.steady = ghost<T>({e.batch, e.outputs}, dtype);
  if (!dense && how.places)
    r.y = ghost<T>({ones(e.f.support, rows * e.tiles)}, dtype);
  else if (!dense)
    r.y = ghost<T>(whole, dtype);
  r.ends = from_tiles(e.f.states, p.states, e.batch, e.outputs, dtype);
  if (call.feedback.has_value()) {
    r.last = fresh_tensor({e.batch, e.outputs}, dtype);
    unpack(e.f.bits + (e.steps - 1) * e.batch * e.tiles, e.batch, e.outputs,
           mutable_data<T>(r.last));
  }
  return r;
}

template ForwardResult layer_forward_call<float>(const ForwardCall&);
template ForwardResult layer_forward_call<double>(const ForwardCall&);

}  // namespace spikegrad
