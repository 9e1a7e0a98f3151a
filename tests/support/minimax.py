"""The polynomials of the kernels' `functions.h`: minimax approximations, by the Remez exchange.

`python tests/support/minimax.py` prints them; `kernels/test_simd.py` compares
them with the sources. Coefficients of float32 functions are rounded to float32 after the fit,
others to float64. mpmath comes with torch, which needs sympy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import mpmath as mp
import numpy as np

Real = Callable[[mp.mpf], mp.mpf]
DIGITS = 35
POINTS = 300
"""Points at which an error is measured: enough for polynomials of at most ten coefficients."""


@dataclass(frozen=True)
class Fit:
    """Which function, on which interval; `weight` turns an error of it into one of the result."""

    function: Real
    weight: Real
    low: mp.mpf
    high: mp.mpf
    count: int
    single: bool = True


def solved(fit: Fit, at: list[mp.mpf]) -> list[mp.mpf]:
    """Coefficients whose weighted error has one size, and alternates, at count + 1 points."""
    n = fit.count
    rows = mp.matrix(n + 1, n + 1)
    values = mp.matrix(n + 1, 1)
    for i, x in enumerate(at):
        for j in range(n):
            rows[i, j] = x**j
        rows[i, n] = (-1) ** i / fit.weight(x)
        values[i] = fit.function(x)
    return list(mp.lu_solve(rows, values))[:n]


def extremes(errors: list[mp.mpf], points: list[mp.mpf], most: int) -> list[mp.mpf]:
    """Where the error is largest between two changes of its sign, at most so many places."""
    found: list[tuple[mp.mpf, mp.mpf]] = []
    for x, error in zip(points, errors, strict=True):
        if not found or (error > 0) != (found[-1][1] > 0):
            found.append((x, error))
        elif abs(error) > abs(found[-1][1]):
            found[-1] = (x, error)
    while len(found) > most:
        found.pop(0 if abs(found[0][1]) < abs(found[-1][1]) else -1)
    return [x for x, _ in found]


def coefficients(fit: Fit) -> list[float]:
    """Lowest power first, rounded.

    Raises:
        ValueError: the exchange found too few extremes of the error.
    """
    middle, half = (fit.low + fit.high) / 2, (fit.high - fit.low) / 2
    n = fit.count
    at = [middle - half * mp.cos(mp.pi * i / n) for i in range(n + 1)]
    inner = [middle - half * mp.cos(mp.pi * (i + 0.5) / POINTS) for i in range(POINTS)]
    points = [fit.low, *inner, fit.high]
    exact = [(fit.function(x), fit.weight(x)) for x in points]
    for _ in range(8):
        c = solved(fit, at)
        pairs = zip(points, exact, strict=True)
        errors = [(mp.polyval(c[::-1], x) - value) * weight for x, (value, weight) in pairs]
        at = extremes(errors, points, n + 1)
        if len(at) != n + 1:
            raise ValueError(f"{len(at)} extremes of the error, expected {n + 1}")
    return [float(np.float32(float(x))) if fit.single else float(x) for x in c]


def odd(function: Real, z: mp.mpf) -> mp.mpf:
    """(f(x) / x - 1) / x^2 at z = x^2."""
    x = mp.sqrt(z)
    return (function(x) / x - 1) / z


def fits() -> dict[str, Fit]:
    """By the name of the function that uses it."""
    mpf, ln2, tiny = mp.mpf, mp.log(2), mp.mpf("1e-9")
    root = mp.sqrt(2)

    def of_odd(function: Real, high: mp.mpf, count: int) -> Fit:
        def weight(z: mp.mpf) -> mp.mpf:
            return z / (1 + z * odd(function, z))

        return Fit(lambda z: odd(function, z), weight, tiny, high, count)

    def even_erf(z: mp.mpf) -> mp.mpf:
        return mp.erf(mp.sqrt(z)) / mp.sqrt(z)

    def even_cos(z: mp.mpf) -> mp.mpf:
        return (mp.cos(mp.sqrt(z)) - 1 + z / 2) / z**2

    def log2(z: mp.mpf) -> mp.mpf:
        return 2 * mp.atanh(mp.sqrt(z)) / (mp.sqrt(z) * ln2)

    quarter = (mp.pi / 4 * mpf("1.0001")) ** 2
    end = ln2 / 2 * mpf("1.001")
    return {
        "exp": Fit(lambda r: (mp.expm1(r) - r) / r**2, abs, -end * mpf("1.0007"), end, 6),
        "tanh": of_odd(mp.tanh, mpf("0.625") ** 2, 5),
        "erf, small": Fit(
            lambda z: even_erf(z) - 1, lambda z: 1 / even_erf(z), tiny, mpf("0.95") ** 2, 7
        ),
        "erf, large": Fit(
            lambda x: mp.log(mp.erfc(x)),
            lambda x: max(mp.erfc(x) / mp.erf(x), mpf("1e-3")),
            mpf("0.9"),
            mpf(4),
            9,
        ),
        "log": Fit(
            lambda f: (mp.log1p(f) - f + f**2 / 2) / f**3,
            lambda f: f**2,
            1 / root - 1 - tiny,
            root - 1 + tiny,
            9,
        ),
        "atan": of_odd(mp.atan, mpf(1), 9),
        "sin": of_odd(mp.sin, quarter, 4),
        "cos": Fit(even_cos, lambda z: z**2 / mp.cos(mp.sqrt(z)), tiny, quarter, 3),
        "log2": Fit(
            log2,
            lambda z: 1 / log2(z),
            tiny,
            ((root - 1) / (root + 1)) ** 2 * mpf("1.0001"),
            6,
            single=False,
        ),
        "exp2": Fit(lambda f: 2**f, lambda f: 2**-f, mpf(-0.5), mpf(0.5), 7, single=False),
    }


def computed() -> dict[str, list[float]]:
    """The coefficients of every polynomial."""
    with mp.workdps(DIGITS):
        return {name: coefficients(fit) for name, fit in fits().items()}


if __name__ == "__main__":
    for name, numbers in computed().items():
        single = fits()[name].single
        written = [f"{x:.9g}f" if single else x.hex() for x in numbers]
        print(f"{name}: {', '.join(written)}")  # noqa: T201
