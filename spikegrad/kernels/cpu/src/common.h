// What all kernels share: tensors of the stable ABI, a pool of buffers, threads, subnormals.
#pragma once

#include "simd/subnormals.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

namespace spikegrad {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;
using Maybe = std::optional<Tensor>;

// Kernels check what memory safety needs; the Python side has checked the rest and says it better.
// Not STD_TORCH_CHECK: that begins with the C++ function, file and line.
#define SG_CHECK(condition, what)                \
  do {                                           \
    if (!(condition)) ::spikegrad::refuse(what); \
  } while (false)
[[noreturn, gnu::cold]] inline void refuse(const char* why) {
  throw std::runtime_error(std::string("spikegrad kernel: ") + why);
}

// Large pages are fast; small ones take memory only where something is written, for buffers as
// large as the worst case of which the front of every part is used.
enum class Pages { large, small };

// A tensor whose memory comes from the pool and goes back to it (uninitialised).
Tensor pooled(const std::vector<int64_t>& sizes, ScalarType dtype, Pages pages = Pages::large);

// A state of n numbers, or none.
inline void check_size(const std::optional<Tensor>& state, int64_t n) {
  SG_CHECK(!state.has_value() || (state->numel() == n && state->is_contiguous()),
           "a state must be a contiguous [B, N]");
}

// A tensor of torch's own memory (uninitialised), not by way of the dispatcher: that takes 2 us.
inline Tensor fresh_tensor(const std::vector<int64_t>& sizes, ScalarType dtype) {
  std::vector<int64_t> strides(sizes.size());
  int64_t stride = 1;
  for (size_t d = sizes.size(); d-- > 0; stride *= sizes[d]) strides[d] = stride;
  AtenTensorHandle made = nullptr;
  const auto kind = torch::stable::detail::to<int32_t>(torch::stable::detail::from(dtype));
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_empty_strided(static_cast<int64_t>(sizes.size()),
                                                         sizes.data(), strides.data(), kind,
                                                         aoti_torch_device_type_cpu(), 0, &made));
  return Tensor(made);
}
// A tensor that stands for "not there" among an operator's outputs, of which it has a dozen.
inline Tensor none(ScalarType dtype) {
  static double nowhere = 0;
  const torch::stable::Device cpu(torch::headeronly::DeviceType::CPU);
  return torch::stable::from_blob(&nowhere, {0}, {1}, cpu, dtype);
}

// Memory of a kernel's own, from the pool where it is large, gone at the end of its scope.
class Scratch {
 public:
  Scratch() = default;
  explicit Scratch(size_t bytes);
  Scratch(const Scratch&) = delete;
  Scratch(Scratch&& other) noexcept;
  Scratch& operator=(Scratch&& other) noexcept;
  ~Scratch();
  template <class T>
  T* as() const {
    return static_cast<T*>(memory_);
  }

 private:
  void* memory_ = nullptr;
  bool pooled_ = false;
};
template <class T>
Scratch scratch(int64_t n) {
  return Scratch(static_cast<size_t>(n) * sizeof(T));
}

// Bytes handed out and not yet returned; bytes kept for reuse.
int64_t pool_live();
int64_t pool_idle();
void pool_trim();
void pool_poison(bool on);

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
