"""`linear` of spikes that are bits."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import linear

from spikegrad.kernels.emit.triton_product import PRODUCT
from spikegrad.kernels.triton.product_operator import run
from spikegrad.kernels.triton.spikes import STEPS, Spikes
from spikegrad.kernels.triton.trial import TOLERANCE, apart
from spikegrad.kernels.triton.verdict import digest, judged, tell
from spikegrad.tracing import constant

__all__ = ["NAME", "product"]

NAME = "the product"
ROWS = (70, 2)
"""Steps and samples of the comparison: more than a block of rows, and no multiple of it."""


def product(
    x: Spikes, weight: Tensor, bias: Tensor | None = None, *, checked: bool = False
) -> Tensor:
    """`linear` of spikes `[T, B, I]`; checked: as of neurons, compared before its first use."""
    if checked and judged_here(weight.dtype, weight.device):
        return linear(x.numbers(), weight, bias)
    return run(x.edge, x.bits, weight.contiguous(), bias)


@constant
def judged_here(dtype: torch.dtype, device: torch.device) -> str:
    """How the kernel differs from torch's product on this device, "" where it does not."""
    precise = torch.get_float32_matmul_precision()
    key = digest(PRODUCT, dtype, f"product {precise}", device)
    why = judged(key, NAME, device, partial(compared, dtype, device))
    if why:
        tell(NAME, None, device, why)
    return why


def compared(dtype: torch.dtype, device: torch.device) -> str:
    """How product and gradients differ from torch's on numbers of our own."""
    generator = torch.Generator().manual_seed(0)
    inputs, outputs = 100, 70

    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(device, dtype)

    spikes = (torch.rand(*ROWS, inputs, generator=generator) < 0.3).to(device)
    weight, bias, grad = drawn(outputs, inputs), drawn(outputs), drawn(*ROWS, outputs)
    results = []
    for kernel in (False, True):
        edge = torch.zeros(spikes.shape, dtype=dtype, device=device, requires_grad=True)
        w, b = weight.clone().requires_grad_(), bias.clone().requires_grad_()
        with torch.inference_mode(False), torch.enable_grad():
            x = Spikes(edge, packed(spikes))
            y = run(x.edge, x.bits, w, b) if kernel else linear(x.numbers(), w, b)
            results.append([y.detach(), *torch.autograd.grad(y, (edge, w, b), grad)])
    names = ("product", "gradient of its spikes", "gradient of its weight", "gradient of its bias")
    limit = TOLERANCE[dtype] if torch.get_float32_matmul_precision() == "highest" else 3e-3
    found = (
        apart(name, one, other, limit) for name, one, other in zip(names, *results, strict=True)
    )
    return next((said for said in found if said), "")


def packed(spikes: Tensor) -> Tensor:
    """Masks `[T, B, N]` as bytes of 8 steps."""
    missing = -spikes.shape[0] % STEPS
    whole = torch.nn.functional.pad(spikes, (0, 0, 0, 0, 0, missing)).unflatten(0, (-1, STEPS))
    steps = torch.arange(STEPS, device=spikes.device).reshape(-1, 1, 1)
    return (whole.long() << steps).sum(1).to(torch.uint8)
