// Whole layers forward in double.
#include "layer_forward.h"

namespace spikegrad {

extern template class Connection<double>;
template LayerRun<double> forward_of<double>(const Words& words);
template ForwardResult layer_forward_call<double>(const ForwardCall& call);

}  // namespace spikegrad
