// Programs generated from the steps of neurons, which other libraries hold.
#pragma once

#include "common.h"

namespace spikegrad {

// What a program is, as kernels/emit/program.py says it: numbers of states (smooth: with
// gradients), parameters (learned: with gradients), kept numbers and masks.
struct Program {
  int64_t forward, backward;  // addresses
  int64_t states, smooth, parameters, learned, reals, masks;
  int64_t inputs, outputs;  // of a scan; noise is no input
  bool noise;               // uniform numbers enter beside the inputs
  bool reads_input;         // backward
  bool spikes;              // the output is 1 and 0
  bool support;             // the surrogate is 0 outside of a mask
  bool within;              // the kept numbers are those in it alone
  bool reads_spikes, reads_support;
  bool each;      // parameters are one per neuron
  bool wide;      // in double
  int64_t lanes;  // of the set that it was compiled for
  int64_t block;  // columns of [B, N] that a scan walks together
};

// By a digest of its text, which stays the same in other processes: torch keeps graphs on disk.
// Fails for one that this process has not loaded.
const Program& program_of(int64_t key);

}  // namespace spikegrad
