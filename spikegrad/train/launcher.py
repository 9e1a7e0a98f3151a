"""Who started this process: torchrun, on one machine or several, or nobody but the user.

torchrun starts the processes itself and tells each its place in variables of the environment.
Reading them needs no torch.
"""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING

from spikegrad.errors import UserError, message

if TYPE_CHECKING:
    from spikegrad.train.config import Config

__all__ = ["here", "is_first", "launched", "machines", "settled", "speaks", "world"]


def launched() -> bool:
    """Whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def world() -> int:
    """The number of processes that torchrun started, on all machines; 1 without it."""
    return int(os.environ["WORLD_SIZE"]) if launched() else 1


def here() -> int:
    """How many of them are on this machine."""
    return int(os.environ["LOCAL_WORLD_SIZE"]) if launched() else 1


def machines() -> int:
    """The number of machines.

    Raises:
        UserError: they have different numbers of processes.
    """
    count, rest = divmod(world(), here())
    if rest or count != int(os.environ.get("GROUP_WORLD_SIZE", count)):
        expected = "expected the same number of processes on every machine"
        remedy = "start torchrun with one --nproc-per-node everywhere"
        raise UserError(message(expected, f"{here()} of {world()} here", remedy))
    return count


def is_first() -> bool:
    """Whether this is the process that writes: the first of all that torchrun started."""
    return not launched() or os.environ["RANK"] == "0"


def speaks() -> bool:
    """Whether errors are printed here: by one process on each machine."""
    return not launched() or os.environ["LOCAL_RANK"] == "0"


def settled(config: Config) -> Config:
    """The config with as many processes as torchrun started; unchanged without it.

    Raises:
        UserError: the config names another number.
    """
    if not launched():
        return config
    machines()
    if config.run.processes not in (1, world()):
        expected = f"expected {world()} processes, as torchrun started"
        remedy = "omit processes, or start torchrun with that many"
        raise UserError(message(expected, str(config.run.processes), remedy))
    return dataclasses.replace(config, run=dataclasses.replace(config.run, processes=world()))
