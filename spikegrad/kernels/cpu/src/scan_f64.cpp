// The scans in double.
#include "scan_typed.h"

namespace spikegrad {

template ScanOutputs scan_forward_call<double>(const ScanForward& call);
template ScanGradients scan_backward_call<double>(const ScanBackward& call);

}  // namespace spikegrad
