// What a run over a layer's steps needs, forward or again in a lean backward pass: its products,
// states and parameters in tiles, and tiles handed to threads.
#pragma once

#include "connection_backward.h"
#include "layer.h"

namespace spikegrad {

// A layer's operator is given this, forward and backward.
struct LayerCall {
  const Program& program;
  ConnectionCall in;
  const Maybe &feedback, &first;
  const Tensor &states, &params;
};
inline void check_layer(const LayerCall& call) {
  const Program& p = call.program;
  const ScalarType dtype = call.params.scalar_type();
  check_connection(call.in, dtype);
  SG_CHECK(p.wide == (dtype == ScalarType::Double), "a program of another dtype");
  const auto [steps, batch, inputs, outputs] = call.in.sizes();
  check_tensor(call.feedback, {outputs, outputs}, dtype,
               "the feedback must be a contiguous [N, N]");
  SG_CHECK(!call.feedback.has_value() || outputs <= kMostColumns,
           "feedback has at most 65,536 neurons");
  SG_CHECK(!call.feedback.has_value() || p.spikes, "feedback is of spikes");
  check_tensor(call.first, {batch, outputs}, dtype,
               "the first current must be a contiguous [B, N]");
  const int64_t rows = call.states.size(1), columns = call.states.size(2);
  check_tensor(call.states, {p.states, rows == 1 ? 1 : batch, columns == 1 ? 1 : outputs}, dtype,
               "states must be [states, 1 or B, 1 or N]");
  check_tensor(call.params, {p.parameters, p.each ? outputs : 1}, dtype,
               "parameters must be [parameters, 1 or N]");
}

// Kinds of [1 or B, 1 or N] -> [kinds][tile][B][64], filled up with the last neuron's or with
// zeros.
template <class T>
void to_tiles(const Tensor& values, int64_t kinds, int64_t batch, int64_t outputs, bool zeros,
              T* to) {
  const int64_t rows = values.size(1), columns = values.size(2);
  const T* all = data<T>(values);
  for (int64_t kind = 0; kind < kinds; ++kind, all += rows * columns)
    for (int64_t tile = 0; tile < tiles_of(outputs); ++tile) {
      const int n = columns_of(tile, outputs);
      for (int64_t b = 0; b < batch; ++b, to += kTile) {
        const T* from = all + (rows > 1 ? b * columns : 0) + (columns > 1 ? tile * kTile : 0);
        if (columns > 1)
          std::memcpy(to, from, n * sizeof(T));
        else
          std::fill(to, to + n, *from);
        std::fill(to + n, to + kTile, zeros ? T(0) : to[n - 1]);
      }
    }
}
// [kinds][tile][B][64] -> [kinds, B, N].
template <class T>
Tensor from_tiles(const T* from, int64_t kinds, int64_t batch, int64_t outputs, ScalarType dtype) {
  Tensor made = fresh_tensor({kinds, batch, outputs}, dtype);
  T* to = mutable_data<T>(made);
  for (int64_t kind = 0; kind < kinds; ++kind, to += batch * outputs)
    for (int64_t tile = 0; tile < tiles_of(outputs); ++tile)
      for (int64_t b = 0; b < batch; ++b, from += kTile)
        std::memcpy(to + b * outputs + tile * kTile, from, columns_of(tile, outputs) * sizeof(T));
  return made;
}
// [kinds, N] -> [tile][kinds][64].
template <class T>
Scratch<T> tile_params(const T* from, int64_t kinds, int64_t outputs) {
  Scratch<T> made(tiles_of(outputs) * kinds * kTile);
  T* to = made;
  for (int64_t tile = 0; tile < tiles_of(outputs); ++tile)
    for (int64_t kind = 0; kind < kinds; ++kind, to += kTile)
      copy_row<kTile>(from + kind * outputs + tile * kTile, columns_of(tile, outputs), to);
  return made;
}

// Steps [t0, t1) of a layer. Groups are handed out whole: the words of a row lie in one cache line,
// so threads on different tiles of the same rows would take it from each other at every step.
template <class T>
void run_steps(Layer<T>& f, int64_t t0, int64_t t1) {
  const int64_t groups = groups_of(f.batch);
  if (!f.back_weights) {
    parallel_each(f.tiles * groups, 1, [&](int64_t piece) {
      const int64_t b0 = piece / f.tiles * kGroup;
      layer_forward(f, piece % f.tiles, b0, std::min(f.batch, b0 + kGroup), t0, t1);
    });
    return;
  }
  // A step's words lie tile by tile until all tiles are done, for the same reason.
  const int64_t stride = (f.batch + 7) / 8 * 8, row = f.batch * f.tiles;
  const Scratch<uint64_t> words(2 * f.tiles * stride);
  Layer<T> step = f;
  step.bits = words, step.word_t = 0, step.word_b = 1, step.word_tile = stride;
  step.support = f.support ? step.bits + f.tiles * stride : nullptr;
  auto list = [&](const uint64_t* bits, int64_t b) {
    f.back_count[b] = static_cast<int32_t>(
        list_row(bits + b * f.tiles, f.tiles, f.back_list + b * (f.outputs + kListSlack)));
  };
  if (t0 == 0) std::memset(f.back_count, 0, f.batch * sizeof(int32_t));
  for (int64_t b = 0; t0 > 0 && b < f.batch; ++b) list(f.bits + (t0 - 1) * row, b);
  for (int64_t t = t0; t < t1; ++t) {
    parallel_each(f.tiles, 1,
                  [&](int64_t tile) { layer_forward(step, tile, 0, f.batch, t, t + 1); });
    uint64_t* bits = f.bits + t * row;
    parallel_each(f.batch, 64, [&](int64_t b) {
      for (int64_t tile = 0; tile < f.tiles; ++tile) {
        bits[b * f.tiles + tile] = step.bits[tile * stride + b];
        if (f.support) f.support[t * row + b * f.tiles + tile] = step.support[tile * stride + b];
      }
      if (t + 1 < t1) list(bits, b);
    });
  }
}

template <class T>
struct Engine : Sizes {
  Connection<T> in;
  const Program& program;
  const int64_t tiles, size;  // size: of one state in tiles
  Scratch<T> params, back_weights, currents_memory;
  Scratch<uint16_t> back_list;
  Scratch<int32_t> back_count;
  std::vector<T*> parts;
  Layer<T> f{};

