// A whole layer forward: see layer_typed.h.
#pragma once

#include "layer_typed.h"

namespace spikegrad {

// A tensor [T, B, N] of one zero: an edge for autograd where only bits are passed on.
template <class T>
Tensor ghost(const std::vector<int64_t>& sizes, ScalarType dtype) {
  static T zero = 0;
  const torch::stable::Device cpu(torch::headeronly::DeviceType::CPU);
  const std::vector<int64_t> strides(sizes.size(), 0);
  return torch::stable::from_blob(&zero, sizes, strides, cpu, dtype);
}

template <class T>
Tensor kept(bool there, int64_t tiles, int64_t rows, ScalarType dtype, Pages pages = Pages::large) {
  return there ? pooled({tiles, rows, int64_t{kTile}}, dtype, pages) : none(dtype);
}
// Where the membranes of every tile and group go that are kept in part.
template <class T>
std::vector<T*> parts_of(T* u, int64_t tiles, int64_t steps, int64_t batch) {
  std::vector<T*> parts;
  for (int64_t tile = 0; tile < tiles; ++tile)
    for (int64_t b = 0; b < batch; b += kGroup)
      parts.push_back(u + (tile * batch + b) * steps * kTile);
  return parts;
}

template <class T, class P, bool S, bool A, bool K, Reset R, bool X>
struct RunLayer {
  static constexpr LayerRun<T> run = &layer_forward<T, P, S, A, K, R, X>;
};
template <class T>
LayerRun<T> forward_of(const Words& w) {
  if (w.plain())
    return by_reset(Reset{w.reset},
                    []<Reset R>() -> LayerRun<T> { return &plain_layer_forward<T, R>; });
  LayerRun<T> chosen = nullptr;
  select_for<RunLayer, T, Tiled<T>>(w.kind, Reset{w.reset}, w.refractory > 0,
                                    [&](auto it) { chosen = it.run; });
  return chosen;
}

template <class T>
ForwardResult layer_forward_call(const ForwardCall& call) {
  const Words& w = call.words;
  const ScalarType dtype = call.in.x.scalar_type();
  Engine<T> e(call.in, call.feedback, call.first, call.params, call.slope, w);
  const bool syn = w.kind & kSynapse, ada = w.kind & kAdaptive, fire = w.kind & kSpiking;
  const bool silent = w.refractory > 0, lean = w.lean, back = call.feedback.has_value();
  const int64_t rows = e.steps * e.batch, piece = segment_steps(e.batch);
  ForwardResult r{none(dtype),
                  none(dtype),
                  none(dtype),
                  none(dtype),
                  none(dtype),
                  none(ScalarType::Byte),
                  none(dtype),
                  none(ScalarType::Long),
                  none(ScalarType::Long),
                  none(ScalarType::Long),
                  none(dtype),
                  none(dtype),
                  none(dtype),
                  none(dtype),
                  none(ScalarType::Int),
                  none(ScalarType::Long),
                  none(dtype)};
  r.choice = e.choose(call.in, r.packed).told();
  const std::vector<int64_t> whole{e.steps, e.batch, e.outputs}, one{e.batch, e.outputs};
  const bool dense = w.dense || !fire, whole_graph = w.graph && !lean;
  if (dense) r.y = pooled(whole, dtype);
  r.u = kept<T>(whole_graph && (fire || w.keep), e.tiles, rows, dtype,
                w.few() ? Pages::small : Pages::large);
  r.i = kept<T>(whole_graph && syn && w.keep, e.tiles, rows, dtype);
  r.a = kept<T>(whole_graph && ada, e.tiles, rows, dtype);
  r.ready = kept<T>(whole_graph && silent, e.tiles, rows, ScalarType::Byte);
  r.current = kept<T>(whole_graph && w.keep, e.tiles, rows, dtype);
  const std::vector<int64_t> words{e.steps, e.batch, e.tiles};
  if (fire) r.bits = pooled(words, ScalarType::Long);
  if (fire && w.compact()) r.support = pooled(words, ScalarType::Long);
  StateMemory<T> memory(e.batch, e.outputs);
  memory.start(data<T>(call.v0), data<T>(call.i0), data<T>(call.a0), data<int32_t>(call.silent0),
               e.f.params, e.batch, e.outputs, w.kind, silent);
  const int64_t marks = !w.graph ? 0 : lean ? (e.steps + piece - 1) / piece : w.keep ? 1 : 0;
  const int64_t states = states_of(w.kind, silent);
  if (marks) r.marks = pooled({marks, states, memory.size}, dtype);
  e.f.state = memory.states;
  auto at = [](Tensor& t) { return t.numel() ? mutable_data<T>(t) : nullptr; };
  auto words_at = [](Tensor& t) {
    return t.numel() ? reinterpret_cast<uint64_t*>(mutable_data<int64_t>(t)) : nullptr;
  };
  e.f.kept = {0,
              rows,
              at(r.u),
              at(r.i),
              at(r.a),
              at(r.current),
              r.ready.numel() ? mutable_data<uint8_t>(r.ready) : nullptr,
              nullptr};
  std::vector<T*> parts;
  if (w.few()) {
    parts = parts_of(e.f.kept.u, e.tiles, e.steps, e.batch);
    e.f.kept.few = parts.data();
  }
  e.f.bits = words_at(r.bits), e.f.support = words_at(r.support);
  e.f.y = dense ? mutable_data<T>(r.y) : nullptr;
  const LayerRun<T> run = forward_of<T>(w);
  for (int64_t k = 0; k < std::max<int64_t>(1, marks); ++k) {
    if (marks)
      mark(memory.states, memory.size, w.kind, silent,
           mutable_data<T>(r.marks) + k * states * memory.size);
    const int64_t first = k * piece;
    e.run(first, marks > 1 ? std::min(e.steps, first + piece) : e.steps, run);
  }
  if (w.places) r.steady = ghost<T>(one, dtype);
  if (!dense)
    r.y =
        ghost<T>(w.places ? std::vector<int64_t>{ones(e.f.support, rows * e.tiles)} : whole, dtype);
  auto end = [&](bool there, const T* from) {
    Tensor out = there ? fresh_tensor(one, dtype) : none(dtype);
    if (there) from_tiles(from, e.batch, e.outputs, mutable_data<T>(out));
    return out;
  };
  r.v_end = end(true, memory.states.v);
  r.i_end = end(syn, memory.states.i), r.a_end = end(ada, memory.states.a);
  if (silent) {
    r.silent_end = fresh_tensor(one, ScalarType::Int);
    from_tiles(memory.states.silent, e.batch, e.outputs, mutable_data<int32_t>(r.silent_end));
  }
  if (back) {
    r.last = fresh_tensor(one, dtype);
    unpack(e.f.bits + (e.steps - 1) * e.batch * e.tiles, e.batch, e.outputs,
           mutable_data<T>(r.last));
  }
  return r;
}

}  // namespace spikegrad
