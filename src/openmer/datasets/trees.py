"""Trees of frames on disk: found by the names of their folders, wherever they were unpacked."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from openmer.datasets.workbook import DEPTH, entries
from openmer.errors import InputError
from openmer.media.folder import IMAGE_SUFFIXES, frame_number, picture_numbers

Frames = Literal["raw", "cropped"]
Clips = Iterable[tuple[str, str, Path]]  # subject, name, folder


@dataclass(frozen=True)
class Tree:
    """A tree of frames: folders by (subject, name), both as `key_of` returns them.

    Attributes:
        root: of the tree.
        frames: of what kind.
        folders: of each recording, the first in order of its path.
        more: where several folders could be meant, the others.
    """

    root: Path
    frames: Frames
    folders: Mapping[tuple[str, str], Path]
    more: Mapping[tuple[str, str], tuple[Path, ...]] = field(default_factory=dict)


def key_of(subject: str, name: str) -> tuple[str, str]:
    """Case does not matter."""
    return subject.lower(), name.lower()


def find_trees(root: Path, child: str, *, depth: int = DEPTH) -> list[Path]:
    """Folders at most `depth` below that have sub-folders whose full names match `child`, ignoring case.

    A match is not searched further.
    """
    pattern = re.compile(child, re.IGNORECASE)
    trees, level = [], [root]
    for _ in range(depth + 1):
        following: list[Path] = []
        for folder in level:
            children = _subfolders(folder)
            if any(pattern.fullmatch(c.name) for c in children):
                trees.append(folder)
            else:
                following += children
        level = following
    return trees


def matching(folder: Path, pattern: str) -> list[tuple[re.Match[str], Path]]:
    """Sub-folders whose full names match, with the match."""
    matches = ((re.fullmatch(pattern, p.name, re.IGNORECASE), p) for p in _subfolders(folder))
    return [(m, p) for m, p in matches if m is not None]


def _subfolders(folder: Path) -> list[Path]:
    return entries(folder)[1]


def nested(levels: Sequence[str]) -> Callable[[Path], Clips]:
    """A function that finds the recordings of a tree by the names of its folders, level by level.

    Args:
        levels: patterns of full names, ignoring case; their groups `subject` and `name` say which recording the folder
            of the last level holds. Of a group in two levels, the deeper one counts.
    """

    def clips(root: Path, depth: int = 0, **above: str) -> Iterator[tuple[str, str, Path]]:
        for match, folder in matching(root, levels[depth]):
            names = {**above, **match.groupdict()}
            if depth + 1 < len(levels):
                yield from clips(folder, depth + 1, **names)
            else:
                yield names["subject"], names["name"], folder

    return clips


def tree_of(root: Path, clips: Callable[[Path], Clips], *, called: Path | None = None) -> Tree:
    """A tree from (subject, name, folder) of all its recordings.

    Args:
        root: of the tree.
        clips: finds the recordings in it.
        called: the folder whose name says whether faces are cropped, if it is not `root`.
    """
    folders, more = by_recording((key_of(subject, name), path) for subject, name, path in clips(root))
    first = next(iter(folders.values()), None)
    return Tree(root, "cropped" if is_cropped(called or root, first) else "raw", folders, more)


def by_recording(
    found: Iterable[tuple[tuple[str, str], Path]],
) -> tuple[dict[tuple[str, str], Path], dict[tuple[str, str], tuple[Path, ...]]]:
    """The folder of each recording, in the order in which it was found; and the others of those that have several."""
    each: dict[tuple[str, str], list[Path]] = {}
    for key, path in found:
        if path not in (known := each.setdefault(key, [])):
            known.append(path)
    first = {key: min(paths) for key, paths in each.items()}
    return first, {key: tuple(sorted(paths)[1:]) for key, paths in each.items() if len(paths) > 1}


def is_cropped(tree: Path, first: Path | None) -> bool:
    """Judged by the folder's own name or by pictures called `reg_...`; names above it may be the user's."""
    if re.search("crop", tree.resolve().name, re.IGNORECASE):
        return True
    return first is not None and any(p.name.startswith("reg_") for p in first.iterdir())


def frame_files(folder: Path) -> dict[int, Path]:
    """Pictures by their numbers, as they are read; files that are not frames are left out."""
    return {number: path for path, number in numbered(folder)[0] if number is not None}


def numbered(folder: Path) -> tuple[list[tuple[Path, int | None]], str]:
    """All pictures, in the order of their names, with their number as frames; and why they cannot be read, if so."""
    images = [path for path in entries(folder)[0] if path.suffix.lower() in IMAGE_SUFFIXES]
    try:
        numbers: dict[Path, int] = picture_numbers(images, folder)
    except InputError as error:
        return [(path, frame_number(path)) for path in images], str(error)
    return [(path, numbers.get(path)) for path in images], ""


def listing(root: Path) -> str:
    """The folders that `root` holds, for messages."""
    names = [p.name for p in _subfolders(root)]
    listed = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    return f"it holds the folders {listed}" if names else "it holds no folders"
