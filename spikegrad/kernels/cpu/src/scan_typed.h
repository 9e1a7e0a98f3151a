// One scan, host side: outputs made, blocks handed to threads. Included by scan_f32.cpp and
// scan_f64.cpp, which compile at the same time.
#pragma once

#include "scan_plain.h"
#include "scan_run.h"

namespace spikegrad {

template <template <class, class, bool, bool, bool, Reset, bool> class Run, class T, class F>
void select(int64_t kind, Reset reset, bool flag, bool each, const F& go) {
  each ? select_for<Run, T, Each<T>>(kind, reset, flag, go)
       : select_for<Run, T, One<T>>(kind, reset, flag, go);
}

template <class T, class P, bool S, bool A, bool K, Reset R, bool X>
struct RunForward {
  static constexpr auto run = &forward_block<T, P, S, A, K, R, X>;
};
template <class T, class P, bool S, bool A, bool K, Reset R, bool X>
struct RunBackward {
  static constexpr auto run = &backward_block<T, P, S, A, K, R, X>;
};

// run(block, offset, column, n)
template <class Run>
void over_blocks(const Blocks& blocks, int64_t steps, const Run& run) {
  const int64_t grain = std::max<int64_t>(1, (int64_t{1} << 15) / (steps * kBlock));
  parallel(blocks.count, grain, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      int64_t offset, column;
      int n;
      blocks.at(block, offset, column, n);
      run(block, offset, column, n);
    }
  });
}

// What scan_plain.h reads besides the scan.
template <class T>
struct PlainMemory {
  const bool each;
  Scratch params;
  Plain<T> q{};
  PlainMemory(const Blocks& blocks, int64_t steps, int64_t features, const Tensor& parameters,
              const Tensor& slope, const Maybe& amplitude, const Maybe& support, const Maybe& bits)
      : each(parameters.size(1) > 1),
        params(tile_params<T>(parameters, slope, each ? features : kTile)) {
    if (amplitude.has_value())
      set_row(params.as<T>(), kAmplitude, data<T>(amplitude), amplitude->size(0) > 1,
              each ? features : kTile, T(0));
    auto words = [](const Maybe& t) {
      const bool there = t.has_value() && t->numel();
      return there ? reinterpret_cast<uint64_t*>(const_cast<int64_t*>(data<int64_t>(*t))) : nullptr;
    };
    q = {steps, blocks.tiles, params.as<T>(), each, words(support), words(bits)};
  }
};

template <class T>
ScanOutputs scan_forward_call(const ScanForward& call) {
  const Words& w = call.words;
  const Tensor& x = call.x;
  const ScalarType dtype = x.scalar_type();
  const int64_t steps = x.size(0), batch = x.size(1), features = x.size(2);
  const bool syn = w.kind & kSynapse, ada = w.kind & kAdaptive, fire = w.kind & kSpiking;
  const bool silent = w.refractory > 0, each = call.params.size(1) > 1;
  const Blocks blocks(batch, features, each);
  const std::vector<int64_t> whole{steps, batch, features}, one{batch, features};
  const std::vector<int64_t> words{blocks.count, steps, blocks.tiles};
  auto made = [&](bool there, const std::vector<int64_t>& sizes, ScalarType type,
                  Pages pages = Pages::large) {
    return there ? pooled(sizes, type, pages) : none(type);
  };
  auto end = [&](bool there, ScalarType type) {
    return there ? fresh_tensor(one, type) : none(type);
  };
  ScanOutputs r{made(fire, whole, dtype),
                w.few()
                    ? made(true, {blocks.count, steps, blocks.tiles * kTile}, dtype, Pages::small)
                    : made(w.graph || !fire || !w.plain(), whole, dtype),
                made(w.graph && syn && w.keep, whole, dtype),
                made(ada, whole, dtype),
                made(silent, whole, ScalarType::Byte),
                made(w.few(), words, ScalarType::Long),
                made(w.few() && Reset{w.reset} == Reset::zero, words, ScalarType::Long),
                end(syn, dtype),
                end(true, dtype),
                end(ada, dtype),
                end(silent, ScalarType::Int)};
  auto at = [](Tensor& t) { return t.numel() ? mutable_data<T>(t) : nullptr; };
  Forward<T> f{};
  f.x = data<T>(x), f.x_step = x.stride(0), f.step = batch * features, f.steps = steps;
  f.i0 = data<T>(call.i0), f.v0 = data<T>(call.v0), f.a0 = data<T>(call.a0);
  f.silent0 = data<int32_t>(call.silent0);
  f.params = data<T>(call.params), f.param_columns = call.params.size(1);
  f.refractory = static_cast<int32_t>(w.refractory);
  f.s = at(r.s), f.u = at(r.u), f.i = at(r.i), f.a = at(r.a);
  f.ready = silent ? mutable_data<uint8_t>(r.ready) : nullptr;
  f.i_end = at(r.i_end), f.v_end = at(r.v_end), f.a_end = at(r.a_end);
  f.silent_end = silent ? mutable_data<int32_t>(r.silent_end) : nullptr;
  if (w.plain()) {
    const PlainMemory<T> plain(blocks, steps, features, call.params, call.slope, std::nullopt,
                               r.support, r.bits);
    plain_forward_of<T>(Reset{w.reset}, w.few(), [&](auto run) {
      over_blocks(blocks, steps, [&](int64_t block, int64_t offset, int64_t column, int n) {
        run(f, plain.q, compact_of<T>(Family{w.family}).edge, block, offset, column, n);
      });
    });
    return r;
  }
  select<RunForward, T>(w.kind, Reset{w.reset}, silent, each, [&](auto it) {
    over_blocks(blocks, steps, [&](int64_t, int64_t offset, int64_t column, int n) {
      it.run(f, offset, column, n);
    });
  });
  return r;
}

