// The product of a convolution along events, which are spikes, or values that are not 0.
#pragma once

#include "conv.h"

namespace spikegrad {
namespace {

// Rows of outputs of an image that are one piece of work: their sums leave room for weights in the
// first-level cache.
struct Bands {
  int64_t rows, number;  // of a band; of bands an image has

  explicit Bands(const Conv& g) {
    constexpr int64_t kRoom = int64_t{1} << 12;
    const int64_t most = std::clamp<int64_t>(kRoom / (g.out_width * g.lanes), 1, g.out_height);
    const int64_t least = (g.out_height + most - 1) / most;
    rows = (g.out_height + least - 1) / least;
    number = (g.out_height + rows - 1) / rows;
  }
};

// The events that the outputs [begin, end) of an image see: of block b, row h and pixel w of it
// those from start_of(b, h)[w] to start_of(b, h)[w + 1].
struct Events {
  std::vector<uint16_t> channel;  // in its block
  std::vector<float> value;       // of gradients; spikes are ones
  std::vector<int32_t> start;
  int64_t begin = 0, end = 0;   // rows of outputs
  int64_t first = 0, last = 0;  // rows of the image
  int64_t width;

  Events(const Conv& g, const Bands& bands, bool values) : width(g.width) {
    const int64_t rows = std::min(g.height, (bands.rows - 1) * g.stride_h + g.kh);
    channel.resize(rows * g.width * g.channels + kListSlack);
    start.resize(rows * g.width * g.blocks() + 1);
    if (values) value.resize(rows * g.width * g.channels + kListSlack);
  }
  int64_t seen() const { return start[(last - first) * width * blocks_]; }
  const int32_t* start_of(int64_t block, int64_t row) const {
    return start.data() + (block * (last - first) + row - first) * width;
  }

  // Spikes as bits [R, H, W, words], or the values that are not 0 of x [R, H, W, C].
  void take(const Conv& g, const Bands& bands, const uint64_t* bits, int64_t unit) {
    list(g, bands, unit, [&](int64_t pixel, int64_t block, int32_t count) {
      uint16_t* const to = channel.data() + count;
      const uint64_t word = bits[pixel * g.blocks() + block];
      return word ? static_cast<int32_t>(list_ones(word, 0, to) - to) : 0;
    });
  }
  void take(const Conv& g, const Bands& bands, const float* x, int64_t unit) {
    list(g, bands, unit, [&](int64_t pixel, int64_t block, int32_t count) {
      const float* from = x + pixel * g.channels + block * kTile;
      const uint64_t word = word_where(from, columns_of(block, g.channels), [](Lane<float> v) {
        return unequal<float>(v, Lane<float>{});
      });
      float* values = value.data() + count;
      compress_row(word, from, values);
      list_ones(word, 0, channel.data() + count);
      return static_cast<int32_t>(values - (value.data() + count));
    });
  }

 private:
  int64_t blocks_ = 0;

  // add(pixel of all images, block, events so far) -> its events
  template <class F>
  void list(const Conv& g, const Bands& bands, int64_t unit, const F& add) {
    begin = unit % bands.number * bands.rows, end = std::min(begin + bands.rows, g.out_height);
    first = std::clamp<int64_t>(begin * g.stride_h - g.pad_h, 0, g.height);
    last = std::clamp<int64_t>((end - 1) * g.stride_h - g.pad_h + g.kh, first, g.height);
    blocks_ = g.blocks();
    const int64_t pixel = (unit / bands.number * g.height + first) * g.width;
    const int64_t pixels = (last - first) * g.width;
    int32_t count = 0, *at = start.data();
    for (int64_t block = 0; block < blocks_; ++block)
      for (int64_t p = 0; p < pixels; ++p) {
        *at++ = count;
        count += add(pixel + p, block, count);
      }
    *at = count;
  }
};

// The sums of one tile for the outputs of a band, [rows, OW, lanes]: of a block's events of one row
// of the image, weights (times the event's value) under one row of the kernel.
struct Row {
  const uint16_t* channel;
  const float* value;
  const int32_t* start;
  const float* weights;
  float* sums;  // [OW, lanes]
};

// From pixel to pixel the sums of the outputs that a pixel meets move on by one tap, so that each
// is loaded and stored once.
template <int V, int N, bool kValues>
void sweep(const Conv& g, const Phase& phase, int64_t j, const Row& row) {
  constexpr int kWide = V * kLanes<float>;
  const int64_t pitch = g.kw * kWide;
  const float* from[N];
  for (int n = 0; n < N; ++n) from[n] = row.weights + phase.tap(j + n) * kWide;
  Lane<float> sums[N][V] = {};
  int64_t output = phase.top - j - (N - 1);  // of the last tap
  auto leave = [&](const Lane<float>* sum) {
    if (output < 0 || output >= g.out_width) return;
    float* to = row.sums + output * kWide;
    for (int v = 0; v < V; ++v)
      store(to + v * kLanes<float>, load(to + v * kLanes<float>) + sum[v]);
  };
  for (int64_t i = 0; i < phase.pixels; ++i, ++output) {
    const int32_t* start = row.start + phase.pixel(i);
    for (int32_t e = start[0], end = start[1]; e < end; ++e) {
      const int64_t at = row.channel[e] * pitch;
      const Lane<float> value = kValues ? all_of(row.value[e]) : Lane<float>{};
#pragma GCC unroll 4
      for (int n = 0; n < N; ++n)
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v) {
          const Lane<float> w = load(from[n] + at + v * kLanes<float>);
          sums[n][v] = kValues ? fused<float>(value, w, sums[n][v]) : sums[n][v] + w;
        }
    }
    leave(sums[N - 1]);
#pragma GCC unroll 4
    for (int n = N - 1; n > 0; --n)
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) sums[n][v] = sums[n - 1][v];
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) sums[0][v] = Lane<float>{};
  }
