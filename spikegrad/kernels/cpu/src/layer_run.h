// The two entry points of a whole layer, per type of number, and what they are given.
#pragma once

#include "connection_run.h"
#include "programs.h"

namespace spikegrad {

// What a call is besides its tensors. keep: a backward pass may follow; lean: for it states are
// kept now and then alone; dense: outputs are wanted as numbers, not only as bits; places: bits are
// passed on with a gradient at the places of the support alone.
struct How {
  bool keep, lean, dense, places;
};

struct ForwardCall {
  const Program& program;
  ConnectionCall in;
  const Maybe &feedback, &first;
  const Tensor &states, &params;
  How how;
};

struct ForwardResult {
  Tensor y, last, reals, masks, current, bits, support, packed, marks, ends, choice, steady;
};

struct BackwardCall {
  const Program& program;
  ConnectionCall in;
  Needs needs;
  const Maybe &grad_y, &grad_last, &grad_ends, &grad_steady;
  const Maybe &feedback, &first;
  const Tensor &states, &params, &reals, &masks, &current, &bits, &support, &marks;
  bool need_feedback, need_first, lean;
};

struct BackwardResult {
  Tensor dx, dweight, dbias, dfeedback, dfirst, dstates, sums;
};

template <class T>
ForwardResult layer_forward_call(const ForwardCall& call);
template <class T>
BackwardResult layer_backward_call(const BackwardCall& call);

}  // namespace spikegrad
