// The gradient of a convolution's weight along spikes.
//
// The spikes of a channel are one list, of places in a band of an image or in a few whole images.
// The sums of up to three taps stay in registers while the gradients that the list meets are added,
// from a copy of these gradients with zeros around them, which fits in the first-level cache.
#pragma once

#include "conv.h"

namespace spikegrad {
namespace {

// Pixels of two phases: rows and columns [begin, end) of so many images. Column i of row r of image
// k has the place (k * high + r) * wide + i; the copy of their gradients is laid out alike.
struct Piece {
  int64_t images, begin_h, end_h, begin_w, end_w, high, wide;

  int64_t rows() const { return end_h - begin_h; }
  int64_t columns() const { return end_w - begin_w; }
  // Of the copy, and words of the places that may have a spike.
  int64_t places() const { return images * high * wide; }
  int64_t words() const { return tiles_of(((images - 1) * high + rows()) * wide); }
};

// f(first image, piece) for the pixels of two phases of so many images, whose gradients have so
// many lanes.
template <class F>
void over_pieces(const Phase& h, const Phase& w, int64_t images, int64_t lanes, const F& f) {
  constexpr int64_t kRoom = int64_t{1} << 13;                        // numbers of the copy
  const int64_t most = std::min<int64_t>(kRoom / lanes, 8 * kTile);  // places of a piece
  const int64_t columns = std::clamp<int64_t>(most / h.taps - w.taps + 1, 1, w.pixels);
  const int64_t wide = columns + w.taps - 1;
  const int64_t rows = std::clamp<int64_t>(most / wide - h.taps + 1, 1, h.pixels);
  const int64_t high = rows + h.taps - 1;
  const bool whole = rows == h.pixels && columns == w.pixels;
  const int64_t together =
      whole ? std::clamp<int64_t>(most / (high * wide), 1, std::max<int64_t>(1, images)) : 1;
  for (int64_t k = 0; k < images; k += together)
    for (int64_t r = 0; r < h.pixels; r += rows)
      for (int64_t c = 0; c < w.pixels; c += columns)
        f(k, Piece{std::min(together, images - k), r, std::min(r + rows, h.pixels), c,
                   std::min(c + columns, w.pixels), high, wide});
}

// dW of one tile, in the order of its weights, and dbias.
template <int V>
class WeightSums {
  static constexpr int kWide = V * kLanes<float>;

 public:
  WeightSums(const Conv& g, int64_t tile, int64_t images, float* sums, float* bias)
      : g_(g), tile_(tile), sums_(sums), bias_(bias) {
    std::fill_n(sums, g.weights(), 0.0f);
    std::fill_n(bias, kWide, 0.0f);
    int64_t places = 0;
    for (const Phase& h : g.phases_h())
      for (const Phase& w : g.phases_w())
        over_pieces(h, w, images, kWide, [&](int64_t, const Piece& piece) {
          places = std::max(places, piece.places());
        });
    copy_ = Scratch<float>(places * kWide);
    bits_.resize(tiles_of(places) * kTile), turned_.resize(tiles_of(places));
    list_.resize(tiles_of(places) * kTile + kListSlack);
  }

  // Spikes as bits [images, H, W, words] and the gradient [images, OH, OW, O].
  void add(const uint64_t* bits, const float* gradient, int64_t images) {
    gradient += tile_ * kWide;
    add_bias(gradient, images * g_.out_pixels());
    for (const Phase& h : g_.phases_h())
      for (const Phase& w : g_.phases_w())
        over_pieces(h, w, images, kWide, [&](int64_t first, const Piece& piece) {
          copy(h, w, piece, gradient + first * g_.out_pixels() * g_.outputs);
          for (int64_t block = 0; block < g_.blocks(); ++block) {
            turn(h, w, piece, bits + first * g_.pixels() * g_.blocks() + block);
            for (int c = 0; c < columns_of(block, g_.channels); ++c)
              if (const int64_t n = list(piece.words(), c)) meet(h, w, piece.wide, block, c, n);
          }
        });
  }

 private:
  const Conv& g_;
  int64_t tile_;
  float *sums_, *bias_;
  Scratch<float> copy_;  // aligned: half of all loads would else touch two cache lines
  std::vector<uint64_t> bits_;
  struct Turned {
    uint64_t channel[kTile];
  };
  std::vector<Turned> turned_;
  std::vector<uint16_t> list_;

  void add_bias(const float* gradient, int64_t pixels) {
    Lane<float> sum[V] = {};
    const int n = g_.columns(tile_);
    for (int64_t p = 0; p < pixels; ++p)
      for (int v = 0; v < V; ++v)
        sum[v] = sum[v] +
                 load_part(gradient + p * g_.outputs + v * kLanes<float>, n - v * kLanes<float>);
    for (int v = 0; v < V; ++v) {
      float* to = bias_ + v * kLanes<float>;
      store(to, load(to) + sum[v]);
    }
  }

