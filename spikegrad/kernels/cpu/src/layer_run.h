// The two entry points of a whole layer, per type of number, and what they are given.
#pragma once

#include "scan_run.h"

namespace spikegrad {

using Maybe = std::optional<Tensor>;

// How a call chooses: the largest share of ones up to which the spikes are followed.
struct Crossover {
  double forward, weight, input;
};

// The words of a call that both directions have.
struct Words {
  int64_t kind, reset, refractory, family;
  bool attached, keep, lean;
  double shape_a, shape_b;
  Crossover crossover;
};

struct ForwardCall {
  const Tensor& x;  // [T, B, I], or [T, B, N] without a weight
  const Maybe &in_bits, &weight, &bias, &feedback, &first, &i0, &v0, &a0, &silent0;
  const Tensor &params, &slope;
  bool dense;  // outputs are wanted as numbers, not only as bits
  Words words;
};

struct ForwardResult {
  Tensor y, last, u, i, a, ready, current, bits, support, packed, marks, i_end, v_end, a_end,
      silent_end, choice;
};

struct BackwardCall {
  const Maybe &grad_y, &grad_last, &grad_i, &grad_v, &grad_a;
  const Tensor& x;
  const Maybe &in_bits, &in_support, &weight, &bias, &feedback, &first, &v0;
  const Tensor &params, &slope, &amplitude;
  double gain;
  const Maybe& derivative;
  const Tensor &u, &i, &a, &ready, &current, &bits, &support, &marks;
  bool spikes, grad_slope, need_x, need_weight, need_feedback, need_first;
  Words words;
};

struct BackwardResult {
  Tensor dx, dweight, dbias, dfeedback, dfirst, di0, dv0, da0, sums;
};

template <class T>
ForwardResult layer_forward_call(const ForwardCall& call);
template <class T>
BackwardResult layer_backward_call(const BackwardCall& call);

}  // namespace spikegrad
