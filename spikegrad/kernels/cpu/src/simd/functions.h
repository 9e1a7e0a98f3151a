// exp, log, tanh and others on all lanes of a vector at once, for steps of neurons. The header
// names no instruction set and includes none of torch.
//
// float32: at most 2 units in the last place from the exact result, for every number and with or
// without a fused multiply-add (tests/kernels/test_simd.py); no branch, no call. Arguments are
// reduced as in Cody and Waite, Software Manual for the Elementary Functions (1980), and Muller et
// al., Handbook of Floating-Point Arithmetic (2018), chapter 10. The polynomials are minimax ones
// of the functions named beside them, by the Remez exchange (tests/support/minimax.py). A subnormal
// argument or result may be taken as 0, since kernels flush them.
//
// float64: the functions of <cmath>, lane by lane.
#pragma once

#include "simd.h"

#include <cmath>
#include <limits>

namespace spikegrad {

template <class T, class F>
[[gnu::always_inline]] inline Lane<T> each_lane(Lane<T> x, F function) {
  for (int j = 0; j < kLanes<T>; ++j) x[j] = function(x[j]);
  return x;
}

#define SPIKEGRAD_EACH_LANE(name, value)                     \
  template <class T>                                         \
  inline Lane<T> name(Lane<T> lanes) {                       \
    return each_lane<T>(lanes, [](T x) { return (value); }); \
  }
SPIKEGRAD_EACH_LANE(exp_of, std::exp(x))
SPIKEGRAD_EACH_LANE(expm1_of, std::expm1(x))
SPIKEGRAD_EACH_LANE(log_of, std::log(x))
SPIKEGRAD_EACH_LANE(log1p_of, std::log1p(x))
SPIKEGRAD_EACH_LANE(tanh_of, std::tanh(x))
SPIKEGRAD_EACH_LANE(sigmoid_of, T(1) / (T(1) + std::exp(-x)))
SPIKEGRAD_EACH_LANE(erf_of, std::erf(x))
SPIKEGRAD_EACH_LANE(atan_of, std::atan(x))
SPIKEGRAD_EACH_LANE(sin_of, std::sin(x))
SPIKEGRAD_EACH_LANE(cos_of, std::cos(x))
#undef SPIKEGRAD_EACH_LANE
template <class T>
inline Lane<T> pow_of(Lane<T> x, Lane<T> y) {
  for (int j = 0; j < kLanes<T>; ++j) x[j] = std::pow(x[j], y[j]);
  return x;
}

// c[0] + c[1] x + c[2] x^2 + ...
template <class T, size_t n>
[[gnu::always_inline]] inline Lane<T> polynomial(Lane<T> x, const T (&c)[n]) {
  Lane<T> sum = all_of(c[n - 1]);
#pragma GCC unroll 16
  for (int k = static_cast<int>(n) - 2; k >= 0; --k) sum = fused<T>(sum, x, all_of(c[k]));
  return sum;
}

// ln 2 in two parts: the first has 15 bits, so its product with an exponent is exact.
constexpr float kLn2High = 0x1.62e4p-1f, kLn2Low = 1.42860682e-6f;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// ---- exp and what is made of it

// e^x = 2^n (1 + rest), the rest between -0.3 and 0.42 and as exact as a float32 can be.
struct Exponential {
  Lane<float> n, rest;
};
[[gnu::always_inline]] inline Exponential exponential(Lane<float> x) {
  // (e^r - 1 - r) / r^2 for |r| <= ln 2 / 2
  static constexpr float c[] = {0.5f,           0.166666672f,   0.0416663513f,
                                0.00833327603f, 0.00139411457f, 0.000199123737f};
  const Lane<float> n = nearest<float>(x * 1.44269504f);
  const Lane<float> r = fused<float>(n, all_of(-kLn2Low), fused<float>(n, all_of(-kLn2High), x));
  return {n, fused<float>(r * r, polynomial<float>(r, c), r)};
}

template <>
[[gnu::always_inline]] inline Lane<float> exp_of<float>(Lane<float> x) {
  // Beyond these ends the result is 0 or infinite.
  const Exponential e = exponential(clamped<float>(x, -104.0f, 89.0f));
  return times_power_of_2<float>(1.0f + e.rest, e.n);
}

template <>
[[gnu::always_inline]] inline Lane<float> expm1_of<float>(Lane<float> x) {
  // Below -18 the result is -1.
  const Exponential e = exponential(clamped<float>(x, -18.0f, 89.0f));
  const Lane<float> ones = all_of(1.0f), part = times_power_of_2<float>(ones, -e.n);
  return with_sign_of<float>(times_power_of_2<float>(e.rest + (1.0f - part), e.n), x);
}

template <>
[[gnu::always_inline]] inline Lane<float> sigmoid_of<float>(Lane<float> x) {
  const Exponential e = exponential(clamped<float>(-x, -104.0f, 88.0f));
  // 1 + e^-x, rounded as if once: what the sum of 1 and a power of 2 loses is added to the rest.
  const Lane<float> part = times_power_of_2<float>(all_of(1.0f), e.n), head = 1.0f + part;
  const Lane<float> sum = head + fused<float>(part, e.rest, 1.0f - (head - part));
  const Mask<float> small = above<float>(all_of(-88.0f), x);  // the result is subnormal
  return keep<float>(complement<float>(small), 1.0f / sum);
}

template <>
[[gnu::always_inline]] inline Lane<float> tanh_of<float>(Lane<float> x) {
  // (tanh(x) / x - 1) / x^2 by x^2, for |x| <= 0.625
  static constexpr float c[] = {-0.333332807f, 0.133314416f, -0.0537397154f, 0.0206390824f,
                                -0.00570497941f};
  const Lane<float> size = absolute<float>(x), square = x * x;
  const Lane<float> large = 1.0f - 2.0f / (exp_of<float>(size + size) + 1.0f);
  const Lane<float> small = fused<float>(size * square, polynomial<float>(square, c), size);
  return with_sign_of<float>(select<float>(above<float>(size, all_of(0.625f)), large, small), x);
}

template <>
[[gnu::always_inline]] inline Lane<float> erf_of<float>(Lane<float> x) {
  // erf(x) / x - 1 by x^2, for |x| <= 0.95
  static constexpr float c[] = {0.128379166f,   -0.376126319f,    0.112836637f,   -0.0268577058f,
                                0.00519695226f, -0.000809770718f, 8.18510525e-05f};
  // log(1 - erf(x)) for x from 0.9 to 4, after which the result is 1
  static constexpr float d[] = {0.000245388888f, -1.12989664f,     -0.632468939f,
                                -0.109402589f,   0.0259905774f,    -0.00459075952f,
                                0.000556911458f, -4.08602755e-05f, 1.35080757e-06f};
  const Lane<float> size = absolute<float>(x), square = x * x;
  const Lane<float> tail = polynomial<float>(clamped<float>(size, 0.0f, 4.0f), d);
  const Lane<float> small = size * (1.0f + polynomial<float>(square, c));
  const Lane<float> large = 1.0f - exp_of<float>(tail);
  return with_sign_of<float>(select<float>(above<float>(size, all_of(0.93f)), large, small), x);
}

// ---- logarithms

// x = 2^exponent fraction, the fraction between sqrt(1/2) and sqrt(2), for x > 0. Subnormal numbers
// are made normal first.
struct Binary {
  Lane<float> exponent, fraction;
};
[[gnu::always_inline]] inline Binary binary(Lane<float> x) {
  constexpr int32_t kRoot = 0x3f3504f3;  // sqrt(1/2)
  const Mask<float> tiny = above<float>(all_of(std::numeric_limits<float>::min()), x);
  const Integers<float> bits = (Integers<float>)select<float>(tiny, x * 0x1p23f, x) - kRoot;
  const Lane<float> exponent = numbers_of<float>(bits >> 23);
  return {exponent - keep<float>(tiny, all_of(23.0f)), (Lane<float>)((bits & 0x7fffff) + kRoot)};
}
// log(2^exponent (1 + f))
[[gnu::always_inline]] inline Lane<float> logarithm(Lane<float> exponent, Lane<float> f) {
  // (log(1 + f) - f + f^2 / 2) / f^3 for f from sqrt(1/2) - 1 to sqrt(2) - 1
  static constexpr float c[] = {0.333333105f, -0.249999866f, 0.200022265f,
                                -0.16669251f, 0.142186537f,  -0.123843312f,
                                0.118729889f, -0.117899194f, 0.0691547766f};
  const Lane<float> square = f * f;
  Lane<float> rest = (f * square) * polynomial<float>(f, c);
  rest = fused<float>(exponent, all_of(kLn2Low), rest);
  rest = fused<float>(square, all_of(-0.5f), rest);
  return fused<float>(exponent, all_of(kLn2High), f + rest);
}
// A logarithm of u, corrected where it has none or is infinite.
[[gnu::always_inline]] inline Lane<float> where_positive(Lane<float> u, Lane<float> result) {
  const Lane<float> zero{}, infinite = all_of(kInfinity);
  const Lane<float> none = all_of(std::numeric_limits<float>::quiet_NaN());
  result = select<float>(above<float>(infinite, u), result, u);  // NaN stays NaN
  return select<float>(above<float>(u, zero), result,
                       select<float>(equal<float>(u, zero), -infinite, none));
}

template <>
[[gnu::always_inline]] inline Lane<float> log_of<float>(Lane<float> x) {
  const Binary parts = binary(x);
  return where_positive(x, logarithm(parts.exponent, parts.fraction - 1.0f));
}

template <>
[[gnu::always_inline]] inline Lane<float> log1p_of<float>(Lane<float> x) {
  const Lane<float> u = 1.0f + x, part = u - x;
  const Lane<float> lost = (x - (u - part)) + (1.0f - part);  // 1 + x = u + lost, exactly (Knuth)
  const Binary parts = binary(u);
  const Lane<float> f = (parts.fraction - 1.0f) + times_power_of_2<float>(lost, -parts.exponent);
  return with_sign_of<float>(where_positive(u, logarithm(parts.exponent, f)), x);
}

// ---- atan

template <>
[[gnu::always_inline]] inline Lane<float> atan_of<float>(Lane<float> x) {
  // (atan(t) / t - 1) / t^2 by t^2, for |t| <= 1
  static constexpr float c[] = {-0.333332986f,  0.199985489f,  -0.142642409f,
                                0.109521836f,   -0.084034428f, 0.0579574443f,
                                -0.0311776847f, 0.0109145157f, -0.00179360062f};
  constexpr float kHigh = 1.57079637f, kLow = -4.37113883e-08f;  // pi / 2
  const Lane<float> size = absolute<float>(x);
  const Mask<float> beyond = above<float>(size, all_of(1.0f));
  const Lane<float> t = select<float>(beyond, 1.0f / size, size), square = t * t;
  const Lane<float> angle = fused<float>(t * square, polynomial<float>(square, c), t);
  return with_sign_of<float>(select<float>(beyond, kHigh - (angle - kLow), angle), x);
}

}  // namespace spikegrad

#include "functions_wide.h"
