// The functions of functions.h against those of <cmath> in float64, over all of float32: every
// n-th bit pattern, n the program's argument, and all of them near the points where a function
// changes its formula or ends. Prints what is wrong, by more than 2 units in the last place, and
// how much was checked; the largest errors go to stderr. Ends with 1 if anything is wrong.
#include "simd/functions.h"

#include "check.h"

#include <cmath>
#include <vector>

using namespace spikegrad;

constexpr double kAllowed = 2;
constexpr float kLeast = std::numeric_limits<float>::min();

// How far a number is from the exact result, in units of the last place of a float32.
double distance(float got, double exact) {
  constexpr double kEnd = 0x1p128;
  if (std::isnan(got) || std::isnan(exact)) return std::isnan(got) && std::isnan(exact) ? 0 : 1e9;
  if (got == 0 && std::signbit(got) != std::signbit(exact)) return 1e9;
  const double size = std::fabs(exact);
  const double unit = size == 0 ? 0x1p-149 : std::ldexp(1, std::max(std::ilogb(size), -126) - 23);
  if (got == 0 && size < kLeast + kAllowed * 0x1p-149) return 0;  // flushed
  const double end = std::clamp(exact, -kEnd, kEnd);
  const double mine = std::isinf(got) ? std::copysign(kEnd, got) : got;
  return std::fabs(mine - end) / (size >= kEnd ? 0x1p104 : unit);
}

float from_bits(uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}
uint32_t bits_in(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}

// The largest error of a function, and where it is.
struct Worst {
  double error = 0;
  float x = 0, y = 0;
};
// Pairs of numbers for f, which are taken in blocks.
template <class F, class G>
class Comparison {
 public:
  Comparison(const char* name, F ours, G exact) : name_(name), ours_(ours), exact_(exact) {}
  ~Comparison() {
    flush();
    std::fprintf(stderr, "%s %s: %.3f at %.9g, %.9g\n", kSet, name_, worst_.error,
                 static_cast<double>(worst_.x), static_cast<double>(worst_.y));
  }
  void take(float x, float y = 0) {
    x_[count_] = x, y_[count_++] = y;
    if (count_ == kBlock) flush();
  }

 private:
  static constexpr int kBlock = 1024;
  void flush() {
    {
      FlushSubnormals flush;
      for (int j = 0; j < kBlock; j += kLanes<float>)
        store(out_ + j, ours_(load(x_ + j), load(y_ + j)));
    }
    for (int j = 0; j < count_; ++j) judge(x_[j], y_[j], out_[j]);
    count_ = 0;
  }
  void judge(float x, float y, float got) {
    double error = distance(got, exact_(x, y));
    // A subnormal argument may be taken as 0.
    if (error > kAllowed && x != 0 && std::fabs(x) < kLeast)
      error = std::min(error, distance(got, exact_(std::copysign(0.0, double{x}), y)));
    if (error > kAllowed && y != 0 && std::fabs(y) < kLeast)
      error = std::min(error, distance(got, exact_(x, std::copysign(0.0, double{y}))));
    ++checked;
    if (error > worst_.error) worst_ = {error, x, y};
    if (error <= kAllowed) return;
    if (++wrong <= 20)
      std::printf("%s<float> is wrong at %.9g, %.9g: %.9g, not %.9g\n", name_, double{x}, double{y},
                  double{got}, exact_(x, y));
  }

  const char* name_;
  F ours_;
  G exact_;
  Worst worst_;
  int count_ = 0;
  float x_[kBlock] = {}, y_[kBlock] = {}, out_[kBlock];
};

// Ends of the range, and where a formula of one of the functions begins or ends.
constexpr float kPoints[] = {
    0,           kLeast,      1,          2,           0.25f,       0.625f,      0.93f,
    4,           0.34657359f, 1.0397208f, 0.70710678f, 1.41421356f, 0.5f,        0x1p24f,
    88.722839f,  87.336545f,  104,        89,          18,          0.29289322f, 0.41421356f,
    3.4e38f,     kInfinity,   1e5f,       0x1p20f,     0.78539816f, 1.57079633f, 2.35619449f,
    3.14159265f, 6.28318531f, 355,        710,         51471.855f,  102943.71f};

