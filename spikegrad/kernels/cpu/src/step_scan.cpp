// Scans whose step was generated: memory and threads around functions of another library.
#include "programs.h"
#include "step.h"
#include "tiles.h"

namespace spikegrad {
namespace {

// One call: its program, and after how many steps states are kept instead of what the backward pass
// reads; 0: never. keep: a backward pass may follow.
struct Call {
  const Program& program;
  bool keep;
  int64_t segment;
};

// How [B, N] is cut into blocks of columns; with parameters for each neuron a block is of one row.
struct StepBlocks {
  int64_t block, columns, per_row, count;
  StepBlocks(int64_t batch, int64_t features, const Program& p)
      : block(p.block), columns(p.each ? features : batch * features),
        per_row((columns + block - 1) / block), count(per_row * (p.each ? batch : 1)) {}
};

template <class T>
StepScan<T> scan_of(const Tensor& x, const Tensor& starts, const Tensor& params, const Call& call) {
  StepScan<T> c{};
  c.steps = x.size(0), c.columns = x.size(1) * x.size(2);
  c.x = data<T>(x), c.x_step = x.stride(0);
  c.starts = data<T>(starts), c.params = data<T>(params), c.param_columns = params.size(1);
  c.segment = call.segment;
  return c;
}

void check(const Tensor& x, const Tensor& starts, const Tensor& params, const Call& call) {
  const Program& p = call.program;
  SG_CHECK(p.wide == (x.scalar_type() == ScalarType::Double), "a program of another dtype");
  SG_CHECK(p.block > 0, "a program of a scan");
  SG_CHECK(call.segment >= 0, "a segment must not be negative");
  SG_CHECK(x.dim() == 3 && x.size(0) > 0 && x.numel() > 0, "x must be [T, B, N]");
  SG_CHECK(x.scalar_type() == ScalarType::Float || x.scalar_type() == ScalarType::Double,
           "x must be float32 or float64");
  SG_CHECK(x.stride(2) == 1 && x.stride(1) == x.size(2), "x must be dense in [B, N]");
  SG_CHECK(starts.is_contiguous() && starts.numel() == p.states * x.size(1) * x.size(2) &&
               starts.scalar_type() == x.scalar_type(),
           "states must be [states, B, N] in x's dtype");
  SG_CHECK(params.dim() == 2 && params.is_contiguous() && params.size(0) == p.parameters &&
               params.size(1) == (p.each ? x.size(2) : 1) &&
               params.scalar_type() == x.scalar_type(),
           "parameters must be [rows, 1 or N] in x's dtype");
}

// Rows that nobody reads again before the caches lose them.
template <class T>
bool past(const T* p, const StepScan<T>& c) {
  return kStreams && reinterpret_cast<uintptr_t>(p) % 64 == 0 && c.columns * sizeof(T) % 64 == 0 &&
         c.steps * c.columns * static_cast<int64_t>(sizeof(T)) >= kStreamed;
}

template <class T>
void over_blocks(const StepScan<T>& c, const StepBlocks& blocks, int64_t function, size_t room) {
  const auto run = reinterpret_cast<StepFunction<T>>(function);
  const int64_t grain = std::max<int64_t>(1, (int64_t{1} << 14) / (c.steps * blocks.block));
  parallel(blocks.count, grain, [&](int64_t begin, int64_t end) {
    const Scratch memory(room + 1);
    for (int64_t block = begin; block < end; ++block) {
      const int64_t column = block % blocks.per_row * blocks.block;
      const int64_t offset = block / blocks.per_row * blocks.columns + column;
      const int n = static_cast<int>(std::min(blocks.block, blocks.columns - column));
      run(c, block, offset, column, n, memory.as<char>());
    }
  });
}

using Forwards = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor>;
using Backwards = std::tuple<Tensor, Tensor, Tensor>;

template <class T>
Forwards forward_as(int64_t function, const Tensor& x, const Tensor& starts, const Tensor& params,
                    const Call& call) {
  const ScalarType dtype = x.scalar_type();
  const int64_t steps = x.size(0), batch = x.size(1), features = x.size(2);
  const StepBlocks blocks(batch, features, call.program);
  const bool keep = call.keep && !call.segment, marked = call.keep && call.segment;
  auto made = [&](bool there, const std::vector<int64_t>& sizes, ScalarType type) {
    return there ? pooled(sizes, type) : none(type);
  };
  Tensor y = pooled({steps, batch, features}, dtype);
  Tensor reals = made(keep && call.program.reals,
                      {blocks.count, steps, call.program.reals, blocks.block}, dtype);
  Tensor masks =
      made(keep && call.program.masks,
           {blocks.count, steps, call.program.masks, blocks.block / kLanes<T>}, ScalarType::Short);
  Tensor marks = made(marked,
                      {marked ? (steps + call.segment - 1) / call.segment : 0, call.program.states,
                       batch, features},
                      dtype);
  Tensor ends = fresh_tensor({call.program.states, batch, features}, dtype);
  StepScan<T> c = scan_of<T>(x, starts, params, call);
  c.y = mutable_data<T>(y), c.ends = mutable_data<T>(ends);
  c.reals = mutable_data<T>(reals);
  c.masks = reinterpret_cast<uint16_t*>(mutable_data<int16_t>(masks));
  c.marks = marked ? mutable_data<T>(marks) : nullptr;
  c.keep = keep, c.past = past(c.y, c);
  over_blocks(c, blocks, function, 0);
  return {y, reals, masks, marks, ends};
}

Forwards step_scan(int64_t program, const Tensor& x, const Tensor& starts, const Tensor& params,
                   bool keep, int64_t segment) {
  const Call call{program_of(program), keep, segment};
  check(x, starts, params, call);
  const int64_t function = call.program.forward;
  if (x.scalar_type() == ScalarType::Double)
    return forward_as<double>(function, x, starts, params, call);
  return forward_as<float>(function, x, starts, params, call);
}

template <class T>
Backwards backward_as(int64_t function, const Maybe& grad, const Maybe& grad_ends, const Tensor& x,
                      const Tensor& starts, const Tensor& params, const Tensor& reals,
                      const Tensor& masks, const Tensor& marks, const Call& call) {
  const ScalarType dtype = x.scalar_type();
  const int64_t steps = x.size(0), batch = x.size(1), features = x.size(2);
  const StepBlocks blocks(batch, features, call.program);
  Tensor dx = pooled({steps, batch, features}, dtype);
  Tensor dstarts = fresh_tensor({call.program.smooth, batch, features}, dtype);
  const int64_t parts = call.program.each ? batch : blocks.count,
                width = call.program.each ? features : 1;
  Tensor sums = call.program.learned
                    ? fresh_tensor({parts, call.program.learned, width}, ScalarType::Double)
                    : none(ScalarType::Double);
  StepScan<T> c = scan_of<T>(x, starts, params, call);
  c.reals = const_cast<T*>(data<T>(reals));
  c.masks = reinterpret_cast<uint16_t*>(const_cast<int16_t*>(data<int16_t>(masks)));
  c.marks = call.segment ? const_cast<T*>(data<T>(marks)) : nullptr;
  c.grad = data<T>(grad), c.grad_ends = data<T>(grad_ends);
  if (grad.has_value()) {
    c.grad_step = grad->stride(0);
    c.grad_same = grad->stride(0) == 0 && grad->stride(1) == 0 && grad->stride(2) == 0;
    SG_CHECK(c.grad_same || (grad->stride(2) == 1 && grad->stride(1) == features),
             "the output's gradient must be one number or dense in [B, N]");
  }
  c.dx = mutable_data<T>(dx), c.dstarts = mutable_data<T>(dstarts);
  c.sums = call.program.learned ? mutable_data<double>(sums) : nullptr;
  c.past = past(c.dx, c);
  const size_t room =
      static_cast<size_t>(call.segment) * (call.program.reals * blocks.block * sizeof(T) +
                                           call.program.masks * (blocks.block / kLanes<T>)*2);
  over_blocks(c, blocks, function, room);
  return {dx, dstarts, sums};
}

Backwards step_scan_backward(int64_t program, const Maybe& grad, const Maybe& grad_ends,
                             const Tensor& x, const Tensor& starts, const Tensor& params,
                             const Tensor& reals, const Tensor& masks, const Tensor& marks,
                             int64_t segment) {
  const Call call{program_of(program), true, segment};
  check(x, starts, params, call);
  const bool kept = !call.segment;
  const StepBlocks blocks(x.size(1), x.size(2), call.program);
  SG_CHECK(!kept || reals.numel() == blocks.count * x.size(0) * call.program.reals * blocks.block,
           "kept values of another call");
  SG_CHECK(kept || marks.numel() == (x.size(0) + call.segment - 1) / call.segment * starts.numel(),
           "kept states of another call");
  SG_CHECK(!kept || masks.numel() == blocks.count * x.size(0) * call.program.masks *
                                         (blocks.block / call.program.lanes),
           "kept masks of another call");
  SG_CHECK(!grad.has_value() || (grad->dim() == 3 && grad->size(0) == x.size(0) &&
                                 grad->size(1) == x.size(1) && grad->size(2) == x.size(2)),
           "the output's gradient must be [T, B, N]");
  for (const Maybe* g : {&grad, &grad_ends})
    SG_CHECK(!g->has_value() || (*g)->scalar_type() == x.scalar_type(),
             "gradients must have x's dtype");
  check_size(grad_ends, call.program.smooth * x.size(1) * x.size(2));
  const int64_t function = call.program.backward;
  if (x.scalar_type() == ScalarType::Double)
    return backward_as<double>(function, grad, grad_ends, x, starts, params, reals, masks, marks,
                               call);
  return backward_as<float>(function, grad, grad_ends, x, starts, params, reals, masks, marks,
                            call);
}

STABLE_TORCH_LIBRARY_FRAGMENT(spikegrad, m) {
  m.def(
      "step_scan(int program, Tensor x, Tensor starts, Tensor params, bool keep, int segment) -> "
      "(Tensor, Tensor, Tensor, Tensor, Tensor)");
  m.def(
      "step_scan_backward(int program, Tensor? grad, Tensor? grad_ends, Tensor x, Tensor starts, "
      "Tensor params, Tensor reals, Tensor masks, Tensor marks, int segment) -> "
      "(Tensor, Tensor, Tensor)");
}
STABLE_TORCH_LIBRARY_IMPL(spikegrad, CPU, m) {
  m.impl("step_scan", TORCH_BOX(&step_scan));
  m.impl("step_scan_backward", TORCH_BOX(&step_scan_backward));
}

}  // namespace
}  // namespace spikegrad
