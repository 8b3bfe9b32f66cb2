"""From the folder that `openmer analyze` wrote to a file in another program's format."""

from dataclasses import dataclass
from pathlib import Path

from openmer.choices import ExportFormat
from openmer.errors import InputError
from openmer.exchange.boris import to_boris, to_boris_csv
from openmer.exchange.elan import media_path, to_elan
from openmer.exchange.parquet import to_parquet
from openmer.files import write_new_file
from openmer.timeline import Timeline, read_timeline

# File name endings, the usual one first; the target program would not open others.
ENDINGS: dict[ExportFormat, tuple[str, ...]] = {
    "elan": (".eaf",),
    "boris": (".xlsx", ".csv"),
    "csv": (".csv",),
    "parquet": (".parquet",),
}
TIMELINE, FRAMES = "timeline.json", "frames.csv"


@dataclass(frozen=True)
class Result:
    """What `openmer analyze` wrote: the timeline, and its folder."""

    timeline: Timeline
    folder: Path


def read_result(path: Path | str) -> Result:
    """Read a result's folder, or the timeline.json in it.

    Raises:
        InputError: there is no result, or it is damaged.
    """
    path = Path(path)
    if path.is_dir():
        people = sorted(part.parent.name for part in path.glob(f"person-*/{TIMELINE}"))
        if people and not (path / TIMELINE).is_file():
            raise InputError(
                f"{path} has a result for each of several people; give one of them: {path / people[0]}"
                f"{'' if len(people) == 1 else f' to {people[-1]}'}"
            )
        if not (path / TIMELINE).is_file():
            if below := sorted(part.parent for part in path.rglob(TIMELINE)):
                raise InputError(f"{path} holds the results of several videos; give one of them, such as {below[0]}")
            raise InputError(f"{path} holds no {TIMELINE}; give a folder that openmer analyze wrote")
        path /= TIMELINE
    elif path.is_file() and path.suffix.lower() != ".json":
        raise InputError(f"{path} is not a result: give the folder that openmer analyze wrote, or the {TIMELINE} in it")
    return Result(read_timeline(path), path.parent)


def export(
    result: Path | str, to: ExportFormat, out: Path | str, *, video: Path | None = None, overwrite: bool = False
) -> None:
    """Write a result for another program.

    Args:
        result: the folder that `openmer analyze` wrote, or a timeline.json.
        to: the target program or format.
        out: the file to write.
        video: where the video is, for ELAN; by default a file of that name beside `out`, for which ELAN asks if it is
            not there.
        overwrite: whether a file at `out` may be replaced.

    Raises:
        InputError: the result cannot be read, or `out` does not have the ending that the program needs.
        OutputError: `out` already exists or cannot be written.
    """
    out = Path(out)
    if out.suffix.lower() not in ENDINGS[to]:
        raise InputError(f"--out must end in {' or '.join(ENDINGS[to])} for {to}, got {out.name}")
    if video is not None and to != "elan":
        raise InputError(f"only an ELAN file names its video; leave out --video for {to}")
    write_new_file(out, _content(read_result(result), to, out, video), overwrite=overwrite)


def _content(result: Result, to: ExportFormat, out: Path, video: Path | None) -> bytes:
    if to == "elan":
        return to_elan(result.timeline, media_of(result.timeline, out, video))
    if to == "boris":
        return to_boris(result.timeline) if out.suffix.lower() == ".xlsx" else to_boris_csv(result.timeline)
    if to == "csv":
        return result.timeline.to_csv().encode()
    return to_parquet(result.folder / FRAMES, result.timeline.provenance)


def media_of(timeline: Timeline, out: Path, video: Path | None) -> str | None:
    """How an .eaf file at `out` names a result's video; None if it is a folder of pictures.

    Raises:
        InputError: there is no such video.
    """
    if video is not None:
        if not video.is_file():
            raise InputError(f"there is no video {video}")
        return media_path(video, out)
    source = str(timeline.provenance.get("source", ""))
    return f"./{Path(source).name}" if Path(source).suffix else None  # a folder of images cannot be played
