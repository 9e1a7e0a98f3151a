// What a run over a layer's steps needs, forward or again in a lean backward pass: its products,
// states and parameters in tiles, and tiles handed to threads.
#pragma once

#include "connection_backward.h"
#include "layer.h"
#include "sparse_tiles.h"

namespace spikegrad {

// A layer's operator is given this, forward and backward. With back_starts and back_targets the
// feedback is [E], a number for each of some synapses (sparse.h).
struct LayerCall {
  const Program& program;
  ConnectionCall in;
  const Maybe &feedback, &back_starts, &back_targets, &first;
  const Tensor &states, &params;
  bool sparse_feedback() const { return feedback.has_value() && back_starts.has_value(); }
  Synapses back_synapses() const {
    return synapses_of(*back_starts, *back_targets, in.sizes().outputs);
  }
};
inline void check_feedback(const LayerCall& call, int64_t outputs, ScalarType dtype) {
  SG_CHECK(call.back_starts.has_value() == call.back_targets.has_value() &&
               (call.feedback.has_value() || !call.back_starts.has_value()),
           "a feedback, starts and targets belong together");
  if (call.sparse_feedback()) {
    check_synapses(*call.feedback, *call.back_starts, *call.back_targets, outputs, dtype);
    SG_CHECK(call.back_starts->numel() == outputs + 1, "starts must be [N + 1]");
    return;
  }
  check_tensor(call.feedback, {outputs, outputs}, dtype,
               "the feedback must be a contiguous [N, N]");
  SG_CHECK(!call.feedback.has_value() || outputs <= kMostColumns,
           "feedback has at most 65,536 neurons");
}
inline void check_layer(const LayerCall& call) {
  const Program& p = call.program;
  const ScalarType dtype = call.params.scalar_type();
  check_connection(call.in, dtype);
  SG_CHECK(p.wide == (dtype == ScalarType::Double), "a program of another dtype");
  const auto [steps, batch, inputs, outputs] = call.in.sizes();
  check_feedback(call, outputs, dtype);
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
      const int n = columns > 1 ? columns_of(tile, outputs) : 1;
      for (int64_t b = 0; b < batch; ++b, to += kTile) {
        const T* from = all + (rows > 1 ? b * columns : 0) + (columns > 1 ? tile * kTile : 0);
        copy_block<kTile>(from, n, to, zeros ? T(0) : from[n - 1]);
      }
    }
}
// [kinds][tile][B][64] -> [kinds, B, N].
template <class T>
Tensor from_tiles(const T* from, int64_t kinds, int64_t batch, int64_t outputs, ScalarType dtype) {
  Tensor made = pooled({kinds, batch, outputs}, dtype);
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
    for (int64_t kind = 0; kind < kinds; ++kind, to += kTile) {
      const T* row = from + kind * outputs + tile * kTile;
      const int n = columns_of(tile, outputs);
      copy_block<kTile>(row, n, to, row[n - 1]);
    }
  return made;
}

// What a step leaves for the next one: where feedback is along some synapses, what comes back, else
// lists of the spikes.
template <class T>
struct Fed {
  Scratch<uint16_t> list;
  Scratch<int32_t> count;
  Scratch<T> weights;  // tiled
  Synapses synapses{};
  const T* sparse = nullptr;  // their weights [E]
  Scratch<T> rows;            // [B][padded N]
};

// Steps [t0, t1) of a layer. Groups are handed out whole: the words of a row lie in one cache line,
// so threads on different tiles of the same rows would take it from each other at every step.
template <class T>
void run_steps(Layer<T>& f, const Fed<T>& fed, int64_t t0, int64_t t1) {
  const int64_t groups = groups_of(f.batch);
  if (!fed.weights && !fed.sparse) {
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
  auto spread = [&](const uint64_t* bits) {
    if (!fed.sparse) return;
    sparse_product(fed.synapses, fed.sparse, bits, static_cast<const T*>(nullptr), f.batch,
                   static_cast<const T*>(nullptr), fed.rows.get(), padded<T>(f.outputs));
    step.back = fed.rows;
  };
  if (t0 == 0 && f.back_weights) std::memset(f.back_count, 0, f.batch * sizeof(int32_t));
  for (int64_t b = 0; t0 > 0 && f.back_weights && b < f.batch; ++b)
    list(f.bits + (t0 - 1) * row, b);
  if (t0 > 0) spread(f.bits + (t0 - 1) * row);
  for (int64_t t = t0; t < t1; ++t) {
    parallel_each(f.tiles, 1,
                  [&](int64_t tile) { layer_forward(step, tile, 0, f.batch, t, t + 1); });
    uint64_t* bits = f.bits + t * row;
    parallel_each(f.batch, 64, [&](int64_t b) {
      for (int64_t tile = 0; tile < f.tiles; ++tile) {
        bits[b * f.tiles + tile] = step.bits[tile * stride + b];
        if (f.support) f.support[t * row + b * f.tiles + tile] = step.support[tile * stride + b];
      }
      if (t + 1 < t1 && f.back_weights) list(bits, b);
    });
    if (t + 1 < t1) spread(bits);
  }
}

template <class T>
struct Engine : Sizes {
  Connection<T> in;
  const Program& program;
  const int64_t tiles, size;  // size: of one state in tiles
  Scratch<T> params, currents_memory;
  Fed<T> fed;
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
    const bool sparse = call.sparse_feedback();
    if (sparse && !in_tiles(call.back_synapses(), rows())) {
      fed.synapses = call.back_synapses(), fed.sparse = data<T>(call.feedback);
      fed.rows = Scratch<T>(batch * padded<T>(outputs));
      // Columns beyond N are read with the others.
      std::memset(fed.rows, 0, batch * padded<T>(outputs) * sizeof(T));
      return;
    }
    const T* weight = data<T>(call.feedback);
    fed.weights = sparse ? tiled(call.back_synapses(), weight) : tiled(weight, outputs, outputs);
    fed.list = Scratch<uint16_t>(batch * (outputs + kListSlack));
    fed.count = Scratch<int32_t>(batch);
    f.back_weights = fed.weights, f.back_list = fed.list, f.back_count = fed.count;
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
    if (!f.list || !(fed.weights || fed.sparse)) return run_steps(f, fed, t0, t1);
    const int64_t piece = segment_steps(batch), stride = tiles * kTile;
    if (!currents_memory) currents_memory = Scratch<T>(piece * batch * stride);
    Layer<T> with = f;
    with.current_t = batch * stride, with.current_b = stride, with.list = nullptr;
    for (int64_t t = t0; t < t1; t += piece) {
      const int64_t last = std::min(t1, t + piece);
      currents(in.source, t * batch, (last - t) * batch, outputs, currents_memory.get(), stride);
      with.current = currents_memory - t * batch * stride;
      run_steps(with, fed, t, last);
    }
  }
};

}  // namespace spikegrad
