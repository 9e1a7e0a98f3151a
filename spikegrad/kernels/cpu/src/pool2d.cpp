// Max-pooling of channels-last images: maxima, and for each window which of its pixels it was.
#include "windows.h"

namespace spikegrad {
namespace {

// words: kernel, stride and padding, each of height and width.
Windows windows(int64_t height, int64_t width, int64_t channels,
                const std::vector<int64_t>& words) {
  SG_CHECK(words.size() == 6, "kernel, stride and padding");
  Windows g{height,   width,    channels, width * channels, words[0], words[1],
            words[2], words[3], words[4], words[5],         0,        0};
  SG_CHECK(g.kh > 0 && g.kw > 0 && g.kh * g.kw <= 256 && g.stride_h > 0 && g.stride_w > 0,
           "windows must have 1 to 256 pixels, strides must be positive");
  SG_CHECK(g.pad_h >= 0 && g.pad_w >= 0 && 2 * g.pad_h <= g.kh && 2 * g.pad_w <= g.kw,
           "at most half a window may be padding");
  SG_CHECK(height + 2 * g.pad_h >= g.kh && width + 2 * g.pad_w >= g.kw, "windows must fit");
  g.out_height = (height + 2 * g.pad_h - g.kh) / g.stride_h + 1;
  g.out_width = (width + 2 * g.pad_w - g.kw) / g.stride_w + 1;
  return g;
}

// max_pool2d(x [R, H, W, C]) -> (y [R, OH, OW, C], index of the same shape)
std::tuple<Tensor, Tensor> max_pool2d(const Tensor& x, const std::vector<int64_t>& words) {
  SG_CHECK(x.dim() == 4 && x.is_contiguous(), "images must be a contiguous [R, H, W, C]");
  const int64_t images = x.size(0);
  const Windows g = windows(x.size(1), x.size(2), x.size(3), words);
  Tensor y = pooled(g.outputs(images), x.scalar_type());
  Tensor index = pooled(g.outputs(images), ScalarType::Byte);
  uint8_t* which = mutable_data<uint8_t>(index);
  by_type(x.scalar_type(), [&]<class T>() {
    const T* from = data<T>(x);
    T* to = mutable_data<T>(y);
    parallel_each(images, 1, [&](int64_t r) {
      maxima(g, from + r * g.in(), to + r * g.out(), which + r * g.out());
    });
  });
  return {y, index};
}

// max_pool2d_backward(dy [R, OH, OW, C], index, H, W) -> dx [R, H, W, C]
Tensor max_pool2d_backward(const Tensor& gradient, const Tensor& index, int64_t height,
                           int64_t width, const std::vector<int64_t>& words) {
  SG_CHECK(gradient.dim() == 4, "the gradient must be [R, OH, OW, C]");
  const int64_t images = gradient.size(0);
  const Windows g = windows(height, width, gradient.size(3), words);
  const ScalarType dtype = gradient.scalar_type();
  check_tensor(gradient, g.outputs(images), dtype,
               "the gradient must be contiguous, of the output's shape");
  check_tensor(index, g.outputs(images), ScalarType::Byte,
               "the index must have the gradient's shape, in bytes");
  const uint8_t* which = data<uint8_t>(index);
  Tensor dx = pooled({images, height, width, g.channels}, dtype);
  by_type(dtype, [&]<class T>() {
    const T* from = data<T>(gradient);
    T* to = mutable_data<T>(dx);
    parallel_each(images, 1, [&](int64_t r) {
      routed(g, from + r * g.out(), which + r * g.out(), to + r * g.in());
    });
  });
  return dx;
}

}  // namespace
}  // namespace spikegrad

STABLE_TORCH_LIBRARY_IMPL(spikegrad, CPU, m) {
  m.impl("max_pool2d", TORCH_BOX(&spikegrad::max_pool2d));
  m.impl("max_pool2d_backward", TORCH_BOX(&spikegrad::max_pool2d_backward));
}
