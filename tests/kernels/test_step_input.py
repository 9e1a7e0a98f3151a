"""Odd and wrong steps: the kernel gives the loop's numbers, or one clear line says why not."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from native import needs_kernels
from torch import Tensor

import spikegrad as sg
from spikegrad import kernels
from spikegrad.kernels.dispatch import warn_once
from spikegrad.step import Step

pytestmark = needs_kernels

Function = Callable[..., Any]
PLAIN = {"beta": 0.9, "threshold": 1.0}


def on_membrane(operation: Callable[[Tensor], Any]) -> Function:
    """LIF with something else in its step."""

    def odd(x: Tensor, s: Any, p: Any) -> Any:
        u = operation(p.beta * s.v + x)
        fired = p.spike(u, p.threshold)
        return fired, {"v": p.reset(u, fired)}

    return odd


def results(step: Step, backend: str) -> list[Tensor | None]:
    """Output, states and all gradients."""
    torch.manual_seed(1)
    x = torch.rand(20, 2, 5).requires_grad_()
    values = {k: torch.tensor(v).requires_grad_() for k, v in step.defaults().items()}
    y, state = kernels.step(step, x, backend=backend, **values)
    parts = [y, *state[: len(step.states)]]
    total = sum((part * torch.rand(part.shape)).sum() for part in parts)
    wanted = [x, *values.values()]
    if not total.requires_grad:
        return [*parts, *(None for _ in wanted)]
    return [*parts, *torch.autograd.grad(total, wanted, allow_unused=True)]


def same(step: Step) -> list[Tensor | None]:
    """The loop's results, after they were compared with the kernel's; no gradient is 0."""
    loop = results(step, "reference")
    for want, got in zip(loop, results(step, "cpu"), strict=True):
        if want is None or got is None:
            assert got is None or not got.any()
            assert want is None or not want.any()
        else:
            torch.testing.assert_close(got, want, equal_nan=True)
    return loop


def unread(x: Tensor, s: Any, p: Any) -> Any:
    """A parameter that nobody reads."""
    u = 0.9 * s.v + x
    return p.spike(u, p.threshold), {"v": u * 0.5}


def without_input(x: Tensor, s: Any, p: Any) -> Any:
    """An output that does not depend on the input."""
    u = p.beta * s.v + 0.3
    fired = p.spike(u, p.threshold)
    return fired, {"v": p.reset(u, fired)}


def constant(x: Tensor, s: Any, p: Any) -> Any:
    """An output that depends on nothing."""
    p.spike(torch.zeros_like(x), 1.0)
    return torch.ones_like(x), {"v": torch.zeros_like(x)}


def detached(x: Tensor, s: Any, p: Any) -> Any:
    """A state that has no gradient."""
    u = (p.beta * s.v).detach() + x
    fired = p.spike(u, p.threshold)
    return fired, {"v": p.reset(u, fired)}


def unchanged(x: Tensor, s: Any, p: Any) -> Any:
    """The state object itself."""
    return p.spike(s.v + p.beta * x, p.threshold), {"v": s.v}


@pytest.mark.parametrize("function", [unread, without_input, constant, detached, unchanged])
def test_where_nothing_has_a_part_in_a_gradient(function: Function) -> None:
    loop = same(Step(function, states={"v": 0.25}, parameters=PLAIN))
    assert function is unchanged or any(part is None for part in loop[2:])


def test_states_that_change_places() -> None:
    def swapping(x: Tensor, s: Any, p: Any) -> Any:
        u = p.beta * s.a + x
        fired = p.spike(u, p.threshold)
        return fired, {"b": p.reset(u, fired), "a": s.b}

    _, a, b, *_ = same(Step(swapping, states={"a": 0.5, "b": 0.25}, parameters=PLAIN))
    assert not torch.equal(a, b)


def test_a_division_by_zero_at_rest_is_as_in_the_loop() -> None:
    _, v, *_ = same(
        Step(on_membrane(lambda u: u * (u / u)), states={"v": 0.0}, parameters=PLAIN)
    )  # finite, since the current is never 0
    assert v is not None
    assert v.isfinite().all()

    def at_rest(x: Tensor, s: Any, p: Any) -> Any:
        u = s.v / s.v + x
        return p.spike(u, p.threshold), {"v": p.beta * u}

    _, v, *_ = same(Step(at_rest, states={"v": 0.0}, parameters=PLAIN))
    assert v is not None
    assert v.isnan().all()


def test_two_steps_of_one_name() -> None:
    twice, thrice = (
        Step(on_membrane(lambda u, k=k: u * k), states={"v": 0.0}, parameters=PLAIN)
        for k in (2.0, 3.0)
    )
    assert twice.name == thrice.name
    assert not torch.equal(same(twice)[1], same(thrice)[1])  # type: ignore[arg-type]


SCALE = 0.5


@pytest.mark.parametrize("where", ["global", "closure", "list"])
def test_a_number_from_outside_that_changes(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    scale, scales = 0.5, [0.5]

    def read(u: Tensor) -> Tensor:
        return u * {"global": SCALE, "closure": scale, "list": scales[0]}[where]

    step = Step(on_membrane(read), states={"v": 0.0}, parameters=PLAIN)
    before = same(step)
    scale, scales[0] = 0.75, 0.75
    monkeypatch.setitem(globals(), "SCALE", 0.75)
    with pytest.raises(sg.UserError, match="which it reads from outside, has changed"):
        results(step, "cpu")
    warn_once.cache_clear()
    with pytest.warns(sg.SpikegradWarning, match="which it reads from outside, has changed"):
        after = results(step, "auto")
    assert torch.equal(after[1], results(step, "reference")[1])  # type: ignore[arg-type]
    assert not torch.equal(after[1], before[1])  # type: ignore[arg-type]


KEPT = torch.tensor(0.5)


@pytest.mark.parametrize(
    ("operation", "says"),
    [
        (lambda u: u * KEPT, r"keeps a tensor of shape \[\]; declare it as a parameter"),
        (lambda u: u * torch.nn.Parameter(torch.ones(1)), "keeps a tensor"),
        (lambda u: u + torch.from_numpy(2 * np.ones(u.shape[-1], np.float32)), "keeps a tensor"),
        (lambda u: u.half().to(u.dtype), "computes in torch.float16"),
        (lambda u: (u.double() + 1e-9).to(u.dtype), "computes in torch.float64"),
        (lambda u: u * 2 if u.max().item() > 3 else u, "reads a value"),
        (lambda u: u * float(u.detach().tanh().sum()), "reads a value"),
        (lambda u: u.masked_scatter(u > 0, u), "masked_scatter has no native form"),
    ],
    ids=["tensor", "parameter", "numpy", "half", "double", "item", "float", "masked_scatter"],
)
def test_what_a_kernel_cannot_do_runs_in_the_loop(operation: Any, says: str) -> None:
    step = Step(on_membrane(operation), states={"v": 0.0}, parameters=PLAIN)
    with pytest.raises(sg.UserError, match=says):
        results(step, "cpu")
    warn_once.cache_clear()
    with pytest.warns(sg.SpikegradWarning, match=says):
        found = results(step, "auto")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        results(step, "auto")  # said once
    for want, got in zip(results(step, "reference"), found, strict=True):
        assert (want is None) == (got is None)
        assert want is None or torch.equal(want, got)  # type: ignore[arg-type]


def changes(what: str) -> Function:
    """A step that changes what it was given, or returns what it should not."""

    def wrong(x: Tensor, s: Any, p: Any) -> Any:
        given = {"input": x, "state": s.v, "parameter": p.beta}
        if what in given:
            given[what].mul_(0.5)
        u = p.beta * s.v + x
        fired = p.spike(u, p.threshold)
        ends = {"undeclared": {"v": u, "w": u}, "missing": {}, "dtype": {"v": u.double()}}
        return fired, ends.get(what, {"v": u})

    return wrong


@pytest.mark.parametrize("backend", ["reference", "auto", "cpu"])
@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("input", "changes nothing in place"),
        ("state", "changes nothing in place"),
        ("parameter", "changes nothing in place"),
        ("undeclared", "to return the states v, got v, w"),
        ("missing", "to return the states v, got none"),
        ("dtype", "in the input's dtype, torch.float32, got torch.float64"),
    ],
)
def test_a_wrong_step_gets_the_same_line_everywhere(what: str, says: str, backend: str) -> None:
    step = Step(changes(what), states={"v": 0.0}, parameters=PLAIN)
    with pytest.raises(sg.UserError, match=says):
        results(step, backend)


def test_a_fixed_parameter_is_not_changed_either() -> None:
    step = Step(changes("parameter"), states={"v": 0.0}, parameters=PLAIN)
    with pytest.raises(sg.UserError, match="the parameter 'beta' changed"):
        step(torch.rand(3, 2, 5), beta=torch.tensor(0.9))


def test_names_that_cannot_be() -> None:
    with pytest.raises(TypeError, match="a function with a name, got <lambda>; use def"):
        Step(lambda x, s, p: (x, {"v": x}), states={"v": 0.0}, parameters={}, spikes=False)
    for names in ({"states": {"lambda": 0.0}, "parameters": {}},
                  {"states": {"v": 0.0}, "parameters": {"class": 1.0}}):  # fmt: skip
        with pytest.raises(sg.UserError, match="expected another name in unread"):
            Step(unread, **names)  # type: ignore[arg-type]


@needs_kernels
@pytest.mark.parametrize("strides", [(1, 64, 7), (1, 7, 1), (1, 1, 9)])
def test_strides_of_one_sample_and_one_neuron_may_be_any_number(strides) -> None:
    """torch calls such a tensor contiguous, and leaves its strides as they are."""
    odd = (2 * torch.rand(16)).as_strided((16, 1, 1), strides)
    assert odd.is_contiguous()
    found = []
    for backend in ("cpu", "reference"):
        x = odd.detach().requires_grad_()
        y, _ = sg.LIF(5.0, backend=backend)(x)
        grad = torch.rand(16, generator=torch.Generator().manual_seed(0))
        y.backward(grad.as_strided((16, 1, 1), strides))
        found.append((y.detach(), x.grad))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.allclose(found[0][1], found[1][1])
