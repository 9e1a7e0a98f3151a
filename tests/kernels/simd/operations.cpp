// Every operation of the folder simd/ against plain code, for the set that this is compiled for.
// Prints what is wrong, and how much was checked; ends with 1 if anything is wrong.
#include "simd/simd.h"

#include "check.h"
#include "choices.h"

#include <cmath>
#include <vector>

using namespace spikegrad;

// Where the set rounds a product and a sum of float32 once.
#if defined(SPIKEGRAD_SIMD_GENERIC)
constexpr bool kFused = false;
#else
constexpr bool kFused = true;
#endif
// Where there is a mode that flushes subnormal numbers.
#if defined(__x86_64__) || defined(__aarch64__)
constexpr bool kFlushes = true;
#else
constexpr bool kFlushes = false;
#endif

// The bits of lanes, without what may stand above them.
template <class T>
unsigned lanes_of(Mask<T> mask) {
  return bits_of<T>(mask) & static_cast<unsigned>(mask_of(kLanes<T>));
}

template <class T>
void masks() {
  constexpr int n = kLanes<T>;
  for (int turn = 0; turn < 2000; ++turn) {
    T a[n], b[n];
    for (int j = 0; j < n; ++j) a[j] = number<T>(), b[j] = turn % 3 ? number<T>() : a[j];
    const Lane<T> va = load(a), vb = load(b);
    unsigned least = 0, over = 0, like = 0, unlike = 0;
    for (int j = 0; j < n; ++j) {
      least |= unsigned{a[j] >= b[j]} << j, over |= unsigned{a[j] > b[j]} << j;
      like |= unsigned{a[j] == b[j]} << j, unlike |= unsigned{a[j] != b[j]} << j;
    }
    expect(lanes_of<T>(at_least<T>(va, vb)) == least, "at_least", kType<T>, turn);
    expect(lanes_of<T>(above<T>(va, vb)) == over, "above", kType<T>, turn);
    expect(lanes_of<T>(equal<T>(va, vb)) == like, "equal", kType<T>, turn);
    expect(lanes_of<T>(unequal<T>(va, vb)) == unlike, "unequal", kType<T>, turn);
    // What stands above the lanes' bits must not matter.
    const uint64_t drawn = random_bits()();
    const unsigned bits = static_cast<unsigned>(drawn & mask_of(n));
    expect(lanes_of<T>(mask_from<T>(drawn)) == bits, "mask_from", kType<T>, turn);
    T kept[n];
    store(kept, keep<T>(mask_from<T>(drawn), va));
    for (int j = 0; j < n; ++j)
      expect(same(kept[j], bits >> j & 1 ? a[j] : T(0)), "keep", kType<T>, turn, j);
  }
}

template <class T>
void arithmetic() {
  constexpr int n = kLanes<T>;
  for (int turn = 0; turn < 2000; ++turn) {
    T a[n], out[n];
    for (int j = 0; j < n; ++j) a[j] = number<T>();
    store(out, absolute<T>(load(a)));
    for (int j = 0; j < n; ++j)
      expect(same(out[j], std::fabs(a[j])), "absolute", kType<T>, turn, j);
    store(out, positive_part<T>(load(a)));
    for (int j = 0; j < n; ++j)
      expect(same(out[j], a[j] > 0 ? a[j] : T(0)), "positive_part", kType<T>, turn, j);
    T x[n], y[n], z[n];
    for (int j = 0; j < n; ++j)
      x[j] = plain_number<T>(), y[j] = plain_number<T>(), z[j] = plain_number<T>();
    store(out, fused<T>(load(x), load(y), load(z)));
    for (int j = 0; j < n; ++j) {
      const bool once = same(out[j], std::fma(x[j], y[j], z[j]));
      const bool twice = same(out[j], x[j] * y[j] + z[j]);
      expect(std::is_same_v<T, float> && kFused ? once : twice, "fused", kType<T>, turn, j);
    }
    Lane<T> rows[4];
    T wanted[4] = {};
    Guarded<T> sums(4);
    for (Lane<T>& row : rows) {
      // Integers, so that every order of summing gives the same.
      for (int j = 0; j < n; ++j)
        out[j] = static_cast<T>(static_cast<int>(random_bits()() % 2001) - 1000),
        wanted[&row - rows] += out[j];
      row = load(out);
    }
    sums_of<T>(rows, sums.data());
    for (int k = 0; k < 4; ++k) expect(same(sums[k], wanted[k]), "sums_of", kType<T>, turn, k);
  }
  T numbers[n];
  store(numbers, all_of(T(3.5)));
  const Integers<T> places = lane_numbers<T>();
  for (int j = 0; j < n; ++j) {
    expect(numbers[j] == T(3.5), "all_of", kType<T>, j);
    expect(places[j] == j, "lane_numbers", kType<T>, j);
  }
}

