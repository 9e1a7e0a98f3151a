// Whole layers back through time in float.
#include "layer_backward.h"

namespace spikegrad {

extern template class Connection<float>;
extern template struct ConnectionBack<float>;
extern template LayerRun<float> forward_of<float>(const Words& words);
extern template ForwardResult layer_forward_call<float>(const ForwardCall& call);
template BackwardResult layer_backward_call<float>(const BackwardCall& call);

}  // namespace spikegrad
