"""From the content of a page to one HTML file that needs nothing else.

Nothing that a user named can be executed: texts become text nodes in the page's script, the content
is JSON whose `<`, `>` and `&` are escapes, and a content security policy admits the two scripts by
their digests alone, and no connection.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from spikegrad.errors import RunError, UserError, message
from spikegrad.report.page.comparison import comparison_content, is_comparison, runs_of
from spikegrad.report.page.run import run_content

__all__ = ["html", "plain_json", "write_page", "write_report"]

ASSETS = Path(__file__).with_name("assets")
ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def write_report(run: str | Path) -> Path:
    """Write `report.html` of a run, or of a comparison: one file with everything, opened offline.

    A run that is in training, or was broken off, gets a page of what there is.

    Args:
        run: the run folder, or the folder of a comparison.
    Returns:
        the path of the page, which is written whole or not at all.
    Raises:
        UserError: no run folder, or a damaged file in it; an older page stays as it is.
        RunError: the page cannot be written.

    >>> write_report("no/such/run")
    Traceback (most recent call last):
        ...
    spikegrad.errors.UserError: expected a run folder, got no/such/run, which does not exist; ...
    """
    content = comparison_content(run) if is_comparison(run) else run_content(run)
    return write_page(content, Path(run) / "report.html")


def write_runs(folder: str | Path) -> tuple[list[Path], list[str]]:
    """Write the pages of the runs of a comparison, and then its own, which leads to them.

    Returns:
        the paths, that of the comparison last; and a line for each run that has no page, with the
        reason.
    Raises:
        UserError: no comparison, no results in it yet, or a damaged file.
        RunError: a page cannot be written.
    """
    if not is_comparison(folder):
        remedy = "a run has one page alone: omit --runs"
        raise UserError(message("expected the folder of a comparison", str(folder), remedy))
    done, left = [], []
    for run in runs_of(folder):
        try:
            done.append(write_report(run))
        except UserError as error:
            left.append(f"{run}: no page: {error}")
    return [*done, write_report(folder)], left


def write_page(content: dict[str, Any], path: Path) -> Path:
    """Write a page, whole or not at all.

    content: what `run_content` and its siblings return.
    """
    text = html(content)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise RunError(message(f"expected to write {path}", error.strerror or str(error))) from None
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return path


def html(content: dict[str, Any], *, live: bool = False) -> str:
    """The page as text. live: it asks the server it came from for new content."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    page = Environment(autoescape=True, undefined=StrictUndefined).from_string(asset("page.html"))
    return page.render(
        title=content["title"],
        subtitle=content["subtitle"],
        version=content["version"],
        policy=policy(live),
        style=Markup(asset("style.css")),
        data=Markup(escaped({**content, "live": live})),
        library=Markup(library()),
        script=Markup(script()),
    )


def escaped(content: Any) -> str:
    """JSON that no HTML parser takes for the end of its element, or for another one.

    >>> escaped({"name": "</script><b>"})
    '{"name":"\\\\u003c/script\\\\u003e\\\\u003cb\\\\u003e"}'
    """
    text = plain_json(content)
    for character, escape in ESCAPES.items():
        text = text.replace(character, escape)
    return text


def plain_json(content: Any) -> str:
    """JSON without blanks."""
    return json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


@cache
def asset(name: str) -> str:
    """A file that comes with the package."""
    return (ASSETS / name).read_text(encoding="utf-8")


@cache
def script() -> str:
    """The page's own script: its files in their order, in one scope of its own."""
    parts = [asset(path.name) for path in sorted(ASSETS.glob("*.js"))]
    return '"use strict";\n(() => {\n' + "\n".join(parts) + "\n})();\n"


@cache
def library() -> str:
    """The text of plotly.js, which comes with plotly for Python; plotly itself is not imported."""
    found = find_spec("plotly")
    places = list(found.submodule_search_locations or ()) if found is not None else []
    for place in places:
        path = Path(place) / "package_data" / "plotly.min.js"
        if path.is_file():
            # An element of a script ends at this word, wherever it stands.
            return path.read_text(encoding="utf-8").replace("</script", "<\\/script")
    remedy = "install it with: pip install plotly"
    raise UserError(message("expected plotly.js from the package plotly", "none", remedy))


@cache
def policy(live: bool) -> str:
    """What the page may do: run its own scripts, and where it is live ask its server."""
    digests = " ".join(f"'sha256-{digest(text)}'" for text in (library(), script()))
    connect = "'self'" if live else "'none'"
    return (
        f"default-src 'none'; script-src {digests}; style-src 'unsafe-inline'; "
        f"img-src data: blob:; connect-src {connect}; base-uri 'none'; form-action 'none'"
    )


def digest(text: str) -> str:
    """The digest of an inline script as a policy names it."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
