// The operators of a connection whose delays are learned.
#include "connection.h"
#include "learned_delays.h"
#include "places.h"

namespace spikegrad {
namespace {

struct LearnedCall {
  const Tensor &weight, &delay;
  const Maybe &starts, &targets;
  int64_t steps, batch, inputs, outputs, most;
  double sigma;
};

// Taps on one side of a Gaussian, as in functional/taps.py.
int64_t half_of(double sigma, int64_t most) {
  return static_cast<int64_t>(std::min(std::ceil(3 * sigma + 0.5), static_cast<double>(most) + 1));
}

void check_call(const LearnedCall& c) {
  const ScalarType dtype = c.weight.scalar_type();
  SG_CHECK(c.outputs > 0 && c.inputs > 0 && c.most > 0, "expected inputs, outputs and delays");
  SG_CHECK(c.starts.has_value() == c.targets.has_value(), "starts and targets belong together");
  if (c.starts.has_value()) {
    check_synapses(c.weight, *c.starts, *c.targets, c.outputs, dtype);
    SG_CHECK(c.starts->numel() == c.inputs + 1, "starts must be [I + 1]");
  } else {
    check_tensor(Maybe(c.weight), {c.outputs, c.inputs}, dtype, "the weight must be [N, I]");
  }
  check_tensor(Maybe(c.delay), sizes_of(c.weight), dtype, "delays must be as the weight");
  SG_CHECK(c.outputs * (c.steps + 2 * c.most + 64) < INT32_MAX && c.inputs * c.steps < INT32_MAX,
           "too many neurons and steps");
}

// What both directions have: the connection, and the events of some samples.
template <class T>
struct Run {
  const LearnedCall& call;
  const std::optional<Synapses> some;
  const Learned<T> c;
  const int64_t count, row;
  std::vector<Events<T>> events;  // of a group of samples

