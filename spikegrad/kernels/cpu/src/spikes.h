// Spikes as bits and as lists of column numbers.
//
// bits [R, W]: 64 columns a word, W = ceil(N / 64). lists: the columns of the ones of every row, 16
// bits each, row after row; start [R + 1] says where a row's list begins.
#pragma once

#include "tiles.h"

#include <atomic>

namespace spikegrad {

constexpr int64_t kMostColumns = 65536;  // a column number has 16 bits

struct Lists {
  Scratch list_memory, start_memory;
  int64_t rows = 0;
  const uint16_t* list() const { return list_memory.as<uint16_t>(); }
  const int64_t* start() const { return start_memory.as<int64_t>(); }
  int64_t count() const { return rows ? start()[rows] : 0; }
};

// The ones among up to 64 values as bits; `odd` collects values that are neither 0 nor 1.
template <class T>
inline uint64_t ones_of(const T* x, int n, bool& odd) {
  const uint64_t ones = word_where(x, n, [](Lane<T> v) { return equal<T>(v, all_of(T(1))); });
  odd |= (word_where(x, n, [](Lane<T> v) { return unequal<T>(v, Lane<T>{}); }) & ~ones) != 0;
  return ones;
}

// x [R, N], rows `stride` apart -> bits; false when a value is neither 0 nor 1.
template <class T>
bool pack(const T* x, int64_t rows, int64_t columns, int64_t stride, uint64_t* bits) {
  const int64_t words = tiles_of(columns);
  std::atomic<bool> real{false};
  parallel(rows, std::max<int64_t>(1, 16384 / std::max<int64_t>(1, columns)),
           [&](int64_t begin, int64_t end) {
             for (int64_t r = begin; r < end && !real.load(std::memory_order_relaxed); ++r) {
               bool odd = false;
               for (int64_t w = 0; w < words; ++w)
                 bits[r * words + w] =
                     ones_of(x + r * stride + w * kTile, columns_of(w, columns), odd);
               if (odd) real.store(true, std::memory_order_relaxed);
             }
           });
  return !real;
}

// One row's spikes as zeros and ones.
template <class T>
inline void unpack_row(const uint64_t* bits, int64_t columns, T* out) {
  std::memset(out, 0, columns * sizeof(T));
  for (int64_t w = 0; w < tiles_of(columns); ++w)
    for (uint64_t b = bits[w]; b; b &= b - 1) out[w * kTile + __builtin_ctzll(b)] = T(1);
}
template <class T>
void unpack(const uint64_t* bits, int64_t rows, int64_t columns, T* out) {
  const int64_t words = tiles_of(columns);
  parallel(rows, std::max<int64_t>(1, 16384 / std::max<int64_t>(1, columns)),
           [&](int64_t begin, int64_t end) {
             for (int64_t r = begin; r < end; ++r)
               unpack_row(bits + r * words, columns, out + r * columns);
           });
}

inline int64_t count_of(const uint64_t* bits, int64_t words) {
  int64_t count = 0;
  for (int64_t w = 0; w < words; ++w) count += __builtin_popcountll(bits[w]);
  return count;
}

inline int64_t ones(const uint64_t* bits, int64_t words) {
  std::atomic<int64_t> count{0};
  parallel(words, 16384,
           [&](int64_t begin, int64_t end) { count += count_of(bits + begin, end - begin); });
  return count;
}

// A row's list; up to kListSlack places behind its end are written as well.
inline int64_t list_row(const uint64_t* bits, int64_t words, uint16_t* out) {
  uint16_t* to = out;
  for (int64_t w = 0; w < words; ++w) to = list_ones(bits[w], static_cast<int>(w * kTile), to);
  return to - out;
}

// Where every row's list begins: start [R + 1].
inline Scratch starts_of(const uint64_t* bits, int64_t rows, int64_t words) {
  Scratch memory = scratch<int64_t>(rows + 1);
  int64_t* start = memory.as<int64_t>();
  start[0] = 0;
  parallel(rows, 1024, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) start[r + 1] = count_of(bits + r * words, words);
  });
  for (int64_t r = 0; r < rows; ++r) start[r + 1] += start[r];
  return memory;
}
// starts: from starts_of.
inline Lists lists_of(const uint64_t* bits, int64_t rows, int64_t words, Scratch starts) {
  Lists lists;
  lists.rows = rows;
  lists.start_memory = std::move(starts);
  const int64_t* start = lists.start();
  lists.list_memory = scratch<uint16_t>(start[rows] + kListSlack);
  uint16_t* list = lists.list_memory.as<uint16_t>();
  // The slack behind a row is the rows after it: those close to the end of a piece go by a place of
  // their own.
  parallel(rows, 256, [&](int64_t begin, int64_t end) {
    std::vector<uint16_t> aside(words * kTile + kListSlack);
    for (int64_t r = begin; r < end; ++r) {
      if (start[r + 1] + kListSlack <= start[end]) {
        list_row(bits + r * words, words, list + start[r]);
      } else {
        const int64_t n = list_row(bits + r * words, words, aside.data());
        std::memcpy(list + start[r], aside.data(), n * sizeof(uint16_t));
      }
    }
  });
  return lists;
}

}  // namespace spikegrad
