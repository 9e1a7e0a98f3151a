// sin, cos and pow of float32: their arguments are reduced in float64, two vectors for one.
#pragma once

#include "functions.h"

namespace spikegrad {

// f of both halves.
template <class F>
[[gnu::always_inline]] inline Widened each_half(Widened x, F f) {
  return {f(x.low), f(x.high)};
}

// ---- sin and cos

// x = quarters pi/2 + rest, |rest| <= pi/4, for |x| up to kLargeAngle.
struct Angle {
  Integers<float> quarters;
  Lane<float> rest;
};
constexpr float kLargeAngle = 0x1p20f;
[[gnu::always_inline]] inline Angle angle_of(Lane<float> x) {
  // pi / 2 in two parts: the first has 33 bits, so its product with 20 more is exact, and so is
  // the difference.
  constexpr double kHigh = 0x1.921fb544p+0, kLow = 0x1.0b4611a626331p-34;
  const Widened wide = widened(x);
  const auto whole = [](Lane<double> a) { return nearest<double>(a * 0x1.45f306dc9c883p-1); };
  const Widened n = each_half(wide, whole);
  const Widened rest = {(wide.low - n.low * kHigh) - n.low * kLow,
                        (wide.high - n.high * kHigh) - n.high * kLow};
  return {integers_of<float>(narrowed(n)), narrowed(rest)};
}
// The sine of an angle.
[[gnu::always_inline]] inline Lane<float> sine(Angle angle) {
  // (sin(r) / r - 1) / r^2 and (cos(r) - 1 + r^2 / 2) / r^4 by r^2, for |r| <= pi / 4
  static constexpr float c[] = {-0.166666672f, 0.00833332911f, -0.000198393114f, 2.71811427e-06f};
  static constexpr float d[] = {0.0416666456f, -0.00138873153f, 2.44330822e-05f};
  const Lane<float> r = angle.rest, square = r * r;
  const Lane<float> sin = fused<float>(r * square, polynomial<float>(square, c), r);
  const Lane<float> rest =
      fused<float>(square * square, polynomial<float>(square, d), square * -0.5f);
  const Lane<float> value = select<float>(nonzero<float>(angle.quarters & 1), 1.0f + rest, sin);
  return (Lane<float>)((Integers<float>)value ^ ((angle.quarters & 2) << 30));
}
// Large arguments, which are rare, by <cmath>.
template <class F>
[[gnu::always_inline]] inline Lane<float> unless_large(Lane<float> x, Lane<float> result, F f) {
  const Mask<float> large = above<float>(absolute<float>(x), all_of(kLargeAngle));
  if (__builtin_expect(any_of<float>(large), 0))
    for (int j = 0; j < kLanes<float>; ++j)
      if (std::fabs(x[j]) > kLargeAngle) result[j] = f(x[j]);
  return result;
}

template <>
inline Lane<float> sin_of<float>(Lane<float> x) {
  const Lane<float> result = select<float>(equal<float>(x, Lane<float>{}), x, sine(angle_of(x)));
  return unless_large(x, result, [](float a) { return std::sin(a); });
}
template <>
inline Lane<float> cos_of<float>(Lane<float> x) {
  Angle angle = angle_of(x);
  angle.quarters += 1;
  return unless_large(x, sine(angle), [](float a) { return std::cos(a); });
}

// ---- pow

// log2(2^exponent fraction), the fraction between sqrt(1/2) and sqrt(2); relative error 2^-45.
[[gnu::always_inline]] inline Lane<double> log2_of(Lane<double> exponent, Lane<double> fraction) {
  // 2 atanh(t) / (t ln 2) by t^2
  static constexpr double c[] = {0x1.71547652b8251p+1, 0x1.ec709dc53c62ep-1, 0x1.2776c293406d8p-1,
                                 0x1.a61a2ec9235c6p-2, 0x1.4795563c9bdf5p-2, 0x1.21b0ead0e2499p-2};
  const Lane<double> t = (fraction - 1.0) / (fraction + 1.0);
  return exponent + t * polynomial<double>(t * t, c);
}
// |x|^y for y that is neither infinite nor NaN.
[[gnu::always_inline]] inline Lane<float> power_of_size(Lane<float> size, Lane<float> y) {
  // 2^f for |f| <= 1/2
  static constexpr double c[] = {0x1.000000026174fp+0, 0x1.62e430c7e2a45p-1, 0x1.ebfbdadc3722ep-3,
                                 0x1.c6aed4bc5bfbfp-5, 0x1.3b2dbbede1d53p-7, 0x1.5f456a0374b3ap-10,
                                 0x1.41d324bce3e9cp-13};
  const Lane<float> zero{}, infinite = all_of(kInfinity);
  const Binary parts = binary(size);
  Lane<float> exponent = select<float>(equal<float>(size, zero), -infinite, parts.exponent);
  exponent = select<float>(equal<float>(size, infinite), infinite, exponent);
  const Widened e = widened(exponent), m = widened(parts.fraction), by = widened(y);
  // Beyond these ends the result is 0 or infinite.
  Widened n = {clamped<double>(by.low * log2_of(e.low, m.low), -200.0, 200.0),
               clamped<double>(by.high * log2_of(e.high, m.high), -200.0, 200.0)};
  const Widened whole = each_half(n, [](Lane<double> a) { return nearest<double>(a); });
  n = {n.low - whole.low, n.high - whole.high};
  const auto power = [](Lane<double> a) { return polynomial<double>(a, c); };
  return times_power_of_2<float>(narrowed(each_half(n, power)), narrowed(whole));
}

template <>
inline Lane<float> pow_of<float>(Lane<float> x, Lane<float> y) {
  constexpr float kMost = std::numeric_limits<float>::max();
  const Lane<float> zero{}, ones = all_of(1.0f), size = absolute<float>(x), half = y * 0.5f;
  Lane<float> result = power_of_size(size, clamped<float>(y, -kMost, kMost));
  // An odd exponent keeps the sign; a broken one has no power of a negative number.
  const Mask<float> whole = equal<float>(floor_of<float>(y), y);
  const Mask<float> odd = both<float>(whole, unequal<float>(floor_of<float>(half), half));
  const Lane<float> sign = keep<float>(odd, (Lane<float>)sign_of<float>(x));
  result = (Lane<float>)((Integers<float>)result ^ (Integers<float>)sign);
  const Mask<float> negative =
      both<float>(above<float>(zero, x), above<float>(all_of(kInfinity), size));
  const Lane<float> none = all_of(std::numeric_limits<float>::quiet_NaN());
  result = select<float>(both<float>(negative, complement<float>(whole)), none, result);
  result = select<float>(either<float>(is_nan<float>(x), is_nan<float>(y)), none, result);
  return select<float>(either<float>(equal<float>(y, zero), equal<float>(x, ones)), ones, result);
}

}  // namespace spikegrad
