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
  Scratch<uint16_t> list;
  Scratch<int64_t> start;
};

// The ones among up to 64 values as bits; `odd` collects values that are neither 0 nor 1.
template <class T>
inline uint64_t ones_of(const T* x, int n, bool& odd) {
  const uint64_t ones = word_where(x, n, [](Lane<T> v) { return equal<T>(v, all_of(T(1))); });
  odd |= (word_where(x, n, [](Lane<T> v) { return unequal<T>(v, Lane<T>{}); }) & ~ones) != 0;
  return ones;
}

// Rows of so many columns that are worth a thread.
inline int64_t rows_a_thread(int64_t columns) {
  return std::max<int64_t>(1, 16384 / std::max<int64_t>(1, columns));
}

// x [R, N] -> bits; false when a value is neither 0 nor 1. to: where the bits of each row go, below
// 0: nowhere; null: all go to their own place.
template <class T>
bool pack(const T* x, int64_t rows, int64_t columns, uint64_t* bits, const int64_t* to = nullptr) {
  const int64_t words = tiles_of(columns);
  std::atomic<bool> real{false};
  parallel(rows, rows_a_thread(columns), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end && !real.load(std::memory_order_relaxed); ++r) {
      if (to && to[r] < 0) continue;
      bool odd = false;
      uint64_t* const made = bits + (to ? to[r] : r) * words;
      // The row that is read next is fetched ahead: behind a gap the CPU does not do so itself.
      int64_t next = r + 1;
      while (to && next < end && to[next] < 0) ++next;
      const T* ahead = to && next < end ? x + next * columns : nullptr;
      for (int64_t w = 0; w < words; ++w) {
        const int n = columns_of(w, columns);
        for (int c = 0; ahead && c < n; c += 64 / static_cast<int>(sizeof(T)))
          __builtin_prefetch(ahead + w * kTile + c);
        made[w] = ones_of(x + r * columns + w * kTile, n, odd);
      }
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
  parallel_each(rows, rows_a_thread(columns), [&](int64_t r) {
    unpack_row(bits + r * tiles_of(columns), columns, out + r * columns);
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
inline Scratch<int64_t> starts_of(const uint64_t* bits, int64_t rows, int64_t words) {
  Scratch<int64_t> start(rows + 1);
  start[0] = 0;
  parallel_each(rows, 1024, [&](int64_t r) { start[r + 1] = count_of(bits + r * words, words); });
  for (int64_t r = 0; r < rows; ++r) start[r + 1] += start[r];
  return start;
}
// start: from starts_of.
inline Lists lists_of(const uint64_t* bits, int64_t rows, int64_t words, Scratch<int64_t> start) {
  Lists made{Scratch<uint16_t>(start[rows] + kListSlack), std::move(start)};
  const Lists& to = made;
  // The slack behind a row is the rows after it: those close to the end of a piece go by a place of
  // their own.
  parallel(rows, 256, [&](int64_t begin, int64_t end) {
    std::vector<uint16_t> aside(words * kTile + kListSlack);
    for (int64_t r = begin; r < end; ++r) {
      const bool close = to.start[r + 1] + kListSlack > to.start[end];
      uint16_t* const row = to.list + to.start[r];
      const int64_t n = list_row(bits + r * words, words, close ? aside.data() : row);
      if (close) std::memcpy(row, aside.data(), n * sizeof(uint16_t));
    }
  });
  return made;
}

}  // namespace spikegrad
