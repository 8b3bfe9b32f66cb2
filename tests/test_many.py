"""Many videos: the same results as one by one, whole after a kill, bad ones named, and a summary that adds up."""

import csv
import importlib.util
import io
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import pytest
from rich.console import Console

from footage import smirk, write_video
from openmer import AnalyzeSettings, InputError, Interval, OutputError, Timeline, analyze
from openmer.media.find import find_videos, holds_videos
from openmer.processes import Cluster
from openmer.timeline import Clock
from openmer.video import many
from openmer.video.many import analyze_many
from openmer.video.summary import COLUMNS, SummaryRow, index_page, row_of
from terminal import run

QUICK = AnalyzeSettings(engine="classical", overlay=False, face="mesh")
OPTIONS = ("--engine", "classical", "--no-overlay", "--face", "mesh")
NAMES = {"one": "one.mp4", "a__talk": "a/talk.mp4", "b__talk": "b/talk.mp4"}
FINISHED = "[!.]*/timeline.json"
TABLES = ("timeline.json", "timeline.csv", "frames.csv")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three short videos, two of one name; each begins a little later in the same smirk."""
    folder = tmp_path_factory.mktemp("clips")
    frames = [cv2.resize(frame, None, fx=0.5, fy=0.5) for frame in smirk(30, 0.4, 0.3, 2.0, 1.0)]
    for number, name in enumerate(NAMES.values()):
        (folder / name).parent.mkdir(exist_ok=True)
        write_video(folder / name, frames[number:], Fraction(30))
    return folder


@pytest.fixture(scope="module")
def alone(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results one by one."""
    folder = tmp_path_factory.mktemp("alone")
    for name, path in NAMES.items():
        analyze(clips / path, folder / name, QUICK)
    return folder


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without processes of their own, which take seconds to begin."""

    def one_by_one(
        function: Callable[[Any], Any], tasks: Sequence[Any], *_: Any, **__: Any
    ) -> Iterator[tuple[int, Any]]:
        yield from enumerate(map(function, tasks))

    monkeypatch.setattr(many, "completed", one_by_one)


def table(out: Path) -> dict[str, dict[str, str]]:
    """The rows of the summary by name."""
    with (out / "summary.csv").open(newline="") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


def same_as_alone(out: Path, alone: Path) -> None:
    for name in NAMES:
        for file in TABLES:
            assert (out / name / file).read_bytes() == (alone / name / file).read_bytes(), (name, file)


def test_several_at_once_give_what_each_gives_alone_and_a_bad_one_is_named(
    clips: Path, alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video")
    given = [clips / name for name in NAMES.values()]
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, "analyze", clips, bad, *given, "--out", "out", *OPTIONS, "--workers", 2) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "bad.mp4 as a video" in said and "1 video was left out" in said
    rows = table(tmp_path / "out")
    (prefix,) = {name.removesuffix("one") for name in rows if name.endswith("__one")}
    assert {name for name, row in rows.items() if row["status"] == "done"} == {prefix + name for name in NAMES}
    (failed,) = [row for row in rows.values() if row["status"] == "failed"]
    assert failed["name"].endswith("bad") and "is it a video, and complete?" in failed["reason"]
    assert str(tmp_path) not in failed["reason"], "names of folders can identify people"
    assert failed["minutes"] == failed["candidates"] == failed["report"] == ""
    for name in NAMES:
        for file in TABLES:
            made = tmp_path / "out" / (prefix + name) / file
            assert made.read_bytes() == (alone / name / file).read_bytes(), (name, file)


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_a_run_that_is_killed_goes_on_where_it_was(clips: Path, alone: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "openmer", "analyze", str(clips), "--out", str(out), *OPTIONS, "--workers", "1"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 300
    while not list(out.glob(FINISHED)) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    finished = {path: path.stat().st_mtime_ns for path in out.glob(FINISHED)}
    assert 1 <= len(finished) < len(NAMES), "killed in the middle"
    (out / ".two.00000000.partial").mkdir(exist_ok=True)
    assert subprocess.run(command, stderr=subprocess.DEVNULL).returncode == 0
    same_as_alone(out, alone)
    assert {path: path.stat().st_mtime_ns for path in finished} == finished, "not made again"
    assert {row["status"] for row in table(out).values()} == {"done"} and len(table(out)) == len(NAMES)
    assert {path.name for path in out.iterdir()} >= {*NAMES, "summary.csv", "index.html"}
    assert not list(out.glob(".*")), "nothing half written is left"


@pytest.mark.usefixtures("here")
def test_results_of_another_content_or_other_settings_are_kept_unless_replacing_is_asked_for(
    clips: Path, tmp_path: Path
) -> None:
    video, other, out = tmp_path / "in" / "x.mp4", tmp_path / "in" / "y.mp4", tmp_path / "out"
    video.parent.mkdir()
    for copy in (video, other):
        copy.write_bytes((clips / "one.mp4").read_bytes())
    analyze_many([video.parent], out, QUICK)
    before = (out / "x" / "timeline.json").read_bytes()
    settings = replace(QUICK, align="per_frame")
    with pytest.raises(OutputError, match="results with another align, such as x; add --overwrite"):
        analyze_many([video.parent], out, settings)
    assert table(out)["x"]["status"] == "done", "the summary stays as it was"
    review = out / "x" / "review-ada.json"
    review.write_text("a coder's work")
    for overwrite in (False, True):
        with pytest.raises(OutputError, match="such as x, which is reviewed and is not replaced; choose another --out"):
            analyze_many([video.parent], out, settings, overwrite=overwrite)
    assert table(out)["x"]["status"] == "done" and review.read_text() == "a coder's work"
    review.unlink()
    video.write_bytes((clips / "a" / "talk.mp4").read_bytes())
    x, y = analyze_many([video.parent], out, QUICK)
    assert (x.status, y.status) == ("failed", "done") and "another content of the video" in x.reason
    assert (out / "x" / "timeline.json").read_bytes() == before
    kept = (out / "y" / "timeline.json").stat().st_mtime_ns
    x, y = analyze_many([video.parent], out, QUICK, overwrite=True)
    assert x.status == "done" and (out / "x" / "timeline.json").read_bytes() != before
    assert (out / "y" / "timeline.json").stat().st_mtime_ns == kept, "it would come out the same"
    (out / "x" / "timeline.json").write_text("{")
    x, y = analyze_many([video.parent], out, QUICK, overwrite=True)
    assert x.status == "done" and x.candidates is not None
    # What other runs made in the same folder stays in the summary.
    other.unlink()
    x, y = analyze_many([video.parent], out, QUICK)
    assert (x.name, y.name, y.status) == ("x", "y", "done")


@pytest.mark.usefixtures("here")
def test_everybody_has_a_row(clips: Path, tmp_path: Path) -> None:
    settings = replace(QUICK, faces="all", stay_s=0.5)
    given, out = [clips / "a"], tmp_path / "out"
    (row,) = analyze_many(given, out, settings)
    assert (row.name, row.person, row.status, row.report) == ("talk", 1, "done", "talk/report.html")
    made = (out / "talk" / "person-1" / "timeline.json").stat().st_mtime_ns
    assert analyze_many(given, out, settings) == (row,)
    assert (out / "talk" / "person-1" / "timeline.json").stat().st_mtime_ns == made
    assert "person" in (out / "index.html").read_text()


@pytest.mark.usefixtures("here")
def test_the_summary_names_no_folder_of_a_video_that_is_left_out(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = tmp_path / "anna", tmp_path / "study-of-anna"
    folder.mkdir()
    (folder / "bad.mp4").write_bytes(b"no video")
    (folder / "good.mp4").write_bytes((clips / "one.mp4").read_bytes())
    monkeypatch.chdir(tmp_path)
    for given in (folder, Path("anna")):
        bad, good = analyze_many([given], out, QUICK)
        assert bad.reason.startswith("cannot read bad.mp4 as a video") and good.status == "done"
    (folder / "good.mp4").write_bytes((clips / "a" / "talk.mp4").read_bytes())
    assert analyze_many([folder], out, QUICK)[1].reason.startswith("good holds a result with another content")
    for name in ("summary.csv", "index.html"):
        assert "anna" not in (out / name).read_text(), name


@pytest.mark.usefixtures("here")
def test_a_fault_in_one_video_does_not_end_the_others(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(video: Path, *_: Any, **__: Any) -> None:
        raise ValueError("a fault")

    monkeypatch.setattr("openmer.video.analyze.run_analyses", broken)
    one, two = analyze_many([clips / "one.mp4", clips / "a" / "talk.mp4"], tmp_path / "out", QUICK)
    assert one.status == two.status == "failed" and one.reason == "ValueError: a fault"


def test_a_video_that_kills_its_process_is_named(clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `completed` says of such a task is tested in test_processes.py."""

    def killed(_: Any, tasks: Sequence[Any], *__: Any, **___: Any) -> Iterator[tuple[int, None]]:
        tasks[0].out.with_name(".talk.12345678.partial").mkdir()
        yield from ((place, None) for place in range(len(tasks)))

    monkeypatch.setattr(many, "completed", killed)
    (row,) = analyze_many([clips / "a"], tmp_path / "out", QUICK)
    assert row.status == "failed" and "was killed" in row.reason
    assert not list((tmp_path / "out").glob(".*")), "nothing half written is left"


