// The operators of a connection with delays.
#include "connection.h"
#include "delayed.h"
#include "places.h"

namespace spikegrad {
namespace {

struct DelayedCall {
  const Tensor &taps, &first, &starts, &targets;
  int64_t steps, batch, outputs, most;
  int64_t inputs() const { return starts.size(0) - 1; }
  int64_t count() const { return taps.size(1); }
  template <class T>
  int64_t row() const {
    return row_of<T>(steps, most, count());
  }
};

template <class T>
Wide<T> wide(const DelayedCall& call) {
  const Synapses synapses = synapses_of(call.starts, call.targets, call.outputs);
  return Wide<T>(synapses, call.taps, call.first, call.most);
}

void check_call(const DelayedCall& call, ScalarType dtype) {
  const int64_t synapses = call.targets.numel();
  SG_CHECK(call.taps.dim() == 2 && call.taps.size(1) > 0, "taps must be [E, K]");
  check_tensor(Maybe(call.taps), {synapses, call.taps.size(1)}, dtype, "taps must be [E, K]");
  check_tensor(Maybe(call.first), {synapses}, ScalarType::Int, "first must be int32 [E]");
  SG_CHECK(call.starts.dim() == 1 && call.starts.numel() > 1 && call.outputs > 0,
           "starts must be [I + 1]");
  check_tensor(Maybe(call.starts), {call.starts.numel()}, ScalarType::Long,
               "starts must be int64 [I + 1]");
  check_tensor(Maybe(call.targets), {synapses}, ScalarType::Int, "targets must be int32 [E]");
  const int64_t* at = data<int64_t>(call.starts);
  SG_CHECK(at[0] == 0 && at[call.starts.numel() - 1] == synapses, "starts must go from 0 to E");
  SG_CHECK(call.most >= 0 && call.outputs * call.row<float>() < INT32_MAX &&
               call.inputs() * call.steps < INT32_MAX,
           "too many neurons and steps");
}

using Four = std::tuple<Tensor, Tensor, Tensor, Tensor>;

// -> (y [T, B, N], pending [B, D, N], packed: which values of x are not 0, choice). in_bits:
// spikes, of which x then is the edge, at the places of in_support alone if it has one dimension;
// packed is empty.
Four delayed_linear(const Tensor& x, const Maybe& in_bits, const Maybe& in_support,
                    const Maybe& pending, const Tensor& taps, const Tensor& first,
                    const Tensor& starts, const Tensor& targets, const Maybe& bias, int64_t outputs,
                    int64_t most) {
  const ScalarType dtype = x.scalar_type();
  const Tensor& sizes = in_bits.has_value() ? *in_bits : x;
  SG_CHECK(sizes.dim() == 3 && sizes.numel() > 0, "x must be [T, B, I]");
  const DelayedCall call{taps, first, starts, targets, sizes.size(0), sizes.size(1), outputs, most};
  check_call(call, dtype);
  const int64_t steps = call.steps, batch = call.batch, inputs = call.inputs();
  check_tensor(in_bits, {steps, batch, tiles_of(inputs)}, ScalarType::Long,
               "bits must be int64 [T, B, words]");
  check_tensor(in_support, {steps, batch, tiles_of(inputs)}, ScalarType::Long,
               "support must be int64 [T, B, words]");
  SG_CHECK(x.dim() == 3 || (x.dim() == 1 && in_bits.has_value() && in_support.has_value()),
           "an edge of places needs a support");
  if (!in_bits.has_value())
    check_tensor(Maybe(x), {steps, batch, inputs}, dtype, "x must be a contiguous [T, B, I]");
  check_tensor(pending, {batch, most, outputs}, dtype, "pending must be [B, D, N]");
  check_tensor(bias, {outputs}, dtype, "the bias must be [N]");
  return by_type(dtype, [&]<class T>() {
    const Wide<T> c = wide<T>(call);
    const int64_t row = call.row<T>();
    Tensor packed = none(ScalarType::Long);
    bool spikes = true;
    if (!in_bits.has_value()) {
      packed = pooled({steps, batch, tiles_of(inputs)}, ScalarType::Long);
      spikes = pack_nonzeros(data<T>(x), steps * batch, inputs, words_of(packed));
    }
    const uint64_t* bits = words_of(in_bits.has_value() ? *in_bits : packed);
    const int64_t count = ones(bits, steps * batch * tiles_of(inputs));
    Tensor y = pooled({steps, batch, outputs}, dtype), left = pooled({batch, most, outputs}, dtype);
    T *to = mutable_data<T>(y), *behind = mutable_data<T>(left);
    const Scratch<int32_t> place = places_of(c, row);
    const int64_t parts = parts_of(batch);
    by_count(c.count, [&]<int K>() {
      parallel(batch * parts, 1, [&](int64_t begin, int64_t end) {
        Events<T> events(steps, inputs);
        const Scratch<T> currents(outputs * row);
        for (int64_t piece = begin; piece < end; ++piece) {
          const int64_t b = piece / parts, part = piece % parts;
          const int64_t j0 = outputs * part / parts, j1 = outputs * (part + 1) / parts;
          if (j0 == j1) continue;
          T* const rows = currents + j0 * row;
          std::fill(rows, currents + j1 * row, T(0));
          if (pending.has_value())
            transpose(data<T>(pending) + b * most * outputs + j0, outputs, most, j1 - j0, rows,
                      row);
          if (bias.has_value())
            for (int64_t j = j0; j < j1; ++j)
              for (int64_t t = 0; t < steps; ++t) currents[j * row + t] += data<T>(bias)[j];
          events.read(bits, spikes ? nullptr : data<T>(x), b, batch);
          add_events<T, K>(c, place, events, j0, j1, currents);
          transpose(rows, row, j1 - j0, steps, to + b * outputs + j0, batch * outputs);
          transpose(rows + steps, row, j1 - j0, most, behind + b * most * outputs + j0, outputs);
        }
      });
    });
    const Choice choice{kSynapses, spikes ? count : -1, spikes ? -1 : count};
    return Four(y, left, packed, choice.told());
  });
}

// The gradients of the currents of samples [b0, b1), each [N][row].
template <class T>
void gradients_of_currents(const DelayedCall& call, const Maybe& grad_y, const Maybe& grad_left,
                           int64_t b0, int64_t b1, T* to) {
  const int64_t row = call.row<T>(), outputs = call.outputs, most = call.most;
  parallel_each(b1 - b0, 1, [&](int64_t k) {
    T* const rows = to + k * outputs * row;
    const int64_t b = b0 + k;
    std::fill_n(rows, outputs * row, T(0));
    if (grad_y.has_value())
      transpose(data<T>(grad_y) + b * outputs, call.batch * outputs, call.steps, outputs, rows,
                row);
    if (grad_left.has_value())
      transpose(data<T>(grad_left) + b * most * outputs, outputs, most, outputs, rows + call.steps,
                row);
  });
}

// -> (dx, dtaps [E, K]), empty where nobody needs them. x: its numbers, or anything where packed
// says all of them; support: dx has one value for each of its places (places.h), none elsewhere.
std::tuple<Tensor, Tensor> delayed_linear_backward(const Maybe& grad_y, const Maybe& grad_left,
                                                   const Tensor& x, const Tensor& packed,
                                                   const Maybe& support, const Tensor& taps,
                                                   const Tensor& first, const Tensor& starts,
                                                   const Tensor& targets, int64_t outputs,
                                                   int64_t most, const Tensor& told, bool need_x,
                                                   bool need_taps) {
  SG_CHECK(packed.dim() == 3 && packed.numel() > 0, "expected the bits of x");
  const ScalarType dtype = taps.scalar_type();
  const DelayedCall call{taps,           first,          starts,  targets,
                         packed.size(0), packed.size(1), outputs, most};
  check_call(call, dtype);
  const int64_t steps = call.steps, batch = call.batch, inputs = call.inputs();
  check_tensor(Maybe(packed), {steps, batch, tiles_of(inputs)}, ScalarType::Long,
               "bits must be int64 [T, B, words]");
  check_tensor(support, {steps, batch, tiles_of(inputs)}, ScalarType::Long,
               "support must be int64 [T, B, words]");
  check_tensor(grad_y, {steps, batch, outputs}, dtype, "the gradient must be [T, B, N]");
  check_tensor(grad_left, {batch, most, outputs}, dtype, "the gradient must be [B, D, N]");
  const bool spikes = choice_of(told).ones >= 0;
  if (!spikes) check_tensor(Maybe(x), {steps, batch, inputs}, dtype, "x must be [T, B, I]");
  return by_type(dtype, [&]<class T>() {
    const Wide<T> c = wide<T>(call);
    const int64_t row = call.row<T>();
    const int64_t words = tiles_of(inputs);
    Places places;
    if (need_x && support.has_value())
      places = Places(words_of(support), Timeline(steps, batch), words);
    Tensor dx =
        places ? pooled({places.count()}, dtype) : pooled_if(need_x, {steps, batch, inputs}, dtype);
    Tensor dtaps = pooled_if(need_taps, {targets.numel(), c.there}, dtype);
    Scratch<T> aside;  // the gradients of wide taps
    T* sums = nullptr;
    if (need_taps) {
      const int64_t numbers = targets.numel() * c.count;
      sums = mutable_data<T>(dtaps);
      if (c.count != c.there) aside = Scratch<T>(numbers), sums = aside;
      std::fill_n(sums, numbers, T(0));
    }
    const Scratch<int32_t> place = places_of(c, row);
    const int64_t group = std::min(batch, kSamples);
    const int64_t pieces = std::min<int64_t>(words, 2 * torch::stable::get_num_threads());
    const Scratch<T> gradients(group * outputs * row);
    std::vector<Events<T>> events;
    for (int64_t k = 0; k < group; ++k) events.emplace_back(steps, inputs);
    for (int64_t b0 = 0; b0 < batch; b0 += group) {
      const int64_t b1 = std::min(batch, b0 + group);
      gradients_of_currents<T>(call, grad_y, grad_left, b0, b1, gradients);
      if (need_taps) {
        parallel_each(b1 - b0, 1, [&](int64_t k) {
          events[k].read(words_of(packed), spikes ? nullptr : data<T>(x), b0 + k, batch);
        });
        by_count(c.count, [&]<int K>() {
          parallel_each(pieces, 1, [&](int64_t p) {
            const int64_t i0 = std::min(inputs, words * p / pieces * kTile);
            const int64_t i1 = std::min(inputs, words * (p + 1) / pieces * kTile);
            for (int64_t k = 0; k < b1 - b0; ++k)
              sum_events<T, K>(c, place, events[k], i0, i1, gradients + k * outputs * row, sums);
          });
        });
      }
      if (!need_x) continue;
      parallel((b1 - b0) * words, 1, [&](int64_t begin, int64_t end) {
        const Scratch<T> rows(kTile * (steps | 1)), wide(places ? steps * kTile : 0);
        for (int64_t piece = begin; piece < end; ++piece) {
          const int64_t k = piece / words, i0 = piece % words * kTile;
          const int64_t n = columns_of(piece % words, inputs);
          input_rows(c, place, gradients + k * outputs * row, steps, i0, i0 + n, steps | 1,
                     rows.get());
          T* const to = mutable_data<T>(dx);
          if (!places) {
            transpose(rows.get(), steps | 1, n, steps, to + (b0 + k) * inputs + i0, batch * inputs);
            continue;
          }
          transpose(rows.get(), steps | 1, n, steps, wide.get(), kTile);
          for (int64_t t = 0; t < steps; ++t)
            places.put_row(piece % words, t, b0 + k, wide + t * kTile, to);
        }
      });
    }
    if (aside.get()) narrow<T>(sums, targets.numel(), c.there, mutable_data<T>(dtaps));
    return std::tuple(dx, dtaps);
  });
}

}  // namespace
}  // namespace spikegrad

STABLE_TORCH_LIBRARY_IMPL(spikegrad, CPU, m) {
  m.impl("delayed_linear", TORCH_BOX(&spikegrad::delayed_linear));
  m.impl("delayed_linear_backward", TORCH_BOX(&spikegrad::delayed_linear_backward));
}
