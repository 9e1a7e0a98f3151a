// Products with spikes: cost follows the spikes, not the size of the matrices.
//
//   y[r]  = bias + sum over i with x[r, i] = 1 of W[:, i]
//   dW[:, i] = sum over r with x[r, i] = 1 of dy[r]
//
// A row's spikes are a list of 16-bit column numbers. Outputs are walked in tiles of 64 columns,
// whose weights are laid out tile by tile ([tile][i][64]) so that one tile stays in the second-level
// cache and 64 sums stay in registers. Sums run over the spikes of a row, or over the rows, in
// order; how the work is cut does not depend on the number of threads.

#include "common.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <tuple>

namespace spikegrad {
namespace {

constexpr int kTile = 64;
constexpr int64_t kRows = 256;  // rows of one piece of work
constexpr int kLanes = 16;
typedef float Lane __attribute__((vector_size(kLanes * sizeof(float))));
constexpr int kVectors = kTile / kLanes;

inline Lane load(const float* p) {
  Lane v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
inline void store(float* p, Lane v) { std::memcpy(p, &v, sizeof v); }

int64_t tiles_of(int64_t columns) { return (columns + kTile - 1) / kTile; }

// The spikes of up to 64 values as bits; `odd` collects values that are neither 0 nor 1.
inline uint64_t bits_of(const float* __restrict x, int n, bool& odd) {
  uint64_t ones = 0, zeros = 0;
  int j = 0;
#if defined(__AVX512F__)
  for (; j + 16 <= n; j += 16) {
    const __m512 v = _mm512_loadu_ps(x + j);
    ones |= static_cast<uint64_t>(_mm512_cmp_ps_mask(v, _mm512_set1_ps(1), _CMP_EQ_OQ)) << j;
    zeros |= static_cast<uint64_t>(_mm512_cmp_ps_mask(v, _mm512_setzero_ps(), _CMP_EQ_OQ)) << j;
  }
#elif defined(__AVX2__)
  for (; j + 8 <= n; j += 8) {
    const __m256 v = _mm256_loadu_ps(x + j);
    const __m256 one = _mm256_cmp_ps(v, _mm256_set1_ps(1), _CMP_EQ_OQ);
    const __m256 zero = _mm256_cmp_ps(v, _mm256_setzero_ps(), _CMP_EQ_OQ);
    ones |= static_cast<uint64_t>(static_cast<unsigned>(_mm256_movemask_ps(one))) << j;
    zeros |= static_cast<uint64_t>(static_cast<unsigned>(_mm256_movemask_ps(zero))) << j;
  }
#endif
  for (; j < n; ++j) {
    ones |= static_cast<uint64_t>(x[j] == 1.0f) << j;
    zeros |= static_cast<uint64_t>(x[j] == 0.0f) << j;
  }
  odd |= (ones | zeros) != (n == 64 ? ~uint64_t{0} : (uint64_t{1} << n) - 1);
  return ones;
}

// pack(x [R, I]) -> (lists [count] int16, starts [R + 1] int64); starts is empty when x is no
// matrix of zeros and ones.
std::tuple<Tensor, Tensor> pack(const Tensor& x) {
  SG_CHECK(x.dim() == 2 && x.is_contiguous() && x.scalar_type() == ScalarType::Float,
           "spikes must be a contiguous float32 [R, I]");
  const int64_t rows = x.size(0), inputs = x.size(1), words = (inputs + 63) / 64;
  SG_CHECK(inputs <= 65536, "at most 65,536 inputs");
  const float* values = data<float>(x);
  Tensor starts = torch::stable::empty({rows + 1}, ScalarType::Long);
  int64_t* start = mutable_data<int64_t>(starts);
  std::vector<uint64_t> bits(rows * words);
  std::atomic<bool> real{false};
  parallel(rows, std::max<int64_t>(1, 16384 / std::max<int64_t>(1, inputs)),
           [&](int64_t begin, int64_t end) {
             for (int64_t r = begin; r < end && !real.load(std::memory_order_relaxed); ++r) {
               int64_t count = 0;
               bool odd = false;
               for (int64_t w = 0; w < words; ++w) {
                 const int n = static_cast<int>(std::min<int64_t>(64, inputs - 64 * w));
                 const uint64_t b = bits_of(values + r * inputs + 64 * w, n, odd);
                 bits[r * words + w] = b;
                 count += __builtin_popcountll(b);
               }
               start[r + 1] = count;
               if (odd) real.store(true, std::memory_order_relaxed);
             }
           });
  if (real) return {torch::stable::empty({0}, ScalarType::Short),
                    torch::stable::empty({0}, ScalarType::Long)};
  start[0] = 0;
  for (int64_t r = 0; r < rows; ++r) start[r + 1] += start[r];
  Tensor lists = torch::stable::empty({start[rows]}, ScalarType::Short);
  uint16_t* list = reinterpret_cast<uint16_t*>(mutable_data<int16_t>(lists));
  parallel(rows, 64, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      uint16_t* out = list + start[r];
      for (int64_t w = 0; w < words; ++w)
        for (uint64_t b = bits[r * words + w]; b; b &= b - 1)
          *out++ = static_cast<uint16_t>(64 * w + __builtin_ctzll(b));
    }
  });
  return {lists, starts};
}

// W [N, I] as [tile][i][64], the last tile filled with zeros.
std::vector<float> tiled(const float* weight, int64_t outputs, int64_t inputs) {
  const int64_t tiles = tiles_of(outputs);
  std::vector<float> out(tiles * inputs * kTile);
  parallel(tiles, 1, [&](int64_t begin, int64_t end) {
    for (int64_t tile = begin; tile < end; ++tile) {
      const int n = static_cast<int>(std::min<int64_t>(kTile, outputs - tile * kTile));
      float* to = out.data() + tile * inputs * kTile;
      if (n < kTile) std::memset(to, 0, inputs * kTile * sizeof(float));
      for (int64_t i0 = 0; i0 < inputs; i0 += kLanes)
        for (int j = 0; j < n; ++j) {
          const float* from = weight + (tile * kTile + j) * inputs;
          for (int64_t i = i0; i < std::min(inputs, i0 + kLanes); ++i) to[i * kTile + j] = from[i];
        }
    }
  });
  return out;
}

// events_linear(x, lists, starts, W [N, I], bias [N]) -> y [R, N]; x stands for its gradient only
Tensor events_linear(const Tensor& /*x*/, const Tensor& lists, const Tensor& starts, const Tensor& weight,
                     const std::optional<Tensor>& bias) {
  SG_CHECK(weight.dim() == 2 && weight.is_contiguous() && weight.scalar_type() == ScalarType::Float,
           "the weight must be a contiguous float32 [N, I]");
  const int64_t rows = starts.size(0) - 1, outputs = weight.size(0), inputs = weight.size(1);
  SG_CHECK(rows >= 0 && lists.numel() == data<int64_t>(starts)[rows], "lists and starts disagree");
  SG_CHECK(!bias.has_value() || bias->numel() == outputs, "the bias must be [N]");
  const uint16_t* list = reinterpret_cast<const uint16_t*>(data<int16_t>(lists));
  const int64_t* start = data<int64_t>(starts);
  const float* b = data<float>(bias);
  Tensor y = pooled({rows, outputs}, ScalarType::Float);
  float* out = mutable_data<float>(y);
  const std::vector<float> weights = tiled(data<float>(weight), outputs, inputs);
  const int64_t tiles = tiles_of(outputs), pieces = (rows + kRows - 1) / kRows;
  parallel(tiles * pieces, 1, [&](int64_t begin, int64_t end) {
    for (int64_t piece = begin; piece < end; ++piece) {
      const int64_t tile = piece / pieces, first = piece % pieces * kRows;
      const int n = static_cast<int>(std::min<int64_t>(kTile, outputs - tile * kTile));
      const float* w = weights.data() + tile * inputs * kTile;
      alignas(64) float rest[kTile] = {};
      if (b) std::memcpy(rest, b + tile * kTile, n * sizeof(float));
      for (int64_t r = first; r < std::min(rows, first + kRows); ++r) {
        Lane sum[kVectors];
        for (int v = 0; v < kVectors; ++v) sum[v] = load(rest + v * kLanes);
        int64_t e = start[r];
        const int64_t last = start[r + 1];
        for (; e + 1 < last; e += 2) {
          const float* one = w + int64_t{list[e]} * kTile;
          const float* two = w + int64_t{list[e + 1]} * kTile;
          for (int v = 0; v < kVectors; ++v)
            sum[v] = (sum[v] + load(one + v * kLanes)) + load(two + v * kLanes);
        }
        if (e < last) {
          const float* one = w + int64_t{list[e]} * kTile;
          for (int v = 0; v < kVectors; ++v) sum[v] = sum[v] + load(one + v * kLanes);
        }
        float* to = out + r * outputs + tile * kTile;
        if (n == kTile) {
          for (int v = 0; v < kVectors; ++v) store(to + v * kLanes, sum[v]);
        } else {
          alignas(64) float whole[kTile];
          for (int v = 0; v < kVectors; ++v) store(whole + v * kLanes, sum[v]);
          std::memcpy(to, whole, n * sizeof(float));
        }
      }
    }
  });
  return y;
}

// events_weight_gradient(lists, starts, dy [R, N], inputs) -> (dW [N, I], db [N])
std::tuple<Tensor, Tensor> events_weight_gradient(const Tensor& lists, const Tensor& starts,
                                                  const Tensor& gradient, int64_t inputs) {
  SG_CHECK(gradient.dim() == 2 && gradient.is_contiguous() &&
               gradient.scalar_type() == ScalarType::Float,
           "the gradient must be a contiguous float32 [R, N]");
  const int64_t rows = gradient.size(0), outputs = gradient.size(1), tiles = tiles_of(outputs);
  SG_CHECK(starts.size(0) == rows + 1, "one list of spikes per row");
  const uint16_t* list = reinterpret_cast<const uint16_t*>(data<int16_t>(lists));
  const int64_t* start = data<int64_t>(starts);
  const float* dy = data<float>(gradient);
  Tensor dweight = torch::stable::empty({outputs, inputs}, ScalarType::Float);
  Tensor dbias = torch::stable::empty({outputs}, ScalarType::Float);
  float *dw = mutable_data<float>(dweight), *db = mutable_data<float>(dbias);
  // Narrow layers have few tiles: their rows are cut into parts as well, which are added up after.
  const int64_t parts = std::clamp<int64_t>(8 / tiles, 1, std::max<int64_t>(1, rows / kRows));
  const int64_t size = (inputs + 1) * kTile;  // one row more for the bias
  std::vector<float> sums(tiles * parts * size);
  parallel(tiles * parts, 1, [&](int64_t begin, int64_t end) {
    for (int64_t piece = begin; piece < end; ++piece) {
      const int64_t tile = piece / parts, part = piece % parts;
      const int n = static_cast<int>(std::min<int64_t>(kTile, outputs - tile * kTile));
      float* to = sums.data() + piece * size;
      std::memset(to, 0, size * sizeof(float));
      Lane all[kVectors] = {};
      for (int64_t r = rows * part / parts; r < rows * (part + 1) / parts; ++r) {
        alignas(64) float whole[kTile] = {};
        const float* from = dy + r * outputs + tile * kTile;
        if (n < kTile) {
          std::memcpy(whole, from, n * sizeof(float));
          from = whole;
        }
        Lane g[kVectors];
        for (int v = 0; v < kVectors; ++v) {
          g[v] = load(from + v * kLanes);
          all[v] = all[v] + g[v];
        }
        for (int64_t e = start[r]; e < start[r + 1]; ++e) {
          float* row = to + int64_t{list[e]} * kTile;
          for (int v = 0; v < kVectors; ++v)
            store(row + v * kLanes, load(row + v * kLanes) + g[v]);
        }
      }
      for (int v = 0; v < kVectors; ++v) store(to + inputs * kTile + v * kLanes, all[v]);
    }
  });
  parallel(tiles, 1, [&](int64_t begin, int64_t end) {
    for (int64_t tile = begin; tile < end; ++tile) {
      const int n = static_cast<int>(std::min<int64_t>(kTile, outputs - tile * kTile));
      float* total = sums.data() + tile * parts * size;
      for (int64_t part = 1; part < parts; ++part)
        for (int64_t k = 0; k < size; ++k) total[k] += total[part * size + k];
      for (int j = 0; j < n; ++j) {
        float* row = dw + (tile * kTile + j) * inputs;
        for (int64_t i = 0; i < inputs; ++i) row[i] = total[i * kTile + j];
        db[tile * kTile + j] = total[inputs * kTile + j];
      }
    }
  });
  return {dweight, dbias};
}

}  // namespace
}  // namespace spikegrad

STABLE_TORCH_LIBRARY_FRAGMENT(spikegrad, m) {
  m.def("pack(Tensor x) -> (Tensor lists, Tensor starts)");
  m.def("events_linear(Tensor x, Tensor lists, Tensor starts, Tensor weight, Tensor? bias) -> Tensor");
  m.def(
      "events_weight_gradient(Tensor lists, Tensor starts, Tensor gradient, int inputs) -> "
      "(Tensor dweight, Tensor dbias)");
}

STABLE_TORCH_LIBRARY_IMPL(spikegrad, CPU, m) {
  m.impl("pack", TORCH_BOX(&spikegrad::pack));
  m.impl("events_linear", TORCH_BOX(&spikegrad::events_linear));
  m.impl("events_weight_gradient", TORCH_BOX(&spikegrad::events_weight_gradient));
}
