"""Going on with a run: what may differ from when it was started, and how it gets more epochs."""

from __future__ import annotations

import json
from typing import Any

from spikegrad.errors import UserError, message
from spikegrad.train.config import Config, flatten, gather
from spikegrad.train.folder import RunFolder, write_atomic
from spikegrad.train.identity import Identity, check_same
from spikegrad.train.toml import read_file

__all__ = ["MAY_CHANGE", "check_own", "check_unchanged", "is_longer", "lengthen"]

MAY_CHANGE = ("checkpoint_seconds", "folder", "preflight", "tensorboard", "threads")
"""What a resumed run may change: nothing that its result depends on (threads: to rounding)."""


def check_unchanged(old: Config, new: Config) -> None:
    """Refuse to go on with settings that the result depends on changed.

    More epochs are taken where what is done already would have been the same with them.

    Raises:
        UserError: names the first setting that differs and what may be changed.

    >>> check_unchanged(Config(), gather({"threads": 2, "epochs": 20}))
    """
    before, after = flatten(old), flatten(new)
    for name, value in before.items():
        if name in (*MAY_CHANGE, "out") or after[name] == value:
            continue
        if name == "epochs" and after[name] > value:
            _check_longer(old)
            continue
        expected = f"expected {name} = {value} as the run was started with"
        remedy = (
            f"a resumed run may change {', '.join(MAY_CHANGE)}, and take more epochs; "
            "start another in a new folder (--out, out=)"
        )
        raise UserError(message(expected, str(after[name]), remedy))


def _check_longer(config: Config) -> None:
    """Refuse more epochs where a schedule depends on how many there are."""
    training, changed = config.training, ""
    if training.schedule != "constant":
        changed = f"schedule {training.schedule}: every learning rate"
    elif training.warmup:
        changed = f"warmup {training.warmup:g}, a share of all steps: the first learning rates"
    elif training.slope_schedule != "constant":
        changed = f"slope_schedule {training.slope_schedule}: the slope of every epoch"
    if changed:
        expected = "expected a constant schedule to resume with more epochs"
        remedy = "would have been different; start a new run in another folder (--out, out=)"
        raise UserError(message(expected, f"{changed} {remedy}"))


def is_longer(run: RunFolder, config: Config) -> bool:
    """Whether a config has more epochs than the run was started with.

    Raises:
        UserError: something else than its number of epochs ended the run.
    """
    stored = gather(read_file(run.config))
    longer = config.training.epochs > stored.training.epochs
    if longer and run.finished and (ended := run.result().get("ended_by")):
        expected = "expected a run that used all of its epochs to take more"
        got = f"one that {ended} ended after epoch {run.result()['epochs']}"
        raise UserError(message(expected, got, "start another in a new folder (--out, out=)"))
    return longer


def lengthen(run: RunFolder, text: str) -> None:
    """Make a run one that is not finished, with the epochs of another config.

    In this order: a kill in between leaves the run unfinished with its old number of epochs, and
    resuming finishes it again.

    Args:
        run: the run; text: the new config.
    """
    with run.locked():
        run.result_file.unlink(missing_ok=True)
        (run.pictures / "index.json").unlink(missing_ok=True)
        run.diagnosis.unlink(missing_ok=True)  # of weights that will be others
        write_atomic(run.config, text.encode())


def check_own(run: RunFolder, own: dict[str, Identity] | None, *, done: bool = False) -> None:
    """Refuse to go on with another function or object than the run was started with.

    Args:
        run: the run; own: what is given now; done: nothing will be trained, so that the network
            only takes the weights, and its layers are not compared.
    Raises:
        UserError: the first difference, or a file that is damaged.
    """
    if own is None or not run.own.is_file():
        return
    try:
        held: dict[str, Any] = json.loads(run.own.read_text(encoding="utf-8"))
        if not isinstance(held, dict):
            raise ValueError("no object")
    except (OSError, ValueError) as error:
        remedy = "move it away: the run then continues without this comparison"
        raise UserError(
            message(f"expected a complete {run.own}", str(error)[:80], remedy)
        ) from None
    left = ("network",) if done else ()
    kept = [{k: v for k, v in which.items() if k not in left} for which in (held, own)]
    check_same(json.loads(json.dumps(kept[0])), json.loads(json.dumps(kept[1])))
