"""The names of the backends, known without torch: a config is read and help printed before it."""

from __future__ import annotations

from pathlib import Path

__all__ = ["NAMES", "folders"]


def folders() -> list[str]:
    """The folders of `kernels` that are a backend: those with a module `backend`."""
    return sorted(
        path.parent.name for path in (Path(__file__).parent / "kernels").glob("*/backend.py")
    )


NAMES: list[str] = ["auto", "reference", *folders()]
"""What `backend=` may be; `kernels.register` adds to it."""
