// Choices between two numbers, lane by lane, and what is done with masks themselves.
#pragma once

#include "vectors.h"

namespace spikegrad {

// ---- masks

template <class T>
[[gnu::always_inline]] inline Mask<T> both(Mask<T> a, Mask<T> b) {
  return (Mask<T>)(a & b);
}
template <class T>
[[gnu::always_inline]] inline Mask<T> either(Mask<T> a, Mask<T> b) {
  return (Mask<T>)(a | b);
}
// The lanes that are not in the mask.
template <class T>
[[gnu::always_inline]] inline Mask<T> complement(Mask<T> a) {
  return (Mask<T>)(~a);
}
template <class T>
[[gnu::always_inline]] inline Mask<T> is_nan(Lane<T> a) {
  return unequal<T>(a, a);
}
// The lanes whose integer is not 0.
template <class T>
[[gnu::always_inline]] inline Mask<T> nonzero(Integers<T> a) {
  return (Mask<T>)(a != 0);
}
// Whether the mask has a lane at all.
template <class T>
[[gnu::always_inline]] inline bool any_of(Mask<T> mask) {
  uint64_t words[kLaneBytes / 8], all = 0;
  static_assert(sizeof words == sizeof mask || sizeof mask <= 2);
  std::memcpy(words, &mask, sizeof mask);
  for (uint64_t word : words) all |= word;
  return all != 0;
}

// ---- choices

// a where the mask says so, b elsewhere.
template <class T>
[[gnu::always_inline]] inline Lane<T> select(Mask<T> mask, Lane<T> a, Lane<T> b) {
  return mask ? a : b;
}
// NaN if one of them is, as torch.maximum; which zero of two is not defined.
template <class T>
[[gnu::always_inline]] inline Lane<T> maximum(Lane<T> a, Lane<T> b) {
  return select<T>(either<T>(above<T>(a, b), is_nan<T>(a)), a, b);
}
template <class T>
[[gnu::always_inline]] inline Lane<T> minimum(Lane<T> a, Lane<T> b) {
  return select<T>(either<T>(above<T>(b, a), is_nan<T>(a)), a, b);
}
// a moved to the nearer end if it is not between them; NaN stays.
template <class T>
[[gnu::always_inline]] inline Lane<T> clamped(Lane<T> a, T least, T most) {
  const Lane<T> low = all_of(least), high = all_of(most);
  return select<T>(above<T>(a, high), high, select<T>(above<T>(low, a), low, a));
}

// ---- signs

// The sign bit of each lane, all else 0.
template <class T>
[[gnu::always_inline]] inline Integers<T> sign_of(Lane<T> a) {
  return (Integers<T>)a & ~(Integers<T>)absolute<T>((Lane<T>)(Integers<T>{} - 1));
}
// The magnitude of a with the sign of b, as std::copysign.
template <class T>
[[gnu::always_inline]] inline Lane<T> with_sign_of(Lane<T> a, Lane<T> b) {
  return (Lane<T>)((Integers<T>)absolute<T>(a) | sign_of<T>(b));
}

}  // namespace spikegrad
