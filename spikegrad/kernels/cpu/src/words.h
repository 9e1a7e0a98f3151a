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
  double shape_a, shape_b;
  Crossover crossover;

  bool compact() const {
    return Family{family} == Family::triangle || Family{family} == Family::boxcar;
  }
  // IF and LIF without a refractory period: the steps of tile.h.
  bool plain() const { return kind == kSpiking && refractory == 0; }
  // Whether of the membranes those in the support are enough for the backward pass.
  bool few() const { return plain() && compact() && !keep && !lean && graph; }
};

// words: kind, reset, attached, refractory, surrogate, family, keep, lean, dense, graph, places
// numbers: the surrogate's two shape parameters, the three crossovers
inline Words words_of(const std::vector<int64_t>& words, const std::vector<double>& numbers) {
  SG_CHECK(words.size() == 11 && numbers.size() == 5, "eleven words and five numbers");
  auto yes = [&](int k) { return words[k] != 0; };
  return {words[0],
          words[1],
          words[3],
          words[5],
          yes(2),
          yes(6),
          yes(7),
          yes(8),
          yes(9),
          yes(10),
          numbers[0],
          numbers[1],
          {numbers[2], numbers[3], numbers[4]}};
}

}  // namespace spikegrad
