// The two entry points of the scans, per type of number, and what they are given.
#pragma once

#include "words.h"

namespace spikegrad {

struct ScanForward {
  const Tensor& x;  // [T, B, N]
  const Maybe &i0, &v0, &a0, &silent0;
  const Tensor &params, &slope;
  Words words;
};

// support, bits: words [blocks, T, tiles of a block] where membranes are kept in part.
struct ScanOutputs {
  Tensor s, u, i, a, ready, support, bits, i_end, v_end, a_end, silent_end;
};

struct ScanBackward {
  const Maybe &grad_s, &grad_i, &grad_v, &grad_a, &x;
  const Tensor& u;
  const Maybe &i, &a, &ready, &support, &bits, &i0, &v0;
  const Tensor &params, &slope, &amplitude;
  const Maybe& derivative;
  int64_t steps, batch, features;
  bool grad_slope;
  Words words;
};

struct ScanGradients {
  Tensor dx, di0, dv0, da0, sums;
};

template <class T>
ScanOutputs scan_forward_call(const ScanForward& call);
template <class T>
ScanGradients scan_backward_call(const ScanBackward& call);

}  // namespace spikegrad
