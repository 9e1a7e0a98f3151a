// A product in front of neurons, or alone: what a call of it is given, and the entry points of one
// alone.
#pragma once

#include "common.h"

namespace spikegrad {

// T, B and I of a call. x is [T, B, I], or where it stands for spikes at places alone (see
// places.h) one element a place: then the bits and the weight say it.
struct Sizes {
  int64_t steps, batch, inputs;
};

// How a call chooses: the largest share of ones up to which the spikes are followed.
struct Crossover {
  double forward, weight, input;
};

struct ConnectionCall {
  const Tensor& x;  // [T, B, I], or the current [T, B, N] without a weight, or one element a place
  const Maybe &in_bits, &in_support, &weight, &bias;
  Crossover crossover;
  Sizes sizes() const {
    if (x.dim() == 1) return {in_bits->size(0), in_bits->size(1), weight->size(1)};
    return {x.size(0), x.size(1), x.size(2)};
  }
  int64_t outputs() const { return weight.has_value() ? weight->size(0) : x.size(2); }
};
// What the backward pass of one needs to know besides.
struct Needs {
  int64_t ones;  // spikes of the input; -1: it is numbers
  bool x, weight;
  bool once = false;  // the gradient of the currents is the same at every step
};

struct ConnectionResult {
  Tensor y, packed, choice;
};
struct ConnectionGradients {
  Tensor dx, dweight, dbias;
};
template <class T>
ConnectionResult connection_call(const ConnectionCall& call);
template <class T>
ConnectionGradients connection_backward_call(const ConnectionCall& call, const Needs& needs,
                                             const Tensor& grad_y);

// How many spikes the forward pass counted, from what it told of its choice.
int64_t ones_of(const Tensor& choice, const ConnectionCall& call);
void check_connection(const ConnectionCall& call, ScalarType dtype);
void check_matrix(const Maybe& m, int64_t rows, int64_t columns, ScalarType dtype,
                  const char* what);

}  // namespace spikegrad
