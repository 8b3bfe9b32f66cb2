"""The whole video way: what it finds on footage with known truth, what it writes, and how it fails."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import cv2
import numpy as np
import pandas as pd
import pytest

from footage import face_closeup, noisy, smirk, write_video
from openmer import AnalyzeSettings, Interval, Timeline, analyze, read_timeline
from openmer.errors import InputError
from openmer.face.align import align
from openmer.face.dlib_model import DlibFaceModel
from openmer.face.track import FaceTracker
from openmer.timeline import Window
from openmer.video.analyze import run_analysis
from openmer.video.measurements import read_signals
from openmer.video.overlay import _around
from openmer.video.regions import REGION_NAMES
from openmer.video.report import choose_moments, magnified
from openmer.video.spotting import spot
from terminal import run
from test_reader import audio_only, turned

QUICK = AnalyzeSettings(overlay=False, engine="classical")
WRITTEN = {"timeline.json", "timeline.csv", "frames.csv", "landmarks.npz", "report.html"}


def still(seconds: float, fps: int = 30) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(0)
    for _ in range(int(seconds * fps)):
        yield noisy(face_closeup(), rng)


def test_a_still_photograph_with_noise_gives_nothing(tmp_path: Path) -> None:
    video = write_video(tmp_path / "still.mp4", still(10), Fraction(30))
    timeline = analyze(video, tmp_path / "out", QUICK)
    assert timeline.intervals == ()
    steady = pd.read_csv(tmp_path / "out" / "frames.csv")["flow_median_px"].iloc[1:].median()
    assert steady < 0.05
    analyze(video, tmp_path / "jittery", replace(QUICK, align="per_frame", end_s=1))
    jittery = pd.read_csv(tmp_path / "jittery" / "frames.csv")["flow_median_px"].iloc[1:].median()
    assert jittery > 5 * steady, "aligning each frame anew puts landmark jitter into the flow"


@pytest.mark.parametrize("fps", [30, 200])
def test_one_small_smirk_is_one_candidate_at_its_place(tmp_path: Path, fps: int) -> None:
    video = write_video(tmp_path / "smirk.mp4", smirk(fps, 0.6, 0.3, 1.5, 1.5), Fraction(fps))
    (found,) = analyze(video, tmp_path / "out", QUICK)
    assert found.label == "candidate"
    assert found.regions[0] == "mouth_right"
    assert found.iou(Interval(onset_s=0.6, offset_s=0.9, label="truth")) >= 0.5


def test_the_mesh_marks_the_same_smirk(tmp_path: Path) -> None:
    video = write_video(tmp_path / "smirk.mp4", smirk(30, 0.9, 0.3, 1.5, 2.0), Fraction(30))
    timeline = analyze(video, tmp_path / "out", replace(QUICK, face="mesh"))
    (found,) = timeline
    assert found.label == "candidate" and found.regions[0] == "mouth_right"
    assert timeline.provenance["settings"]["face"] == "mesh"


@pytest.fixture(scope="module")
def half_face(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds: a face, then an empty gray wall, then the face again."""
    rng = np.random.default_rng(2)
    frames = [noisy(face_closeup(1.0), rng) for _ in range(30)]
    wall = [noisy(np.full_like(frames[0], 128), rng) for _ in range(15)]
    path = tmp_path_factory.mktemp("half") / "half <b>face.mp4"
    return write_video(path, [*frames[:15], *wall, *frames[15:]], Fraction(30))


@pytest.fixture(scope="module")
def half_result(half_face: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Timeline]:
    out = tmp_path_factory.mktemp("result") / "out"
    return out, analyze(half_face, out, AnalyzeSettings(engine="classical"))


def test_everything_is_written_and_nothing_is_left_over(half_result: tuple[Path, Timeline]) -> None:
    out, timeline = half_result
    assert {p.name for p in out.iterdir()} == WRITTEN | {"overlay.mp4"}
    assert [p.name for p in out.parent.iterdir()] == ["out"]
    assert read_timeline(out / "timeline.json") == timeline


