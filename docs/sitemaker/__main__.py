"""`python -m docs.sitemaker FOLDER`: build the site; a warning is an error."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from sphinx.cmd.build import main as sphinx

from docs.sitemaker.links import ROOT
from docs.sitemaker.stage import stage


def main(folder: Path) -> int:
    """Write the sources beside the folder and the site into it; the status of Sphinx."""
    sources = folder.with_name(folder.name + "-source")
    shutil.rmtree(folder, ignore_errors=True)
    stage(sources)
    strict = ["--fail-on-warning", "--keep-going", "--quiet", "--jobs", "auto"]
    state = folder.with_name(folder.name + "-state")
    shutil.rmtree(state, ignore_errors=True)
    where = ["--conf-dir", str(ROOT / "docs"), "--doctree-dir", str(state)]
    return sphinx(["--builder", "html", *strict, *where, str(sources), str(folder)])


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("expected one folder; run: python -m docs.sitemaker build/site")
    sys.exit(main(Path(sys.argv[1]).resolve()))
