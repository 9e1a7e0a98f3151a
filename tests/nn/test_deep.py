"""Deep networks: torch's layers at every step, norms that know the step, attention, recipes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import spikegrad as sg
from spikegrad.errors import UserError
from spikegrad.nn import BNTT, TEBN, SpikingSelfAttention, models, spikformer_block
from spikegrad.types import StepState


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("ours", "theirs", "shape"),
    [
        (lambda: sg.nn.Conv1d(3, 4, 3, padding=1), nn.Conv1d, (3, 9)),
        (lambda: sg.nn.ConvTranspose2d(3, 2, 2, stride=2), nn.ConvTranspose2d, (3, 4, 5)),
        (lambda: sg.nn.GroupNorm(3, 6), nn.GroupNorm, (6, 4, 5)),
        (lambda: sg.nn.GroupNorm(3, 6), nn.GroupNorm, (6,)),
        (lambda: sg.nn.AdaptiveAvgPool2d(2), nn.AdaptiveAvgPool2d, (3, 4, 6)),
    ],
)
def test_a_layer_is_torchs_at_every_step(
    ours: Callable[[], nn.Module], theirs: type[nn.Module], shape: tuple[int, ...]
) -> None:
    layer, x = ours(), random(5, 2, *shape)
    expected = torch.stack([theirs.forward(layer, step) for step in x])
    assert torch.allclose(layer(x), expected, atol=1e-6)
    inside = sg.Sequential(layer, sg.LIF(5.0))
    assert torch.equal(inside(x)[0], sg.LIF(5.0)(layer(x))[0])
    still = x[:1].expand_as(x)
    assert torch.allclose(layer(still), layer(still.contiguous()), atol=1e-6)
    with pytest.raises(UserError, match=f"expected {theirs.__name__}'s input"):
        layer(x.flatten(2) if len(shape) > 1 else x[..., :5])


def test_linear_and_norm_take_tokens() -> None:
    x = random(4, 3, 5, 7)
    linear = sg.Linear(7, 6)
    assert torch.allclose(linear(x), nn.functional.linear(x, linear.weight, linear.bias), atol=1e-6)
    norm, other = sg.BatchNorm(7, axis=-1), sg.BatchNorm(7)
    assert torch.allclose(norm(x), other(x.flatten(1, 2)).unflatten(1, (3, 5)), atol=1e-6)
    assert torch.equal(norm.running_mean, other.running_mean)
    network = sg.Sequential(linear, sg.BatchNorm(6, axis=-1), sg.LIF(3.0), sg.Linear(6, 2))
    y, states = network(x)
    assert y.shape == (4, 3, 5, 2)
    assert states[2].v.shape == (3, 5, 6)
    network.eval()
    first, between = network(x[:2])
    rest, _ = network(x[2:], between)
    assert torch.equal(torch.cat([first, rest]), network(x)[0])
    with pytest.raises(UserError, match=r"as \[T, B, 8\], got \[4, 3, 5, 7\]"):
        sg.Linear(8, 2)(x)
    with pytest.raises(UserError, match="put a Flatten before it"):
        sg.Linear(35, 2)(x)
    with pytest.raises(UserError, match=r"expected x \[T, B, \*, 6\]"):
        sg.BatchNorm(6, axis=-1)(x)
    with pytest.raises(UserError, match="expected axis 2 or -1, got 1"):
        sg.BatchNorm(6, axis=1)


def test_tebn_is_a_norm_over_time_with_a_factor_a_step() -> None:
    x = random(5, 4, 3, 2, 2)
    norm = TEBN(3, steps=6).double()
    with torch.no_grad():
        norm.factor.copy_(torch.arange(1, 7))
        norm.norm.weight.copy_(torch.tensor([0.5, 1.0, 2.0]))
        norm.norm.bias.copy_(torch.tensor([0.1, 0.2, 0.3]))
    x = x.double().requires_grad_()
    y, state = norm(x)
    mean = x.mean((0, 1, 3, 4), keepdim=True)
    var = x.var((0, 1, 3, 4), keepdim=True, correction=0)
    shape = (1, 1, 3, 1, 1)
    normal = (x - mean) / torch.sqrt(var + 1e-5)
    expected = normal * norm.norm.weight.view(shape) + norm.norm.bias.view(shape)
    expected = expected * torch.arange(1.0, 6.0).double().view(5, 1, 1, 1, 1)
    assert torch.allclose(y, expected, atol=1e-12)
    assert state.step.tolist() == [5] * 4
    given = torch.rand_like(y)
    wanted = [x, norm.norm.weight, norm.norm.bias]
    for a, b in zip(
        torch.autograd.grad(y, wanted, given, retain_graph=True),
        torch.autograd.grad(expected, wanted, given),
        strict=True,
    ):
        assert torch.allclose(a, b, atol=1e-9)
    factor = torch.autograd.grad(y, norm.factor, given)[0]
    each = (given * y / norm.factor[:5].view(5, 1, 1, 1, 1)).sum((1, 2, 3, 4))
    assert torch.allclose(factor, torch.cat([each, each.new_zeros(1)]), atol=1e-9)


def test_bntt_is_a_norm_of_its_own_at_every_step() -> None:
    x = random(5, 6, 3)
    norm = BNTT(3, steps=5)
    y, _ = norm(x)
    expected = torch.stack(
        [nn.functional.batch_norm(step, None, None, training=True) for step in x]
    )
    assert torch.allclose(y, expected, atol=1e-5)
    assert not any("bias" in name for name, _ in norm.named_parameters())
    for each, step in zip(norm.norms, x, strict=True):
        assert torch.allclose(each.running_mean, 0.1 * step.mean(0), atol=1e-6)
    again = BNTT(3, steps=5)
    first, between = again(x[:2])
    rest, _ = again(x[2:], between)
    assert torch.equal(torch.cat([first, rest]), y)


@pytest.mark.parametrize("kind", [TEBN, BNTT])
def test_a_step_norm_knows_where_it_is(kind: type[nn.Module]) -> None:
    norm = kind(3, steps=5)
    norm(random(5, 6, 3))
    norm.eval()
    network = sg.Sequential(sg.Linear(4, 3), norm, sg.LIF(5.0))
    x = 3 * random(5, 2, 4)
    whole, _ = network(x)
    first, states = network(x[:3])
    assert isinstance(states[1], StepState)
    rest, _ = network(x[3:], states)
    assert torch.equal(torch.cat([first, rest]), whole)
    short, _ = network(x, lengths=torch.tensor([5, 2]))
    assert torch.allclose(short[:2], whole[:2])
    with pytest.raises(UserError, match="at most 5 steps, got 6"):
        norm(random(6, 2, 3))
    with pytest.raises(UserError, match="at most 5 steps, got 8"):
        network(x, states)
    with pytest.raises(UserError, match="expected a StepState, got tuple"):
        norm(random(2, 2, 3), (None,))
    with pytest.raises(UserError, match="same step of 2 samples"):
        norm(random(2, 2, 3), StepState(torch.tensor([1, 2])))
    with pytest.raises(UserError, match="expected steps >= 1, got 0"):
        kind(3, steps=0)


@pytest.mark.parametrize("tokens", [3, 9])
def test_attention_is_the_papers(tokens: int) -> None:
    """Both orders of the product, against the equations head by head."""
    torch.manual_seed(0)
    layer = SpikingSelfAttention(8, heads=2, scale=0.5).eval()
    for name, buffer in layer.named_buffers():
        if name.endswith("running_var"):
            buffer.fill_(0.05)
    x = random(4, 2, tokens, 8)
    y, states = layer(x)
    q, k, v = (each(x)[0] for each in (layer.query, layer.key, layer.value))
    assert min(q.mean(), k.mean(), v.mean()) > 0.05
    heads = []
    for h in range(2):
        part = slice(4 * h, 4 * h + 4)
        scores = torch.einsum("tbid,tbjd->tbij", q[..., part], k[..., part])
        heads.append(torch.einsum("tbij,tbjd->tbid", scores, v[..., part]))
    current = 0.5 * torch.cat(heads, -1)
    spikes, _ = sg.LIF(2.0, threshold=0.5)(current)
    assert spikes.mean() > 0
    assert torch.equal(y, layer.out(spikes)[0])
    assert set(states) == {"query", "key", "value", "attend", "out"}
    first, between = layer(x[:1])
    rest, _ = layer(x[1:], between)
    assert torch.equal(torch.cat([first, rest]), y)
    ragged, _ = layer(x, lengths=torch.tensor([4, 2]))
    assert torch.equal(ragged[:2], y[:2])
    assert not ragged[2:, 1].any()
    with pytest.raises(UserError, match=r"expected x \[T, B, tokens, 8\]"):
        layer(random(4, 2, 8))
    with pytest.raises(UserError, match="heads that divide dim=8, got 3"):
        SpikingSelfAttention(8, heads=3)


def trains(network: nn.Module, x: Tensor) -> None:
    """Every parameter has a finite gradient, and some a gradient that is not 0."""
    y, _ = network(x)
    nn.functional.cross_entropy(y.mean(0), torch.arange(x.shape[1]) % y.shape[2]).backward()
    gradients = [p.grad for p in network.parameters()]
    assert all(g is not None and g.isfinite().all() for g in gradients)
    assert sum(bool(g.any()) for g in gradients) > len(gradients) // 2


def test_recipes_train() -> None:
    torch.manual_seed(0)
    images = 2 * random(3, 4, 1, 16, 16)
    for network in (
        models.sew_resnet([1, 16, 16], 5, channels=[4, 8], blocks=[1, 2]),
        models.sew_resnet([1, 16, 16], 5, channels=[4], blocks=[1], join="iand"),
        models.vgg([1, 16, 16], 5, channels=[[4], [8, 8]], dense=[16], dropout=0.1),
    ):
        trains(network, images)
    block = spikformer_block(8, heads=2)
    tokens = 2 * random(3, 4, 5, 8)
    trains(sg.Sequential(block, sg.Linear(8, 5), sg.nn.Flatten(), sg.Linear(25, 5)), tokens)


def test_sew_resnet18_has_the_size_of_resnet18() -> None:
    """11,173,962 parameters: torchvision's ResNet-18 in the CIFAR form, ten classes."""
    network = models.sew_resnet18([3, 32, 32], 10)
    assert sum(p.numel() for p in network.parameters()) == 11_173_962


def test_recipes_refuse_what_does_not_fit() -> None:
    with pytest.raises(UserError, match="in blocks, or 2: one per stage"):
        models.sew_resnet([1, 28, 28], 10, channels=[4, 8], blocks=[1, 1, 1])
    with pytest.raises(UserError, match=r"shape \[C, H, W\]"):
        models.sew_resnet([28, 28], 10)
    with pytest.raises(UserError, match="at least 4 pixels a side"):
        models.sew_resnet([1, 2, 2], 10, channels=[4, 8, 8], blocks=[1, 1, 1])
    with pytest.raises(UserError, match="concat"):
        models.sew_resnet([1, 28, 28], 10, join="concat")
    with pytest.raises(UserError, match="dense as whole numbers"):
        models.vgg([1, 28, 28], 10, dense=[1.5])
    with pytest.raises(UserError, match="at most 2 groups"):
        models.vgg([1, 4, 4], 10)
    with pytest.raises(UserError, match=r"dropout in \[0, 1\)"):
        models.vgg([1, 28, 28], 10, dropout=1.0)
