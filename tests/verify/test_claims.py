"""Every claim holds, and fails where a fault is planted into what it is about."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest
from native import needs_kernels
from torch import Tensor

import spikegrad as sg
from spikegrad import kernels, verify
from spikegrad.kernels.emit.scan import ScanWriter
from spikegrad.nn import init
from spikegrad.nn.quantity import Decay
from spikegrad.step import context
from spikegrad.step.context import Parameters
from spikegrad.surrogate import Surrogate, arctan, triangle
from spikegrad.verify.claims.surrogates import figures

FEW = ("arctan", "boxcar", "triangle")


def module(name: str) -> Any:
    """The file of a claim; the package has names of its own."""
    return import_module(f"spikegrad.verify.claims.{name.replace('-', '_')}")


@pytest.fixture
def every() -> None:
    """Asked for by a test that wants all surrogates and neurons."""


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Three surrogates and one neuron, unless a test asks for every one."""
    if "every" in request.fixturenames:
        return
    for name in ("surrogates", "single-neuron", "loop-integral"):
        monkeypatch.setattr(module(name), "names", lambda aliases: FEW)
    monkeypatch.setattr(module("backends"), "neurons", lambda: {"LIF": sg.LIF(20.0)})


def verdict(name: str, seed: int = 0) -> verify.Verdict:
    """What becomes of one claim."""
    return verify.run([name], seed=seed).verdicts[0]


def wrong(found: verify.Verdict) -> str:
    """The figures that fail, or the error."""
    return found.reason + "\n".join(figure.what for figure in found.figures if not figure.holds)


@pytest.mark.usefixtures("every")
def test_every_surrogate_holds() -> None:
    found = verdict("surrogates")
    assert found.word == "holds", found.figure
    named = {figure.what.split("(")[0] for figure in found.figures}
    assert named == set(sg.surrogate.names(aliases=False))


@pytest.mark.parametrize("name", [n for n in verify.names() if n not in ("surrogates", "backends")])
def test_every_other_claim_holds(name: str) -> None:
    found = verdict(name, seed=1)
    assert found.word == "holds", wrong(found)
    assert found.figures
    assert all(each for each in (found.claim.statement, found.claim.source, found.claim.remedy))


@needs_kernels
def test_the_backends_hold() -> None:
    found = verdict("backends")
    assert found.word == "holds", wrong(found)
    assert found.figures[0].what.startswith("LIF: of 4 comparisons")


@pytest.mark.usefixtures("every")
def test_every_neuron_is_compared() -> None:
    neurons = module("backends").neurons()
    assert {"IF", "LIF", "CUBALIF", "ALIF", "LI", *sg.neurons.models()} == set(neurons)


# -- faults: each is planted into the package itself, where the claim does not look -----------


def scaled_derivative(patch: pytest.MonkeyPatch) -> None:
    """The derivative lacks the factor of the slope."""
    right = Surrogate.derivative
    patch.setattr(
        Surrogate, "derivative", lambda self, x, slope=None: right(self, x, slope) / self.slope
    )


def scaled_slope_derivative(patch: pytest.MonkeyPatch) -> None:
    right = Surrogate.slope_derivative
    patch.setattr(Surrogate, "slope_derivative", lambda self, x, k: 1.01 * right(self, x, k))


def half_of(value: Tensor) -> Tensor:
    """The same number with half of its gradient."""
    return 0.5 * value + 0.5 * value.detach()


def wrong_decay(patch: pytest.MonkeyPatch) -> None:
    right = Decay.forward
    patch.setattr(Decay, "forward", lambda self: half_of(right(self)))


def wrong_threshold(patch: pytest.MonkeyPatch) -> None:
    """The threshold, and with it the adaptation, gets no gradient from the spike."""
    right = Parameters.spike

    def spike(self: Parameters, u: Tensor, threshold: Any) -> Tensor:
        return right(self, u, threshold.detach() if isinstance(threshold, Tensor) else threshold)

    patch.setattr(Parameters, "spike", spike)


def detached_as(value: bool) -> Callable[[pytest.MonkeyPatch], None]:
    """Whether a reset is detached does not follow its argument."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        right = Parameters.reset

        def reset(self: Parameters, u: Tensor, fired: Tensor, **how: Any) -> Tensor:
            assert self._firing is not None
            self._firing = dataclasses.replace(self._firing, detach=value)
            return right(self, u, fired, **how)

        patch.setattr(Parameters, "reset", reset)

    return plant


def wrong_chance(patch: pytest.MonkeyPatch) -> None:
    right = context.by_chance
    patch.setattr(context, "by_chance", lambda fire, p, d, noise: right(fire, 0.9 * p, d, noise))


def wrong_response(factor: float) -> Callable[[pytest.MonkeyPatch], None]:
    """Sum or sum of squares of the response lacks a factor."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        right = init.psp

        def psp(neuron: Any) -> tuple[float, float]:
            total, squared = right(neuron)
            return (total / factor, squared) if factor > 1 else (total, squared * factor)

        patch.setattr(init, "psp", psp)

    return plant


