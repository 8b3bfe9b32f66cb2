"""The network in the video way: which frames become a window, what is kept, and what the results say."""

import csv
import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from scoring import judge_flow, judge_landmarks

from footage import face_closeup, noisy, write_video
from openmer import AnalyzeSettings, Interval, analyze, read_timeline
from openmer.clips.build import build_clip
from openmer.clips.store import ClipStore
from openmer.datasets.simulated import SimulatedClips, prepare_simulated
from openmer.errors import InputError
from openmer.evaluation.evaluate import predict
from openmer.evaluation.metrics import detection_scores
from openmer.face.dlib_model import DlibFaceModel
from openmer.face.track import Face, FaceTracker
from openmer.media.reader import VideoReader, as_gray
from openmer.models.engine import Engine, load_engine, threshold_for
from openmer.models.mol import create_model
from openmer.models.weights import ModelDescription, load_model, read_record, save_model
from openmer.timeline import Window
from openmer.training.data import ClipData
from openmer.video.frame import LocatedFrame
from openmer.video.recognition import Recognition, apply_network
from openmer.video.windows import BatchNetwork, BufferedFrame, FrameBuffer, window_input

CLASSES = ("none", "negative", "positive", "surprise")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "chance.safetensors"
    model = create_model("mol-lite", num_classes=4)
    save_model(model, path, ModelDescription(classes=CLASSES, trained_on="nothing: fresh weights"))
    return path


@pytest.fixture(scope="module")
def engine(weights: Path) -> Engine:
    return load_engine(weights, "cpu")


@pytest.fixture(scope="module")
def face() -> tuple[np.ndarray, Face]:
    gray = as_gray(face_closeup(1.0))
    found = FaceTracker(DlibFaceModel()).update(gray)
    assert found is not None
    return gray, found


def windows_of(
    engine: Engine, face: tuple[np.ndarray, Face], fps: float, count: int, *, without: range = range(0)
) -> list[tuple[int, int]]:
    return windows_at(engine, face, np.arange(count) / fps, without=without)


def windows_at(
    engine: Engine, face: tuple[np.ndarray, Face], times_s: np.ndarray, *, without: range = range(0)
) -> list[tuple[int, int]]:
    gray, found = face
    network = BatchNetwork(engine)
    for k, moment in enumerate(times_s):
        network.update(LocatedFrame(k, float(moment), gray, None if k in without else found))
    return [(w.start_frame, w.end_frame) for w in network.finish().windows]


def test_windows_follow_time_and_overlap(engine: Engine, face: tuple[np.ndarray, Face]) -> None:
    # 0.085 s are 2.55 frames of 30 a second: every third; 8 frames span 21, the next begins two of them later.
    assert windows_of(engine, face, 30, 40) == [(0, 21), (6, 27), (12, 33), (18, 39)]
    # 8.5 frames of 100 a second are rounded to 8.
    assert windows_of(engine, face, 100, 90) == [(0, 56), (16, 72), (32, 88)]
    assert windows_of(engine, face, 30, 15) == [(0, 14)], "a short clip is covered by one window"


@pytest.mark.parametrize(("step_s", "is_window"), [(0.085, True), (0.12, True), (0.15, False)])
def test_a_window_lasts_no_longer_than_in_training(
    face: tuple[np.ndarray, Face], step_s: float, is_window: bool
) -> None:
    """Eight frames last seven steps: 0.595, 0.84 and 1.05 s; training ends at 0.9 s."""
    gray, located = face
    buffer = FrameBuffer(8)
    for k in range(8):
        assert buffer.add(LocatedFrame(k, k * step_s, gray, located)) and not (k < 7 and buffer.is_window)
    assert buffer.is_window == is_window and buffer.run == 0
    assert not buffer.add(LocatedFrame(8, 7 * step_s + 0.03, gray, located)), "too soon after the last"
    assert not buffer.add(LocatedFrame(9, 8 * step_s, gray, None)) and buffer.run == 1 and not buffer.frames


@pytest.mark.parametrize(("rate", "averaged"), [(30, 1), (50, 3), (60, 3), (100, 5), (200, 10)])
def test_a_fast_cameras_pictures_are_averaged(face: tuple[np.ndarray, Face], rate: int, averaged: int) -> None:
    """The mean of the frames of the last 0.05 s, the newest included: of k, k - 1, ... it is k - (n - 1) / 2."""
    _, located = face
    buffer = FrameBuffer(8, 0.1, 0.5 / rate)
    for k in range(rate):
        buffer.add(LocatedFrame(k, k / rate, np.full((4, 4), k, np.uint8), located))
    newest = buffer.frames[-1]
    assert int(newest.gray[0, 0]) == round(newest.index - (averaged - 1) / 2)


