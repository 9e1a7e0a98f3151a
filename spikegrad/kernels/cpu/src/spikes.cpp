// Spikes as bits, for those who want to know before they multiply.
#include "spikes.h"

#include <tuple>

namespace spikegrad {
namespace {

template <class T>
int64_t pack_counted(const Tensor& x, Tensor& bits) {
  const int64_t rows = x.size(0) * x.size(1), columns = x.size(2), words = tiles_of(columns);
  uint64_t* to = reinterpret_cast<uint64_t*>(mutable_data<int64_t>(bits));
  if (!pack(data<T>(x), rows, columns, columns, to)) return -1;
  std::atomic<int64_t> count{0};
  parallel(rows, 1024, [&](int64_t begin, int64_t end) {
    count += count_of(to + begin * words, (end - begin) * words);
  });
  return count;
}

// pack(x [T, B, N]) -> (bits [T, B, words], ones [1]); ones is -1 where x is no zeros and ones.
std::tuple<Tensor, Tensor> pack_spikes(const Tensor& x) {
  SG_CHECK(x.dim() == 3 && x.is_contiguous(), "spikes must be a contiguous [T, B, N]");
  SG_CHECK(x.scalar_type() == ScalarType::Float || x.scalar_type() == ScalarType::Double,
           "spikes must be float32 or float64");
  Tensor bits = pooled({x.size(0), x.size(1), tiles_of(x.size(2))}, ScalarType::Long);
  Tensor ones = fresh_tensor({1}, ScalarType::Long);
  mutable_data<int64_t>(ones)[0] = x.scalar_type() == ScalarType::Double
                                       ? pack_counted<double>(x, bits)
                                       : pack_counted<float>(x, bits);
  return {bits, ones};
}

// same_every_step(x [T, B, N]) -> whether all steps are equal; the first difference ends it.
bool same_every_step(const Tensor& x) {
  SG_CHECK(x.dim() == 3 && x.is_contiguous(), "x must be a contiguous [T, B, N]");
  const size_t wide = x.scalar_type() == ScalarType::Double ? 8 : 4;
  const size_t bytes = static_cast<size_t>(x.size(1) * x.size(2)) * wide;
  const char* first = static_cast<const char*>(x.const_data_ptr());
  for (int64_t t = 1; t < x.size(0); ++t)
    if (std::memcmp(first, first + t * bytes, bytes) != 0) return false;
  return true;
}

}  // namespace
}  // namespace spikegrad

STABLE_TORCH_LIBRARY_FRAGMENT(spikegrad, m) {
  m.def("pack(Tensor x) -> (Tensor bits, Tensor ones)");
  m.def("same_every_step(Tensor x) -> bool");
}

STABLE_TORCH_LIBRARY_IMPL(spikegrad, CPU, m) {
  m.impl("pack", TORCH_BOX(&spikegrad::pack_spikes));
  m.impl("same_every_step", TORCH_BOX(&spikegrad::same_every_step));
}
