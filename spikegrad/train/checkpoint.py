"""The last whole state of a run, in one file.

`checkpoint.pt` holds tensors, numbers, words, lists and dictionaries only, and is read with
`weights_only=True`: torch's reader then builds nothing but those and knows no other class or
function, so a checkpoint from a stranger cannot execute code. It is written beside the old one
and takes its name when it is whole (`folder.write_atomic`): there is always a whole one.
"""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import torch

from spikegrad.errors import UserError, message
from spikegrad.train.folder import write_atomic

__all__ = ["FORMAT", "load", "save"]

FORMAT = 1
"""Number of the layout; another one is refused."""


def save(path: Path, state: dict[str, Any]) -> None:
    """Write a state, whole or not at all.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as there:
    ...     save(Path(there) / "checkpoint.pt", {"step": 3})
    ...     load(Path(there) / "checkpoint.pt")["step"]
    3
    """
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, **state}, buffer)
    write_atomic(path, buffer.getvalue())


def load(path: Path) -> dict[str, Any]:
    """Read a state, its tensors on the CPU; never executes anything.

    Raises:
        UserError: no file, a damaged one, one that holds more than data, or one of another layout.
    """
    remedy = "start again with another --out"
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(message("expected a checkpoint", f"no file {path}")) from None
    except (OSError, EOFError, RuntimeError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise UserError(message(f"expected a checkpoint in {path}", reason, remedy)) from None
    except pickle.UnpicklingError:
        expected = f"expected only data in {path}"
        raise UserError(message(expected, "a file that would execute code", remedy)) from None
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        found = state.get("format") if isinstance(state, dict) else type(state).__name__
        expected = f"expected a checkpoint of format {FORMAT} in {path}"
        raise UserError(message(expected, str(found), remedy))
    return state
