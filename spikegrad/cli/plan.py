"""`spikegrad train --dry-run`: the network and the data of a run, before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from spikegrad.train.app import Plan
    from spikegrad.train.config import Config

__all__ = ["show_plan"]


def show_plan(config: Config) -> None:
    """Print a line for each layer, and the sizes of the data; write nothing."""
    from spikegrad.train.app import plan_run
    from spikegrad.train.terminal import Screen, plain_table

    plan, screen = plan_run(config), Screen()
    table = plain_table("layer", "kind", "output", "parameters")
    table.columns[3].justify = "right"
    for row in rows(plan):
        table.add_row(*row)
    screen.print(table)
    total = sum(p.numel() for p in plan.network.parameters())
    screen.say(f"parameters: {total:,}; T = {len(plan.x)} steps; input {shape(plan.x)}")
    screen.say(data_of(config, plan))
    screen.say("dry run: nothing was trained or written")


def rows(plan: Plan) -> list[tuple[str, str, str, str]]:
    """Title, kind, output at one step and parameters of each layer, in the order they run."""
    import torch

    from spikegrad.nn import use_backend
    from spikegrad.train.running import evaluating
    from spikegrad.train.titles import titles_of

    use_backend(plan.network, "reference")  # one sample: no kernels need to be built
    seen, layers = dict[str, str](), dict(layers_of(plan.network))

    def keep(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            y = output[0] if isinstance(output, tuple) else output
            seen[name] = shape(y) if isinstance(y, torch.Tensor) else "-"

        return hook

    handles = [module.register_forward_hook(keep(name)) for name, module in layers.items()]
    try:
        with evaluating(plan.network):
            plan.network(plan.x)
    finally:
        for handle in handles:
            handle.remove()
    titles = titles_of(plan.network)

    def title(name: str) -> str:
        inside = (t for n, t in titles.items() if n == name or n.startswith(f"{name}."))
        return next(inside, f"layer {name}")

    return [(title(n), kind(layers[n]), size, count(layers[n])) for n, size in seen.items()]


def layers_of(network: nn.Module, before: str = "") -> Iterator[tuple[str, nn.Module]]:
    """The modules of a network one by one, those of a `Sequential` inside it too."""
    from torch import nn

    from spikegrad.nn import Sequential

    if not isinstance(network, Sequential | nn.Sequential):
        yield before, network
        return
    for name, module in network.named_children():
        yield from layers_of(module, f"{before}.{name}" if before else name)


def kind(module: nn.Module) -> str:
    """What a layer is, one with neurons by their kind and surrogate."""
    name = type(module).__name__
    for part in module.modules():
        if hasattr(part, "surrogate"):
            inside = "" if part is module else f" of {type(part).__name__}"
            return f"{name}{inside}, {part.surrogate}"
    return str(module).replace("in_features=", "").replace("out_features=", "")


def count(module: nn.Module) -> str:
    """The number of a layer's parameters."""
    return f"{sum(p.numel() for p in module.parameters()):,}"


def shape(y: Any) -> str:
    """The sizes of `[T, B, *features]` at one step of one sample."""
    return " x ".join(str(n) for n in y.shape[2:])


def data_of(config: Config, plan: Plan) -> str:
    """How many samples there are, and how many steps of training."""
    parts = plan.parts
    sizes = {"training": parts.train, "validation": parts.validation, "test": parts.test}
    shown = ", ".join(f"{len(p.split):,} {name}" for name, p in sizes.items() if p is not None)
    batch = config.training.batch_size
    batches = -(-len(parts.train.split) // batch)
    return (
        f"{config.data.dataset}: {shown} samples; {config.training.epochs} epochs of {batches} "
        f"batches of {batch}"
    )