@pytest.mark.skipif(sys.platform == "win32", reason="locks of folders")
def test_two_runs_do_not_write_to_the_same_folder(clips: Path, tmp_path: Path) -> None:
    import fcntl

    handle = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        with pytest.raises(OutputError, match="another openmer analyze is writing to"):
            analyze_many([clips], tmp_path, QUICK)
    finally:
        os.close(handle)


def test_somebody_elses_files_are_not_replaced(clips: Path, alone: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="is the result of one video"):
        analyze_many([clips], alone / "one", QUICK)
    for name in ("index.html", "summary.csv"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_text("mine")
        with pytest.raises(OutputError, match="was not written by this command"):
            analyze_many([clips], tmp_path / name, QUICK)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match="is not a folder"):
        analyze_many([clips], tmp_path / "file", QUICK)


def marked(label: str, at_s: float) -> Interval:
    return Interval(label=label, onset_s=at_s, offset_s=at_s + 0.2)


def test_a_row_by_hand() -> None:
    """Slow motion: 240 s of the file are 120 s; 60 s of the file without a face leave 90 s, a minute and a half.

    file  |0 ..... candidate x3, blink x2, large x1, set aside x1 ..... 180| no face |240
    """
    marks = [("candidate", 3), ("blink", 2), ("large_motion", 1), ("set_aside", 1)]
    timeline = Timeline(
        intervals=tuple(marked(label, 10.0 * k + i) for i, (label, count) in enumerate(marks) for k in range(count)),
        start_s=0.0,
        end_s=240.0,
        clock=Clock(fps=30, slowdown=2.0),
        gaps=(Interval(label="no_face", onset_s=180.0, offset_s=240.0),),
        provenance={"warnings": ["One.", "Two."], "classes": ["none"]},
    )
    row = row_of(timeline, "talk")
    assert (row.minutes, row.minutes_with_face, row.candidates, row.candidates_per_minute) == (2.0, 1.5, 3, 2.0)
    assert (row.set_aside, row.blinks, row.large_motions, row.warnings, row.reason) == (1, 2, 1, 2, "One. Two.")
    faceless = Timeline(intervals=(), start_s=0, end_s=6, gaps=(Interval(label="no_face", onset_s=0, offset_s=6),))
    row = row_of(faceless, "empty")
    assert (row.minutes, row.minutes_with_face, row.candidates_per_minute, row.set_aside) == (0.1, 0.0, None, None)


