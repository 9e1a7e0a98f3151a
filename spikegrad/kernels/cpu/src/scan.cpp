// The scans' operators: checks, the choice of the type of number, registration.
#include "scan_run.h"

namespace spikegrad {
namespace {

using Scanned = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor,
                           Tensor, Tensor>;
using ScannedBack = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor>;

void check(const Tensor& x, const Tensor& params) {
  SG_CHECK(x.dim() == 3 && x.size(0) > 0, "x must be [T, B, N]");
  SG_CHECK(x.scalar_type() == ScalarType::Float || x.scalar_type() == ScalarType::Double,
           "x must be float32 or float64");
  SG_CHECK(x.stride(2) == 1 && x.stride(1) == x.size(2), "x must be dense in [B, N]");
  SG_CHECK(params.dim() == 2 && params.size(0) == kParams && params.is_contiguous() &&
               (params.size(1) == 1 || params.size(1) == x.size(2)),
           "parameters must be [10, 1 or N]");
  SG_CHECK(params.scalar_type() == x.scalar_type(), "parameters must have x's dtype");
}
void check_slope(const Tensor& slope, const Tensor& params) {
  SG_CHECK(slope.size(0) == 1 || params.size(1) == slope.size(0),
           "per-neuron slopes need per-neuron parameters");
}

Scanned scan_forward(const Tensor& x, const Maybe& i0, const Maybe& v0, const Maybe& a0,
                     const Maybe& silent0, const Tensor& params, const Tensor& slope,
                     const std::vector<int64_t>& words, const std::vector<double>& numbers) {
  check(x, params);
  check_slope(slope, params);
  for (const Maybe* state : {&i0, &v0, &a0, &silent0}) check_size(*state, x.size(1) * x.size(2));
  const ScanForward call{x, i0, v0, a0, silent0, params, slope, words_of(words, numbers)};
  ScanOutputs r = x.scalar_type() == ScalarType::Double ? scan_forward_call<double>(call)
                                                        : scan_forward_call<float>(call);
  return {r.s, r.u, r.i, r.a, r.ready, r.support, r.bits, r.i_end, r.v_end, r.a_end, r.silent_end};
}

ScannedBack scan_backward(const Maybe& grad_s, const Maybe& grad_i, const Maybe& grad_v,
                          const Maybe& grad_a, const Maybe& x, const Tensor& u, const Maybe& i,
                          const Maybe& a, const Maybe& ready, const Maybe& support,
                          const Maybe& bits, const Maybe& i0, const Maybe& v0, const Tensor& params,
                          const Tensor& slope, const Tensor& amplitude, const Maybe& derivative,
                          const std::vector<int64_t>& sizes, bool grad_slope,
                          const std::vector<int64_t>& words, const std::vector<double>& numbers) {
  const Words w = words_of(words, numbers);
  SG_CHECK(sizes.size() == 3, "sizes must be T, B and N");
  if (!w.few()) check(u, params);
  if (x.has_value()) check(*x, params);
  SG_CHECK(u.is_contiguous(), "u must be contiguous");
  SG_CHECK(x.has_value() || !w.keep, "parameter gradients need x");
  check_slope(slope, params);
  check_derivative(w, derivative, u);
  const ScanBackward call{grad_s,   grad_i,   grad_v,     grad_a,    x,          u,
                          i,        a,        ready,      support,   bits,       i0,
                          v0,       params,   slope,      amplitude, derivative, sizes[0],
                          sizes[1], sizes[2], grad_slope, w};
  ScanGradients r = u.scalar_type() == ScalarType::Double ? scan_backward_call<double>(call)
                                                          : scan_backward_call<float>(call);
  return {r.dx, r.di0, r.dv0, r.da0, r.sums};
}

}  // namespace
}  // namespace spikegrad

STABLE_TORCH_LIBRARY_FRAGMENT(spikegrad, m) {
  m.def(
      "scan(Tensor x, Tensor? i0, Tensor? v0, Tensor? a0, Tensor? silent0, Tensor params, "
      "Tensor slope, int[] words, float[] numbers) -> "
      "(Tensor s, Tensor u, Tensor i, Tensor a, Tensor ready, Tensor support, Tensor bits, "
      "Tensor i_end, Tensor v_end, Tensor a_end, Tensor silent_end)");
  m.def(
      "scan_backward(Tensor? grad_s, Tensor? grad_i, Tensor? grad_v, Tensor? grad_a, Tensor? x, "
      "Tensor u, Tensor? i, Tensor? a, Tensor? ready, Tensor? support, Tensor? bits, Tensor? i0, "
      "Tensor? v0, Tensor params, Tensor slope, Tensor amplitude, Tensor? derivative, "
      "int[] sizes, bool grad_slope, int[] words, float[] numbers) -> "
      "(Tensor dx, Tensor di0, Tensor dv0, Tensor da0, Tensor sums)");
}

STABLE_TORCH_LIBRARY_IMPL(spikegrad, CPU, m) {
  m.impl("scan", TORCH_BOX(&spikegrad::scan_forward));
  m.impl("scan_backward", TORCH_BOX(&spikegrad::scan_backward));
}
