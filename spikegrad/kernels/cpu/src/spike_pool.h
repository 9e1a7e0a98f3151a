// A spiking neuron and the max-pool behind it, over time, channels-last.
//
//   y[t] = the maximum of the spikes of a window
//
// Its gradient goes to the first spike of the window, and where there is none to its first neuron:
// the first of equals. What the neuron is, a generated program knows (programs.h). Neither spikes
// nor what is kept of a step is stored: the backward pass runs the neurons again. A piece is some
// windows of one row of windows, all steps, small enough for the second-level cache. Its neurons
// lie in rows of 64, each run of them filled up to whole rows; spikes are bits, 64 a word.
#pragma once

#include "programs.h"
#include "spikes.h"

namespace spikegrad {
namespace {

template <class T>
struct SpikePool {
  const Program* program;
  const T* params;  // [kinds]
  int64_t steps, batch, height, width, channels, kh, kw;
  int64_t x_step;   // 0: the same input at every step
  const T* x;       // [T or 1, B, H, W, C]
  const T* starts;  // [kinds][B H W C], or [kinds] where all begin alike
  bool alike;

  int64_t out_height() const { return height / kh; }
  int64_t out_width() const { return width / kw; }
  int64_t image() const { return height * width * channels; }
  int64_t neurons() const { return batch * image(); }
  // The sizes of the outputs, and of so many times the input.
  std::vector<int64_t> outputs() const {
    return {steps, batch, out_height(), out_width(), channels};
  }
  std::vector<int64_t> inputs(int64_t n) const { return {n, batch, height, width, channels}; }
  int64_t pooled() const { return out_height() * out_width() * channels; }
  // Windows of a piece: what a backward pass has of all steps in 256 KB.
  int64_t windows() const {
    const int64_t kept = std::max<int64_t>(1, program->reals);
    const int64_t bytes = steps * kh * kw * channels * kept * static_cast<int64_t>(sizeof(T));
    return std::clamp<int64_t>((int64_t{1} << 15) / bytes, 1,
                               std::max<int64_t>(1, (width + kw - 1) / kw));
  }
  int64_t pieces_of_row() const { return ((width + kw - 1) / kw + windows() - 1) / windows(); }
  int64_t rows() const { return (height + kh - 1) / kh; }
  int64_t pieces() const { return batch * rows() * pieces_of_row(); }
  int64_t run() const { return tiles_of(windows() * kw * channels) * kTile; }  // filled up
  int64_t piece_size() const { return kh * run(); }
};

template <class T>
struct SpikePoolBack {
  const T *grad_y, *grad_ends;  // [T, B, OH, OW, C], [kinds][B, H, W, C]; null: zero
  T* dx;                        // [T or 1, B, H, W, C]
  T* dstarts;                   // [kinds][B, H, W, C], null: nobody asks
  double* sums;                 // [pieces][learned]
};

// What a thread has of a piece: where it lies, states and outputs of its neurons; for the backward
// pass also what is kept of all steps, the gradients of the states and of the input. Its rows are
// contiguous runs of `used` numbers, filled up. Windows that would reach over the edge have neurons
// but no output: no gradient comes in there.
template <class T>
class Piece {
 public:
  Piece(const SpikePool<T>& problem, bool back)
      : f(problem), p(*f.program), size(f.piece_size()), words(size / kTile), per_run(words / f.kh),
        states(p.states * size), spikes(words * (back ? f.steps : 1)),
        support(words * (back ? f.steps : 1)), last_row(kTile) {
    if (!back) return;
    reals = Scratch<T>(p.reals * f.steps * size),
    masks = Scratch<uint64_t>(p.masks * f.steps * words);
    if (p.reads_input) inputs = Scratch<T>(f.steps * size);
    carry = Scratch<T>(p.smooth * size), gradient = Scratch<T>(size);
    first = Scratch<T>(p.states * size), sums = Scratch<T>(p.learned * kTile);
  }

  void forward(int64_t number, T* y, T* ends) {
    enter(number);
    for (int64_t t = 0; t < f.steps; ++t) {
      neurons_step(t, false);
      pool_step(y + t * f.batch * f.pooled() + out);
    }
    take_out(states, p.states, ends);
  }

