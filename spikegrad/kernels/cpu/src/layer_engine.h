// What a run over a layer's steps needs, forward or again in a lean backward pass: its products,
// states and parameters in tiles, and tiles handed to threads.
#pragma once

#include "connection_backward.h"
#include "delayed_feedback.h"
#include "layer.h"
#include "sparse_tiles.h"

#include <optional>

namespace spikegrad {

// T, B, I and N of a layer's call, whose rows may be fewer than T B; width: columns of its
// currents.
struct LayerSizes : Sizes {
  Timeline time;
  int64_t width;
  int64_t rows() const { return time.rows(); }
};

// A layer's operator is given this, forward and backward. With back_starts and back_targets the
// feedback is [E], a number for each of some synapses (sparse.h), with back_first and arriving [E,
// K] with delays (delayed_feedback.h): arriving [B, most + 1, N] is on its way at the start.
// starts: of samples of different length the first row of every step and the number of rows; what
// comes in is [1, rows, I] then, and to the connection nothing but rows. Empty: samples of one
// length. neurons: N. Weights, bias and targets are those of `width` outputs, first is [B, width];
// a current that is given instead of a weight is [T, B, inputs N].
struct LayerCall {
  const Program& program;
  ConnectionCall in;
  const Maybe &feedback, &back_starts, &back_targets, &back_first, &arriving, &first;
  const Tensor &states, &params;
  const std::vector<int64_t>& starts;
  int64_t neurons;
  LayerSizes sizes() const {
    const Sizes rows = in.sizes();
    const int64_t width = width_of(program.inputs, neurons);
    if (starts.empty())
      return {
          {rows.steps, rows.batch, rows.inputs, neurons}, Timeline(rows.steps, rows.batch), width};
    const Timeline time(starts);
    return {{time.steps, time.batch, rows.inputs, neurons}, time, width};
  }
  bool delayed_feedback() const { return feedback.has_value() && back_first.has_value(); }
  bool sparse_feedback() const {
    return feedback.has_value() && back_starts.has_value() && !delayed_feedback();
  }
  template <class T>
  Wide<T> back_taps() const {
    return Wide<T>(back_synapses(), *feedback, *back_first, arriving->size(1) - 1);
  }
  Synapses back_synapses() const {
    return synapses_of(*back_starts, *back_targets, width_of(program.inputs, neurons));
  }
};
inline void check_delayed(const LayerCall& call, ScalarType dtype) {
  const Tensor &taps = *call.feedback, &arriving = *call.arriving;
  SG_CHECK(call.back_starts.has_value() && taps.dim() == 2 && taps.size(1) > 0,
           "taps must be [E, K]");
  const int64_t synapses = taps.size(0), neurons = call.neurons;
  check_tensor(call.feedback, {synapses, taps.size(1)}, dtype, "taps must be [E, K]");
  check_tensor(call.back_first, {synapses}, ScalarType::Int, "first must be int32 [E]");
  check_tensor(call.back_starts, {neurons + 1}, ScalarType::Long, "starts must be int64 [N + 1]");
  check_tensor(call.back_targets, {synapses}, ScalarType::Int, "targets must be int32 [E]");
  const int64_t* at = data<int64_t>(call.back_starts);
  SG_CHECK(at[0] == 0 && at[neurons] == synapses, "starts must go from 0 to E");
  SG_CHECK(call.program.inputs == 1 && call.starts.empty() && !call.in.weight.has_value(),
           "delayed feedback is of given currents of one input and of samples of one length");
  SG_CHECK(arriving.dim() == 3 && arriving.size(0) == call.sizes().batch && arriving.size(1) > 0 &&
               arriving.size(2) == neurons && arriving.scalar_type() == dtype,
           "arriving must be [B, D, N]");
  // The backward pass has all steps in one row.
  const int64_t reach = call.sizes().steps + arriving.size(1) + taken<float>(taps.size(1));
  SG_CHECK(neurons * Window<double>::length_of(reach) < INT32_MAX, "too many neurons and steps");
}
inline void check_feedback(const LayerCall& call, ScalarType dtype) {
  const int64_t outputs = call.neurons, width = width_of(call.program.inputs, outputs);
  SG_CHECK(call.back_starts.has_value() == call.back_targets.has_value() &&
               (call.feedback.has_value() || !call.back_starts.has_value()),
           "a feedback, starts and targets belong together");
  SG_CHECK(call.back_first.has_value() == call.arriving.has_value(),
           "first taps belong to currents on their way");
  if (call.delayed_feedback()) {
    check_delayed(call, dtype);
    return;
  }
  if (call.sparse_feedback()) {
    check_synapses(*call.feedback, *call.back_starts, *call.back_targets, width, dtype);
    SG_CHECK(call.back_starts->numel() == outputs + 1, "starts must be [N + 1]");
    return;
  }
  check_tensor(call.feedback, {width, outputs}, dtype,
               "the feedback must be a contiguous [width, N]");
  SG_CHECK(!call.feedback.has_value() || outputs <= kMostColumns,
           "feedback has at most 65,536 neurons");
}
inline void check_layer(const LayerCall& call) {
  const Program& p = call.program;
  const ScalarType dtype = call.params.scalar_type();
  check_connection(call.in, dtype);
  SG_CHECK(p.wide == (dtype == ScalarType::Double), "a program of another dtype");
  if (!call.starts.empty()) {
    SG_CHECK(call.in.sizes().steps == 1 && call.in.x.dim() == 3, "rows must be [1, rows, N]");
    check_starts(call.starts, call.in.sizes().batch);
  }
  SG_CHECK(p.inputs <= kMostInputs && call.neurons > 0, "neurons with too many inputs");
  const LayerSizes sizes = call.sizes();
  const int64_t batch = sizes.batch, outputs = sizes.outputs;
  SG_CHECK(call.in.sizes().outputs ==
               (call.in.weight.has_value() ? sizes.width : p.inputs * call.neurons),
           "currents of other neurons");
  check_feedback(call, dtype);
  SG_CHECK(!call.feedback.has_value() || p.spikes, "feedback is of spikes");
  check_tensor(call.first, {batch, sizes.width}, dtype,
               "the first current must be a contiguous [B, width]");
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
  Scratch<T> rows;            // [B][padded width]
  std::optional<DelayedFeedback<T>> delayed;

  void make_rows(int64_t batch, int64_t width) {
    rows = Scratch<T>(batch * padded<T>(width));
    // Columns beyond N are read with the others.
    std::memset(rows, 0, batch * padded<T>(width) * sizeof(T));
  }
};

// Steps [t0, t1) of a layer. Groups are handed out whole: the words of a row lie in one cache line,
// so threads on different tiles of the same rows would take it from each other at every step.
template <class T>
void run_steps(Layer<T>& f, Fed<T>& fed, int64_t t0, int64_t t1) {
  const int64_t groups = groups_of(f.batch);
  if (!fed.weights && !fed.sparse && !fed.delayed) {
    parallel_each(f.tiles * groups, 1, [&](int64_t piece) {
      const int64_t b0 = piece / f.tiles * kGroup;
      layer_forward(f, piece % f.tiles, b0, std::min(f.batch, b0 + kGroup), t0, t1);
    });
    return;
  }
  // A step's words lie tile by tile until all tiles are done, for the same reason.
  const Timeline& time = *f.time;
  const int64_t stride = (f.batch + 7) / 8 * 8;
  auto words_at = [&](int64_t t) { return f.bits + time.row(t) * f.tiles; };
  const Scratch<uint64_t> words(2 * f.tiles * stride);
  Layer<T> step = f;
  step.bits = words, step.one_step = true, step.word_b = 1, step.word_tile = stride;
  step.support = f.support ? step.bits + f.tiles * stride : nullptr;
  auto list = [&](const uint64_t* bits, int64_t b) {
    f.back_count[b] = static_cast<int32_t>(
        list_row(bits + b * f.tiles, f.tiles, f.back_list + b * (f.outputs + kListSlack)));
  };
  auto spread = [&](const uint64_t* bits, int64_t samples) {
    if (!fed.sparse) return;
    sparse_product(fed.synapses, fed.sparse, bits, static_cast<const T*>(nullptr), samples,
                   static_cast<const T*>(nullptr), fed.rows.get(), padded<T>(f.width));
    step.back = fed.rows;
  };
  if (t0 == 0 && f.back_weights) std::memset(f.back_count, 0, f.batch * sizeof(int32_t));
  for (int64_t b = 0; t0 > 0 && f.back_weights && b < time.alive(t0); ++b)
    list(words_at(t0 - 1), b);
  if (t0 > 0) spread(words_at(t0 - 1), time.alive(t0));
  if (fed.delayed) fed.delayed->arrived(t0, fed.rows, padded<T>(f.width)), step.back = fed.rows;
  for (int64_t t = t0; t < t1; ++t) {
    parallel_each(f.tiles, 1,
                  [&](int64_t tile) { layer_forward(step, tile, 0, f.batch, t, t + 1); });
    uint64_t* bits = words_at(t);
    uint64_t* support = f.support ? f.support + time.row(t) * f.tiles : nullptr;
    parallel_each(time.alive(t), 64, [&](int64_t b) {
      for (int64_t tile = 0; tile < f.tiles; ++tile) {
        bits[b * f.tiles + tile] = step.bits[tile * stride + b];
        if (support) support[b * f.tiles + tile] = step.support[tile * stride + b];
      }
      if (t + 1 < t1 && f.back_weights) list(bits, b);
    });
    if (fed.delayed) fed.delayed->add(bits, t, fed.rows, padded<T>(f.width));
    if (t + 1 < t1) spread(bits, time.alive(t + 1));
  }
}

// The kept rows of the groups before each.
template <class T>
std::vector<int64_t> kept_before(const Timeline& time, const Kept<T>& kept) {
  std::vector<int64_t> made;
  for (int64_t b = 0; b < time.batch; b += kGroup)
    made.push_back(time.rows_before(kept.origin, kept.last, b));
  return made;
}

template <class T>
struct Engine : LayerSizes {
  Connection<T> in;
  const Program& program;
  const int64_t tiles, size;  // size: of one state in tiles
  Scratch<T> params, currents_memory;
  Fed<T> fed;
  std::vector<T*> parts;
  Layer<T> f{};

