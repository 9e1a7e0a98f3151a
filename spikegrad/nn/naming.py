"""The place of a layer in front of an error that it raised: which of several LIFs it was."""

from __future__ import annotations

from torch import nn

__all__ = ["name_layer"]

PLACE = "_spikegrad_place"
"""Where an error keeps the container up to which its layer's name goes (its id: an error may be
pickled, and must not hold a network), that name, the layer's class, and the bare message.
"""


def name_layer(
    error: Exception, container: nn.Module, layer: nn.Module, name: str, kind: str = ""
) -> None:
    """Put a name in front of the error's message; names of containers around it follow.

    container: what ran the layer, in which it has the name; kind: the layer's class where empty.
    Containers in between that give no names are found by their place in the layer; an error that
    a layer elsewhere raised keeps the name that it has.

    >>> inner, outer = nn.Module(), nn.Module()
    >>> error = ValueError("expected spikes, got none")
    >>> name_layer(error, inner, nn.Linear(1, 1), "2")
    >>> name_layer(error, outer, inner, "body")
    >>> print(error)
    body.2 (Linear): expected spikes, got none
    """
    if not name or len(error.args) != 1 or not isinstance(error.args[0], str):
        return
    known = vars(error).get(PLACE)
    if known is None:
        path, kind, text = name, kind or type(layer).__name__, error.args[0]
    else:
        within, path, kind, text = known
        inner = next((n for n, m in layer.named_modules() if id(m) == within), None)
        if inner is None:
            return
        path = ".".join(part for part in (name, inner, path) if part)
    vars(error)[PLACE] = (id(container), path, kind, text)
    count = "layers" if "-" in path else "layer"
    shown = f"{count} {path}" if path[:1].isdigit() else path
    error.args = (f"{shown} ({kind}): {text}",)