@pytest.mark.usefixtures("here")
def test_the_summary_is_the_same_as_csv_parquet_and_page(clips: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    strange = tmp_path / "in" / 'a "b" <i>#1%.mp4'
    strange.write_bytes((clips / "one.mp4").read_bytes())
    (tmp_path / "in" / "bad.mov").write_bytes(b"")
    rows = analyze_many([tmp_path / "in"], tmp_path / "out", QUICK)
    (good,) = [row for row in rows if row.status == "done"]
    with (tmp_path / "out" / "summary.csv").open(newline="") as file:
        listed = list(csv.DictReader(file))
    assert tuple(listed[0]) == COLUMNS and {row["name"] for row in listed} == {strange.stem, "bad"}
    assert table(tmp_path / "out")[strange.stem]["candidates"] == str(good.candidates) == "1"
    page = (tmp_path / "out" / "index.html").read_text()
    (link,) = re.findall(r'href="([^"]+report\.html)"', page)
    assert link == "a%20%22b%22%20%3Ci%3E%231%25/report.html" and "<i>#1" not in page
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', page), "it loads nothing from elsewhere"
    if importlib.util.find_spec("pyarrow") is not None:
        import pandas as pd

        read = pd.read_parquet(tmp_path / "out" / "summary.parquet").set_index("name")
        assert read.loc[strange.stem, "candidates"] == 1 and pd.isna(read.loc["bad", "candidates"])
        assert str(read["candidates"].dtype) == "Int64"


def test_a_page_says_what_waits() -> None:
    page = index_page([SummaryRow(name="later"), SummaryRow(name="bad", status="failed", reason="no face & no sound")])
    assert "waiting" in page and "no face &amp; no sound" in page and "report.html" not in page


def touched(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def names_of(*given: Path, pictures: bool = False, **more: Any) -> list[str]:
    return [video.name for video in find_videos(given, pictures=pictures, **more)[0]]


def test_a_folder_of_pictures_is_one_video_and_a_folder_of_videos_is_all_of_them(tmp_path: Path) -> None:
    touched(tmp_path, "frames/img1.png", "frames/img2.png", "videos/a.MP4", "videos/notes.txt", "videos/.hidden.mp4")
    touched(tmp_path, "both/a.mp4", "both/img1.jpg", "deep/sub/more/b.mov", "deep/clip/1.png", "deep/clip/2.png")
    assert not holds_videos(tmp_path / "frames", pictures=False) and not holds_videos(
        tmp_path / "frames", pictures=True
    )
    assert not holds_videos(tmp_path / "videos" / "a.MP4", pictures=False)
    assert not holds_videos(tmp_path / "missing", pictures=False)
    assert names_of(tmp_path / "videos") == ["a"]
    assert holds_videos(tmp_path / "both", pictures=False), "pictures without a rate cannot be a video"
    assert not holds_videos(tmp_path / "both", pictures=True)
    assert names_of(tmp_path / "deep", pictures=True) == ["clip", "sub__more__b"]
    videos, left_out = find_videos([tmp_path / "deep"], pictures=False)
    assert [v.name for v in videos] == ["sub__more__b"] and left_out == (tmp_path / "deep" / "clip",)
    assert names_of(tmp_path / "deep", leave_out=lambda folder: folder.name == "more") == []


def test_names_are_paths_below_what_is_common_and_never_the_same(tmp_path: Path) -> None:
    touched(tmp_path, "p1/neutral.mp4", "p1/neutral.avi", "p2/neutral.mp4", "p2/Other.mp4", "p2/other.mov")
    assert names_of(tmp_path / "p2" / "neutral.mp4") == ["neutral"]
    assert names_of(tmp_path / "p1" / "neutral.mp4", tmp_path / "p2" / "neutral.mp4") == ["p1__neutral", "p2__neutral"]
    assert names_of(tmp_path / "p1", tmp_path / "p1" / "neutral.mp4") == ["neutral.avi", "neutral.mp4"], "none twice"
    assert names_of(tmp_path / "p2") == ["Other.mp4", "neutral", "other.mov"], "some disks take both for one"
    touched(tmp_path, "q/a__b.mp4", "q/a/b.mp4")
    assert names_of(tmp_path / "q") == ["a__b.mp4", "a__b.mp4-2"]
    assert names_of(tmp_path / "p1" / ".." / "p2" / "neutral.mp4") == ["neutral"]


def test_results_beside_the_videos_are_not_analysed(clips: Path, alone: Path, tmp_path: Path) -> None:
    (tmp_path / "out" / "one").mkdir(parents=True)
    touched(tmp_path, "out/one/overlay.mp4", "older/overlay.mp4", "older/timeline.json")
    with pytest.raises(InputError, match="no video was found in"):
        analyze_many([tmp_path], tmp_path / "out", QUICK)
    touched(tmp_path, "frames/1.png", "frames/2.png")
    with pytest.raises(InputError, match="frames is left out: give the frame rate of pictures, for example --fps 200"):
        analyze_many([tmp_path], tmp_path / "out", QUICK)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["a.mp4", "b.mp4", "--live", "0"], "--live replaces VIDEO"),
        (["a.mp4", "--executor", "ray"], "--executor is for several videos"),
        (["a.mp4", "b.mp4", "--address", "auto"], "add --executor ray"),
    ],
)
def test_what_does_not_go_together(
    words: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(monkeypatch, "analyze", *words, "--out", tmp_path / "out") == 1
    assert said in capsys.readouterr().err


def test_without_ray_it_is_said_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="Ray is not installed; install the extra `cluster`"):
        analyze_many([tmp_path], tmp_path / "out", QUICK, on=Cluster(executor="ray"))
    assert not (tmp_path / "out").exists()


