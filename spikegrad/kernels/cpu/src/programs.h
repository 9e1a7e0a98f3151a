// Programs generated from the steps of neurons, which other libraries hold.
#pragma once

#include "common.h"

namespace spikegrad {

// What a program is, in the order of `table` in step_library.py: numbers of states (smooth: with
// gradients), parameters (learned: with gradients), kept numbers and masks; from noise to wide 1 or
// 0.
struct Program {
  int64_t forward, backward;  // addresses
  int64_t states, smooth, parameters, learned, reals, masks;
  int64_t inputs, outputs;  // of a step; noise is no input
  int64_t noise;            // uniform numbers enter beside the inputs
  int64_t reads_input;      // backward
  int64_t spikes;           // the output is 1 and 0
  int64_t support;          // the surrogate is 0 outside of a mask
  int64_t within;           // the kept numbers are those in it alone
  int64_t reads_spikes, reads_support;
  int64_t each;   // parameters are one per neuron
  int64_t wide;   // in double
  int64_t lanes;  // of the set that it was compiled for
  int64_t block;  // columns of [B, N] that a scan walks together
};

// By a digest of its text, which stays the same in other processes: torch keeps graphs on disk.
// Fails for one that this process has not loaded.
const Program& program_of(int64_t key);

}  // namespace spikegrad
