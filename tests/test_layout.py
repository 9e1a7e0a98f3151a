"""The shape of the package: which room may import which, and how long a thing may grow.

The rules are those of docs/design.md, section 2, read from the sources by `ast`, never imported.
The second half feeds the checks synthetic sources, to show that each of them can fail.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from spikegrad.backends import folders

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "spikegrad"
MOST_FILE_LINES = 400
MOST_BODY_LINES = 60

# What stands on the left may import what stands on the right (and itself), nothing else.
BASE = {"errors", "version", "types", "checks", "backends", "ragged", "stages", "tracing"}
CHAIN = [
    "surrogate",
    "step",
    "analysis",
    "functional",
    "kernels",
    "nn",
    "neurons",
    "diagnose",
    "verify",
    "train",
    "compare",
    "cli",
]
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "version": set(),
    "backends": set(),
    "stages": {"errors"},
    "tracing": set(),
    "types": {"errors", "version"},
    "checks": {"errors", "version", "types"},
    "ragged": {"errors", "version", "types", "checks"},
    **{room: BASE | set(CHAIN[:i]) for i, room in enumerate(CHAIN)},
    "analysis": set(BASE),
    "data": set(BASE),
    "report": {"errors", "version"},
}
ALLOWED["train"] |= {"data", "report"}
ALLOWED["cli"] |= {"data", "report"}
BACKENDS = folders()
ROOT_MODULE = "__init__"  # the public names: may import any room
ALLOWED[ROOT_MODULE] = set(ALLOWED)
ALLOWED["__main__"] = {"cli"}

Sources = dict[str, str]  # path below the package -> text


def package_sources() -> Sources:
    """Every Python file of the package."""
    folder = ROOT / PACKAGE
    return {
        path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(folder.rglob("*.py"))
    }


def room_of(path: str) -> str:
    """`nn/lif.py` -> nn, `types.py` -> types."""
    first = path.split("/")[0]
    return first.removesuffix(".py")


def absolute_imports(path: str, tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Each import as (line, full dotted name), wherever in the file it stands."""
    here = [PACKAGE, *path.removesuffix(".py").split("/")][:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                yield node.lineno, f"{module}.{alias.name}"


def wrong_imports(sources: Sources) -> list[str]:
    """Arrows between rooms that the design does not have."""
    rooms = {room_of(path) for path in sources} | set(ALLOWED)
    found = []
    for path, text in sources.items():
        room = room_of(path)
        if room not in ALLOWED:
            found.append(f"{path}: the room {room!r} is not in docs/design.md")
            continue
        for line, name in absolute_imports(path, ast.parse(text)):
            parts = name.split(".")
            if parts[0] != PACKAGE:
                if room == "report" and parts[0] == "torch":
                    found.append(f"{path}:{line}: report imports torch")
                continue
            target = parts[1] if len(parts) > 1 and parts[1] in rooms else ROOT_MODULE
            if target != room and target not in ALLOWED[room]:
                found.append(f"{path}:{line}: {room} imports {target} ({name})")
    return found


def named_backends(sources: Sources) -> list[str]:
    """Layers that reach for one backend: `kernels` chooses."""
    found = []
    for path, text in sources.items():
        if room_of(path) not in ("nn", "neurons"):
            continue
        for line, name in absolute_imports(path, ast.parse(text)):
            if name.startswith(tuple(f"{PACKAGE}.kernels.{each}" for each in BACKENDS)):
                found.append(f"{path}:{line}: a layer imports {name}")
    return found


def module_of(path: str) -> str:
    """`nn/lif.py` -> spikegrad.nn.lif, `nn/__init__.py` -> spikegrad.nn."""
    return ".".join([PACKAGE, *path.removesuffix(".py").split("/")]).removesuffix(".__init__")


def on_import(tree: ast.Module) -> Iterator[ast.stmt]:
    """The imports that run when a file is imported: not in functions, not for type checkers."""
    todo: list[ast.stmt] = list(tree.body)
    while todo:
        node = todo.pop(0)
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            todo += node.orelse
        elif isinstance(node, ast.If | ast.Try | ast.With | ast.ClassDef):
            for part in ("body", "handlers", "orelse", "finalbody"):
                for inner in getattr(node, part, []):
                    todo += inner.body if isinstance(inner, ast.ExceptHandler) else [inner]


def imports_in_rooms(sources: Sources) -> dict[str, set[str]]:
    """By module: the modules of its own room that it imports on import.

    A name that a package offers counts as the package, whose `__init__` imports all it offers.
    """
    modules = {module_of(path): path for path in sources}
    found: dict[str, set[str]] = {}
    for module, path in modules.items():
        room = module.split(".")[:2]
        found[module] = set()
        for statement in on_import(ast.parse(sources[path])):
            for _, name in absolute_imports(path, statement):
                target = name if name in modules else name.rpartition(".")[0]
                if target in modules and target.split(".")[:2] == room and target != module:
                    found[module].add(target)
    return found


def circles(sources: Sources) -> list[str]:
    """Modules of one room that import one another in a circle, each circle once."""
    arrows = imports_in_rooms(sources)
    found = set()
    for first in arrows:
        ways = [[first]]
        seen = {first}
        while ways:
            way = ways.pop(0)
            for target in sorted(arrows[way[-1]]):
                if target == first:
                    least = way.index(min(way))
                    turned = [*way[least:], *way[:least]]
                    found.add(" -> ".join([*turned, turned[0]]))
                elif target not in seen:
                    seen.add(target)
                    ways.append([*way, target])
    return sorted(found)


def torch_modules(sources: Sources) -> set[str]:
    """Files that import torch by themselves."""
    return {
        path
        for path, text in sources.items()
        if any(name.split(".")[0] == "torch" for _, name in absolute_imports(path, ast.parse(text)))
    }


def autograd_functions(sources: Sources) -> list[str]:
    """Classes that subclass `torch.autograd.Function`, under any name it was imported by."""
    found = []
    for path, text in sources.items():
        tree = ast.parse(text)
        names = {"torch.autograd.Function", "torch.autograd.function.Function"}
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom | ast.Import):
                prefix = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
                for alias in node.names:
                    local, full = alias.asname or alias.name, prefix + alias.name
                    tails = {"torch": ".autograd.Function", "torch.autograd": ".Function",
                             "torch.autograd.Function": "",
                             "torch.autograd.function.Function": ""}  # fmt: skip
                    if full in tails:
                        names.add(local + tails[full])
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and any(ast.unparse(b) in names for b in node.bases):
                found.append(f"{path}:{node.lineno}: {node.name}")
    return found


