"""`spikegrad`: the group of all commands, and what becomes of an error.

A command is a name, a module with a click command of the same name, and one line of help; the
module is imported when its command runs, so that `spikegrad --help` needs neither torch nor time.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any

import rich_click as click
from click.exceptions import ClickException, Exit, NoSuchOption

from spikegrad.cli.completion import answer
from spikegrad.cli.entry import came, forget, listen, stopped
from spikegrad.errors import (
    RunError,
    SpikegradWarning,
    UserError,
    close_names,
    printable,
    unknown,
)
from spikegrad.train.synonyms import SYNONYMS
from spikegrad.version import __version__

__all__ = ["COMMANDS", "cli", "main"]

COMMANDS: dict[str, tuple[str, str]] = {
    "train": ("spikegrad.cli.train", "Train a spiking network, or resume a run."),
    "eval": ("spikegrad.cli.eval", "Measure a trained network on a part of its data set."),
    "predict": ("spikegrad.cli.predict", "Classify samples from a file."),
    "report": ("spikegrad.cli.report", "Write the report of a run again, as one HTML page."),
    "watch": ("spikegrad.cli.watch", "Show a run while it trains, in a browser or a terminal."),
    "diagnose": ("spikegrad.cli.diagnose", "Say why a network does not learn, and what to do."),
    "compare": ("spikegrad.cli.compare", "Compare variants with the same seeds, or runs."),
    "runs": ("spikegrad.cli.runs", "List runs: settings that differ, and results."),
    "surrogates": ("spikegrad.cli.surrogates", "Compare surrogates: properties, times, pictures."),
    "verify": ("spikegrad.cli.verify", "Check the theory and this installation, by numbers."),
    "bench": ("spikegrad.cli.bench", "Time a training step on this machine."),
    "config": ("spikegrad.cli.config", "Print a recipe to edit."),
    "data": ("spikegrad.cli.data", "List the data sets found, and how to get the others."),
    "build": ("spikegrad.cli.build", "Compile the CPU kernels before their first use."),
    "doctor": ("spikegrad.cli.doctor", "Show versions, threads, devices and backends."),
}
"""{command: (module, one line of help)}, in the order of the help page."""


_COMMANDS = {"fit": "train", "test": "eval", "evaluate": "eval", "infer": "predict"}
_COMMANDS |= {"compile": "build", "benchmark": "bench", "datasets": "data", "info": "doctor"}
_COMMANDS |= {"check": "verify", "selftest": "verify", "health": "diagnose", "lint": "diagnose"}
_COMMANDS |= {"sweep": "compare", "grid": "compare", "list": "runs", "ls": "runs"}
"""What other programs call these commands."""


class Commands(click.RichGroup):
    """The commands of `COMMANDS`, imported one by one as they are needed."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command of a line; a wrong name is an error that names the close ones."""
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            raise UserError(unknown("command", args[0], COMMANDS, _COMMANDS))
        return super().resolve_command(ctx, args)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        module, text = COMMANDS[cmd_name]
        if _listing(ctx):
            return click.RichCommand(name=cmd_name, short_help=text, help=text)
        return getattr(import_module(module), cmd_name.replace("-", "_").replace("eval", "eval_"))


def _listing(ctx: Any) -> bool:
    """Whether only names and lines of help are wanted, not the commands themselves."""
    return bool(ctx.meta.get("spikegrad.listing"))


@click.command(
    cls=Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    add_help_option=False,
)
@click.option("-h", "--help", "wants_help", is_flag=True, is_eager=True, help="Show this page.")
@click.option("--version", is_flag=True, is_eager=True, help="Show the version.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.pass_context
def cli(ctx: Any, wants_help: bool, version: bool, debug: bool) -> None:
    """Surrogate-gradient learning in spiking neural networks.

    `spikegrad train` trains on the digits that come with the package, in seconds.
    """
    if version:
        click.echo(f"spikegrad {__version__}")
        ctx.exit()
    if wants_help or ctx.invoked_subcommand is None:
        ctx.meta["spikegrad.listing"] = True
        click.echo(ctx.get_help(), color=None)
        ctx.exit()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status.

    0: done; 1: a run failed; 2: something the user gave is wrong; 130, 143: stopped by Ctrl-C or
    SIGTERM. Errors are one line on stderr; `--debug` adds the traceback.
    """
    if arguments is None and (status := answer(cli)) is not None:
        return status
    given = list(sys.argv[1:] if arguments is None else arguments)
    _encodable(sys.stdout)
    debug = "--debug" in given
    given = [word for word in given if word != "--debug"]
    try:
        # Not cli.main(): it would turn a KeyboardInterrupt, and the signal in it, into an Abort.
        with _signals(), _warnings(), cli.make_context("spikegrad", given) as context:
            cli.invoke(context)
        return stopped(KeyboardInterrupt()) if came() else 0  # an import may swallow a signal
    except Exception as error:
        if came():  # an import that a signal broke fails in many ways
            return stopped(error)
        if debug and not isinstance(error, Exit):
            raise
        return _told(error)
    except KeyboardInterrupt as stop:
        return stopped(stop)


def _told(error: Exception) -> int:
    """One line about an error, and its exit status."""
    if isinstance(error, Exit):
        return error.exit_code
    if isinstance(error, NoSuchOption):
        return _line(_no_option(error), 2)
    if isinstance(error, ClickException):
        return _line(error.format_message(), 2)
    if isinstance(error, UserError):
        return _line(str(error), 2)
    if isinstance(error, RunError):
        return _line(str(error), 1)
    if isinstance(error, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    kind = type(error).__name__
    return _line(f"{kind}: {error} (run again with --debug for the traceback)", 1)


def _no_option(error: NoSuchOption) -> str:
    """A wrong option, with the close ones: first the one that other programs call so."""
    command: Any = error.ctx.command if error.ctx else None
    flags = [flag for p in getattr(command, "params", []) for flag in p.opts if flag[:2] == "--"]
    names = {flag[2:].replace("-", "_"): flag for flag in flags}
    name = error.option_name.lstrip("-").replace("-", "_")
    close = " or ".join(names[found] for found in close_names(name, names, SYNONYMS))
    path = error.ctx.command_path if error.ctx else "spikegrad"
    guess = f"; did you mean {close}?" if close else ";"
    return f"unknown option {error.option_name}{guess} (see {path} --help)"


def _encodable(stream: Any) -> None:
    """Write as an escape what the encoding of a terminal or pipe lacks, rather than fail on it."""
    with suppress(AttributeError, ValueError):  # a stream that somebody put in its place
        stream.reconfigure(errors="backslashreplace")


def _line(text: str, status: int, *, kind: str = "error") -> int:
    from spikegrad.train.launcher import speaks

    if not speaks():
        return status
    words = printable(" ".join(str(text).split()))
    print(f"{kind}: {words}", file=sys.stderr)  # noqa: T201  (the one place that reports)
    return status


@contextmanager
def _warnings() -> Iterator[None]:
    """A warning of ours is one line on stderr, without the place in the source."""
    with warnings.catch_warnings():
        before = warnings.showwarning

        def show(text: Any, category: Any, *rest: Any, **more: Any) -> None:
            if issubclass(category, SpikegradWarning):
                _line(str(text), 0, kind="warning")
            else:
                before(text, category, *rest, **more)

        warnings.showwarning = show  # type: ignore[assignment]
        yield


class _signals:
    """SIGINT and SIGTERM are written down and leave alike, each with its own number."""

    def __enter__(self) -> None:
        forget()
        main = threading.current_thread() is threading.main_thread()
        self.before = listen() if main else {}  # elsewhere Python has no handlers

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
