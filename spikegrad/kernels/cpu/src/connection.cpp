// The operators of a connection alone, and the checks of all connections.
#include "connection_backward.h"

namespace spikegrad {

void check_connection(const ConnectionCall& call, ScalarType dtype) {
  const Tensor& x = call.x;
  const bool places = x.dim() == 1 && call.weight.has_value() && call.weight->dim() == 2 &&
                      call.in_bits.has_value() && call.in_bits->dim() == 3 &&
                      call.in_support.has_value();
  SG_CHECK((x.dim() == 3 || places) && x.scalar_type() == dtype, "x must be [T, B, I]");
  const auto [steps, batch, inputs, outputs] = call.sizes();
  SG_CHECK(steps > 0 && batch > 0 && inputs > 0, "x must be [T, B, I]");
  SG_CHECK(steps * batch < (int64_t{1} << 40) && inputs < (int64_t{1} << 31),
           "sizes beyond what a kernel counts");
  // A backward pass reads no current: one of a single zero stands for its shape.
  const bool shape_alone = !call.weight.has_value() && x.dim() == 3 && x.stride(2) == 0;
  SG_CHECK(call.in_bits.has_value() || inputs <= 1 || x.stride(2) == 1 || shape_alone,
           "x must be dense in its rows");
  SG_CHECK(call.in_bits.has_value() || !call.weight.has_value() || x.is_contiguous() ||
               (x.size(0) > 1 && x.stride(0) == 0 && (x.stride(1) == inputs || batch == 1)),
           "x must be contiguous or the same at every step");
  check_tensor(call.weight, {outputs, inputs}, dtype, "the weight must be a contiguous [N, I]");
  check_tensor(call.bias, {outputs}, dtype, "the bias must be [N]");
  for (const Maybe* words : {&call.in_bits, &call.in_support})
    check_tensor(*words, {steps, batch, tiles_of(inputs)}, ScalarType::Long,
                 "bits must be int64 [T, B, words]");
}

Choice choice_of(const Tensor& told) {
  check_tensor(told, {Choice::kNumbers}, ScalarType::Long, "a choice is four int64");
  const int64_t* n = data<int64_t>(told);
  return {static_cast<Route>(n[0]), n[1], n[2], n[3]};
}

int64_t ones_of(const Choice& choice, const ConnectionCall& call) {
  const int64_t ones = call.in_bits.has_value() ? choice.ones : -1;
  SG_CHECK(call.x.dim() == 3 || ones >= 0, "what stands at places alone is spikes");
  return ones;
}

namespace {

// A connection alone: what is the same at every step passes it once, before it comes here.
void check_alone(const ConnectionCall& call) {
  check_connection(call, call.x.scalar_type());
  SG_CHECK(call.in_bits.has_value() || call.x.is_contiguous(), "x must be contiguous");
}

using Three = std::tuple<Tensor, Tensor, Tensor>;

// -> (y [T, B, N], packed: the bits of an x that came as numbers, choice). steady: an edge for
// autograd, for a gradient that is the same at every step.
Three linear(const Tensor& x, const Maybe& in_bits, const Maybe& in_support, const Tensor& w,
             const Maybe& bias, const std::vector<double>& shares, const Maybe& /*steady*/) {
  const Maybe weight = w;
  const ConnectionCall call{x, in_bits, in_support, weight, bias, Crossover(shares)};
  check_alone(call);
  return by_type(x.scalar_type(), [&]<class T>() {
    Connection<T> connection(call);
    Tensor packed;
    const Choice choice = connection.choose(call, packed);
    return Three(connection.all(), packed, choice.told());
  });
}

// -> (dx, dweight, dbias), empty where nobody needs them
Three linear_backward(const Tensor& grad_y, const Tensor& x, const Maybe& in_bits,
                      const Maybe& in_support, const Tensor& w, const Tensor& told, bool need_x,
                      bool need_weight, bool once, const std::vector<double>& shares) {
  const Maybe weight = w, no_bias;
  const ConnectionCall all{x, in_bits, in_support, weight, no_bias, Crossover(shares)};
  check_alone(all);
  const Sizes s = all.sizes();
  const ScalarType dtype = x.scalar_type();
  SG_CHECK(grad_y.dim() == 3 && grad_y.size(0) == s.steps && grad_y.size(1) == s.batch &&
               grad_y.size(2) == s.outputs && grad_y.scalar_type() == dtype,
           "the gradient must be [T, B, N]");
  const Choice choice = choice_of(told);
  const Needs needs{ones_of(choice, all), need_x, need_weight, once};
  const ConnectionCall call = met(all, choice);
  return by_type(dtype, [&]<class T>() {
    ConnectionBack<T> back(call, needs, false, segment_steps(s.batch) * s.batch);
    back.from(grad_y);
    back.finish();
    return Three(back.dx, back.dweight, back.dbias);
  });
}

}  // namespace
}  // namespace spikegrad

STABLE_TORCH_LIBRARY_IMPL(spikegrad, CPU, m) {
  m.impl("linear", TORCH_BOX(&spikegrad::linear));
  m.impl("linear_backward", TORCH_BOX(&spikegrad::linear_backward));
}
