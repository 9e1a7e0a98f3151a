// What the programs of this folder test with: a count of what is wrong, numbers of every kind, and
// memory behind which a read or a write ends the program.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <random>
#include <type_traits>

inline int wrong = 0, checked = 0;

inline void expect(bool right, const char* what, const char* type, int first = 0, int second = 0) {
  ++checked;
  if (right) return;
  if (++wrong <= 20) std::printf("%s<%s> is wrong at %d, %d\n", what, type, first, second);
}

template <class T>
constexpr const char* kType = std::is_same_v<T, float>      ? "float"
                              : std::is_same_v<T, double>   ? "double"
                              : std::is_same_v<T, uint8_t>  ? "uint8"
                              : std::is_same_v<T, uint16_t> ? "uint16"
                                                            : "int32";

// The same bits: -0 is not 0, and a NaN is itself.
template <class T>
bool same(T a, T b) {
  return std::memcmp(&a, &b, sizeof a) == 0;
}

inline std::mt19937_64& random_bits() {
  static std::mt19937_64 engine(1);
  return engine;
}

// Mostly numbers around 0, now and then one of those that break a shortcut.
template <class T>
T number() {
  constexpr T kOdd[] = {T(0),
                        T(-0.0),
                        T(1),
                        T(-1),
                        std::numeric_limits<T>::infinity(),
                        -std::numeric_limits<T>::infinity(),
                        std::numeric_limits<T>::quiet_NaN(),
                        std::numeric_limits<T>::denorm_min(),
                        -std::numeric_limits<T>::min(),
                        std::numeric_limits<T>::max()};
  const uint64_t drawn = random_bits()();
  if (drawn % 4 == 0) return kOdd[drawn / 4 % std::size(kOdd)];
  return std::normal_distribution<T>()(random_bits());
}
// A finite one.
template <class T>
T plain_number() {
  return std::normal_distribution<T>()(random_bits());
}

// n values that end where a page begins that nobody may touch.
template <class T>
class Guarded {
 public:
  explicit Guarded(size_t n) : page_(sysconf(_SC_PAGESIZE)) {
    const size_t bytes = n * sizeof(T);
    whole_ = (bytes + page_ - 1) / page_ * page_;
    void* made =
        mmap(nullptr, whole_ + page_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (made == MAP_FAILED) std::abort();
    from_ = static_cast<char*>(made);
    if (mprotect(from_ + whole_, page_, PROT_NONE)) std::abort();
    data_ = reinterpret_cast<T*>(from_ + whole_ - bytes);
  }
  ~Guarded() { munmap(from_, whole_ + page_); }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;
  T* data() { return data_; }
  T& operator[](size_t j) { return data_[j]; }

 private:
  size_t page_, whole_;
  char* from_;
  T* data_;
};