def test_one_core_gives_the_same_bytes_as_several(half_face: Path, tmp_path: Path) -> None:
    for workers in (1, 3):
        settings = AnalyzeSettings(engine="classical", workers=workers, end_s=0.9)
        analyze(half_face, tmp_path / str(workers), settings)
    for name in ("timeline.json", "timeline.csv", "frames.csv", "landmarks.npz", "overlay.mp4"):
        one, several = ((tmp_path / workers / name).read_bytes() for workers in "13")
        assert one == several, name


def test_where_the_face_is_away_there_is_a_gap(half_result: tuple[Path, Timeline]) -> None:
    out, timeline = half_result
    (gap,) = timeline.gaps
    assert (gap.label, gap.onset_frame, gap.offset_frame) == ("no_face", 15, 30)
    assert gap.onset_s == pytest.approx(0.5) and gap.offset_s == pytest.approx(1.0)
    frames = pd.read_csv(out / "frames.csv")
    assert frames["face_found"].tolist() == [True] * 15 + [False] * 15 + [True] * 15
    missing = frames[~frames["face_found"]]
    assert missing[["box_left_px", "head_dx_px", "chin_dx_px", "chin_px"]].isna().all(axis=None)
    with np.load(out / "landmarks.npz") as stored:
        assert stored["landmarks_px"].shape == (45, 68, 2)
        assert np.isnan(stored["landmarks_px"][15:30]).all() and np.isfinite(stored["landmarks_px"][:15]).all()


def test_the_table_has_a_named_column_with_unit_for_every_region(half_result: tuple[Path, Timeline]) -> None:
    columns = pd.read_csv(half_result[0] / "frames.csv", nrows=1).columns
    for name in REGION_NAMES:
        assert {f"{name}_px", f"{name}_dx_px", f"{name}_dy_px"} <= set(columns)


def test_the_table_can_be_spotted_again(half_result: tuple[Path, Timeline], tmp_path: Path) -> None:
    out, timeline = half_result
    signals = read_signals(out / "frames.csv")
    assert signals.track.tolist() == [0] * 15 + [-1] * 15 + [0] * 15
    assert signals.displacement.shape == (45, len(REGION_NAMES), 2) and signals.head.shape == (45, 6)
    assert [(i.onset_frame, i.offset_frame) for i in spot(signals)] == [
        (i.onset_frame, i.offset_frame) for i in timeline
    ]
    frames = pd.read_csv(out / "frames.csv")
    frames.drop(columns=["head_yaw_deg", "head_pitch_deg"]).to_csv(tmp_path / "first_edition.csv", index=False)
    older = read_signals(tmp_path / "first_edition.csv")
    assert np.isnan(older.head[:, 4:]).all() and spot(older) == spot(signals)
    frames.drop(columns="chin_dy_px").to_csv(tmp_path / "old.csv", index=False)
    with pytest.raises(InputError, match=r"old\.csv lacks the column chin_dy_px; analyse the video again"):
        read_signals(tmp_path / "old.csv")
    for damaged in (
        frames.assign(track="first"),
        frames.assign(chin_dx_px="far"),
        frames.assign(time_s=np.nan),
        frames[:1],
    ):
        damaged.to_csv(tmp_path / "edited.csv", index=False)
        with pytest.raises(InputError, match=r"edited\.csv is damaged"):
            read_signals(tmp_path / "edited.csv")
    with pytest.raises(InputError, match=r"cannot read .*none\.csv"):
        read_signals(tmp_path / "none.csv")


def test_the_overlay_has_every_frame_at_its_time(half_result: tuple[Path, Timeline]) -> None:
    with av.open(str(half_result[0] / "overlay.mp4")) as container:
        times = [f.time for f in container.decode(video=0)]
    assert times == pytest.approx([k / 30 for k in range(45)], abs=1e-3)


def test_the_report_stands_alone_and_escapes_names(half_result: tuple[Path, Timeline]) -> None:
    page = (half_result[0] / "report.html").read_text()
    assert "half &lt;b&gt;face.mp4" in page and "<b>face" not in page
    assert "http://" not in page.replace("http://www.w3.org", "") and "https://" not in page
    assert "Not validated on real micro-expressions" in page and "detect lies" in page


