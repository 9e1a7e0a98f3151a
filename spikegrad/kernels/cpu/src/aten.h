// What kernels call of torch's own.
#pragma once

#include "common.h"

#include <array>

namespace spikegrad {

// The operator `name.overload`, which returns one tensor.
template <class... Arguments>
Tensor call(const char* name, const char* overload, const Arguments&... arguments) {
  std::array<StableIValue, sizeof...(arguments)> stack{torch::stable::detail::from(arguments)...};
  STABLE_TORCH_ERROR_CODE_CHECK(
      torch_call_dispatcher(name, overload, stack.data(), TORCH_ABI_VERSION));
  return torch::stable::detail::to<Tensor>(stack[0]);
}
inline Tensor call_linear(const Tensor& x, const Tensor& weight, const Maybe& bias) {
  return call("aten::linear", "", x, weight, bias);
}
inline void call_mm_out(const Tensor& a, const Tensor& b, const Tensor& out) {
  call("aten::mm", "out", a, b, out);
}
// The sum over one dimension, which goes.
inline Tensor call_sum(const Tensor& x, int64_t dim) {
  const std::optional dims(torch::headeronly::IntHeaderOnlyArrayRef(&dim, 1));
  return call("aten::sum", "dim_IntList", x, dims, false, std::optional<ScalarType>());
}
inline Tensor expanded(const Tensor& t, const std::vector<int64_t>& sizes) {
  return call("aten::expand", "", t, torch::headeronly::IntHeaderOnlyArrayRef(sizes), false);
}
template <class T>
Tensor view_of(const T* p, int64_t rows, int64_t columns, int64_t stride, ScalarType dtype) {
  return tensor_at(const_cast<T*>(p), {rows, columns}, {stride, 1}, dtype);
}

}  // namespace spikegrad
