// Convolutions along events: geometry, lists of events, and the two loops over them.
//
// Tensors are channels-last. The events of a row of an image are one list: event (w, c) is the
// number w C + c, so that the KW pixels under one row of the kernel are one run of the list, and
// the weights [tile][kh][kw][c][lanes] of a run are found by one shift.
#pragma once

#include "spikes.h"

namespace spikegrad {
namespace {

// images [R, H, W, C] -> [R, OH, OW, O]
struct Conv {
  int64_t images, channels, height, width;
  int64_t outputs, out_height, out_width;
  int64_t kh, kw, stride_h, stride_w, pad_h, pad_w;
  int64_t tiles;  // of the outputs
  int lanes;      // outputs of a tile

  int64_t row_events() const { return width * channels; }
  int64_t words() const { return (channels + 63) / 64; }
  int64_t out() const { return out_height * out_width * outputs; }
  int64_t weights() const { return kh * kw * channels * lanes; }  // of one tile
  int columns(int64_t tile) const {
    return static_cast<int>(std::min<int64_t>(lanes, outputs - tile * lanes));
  }
  // Output rows of one piece of work: as many as keep its lists in the second-level cache.
  int64_t band() const {
    const int64_t rows = (int64_t{1} << 15) / std::max<int64_t>(1, row_events()) - kh;
    return std::clamp<int64_t>(rows / stride_h, 1, out_height);
  }
  int64_t bands() const { return (out_height + band() - 1) / band(); }
};

// The events that a piece of work sees: some rows of outputs of one image. Entry e of pixel p is
// index[e], e in [start[p], start[p+1]).
struct Events {
  std::vector<int32_t> index, start;
  std::vector<float> value;    // of gradients; spikes are ones
  int64_t begin = 0, end = 0;  // rows of outputs
  int64_t first = 0;           // the first row that is here
  int64_t seen = 0;            // events

  Events(const Conv& g, bool values) {
    const int64_t rows = std::min(g.height, g.band() * g.stride_h + g.kh);
    index.resize(rows * g.row_events() + kListSlack);
    start.resize(rows * g.width + 1);
    if (values) value.resize(rows * g.row_events() + kListSlack);
  }

  // Spikes as bits [R, H, W, words], or the values that are not 0 of x [R, H, W, C]; unit: an image
  // and a band of it.
  void take(const Conv& g, const uint64_t* bits, int64_t unit) {
    list(g, unit, [&](int64_t pixel, int64_t number, int32_t count) {
      const uint64_t* words = bits + pixel * g.words();
      int32_t* to = index.data() + count;
      for (int64_t k = 0; k < g.words(); ++k)
        if (words[k]) to = list_ones(words[k], static_cast<int>(number + 64 * k), to);
      return static_cast<int32_t>(to - index.data());
    });
  }
  void take(const Conv& g, const float* x, int64_t unit) {
    list(g, unit, [&](int64_t pixel, int64_t number, int32_t count) {
      return append(x + pixel * g.channels, number, g.channels, count);
    });
  }

 private:
  // add(pixel, number of its first event, events so far) -> events with the pixel's
  template <class F>
  void list(const Conv& g, int64_t unit, const F& add) {
    begin = unit % g.bands() * g.band(), end = std::min(begin + g.band(), g.out_height);
    first = std::clamp<int64_t>(begin * g.stride_h - g.pad_h, 0, g.height);
    const int64_t last = std::min(g.height, (end - 1) * g.stride_h - g.pad_h + g.kh);
    const int64_t above = unit / g.bands() * g.height;  // rows of the images before
    int32_t count = 0, *at = start.data();
    for (int64_t row = first; row < last; ++row)
      for (int64_t w = 0; w < g.width; ++w) {
        *at++ = count;
        count = add((above + row) * g.width + w, w * g.channels, count);
      }
    seen = *at = count;
  }
  int32_t append(const float* x, int64_t number, int64_t n, int32_t count) {
    for (int64_t j = 0; j < n; j += kLanes<float>) {
      const Lane<float> v = load_front(x + j, static_cast<int>(std::min<int64_t>(n - j, kTile)));
      const unsigned bits = bits_of<float>(unequal<float>(v, Lane<float>{}));
      const Integers<float> numbers = lane_numbers<float>() + static_cast<int32_t>(number + j);
      float* values = value.data() + count;
      float* places = reinterpret_cast<float*>(index.data() + count);
      compress_store<float>(bits, v, values);
      compress_store<float>(bits, (Lane<float>)numbers, places);
      count += static_cast<int32_t>(values - (value.data() + count));
    }
    return count;
  }
};

// The run of events under row kh of the kernel at one output column.
struct Run {
  int32_t begin, end;
  int64_t shift;  // event + shift: its row among the weights