  explicit Run(const LearnedCall& call)
      : call(call), some(call.starts.has_value()
                             ? std::optional(synapses_of(*call.starts, *call.targets, call.outputs))
                             : std::nullopt),
        c{data<T>(call.weight),
          data<T>(call.delay),
          some ? &*some : nullptr,
          call.inputs,
          call.outputs,
          call.most,
          static_cast<T>(call.sigma),
          half_of(call.sigma, call.most)},
        count(c.count()), row(row_of<T>(call.steps, call.most, c.there())) {}
  // Samples in groups whose events are there: f(b0, b1). x: null where they are spikes.
  template <class F>
  void groups(const uint64_t* bits, const T* x, const F& f) {
    const int64_t batch = call.batch;
    const int64_t all = ones(bits, call.steps * batch * tiles_of(call.inputs));
    const int64_t group = samples_of(batch, all, call.inputs, row);
    for (int64_t k = 0; k < group; ++k) events.emplace_back(call.steps, call.inputs);
    for (int64_t b0 = 0; b0 < batch; b0 += group) {
      const int64_t b1 = std::min(batch, b0 + group);
      parallel_each(b1 - b0, 1, [&](int64_t k) { events[k].read(bits, x, b0 + k, batch); });
      f(b0, b1);
    }
  }
  // Parts of the neurons, one a thread at a time, where `cut` with a piece of the samples:
  // f(j0, j1, k0, k1, rows [k1 - k0][j1 - j0][row]).
  template <class F>
  void parts(int64_t samples, bool cut, const F& f) {
    const int64_t each = samples * row * static_cast<int64_t>(sizeof(T));
    const int64_t width = part_of_neurons(c.outputs, each);
    const int64_t many = (c.outputs + width - 1) / width,
                  pieces = cut ? pieces_of(samples, many) : 1;
    parallel(many * pieces, 1, [&](int64_t begin, int64_t end) {
      const Scratch<T> rows((samples + pieces - 1) / pieces * width * row);
      for (int64_t k = begin; k < end; ++k) {
        const int64_t part = k / pieces, piece = k % pieces;
        const int64_t k0 = samples * piece / pieces, k1 = samples * (piece + 1) / pieces;
        f(part * width, std::min(c.outputs, (part + 1) * width), k0, k1, rows.get());
      }
    });
  }
  // The synapses to some neurons by blocks of inputs: f(block, view, first input).
  template <class F>
  void blocks(int64_t j0, int64_t j1, bool taps, const F& f) {
    Block<T> block(c, j0, j1, row);
    for (int64_t i0 = 0; i0 < c.inputs; i0 += block.inputs()) {
      block.make(i0, std::min(c.inputs, i0 + block.inputs()), taps);
      f(block, block.view(), i0);
    }
  }
};

using Four = std::tuple<Tensor, Tensor, Tensor, Tensor>;

// -> (y [T, B, N], pending [B, D, N], packed, choice), as of `delayed_linear`. weight and delay
// (steps): [N, I], or with starts and targets [E]; sigma: of Gaussians, 0 for interpolation.
Four learned_delays(const Tensor& x, const Maybe& in_bits, const Maybe& in_support,
                    const Maybe& pending, const Tensor& weight, const Tensor& delay,
                    const Maybe& starts, const Maybe& targets, const Maybe& bias, int64_t inputs,
                    int64_t outputs, int64_t most, double sigma) {
  const ScalarType dtype = x.scalar_type();
  const Tensor& sizes = in_bits.has_value() ? *in_bits : x;
  SG_CHECK(sizes.dim() == 3 && sizes.numel() > 0, "x must be [T, B, I]");
  SG_CHECK(weight.scalar_type() == dtype, "the weight must be of the dtype of x");
  const LearnedCall call{weight,        delay,  starts,  targets, sizes.size(0),
                         sizes.size(1), inputs, outputs, most,    sigma};
  check_call(call);
  const int64_t steps = call.steps, batch = call.batch;
  for (const Maybe* words : {&in_bits, &in_support})
    check_tensor(*words, {steps, batch, tiles_of(inputs)}, ScalarType::Long,
                 "bits and support must be int64 [T, B, words]");
  SG_CHECK(x.dim() == 3 || (x.dim() == 1 && in_bits.has_value() && in_support.has_value()),
           "an edge of places needs a support");
  if (!in_bits.has_value())
    check_tensor(x, {steps, batch, inputs}, dtype, "x must be a contiguous [T, B, I]");
  check_tensor(pending, {batch, most, outputs}, dtype, "pending must be [B, D, N]");
  check_tensor(bias, {outputs}, dtype, "the bias must be [N]");
  return by_type(dtype, [&]<class T>() {
    Tensor packed = none(ScalarType::Long);
    bool spikes = true;
    if (!in_bits.has_value()) {
      packed = pooled({steps, batch, tiles_of(inputs)}, ScalarType::Long);
      spikes = pack_nonzeros(data<T>(x), steps * batch, inputs, words_of(packed));
    }
    const uint64_t* bits = words_of(in_bits.has_value() ? *in_bits : packed);
    const int64_t many = ones(bits, steps * batch * tiles_of(inputs));
    Tensor y = pooled({steps, batch, outputs}, dtype);
    Tensor left = fresh_tensor({batch, most, outputs}, dtype);  // often dropped after the call
    T *to = mutable_data<T>(y), *behind = mutable_data<T>(left);
    Run<T> run(call);
    run.groups(bits, spikes ? nullptr : data<T>(x), [&](int64_t b0, int64_t b1) {
      run.parts(b1 - b0, true, [&](int64_t j0, int64_t j1, int64_t k0, int64_t k1, T* all) {
        const int64_t n = j1 - j0, size = n * run.row;
        std::fill_n(all, (k1 - k0) * size, T(0));
        for (int64_t k = k0; k < k1; ++k) {
          T* const rows = all + (k - k0) * size;
          if (pending.has_value())
            transpose(data<T>(pending) + (b0 + k) * most * outputs + j0, outputs, most, n, rows,
                      run.row);
          for (int64_t j = 0; bias.has_value() && j < n; ++j)
            for (int64_t t = 0; t < steps; ++t) rows[j * run.row + t] += data<T>(bias)[j0 + j];
        }
        by_count(run.count, [&]<int K>() {
          run.blocks(j0, j1, true, [&](Block<T>& block, const Delayed<T>& view, int64_t i0) {
            for (int64_t k = k0; k < k1; ++k)
              add_events<T, K>(view, block.place(), run.events[k], 0, outputs,
                               all + (k - k0) * size, i0);
          });
        });
        for (int64_t k = k0; k < k1; ++k) {
          const T* const rows = all + (k - k0) * size;
          transpose(rows, run.row, n, steps, to + (b0 + k) * outputs + j0, batch * outputs);
          transpose(rows + steps, run.row, n, most, behind + (b0 + k) * most * outputs + j0,
                    outputs);
        }
      });
    });
    const Choice choice{kSynapses, spikes ? many : -1, spikes ? -1 : many};
    return Four(y, left, packed, choice.told());
  });
}

// The gradients of the currents of neurons [j0, j1) of sample b -> rows.
template <class T>
void gradient_rows(const LearnedCall& call, const Maybe& grad_y, const Maybe& grad_left, int64_t b,
                   int64_t j0, int64_t j1, int64_t row, T* rows) {
  const int64_t outputs = call.outputs, most = call.most, n = j1 - j0;
  std::fill_n(rows, n * row, T(0));
  if (grad_y.has_value())
    transpose(data<T>(grad_y) + b * outputs + j0, call.batch * outputs, call.steps, n, rows, row);
  if (grad_left.has_value())
    transpose(data<T>(grad_left) + b * most * outputs + j0, outputs, most, n, rows + call.steps,
              row);
}

// The input's gradient, [T, B, I] or at the places alone.
template <class T>
void input_gradient(const Run<T>& run, const Maybe& grad_y, const Maybe& grad_left,
                    const Places& places, T* dx) {
  const Learned<T>& c = run.c;
  const int64_t batch = run.call.batch, steps = run.call.steps, length = steps | 1;
  const int64_t words = tiles_of(c.inputs), size = c.outputs * run.row;
  const int64_t group = std::min(batch, kSamples);
  const Scratch<T> gradients(group * size);
  for (int64_t b0 = 0; b0 < batch; b0 += group) {
    const int64_t many = std::min(batch - b0, group);
    parallel_each(many, 1, [&](int64_t k) {
      gradient_rows(run.call, grad_y, grad_left, b0 + k, 0, c.outputs, run.row,
                    gradients + k * size);
    });
    const int64_t pieces = pieces_of(many, words);
    parallel_each(words * pieces, 1, [&](int64_t at) {
      const int64_t word = at / pieces, piece = at % pieces;
      const int64_t k0 = many * piece / pieces, k1 = many * (piece + 1) / pieces;
      const int64_t w0 = word * kTile, w1 = std::min(c.inputs, w0 + kTile);
      const Scratch<T> rows((k1 - k0) * kTile * length), wide(places ? steps * kTile : 0);
      Block<T> block(c, 0, c.outputs, run.row);
      for (int64_t i0 = w0; i0 < w1; i0 += block.inputs()) {
        const int64_t i1 = std::min(w1, i0 + block.inputs());
        block.make(i0, i1, true);
        const Delayed<T> view = block.view();
        for (int64_t k = k0; k < k1; ++k)
          input_rows(view, block.place(), gradients + k * size, steps, 0, i1 - i0, length,
                     rows + ((k - k0) * kTile + i0 - w0) * length);
      }
      for (int64_t k = k0; k < k1; ++k) {
        const T* const from = rows + (k - k0) * kTile * length;
        if (!places) {
          transpose(from, length, w1 - w0, steps, dx + (b0 + k) * c.inputs + w0, batch * c.inputs);
          continue;
        }
        transpose(from, length, w1 - w0, steps, wide.get(), kTile);
        for (int64_t t = 0; t < steps; ++t) places.put_row(word, t, b0 + k, wide + t * kTile, dx);
      }
    });
  }
}

// -> (dx, dweight, ddelay, dpending), empty where nobody needs them. x, packed, support: as of
// `delayed_linear_backward`.
Four learned_delays_backward(const Maybe& grad_y, const Maybe& grad_left, const Tensor& x,
                             const Tensor& packed, const Maybe& support, const Tensor& weight,
                             const Tensor& delay, const Maybe& starts, const Maybe& targets,
                             int64_t inputs, int64_t outputs, int64_t most, double sigma,
                             const Tensor& told, bool need_x, bool need_weight, bool need_pending) {
  SG_CHECK(packed.dim() == 3 && packed.numel() > 0, "expected the bits of x");
  const ScalarType dtype = weight.scalar_type();
  const LearnedCall call{weight,         delay,  starts,  targets, packed.size(0),
                         packed.size(1), inputs, outputs, most,    sigma};
  check_call(call);
  const int64_t steps = call.steps, batch = call.batch;
  for (const Maybe& words : {Maybe(packed), support})
    check_tensor(words, {steps, batch, tiles_of(inputs)}, ScalarType::Long,
                 "bits and support must be int64 [T, B, words]");
  check_tensor(grad_y, {steps, batch, outputs}, dtype, "the gradient must be [T, B, N]");
  check_tensor(grad_left, {batch, most, outputs}, dtype, "the gradient must be [B, D, N]");
  const bool spikes = choice_of(told).ones >= 0;
  if (need_weight && !spikes) check_tensor(x, {steps, batch, inputs}, dtype, "x must be [T, B, I]");
  return by_type(dtype, [&]<class T>() {
    Run<T> run(call);
    Places places;
    if (need_x && support.has_value())
      places = Places(words_of(support), Timeline(steps, batch), tiles_of(inputs));
    Tensor dx =
        places ? pooled({places.count()}, dtype) : pooled_if(need_x, {steps, batch, inputs}, dtype);
    if (need_x) input_gradient(run, grad_y, grad_left, places, mutable_data<T>(dx));
    Tensor dweight = none(dtype), ddelay = none(dtype);
    Tensor dpending = pooled_if(need_pending, {batch, most, outputs}, dtype);
    if (need_weight) dweight = fresh_tensor(sizes_of(weight), dtype);
    if (need_weight) ddelay = fresh_tensor(sizes_of(weight), dtype);
    T *const dw = mutable_data<T>(dweight), *const dd = mutable_data<T>(ddelay);
    if (need_weight) std::fill_n(dw, weight.numel(), T(0)), std::fill_n(dd, weight.numel(), T(0));
    const T* const numbers = spikes ? nullptr : data<T>(x);
    if (need_weight)
      run.groups(words_of(packed), numbers, [&](int64_t b0, int64_t b1) {
        run.parts(b1 - b0, false, [&](int64_t j0, int64_t j1, int64_t, int64_t, T* all) {
          const int64_t size = (j1 - j0) * run.row;
          for (int64_t b = b0; b < b1; ++b)
            gradient_rows(call, grad_y, grad_left, b, j0, j1, run.row, all + (b - b0) * size);
          by_count(run.count, [&]<int K>() {
            run.blocks(j0, j1, false, [&](Block<T>& block, const Delayed<T>& view, int64_t i0) {
              for (int64_t k = 0; k < b1 - b0; ++k)
                sum_events<T, K>(view, block.place(), run.events[k], 0, view.synapses.inputs,
                                 all + k * size, block.numbers(), i0);
              block.gradients(dw, dd);
            });
          });
        });
      });
    if (need_pending)
      parallel_each(batch, 1, [&](int64_t b) {
        const Scratch<T> rows(outputs * run.row);
        gradient_rows(call, grad_y, grad_left, b, 0, outputs, run.row, rows.get());
        transpose(rows.get(), run.row, outputs, most,
                  mutable_data<T>(dpending) + b * most * outputs, outputs);
      });
    return Four(dx, dweight, ddelay, dpending);
  });
}

}  // namespace
}  // namespace spikegrad

STABLE_TORCH_LIBRARY_IMPL(spikegrad, CPU, m) {
  m.impl("learned_delays", TORCH_BOX(&spikegrad::learned_delays));
  m.impl("learned_delays_backward", TORCH_BOX(&spikegrad::learned_delays_backward));
}
