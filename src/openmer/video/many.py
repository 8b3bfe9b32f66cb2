"""Many videos: several at once, each into a folder of its own, and one summary of all.

    OUT/NAME/                        what `openmer analyze` writes of one video
    OUT/summary.csv, .parquet, index.html    over all

A result appears whole or not at all. One that is there already, of the same content and the same settings, is kept, so
that a run that was killed goes on where it was. A video that cannot be analysed is named and left out.
"""

import importlib.util
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from openmer.choices import CLASSICAL
from openmer.errors import InputError, OpenMERError, OutputError, bare_names, to_install
from openmer.files import read_json
from openmer.media.find import find_videos
from openmer.media.identity import source_digest
from openmer.processes import Cluster, completed, completed_on_ray, report
from openmer.progress import ProgressCallback, progress
from openmer.threads import cores
from openmer.version import __version__
from openmer.video.files import FOLDER, MARKER, PEOPLE
from openmer.video.settings import AnalyzeSettings, plain_settings
from openmer.video.summary import SummaryRow, check_place, rows_of, write_summary

WRITE_S = 10.0  # between summaries while videos are done
MEASURING = 0.6  # of the time that a video takes, if it is drawn too
CONTENT = "content of the video"
INSTEAD = "add --overwrite (in Python overwrite=True) to replace it, or choose another --out"
KILLED = "the process that analysed it was killed, for example because memory ran out"


@dataclass(frozen=True, kw_only=True)
class _Task:
    """One video as plain values, so that it can be sent to another process or machine."""

    video: Path
    name: str
    out: Path
    settings: AnalyzeSettings
    overwrite: bool


_Results = Generator[tuple[int, tuple[SummaryRow, ...] | None], None, None]
_Begin = Callable[[Sequence[_Task], Callable[[float], None]], _Results]


def analyze_many(
    given: Sequence[Path],
    out: Path,
    settings: AnalyzeSettings | None = None,
    *,
    overwrite: bool = False,
    on: Cluster = Cluster(),
    console: Console | None = None,
) -> tuple[SummaryRow, ...]:
    """Analyse all videos that files and folders mean, several at once; see `find_videos`.

    As many are analysed at once as `settings.workers` says, with a core for each; if there are fewer videos than
    cores, each has several.

    Args:
        given: video files, folders of pictures, and folders of videos.
        out: the folder for all results; may hold some already.
        settings: see `AnalyzeSettings`.
        overwrite: whether results that were made with other settings, or of another content, may be replaced.
        on: processes of this machine, or a Ray cluster.
        console: where progress and warnings go; by default nowhere.

    Returns:
        The rows of the summary, those of videos that were left out among them; last those of other results in `out`.

    Raises:
        InputError: there is no video, or Ray is not installed.
        OutputError: `out` holds something else or cannot be written, or another run is writing to it.
    """
    settings, console = settings or AnalyzeSettings(), console or Console(quiet=True)
    check_place(out)
    if on.executor == "ray" and importlib.util.find_spec("ray") is None:
        raise InputError(f"Ray is not installed; {to_install('cluster', 'ray')}, or omit --executor")

    def is_result(folder: Path) -> bool:
        return folder.resolve() == out.resolve() or any((folder / m).exists() for m in (MARKER, PEOPLE))

    videos, pictures = find_videos(given, pictures=settings.fps is not None, leave_out=is_result)
    if pictures:
        folders = (
            f"{len(pictures)} folders of pictures, such as {pictures[0]}, are" if pictures[1:] else f"{pictures[0]} is"
        )
        problem = f"{folders} left out: give the frame rate of pictures, for example --fps 200"
        if not videos:
            raise InputError(problem)
        console.print(f"[yellow]warning:[/] {escape(problem)}", highlight=False)
    if not videos:
        where = ", ".join(map(str, given))
        raise InputError(f"no video was found in {where}: no file such as .mp4 or .mov, no numbered pictures")
    with _writing(out):
        cores_each, begin = _executor(settings.workers, len(videos), on)
        tasks = [
            _Task(
                video=video.path,
                name=video.name,
                out=(out / video.name).absolute(),
                settings=replace(settings, workers=cores_each),
                overwrite=overwrite,
            )
            for video in videos
        ]
        _check_settings(tasks, out)
        return _run(tasks, out, begin, console)


