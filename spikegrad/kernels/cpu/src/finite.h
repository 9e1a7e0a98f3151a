// Whether numbers hold NaN or infinity.
#pragma once

#include <atomic>

#include "common.h"
#include "simd/simd.h"

namespace spikegrad {

// A finite number times 0 is 0, NaN or infinity times 0 is NaN, which a sum keeps.
template <class T>
inline bool finite_in(const T* x, int64_t n) {
  Lane<T> sum{};
  int64_t i = 0;
  for (; i + kLanes<T> <= n; i += kLanes<T>) sum += load(x + i) * Lane<T>{};
  T all = 0;
  for (int j = 0; j < kLanes<T>; ++j) all += sum[j];
  for (; i < n; ++i) all += x[i] * T(0);
  return all == T(0);
}

template <class T>
bool all_finite(const T* x, int64_t n) {
  std::atomic<bool> found{true};
  parallel(n, int64_t{1} << 15, [&](int64_t begin, int64_t end) {
    constexpr int64_t kAtATime = 1 << 12;
    for (int64_t i = begin; i < end && found.load(std::memory_order_relaxed); i += kAtATime)
      if (!finite_in(x + i, std::min(end - i, kAtATime))) found = false;
  });
  return found;
}

}  // namespace spikegrad