def test_results_say_how_they_came_about_and_no_folder_of_the_user(half_result: tuple[Path, Timeline]) -> None:
    out, timeline = half_result
    assert timeline.provenance["engine"] == "classical"
    assert timeline.provenance["settings"]["spotting"]["min_px"] == 0.2
    assert str(out.parent) not in (out / "timeline.json").read_text()


def test_a_portrait_video_of_odd_size_with_rotation(tmp_path: Path) -> None:
    upright = face_closeup(1.0)[:, :201]
    lying = np.ascontiguousarray(np.rot90(upright))  # turned back by the metadata, clockwise
    padded = lying[: lying.shape[0] // 2 * 2, : lying.shape[1] // 2 * 2]
    video = turned(write_video(tmp_path / "phone.mp4", [padded] * 12, Fraction(30)))
    analyze(video, tmp_path / "out", AnalyzeSettings(engine="classical"))
    assert pd.read_csv(tmp_path / "out" / "frames.csv")["face_found"].all()
    odd = tmp_path / "odd"
    odd.mkdir()
    for k in range(5):
        cv2.imwrite(str(odd / f"{k}.png"), upright[:199, :, ::-1])
    assert upright[:199].shape[:2] == (199, 201)
    analyze(odd, tmp_path / "out2", AnalyzeSettings(engine="classical", fps=Fraction(30)))
    with av.open(str(tmp_path / "out2" / "overlay.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 5


def test_frame_numbers_count_from_the_start_of_the_source(tmp_path: Path) -> None:
    video = write_video(tmp_path / "smirk.mp4", smirk(30, 2.4, 0.3, 1.5, 4.0), Fraction(30))
    (found,) = analyze(video, tmp_path / "out", replace(QUICK, start_s=1.0))
    assert found.apex_s == pytest.approx(2.55, abs=0.07)
    assert found.apex_frame == round(found.apex_s * 30)
    assert pd.read_csv(tmp_path / "out" / "frames.csv")["frame"].iloc[0] == 30


def wall(path: Path, frames: int) -> Path:
    return write_video(path, [np.full((96, 128, 3), 128, np.uint8)] * frames, Fraction(30))


def text_file(path: Path) -> Path:
    path.write_text("no video")
    return path


def nothing(path: Path) -> Path:
    return path


def cut_off(path: Path) -> Path:
    """An mp4 whose second half, with the index, is missing."""
    whole = wall(path, 20).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    return path


def empty(path: Path) -> Path:
    path.touch()
    return path


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (nothing, "no file or folder"),
        (text_file, "cannot read"),
        (empty, "empty"),
        (cut_off, "complete"),
        (audio_only, "no video stream"),
        (lambda p: wall(p, 1), "at least 2 frames, but there was 1"),
        (lambda p: wall(p, 5), "no face was found in any of 5 frames"),
    ],
    ids=["missing", "text", "empty", "cut off", "audio", "one frame", "no face"],
)
def test_bad_input_is_one_line_and_loses_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    make: Callable[[Path], Path],
    said: str,
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    older = Timeline(intervals=(), start_s=0, end_s=1).to_json()
    (out / "timeline.json").write_text(older)
    assert run(monkeypatch, "analyze", make(tmp_path / "input.mp4"), "--out", out, "--overwrite") == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(lines) == 1 and said in lines[0]
    assert (out / "timeline.json").read_text() == older
    assert {p.name for p in tmp_path.iterdir()} <= {"out", "input.mp4"}


def test_an_older_result_is_replaced_only_when_asked(
    half_face: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command = ("analyze", half_face, "--out", out, "--no-overlay", "--end", "0.3")
    assert run(monkeypatch, *command) == 0
    assert run(monkeypatch, *command) == 1
    assert "--overwrite" in capsys.readouterr().err
    (out / "notes.txt").write_text("the user's own")
    assert run(monkeypatch, *command, "--overwrite") == 1
    assert "also holds notes.txt" in " ".join(capsys.readouterr().err.split())
    (out / "notes.txt").unlink()
    assert run(monkeypatch, *command, "--overwrite") == 0
    assert {p.name for p in out.iterdir()} == WRITTEN | {"windows.csv", "network_flow.csv"}
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_folder_that_is_no_result_is_never_replaced(
    half_face: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    assert run(monkeypatch, "analyze", half_face, "--out", tmp_path, "--overwrite") == 1
    assert "left alone" in " ".join(capsys.readouterr().err.split())
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_video_inside_its_own_result_is_refused(
    half_result: tuple[Path, Timeline], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, _ = half_result
    before = (out / "overlay.mp4").read_bytes()
    assert run(monkeypatch, "analyze", out / "overlay.mp4", "--out", out, "--overwrite") == 1
    assert "lies inside" in " ".join(capsys.readouterr().err.split())
    assert (out / "overlay.mp4").read_bytes() == before


def test_an_output_that_cannot_be_written_is_explained(
    half_face: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("a file")
    assert run(monkeypatch, "analyze", half_face, "--out", tmp_path / "file" / "out") == 1
    assert "cannot write" in capsys.readouterr().err


def test_a_full_disk_is_one_line_and_leaves_nothing(
    half_face: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    assert run(monkeypatch, "analyze", half_face, "--out", tmp_path / "out", "--no-overlay", "--end", "0.3") == 1
    assert "No space left" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_leaves_the_older_result(half_face: Path, tmp_path: Path, number: int, code: int) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "timeline.json").write_text("older")
    frames = tmp_path / "frames"
    frames.mkdir()
    picture = frames / "0.png"
    cv2.imwrite(str(picture), face_closeup())
    for k in range(1, 3000):  # long enough to be interrupted
        (frames / f"{k}.png").symlink_to(picture)
    command = [sys.executable, "-m", "openmer", "analyze", frames, "--fps", "30", "--out", out, "--overwrite"]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job would ignore it
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".out.*/flow.cache")) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(number)
    _, printed = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in printed
    assert (out / "timeline.json").read_text() == "older"
    assert {p.name for p in tmp_path.iterdir()} == {"out", "frames"}


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--fps", "fast"), 1, "--fps must be a number"),
        (("--start", "3", "--end", "2"), 1, "0 <= start < end"),
        (("--start", "99"), 1, "before 99 s, where reading should start"),
        (("--start", "nan"), 1, "0 <= start < end"),
        (("--end", "inf"), 1, "0 <= start < end"),
        (("--fps", "1e-400"), 1, "--fps must be a number"),
        (("--fps", "0.05"), 1, "between 0.1 and 10000"),
        (("--fps", "100000"), 1, "between 0.1 and 10000"),
        (("--engine", "classical", "--device", "cuda"), 1, "runs on the CPU"),
        (("--predictor", "nowhere.dat"), 1, "no landmark predictor"),
        (("--predictor", "nowhere.dat", "--face", "mesh"), 1, "--predictor is a file of dlib's"),
        (("--flow", "raft"), 2, "invalid choice"),
        (("--workers", "-1"), 1, "number of processor cores"),
        (("--alarms-per-minute", "2", "--engine", "classical"), 1, "needs a network's opinion"),
        (("--live", "0"), 1, "--live replaces VIDEO"),
    ],
)
def test_bad_settings_are_explained(
    half_face: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    code: int,
    said: str,
) -> None:
    assert run(monkeypatch, "analyze", half_face, "--out", tmp_path / "out", *arguments) == code
    assert said in " ".join(capsys.readouterr().err.split())
    assert list(tmp_path.iterdir()) == []


def test_memory_does_not_grow_with_the_video() -> None:
    """Between 20 and 120 frames only rows of numbers may be added: some 3 KB a frame, not pictures of 90 KB."""
    import tracemalloc

    from openmer.media.reader import Frame
    from openmer.video.frame import FrameAnalyzer
    from openmer.video.measure import measure
    from openmer.video.regions import MotionMeter

    def peak(count: int) -> int:
        rng = np.random.default_rng(0)
        frames = (Frame(k, k / 30, noisy(face_closeup(1.0), rng)) for k in range(count))
        tracker, meter = FaceTracker(DlibFaceModel()), MotionMeter()
        tracemalloc.start()
        measure(frames, FrameAnalyzer(tracker, meter))
        try:
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(120) - peak(20) < 100 * 10_000


def test_the_settings_in_the_result_can_be_read_again(half_result: tuple[Path, Timeline]) -> None:
    content = json.loads((half_result[0] / "timeline.json").read_text())
    assert content["schema"] == "openmer.timeline/1"
    assert content["provenance"]["settings"]["align"] == "per_clip"


def test_every_step_is_told_in_order(half_face: Path, tmp_path: Path) -> None:
    told: list[tuple[str, int, int | None]] = []
    settings = AnalyzeSettings(engine="classical")
    whole = run_analysis(half_face, tmp_path / "out", settings, watch=lambda *step: told.append(step))
    assert told == [(stage, k, 45) for stage in ("Measuring", "Drawing") for k in range(46)]
    assert whole.timeline == read_timeline(tmp_path / "out" / "timeline.json")
    assert len(whole.measured.frames) == 45


def test_flow_is_drawn_only_where_its_square_reaches() -> None:
    """A square of 4 px at (3, 2), and one whose corner alone is in the picture; one pixel more on every side."""
    shifted = np.array([[1.0, 0.0, 3.0], [0.0, 1.0, 2.0]])
    assert _around(shifted, 4, (20, 30, 3)) == (slice(1, 7), slice(2, 8))
    assert _around(np.add(shifted, (0, 0, -6)), 4, (20, 30, 3)) == (slice(0, 1), slice(0, 2))
    assert _around(np.add(shifted, (0, 0, 40)), 4, (20, 30, 3)) == (slice(41, 20), slice(42, 30)), "nothing"


def test_a_magnified_dot_lies_as_many_times_as_far() -> None:
    """A dot at (20, 40) that the flow carries by (2, -1) px, three times as far: at (26, 37)."""
    image = np.zeros((128, 128, 3), np.uint8)
    image[38:43, 18:23] = 255
    flow = np.stack([np.full((64, 64), 1, np.float32), np.full((64, 64), -0.5, np.float32)])  # of a grid half as fine
    y, x, _ = np.nonzero(magnified(image, flow, 3) > 128)
    assert (x.mean(), y.mean()) == pytest.approx((26, 37), abs=0.1)


@pytest.mark.parametrize("arguments", [["--help"], ["loso", "--help"], ["version"]])
def test_a_reader_who_has_had_enough_ends_it_quietly(arguments: list[str]) -> None:
    command = [sys.executable, "-m", "openmer", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()  # as `| head` does, before anything is written
        said = process.stderr.read()
    assert said == ""
    assert process.returncode == 128 + 13


def test_a_key_moment_shows_the_frames_that_the_network_judged() -> None:
    """Frame 9 was left out. The pictures are those of the frames that the network judged, not of an even share."""
    frames = np.array([k for k in range(22) if k != 9])
    points = np.random.default_rng(0).uniform(20, 100, (68, 2)).astype(np.float32)
    signals = SimpleNamespace(real_s=frames / 30, times_s=frames / 30, track=np.zeros(21, int))
    measured = SimpleNamespace(
        frames=frames, alignments=[align(points)] * 21, landmarks=np.stack([points] * 21), signals=signals
    )
    seen = (0, 3, 6, 8, 12, 15, 18, 21)
    window = Window(start_s=0.0, end_s=0.7, start_frame=0, end_frame=21, probabilities={"none": 1.0}, frames=seen)
    marked = Interval(onset_s=0.2, apex_s=0.3, offset_s=0.5, label="candidate", onset_frame=6)
    timeline = Timeline(intervals=(marked,), start_s=0.0, end_s=0.7, windows=(window,))
    (moment,) = choose_moments(timeline, measured)  # type: ignore[arg-type]
    assert moment.window == seen
    assert moment.times_s == tuple(k / 30 for k in seen)
    assert moment.means == ((0,), (2, 3), (5, 6), (7, 8), (11, 12), (14, 15), (17, 18), (20, 21))
    signals.real_s, signals.track[frames < 6] = frames / 100, -1  # the face is found at frame 6
    (moment,) = choose_moments(timeline, measured)  # type: ignore[arg-type]
    assert moment.means[2:5] == ((6,), (6, 7, 8), (8, 10, 11, 12))
    assert moment.needs(10) and not moment.needs(5)
