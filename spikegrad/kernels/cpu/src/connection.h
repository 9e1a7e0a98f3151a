// The product x W^T + b in front of neurons, or alone: torch's, or along what is not 0.
#pragma once

#include "aten.h"
#include "finite.h"
#include "nonzeros.h"

namespace spikegrad {

// T, B, I and N of a call.
struct Sizes {
  int64_t steps, batch, inputs, outputs;
  int64_t rows() const { return steps * batch; }
};

// How a call chooses: the largest share of ones up to which the spikes are followed; below 0:
// never.
struct Crossover {
  double forward = -1, weight = -1, input = -1;
  Crossover() = default;
  explicit Crossover(const std::vector<double>& shares) {
    SG_CHECK(shares.size() == 3, "three crossovers");
    forward = shares[0], weight = shares[1], input = shares[2];
  }
};

// x is [T, B, I], or the current [T, B, N] without a weight, or where it stands for spikes at
// places alone (see places.h) one element a place: then the bits and the weight say T, B and I.
struct ConnectionCall {
  const Tensor& x;
  const Maybe &in_bits, &in_support, &weight, &bias;
  Crossover crossover;
  Sizes sizes() const {
    const int64_t outputs = weight.has_value() ? weight->size(0) : x.size(2);
    if (x.dim() == 1) return {in_bits->size(0), in_bits->size(1), weight->size(1), outputs};
    return {x.size(0), x.size(1), x.size(2), outputs};
  }
};
void check_connection(const ConnectionCall& call, ScalarType dtype);
// Which way the forward product went, for those who ask, and how many ones it met, or of other
// numbers how many that are not 0; -1: nobody counted. finite: 0 where somebody looked at the
// weight and found NaN or infinity: then the products of the backward pass are dense, too; else 1.
enum Route : int64_t { kDense, kEvents, kStatic, kGiven, kSynapses };
struct Choice {
  static constexpr int64_t kNumbers = 4;
  Route route = kDense;
  int64_t ones = -1, nonzeros = -1, finite = 1;
  Tensor told() const {
    Tensor made = fresh_tensor({kNumbers}, ScalarType::Long);
    const int64_t numbers[kNumbers] = {route, ones, nonzeros, finite};
    std::memcpy(mutable_data<int64_t>(made), numbers, sizeof numbers);
    return made;
  }
};
// What the forward pass told of its choice.
Choice choice_of(const Tensor& told);
// How many spikes it counted; -1: x is numbers.
int64_t ones_of(const Choice& choice, const ConnectionCall& call);
// The call of a backward pass: bits that were made of numbers which are no spikes say nothing.
inline ConnectionCall met(const ConnectionCall& call, const Choice& choice) {
  static const Maybe nothing;
  return {call.x,          ones_of(choice, call) >= 0 ? call.in_bits : nothing,
          call.in_support, call.weight,
          call.bias,       choice.finite ? call.crossover : Crossover()};
}

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
class Connection : public Sizes {
 public:
  Source<T> source{};

  explicit Connection(const ConnectionCall& call)
      : Sizes(call.sizes()), dtype_(call.x.scalar_type()) {
    source.inputs = inputs;
    if (!call.bias.has_value()) return;
    const int64_t width = tiles_of(outputs) * kTile;
    biases_ = Scratch<T>(width);
    std::memcpy(biases_, data<T>(call.bias), outputs * sizeof(T));
    std::fill(biases_ + outputs, biases_ + width, T(0));
  }
  // Makes the currents, or the lists of spikes from which a layer makes them row by row. packed:
  // the bits of an x that came as numbers and is zeros and ones.
  Choice choose(const ConnectionCall& call, Tensor& packed) {
    packed = none(ScalarType::Long);
    Choice choice;
    if (!call.weight.has_value()) {
      from_current(call.x);
      choice.route = kGiven;
      return choice;
    }
    const bool once = !call.in_bits.has_value() && is_static(call.x);
    const uint64_t* bits = once ? nullptr : bits_of(call, packed);
    if (!bits) {
      if (once) choice.route = kStatic;
      from_current(product_of(call, once ? torch::stable::select(call.x, 0, 0) : call.x, choice));
      return choice;
    }
    Scratch<int64_t> starts = starts_of(bits, rows(), tiles_of(inputs));
    choice.ones = starts[rows()];
    choice.finite = is_finite(call);
    if (choice.finite && inputs <= kMostColumns &&
        choice.ones <= call.crossover.forward * static_cast<double>(rows() * inputs)) {
      choice.route = kEvents;
      from_spikes(bits, std::move(starts), *call.weight);
    } else {
      const Tensor numbers = call.in_bits.has_value() ? unpacked(bits) : call.x;
      from_current(call_linear(numbers, *call.weight, call.bias));
    }
    return choice;
  }
  // All currents [T, B, N] of an x that is not static, once it has chosen.
  Tensor all() const {
    if (!source.list) return dense_;
    Tensor y = pooled({steps, batch, outputs}, dtype_);
    currents(source, 0, rows(), outputs, mutable_data<T>(y), outputs);
    return y;
  }

