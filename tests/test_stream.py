"""A video as it comes: the same events as afterwards, each once, soon, and nothing that grows."""

import csv
import signal
import time
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from footage import Image, excursions, face_closeup, noisy, smirk, write_video
from openmer import AnalyzeSettings, InputError, StreamSettings, analyze, stream
from openmer.clip import Times
from openmer.exchange.export import export
from openmer.face.track import Box, Face
from openmer.media.camera import LiveSource
from openmer.media.reader import Frame
from openmer.models.mol import create_model
from openmer.models.weights import ModelDescription, save_model
from openmer.timeline import Interval, read_timeline
from openmer.video.frame import LocatedFrame
from openmer.video.live import SETTLED_S, RunningSpotter
from openmer.video.measurements import measurements_of, read_signals, row_of
from openmer.video.settings import SpottingSettings
from openmer.video.spotting import spot
from openmer.video.watch import watch
from openmer.video.windows import FrameBuffer
from terminal import run

FPS = 30
TABLES = {"timeline.json", "timeline.csv", "frames.csv", "landmarks.npz"}
CLASSICAL = StreamSettings(engine="classical")


def timed(images: Iterable[Image]) -> Iterator[tuple[float, Image]]:
    return ((k / FPS, image) for k, image in enumerate(images))


def still(seconds: float) -> Iterator[tuple[float, Image]]:
    rng = np.random.default_rng(0)
    return timed(noisy(face_closeup(), rng) for _ in range(round(seconds * FPS)))


@pytest.fixture(scope="module")
def small_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "chance.safetensors"
    model = create_model("mol-lite", num_classes=4)
    save_model(
        model,
        path,
        ModelDescription(classes=("negative", "none", "positive", "surprise"), trained_on="nothing: fresh weights"),
    )
    return path


def test_a_smirk_is_given_once_and_soon() -> None:
    given = [(m.time_s, i) for m in stream(timed(smirk(FPS, 1.4, 0.3, 1.5, 4.0)), CLASSICAL) for i in m.intervals]
    ((when_s, found),) = [(t, i) for t, i in given if i.label == "candidate"]
    assert found.regions[0] == "mouth_right"
    assert found.iou(Interval(onset_s=1.4, offset_s=1.7, label="truth")) >= 0.5
    assert found.apex_s is not None and found.apex_s + SETTLED_S <= when_s <= found.apex_s + SETTLED_S + 0.3


def test_what_happens_in_the_last_second_is_given_at_the_end() -> None:
    moments = list(stream(timed(smirk(FPS, 1.4, 0.3, 1.5, 2.0)), CLASSICAL))
    assert not any(i.label == "candidate" for m in moments[:-1] for i in m.intervals)
    assert moments[-1].is_end and moments[-1].frame == moments[-2].frame == len(moments) - 2
    assert [i.label for i in moments[-1].intervals] == ["candidate"]
    assert not any(m.is_end for m in stream(still(0.5), CLASSICAL)), "where nothing is left there is no more"


def test_the_network_speaks_of_the_newest_pair_and_window(small_weights: Path) -> None:
    settings = StreamSettings(engine=str(small_weights), motion=False, device="cpu")
    moments = list(stream(still(1.5), settings))
    new = [m.frame for m in moments if m.network_flow is not None]
    assert new == list(range(3, 45, 3)), "a pair every tenth of a second"
    windows = [m.window for m in moments if m.window is not None]
    assert [w.end_frame for w in windows] == list(range(21, 45, 3)) and windows[0].start_frame == 0
    spoken = [m for m in moments if m.probabilities is not None]
    assert spoken[0].frame == 21 and sum(spoken[0].probabilities.values()) == pytest.approx(1, abs=1e-3)
    assert all(m.motion is None and not m.intervals for m in moments)
    face, points = moments[30].face, moments[30].network_landmarks
    assert face is not None and points is not None and points.shape == (68, 2)
    inside = (points > (face.box.left - 100, face.box.top - 100)) & (
        points < (face.box.right + 100, face.box.bottom + 100)
    )
    assert inside.all(), "in pixels of the picture"


def test_where_the_face_goes_away_the_window_is_forgotten(small_weights: Path) -> None:
    def gone() -> Iterator[tuple[float, Image]]:
        for time_s, image in still(2.0):
            yield time_s, np.full_like(image, 128) if 1.0 <= time_s < 1.2 else image

    settings = StreamSettings(engine=str(small_weights), motion=False, device="cpu", heads=("mer",))
    silent = {m.frame for m in stream(gone(), settings) if m.probabilities is None}
    assert silent >= {*range(20), *range(30, 50)} and 29 not in silent and 59 not in silent


