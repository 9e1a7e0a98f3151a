"""An executor of our own: some processes on this machine, of which one may die alone.

Python's pool gives up all of its work when one of its processes dies, and does not say whose fault
it was. Here every process is a pool of its own with one task at a time: the task that it had fails,
a new process takes its place, and the others do not notice.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import (
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    process,
)
from contextlib import ExitStack, suppress
from typing import Any

from spikegrad.errors import RunError

__all__ = ["Processes"]


class Processes(Executor):
    """Some processes, started when they are first needed.

    They are spawned, so that they begin without threads and locks of this process; a script that
    uses them needs `if __name__ == "__main__":`. Ctrl-C is left to this process, which passes it on
    by `interrupt`.

    >>> Processes(2).count
    2
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._threads = ThreadPoolExecutor(count)  # one waits for each process
        self._own = threading.local()
        self._lock = threading.Lock()
        self._pools: dict[int, ProcessPoolExecutor] = {}
        self._stopped = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run a function in one of the processes.

        The future raises RunError where the process died.
        """
        return self._threads.submit(self._run, fn, args, kwargs)

    def interrupt(self) -> None:
        """Let the tasks that run save and stop; what has not begun does not begin."""
        with self._lock:
            self._stopped = True
            for pid in self._pools:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGTERM)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the processes, after what runs."""
        self._threads.shutdown(wait=wait, cancel_futures=cancel_futures)
        with self._lock:
            pools, self._pools = list(self._pools.values()), {}
        for pool in pools:
            pool.shutdown(wait=wait, cancel_futures=cancel_futures)

    def _run(self, fn: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        pid, pool = self._pool()
        with self._lock:  # what is submitted here is in a process that `interrupt` knows
            if self._stopped:
                raise RunError("stopped before it began")
            task = pool.submit(fn, *args, **kwargs)
        try:
            return task.result()
        except process.BrokenProcessPool:
            with self._lock:
                self._pools.pop(pid, None)
            pool.shutdown(wait=False)
            raise RunError(
                "its process ended without a word (killed, out of memory, or a crash)"
            ) from None

    def _pool(self) -> tuple[int, ProcessPoolExecutor]:
        """The process of this thread, a new one where there is none."""
        held: tuple[int, ProcessPoolExecutor] | None = getattr(self._own, "held", None)
        with self._lock:
            if self._stopped:
                raise RunError("stopped before it began")
            if held is not None and held[0] in self._pools:
                return held
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(1, mp_context=context, initializer=_begin)
        pid = pool.submit(os.getpid).result()
        with self._lock:
            self._pools[pid] = pool
        self._own.held = (pid, pool)
        return pid, pool


def _begin() -> None:
    """What a process does first: leave Ctrl-C to its parent, and keep the data of its runs."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave)  # while it is idle; a run has its own handler
    threading.Thread(target=_watch, daemon=True).start()
    from spikegrad.train.build import data_kept
    from spikegrad.train.memory import keep_freed_memory
    from spikegrad.train.signals import begun_by_parent

    begun_by_parent()
    keep_freed_memory()
    _kept.enter_context(data_kept())


def _leave(number: int, frame: Any) -> None:
    os._exit(128 + number)


def _watch() -> None:
    """End with the parent, however that ended: a queue would let this process wait for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


_kept = ExitStack()
