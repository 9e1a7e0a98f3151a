"""The C++ around the statements of one step of some rows: loops over rows and lanes."""

__all__ = ["TEMPLATE"]

TEMPLATE = """// Generated from the step {name}.
#include "simd/functions.h"
#include "step.h"

#include <limits>

namespace spikegrad {{
namespace {{

using T = {type};
constexpr int kReals = {reals}, kHeld = {held};
constexpr bool kBefore = {before}, kInput = {input}, kWithin = {within};

template <bool kKeep, bool kSupport, bool kFew>
void forward_rows(const RowsStep<T>& c) {{
  alignas(64) [[maybe_unused]] T held[kHeld + 1][kTile];
{parameters}
  [[maybe_unused]] T* few = kFew ? *c.few : nullptr;
  [[maybe_unused]] const uint64_t there = mask_of(c.n);
  for (int64_t row = 0; row < c.rows; ++row) {{
    [[maybe_unused]] const T* x = c.x + row * c.x_row;
    T* states = c.states + row * kTile;
    [[maybe_unused]] T* y = c.y + row * c.y_row;
    [[maybe_unused]] T* reals = c.reals + row * kTile;
    if (kKeep && !kFew && !c.past)
      for (int k = 0; k < kReals; ++k) fetch(reals + k * c.real + c.ahead, true);
{words}
    for (int j = 0; j < kTile; j += kLanes<T>) {{
{forward}
    }}
{leave}
  }}
  if (kFew) *c.few = few;
}}

template <bool kFirst, bool kAdd, bool kFew>
void backward_rows(const RowsBack<T>& c) {{
  alignas(64) [[maybe_unused]] T held[kHeld + 1][kTile];
{parameters}
  [[maybe_unused]] const T* few = kFew ? *c.few : nullptr;
  for (int64_t row = 0; row < c.rows; ++row) {{
    [[maybe_unused]] const T* x = kInput ? c.x + row * kTile : nullptr;
    [[maybe_unused]] const T* x_before = kInput && !kFirst ? c.x_before + row * kTile : nullptr;
    [[maybe_unused]] const T* grad = c.grad + row * c.grad_row;
    [[maybe_unused]] const T* reals = c.reals + row * kTile;
    [[maybe_unused]] const T* reals_before = kFirst ? nullptr : c.reals_before + row * kTile;
    [[maybe_unused]] const T* first = kFirst ? c.first + row * kTile : nullptr;
    [[maybe_unused]] T* carry = c.carry + row * kTile;
    T* dx = c.dx + row * c.dx_row;
    if (!kFew)
      for (int k = 0; k < kReals; ++k) fetch(reals + k * c.real - c.ahead, false);
{given}
    for (int j = 0; j < kTile; j += kLanes<T>) {{
{backward}
    }}
  }}
  if (kFew) *c.few = few;
}}

template <bool kFew>
void backward_by(const RowsBack<T>& c) {{
  if (kBefore && c.first)
    c.add ? backward_rows<kBefore, true, kFew>(c) : backward_rows<kBefore, false, kFew>(c);
  else
    c.add ? backward_rows<false, true, kFew>(c) : backward_rows<false, false, kFew>(c);
}}

}}  // namespace

extern "C" __attribute__((visibility("default"))) void SPIKEGRAD_STEP(forward)(
    const RowsStep<T>& c) {{
  if (c.keep)
    c.few ? forward_rows<true, true, kWithin>(c) : forward_rows<true, true, false>(c);
  else
    c.support ? forward_rows<false, true, false>(c) : forward_rows<false, false, false>(c);
}}

extern "C" __attribute__((visibility("default"))) void SPIKEGRAD_STEP(backward)(
    const RowsBack<T>& c) {{
  c.few ? backward_by<kWithin>(c) : backward_by<false>(c);
}}

}}  // namespace spikegrad
"""
