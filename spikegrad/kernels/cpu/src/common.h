// What all kernels share: tensors of the stable ABI, a pool of buffers, threads, subnormals.
#pragma once

#include "simd/subnormals.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>
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

// float32 or float64 as a tensor is: go<T>().
template <class F>
auto by_type(ScalarType dtype, const F& go) {
  if (dtype == ScalarType::Double) return go.template operator()<double>();
  SG_CHECK(dtype == ScalarType::Float, "numbers must be float32 or float64");
  return go.template operator()<float>();
}

// A contiguous tensor of these sizes, or none.
inline void check_tensor(const Maybe& t, const std::vector<int64_t>& sizes, ScalarType dtype,
                         const char* what) {
  if (!t.has_value()) return;
  bool good = t->dim() == static_cast<int64_t>(sizes.size()) && t->is_contiguous() &&
              t->scalar_type() == dtype;
  for (size_t d = 0; good && d < sizes.size(); ++d) good = t->size(d) == sizes[d];
  SG_CHECK(good, what);
}

inline std::vector<int64_t> strides_of(const std::vector<int64_t>& sizes) {
  std::vector<int64_t> strides(sizes.size());
  int64_t stride = 1;
  for (size_t d = sizes.size(); d-- > 0; stride *= sizes[d]) strides[d] = stride;
  return strides;
}
inline std::vector<int64_t> sizes_of(const Tensor& t) {
  std::vector<int64_t> sizes;
  for (int64_t d = 0; d < t.dim(); ++d) sizes.push_back(t.size(d));
  return sizes;
}
// A tensor of memory that is there already, not by way of the dispatcher: that takes 2 us.
inline Tensor tensor_at(void* memory, const std::vector<int64_t>& sizes,
                        const std::vector<int64_t>& strides, ScalarType dtype) {
  const torch::stable::Device cpu(torch::headeronly::DeviceType::CPU);
  return torch::stable::from_blob(memory, sizes, strides, cpu, dtype);
}
// A tensor that stands for "not there" among an operator's outputs, of which it has a dozen.
inline Tensor none(ScalarType dtype) {
  static double nowhere = 0;
  return tensor_at(&nowhere, {0}, {1}, dtype);
}
// A tensor of torch's own memory (uninitialised).
inline Tensor fresh_tensor(const std::vector<int64_t>& sizes, ScalarType dtype) {
  AtenTensorHandle made = nullptr;
  const auto kind = torch::stable::detail::to<int32_t>(torch::stable::detail::from(dtype));
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_empty_strided(
      static_cast<int64_t>(sizes.size()), sizes.data(), strides_of(sizes).data(), kind,
      aoti_torch_device_type_cpu(), 0, &made));
  return Tensor(made);
}
// A tensor whose memory comes from the pool and goes back to it (uninitialised).
Tensor pooled(const std::vector<int64_t>& sizes, ScalarType dtype, Pages pages = Pages::large);
// The same, or none.
inline Tensor pooled_if(bool there, const std::vector<int64_t>& sizes, ScalarType dtype,
                        Pages pages = Pages::large) {
  return there ? pooled(sizes, dtype, pages) : none(dtype);
}

// Memory of a kernel's own for n numbers, from the pool where it is large, gone at the end of its
// scope.
using Borrowed = std::unique_ptr<void, void (*)(void*)>;
Borrowed borrow(size_t bytes);
template <class T>
class Scratch {
 public:
  Scratch() = default;
  explicit Scratch(int64_t n) : memory_(borrow(static_cast<size_t>(n) * sizeof(T))) {}
  T* get() const { return static_cast<T*>(memory_.get()); }
  operator T*() const { return get(); }

 private:
  Borrowed memory_{nullptr, std::free};
};

// body(begin, end) over [0, n) on torch's own threads; grain: the least that is worth a thread.
template <class F>
void parallel(int64_t n, int64_t grain, const F& body) {
  torch::stable::parallel_for(0, n, grain, [&](int64_t begin, int64_t end) {
    FlushSubnormals flush;
    body(begin, end);
  });
}
// body(k) for every k below n.
template <class F>
void parallel_each(int64_t n, int64_t grain, const F& body) {
  parallel(n, grain, [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) body(k);
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
const T* data(const Maybe& t) {
  return t.has_value() ? data<T>(*t) : nullptr;
}
// Words of bits, which torch knows as int64; null where there are none.
inline const uint64_t* words_of(const Tensor& t) {
  return t.numel() ? reinterpret_cast<const uint64_t*>(data<int64_t>(t)) : nullptr;
}
inline uint64_t* words_of(Tensor& t) {
  return t.numel() ? reinterpret_cast<uint64_t*>(mutable_data<int64_t>(t)) : nullptr;
}
inline const uint64_t* words_of(const Maybe& t) { return t.has_value() ? words_of(*t) : nullptr; }

}  // namespace spikegrad
