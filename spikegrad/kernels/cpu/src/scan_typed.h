// One scan, host side: outputs made, blocks handed to threads. Included by scan_f32.cpp and
// scan_f64.cpp, which compile at the same time.
#pragma once

#include "scan.h"
#include "scan_run.h"

namespace spikegrad {

template <template <class, class, bool, bool, bool, Reset, bool> class Run, class T, class F>
void select(int64_t kind, Reset reset, bool flag, bool each, const F& go) {
  each ? select_for<Run, T, Each<T>>(kind, reset, flag, go)
       : select_for<Run, T, One<T>>(kind, reset, flag, go);
}

template <class T, class P, bool S, bool A, bool K, Reset R, bool X>
struct RunForward {
  void operator()(const Forward<T>& f, int64_t, int64_t offset, int64_t column, int n) const {
    forward_block<T, P, S, A, K, R, X>(f, offset, column, n);
  }
};
template <class T, class P, bool S, bool A, bool K, Reset R, bool X>
struct RunBackward {
  void operator()(const Backward<T>& f, int64_t block, int64_t offset, int64_t column,
                  int n) const {
    backward_block<T, P, S, A, K, R, X>(f, block, offset, column, n);
  }
};

template <class Work, class Run>
void over_blocks(const Work& work, const Blocks& blocks, int64_t steps, const Run& run) {
  const int64_t grain = std::max<int64_t>(1, (int64_t{1} << 15) / (steps * kBlock));
  parallel(blocks.count, grain, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      int64_t offset, column;
      int n;
      blocks.at(block, offset, column, n);
      run(work, block, offset, column, n);
    }
  });
}

template <class T>
Outputs run_forward(const Tensor& x, const std::optional<Tensor>& i0,
                    const std::optional<Tensor>& v0, const std::optional<Tensor>& a0,
                    const std::optional<Tensor>& silent0, const Tensor& params, int64_t kind,
                    int64_t reset, int64_t refractory, bool keep) {
  const ScalarType dtype = x.scalar_type();
  const int64_t steps = x.size(0), batch = x.size(1), features = x.size(2);
  const bool syn = kind & kSynapse, ada = kind & kAdaptive, fire = kind & kSpiking;
  const bool silent = refractory > 0;
  const std::vector<int64_t> whole{steps, batch, features}, one{batch, features};
  Tensor s = fire ? pooled(whole, dtype) : none(dtype), u = pooled(whole, dtype);
  Tensor i = syn && keep ? pooled(whole, dtype) : none(dtype);
  Tensor a = ada ? pooled(whole, dtype) : none(dtype);
  Tensor ready = silent ? pooled(whole, ScalarType::Byte) : none(ScalarType::Byte);
  Tensor i_end = syn ? torch::stable::empty(one, dtype) : none(dtype);
  Tensor v_end = torch::stable::empty(one, dtype);
  Tensor a_end = ada ? torch::stable::empty(one, dtype) : none(dtype);
  Tensor silent_end = silent ? torch::stable::empty(one, ScalarType::Int) : none(ScalarType::Int);

  Forward<T> f{};
  f.x = data<T>(x), f.x_step = x.stride(0), f.step = batch * features, f.steps = steps;
  f.i0 = data<T>(i0), f.v0 = data<T>(v0), f.a0 = data<T>(a0), f.silent0 = data<int32_t>(silent0);
  f.params = data<T>(params), f.param_columns = params.size(1);
  f.refractory = static_cast<int32_t>(refractory);
  f.s = fire ? mutable_data<T>(s) : nullptr, f.u = mutable_data<T>(u);
  f.i = syn && keep ? mutable_data<T>(i) : nullptr, f.a = ada ? mutable_data<T>(a) : nullptr;
  f.ready = silent ? mutable_data<uint8_t>(ready) : nullptr;
  f.i_end = syn ? mutable_data<T>(i_end) : nullptr, f.v_end = mutable_data<T>(v_end);
  f.a_end = ada ? mutable_data<T>(a_end) : nullptr;
  f.silent_end = silent ? mutable_data<int32_t>(silent_end) : nullptr;
  const bool each = params.size(1) > 1;
  select<RunForward, T>(kind, Reset{reset}, silent, each, [&](auto run) {
    over_blocks(f, Blocks(batch, features, each), steps, run);
  });
  return {s, u, i, a, ready, i_end, v_end, a_end, silent_end};
}

template <class T>
Gradients run_backward(const std::optional<Tensor>& grad_s, const std::optional<Tensor>& grad_i,
                       const std::optional<Tensor>& grad_v, const std::optional<Tensor>& grad_a,
                       const std::optional<Tensor>& x, const Tensor& u, const std::optional<Tensor>& i,
                       const std::optional<Tensor>& a, const std::optional<Tensor>& ready,
                       const std::optional<Tensor>& i0, const std::optional<Tensor>& v0,
                       const Tensor& params, const Tensor& slope, const Tensor& amplitude,
                       double gain, const std::optional<Tensor>& derivative, int64_t kind,
                       int64_t reset, bool attached, int64_t family, double shape_a,
                       double shape_b, bool grads, bool grad_slope) {
  const ScalarType dtype = u.scalar_type();
  const int64_t steps = u.size(0), batch = u.size(1), features = u.size(2);
  const bool syn = kind & kSynapse, ada = kind & kAdaptive;
  const bool each = params.size(1) > 1 || slope.size(0) > 1;
  const Blocks blocks(batch, features, each);
  Tensor dx = pooled({steps, batch, features}, dtype);
  Tensor di0 = syn ? torch::stable::empty({batch, features}, dtype) : none(dtype);
  Tensor dv0 = torch::stable::empty({batch, features}, dtype);
  Tensor da0 = ada ? torch::stable::empty({batch, features}, dtype) : none(dtype);
  const int64_t parts = each ? batch : blocks.count, width = each ? features : 1;
  Tensor sums = grads ? torch::stable::empty({parts, kParams + 1, width}, ScalarType::Double)
                      : none(ScalarType::Double);

  Backward<T> f{};
  f.step = batch * features, f.steps = steps, f.batch = batch, f.features = features;
  f.grad_s = data<T>(grad_s), f.grad_v = data<T>(grad_v);
  f.grad_i = data<T>(grad_i), f.grad_a = data<T>(grad_a);
  if (grad_s.has_value())
    f.grad_t = grad_s->stride(0), f.grad_b = grad_s->stride(1), f.grad_n = grad_s->stride(2);
  f.x = data<T>(x), f.x_step = x.has_value() ? x->stride(0) : 0, f.u = data<T>(u), f.i = data<T>(i);
  f.a = data<T>(a), f.ready = data<uint8_t>(ready), f.i0 = data<T>(i0), f.v0 = data<T>(v0);
  f.params = data<T>(params), f.param_columns = params.size(1);
  f.rule = {Shape{Family{family}, shape_a, shape_b}, data<T>(slope), data<T>(amplitude),
            slope.size(0), static_cast<T>(gain), attached, grads && grad_slope};
  f.derivative = data<T>(derivative);
  f.dx = mutable_data<T>(dx), f.dv0 = mutable_data<T>(dv0);
  f.di0 = syn ? mutable_data<T>(di0) : nullptr, f.da0 = ada ? mutable_data<T>(da0) : nullptr;
  f.dparams = grads ? mutable_data<double>(sums) : nullptr;
  select<RunBackward, T>(kind, Reset{reset}, grads, each, [&](auto run) {
    over_blocks(f, blocks, steps, run);
  });
  return {dx, di0, dv0, da0, sums};
}

}  // namespace spikegrad
