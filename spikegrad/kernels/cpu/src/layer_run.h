// The two entry points of a whole layer, per type of number, and what they are given.
#pragma once

#include "words.h"

namespace spikegrad {

// T, B and I of a call. x is [T, B, I], or where it stands for spikes at places alone (see places.h)
// one element a place: then the bits and the weight say it.
struct Sizes {
  int64_t steps, batch, inputs;
};
inline Sizes sizes_of(const Tensor& x, const Maybe& in_bits, const Maybe& weight) {
  if (x.dim() == 1) return {in_bits->size(0), in_bits->size(1), weight->size(1)};
  return {x.size(0), x.size(1), x.size(2)};
}

struct ForwardCall {
  const Tensor& x;  // [T, B, I], or [T, B, N] without a weight, or one element a place
  const Maybe &in_bits, &weight, &bias, &feedback, &first, &i0, &v0, &a0, &silent0;
  const Tensor &params, &slope;
  Words words;
  Sizes sizes() const { return sizes_of(x, in_bits, weight); }
};

struct ForwardResult {
  Tensor y, last, u, i, a, ready, current, bits, support, packed, marks, i_end, v_end, a_end,
      silent_end, choice, steady;
};

struct BackwardCall {
  const Maybe &grad_y, &grad_last, &grad_i, &grad_v, &grad_a;
  const Tensor& x;
  const Maybe &in_bits, &in_support, &weight, &bias, &feedback, &first, &v0;
  const Tensor &params, &slope, &amplitude;
  double gain;
  const Maybe& derivative;
  const Tensor &u, &i, &a, &ready, &current, &bits, &support, &marks;
  int64_t ones;  // spikes of the input; -1: it is numbers
  bool grad_slope, need_x, need_weight, need_feedback, need_first;
  Words words;
  const Maybe& grad_steady;
  bool spikes() const { return ones >= 0; }
  Sizes sizes() const { return sizes_of(x, in_bits, weight); }
};

struct BackwardResult {
  Tensor dx, dweight, dbias, dfeedback, dfirst, di0, dv0, da0, sums;
};

template <class T>
ForwardResult layer_forward_call(const ForwardCall& call);
template <class T>
BackwardResult layer_backward_call(const BackwardCall& call);

}  // namespace spikegrad