def _run(tasks: Sequence[_Task], out: Path, begin: _Begin, console: Console) -> tuple[SummaryRow, ...]:
    rows = {task.name: (SummaryRow(name=task.name),) for task in tasks} | _others(out, tasks, console)
    written, done, reported = time.monotonic(), 0, 0.0
    try:
        with progress(console, "Videos", len(tasks), "videos/s") as step:

            def show(in_work: float, note: str = "") -> None:
                nonlocal reported
                step(note, done + in_work - reported)
                reported = done + in_work

            with closing(begin(tasks, show)) as results:
                for k, result_rows in results:
                    name = tasks[k].name
                    rows[name] = result_rows or (SummaryRow(name=name, status="failed", reason=KILLED),)
                    for row in rows[name]:
                        if row.status == "failed":
                            console.print(f"[yellow]left out:[/] {escape(name)}: {escape(row.reason)}", highlight=False)
                    done += 1
                    show(max(0.0, reported - done), name)
                    if time.monotonic() - written > WRITE_S:
                        write_summary(out, _in_order(rows))
                        written = time.monotonic()
    finally:
        write_summary(out, _in_order(rows))
    return _in_order(rows)


def _in_order(rows: Mapping[str, tuple[SummaryRow, ...]]) -> tuple[SummaryRow, ...]:
    return tuple(row for several in rows.values() for row in several)


def _executor(workers: int, videos: int, on: Cluster) -> tuple[int, _Begin]:
    """How many cores a video has, and what analyses them all, telling how much of those in work is done."""
    if on.executor == "ray":
        return 1, lambda tasks, _: completed_on_ray(_analyze, tasks, address=on.address, workers=workers)
    workers = workers or cores()
    at_once = min(workers, videos)
    each = workers // at_once
    return each, lambda tasks, watch: completed(_analyze, tasks, at_once, watch=watch)


def _reported(task: _Task) -> ProgressCallback:
    """Reports how much of a video is done: of the two passes over it the second, which draws, takes less time."""
    first = MEASURING if task.settings.overlay else 1.0

    def watch(what: str, done: int, total: int | None) -> None:
        if what == "Measuring" and total:
            report(first * min(1.0, done / total))
        elif what == "Drawing" and total:
            report(first + (1 - first) * min(1.0, done / total))

    return watch


@contextmanager
def _writing(out: Path) -> Iterator[None]:
    """Nobody else writes to the folder meanwhile; what was left half written is cleared away, before and after.

    Raises:
        OutputError: somebody does, or the folder cannot be made.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        handle = os.open(out, os.O_RDONLY)
    except OSError as error:
        raise OutputError(f"cannot write to {out}: {error.strerror or error}; choose another --out") from error
    try:
        alone = _locked(handle, out)
        if alone:
            _clear(out)
        yield
        if alone:
            _clear(out)
    finally:
        os.close(handle)


def _clear(out: Path) -> None:
    """Remove what killed processes left half written: those of an earlier run, or workers of this one."""
    for left in out.glob(".*.????????.partial"):
        shutil.rmtree(left, ignore_errors=True)


def _locked(handle: int, out: Path) -> bool:
    """Lock a folder until its handle is closed or the process ends; False where there are no such locks.

    Raises:
        OutputError: another process has locked it.
    """
    if sys.platform == "win32":
        return False
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise OutputError(
            f"another openmer analyze is writing to {out}; wait for it, or choose another --out"
        ) from error
    except OSError:  # some network drives have none
        return False
    return True


def _others(out: Path, tasks: Sequence[_Task], console: Console) -> dict[str, tuple[SummaryRow, ...]]:
    """The rows of results in the folder that other runs have made, of other recordings; a damaged one is left out."""
    rows: dict[str, tuple[SummaryRow, ...]] = {}
    names = {task.name for task in tasks}
    folders = [f for f in sorted(out.iterdir()) if f.is_dir() and f.name not in names and not f.name.startswith(".")]
    digests = {_digest(task.video): task for task in tasks} if folders else {}
    for folder in folders:
        try:
            row = rows_of(folder, folder.name)
        except OpenMERError:
            continue
        again = digests.get((_provenance(folder) or {}).get("source_digest"))
        if again is None:
            rows[folder.name] = row
            continue
        reviewed = "; it is reviewed" if any(folder.rglob("review*.json")) else ""
        console.print(
            f"[yellow]not counted twice:[/] {escape(folder.name)} is a result of the same recording as "
            f"{escape(again.name)}{reviewed}. Remove {escape(str(folder))}, or put it in "
            f"the place of {escape(again.name)}",
            highlight=False,
            soft_wrap=True,
        )
    return rows


def _digest(video: Path) -> str | None:
    """What identifies a recording, or None if it cannot be read."""
    try:
        return source_digest(video)
    except (OpenMERError, OSError):
        return None


def _analyze(task: _Task) -> tuple[SummaryRow, ...]:
    """Analyse one video, or see that it is done; never raises what is the video's own fault."""
    import cv2
    import torch

    from openmer.video.analyze import run_analyses

    torch.set_num_threads(task.settings.workers)
    cv2.setNumThreads(task.settings.workers)  # together the videos keep all cores busy
    try:
        if not _is_done(task):
            run_analyses(task.video, task.out, task.settings, overwrite=task.overwrite, watch=_reported(task))
        return rows_of(task.out, task.name)
    except (OpenMERError, OSError) as error:
        return _left_out(task, str(error))
    except Exception as error:  # a fault of ours, or of a library: the other videos have nothing to do with it
        return _left_out(task, f"{type(error).__name__}: {error}")


