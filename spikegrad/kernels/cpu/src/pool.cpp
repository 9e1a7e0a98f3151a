// A pool of large buffers. The C library maps what is above its threshold (128 KB at first, 32 MB
// at most) anew on each allocation and gives the end of its heap back, so the pages of a fresh
// tensor fault: 18 ms for 52 MB where a reused one costs 2 ms, 0.5 ms for a small layer's step.
// Buffers of 128 KB and more are kept by size class and handed out again; smaller ones are torch's.
// What nobody asked for during a few training steps goes back to the system. Buffers with small
// pages are a class of their own: what they never wrote takes no memory. For tests a build with
// AddressSanitizer gives every buffer its exact size and keeps none, and `pool_poison` fills
// whatever is handed out with NaN.
#include "common.h"

#include <sys/mman.h>

#include <atomic>
#include <compare>
#include <cstdlib>
#include <map>
#include <mutex>

namespace spikegrad {
namespace {

constexpr size_t kSmallest = size_t{1} << 17;
constexpr size_t kHuge = size_t{1} << 20;  // from here on mapped, with huge pages where they fit
constexpr size_t kPage = size_t{1} << 16;  // of every system, at most
#if defined(__SANITIZE_ADDRESS__)
constexpr bool kExact = true;
constexpr size_t kIdleLimit = 0;
#else
constexpr bool kExact = false;
constexpr size_t kIdleLimit = size_t{2} << 30;
#endif

std::atomic<bool> poison{false};

// A buffer as a kernel meets it: for tests full of NaN.
void* fresh(void* buffer, size_t bytes) {
  if (bytes && poison.load(std::memory_order_relaxed)) std::memset(buffer, 0xff, bytes);
  return buffer;
}

struct Idle {
  void* buffer;
  uint64_t since;  // by the pool's clock, which counts the buffers handed out
};
constexpr uint64_t kOld = 512;

// Memory of its own; for a sanitizer to the byte, else in whole steps of its alignment.
void* aligned(size_t alignment, size_t bytes) {
  void* buffer = nullptr;
  const size_t whole = (std::max<size_t>(1, bytes) + alignment - 1) / alignment * alignment;
  SG_CHECK(posix_memalign(&buffer, alignment, kExact ? std::max<size_t>(1, bytes) : whole) == 0,
           "out of memory");
  return buffer;
}

struct Class {
  Pages pages;
  size_t size;
  auto operator<=>(const Class&) const = default;
};

// Whether a buffer is mapped by ourselves. Of the heap small pages may have been written before,
// and where huge pages were, the heap would take whole ones for whatever comes there next.
bool is_mapped(const Class& kind) {
  return !kExact && (kind.pages == Pages::small || kind.size >= kHuge);
}

size_t whole_pages(size_t bytes) { return (bytes + kPage - 1) / kPage * kPage; }

// Whole pages that begin at a multiple of `alignment`, itself one of the size of a page.
void* pages_at(size_t alignment, size_t bytes) {
  bytes = whole_pages(bytes);
  const size_t room = bytes + alignment;
  void* all = mmap(nullptr, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  SG_CHECK(all != MAP_FAILED, "out of memory");
  char* const begin = static_cast<char*>(all);
  const size_t before = (alignment - reinterpret_cast<uintptr_t>(all) % alignment) % alignment;
  if (before) munmap(begin, before);
  munmap(begin + before + bytes, alignment - before);
  return begin + before;
}

void* mapped(const Class& kind) {
  if (!is_mapped(kind)) return aligned(kExact ? 64 : 4096, kind.size);
  const bool large = kind.pages == Pages::large;
  void* buffer = pages_at(large ? size_t{1} << 21 : kPage, kind.size);
  madvise(buffer, kind.size, large ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
  return buffer;
}
void release(void* buffer, const Class& kind) {
  if (is_mapped(kind))
    munmap(buffer, whole_pages(kind.size));
  else
    std::free(buffer);
}

struct Pool {
  std::mutex mutex;
  std::map<Class, std::vector<Idle>> idle;  // buffers of a class, the longest idle first
  std::map<void*, Class> live;
  size_t idle_bytes = 0, live_bytes = 0;
  uint64_t clock = 0;

  // An idle buffer of a class, or of one that is at most a quarter larger.
  void* found(Class& kind) {
    const Class last{kind.pages, kind.size + kind.size / 4};
    for (auto it = idle.lower_bound(kind); it != idle.end() && it->first <= last; ++it) {
      if (it->second.empty()) continue;
      kind = it->first;
      void* buffer = it->second.back().buffer;
      it->second.pop_back();
      idle_bytes -= kind.size;
      return buffer;
    }
    return nullptr;
  }
  // Gives back what was idle for so many calls.
  void drop(uint64_t age) {
    for (auto& [kind, buffers] : idle) {
      size_t old = 0;
      while (old < buffers.size() && clock - buffers[old].since >= age) {
        release(buffers[old++].buffer, kind);
        idle_bytes -= kind.size;
      }
      buffers.erase(buffers.begin(), buffers.begin() + static_cast<std::ptrdiff_t>(old));
    }
  }
};

Pool& pool() {
  static Pool* one = new Pool;  // never destroyed: tensors may outlive static destructors
  return *one;
}

// Eight classes an octave: at most an eighth is wasted.
size_t size_class(size_t bytes) {
  if (kExact) return bytes;
  size_t octave = kSmallest;
  while (octave * 2 < bytes) octave *= 2;
  const size_t step = octave / 8;
  return (bytes + step - 1) / step * step;
}

void* take(size_t bytes, Pages pages = Pages::large) {
  Pool& p = pool();
  Class kind{pages, size_class(bytes)};
  std::lock_guard<std::mutex> guard(p.mutex);
  if (++p.clock % 64 == 0) p.drop(kOld);
  void* buffer = p.found(kind);
  if (buffer == nullptr) buffer = mapped(kind);
  p.live[buffer] = kind;
  p.live_bytes += kind.size;
  return fresh(buffer, bytes);
}

void give(void* buffer) {
  Pool& p = pool();
  std::lock_guard<std::mutex> guard(p.mutex);
  auto found = p.live.find(buffer);
  const Class kind = found->second;
  p.live.erase(found);
  p.live_bytes -= kind.size;
  if (p.idle_bytes + kind.size > kIdleLimit) return release(buffer, kind);
  p.idle[kind].push_back({buffer, p.clock});
  p.idle_bytes += kind.size;
}

// Bytes handed out and not yet returned; bytes kept for reuse.
std::tuple<int64_t, int64_t> pool_bytes() {
  std::lock_guard<std::mutex> guard(pool().mutex);
  return {pool().live_bytes, pool().idle_bytes};
}

void pool_poison(bool on) { poison = on; }

void pool_trim() {
  Pool& p = pool();
  std::lock_guard<std::mutex> guard(p.mutex);
  p.drop(0);
}

}  // namespace

Tensor pooled(const std::vector<int64_t>& sizes, ScalarType dtype, Pages pages) {
  const bool wide = dtype == ScalarType::Double || dtype == ScalarType::Long;
  size_t bytes = wide ? 8 : dtype == ScalarType::Byte ? 1 : dtype == ScalarType::Short ? 2 : 4;
  for (int64_t n : sizes) bytes *= static_cast<size_t>(n);
#if TORCH_FEATURE_VERSION >= TORCH_VERSION_2_11_0
  const torch::stable::Device cpu(torch::headeronly::DeviceType::CPU);
  if (bytes >= kSmallest)
    return torch::stable::from_blob(take(bytes, pages), sizes, strides_of(sizes), cpu, dtype,
                                    &give);
#endif
  Tensor made = fresh_tensor(sizes, dtype);
  fresh(made.mutable_data_ptr(), bytes);
  return made;
}

Borrowed borrow(size_t bytes) {
  if (bytes >= kSmallest) return {take(bytes), &give};
  return {fresh(aligned(64, bytes), bytes), &std::free};
}

}  // namespace spikegrad

STABLE_TORCH_LIBRARY_IMPL(spikegrad, CompositeExplicitAutograd, m) {
  m.impl("pool_bytes", TORCH_BOX(&spikegrad::pool_bytes));
  m.impl("pool_trim", TORCH_BOX(&spikegrad::pool_trim));
  m.impl("pool_poison", TORCH_BOX(&spikegrad::pool_poison));
}
