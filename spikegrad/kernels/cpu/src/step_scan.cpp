// Scans whose step was generated: memory and threads around functions of another library.
#include "programs.h"
#include "tiles.h"

namespace spikegrad {
namespace {

// One call. x is [T, B, N] or, of several inputs, [inputs, T, B, N]; keep: a backward pass may
// follow; segment: after how many steps states are kept instead of what that reads; 0: never.
struct Call {
  const Program& program;
  const Tensor& x;
  const Maybe& noise;
  const Tensor &starts, &params;
  bool keep;
  int64_t segment;
  ScalarType dtype() const { return x.scalar_type(); }
  int64_t steps() const { return x.size(x.dim() - 3); }
  int64_t batch() const { return x.size(x.dim() - 2); }
  int64_t features() const { return x.size(x.dim() - 1); }
  int64_t columns() const { return batch() * features(); }
  int64_t segments() const { return segment ? (steps() + segment - 1) / segment : 0; }
};

// How [B, N] is cut into blocks of columns; with parameters for each neuron a block is of one row.
struct StepBlocks {
  int64_t block, columns, per_row, count;
  explicit StepBlocks(const Call& call)
      : block(call.program.block), columns(call.program.each ? call.features() : call.columns()),
        per_row((columns + block - 1) / block),
        count(per_row * (call.program.each ? call.batch() : 1)) {}
};

template <class T>
StepScan<T> scan_of(const Call& call) {
  StepScan<T> c{};
  c.steps = call.steps(), c.columns = call.columns();
  c.x = data<T>(call.x), c.x_step = call.x.stride(call.x.dim() - 3);
  c.x_input = call.x.dim() > 3 ? call.x.stride(0) : 0;
  c.noise = data<T>(call.noise), c.starts = data<T>(call.starts);
  c.params = data<T>(call.params), c.param_columns = call.params.size(1);
  c.segment = call.segment;
  return c;
}

// Whether steps [B, N] are dense; the strides of one sample or one neuron may be any number.
bool is_dense(const Tensor& t) {
  const int64_t n = t.dim() - 1;
  return (t.size(n) == 1 || t.stride(n) == 1) &&
         (t.size(n - 1) == 1 || t.stride(n - 1) == t.size(n));
}

void check(const Call& call, bool needs_noise) {
  const Program& p = call.program;
  const Tensor& x = call.x;
  SG_CHECK(x.dim() == (p.inputs > 1 ? 4 : 3) && x.numel() > 0 &&
               (p.inputs == 1 || x.size(0) == p.inputs),
           "x must be [T, B, N], or [inputs, T, B, N]");
  SG_CHECK(p.wide == (call.dtype() == ScalarType::Double), "a program of another dtype");
  SG_CHECK(p.block > 0, "a program of a scan");
  SG_CHECK(call.segment >= 0, "a segment must not be negative");
  SG_CHECK(is_dense(x), "x must be dense in [B, N]");
  check_tensor(call.starts, {p.states, call.batch(), call.features()}, call.dtype(),
               "states must be [states, B, N] in x's dtype");
  check_tensor(call.params, {p.parameters, p.each ? call.features() : 1}, call.dtype(),
               "parameters must be [rows, 1 or N] in x's dtype");
  SG_CHECK(call.noise.has_value() == (p.noise > 0 && needs_noise),
           "noise for the neurons that spike by chance, and no others");
  check_tensor(call.noise, {call.steps(), call.batch(), call.features()}, call.dtype(),
               "noise must be [T, B, N] in x's dtype");
}

// Rows that nobody reads again before the caches lose them.
template <class T>
bool past(const T* p, const StepScan<T>& c) {
  return c.columns * sizeof(T) % 64 == 0 && streamed(p, c.steps * c.columns);
}

template <class T>
void over_blocks(const StepScan<T>& c, const StepBlocks& blocks, int64_t function, size_t room) {
  const auto run = reinterpret_cast<StepFunction<T>>(function);
  const int64_t grain = std::max<int64_t>(1, (int64_t{1} << 14) / (c.steps * blocks.block));
  parallel(blocks.count, grain, [&](int64_t begin, int64_t end) {
    const Scratch<char> memory(static_cast<int64_t>(room) + 1);
    for (int64_t block = begin; block < end; ++block) {
      const int64_t column = block % blocks.per_row * blocks.block;
      const int64_t offset = block / blocks.per_row * blocks.columns + column;
      const int n = static_cast<int>(std::min(blocks.block, blocks.columns - column));
      run(c, block, offset, column, n, memory);
    }
  });
}

using Forwards = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;
using Backwards = std::tuple<Tensor, Tensor, Tensor>;

template <class T>
Forwards forward(const Call& call) {
  const Program& p = call.program;
  const ScalarType dtype = call.dtype();
  const int64_t steps = call.steps(), batch = call.batch(), features = call.features();
  const StepBlocks blocks(call);
  const bool keep = call.keep && !call.segment, two = p.outputs > 1;
  const int64_t groups = blocks.block / kLanes<T>, marked = call.keep ? call.segments() : 0;
  Tensor y = pooled({steps, batch, features}, dtype);
  Tensor membrane = pooled_if(two, {steps, batch, features}, dtype);
  Tensor reals = pooled_if(keep && p.reals, {blocks.count, steps, p.reals, blocks.block}, dtype);
  Tensor masks =
      pooled_if(keep && p.masks, {blocks.count, steps, p.masks, groups}, ScalarType::Short);
  Tensor marks = pooled_if(marked, {marked, p.states, batch, features}, dtype);
  Tensor ends = fresh_tensor({p.states, batch, features}, dtype);
  StepScan<T> c = scan_of<T>(call);
  c.y[0] = mutable_data<T>(y), c.y[1] = two ? mutable_data<T>(membrane) : nullptr;
  c.ends = mutable_data<T>(ends), c.reals = mutable_data<T>(reals);
  c.masks = reinterpret_cast<uint16_t*>(mutable_data<int16_t>(masks));
  c.marks = marked ? mutable_data<T>(marks) : nullptr;
  c.keep = keep, c.past = past(c.y[0], c) && (!two || past(c.y[1], c));
  over_blocks(c, blocks, p.forward, 0);
  return {y, membrane, reals, masks, marks, ends};
}

// -> (y, membrane where it is an output too, reals, masks: kept numbers, marks: kept states, ends)
Forwards step_scan(int64_t program, const Tensor& x, const Maybe& noise, const Tensor& starts,
                   const Tensor& params, bool keep, int64_t segment) {
  const Call call{program_of(program), x, noise, starts, params, keep, segment};
  check(call, true);
  return by_type(call.dtype(), [&]<class T>() { return forward<T>(call); });
}

// What a backward pass is given besides what the forward pass was: gradients of the two outputs and
// of the states at the end, none where they are 0, and what was kept.
struct Incoming {
  const Maybe &grad, &grad_membrane, &grad_ends;
  const Tensor &reals, &masks, &marks;
};

void check_incoming(const Call& call, const Incoming& in) {
  const Program& p = call.program;
  const StepBlocks blocks(call);
  const int64_t rows = call.segment ? 0 : blocks.count * call.steps();
  SG_CHECK(in.reals.numel() == rows * p.reals * blocks.block &&
               in.masks.numel() == rows * p.masks * (blocks.block / p.lanes),
           "kept values of another call");
  SG_CHECK(in.marks.numel() == call.segments() * call.starts.numel(),
           "kept states of another call");
  SG_CHECK(!in.grad_membrane.has_value() || p.outputs > 1, "a gradient without an output");
  check_tensor(in.grad_ends, {p.smooth, call.batch(), call.features()}, call.dtype(),
               "the states' gradients must be [states, B, N] in x's dtype");
}

// The gradient of one output.
template <class T>
void take(StepScan<T>& c, const Call& call, int output, const Maybe& grad) {
  if (!grad.has_value()) return;
  SG_CHECK(grad->dim() == 3 && grad->size(0) == call.steps() && grad->size(1) == call.batch() &&
               grad->size(2) == call.features() && grad->scalar_type() == call.dtype(),
           "an output's gradient must be [T, B, N] in x's dtype");
  c.grad[output] = data<T>(grad), c.grad_step[output] = grad->stride(0);
  c.grad_same[output] = grad->stride(0) == 0 && grad->stride(1) == 0 && grad->stride(2) == 0;
  SG_CHECK(c.grad_same[output] || (is_dense(*grad)),
           "an output's gradient must be one number or dense in [B, N]");
}

template <class T>
Backwards backward(const Call& call, const Incoming& in) {
  const Program& p = call.program;
  const StepBlocks blocks(call);
  std::vector<int64_t> like{call.steps(), call.batch(), call.features()};
  if (p.inputs > 1) like.insert(like.begin(), p.inputs);
  Tensor dx = pooled(like, call.dtype());
  Tensor dstarts = fresh_tensor({p.smooth, call.batch(), call.features()}, call.dtype());
  const int64_t parts = p.each ? call.batch() : blocks.count, width = p.each ? call.features() : 1;
  Tensor sums = pooled_if(p.learned, {parts, p.learned, width}, ScalarType::Double);
  StepScan<T> c = scan_of<T>(call);
  c.reals = const_cast<T*>(data<T>(in.reals));
  c.masks = reinterpret_cast<uint16_t*>(const_cast<int16_t*>(data<int16_t>(in.masks)));
  c.marks = call.segment ? const_cast<T*>(data<T>(in.marks)) : nullptr;
  take(c, call, 0, in.grad), take(c, call, 1, in.grad_membrane);
  c.grad_ends = data<T>(in.grad_ends);
  c.dx = mutable_data<T>(dx), c.dstarts = mutable_data<T>(dstarts);
  c.sums = p.learned ? mutable_data<double>(sums) : nullptr;
  c.past = past(c.dx, c);
  const size_t row = p.reals * blocks.block * sizeof(T) + p.masks * (blocks.block / kLanes<T>)*2;
  over_blocks(c, blocks, p.backward, call.segment * row);
  return {dx, dstarts, sums};
}

// -> (dx, dstarts [states with gradients, B, N], sums [parts, learned, 1 or N])
Backwards step_scan_backward(int64_t program, const Maybe& grad, const Maybe& grad_membrane,
                             const Maybe& grad_ends, const Tensor& x, const Maybe& noise,
                             const Tensor& starts, const Tensor& params, const Tensor& reals,
                             const Tensor& masks, const Tensor& marks, int64_t segment) {
  const Call call{program_of(program), x, noise, starts, params, true, segment};
  const Incoming incoming{grad, grad_membrane, grad_ends, reals, masks, marks};
  check(call, segment || noise.has_value());
  check_incoming(call, incoming);
  return by_type(call.dtype(), [&]<class T>() { return backward<T>(call, incoming); });
}

STABLE_TORCH_LIBRARY_IMPL(spikegrad, CPU, m) {
  m.impl("step_scan", TORCH_BOX(&step_scan));
  m.impl("step_scan_backward", TORCH_BOX(&step_scan_backward));
}

}  // namespace
}  // namespace spikegrad