def test_a_mean_does_not_go_across_a_lost_face(face: tuple[np.ndarray, Face]) -> None:
    _, located = face
    buffer = FrameBuffer(8)
    for k in range(3):
        buffer.add(LocatedFrame(k, k / 100, np.full((4, 4), 200, np.uint8), located))
    buffer.add(LocatedFrame(3, 0.03, np.full((4, 4), 200, np.uint8), None))
    buffer.add(LocatedFrame(4, 0.04, np.full((4, 4), 10, np.uint8), located))
    assert int(buffer.frames[-1].gray[0, 0]) == 10


def test_a_mean_does_not_mix_pictures_of_two_sizes(face: tuple[np.ndarray, Face]) -> None:
    _, located = face
    buffer = FrameBuffer(8, 0.1, 0.005)
    for k in range(11):
        side = 4 if k < 8 else 6
        buffer.add(LocatedFrame(k, k / 100, np.full((side, side), k, np.uint8), located))
    assert buffer.frames[-1].index == 10 and buffer.frames[-1].gray.shape == (6, 6)
    assert int(buffer.frames[-1].gray[0, 0]) == 9, "the mean of 8, 9 and 10"


def test_no_window_goes_across_a_lost_face(engine: Engine, face: tuple[np.ndarray, Face]) -> None:
    assert windows_of(engine, face, 30, 52, without=range(25, 30)) == [(0, 21), (30, 51)]


def test_where_frames_are_too_few_the_network_is_silent(engine: Engine, face: tuple[np.ndarray, Face]) -> None:
    gray, found = face
    slow = BatchNetwork(engine)
    for k in range(20):
        slow.update(LocatedFrame(k, k / 5, gray, found))
    recognition = slow.finish()
    assert recognition.windows == () and "longer than in its training" in str(recognition.silent)
    short = BatchNetwork(engine)
    short.update(LocatedFrame(0, 0.0, gray, found))
    assert "as long as a window" in str(short.finish().silent)


def test_each_stretch_of_a_video_has_the_spacing_of_its_own_frames(
    engine: Engine, face: tuple[np.ndarray, Face]
) -> None:
    """Joined recordings of 5, 30 and 100 frames a second; what the first of them has decides nothing for the others."""
    slow, usual, fast = np.arange(20) / 5, np.arange(40) / 30, np.arange(90) / 100
    after_gaps = np.concatenate([slow, 10 + usual, 20 + fast])
    # As in each alone (see above), by the number of its first frame: 20 and 60. At 5 there is no window.
    expected = [(20, 41), (26, 47), (32, 53), (38, 59), (60, 116), (76, 132), (92, 148)]
    assert windows_at(engine, face, after_gaps) == expected
    network = BatchNetwork(engine)
    for k, moment in enumerate(after_gaps):
        network.update(LocatedFrame(k, float(moment), *face))
    assert "at 5 frames a second" in str(network.finish().silent), "a part without an opinion is told"
    # Without a gap, a new rate is seen after sixteen steps; from then on the spacing is the new one.
    joined = np.concatenate([usual, usual[-1] + np.arange(1, 90) / 90])  # 7.65 frames: every eighth
    spans = {b - a for a, b in windows_at(engine, face, joined)}
    assert spans == {21, 56}


def test_a_stretch_longer_than_its_measuring_and_shorter_than_a_window_is_covered_whole(
    engine: Engine, face: tuple[np.ndarray, Face]
) -> None:
    """Of 30 frames a second a window lasts 22; here are 20, then a pause, then enough."""
    short, long = np.arange(20) / 30, 10 + np.arange(40) / 30
    assert windows_at(engine, face, np.concatenate([short, long])) == [
        (0, 14),
        (4, 18),
        (20, 41),
        (26, 47),
        (32, 53),
        (38, 59),
    ]


def test_a_few_dropped_frames_leave_the_spacing_as_it_is(engine: Engine, face: tuple[np.ndarray, Face]) -> None:
    times = np.arange(60) / 30
    kept = np.delete(times, [5, 17, 18, 33])
    for first, last in windows_at(engine, face, kept):
        assert 0.6 <= kept[last] - kept[first] <= 0.9


