// Convolutions of spikes: cost follows the spikes forward and in the weight's gradient, and the
// values that are not 0 in the input's gradient (behind a max-pool and a surrogate of compact
// support most of a gradient is exactly 0).
//
//   y[r, o, p]  = bias[o] + sum over spikes (c, q) under the kernel at p of W[o, c, q - s p + pad]
//   dW[o, c, k] = sum over p with a spike at (c, s p - pad + k) of dy[o, p]
//   dx[r, c, q] = sum over (o, p) with dy[o, p] != 0 of dy[o, p] W[o, c, q - p + pad] (stride 1)
//
// Sums run over the rows of the kernel, and over the events of a row, in order; how the work is
// cut does not depend on the number of threads.

#include "conv.h"

namespace spikegrad {
namespace {

// rows: [R, H, W, ...], images that the weight [O, C, KH, KW] meets; words: the stride and the
// padding, both of height and width.
Conv geometry(const Tensor& rows, const Tensor& weight, const std::vector<int64_t>& words) {
  SG_CHECK(rows.dim() == 4 && rows.is_contiguous(), "images must be a contiguous [R, H, W, ...]");
  SG_CHECK(weight.dim() == 4 && weight.is_contiguous() && weight.scalar_type() == ScalarType::Float,
           "the weight must be a contiguous float32 [O, C, KH, KW]");
  SG_CHECK(words.size() == 4 && words[0] > 0 && words[1] > 0, "strides must be positive");
  Conv g{};
  g.images = rows.size(0), g.channels = weight.size(1), g.height = rows.size(1);
  g.width = rows.size(2), g.outputs = weight.size(0), g.kh = weight.size(2), g.kw = weight.size(3);
  g.stride_h = words[0], g.stride_w = words[1], g.pad_h = words[2], g.pad_w = words[3];
  g.out_height = (g.height + 2 * g.pad_h - g.kh) / g.stride_h + 1;
  g.out_width = (g.width + 2 * g.pad_w - g.kw) / g.stride_w + 1;
  SG_CHECK(g.height + 2 * g.pad_h >= g.kh && g.width + 2 * g.pad_w >= g.kw, "the kernel must fit");
  SG_CHECK(g.row_events() * (g.kh + 1) < (int64_t{1} << 30), "rows are too long");
  return g;
}
const uint64_t* spikes_in(const Tensor& bits, const Conv& g) {
  check_tensor(bits, {g.images, g.height, g.width, g.words()}, ScalarType::Long,
               "bits and weight disagree: int64 [R, H, W, words of the channels]");
  return words_of(bits);
}

int lanes_of(int64_t outputs) { return outputs <= 16 ? 16 : outputs <= 32 ? 32 : 64; }

// Calls go with the number of vectors of a tile as a constant.
template <class F>
void by_lanes(int lanes, const F& go) {
  constexpr int kOne = 16 / kLanes<float>;
  if (lanes == 16) go.template operator()<kOne>();
  if (lanes == 32) go.template operator()<2 * kOne>();
  if (lanes == 64) go.template operator()<4 * kOne>();
}

// W [O, C, KH, KW] as [tile][kh][kw][c][lanes]; the last tile is filled with zeros.
std::vector<float> tiled(const Tensor& weight, const Conv& g, int lanes) {
  const float* from = data<float>(weight);
  const int64_t taps = g.kh * g.kw, tiles = (g.outputs + lanes - 1) / lanes;
  std::vector<float> weights(tiles * g.weights(lanes), 0.0f);
  parallel_each(tiles * taps, 1, [&](int64_t piece) {
    const int64_t first = piece / taps * lanes, tap = piece % taps;
    const int64_t n = std::min<int64_t>(lanes, g.outputs - first);
    float* to = weights.data() + piece * g.channels * lanes;
    for (int64_t c = 0; c < g.channels; ++c)
      for (int64_t j = 0; j < n; ++j)
        to[c * lanes + j] = from[((first + j) * g.channels + c) * taps + tap];
  });
  return weights;
}

// One product along the events of x: bits of spikes, or values.
template <class X>
Tensor product(const Conv& g, const Tensor& weight, const float* bias, const X* x) {
  constexpr bool kValues = std::is_same_v<X, float>;
  const int lanes = lanes_of(g.outputs);
  const int64_t tiles = (g.outputs + lanes - 1) / lanes;
  const std::vector<float> weights = tiled(weight, g, lanes);
  std::vector<float> rest(tiles * lanes, 0.0f);
  if (bias) std::copy(bias, bias + g.outputs, rest.begin());
  Tensor y = pooled({g.images, g.out_height, g.out_width, g.outputs}, ScalarType::Float);
  float* out = mutable_data<float>(y);
  parallel(g.images * g.bands(), 1, [&](int64_t first, int64_t last) {
    Events events(g, kValues);
    std::vector<float> row(g.out_width * lanes);
    for (int64_t unit = first; unit < last; ++unit) {
      events.take(g, x, unit);
      for (int64_t tile = 0; tile < tiles; ++tile) {
        const int n = static_cast<int>(std::min<int64_t>(lanes, g.outputs - tile * lanes));
        float* to = out + unit / g.bands() * g.out() + tile * lanes;
        const float* w = weights.data() + tile * g.weights(lanes);
        const float* b = rest.data() + tile * lanes;
        by_lanes(lanes, [&]<int V>() {
          if (few_events<V>(g, events))
            spread<V, kValues>(g, events, w, b, n, row.data(), to);
          else
            gather<V, kValues>(g, events, w, b, n, to);
        });
      }
    }
  });
  return y;
}

// events_conv2d(x, bits [R, H, W, words], W [O, C, KH, KW], bias [O]) -> y [R, OH, OW, O]; x stands
// for its gradient only.
Tensor events_conv2d(const Tensor& /*x*/, const Tensor& bits, const Tensor& weight,
                     const Maybe& bias, const std::vector<int64_t>& words) {
  const Conv g = geometry(bits, weight, words);
  check_tensor(bias, {g.outputs}, ScalarType::Float, "the bias must be a contiguous float32 [O]");
  return product(g, weight, data<float>(bias), spikes_in(bits, g));
}

// values_conv2d(x [R, H, W, C], W [O, C, KH, KW]) -> y [R, OH, OW, O], along what is not 0: the
// input's gradient, of the output's gradient and the weight turned around.
Tensor values_conv2d(const Tensor& x, const Tensor& weight, const std::vector<int64_t>& words) {
  const Conv g = geometry(x, weight, words);
  check_tensor(x, {g.images, g.height, g.width, g.channels}, ScalarType::Float,
               "the gradient must be a contiguous float32 [R, OH, OW, O]");
  return product(g, weight, nullptr, data<float>(x));
}

// The sums of all parts, and their tile as [O, C, KH, KW].
void finish(const Conv& g, int lanes, int64_t tile, int64_t parts, float* sums, float* bias,
            float* dw, float* db) {
  const int64_t size = g.weights(lanes), taps = g.kh * g.kw;
  for (int64_t part = 1; part < parts; ++part) {
    for (int64_t k = 0; k < size; ++k) sums[k] += sums[part * size + k];
    for (int j = 0; j < lanes; ++j) bias[j] += bias[part * lanes + j];
  }
  for (int64_t j = 0; j < std::min<int64_t>(lanes, g.outputs - tile * lanes); ++j) {
    const int64_t o = tile * lanes + j;
    db[o] = bias[j];
    for (int64_t c = 0; c < g.channels; ++c)
      for (int64_t tap = 0; tap < taps; ++tap)
        dw[(o * g.channels + c) * taps + tap] = sums[(tap * g.channels + c) * lanes + j];
  }
}

// events_conv2d_weight(bits, dy [R, OH, OW, O], W for its shape) -> (dW [O, C, KH, KW], db [O])
std::tuple<Tensor, Tensor> events_conv2d_weight(const Tensor& bits, const Tensor& gradient,
                                                const Tensor& weight,
                                                const std::vector<int64_t>& words) {
  const Conv g = geometry(bits, weight, words);
  const uint64_t* spikes = spikes_in(bits, g);
  check_tensor(gradient, {g.images, g.out_height, g.out_width, g.outputs}, ScalarType::Float,
               "spikes and gradient disagree: a contiguous float32 [R, OH, OW, O]");
  const float* dy = data<float>(gradient);
  Tensor dweight = fresh_tensor({g.outputs, g.channels, g.kh, g.kw}, ScalarType::Float);
  Tensor dbias = fresh_tensor({g.outputs}, ScalarType::Float);
  float *dw = mutable_data<float>(dweight), *db = mutable_data<float>(dbias);
  const int lanes = lanes_of(g.outputs);
  const int64_t tiles = (g.outputs + lanes - 1) / lanes, units = g.images * g.bands();
  const int64_t parts = std::clamp<int64_t>(8 / tiles, 1, units);
  std::vector<float> sums(tiles * parts * g.weights(lanes), 0.0f),
      bias(tiles * parts * lanes, 0.0f);
  parallel(tiles * parts, 1, [&](int64_t first, int64_t last) {
    Events events(g, false);
    for (int64_t piece = first; piece < last; ++piece) {
      const int64_t tile = piece / parts, part = piece % parts;
      const int n = static_cast<int>(std::min<int64_t>(lanes, g.outputs - tile * lanes));
      for (int64_t unit = units * part / parts; unit < units * (part + 1) / parts; ++unit) {
        events.take(g, spikes, unit);
        const float* from = dy + unit / g.bands() * g.out() + tile * lanes;
        by_lanes(lanes, [&]<int V>() {
          scatter<V>(g, events, from, n, sums.data() + piece * g.weights(lanes),
                     bias.data() + piece * lanes);
        });
      }
    }
  });
  parallel_each(tiles, 1, [&](int64_t tile) {
    finish(g, lanes, tile, parts, sums.data() + tile * parts * g.weights(lanes),
           bias.data() + tile * parts * lanes, dw, db);
  });
  return {dweight, dbias};
}

}  // namespace
}  // namespace spikegrad

STABLE_TORCH_LIBRARY_IMPL(spikegrad, CPU, m) {
  m.impl("events_conv2d", TORCH_BOX(&spikegrad::events_conv2d));
  m.impl("values_conv2d", TORCH_BOX(&spikegrad::values_conv2d));
  m.impl("events_conv2d_weight", TORCH_BOX(&spikegrad::events_conv2d_weight));
}
