// What a run over a layer's steps needs, forward or again in a lean backward pass: its products,
// states and parameters in tiles, and tiles handed to threads.
#pragma once

#include "connection_backward.h"
#include "layer.h"
#include "layer_run.h"

namespace spikegrad {

inline const uint64_t* words_at(const Tensor& t) {
  return t.numel() ? reinterpret_cast<const uint64_t*>(data<int64_t>(t)) : nullptr;
}
inline uint64_t* words_at(Tensor& t) {
  return t.numel() ? reinterpret_cast<uint64_t*>(mutable_data<int64_t>(t)) : nullptr;
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
// [kinds, N] -> [tile][kinds][64]; of parameters that all neurons share [kinds] as it is.
template <class T>
Scratch tile_params(const Tensor& params, const Program& p, int64_t outputs) {
  if (!p.each) {
    Scratch memory = scratch<T>(p.parameters);
    std::memcpy(memory.as<T>(), data<T>(params), p.parameters * sizeof(T));
    return memory;
  }
  Scratch memory = scratch<T>(tiles_of(outputs) * p.parameters * kTile);
  T* to = memory.as<T>();
  for (int64_t tile = 0; tile < tiles_of(outputs); ++tile)
    for (int64_t row = 0; row < p.parameters; ++row, to += kTile) {
      const int n = columns_of(tile, outputs);
      std::memcpy(to, data<T>(params) + row * outputs + tile * kTile, n * sizeof(T));
      std::fill(to + n, to + kTile, to[n - 1]);
    }
  return memory;
}

// The same for every tile and group.
template <class T>
void find_parts(const Kept<T>& kept, int64_t tiles, int64_t batch, std::vector<T*>& parts) {
  parts.clear();
  for (int64_t tile = 0; tile < tiles; ++tile)
    for (int64_t b = 0; b < batch; b += kGroup)
      parts.push_back(part_of(kept.reals, kept.rows, batch, tile, b));
}

// Steps [t0, t1) of a layer. Groups are handed out whole: the words of a row lie in one cache line,
// so threads on different tiles of the same rows would take it from each other at every step.
template <class T>
void run_steps(Layer<T>& f, int64_t t0, int64_t t1) {
  const int64_t groups = groups_of(f.batch);
  if (!f.back_weights) {
    parallel(f.tiles * groups, 1, [&](int64_t begin, int64_t end) {
      for (int64_t piece = begin; piece < end; ++piece) {
        const int64_t b0 = piece / f.tiles * kGroup;
        layer_forward(f, piece % f.tiles, b0, std::min(f.batch, b0 + kGroup), t0, t1);
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
      for (int64_t tile = begin; tile < end; ++tile)
        layer_forward(step, tile, 0, f.batch, t, t + 1);
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

template <class T>
struct Engine {
  Connection<T> in;
  const Program& program;
  const int64_t steps, batch, outputs, tiles, size;  // size: of one state in tiles
  Scratch params, back_weights, back_list, back_count, currents_memory;
  std::vector<T*> parts;
  Layer<T> f{};

  Engine(const Program& p, const ConnectionCall& call, const Maybe& feedback, const Maybe& first,
         const Tensor& parameters)
      : in(call), program(p), steps(in.steps), batch(in.batch), outputs(in.outputs),
        tiles(tiles_of(outputs)), size(tiles * batch * kTile),
        params(tile_params<T>(parameters, p, outputs)) {
    f.steps = steps, f.batch = batch, f.outputs = outputs, f.tiles = tiles;
    f.word_t = batch * tiles, f.word_b = tiles, f.word_tile = 1;
    f.program = &program, f.params = params.as<T>(), f.first = data<T>(first);
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
  // Where what is kept goes from here on.
  void keep(const Kept<T>& kept) {
    f.kept = kept;
    if (!program.within || !kept.keep) return;
    find_parts(kept, tiles, batch, parts);
    f.kept.few = parts.data();
  }
  // Steps [t0, t1), with the currents of all steps made before where feedback takes step by step.
  void run(int64_t t0, int64_t t1) {
    if (!f.list || !f.back_weights) return run_steps(f, t0, t1);
    const int64_t piece = segment_steps(batch), stride = tiles * kTile;
    if (!currents_memory.template as<T>()) currents_memory = scratch<T>(piece * batch * stride);
    Layer<T> with = f;
    for (int64_t t = t0; t < t1; t += piece) {
      const int64_t last = std::min(t1, t + piece);
      T* made = currents_memory.template as<T>();
      in.some(t * batch, (last - t) * batch, made, stride);
      with.current = made - t * batch * stride, with.current_t = batch * stride;
      with.current_b = stride, with.list = nullptr;
      run_steps(with, t, last);
    }
  }
};

}  // namespace spikegrad
