// Windows of a channels-last image: their maxima, and the way back to the pixels that they were.
//
//   y[p] = max over k of x[s p - pad + k];  index[p] = the first k of equals, row by row
//
// The choice is torch's, ties, NaN and minus infinity included: a window starts at its first pixel
// inside of the image; a larger value, or a NaN, takes over.
#pragma once

#include "tiles.h"

namespace spikegrad {

// A number in every lane.
template <class T>
[[gnu::always_inline]] inline Integers<T> every(int64_t k) {
  return Integers<T>{} + static_cast<std::remove_reference_t<decltype(Integers<T>{}[0])>>(k);
}

// The first n numbers of bytes; zeros beyond.
template <class T>
[[gnu::always_inline]] inline Integers<T> take_bytes(const uint8_t* p, int n) {
  if (n == kLanes<T>) return load_bytes<T>(p);
  uint8_t whole[kLanes<T>] = {};
  std::memcpy(whole, p, n);
  return load_bytes<T>(whole);
}
template <class T>
[[gnu::always_inline]] inline void put_bytes(uint8_t* p, Integers<T> numbers, int n) {
  if (n == kLanes<T>) return store_bytes<T>(p, numbers);
  uint8_t whole[kLanes<T>];
  store_bytes<T>(whole, numbers);
  std::memcpy(p, whole, n);
}

struct Windows {
  int64_t height, width, channels, row;  // row: from one to the next, in numbers
  int64_t kh, kw, stride_h, stride_w, pad_h, pad_w, out_height, out_width;

  int64_t in() const { return height * row; }
  int64_t out() const { return out_height * out_width * channels; }
  std::vector<int64_t> outputs(int64_t images) const {
    return {images, out_height, out_width, channels};
  }

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
        go((h + i) * row + (w + j) * channels, i * kw + j);
  }
};

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
        const V now = load_part(x + at + c, n);
        const I k = every<T>(number);
        const auto more = (now > most) | (now != now);
        which = first ? k : (more ? k : which);
        most = first ? now : (more ? now : most);
        first = false;
      });
      store_part(y + out + c, most, n, false);
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
      const V from = load_part(dy + out + c, n);
      const I which = take_bytes<T>(index + out + c, n);
      g.pixels(h, w, [&](int64_t at, int64_t number) {
        const V here = which == every<T>(number) ? from : V{};
        store_part<T>(dx + at + c, load_part(dx + at + c, n) + here, n, false);
      });
    });
  });
}

}  // namespace spikegrad
