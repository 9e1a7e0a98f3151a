// Connections in float.
#include "connection_calls.h"

namespace spikegrad {

template class Connection<float>;
template struct ConnectionBack<float>;
template ConnectionResult connection_call<float>(const ConnectionCall& call);
template ConnectionGradients connection_backward_call<float>(const ConnectionCall& call,
                                                             const Needs& needs,
                                                             const Tensor& grad_y);

}  // namespace spikegrad