def test_what_cannot_be_a_stream_is_said() -> None:
    picture = np.zeros((64, 64, 3), np.uint8)
    with pytest.raises(InputError, match="must rise"):
        list(stream([(0.0, picture), (0.0, picture)], CLASSICAL))
    with pytest.raises(InputError, match="needs a network"):
        StreamSettings(engine="classical", motion=False)
    for bare in (picture, (0.0,), (0.0, "picture")):
        with pytest.raises(InputError, match="pairs of a time in seconds and a picture"):
            list(stream([bare], CLASSICAL))  # type: ignore[list-item]
    for odd in (picture.astype(np.float32), picture[..., :2], picture[0, 0]):
        with pytest.raises(InputError, match=r"must be .* uint8, got"):
            list(stream([(0.0, odd)], CLASSICAL))  # type: ignore[list-item]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(1)
    frames = (noisy(face_closeup(1.0), rng) for _ in range(45))
    return write_video(tmp_path_factory.mktemp("live") / "face.mp4", frames, Fraction(FPS))


def test_a_slow_eye_misses_frames_and_the_source_counts_them(clip: Path) -> None:
    source = LiveSource(clip)
    seen = []
    for frame in source:
        seen.append(frame.index)
        time.sleep(0.12)
    assert seen == sorted(set(seen)) and seen[-1] == 44, "the newest are kept"
    assert source.dropped == 45 - len(seen) > 15
    assert source.fps == FPS


def test_a_file_is_played_at_its_own_pace(clip: Path) -> None:
    start = time.monotonic()
    assert [f.index for f in LiveSource(clip)][:1] == [0]
    assert time.monotonic() - start >= 44 / FPS - 0.05