  explicit Engine(const LayerCall& call)
      : LayerSizes(call.sizes()), in(call.in), program(call.program), tiles(tiles_of(outputs)),
        size(tiles * batch * kTile) {
    f.params = data<T>(call.params);
    if (program.each) f.params = params = tile_params(f.params, program.parameters, outputs);
    f.time = &time, f.batch = batch, f.outputs = outputs, f.tiles = tiles, f.width = width;
    f.apart = call.in.weight.has_value() ? tiles * kTile : outputs, f.by_tile = kTile;
    f.one_step = false, f.word_b = tiles, f.word_tile = 1;
    f.program = &program, f.first = data<T>(call.first);
    if (!call.feedback.has_value() || call.delayed_feedback()) return;
    const bool sparse = call.sparse_feedback();
    if (sparse && !in_tiles(call.back_synapses(), rows())) {
      fed.synapses = call.back_synapses(), fed.sparse = data<T>(call.feedback);
      fed.make_rows(batch, width);
      return;
    }
    const T* weight = data<T>(call.feedback);
    fed.weights = sparse ? tiled(call.back_synapses(), weight) : tiled(weight, width, outputs);
    fed.list = Scratch<uint16_t>(batch * (outputs + kListSlack));
    fed.count = Scratch<int32_t>(batch);
    f.back_weights = fed.weights, f.back_list = fed.list, f.back_count = fed.count;
  }
  Choice choose(const ConnectionCall& call, Tensor& packed) {
    const Choice choice = in.choose(call, packed);
    static_cast<Source<T>&>(f) = in.source;
    return choice;
  }
  // Before the first step of a call whose feedback has delays.
  void begin_delays(const LayerCall& call) {
    fed.delayed.emplace(call.back_taps<T>(), batch, data<T>(call.arriving));
    fed.make_rows(batch, width);
  }
  // Where what is kept goes from here on.
  void keep(const Kept<T>& kept) {
    f.kept = kept;
    if (!kept.keep || !is_compacted(program, kept, tiles)) return;
    parts.clear();
    const std::vector<int64_t> before = kept_before(time, kept);
    for (int64_t tile = 0; tile < tiles; ++tile)
      for (const int64_t rows : before) parts.push_back(part_of(kept, tile, rows));
    f.kept.few = parts.data();
  }
  // Steps [t0, t1), with the currents of all steps made before where feedback takes step by step:
  // [tile][rows][64], a step of a tile side by side.
  void run(int64_t t0, int64_t t1) {
    if (!f.list || !(fed.weights || fed.sparse)) return run_steps(f, fed, t0, t1);
    const int64_t piece = segment_steps(batch), by_tile = piece * batch * kTile;
    if (!currents_memory) currents_memory = Scratch<T>(tiles_of(width) * by_tile);
    Layer<T> with = f;
    with.current_t = batch * kTile, with.current_b = kTile, with.list = nullptr;
    with.by_tile = by_tile, with.apart = tiles * by_tile;
    for (int64_t t = t0; t < t1; t += piece) {
      const int64_t last = std::min(t1, t + piece);
      const int64_t first = time.row(t), many = time.row(last) - first;
      currents(in.source, first, many, width, currents_memory.get(), kTile, by_tile);
      with.current = currents_memory - first * kTile;
      run_steps(with, fed, t, last);
    }
  }
};

}  // namespace spikegrad