def test_ray_gives_the_same_as_processes(clips: Path, alone: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="Ray is not installed: needs the extra cluster")
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    on, settings, out = Cluster(executor="ray"), replace(QUICK, workers=2), tmp_path / "out"
    rows = analyze_many([clips], out, settings, on=on)
    assert {row.status for row in rows} == {"done"}
    same_as_alone(out, alone)
    made = (out / "one" / "timeline.json").stat().st_mtime_ns
    again = analyze_many([clips], out, settings, on=on)
    assert again == rows and (out / "one" / "timeline.json").stat().st_mtime_ns == made
    (bad,) = analyze_many([tmp_path / "bad.mp4"], tmp_path / "other", settings, on=on)
    assert bad.status == "failed" and "is it a video" in bad.reason


@pytest.mark.usefixtures("here")
def test_one_video_goes_into_a_collection_that_is_there_and_a_result_is_no_collection(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study, alone = tmp_path / "study", tmp_path / "alone"
    assert run(monkeypatch, "analyze", clips / "a", "--out", study, *OPTIONS) == 0
    assert run(monkeypatch, "analyze", clips / "one.mp4", "--out", study, *OPTIONS) == 0
    assert set(table(study)) == {"one", "talk"} and (study / "one" / "timeline.json").is_file()
    assert run(monkeypatch, "analyze", clips / "one.mp4", "--out", alone, *OPTIONS) == 0
    assert (alone / "timeline.json").is_file()
    capsys.readouterr()
    assert run(monkeypatch, "analyze", clips / "a", "--out", alone, *OPTIONS) == 1
    assert "is the result of one video; many go into a folder of their own" in " ".join(capsys.readouterr().err.split())


@pytest.mark.usefixtures("here")
def test_a_recording_is_counted_once_after_another_of_its_name_came(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, out = tmp_path / "in" / "talk.mp4", tmp_path / "in" / "talk.avi", tmp_path / "out"
    first.parent.mkdir()
    first.write_bytes((clips / "one.mp4").read_bytes())
    analyze_many([first.parent], out, QUICK)
    second.write_bytes((clips / "a" / "talk.mp4").read_bytes())
    console = Console(file=io.StringIO(), width=200)
    rows = analyze_many([first.parent], out, QUICK, console=console)
    assert sorted(row.name for row in rows) == ["talk.avi", "talk.mp4"]
    assert "talk is a result of the same recording as talk.mp4" in console.file.getvalue()  # type: ignore[attr-defined]
    assert (out / "talk" / "timeline.json").exists(), "nothing is removed"


@pytest.mark.usefixtures("here")
def test_names_that_are_no_utf8_or_very_long_are_given_usable_ones(clips: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in" / ("d" * 150)
    folder.mkdir(parents=True)
    try:
        for name in ("caf\udce9.mp4", "e" * 150 + ".mp4"):  # the first in Latin-1, as from an old disk
            (folder / name).write_bytes((clips / "one.mp4").read_bytes())
    except OSError:
        pytest.skip("this file system takes no such names")
    rows = analyze_many([tmp_path / "in", clips / "one.mp4"], tmp_path / "out", QUICK)
    assert [row.status for row in rows] == ["done"] * 3
    for row in rows:
        row.name.encode()
        assert len(row.name.encode()) <= 200
    assert (tmp_path / "out" / "summary.csv").exists()


@pytest.mark.usefixtures("here")
def test_results_of_another_version_are_refused_before_anything_is_done(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    analyze_many([clips / "one.mp4"], out, QUICK)
    kept = (out / "one" / "timeline.json").read_bytes()
    monkeypatch.setattr(many, "__version__", "9.0")
    with pytest.raises(OutputError, match="with another openmer"):
        analyze_many([clips], out, QUICK)
    assert (out / "one" / "timeline.json").read_bytes() == kept and not (out / "b__talk").exists()
