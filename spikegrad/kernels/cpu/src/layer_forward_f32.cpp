// Whole layers forward in float.
#include "layer_forward.h"

namespace spikegrad {

template LayerRun<float> forward_of<float>(int64_t kind, int64_t reset, bool silent);
template ForwardResult layer_forward_call<float>(const ForwardCall& call);

}  // namespace spikegrad
