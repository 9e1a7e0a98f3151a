// Convolutions of spikes: cost follows the spikes forward and in the weight's gradient, and the
// values that are not 0 in the input's gradient (behind a max-pool and a surrogate of compact
// support most of a gradient is exactly 0).
//
//   y[r, o, p]  = bias[o] + sum over spikes (c, q) under the kernel at p of W[o, c, q - s p + pad]
//   dW[o, c, k] = sum over p with a spike at (c, s p - pad + k) of dy[o, p]
//   dx[r, c, q] = sum over (o, p) with dy[o, p] != 0 of dy[o, p] W[o, c, q - p + pad] (stride 1)
//
// Sums run over blocks of channels, rows of the kernel, phases of the stride, up to three taps at a
// time, pixels and channels; how the work is cut does not depend on the number of threads.

#include "conv_product.h"
#include "conv_weight.h"

namespace spikegrad {
namespace {

// rows: [R, H, W, ...], images that the weight [O, C, KH, KW] meets; words: the stride and the
// padding, both of height and width.
Conv geometry(const Tensor& rows, const Tensor& weight, const std::vector<int64_t>& words) {
  SG_CHECK(rows.dim() == 4 && rows.is_contiguous(), "images must be a contiguous [R, H, W, ...]");
  SG_CHECK(words.size() == 4 && words[0] > 0 && words[1] > 0, "strides must be positive");
  SG_CHECK((words[2] >= 0 || words[0] == 1) && (words[3] >= 0 || words[1] == 1),
           "with a stride the padding must not be negative");
  SG_CHECK(weight.dim() == 4 && weight.is_contiguous() && weight.numel() > 0 &&
               weight.scalar_type() == ScalarType::Float,
           "the weight must be a contiguous float32 [O, C, KH, KW]");
  Conv g{};
  g.images = rows.size(0), g.height = rows.size(1), g.width = rows.size(2);
  g.outputs = weight.size(0), g.channels = weight.size(1);
  g.kh = weight.size(2), g.kw = weight.size(3), g.lanes = lanes_of(g.outputs);
  g.stride_h = words[0], g.stride_w = words[1], g.pad_h = words[2], g.pad_w = words[3];
  g.out_height = (g.height + 2 * g.pad_h - g.kh) / g.stride_h + 1;
  g.out_width = (g.width + 2 * g.pad_w - g.kw) / g.stride_w + 1;
  SG_CHECK(g.height + 2 * g.pad_h >= g.kh && g.width + 2 * g.pad_w >= g.kw, "the kernel must fit");
  SG_CHECK(g.width * g.channels * (g.kh + g.stride_h) < (int64_t{1} << 30), "rows are too long");
  return g;
}
const uint64_t* spikes_in(const Tensor& bits, const Conv& g) {
  check_tensor(bits, {g.images, g.height, g.width, g.blocks()}, ScalarType::Long,
               "bits and weight disagree: int64 [R, H, W, words of the channels]");
  return words_of(bits);
}

// A weight in tiles, zeros where a tile has more lanes than outputs.
Scratch<float> in_tiles(const Conv& g, const float* weight) {
  Scratch<float> made(g.tiles() * g.weights());
  const int64_t apart = g.channels * g.kh * g.kw;
  parallel_each(g.tiles(), 1, [&](int64_t tile) {
    float* const tiled = made + tile * g.weights();
    const int n = g.columns(tile);
    over_weights(g, tile, [&](int64_t to, int64_t from) {
      for (int k = 0; k < n; ++k) tiled[to + k] = weight[from + k * apart];
      std::fill(tiled + to + n, tiled + to + g.lanes, 0.0f);
    });
  });
  return made;
}

// One product along the events of x: bits of spikes, or values.
template <class X>
Tensor product(const Conv& g, const float* weight, const float* bias, const X* x) {
  constexpr bool kValues = std::is_same_v<X, float>;
  std::vector<float> rest(g.tiles() * g.lanes, 0.0f);
  if (bias) std::copy(bias, bias + g.outputs, rest.begin());
  const Scratch<float> tiled = in_tiles(g, weight);
  Tensor y = pooled({g.images, g.out_height, g.out_width, g.outputs}, ScalarType::Float);
  float* out = mutable_data<float>(y);
  const Bands bands(g);
  parallel(g.images * bands.number, 1, [&](int64_t first, int64_t last) {
    by_lanes(g.lanes, [&]<int V>(std::integral_constant<int, V>) {
      Events events(g, bands, kValues);
      ProductSums<V, kValues> sums(g);
      for (int64_t unit = first; unit < last; ++unit) {
        events.take(g, bands, x, unit);
        for (int64_t tile = 0; tile < g.tiles(); ++tile)
          sums.add_up(events, tiled + tile * g.weights(), rest.data() + tile * g.lanes,
                      g.columns(tile),
                      out + unit / bands.number * g.out_pixels() * g.outputs + tile * g.lanes);
      }
    });
  });
  return y;
}

// events_conv2d(x, bits [R, H, W, words], weight [O, C, KH, KW], bias [O]) -> y [R, OH, OW, O]; x
// stands for its gradient only.
Tensor events_conv2d(const Tensor& /*x*/, const Tensor& bits, const Tensor& weight,
                     const Maybe& bias, const std::vector<int64_t>& words) {
  const Conv g = geometry(bits, weight, words);
  check_tensor(bias, {g.outputs}, ScalarType::Float, "the bias must be a contiguous float32 [O]");
  return product(g, data<float>(weight), data<float>(bias), spikes_in(bits, g));
}

// values_conv2d(x [R, H, W, C], weight) -> y [R, OH, OW, O], along what is not 0: the input's
// gradient, of the output's gradient and the weight turned around.
Tensor values_conv2d(const Tensor& x, const Tensor& weight, const std::vector<int64_t>& words) {
  const Conv g = geometry(x, weight, words);
  check_tensor(x, {g.images, g.height, g.width, g.channels}, ScalarType::Float,
               "the gradient must be a contiguous float32 [R, OH, OW, O]");
  return product(g, data<float>(weight), nullptr, data<float>(x));
}

// Tiles of parts of the images, [tiles, parts, ...], added up as the weight's gradient.
void from_tiles(const Conv& g, int64_t parts, const float* sums, float* dweight) {
  const int64_t apart = g.channels * g.kh * g.kw;
  parallel_each(g.tiles(), 1, [&](int64_t tile) {
    const float* const tiled = sums + tile * parts * g.weights();
    const int n = g.columns(tile);
    over_weights(g, tile, [&](int64_t from, int64_t to) {
      for (int k = 0; k < n; ++k) {
        float sum = tiled[from + k];
        for (int64_t part = 1; part < parts; ++part) sum += tiled[part * g.weights() + from + k];
        dweight[to + k * apart] = sum;
      }
    });
  });
}

// events_conv2d_weight(bits, dy [R, OH, OW, O], weight for its shape) -> (dweight, dbias)
std::tuple<Tensor, Tensor> events_conv2d_weight(const Tensor& bits, const Tensor& gradient,
                                                const Tensor& weight,
                                                const std::vector<int64_t>& words) {
  constexpr int64_t kPieces = 16;  // for as many threads
  const Conv g = geometry(bits, weight, words);
  const uint64_t* spikes = spikes_in(bits, g);
  check_tensor(gradient, {g.images, g.out_height, g.out_width, g.outputs}, ScalarType::Float,
               "spikes and gradient disagree: a contiguous float32 [R, OH, OW, O]");
  const float* dy = data<float>(gradient);
  const int64_t parts = std::clamp<int64_t>(kPieces / g.tiles(), 1, std::max<int64_t>(1, g.images));
  const Scratch<float> sums(g.tiles() * parts * g.weights()), biases(g.tiles() * parts * g.lanes);
  parallel_each(g.tiles() * parts, 1, [&](int64_t piece) {
    const int64_t tile = piece / parts, part = piece % parts;
    by_lanes(g.lanes, [&]<int V>(std::integral_constant<int, V>) {
      const int64_t first = g.images * part / parts, images = g.images * (part + 1) / parts - first;
      WeightSums<V> made(g, tile, images, sums + piece * g.weights(), biases + piece * g.lanes);
      made.add(spikes + first * g.pixels() * g.blocks(), dy + first * g.out_pixels() * g.outputs,
               images);
    });
  });
  Tensor dweight = pooled({g.outputs, g.channels, g.kh, g.kw}, ScalarType::Float);
  Tensor dbias = pooled({g.outputs}, ScalarType::Float);
  from_tiles(g, parts, sums, mutable_data<float>(dweight));
  float* const db = mutable_data<float>(dbias);
  for (int64_t o = 0; o < g.outputs; ++o) {
    const float* from = biases + o / g.lanes * parts * g.lanes + o % g.lanes;
    db[o] = 0.0f;
    for (int64_t part = 0; part < parts; ++part) db[o] += from[part * g.lanes];
  }
  return {dweight, dbias};
}

}  // namespace
}  // namespace spikegrad

STABLE_TORCH_LIBRARY_IMPL(spikegrad, CPU, m) {
  m.impl("events_conv2d", TORCH_BOX(&spikegrad::events_conv2d));
  m.impl("values_conv2d", TORCH_BOX(&spikegrad::values_conv2d));
  m.impl("events_conv2d_weight", TORCH_BOX(&spikegrad::events_conv2d_weight));
}
