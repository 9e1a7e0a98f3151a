// The operations of simd/select.h and simd/rounding.h against plain code.
#pragma once

#include "simd/simd.h"

#include "check.h"

#include <cmath>

// Numbers of every kind, halves of whole numbers, and fractions up to those that have none.
template <class T>
T any_number() {
  const uint64_t drawn = random_bits()();
  switch (drawn % 4) {
    case 0:
      return number<T>();
    case 1:
      return static_cast<T>(static_cast<int>(drawn >> 8 & 63) - 32) / 2;
    default:
      return std::ldexp(plain_number<T>(), static_cast<int>(drawn >> 8 & 63) - 6);
  }
}
// The same number: a NaN is every NaN, and +0 is -0.
template <class T>
bool like(T a, T b) {
  return a == b || (std::isnan(a) && std::isnan(b));
}

template <class T>
void choices() {
  using namespace spikegrad;
  constexpr int n = kLanes<T>;
  constexpr unsigned all = static_cast<unsigned>((uint64_t{1} << n) - 1);
  const auto lanes = [](Mask<T> mask) { return bits_of<T>(mask) & all; };
  for (int turn = 0; turn < 2000; ++turn) {
    const unsigned p = static_cast<unsigned>(random_bits()()) & all;
    const unsigned q = turn % 5 ? static_cast<unsigned>(random_bits()()) & all : 0;
    const Mask<T> vp = mask_from<T>(p), vq = mask_from<T>(q);
    expect(lanes(both<T>(vp, vq)) == (p & q), "both", kType<T>, turn);
    expect(lanes(either<T>(vp, vq)) == (p | q), "either", kType<T>, turn);
    expect(lanes(complement<T>(vp)) == (~p & all), "complement", kType<T>, turn);
    expect(any_of<T>(vq) == (q != 0), "any_of", kType<T>, turn);
    expect(any_of<T>(mask_from<T>(uint64_t{1} << turn % n)), "any_of", kType<T>, turn % n);
    T a[n], b[n], chosen[n], most[n], least[n], between[n], signed_[n];
    for (int j = 0; j < n; ++j) a[j] = number<T>(), b[j] = turn % 3 ? number<T>() : a[j];
    const Lane<T> va = load(a), vb = load(b);
    store(chosen, select<T>(vp, va, vb));
    store(most, maximum<T>(va, vb)), store(least, minimum<T>(va, vb));
    store(between, clamped<T>(va, T(-1), T(0.5)));
    store(signed_, with_sign_of<T>(va, vb));
    Integers<T> numbers;
    unsigned ones = 0;
    for (int j = 0; j < n; ++j) numbers[j] = static_cast<int>(random_bits()() % 5) - 2;
    for (int j = 0; j < n; ++j) ones |= unsigned{numbers[j] != 0} << j;
    expect(lanes(nonzero<T>(numbers)) == ones, "nonzero", kType<T>, turn);
    const unsigned nan = lanes(is_nan<T>(va));
    for (int j = 0; j < n; ++j) {
      const bool none = std::isnan(a[j]) || std::isnan(b[j]);
      const T missing = std::numeric_limits<T>::quiet_NaN();
      expect(same(chosen[j], p >> j & 1 ? a[j] : b[j]), "select", kType<T>, turn, j);
      expect(like(most[j], none ? missing : std::max(a[j], b[j])), "maximum", kType<T>, turn, j);
      expect(like(least[j], none ? missing : std::min(a[j], b[j])), "minimum", kType<T>, turn, j);
      expect(like(between[j], std::clamp(a[j], T(-1), T(0.5))), "clamped", kType<T>, turn, j);
      expect(same(signed_[j], std::copysign(a[j], b[j])), "with_sign_of", kType<T>, turn, j);
      expect((nan >> j & 1) == std::isnan(a[j]), "is_nan", kType<T>, turn, j);
    }
  }
}

template <class T>
void roundings() {
  using namespace spikegrad;
  constexpr int n = kLanes<T>;
  // NaN has any bits, -0 is not 0.
  const auto right = [](T a, T b) { return same(a, b) || (std::isnan(a) && std::isnan(b)); };
  for (int turn = 0; turn < 4000; ++turn) {
    T a[n], even[n], down[n], up[n], cut[n], root[n], scaled[n], power[n];
    int exponent[n];
    for (int j = 0; j < n; ++j) {
      a[j] = any_number<T>();
      exponent[j] = static_cast<int>(random_bits()() % (sizeof(T) == 4 ? 501 : 4001));
      power[j] = static_cast<T>(exponent[j] -= sizeof(T) == 4 ? 250 : 2000);
    }
    const Lane<T> va = load(a);
    store(even, nearest<T>(va)), store(down, floor_of<T>(va)), store(up, ceil_of<T>(va));
    store(cut, truncated<T>(va)), store(root, square_root<T>(va));
    store(scaled, times_power_of_2<T>(va, load(power)));
    const Integers<T> whole = integers_of<T>(load(power));
    T back[n];
    store(back, numbers_of<T>(whole));
    for (int j = 0; j < n; ++j) {
      expect(right(even[j], std::nearbyint(a[j])), "nearest", kType<T>, turn, j);
      expect(right(down[j], std::floor(a[j])), "floor_of", kType<T>, turn, j);
      expect(right(up[j], std::ceil(a[j])), "ceil_of", kType<T>, turn, j);
      expect(right(cut[j], std::trunc(a[j])), "truncated", kType<T>, turn, j);
      expect(right(root[j], std::sqrt(a[j])), "square_root", kType<T>, turn, j);
      expect(whole[j] == exponent[j], "integers_of", kType<T>, turn, j);
      expect(same(back[j], power[j]), "numbers_of", kType<T>, turn, j);
      // Two steps may round a subnormal result twice.
      const T exact = std::ldexp(a[j], exponent[j]);
      const bool small = std::fabs(exact) < std::numeric_limits<T>::min();
      expect(small ? std::fabs(scaled[j] - exact) <= std::numeric_limits<T>::denorm_min()
                   : right(scaled[j], exact),
             "times_power_of_2", kType<T>, turn, j);
    }
  }
}

inline void widths() {
  using namespace spikegrad;
  constexpr int n = kLanes<float>;
  for (int turn = 0; turn < 500; ++turn) {
    float a[n], back[n];
    double wide[n];
    for (int j = 0; j < n; ++j) a[j] = any_number<float>();
    const Widened both = widened(load(a));
    store(wide, both.low), store(wide + n / 2, both.high);
    for (int j = 0; j < n; ++j) expect(like(wide[j], double{a[j]}), "widened", "float", turn, j);
    for (int j = 0; j < n; ++j) wide[j] = any_number<double>();
    store(back, narrowed({load(wide), load(wide + n / 2)}));
    for (int j = 0; j < n; ++j)
      expect(like(back[j], static_cast<float>(wide[j])), "narrowed", "float", turn, j);
  }
}