def test_watching_writes_what_was_found_and_says_what_was_missed(clip: Path, tmp_path: Path) -> None:
    timeline = watch(LiveSource(clip), tmp_path / "out", CLASSICAL, seconds=1.0)
    assert {p.name for p in (tmp_path / "out").iterdir()} == TABLES
    assert read_timeline(tmp_path / "out" / "timeline.json") == timeline
    assert timeline.provenance["source"] == "live"
    assert any("can be missed" in w for w in timeline.provenance["warnings"])
    with (tmp_path / "out" / "frames.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["face_found"] == "True"
    assert 1.0 <= float(rows[-1]["time_s"]) < 1.2 and timeline.end_s > float(rows[-1]["time_s"])
    assert len(rows) + timeline.provenance["frames_dropped"] >= int(rows[-1]["frame"]) + 1


def test_slow_motion_is_watched_on_the_clock_of_what_was_recorded(clip: Path, tmp_path: Path) -> None:
    """Filmed at four times the rate that the file is played at: a second of it is a quarter of one."""
    timeline = watch(LiveSource(clip, fps=Fraction(4 * FPS)), tmp_path / "out", CLASSICAL, seconds=0.5)
    assert timeline.clock.slowdown == pytest.approx(4) and timeline.clock.real_fps == pytest.approx(4 * FPS)
    with (tmp_path / "out" / "frames.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert float(rows[-1]["real_time_s"]) == pytest.approx(float(rows[-1]["time_s"]) / 4, abs=1e-5)


def test_pictures_of_a_folder_keep_their_names(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    names = [f"img{k:03d}.png" for k in range(3, 9)]
    for name in names:
        cv2.imwrite(str(tmp_path / "pictures" / name), face_closeup())
    watch(LiveSource(tmp_path / "pictures", fps=Fraction(5)), tmp_path / "out", CLASSICAL)
    with (tmp_path / "out" / "frames.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows and all(row["picture"] == f"img{int(row['frame']):03d}.png" for row in rows)


class Played:
    """A camera that gives these pictures and then breaks off, if it is told to."""

    fps = float(FPS)
    dropped = 0
    clock = None
    problems = ()

    def __init__(self, images: Iterable[tuple[float, Image]], *, breaks: bool) -> None:
        self._images, self._breaks = images, breaks

    def __iter__(self) -> Iterator[Frame]:
        for number, (time_s, image) in enumerate(self._images):
            yield Frame(number, time_s, image)
        if self._breaks:
            raise InputError("the camera gave no more pictures")

    def stop(self) -> None:
        pass


def test_a_camera_that_breaks_off_loses_nothing(small_weights: Path, tmp_path: Path) -> None:
    def gone() -> Iterator[tuple[float, Image]]:
        for time_s, image in still(2.0):
            yield time_s, np.full_like(image, 128) if 0.99 <= time_s < 1.19 or time_s > 1.89 else image

    settings = StreamSettings(engine=str(small_weights), device="cpu")
    timeline = watch(Played(gone(), breaks=True), tmp_path / "out", settings)  # type: ignore[arg-type]
    said = timeline.provenance
    assert said["warnings"][-1] == "The source failed: the camera gave no more pictures."
    assert "51 of 60 frames could be analysed; in the others no face was found." in said["warnings"]
    first, second = timeline.gaps
    assert (first.onset_frame, first.offset_frame, second.onset_frame, second.offset_frame) == (30, 36, 57, 59)
    assert first.onset_s == pytest.approx(30 / FPS) and first.offset_s == pytest.approx(36 / FPS)
    assert timeline.windows and said["engine"] == "chance" and said["weights_sha256"] and said["caution"]
    with (tmp_path / "out" / "windows.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["p_none"]) for row in rows] == [w.probabilities["none"] for w in timeline.windows]
    with pytest.raises(InputError, match="no more pictures"):
        watch(Played((), breaks=True), tmp_path / "nothing", CLASSICAL)  # type: ignore[arg-type]
    assert not (tmp_path / "nothing").exists()
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra parquet")
    export(tmp_path / "out", "parquet", tmp_path / "live.parquet")
    faces = parquet.read_table(tmp_path / "live.parquet")["face_found"].to_pylist()
    assert len(faces) == 60 and faces[29] and not faces[30]


def test_what_was_measured_live_can_be_spotted_again(tmp_path: Path) -> None:
    """The same pictures as a file: the same columns, the same motion, the same events."""
    images = list(smirk(FPS, 0.9, 0.3, 1.5, 2.2))
    live = watch(Played(timed(images), breaks=False), tmp_path / "live", CLASSICAL)  # type: ignore[arg-type]
    frames = tmp_path / "frames"
    frames.mkdir()
    for k, image in enumerate(images):
        cv2.imwrite(str(frames / f"{k}.png"), image[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])  # noise: slow to pack
    settings = AnalyzeSettings(engine="classical", overlay=False, fps=Fraction(FPS))
    afterwards = analyze(frames, tmp_path / "file", settings)
    tables = [pd.read_csv(tmp_path / name / "frames.csv", dtype=str) for name in ("live", "file")]
    assert tables[1].pop("picture").tolist() == [f"{k}.png" for k in range(len(images))], "a camera's have no names"
    pd.testing.assert_frame_equal(tables[0], tables[1])
    again = spot(read_signals(tmp_path / "live" / "frames.csv"))
    assert [i.regions for i in live] == [i.regions for i in again] == [i.regions for i in afterwards]
    assert len(live) == 1 and live.intervals[0].iou(again[0]) > 0.9


class Interrupted(LiveSource):
    """A source during whose sixth frame the user presses Ctrl-C."""

    number = signal.SIGINT

    def __iter__(self) -> Iterator[Frame]:
        for count, frame in enumerate(super().__iter__()):
            if count == 5:
                signal.raise_signal(self.number)
            yield frame


def test_ctrl_c_ends_the_watching_and_keeps_the_result(clip: Path, tmp_path: Path) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        before = signal.getsignal(signal.SIGTERM)
        source = Interrupted(clip)
        source.number = number
        timeline = watch(source, tmp_path / number.name, CLASSICAL)
        frames = (tmp_path / number.name / "frames.csv").read_text().count("\n") - 1
        assert 6 <= frames <= 8, "the frames that had already come are still analysed"
        assert read_timeline(tmp_path / number.name / "timeline.json") == timeline
        assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--runtime", "onnx"), "leave out --runtime"),
        (("--stream", "1"), "leave out --stream"),
        (("--alarms-per-minute", "2", "--engine", "classical"), "needs a network's opinion"),
        (("--alarms-per-minute", "0.01"), "cannot tell rates below"),
    ],
)
def test_what_watching_cannot_do_is_said_at_once(
    clip: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    said: str,
) -> None:
    assert run(monkeypatch, "analyze", "--live", clip, "--out", tmp_path / "out", *arguments) == 1
    assert said in " ".join(capsys.readouterr().err.split()) and not list(tmp_path.iterdir())


def test_there_is_no_such_camera() -> None:
    with pytest.raises(InputError, match=r"camera 97 cannot be opened; cameras of this machine"):
        LiveSource("97")
    with pytest.raises(InputError, match="there is no file"):
        LiveSource("nowhere.mp4")


def test_frames_keep_their_own_numbers() -> None:
    frames = [Frame(10 + k, k / FPS, image) for k, (_, image) in enumerate(still(0.2))]
    assert [m.frame for m in stream(frames, CLASSICAL)] == [10, 11, 12, 13, 14, 15]


def test_any_error_while_reading_ends_the_waiting(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: LiveSource) -> Iterator[Frame]:
        yield Frame(0, 0.0, face_closeup())
        raise ValueError("no such colours")

    monkeypatch.setattr(LiveSource, "_paced", broken)
    source = iter(LiveSource(clip))
    assert next(source).index == 0
    with pytest.raises(InputError, match=r"cannot be read \(no such colours\)"):
        next(source)


def test_a_network_that_never_spoke_is_named(small_weights: Path, tmp_path: Path) -> None:
    slow = ((k / 4, image) for k, (_, image) in enumerate(still(0.4)))
    settings = StreamSettings(engine=str(small_weights))
    timeline = watch(Played(slow, breaks=False), tmp_path / "out", settings)  # type: ignore[arg-type]
    (told,) = (w for w in timeline.provenance["warnings"] if "gives no opinion" in w)
    assert "at 4 frames a second, 8 frames last 1.8 s" in told


def _given(times: Times, events: dict[float, int], seed: int) -> tuple[list[float], list[float]]:
    """Apexes of candidates that are found afterwards, and those that are given on the way."""
    results = list(excursions(times, events, np.random.default_rng(seed)))
    afterwards = spot(measurements_of([row_of(r) for r in results]).signals)
    spotter = RunningSpotter(SpottingSettings())
    given = [each for r in results for each in spotter.update(r)] + list(spotter.finish())
    return [round(i.apex_s or 0, 1) for i in afterwards], [round(i.apex_s or 0, 1) for i in given]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_uneven_stamps_lose_no_event(seed: int) -> None:
    """An apex moves by a frame from look to look, as the even grid does; it was given by none then."""
    rng = np.random.default_rng(seed)
    times = np.sort(np.arange(0, 40, 1 / 25) + rng.uniform(-0.004, 0.004, 1000))
    events = {float(k + rng.uniform(0, 1)): int(rng.integers(0, 12)) for k in np.arange(2, 38, 1.9)}
    afterwards, given = _given(times, events, seed)
    assert len(afterwards) > 15 and len(given) == len(afterwards)
    assert np.abs(np.array(given) - afterwards).max() <= 0.11


def test_what_happened_just_before_a_long_pause_is_given() -> None:
    times = np.concatenate([np.arange(0, 12, 1 / 30), np.arange(30, 42, 1 / 30)])
    afterwards, given = _given(times, {5.0: 3, 11.4: 4, 35.0: 5}, 1)
    assert given == afterwards and len(given) == 3


def test_windows_of_a_fast_camera_last_as_long_as_those_of_a_file() -> None:
    """Each frame as near to .085 s after the last as there is one: 200 frames a second, windows of .595 s."""
    face = Face(Box(0, 0, 9, 9), 1.0, np.zeros((68, 2), np.float32), 0)
    for rate, lasts_s in ((200, 0.595), (120, 7 * 10 / 120), (60, 7 * 5 / 60), (30, 7 * 3 / 30)):
        buffer = FrameBuffer(8)
        for k in range(rate):
            buffer.add(LocatedFrame(k, k / rate, np.zeros((9, 9), np.uint8), face))
        assert buffer.is_window and buffer.frames[-1].real_s - buffer.frames[0].real_s == pytest.approx(lasts_s)


def test_a_pause_is_a_gap_and_no_time_with_a_face() -> None:
    """Ten frames, a pause of 99.4 s, ten frames: two thirds of a second with a face."""
    times = np.concatenate([np.arange(10), np.arange(3000, 3010)]) / 30
    rows = [row_of(r) for r in excursions(times, {}, np.random.default_rng(0))]
    (gap,) = measurements_of(rows).gaps()
    assert (gap.onset_s, gap.offset_s) == pytest.approx((10 / 30, 100)) and (gap.onset_frame, gap.offset_frame) == (
        9,
        10,
    )
    without = [row._replace(values=None, track=-1) if k in (9, 10, 19) else row for k, row in enumerate(rows)]
    first, last = measurements_of(without).gaps()
    assert (first.onset_s, first.offset_s) == pytest.approx((9 / 30, 3001 / 30))
    assert (first.onset_frame, first.offset_frame) == (9, 11), "the frame at either end"
    assert (last.onset_s, last.offset_s) == pytest.approx((3009 / 30, 3010 / 30)) and last.offset_frame == 19
