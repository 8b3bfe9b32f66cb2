"""Who may know whom: the tree's rooms import only what lies before them on the data's way."""

import ast
from pathlib import Path

import pytest

import openmer

ROOT = Path(openmer.__file__).parent

# room -> rooms it must not import. A room is a folder or a module directly under openmer.
FORBIDDEN: dict[str, set[str]] = {
    "clip": {"*"},
    "choices": {"*"},
    "timeline": {"*"},
    "facs": {"*"},
    "media": {"*"},
    "face": {"media", "models", "datasets", "training", "evaluation", "video", "simulator", "clips", "exchange"},
    "clips": {"models", "datasets", "training", "evaluation", "video", "simulator", "exchange"},
    "models": {"datasets", "training", "evaluation", "video", "simulator", "face", "clips", "exchange"},
    "simulator": {"models", "training", "evaluation", "video", "exchange"},
    "video": {"datasets", "training", "evaluation", "simulator", "exchange", "explain"},
    "explain": {"datasets", "training", "evaluation", "exchange", "simulator"},
    "datasets": {"video", "models", "training", "evaluation", "exchange"},
    "training": {"evaluation", "video", "simulator", "face", "exchange"},
    "evaluation": {"video", "simulator", "face", "exchange"},
    "exchange": {
        "models",
        "datasets",
        "training",
        "evaluation",
        "video",
        "simulator",
        "face",
        "clips",
        "clip",
        "facs",
    },
    "page": {"models", "datasets", "training", "evaluation", "video", "simulator", "face", "clips"},
    "progress": {"models", "datasets", "training", "evaluation", "video", "simulator", "face", "clips"},
    "threads": {"*"},
    "files": {"models", "datasets", "training", "evaluation", "video", "simulator", "face", "clips"},
}
EVERYBODY = {"cli", "web", "__main__"}
ALLOWED_EVEN_SO = {"choices", "errors", "clip"}


def _imported_rooms(path: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{a.name}" for a in node.names] if node.module == "openmer" else [node.module]
        rooms |= {n.split(".")[1] for n in names if n.startswith("openmer.")}
    return rooms


def _modules() -> list[Path]:
    return sorted(ROOT.rglob("*.py"))


@pytest.mark.parametrize("path", _modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_follow_the_rule(path: Path) -> None:
    room = path.relative_to(ROOT).parts[0].removesuffix(".py")
    imported = _imported_rooms(path) - {room}
    if room not in {"cli", "web", "__main__"}:
        assert not imported & EVERYBODY
    forbidden = FORBIDDEN.get(room, set())
    if "*" in forbidden:
        assert imported <= ALLOWED_EVEN_SO
    else:
        assert not imported & forbidden


def test_the_rule_sees_an_import(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text("from openmer.models.mol import MOL\nimport openmer.media.reader\nfrom openmer import cli\n")
    assert _imported_rooms(module) == {"models", "media", "cli"}


def test_importing_the_package_loads_no_heavy_library() -> None:
    import subprocess
    import sys

    code = "import sys, openmer; print(sorted({'torch', 'cv2', 'av', 'dlib', 'matplotlib'} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