#pragma GCC unroll 4
  for (int n = N - 1; n > 0; --n, ++output) leave(sums[n]);
}

// The same event by event, for few of them.
template <int V, bool kValues>
void spread(const Conv& g, const Phase& phase, const Row& row) {
  constexpr int kWide = V * kLanes<float>;
  for (int64_t i = 0; i < phase.pixels; ++i) {
    const int32_t* start = row.start + phase.pixel(i);
    if (start[0] == start[1]) continue;
    const int64_t low = std::max<int64_t>(0, i + phase.top - g.out_width + 1);
    const int64_t high = std::min(phase.taps, i + phase.top + 1);
    for (int32_t e = start[0]; e < start[1]; ++e)
      for (int64_t j = low; j < high; ++j) {
        const float* from = row.weights + (row.channel[e] * g.kw + phase.tap(j)) * kWide;
        float* to = row.sums + (i + phase.top - j) * kWide;
        for (int v = 0; v < V; ++v) {
          const Lane<float> w = load(from + v * kLanes<float>);
          const Lane<float> sum = load(to + v * kLanes<float>);
          store(to + v * kLanes<float>,
                kValues ? fused<float>(all_of(row.value[e]), w, sum) : Lane<float>(sum + w));
        }
      }
  }
}

// out [OH, OW, O] of an image = rest + sum over events, for a band and a tile; sums: room for
// [rows, OW, lanes].
template <int V, bool kValues>
void add_up(const Conv& g, const std::vector<Phase>& phases, const Events& events,
            const float* weights, const float* rest, int n, float* sums, float* out) {
  constexpr int kWide = V * kLanes<float>;
  constexpr int64_t kFew = 4;  // vectors that an event adds to, at the cost of a pixel's sums
  const int64_t pixels = (events.last - events.first) * g.width;
  const bool few = events.seen() * V <= kFew * pixels;
  const int64_t outputs = (events.end - events.begin) * g.out_width;
  for (int64_t p = 0; p < outputs; ++p) std::memcpy(sums + p * kWide, rest, kWide * sizeof(float));
  for (int64_t block = 0; block < g.blocks(); ++block)
    for (int64_t kh = 0; kh < g.kh; ++kh)
      for (int64_t oh = events.begin; oh < events.end; ++oh) {
        const int64_t h = oh * g.stride_h - g.pad_h + kh;
        if (h < 0 || h >= g.height) continue;
        const Row row{events.channel.data(), events.value.data(), events.start_of(block, h),
                      weights + g.weights_at(block, kh),
                      sums + (oh - events.begin) * g.out_width * kWide};
        if (row.start[0] == row.start[g.width]) continue;
        for (const Phase& phase : phases) {
          if (few)
            spread<V, kValues>(g, phase, row);
          else
            by_taps(phase.taps, [&]<int N>(int64_t j, std::integral_constant<int, N>) {
              sweep<V, N, kValues>(g, phase, j, row);
            });
        }
      }
  for (int64_t p = 0; p < outputs; ++p) {
    Lane<float> sum[V];
    for (int v = 0; v < V; ++v) sum[v] = load(sums + p * kWide + v * kLanes<float>);
    store_channels<V>(out + (events.begin * g.out_width + p) * g.outputs, sum, n);
  }
}

}  // namespace
}  // namespace spikegrad
