// The scans in float.
#include "scan_typed.h"

namespace spikegrad {

template ScanOutputs scan_forward_call<float>(const ScanForward& call);
template ScanGradients scan_backward_call<float>(const ScanBackward& call);

}  // namespace spikegrad