template <class T>
void partial() {
  constexpr int n = kLanes<T>;
  for (int front = 0; front <= n + 3; ++front) {
    const int there = std::min(front, n);
    Guarded<T> from(there), to(there);
    T out[n], whole[n];
    for (int j = 0; j < there; ++j) from[j] = number<T>(), to[j] = T(7);
    store(out, load_front(from.data(), front));
    for (int j = 0; j < n; ++j)
      expect(same(out[j], j < there ? from[j] : T(0)), "load_front", kType<T>, front, j);
    for (int j = 0; j < n; ++j) whole[j] = number<T>();
    store_front(to.data(), load(whole), front);
    for (int j = 0; j < there; ++j)
      expect(same(to[j], whole[j]), "store_front", kType<T>, front, j);
  }
  alignas(64) T past[n];
  T x[n];
  for (int j = 0; j < n; ++j) x[j] = number<T>();
  stream<T>(past, load(x));
  for (int j = 0; j < n; ++j) expect(same(past[j], x[j]), "stream", kType<T>, j);
}

template <class T>
void packed() {
  constexpr int n = kLanes<T>;
  for (int turn = 0; turn < 4000; ++turn) {
    const unsigned bits = static_cast<unsigned>(turn < 1 << n ? turn : random_bits()());
    const int count = std::popcount(bits & static_cast<unsigned>(mask_of(n)));
    T x[n], wanted[n], out[n];
    int k = 0;
    for (int j = 0; j < n; ++j) {
      x[j] = number<T>();
      if (bits >> j & 1) wanted[k++] = x[j];
    }
    Guarded<T> to(n), from(count);  // compress_store may write a whole vector
    T* end = to.data();
    compress_store<T>(bits, load(x), end);
    expect(end == to.data() + count, "compress_store's end", kType<T>, turn);
    for (int j = 0; j < count; ++j)
      expect(same(to[j], wanted[j]), "compress_store", kType<T>, turn, j);
    for (int j = 0; j < count; ++j) from[j] = wanted[j];
    const T* next = from.data();
    store(out, expand_load<T>(bits, next));
    expect(next == from.data() + count, "expand_load's end", kType<T>, turn);
    for (int j = 0; j < n; ++j)
      expect(same(out[j], bits >> j & 1 ? x[j] : T(0)), "expand_load", kType<T>, turn, j);
  }
}

// Words of every density.
uint64_t word_of(int turn) {
  const uint64_t a = random_bits()(), b = random_bits()(), c = random_bits()();
  switch (turn % 7) {
    case 0:
      return a;
    case 1:
      return a & b;
    case 2:
      return a & b & c;
    case 3:
      return a | b | c;
    case 4:
      return uint64_t{1} << (a % 64);
    case 5:
      return ~uint64_t{0};
    default:
      return 0;
  }
}

template <class T>
void rows() {
  for (int turn = 0; turn < 700; ++turn) {
    const uint64_t word = word_of(turn);
    const int count = std::popcount(word), highest = 64 - std::countl_zero(word);
    Guarded<T> row(highest), to(count);  // nothing else is read or written
    std::vector<T> wanted;
    for (int j = 0; j < highest; ++j) {
      row[j] = number<T>();
      if (word >> j & 1) wanted.push_back(row[j]);
    }
    T* end = to.data();
    compress_row<T>(word, row.data(), end);
    expect(end == to.data() + count, "compress_row's end", kType<T>, turn);
    for (int j = 0; j < count; ++j)
      expect(same(to[j], wanted[j]), "compress_row", kType<T>, turn, j);
  }
}

