// The operators of a spiking neuron with a max-pool behind it: checks, pieces handed to threads.
#include "spike_pool.h"

#include <tuple>

namespace spikegrad {
namespace {

template <class T>
SpikePool<T> problem(const Tensor& x, const std::optional<Tensor>& v0, const Tensor& params,
                     int64_t steps, int64_t reset, int64_t kh, int64_t kw) {
  SG_CHECK(x.dim() == 5 && x.is_contiguous() && (x.size(0) == steps || x.size(0) == 1) && steps > 0,
           "x must be a contiguous [T or 1, B, H, W, C]");
  SG_CHECK(params.dim() == 2 && params.size(0) == 10 && params.size(1) == 1 &&
               params.is_contiguous() && params.scalar_type() == x.scalar_type(),
           "parameters must be [10, 1] of x's dtype");
  SG_CHECK(kh > 0 && kw > 0 && kh * kw <= 256 && kh <= x.size(2) && kw <= x.size(3),
           "windows must fit, with at most 256 neurons");
  SG_CHECK(reset >= 0 && reset <= 2, "unknown reset");
  SG_CHECK(!v0.has_value() || (v0->is_contiguous() && v0->numel() * x.size(0) == x.numel() &&
                               v0->scalar_type() == x.scalar_type()),
           "v0 must be a contiguous [B, H, W, C]");
  SpikePool<T> f{};
  f.steps = steps, f.batch = x.size(1), f.height = x.size(2), f.width = x.size(3);
  f.channels = x.size(4), f.kh = kh, f.kw = kw, f.reset = PoolReset{reset};
  f.x_step = x.size(0) == 1 ? 0 : x.numel() / steps, f.x = data<T>(x), f.v0 = data<T>(v0);
  const T* p = data<T>(params);
  f.beta = p[kPoolBeta], f.gain = p[kPoolGain], f.threshold = p[kPoolThreshold];
  f.rest = p[kPoolRest], f.reset_to = p[kPoolReset], f.drop = p[kPoolDrop];
  return f;
}

// Calls go with the reset as a constant, for every piece, each thread with scratch of its own.
template <class T, class F>
void over_pieces(const SpikePool<T>& f, int64_t buffers, const F& go) {
  const int64_t grain = std::max<int64_t>(1, (int64_t{1} << 15) / (f.steps * f.piece_size()));
  parallel(f.pieces(), grain, [&](int64_t begin, int64_t end) {
    std::vector<T> scratch(buffers * f.piece_size());
    for (int64_t piece = begin; piece < end; ++piece) {
      if (f.reset == PoolReset::subtract)
        go.template operator()<PoolReset::subtract>(piece, scratch.data());
      if (f.reset == PoolReset::zero)
        go.template operator()<PoolReset::zero>(piece, scratch.data());
      if (f.reset == PoolReset::none)
        go.template operator()<PoolReset::none>(piece, scratch.data());
    }
  });
}

using Pooled = std::tuple<Tensor, Tensor, Tensor>;

template <class T>
Pooled forward(const Tensor& x, const std::optional<Tensor>& v0, const Tensor& params,
               int64_t steps, int64_t reset, int64_t kh, int64_t kw) {
  const SpikePool<T> f = problem<T>(x, v0, params, steps, reset, kh, kw);
  const std::vector<int64_t> out{steps, f.batch, f.out_height(), f.out_width(), f.channels};
  Tensor y = pooled(out, x.scalar_type()), index = pooled(out, ScalarType::Byte);
  Tensor v_end = pooled({f.batch, f.height, f.width, f.channels}, x.scalar_type());
  T *to = mutable_data<T>(y), *end = mutable_data<T>(v_end);
  uint8_t* which = mutable_data<uint8_t>(index);
  over_pieces(f, 2, [&]<PoolReset kR>(int64_t piece, T* scratch) {
    forward_piece<T, kR>(f, piece, scratch, to, which, end);
  });
  return {y, index, v_end};
}

// spike_pool(x [T or 1, B, H, W, C], v0, params [10, 1], slope [1], ..., the surrogate: see
// words.h)
//   -> (y [T, B, OH, OW, C], index of the same shape, v_end [B, H, W, C])
Pooled spike_pool(const Tensor& x, const std::optional<Tensor>& v0, const Tensor& params,
                  const Tensor& /*slope*/, int64_t steps, int64_t reset, bool /*attached*/,
                  int64_t kh, int64_t kw, int64_t /*family*/, double /*shape_a*/,
                  double /*shape_b*/, double /*gain*/, double /*peak*/) {
  if (x.scalar_type() == ScalarType::Double)
    return forward<double>(x, v0, params, steps, reset, kh, kw);
  SG_CHECK(x.scalar_type() == ScalarType::Float, "x must be float32 or float64");
  return forward<float>(x, v0, params, steps, reset, kh, kw);
}

template <class T>
std::tuple<Tensor, Tensor> backward(SpikePool<T> f, SpikePoolBackward<T> b, const Tensor& x) {
  Tensor dx = pooled({x.size(0), f.batch, f.height, f.width, f.channels}, x.scalar_type());
  Tensor dv0 = f.v0 ? pooled({f.batch, f.height, f.width, f.channels}, x.scalar_type())
                    : fresh_tensor({0}, x.scalar_type());
  b.dx = mutable_data<T>(dx), b.dv0 = f.v0 ? mutable_data<T>(dv0) : nullptr;
  over_pieces(f, f.steps + 5, [&]<PoolReset kR>(int64_t piece, T* scratch) {
    backward_piece<T, kR>(f, b, piece, scratch);
  });
  return {dx, dv0};
}

// spike_pool_backward(dy, dv_end, x, v0, index, params, slope [1], amplitude [1], ...)
//   -> (dx of x's shape: summed over time where x is one step, dv0 [B, H, W, C] where there is v0)
std::tuple<Tensor, Tensor> spike_pool_backward(const std::optional<Tensor>& grad_y,
                                               const std::optional<Tensor>& grad_v, const Tensor& x,
                                               const std::optional<Tensor>& v0, const Tensor& index,
                                               const Tensor& params, const Tensor& slope,
                                               const Tensor& amplitude, int64_t steps,
                                               int64_t reset, bool attached, int64_t kh, int64_t kw,
                                               int64_t family, double shape_a, double shape_b) {
  const ScalarType dtype = x.scalar_type();
  SG_CHECK(dtype == ScalarType::Float || dtype == ScalarType::Double,
           "x must be float32 or float64");
  SG_CHECK(is_family(family) && Family{family} != Family::own, "unknown surrogate family");
  SG_CHECK(slope.numel() == 1 && amplitude.numel() == 1 && slope.scalar_type() == dtype &&
               amplitude.scalar_type() == dtype,
           "slope and amplitude must be [1] of x's dtype");
  auto fits = [&](const std::optional<Tensor>& g, int64_t numel) {
    SG_CHECK(
        !g.has_value() || (g->is_contiguous() && g->numel() == numel && g->scalar_type() == dtype),
        "gradients must be contiguous, of x's dtype and the outputs' shapes");
  };
  auto go = [&]<class T>() {
    const SpikePool<T> f = problem<T>(x, v0, params, steps, reset, kh, kw);
    SG_CHECK(index.is_contiguous() && index.scalar_type() == ScalarType::Byte,
             "index must be bytes");
    SG_CHECK(index.numel() == steps * f.batch * f.pooled(), "index must have the output's shape");
    fits(grad_y, index.numel());
    fits(grad_v, f.batch * f.image());
    SpikePoolBackward<T> b{};
    b.grad_y = data<T>(grad_y), b.grad_v = data<T>(grad_v), b.index = data<uint8_t>(index);
    b.shape = Shape{Family{family}, shape_a, shape_b};
    b.slope = *data<T>(slope), b.amplitude = *data<T>(amplitude), b.attached = attached;
    return backward<T>(f, b, x);
  };
  return dtype == ScalarType::Double ? go.template operator()<double>()
                                     : go.template operator()<float>();
}

}  // namespace
}  // namespace spikegrad

STABLE_TORCH_LIBRARY_FRAGMENT(spikegrad, m) {
  m.def(
      "spike_pool(Tensor x, Tensor? v0, Tensor params, Tensor slope, int steps, int reset, "
      "bool attached, int kh, int kw, int family, float shape_a, float shape_b, float gain, "
      "float peak) -> (Tensor y, Tensor index, Tensor v_end)");
  m.def(
      "spike_pool_backward(Tensor? grad_y, Tensor? grad_v, Tensor x, Tensor? v0, Tensor index, "
      "Tensor params, Tensor slope, Tensor amplitude, int steps, int reset, bool attached, int kh, "
      "int kw, int family, float shape_a, float shape_b) -> (Tensor dx, Tensor dv0)");
}

STABLE_TORCH_LIBRARY_IMPL(spikegrad, CPU, m) {
  m.impl("spike_pool", TORCH_BOX(&spikegrad::spike_pool));
  m.impl("spike_pool_backward", TORCH_BOX(&spikegrad::spike_pool_backward));
}
