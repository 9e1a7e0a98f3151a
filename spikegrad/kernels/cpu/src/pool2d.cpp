// Max-pooling of channels-last images: maxima, and for each window which of its pixels it was.
//
//   y[r, p] = max over k of x[r, s p - pad + k];  index[r, p] = the first k of equals, row by row
//
// The choice is torch's, ties, NaN and minus infinity included: a window starts at its first pixel
// inside of the image; a larger value, or a NaN, takes over.
#include "common.h"
#include "wide.h"

#include <algorithm>
#include <tuple>

namespace spikegrad {
namespace {

struct Windows {
  int64_t images, height, width, channels, out_height, out_width;
  int64_t kh, kw, stride_h, stride_w, pad_h, pad_w;

  int64_t in() const { return height * width * channels; }
  int64_t out() const { return out_height * out_width * channels; }

  // go(offset of a window's outputs, h, w): (h, w) is where its first pixel lies, maybe outside.
  template <class F>
  void over(const F& go) const {
    for (int64_t oh = 0; oh < out_height; ++oh)
      for (int64_t ow = 0; ow < out_width; ++ow)
        go((oh * out_width + ow) * channels, oh * stride_h - pad_h, ow * stride_w - pad_w);
  }
  // go(offset of a pixel, its number in the window) for the pixels inside of the image.
  template <class F>
  void pixels(int64_t h, int64_t w, const F& go) const {
    for (int64_t i = std::max<int64_t>(0, -h); i < std::min(kh, height - h); ++i)
      for (int64_t j = std::max<int64_t>(0, -w); j < std::min(kw, width - w); ++j)
        go(((h + i) * width + w + j) * channels, i * kw + j);
  }
};

Windows windows(int64_t images, int64_t height, int64_t width, int64_t channels, int64_t kh,
                int64_t kw, int64_t stride_h, int64_t stride_w, int64_t pad_h, int64_t pad_w) {
  SG_CHECK(kh > 0 && kw > 0 && kh * kw <= 256 && stride_h > 0 && stride_w > 0,
           "windows must have 1 to 256 pixels, strides must be positive");
  SG_CHECK(pad_h >= 0 && pad_w >= 0 && 2 * pad_h <= kh && 2 * pad_w <= kw,
           "at most half a window may be padding");
  Windows g{images, height, width, channels, 0, 0, kh, kw, stride_h, stride_w, pad_h, pad_w};
  SG_CHECK(g.height + 2 * pad_h >= kh && g.width + 2 * pad_w >= kw, "windows must fit");
  g.out_height = (g.height + 2 * pad_h - kh) / stride_h + 1;
  g.out_width = (g.width + 2 * pad_w - kw) / stride_w + 1;
  return g;
}

template <class T>
void maxima(const Windows& g, const T* x, T* y, uint8_t* index) {
  using V = Lane<T>;
  using I = Integers<T>;
  g.over([&](int64_t out, int64_t h, int64_t w) {
    over_channels<T>(g.channels, [&](int64_t c, auto n) {
      V most{};
      I which{};
      bool first = true;
      g.pixels(h, w, [&](int64_t at, int64_t number) {
        const V now = take(x + at + c, n);
        const I k = every<T>(number);
        const auto more = (now > most) | (now != now);
        which = first ? k : (more ? k : which);
        most = first ? now : (more ? now : most);
        first = false;
      });
      put<T>(y + out + c, most, n);
      put_bytes<T>(index + out + c, which, n);
    });
  });
}

template <class T>
void routed(const Windows& g, const T* dy, const uint8_t* index, T* dx) {
  using V = Lane<T>;
  using I = Integers<T>;
  std::memset(dx, 0, g.in() * sizeof(T));
  g.over([&](int64_t out, int64_t h, int64_t w) {
    over_channels<T>(g.channels, [&](int64_t c, auto n) {
      const V from = take(dy + out + c, n);
      const I which = take_bytes<T>(index + out + c, n);
      g.pixels(h, w, [&](int64_t at, int64_t number) {
        const V here = which == every<T>(number) ? from : V{};
        put<T>(dx + at + c, take(dx + at + c, n) + here, n);
      });
    });
  });
}

template <class F>
void by_type(const Tensor& x, const F& go) {
  if (x.scalar_type() == ScalarType::Double) return go.template operator()<double>();
  SG_CHECK(x.scalar_type() == ScalarType::Float, "images must be float32 or float64");
  go.template operator()<float>();
}

// max_pool2d(x [R, H, W, C]) -> (y [R, OH, OW, C], index of the same shape)
std::tuple<Tensor, Tensor> max_pool2d(const Tensor& x, int64_t kh, int64_t kw, int64_t stride_h,
                                      int64_t stride_w, int64_t pad_h, int64_t pad_w) {
  SG_CHECK(x.dim() == 4 && x.is_contiguous(), "images must be a contiguous [R, H, W, C]");
  const Windows g =
      windows(x.size(0), x.size(1), x.size(2), x.size(3), kh, kw, stride_h, stride_w, pad_h, pad_w);
  const std::vector<int64_t> shape{g.images, g.out_height, g.out_width, g.channels};
  Tensor y = pooled(shape, x.scalar_type()), index = pooled(shape, ScalarType::Byte);
  by_type(x, [&]<class T>() {
    const T* from = data<T>(x);
    T* to = mutable_data<T>(y);
    uint8_t* which = mutable_data<uint8_t>(index);
    parallel(g.images, 1, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r)
        maxima(g, from + r * g.in(), to + r * g.out(), which + r * g.out());
    });
  });
  return {y, index};
}