  void backward(int64_t number, const SpikePoolBack<T>& b) {
    enter(number);
    std::memcpy(first, states, p.states * size * sizeof(T));
    for (int64_t t = 0; t < f.steps; ++t) neurons_step(t, true);
    std::memset(carry, 0, p.smooth * size * sizeof(T));
    if (b.grad_ends) bring_in(b.grad_ends, p.smooth, carry);
    std::memset(gradient, 0, size * sizeof(T));
    std::memset(sums, 0, p.learned * kTile * sizeof(T));
    for (int64_t t = f.steps; t-- > 0;) {
      if (b.grad_y) route_step(t, b.grad_y + t * f.batch * f.pooled() + out);
      neurons_back(t, b.dx);
    }
    if (b.dstarts) take_out(carry, p.smooth, b.dstarts);
    for (int64_t k = 0; k < p.learned; ++k)
      b.sums[number * p.learned + k] =
          std::accumulate(sums + k * kTile, sums + (k + 1) * kTile, 0.0);
  }

 private:
  // The piece of a number, its neurons at the start.
  void enter(int64_t number) {
    const int64_t per_row = f.pieces_of_row(), strip = number / per_row % f.rows();
    const int64_t image = number / per_row / f.rows();
    const int64_t column = number % per_row * f.windows() * f.kw, window = column / f.kw;
    rows = std::min(f.kh, f.height - strip * f.kh);
    used = std::min(f.windows() * f.kw, f.width - column) * f.channels;
    const int64_t left = f.out_width() - std::min(f.out_width(), window);
    windows = rows == f.kh ? std::min(f.windows(), left) : 0;
    corner = ((image * f.height + strip * f.kh) * f.width + column) * f.channels;
    out = image * f.pooled() + (strip * f.out_width() + window) * f.channels;
    for (int64_t kind = 0; f.alike && kind < p.states; ++kind)
      std::fill_n(states + kind * size, size, f.starts[kind]);
    if (f.alike) return;
    bring_in(f.starts, p.states, states);
    for (int64_t k = 0; used < f.run() && k < p.states * f.kh; ++k) {
      T* run = states + k * f.run();
      std::fill(run + used, run + f.run(), run[used - 1]);
    }
  }
  // Where row k starts in [B, H, W, C].
  int64_t at(int64_t k) const { return corner + k * f.width * f.channels; }
  // Rows of [kinds][B, H, W, C] to those of the piece, and back.
  void bring_in(const T* all, int64_t kinds, T* here) const {
    for (int64_t kind = 0; kind < kinds; ++kind)
      for (int64_t k = 0; k < rows; ++k)
        std::memcpy(here + kind * size + k * f.run(), all + kind * f.neurons() + at(k),
                    used * sizeof(T));
  }
  void take_out(const T* here, int64_t kinds, T* all) const {
    for (int64_t kind = 0; kind < kinds; ++kind)
      for (int64_t k = 0; k < rows; ++k)
        std::memcpy(all + kind * f.neurons() + at(k), here + kind * size + k * f.run(),
                    used * sizeof(T));
  }

  // One step of all neurons: their spikes as words, and what is kept.
  void neurons_step(int64_t t, bool keep) {
    for (int64_t k = 0; k < rows; ++k) {
      const T* x = f.x + t * f.x_step + at(k);
      const int64_t whole = used / kTile, rest = used % kTile;
      if (whole) some_rows(t, k, 0, whole, x, keep);
      if (!rest) continue;
      // The row is not read beyond its end, which may be that of the tensor.
      copy_block<kTile>(x + whole * kTile, static_cast<int>(rest), last_row.get(), x[used - 1]);
      some_rows(t, k, whole, 1, last_row, keep);
    }
  }
  // Rows [begin, begin + n) of the 64-column rows of run k.
  void some_rows(int64_t t, int64_t k, int64_t begin, int64_t n, const T* x, bool keep) {
    const int64_t here = k * f.run() + begin * kTile, step = keep ? t : 0;
    const int64_t word = step * words + k * per_run + begin;
    RowsStep<T> c{};
    c.rows = n, c.n = kTile, c.params = f.params, c.x = x, c.x_row = kTile;
    c.states = states + here, c.state = size;
    c.spikes = spikes + word, c.support = keep ? support + word : nullptr, c.word = 1;
    c.keep = keep;
    if (keep) {
      c.reals = reals + t * size + here, c.real = f.steps * size;
      c.masks = masks + word, c.mask = f.steps * words;
      if (inputs) std::memcpy(inputs + t * size + here, x, n * kTile * sizeof(T));
    }
    reinterpret_cast<RowsFunction<T>>(p.forward)(c);
  }