  Run(const Conv& g, const Events& events, int64_t row, int64_t kh, int64_t column) {
    const int64_t left = column * g.stride_w - g.pad_w;
    const int64_t low = std::clamp<int64_t>(left, 0, g.width);
    const int64_t high = std::clamp<int64_t>(left + g.kw, low, g.width);
    const int32_t* start = events.start.data() + (row - events.first) * g.width;
    begin = start[low], end = start[high];
    shift = (kh * g.kw - left) * g.channels;
  }
};

// The first n channels of V vectors.
template <int V>
[[gnu::always_inline]] inline void store_channels(float* to, const Lane<float>* from, int n) {
  for (int v = 0; v < V; ++v)
    store_part(to + v * kLanes<float>, from[v], n - v * kLanes<float>, false);
}

// out[oh, ow, tile] = rest + sum over events of weights (times the event's value). Two sums take
// turns, of every other event, as many vectors at a time as there are registers for.
template <int V, bool kValues>
void gather(const Conv& g, const Events& events, const float* weights, const float* rest, int n,
            float* out) {
  constexpr int kWide = V * kLanes<float>, kPart = std::min(V, kRegisters / 4);
  const int32_t* index = events.index.data();
  const float* value = events.value.data();
  auto add = [&](const float* row, int32_t e, Lane<float>* sum) {
#pragma GCC unroll 8
    for (int v = 0; v < kPart; ++v) {
      const Lane<float> w = load(row + v * kLanes<float>);
      sum[v] = kValues ? fused<float>(all_of(value[e]), w, sum[v]) : sum[v] + w;
    }
  };
  for (int64_t oh = events.begin; oh < events.end; ++oh)
    for (int64_t ow = 0; ow < g.out_width; ++ow) {
      float* to = out + (oh * g.out_width + ow) * g.outputs;
      for (int part = 0; part < V; part += kPart) {
        const int first = part * kLanes<float>;
        Lane<float> even[kPart], odd[kPart] = {};
        for (int v = 0; v < kPart; ++v) even[v] = load(rest + first + v * kLanes<float>);
        for (int64_t kh = 0; kh < g.kh; ++kh) {
          const int64_t row = oh * g.stride_h - g.pad_h + kh;
          if (row < 0 || row >= g.height) continue;
          const Run run(g, events, row, kh, ow);
          auto from = [&](int32_t e) { return weights + (index[e] + run.shift) * kWide + first; };
          int32_t e = run.begin;
          for (; e + 1 < run.end; e += 2) {
            add(from(e), e, even);
            add(from(e + 1), e + 1, odd);
          }
          if (e < run.end) add(from(e), e, even);
        }
        for (int v = 0; v < kPart; ++v) even[v] = even[v] + odd[v];
        store_channels<kPart>(to + first, even, n - first);
      }
    }
}

// Whether `spread` is faster than `gather` for the events of these output rows: it visits events,
// where gather asks at every output pixel for those under each row of the kernel.
template <int V>
bool few_events(const Conv& g, const Events& events) {
  constexpr int64_t kSpread = 4;  // vectors that an event adds to, at the cost of one such look
  const int64_t pixels = (events.end - events.begin) * g.out_width;
  return events.seen * g.kw * V <= kSpread * pixels * g.stride_h * g.stride_w;
}

// The same as gather for few events: each is added to the pixels that see it, one row of outputs at
// a time, whose sums fit in the first-level cache. row: room for them. One sum a pixel, in gather's
// order of events.
template <int V, bool kValues>
void spread(const Conv& g, const Events& events, const float* weights, const float* rest, int n,
            float* row, float* out) {
  constexpr int kWide = V * kLanes<float>;
  for (int64_t oh = events.begin; oh < events.end; ++oh) {
    for (int64_t ow = 0; ow < g.out_width; ++ow)
      for (int v = 0; v < V; ++v)
        store(row + ow * kWide + v * kLanes<float>, load(rest + v * kLanes<float>));
    for (int64_t kh = 0; kh < g.kh; ++kh) {
      const int64_t h = oh * g.stride_h - g.pad_h + kh;
      if (h < 0 || h >= g.height) continue;
      const int32_t* start = events.start.data() + (h - events.first) * g.width;
      for (int32_t e = start[0]; e < start[g.width]; ++e) {
        const int64_t w = events.index[e] / static_cast<int32_t>(g.channels);
        const int64_t c = events.index[e] - w * g.channels, at = w + g.pad_w;
        const int64_t before = at - g.kw;  // the last pixel that the kernel has left behind
        const int64_t first = before < 0 ? 0 : before / g.stride_w + 1;
        const int64_t last = std::min(g.out_width - 1, at / g.stride_w);
        for (int64_t ow = first; ow <= last; ++ow) {
          const float* from =
              weights + ((kh * g.kw + at - ow * g.stride_w) * g.channels + c) * kWide;
          float* to = row + ow * kWide;
          for (int v = 0; v < V; ++v) {
            const Lane<float> weight = load(from + v * kLanes<float>);
            const Lane<float> sum = load(to + v * kLanes<float>);
            store(to + v * kLanes<float>, kValues
                                              ? fused<float>(all_of(events.value[e]), weight, sum)
                                              : Lane<float>(sum + weight));
          }
        }
      }
    }
    for (int64_t ow = 0; ow < g.out_width; ++ow) {
      Lane<float> sum[V];
      for (int v = 0; v < V; ++v) sum[v] = load(row + ow * kWide + v * kLanes<float>);
      store_channels<V>(out + (oh * g.out_width + ow) * g.outputs, sum, n);
    }
  }
}

// sums[kh, kw, c, tile] += gradient[oh, ow, tile] for every spike (c) under the kernel at (oh, ow);
// one kernel row at a time, whose sums fit in the first-level cache. bias [tile] += gradient.
template <int V>
void scatter(const Conv& g, const Events& events, const float* gradient, int n, float* sums,
             float* bias) {
  constexpr int kWide = V * kLanes<float>;
  const int32_t* index = events.index.data();
  Lane<float> all[V];
  for (int v = 0; v < V; ++v) all[v] = load(bias + v * kLanes<float>);
  for (int64_t kh = 0; kh < g.kh; ++kh)
    for (int64_t oh = events.begin; oh < events.end; ++oh) {
      const int64_t row = oh * g.stride_h - g.pad_h + kh;
      const bool inside = row >= 0 && row < g.height;
      if (!inside && kh > 0) continue;
      for (int64_t ow = 0; ow < g.out_width; ++ow) {
        const float* from = gradient + (oh * g.out_width + ow) * g.outputs;
        alignas(64) float whole[kWide] = {};
        if (n < kWide)
          from = static_cast<const float*>(std::memcpy(whole, from, n * sizeof(float)));
        Lane<float> d[V];
        for (int v = 0; v < V; ++v) {
          d[v] = load(from + v * kLanes<float>);
          if (kh == 0) all[v] = all[v] + d[v];
        }
        if (!inside) continue;
        const Run run(g, events, row, kh, ow);
        for (int32_t e = run.begin; e < run.end; ++e) {
          float* to = sums + (index[e] + run.shift) * kWide;
          for (int v = 0; v < V; ++v)
            store(to + v * kLanes<float>, load(to + v * kLanes<float>) + d[v]);
        }
      }
    }
  for (int v = 0; v < V; ++v) store(bias + v * kLanes<float>, all[v]);
}

}  // namespace
}  // namespace spikegrad
