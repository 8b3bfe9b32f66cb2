"""Who may know whom: rooms import only what lies before them on the data's way; and the sizes of the house."""

import ast
import re
import subprocess
import sys
import tomllib
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import openmer

ROOT = Path(openmer.__file__).parent

# room -> rooms that it may import. A room is a folder or a module directly under openmer.
GROUND = {
    "choices",
    "clip",
    "errors",
    "facs",
    "files",
    "memory",
    "processes",
    "progress",
    "threads",
    "timeline",
    "version",
}
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "choices": set(),
    "version": set(),
    "facs": set(),
    "progress": {"errors"},
    "clip": {"errors"},
    "files": {"errors"},
    "processes": {"errors"},
    "memory": set(),
    "threads": {"errors"},
    "timeline": {"clip", "errors", "files"},
    "page": GROUND,
    "media": {"clip", "errors", "timeline"},
    "face": GROUND,
    "clips": GROUND | {"face"},
    "models": GROUND,
    "simulator": GROUND | {"clips", "face", "media"},
    "datasets": GROUND | {"clips", "face", "media", "simulator"},
    "training": GROUND | {"clips", "models"},
    "evaluation": GROUND | {"clips", "models", "page", "training"},
    "video": GROUND | {"clips", "face", "media", "models", "page"},
    "explain": GROUND | {"clips", "models", "page", "video"},
    "exchange": GROUND - {"clip", "facs"},
    "review": GROUND | {"evaluation", "exchange", "media", "page", "video"},
    "bench": GROUND | {"models"},
    "web": GROUND | {"exchange", "explain", "media", "models", "page", "review", "video"},
    "openmer": GROUND | {"exchange", "models", "video"},  # the short public list
}
ANYTHING = {"cli", "__main__"}

MAX_LINES, MAX_PARAMETERS = 500, 8


@cache
def modules() -> dict[str, Path]:
    """Dotted name below openmer -> file."""
    return {_dotted(path): path for path in sorted(ROOT.rglob("*.py"))}


def _dotted(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts) or "openmer"


def imported(path: Path, known: set[str]) -> set[str]:
    """The modules of openmer that a file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= {name if name.removeprefix("openmer.") in known else node.module for name in whole}
    return {name.removeprefix("openmer.") for name in names if name == "openmer" or name.startswith("openmer.")} & known


def room(module: str) -> str:
    return module.partition(".")[0]


def strangers(module: str, others: set[str]) -> set[str]:
    """The rooms among the imported modules that this one may not know."""
    return {room(other) for other in others} - {room(module)} - MAY_IMPORT[room(module)]


@pytest.mark.parametrize("module", [m for m in modules() if room(m) not in ANYTHING])
def test_imports_follow_the_rule(module: str) -> None:
    assert not strangers(module, imported(modules()[module], set(modules())))


def test_nobody_knows_the_command_line_and_the_page() -> None:
    assert not any({"cli", "web"} & allowed for allowed in MAY_IMPORT.values())


def test_the_rule_sees_an_import(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text(
        "from openmer.models.mol import MOL\nimport openmer.media.reader\nfrom openmer import cli\n"
        "def late():\n    from openmer.video import analyze\n"
    )
    others = imported(module, {*modules()})
    assert others == {"models.mol", "media.reader", "cli", "video.analyze"}
    assert strangers("models.mol", others) == {"media", "cli", "video"}


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Modules that import each other in a circle, or none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_no_circle_of_files() -> None:
    """Also none through imports inside of functions, or for types alone."""
    graph = {name: imported(path, set(modules())) - {name} for name, path in modules().items()}
    assert circle(graph) == []
    assert set(circle(graph | {"errors": {"cli"}})) >= {"errors", "cli"}, "one that is planted is found"


# Third-party modules whose names differ from those of their packages.
PACKAGES = {
    "av": "av",
    "PIL": "pillow",
    "cv2": "opencv-contrib-python-headless",
    "dlib": "dlib-bin",
    "face_recognition_models": "face-recognition-models",
    "sklearn": "scikit-learn",
    "skvideo": "scikit-video",
}
PROJECT = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]


def declared() -> set[str]:
    """The packages that this one needs, itself or by an extra, but for those of its development."""
    extras = PROJECT["optional-dependencies"]
    lists = [PROJECT["dependencies"], *(packages for extra, packages in extras.items() if extra not in ("dev", "docs"))]
    return {re.split(r"[^\w-]", requirement)[0] for requirements in lists for requirement in requirements}


def foreign(path: Path) -> set[str]:
    """The packages of others that a file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
    tops = {name.partition(".")[0] for name in names} - {"openmer"} - sys.stdlib_module_names
    return {PACKAGES.get(top, top) for top in tops}


def test_every_package_that_is_imported_is_declared() -> None:
    """Also one that another brings along: it might no longer do so."""
    undeclared = {name: foreign(path) - declared() for name, path in modules().items()}
    assert {name: packages for name, packages in undeclared.items() if packages} == {}


def test_an_undeclared_package_is_seen(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text("import os.path, cv2\nfrom .near import x\ndef late():\n    import requests.adapters\n")
    assert foreign(module) == {"opencv-contrib-python-headless", "requests"}
    assert foreign(module) - declared() == {"requests"}


def test_no_module_is_too_long() -> None:
    lines = {name: len(path.read_text().splitlines()) for name, path in modules().items()}
    assert {name: count for name, count in lines.items() if count > MAX_LINES} == {}


def many_parameters(path: Path) -> set[str]:
    functions = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.FunctionDef)]
    every = {f.name: [*f.args.posonlyargs, *f.args.args, *f.args.kwonlyargs] for f in functions}
    return {f for f, given in every.items() if len([a for a in given if a.arg not in ("self", "cls")]) > MAX_PARAMETERS}


def test_a_function_takes_at_most_eight_parameters() -> None:
    assert {f"{name}.{f}" for name, path in modules().items() for f in many_parameters(path)} == set()


def test_a_function_of_nine_parameters_is_seen(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text("def eight(a, b, c, d, e, f, g, h): ...\ndef nine(a, b, c, d, e, /, f, g, h, *, i): ...\n")
    assert many_parameters(module) == {"nine"}


def test_importing_the_package_loads_no_heavy_library() -> None:
    code = "import sys, openmer; print(sorted({'torch', 'cv2', 'av', 'dlib', 'matplotlib'} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_the_options_of_training_are_made_without_torch() -> None:
    code = "import sys, openmer.cli; print('torch' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"


def test_every_file_of_the_package_goes_into_the_wheel() -> None:
    """A template that lies in the tree alone works at home and nowhere else."""
    root = Path(__file__).parents[1]
    patterns = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["openmer"]
    package = root / "src" / "openmer"
    packed = {path for pattern in patterns for path in package.glob(pattern)}
    ours = {path for path in package.rglob("*") if path.is_file() and path.suffix != ".py"}
    ours = {path for path in ours if path.parent.name != "__pycache__"}
    assert sorted(str(path.relative_to(package)) for path in ours - packed) == []
