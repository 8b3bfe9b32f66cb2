"""Which videos are meant by files and folders, and what their results are called."""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from openmer.errors import InputError
from openmer.media.folder import IMAGE_SUFFIXES

VIDEO_SUFFIXES = frozenset(
    f".{name}"
    for name in (
        *("mp4", "m4v", "mov", "avi", "mkv", "webm", "mpg", "mpeg", "mts", "m2ts", "ts", "wmv", "asf", "flv", "3gp"),
        *("ogv", "vob", "mxf", "dv", "h264", "hevc", "mjpeg"),
    )
)
MAX_NAME_BYTES = 200  # file systems take 255, and temporary names are longer
BETWEEN = "__"  # between the names of folders and file in a result's name


@dataclass(frozen=True)
class FoundVideo:
    """A video that is to be analysed.

    Attributes:
        path: the file, or the folder of pictures.
        name: no two videos of a search have the same, not even where upper and lower case are one.
    """

    path: Path
    name: str


def holds_videos(path: Path, *, pictures: bool) -> bool:
    """Whether this is a folder of videos, and not a video, which a folder of pictures is.

    Args:
        path: what was given.
        pictures: whether pictures can be read, for which their rate must be known. A folder that holds pictures and
            videos is then one video, and otherwise its videos.

    Raises:
        InputError: the folder cannot be read.
    """
    if not path.is_dir():
        return False
    entries = _entries(path)
    if any(_is_video(entry) for entry in entries):
        return not (pictures and _is_series(path))
    return not _is_series(path)


def find_videos(
    given: Sequence[Path], *, pictures: bool, leave_out: Callable[[Path], bool] = lambda _: False
) -> tuple[tuple[FoundVideo, ...], tuple[Path, ...]]:
    """All videos that are meant by files and folders; of a folder, those in its folders too.

    A video's name is its path below the folder that all have in common, without the file's ending. Hidden files and
    folders are left out.

    Args:
        given: video files, folders of pictures, and folders of videos. A file that is missing is kept.
        pictures: see `holds_videos`; without it, folders of pictures below a given folder are left out.
        leave_out: folders that are not searched.

    Returns:
        The videos, in order; and the folders of pictures that were left out.

    Raises:
        InputError: a folder cannot be read.
    """
    paths: dict[Path, Path] = {}  # as resolved, so that none is taken twice -> as it is called
    roots: list[Path] = []
    apart: list[Path] = []
    for path in (Path(os.path.abspath(each)) for each in given):  # noqa: PTH100  (no `..`, but links keep their names)
        whole = holds_videos(path, pictures=pictures)
        roots.append(path if whole else path.parent)
        for place in _below(path, pictures, leave_out) if whole else (path,):
            if whole and place.is_dir() and not pictures:
                apart.append(place)
            else:
                paths.setdefault(place.resolve(), place)
    videos = list(paths.values())
    root = Path(os.path.commonpath(roots)) if roots else Path()
    below = [video.relative_to(root) for video in videos]
    names = [BETWEEN.join(path.parts) for path in below]
    plain = [BETWEEN.join((p if v.is_dir() else p.with_suffix("")).parts) for v, p in zip(videos, below, strict=True)]
    return tuple(map(FoundVideo, videos, _apart(*(list(map(usable_name, each)) for each in (plain, names))))), tuple(
        apart
    )


def usable_name(name: str) -> str:
    """The name as a result can have it: whatever is no UTF-8 is marked, and what no file system takes is cut.

    A digest of the whole name keeps names apart that begin alike.
    """
    content = name.encode(errors="surrogateescape")
    plain = content.decode(errors="replace")
    if plain == name and len(name.encode()) <= MAX_NAME_BYTES:
        return name
    digest = hashlib.sha256(content).hexdigest()[:8]
    return f"{plain.encode()[: MAX_NAME_BYTES - 9].decode(errors='ignore')}-{digest}"


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(p for p in folder.iterdir() if not p.name.startswith("."))
    except OSError as error:
        raise InputError(f"cannot read {folder}: {error.strerror or error}") from error


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES and path.is_file()


def _is_series(folder: Path) -> bool:
    """Whether the folder holds pictures, of which the reader says what is wrong with them, if anything is."""
    return any(p.suffix.lower() in IMAGE_SUFFIXES and p.is_file() for p in _entries(folder))


def _below(folder: Path, pictures: bool, leave_out: Callable[[Path], bool]) -> Iterator[Path]:
    """The videos and the folders of pictures in a folder of videos; links to folders are not followed."""
    entries = _entries(folder)
    yield from (path for path in entries if _is_video(path))
    for path in entries:
        if not path.is_dir() or path.is_symlink() or leave_out(path):
            continue
        if holds_videos(path, pictures=pictures):
            yield from _below(path, pictures, leave_out)
        else:
            yield path


def _apart(names: Sequence[str], longer: Sequence[str]) -> Iterator[str]:
    """Names of which no two are the same; the longer one where two would be, then with a number."""
    counts = Counter(name.casefold() for name in names)
    taken = {name.casefold() for name in names if counts[name.casefold()] == 1}
    for name, instead in zip(names, longer, strict=True):
        if counts[name.casefold()] == 1:
            yield name
            continue
        candidate, number = instead, 1
        while candidate.casefold() in taken:
            number += 1
            candidate = f"{instead}-{number}"
        taken.add(candidate.casefold())
        yield candidate
