// The two entry points of a whole layer, per type of number, and what they are given.
#pragma once

#include "words.h"

namespace spikegrad {

struct ForwardCall {
  ConnectionCall in;
  const Maybe &feedback, &first, &i0, &v0, &a0, &silent0;
  const Tensor &params, &slope;
  Words words;
};

struct ForwardResult {
  Tensor y, last, u, i, a, ready, current, bits, support, packed, marks, i_end, v_end, a_end,
      silent_end, choice, steady;
};

struct BackwardCall {
  ConnectionCall in;
  Needs needs;
  const Maybe &grad_y, &grad_last, &grad_i, &grad_v, &grad_a, &grad_steady;
  const Maybe &feedback, &first, &v0;
  const Tensor &params, &slope, &amplitude;
  const Maybe& derivative;
  const Tensor &u, &i, &a, &ready, &current, &bits, &support, &marks;
  bool grad_slope, need_feedback, need_first;
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
