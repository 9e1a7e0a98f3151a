// Every operation of a set in the compiler's own vectors, for any width: all of the generic set,
// and of the others what has no better form there. Their files specialise these templates.
//
// Bits of lanes are the low kLanes bits of a number; what stands above them does not matter.
#pragma once

#include "lanes.h"

namespace spikegrad {

// ---- masks

template <class T>
[[gnu::always_inline]] inline Mask<T> at_least(Lane<T> a, Lane<T> b) {
  return (Mask<T>)(a >= b);
}
template <class T>
[[gnu::always_inline]] inline Mask<T> above(Lane<T> a, Lane<T> b) {
  return (Mask<T>)(a > b);
}
template <class T>
[[gnu::always_inline]] inline Mask<T> equal(Lane<T> a, Lane<T> b) {
  return (Mask<T>)(a == b);
}
// NaN is unequal to everything.
template <class T>
[[gnu::always_inline]] inline Mask<T> unequal(Lane<T> a, Lane<T> b) {
  return (Mask<T>)(a != b);
}
template <class T>
[[gnu::always_inline]] inline unsigned bits_of(Mask<T> mask) {
  unsigned bits = 0;
  for (int j = 0; j < kLanes<T>; ++j) bits |= (mask[j] ? 1u : 0u) << j;
  return bits;
}
template <class T>
[[gnu::always_inline]] inline Mask<T> mask_from(uint64_t bits) {
  using I = Integers<T>;
  const I one_each = (I{} + 1) << lane_numbers<T>();
  const I number = I{} + static_cast<std::remove_reference_t<decltype(I{}[0])>>(bits);
  return (Mask<T>)((number & one_each) != 0);
}
// a where the mask says so, 0 elsewhere.
template <class T>
[[gnu::always_inline]] inline Lane<T> keep(Mask<T> mask, Lane<T> a) {
  return (Lane<T>)((Integers<T>)a & (Integers<T>)mask);
}

// ---- arithmetic

template <class T>
[[gnu::always_inline]] inline Lane<T> absolute(Lane<T> a) {
  using I = Integers<T>;
  using N = std::make_unsigned_t<std::remove_reference_t<decltype(I{}[0])>>;
  return (Lane<T>)((I)a & static_cast<std::make_signed_t<N>>(static_cast<N>(~N{0}) >> 1));
}
// a where it is above 0, 0 elsewhere.
template <class T>
[[gnu::always_inline]] inline Lane<T> positive_part(Lane<T> a) {
  return keep<T>(above<T>(a, Lane<T>{}), a);
}
// a b + c; float32 is rounded once where the CPU can. For gradients and products of numbers only:
// products with spikes are sums.
template <class T>
[[gnu::always_inline]] inline Lane<T> fused(Lane<T> a, Lane<T> b, Lane<T> c) {
  return a * b + c;
}
// out[k] = the sum of the lanes of v[k], k < 4.
template <class T>
[[gnu::always_inline]] inline void sums_of(const Lane<T>* v, T* out) {
  for (int k = 0; k < 4; ++k) {
    T sum = 0;
    for (int j = 0; j < kLanes<T>; ++j) sum += v[k][j];
    out[k] = sum;
  }
}

// ---- memory

// The first n lanes, at most all; nothing behind them is read, zeros stand there.
template <class T>
[[gnu::always_inline]] inline Lane<T> load_front(const T* p, int n) {
  Lane<T> v{};
  if (n >= kLanes<T>) return load(p);
  std::memcpy(&v, p, n * sizeof(T));
  return v;
}
// The first n lanes, at most all; nothing behind them is written.
template <class T>
[[gnu::always_inline]] inline void store_front(T* p, Lane<T> v, int n) {
  if (n >= kLanes<T>)
    store(p, v);
  else
    std::memcpy(p, &v, n * sizeof(T));
}
// A store past the caches, to an address that is a multiple of a vector; kStreams: there is one.
#if defined(SPIKEGRAD_SIMD_AVX512) || defined(SPIKEGRAD_SIMD_AVX2)
constexpr bool kStreams = true;
#else
constexpr bool kStreams = false;
#endif
template <class T>
[[gnu::always_inline]] inline void stream(T* p, Lane<T> v) {
  store(p, v);
}

// The lanes that the bits name, side by side from `to` on, which moves behind them. A whole vector
// is written.
template <class T>
[[gnu::always_inline]] inline void compress_store(unsigned bits, Lane<T> v, T*& to) {
  T whole[kLanes<T>];
  store(whole, v);
  for (int j = 0, at = 0; j < kLanes<T>; ++j) {
    to[at] = whole[j];
    at += bits >> j & 1;
  }
  to += std::popcount(bits & static_cast<unsigned>(mask_of(kLanes<T>)));
}
// The same lanes from there, zeros elsewhere; nothing behind the values is read.
template <class T>
[[gnu::always_inline]] inline Lane<T> expand_load(unsigned bits, const T*& from) {
  Lane<T> v{};
  for (unsigned left = bits & static_cast<unsigned>(mask_of(kLanes<T>)); left; left &= left - 1)
    v[std::countr_zero(left)] = *from++;
  return v;
}
// The columns of a row of 64 that a word names, side by side; nothing else is read or written.
template <class T>
inline void compress_row(uint64_t word, const T* row, T*& to) {
  for (; word; word &= word - 1) *to++ = row[std::countr_zero(word)];
}

// kLanes integers of at most 255 as bytes, and back.
template <class T>
[[gnu::always_inline]] inline void store_bytes(uint8_t* p, Integers<T> numbers) {
  for (int j = 0; j < kLanes<T>; ++j) p[j] = static_cast<uint8_t>(numbers[j]);
}
template <class T>
[[gnu::always_inline]] inline Integers<T> load_bytes(const uint8_t* p) {
  Integers<T> numbers{};
  for (int j = 0; j < kLanes<T>; ++j) numbers[j] = p[j];
  return numbers;
}

// ---- lists of ones

// The places of the ones of a word plus `first`, one behind the other from `to` on; returns what is
// behind them. Up to kListSlack numbers behind the end are written as well. Eight are written
// without asking how many there are: few words have more, and a wrong guess costs as much as eight.
constexpr int kListSlack = 64;
template <class N>
[[gnu::always_inline]] inline N* list_each(uint64_t word, int first, N* to) {
  N* const end = to + std::popcount(word);
  do {
    for (int j = 0; j < 8; ++j) {
      to[j] = static_cast<N>(first + std::countr_zero(word));
      word &= word - 1;
    }
    to += 8;
  } while (to < end);
  return end;
}
template <class N>
[[gnu::always_inline]] inline N* list_ones(uint64_t word, int first, N* to) {
  return list_each(word, first, to);
}

}  // namespace spikegrad
