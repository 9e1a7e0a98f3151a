"""Measure the surrogates of another library on a grid and write them to golden/<library>.json.

Run it in an environment that has that library (its pinned version below), once per library:

    python tests/surrogate/make_golden.py snntorch

The tests read the files, so that they need none of these packages.
"""

from __future__ import annotations

import inspect
import json
import math
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

VERSIONS = {"snntorch": "1.0.0", "spikingjelly": "2.0.0", "norse": "1.1.0", "spyx": "1.0.0"}
GRID = sorted([-3 + 0.1 * i + 0.003 for i in range(61)] + [0.0])  # off every kink but 0
FAR = [-10.0, -4.0, 4.0, 10.0]  # where exponentials overflow in float32

ARGUMENTS: dict[str, dict[str, list[dict[str, Any]]]] = {
    "snntorch": {
        "atan": [{}, {"alpha": 5.0}],
        "fast_sigmoid": [{}, {"slope": 3.0}],
        "sigmoid": [{}, {"slope": 3.0}],
        "straight_through_estimator": [{}],
        "triangular": [{}, {"threshold": 0.5}],
        "SFS": [{}, {"slope": 2.0, "B": 0.5}],
        "LSO": [{}],
        "spike_rate_escape": [{}, {"beta": 2.0, "slope": 3.0}],
        "heaviside": [{}],
    },
    "spikingjelly": {
        "ATan": [{}, {"alpha": 5.0}],
        "DeterministicPass": [{}],
        "Erf": [{}, {"alpha": 0.7}],
        "PiecewiseExp": [{}, {"alpha": 4.0}],
        "PiecewiseLeakyReLU": [{}, {"w": 0.5, "c": 0.1}, {"w": 2.0, "c": 0.0}],
        "PiecewiseQuadratic": [{}, {"alpha": 2.5}],
        "QPseudoSpike": [{}, {"alpha": 1.5}],
        "Rect": [{}, {"alpha": 4.0}],
        "Sigmoid": [{}, {"alpha": 1.0}],
        "SoftSign": [{}, {"alpha": 5.0}],
        "SuperSpike": [{}, {"alpha": 3.0}],
    },
    "norse": {
        "circ": [{"alpha": 0.5}, {"alpha": 100.0}],
        "heavi_erfc": [{"alpha": 2.0}, {"alpha": 100.0}],
        "super": [{"alpha": 1.0}, {"alpha": 100.0}],
        "tanh": [{"alpha": 2.0}, {"alpha": 0.5}],
        "triangle": [{"alpha": 0.3}, {"alpha": 100.0}],
    },
    "spyx": {
        "arctan": [{}, {"k": 0.5}],
        "boxcar": [{}, {"width": 0.5, "height": 3.0}],
        "superspike": [{}, {"k": 3.0}],
        "tanh": [{}, {"k": 4.0}],
        "triangular": [{}, {"k": 0.5}],
    },
}


def main(library: str) -> None:
    """Measure one library and write its file."""
    installed = metadata.version(library)
    # Norse's source distribution builds as 0.0.0 where its version script finds no repository.
    if installed != VERSIONS[library] and (library, installed) != ("norse", "0.0.0"):
        raise SystemExit(f"expected {library} {VERSIONS[library]}, got {installed}")
    names, measure = MEASURES[library]()
    entries = []
    for name, choices in ARGUMENTS[library].items():
        entries += [{"name": name, "arguments": given, **measure(name, given)} for given in choices]
    content = {"library": library, "version": VERSIONS[library], "names": sorted(names)}
    text = json.dumps({**content, "x": GRID, "far": FAR, "entries": entries}, indent=None)
    path = Path(__file__).parent / "golden" / f"{library}.json"
    path.write_text(text.replace('{"name"', '\n{"name"') + "\n", encoding="utf-8")


def _gradient(function: Callable[[Any], Any], points: list[float], dtype: str) -> list[Any]:
    import torch

    x = torch.tensor(points, dtype=getattr(torch, dtype), requires_grad=True)
    function(x).sum().backward()
    assert x.grad is not None
    return [value if math.isfinite(value) else str(value) for value in x.grad.tolist()]


def _torch_entry(function: Callable[[Any], Any]) -> dict[str, Any]:
    try:
        return {
            "derivative": _gradient(function, GRID, "float64"),
            "far_float32": _gradient(function, FAR, "float32"),
        }
    except TypeError as error:
        return {"error": str(error)}


def _snntorch() -> tuple[list[str], Callable[[str, dict[str, Any]], dict[str, Any]]]:
    from snntorch import surrogate

    names = [
        name
        for name, value in vars(surrogate).items()
        if inspect.isfunction(value) and value.__module__ == surrogate.__name__
    ]
    return names, lambda name, given: _torch_entry(getattr(surrogate, name)(**given))


def _spikingjelly() -> tuple[list[str], Callable[[str, dict[str, Any]], dict[str, Any]]]:
    import torch
    from spikingjelly.activation_based import surrogate

    base = surrogate.SurrogateFunctionBase
    names = [
        name
        for name, value in vars(surrogate).items()
        if inspect.isclass(value) and issubclass(value, base) and value is not base
    ]

    def measure(name: str, given: dict[str, Any]) -> dict[str, Any]:
        entry = _torch_entry(getattr(surrogate, name)(**given))
        soft = getattr(surrogate, name)(spiking=False, **given)
        try:
            entry["primitive"] = soft(torch.tensor(GRID, dtype=torch.float64)).tolist()
        except NotImplementedError:
            entry["primitive"] = None
        return entry

    return names, measure


def _norse() -> tuple[list[str], Callable[[str, dict[str, Any]], dict[str, Any]]]:
    from norse.torch.functional import threshold as module

    methods = ["heaviside", "super", "triangle", "tanh", "circ", "heavi_erfc"]
    random = [name for name in ("logistic", "circ_dist") if hasattr(module, f"{name}_fn")]

    def measure(name: str, given: dict[str, Any]) -> dict[str, Any]:
        return _torch_entry(lambda x: module.threshold(x, name, given["alpha"]))

    return methods + random, measure


def _spyx() -> tuple[list[str], Callable[[str, dict[str, Any]], dict[str, Any]]]:
    import jax

    jax.config.update("jax_enable_x64", True)
    import jax.numpy as jnp
    from spyx import axn

    names = [
        name
        for name, value in vars(axn).items()
        if inspect.isfunction(value) and value.__module__ == axn.__name__
    ]

    def measure(name: str, given: dict[str, Any]) -> dict[str, Any]:
        gradient = jax.grad(lambda x: getattr(axn, name)(**given)(x).sum())
        return {
            "derivative": gradient(jnp.array(GRID, dtype=jnp.float64)).tolist(),
            "far_float32": gradient(jnp.array(FAR, dtype=jnp.float32)).tolist(),
        }

    return names, measure


MEASURES = {"snntorch": _snntorch, "spikingjelly": _spikingjelly, "norse": _norse, "spyx": _spyx}

if __name__ == "__main__":
    main(sys.argv[1])
