// Convolutions along events: geometry, and weights as the loops read them.
//
// Tensors are channels-last. Channels are taken in blocks of 64, which are a word of bits, and
// outputs in tiles of a few vectors, so that a block's weights under one row of the kernel stay in
// the first-level cache: [tile][block][kh][channel][kw][lanes].
//
// With a stride, only every so many-th pixel of an axis meets the same taps of the kernel: a
// convolution is one of stride 1 for each phase of the stride.
#pragma once

#include "spikes.h"

namespace spikegrad {
namespace {

// The pixels first, first + stride, ... of an axis and the taps that meet them. Pixel number i
// meets output i + top - j by tap number j.
struct Phase {
  int64_t first, stride, pixels, taps, tap0, top;

  Phase(int64_t number, int64_t stride, int64_t size, int64_t kernel, int64_t padding)
      : first(number), stride(stride) {
    pixels = number < size ? (size - number - 1) / stride + 1 : 0;
    tap0 = (number + padding) % stride;
    taps = tap0 < kernel ? (kernel - tap0 - 1) / stride + 1 : 0;
    top = (number + padding - tap0) / stride;
  }
  int64_t pixel(int64_t i) const { return first + stride * i; }
  int64_t tap(int64_t j) const { return tap0 + stride * j; }
};
inline std::vector<Phase> phases(int64_t stride, int64_t size, int64_t kernel, int64_t padding) {
  std::vector<Phase> all;
  for (int64_t number = 0; number < stride; ++number) {
    const Phase phase(number, stride, size, kernel, padding);
    if (phase.pixels && phase.taps) all.push_back(phase);
  }
  return all;
}

// images [R, H, W, C] -> [R, OH, OW, O]
struct Conv {
  int64_t images, channels, height, width;
  int64_t outputs, out_height, out_width;
  int64_t kh, kw, stride_h, stride_w, pad_h, pad_w;
  int lanes;  // outputs of a tile

  int64_t tiles() const { return (outputs + lanes - 1) / lanes; }
  int columns(int64_t tile) const {
    return static_cast<int>(std::min<int64_t>(lanes, outputs - tile * lanes));
  }
  int64_t blocks() const { return tiles_of(channels); }
  int64_t pixels() const { return height * width; }
  int64_t out_pixels() const { return out_height * out_width; }
  // Weights of a tile, and where those of a block under a row of the kernel begin.
  int64_t weights() const { return kh * kw * channels * lanes; }
  int64_t weights_at(int64_t block, int64_t row) const {
    return (block * kTile * kh + row * columns_of(block, channels)) * kw * lanes;
  }
  std::vector<Phase> phases_h() const { return phases(stride_h, height, kh, pad_h); }
  std::vector<Phase> phases_w() const { return phases(stride_w, width, kw, pad_w); }
};

constexpr int kMostTaps = 3;  // whose sums are in registers at the same time
constexpr int kMostVectors = 4;
// Lanes of the tiles that so many outputs have: at least sixteen.
constexpr int lanes_of(int64_t outputs) {
  constexpr int kLeast = std::max(16, kLanes<float>);
  constexpr int kMost = std::max(kLeast, kMostVectors * kLanes<float>);
  int lanes = kLeast;
  while (lanes < kMost && lanes < outputs) lanes *= 2;
  return lanes;
}
// Calls go(vectors of a tile as a constant).
template <class F>
void by_lanes(int lanes, const F& go) {
  constexpr int kLeast = lanes_of(1) / kLanes<float>;
  if (lanes == kLeast * kLanes<float>) return go(std::integral_constant<int, kLeast>());
  if constexpr (kLeast < kMostVectors) {
    if (lanes == 2 * kLeast * kLanes<float>) return go(std::integral_constant<int, 2 * kLeast>());
    if constexpr (4 * kLeast <= kMostVectors) return go(std::integral_constant<int, 4 * kLeast>());
  }
}
// Calls go(the first tap, the number of taps as a constant) until all taps had their turn.
template <class F>
void by_taps(int64_t taps, const F& go) {
  int64_t j = 0;
  for (; taps - j >= kMostTaps; j += kMostTaps) go(j, std::integral_constant<int, kMostTaps>());
  if (taps - j == 2) go(j, std::integral_constant<int, 2>());
  if (taps - j == 1) go(j, std::integral_constant<int, 1>());
}

// f(place among a tile's weights, place of its first output among [O, C, KH, KW]), in the order of
// the former.
template <class F>
void over_weights(const Conv& g, int64_t tile, const F& f) {
  int64_t to = 0;
  for (int64_t block = 0; block < g.blocks(); ++block)
    for (int64_t row = 0; row < g.kh; ++row)
      for (int64_t c = 0; c < columns_of(block, g.channels); ++c)
        for (int64_t column = 0; column < g.kw; ++column, to += g.lanes) {
          const int64_t channel = tile * g.lanes * g.channels + block * kTile + c;
          f(to, (channel * g.kh + row) * g.kw + column);
        }
}

// The first n channels of V vectors.
template <int V>
[[gnu::always_inline]] inline void store_channels(float* to, const Lane<float>* from, int n) {
  for (int v = 0; v < V; ++v)
    store_part(to + v * kLanes<float>, from[v], n - v * kLanes<float>, false);
}

}  // namespace
}  // namespace spikegrad
