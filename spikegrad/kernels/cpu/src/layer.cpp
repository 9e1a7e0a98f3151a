// The operators of a whole layer: checks, the choice of the type of number, registration.
#include "layer_run.h"

namespace spikegrad {
namespace {

using Layered =
    std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor,
               Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;
using LayerGradients =
    std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

void check_matrix(const Maybe& m, int64_t rows, int64_t columns, ScalarType dtype,
                  const char* what) {
  if (!m.has_value()) return;
  SG_CHECK(m->dim() == 2 && m->is_contiguous() && m->scalar_type() == dtype &&
               m->size(0) == rows && m->size(1) == columns,
           what);
}

void check_call(const Tensor& x, const Maybe& in_bits, const Maybe& in_support, const Maybe& weight,
                const Maybe& bias, const Maybe& feedback, const Maybe& first, const Tensor& params,
                const Tensor& slope) {
  const ScalarType dtype = params.scalar_type();
  SG_CHECK(dtype == ScalarType::Float || dtype == ScalarType::Double,
           "numbers must be float32 or float64");
  const bool places = x.dim() == 1 && weight.has_value() && weight->dim() == 2 &&
                      in_bits.has_value() && in_bits->dim() == 3 && in_support.has_value();
  SG_CHECK((x.dim() == 3 || places) && x.scalar_type() == dtype, "x must be [T, B, I]");
  const auto [steps, batch, inputs] = sizes_of(x, in_bits, weight);
  SG_CHECK(steps > 0 && batch > 0, "x must be [T, B, I]");
  SG_CHECK(steps * batch < (int64_t{1} << 40) && inputs < (int64_t{1} << 31),
           "sizes beyond what a kernel counts");
  SG_CHECK(in_bits.has_value() || inputs <= 1 || x.stride(2) == 1, "x must be dense in its rows");
  const int64_t outputs = weight.has_value() ? weight->size(0) : inputs;
  check_matrix(weight, outputs, inputs, dtype, "the weight must be a contiguous [N, I]");
  check_matrix(feedback, outputs, outputs, dtype, "the feedback must be a contiguous [N, N]");
  SG_CHECK(!feedback.has_value() || outputs <= 65536, "feedback has at most 65,536 neurons");
  check_matrix(first, batch, outputs, dtype, "the first current must be a contiguous [B, N]");
  SG_CHECK(!bias.has_value() || (bias->numel() == outputs && bias->is_contiguous() &&
                                 bias->scalar_type() == dtype),
           "the bias must be [N]");
  for (const Maybe* words : {&in_bits, &in_support})
    SG_CHECK(!words->has_value() ||
                 ((*words)->is_contiguous() && (*words)->scalar_type() == ScalarType::Long &&
                  (*words)->numel() == steps * batch * ((inputs + 63) / 64)),
             "bits must be int64 [T, B, words]");
  SG_CHECK(params.dim() == 2 && params.size(0) == kParams && params.is_contiguous() &&
               (params.size(1) == 1 || params.size(1) == outputs),
           "parameters must be [10, 1 or N]");
  SG_CHECK(slope.numel() == 1 || slope.numel() == outputs, "the slope must be [1 or N]");
}

Layered layer(const Tensor& x, const Maybe& in_bits, const Maybe& in_support, const Maybe& weight,
              const Maybe& bias, const Maybe& feedback, const Maybe& first, const Maybe& i0,
              const Maybe& v0, const Maybe& a0, const Maybe& silent0, const Tensor& params,
              const Tensor& slope, const std::vector<int64_t>& words,
              const std::vector<double>& numbers, const Maybe& /*steady*/) {
  check_call(x, in_bits, in_support, weight, bias, feedback, first, params, slope);
  const auto [steps, batch, inputs] = sizes_of(x, in_bits, weight);
  const int64_t states = batch * (weight.has_value() ? weight->size(0) : inputs);
  for (const Maybe* state : {&i0, &v0, &a0, &silent0}) check_size(*state, states);
  SG_CHECK(weight.has_value() || x.stride(1) == x.size(2) || x.size(1) == 1,
           "a current must be dense in [B, N]");
  SG_CHECK(in_bits.has_value() || !weight.has_value() || x.is_contiguous() ||
               (x.size(0) > 1 && x.stride(0) == 0),
           "x must be contiguous or the same at every step");
  const ForwardCall call{
      x,     in_bits,      weight, bias,
      feedback, first,     i0,     v0,
      a0,    silent0,      params, slope,
      words_of(words, numbers)};
  ForwardResult r = params.scalar_type() == ScalarType::Double ? layer_forward_call<double>(call)
                                                               : layer_forward_call<float>(call);
  return {r.y,       r.last,   r.u,     r.i,     r.a,     r.ready,      r.current, r.bits,
          r.support, r.packed, r.marks, r.i_end, r.v_end, r.a_end, r.silent_end, r.choice,
          r.steady};
}

LayerGradients layer_backward(
    const Maybe& grad_y, const Maybe& grad_last, const Maybe& grad_i, const Maybe& grad_v,
    const Maybe& grad_a, const Tensor& x, const Maybe& in_bits, const Maybe& in_support,
    const Maybe& weight, const Maybe& bias, const Maybe& feedback, const Maybe& first,
    const Maybe& v0, const Tensor& params, const Tensor& slope, const Tensor& amplitude, double gain,
    const Maybe& derivative, const Tensor& u, const Tensor& i, const Tensor& a, const Tensor& ready,
    const Tensor& current, const Tensor& bits, const Tensor& support, const Tensor& marks,
    const Tensor& choice, bool grad_slope, bool need_x, bool need_weight, bool need_feedback, bool need_first,
    const std::vector<int64_t>& words, const std::vector<double>& numbers,
    const Maybe& grad_steady) {
  check_call(x, in_bits, in_support, weight, bias, feedback, first, params, slope);
  SG_CHECK(slope.numel() == 1 || slope.numel() == params.size(1) || params.size(1) == 1,
           "slopes must fit the parameters");
  const Sizes sizes = sizes_of(x, in_bits, weight);
  check_matrix(grad_steady, sizes.batch, weight.has_value() ? weight->size(0) : sizes.inputs,
               params.scalar_type(),
               "the gradient of every step must be a contiguous [B, N]");
  const BackwardCall call{grad_y,
                          grad_last,
                          grad_i,
                          grad_v,
                          grad_a,
                          x,
                          in_bits,
                          in_support,
                          weight,
                          bias,
                          feedback,
                          first,
                          v0,
                          params,
                          slope,
                          amplitude,
                          gain,
                          derivative,
                          u,
                          i,
                          a,
                          ready,
                          current,
                          bits,
                          support,
                          marks,
                          in_bits.has_value() ? data<int64_t>(choice)[1] : -1,
                          grad_slope,
                          need_x,
                          need_weight,
                          need_feedback,
                          need_first,
                          words_of(words, numbers),
                          grad_steady};
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
      "Tensor params, Tensor slope, int[] words, float[] numbers, Tensor? steady) -> "
      "(Tensor y, Tensor last, Tensor u, Tensor i, Tensor a, Tensor ready, Tensor current, "
      "Tensor bits, Tensor support, Tensor packed, Tensor marks, Tensor i_end, Tensor v_end, "
      "Tensor a_end, Tensor silent_end, Tensor choice, Tensor steady)");
  m.def(
      "layer_backward(Tensor? grad_y, Tensor? grad_last, Tensor? grad_i, Tensor? grad_v, "
      "Tensor? grad_a, Tensor x, Tensor? in_bits, Tensor? in_support, Tensor? weight, "
      "Tensor? bias, Tensor? feedback, Tensor? first, Tensor? v0, Tensor params, Tensor slope, "
      "Tensor amplitude, float gain, Tensor? derivative, Tensor u, Tensor i, Tensor a, "
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