def test_the_video_way_and_the_training_way_give_one_tensor(tmp_path: Path) -> None:
    """The same frames and landmarks through the store and through a window of a video."""
    rng = np.random.default_rng(0)
    images = [noisy(face_closeup(1.0), rng) for _ in range(8)]
    video = write_video(tmp_path / "a.mp4", images, Fraction(30))
    tracker = FaceTracker(DlibFaceModel())
    held = []
    for frame in VideoReader(video):
        gray = as_gray(frame.image)
        found = tracker.update(gray)
        assert found is not None
        held.append(BufferedFrame(frame.index, frame.time_s, gray, found.landmarks))
    clip = build_clip(
        [h.gray for h in held],
        np.stack([h.landmarks for h in held]),
        np.array([h.time_s for h in held]),
    )
    clip = replace(clip, label="none", subject="a")
    store = ClipStore.create(tmp_path / "store", {})
    store.add("k", [clip, clip], dataset="d", samples=["x", "y"])
    stored = ClipData(store, store.entries, ("none", "negative")).evaluation_batch([0]).inputs[0].numpy()
    through_video, alignment = window_input(held)
    assert np.array_equal(stored, through_video)
    landmarks = alignment.to_crop(held[3].landmarks)
    assert np.allclose(landmarks + 8, np.asarray(clip.landmarks)[3], atol=1e-3), "the crop is the middle of the 144"


def recognition(engine: Engine, *rows: tuple[float, float, float]) -> Recognition:
    """Windows (start, end, p of none); the rest is negative."""
    windows = tuple(
        Window(
            start_s=a,
            end_s=b,
            start_frame=0,
            end_frame=1,
            probabilities={"none": p, "negative": 1 - p, "positive": 0.0, "surprise": 0.0},
        )
        for a, b, p in rows
    )
    empty = np.zeros((0, 2), np.int64)
    nothing = np.zeros((0, 68, 2), np.float32)
    return Recognition(engine, windows, empty[:, 0], nothing, empty, empty.astype(float), nothing[:, :12])


def candidate(apex_s: float) -> Interval:
    return Interval(label="candidate", onset_s=apex_s - 0.1, apex_s=apex_s, offset_s=apex_s + 0.1)


def test_an_interval_gets_the_mean_of_the_windows_that_have_its_apex_well_inside(engine: Engine) -> None:
    said = recognition(engine, (0.0, 1.0, 0.2), (0.5, 1.5, 0.4), (1.0, 2.0, 0.9))
    probabilities = said.of(candidate(0.75))  # the first's inner part ends at 0.8, the second's begins at 0.7
    assert probabilities == {"none": 0.3, "negative": 0.7, "positive": 0.0, "surprise": 0.0}
    assert said.of(candidate(1.95)) == {"none": 0.9, "negative": 0.1, "positive": 0.0, "surprise": 0.0}
    assert said.of(candidate(3.0)) is None


def test_candidates_without_an_expression_are_set_aside_and_nothing_else_is(engine: Engine) -> None:
    said = recognition(engine, (0.0, 1.0, 0.7), (5.0, 6.0, 0.1))
    aside = apply_network(candidate(0.5), said.windows, engine, 0.5)
    assert (aside.label, aside.expression) == ("set_aside", "none")
    kept = apply_network(candidate(5.5), said.windows, engine, 0.5)
    assert (kept.label, kept.expression) == ("candidate", "negative")
    assert apply_network(candidate(3.0), said.windows, engine, 0.5) == candidate(3.0), (
        "where no window lies nothing is known"
    )
    blink = Interval(label="blink", onset_s=0.4, offset_s=0.6)
    assert apply_network(blink, said.windows, engine, 0.5) == blink


