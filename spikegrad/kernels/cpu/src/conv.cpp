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

// rows: [R, H, W, ...], images that the weights meet, [tiles, KH, KW, C, lanes] of the outputs
// (`in_tiles` of conv.py); words: the stride and the padding, both of height and width, and the
// number of outputs.
Conv geometry(const Tensor& rows, const Tensor& weights, const std::vector<int64_t>& words) {
  SG_CHECK(rows.dim() == 4 && rows.is_contiguous(), "images must be a contiguous [R, H, W, ...]");
  SG_CHECK(words.size() == 5 && words[0] > 0 && words[1] > 0, "strides must be positive");
  const int64_t lanes = weights.dim() == 5 ? weights.size(4) : 0;
  SG_CHECK((lanes == 16 || lanes == 32 || lanes == 64) && weights.is_contiguous() &&
               weights.scalar_type() == ScalarType::Float && words[4] <= weights.size(0) * lanes &&
               words[4] > (weights.size(0) - 1) * lanes,
           "the weights must be a contiguous float32 [tiles, KH, KW, C, 16, 32 or 64]");
  Conv g{};
  g.images = rows.size(0), g.height = rows.size(1), g.width = rows.size(2);
  g.tiles = weights.size(0), g.kh = weights.size(1), g.kw = weights.size(2);
  g.channels = weights.size(3), g.lanes = static_cast<int>(lanes), g.outputs = words[4];
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

// Calls go with the number of vectors of a tile as a constant.
template <class F>
void by_lanes(int lanes, const F& go) {
  constexpr int kOne = 16 / kLanes<float>;
  if (lanes == 16) go.template operator()<kOne>();
  if (lanes == 32) go.template operator()<2 * kOne>();
  if (lanes == 64) go.template operator()<4 * kOne>();
}

// One product along the events of x: bits of spikes, or values.
template <class X>
Tensor product(const Conv& g, const float* weights, const float* bias, const X* x) {
  constexpr bool kValues = std::is_same_v<X, float>;
  std::vector<float> rest(g.tiles * g.lanes, 0.0f);
  if (bias) std::copy(bias, bias + g.outputs, rest.begin());
  Tensor y = pooled({g.images, g.out_height, g.out_width, g.outputs}, ScalarType::Float);
  float* out = mutable_data<float>(y);
  parallel(g.images * g.bands(), 1, [&](int64_t first, int64_t last) {
    Events events(g, kValues);
    std::vector<float> row(g.out_width * g.lanes);
    for (int64_t unit = first; unit < last; ++unit) {
      events.take(g, x, unit);
      for (int64_t tile = 0; tile < g.tiles; ++tile) {
        const int n = g.columns(tile);
        float* to = out + unit / g.bands() * g.out() + tile * g.lanes;
        const float* w = weights + tile * g.weights();
        const float* b = rest.data() + tile * g.lanes;
        by_lanes(g.lanes, [&]<int V>() {
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

// events_conv2d(x, bits [R, H, W, words], weights, bias [O]) -> y [R, OH, OW, O]; x stands for its
// gradient only.
Tensor events_conv2d(const Tensor& /*x*/, const Tensor& bits, const Tensor& weights,
                     const Maybe& bias, const std::vector<int64_t>& words) {
  const Conv g = geometry(bits, weights, words);
  check_tensor(bias, {g.outputs}, ScalarType::Float, "the bias must be a contiguous float32 [O]");
  return product(g, data<float>(weights), data<float>(bias), spikes_in(bits, g));
}

// values_conv2d(x [R, H, W, C], weights) -> y [R, OH, OW, O], along what is not 0: the input's
// gradient, of the output's gradient and the weight turned around.
Tensor values_conv2d(const Tensor& x, const Tensor& weights, const std::vector<int64_t>& words) {
  const Conv g = geometry(x, weights, words);
  check_tensor(x, {g.images, g.height, g.width, g.channels}, ScalarType::Float,
               "the gradient must be a contiguous float32 [R, OH, OW, O]");
  return product(g, data<float>(weights), nullptr, data<float>(x));
}

// events_conv2d_weight(bits, dy [R, OH, OW, O], weights for their shape) -> sums over parts of the
// rows: (of the weights' gradient [tiles, parts, KH, KW, C, lanes], of dy [tiles, parts, lanes])
std::tuple<Tensor, Tensor> events_conv2d_weight(const Tensor& bits, const Tensor& gradient,
                                                const Tensor& weights,
                                                const std::vector<int64_t>& words) {
  const Conv g = geometry(bits, weights, words);
  const uint64_t* spikes = spikes_in(bits, g);
  check_tensor(gradient, {g.images, g.out_height, g.out_width, g.outputs}, ScalarType::Float,
               "spikes and gradient disagree: a contiguous float32 [R, OH, OW, O]");
  const float* dy = data<float>(gradient);
  const int64_t units = g.images * g.bands(), lanes = g.lanes;
  const int64_t parts = std::clamp<int64_t>(8 / g.tiles, 1, units);
  Tensor dweights = pooled({g.tiles, parts, g.kh, g.kw, g.channels, lanes}, ScalarType::Float);
  Tensor dbias = pooled({g.tiles, parts, lanes}, ScalarType::Float);
  float *dw = mutable_data<float>(dweights), *db = mutable_data<float>(dbias);
  parallel(g.tiles * parts, 1, [&](int64_t first, int64_t last) {
    Events events(g, false);
    for (int64_t piece = first; piece < last; ++piece) {
      const int64_t tile = piece / parts, part = piece % parts;
      float *const sums = dw + piece * g.weights(), *const bias = db + piece * lanes;
      std::fill_n(sums, g.weights(), 0.0f), std::fill_n(bias, lanes, 0.0f);
      for (int64_t unit = units * part / parts; unit < units * (part + 1) / parts; ++unit) {
        events.take(g, spikes, unit);
        const float* from = dy + unit / g.bands() * g.out() + tile * lanes;
        by_lanes(g.lanes,
                 [&]<int V>() { scatter<V>(g, events, from, g.columns(tile), sums, bias); });
      }
    }
  });
  return {dweights, dbias};
}

}  // namespace
}  // namespace spikegrad

STABLE_TORCH_LIBRARY_IMPL(spikegrad, CPU, m) {
  m.impl("events_conv2d", TORCH_BOX(&spikegrad::events_conv2d));
  m.impl("values_conv2d", TORCH_BOX(&spikegrad::values_conv2d));
  m.impl("events_conv2d_weight", TORCH_BOX(&spikegrad::events_conv2d_weight));
}
