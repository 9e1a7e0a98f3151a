"""Kernels of 1 x 1 with a stride never reach torch as such: its gradient damages memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode

import spikegrad as sg


class Strides(TorchFunctionMode):
    """The sizes of the kernels and the strides with which torch's convolution is called."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[tuple[int, ...], tuple[int, ...]]] = []

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if function is torch.nn.functional.conv2d:
            self.seen.append((tuple(args[1].shape[2:]), tuple(args[3])))
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize(
    ("stride", "padding"),
    [((2, 2), 0), ((2, 2), 1), ((1, 3), 0), ((3, 2), (1, 2)), ((2, 2), "valid")],
)
def test_a_kernel_of_one_pixel_with_a_stride(
    backend: str, stride: tuple[int, int], padding: Any
) -> None:
    torch.manual_seed(0)
    layer = sg.Conv2d(4, 8, 1, stride=stride, padding=padding, backend=backend)
    x = torch.rand(3, 2, 4, 9, 8, requires_grad=True)
    with Strides() as mode:
        y = layer(x)
    assert mode.seen == [((1, 1), (1, 1))]
    rows = x.flatten(0, 1)
    pads = (
        (0, 0) if padding == "valid" else padding if isinstance(padding, tuple) else (padding,) * 2
    )
    wide = torch.nn.functional.pad(rows, (pads[1], pads[1], pads[0], pads[0]))
    taken = wide[:, :, :: stride[0], :: stride[1]]
    expected = torch.einsum("rchw,oc->rohw", taken, layer.weight[:, :, 0, 0])
    expected = (expected + layer.bias[:, None, None]).unflatten(0, (3, 2))
    assert torch.allclose(y, expected, atol=1e-6)
    given = torch.rand_like(y)
    leaves = [x, layer.weight, layer.bias]
    for a, b in zip(
        torch.autograd.grad(y, leaves, given),
        torch.autograd.grad(expected, leaves, given),
        strict=True,
    ):
        assert torch.allclose(a, b, atol=1e-4)
