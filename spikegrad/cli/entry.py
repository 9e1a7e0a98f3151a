"""Where `spikegrad` and `python -m spikegrad` begin, and what becomes of a signal.

Importing torch takes seconds, and it may turn a Ctrl-C into another error or swallow it; so what
came is written down here, before anything else is imported.
"""

from __future__ import annotations

import gc
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

__all__ = ["came", "forget", "importing", "listen", "run", "stopped"]

_came: list[int] = []


def came() -> bool:
    """Whether a signal that ends the program has come."""
    return bool(_came)


def forget() -> None:
    """Begin anew."""
    _came.clear()


def handle(number: int, frame: FrameType | None) -> None:
    """A handler: SIGINT and SIGTERM leave alike, each with its own number."""
    _came.append(number)
    stop = KeyboardInterrupt()
    stop.number = number  # type: ignore[attr-defined]
    raise stop


def listen() -> dict[int, Any]:
    """Put the handlers in place, where signals are not ignored (nohup); what was there before."""
    before = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:
            before[int(number)] = signal.signal(number, handle)
    return before


@contextmanager
def importing() -> Iterator[None]:
    """Import torch and what needs it without the garbage collector, which finds nothing there and
    takes a tenth of the time. What was imported stays: later collections do not look at it.
    """
    if "torch" in sys.modules:
        yield
        return
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if collects:
            gc.enable()


def stopped(stop: BaseException) -> int:
    """Say which signal stopped the program and what to do next; its exit status."""
    number = int(getattr(stop, "number", _came[-1] if _came else signal.SIGINT))
    folder = getattr(stop, "folder", None)
    from spikegrad.train.launcher import launched, speaks

    command = getattr(stop, "command", "spikegrad train")
    command = "the same torchrun and" if launched() else command
    note = f"; continue with: {command} --resume {shlex.quote(str(folder))}" if folder else ""
    if speaks():
        print(f"stopped by {signal.Signals(number).name}{note}", file=sys.stderr)  # noqa: T201
    return 128 + number


def run() -> None:
    """The entry point of `python -m spikegrad` and of the installed script."""
    try:
        listen()
        from spikegrad.cli.main import main

        status = main()
    except BaseException as error:
        if not (came() or isinstance(error, KeyboardInterrupt)):
            raise
        status = stopped(error)
    sys.exit(status)
