// What all kernels share: tensors of the stable ABI, a pool of buffers, threads, subnormals.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <cstdint>
#include <optional>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace spikegrad {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// Kernels check what memory safety needs; the Python side has checked the rest and says it better.
#define SG_CHECK(condition, what) STD_TORCH_CHECK(condition, "spikegrad kernel: ", what)

// A tensor whose memory comes from the pool and goes back to it (uninitialised).
Tensor pooled(const std::vector<int64_t>& sizes, ScalarType dtype);

// Bytes handed out and not yet returned; bytes kept for reuse.
int64_t pool_live();
int64_t pool_idle();
void pool_trim();

// Subnormal numbers are flushed to zero while this lives; the caller's mode comes back after it.
class FlushSubnormals {
 public:
#if defined(__x86_64__)
  FlushSubnormals() : before_(_mm_getcsr()) { _mm_setcsr(before_ | 0x8040); }
  ~FlushSubnormals() { _mm_setcsr(before_); }

 private:
  unsigned before_;
#endif
};

// body(begin, end) over [0, n) on torch's own threads; grain: the least that is worth a thread.
template <class F>
void parallel(int64_t n, int64_t grain, const F& body) {
  torch::stable::parallel_for(0, n, grain, [&](int64_t begin, int64_t end) {
    FlushSubnormals flush;
    body(begin, end);
  });
}

template <class T>
const T* data(const Tensor& t) {
  return static_cast<const T*>(t.const_data_ptr());
}
template <class T>
T* mutable_data(Tensor& t) {
  return static_cast<T*>(t.mutable_data_ptr());
}
template <class T>
const T* data(const std::optional<Tensor>& t) {
  return t.has_value() ? static_cast<const T*>(t->const_data_ptr()) : nullptr;
}

}  // namespace spikegrad
