// The two entry points of the scans, per type of number.
#pragma once

#include "common.h"

#include <tuple>

namespace spikegrad {

constexpr int64_t kScanParams = 10;

using Outputs = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;
using Gradients = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor>;

template <class T>
Outputs run_forward(const Tensor& x, const std::optional<Tensor>& i0,
                    const std::optional<Tensor>& v0, const std::optional<Tensor>& a0,
                    const std::optional<Tensor>& silent0, const Tensor& params, int64_t kind,
                    int64_t reset, int64_t refractory, bool keep);

template <class T>
Gradients run_backward(const std::optional<Tensor>& grad_s, const std::optional<Tensor>& grad_i,
                       const std::optional<Tensor>& grad_v, const std::optional<Tensor>& grad_a,
                       const std::optional<Tensor>& x, const Tensor& u, const std::optional<Tensor>& i,
                       const std::optional<Tensor>& a, const std::optional<Tensor>& ready,
                       const std::optional<Tensor>& i0, const std::optional<Tensor>& v0,
                       const Tensor& params, const Tensor& slope, const Tensor& amplitude,
                       double gain, const std::optional<Tensor>& derivative, int64_t kind,
                       int64_t reset, bool attached, int64_t family, double shape_a,
                       double shape_b, bool grads, bool grad_slope);

}  // namespace spikegrad
