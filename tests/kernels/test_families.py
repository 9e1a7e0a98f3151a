"""The surrogates as Python and C++ know them, and numbers that neither knows."""

from __future__ import annotations

import gc
import math
import re
from pathlib import Path

import pytest
import torch
from native import Seen, needs_kernels

from spikegrad import functional as F
from spikegrad import surrogate as S
from spikegrad.errors import UserError
from spikegrad.kernels import cpu
from spikegrad.kernels.cpu import derivative
from spikegrad.kernels.cpu.compiler import FLAGS
from spikegrad.kernels.cpu.library import COMPACT, FAMILIES

HEADER = Path(cpu.__file__).parent / "src" / "surrogate.h"


def table() -> list[tuple[str, bool, int]]:
    """Name, compact support, shape parameters of every row of the C++ table."""
    rows = re.findall(r"ROW\((\w+), (true|false), (?:true|false), (\d)\)", HEADER.read_text())
    return [(name, compact == "true", int(count)) for name, compact, count in rows]


def test_python_and_cpp_have_one_table_of_families() -> None:
    assert tuple(name for name, _, _ in table()) == FAMILIES
    assert tuple(i for i, (_, compact, _) in enumerate(table()) if compact) == COMPACT
    for name, compact, count in table():
        family = S.get(name).family
        assert compact == math.isfinite(family.support)
        assert count == len(family.parameters)


def test_every_built_in_surrogate_has_a_kernel() -> None:
    assert set(FAMILIES) == set(S.names(aliases=False))


def test_no_switch_over_families_has_a_default() -> None:
    """A default would compute another surrogate for a new family; the compiler finds a gap."""
    assert "-Werror=switch" in FLAGS
    switches = 0
    for path in HEADER.parent.rglob("*.h"):
        text = path.read_text()
        for switch in re.split(r"\bswitch \(", text)[1:]:
            if "case Family::" in switch:
                assert not re.search(r"^ *default:", switch, re.MULTILINE), path.name
                switches += 1
    assert switches >= 3


def calls(surrogate: S.Surrogate) -> list:
    """The operators of a layer as they were called."""
    with Seen() as seen:
        x = torch.rand(4, 2, 5, requires_grad=True)
        args = {"beta": 0.5, "surrogate": surrogate}
        cpu.layer(x, weight=torch.rand(3, 5), scan="lif", args=args)[0].sum().backward()
    return seen.calls


@needs_kernels
@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (0, 3, "kind of neuron"),
        (0, 7, "kind of neuron"),
        (1, 3, "reset"),
        (1, -1, "reset"),
        (5, 12, "surrogate family"),
        (5, -2, "surrogate family"),
    ],
)
def test_numbers_that_nobody_knows_are_refused(place: int, value: int, words: str) -> None:
    for function, args in calls(S.arctan(2.0)):
        at = next(k for k, a in enumerate(args) if isinstance(a, list) and len(a) == 11)
        wrong = list(args)
        wrong[at] = [*args[at][:place], value, *args[at][place + 1 :]]
        with pytest.raises(RuntimeError, match=f"^spikegrad kernel: unknown {words}$"):
            function(*wrong)


@needs_kernels
def test_a_users_own_family_needs_its_derivative_and_no_other_takes_one() -> None:
    def own(args, value):
        at = next(k for k, a in enumerate(args) if isinstance(a, list) and len(a) == 11)
        return [*args[:at], [*args[at][:5], value, *args[at][6:]], *args[at + 1 :]]

    backward = [c for c in calls(S.arctan(2.0)) if "backward" in c[0].name()]
    assert len(backward) == 1
    for function, args in backward:
        with pytest.raises(RuntimeError, match="a user's own surrogate alone"):
            function(*own(args, -1))


def parabola(z: torch.Tensor) -> torch.Tensor:
    return torch.clamp(1 - z * z, min=0) * 0.75


def tent(z: torch.Tensor) -> torch.Tensor:
    return torch.clamp(1 - z.abs(), min=0)


def registered(function) -> S.Surrogate:
    return S.register("mine", function, support=1.0, kinks=(-1, 0, 1), replace_own=True)


@pytest.fixture(autouse=True)
def clean():
    yield
    if "mine" in S.names():
        S.unregister("mine")


def gradient(scan, record: S.Surrogate) -> torch.Tensor:
    x = torch.linspace(0, 2, 24).reshape(4, 2, 3).requires_grad_()
    return torch.autograd.grad(scan(x, beta=0.5, surrogate=record)[0].sum(), x)[0]


def by_layer(x, **args):
    return cpu.layer(x, weight=None, scan="lif", args=args)


@needs_kernels
@pytest.mark.parametrize("scan", [cpu.lif, by_layer])
@pytest.mark.parametrize("normalisation", ["area", "peak"])
def test_a_name_that_is_given_again_is_the_new_function(scan, normalisation: str) -> None:
    for function in (parabola, tent, parabola):
        registered(function)
        record = S.get("mine", 1.5, normalisation=normalisation, gain=1.25)
        torch.testing.assert_close(gradient(scan, record), gradient(F.lif, record))


@needs_kernels
@pytest.mark.parametrize("scan", [cpu.lif, by_layer])
def test_a_gradient_keeps_the_function_that_its_forward_pass_had(scan) -> None:
    want = gradient(F.lif, registered(parabola))
    x = torch.linspace(0, 2, 24).reshape(4, 2, 3).requires_grad_()
    y, _ = scan(x, beta=0.5, surrogate=S.get("mine"))
    S.unregister("mine")
    gc.collect()
    torch.testing.assert_close(torch.autograd.grad(y.sum(), x)[0], want)


@needs_kernels
def test_records_leave_nothing_behind() -> None:
    """A list of all records once grew for ever, and every call searched it."""
    for k in range(300):
        gradient(cpu.lif, S.arctan(2.0, gain=1 + k))
        gradient(cpu.lif, registered(lambda z, k=k: parabola(z) + 0 * k))
    S.unregister("mine")
    gc.collect()
    assert len(derivative._OWN) == 0
    assert derivative.built_in.cache_info().currsize <= 256


@needs_kernels
def test_a_graph_that_names_a_program_of_another_process_says_so() -> None:
    with Seen() as seen:
        cpu.lif(torch.rand(4, 2, 3, requires_grad=True), beta=0.5)[0].sum().backward()
    assert len(seen.calls) == 2
    for function, args in seen.calls:
        with pytest.raises(RuntimeError, match="whose program this process has loaded"):
            function(12345, *args[1:])


@needs_kernels
def test_a_graph_that_names_a_function_of_another_process_says_so() -> None:
    record = registered(parabola)
    with Seen() as seen:
        by_layer(torch.rand(4, 2, 3), beta=0.5, surrogate=record)
    function, args = seen.calls[0]
    at = next(k for k, a in enumerate(args) if isinstance(a, list) and len(a) == 11)
    foreign = [*args[at][:4], 12345, *args[at][5:]]
    x = args[0].requires_grad_()
    y = function(x, *args[1:at], foreign, *args[at + 1 :])[0]
    with pytest.raises(RuntimeError, match="expected a surrogate that this process has registered"):
        y.sum().backward()


def test_an_unknown_name_stays_an_error() -> None:
    record = registered(parabola)
    S.unregister("mine")
    with pytest.raises(UserError, match="unknown surrogate 'mine'"):
        cpu.lif(torch.rand(4, 2, 3), beta=0.5, surrogate=record)
