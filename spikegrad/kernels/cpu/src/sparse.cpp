// The operators of a connection with some synapses alone.
#include "connection.h"
#include "sparse_groups.h"
#include "sparse_tiles.h"

namespace spikegrad {
namespace {

// x: [T, B, I], or where it stands for spikes at places alone (places.h) one element a place.
struct SparseCall {
  const Tensor& x;
  const Maybe &in_bits, &in_support;
  const Tensor &weight, &starts, &targets;
  int64_t outputs;
  Sizes sizes() const {
    const Tensor& like = in_bits.has_value() ? *in_bits : x;
    return {like.size(0), like.size(1), starts.size(0) - 1, outputs};
  }
  Synapses synapses() const { return synapses_of(starts, targets, outputs); }
};

void check_call(const SparseCall& call) {
  const ScalarType dtype = call.x.scalar_type();
  check_synapses(call.weight, call.starts, call.targets, call.outputs, dtype);
  const bool places = call.x.dim() == 1 && call.in_bits.has_value() && call.in_support.has_value();
  const Maybe like = call.in_bits.has_value() ? *call.in_bits : call.x;
  SG_CHECK((call.x.dim() == 3 || places) && like->dim() == 3, "x must be [T, B, I]");
  const auto [steps, batch, inputs, outputs] = call.sizes();
  SG_CHECK(steps > 0 && batch > 0 && inputs > 0 && outputs > 0, "x must be [T, B, I]");
  if (!call.in_bits.has_value())
    check_tensor(Maybe(call.x), {steps, batch, inputs}, dtype, "x must be a contiguous [T, B, I]");
  for (const Maybe* words : {&call.in_bits, &call.in_support})
    check_tensor(*words, {steps, batch, tiles_of(inputs)}, ScalarType::Long,
                 "bits must be int64 [T, B, words]");
}

using Three = std::tuple<Tensor, Tensor, Tensor>;

// -> (y [T, B, N], packed: which values of an x that came as numbers are not 0, choice)
Three sparse_linear(const Tensor& x, const Maybe& in_bits, const Maybe& in_support,
                    const Tensor& weight, const Tensor& starts, const Tensor& targets,
                    const Maybe& bias, int64_t outputs) {
  const SparseCall call{x, in_bits, in_support, weight, starts, targets, outputs};
  check_call(call);
  const ScalarType dtype = x.scalar_type();
  check_tensor(bias, {outputs}, dtype, "the bias must be [N]");
  const Sizes s = call.sizes();
  return by_type(dtype, [&]<class T>() {
    Tensor packed = none(ScalarType::Long), y = pooled({s.steps, s.batch, s.outputs}, dtype);
    const uint64_t* bits = words_of(in_bits);
    bool spikes = true;
    if (!bits) {
      packed = pooled({s.steps, s.batch, tiles_of(s.inputs)}, ScalarType::Long);
      spikes = pack_nonzeros(data<T>(x), s.rows(), s.inputs, words_of(packed));
      bits = words_of(packed);
    }
    const int64_t count = ones(bits, s.rows() * tiles_of(s.inputs));
    const bool whole = spikes && in_tiles(call.synapses(), s.rows());
    if (whole)
      sparse_product_in_tiles(call.synapses(), data<T>(weight), bits, s.rows(), data<T>(bias),
                              mutable_data<T>(y));
    else
      sparse_product(call.synapses(), data<T>(weight), bits, spikes ? nullptr : data<T>(x),
                     s.rows(), data<T>(bias), mutable_data<T>(y), s.outputs);
    const Choice choice{whole ? kEvents : kSynapses, spikes ? count : -1, spikes ? -1 : count};
    return Three(y, packed, choice.told());
  });
}

// -> (dx, dweight [E]), empty where nobody needs them. numbers: x is not zeros and ones.
std::tuple<Tensor, Tensor> sparse_linear_backward(const Tensor& grad_y, const Tensor& x,
                                                  const Maybe& in_bits, const Maybe& in_support,
                                                  const Tensor& weight, const Tensor& starts,
                                                  const Tensor& targets, int64_t outputs,
                                                  const Tensor& told, bool need_x,
                                                  bool need_weight) {
  const SparseCall call{x, in_bits, in_support, weight, starts, targets, outputs};
  check_call(call);
  SG_CHECK(in_bits.has_value(), "expected the bits of x");
  const Sizes s = call.sizes();
  const ScalarType dtype = x.scalar_type();
  check_tensor(Maybe(grad_y), {s.steps, s.batch, s.outputs}, dtype,
               "the gradient must be a contiguous [T, B, N]");
  const bool spikes = choice_of(told).ones >= 0;
  SG_CHECK(spikes || x.dim() == 3, "what stands at places alone is spikes");
  return by_type(dtype, [&]<class T>() {
    Tensor dx = none(dtype), dweight = none(dtype);
    const T* dy = data<T>(grad_y);
    if (need_weight) dweight = pooled({weight.numel()}, dtype);
    if (need_weight && spikes && in_tiles(call.synapses(), s.rows())) {
      sparse_weight_gradient_in_tiles(call.synapses(), words_of(in_bits), dy, s.rows(),
                                      mutable_data<T>(dweight));
    } else if (need_weight) {
      sparse_weight_gradient(call.synapses(), words_of(in_bits), spikes ? nullptr : data<T>(x), dy,
                             s.outputs, s.rows(), true, mutable_data<T>(dweight));
    }
    if (!need_x) return std::tuple(dx, dweight);
    const uint64_t* support = words_of(in_support);
    Places places;
    if (x.dim() == 1) places = Places(support, Timeline(s.steps, s.batch), tiles_of(s.inputs));
    SG_CHECK(x.dim() == 3 || places.count() == x.numel(), "x must have one element a place");
    dx = x.dim() == 1 ? pooled({x.numel()}, dtype) : pooled({s.steps, s.batch, s.inputs}, dtype);
    T* to = mutable_data<T>(dx);
    sparse_input_gradient(call.synapses(), data<T>(weight), support, dy, s.outputs, s.rows(),
                          [&](int64_t tile, int64_t first, int64_t n, const T* from) {
                            if (places) return places.put(tile, first, n, from, kTile, to);
                            for (int64_t r = 0; r < n; ++r)
                              std::memcpy(to + (first + r) * s.inputs + tile * kTile,
                                          from + r * kTile, columns_of(tile, s.inputs) * sizeof(T));
                          });
    return std::tuple(dx, dweight);
  });
}

// Whether starts [I + 1] and targets [E] are as `Edges` of types.py says.
bool are_edges(const Tensor& starts, const Tensor& targets, int64_t outputs) {
  SG_CHECK(starts.dim() == 1 && starts.numel() > 0 && starts.is_contiguous() &&
               starts.scalar_type() == ScalarType::Long && targets.dim() == 1 &&
               targets.is_contiguous() && targets.scalar_type() == ScalarType::Int,
           "starts must be int64 [I + 1], targets int32 [E]");
  const Synapses s = synapses_of(starts, targets, outputs);
  if (s.starts[0] != 0 || s.count() != targets.numel()) return false;
  for (int64_t i = 0; i < s.inputs; ++i)
    if (s.starts[i] > s.starts[i + 1]) return false;
  std::atomic<bool> good{true};
  parallel_each(s.inputs, 64, [&](int64_t i) {
    int64_t before = -1;
    bool rises = true;
    for (int64_t e = s.starts[i]; e < s.starts[i + 1]; before = s.targets[e++])
      rises &= s.targets[e] > before;
    if (!rises || before >= outputs) good.store(false, std::memory_order_relaxed);
  });
  return good;
}

}  // namespace
}  // namespace spikegrad

STABLE_TORCH_LIBRARY_IMPL(spikegrad, CPU, m) {
  m.impl("sparse_linear", TORCH_BOX(&spikegrad::sparse_linear));
  m.impl("sparse_linear_backward", TORCH_BOX(&spikegrad::sparse_linear_backward));
  m.impl("are_edges", TORCH_BOX(&spikegrad::are_edges));
}
