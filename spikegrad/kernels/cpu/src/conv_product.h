// The product of a convolution along events, which are spikes, or values that are not 0.
#pragma once

#include "conv.h"

namespace spikegrad {
namespace {

// Rows of outputs of an image that are one piece of work: as many as keep the lists of the events
// that they see in the second-level cache.
struct Bands {
  int64_t rows, number;  // of a band; bands of an image

  explicit Bands(const Conv& g) {
    const int64_t fit = (int64_t{1} << 15) / std::max<int64_t>(1, g.width * g.channels) - g.kh;
    rows = std::clamp<int64_t>(fit / g.stride_h, 1, g.out_height);
    number = (g.out_height + rows - 1) / rows;
  }
};

// The events that the outputs [begin, end) of an image see: those of block b, row h and pixel w
// begin at start_of(b, h)[w].
struct Events {
  std::vector<uint16_t> channel;  // in its block
  std::vector<float> value;       // of gradients; spikes are ones
  std::vector<int32_t> start;
  int64_t begin = 0, end = 0;   // rows of outputs
  int64_t first = 0, last = 0;  // rows of the image
  int64_t width, seen = 0;

  Events(const Conv& g, const Bands& bands, bool values) : width(g.width) {
    const int64_t rows = std::min(g.height, (bands.rows - 1) * g.stride_h + g.kh);
    channel.resize(rows * width * g.channels + kListSlack);
    start.resize(rows * width * g.blocks() + 1);
    if (values) value.resize(rows * width * g.channels + kListSlack);
  }
  const int32_t* start_of(int64_t block, int64_t row) const {
    return start.data() + (block * (last - first) + row - first) * width;
  }

  // Spikes as bits [R, H, W, words], or the values that are not 0 of x [R, H, W, C]; unit: an image
  // and a band of it.
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
  // add(pixel of all images, block, events so far) -> how many it adds
  template <class F>
  void list(const Conv& g, const Bands& bands, int64_t unit, const F& add) {
    begin = unit % bands.number * bands.rows, end = std::min(begin + bands.rows, g.out_height);
    first = std::clamp<int64_t>(begin * g.stride_h - g.pad_h, 0, g.height);
    last = std::clamp<int64_t>((end - 1) * g.stride_h - g.pad_h + g.kh, first, g.height);
    const int64_t pixel = (unit / bands.number * g.height + first) * width;
    const int64_t pixels = (last - first) * width;
    int32_t count = 0, *at = start.data();
    for (int64_t block = 0; block < g.blocks(); ++block)
      for (int64_t p = 0; p < pixels; ++p) {
        *at++ = count;
        count += add(pixel + p, block, count);
      }
    seen = *at = count;
  }
};

// The sums of one tile, [rows, OW, lanes] of some rows of outputs.
template <int V, bool kValues>
class ProductSums {
  static constexpr int kWide = V * kLanes<float>;
  static constexpr int64_t kRoom = int64_t{1} << 12;  // sums that leave room for weights

 public:
  explicit ProductSums(const Conv& g)
      : g_(g), phases_(g.phases_w()),
        rows_(std::clamp<int64_t>(kRoom / (g.out_width * kWide), 1, g.out_height)),
        sums_(rows_ * g.out_width * kWide) {}

  // out [OH, OW, O] of an image = rest + sum over events of the tile's weights, times their values;
  // the first n lanes.
  void add_up(const Events& events, const float* weights, const float* rest, int n, float* out) {
    constexpr int64_t kFew = 4;  // vectors that an event adds to, at the cost of a pixel's sums
    const bool few = events.seen * V <= kFew * (events.last - events.first) * g_.width;
    for (int64_t begin = events.begin; begin < events.end; begin += rows_) {
      const int64_t end = std::min(begin + rows_, events.end),
                    pixels = (end - begin) * g_.out_width;
      for (int64_t p = 0; p < pixels; ++p)
        std::memcpy(sums_ + p * kWide, rest, kWide * sizeof(float));
      for (int64_t block = 0; block < g_.blocks(); ++block)
        if (few)
          spread(events, weights, block, begin, end);
        else
          gather(events, weights, block, begin, end);
      for (int64_t p = 0; p < pixels; ++p) {
        Lane<float> sum[V];
        for (int v = 0; v < V; ++v) sum[v] = load(sums_ + p * kWide + v * kLanes<float>);
        store_channels<V>(out + (begin * g_.out_width + p) * g_.outputs, sum, n);
      }
    }
  }

 private:
  const Conv& g_;
  std::vector<Phase> phases_;
  int64_t rows_;
  Scratch<float> sums_;