template <class T>
ScanGradients scan_backward_call(const ScanBackward& call) {
  const Words& w = call.words;
  const ScalarType dtype = call.u.scalar_type();
  const int64_t steps = call.steps, batch = call.batch, features = call.features;
  const bool syn = w.kind & kSynapse, ada = w.kind & kAdaptive, each = call.params.size(1) > 1;
  const Blocks blocks(batch, features, each);
  auto end = [&](bool there) {
    return there ? fresh_tensor({batch, features}, dtype) : none(dtype);
  };
  const int64_t parts = each ? batch : blocks.count, width = each ? features : 1;
  ScanGradients r{pooled({steps, batch, features}, dtype), end(syn), end(true), end(ada),
                  w.keep ? fresh_tensor({parts, kParams + 1, width}, ScalarType::Double)
                         : none(ScalarType::Double)};
  auto at = [](Tensor& t) { return t.numel() ? mutable_data<T>(t) : nullptr; };
  Backward<T> f{};
  f.step = batch * features, f.steps = steps, f.batch = batch, f.features = features;
  f.grad_s = data<T>(call.grad_s), f.grad_v = data<T>(call.grad_v);
  f.grad_i = data<T>(call.grad_i), f.grad_a = data<T>(call.grad_a);
  if (call.grad_s.has_value()) {
    f.grad_t = call.grad_s->stride(0), f.grad_b = call.grad_s->stride(1);
    f.grad_n = call.grad_s->stride(2);
  }
  f.x = data<T>(call.x), f.x_step = call.x.has_value() ? call.x->stride(0) : 0;
  f.u = data<T>(call.u), f.i = data<T>(call.i), f.a = data<T>(call.a);
  f.ready = data<uint8_t>(call.ready), f.i0 = data<T>(call.i0), f.v0 = data<T>(call.v0);
  f.params = data<T>(call.params), f.param_columns = call.params.size(1);
  f.rule = {Shape{Family{w.family}, w.shape_a, w.shape_b},
            data<T>(call.slope),
            data<T>(call.amplitude),
            call.slope.size(0),
            static_cast<T>(w.gain),
            w.attached,
            w.keep && call.grad_slope};
  f.derivative = data<T>(call.derivative);
  f.dx = mutable_data<T>(r.dx), f.dv0 = mutable_data<T>(r.dv0);
  f.di0 = at(r.di0), f.da0 = at(r.da0);
  f.dparams = w.keep ? mutable_data<double>(r.sums) : nullptr;
  if (w.plain() && !w.keep && !f.derivative && is_plain(Family{w.family})) {
    const PlainMemory<T> plain(blocks, steps, features, call.params, call.slope, call.amplitude,
                               call.support, call.bits);
    plain_backward_of<T>(Reset{w.reset}, w.few(), [&](auto run) {
      over_blocks(blocks, steps, [&](int64_t block, int64_t offset, int64_t column, int n) {
        run(f, plain.q, block, offset, column, n);
      });
    });
    return r;
  }
  select<RunBackward, T>(w.kind, Reset{w.reset}, w.keep, each, [&](auto it) {
    over_blocks(blocks, steps, [&](int64_t block, int64_t offset, int64_t column, int n) {
      it.run(f, block, offset, column, n);
    });
  });
  return r;
}

}  // namespace spikegrad
