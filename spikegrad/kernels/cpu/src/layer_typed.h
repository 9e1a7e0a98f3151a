// A whole layer, host side: which way each product goes, outputs made, tiles handed to threads.
// Included by a file for float and one for double, which compile at the same time.
#pragma once

#include "connection_backward.h"
#include "layer_plain.h"
#include "layer_run.h"

namespace spikegrad {

// Each row of [rows, N] as tiles, filled up with `rest`; without values all of it is `rest`.
template <class T>
void to_tiles(const T* from, int64_t rows, int64_t columns, T rest, T* to) {
  for (int64_t tile = 0; tile < tiles_of(columns); ++tile) {
    const int n = columns_of(tile, columns);
    for (int64_t r = 0; r < rows; ++r) {
      T* out = to + (tile * rows + r) * kTile;
      std::fill(out, out + kTile, rest);
      if (from) std::memcpy(out, from + r * columns + tile * kTile, n * sizeof(T));
    }
  }
}
template <class T>
void from_tiles(const T* from, int64_t rows, int64_t columns, T* to) {
  for (int64_t tile = 0; tile < tiles_of(columns); ++tile)
    for (int64_t r = 0; r < rows; ++r)
      std::memcpy(to + r * columns + tile * kTile, from + (tile * rows + r) * kTile,
                  columns_of(tile, columns) * sizeof(T));
}

// The states of a layer, one behind the other, and their place in the marks of a lean call.
template <class T>
struct StateMemory {
  Scratch memory, silent_memory;
  States<T> states;
  int64_t size;
  StateMemory(int64_t batch, int64_t outputs)
      : memory(scratch<T>(3 * tiles_of(outputs) * batch * kTile)),
        silent_memory(scratch<int32_t>(tiles_of(outputs) * batch * kTile)),
        size(tiles_of(outputs) * batch * kTile) {
    states = {memory.as<T>(), memory.as<T>() + size, memory.as<T>() + 2 * size,
              silent_memory.as<int32_t>()};
  }
  // has: the neuron's kind; counts: whether it has a refractory period
  void start(const T* v, const T* i, const T* a, const int32_t* silent, const T* params,
             int64_t batch, int64_t outputs, int64_t has, bool counts) {
    if (v)
      to_tiles(v, batch, outputs, T(0), states.v);
    else
      for (int64_t tile = 0; tile < tiles_of(outputs); ++tile)
        for (int64_t r = 0; r < batch; ++r)
          std::memcpy(states.v + (tile * batch + r) * kTile,
                      tile_of(params, tile).p + kRest * kTile, kTile * sizeof(T));
    if (has & kSynapse) to_tiles(i, batch, outputs, T(0), states.i);
    if (has & kAdaptive) to_tiles(a, batch, outputs, T(0), states.a);
    if (counts) to_tiles<int32_t>(silent, batch, outputs, 0, states.silent);
  }
};
// Marks: [segments][states][tile][B][64] of what the neuron has: v, i, a and the refractory counter
// as a number.
inline int64_t states_of(int64_t has, bool counts) {
  return 1 + ((has & kSynapse) != 0) + ((has & kAdaptive) != 0) + counts;
}
template <class T>
void mark(const States<T>& s, int64_t size, int64_t has, bool counts, T* to) {
  std::memcpy(to, s.v, size * sizeof(T));
  if (has & kSynapse) std::memcpy(to += size, s.i, size * sizeof(T));
  if (has & kAdaptive) std::memcpy(to += size, s.a, size * sizeof(T));
  for (int64_t j = 0; counts && j < size; ++j) to[size + j] = static_cast<T>(s.silent[j]);
}
template <class T>
void restore(const T* from, int64_t size, int64_t has, bool counts, const States<T>& s) {
  std::memcpy(s.v, from, size * sizeof(T));
  if (has & kSynapse) std::memcpy(s.i, from += size, size * sizeof(T));
  if (has & kAdaptive) std::memcpy(s.a, from += size, size * sizeof(T));
  for (int64_t j = 0; counts && j < size; ++j) s.silent[j] = static_cast<int32_t>(from[size + j]);
}

// A layer's steps by what its neuron has: (f, tile, b0, b1, t0, t1).
template <class T>
using LayerRun = void (*)(const Layer<T>&, int64_t, int64_t, int64_t, int64_t, int64_t);
template <class T>
using LayerBackRun = void (*)(const LayerBack<T>&, int64_t, int64_t, int64_t, int64_t, int64_t);
template <class T>
LayerRun<T> forward_of(const Words& words);
template <class T>
LayerBackRun<T> backward_of(const Words& words);
// Steps [t0, t1) of a layer. Groups are handed out whole: the words of a row lie in one cache line,
// so threads on different tiles of the same rows would take it from each other at every step.
template <class T>
void run_steps(Layer<T>& f, int64_t t0, int64_t t1, LayerRun<T> run) {
  const int64_t groups = groups_of(f.batch);
  if (!f.back_weights) {
    parallel(f.tiles * groups, 1, [&](int64_t begin, int64_t end) {
      for (int64_t piece = begin; piece < end; ++piece) {
        const int64_t b0 = piece / f.tiles * kGroup;
        run(f, piece % f.tiles, b0, std::min(f.batch, b0 + kGroup), t0, t1);
      }
    });
    return;
  }
  // A step's words lie tile by tile until all tiles are done, for the same reason.
  const int64_t stride = (f.batch + 7) / 8 * 8, row = f.batch * f.tiles;
  const Scratch words = scratch<uint64_t>(2 * f.tiles * stride);
  Layer<T> step = f;
  step.bits = words.as<uint64_t>(), step.word_t = 0, step.word_b = 1, step.word_tile = stride;
  step.support = f.support ? step.bits + f.tiles * stride : nullptr;
  auto list = [&](const uint64_t* bits, int64_t b) {
    f.back_count[b] = static_cast<int32_t>(
        list_row(bits + b * f.tiles, f.tiles, f.back_list + b * (f.outputs + kListSlack)));
  };
  if (t0 == 0) std::memset(f.back_count, 0, f.batch * sizeof(int32_t));
  for (int64_t b = 0; t0 > 0 && b < f.batch; ++b) list(f.bits + (t0 - 1) * row, b);
  for (int64_t t = t0; t < t1; ++t) {
    parallel(f.tiles, 1, [&](int64_t begin, int64_t end) {
      for (int64_t tile = begin; tile < end; ++tile) run(step, tile, 0, f.batch, t, t + 1);
    });
    uint64_t* bits = f.bits + t * row;
    parallel(f.batch, 64, [&](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; ++b) {
        for (int64_t tile = 0; tile < f.tiles; ++tile) {
          bits[b * f.tiles + tile] = step.bits[tile * stride + b];
          if (f.support) f.support[t * row + b * f.tiles + tile] = step.support[tile * stride + b];
        }
        if (t + 1 < t1) list(bits, b);
      }
    });
  }
}