def test_an_analysis_carries_what_the_network_said_and_what_it_was_trained_on(weights: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    video = write_video(tmp_path / "a.mp4", (noisy(face_closeup(1.0), rng) for _ in range(34)), Fraction(30))
    out = tmp_path / "out"
    timeline = analyze(video, out, AnalyzeSettings(engine=str(weights)))
    assert read_timeline(out / "timeline.json") == timeline
    assert timeline.provenance["engine"] == "chance"
    assert timeline.provenance["trained_on"] == "nothing: fresh weights"
    assert len(timeline.windows) == 3
    assert all(sum(w.probabilities.values()) == pytest.approx(1, abs=1e-3) for w in timeline.windows)
    with (out / "windows.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(r["p_none"]) for r in rows] == [w.probabilities["none"] for w in timeline.windows]
    with (out / "network_flow.csv").open() as file:
        flows = list(csv.DictReader(file))
    assert [(r["from_frame"], r["to_frame"]) for r in flows[:2]] == [("0", "3"), ("3", "6")]
    assert len(flows) == 11, "no pair is listed twice"
    with np.load(out / "landmarks.npz") as stored:
        assert stored["network_frame"].tolist() == list(range(3, 34, 3))
        assert stored["network_landmarks_px"].shape == (11, 68, 2)
    page = (out / "report.html").read_text()
    assert "nothing: fresh weights" in page and "Not validated on real micro-expressions" in page
    assert json.loads((out / "timeline.json").read_text())["provenance"]["classes"] == list(CLASSES)
    assert timeline.provenance["settings"]["engine"] == "chance.safetensors"
    for written in ("timeline.json", "report.html"):
        assert str(weights.parent) not in (out / written).read_text(), "folders can name people"


@pytest.fixture(scope="module")
def unseen(tmp_path_factory: pytest.TempPathFactory) -> ClipData:
    store = prepare_simulated(tmp_path_factory.mktemp("store"), SimulatedClips(subjects=6, seed=4321), processes=2)
    return ClipData(store, store.entries, read_record("mol-lite").classes)


def test_the_weights_that_ship_follow_simulated_people_they_have_not_seen(unseen: ClipData) -> None:
    """What their record says holds: they beat TV-L1 on small motion, and find the landmarks."""
    record, model = read_record("mol-lite"), load_model("mol-lite")
    assert "simulated" in record.trained_on and record.scores["real_micro_expressions"] is None
    flow = judge_flow(model, unseen.subset(range(0, len(unseen), 3)), methods=("tvl1",))["moving"]  # TV-L1 takes long
    assert flow["network"] < 0.8 * flow["tvl1"]
    assert judge_landmarks(model, unseen)["nme_mean"] < 0.04


def test_the_weights_that_ship_tell_an_expression_from_none_better_than_a_guess(unseen: ClipData) -> None:
    scores = detection_scores(predict(load_model("mol-lite"), unseen), unseen.classes.index("none"))
    assert scores.uf1 >= 0.6, "saying that every clip has one gives 0.43"


@pytest.mark.xfail(
    reason="the second generation's small motions are beyond them; the card has the figures", strict=True
)
def test_the_weights_that_ship_tell_an_expression_from_none(unseen: ClipData) -> None:
    scores = detection_scores(predict(load_model("mol-lite"), unseen), unseen.classes.index("none"))
    assert scores.accuracy >= 0.8, "chance would be 0.75 by saying that every clip has one, with UF1 0.43"
    assert scores.uf1 >= 0.7


def test_analysis_uses_them_by_default_and_says_what_they_are(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    video = write_video(tmp_path / "a.mp4", (noisy(face_closeup(1.0), rng) for _ in range(34)), Fraction(30))
    timeline = analyze(video, tmp_path / "out", AnalyzeSettings(overlay=False))
    assert timeline.provenance["engine"] == "mol-lite"
    trained_on = "simulated faces; not validated on real micro-expressions"
    assert timeline.provenance["trained_on"] == trained_on
    assert trained_on in (tmp_path / "out" / "report.html").read_text()
    assert np.mean([w.probabilities["none"] for w in timeline.windows]) > 0.5, "a still face shows nothing"


def test_weights_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no weights are called 'nonsense'"):
        load_engine("nonsense")
    small = create_model("mol-lite", num_classes=4, size=64)
    save_model(small, tmp_path / "small.safetensors", ModelDescription(classes=CLASSES, trained_on="nothing"))
    with pytest.raises(InputError, match="crops of 128 px"):
        load_engine(tmp_path / "small.safetensors")


def test_a_bound_on_false_alarms_chooses_the_mildest_threshold_that_keeps_it() -> None:
    points = [(0.0, 9.0), (0.5, 3.0), (0.7, 2.0), (0.9, 0.4)]
    measured = [{"expression_threshold": t, "alarms_per_minute": a} for t, a in points]
    record = replace(read_record("mol-lite"), scores={"operating_points": {"on": "two films", "points": measured}})
    assert [threshold_for(record, bound) for bound in (20, 3.0, 2.5, 0.5)] == [0.0, 0.5, 0.7, 0.9]
    with pytest.raises(InputError, match=r"at its strictest, mol-lite\.safetensors gave 0\.4 a minute on two films"):
        threshold_for(record, 0.1)
    with pytest.raises(InputError, match="has not been measured"):
        threshold_for(replace(record, scores={}), 2)
