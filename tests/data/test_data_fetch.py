"""Where sets are looked for, and downloads: whole and verified, or nothing at all.

The downloads here come from a server on this machine; nothing leaves it.
"""

from __future__ import annotations

import gzip
import http.server
import threading
from pathlib import Path

import pytest

from spikegrad.data import fetch
from spikegrad.data.mnist import FILES, load_idx, locate
from spikegrad.errors import UserError


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """A mirror on this machine: (folder it serves, its address)."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    root = tmp_path / "mirror"
    root.mkdir()

    def handler(*args: object) -> _Quiet:
        return _Quiet(*args, directory=str(root))

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield root, f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()
        thread.join()


def test_places_in_order(nowhere, monkeypatch, tmp_path):
    monkeypatch.setenv("SPIKEGRAD_DATA", str(tmp_path / "data"))
    assert fetch.places("fashion-mnist") == [
        tmp_path / "data" / "fashion-mnist",
        tmp_path / "data",
        Path("/usr/share/datasets/fashion-mnist"),
        nowhere / "fashion-mnist",
    ]
    assert fetch.places("mnist", "") == fetch.places("mnist")
    assert fetch.places("mnist", tmp_path) == [tmp_path / "mnist", tmp_path]


def test_the_platform_has_a_cache_of_its_own(monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert fetch.cache().name == "spikegrad"


@pytest.mark.parametrize("where", ["tiny", "."])
def test_found_under_the_environment_variable(
    tiny, known, put, nowhere, monkeypatch, tmp_path, where
):
    monkeypatch.setenv("SPIKEGRAD_DATA", str(tmp_path / "data"))
    put(tiny, tmp_path / "data" / where, packed=True)
    assert len(load_idx(known(tiny), download=False).train) == 12


def test_a_folder_with_some_files_is_passed_over(tiny, known, put, nowhere, monkeypatch, tmp_path):
    monkeypatch.setenv("SPIKEGRAD_DATA", str(tmp_path / "data"))
    put({FILES[0]: tiny[FILES[0]]}, tmp_path / "data" / "tiny")
    put(tiny, nowhere / "tiny")
    assert locate(known(tiny)) == nowhere / "tiny"


def test_nothing_here_names_every_place_and_the_remedy(tiny, known, put, nowhere, tmp_path):
    put({FILES[0]: tiny[FILES[0]]}, tmp_path / "some")
    with pytest.raises(UserError) as caught:
        load_idx(known(tiny), folder=tmp_path / "some", download=False)
    text = str(caught.value)
    assert str(tmp_path / "some" / "tiny") in text
    assert "only 1: no train-labels-idx1-ubyte" in text
    with pytest.raises(UserError) as caught:
        load_idx(known(tiny), download=False)
    text = str(caught.value)
    assert "\n" not in text
    assert all(str(place) in text for place in fetch.places("tiny"))
    assert all(file in text for file in FILES)
    assert "SPIKEGRAD_DATA" in text


def test_downloads_into_the_cache_and_finds_it_again(tiny, known, put, nowhere, mirror):
    root, address = mirror
    put(tiny, root, packed=True)
    assert len(load_idx(known(tiny, (address,))).train) == 12
    assert sorted(p.name for p in (nowhere / "tiny").iterdir()) == sorted(FILES)
    assert all((nowhere / "tiny" / file).read_bytes() == tiny[file] for file in FILES)
    assert len(load_idx(known(tiny), download=False).train) == 12


def test_downloads_into_the_named_folder_what_is_missing(tiny, known, put, mirror, tmp_path):
    root, address = mirror
    put({file: tiny[file] for file in FILES[1:]}, root, packed=True)
    put({FILES[0]: tiny[FILES[0]]}, tmp_path / "mine" / "tiny")
    assert len(load_idx(known(tiny, (address,)), folder=tmp_path / "mine").train) == 12
    assert locate(known(tiny), tmp_path / "mine") == tmp_path / "mine" / "tiny"


def _wrong(files: dict[str, bytes]) -> bytes:
    return gzip.compress(files[FILES[0]][:-1] + b"?")


def _cut(files: dict[str, bytes]) -> bytes:
    return gzip.compress(files[FILES[0]])[:-5]


@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "404"), (_wrong, "checksum"), (_cut, "damaged"), (lambda files: b"", "damaged")],
    ids=["absent", "other content", "cut", "empty"],
)
def test_a_bad_mirror_leaves_nothing_and_the_next_one_is_asked(
    tiny, known, put, nowhere, mirror, content, says
):
    root, address = mirror
    if content is not None:
        (root / f"{FILES[0]}.gz").write_bytes(content(tiny))
    with pytest.raises(UserError, match="the download failed") as caught:
        load_idx(known(tiny, (address,)))
    assert says in str(caught.value)
    assert list((nowhere / "tiny").iterdir()) == []
    put(tiny, root / "good", packed=True)
    assert len(load_idx(known(tiny, (address, f"{address}good/"))).train) == 12


def test_no_network_is_one_clear_error(tiny, known, nowhere, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(UserError, match=r"ConnectionError.*check the network") as caught:
        load_idx(known(tiny, ("http://127.0.0.1:9/",)))  # the discard port: nobody listens
    assert "\n" not in str(caught.value)


def test_a_target_that_cannot_be_written_is_said(tiny, known, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(UserError, match="cannot write to"):
        load_idx(known(tiny, ("http://127.0.0.1:9/",)), folder=tmp_path / "file")
