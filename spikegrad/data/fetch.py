"""Where the files of a data set may lie, and how they come here: found, or downloaded whole."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from spikegrad.data import idx
from spikegrad.errors import UserError, message

__all__ = ["ENVIRONMENT", "cache", "download", "find", "missing", "places"]

ENVIRONMENT = "SPIKEGRAD_DATA"
_DEBIAN = Path("/usr/share/datasets")
_TIMEOUT = 30  # seconds without an answer


def cache() -> Path:
    """The folder for downloads: `$XDG_CACHE_HOME/spikegrad`, or the platform's own."""
    if os.environ.get("XDG_CACHE_HOME"):
        return Path(os.environ["XDG_CACHE_HOME"]) / "spikegrad"
    import pooch

    return Path(pooch.os_cache("spikegrad"))


def places(name: str, folder: str | os.PathLike[str] | None = None) -> list[Path]:
    """The folders where the set `name` is looked for, first to last.

    A `folder` that the caller names is the only root; otherwise (None or "") `$SPIKEGRAD_DATA`, the
    data sets of Debian, and the cache. In a root the set may lie in a folder of its name or by
    itself.

    >>> [p.as_posix() for p in places("mnist", "here")]
    ['here/mnist', 'here']
    """
    if folder:
        return [Path(folder).expanduser() / name, Path(folder).expanduser()]
    found = []
    if os.environ.get(ENVIRONMENT):
        root = Path(os.environ[ENVIRONMENT]).expanduser()
        found += [root / name, root]
    return [*found, _DEBIAN / name, cache() / name]


def find(place: Path, files: Sequence[str]) -> dict[str, Path]:
    """Those of `files` that lie in `place`, plain or with `.gz`: {file: path}.

    >>> find(Path("nowhere"), ["a"])
    {}
    """
    found = {}
    for file in files:
        for path in (place / file, place / f"{file}.gz"):
            if path.is_file():
                found[file] = path
                break
    return found


def missing(name: str, files: Sequence[str], looked: Sequence[Path], remedy: str) -> UserError:
    """The error for a set that is not here: it names every place and what each lacks."""
    seen = []
    for place in looked:
        here = find(place, files)
        lacking = [file for file in files if file not in here]
        seen.append(f"{place} (only {len(here)}: no {', '.join(lacking)})" if here else str(place))
    expected = f"expected the files of {name} ({', '.join(files)}; plain or .gz)"
    return UserError(message(expected, f"no complete set in {', '.join(seen)}", remedy))


def download(files: Mapping[str, str], mirrors: Sequence[str], target: Path) -> dict[str, str]:
    """Fetch those of `files` that are not in `target` yet; each appears whole or not at all.

    Args:
        files: {name: SHA-256 of the unpacked bytes}.
        mirrors: addresses of folders that hold `name.gz`, tried in this order.
        target: the folder to put the unpacked files in.

    Returns:
        {name: why it could not be fetched}, up to the first that could not; empty when all are
        there.
    """
    try:
        target.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=target):
            pass
    except OSError as error:
        return {next(iter(files)): f"cannot write to {target}: {error.strerror}"}
    failed = {}
    for file, digest in files.items():
        if file in find(target, [file]):
            continue
        reasons = []
        for mirror in mirrors:
            reason = _fetch(f"{mirror}{file}.gz", digest, target / file)
            if reason is None:
                break
            reasons.append(f"{urlsplit(mirror).hostname}: {reason}")
        else:
            failed[file] = "; ".join(reasons)
            break  # without a network every file would wait for its own timeout
    return failed


def _fetch(url: str, digest: str, path: Path) -> str | None:
    """Download, unpack, verify, put in place; return the reason if that failed."""
    import pooch

    try:
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=path.parent) as scratch:
            packed = Path(scratch) / "packed"
            pooch.get_logger().info("Downloading %s", url)
            pooch.HTTPDownloader(timeout=_TIMEOUT)(url, str(packed), None)
            data = idx.read_bytes(packed)
            if idx.checksum(data) != digest:
                return "the checksum of the downloaded file is wrong"
            plain = Path(scratch) / "plain"
            with plain.open("wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(plain, path)
    except UserError:
        return "the downloaded file is damaged"
    except (OSError, ValueError) as error:  # requests' errors are OSErrors
        status = getattr(getattr(error, "response", None), "status_code", "")
        return f"{type(error).__name__} {status}".rstrip()
    return None