  // go(offset among the outputs, how many, first) for the channels of every window, 64 at a time;
  // first: of their bits in a run.
  template <class F>
  void over_windows(const F& go) const {
    for (int64_t w = 0; w < windows; ++w)
      for (int64_t c = 0; c < f.channels; c += kTile)
        go(w * f.channels + c, std::min<int64_t>(kTile, f.channels - c), w * f.kw * f.channels + c);
  }
  // Of run i, n bits from a place on.
  uint64_t some_bits(int64_t step, int64_t i, int64_t first, int64_t n) const {
    const uint64_t* from = spikes + step * words + i * per_run + first / kTile;
    const int64_t skip = first % kTile;
    uint64_t bits = from[0] >> skip;
    if (skip + n > kTile) bits |= from[1] << (kTile - skip);
    return bits & mask_of(static_cast<int>(n));
  }

  // Where a window has a spike: to y [windows, C].
  void pool_step(T* y) const {
    over_windows([&](int64_t to, int64_t n, int64_t first) {
      uint64_t any = 0;
      for (int64_t i = 0; i < f.kh; ++i)
        for (int64_t j = 0; j < f.kw; ++j) any |= some_bits(0, i, first + j * f.channels, n);
      unpack_row(&any, n, y + to);
    });
  }

  // The gradient of y [windows, C] to the neurons whose spike came first.
  void route_step(int64_t t, const T* grad_y) {
    over_windows([&](int64_t from, int64_t n, int64_t first) {
      const auto leave = [&](int64_t i, int64_t at, uint64_t bits) {
        T* to = gradient + i * f.run() + at;
        over_channels<T>(n, [&](int64_t c, auto many) {
          const Mask<T> here = mask_from<T>(bits >> c);
          store_part(to + c, keep<T>(here, load_part(grad_y + from + c, many)), many, false);
        });
      };
      const uint64_t corner_bits = some_bits(t, 0, first, n);
      uint64_t any = corner_bits;
      for (int64_t k = 1; k < f.kh * f.kw; ++k) {
        const int64_t at = first + k % f.kw * f.channels;
        const uint64_t bits = some_bits(t, k / f.kw, at, n);
        leave(k / f.kw, at, bits & ~any);
        any |= bits;
      }
      leave(0, first, corner_bits | ~any);
    });
  }

  // One step back of all neurons; dx as of `SpikePoolBack`.
  void neurons_back(int64_t t, T* dx) {
    const int64_t whole = used / kTile, rest = used % kTile;
    const bool add = f.x_step == 0 && t + 1 < f.steps;
    for (int64_t k = 0; k < rows; ++k) {
      T* to = dx + t * f.x_step + at(k);
      if (whole) some_back(t, k, 0, whole, to, add);
      if (!rest) continue;
      // The row is not written beyond its end.
      to += whole * kTile;
      if (add) std::memcpy(last_row, to, rest * sizeof(T));
      some_back(t, k, whole, 1, last_row, add);
      std::memcpy(to, last_row, rest * sizeof(T));
    }
  }
  // Rows [begin, begin + n) of the 64-column rows of run k.
  void some_back(int64_t t, int64_t k, int64_t begin, int64_t n, T* dx, bool add) {
    const int64_t here = k * f.run() + begin * kTile, word = t * words + k * per_run + begin;
    RowsBack<T> c{};
    c.rows = n, c.params = f.params, c.grad = gradient + here, c.grad_row = kTile;
    c.spikes = spikes + word, c.spikes_before = c.spikes - words;
    c.support = support + word, c.support_before = c.support - words, c.word = 1;
    c.reals = reals + t * size + here, c.reals_before = c.reals - size, c.real = f.steps * size;
    c.masks = masks + word, c.masks_before = c.masks - words, c.mask = f.steps * words;
    if (inputs) c.x = inputs + t * size + here, c.x_before = c.x - size;
    c.first = t == 0 ? first + here : nullptr;
    c.carry = carry + here, c.state = size, c.sums = sums;
    c.dx = dx, c.dx_row = kTile, c.add = add;
    reinterpret_cast<RowsBackFunction<T>>(p.backward)(c);
  }

  const SpikePool<T>& f;
  const Program& p;
  const int64_t size, words, per_run;  // numbers and words of a step, words of a run
  Scratch<T> states;
  Scratch<uint64_t> spikes, support, masks;
  Scratch<T> last_row, reals, inputs, carry, first, sums;
  Scratch<T> gradient;                       // that comes in at a step
  int64_t rows, used, windows, corner, out;  // of the piece at hand; out: among the outputs
};

}  // namespace
}  // namespace spikegrad
