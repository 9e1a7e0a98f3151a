"""The last whole state of a run, in one file.

`checkpoint.pt` holds tensors, numbers, words, lists and dictionaries only, and is read with
`weights_only=True`: torch's reader then builds nothing but those and knows no other class or
function, so a checkpoint from a stranger cannot execute code. It is written beside the old one
and takes its name when it is whole (`folder.write_atomic`): there is always a whole one. A SHA-256
of everything before it ends the file, as the comment of the zip archive that it is: a bit that
flips on the disk is found, wherever it is, which torch's reader would not do.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import pickletools
import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from spikegrad.errors import UserError, message
from spikegrad.train.folder import write_atomic

__all__ = ["FORMAT", "check_fits", "load", "save", "understood"]

FORMAT = 1
"""Number of the layout; another one is refused."""

_REMEDY = "move it away to start again, or restore it from a copy"
_CALLS = {"GLOBAL", "STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "REDUCE"}
_SEAL = 71  # bytes of "sha256:" and 64 hexadecimal digits


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
    write_atomic(path, _sealed(buffer.getvalue()))


def load(path: Path) -> dict[str, Any]:
    """Read a state, its tensors on the CPU; never executes anything.

    Raises:
        UserError: no file, a damaged one, one that holds more than data, or one of another layout.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UserError(message("expected a checkpoint", f"no file {path}")) from None
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(message(f"expected to read {path}", reason)) from None
    damage = _damage(data)
    state: Any = None
    if not damage:
        try:
            state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        except pickle.UnpicklingError:
            damage = "a file that would execute code" if _calls(data) else "no checkpoint"
        except Exception as error:  # whatever torch's reader stumbles over
            damage = f"a file that torch cannot read ({type(error).__name__})"
    if damage:
        code = damage.endswith("code")
        expected = f"expected {'only data' if code else 'a complete checkpoint'} in {path}"
        raise UserError(message(expected, damage, _REMEDY))
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        found = state.get("format", "none") if isinstance(state, dict) else type(state).__name__
        expected = f"expected a checkpoint of format {FORMAT} in {path}"
        remedy = (
            "resume with the version of spikegrad that wrote it, or move it away to start again"
        )
        raise UserError(message(expected, str(found), remedy))
    return state


@contextmanager
def understood(path: Path) -> Iterator[None]:
    """Turn what fails on the content of a file into one line that names the file.

    >>> with understood(Path("checkpoint.pt")):
    ...     {"format": 1}["state"]
    Traceback (most recent call last):
        ...
    spikegrad.errors.UserError: expected the state of this run in checkpoint.pt, got no 'state'; ...
    """
    try:
        yield
    except UserError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError) as error:
        reason = f"{type(error).__name__}: {str(error)[:120]}".splitlines()[0]
        reason = f"no {error}" if isinstance(error, KeyError) else reason
        expected = f"expected the state of this run in {path}"
        raise UserError(message(expected, reason, _REMEDY)) from error


def check_fits(network: nn.Module, weights: Mapping[str, Any], path: Path) -> None:
    """Refuse weights that belong to another network; nothing is changed.

    Raises:
        UserError: the first name or shape that differs.

    >>> check_fits(nn.Linear(2, 1), {"weight": torch.zeros(1, 3)}, Path("weights.safetensors"))
    Traceback (most recent call last):
        ...
    spikegrad.errors.UserError: expected weights of this network in weights.safetensors, got ...
    """
    own = network.state_dict()
    wrong = ""
    if not isinstance(weights, Mapping):
        wrong = type(weights).__name__
    elif strange := [name for name in weights if name not in own]:
        wrong = f"{strange[0]}, which the network does not have"
    else:
        for name, value in own.items():
            held = weights.get(name)
            if isinstance(value, Tensor) and _form(held) != _form(value):
                wrong = f"{name} {_form(held)} instead of {_form(value)}"
                break
    if wrong:
        remedy = "build the network that the run was started with, or start another run"
        raise UserError(message(f"expected weights of this network in {path}", wrong, remedy))


def _form(value: Any) -> str:
    return str(list(value.shape)) if isinstance(value, Tensor) else "missing"


def _sealed(data: bytes) -> bytes:
    """A zip archive with the SHA-256 of itself, up to there, as its comment."""
    data = data[:-2] + _SEAL.to_bytes(2, "little")
    return data + b"sha256:" + hashlib.sha256(data).hexdigest().encode()


def _damage(data: bytes) -> str:
    """What is wrong with the bytes of a file, "" if nothing is."""
    if not data:
        return "an empty file"
    if re.fullmatch(rb"sha256:[0-9a-f]{64}", data[-_SEAL:]):
        right = hashlib.sha256(data[:-_SEAL]).hexdigest().encode() == data[-64:]
        return "" if right else "a damaged file: its checksum differs"
    if not data.startswith(b"PK"):
        return "a file that would execute code" if _calls(data) else "no checkpoint at all"
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return "a damaged file" if archive.comment or archive.testzip() else ""
    except Exception:  # zipfile fails in many ways on a damaged archive
        return "a damaged or truncated file"


def _calls(data: bytes) -> bool:
    """Whether this is a pickle, alone or in an archive, that names something to be called."""
    try:
        if data.startswith(b"PK"):
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                inner = next(n for n in archive.namelist() if n.endswith("data.pkl"))
                data = archive.read(inner)
        return bool(_CALLS & {opcode.name for opcode, _, _ in pickletools.genops(data)})
    except Exception:  # no pickle
        return False