  // Row r and column i of an image in the copy are the outputs begin + r + top - (taps - 1) of h
  // and the same of w.
  void copy(const Phase& h, const Phase& w, const Piece& piece, const float* gradient) {
    const int n = g_.columns(tile_);
    const int64_t left = piece.begin_w + w.top - (w.taps - 1);
    const int64_t low = std::clamp<int64_t>(-left, 0, piece.wide);
    const int64_t high = std::clamp<int64_t>(g_.out_width - left, low, piece.wide);
    float* to = copy_;
    for (int64_t k = 0; k < piece.images; ++k)
      for (int64_t r = 0; r < piece.high; ++r, to += piece.wide * kWide) {
        const int64_t oh = piece.begin_h + r + h.top - (h.taps - 1);
        if (oh < 0 || oh >= g_.out_height) {
          std::fill_n(to, piece.wide * kWide, 0.0f);
          continue;
        }
        std::fill_n(to, low * kWide, 0.0f);
        const int64_t row = (k * g_.out_height + oh) * g_.out_width + left;
        for (int64_t i = low; i < high; ++i)
          for (int v = 0; v < V; ++v)
            store(to + i * kWide + v * kLanes<float>,
                  load_part(gradient + (row + i) * g_.outputs + v * kLanes<float>,
                            n - v * kLanes<float>));
        std::fill_n(to + high * kWide, (piece.wide - high) * kWide, 0.0f);
      }
  }

  // The spikes of a block by channel: bit p of word k of turned_[k][c] is place 64 k + p.
  void turn(const Phase& h, const Phase& w, const Piece& piece, const uint64_t* bits) {
    const int64_t words = piece.words();
    std::fill_n(bits_.data(), words * kTile, 0);
    for (int64_t k = 0; k < piece.images; ++k)
      for (int64_t r = 0; r < piece.rows(); ++r) {
        const int64_t row = k * g_.height + h.pixel(piece.begin_h + r);
        for (int64_t i = 0; i < piece.columns(); ++i) {
          const int64_t place = (k * piece.high + r) * piece.wide + i;
          const int64_t pixel = row * g_.width + w.pixel(piece.begin_w + i);
          bits_[place % kTile * words + place / kTile] = bits[pixel * g_.blocks()];
        }
      }
    for (int64_t k = 0; k < words; k += 8)
      transpose_bits(bits_.data() + k, words, kTile,
                     static_cast<int>(std::min<int64_t>(8, words - k)), &turned_[k].channel);
  }
  int64_t list(int64_t words, int c) {
    uint16_t* to = list_.data();
    for (int64_t k = 0; k < words; ++k)
      if (const uint64_t word = turned_[k].channel[c])
        to = list_ones(word, static_cast<int>(k * kTile), to);
    return to - list_.data();
  }

  // What the n places of the list meet, added to the sums of channel c of a block.
  void meet(const Phase& h, const Phase& w, int64_t wide, int64_t block, int c, int64_t n) {
    for (int64_t jh = 0; jh < h.taps; ++jh) {
      float* row = sums_ + g_.weights_at(block, h.tap(jh)) + c * g_.kw * kWide;
      const float* from = copy_ + (h.taps - 1 - jh) * wide * kWide;
      by_taps(w.taps, [&]<int N>(int64_t j, std::integral_constant<int, N>) {
        float* to[N];
        for (int k = 0; k < N; ++k) to[k] = row + w.tap(j + k) * kWide;
        meet_taps<N>(from + (w.taps - j - N) * kWide, n, to);
      });
    }
  }
  // Tap number k of N meets what lies N - 1 - k places behind a spike's own.
  template <int N>
  void meet_taps(const float* from, int64_t n, float* const* to) const {
    Lane<float> sums[N][V];
    for (int k = 0; k < N; ++k)
      for (int v = 0; v < V; ++v) sums[k][v] = load(to[k] + v * kLanes<float>);
    const uint16_t* list = list_.data();
    for (int64_t e = 0; e < n; ++e) {
      const float* at = from + static_cast<int64_t>(list[e]) * kWide;
#pragma GCC unroll 4
      for (int k = 0; k < N; ++k)
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v)
          sums[k][v] = sums[k][v] + load(at + (N - 1 - k) * kWide + v * kLanes<float>);
    }
    for (int k = 0; k < N; ++k)
      for (int v = 0; v < V; ++v) store(to[k] + v * kLanes<float>, sums[k][v]);
  }
};

}  // namespace
}  // namespace spikegrad
