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

// Steps, samples and neurons of x, [T, B, N] or, of several inputs, [inputs, T, B, N].
struct Sizes {
  int64_t first, steps, batch, features;
  explicit Sizes(const Tensor& x)
      : first(x.dim() - 3), steps(x.size(first)), batch(x.size(first + 1)),
        features(x.size(first + 2)) {}
  int64_t columns() const { return batch * features; }
};

// The same sizes with the inputs in front where there are several.
std::vector<int64_t> like(const Tensor& x) {
  std::vector<int64_t> sizes;
  for (int64_t k = 0; k < x.dim(); ++k) sizes.push_back(x.size(k));
  return sizes;
}

template <class T>
StepScan<T> scan_of(const Tensor& x, const Maybe& noise, const Tensor& starts, const Tensor& params,
                    const Call& call) {
  const Sizes sizes(x);
  StepScan<T> c{};
  c.steps = sizes.steps, c.columns = sizes.columns();
  c.x = data<T>(x), c.x_step = x.stride(sizes.first);
  c.x_input = sizes.first ? x.stride(0) : 0;
  c.noise = data<T>(noise);
  c.starts = data<T>(starts), c.params = data<T>(params), c.param_columns = params.size(1);
  c.segment = call.segment;
  return c;
}

void check(const Tensor& x, const Tensor& starts, const Tensor& params, const Call& call) {
  const Program& p = call.program;
  SG_CHECK(x.dim() == (p.inputs > 1 ? 4 : 3) && x.numel() > 0 &&
               (p.inputs == 1 || x.size(0) == p.inputs),
           "x must be [T, B, N], or [inputs, T, B, N]");
  const Sizes sizes(x);
  SG_CHECK(p.wide == (x.scalar_type() == ScalarType::Double), "a program of another dtype");
  SG_CHECK(p.block > 0, "a program of a scan");
  SG_CHECK(call.segment >= 0, "a segment must not be negative");
  SG_CHECK(x.scalar_type() == ScalarType::Float || x.scalar_type() == ScalarType::Double,
           "x must be float32 or float64");
  SG_CHECK(x.stride(sizes.first + 2) == 1 && x.stride(sizes.first + 1) == sizes.features,
           "x must be dense in [B, N]");
  SG_CHECK(starts.is_contiguous() && starts.numel() == p.states * sizes.columns() &&
               starts.scalar_type() == x.scalar_type(),
           "states must be [states, B, N] in x's dtype");
  SG_CHECK(params.dim() == 2 && params.is_contiguous() && params.size(0) == p.parameters &&
               params.size(1) == (p.each ? sizes.features : 1) &&
               params.scalar_type() == x.scalar_type(),
           "parameters must be [rows, 1 or N] in x's dtype");
}

