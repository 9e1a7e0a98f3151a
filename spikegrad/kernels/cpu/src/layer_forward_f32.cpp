// Whole layers forward in float.
#include "layer_forward.h"

namespace spikegrad {

extern template class Connection<float>;
template LayerRun<float> forward_of<float>(const Words& words);
template ForwardResult layer_forward_call<float>(const ForwardCall& call);

}  // namespace spikegrad
