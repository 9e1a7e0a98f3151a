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

void step_register(int64_t key, int64_t forward, int64_t backward, int64_t states, int64_t smooth,
                   int64_t parameters, int64_t learned, int64_t reals, int64_t masks,
                   int64_t inputs, int64_t outputs, bool noise, bool reads_input, bool spikes,
                   bool support, bool within, bool reads_spikes, bool reads_support, bool each,
                   bool wide, int64_t lanes, int64_t block) {
  for (int64_t number : {states, smooth, parameters, learned, reals, masks})
    SG_CHECK(number >= 0 && number < 256, "a program has between 0 and 255 of everything");
  SG_CHECK(inputs > 0 && inputs < 256 && outputs > 0 && outputs <= kMostOutputs,
           "a program has inputs, and one or two outputs");
  SG_CHECK(states >= smooth && parameters >= learned, "more gradients than values");
  SG_CHECK(lanes == (wide ? kLanes<double> : kLanes<float>), "made for another instruction set");
  SG_CHECK(block >= 0 && block <= 1 << 16 && block % lanes == 0, "a block of whole vectors");
  SG_CHECK(!within || (support && reals == 1), "numbers in the support are of one kind");
  std::lock_guard<std::mutex> guard(programs().mutex);
  programs().known.try_emplace(
      key, Program{forward, backward,     states,        smooth, parameters,  learned, reals,
                   masks,   inputs,       outputs,       noise,  reads_input, spikes,  support,
                   within,  reads_spikes, reads_support, each,   wide,        lanes,   block});
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

STABLE_TORCH_LIBRARY_FRAGMENT(spikegrad, m) {
  m.def(
      "step_register(int key, int forward, int backward, int states, int smooth, int parameters, "
      "int learned, int reals, int masks, int inputs, int outputs, bool noise, bool reads_input, "
      "bool spikes, bool support, "
      "bool within, bool reads_spikes, bool reads_support, bool each, bool wide, int lanes, int "
      "block) -> ()");
}
STABLE_TORCH_LIBRARY_IMPL(spikegrad, CompositeExplicitAutograd, m) {
  m.impl("step_register", TORCH_BOX(&step_register));
}

}  // namespace spikegrad