  void gather(const Events& events, const float* weights, int64_t block, int64_t begin,
              int64_t end) {
    for (int64_t kh = 0; kh < g_.kh; ++kh)
      for (int64_t oh = begin; oh < end; ++oh) {
        const int64_t h = oh * g_.stride_h - g_.pad_h + kh;
        if (h < 0 || h >= g_.height) continue;
        const int32_t* start = events.start_of(block, h);
        if (start[0] == start[g_.width]) continue;
        const float* from = weights + g_.weights_at(block, kh);
        float* to = sums_ + (oh - begin) * g_.out_width * kWide;
        for (const Phase& phase : phases_)
          by_taps(phase.taps, [&]<int N>(int64_t j, std::integral_constant<int, N>) {
            sweep<N>(events, start, phase, j, from, to);
          });
      }
  }
  // Of a row's events N taps from number j on. From pixel to pixel the sums of the outputs that a
  // pixel meets move on by a tap, so that each is loaded and stored once.
  template <int N>
  void sweep(const Events& events, const int32_t* start, const Phase& phase, int64_t j,
             const float* weights, float* row) const {
    const int64_t pitch = g_.kw * kWide;
    const uint16_t* channel = events.channel.data();
    const float* from[N];
    for (int k = 0; k < N; ++k) from[k] = weights + phase.tap(j + k) * kWide;
    Lane<float> sums[N][V] = {};
    int64_t output = phase.top - j - (N - 1);  // of the last of the taps
    auto leave = [&](const Lane<float>* sum) {
      if (output < 0 || output >= g_.out_width) return;
      float* to = row + output * kWide;
      for (int v = 0; v < V; ++v)
        store(to + v * kLanes<float>, load(to + v * kLanes<float>) + sum[v]);
    };
    for (int64_t i = 0; i < phase.pixels; ++i, ++output) {
      const int64_t w = phase.pixel(i);
      for (int32_t e = start[w], end = start[w + 1]; e < end; ++e) {
        const int64_t at = channel[e] * pitch;
#pragma GCC unroll 4
        for (int k = 0; k < N; ++k)
#pragma GCC unroll 8
          for (int v = 0; v < V; ++v) {
            const Lane<float> weight = load(from[k] + at + v * kLanes<float>);
            sums[k][v] = kValues ? fused<float>(all_of(events.value[e]), weight, sums[k][v])
                                 : sums[k][v] + weight;
          }
      }
      leave(sums[N - 1]);
#pragma GCC unroll 4
      for (int k = N - 1; k > 0; --k)
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v) sums[k][v] = sums[k - 1][v];
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) sums[0][v] = Lane<float>{};
    }
#pragma GCC unroll 4
    for (int k = N - 1; k > 0; --k, ++output) leave(sums[k]);
  }

  // The same event by event, for few of them: pixels without one cost a look.
  void spread(const Events& events, const float* weights, int64_t block, int64_t begin,
              int64_t end) {
    const int64_t top = std::max(events.first, begin * g_.stride_h - g_.pad_h);
    const int64_t bottom = std::min(events.last, (end - 1) * g_.stride_h - g_.pad_h + g_.kh);
    for (int64_t h = top; h < bottom; ++h) {
      const int32_t* start = events.start_of(block, h);
      if (start[0] == start[g_.width]) continue;
      const int64_t above = h + g_.pad_h - g_.kh;  // the last row that the kernel has left behind
      const int64_t low = std::max(begin, above < 0 ? 0 : above / g_.stride_h + 1);
      const int64_t high = std::min(end, (h + g_.pad_h) / g_.stride_h + 1);
      for (const Phase& phase : phases_)
        for (int64_t i = 0; i < phase.pixels; ++i) {
          const int64_t w = phase.pixel(i);
          for (int32_t e = start[w]; e < start[w + 1]; ++e)
            for (int64_t oh = low; oh < high; ++oh) {
              const int64_t kh = h + g_.pad_h - oh * g_.stride_h;
              one(phase, i, kValues ? events.value[e] : 1.0f,
                  weights + g_.weights_at(block, kh) + events.channel[e] * g_.kw * kWide,
                  sums_ + (oh - begin) * g_.out_width * kWide);
            }
        }
    }
  }
  // One event at pixel i of a phase, under one row of the kernel.
  void one(const Phase& phase, int64_t i, float value, const float* weights, float* row) const {
    const int64_t low = std::max<int64_t>(0, i + phase.top - g_.out_width + 1);
    const int64_t high = std::min(phase.taps, i + phase.top + 1);
    for (int64_t j = low; j < high; ++j) {
      const float* from = weights + phase.tap(j) * kWide;
      float* to = row + (i + phase.top - j) * kWide;
      for (int v = 0; v < V; ++v) {
        const Lane<float> weight = load(from + v * kLanes<float>);
        const Lane<float> sum = load(to + v * kLanes<float>);
        store(to + v * kLanes<float>,
              kValues ? fused<float>(all_of(value), weight, sum) : Lane<float>(sum + weight));
      }
    }
  }
};

}  // namespace
}  // namespace spikegrad
