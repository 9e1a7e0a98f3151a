"""A page that shows a run while it trains: an HTTP server on this machine, for this machine.

It answers two addresses, the page and its content, and nothing else: no path of a request reaches
the file system. A web page of somebody else that gets its own name to lead here (DNS rebinding) is
refused by the `Host` that its requests name. It reads the run folder and writes nothing.
"""

from __future__ import annotations

import errno
import hashlib
import os
import socketserver
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from spikegrad.errors import UserError, message, printable
from spikegrad.report.page.run import run_content
from spikegrad.report.page.write import html, plain_json

__all__ = ["FIRST_PORT", "PageServer", "serve"]

FIRST_PORT = 8765
TRIES = 50
FILES = (
    "config.toml",
    "metrics.jsonl",
    "findings.json",
    "diagnosis.json",
    "measures.json",
    "samples.npz",
    "result.json",
)
"""What a page is made of; where none of these has changed, neither has the page."""
HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Source:
    """The content of a run's page, made again when a file of the run has changed."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.lock = folder, threading.Lock()
        self.tag, self.content = "", dict[str, Any]()

    def now(self) -> tuple[str, dict[str, Any]]:
        """A tag for the state of the files, and the content.

        Raises:
            UserError: the folder is gone, or a file in it is damaged.
        """
        with self.lock:
            tag = tag_of(self.folder)
            if tag != self.tag:
                self.content = {**run_content(self.folder), "tag": tag}
                self.tag = tag
            return self.tag, self.content


def tag_of(folder: Path) -> str:
    """A word for the state of a run's files."""
    seen = []
    for name in FILES:
        try:
            state = (folder / name).stat()
            seen.append(f"{name} {state.st_mtime_ns} {state.st_size} {state.st_ino}")
        except OSError:
            seen.append(f"{name} -")
    return hashlib.sha256("\n".join(seen).encode()).hexdigest()[:32]


class PageServer(ThreadingHTTPServer):
    """Serves the page of one run to this machine alone.

    run: the run folder; port: where; 0 for any free one.
    """

    daemon_threads = True
    allow_reuse_address = os.name != "nt"  # there it would take a port from another program

    def __init__(self, run: str | Path, port: int = 0) -> None:
        self.source = Source(Path(run))
        super().__init__(("127.0.0.1", port), Answer)

    def server_bind(self) -> None:
        """Take the port, without the question for this machine's name that may wait for a net."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "127.0.0.1", self.server_address[1]

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://127.0.0.1:{self.server_port}/"

    def names(self) -> set[str]:
        """How a request may name this server."""
        return {f"{host}:{self.server_port}" for host in ("127.0.0.1", "localhost")}

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that has gone away is no event."""


class Answer(BaseHTTPRequestHandler):
    """One request."""

    server: PageServer
    server_version = "spikegrad"
    sys_version = ""
    timeout = 10  # seconds; a connection that says nothing must not stay

    def do_GET(self) -> None:
        """The page, its content, or a refusal."""
        if self.headers.get("Host", "").lower() not in self.server.names():
            self.say(403, f"this server answers to {self.server.url} alone")
            return
        path = urlsplit(self.path).path
        if path not in ("/", "/data.json"):
            self.say(404, "there is nothing here but / and /data.json")
            return
        try:
            tag, content = self.server.source.now()
        except UserError as error:
            self.say(503, str(error))
            return
        if path == "/":
            self.send(200, "text/html", html(content, live=True).encode())
        elif self.headers.get("If-None-Match") == tag:
            self.send(304, "application/json", b"")
        else:
            self.send(200, "application/json", plain_json({**content, "live": True}).encode())

    do_HEAD = do_GET

    def say(self, status: int, text: str) -> None:
        """A line of text."""
        self.send(status, "text/plain", (printable(text) + "\n").encode())

    def send(self, status: int, kind: str, body: bytes) -> None:
        """An answer with its headers."""
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def serve(run: str | Path, port: int = FIRST_PORT) -> tuple[PageServer, int]:
    """A server for the page of a run; `serve_forever()` makes it answer.

    Args:
        run: a run folder, in training or finished.
        port: the first one to try; the next free one is taken where it is in use.
    Returns:
        the server, and how many ports were in use.
    Raises:
        UserError: no run folder, no page of it, or no free port.
    """
    run_content(run)  # what cannot be shown is said before anything is served
    for used in range(TRIES):
        try:
            return PageServer(run, port + used if port else 0), used
        except OverflowError:
            break
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
    expected = f"expected a free port from {port} on"
    raise UserError(message(expected, "none", "give another one with --port"))
