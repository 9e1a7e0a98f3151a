// The table of loaded programs.
#include "programs.h"

#include "step.h"

#include <mutex>
#include <unordered_map>

namespace spikegrad {
namespace {

struct Programs {
  std::mutex mutex;
  std::unordered_map<int64_t, Program> known;  // whose elements stay where they are
};
Programs& programs() {
  static Programs* all = new Programs;  // for as long as the process: threads may outlive main
  return *all;
}

void step_register(int64_t key, const std::vector<int64_t>& numbers) {
  SG_CHECK(numbers.size() * sizeof(int64_t) == sizeof(Program), "a program of another release");
  Program p;
  std::memcpy(&p, numbers.data(), sizeof(Program));
  for (int64_t number : {p.states, p.smooth, p.parameters, p.learned, p.reals, p.masks})
    SG_CHECK(number >= 0 && number < 256, "a program has between 0 and 255 of everything");
  SG_CHECK(p.inputs > 0 && p.inputs < 256 && p.outputs > 0 && p.outputs <= kMostOutputs,
           "a program has inputs, and one or two outputs");
  SG_CHECK(p.states >= p.smooth && p.parameters >= p.learned, "more gradients than values");
  SG_CHECK(p.lanes == (p.wide ? kLanes<double> : kLanes<float>),
           "made for another instruction set");
  SG_CHECK(p.block >= 0 && p.block <= 1 << 16 && p.block % p.lanes == 0,
           "a block of whole vectors");
  SG_CHECK(!p.within || (p.support && p.reals == 1), "numbers in the support are of one kind");
  std::lock_guard<std::mutex> guard(programs().mutex);
  programs().known.try_emplace(key, p);
}

}  // namespace

const Program& program_of(int64_t key) {
  std::lock_guard<std::mutex> guard(programs().mutex);
  const auto found = programs().known.find(key);
  SG_CHECK(found != programs().known.end(),
           "expected a neuron whose program this process has loaded, got a graph made with another "
           "one; call the network once without the saved graph");
  return found->second;
}

STABLE_TORCH_LIBRARY_IMPL(spikegrad, CompositeExplicitAutograd, m) {
  m.impl("step_register", TORCH_BOX(&step_register));
}

}  // namespace spikegrad
