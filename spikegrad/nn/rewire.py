"""Synapses that come and go: pruning, growth, and both at once.

A connection that was made with `connectivity=` keeps its weight's `nn.Parameter`, whose size
changes; an optimiser's momenta follow it where the optimiser is given. Where it is not, they stay
in their places, which are those of other synapses then.
"""

from __future__ import annotations

import torch
from torch import Tensor

from spikegrad.checks import check_number
from spikegrad.errors import UserError, message
from spikegrad.nn.connection import Linear
from spikegrad.nn.edged import stored
from spikegrad.nn.places import Candidates, largest_of
from spikegrad.types import Edges

__all__ = ["grow", "prune", "rewire"]


def prune(
    connection: Linear, share: float, *, optimizer: torch.optim.Optimizer | None = None
) -> int:
    """Remove the synapses whose weights are smallest in size; how many there were.

    connection: a `Linear` with connectivity; share: of its synapses, in [0, 1); one stays at
    least; optimizer: whose momenta of the weight lose the same places.
    Raises UserError or TypeError for another connection or share.

    >>> layer = Linear(3, 2, connectivity=[[0, 0], [1, 1], [2, 0]])
    >>> with torch.no_grad(): _ = layer.weight.copy_(torch.tensor([0.3, -0.1, 0.2]))
    >>> prune(layer, 0.4), layer.edges.sources().tolist()
    (1, [0, 2])
    """
    edges = edges_to_change(connection)
    many = min(int(share_of(share) * len(edges.targets)), len(edges.targets) - 1)
    if many == 0:
        return 0
    order = connection.weight.detach().abs().argsort(stable=True)
    kept = order[many:].sort().values
    places = places_of(edges)[kept]
    change(connection, places, kept, optimizer)
    return many


def grow(
    connection: Linear,
    many: int,
    *,
    gradient: Candidates | Tensor | None = None,
    weight: float = 0.0,
    optimizer: torch.optim.Optimizer | None = None,
    generator: torch.Generator | None = None,
) -> int:
    """Add synapses where there are none; how many there was room for.

    gradient: what `candidates` found, or `[out, in]`: they grow where it is largest in size (RigL);
    None: at random, every place equally likely (SET), drawn by the generator; weight: the stored
    value of each new one; optimizer: whose momenta of the weight get zeros there.
    Raises UserError or TypeError for another connection, number or gradient.

    Sources: Evci, Gale, Menick, Castro & Elsen (2020), "Rigging the lottery: making all tickets
    winners", ICML, algorithm 1 (RigL); Mocanu et al. (2018), "Scalable training of artificial
    neural networks with adaptive sparse connectivity inspired by network science", Nature
    Communications 9:2383 (SET).

    >>> layer = Linear(3, 2, connectivity=[[0, 0], [1, 1], [2, 0]])
    >>> grow(layer, 1, gradient=torch.tensor([[0.0, 0.2, 0.0], [0.5, 0.0, -0.7]]))
    1
    >>> layer.edges.sources().tolist(), layer.edges.targets.tolist()
    ([0, 1, 2, 2], [0, 1, 0, 1])
    """
    edges = edges_to_change(connection)
    if isinstance(many, bool) or not isinstance(many, int):
        raise TypeError(message("expected a whole number of synapses to grow", repr(many)))
    check_number(weight, "weight")
    if many < 0:
        raise UserError(message("expected a number of synapses >= 0", str(many)))
    places = places_of(edges)
    many = min(many, edges.inputs * edges.outputs - len(places))
    if many == 0:
        return 0
    if gradient is None:
        new = random_places(edges, places, many, generator)
    else:
        check_gradient(gradient, connection)
        new = largest_of(gradient, places, edges.outputs, many)
    every, order = torch.cat([places, new]).sort()
    change(connection, every, order, optimizer, weight)
    return len(new)


def rewire(
    connection: Linear,
    share: float,
    *,
    gradient: Candidates | Tensor | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    generator: torch.Generator | None = None,
) -> int:
    """`prune` a share of the synapses, then `grow` as many: the number that moved.

    A step of RigL with a gradient, of SET without one. A synapse that was removed may come back,
    with the weight 0.

    >>> layer = Linear(30, 20, connectivity=0.1, generator=torch.Generator().manual_seed(0))
    >>> before = len(layer.edges.targets)
    >>> rewire(layer, 0.3) == int(0.3 * before), len(layer.edges.targets) == before
    (True, True)
    """
    moved = prune(connection, share, optimizer=optimizer)
    return grow(connection, moved, gradient=gradient, optimizer=optimizer, generator=generator)


