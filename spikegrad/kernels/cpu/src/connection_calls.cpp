// The calls of a connection alone.
#include "connection_backward.h"

namespace spikegrad {

template <class T>
ConnectionResult connection_call(const ConnectionCall& call) {
  Connection<T> connection(call);
  ConnectionResult r;
  r.choice = connection.choose(call, r.packed).told();
  r.y = connection.all();
  return r;
}

template <class T>
ConnectionGradients connection_backward_call(const ConnectionCall& call, const Needs& needs,
                                             const Tensor& grad_y) {
  ConnectionBack<T> back(call, needs, false, segment_steps(call.sizes().batch));
  back.from(grad_y);
  return back.finish();
}

template ConnectionResult connection_call<float>(const ConnectionCall&);
template ConnectionResult connection_call<double>(const ConnectionCall&);
template ConnectionGradients connection_backward_call<float>(const ConnectionCall&, const Needs&,
                                                             const Tensor&);
template ConnectionGradients connection_backward_call<double>(const ConnectionCall&, const Needs&,
                                                              const Tensor&);

}  // namespace spikegrad
