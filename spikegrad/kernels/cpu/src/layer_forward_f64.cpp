// Whole layers forward in double.
#include "layer_forward.h"

namespace spikegrad {

template LayerRun<double> forward_of<double>(int64_t kind, int64_t reset, bool silent);
template ForwardResult layer_forward_call<double>(const ForwardCall& call);

}  // namespace spikegrad
