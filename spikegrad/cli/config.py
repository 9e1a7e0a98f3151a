"""`spikegrad config`: a recipe to edit."""

from __future__ import annotations

import rich_click as click

from spikegrad.cli.completion import recipe as complete_recipe

__all__ = ["config"]


@click.command("config", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("recipe", default="digits", shell_complete=complete_recipe)
def config(recipe: str) -> None:
    """Print all settings of RECIPE, a shipped recipe or a TOML file, as a TOML file to edit.

    RECIPE is digits by default. Keep the output in a file, change it, and train with it:
    spikegrad config mnist > mine.toml; spikegrad train --config mine.toml
    """
    from spikegrad.train.sources import resolve
    from spikegrad.train.toml import to_toml

    click.echo(to_toml(resolve({}, config=recipe)), nl=False)