def wide_noise_gradient(patch: pytest.MonkeyPatch) -> None:
    """A spike by chance passes its gradient only where it was sent."""
    right = context.by_chance

    def by_chance(fire: Any, p: Tensor, d: Tensor, noise: Tensor) -> Any:
        found = right(fire, p, d, noise)
        s = found.s * found.s.detach()
        return dataclasses.replace(found, s=s, any=s)

    patch.setattr(context, "by_chance", by_chance)


FAULTS = [
    ("surrogates", scaled_derivative, "primitive' - g"),
    ("descent", scaled_derivative, "neuron: largest ascent of 400 steps of 2.5/L"),
    ("loop-integral", scaled_derivative, "arctan: |integral - formula|"),
    ("single-neuron", scaled_derivative, "|gradient - exact|"),
    ("single-neuron", wrong_chance, "whose chance to spike is not F"),
    ("single-neuron", wide_noise_gradient, "|bias - F'(2F - 1)|"),
    ("two-layers", scaled_derivative, "relative error of the last layer"),
    ("two-layers", wide_noise_gradient, "bias at width 8"),
    ("gradients", scaled_slope_derivative, "LIF, reset subtract: slope"),
    ("gradients", wrong_decay, "CUBALIF, reset zero: tau_syn"),
    ("gradients", wrong_threshold, "ALIF, reset subtract: threshold"),
    ("gradients", detached_as(True), "LIF, reset zero: threshold"),
    ("resets", detached_as(True), "subtract, attached, hard"),
    ("resets", detached_as(False), "zero, detached, hard"),
    ("resets", scaled_derivative, "zero, attached, soft: error of the difference"),
    ("e-prop", detached_as(False), "LIF: relative difference from BPTT"),
    ("e-prop", wrong_threshold, "ALIF: relative difference from BPTT"),
    ("fluctuation", wrong_response(0.8), "LIF: relative error of sigma"),
    ("fluctuation", wrong_response(2.0), "CUBALIF: mean - mu"),
]


@pytest.mark.parametrize(("name", "plant", "says"), FAULTS)
def test_a_planted_fault_is_found(
    name: str, plant: Any, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    found = verdict(name)
    assert found.word == "FAILS"
    assert says in wrong(found)


def test_e_prop_of_lif_does_not_see_the_adaptation(monkeypatch: pytest.MonkeyPatch) -> None:
    """The right figure goes red, the others stay."""
    wrong_threshold(monkeypatch)
    assert wrong(verdict("e-prop")).startswith("ALIF")


def test_only_the_slope_fails_where_the_slope_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    scaled_slope_derivative(monkeypatch)
    failed = wrong(verdict("gradients")).splitlines()
    assert len(failed) == 6
    assert all("slope" in line for line in failed)


@pytest.mark.parametrize("what", ["peak", "fwhm", "area", "lipschitz"])
@pytest.mark.parametrize("record", [arctan(2.0), triangle(1.0)], ids=str)
def test_a_wrong_figure_of_a_surrogate(
    what: str, record: Surrogate, monkeypatch: pytest.MonkeyPatch
) -> None:
    stated = record.properties()
    lie = dataclasses.replace(stated, **{what: 1.01 * getattr(stated, what)})
    monkeypatch.setattr(Surrogate, "properties", lambda self: lie)
    failed = [each.what for each in figures(record) if not each.holds]
    assert failed
    assert all(each.endswith(f"relative error of {what}") for each in failed)


def doubled(writer: ScanWriter, *where: Any) -> list[str]:
    """A gradient of the input that is twice as large."""
    return [
        line.replace("store_part(dx + j, ", "store_part(dx + j, all_of(T(2)) * ")
        for line in ORIGINAL(writer, *where)
    ]


ORIGINAL = ScanWriter.gradients


@needs_kernels
def test_a_wrong_kernel_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    @sg.neuron(states={"v": 0.0}, parameters={"beta": 0.9, "threshold": 1.0})
    def Leaky(x: Tensor, s: Any, p: Any) -> Any:
        u = p.beta * s.v + x
        fired = p.spike(u, p.threshold)
        return fired, {"v": p.reset(u, fired)}

    monkeypatch.setattr(ScanWriter, "gradients", doubled)
    monkeypatch.setattr(module("backends"), "neurons", lambda: {"Leaky": Leaky})
    found = verdict("backends")
    assert found.word == "FAILS"
    assert "Leaky: of 4 comparisons differ" in wrong(found)
    assert "Leaky: largest difference in float64" in wrong(found)


def test_no_backend_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = {"reference": "", "cpu": "no C++ compiler (g++)"}
    monkeypatch.setattr(kernels, "available", lambda: missing)
    found = verify.run(["backends"])
    assert (found.verdicts[0].word, found.ok) == ("not run", True)
    assert found.verdicts[0].figure.endswith("no C++ compiler (g++)")
    assert "0 of 1 checks hold, 1 not run" in found.line()