 private:
  const ScalarType dtype_;
  // 0 times infinity is NaN in a dense product and nothing along the spikes, so a weight that is
  // not finite takes the dense one. In small calls nobody looks: it would cost a part of them.
  bool is_finite(const ConnectionCall& call) const {
    constexpr int64_t kCheckedRows = 256;  // from which on a look costs less than a hundredth
    return rows() < kCheckedRows || all_finite(data<T>(call.weight), outputs * inputs);
  }
  // The bits of x that were given, or that it is packed into; null where it is no spikes.
  const uint64_t* bits_of(const ConnectionCall& call, Tensor& packed) const {
    if (call.in_bits.has_value()) return words_of(call.in_bits);
    packed = pooled({steps, batch, tiles_of(inputs)}, ScalarType::Long);
    const bool spikes =
        inputs <= kMostColumns && pack(data<T>(call.x), rows(), inputs, words_of(packed));
    return spikes ? words_of(packed) : nullptr;
  }
  Tensor unpacked(const uint64_t* bits) const {
    Tensor numbers = pooled({steps, batch, inputs}, dtype_);
    unpack(bits, rows(), inputs, mutable_data<T>(numbers));
    return numbers;
  }
  // x W^T + b of real numbers: along those that are not 0 where they are few.
  Tensor product_of(const ConnectionCall& call, const Tensor& x, Choice& choice) const {
    const int64_t many = x.numel() / inputs;
    const Crossover& share = call.crossover;
    const double most = most_forward(share.forward, many, inputs, outputs);
    // Counted as far as the weight's gradient wants to know, too.
    choice.nonzeros = nonzeros(data<T>(x), many, inputs,
                               std::max(most, most_weight(share.weight, many, inputs, outputs)));
    if (choice.nonzeros >= 0) choice.finite = is_finite(call);
    if (!choice.finite || choice.nonzeros < 0 || static_cast<double>(choice.nonzeros) > most)
      return call_linear(x, *call.weight, call.bias);
    if (choice.route == kDense) choice.route = kEvents;
    std::vector<int64_t> sizes{batch, outputs};
    if (x.dim() == 3) sizes.insert(sizes.begin(), steps);
    Tensor y = pooled(sizes, dtype_);
    number_product(data<T>(x), many, inputs, data<T>(call.weight), biases_.get(), outputs,
                   mutable_data<T>(y));
    return y;
  }
  void from_current(const Tensor& current) {
    dense_ = current;
    source.current = data<T>(dense_);
    source.current_t = dense_.dim() == 2 ? 0 : dense_.stride(0);
    source.current_b = dense_.stride(dense_.dim() - 2);
  }
  void from_spikes(const uint64_t* bits, Scratch<int64_t> starts, const Tensor& weight) {
    spikes_ = lists_of(bits, rows(), tiles_of(inputs), std::move(starts));
    weights_ = tiled(data<T>(weight), outputs, inputs);
    source.list = spikes_.list, source.start = spikes_.start;
    source.weights = weights_, source.bias = biases_;
  }

  Scratch<T> biases_, weights_;
  Lists spikes_;
  Tensor dense_;  // the current, where the product was dense
};

}  // namespace spikegrad
