"""The C++ around the statements of one step: loops over time and lanes, memory, entry points."""

__all__ = ["TEMPLATE"]

TEMPLATE = """// Generated from the step {name}.
#include "simd/functions.h"
#include "step.h"

#include <limits>

namespace spikegrad {{
namespace {{

using T = {type};
constexpr int kBlock = {block}, kGroups = kBlock / kLanes<T>;
// A cache line longer than a power of two, whose rows would lie in the same sets of the cache.
constexpr int kRow = kBlock + 64 / sizeof(T);
using Rows = T[kRow];
constexpr int kStates = {states}, kSmooth = {smooth}, kReals = {reals}, kMasks = {masks};
constexpr int kLearned = {learned}, kHeld = {held};
constexpr int kInputs = {inputs}, kOutputs = {outputs};
// kInput, kReadNoise: whether the backward pass reads the inputs, or the noise, again.
constexpr bool kEach = {each}, kBefore = {before}, kInput = {input};
constexpr bool kNoise = {noise}, kReadNoise = {read_noise};

// n columns from step t0 to step t1; states in and out.
template <bool kOutput, bool kKeep>
[[gnu::noinline]] void forward_steps(const StepScan<T>& c, int64_t offset,
                                     [[maybe_unused]] int64_t column, int n, int64_t t0, int64_t t1,
                                     Rows* states, T* reals, uint16_t* masks,
                                     [[maybe_unused]] bool past) {{
  alignas(64) [[maybe_unused]] T held[kHeld + 1][kRow];
{parameters}
  for (int64_t t = t0; t < t1; ++t) {{
    const T* x = c.x + t * c.x_step + offset;
    [[maybe_unused]] const T* noise = kNoise ? c.noise + t * c.columns + offset : nullptr;
    [[maybe_unused]] T* y[kOutputs];
    if (kOutput)
      for (int k = 0; k < kOutputs; ++k) y[k] = c.y[k] + t * c.columns + offset;
    if (kOutput && c.marks && t % c.segment == 0)
      for (int k = 0; k < kStates; ++k)
        std::copy(states[k], states[k] + n,
                  c.marks + (t / c.segment * kStates + k) * c.columns + offset);
    for (int j = 0; j < n; j += {together} * kLanes<T>) {{
      for (int k = 0; k < kInputs; ++k) __builtin_prefetch(x + k * c.x_input + c.x_step + j);
{forward}
    }}
    if (kKeep) reals += kReals * kBlock, masks += kMasks * kGroups;
  }}
}}

// n columns from step t1 back to step t0. first: the states before t0; carry: gradients of the
// states, in and out; grad_rows: gradients of outputs that are the same at every step.
[[gnu::noinline]] void backward_steps(const StepScan<T>& c, int64_t offset,
                                      [[maybe_unused]] int64_t column, int n, int64_t t0,
                                      int64_t t1, [[maybe_unused]] Rows* first, Rows* carry,
                                      [[maybe_unused]] Rows* sums, const T* reals_from,
                                      const uint16_t* masks_from, const T* const* grad_rows,
                                      bool past) {{
  alignas(64) [[maybe_unused]] T held[kHeld + 1][kRow];
{parameters}
  auto step = [&]<bool kFirst>(int64_t t) {{
    [[maybe_unused]] const T* x = kInput ? c.x + t * c.x_step + offset : nullptr;
    [[maybe_unused]] const T* x_before = kInput && !kFirst ? x - c.x_step : nullptr;
    [[maybe_unused]] const T* noise = kReadNoise ? c.noise + t * c.columns + offset : nullptr;
    [[maybe_unused]] const T* noise_before = kReadNoise && !kFirst ? noise - c.columns : nullptr;
    const T* grad[kOutputs];
    for (int k = 0; k < kOutputs; ++k)
      grad[k] = grad_rows[k] ? grad_rows[k] : c.grad[k] + t * c.grad_step[k] + offset;
    [[maybe_unused]] const T* reals = reals_from + (t - t0) * kReals * kBlock;
    [[maybe_unused]] const uint16_t* masks = masks_from + (t - t0) * kMasks * kGroups;
    [[maybe_unused]] const T* reals_before = kFirst ? nullptr : reals - kReals * kBlock;
    [[maybe_unused]] const uint16_t* masks_before =
        kFirst ? nullptr : masks - kMasks * kGroups;
    T* dx = c.dx + t * c.columns + offset;
    for (int j = 0; j < n; j += {back_together} * kLanes<T>) {{
      // Steps lie too far apart for the CPU to guess what comes next.
      for (int k = 0; k < kReals; ++k) __builtin_prefetch(reals + (k - kReals) * kBlock + j);
      for (int k = 0; k < kOutputs; ++k)
        if (!grad_rows[k]) __builtin_prefetch(grad[k] - c.grad_step[k] + j);
      for (int k = 0; kInput && k < kInputs; ++k)
        __builtin_prefetch(x + k * c.x_input - c.x_step + j);
{backward}
    }}
  }};
  for (int64_t t = t1; t-- > t0;)
    kBefore && t == t0 ? step.template operator()<true>(t) : step.template operator()<false>(t);
}}

// What gradients of parameters a block has, added up in double or kept for each neuron.
void write_sums(const StepScan<T>& c, int64_t block, int64_t column, int n, const Rows* sums) {{
  const int64_t width = kEach ? c.param_columns : 1;
  const int64_t part = kEach ? block / ((width + kBlock - 1) / kBlock) : block;
  for (int k = 0; k < kLearned; ++k) {{
    double* out = c.sums + (part * kLearned + k) * width;
    if (kEach) {{
      std::copy(sums[k], sums[k] + n, out + column);
    }} else {{
      *out = 0;
      for (int j = 0; j < n; ++j) *out += sums[k][j];
    }}
  }}
}}

}}  // namespace

extern "C" __attribute__((visibility("default"))) void SPIKEGRAD_STEP(forward)(
    const StepScan<T>& c, int64_t block, int64_t offset, int64_t column, int n, char*) {{
  alignas(64) T states[kStates][kRow];
  for (int k = 0; k < kStates; ++k)
    copy_block<kBlock>(c.starts + k * c.columns + offset, n, states[k]);
  const bool past = c.past && offset * sizeof(T) % 64 == 0;
  if (c.keep)
    forward_steps<true, true>(c, offset, column, n, 0, c.steps, states,
                              c.reals + block * c.steps * kReals * kBlock,
                              c.masks + block * c.steps * kMasks * kGroups, past);
  else
    forward_steps<true, false>(c, offset, column, n, 0, c.steps, states, nullptr, nullptr, past);
  for (int k = 0; k < kStates; ++k)
    std::copy(states[k], states[k] + n, c.ends + k * c.columns + offset);
}}

extern "C" __attribute__((visibility("default"))) void SPIKEGRAD_STEP(backward)(
    const StepScan<T>& c, int64_t block, int64_t offset, int64_t column, int n, char* room) {{
  alignas(64) T carry[kSmooth][kRow], first[kStates][kRow], row[kOutputs][kRow];
  alignas(64) T sums[kLearned + 1][kRow] = {{}};
  for (int k = 0; k < kSmooth; ++k)
    if (c.grad_ends)
      copy_block<kBlock>(c.grad_ends + k * c.columns + offset, n, carry[k]);
    else
      std::fill(carry[k], carry[k] + kBlock, T(0));
  const T* grad_rows[kOutputs];
  for (int k = 0; k < kOutputs; ++k) {{
    grad_rows[k] = c.grad[k] && !c.grad_same[k] ? nullptr : row[k];
    if (grad_rows[k]) std::fill(row[k], row[k] + kBlock, c.grad[k] ? *c.grad[k] : T(0));
  }}
  const bool past = c.past && offset * sizeof(T) % 64 == 0;
  if (!c.segment) {{
    for (int k = 0; k < kStates; ++k)
      copy_block<kBlock>(c.starts + k * c.columns + offset, n, first[k]);
    backward_steps(c, offset, column, n, 0, c.steps, first, carry, sums,
                   c.reals + block * c.steps * kReals * kBlock,
                   c.masks + block * c.steps * kMasks * kGroups, grad_rows, past);
  }} else {{
    alignas(64) T states[kStates][kRow];
    T* reals = reinterpret_cast<T*>(room);
    uint16_t* masks = reinterpret_cast<uint16_t*>(reals + c.segment * kReals * kBlock);
    for (int64_t s = (c.steps + c.segment - 1) / c.segment; s-- > 0;) {{
      const int64_t t0 = s * c.segment, t1 = std::min(c.steps, t0 + c.segment);
      for (int k = 0; k < kStates; ++k) {{
        copy_block<kBlock>(c.marks + (s * kStates + k) * c.columns + offset, n, first[k]);
        std::copy(first[k], first[k] + kBlock, states[k]);
      }}
      forward_steps<false, true>(c, offset, column, n, t0, t1, states, reals, masks, false);
      backward_steps(c, offset, column, n, t0, t1, first, carry, sums, reals, masks, grad_rows,
                     past);
    }}
  }}
  for (int k = 0; k < kSmooth; ++k)
    std::copy(carry[k], carry[k] + n, c.dstarts + k * c.columns + offset);
  if (kLearned) write_sums(c, block, column, n, sums);
}}

}}  // namespace spikegrad
"""
