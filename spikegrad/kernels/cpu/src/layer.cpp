// The operators of a whole layer: checks, the choice of the type of number, registration.
#include "layer_run.h"

namespace spikegrad {
namespace {

using Layered = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor,
                           Tensor, Tensor, Tensor>;
using LayerGradients = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

void check_call(const Program& p, const ConnectionCall& in, const Maybe& feedback,
                const Maybe& first, const Tensor& states, const Tensor& params) {
  const ScalarType dtype = params.scalar_type();
  check_connection(in, dtype);
  SG_CHECK(p.wide == (dtype == ScalarType::Double), "a program of another dtype");
  const int64_t batch = in.sizes().batch, outputs = in.outputs();
  check_matrix(feedback, outputs, outputs, dtype, "the feedback must be a contiguous [N, N]");
  SG_CHECK(!feedback.has_value() || outputs <= 65536, "feedback has at most 65,536 neurons");
  SG_CHECK(!feedback.has_value() || p.spikes, "feedback is of spikes");
  check_matrix(first, batch, outputs, dtype, "the first current must be a contiguous [B, N]");
  SG_CHECK(states.dim() == 3 && states.is_contiguous() && states.size(0) == p.states &&
               (states.size(1) == 1 || states.size(1) == batch) &&
               (states.size(2) == 1 || states.size(2) == outputs) && states.scalar_type() == dtype,
           "states must be [states, 1 or B, 1 or N]");
  SG_CHECK(params.dim() == 2 && params.is_contiguous() && params.size(0) == p.parameters &&
               params.size(1) == (p.each ? outputs : 1),
           "parameters must be [parameters, 1 or N]");
}

Layered layer(int64_t program, const Tensor& x, const Maybe& in_bits, const Maybe& in_support,
              const Maybe& weight, const Maybe& bias, const Maybe& feedback, const Maybe& first,
              const Tensor& states, const Tensor& params, bool keep, bool lean, bool dense,
              bool places, double most_forward, double most_weight, double most_input) {
  const Program& p = program_of(program);
  const ConnectionCall in{x,      in_bits, in_support,
                          weight, bias,    {most_forward, most_weight, most_input}};
  check_call(p, in, feedback, first, states, params);
  SG_CHECK(weight.has_value() || x.stride(1) == x.size(2) || x.size(1) == 1,
           "a current must be dense in [B, N]");
  SG_CHECK(!places || (p.support && p.spikes && !dense), "places are of bits with a support");
  const ForwardCall call{p, in, feedback, first, states, params, {keep, lean, dense, places}};
  ForwardResult r = p.wide ? layer_forward_call<double>(call) : layer_forward_call<float>(call);
  return {r.y,       r.last,   r.reals, r.masks, r.current, r.bits,
          r.support, r.packed, r.marks, r.ends,  r.choice,  r.steady};
}

void check_kept(const Program& p, const BackwardCall& call) {
  const int64_t rows = call.in.sizes().steps * call.in.sizes().batch;
  const int64_t tiles = (call.in.outputs() + 63) / 64;
  const int64_t words = call.lean ? 0 : tiles * rows;
  SG_CHECK(call.reals.numel() == p.reals * words * 64 && call.masks.numel() == p.masks * words &&
               call.current.numel() == (p.reads_input ? words * 64 : 0),
           "kept values of another call");
  const bool bits = p.spikes && (p.reads_spikes || call.lean || call.feedback.has_value());
  SG_CHECK(!bits || call.bits.numel() == tiles * rows, "expected the words of the spikes");
  SG_CHECK(!(p.reads_support || p.within) || call.support.numel() == tiles * rows,
           "expected the words of the support");
}

LayerGradients layer_backward(int64_t program, const Maybe& grad_y, const Maybe& grad_last,
                              const Maybe& grad_ends, const Maybe& grad_steady, const Tensor& x,
                              const Maybe& in_bits, const Maybe& in_support, const Maybe& weight,
                              const Maybe& bias, const Maybe& feedback, const Maybe& first,
                              const Tensor& states, const Tensor& params, const Tensor& reals,
                              const Tensor& masks, const Tensor& current, const Tensor& bits,
                              const Tensor& support, const Tensor& marks, const Tensor& choice,
                              bool need_x, bool need_weight, bool need_feedback, bool need_first,
                              bool lean, double most_forward, double most_weight,
                              double most_input) {
  const Program& p = program_of(program);
  const Crossover crossover{most_forward, most_weight, most_input};
  const ConnectionCall all{x, in_bits, in_support, weight, bias, crossover};
  check_call(p, all, feedback, first, states, params);
  const int64_t batch = all.sizes().batch, outputs = all.outputs();
  for (const Maybe* one : {&grad_steady, &grad_last})
    check_matrix(*one, batch, outputs, params.scalar_type(),
                 "gradients of one step must be a contiguous [B, N]");
  check_size(grad_ends, p.smooth * batch * outputs);
  // Bits that were made of numbers which are no spikes say nothing.
  const Maybe nothing;
  const int64_t ones = ones_of(choice, all);
  const BackwardCall call{p,
                          {x, ones >= 0 ? in_bits : nothing, in_support, weight, bias, crossover},
                          {ones, need_x, need_weight},
                          grad_y,
                          grad_last,
                          grad_ends,
                          grad_steady,
                          feedback,
                          first,
                          states,
                          params,
                          reals,
                          masks,
                          current,
                          bits,
                          support,
                          marks,
                          need_feedback,
                          need_first,
                          lean};
  check_kept(p, call);
  BackwardResult r = p.wide ? layer_backward_call<double>(call) : layer_backward_call<float>(call);
  return {r.dx, r.dweight, r.dbias, r.dfeedback, r.dfirst, r.dstates, r.sums};
}

}  // namespace
}  // namespace spikegrad

STABLE_TORCH_LIBRARY_FRAGMENT(spikegrad, m) {
  m.def(
      "layer(int program, Tensor x, Tensor? in_bits, Tensor? in_support, Tensor? weight, "
      "Tensor? bias, Tensor? feedback, Tensor? first, Tensor states, Tensor params, bool keep, "
      "bool lean, bool dense, bool places, float most_forward, float most_weight, "
      "float most_input) -> "
      "(Tensor y, Tensor last, Tensor reals, Tensor masks, Tensor current, Tensor bits, "
      "Tensor support, Tensor packed, Tensor marks, Tensor ends, Tensor choice, Tensor steady)");
  m.def(
      "layer_backward(int program, Tensor? grad_y, Tensor? grad_last, Tensor? grad_ends, "
      "Tensor? grad_steady, Tensor x, Tensor? in_bits, Tensor? in_support, Tensor? weight, "
      "Tensor? bias, Tensor? feedback, Tensor? first, Tensor states, Tensor params, Tensor reals, "
      "Tensor masks, Tensor current, Tensor bits, Tensor support, Tensor marks, Tensor choice, "
      "bool need_x, bool need_weight, bool need_feedback, bool need_first, bool lean, "
      "float most_forward, float most_weight, float most_input) -> "
      "(Tensor dx, Tensor dweight, Tensor dbias, Tensor dfeedback, Tensor dfirst, "
      "Tensor dstates, Tensor sums)");
}

STABLE_TORCH_LIBRARY_IMPL(spikegrad, CPU, m) {
  m.impl("layer", TORCH_BOX(&spikegrad::layer));
  m.impl("layer_backward", TORCH_BOX(&spikegrad::layer_backward));
}