// What every run over a layer's steps needs, forward or again in a lean backward pass.
template <class T>
struct Engine {
  Connection<T> in;
  const int64_t steps, batch, outputs, tiles;
  Scratch params, back_weights, back_list, back_count, currents_memory;
  Layer<T> f{};

  Engine(const ConnectionCall& call, const Maybe& feedback, const Maybe& first,
         const Tensor& parameters, const Tensor& slope, const Words& words)
      : in(call), steps(in.steps), batch(in.batch), outputs(in.outputs), tiles(tiles_of(outputs)),
        params(tile_params<T>(parameters, slope, outputs)) {
    f.steps = steps, f.batch = batch, f.outputs = outputs, f.tiles = tiles;
    f.word_t = batch * tiles, f.word_b = tiles, f.word_tile = 1;
    f.params = params.as<T>(), f.alike = parameters.size(1) == 1 && slope.numel() == 1;
    f.refractory = static_cast<int32_t>(words.refractory);
    f.shape = {Family{words.family}, words.shape_a, words.shape_b};
    f.first = data<T>(first);
    if (feedback.has_value()) {
      back_weights = tiled(data<T>(*feedback), outputs, outputs);
      back_list = scratch<uint16_t>(batch * (outputs + kListSlack)),
      back_count = scratch<int32_t>(batch);
      f.back_weights = back_weights.template as<T>();
      f.back_list = back_list.as<uint16_t>(), f.back_count = back_count.as<int32_t>();
    }
  }
  Choice choose(const ConnectionCall& call, Tensor& packed) {
    const Choice choice = in.choose(call, packed);
    static_cast<Source<T>&>(f) = in.source;
    return choice;
  }
  // Steps [t0, t1), with the currents of all steps made before where feedback takes step by step.
  void run(int64_t t0, int64_t t1, LayerRun<T> go) {
    if (!f.list || !f.back_weights) return run_steps(f, t0, t1, go);
    const int64_t piece = segment_steps(batch), stride = tiles * kTile;
    if (!currents_memory.template as<T>()) currents_memory = scratch<T>(piece * batch * stride);
    Layer<T> with = f;
    for (int64_t t = t0; t < t1; t += piece) {
      const int64_t last = std::min(t1, t + piece);
      T* made = currents_memory.template as<T>();
      in.some(t * batch, (last - t) * batch, made, stride);
      with.current = made - t * batch * stride, with.current_t = batch * stride;
      with.current_b = stride, with.list = nullptr;
      run_steps(with, t, last, go);
    }
  }
};

}  // namespace spikegrad
