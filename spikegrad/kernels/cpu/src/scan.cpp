// The scans' operators: checks, the choice of the type of number, registration.
#include "scan_run.h"

namespace spikegrad {
namespace {

void check(const Tensor& x, const Tensor& params) {
  SG_CHECK(x.dim() == 3 && x.size(0) > 0, "x must be [T, B, N]");
  SG_CHECK(x.scalar_type() == ScalarType::Float || x.scalar_type() == ScalarType::Double,
           "x must be float32 or float64");
  SG_CHECK(x.stride(2) == 1 && x.stride(1) == x.size(2), "x must be dense in [B, N]");
  SG_CHECK(params.dim() == 2 && params.size(0) == kScanParams && params.is_contiguous() &&
               (params.size(1) == 1 || params.size(1) == x.size(2)),
           "parameters must be [10, 1 or N]");
  SG_CHECK(params.scalar_type() == x.scalar_type(), "parameters must have x's dtype");
}

Outputs scan_forward(const Tensor& x, const std::optional<Tensor>& i0,
                     const std::optional<Tensor>& v0, const std::optional<Tensor>& a0,
                     const std::optional<Tensor>& silent0, const Tensor& params,
                     const Tensor& /*slope*/, int64_t kind, int64_t reset, bool /*attached*/,
                     int64_t refractory, int64_t /*surrogate*/, bool keep) {
  check(x, params);
  for (const auto* state : {&i0, &v0, &a0, &silent0}) check_size(*state, x.size(1) * x.size(2));
  return x.scalar_type() == ScalarType::Double
             ? run_forward<double>(x, i0, v0, a0, silent0, params, kind, reset, refractory, keep)
             : run_forward<float>(x, i0, v0, a0, silent0, params, kind, reset, refractory, keep);
}

Gradients scan_backward(const std::optional<Tensor>& grad_s, const std::optional<Tensor>& grad_i,
                        const std::optional<Tensor>& grad_v, const std::optional<Tensor>& grad_a,
                        const std::optional<Tensor>& x, const Tensor& u, const std::optional<Tensor>& i,
                        const std::optional<Tensor>& a, const std::optional<Tensor>& ready,
                        const std::optional<Tensor>& i0, const std::optional<Tensor>& v0,
                        const Tensor& params, const Tensor& slope, const Tensor& amplitude,
                        double gain, const std::optional<Tensor>& derivative, int64_t kind,
                        int64_t reset, bool attached, int64_t family, double shape_a,
                        double shape_b, bool grads, bool grad_slope) {
  check(u, params);
  if (x.has_value()) check(*x, params);
  SG_CHECK(u.is_contiguous(), "u must be contiguous");
  SG_CHECK(x.has_value() || !grads, "parameter gradients need x");
  SG_CHECK(slope.size(0) == 1 || params.size(1) == slope.size(0),
           "per-neuron slopes need per-neuron parameters");
  auto run = u.scalar_type() == ScalarType::Double ? &run_backward<double> : &run_backward<float>;
  return run(grad_s, grad_i, grad_v, grad_a, x, u, i, a, ready, i0, v0, params, slope, amplitude,
             gain, derivative, kind, reset, attached, family, shape_a, shape_b, grads, grad_slope);
}

}  // namespace
}  // namespace spikegrad

STABLE_TORCH_LIBRARY_FRAGMENT(spikegrad, m) {
  m.def(
      "scan(Tensor x, Tensor? i0, Tensor? v0, Tensor? a0, Tensor? silent0, Tensor params, "
      "Tensor slope, int kind, int reset, bool attached, int refractory, int surrogate, bool keep) -> "
      "(Tensor s, Tensor u, Tensor i, Tensor a, Tensor ready, Tensor i_end, Tensor v_end, "
      "Tensor a_end, Tensor silent_end)");
  m.def(
      "scan_backward(Tensor? grad_s, Tensor? grad_i, Tensor? grad_v, Tensor? grad_a, Tensor? x, "
      "Tensor u, Tensor? i, Tensor? a, Tensor? ready, Tensor? i0, Tensor? v0, Tensor params, "
      "Tensor slope, Tensor amplitude, float gain, Tensor? derivative, int kind, int reset, "
      "bool attached, int family, float shape_a, float shape_b, bool grads, bool grad_slope) -> "
      "(Tensor dx, Tensor di0, Tensor dv0, Tensor da0, Tensor sums)");
}

STABLE_TORCH_LIBRARY_IMPL(spikegrad, CPU, m) {
  m.impl("scan", TORCH_BOX(&spikegrad::scan_forward));
  m.impl("scan_backward", TORCH_BOX(&spikegrad::scan_backward));
}
