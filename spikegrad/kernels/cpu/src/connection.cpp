// The operators of a connection alone: checks, the choice of the type of number, registration.
#include "connection_run.h"

namespace spikegrad {

void check_matrix(const Maybe& m, int64_t rows, int64_t columns, ScalarType dtype,
                  const char* what) {
  if (!m.has_value()) return;
  SG_CHECK(m->dim() == 2 && m->is_contiguous() && m->scalar_type() == dtype && m->size(0) == rows &&
               m->size(1) == columns,
           what);
}

void check_connection(const ConnectionCall& call, ScalarType dtype) {
  const Tensor& x = call.x;
  SG_CHECK(dtype == ScalarType::Float || dtype == ScalarType::Double,
           "numbers must be float32 or float64");
  const bool places = x.dim() == 1 && call.weight.has_value() && call.weight->dim() == 2 &&
                      call.in_bits.has_value() && call.in_bits->dim() == 3 &&
                      call.in_support.has_value();
  SG_CHECK((x.dim() == 3 || places) && x.scalar_type() == dtype, "x must be [T, B, I]");
  const auto [steps, batch, inputs] = call.sizes();
  SG_CHECK(steps > 0 && batch > 0 && inputs > 0, "x must be [T, B, I]");
  SG_CHECK(steps * batch < (int64_t{1} << 40) && inputs < (int64_t{1} << 31),
           "sizes beyond what a kernel counts");
  SG_CHECK(call.in_bits.has_value() || inputs <= 1 || x.stride(2) == 1,
           "x must be dense in its rows");
  SG_CHECK(call.in_bits.has_value() || !call.weight.has_value() || x.is_contiguous() ||
               (x.size(0) > 1 && x.stride(0) == 0 && (x.stride(1) == inputs || batch == 1)),
           "x must be contiguous or the same at every step");
  const int64_t outputs = call.outputs();
  check_matrix(call.weight, outputs, inputs, dtype, "the weight must be a contiguous [N, I]");
  SG_CHECK(!call.bias.has_value() || (call.bias->numel() == outputs && call.bias->is_contiguous() &&
                                      call.bias->scalar_type() == dtype),
           "the bias must be [N]");
  for (const Maybe* words : {&call.in_bits, &call.in_support})
    SG_CHECK(!words->has_value() ||
                 ((*words)->is_contiguous() && (*words)->scalar_type() == ScalarType::Long &&
                  (*words)->numel() == steps * batch * ((inputs + 63) / 64)),
             "bits must be int64 [T, B, words]");
}

int64_t ones_of(const Tensor& choice, const ConnectionCall& call) {
  SG_CHECK(choice.dim() == 1 && choice.numel() == 3 && choice.scalar_type() == ScalarType::Long &&
               choice.is_contiguous(),
           "a choice is three int64");
  const int64_t ones = call.in_bits.has_value() ? data<int64_t>(choice)[1] : -1;
  SG_CHECK(call.x.dim() == 3 || ones >= 0, "what stands at places alone is spikes");
  return ones;
}

namespace {

// A connection alone: what is the same at every step passes it once, before it comes here.
void check_alone(const ConnectionCall& call) {
  check_connection(call, call.x.scalar_type());
  SG_CHECK(call.in_bits.has_value() || call.x.is_contiguous(), "x must be contiguous");
}

Crossover crossover_of(const std::vector<double>& shares) {
  SG_CHECK(shares.size() == 3, "three crossovers");
  return {shares[0], shares[1], shares[2]};
}

// steady: an edge for autograd, for a gradient that is the same at every step.
std::tuple<Tensor, Tensor, Tensor> linear(const Tensor& x, const Maybe& in_bits,
                                          const Maybe& in_support, const Tensor& weight,
                                          const Maybe& bias, const std::vector<double>& shares,
                                          const Maybe& /*steady*/) {
  const Maybe given = weight;
  const ConnectionCall call{x, in_bits, in_support, given, bias, crossover_of(shares)};
  check_alone(call);
  const ConnectionResult r = x.scalar_type() == ScalarType::Double ? connection_call<double>(call)
                                                                   : connection_call<float>(call);
  return {r.y, r.packed, r.choice};
}

std::tuple<Tensor, Tensor, Tensor> linear_backward(const Tensor& grad_y, const Tensor& x,
                                                   const Maybe& in_bits, const Maybe& in_support,
                                                   const Tensor& weight, const Tensor& choice,
                                                   bool need_x, bool need_weight, bool once,
                                                   const std::vector<double>& shares) {
  const Maybe given = weight, nothing;
  const ConnectionCall all{x, in_bits, in_support, given, nothing, crossover_of(shares)};
  check_alone(all);
  const int64_t ones = ones_of(choice, all);
  const Sizes s = all.sizes();
  SG_CHECK(grad_y.dim() == 3 && grad_y.size(0) == s.steps && grad_y.size(1) == s.batch &&
               grad_y.size(2) == all.outputs() && grad_y.scalar_type() == x.scalar_type(),
           "the gradient must be [T, B, N]");
  const ConnectionCall call{x,       ones >= 0 ? in_bits : nothing, in_support, given,
                            nothing, crossover_of(shares)};
  const Needs needs{ones, need_x, need_weight, once};
  ConnectionGradients r = x.scalar_type() == ScalarType::Double
                              ? connection_backward_call<double>(call, needs, grad_y)
                              : connection_backward_call<float>(call, needs, grad_y);
  return {r.dx, r.dweight, r.dbias};
}

}  // namespace
}  // namespace spikegrad

STABLE_TORCH_LIBRARY_FRAGMENT(spikegrad, m) {
  m.def(
      "linear(Tensor x, Tensor? in_bits, Tensor? in_support, Tensor weight, Tensor? bias, "
      "float[] shares, Tensor? steady) -> (Tensor y, Tensor packed, Tensor choice)");
  m.def(
      "linear_backward(Tensor grad_y, Tensor x, Tensor? in_bits, Tensor? in_support, "
      "Tensor weight, Tensor choice, bool need_x, bool need_weight, bool once, float[] shares) -> "
      "(Tensor dx, Tensor dweight, Tensor dbias)");
}

STABLE_TORCH_LIBRARY_IMPL(spikegrad, CPU, m) {
  m.impl("linear", TORCH_BOX(&spikegrad::linear));
  m.impl("linear_backward", TORCH_BOX(&spikegrad::linear_backward));
}
