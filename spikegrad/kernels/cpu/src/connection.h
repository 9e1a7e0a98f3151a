// The product x W^T + b in front of neurons, or alone: torch's, or along what is not 0.
#pragma once

#include "aten.h"
#include "connection_run.h"
#include "nonzeros.h"

namespace spikegrad {

// Which way the forward product went, for those who ask, and how many ones it met, or of other
// numbers how many that are not 0; -1: nobody counted.
enum Route : int64_t { kDense, kEvents, kStatic, kGiven };
struct Choice {
  Route route = kDense;
  int64_t ones = -1, nonzeros = -1;
  Tensor told() const {
    Tensor made = fresh_tensor({3}, ScalarType::Long);
    const int64_t numbers[] = {route, ones, nonzeros};
    std::memcpy(mutable_data<int64_t>(made), numbers, sizeof numbers);
    return made;
  }
};

inline bool is_static(const Tensor& x) { return x.dim() == 3 && x.size(0) > 1 && x.stride(0) == 0; }

// Up to which number of values that are not 0 a product with R rows of I goes along them; below 0:
// never. Half empty tiles cost more than they save. Forward they pay for turning the weight
// around, as much as some rows of the dense product.
inline double most_nonzeros(double share, int64_t rows, int64_t inputs, int64_t outputs) {
  return outputs < kTile / 2 ? -1 : share * static_cast<double>(rows * inputs);
}
inline double most_forward(double share, int64_t rows, int64_t inputs, int64_t outputs) {
  constexpr double kAround = 16;
  const double r = static_cast<double>(rows);
  return most_nonzeros(share * r / (r + kAround), rows, inputs, outputs);
}
// The gradient of a large weight over few rows is mostly its way to memory, which is longer from
// sums that have to be turned around.
inline double most_weight(double share, int64_t rows, int64_t inputs, int64_t outputs) {
  constexpr int64_t kFew = 32, kLarge = int64_t{1} << 19;
  if (rows < kFew && inputs * outputs >= kLarge) return -1;
  return most_nonzeros(share, rows, inputs, outputs);
}

template <class T>
class Connection {
 public:
  const int64_t steps, batch, inputs, outputs;
  Source<T> source{};

  explicit Connection(const ConnectionCall& call)
      : steps(call.sizes().steps), batch(call.sizes().batch), inputs(call.sizes().inputs),
        outputs(call.outputs()), dtype_(call.x.scalar_type()) {
    source.inputs = inputs;
    if (!call.bias.has_value()) return;
    const int64_t width = tiles_of(outputs) * kTile;
    biases_ = scratch<T>(width);
    std::memcpy(biases_.as<T>(), data<T>(call.bias), outputs * sizeof(T));
    std::fill(biases_.as<T>() + outputs, biases_.as<T>() + width, T(0));
  }
  // Makes the currents, or the lists of spikes from which a layer makes them row by row. packed:
  // the bits of an x that came as numbers and is zeros and ones.
  Choice choose(const ConnectionCall& call, Tensor& packed) {
    const Tensor& x = call.x;
    const int64_t rows = steps * batch, words = tiles_of(inputs);
    Choice choice;
    packed = none(ScalarType::Long);
    if (!call.weight.has_value()) {
      from_current(x);
      choice.route = kGiven;
      return choice;
    }
    if (!call.in_bits.has_value() && is_static(x)) {
      choice.route = kStatic;
      from_current(product_of(call, torch::stable::select(x, 0, 0), choice));
      return choice;
    }
    const uint64_t* bits = nullptr;
    if (call.in_bits.has_value()) {
      bits = reinterpret_cast<const uint64_t*>(data<int64_t>(*call.in_bits));
    } else {
      packed = pooled({steps, batch, words}, ScalarType::Long);
      uint64_t* to = reinterpret_cast<uint64_t*>(mutable_data<int64_t>(packed));
      if (inputs <= kMostColumns && pack(data<T>(x), rows, inputs, inputs, to)) bits = to;
    }
    if (!bits) {
      from_current(product_of(call, x, choice));
      return choice;
    }
    Scratch starts = starts_of(bits, rows, words);
    choice.ones = starts.as<int64_t>()[rows];
    if (inputs <= kMostColumns &&
        choice.ones <= call.crossover.forward * static_cast<double>(rows * inputs)) {
      choice.route = kEvents;
      from_spikes(bits, std::move(starts), *call.weight);
    } else if (call.in_bits.has_value()) {
      Tensor numbers = pooled({steps, batch, inputs}, dtype_);
      unpack(bits, rows, inputs, mutable_data<T>(numbers));
      from_current(call_linear(numbers, *call.weight, call.bias));
    } else {
      from_current(call_linear(x, *call.weight, call.bias));
    }
    return choice;
  }
  // All currents [T, B, N] of an x that is not static, once it has chosen.
  Tensor all() const {
    if (!source.list) return dense_;
    Tensor y = pooled({steps, batch, outputs}, dtype_);
    some(0, steps * batch, mutable_data<T>(y), outputs);
    return y;
  }
  // The currents of rows [first, first + many) along the spikes, `stride` apart.
  void some(int64_t first, int64_t many, T* out, int64_t stride) const {
    currents(source.list, source.start + first, many, source.weights, inputs, source.bias, outputs,
             out, stride);
  }

 private:
  const ScalarType dtype_;
  // x W^T + b of real numbers: along those that are not 0 where they are few.
  Tensor product_of(const ConnectionCall& call, const Tensor& x, Choice& choice) const {
    const int64_t rows = x.numel() / inputs;
    const Crossover& share = call.crossover;
    const double most = most_forward(share.forward, rows, inputs, outputs);
    // Counted as far as the weight's gradient wants to know, too.
    choice.nonzeros = nonzeros(data<T>(x), rows, inputs,
                               std::max(most, most_weight(share.weight, rows, inputs, outputs)));
    if (choice.nonzeros < 0 || static_cast<double>(choice.nonzeros) > most)
      return call_linear(x, *call.weight, call.bias);
    if (choice.route == kDense) choice.route = kEvents;
    std::vector<int64_t> sizes{batch, outputs};
    if (x.dim() == 3) sizes.insert(sizes.begin(), steps);
    Tensor y = pooled(sizes, dtype_);
    number_product(data<T>(x), rows, inputs, data<T>(*call.weight), biases_.template as<T>(),
                   outputs, mutable_data<T>(y));
    return y;
  }
  void from_current(const Tensor& current) {
    dense_ = current;
    source.current = data<T>(dense_);
    source.current_t = dense_.dim() == 2 ? 0 : dense_.stride(0);
    source.current_b = dense_.stride(dense_.dim() - 2);
  }
  void from_spikes(const uint64_t* bits, Scratch starts, const Tensor& weight) {
    spikes_ = lists_of(bits, steps * batch, tiles_of(inputs), std::move(starts));
    weights_ = tiled(data<T>(weight), outputs, inputs);
    source.list = spikes_.list(), source.start = spikes_.start();
    source.weights = weights_.template as<T>(), source.bias = biases_.template as<T>();
  }

  Scratch biases_, weights_;
  Lists spikes_;
  Tensor dense_;  // the current, where the product was dense
};

}  // namespace spikegrad
