// Spikes as bits, for those who want to know before they multiply.
#include "spikes.h"

namespace spikegrad {
namespace {

// pack(x [T, B, N]) -> (bits [T, B, words], ones [1]); ones is -1 where x is no zeros and ones.
std::tuple<Tensor, Tensor> pack_spikes(const Tensor& x) {
  SG_CHECK(x.dim() == 3 && x.is_contiguous(), "spikes must be a contiguous [T, B, N]");
  const int64_t rows = x.size(0) * x.size(1), columns = x.size(2), words = tiles_of(columns);
  Tensor bits = pooled({x.size(0), x.size(1), words}, ScalarType::Long);
  Tensor many = fresh_tensor({1}, ScalarType::Long);
  uint64_t* to = words_of(bits);
  const bool spikes =
      by_type(x.scalar_type(), [&]<class T>() { return pack(data<T>(x), rows, columns, to); });
  mutable_data<int64_t>(many)[0] = spikes ? ones(to, rows * words) : -1;
  return {bits, many};
}

// pack_rows(x [rows, N], index [R]) -> (bits [1, R, words], ones [1]) of some rows, as pack.
std::tuple<Tensor, Tensor> pack_rows(const Tensor& x, const Tensor& index) {
  SG_CHECK(x.dim() == 2 && x.is_contiguous(), "x must be a contiguous [rows, N]");
  SG_CHECK(index.dim() == 1 && index.is_contiguous() && index.scalar_type() == ScalarType::Long,
           "an index must be int64 [R]");
  const int64_t rows = index.numel(), columns = x.size(1), words = tiles_of(columns);
  const int64_t* at = data<int64_t>(index);
  SG_CHECK(std::all_of(at, at + rows, [&](int64_t r) { return r >= 0 && r < x.size(0); }),
           "an index must be of rows that are there");
  Tensor bits = pooled({1, rows, words}, ScalarType::Long);
  Tensor many = fresh_tensor({1}, ScalarType::Long);
  uint64_t* to = words_of(bits);
  const bool spikes =
      by_type(x.scalar_type(), [&]<class T>() { return pack(data<T>(x), rows, columns, to, at); });
  mutable_data<int64_t>(many)[0] = spikes ? ones(to, rows * words) : -1;
  return {bits, many};
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

STABLE_TORCH_LIBRARY_IMPL(spikegrad, CPU, m) {
  m.impl("pack", TORCH_BOX(&spikegrad::pack_spikes));
  m.impl("pack_rows", TORCH_BOX(&spikegrad::pack_rows));
  m.impl("same_every_step", TORCH_BOX(&spikegrad::same_every_step));
}