template <class T>
void bytes() {
  constexpr int n = kLanes<T>;
  for (int turn = 0; turn < 300; ++turn) {
    Guarded<uint8_t> from(n), to(n);
    Integers<T> numbers{};
    for (int j = 0; j < n; ++j) numbers[j] = from[j] = static_cast<uint8_t>(random_bits()());
    store_bytes<T>(to.data(), numbers);
    const Integers<T> read = load_bytes<T>(from.data());
    for (int j = 0; j < n; ++j) {
      expect(to[j] == from[j], "store_bytes", kType<T>, turn, j);
      expect(read[j] == from[j], "load_bytes", kType<T>, turn, j);
    }
  }
}

template <class N>
void lists() {
  for (int turn = 0; turn < 700; ++turn) {
    const uint64_t word = word_of(turn);
    const int first = std::is_same_v<N, uint8_t> ? 64 * (turn % 3) : 64 * (turn % 900);
    const int count = std::popcount(word);
    Guarded<N> to(count + kListSlack);
    N* const end = list_ones(word, first, to.data());
    expect(end == to.data() + count, "list_ones' end", kType<N>, turn);
    for (int j = 0, k = 0; j < 64; ++j)
      if (word >> j & 1)
        expect(to[k++] == static_cast<N>(first + j), "list_ones", kType<N>, turn, j);
  }
}

template <class T>
void transposes() {
  for (int rows = 1; rows <= 40; rows += rows < 18 ? 1 : 7)
    for (int columns = 1; columns <= 40; columns += columns < 18 ? 1 : 7) {
      const int stride = columns + 3, by = rows + 5;
      Guarded<T> from((rows - 1) * stride + columns), to((columns - 1) * by + rows);
      for (int j = 0; j < (rows - 1) * stride + columns; ++j) from[j] = number<T>();
      for (int j = 0; j < (columns - 1) * by + rows; ++j) to[j] = T(7);
      transpose(from.data(), stride, rows, columns, to.data(), by);
      for (int c = 0; c < columns; ++c)
        for (int r = 0; r < by && c * by + r < (columns - 1) * by + rows; ++r)
          expect(same(to[c * by + r], r < rows ? from[r * stride + c] : T(7)), "transpose",
                 kType<T>, rows, columns);
    }
}

void bit_transposes() {
  for (int rows : {0, 1, 7, 8, 9, 33, 63, 64})
    for (int words = 1; words <= 8; ++words) {
      const int stride = words + 3;
      Guarded<uint64_t> from(rows ? (rows - 1) * stride + words : 0);
      for (int j = 0; j < (rows ? (rows - 1) * stride + words : 0); ++j) from[j] = random_bits()();
      Guarded<uint64_t[64]> to(words);
      transpose_bits(from.data(), stride, rows, words, to.data());
      for (int w = 0; w < words; ++w)
        for (int c = 0; c < 64; ++c)
          for (int r = 0; r < 64; ++r)
            expect((r < rows && (from[r * stride + w] >> c & 1)) == (to[w][c] >> r & 1),
                   "transpose_bits", "uint64", rows, words);
    }
}

// The smallest normal number halved: a subnormal, or zero where they are flushed.
template <class T>
T halved() {
  volatile T smallest = std::numeric_limits<T>::min(), half = T(0.5);
  return smallest * half;
}
template <class T>
void subnormals() {
  expect(halved<T>() != 0, "subnormals before", kType<T>);
  {
    FlushSubnormals flush;
    expect(halved<T>() == 0 || !kFlushes, "FlushSubnormals", kType<T>);
  }
  expect(halved<T>() != 0, "subnormals after", kType<T>);
}

template <class T>
void all() {
  masks<T>(), arithmetic<T>(), partial<T>(), packed<T>(), rows<T>(), bytes<T>();
  transposes<T>(), subnormals<T>(), choices<T>(), roundings<T>();
}

int main() {
  all<float>(), all<double>();
  lists<uint8_t>(), lists<uint16_t>(), lists<int32_t>();
  bit_transposes(), widths();
  std::printf("%s: %d checked, %d wrong\n", kSet, checked, wrong);
  return wrong != 0;
}
