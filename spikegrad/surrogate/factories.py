"""One function a surrogate: `arctan(2.0)` instead of `get("arctan", slope=2.0)`.

Every factory takes `slope` (k, 1/unit of x, larger is sharper), `normalisation` ("area" or "peak"),
`gain` (a factor), its shape parameters as keywords, and returns a `Surrogate`. A bad value is a
`UserError`, one that is no number a `TypeError`. x = u - theta throughout.
"""

from __future__ import annotations

from spikegrad.surrogate.record import Normalisation, Surrogate

__all__ = [
    "algebraic",
    "arctan",
    "boxcar",
    "clipped_straight_through",
    "exponential",
    "fast_sigmoid",
    "gaussian",
    "leaky",
    "multi_gaussian",
    "q_pseudospike",
    "sigmoid",
    "straight_through",
    "superspike",
    "tanh",
    "triangle",
]


def arctan(
    slope: float = 2.0, *, normalisation: Normalisation = "area", gain: float = 1.0
) -> Surrogate:
    """Arctan: `g(x) = (k/π) / (1 + (k x)²)`. Source: Fang et al. 2021.

    >>> arctan(2.0).peak
    0.6366197723675814
    """
    return Surrogate("arctan", slope, normalisation, gain)


def sigmoid(
    slope: float = 4.0, *, normalisation: Normalisation = "area", gain: float = 1.0
) -> Surrogate:
    """Sigmoid: `g(x) = k σ(k x) (1 - σ(k x))`. Source: Zenke & Vogels 2021.

    >>> sigmoid(4.0).peak
    1.0
    """
    return Surrogate("sigmoid", slope, normalisation, gain)


def tanh(
    slope: float = 2.0, *, normalisation: Normalisation = "area", gain: float = 1.0
) -> Surrogate:
    """Tanh: `G(x) = (1 + tanh(k x))/2`, which is the sigmoid of slope 2k; returns that record.

    >>> tanh(2.0)
    sigmoid(slope=4.0)
    """
    return Surrogate("sigmoid", _twice(slope), normalisation, gain)


def fast_sigmoid(
    slope: float = 2.0, *, normalisation: Normalisation = "area", gain: float = 1.0
) -> Surrogate:
    """Fast sigmoid: `g(x) = (k/2) / (1 + k|x|)²`. Source: Zenke & Ganguli 2018.

    >>> fast_sigmoid(2.0).peak
    1.0
    """
    return Surrogate("fast_sigmoid", slope, normalisation, gain)


def superspike(slope: float = 10.0, *, gain: float = 1.0) -> Surrogate:
    """SuperSpike: `g(x) = 1 / (1 + k|x|)²`.

    It is the fast sigmoid in peak normalisation, and returns that record. Source: Zenke &
    Ganguli 2018, Neural Computation 30(6), 1514-1541.

    >>> superspike(10.0)
    fast_sigmoid(slope=10.0, normalisation='peak')
    """
    return Surrogate("fast_sigmoid", slope, "peak", gain)


def triangle(
    slope: float = 1.0, *, normalisation: Normalisation = "area", gain: float = 1.0
) -> Surrogate:
    """Triangle (piecewise linear): `g(x) = k max(0, 1 - k|x|)`.

    Source: Esser et al. 2016, PNAS 113(41); Bellec et al. 2018, NeurIPS.

    >>> triangle(2.0).support
    0.5
    """
    return Surrogate("triangle", slope, normalisation, gain)


def boxcar(
    slope: float = 1.0, *, normalisation: Normalisation = "area", gain: float = 1.0
) -> Surrogate:
    """Boxcar: `g(x) = k/2` where `|x| <= 1/k`, else 0. Source: Wu et al. 2018.

    >>> boxcar(2.0).peak
    1.0
    """
    return Surrogate("boxcar", slope, normalisation, gain)


def clipped_straight_through(slope: float = 1.0, *, gain: float = 1.0) -> Surrogate:
    """Clipped straight-through: `g(x) = 1` where `|x| <= 1/k`, else 0.

    It is the boxcar in peak normalisation, and returns that record. Source: Hubara
    et al. 2016, NeurIPS, arXiv:1602.02830.

    >>> clipped_straight_through()
    boxcar(slope=1.0, normalisation='peak')
    """
    return Surrogate("boxcar", slope, "peak", gain)


