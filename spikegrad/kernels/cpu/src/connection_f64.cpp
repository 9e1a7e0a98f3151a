// Connections in double.
#include "connection_calls.h"

namespace spikegrad {

template class Connection<double>;
template struct ConnectionBack<double>;
template ConnectionResult connection_call<double>(const ConnectionCall& call);
template ConnectionGradients connection_backward_call<double>(const ConnectionCall& call,
                                                              const Needs& needs,
                                                              const Tensor& grad_y);

}  // namespace spikegrad
