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

#include <atomic>
#include <tuple>

namespace spikegrad {
namespace {

Conv geometry(int64_t images, int64_t height, int64_t width, const Tensor& weight, int64_t stride_h,
              int64_t stride_w, int64_t pad_h, int64_t pad_w) {
  SG_CHECK(weight.dim() == 4 && weight.is_contiguous() && weight.scalar_type() == ScalarType::Float,
           "the weight must be a contiguous float32 [O, C, KH, KW]");
  SG_CHECK(stride_h > 0 && stride_w > 0, "strides must be positive");
  Conv g{};
  g.images = images, g.channels = weight.size(1), g.height = height, g.width = width;
  g.outputs = weight.size(0), g.kh = weight.size(2), g.kw = weight.size(3);
  g.stride_h = stride_h, g.stride_w = stride_w, g.pad_h = pad_h, g.pad_w = pad_w;
  SG_CHECK(height + 2 * pad_h >= g.kh && width + 2 * pad_w >= g.kw, "the kernel must fit");
  g.out_height = (height + 2 * pad_h - g.kh) / stride_h + 1;
  g.out_width = (width + 2 * pad_w - g.kw) / stride_w + 1;
  SG_CHECK(g.row_events() * (g.kh + 1) < (int64_t{1} << 30), "rows are too long");
  return g;
}

const uint64_t* words_of(const Tensor& bits) {
  SG_CHECK(bits.dim() == 4 && bits.is_contiguous() && bits.scalar_type() == ScalarType::Long,
           "bits must be a contiguous int64 [R, H, W, words]");
  return reinterpret_cast<const uint64_t*>(data<int64_t>(bits));
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

// conv_pack(x [R, C, H, W]) -> (bits [R, H, W, words] int64, spikes of each image [R] int64); no
// bits when x is not all zeros and ones.
std::tuple<Tensor, Tensor> conv_pack(const Tensor& x) {
  SG_CHECK(x.dim() == 4 && x.scalar_type() == ScalarType::Float,
           "spikes must be float32 [R, C, H, W]");
  const int64_t images = x.size(0), channels = x.size(1), height = x.size(2), width = x.size(3);
  const int64_t sr = x.stride(0), sc = x.stride(1), sh = x.stride(2), sw = x.stride(3);
  const int64_t words = (channels + 63) / 64, size = height * width * words;
  Tensor bits = fresh_tensor({images, height, width, words}, ScalarType::Long);
  Tensor counts = fresh_tensor({images}, ScalarType::Long);
  uint64_t* out = reinterpret_cast<uint64_t*>(mutable_data<int64_t>(bits));
  int64_t* count = mutable_data<int64_t>(counts);
  const float* values = data<float>(x);
  std::atomic<bool> real{false};
  parallel(images, 1, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end && !real.load(std::memory_order_relaxed); ++r) {
      uint64_t* image = out + r * size;
      int64_t ones = 0;
      bool odd = false;
      if (sc == 1) {
        for (int64_t p = 0; p < height * width; ++p) {
          const float* from = values + r * sr + p / width * sh + p % width * sw;
          for (int64_t w = 0; w < words; ++w) {
            const int n = static_cast<int>(std::min<int64_t>(64, channels - 64 * w));
            image[p * words + w] = ones_of(from + 64 * w, n, odd);
          }
        }
      } else {
        std::memset(image, 0, size * sizeof(uint64_t));
        for (int64_t c = 0; c < channels; ++c)
          for (int64_t h = 0; h < height; ++h) {
            const float* __restrict from = values + r * sr + c * sc + h * sh;
            uint64_t* __restrict to = image + h * width * words + c / 64;
            uint64_t wrong = 0;
            for (int64_t w = 0; w < width; ++w) {
              const float v = from[w * sw];
              to[w * words] |= static_cast<uint64_t>(v == 1.0f) << (c % 64);
              wrong |= static_cast<uint64_t>(v != 1.0f && v != 0.0f);
            }
            odd |= wrong != 0;
          }
      }
      for (int64_t k = 0; k < size; ++k) ones += __builtin_popcountll(image[k]);
      count[r] = ones;
      if (odd) real.store(true, std::memory_order_relaxed);
    }
  });
  if (real) bits = fresh_tensor({0, height, width, words}, ScalarType::Long);
  return {bits, counts};
}

// W [O, C, KH, KW] as [tile][kh][kw][c][lanes] for the output, or, flipped and with O and C
// exchanged, for the input's gradient; the last tile is filled with zeros.
std::vector<float> tiled(const Tensor& weight, const Conv& g, int lanes, bool flipped) {
  const float* from = data<float>(weight);
  const int64_t taps = g.kh * g.kw, tiles = (g.outputs + lanes - 1) / lanes;
  // g describes the product at hand: of the input's gradient its channels are the weight's O.
  const int64_t out_stride = flipped ? taps : g.channels * taps;
  const int64_t in_stride = flipped ? g.outputs * taps : taps;
  std::vector<float> weights(tiles * g.weights(lanes), 0.0f);
  parallel(tiles * taps, 1, [&](int64_t begin, int64_t end) {
    for (int64_t piece = begin; piece < end; ++piece) {
      const int64_t tile = piece / taps, tap = piece % taps,
                    source = flipped ? taps - 1 - tap : tap;
      const int n = static_cast<int>(std::min<int64_t>(lanes, g.outputs - tile * lanes));
      float* to = weights.data() + (tile * taps + tap) * g.channels * lanes;
      for (int64_t c = 0; c < g.channels; ++c)
        for (int j = 0; j < n; ++j)
          to[c * lanes + j] = from[(tile * lanes + j) * out_stride + c * in_stride + source];
    }
  });
  return weights;
}

// One product: fill(events, image, begin, end) lists the events that output rows [begin, end) see.
template <bool kValues, class Fill>
Tensor product(const Conv& g, const Tensor& weight, const float* bias, const Fill& fill) {
  const int lanes = lanes_of(g.outputs);
  const int64_t tiles = (g.outputs + lanes - 1) / lanes, bands = g.bands(), band = g.band();
  const std::vector<float> weights = tiled(weight, g, lanes, kValues);
  std::vector<float> rest(tiles * lanes, 0.0f);
  if (bias) std::copy(bias, bias + g.outputs, rest.begin());
  Tensor y = pooled({g.images, g.out_height, g.out_width, g.outputs}, ScalarType::Float);
  float* out = mutable_data<float>(y);
  parallel(g.images * bands, 1, [&](int64_t first, int64_t last) {
    Events events(g, kValues);
    std::vector<float> row(g.out_width * lanes);
    for (int64_t piece = first; piece < last; ++piece) {
      const int64_t image = piece / bands, begin = piece % bands * band;
      const int64_t end = std::min(begin + band, g.out_height);
      fill(events, image, begin, end);
      for (int64_t tile = 0; tile < tiles; ++tile) {
        const int n = static_cast<int>(std::min<int64_t>(lanes, g.outputs - tile * lanes));
        float* to = out + image * g.out_height * g.out_width * g.outputs + tile * lanes;
        by_lanes(lanes, [&]<int V>() {
          const float *w = weights.data() + tile * g.weights(lanes),
                      *b = rest.data() + tile * lanes;
          if (few_events<V>(g, events, begin, end))
            spread<V, kValues>(g, events, w, b, n, begin, end, row.data(), to);
          else
            gather<V, kValues>(g, events, w, b, n, begin, end, to);
        });
      }
    }
  });
  return y;
}

// events_conv2d(x, bits [R, H, W, words], W [O, C, KH, KW], bias [O]) -> y [R, OH, OW, O]; x stands
// for its gradient only.
Tensor events_conv2d(const Tensor& /*x*/, const Tensor& bits, const Tensor& weight,
                     const std::optional<Tensor>& bias, int64_t stride_h, int64_t stride_w,
                     int64_t pad_h, int64_t pad_w) {
  const uint64_t* words = words_of(bits);
  const Conv g =
      geometry(bits.size(0), bits.size(1), bits.size(2), weight, stride_h, stride_w, pad_h, pad_w);
  SG_CHECK(bits.size(3) == g.words(), "bits and weight disagree about the channels");
  SG_CHECK(!bias.has_value() || (bias->numel() == g.outputs && bias->is_contiguous() &&
                                 bias->scalar_type() == ScalarType::Float),
           "the bias must be a contiguous float32 [O]");
  const int64_t size = g.height * g.width * g.words();
  return product<false>(g, weight, data<float>(bias),
                        [&](Events& events, int64_t image, int64_t begin, int64_t end) {
                          events.spikes(g, words + image * size, begin, end);
                        });
}

void check_gradient(const Tensor& gradient, int64_t outputs) {
  SG_CHECK(gradient.dim() == 4 && gradient.is_contiguous() && gradient.size(3) == outputs &&
               gradient.scalar_type() == ScalarType::Float,
           "the gradient must be a contiguous float32 [R, OH, OW, O]");
}

// events_conv2d_input(dy [R, OH, OW, O], W) -> dx [R, H, W, C], stride 1
Tensor events_conv2d_input(const Tensor& gradient, const Tensor& weight, int64_t pad_h,
                           int64_t pad_w) {
  check_gradient(gradient, weight.size(0));
  Conv g{};
  const int64_t kh = weight.size(2), kw = weight.size(3);
  g.images = gradient.size(0), g.channels = weight.size(0), g.outputs = weight.size(1);
  g.height = gradient.size(1), g.width = gradient.size(2), g.kh = kh, g.kw = kw;
  g.stride_h = g.stride_w = 1, g.pad_h = kh - 1 - pad_h, g.pad_w = kw - 1 - pad_w;
  g.out_height = g.height + kh - 1 - 2 * pad_h, g.out_width = g.width + kw - 1 - 2 * pad_w;
  SG_CHECK(weight.is_contiguous() && g.out_height > 0 && g.out_width > 0, "no such convolution");
  SG_CHECK(g.row_events() * (kh + 1) < (int64_t{1} << 30), "rows are too long");
  const float* dy = data<float>(gradient);
  const int64_t size = g.height * g.width * g.channels;
  return product<true>(g, weight, nullptr,
                       [&](Events& events, int64_t image, int64_t begin, int64_t end) {
                         events.values(g, dy + image * size, begin, end);
                       });
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
                                                const Tensor& weight, int64_t stride_h,
                                                int64_t stride_w, int64_t pad_h, int64_t pad_w) {
  const uint64_t* words = words_of(bits);
  const Conv g =
      geometry(bits.size(0), bits.size(1), bits.size(2), weight, stride_h, stride_w, pad_h, pad_w);
  check_gradient(gradient, g.outputs);
  SG_CHECK(gradient.size(0) == g.images && gradient.size(1) == g.out_height &&
               gradient.size(2) == g.out_width && bits.size(3) == g.words(),
           "spikes and gradient disagree");
  const float* dy = data<float>(gradient);
  Tensor dweight = fresh_tensor({g.outputs, g.channels, g.kh, g.kw}, ScalarType::Float);
  Tensor dbias = fresh_tensor({g.outputs}, ScalarType::Float);
  float *dw = mutable_data<float>(dweight), *db = mutable_data<float>(dbias);
  const int lanes = lanes_of(g.outputs);
  const int64_t tiles = (g.outputs + lanes - 1) / lanes, bands = g.bands(), band = g.band();
  const int64_t units = g.images * bands, parts = std::clamp<int64_t>(8 / tiles, 1, units);
  const int64_t in = g.height * g.width * g.words(), out = g.out_height * g.out_width * g.outputs;
  std::vector<float> sums(tiles * parts * g.weights(lanes), 0.0f),
      bias(tiles * parts * lanes, 0.0f);
  parallel(tiles * parts, 1, [&](int64_t first, int64_t last) {
    Events events(g, false);
    for (int64_t piece = first; piece < last; ++piece) {
      const int64_t tile = piece / parts, part = piece % parts;
      const int n = static_cast<int>(std::min<int64_t>(lanes, g.outputs - tile * lanes));
      for (int64_t unit = units * part / parts; unit < units * (part + 1) / parts; ++unit) {
        const int64_t image = unit / bands, begin = unit % bands * band;
        const int64_t end = std::min(begin + band, g.out_height);
        events.spikes(g, words + image * in, begin, end);
        by_lanes(lanes, [&]<int V>() {
          scatter<V>(g, events, dy + image * out + tile * lanes, n, begin, end,
                     sums.data() + piece * g.weights(lanes), bias.data() + piece * lanes);
        });
      }
    }
  });
  parallel(tiles, 1, [&](int64_t begin, int64_t end) {
    for (int64_t tile = begin; tile < end; ++tile)
      finish(g, lanes, tile, parts, sums.data() + tile * parts * g.weights(lanes),
             bias.data() + tile * parts * lanes, dw, db);
  });
  return {dweight, dbias};
}

}  // namespace
}  // namespace spikegrad

STABLE_TORCH_LIBRARY_FRAGMENT(spikegrad, m) {
  m.def("conv_pack(Tensor x) -> (Tensor bits, Tensor spikes)");
  m.def(
      "events_conv2d(Tensor x, Tensor bits, Tensor weight, Tensor? bias, int stride_h, int "
      "stride_w, "
      "int pad_h, int pad_w) -> Tensor");
  m.def("events_conv2d_input(Tensor gradient, Tensor weight, int pad_h, int pad_w) -> Tensor");
  m.def(
      "events_conv2d_weight(Tensor bits, Tensor gradient, Tensor weight, int stride_h, int "
      "stride_w, "
      "int pad_h, int pad_w) -> (Tensor dweight, Tensor dbias)");
}

STABLE_TORCH_LIBRARY_IMPL(spikegrad, CPU, m) {
  m.impl("conv_pack", TORCH_BOX(&spikegrad::conv_pack));
  m.impl("events_conv2d", TORCH_BOX(&spikegrad::events_conv2d));
  m.impl("events_conv2d_input", TORCH_BOX(&spikegrad::events_conv2d_input));
  m.impl("events_conv2d_weight", TORCH_BOX(&spikegrad::events_conv2d_weight));
}
