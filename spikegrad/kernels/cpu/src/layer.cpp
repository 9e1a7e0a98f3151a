// The operators of a whole layer: checks, the choice of the type of number, registration.
#include "layer_run.h"

namespace spikegrad {
namespace {

using Layered = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor,
                           Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;
using LayerGradients =
    std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

void check_call(const ConnectionCall& in, const Maybe& feedback, const Maybe& first,
                const Tensor& params, const Tensor& slope) {
  const ScalarType dtype = params.scalar_type();
  check_connection(in, dtype);
  const int64_t batch = in.sizes().batch, outputs = in.outputs();
  check_matrix(feedback, outputs, outputs, dtype, "the feedback must be a contiguous [N, N]");
  SG_CHECK(!feedback.has_value() || outputs <= 65536, "feedback has at most 65,536 neurons");
  check_matrix(first, batch, outputs, dtype, "the first current must be a contiguous [B, N]");
  SG_CHECK(params.dim() == 2 && params.size(0) == kParams && params.is_contiguous() &&
               (params.size(1) == 1 || params.size(1) == outputs),
           "parameters must be [10, 1 or N]");
  SG_CHECK(slope.numel() == 1 || slope.numel() == outputs, "the slope must be [1 or N]");
}

Layered layer(const Tensor& x, const Maybe& in_bits, const Maybe& in_support, const Maybe& weight,
              const Maybe& bias, const Maybe& feedback, const Maybe& first, const Maybe& i0,
              const Maybe& v0, const Maybe& a0, const Maybe& silent0, const Tensor& params,
              const Tensor& slope, const std::vector<int64_t>& words,
              const std::vector<double>& numbers) {
  const Words w = words_of(words, numbers);
  const ConnectionCall in{x, in_bits, in_support, weight, bias, w.crossover};
  check_call(in, feedback, first, params, slope);
  const int64_t states = in.sizes().batch * in.outputs();
  for (const Maybe* state : {&i0, &v0, &a0, &silent0}) check_size(*state, states);
  SG_CHECK(weight.has_value() || x.stride(1) == x.size(2) || x.size(1) == 1,
           "a current must be dense in [B, N]");
  const ForwardCall call{in, feedback, first, i0, v0, a0, silent0, params, slope, w};
  ForwardResult r = params.scalar_type() == ScalarType::Double ? layer_forward_call<double>(call)
                                                               : layer_forward_call<float>(call);
  return {r.y,      r.last,  r.u,     r.i,     r.a,     r.ready,      r.current, r.bits,  r.support,
          r.packed, r.marks, r.i_end, r.v_end, r.a_end, r.silent_end, r.choice,  r.steady};
}

LayerGradients layer_backward(const Maybe& grad_y, const Maybe& grad_last, const Maybe& grad_i,
                              const Maybe& grad_v, const Maybe& grad_a, const Tensor& x,
                              const Maybe& in_bits, const Maybe& in_support, const Maybe& weight,
                              const Maybe& bias, const Maybe& feedback, const Maybe& first,
                              const Maybe& v0, const Tensor& params, const Tensor& slope,
                              const Tensor& amplitude, const Maybe& derivative, const Tensor& u,
                              const Tensor& i, const Tensor& a, const Tensor& ready,
                              const Tensor& current, const Tensor& bits, const Tensor& support,
                              const Tensor& marks, const Tensor& choice, bool grad_slope,
                              bool need_x, bool need_weight, bool need_feedback, bool need_first,
                              const std::vector<int64_t>& words, const std::vector<double>& numbers,
                              const Maybe& grad_steady) {
  const Words w = words_of(words, numbers);
  const ConnectionCall all{x, in_bits, in_support, weight, bias, w.crossover};
  check_call(all, feedback, first, params, slope);
  SG_CHECK(slope.numel() == 1 || slope.numel() == params.size(1) || params.size(1) == 1,
           "slopes must fit the parameters");
  check_derivative(w, derivative, u);
  check_matrix(grad_steady, all.sizes().batch, all.outputs(), params.scalar_type(),
               "the gradient of every step must be a contiguous [B, N]");
  // Bits that were made of numbers which are no spikes say nothing.
  const Maybe nothing;
  const int64_t ones = ones_of(choice, all);
  const BackwardCall call{{x, ones >= 0 ? in_bits : nothing, in_support, weight, bias, w.crossover},
                          {ones, need_x, need_weight},
                          grad_y,
                          grad_last,
                          grad_i,
                          grad_v,
                          grad_a,
                          grad_steady,
                          feedback,
                          first,
                          v0,
                          params,
                          slope,
                          amplitude,
                          derivative,
                          u,
                          i,
                          a,
                          ready,
                          current,
                          bits,
                          support,
                          marks,
                          grad_slope,
                          need_feedback,
                          need_first,
                          w};
  BackwardResult r = params.scalar_type() == ScalarType::Double ? layer_backward_call<double>(call)
                                                                : layer_backward_call<float>(call);
  return {r.dx, r.dweight, r.dbias, r.dfeedback, r.dfirst, r.di0, r.dv0, r.da0, r.sums};
}

}  // namespace
}  // namespace spikegrad

STABLE_TORCH_LIBRARY_FRAGMENT(spikegrad, m) {
  m.def(
      "layer(Tensor x, Tensor? in_bits, Tensor? in_support, Tensor? weight, Tensor? bias, "
      "Tensor? feedback, Tensor? first, Tensor? i0, Tensor? v0, Tensor? a0, Tensor? silent0, "
      "Tensor params, Tensor slope, int[] words, float[] numbers) -> "
      "(Tensor y, Tensor last, Tensor u, Tensor i, Tensor a, Tensor ready, Tensor current, "
      "Tensor bits, Tensor support, Tensor packed, Tensor marks, Tensor i_end, Tensor v_end, "
      "Tensor a_end, Tensor silent_end, Tensor choice, Tensor steady)");
  m.def(
      "layer_backward(Tensor? grad_y, Tensor? grad_last, Tensor? grad_i, Tensor? grad_v, "
      "Tensor? grad_a, Tensor x, Tensor? in_bits, Tensor? in_support, Tensor? weight, "
      "Tensor? bias, Tensor? feedback, Tensor? first, Tensor? v0, Tensor params, Tensor slope, "
      "Tensor amplitude, Tensor? derivative, Tensor u, Tensor i, Tensor a, "
      "Tensor ready, Tensor current, Tensor bits, Tensor support, Tensor marks, Tensor choice, "
      "bool grad_slope, "
      "bool need_x, bool need_weight, bool need_feedback, bool need_first, int[] words, "
      "float[] numbers, Tensor? grad_steady) -> "
      "(Tensor dx, Tensor dweight, Tensor dbias, Tensor dfeedback, Tensor dfirst, Tensor di0, "
      "Tensor dv0, Tensor da0, Tensor sums)");
}

STABLE_TORCH_LIBRARY_IMPL(spikegrad, CPU, m) {
  m.impl("layer", TORCH_BOX(&spikegrad::layer));
  m.impl("layer_backward", TORCH_BOX(&spikegrad::layer_backward));
}
