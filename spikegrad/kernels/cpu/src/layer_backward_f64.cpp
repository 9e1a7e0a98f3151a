// Whole layers back through time in double.
#include "layer_backward.h"

namespace spikegrad {

extern template class Connection<double>;
extern template struct ConnectionBack<double>;
extern template LayerRun<double> forward_of<double>(const Words& words);
extern template ForwardResult layer_forward_call<double>(const ForwardCall& call);
template BackwardResult layer_backward_call<double>(const BackwardCall& call);

}  // namespace spikegrad
