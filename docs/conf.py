"""Sphinx: how the site is built from its sources. `make docs` runs it; nothing is fetched."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from docs.sitemaker.docstrings import names_of, read  # noqa: E402
from spikegrad.version import __version__  # noqa: E402

project = "spikegrad"
release = version = __version__
html_title = "spikegrad"
extensions = ["myst_nb", "sphinx.ext.autodoc"]

myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]
suppress_warnings: list[str] = []
smartquotes = False  # options begin with two hyphens
highlight_language = "none"
# Tutorials are executed at every build, in a folder of their own; an error ends the build.
nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 600
nb_output_stderr = "remove"  # kernels that are compiled at their first use say so
nb_merge_streams = True

# Without it every layer would repeat the text of torch about `forward` and `extra_repr`.
autodoc_inherit_docstrings = False
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
maximum_signature_line_length = 80
python_display_short_literal_types = True
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_favicon = str(ROOT / "docs" / "static" / "icon.svg")
html_static_path = [str(ROOT / "docs" / "static")]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_theme_options = {"top_of_page_buttons": []}
pygments_style = "friendly"
pygments_dark_style = "monokai"


def docstring(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """A docstring's plain text as reStructuredText."""
    lines[:] = read(lines, names_of(thing))


def setup(app: Any) -> None:
    """Connect the reading of docstrings."""
    app.connect("autodoc-process-docstring", docstring)