def too_long(sources: Sources) -> list[str]:
    """Files and function bodies beyond the limits; a docstring does not count as body."""
    found = []
    for path, text in sources.items():
        lines = text.count("\n")
        if lines > MOST_FILE_LINES:
            found.append(f"{path}: {lines} lines, at most {MOST_FILE_LINES}")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body
                if ast.get_docstring(node) is not None:
                    body = body[1:]
                length = (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0
                if length > MOST_BODY_LINES:
                    found.append(f"{path}:{node.lineno}: {node.name} has {length} lines")
    return found


# Put together here so that this file does not contain them.
MACHINE_PATH = re.compile(r"(?<![\w./-])/" + r"work(?=[/\s\"'`),;:]|$)", re.MULTILINE)
OUTSIDE = "../" + "shared"
HOSTS = [".".join(parts) for parts in (("pypi", "org"), ("pythonhosted", "org"), ("npmjs", "com"))]


def forbidden_words(path: str, text: str) -> list[str]:
    """Paths of one machine and hosts of package registries in a tracked file."""
    found = [f"{path}: a path of one machine ({m.group()!r})" for m in MACHINE_PATH.finditer(text)]
    if OUTSIDE in text and path != ".ci/run":
        found.append(f"{path}: {OUTSIDE}")
    return found + [f"{path}: {host}" for host in HOSTS if host in text]


def tracked_files() -> list[str]:
    """What git tracks; a source archive without git has nothing to check."""
    try:
        listing = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no git here: this is no clone")
    return [name for name in listing.split("\0") if name and (ROOT / name).is_file()]


def test_imports_point_one_way():
    assert wrong_imports(package_sources()) == []


def test_layers_name_no_backend():
    assert named_backends(package_sources()) == []
    wrong = {"nn/lif.py": "from spikegrad.kernels import cpu", "kernels/a.py": "import torch"}
    assert named_backends(wrong) == ["nn/lif.py:1: a layer imports spikegrad.kernels.cpu"]


def test_modules_of_a_room_import_one_another_in_no_circle():
    assert circles(package_sources()) == []


def test_report_and_what_it_imports_know_no_torch():
    sources = package_sources()
    reach = {path for path in sources if room_of(path) in {"report", *ALLOWED["report"]}}
    assert reach & torch_modules(sources) == set()
    assert "report/__init__.py" in reach


def test_report_can_be_imported_where_there_is_no_torch():
    # The package's own __init__ needs torch for the layers it offers: an empty one stands in.
    code = (
        "import sys, types\n"
        "sys.modules['torch'] = None\n"
        f"package = types.ModuleType({PACKAGE!r})\n"
        f"package.__path__ = [{str(ROOT / PACKAGE)!r}]\n"
        f"sys.modules[{PACKAGE!r}] = package\n"
        f"import {PACKAGE}.report\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_there_is_exactly_one_autograd_function():
    """One that defines a gradient; an operator's may be called on a shorter way than torch's."""
    defining, shorter = [], []
    for place in autograd_functions(package_sources()):
        (shorter if place.startswith("kernels/cpu/") else defining).append(place)
    assert len(defining) == 1, defining
    assert defining[0].startswith("surrogate/")
    assert [place.split(":")[0] for place in shorter] == ["kernels/cpu/eager.py"]


def test_files_and_functions_stay_short():
    assert too_long(package_sources()) == []


def test_tracked_files_name_no_machine():
    found = []
    for name in tracked_files():
        try:
            text = (ROOT / name).read_text(encoding="utf-8")
        except UnicodeDecodeError:  # a picture or an archive
            continue
        found += forbidden_words(name, text)
    assert found == []


# The checks can fail.


@pytest.mark.parametrize(
    ("path", "line", "arrow"),
    [
        ("functional/lif.py", "from spikegrad.nn import LIF", "functional imports nn"),
        ("functional/lif.py", "from ..nn.lif import LIF", "functional imports nn"),
        ("surrogate/spike.py", "import spikegrad.kernels.dispatch", "surrogate imports kernels"),
        ("nn/lif.py", "def f():\n    from spikegrad import train", "nn imports train"),
        ("data/load.py", "from spikegrad.nn import Linear", "data imports nn"),
        ("diagnose/flow.py", "from spikegrad import report", "diagnose imports report"),
        ("report/read.py", "from spikegrad.train import fit", "report imports train"),
        ("diagnose/flow.py", "from spikegrad.train.loop import fit", "diagnose imports train"),
        ("report/raster.py", "from spikegrad.checks import rank", "report imports checks"),
        ("report/raster.py", "import torch.nn", "report imports torch"),
        ("nn/lif.py", "from spikegrad import LIF", "nn imports __init__"),
        ("errors.py", "from spikegrad.types import Reset", "errors imports types"),
        ("attic/old.py", "x = 1", "the room 'attic' is not in docs/design.md"),
    ],
)
def test_an_arrow_that_points_back_is_found(path, line, arrow):
    every = {f"{room}/__init__.py": "" for room in [*CHAIN, "data", "report"]}
    sources = {**every, "types.py": "", "checks.py": "", "errors.py": "", path: line}
    found = wrong_imports(sources)
    assert len(found) == 1
    assert arrow in found[0]


def test_arrows_of_the_design_are_accepted():
    sources = {
        "__init__.py": "from spikegrad.nn import LIF",
        "nn/lif.py": "from spikegrad.functional import lif\nfrom . import base\nimport torch",
        "nn/base.py": "from ..types import LIFState\nfrom spikegrad import functional",
        "functional/__init__.py": "from spikegrad.surrogate import spike",
        "surrogate/__init__.py": "",
        "types.py": "",
        "cli/main.py": "from spikegrad.report import write_pictures\nimport spikegrad.data",
        "report/__init__.py": "from spikegrad.errors import UserError",
        "data/__init__.py": "",
        "errors.py": "",
    }
    assert wrong_imports(sources) == []


def test_a_circle_in_a_room_is_found():
    two = {
        "nn/a.py": "from spikegrad.nn.b import B",
        "nn/b.py": "try:\n    from . import a\nexcept ImportError:\n    pass",
        "nn/__init__.py": "from spikegrad.nn.a import A",
    }
    assert circles(two) == ["spikegrad.nn.a -> spikegrad.nn.b -> spikegrad.nn.a"]
    of_room = {
        "nn/__init__.py": "from spikegrad.nn.a import A",
        "nn/a.py": "from spikegrad.nn import B",
    }
    assert circles(of_room) == ["spikegrad.nn -> spikegrad.nn.a -> spikegrad.nn"]
    late = {
        "nn/a.py": "from spikegrad.nn.b import B",
        "nn/b.py": "def f():\n    from spikegrad.nn.a import A",
        "nn/c.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .a import A",
        "nn/d.py": "from spikegrad.nn import c",
    }
    assert circles(late) == []


@pytest.mark.parametrize(
    "text",
    [
        "import torch\nclass A(torch.autograd.Function): pass",
        "from torch.autograd import Function\nclass A(Function): pass",
        "from torch.autograd import Function as F\nclass A(F): pass",
        "from torch import autograd\nclass A(autograd.Function): pass",
        "import torch as t\nclass A(t.autograd.Function): pass",
    ],
)
def test_a_second_autograd_function_is_found(text):
    assert len(autograd_functions({"surrogate/a.py": text, "nn/b.py": text})) == 2
    assert autograd_functions({"a.py": "class Function: pass\nclass B(Function): pass"}) == []


def test_long_files_and_functions_are_found():
    body = "    x = 1\n" * (MOST_BODY_LINES + 1)
    assert len(too_long({"a.py": "def f():\n" + body})) == 1
    assert too_long({"a.py": 'def f():\n    """Doc\n' + "\n" * 99 + '"""\n    return 1\n'}) == []
    assert len(too_long({"a.py": "\n" * (MOST_FILE_LINES + 1)})) == 1


def test_forbidden_words_are_found():
    machine = "/" + "work/main/x"
    assert forbidden_words("a.md", f"see {machine}") != []
    assert forbidden_words("a.md", f'"{machine}"') != []
    assert forbidden_words("a.md", "frame/work/x, teamwork, /workshop, http://a.b/work/x") == []
    assert forbidden_words("a.md", f"export X={OUTSIDE}/data") != []
    assert forbidden_words(".ci/run", f"export X={OUTSIDE}/data") == []
    assert forbidden_words("a.md", f"https://{HOSTS[0]}/simple") != []
