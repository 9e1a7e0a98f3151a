"""What one process knows and all need; what fails in one and must end all.

With a single process each of these is what it says without the others.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch.distributed as dist

from spikegrad.errors import RunError, UserError, message
from spikegrad.train.launcher import launched, speaks

__all__ = ["agreed", "from_first", "in_touch"]

T = TypeVar("T")

_KEY = "spikegrad/error"
_WAIT = 2.0  # seconds in which a process that fails may say why


@contextmanager
def agreed() -> Iterator[None]:
    """Every process comes out of this, or none: an error in one is raised in all.

    Raises:
        UserError, RunError: that of another process, with its number.
    """
    own: Exception | None = None
    try:
        yield
    except Exception as error:
        own = error
    for rank, found in enumerate(_gathered(None if own is None else _noted(own))):
        if found is not None and own is None:
            own = _read(found, f"process {rank}: ")
    if own is not None:
        raise _known(own)


def from_first(work: Callable[[], T]) -> T:
    """What the first process found, which alone does the work; its error is raised in all.

    The value travels as a pickle, between processes of one program.
    """
    if not _several():
        return work()
    found: list[Any] = [None]
    own: Exception | None = None
    if dist.get_rank() == 0:
        try:
            found = [("value", work())]
        except Exception as error:
            own, found = error, [_noted(error)]
    dist.broadcast_object_list(found, src=0)
    if own is not None:
        raise _known(own)
    kind, value = found[0]
    if kind != "value":
        raise _known(_read(found[0]))
    return value


@contextmanager
def in_touch(folder: Any = None) -> Iterator[None]:
    """Tell the other processes of torchrun why this one fails; find out why they did.

    A process that ends takes the connections of all others with it, and these know only that.

    folder: the run, for what to do next.
    Raises:
        RunError: another process ended; with its reason, where it said one.
    """
    try:
        yield
    except Exception as error:
        if not (launched() and _several()) or hasattr(error, "known"):
            raise
        if not _lost(error):
            _say(error)
            _known(error)
            raise
        reason = _heard()
        if reason is not None:
            raise _known(_read(reason)) from error
        kept = f"; the last checkpoint in {folder} is unchanged" if folder is not None else ""
        remedy = "start all processes again" + (" with --resume" if folder is not None else "")
        text = message("expected every process to continue", "one that ended" + kept, remedy)
        raise _known(RunError(text)) from error


def _several() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def _gathered(own: Any) -> list[Any]:
    if not _several():
        return [own]
    found: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(found, own)
    return found


def _known(error: Exception) -> Exception:
    """An error that every process knows of: nobody need be told."""
    error.known = True  # type: ignore[attr-defined]
    return error


def _noted(error: Exception) -> tuple[str, str]:
    """An error as words."""
    kind = type(error).__name__
    return kind, str(error) if isinstance(error, (UserError, RunError)) else f"{kind}: {error}"


def _read(noted: tuple[str, str], place: str = "") -> Exception:
    kind, text = noted
    return UserError(place + text) if kind == "UserError" else RunError(place + text)


def _lost(error: Exception) -> bool:
    """Whether an error says that a connection to another process broke."""
    words = ("gloo", "Connection closed", "Connection reset", "NCCL", "Broken pipe", "Socket")
    known = isinstance(error, RuntimeError) and any(word in str(error) for word in words)
    return isinstance(error, (dist.DistError, ConnectionError)) or known


def _store() -> Any:
    """torchrun's own store: it stays when processes end, unless its machine does."""
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    socket.create_connection((address, port), _WAIT).close()  # fails without torch's many lines
    store = dist.TCPStore(address, port, is_master=False, timeout=timedelta(seconds=_WAIT))
    return dist.PrefixStore(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"), store)


def _say(error: Exception) -> None:
    """Leave the reason where the others look; the first one counts."""
    try:
        kind, text = _noted(error)
        _store().compare_set(_KEY, "", f"{kind}\n{text}")
    except Exception:  # the machine with the store is gone: nobody is left to be told
        return
    if not speaks():
        time.sleep(_WAIT)  # torchrun ends the others on this machine as soon as we are gone


def _heard() -> tuple[str, str] | None:
    """The reason that another process gave, if there is one."""
    if not speaks():
        time.sleep(_WAIT)
        return None
    try:
        kind, _, text = _store().get(_KEY).decode().partition("\n")
        return kind, text
    except Exception:  # none came in time, or the machine with the store is gone
        return None
