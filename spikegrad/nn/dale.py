"""Dale's law: every neuron that sends excites, or inhibits, all that it reaches."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from spikegrad.errors import UserError, message
from spikegrad.nn.connection import Linear

__all__ = ["Dale", "dale"]


class Dale(nn.Module):
    """The parametrization that `dale` registers: w = sign of the neuron that sends * |stored|.

    The derivative of |stored| at 0 is taken as 1, so that a synapse that starts at 0 learns.
    """

    signs: Tensor

    def __init__(self, connection: Linear, signs: Tensor) -> None:
        super().__init__()
        self.register_buffer("signs", signs)
        self.of = (connection,)  # in a tuple, so that it does not count as a part of this module

    def forward(self, stored: Tensor) -> Tensor:
        """The weight `[out, in]`, or `[E]`."""
        size = torch.where(stored < 0, -stored, stored)
        edges = self.of[0].edges
        signs = self.signs.to(stored.dtype)
        return size * (signs if edges is None else signs[edges.sources()])

    def right_inverse(self, weight: Tensor) -> Tensor:
        """What is stored for a weight: its size; a sign of its own is lost."""
        return weight.abs()


def dale(connection: Linear, excitatory: float | Tensor) -> Linear:
    """Give a connection's weights the signs of Dale's law; they keep their sizes.

    excitatory: bool `[in]`, which inputs excite, or the share of them, in [0, 1], that do: then
    the first of them. It is a parametrization of `weight` (`torch.nn.utils.parametrize`), so the
    connection runs as fast as before, and `prune`, `grow` and checkpoints know it. Returns the
    connection.
    Raises UserError or TypeError for another connection or shape, and for one that has it already.

    Source: Song, Yang & Wang (2016), "Training excitatory-inhibitory recurrent neural networks for
    cognitive tasks", PLoS Computational Biology 12(2), eq. 12-13 (there [W]+ in place of |W|).

    >>> layer = dale(Linear(4, 2), 0.75)
    >>> layer.weight.sign()[0].tolist()
    [1.0, 1.0, 1.0, -1.0]
    """
    if not isinstance(connection, Linear):
        expected = "expected a spikegrad Linear for Dale's law"
        raise TypeError(message(expected, type(connection).__name__))
    if parametrize.is_parametrized(connection, "weight"):
        kept = connection.parametrizations.weight  # type: ignore[union-attr]
        if any(isinstance(each, Dale) for each in kept):  # type: ignore[union-attr]
            raise UserError(message("expected a connection without Dale's law", "one that has it"))
    excites = which(excitatory, connection.in_features).to(connection.weight.device)
    signs = torch.where(excites, 1.0, -1.0)
    parametrize.register_parametrization(connection, "weight", Dale(connection, signs))
    return connection


def which(excitatory: float | Tensor, inputs: int) -> Tensor:
    """Which inputs excite, bool `[in]`."""
    if isinstance(excitatory, Tensor):
        if excitatory.dtype != torch.bool or excitatory.shape != (inputs,):
            got = f"{excitatory.dtype} {list(excitatory.shape)}"
            raise UserError(message(f"expected excitatory as bool [{inputs}] or a share", got))
        return excitatory
    if isinstance(excitatory, bool) or not isinstance(excitatory, (int, float)):
        expected = "expected excitatory as a share or a bool tensor"
        raise TypeError(message(expected, type(excitatory).__name__))
    if not 0.0 <= excitatory <= 1.0:
        raise UserError(message("expected a share of excitatory inputs in [0, 1]", str(excitatory)))
    return torch.arange(inputs) < round(excitatory * inputs)
