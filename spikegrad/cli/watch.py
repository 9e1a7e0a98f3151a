"""`spikegrad watch RUN`: show a run while it trains."""

from __future__ import annotations

import signal

import rich_click as click

from spikegrad.cli.completion import folder

__all__ = ["watch"]

_PORT = 8765


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("run", shell_complete=folder)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=_PORT,
    show_default=True,
    help="Where to serve the page; the next free port is taken where this one is in use.",
)
@click.option("--terminal", is_flag=True, help="Show it in this terminal; no browser is needed.")
def watch(run: str, port: int, terminal: bool) -> None:
    """Serve the report of the run folder RUN, which refreshes by itself while the run trains.

    It answers this machine alone (on a server, forward the port: ssh -L 8765:127.0.0.1:8765 HOST),
    reads the folder and writes nothing. Ctrl-C ends it, and not the training.
    """
    try:
        if terminal:
            from spikegrad.cli.view import follow

            follow(run)
        else:
            _serve(run, port)
    except KeyboardInterrupt as stop:
        if getattr(stop, "number", signal.SIGINT) != signal.SIGINT:
            raise
        from spikegrad.cli.entry import forget

        forget()  # Ctrl-C is how it ends


def _serve(run: str, port: int) -> None:
    from spikegrad.report.page.server import serve
    from spikegrad.train.terminal import Screen

    server, used = serve(run, port)
    console = Screen()
    with server:
        if used:
            last = f" to {port + used - 1}" if used > 1 else ""
            console.say(f"port {port}{last} in use; this is {server.server_port}")
        console.say(f"watching {run} at {server.url} (Ctrl-C ends it)")
        server.serve_forever(poll_interval=0.2)
