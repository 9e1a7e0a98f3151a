// What a call of a neuron is besides its tensors, as one list of integers and one of numbers: an
// operator with an argument for each would spend more time on arguments than a small layer on work.
#pragma once

#include "connection_run.h"
#include "neuron.h"

namespace spikegrad {

struct Words {
  int64_t kind, reset, refractory, family;
  bool attached, keep, lean;
  bool dense;   // outputs are wanted as numbers, not only as bits
  bool graph;   // a backward pass may follow
  bool places;  // bits are passed on with a gradient at the places of the support alone
  double shape_a, shape_b, gain;
  Crossover crossover;

  bool compact() const { return is_compact(Family{family}); }
  // IF and LIF without a refractory period: the steps of tile.h.
  bool plain() const { return kind == kSpiking && refractory == 0; }
  // Whether of the membranes those in the support are enough for the backward pass.
  bool few() const { return plain() && compact() && !keep && !lean && graph; }
};

// words: kind, reset, attached, refractory, own, family, keep, lean, dense, graph, places
// numbers: the surrogate's two shape parameters, the three crossovers, its gain, its peak
// own (the content of a user's surrogate, 0 for others) and peak (of unit slope; 0: the amplitude
// is slope times gain) are read in Python alone. They are arguments because torch finds a compiled
// gradient by the arguments, in another process too.
inline Words words_of(const std::vector<int64_t>& words, const std::vector<double>& numbers) {
  SG_CHECK(words.size() == 11 && numbers.size() == 7, "expected eleven words and seven numbers");
  SG_CHECK(words[0] == 0 || words[0] == kSpiking || words[0] == (kSpiking | kSynapse) ||
               words[0] == (kSpiking | kAdaptive),
           "unknown kind of neuron");
  SG_CHECK(words[1] >= 0 && words[1] <= 2, "unknown reset");
  SG_CHECK(is_family(words[5]), "unknown surrogate family");
  auto yes = [&](int k) { return words[k] != 0; };
  return {words[0],   words[1],
          words[3],   words[5],
          yes(2),     yes(6),
          yes(7),     yes(8),
          yes(9),     yes(10),
          numbers[0], numbers[1],
          numbers[5], {numbers[2], numbers[3], numbers[4]}};
}

// A user's own surrogate comes as its derivative at every membrane u.
inline void check_derivative(const Words& w, const Maybe& derivative, const Tensor& u) {
  const bool own = (w.kind & kSpiking) && Family{w.family} == Family::own;
  SG_CHECK(own == derivative.has_value(), "a derivative belongs to a user's own surrogate alone");
  SG_CHECK(!own || (derivative->numel() == u.numel() && derivative->is_contiguous() &&
                    derivative->scalar_type() == u.scalar_type()),
           "the derivative must have the shape and dtype of the membranes");
}

}  // namespace spikegrad
