// The built-in surrogate derivatives on a block of columns. One switch per block, so that kernels
// are not compiled once per surrogate. The definitions are spikegrad/surrogate/shapes.py.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

namespace spikegrad {

// Every family, in the order of FAMILIES in kernels/cpu/library.py: its name, whether its
// derivative is 0 beyond one slope's width, whether a few operations make it (tile.h), and how many
// shape parameters it has. The switches below and in tile.h have no default: the compiler names the
// one that a new family is missing in.
#define SPIKEGRAD_FAMILIES(ROW)        \
  ROW(arctan, false, true, 0)          \
  ROW(sigmoid, false, false, 0)        \
  ROW(fast_sigmoid, false, true, 0)    \
  ROW(triangle, true, true, 0)         \
  ROW(boxcar, true, true, 0)           \
  ROW(gaussian, false, false, 0)       \
  ROW(exponential, false, false, 0)    \
  ROW(algebraic, false, false, 0)      \
  ROW(multi_gaussian, false, false, 2) \
  ROW(q_pseudospike, false, false, 1)  \
  ROW(leaky, false, false, 1)          \
  ROW(straight_through, false, false, 0)

enum class Family : int64_t {
  own = -1,  // a user's: torch evaluates its derivative
#define SPIKEGRAD_MEMBER(name, compact, plain, parameters) name,
  SPIKEGRAD_FAMILIES(SPIKEGRAD_MEMBER)
#undef SPIKEGRAD_MEMBER
};

struct About {
  bool compact, plain;
};
inline constexpr About kFamilies[] = {
#define SPIKEGRAD_ABOUT(name, compact, plain, parameters) {compact, plain},
    SPIKEGRAD_FAMILIES(SPIKEGRAD_ABOUT)
#undef SPIKEGRAD_ABOUT
};
constexpr int64_t kFamilyCount = sizeof kFamilies / sizeof *kFamilies;
// Whether a number is a family's.
constexpr bool is_family(int64_t number) { return number >= -1 && number < kFamilyCount; }
constexpr bool is_compact(Family family) {
  return family != Family::own && kFamilies[static_cast<int64_t>(family)].compact;
}
constexpr bool is_plain(Family family) {
  return family != Family::own && kFamilies[static_cast<int64_t>(family)].plain;
}

struct Shape {
  Family family;
  double a, b;  // shape parameters: (h, s), q or leak
};

// What a function says of a family that its callers do not give it: seen wherever it goes.
template <class T>
constexpr T kUnknown = std::numeric_limits<T>::quiet_NaN();

inline double exp_(double x) { return std::exp(x); }

// exp in float32 without a call, so that loops vectorise: Cody-Waite reduction, degree 6; relative
// error below 2e-7 on [-87, 88]; 0 below.
inline float exp_(float x) {
  const float clamped = x < -87.0f ? -87.0f : (x > 88.0f ? 88.0f : x);
  const float n = __builtin_nearbyintf(clamped * 1.44269504f);
  float r = clamped - n * 0.693359375f;
  r = r - n * -2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const int32_t bits = (static_cast<int32_t>(n) + 127) << 23;
  float power;
  std::memcpy(&power, &bits, sizeof power);
  return x < -87.0f ? 0.0f : p * power;
}

// p[j] = family's derivative of unit slope at z = k d[j], n columns.
template <class T, class K>
inline void unit_derivative(const Shape& shape, const T* __restrict d, K k, T* __restrict p,
                            int n) {
  const T a = static_cast<T>(shape.a), b = static_cast<T>(shape.b);
  switch (shape.family) {
    case Family::arctan:
      for (int j = 0; j < n; ++j) {
        const T z = d[j] * k(j);
        p[j] = T(0.31830988618379067) / (T(1) + z * z);
      }
      break;
    case Family::sigmoid:
      for (int j = 0; j < n; ++j) {
        const T z = d[j] * k(j), e = exp_(z < 0 ? z : -z), q = T(1) + e;
        p[j] = e / (q * q);
      }
      break;
    case Family::fast_sigmoid:
      for (int j = 0; j < n; ++j) {
        const T z = d[j] * k(j), q = T(1) + (z < 0 ? -z : z);
        p[j] = T(0.5) / (q * q);
      }
      break;
    case Family::triangle:
      for (int j = 0; j < n; ++j) {
        const T z = d[j] * k(j), h = T(1) - (z < 0 ? -z : z);
        p[j] = h > 0 ? h : T(0);
      }
      break;
    case Family::boxcar:
      for (int j = 0; j < n; ++j) {
        const T z = d[j] * k(j);
        p[j] = (z < 0 ? -z : z) <= T(1) ? T(0.5) : T(0);
      }
      break;
    case Family::gaussian:
      for (int j = 0; j < n; ++j) {
        const T z = d[j] * k(j);
        p[j] = exp_(-z * z) * T(0.56418958354775629);
      }
      break;
    case Family::exponential:
      for (int j = 0; j < n; ++j) {
        const T z = d[j] * k(j);
        p[j] = T(0.5) * exp_(z < 0 ? z : -z);
      }
      break;
    case Family::algebraic:
      for (int j = 0; j < n; ++j) {
        const T z = d[j] * k(j), q = T(1) + z * z;
        p[j] = T(0.5) / (q * std::sqrt(q));
      }
      break;
    case Family::multi_gaussian: {
      const T norm = T(0.3989422804014327), h = a, s = b, scale = T(1) / (T(1) - h);
      for (int j = 0; j < n; ++j) {
        const T z = d[j] * k(j), l = (z - T(1)) / s, r = (z + T(1)) / s;
        const T lobes = norm * exp_(T(-0.5) * l * l) + norm * exp_(T(-0.5) * r * r);
        p[j] = ((T(1) + h) * (norm * exp_(T(-0.5) * z * z)) - (h / s) * lobes) * scale;
      }
      break;
    }
    case Family::q_pseudospike: {
      const T c = T(2) / (a - T(1));
      for (int j = 0; j < n; ++j) {
        const T z = d[j] * k(j);
        p[j] = std::pow(T(1) + c * (z < 0 ? -z : z), -a);
      }
      break;
    }
    case Family::leaky:
      for (int j = 0; j < n; ++j) {
        const T z = d[j] * k(j);
        p[j] = (z < 0 ? -z : z) <= T(1) ? T(0.5) : a;
      }
      break;
    case Family::straight_through:
      for (int j = 0; j < n; ++j) p[j] = T(1);
      break;
    case Family::own:  // its derivative is an argument
      for (int j = 0; j < n; ++j) p[j] = kUnknown<T>;
      break;
  }
}

}  // namespace spikegrad
