"""Ctrl-C and SIGTERM: finish the step, save, leave; a second one leaves at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

__all__ = ["Interrupted", "StopFlag", "begun_by_parent", "listening"]

_begun_by = "user"


class Interrupted(KeyboardInterrupt):
    """A run was stopped by a signal, after its checkpoint was written.

    signal: its number (2 for Ctrl-C, 15 for SIGTERM); folder: the run to resume, or None.
    """

    def __init__(self, number: int, folder: Path | None = None) -> None:
        saved = f"; it is saved in {folder}: fit with this out and resume=True continues it"
        super().__init__(f"stopped by {signal.Signals(number).name}{saved if folder else ''}")
        self.number = number
        self.folder = folder


class StopFlag:
    """The signal that asked to stop, 0 as long as there is none."""

    def __init__(self) -> None:
        self.number = 0

    def check(self, folder: Path | None = None) -> None:
        """Raise `Interrupted` if a signal came."""
        if self.number:
            raise Interrupted(self.number, folder)


def begun_by_parent() -> None:
    """Say that this process was begun by one of ours: the runs in it listen to that one."""
    global _begun_by
    _begun_by = "parent"


Handler = Callable[[int, FrameType | None], None]


@contextmanager
def listening(flag: StopFlag, *, started_by: str = "user") -> Iterator[StopFlag]:
    """Turn SIGINT and SIGTERM into the flag while the context is open.

    started_by: "user", who leaves at once with a second signal; "parent", which passes Ctrl-C on
    as SIGTERM, since a terminal sends it to parent and children, so that a child leaves it alone,
    and ends itself where the parent is gone; "torchrun", which sends both, and kills in the end.
    Off the main thread, where Python has no handlers, nothing happens.
    """
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return
    started_by = _begun_by if started_by == "user" else started_by
    handlers = {signal.SIGINT: _once(flag), signal.SIGTERM: _once(flag)}
    if started_by == "parent":
        handlers = {signal.SIGINT: _orphaned(os.getppid()), signal.SIGTERM: _set(flag)}
    elif started_by == "torchrun":
        handlers = {signal.SIGINT: _set(flag), signal.SIGTERM: _set(flag)}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield flag
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _set(flag: StopFlag) -> Handler:
    def handler(number: int, frame: FrameType | None) -> None:
        flag.number = number

    return handler


def _once(flag: StopFlag) -> Handler:
    def handler(number: int, frame: FrameType | None) -> None:
        if flag.number:
            raise KeyboardInterrupt
        flag.number = number

    return handler


def _orphaned(parent: int) -> Handler:
    def handler(number: int, frame: FrameType | None) -> None:
        if os.getppid() != parent:
            os._exit(1)

    return handler
