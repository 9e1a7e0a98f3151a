// Sixteen channels at a time, for kernels over channels-last images.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

namespace spikegrad {
namespace {

// Sixteen values, numbers of the same width, bytes.
template <class T>
struct Wide {
  using Number = std::conditional_t<sizeof(T) == 4, int32_t, int64_t>;
  typedef T Values __attribute__((vector_size(16 * sizeof(T))));
  typedef Number Numbers __attribute__((vector_size(16 * sizeof(T))));
  typedef uint8_t Bytes __attribute__((vector_size(16)));
};

// n of sixteen; zeros beyond.
template <class V, class T>
inline V take(const T* p, int n) {
  V v{};
  if (n == 16)
    std::memcpy(&v, p, sizeof v);
  else
    std::memcpy(&v, p, n * sizeof(T));
  return v;
}
template <class V, class T>
inline void put(T* p, V v, int n) {
  if (n == 16)
    std::memcpy(p, &v, sizeof v);
  else
    std::memcpy(p, &v, n * sizeof(T));
}

}  // namespace
}  // namespace spikegrad