void check_noise(const Maybe& noise, const Tensor& x, bool wanted) {
  const Sizes sizes(x);
  SG_CHECK(noise.has_value() == wanted,
           "noise for the neurons that spike by chance, and no others");
  SG_CHECK(!wanted || (noise->is_contiguous() && noise->scalar_type() == x.scalar_type() &&
                       noise->numel() == sizes.steps * sizes.columns()),
           "noise must be [T, B, N] in x's dtype");
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

using Forwards = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;
using Backwards = std::tuple<Tensor, Tensor, Tensor>;

template <class T>
Forwards forward_as(int64_t function, const Tensor& x, const Maybe& noise, const Tensor& starts,
                    const Tensor& params, const Call& call) {
  const ScalarType dtype = x.scalar_type();
  const auto [first, steps, batch, features] = Sizes(x);
  const StepBlocks blocks(batch, features, call.program);
  const bool keep = call.keep && !call.segment, marked = call.keep && call.segment;
  auto made = [&](bool there, const std::vector<int64_t>& sizes, ScalarType type) {
    return there ? pooled(sizes, type) : none(type);
  };
  const bool two = call.program.outputs > 1;
  Tensor y = pooled({steps, batch, features}, dtype);
  Tensor membrane = made(two, {steps, batch, features}, dtype);
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
  StepScan<T> c = scan_of<T>(x, noise, starts, params, call);
  c.y[0] = mutable_data<T>(y), c.ends = mutable_data<T>(ends);
  c.y[1] = two ? mutable_data<T>(membrane) : nullptr;
  c.reals = mutable_data<T>(reals);
  c.masks = reinterpret_cast<uint16_t*>(mutable_data<int16_t>(masks));
  c.marks = marked ? mutable_data<T>(marks) : nullptr;
  c.keep = keep, c.past = past(c.y[0], c) && (!two || past(c.y[1], c));
  over_blocks(c, blocks, function, 0);
  return {y, membrane, reals, masks, marks, ends};
}

Forwards step_scan(int64_t program, const Tensor& x, const Maybe& noise, const Tensor& starts,
                   const Tensor& params, bool keep, int64_t segment) {
  const Call call{program_of(program), keep, segment};
  check(x, starts, params, call);
  check_noise(noise, x, call.program.noise);
  const int64_t function = call.program.forward;
  if (x.scalar_type() == ScalarType::Double)
    return forward_as<double>(function, x, noise, starts, params, call);
  return forward_as<float>(function, x, noise, starts, params, call);
}

// What a backward pass is given besides what the forward pass was: gradients of the two outputs and
// of the states at the end, none where they are 0.
struct Incoming {
  const Maybe &grad, &grad_membrane, &grad_ends;
};

// The gradient of one output.
template <class T>
void take(StepScan<T>& c, int output, const Maybe& grad) {
  c.grad[output] = data<T>(grad);
  if (!grad.has_value()) return;
  c.grad_step[output] = grad->stride(0);
  c.grad_same[output] = grad->stride(0) == 0 && grad->stride(1) == 0 && grad->stride(2) == 0;
  SG_CHECK(c.grad_same[output] || (grad->stride(2) == 1 && grad->stride(1) == grad->size(2)),
           "an output's gradient must be one number or dense in [B, N]");
}

template <class T>
Backwards backward_as(int64_t function, const Incoming& incoming, const Tensor& x,
                      const Maybe& noise, const Tensor& starts, const Tensor& params,
                      const Tensor& reals, const Tensor& masks, const Tensor& marks,
                      const Call& call) {
  const ScalarType dtype = x.scalar_type();
  const auto [first, steps, batch, features] = Sizes(x);
  const StepBlocks blocks(batch, features, call.program);
  Tensor dx = pooled(like(x), dtype);
  Tensor dstarts = fresh_tensor({call.program.smooth, batch, features}, dtype);
  const int64_t parts = call.program.each ? batch : blocks.count,
                width = call.program.each ? features : 1;
  Tensor sums = call.program.learned
                    ? fresh_tensor({parts, call.program.learned, width}, ScalarType::Double)
                    : none(ScalarType::Double);
  StepScan<T> c = scan_of<T>(x, noise, starts, params, call);
  c.reals = const_cast<T*>(data<T>(reals));
  c.masks = reinterpret_cast<uint16_t*>(const_cast<int16_t*>(data<int16_t>(masks)));
  c.marks = call.segment ? const_cast<T*>(data<T>(marks)) : nullptr;
  take(c, 0, incoming.grad), take(c, 1, incoming.grad_membrane);
  c.grad_ends = data<T>(incoming.grad_ends);
  c.dx = mutable_data<T>(dx), c.dstarts = mutable_data<T>(dstarts);
  c.sums = call.program.learned ? mutable_data<double>(sums) : nullptr;
  c.past = past(c.dx, c);
  const size_t room =
      static_cast<size_t>(call.segment) * (call.program.reals * blocks.block * sizeof(T) +
                                           call.program.masks * (blocks.block / kLanes<T>)*2);
  over_blocks(c, blocks, function, room);
  return {dx, dstarts, sums};
}

Backwards step_scan_backward(int64_t program, const Maybe& grad, const Maybe& grad_membrane,
                             const Maybe& grad_ends, const Tensor& x, const Maybe& noise,
                             const Tensor& starts, const Tensor& params, const Tensor& reals,
                             const Tensor& masks, const Tensor& marks, int64_t segment) {
  const Call call{program_of(program), true, segment};
  check(x, starts, params, call);
  const auto [first, steps, batch, features] = Sizes(x);
  const bool kept = !call.segment;
  if (!kept || noise.has_value()) check_noise(noise, x, call.program.noise);
  const StepBlocks blocks(batch, features, call.program);
  SG_CHECK(!kept || reals.numel() == blocks.count * steps * call.program.reals * blocks.block,
           "kept values of another call");
  SG_CHECK(kept || marks.numel() == (steps + call.segment - 1) / call.segment * starts.numel(),
           "kept states of another call");
  SG_CHECK(!kept || masks.numel() == blocks.count * steps * call.program.masks *
                                         (blocks.block / call.program.lanes),
           "kept masks of another call");
  SG_CHECK(!grad_membrane.has_value() || call.program.outputs > 1, "a gradient without an output");
  for (const Maybe* g : {&grad, &grad_membrane})
    SG_CHECK(!g->has_value() || ((*g)->dim() == 3 && (*g)->size(0) == steps &&
                                 (*g)->size(1) == batch && (*g)->size(2) == features),
             "an output's gradient must be [T, B, N]");
  for (const Maybe* g : {&grad, &grad_membrane, &grad_ends})
    SG_CHECK(!g->has_value() || (*g)->scalar_type() == x.scalar_type(),
             "gradients must have x's dtype");
  check_size(grad_ends, call.program.smooth * batch * features);
  const int64_t function = call.program.backward;
  const Incoming incoming{grad, grad_membrane, grad_ends};
  if (x.scalar_type() == ScalarType::Double)
    return backward_as<double>(function, incoming, x, noise, starts, params, reals, masks, marks,
                               call);
  return backward_as<float>(function, incoming, x, noise, starts, params, reals, masks, marks,
                            call);
}

STABLE_TORCH_LIBRARY_FRAGMENT(spikegrad, m) {
  m.def(
      "step_scan(int program, Tensor x, Tensor? noise, Tensor starts, Tensor params, bool keep, "
      "int segment) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)");
  m.def(
      "step_scan_backward(int program, Tensor? grad, Tensor? grad_membrane, Tensor? grad_ends, "
      "Tensor x, Tensor? noise, Tensor starts, Tensor params, Tensor reals, Tensor masks, Tensor "
      "marks, int segment) -> "
      "(Tensor, Tensor, Tensor)");
}
STABLE_TORCH_LIBRARY_IMPL(spikegrad, CPU, m) {
  m.impl("step_scan", TORCH_BOX(&step_scan));
  m.impl("step_scan_backward", TORCH_BOX(&step_scan_backward));
}

}  // namespace
}  // namespace spikegrad