  explicit Engine(const LayerCall& call)
      : Sizes(call.in.sizes()), in(call.in), program(call.program), tiles(tiles_of(outputs)),
        size(tiles * batch * kTile) {
    f.params = data<T>(call.params);
    if (program.each) f.params = params = tile_params(f.params, program.parameters, outputs);
    f.steps = steps, f.batch = batch, f.outputs = outputs, f.tiles = tiles;
    f.word_t = batch * tiles, f.word_b = tiles, f.word_tile = 1;
    f.program = &program, f.first = data<T>(call.first);
    if (!call.feedback.has_value()) return;
    back_weights = tiled(data<T>(call.feedback), outputs, outputs);
    back_list = Scratch<uint16_t>(batch * (outputs + kListSlack));
    back_count = Scratch<int32_t>(batch);
    f.back_weights = back_weights, f.back_list = back_list, f.back_count = back_count;
  }
  Choice choose(const ConnectionCall& call, Tensor& packed) {
    const Choice choice = in.choose(call, packed);
    static_cast<Source<T>&>(f) = in.source;
    return choice;
  }
  // Where what is kept goes from here on.
  void keep(const Kept<T>& kept) {
    f.kept = kept;
    if (!kept.keep || !is_compacted(program, kept, tiles)) return;
    parts.clear();
    for (int64_t tile = 0; tile < tiles; ++tile)
      for (int64_t b = 0; b < batch; b += kGroup)
        parts.push_back(part_of(kept.reals, kept.rows, batch, tile, b));
    f.kept.few = parts.data();
  }
  // Steps [t0, t1), with the currents of all steps made before where feedback takes step by step.
  void run(int64_t t0, int64_t t1) {
    if (!f.list || !f.back_weights) return run_steps(f, t0, t1);
    const int64_t piece = segment_steps(batch), stride = tiles * kTile;
    if (!currents_memory) currents_memory = Scratch<T>(piece * batch * stride);
    Layer<T> with = f;
    with.current_t = batch * stride, with.current_b = stride, with.list = nullptr;
    for (int64_t t = t0; t < t1; t += piece) {
      const int64_t last = std::min(t1, t + piece);
      currents(in.source, t * batch, (last - t) * batch, outputs, currents_memory.get(), stride);
      with.current = currents_memory - t * batch * stride;
      run_steps(with, t, last);
    }
  }
};

}  // namespace spikegrad