def gaussian(
    slope: float = 2.0, *, normalisation: Normalisation = "area", gain: float = 1.0
) -> Surrogate:
    """Gaussian, the derivative of erf: `g(x) = k exp(-(k x)²) / √π`.

    Source: Wu et al. 2018, Frontiers in Neuroscience 12:331; Yin et al. 2020, ICONS.

    >>> round(gaussian(2.0).peak, 4)
    1.1284
    """
    return Surrogate("gaussian", slope, normalisation, gain)


def exponential(
    slope: float = 2.0, *, normalisation: Normalisation = "area", gain: float = 1.0
) -> Surrogate:
    """Exponential (Laplace): `g(x) = (k/2) exp(-k|x|)`. Source: Shrestha & Orchard 2018.

    >>> exponential(2.0).peak
    1.0
    """
    return Surrogate("exponential", slope, normalisation, gain)


def algebraic(
    slope: float = 2.0, *, normalisation: Normalisation = "area", gain: float = 1.0
) -> Surrogate:
    """Algebraic: `g(x) = (k/2) (1 + (k x)²)^(-3/2)`, the derivative of `k x / √(1 + (k x)²) / 2`.

    >>> algebraic(2.0).peak
    1.0
    """
    return Surrogate("algebraic", slope, normalisation, gain)


def multi_gaussian(
    slope: float = 2.0,
    *,
    h: float = 0.15,
    s: float = 6.0,
    normalisation: Normalisation = "area",
    gain: float = 1.0,
) -> Surrogate:
    """Multi-Gaussian: a Gaussian of deviation 1/k less two lobes of weight h and s times as wide.

    `p(z) = ((1+h) φ(z) - h φ((z-1)/s)/s - h φ((z+1)/s)/s) / (1-h)`. The
    paper's own form has area 1-h: pass `gain=1-h` for it. Source: Yin, Corradi & Bohte
    2021, Nature Machine Intelligence 3, 905-913.

    Raises:
        UserError: h outside [0, 1) or s below 1.

    >>> multi_gaussian(2.0)
    multi_gaussian(slope=2.0, h=0.15, s=6.0)
    """
    return Surrogate("multi_gaussian", slope, normalisation, gain, parameters=(("h", h), ("s", s)))


def q_pseudospike(
    slope: float = 1.0,
    *,
    q: float = 2.0,
    normalisation: Normalisation = "area",
    gain: float = 1.0,
) -> Surrogate:
    """q-pseudospike: `g(x) = k (1 + 2k|x|/(q-1))^(-q)`, a tail of any power.

    Source: Herranz-Celotti & Rouat 2022, arXiv:2202.00282.

    Raises:
        UserError: q not above 1.

    >>> q_pseudospike(1.0, q=3.0)
    q_pseudospike(slope=1.0, q=3.0)
    """
    return Surrogate("q_pseudospike", slope, normalisation, gain, parameters=(("q", q),))


def leaky(
    slope: float = 1.0,
    *,
    leak: float = 0.01,
    normalisation: Normalisation = "area",
    gain: float = 1.0,
) -> Surrogate:
    """Piecewise leaky ReLU: `g(x) = k/2` where `|x| <= 1/k`, else `k leak`; its area is infinite.

    Raises:
        UserError: leak outside (0, 1/2).

    >>> leaky(1.0, leak=0.1).area
    inf
    """
    return Surrogate("leaky", slope, normalisation, gain, parameters=(("leak", leak),))


def straight_through(*, gain: float = 1.0) -> Surrogate:
    """Straight-through: `g(x) = 1` everywhere; no slope, infinite area.

    In recurrent networks its gradients explode: take `clipped_straight_through` there. Source:
    Bengio, Léonard & Courville 2013, arXiv:1308.3432.

    >>> straight_through()
    straight_through()
    """
    return Surrogate("straight_through", gain=gain)


def _twice(slope: float) -> float:
    return 2 * slope if isinstance(slope, (int, float)) and not isinstance(slope, bool) else slope
