// Feedback along some synapses, backward in time: what comes back to the neurons from the step
// after, and the gradient of the weights.
#pragma once

#include "sparse_groups.h"

namespace spikegrad {

template <class T>
class SparseFeedback {
 public:
  // spikes, support: words [T, B, tiles] of the neurons that send, support null for everywhere;
  // stride: of rows of gradients of the currents that they reach; dw [E], or null: nobody needs it.
  SparseFeedback(const Synapses& synapses, const T* weight, const uint64_t* spikes,
                 const uint64_t* support, const Timeline& time, int64_t stride, T* dw)
      : synapses_(synapses), weight_(weight), spikes_(spikes), support_(support), time_(time),
        stride_(stride), tiles_(tiles_of(synapses.inputs)), dw_(dw) {
    const int64_t batch = time.batch, rows = time.rows();
    const int64_t wanted = support ? ones(support, rows * tiles_) : rows * synapses.inputs;
    if (!in_groups(wanted, rows, batch, synapses.inputs)) return;
    turned_ = Scratch<T>(groups_of(batch) * synapses.outputs * kGroup);
    // What a weight's gradient needs has been loaded then: at no rate of spikes is another pass
    // faster.
    with_weight_ = dw;
    if (with_weight_) std::memset(dw, 0, synapses.count() * sizeof(T));
  }
  // Whether one thread must take all groups of a tile: they add to the same gradients.
  bool by_tiles() const { return with_weight_; }

  // Before a step; next: the gradients of the step after, of so many samples.
  void begin(const T* next, int64_t samples) const {
    if (!turned_) return;
    const int64_t groups = groups_of(samples), outputs = synapses_.outputs;
    const int64_t tiles = tiles_of(outputs);
    parallel_each(tiles * groups, 1, [&](int64_t k) {
      const int64_t j = k % tiles * kTile, group = k / tiles, b = group * kGroup;
      turn_group(next + b * stride_, stride_, std::min(kGroup, samples - b), j,
                 std::min(outputs, j + kTile), turned_ + group * outputs * kGroup);
    });
  }
  // out [n][64]: what comes back at step t to samples [b0, b0 + n) of a tile.
  void step(int64_t t, int64_t tile, int64_t b0, int64_t n, const T* next, T* out) const {
    const int64_t at = time_.row(t, b0) * tiles_ + tile;
    if (turned_)
      sparse_group(synapses_, weight_, tile, turned_ + b0 * synapses_.outputs, n, out, spikes_ + at,
                   tiles_, with_weight_ ? dw_ : nullptr);
    else
      sparse_tile(synapses_, weight_, tile, support_ ? support_ + at : nullptr, tiles_,
                  next + b0 * stride_, stride_, n, out);
  }
  // The weights' gradient from n rows of gradients; before: the spikes of the step before each.
  void products(const T* gradient, const uint64_t* before, int64_t n, bool fresh) const {
    if (with_weight_) return;
    sparse_weight_gradient(synapses_, before, static_cast<const T*>(nullptr), gradient, stride_, n,
                           fresh, dw_);
  }

 private:
  const Synapses synapses_;
  const T* weight_;
  const uint64_t *spikes_, *support_;
  const Timeline time_;
  const int64_t stride_, tiles_;
  T* dw_;
  Scratch<T> turned_;  // [groups][width][32], where groups of samples are walked together
  bool with_weight_ = false;
};

}  // namespace spikegrad
