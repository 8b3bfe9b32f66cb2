"""The documents do what they say: Python blocks run, commands exist, links lead somewhere, the reference is whole."""

import fnmatch
import functools
import inspect
import re
import shlex
import shutil
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import tyro

import openmer
from footage import smirk, write_video
from openmer import Interval, Timeline
from openmer.cli import VERBS
from openmer.cli.options import joined
from openmer.datasets.simulated import SimulatedClips, prepare_simulated
from openmer.exchange.elan import to_elan
from terminal import run

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("*/README.md")])
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
COMMANDS: dict[str, Callable[..., Any]] = {verb.__name__.replace("_", "-"): verb for verb in VERBS}
PROGRAM = re.compile(r"^(?:\.venv/bin/|python -m )?openmer +(.+)$")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, *languages: str) -> Iterator[tuple[int, str]]:
    """(line, content) of the fenced blocks in these languages."""
    text = page.read_text()
    for match in FENCE.finditer(text):
        if match[1] in languages:
            yield text[: match.start(2)].count("\n"), match[2]


WITH_PYTHON = [page for page in PAGES if any(blocks(page, "python"))]


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What pages speak of as being there: a video, annotations of it, a store of clips."""
    shelf = tmp_path_factory.mktemp("shelf")
    write_video(shelf / "talk.mp4", smirk(30, 0.3, 0.3, 2.0, 0.9), 30)
    marked = Interval(label="micro", onset_s=0.3, apex_s=0.45, offset_s=0.6)
    (shelf / "talk-by-hand.eaf").write_bytes(to_elan(Timeline(intervals=(marked,), start_s=0.0, end_s=0.9)))
    prepare_simulated(shelf / "store", SimulatedClips(subjects=2, samples=2, seed=5))
    return shelf


@pytest.mark.parametrize("page", WITH_PYTHON, ids=name_of)
def test_python_blocks_run(page: Path, shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All blocks of a page one after the other, as a reader would paste them."""
    shutil.copytree(shelf, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "page"}
    for line, block in blocks(page, "python"):
        exec(compile("\n" * line + block, name_of(page), "exec"), names)


def commands(page: Path) -> Iterator[tuple[int, list[str]]]:
    """(line, words after `openmer`) of every command in a fenced block of a shell, comments left away."""
    for line, block in blocks(page, "", "sh", "bash", "console"):
        for number, text in enumerate(block.replace("\\\n", "  ").splitlines(), start=line + 1):
            found = PROGRAM.match(text.strip())
            if found:
                yield number, shlex.split(found[1], comments=True)


def understood(words: list[str]) -> None:
    """Through the verb's real parser, without running it."""
    verb = COMMANDS[words[0]]

    @functools.wraps(verb)
    def parsed(*_: Any, **__: Any) -> None: ...

    tyro.cli(parsed, args=words[1:], prog=f"openmer {words[0]}")


@pytest.mark.parametrize("page", [p for p in PAGES if any(commands(p))], ids=name_of)
def test_commands_are_understood(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for line, words in commands(page):
        if words[0].startswith("-") or "--help" in words:
            assert words[-1] in ("--help", "--version") and {*words[:-1]} <= {*COMMANDS}
            continue
        try:
            understood(words)
        except (SystemExit, KeyError):
            pytest.fail(f"{name_of(page)}, line {line}: openmer {shlex.join(words)}\n{capsys.readouterr()}")


@pytest.mark.parametrize(
    "words", ["analyse talk.mp4 --out x", "analyze talk.mp4 --ou x", "train s --out x --steps many"]
)
def test_a_wrong_command_is_seen(words: str) -> None:
    with pytest.raises((SystemExit, KeyError)):
        understood(words.split())


def test_a_verb_that_is_none_gets_a_short_answer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "analyse", "talk.mp4") == 1
    assert "there is no command 'analyse'; perhaps analyze? openmer --help lists them" in capsys.readouterr().err


def test_examples_in_the_help_are_understood() -> None:
    lines = [line.strip() for verb in VERBS for line in (verb.__doc__ or "").splitlines()]
    found = [shlex.split(match[1]) for match in map(PROGRAM.match, lines) if match]
    assert len(found) > 30
    for words in found:
        understood(words)


def test_no_option_is_described_twice() -> None:
    """Neither by two settings classes, nor by one and a verb; what verbs alone say of their own files may recur."""
    hints = [hint for verb in VERBS for hint in get_type_hints(verb).values() if isinstance(hint, type)]
    classes = {each for hint in hints for each in inspect.getmro(hint) if is_dataclass(each)}
    every = [(words, each in classes) for each in (*classes, *VERBS) for words in described(each.__doc__ or "")]
    of_settings = {words for words, is_setting in every if is_setting}
    twice = {words: count for words, count in Counter(words for words, _ in every).items() if count > 1}
    assert len(of_settings) > 50 and not of_settings & twice.keys()


def described(docstring: str) -> set[tuple[str, str]]:
    """(option, its description) of a docstring."""
    return set(re.findall(r"^ +(\w+): (.+)$", joined(docstring), re.MULTILINE))


def options_of(verb: str, capsys: pytest.CaptureFixture[str]) -> set[str]:
    """Those that its help lists."""
    with pytest.raises(SystemExit):
        understood([verb, "--help"])
    return set(re.findall(r"--[a-z][a-z-]*", capsys.readouterr().out))


@pytest.mark.parametrize("verb", COMMANDS)
def test_help_names_what_can_be_given(
    verb: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, verb, "--help") == 0
    assert "{None}" not in capsys.readouterr().out


