// Which rows are those of which step.
//
// Row r of a sequence [T, B, N] is step r / B of sample r % B. Where samples have different lengths
// they are sorted, the longest first, and the rows of step t are those of the samples that have a
// step t: nothing of what has ended takes a row, or time.
#pragma once

#include "common.h"

#include <algorithm>
#include <vector>

namespace spikegrad {

struct Timeline {
  int64_t steps = 0, batch = 0;
  bool ragged = false;

  Timeline() = default;
  Timeline(int64_t steps, int64_t batch) : steps(steps), batch(batch), starts_(steps + 2) {
    for (int64_t t = 0; t <= steps; ++t) starts_[t] = t * batch;
    starts_[steps + 1] = starts_[steps];
  }
  // starts [T + 1]: the first row of every step, and the number of rows.
  explicit Timeline(const std::vector<int64_t>& starts)
      : steps(static_cast<int64_t>(starts.size()) - 1), batch(starts[1]), ragged(true),
        starts_(starts) {
    starts_.push_back(starts_.back());
  }

  int64_t rows() const { return starts_[steps]; }
  int64_t row(int64_t t, int64_t b = 0) const { return starts_[t] + b; }
  // Samples that have a step: the first ones, none behind the last step.
  int64_t alive(int64_t t) const { return starts_[t + 1] - starts_[t]; }
  // From a row to the same sample's row of the step before.
  int64_t back(int64_t t) const { return t > 0 ? starts_[t] - starts_[t - 1] : batch; }
  // The rows of steps [t0, t1) of samples [0, b).
  int64_t rows_before(int64_t t0, int64_t t1, int64_t b) const {
    if (!ragged) return (t1 - t0) * b;
    int64_t count = 0;
    for (int64_t t = t0; t < t1; ++t) count += std::min(alive(t), b);
    return count;
  }

 private:
  std::vector<int64_t> starts_{0, 0};
};

inline void check_starts(const std::vector<int64_t>& starts, int64_t rows) {
  bool good = starts.size() > 1 && starts.front() == 0 && starts.back() == rows;
  for (size_t t = 0; good && t + 1 < starts.size(); ++t) {
    const int64_t now = starts[t + 1] - starts[t];
    good = now > 0 && (t == 0 || now <= starts[t] - starts[t - 1]);
  }
  SG_CHECK(good, "the rows of steps must be those of samples sorted by length");
}

}  // namespace spikegrad
