"""`spikegrad watch`: who is answered, what is refused, what is never written, what refreshes."""

from __future__ import annotations

import http.client
import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest
from browser import chromium, watched
from rich.console import Console
from runs import ATTACK, made

from spikegrad.cli.main import main
from spikegrad.cli.view import curve, follow, view
from spikegrad.errors import UserError
from spikegrad.report.page.server import PageServer, serve
from spikegrad.report.recorded import read_record


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return made(tmp_path_factory.mktemp("watched") / "run")


@pytest.fixture
def run(whole, tmp_path):
    """A run that has done one of two epochs."""
    there = shutil.copytree(whole, tmp_path / "run")
    for name in ("result.json", "samples.npz", "measures.json"):
        (there / name).unlink()
    lines = (there / "metrics.jsonl").read_text().splitlines()
    (there / "metrics.jsonl").write_text(lines[0] + "\n")
    return there


@contextmanager
def serving(run):
    """A server that answers while the context is open."""
    server = PageServer(run)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def ask(server, path="/", method="GET", **headers):
    """Status, headers and body of one request; Host=None sends none."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    try:
        host = headers.pop("Host", f"127.0.0.1:{server.server_port}")
        connection.putrequest(method, path, skip_host=True)
        for name, value in {"Host": host, **headers}.items():
            if value is not None:
                connection.putheader(name.replace("_", "-"), value)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read().decode()
    finally:
        connection.close()


def state(folder):
    """Everything in a folder, with sizes and times."""
    return {
        path: (path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(folder.rglob("*"))
    }


def test_it_serves_the_page_and_its_content(run):
    with serving(run) as server:
        status, headers, page = ask(server)
        assert status == 200
        assert headers["Content-Type"] == "text/html; charset=utf-8"
        assert "connect-src &#39;self&#39;" in page
        assert ATTACK not in page
        status, headers, body = ask(server, "/data.json")
        assert status == 200
        content = json.loads(body)
        assert content["live"] is True
        assert content["state"] == "training"
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert ask(server, "/", method="HEAD")[2] == ""


def test_content_is_sent_again_only_when_it_has_changed(run):
    with serving(run) as server:
        tag = json.loads(ask(server, "/data.json")[2])["tag"]
        assert ask(server, "/data.json", If_None_Match=tag)[0] == 304
        line = {"epoch": 2, "train_loss": 0.25, "firing_rates": {}}
        with (run / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
        status, _, body = ask(server, "/data.json", If_None_Match=tag)
        assert status == 200
        assert "0.25" in body
        assert json.loads(body)["tag"] != tag


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:PORT", "127.0.0.1", "127.0.0.1:1", "[::1]:PORT", "", None],
)
def test_a_request_by_another_name_is_refused(run, host):
    """A web page whose name was made to lead here (DNS rebinding) sends its own name."""
    with serving(run) as server:
        named = host.replace("PORT", str(server.server_port)) if host else host
        for path in ("/", "/data.json"):
            status, _, body = ask(server, path, Host=named)
            assert status in (400, 403)
            assert "train" not in body
        assert ask(server, "/", Host=f"LOCALHOST:{server.server_port}")[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        "/config.toml",
        "/../run/config.toml",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/..\\config.toml",
        "//etc/passwd",
        "/data.json/../config.toml",
        "/checkpoint.pt",
        "/index.html",
    ],
)
def test_no_path_reaches_a_file(run, path):
    with serving(run) as server:
        status, _, body = ask(server, path)
        assert status == 404
        assert body == "there is nothing here but / and /data.json\n"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_it_takes_nothing(run, method):
    with serving(run) as server:
        assert ask(server, "/data.json", method=method)[0] == 501


def test_it_writes_nothing_and_listens_on_this_machine_alone(run):
    before = state(run)
    with serving(run) as server:
        ask(server)
        ask(server, "/data.json")
        assert server.socket.getsockname()[0] == "127.0.0.1"
    assert state(run) == before


def test_a_damaged_file_is_said_and_the_page_comes_back(run):
    with serving(run) as server:
        good = (run / "metrics.jsonl").read_text()
        (run / "metrics.jsonl").write_text("nonsense\n" + good)
        for path in ("/", "/data.json"):
            status, headers, body = ask(server, path)
            assert status == 503
            assert headers["Content-Type"].startswith("text/plain")
            assert "expected JSON on line 1" in body
        (run / "metrics.jsonl").write_text(good)
        assert ask(server, "/data.json")[0] == 200
        shutil.rmtree(run)
        assert "does not exist" in ask(server, "/data.json")[2]


def test_a_taken_port_gives_way_to_the_next(run):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        server, used = serve(run, port)
        with server:
            assert used >= 1
            assert server.server_port == port + used


def test_what_cannot_be_shown_is_not_served(tmp_path, capsys):
    with pytest.raises(UserError, match="expected a run folder"):
        serve(tmp_path / "nowhere", 0)
    for words in (["watch", "nowhere"], ["watch", "nowhere", "--terminal"]):
        assert main(words) == 2
        assert "expected a run folder, got nowhere" in capsys.readouterr().err


def test_on_the_command_line_it_says_where_and_ends_with_ctrl_c(run):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        words = [sys.executable, "-m", "spikegrad", "watch", str(run), "--port", str(port)]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            first = process.stdout.readline()
            assert first.startswith(f"port {port}")
            assert "in use; this is" in first
            second = process.stdout.readline()
            assert second.startswith(f"watching {run} at http://127.0.0.1:")
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=30)
            assert (process.returncode, err) == (0, "")
        finally:
            process.kill()


def wait_until(page, condition):
    """Ask again and again: the page's policy forbids Playwright's own way of waiting."""
    for _ in range(150):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(100)
    raise AssertionError(condition)


def test_the_page_refreshes_by_itself(run):
    with chromium() as browser, serving(run) as server:
        size = {"width": 1200, "height": 900}
        with watched(browser, viewport=size) as (page, said, asked):
            page.goto(server.url)
            page.wait_for_selector("text=1 of 2 epochs are done")
            page.wait_for_selector("text=In training; this page refreshes by itself.")
            page.click("#tab-curves")
            with (run / "metrics.jsonl").open("a") as file:
                file.write(json.dumps({"epoch": 2, "train_loss": 0.125}) + "\n")
            wait_until(
                page,
                "document.querySelector('#part-curves .js-plotly-plot')?.data[0].y.length === 2",
            )
            assert page.get_attribute("#tab-curves", "aria-selected") == "true"
            assert said == []
            assert {url.split("/")[2] for url in asked if url.startswith("http")} == {
                f"127.0.0.1:{server.server_port}"
            }
            (run / "metrics.jsonl").write_text("nonsense\n{}\n")
            page.wait_for_selector("text=expected JSON on line 1")


def text_of(record, **options):
    console = Console(width=100, record=True, file=open("/dev/null", "w"), **options)  # noqa: SIM115
    with console.file:
        console.print(view(record))
    return console.export_text()


def test_the_view_of_a_terminal_shows_progress_curves_rates_and_findings(run, whole):
    finding = {"step": 20, "severity": "error", "line": "layer 1 \x1b[31mdied"}
    (run / "findings.json").write_text(json.dumps([finding]))
    text = text_of(read_record(run))
    assert "in training" in text
    assert "1 of 2 epochs" in text
    assert "val loss" in text
    assert "layer 3" in text
    assert "step 20: layer 1 \\x1b[31mdied" in text
    assert "finished" in text_of(read_record(whole))
    (run / "metrics.jsonl").unlink()
    assert "the first epoch is not done yet" in text_of(read_record(run))


def test_curves_are_drawn_in_characters_that_a_terminal_has():
    assert curve([1.0, 2.0, 3.0]) == "▁▅█"
    assert curve([1.0, 1.0]) == "▁▁"
    assert curve([float("nan")]) == ""
    assert curve([1.0, 3.0], ascii_only=True).isascii()
    assert len(curve([float(i) for i in range(500)])) == 40


def test_without_a_terminal_it_prints_a_line_an_epoch_until_the_end(run, whole, capsys):
    def go_on():
        time.sleep(0.3)
        for name in ("metrics.jsonl", "result.json"):  # never half there, as in a run
            shutil.copy(whole / name, run / "part")
            (run / "part").replace(run / name)

    thread = threading.Thread(target=go_on)
    thread.start()
    follow(str(run), every=0.02)
    thread.join()
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch")]
    assert [line[:9] for line in lines] == ["epoch 1/2", "epoch 2/2"]
