"""Reading the IDX files of MNIST and its likes, gzipped or not, and refusing what is not one.

Format (LeCun, Cortes & Burges): two zero bytes, a byte for the type (8: uint8), a byte for the
rank, one big-endian uint32 per dimension, then the values, last dimension fastest.
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from pathlib import Path

import numpy as np

from spikegrad.errors import UserError, message

__all__ = ["check_pair", "checksum", "parse_images", "parse_labels", "read_bytes"]

_KINDS = {0x803: "images", 0x801: "labels"}
_GZIP_MAGIC = b"\x1f\x8b"


def read_bytes(path: Path) -> bytes:
    """Return the unpacked content of a file; gzip is recognised by its magic, not by its name.

    Raises:
        UserError: a file that is missing, unreadable, empty, or a gzip stream that is damaged.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a.gz"
    >>> _ = path.write_bytes(gzip.compress(b"abc"))
    >>> read_bytes(path)
    b'abc'
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(message("expected a readable file", f"{path}: {error.strerror}")) from None
    if data.startswith(_GZIP_MAGIC):
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            remedy = "the file is truncated or damaged; get a complete copy of it"
            raise UserError(
                message("expected a complete gzip file", f"{path}: {error}", remedy)
            ) from None
    if not data:
        raise UserError(
            message("expected an IDX file", f"{path}: empty", "get a complete copy of it")
        )
    return data


def checksum(data: bytes) -> str:
    """The SHA-256 of unpacked bytes, in hexadecimal.

    >>> checksum(b"")[:8]
    'e3b0c442'
    """
    return hashlib.sha256(data).hexdigest()


def parse_images(data: bytes, path: Path) -> np.ndarray:
    """Read uint8 images `[N, H, W]` from unpacked bytes; `path` is what errors name.

    Raises:
        UserError: another magic number (labels, another type), or more or fewer bytes than the
            header announces.

    >>> head = bytes([0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2])
    >>> parse_images(head + bytes([7, 9]), Path("a")).tolist()
    [[[7, 9]]]
    """
    return _parse(data, path, 0x803)


def parse_labels(data: bytes, path: Path, classes: int = 10) -> np.ndarray:
    """Read labels, int64 `[N]`, from unpacked bytes; each must be below `classes`.

    Raises:
        UserError: as `parse_images`, or a label out of range.

    >>> parse_labels(bytes([0, 0, 8, 1, 0, 0, 0, 2, 3, 4]), Path("a")).tolist()
    [3, 4]
    """
    labels = _parse(data, path, 0x801)
    if labels.max() >= classes:
        where = int(labels.argmax())
        got = f"label {labels[where]} at {where} in {path}"
        raise UserError(
            message(f"expected labels in 0..{classes - 1}", got, "get a complete copy of it")
        )
    return labels.astype(np.int64)


def check_pair(images: np.ndarray, labels: np.ndarray, paths: tuple[Path, Path]) -> None:
    """Refuse images and labels whose numbers disagree.

    >>> check_pair(np.zeros((2, 1, 1)), np.zeros(2), (Path("a"), Path("b")))
    """
    if len(images) != len(labels):
        got = f"{len(images)} images in {paths[0]} and {len(labels)} labels in {paths[1]}"
        remedy = "the files belong to different sets or parts"
        raise UserError(message("expected as many labels as images", got, remedy))


def _parse(data: bytes, path: Path, magic: int) -> np.ndarray:
    rank = magic & 0xFF
    want = f"expected IDX {_KINDS[magic]} (magic 0x{magic:08x})"
    header = 4 + 4 * rank
    found = int.from_bytes(data[:4], "big")
    if found in _KINDS and found != magic:
        remedy = "a file is mislabelled, or images and labels are swapped"
        raise UserError(message(want, f"{_KINDS[found]} (0x{found:08x}) in {path}", remedy))
    if len(data) < 4 or found != magic:
        got = f"0x{data[:4].hex()} at the start of {path}"
        raise UserError(message(want, got, "give an IDX file; other arrays can be .npy or .npz"))
    if len(data) < header:
        got = f"{len(data)} bytes in {path}"
        raise UserError(
            message(f"expected a header of {header} bytes", got, "get a complete copy of it")
        )
    shape = tuple(np.frombuffer(data, ">u4", rank, 4).tolist())
    size = header
    count = 1
    for n in shape:
        count *= n  # Python integers: a forged header cannot overflow
    size += count
    if count == 0:
        got = f"shape {list(shape)} in {path}"
        raise UserError(message("expected at least one value", got, "get a complete copy of it"))
    if len(data) != size:
        kind = "truncated" if len(data) < size else "followed by other bytes"
        got = f"{len(data)} in {path}"
        remedy = f"the file is {kind}; get a complete copy of it"
        raise UserError(message(f"expected {size} bytes for shape {list(shape)}", got, remedy))
    return np.frombuffer(data, np.uint8, count, header).reshape(shape)
