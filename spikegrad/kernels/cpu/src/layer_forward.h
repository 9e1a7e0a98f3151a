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

// Which way the forward product went, for those who ask, and how many ones it met, or of other numbers
// how many that are not 0; -1: nobody counted.
enum Route : int64_t { kDense, kEvents, kStatic, kGiven };
struct Choice {
  Route route = kDense;
  int64_t ones = -1, nonzeros = -1;
};

inline bool is_static(const Tensor& x) {
  return x.dim() == 3 && x.size(0) > 1 && x.stride(0) == 0;
}

// Up to which number of values that are not 0 a product with R rows of I goes along them; below 0:
// never. Half empty tiles cost more than they save. Forward they pay for turning the weight
// around, as much as some rows of the dense product.
inline double most_nonzeros(double share, int64_t rows, int64_t inputs, int64_t outputs) {
  return outputs < kTile / 2 ? -1 : share * static_cast<double>(rows * inputs);
}
inline double most_forward(double share, int64_t rows, int64_t inputs, int64_t outputs) {
  constexpr double kAround = 16;
  const double r = static_cast<double>(rows);
  return most_nonzeros(share * r / (r + kAround), rows, inputs, outputs);
}

// x W^T + b of real numbers: along those that are not 0 where they are few.
template <class T>
Tensor product_of(const Engine<T>& e, const ForwardCall& call, const Tensor& x, Choice& choice) {
  const int64_t rows = x.numel() / e.inputs;
  const Crossover& share = call.words.crossover;
  const double most = most_forward(share.forward, rows, e.inputs, e.outputs);
  // Counted as far as the weight's gradient wants to know, too.
  choice.nonzeros = nonzeros(data<T>(x), rows, e.inputs,
                             std::max(most, most_nonzeros(share.weight, rows, e.inputs, e.outputs)));
  if (choice.nonzeros < 0 || static_cast<double>(choice.nonzeros) > most)
    return call_linear(x, *call.weight, call.bias);
  if (choice.route == kDense) choice.route = kEvents;
  std::vector<int64_t> sizes{e.batch, e.outputs};
  if (x.dim() == 3) sizes.insert(sizes.begin(), e.steps);
  Tensor y = pooled(sizes, x.scalar_type());
  number_product(data<T>(x), rows, e.inputs, data<T>(*call.weight), e.biases.template as<T>(),
                 e.outputs, mutable_data<T>(y));
  return y;
}

template <class T>
Choice choose_current(Engine<T>& e, const ForwardCall& call, Tensor& packed) {
  const Tensor& x = call.x;
  const int64_t rows = e.steps * e.batch, words = tiles_of(e.inputs);
  Choice choice;
  packed = none(ScalarType::Long);
  if (!call.weight.has_value()) {
    e.from_current(x);
    choice.route = kGiven;
    return choice;
  }
  if (!call.in_bits.has_value() && is_static(x)) {
    choice.route = kStatic;
    e.from_current(product_of(e, call, torch::stable::select(x, 0, 0), choice));
    return choice;
  }
  const uint64_t* bits = nullptr;
  if (call.in_bits.has_value()) {
    bits = reinterpret_cast<const uint64_t*>(data<int64_t>(*call.in_bits));
  } else {
    packed = pooled({e.steps, e.batch, words}, ScalarType::Long);
    uint64_t* to = reinterpret_cast<uint64_t*>(mutable_data<int64_t>(packed));
    if (e.inputs <= kMostColumns && pack(data<T>(x), rows, e.inputs, e.inputs, to)) bits = to;
  }
  if (!bits) {
    e.from_current(product_of(e, call, x, choice));
    return choice;
  }
  Scratch starts = starts_of(bits, rows, words);
  choice.ones = starts.as<int64_t>()[rows];
  if (choice.ones <= call.words.crossover.forward * static_cast<double>(rows * e.inputs)) {
    choice.route = kEvents;
    e.from_spikes(bits, std::move(starts), *call.weight);
  } else if (call.in_bits.has_value()) {
    Tensor numbers = pooled({e.steps, e.batch, e.inputs}, x.scalar_type());
    unpack(bits, rows, e.inputs, mutable_data<T>(numbers));
    e.from_current(call_linear(numbers, *call.weight, call.bias));
  } else {
    e.from_current(call_linear(x, *call.weight, call.bias));
  }
  return choice;
}

// A connection alone: its currents are the output.
template <class T>
Tensor only_currents(Engine<T>& e, ScalarType dtype) {
  if (!e.f.list) return expanded(e.dense, {e.steps, e.batch, e.outputs});
  Tensor y = pooled({e.steps, e.batch, e.outputs}, dtype);
  currents(e.f.list, e.f.start, e.steps * e.batch, e.f.weights, e.inputs, e.f.bias, e.outputs,
           mutable_data<T>(y), e.outputs);
  return y;
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
  const ScalarType dtype = call.x.scalar_type();
  Engine<T> e(call.sizes(), call.weight, call.bias, call.feedback, call.first, call.params,
              call.slope, w);
  const bool syn = w.kind & kSynapse, ada = w.kind & kAdaptive, fire = w.kind & kSpiking;
  const bool silent = w.refractory > 0, lean = w.lean, back = call.feedback.has_value();
  const int64_t rows = e.steps * e.batch, piece = segment_steps(e.batch);
  ForwardResult r{none(dtype), none(dtype), none(dtype), none(dtype), none(dtype),
                  none(ScalarType::Byte), none(dtype), none(ScalarType::Long),
                  none(ScalarType::Long), none(ScalarType::Long), none(dtype), none(dtype),
                  none(dtype), none(dtype), none(ScalarType::Int),
                  fresh_tensor({3}, ScalarType::Long), none(dtype)};
  const Choice choice = choose_current(e, call, r.packed);
  const int64_t told[] = {choice.route, choice.ones, choice.nonzeros};
  std::memcpy(mutable_data<int64_t>(r.choice), told, sizeof told);
  if (w.kind & kIdentity) {
    r.y = only_currents(e, dtype);
    return r;
  }
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
  e.f.kept = {0, rows, at(r.u), at(r.i), at(r.a), at(r.current),
              r.ready.numel() ? mutable_data<uint8_t>(r.ready) : nullptr, nullptr};
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
    r.y = ghost<T>(w.places ? std::vector<int64_t>{ones(e.f.support, rows * e.tiles)} : whole, dtype);
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