// max_pool2d_backward(dy [R, OH, OW, C], index, H, W) -> dx [R, H, W, C]
Tensor max_pool2d_backward(const Tensor& gradient, const Tensor& index, int64_t height,
                           int64_t width, int64_t kh, int64_t kw, int64_t stride_h,
                           int64_t stride_w, int64_t pad_h, int64_t pad_w) {
  SG_CHECK(gradient.dim() == 4 && gradient.is_contiguous(),
           "the gradient must be a contiguous [R, OH, OW, C]");
  const Windows g = windows(gradient.size(0), height, width, gradient.size(3), kh, kw, stride_h,
                            stride_w, pad_h, pad_w);
  SG_CHECK(gradient.size(1) == g.out_height && gradient.size(2) == g.out_width,
           "the gradient must have the output's shape");
  SG_CHECK(index.is_contiguous() && index.scalar_type() == ScalarType::Byte &&
               index.numel() == gradient.numel(),
           "the index must have the gradient's shape, in bytes");
  Tensor dx = pooled({g.images, g.height, g.width, g.channels}, gradient.scalar_type());
  by_type(gradient, [&]<class T>() {
    const T* from = data<T>(gradient);
    const uint8_t* which = data<uint8_t>(index);
    T* to = mutable_data<T>(dx);
    parallel(g.images, 1, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r)
        routed(g, from + r * g.out(), which + r * g.out(), to + r * g.in());
    });
  });
  return dx;
}

}  // namespace
}  // namespace spikegrad

STABLE_TORCH_LIBRARY_FRAGMENT(spikegrad, m) {
  m.def(
      "max_pool2d(Tensor x, int kh, int kw, int stride_h, int stride_w, int pad_h, int pad_w) -> "
      "(Tensor y, Tensor index)");
  m.def(
      "max_pool2d_backward(Tensor gradient, Tensor index, int height, int width, int kh, int kw, "
      "int stride_h, int stride_w, int pad_h, int pad_w) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(spikegrad, CPU, m) {
  m.impl("max_pool2d", TORCH_BOX(&spikegrad::max_pool2d));
  m.impl("max_pool2d_backward", TORCH_BOX(&spikegrad::max_pool2d_backward));
}
