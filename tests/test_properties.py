"""What must hold for any input, not for the ones that somebody thought of."""

import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn import metrics as reference

from openmer import InputError
from openmer.clip import ALIGNED_PX, CROP_PX
from openmer.clips.sampling import interleaved, uniform
from openmer.clips.store import StoredClip
from openmer.clips.transforms import EVAL, TransformSettings, mirrored_flow, mirrored_landmarks, moved_flow, transform
from openmer.datasets.folder import FolderDataset
from openmer.evaluation.metrics import ClassScores, confusion_matrix
from openmer.exchange.elan import read_elan, to_elan
from openmer.exchange.events import lanes, milliseconds
from openmer.exchange.table import read_table
from openmer.face.align import align, five_points
from openmer.media.reader import read_rate
from openmer.timeline import Interval, Timeline, Window

some = settings(max_examples=60, deadline=None)
few = settings(max_examples=20, deadline=None)

# Alignment

places = arrays.arrays(np.float32, (68, 2), elements=st.floats(0, 1000, width=32))


@some
@given(places, arrays.arrays(np.float32, (20, 2), elements=st.floats(-500, 1500, width=32)))
def test_any_face_that_can_be_aligned_is_aligned_there_and_back(landmarks: Any, points: Any) -> None:
    try:
        crop = align(landmarks)
    except InputError:
        return  # eyes in one place, or no extent
    scale = crop.scale
    if not 0.02 <= scale <= 20:
        return  # beyond these single precision has no pixels left
    there = crop.to_crop(points)
    np.testing.assert_allclose(crop.to_image(there), points, atol=0.05 * max(1, 1 / scale))
    # A similarity: distances grow by one factor, whichever way they lie, and nothing is mirrored.
    between = np.linalg.norm(points[1:] - points[:-1], axis=1)
    np.testing.assert_allclose(
        np.linalg.norm(there[1:] - there[:-1], axis=1), scale * between, rtol=1e-3, atol=0.05 * max(1, scale)
    )
    assert np.linalg.det(crop.matrix[:, :2]) > 0
    left, right = crop.to_crop(five_points(landmarks)[:2])
    assert abs(left[1] - right[1]) < 0.1 and left[0] <= right[0] + 0.01, (
        "the eyes are level, the picture's left one at the left"
    )
    whole = align(landmarks, size=ALIGNED_PX)
    np.testing.assert_allclose(whole.to_crop(points) - there, (ALIGNED_PX - CROP_PX) / 2, atol=0.01 * max(1, scale))


# Flips and crops


@some
@given(arrays.arrays(np.float32, (3, 2, 6, 9), elements=st.floats(-20, 20, width=32)))
def test_a_mirrored_flow_moves_mirrored_points(flow: Any) -> None:
    mirrored = mirrored_flow(flow)
    assert mirrored is not None
    width = flow.shape[-1]
    for y, x in ((0, 0), (2, 5), (5, 8)):
        dx, dy = flow[1, :, y, x]
        assert mirrored[1, :, y, width - 1 - x].tolist() == [-dx, dy]
    again = mirrored_flow(mirrored)
    assert again is not None and (again == flow).all()


@some
@given(arrays.arrays(np.float32, (2, 68, 2), elements=st.integers(0, 127).map(float)))
def test_mirrored_landmarks_are_a_permutation_and_twice_nothing(points: Any) -> None:
    mirrored = mirrored_landmarks(points)
    assert (mirrored_landmarks(mirrored) == points).all()
    assert sorted(mirrored[0, :, 1].tolist()) == sorted(points[0, :, 1].tolist())
    assert sorted((127 - mirrored[0, :, 0]).tolist()) == sorted(points[0, :, 0].tolist())


def positions() -> StoredClip:
    """A clip whose flow says where each of its pixels lay, and whose frames say it too, coarsely."""
    y, x = np.mgrid[:144, :144].astype(np.float32)
    flow = np.broadcast_to(np.stack([x, y]) / 2, (3, 2, 144, 144)).copy()
    return StoredClip(
        np.broadcast_to(x.astype(np.uint8), (4, 144, 144)).copy(), np.full((4, 68, 2), 70, np.float32), flow
    )


POSITIONS = positions()