template <class F, class G>
void one(const char* name, uint32_t step, F ours, G exact) {
  const auto alone = [&](Lane<float> x, Lane<float>) { return ours(x); };
  Comparison compared(name, alone, [&](double x, double) { return exact(x); });
  for (uint64_t bits = 0; bits < uint64_t{1} << 32; bits += step)
    compared.take(from_bits(static_cast<uint32_t>(bits)));
  for (float point : kPoints)
    for (uint32_t sign : {0u, 0x80000000u})
      for (int near = -1000; near <= 1000; ++near)
        compared.take(from_bits((bits_in(point) + static_cast<uint32_t>(near)) ^ sign));
}

void powers(uint32_t step) {
  Comparison compared(
      "pow_of", [](Lane<float> x, Lane<float> y) { return pow_of<float>(x, y); },
      [](double x, double y) { return std::pow(x, y); });
  std::vector<float> odd = {1.5f,
                            3,
                            5,
                            1e-3f,
                            0x1p23f,
                            0x1p23f + 1,
                            0x1p24f,
                            0.99999994f,
                            126,
                            127,
                            128,
                            149,
                            150,
                            std::numeric_limits<float>::quiet_NaN(),
                            std::numeric_limits<float>::max()};
  odd.insert(odd.end(), std::begin(kPoints), std::end(kPoints));
  for (float x : odd)
    for (float y : odd)
      for (float sign : {1.0f, -1.0f}) compared.take(x * sign, y), compared.take(x * sign, -y);
  for (uint64_t k = 0; k < uint64_t{1} << 32; k += step) {
    const uint64_t drawn = random_bits()();
    const float x = from_bits(static_cast<uint32_t>(drawn)), any = from_bits(drawn >> 32);
    compared.take(x, any);
    // Exponents whose result is finite, and bases near 1; whole exponents.
    const float base = drawn >> 40 & 1 ? x : from_bits(bits_in(1) + int32_t(drawn << 8) / 512);
    const double target = static_cast<double>(drawn >> 32) * 0x1p-24 - 128;
    compared.take(base, static_cast<float>(target / std::log2(std::fabs(double{base}))));
    compared.take(std::ldexp(x, -std::ilogb(x) / 8 * 7), static_cast<float>(drawn >> 33 & 63) - 32);
  }
}

// Each lane is <cmath>'s.
template <class F, class G>
void wide(const char* name, F ours, G exact) {
  constexpr int n = kLanes<double>;
  for (int turn = 0; turn < 200; ++turn) {
    double x[n], out[n];
    for (int j = 0; j < n; ++j) x[j] = number<double>();
    store(out, ours(load(x)));
    for (int j = 0; j < n; ++j) {
      const double wanted = exact(x[j]);
      expect(out[j] == wanted || (std::isnan(out[j]) && std::isnan(wanted)), name, "double", turn,
             j);
    }
  }
}

int main(int, char** arguments) {
  const uint32_t step = static_cast<uint32_t>(std::atoi(arguments[1]));
#define FUNCTION(name, value)                                                                     \
  one(#name, step, [](Lane<float> x) { return name<float>(x); }, [](double x) { return value; }); \
  wide(#name, [](Lane<double> x) { return name<double>(x); }, [](double x) { return value; });
  FUNCTION(exp_of, std::exp(x))
  FUNCTION(expm1_of, std::expm1(x))
  FUNCTION(log_of, std::log(x))
  FUNCTION(log1p_of, std::log1p(x))
  FUNCTION(tanh_of, std::tanh(x))
  FUNCTION(sigmoid_of, 1 / (1 + std::exp(-x)))
  FUNCTION(erf_of, std::erf(x))
  FUNCTION(atan_of, std::atan(x))
  FUNCTION(sin_of, std::sin(x))
  FUNCTION(cos_of, std::cos(x))
#undef FUNCTION
  powers(step);
  wide(
      "pow_of", [](Lane<double> x) { return pow_of<double>(x, all_of(1.7)); },
      [](double x) { return std::pow(x, 1.7); });
  std::printf("%s: %d checked, %d wrong\n", kSet, checked, wrong);
  return wrong != 0;
}
