"""`spikegrad eval RUN`: measure a trained network."""

from __future__ import annotations

import rich_click as click

from spikegrad.cli.completion import folder

__all__ = ["eval_"]


@click.command("eval", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("run", shell_complete=folder)
@click.option(
    "--split",
    type=click.Choice(["test", "validation", "train"]),
    default="test",
    show_default=True,
    help="Part of the data set.",
)
@click.option("--pictures", is_flag=True, help="Draw the run's pictures again.")
@click.option("--device", default="auto", show_default=True, help="Device to run on.")
def eval_(run: str, split: str, pictures: bool, device: str) -> None:
    """Measure the network of the run folder RUN on a part of its data set.

    Shows loss, accuracy, firing rates, and per class how many samples were right.
    """
    from spikegrad.train.terminal import Screen, plain_table

    Screen().say(f"loading torch, {run} and its data")
    from spikegrad.train.app import evaluate_run, open_run
    from spikegrad.train.titles import titles_of

    found = evaluate_run(run, split, device=device)
    trained = open_run(run, device=device)
    names, titles = trained.inputs.class_names, titles_of(trained.network)
    console = Screen()
    console.say(
        f"{split}: accuracy {found.accuracy:.4f}, loss {found.loss:.4f}, {found.count} samples"
    )
    for layer, rate in found.firing_rates.items():
        console.say(f"{titles[layer]}: {rate:.4f} spikes per neuron and step")
    table = plain_table("class", "right", "of", "accuracy")
    assert found.confusion is not None  # every objective of the config has classes
    for name, row, right in zip(names, found.confusion, found.confusion.diagonal(), strict=False):
        total = int(row.sum())
        share = f"{int(right) / total:.4f}" if total else "-"
        table.add_row(str(name), str(int(right)), str(total), share)
    console.print(table)
    if pictures:
        from pathlib import Path

        from spikegrad.cli.summary import draw
        from spikegrad.train.app import sample_run

        sample_run(run, device=device)
        drawn = draw(Path(run), again=True)
        console.say(f"{len(drawn)} pictures in {Path(run) / 'pictures'}")