@some
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_landmarks_and_flow_follow_any_crop_and_flip(seed: int, flip: bool) -> None:
    chosen = TransformSettings(random_crop=True, flip=float(flip))
    made = transform(POSITIONS, chosen, np.random.default_rng(seed))
    assert made.flow is not None
    # What the flow says of the pixel under a landmark is where that landmark lay: at (70, 70).
    column, row = (int(v) for v in made.landmarks[0, 30])
    sign = -1 if flip else 1
    assert (2 * made.flow[0, :, row, column] == [sign * 70, 70]).all()
    rising = np.diff(made.frames[0, 0, row])
    assert (sign * rising > 0).all()


@few
@given(st.integers(-8, 8), st.integers(-8, 8))
def test_a_shift_of_all_pictures_shifts_the_flow_and_changes_none(dx: int, dy: int) -> None:
    flow = POSITIONS.flow
    assert flow is not None
    maps = np.tile(np.array([[1, 0, dx - 8], [0, 1, dy - 8]], np.float32), (4, 1, 1))
    expected = flow[:, :, 8 - dy : 136 - dy, 8 - dx : 136 - dx]
    np.testing.assert_allclose(moved_flow(flow, maps), expected, atol=1e-3)


@few
@given(st.integers(0, 2**32 - 1), st.integers(0, 255))
def test_evaluation_is_blind_to_chance_and_to_brightness(seed: int, brighter: int) -> None:
    clip = StoredClip((POSITIONS.frames // 4 + brighter // 4).astype(np.uint8), POSITIONS.landmarks, None)
    base = StoredClip(POSITIONS.frames // 4, POSITIONS.landmarks, None)
    one, other = transform(clip, EVAL, np.random.default_rng(seed)), transform(base, EVAL, np.random.default_rng(0))
    np.testing.assert_allclose(one.frames, other.frames, atol=1e-4)


# Intervals

times = st.integers(0, 20_000).map(lambda ms: ms / 1000)
words = st.text(max_size=12)
shares = st.dictionaries(words, st.floats(0, 1), max_size=3)
numbers = st.none() | st.floats(-1e6, 1e6)
frames = st.none() | st.integers(0, 10**6)


@st.composite
def intervals(draw: st.DrawFn, label: st.SearchStrategy[str] = words) -> Interval:
    onset, offset = sorted(draw(st.lists(times, min_size=2, max_size=2, unique=True)))
    apex = draw(st.none() | st.floats(onset, offset))
    return Interval(
        onset_s=onset,
        offset_s=offset,
        apex_s=apex,
        label=draw(label),
        score=draw(numbers),
        peak_px=draw(numbers),
        regions=tuple(draw(st.lists(words, max_size=3))),
        onset_frame=draw(frames),
        apex_frame=draw(frames),
        offset_frame=draw(frames),
        probabilities=draw(st.none() | shares),
    )


@st.composite
def timelines(draw: st.DrawFn, label: st.SearchStrategy[str] = words) -> Timeline:
    start, end = sorted(draw(st.lists(times, min_size=2, max_size=2, unique=True)))
    window = st.builds(
        Window,
        start_s=times,
        end_s=times,
        start_frame=st.integers(0, 9),
        end_frame=st.integers(0, 9),
        probabilities=shares,
    )
    return Timeline(
        intervals=tuple(draw(st.lists(intervals(label), max_size=5))),
        start_s=start,
        end_s=end,
        gaps=tuple(draw(st.lists(intervals(label), max_size=2))),
        windows=tuple(draw(st.lists(window, max_size=2))),
        provenance=draw(st.dictionaries(words, words | st.integers() | st.booleans() | st.none(), max_size=3)),
    )


@some
@given(intervals(), intervals())
def test_overlap_gap_and_iou_belong_together(a: Interval, b: Interval) -> None:
    assert a.overlap(b) == b.overlap(a) and a.gap(b) == b.gap(a) and a.iou(b) == pytest.approx(b.iou(a))
    assert 0 <= a.overlap(b) <= min(a.duration_s, b.duration_s) + 1e-9 and 0 <= a.iou(b) <= 1
    assert a.overlap(b) == 0 or a.gap(b) == 0
    span = max(a.offset_s, b.offset_s) - min(a.onset_s, b.onset_s)
    assert a.duration_s + b.duration_s - a.overlap(b) + a.gap(b) == pytest.approx(span)
    same = (a.onset_s, a.offset_s) == (b.onset_s, b.offset_s)
    assert (a.iou(b) == 1) == same and a.iou(a) == 1


@some
@given(timelines(st.sampled_from(["candidate", "blink", "candidate 2", "x"])))
def test_lanes_hold_everything_once_and_nothing_overlaps(timeline: Timeline) -> None:
    found = lanes(timeline)
    everything = [i for lane in found.values() for i in lane]
    assert sorted(map(id, everything)) == sorted(map(id, (*timeline.intervals, *timeline.gaps)))
    for lane in found.values():
        assert len({i.label for i in lane}) <= 1
        for before, after in pairwise(lane):
            assert milliseconds(before)[1] <= milliseconds(after)[0]


# Files


@some
@given(timelines())
def test_any_timeline_survives_json(timeline: Timeline) -> None:
    assert Timeline.from_json(timeline.to_json()) == timeline


@few
@given(timelines(st.sampled_from(["candidate", "ü ✓", "a,b", '"', "=1+1"])))
def test_any_timeline_survives_a_table(timeline: Timeline) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.csv"
        path.write_text(timeline.to_csv())
        again = read_table(path)
    assert [(i.onset_s, i.offset_s, i.label) for i in again] == [(i.onset_s, i.offset_s, i.label) for i in timeline]


@few
@given(timelines(st.sampled_from(["candidate", "ü ✓ & <b>", "blink"])))
def test_any_timeline_survives_elan(timeline: Timeline) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.eaf"
        path.write_bytes(to_elan(timeline))
        written = sorted(milliseconds(i) for lane in lanes(timeline).values() for i in lane if i.label == "candidate")
        again = read_elan(path, "candidate")
    found = [(i.onset_s, i.offset_s) for i in again]
    np.testing.assert_allclose(np.reshape(found, (-1, 2)), np.reshape(written, (-1, 2)) / 1000)


@settings(max_examples=200, deadline=None)
@given(
    st.text(max_size=30) | st.lists(st.sampled_from(["..", ".", "a", "/", "secret", "~", "\\", "link"])).map("/".join)
)
def test_no_source_lies_outside_of_its_folder(source: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "data"
        (root / "a").mkdir(parents=True)
        (Path(folder) / "secret").mkdir()
        (root / "link").symlink_to(Path(folder) / "secret")
        quoted = '"' + source.replace('"', '""') + '"'
        (root / "samples.csv").write_bytes(
            f"subject,sample,source,fps\na,x,{quoted},30\n".encode("utf-8", "surrogatepass")
        )
        try:
            found = FolderDataset(root).samples
        except InputError:
            return
        assert all(s.source.resolve().is_relative_to(root.resolve()) and "secret" not in s.source.parts for s in found)


# Sampling and metrics


@some
@given(st.integers(2, 32), st.integers(0, 400))
def test_interleaved_clips_spread_evenly_and_cover_as_much_as_fits(frames: int, more: int) -> None:
    length = frames + more
    chosen = interleaved(length, frames)
    step = length // frames
    assert chosen.shape == (step, frames) and (np.diff(chosen, axis=1) == step).all()
    assert sorted(chosen.ravel().tolist()) == list(range(step * frames)), (
        "each once, all but a rest smaller than a clip"
    )
    assert length - step * frames < frames


@some
@given(st.integers(0, 10**6), st.integers(2, 64), st.integers(0, 1000))
def test_cover_rises_from_onset_to_offset(onset: int, frames: int, more: int) -> None:
    offset = onset + frames - 1 + more
    (chosen,) = uniform(onset, offset, frames)
    steps = np.diff(chosen)
    assert chosen[0] == onset and chosen[-1] == offset and len(chosen) == frames
    assert (steps > 0).all() and steps.max() - steps.min() <= 1


pairs = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=60)


@some
@given(pairs)
def test_every_classs_scores_are_scikit_learns(found: list[tuple[int, int]]) -> None:
    truth, predicted = zip(*found, strict=True)
    scores = ClassScores(confusion_matrix(truth, predicted, 5))
    precision, recall, f1, size = reference.precision_recall_fscore_support(
        truth, predicted, labels=range(5), zero_division=np.nan
    )
    np.testing.assert_allclose(scores.precision, precision)
    np.testing.assert_allclose(scores.recall, recall)
    known = (size > 0) | np.isin(range(5), predicted)
    np.testing.assert_allclose(scores.f1[known], f1[known])
    assert scores.counts.sum() == len(found) and (scores.counts.sum(1) == size).all()


@some
@given(st.fractions(min_value="1/1000", max_value=10_000, max_denominator=100_000))
def test_rates_are_read_as_they_are_written(rate: Any) -> None:
    assert read_rate(str(rate)) == rate