def test_help_has_the_line_breaks_of_the_terminal_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the source there is one before `file`."""
    assert run(monkeypatch, "analyze", "--help") == 0
    assert "or a .safetensors or .onnx file. (default: mol-lite)" in capsys.readouterr().out


def test_options_in_the_text_exist(capsys: pytest.CaptureFixture[str]) -> None:
    """Inline code such as `openmer loso --protocol` or `openmer analyze --engine FILE`."""
    for page in PAGES:
        for verb, rest in re.findall(r"`openmer ([a-z][a-z-]*)((?: [^`]*)?)`", FENCE.sub("", page.read_text())):
            assert verb in COMMANDS, f"{name_of(page)}: openmer {verb}"
            named = set(re.findall(r"--[a-z][a-z-]*", rest))
            if named:
                unknown = named - options_of(verb, capsys)
                assert not unknown, f"{name_of(page)}: openmer {verb} has no {unknown}"


def test_links_lead_to_files() -> None:
    for page in PAGES:
        text = FENCE.sub("", page.read_text())
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if not re.match(r"[a-z]+:|#", target):
                assert (page.parent / target.partition("#")[0]).exists(), f"{name_of(page)}: {target}"


def test_the_tree_names_what_is_there() -> None:
    """A line a file: a path at the margin, or one below src/openmer."""
    (tree,) = (b for _, b in blocks(ROOT / "CONTRIBUTING.md", "") if b.startswith("src/openmer/"))
    for line in tree.splitlines():
        folder = ROOT / "src/openmer" if line.startswith(" ") else ROOT
        path = folder / line.split()[0]
        assert path.exists(), line
        for beside in re.findall(r"\b(\w+\.py)\b", line.partition(path.name)[2]):
            assert (path.parent / beside).exists() or (path / beside).exists(), line


def test_make_targets_and_scripts_that_pages_name_are_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        for _, block in blocks(page, "", "sh", "bash"):
            assert set(re.findall(r"^make ([a-z-]+)", block, re.MULTILINE)) <= targets, name_of(page)
        for script in re.findall(r"python ((?:benchmarks|examples|tools)/\w+\.py)", page.read_text()):
            assert (ROOT / script).is_file(), f"{name_of(page)}: {script}"


def test_what_is_installed_is_an_extra_of_a_checkout() -> None:
    """OpenMER is on no package index: `pip install openmer` would install something else or nothing."""
    extras = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    for page in PAGES:
        for _, block in blocks(page, "", "sh", "bash"):
            for line in re.findall(r"pip install (.+)", block):
                found = re.fullmatch(r"-c constraints\.txt -e '\.\[([a-z,]+)\]'", line)
                assert found and set(found[1].split(",")) <= extras, f"{name_of(page)}: {line}"


def test_every_block_is_python_or_a_terminal_or_shows_something() -> None:
    """So none escapes the tests above: blocks in lists would not be seen by them, nor those in another language."""
    for page in PAGES:
        text = page.read_text()
        assert not re.search(r"^[ \t]+```|^~~~", text, re.MULTILINE), name_of(page)
        assert {match[1] for match in FENCE.finditer(text)} <= {"", "python", "sh"}, name_of(page)


def test_the_reference_has_the_whole_short_list() -> None:
    listed = set(re.findall(r"^::: openmer\.(\w+)$", (ROOT / "docs/api/openmer.md").read_text(), re.MULTILINE))
    assert listed == {name for name in openmer.__all__ if name != "__version__"}


def test_every_module_that_is_not_the_command_line_or_the_page_is_in_the_reference() -> None:
    package = ROOT / "src/openmer"
    text = "\n".join(p.read_text() for p in (ROOT / "docs/api").glob("*.md"))
    rooms = {p.parent.name for p in package.glob("*/*.py")} - {"cli", "web"}
    for path in (p for room in rooms for p in (package / room).glob("*.py") if p.name != "__init__.py"):
        dotted = ".".join(path.relative_to(package.parent).with_suffix("").parts)
        assert f"::: {dotted}\n" in text or path.name in INNER, dotted


# Parts of other modules, with nothing for others to call.
INNER = {"corrections.py", "workbook.py"}


def test_the_drawing_of_the_model_is_a_picture() -> None:
    text = (ROOT / "docs/images/model.svg").read_text()
    assert text.startswith("<?xml") and "</svg>" in text
    assert not re.findall(r'(?:href|src)="http', text), "it loads nothing"


def test_pages_of_files_at_the_root_hold_those_files() -> None:
    for name in ("conventions", "contributing", "security", "changelog"):
        assert (ROOT / f"docs/{name}.md").read_text() == f'--8<-- "{name.upper()}.md"\n'
        assert (ROOT / f"{name.upper()}.md").is_file()


def test_every_file_that_ships_has_a_row_with_its_licence() -> None:
    package = ROOT / "src/openmer"
    paths = (p for p in package.rglob("*") if p.is_file() and p.suffix != ".py" and p.parent.name != "__pycache__")
    files = {str(p.relative_to(package)) for p in paths}
    rows = re.findall(r"^\| (.+?) \|", (ROOT / "docs/licences.md").read_text().partition("## Needed")[0], re.MULTILINE)
    patterns = [pattern for row in rows for pattern in re.findall(r"`([^`]+)`", row)]
    shipped = {f: [p for p in patterns if fnmatch.fnmatchcase(f, p)] for f in files}
    assert [f for f, found in shipped.items() if not found] == []
    assert [p for p in patterns if not any(p in found for found in shipped.values())] == []


def test_what_is_said_of_a_version_is_of_this_one() -> None:
    for page, words in (("CITATION.cff", "version: {}\n"), ("README.md", "version {}."), ("CHANGELOG.md", "## {}")):
        assert words.format(openmer.__version__) in (ROOT / page).read_text(), page