def check_optimizer(optimizer: object, own: torch.nn.Parameter) -> None:
    """An optimiser of this weight, or none."""
    if optimizer is None:
        return
    if not isinstance(optimizer, torch.optim.Optimizer):
        expected = "expected optimizer as a torch.optim.Optimizer"
        raise TypeError(message(expected, type(optimizer).__name__))
    if not any(p is own for group in optimizer.param_groups for p in group["params"]):
        expected = "expected the optimizer that holds this connection's weight"
        raise UserError(message(expected, "one that does not"))


def edges_to_change(connection: Linear) -> Edges:
    """The edges of a connection that has some synapses alone."""
    if not isinstance(connection, Linear):
        raise TypeError(message("expected a spikegrad Linear", type(connection).__name__))
    if connection.edges is None:
        remedy = "make it with connectivity=, of 1.0 to start with all"
        raise UserError(
            message("expected a connection with edges", "one with all synapses", remedy)
        )
    return connection.edges


def share_of(share: float) -> float:
    """A share that leaves something."""
    if isinstance(share, bool) or not isinstance(share, (int, float)):
        raise TypeError(message("expected a share of the synapses as a number", repr(share)))
    if not 0.0 <= share < 1.0:
        raise UserError(message("expected a share of the synapses in [0, 1)", str(share)))
    return float(share)


def check_gradient(gradient: Candidates | Tensor, connection: Linear) -> None:
    """A gradient of this connection."""
    if isinstance(gradient, Tensor):
        shape = [connection.out_features, connection.in_features]
        if list(gradient.shape) != shape:
            raise UserError(message(f"expected a gradient {shape}", str(list(gradient.shape))))
        if not bool(torch.isfinite(gradient).all()):
            raise UserError(message("expected a finite gradient", "NaN or infinity"))
    elif not isinstance(gradient, Candidates):
        expected = "expected gradient as what `candidates` found, or a tensor"
        raise TypeError(message(expected, type(gradient).__name__))
    elif gradient.connection is not connection:
        raise UserError(message("expected candidates of this connection", "those of another"))


def places_of(edges: Edges) -> Tensor:
    """Every synapse as j * out + o, int64 `[E]`, rising."""
    return edges.sources() * edges.outputs + edges.targets


def random_places(
    edges: Edges, places: Tensor, many: int, generator: torch.Generator | None
) -> Tensor:
    """As many different places without a synapse, each equally likely."""
    room = edges.inputs * edges.outputs
    if 2 * (len(places) + many) > room:  # few are free: list them
        free = torch.ones(room, dtype=torch.bool, device=places.device)
        free[places] = False
        found = free.nonzero().flatten()
        device = "cpu" if generator is None else generator.device
        drawn = torch.randperm(len(found), generator=generator, device=device)[:many]
        return found[drawn.to(found.device)]
    new = places.new_empty(0)
    while len(new) < many:
        device = places.device if generator is None else generator.device
        drawn = torch.randint(room, (2 * many,), generator=generator, device=device)
        drawn = drawn.to(places.device)
        at = torch.searchsorted(places, drawn).clamp(max=len(places) - 1)
        new = torch.cat([new, drawn[places[at] != drawn]]).unique()
    # unique sorts: which of them stay must not depend on where they are
    device = "cpu" if generator is None else generator.device
    chosen = torch.randperm(len(new), generator=generator, device=device)[:many]
    return new[chosen.to(new.device)]


def change(
    connection: Linear,
    places: Tensor,
    old: Tensor,
    optimizer: torch.optim.Optimizer | None,
    weight: float = 0.0,
) -> None:
    """Give a connection the synapses at some places.

    places: rising; old: for each the synapse that it was, a number of synapses or more for a new
    one; weight: of the new ones.
    """
    own, edges = stored(connection), connection.edges
    assert edges is not None
    check_optimizer(optimizer, own)
    many = len(own)

    def moved(values: Tensor, new: float) -> Tensor:
        more = values.new_full((max(0, int(old.max()) + 1 - many),), new)
        return torch.cat([values, more])[old]

    counts = torch.bincount(places // edges.outputs, minlength=edges.inputs)
    starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    targets = (places % edges.outputs).to(edges.targets.dtype)
    values = moved(own.detach(), weight)
    if optimizer is not None:
        kept = optimizer.state.get(own, {})
        for name, value in kept.items():
            if isinstance(value, Tensor) and value.shape == own.shape and value.dim() == 1:
                kept[name] = moved(value, 0.0)
    connection.set_edges(Edges(starts, targets, edges.outputs), values)
