// The operators of a spiking neuron with a max-pool behind it: checks, pieces handed to threads.
#include "spike_pool.h"

namespace spikegrad {
namespace {

template <class T>
SpikePool<T> problem(const Program& p, const Tensor& x, const Tensor& states, const Tensor& params,
                     int64_t steps, int64_t kh, int64_t kw) {
  const ScalarType dtype = x.scalar_type();
  SG_CHECK(p.wide == (dtype == ScalarType::Double), "a program of another dtype");
  SG_CHECK(p.spikes && !p.each, "neurons that spike, all with the same parameters");
  SG_CHECK(x.dim() == 5 && x.is_contiguous() && x.numel() > 0 &&
               (x.size(0) == steps || x.size(0) == 1) && steps > 0,
           "x must be a contiguous [T or 1, B, H, W, C]");
  check_tensor(params, {p.parameters, 1}, dtype, "parameters must be [parameters, 1] of x's dtype");
  SG_CHECK(kh > 0 && kw > 0 && kh <= x.size(2) && kw <= x.size(3), "windows must fit");
  const int64_t neurons = x.numel() / x.size(0);
  SG_CHECK(states.is_contiguous() && states.scalar_type() == dtype && states.dim() > 0 &&
               states.size(0) == p.states &&
               (states.numel() == p.states || states.numel() == p.states * neurons),
           "states must be [states, B, H W C], or one number each");
  SpikePool<T> f{};
  f.program = &p, f.params = data<T>(params);
  f.steps = steps, f.batch = x.size(1), f.height = x.size(2), f.width = x.size(3);
  f.channels = x.size(4), f.kh = kh, f.kw = kw;
  f.x_step = x.size(0) == 1 ? 0 : x.numel() / steps, f.x = data<T>(x);
  f.starts = data<T>(states), f.alike = states.numel() == p.states;
  return f;
}

// go(number of a piece, room for it) for all pieces, each thread with a room of its own.
template <class T, class F>
void over_pieces(const SpikePool<T>& f, bool back, const F& go) {
  const int64_t grain = std::max<int64_t>(1, (int64_t{1} << 15) / (f.steps * f.piece_size()));
  parallel(f.pieces(), grain, [&](int64_t begin, int64_t end) {
    Piece<T> room(f, back);
    for (int64_t number = begin; number < end; ++number) go(number, room);
  });
}

// -> (y [T, B, OH, OW, C], ends [states, B, H, W, C])
std::tuple<Tensor, Tensor> spike_pool(int64_t program, const Tensor& x, const Tensor& states,
                                      const Tensor& params, int64_t steps, int64_t kh, int64_t kw) {
  const Program& p = program_of(program);
  const ScalarType dtype = x.scalar_type();
  return by_type(dtype, [&]<class T>() {
    const SpikePool<T> f = problem<T>(p, x, states, params, steps, kh, kw);
    Tensor y = pooled(f.outputs(), dtype), ends = pooled(f.inputs(p.states), dtype);
    T *to = mutable_data<T>(y), *end = mutable_data<T>(ends);
    over_pieces(f, false, [&](int64_t number, Piece<T>& room) { room.forward(number, to, end); });
    return std::tuple<Tensor, Tensor>(y, ends);
  });
}

// -> (dx of x's shape: summed over time where x is one step, dstarts [states with gradients, B, H,
// W, C] if asked for, sums [pieces, learned])
std::tuple<Tensor, Tensor, Tensor> spike_pool_backward(int64_t program, const Maybe& grad_y,
                                                       const Maybe& grad_ends, const Tensor& x,
                                                       const Tensor& states, const Tensor& params,
                                                       int64_t steps, int64_t kh, int64_t kw,
                                                       bool need_states) {
  const Program& p = program_of(program);
  const ScalarType dtype = x.scalar_type();
  return by_type(dtype, [&]<class T>() {
    const SpikePool<T> f = problem<T>(p, x, states, params, steps, kh, kw);
    const char* wrong = "gradients must be contiguous, of x's dtype and the outputs' shapes";
    check_tensor(grad_y, f.outputs(), dtype, wrong);
    check_tensor(grad_ends, f.inputs(p.smooth), dtype, wrong);
    Tensor dx = pooled(f.inputs(x.size(0)), dtype);
    Tensor dstarts = pooled_if(need_states, f.inputs(p.smooth), dtype);
    Tensor sums = pooled_if(p.learned, {f.pieces(), p.learned}, ScalarType::Double);
    const SpikePoolBack<T> b{data<T>(grad_y), data<T>(grad_ends), mutable_data<T>(dx),
                             need_states ? mutable_data<T>(dstarts) : nullptr,
                             mutable_data<double>(sums)};
    over_pieces(f, true, [&](int64_t number, Piece<T>& room) { room.backward(number, b); });
    return std::tuple<Tensor, Tensor, Tensor>(dx, dstarts, sums);
  });
}

}  // namespace
}  // namespace spikegrad

STABLE_TORCH_LIBRARY_IMPL(spikegrad, CPU, m) {
  m.impl("spike_pool", TORCH_BOX(&spikegrad::spike_pool));
  m.impl("spike_pool_backward", TORCH_BOX(&spikegrad::spike_pool_backward));
}