def _left_out(task: _Task, reason: str) -> tuple[SummaryRow, ...]:
    """The row of a video that failed; without the folders, which can identify people."""
    engine = Path(task.settings.engine)
    names = {task.video: task.video.name, task.out: task.name, task.out.parent: "OUT", engine: engine.name}
    plain = bare_names(reason, names).encode(errors="replace").decode()  # a name on the disk may be no UTF-8
    return (SummaryRow(name=task.name, status="failed", reason=plain),)


def _is_done(task: _Task) -> bool:
    """Whether the result is there already.

    Raises:
        InputError: the video or the engine cannot be used.
        OutputError: another result is there, and may not be replaced.
    """
    about = _provenance(task.out)
    changed = [] if about is None else _differing(about, _wanted(task))
    if changed and not task.overwrite:
        raise OutputError(f"{task.out} holds a result with another {', '.join(changed)}; {INSTEAD}")
    return about is not None and not changed


def _check_settings(tasks: Sequence[_Task], out: Path) -> None:
    """Refuse results with other settings before anything is done, by what can be told without loading a network.

    Raises:
        OutputError: there are some, and they may not be replaced.
    """
    for task in tasks:
        about = _provenance(task.out)
        wanted = {"openmer": __version__, **_weights(task.settings.engine), **_settings(task.settings)}
        if task.settings.alarms_per_minute is not None:
            del wanted["expression_threshold"]
        changed = [] if about is None else _differing(about, wanted)
        if changed and any(task.out.glob("review*.json")):
            raise OutputError(
                f"{out} holds results with another {', '.join(changed)}, such as {task.name}, which is reviewed and is "
                "not replaced; choose another --out"
            )
        if changed and not task.overwrite:
            raise OutputError(f"{out} holds results with another {', '.join(changed)}, such as {task.name}; {INSTEAD}")


def _weights(engine: str) -> dict[str, Any]:
    """What a result says of the weights, as far as their record tells; an ONNX file has none beside it."""
    from openmer.models.engine import provenance_of
    from openmer.models.weights import read_record

    if engine != CLASSICAL and Path(engine).suffix == ".onnx":
        return {}
    return provenance_of(Path(engine).stem, None if engine == CLASSICAL else read_record(engine))


def _provenance(folder: Path) -> dict[str, Any] | None:
    """What a result says about how it was made: nothing if it is damaged, None if there is no result."""
    markers = [folder / MARKER, folder / FOLDER.format(1) / MARKER]
    marker = next((path for path in markers if path.exists()), None)
    if marker is None:
        return None
    try:
        return read_json(marker, _Made).provenance
    except InputError:
        return {}


@dataclass(frozen=True)
class _Made:
    """The part of `timeline.json` that is needed here."""

    provenance: dict[str, Any]


def _differing(about: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """The names of what differs between a result's provenance and the one that would be made."""
    made = {
        **about,
        **(about.get("settings") or {}),
        "engine": about.get("engine"),
        CONTENT: about.get("source_digest"),
    }
    return [name for name, value in wanted.items() if name not in made or made[name] != value]


def _settings(settings: AnalyzeSettings) -> dict[str, Any]:
    """The settings as a result has them, without the engine: its weights are compared, not its name."""
    plain = json.loads(json.dumps(plain_settings(asdict(settings))))
    return {name: value for name, value in plain.items() if name != "engine"}


def _wanted(task: _Task) -> dict[str, Any]:
    """All of the provenance on which a result depends."""
    from openmer.models.engine import provenance_of
    from openmer.video.recognition import engine_of

    engine, threshold = engine_of(task.settings, task.settings.runtime)
    weights = provenance_of(CLASSICAL, None) if engine is None else provenance_of(engine.name, engine.record)
    settings = _settings(replace(task.settings, expression_threshold=threshold))
    return {CONTENT: source_digest(task.video), "openmer": __version__, **weights, **settings}
