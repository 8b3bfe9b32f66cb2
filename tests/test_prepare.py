"""From recordings to clips: the right frames, aligned as the video way aligns them, and nothing silently lost."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from footage import write_video
from openmer import InputError
from openmer.choices import Interpolation
from openmer.clip import CROP_PX, Sample
from openmer.clips.build import build_clip
from openmer.clips.flow import optical_flow
from openmer.clips.sampling import interleaved
from openmer.clips.store import StoredClip
from openmer.clips.transforms import EVAL, normalized, transform
from openmer.datasets.folder import FolderDataset
from openmer.datasets.prepare import could_be_filled, prepare, read_frames, sample_clips
from openmer.datasets.settings import PrepareSettings
from openmer.datasets.simulated import SimulatedClips, draw_clip, prepare_simulated
from openmer.face.align import align
from openmer.face.dlib_model import DlibFaceModel
from openmer.face.track import FaceTracker
from openmer.facs import read_action_units
from openmer.media.reader import VideoReader, as_gray
from openmer.simulator.generate import generate
from openmer.simulator.settings import SimulateSettings

DIS = PrepareSettings(flow="dis")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> FolderDataset:
    out = tmp_path_factory.mktemp("prepare") / "set"
    settings = SimulateSettings(
        subjects=2, samples=1, fps=50, seed=5, size=240, emotions=("happiness", "surprise"), flow=False
    )
    generate(out, settings)
    return FolderDataset(out)


def test_a_recording_becomes_the_papers_clips(dataset: FolderDataset) -> None:
    sample = dataset.samples[0]
    assert sample.onset is not None and sample.offset is not None
    clips = sample_clips(sample, DIS)
    length = sample.offset - sample.onset + 1
    chosen = sample.onset + interleaved(length)
    assert len(clips) == length // 8
    for clip, row in zip(clips, chosen, strict=True):
        np.testing.assert_allclose(clip.times_s, row / 50)
        assert (
            clip.subject == "p5-00000"
            and clip.units
            and clip.label == "positive"
            and clip.frames.shape == (8, 144, 144)
        )
        assert clip.flow is not None
        np.testing.assert_array_equal(clip.flow[0], optical_flow(clip.frames[0], clip.frames[1], "dis"))
        assert clip.landmarks is not None
        eyes = clip.landmarks[:, [36, 45]].mean((0, 1))
        assert 55 < eyes[0] < 90 and 30 < eyes[1] < 75, "the face is in the square"


def test_the_dataset_way_and_the_video_way_give_the_same_tensor(dataset: FolderDataset) -> None:
    """What training reads of a recording is what analysis computes from its frames."""
    sample = dataset.samples[1]
    clip = sample_clips(sample, DIS)[0]
    assert clip.landmarks is not None
    trained = transform(StoredClip(clip.frames, clip.landmarks, clip.flow), EVAL, np.random.default_rng(0)).frames

    tracker = FaceTracker(DlibFaceModel())
    images, points = [], []
    for frame in VideoReader(sample.source, fps=Fraction(50)):
        gray = as_gray(frame.image)
        face = tracker.update(gray)
        assert face is not None
        images.append(gray)
        points.append(face.landmarks)
    assert sample.onset is not None and sample.offset is not None
    row = sample.onset + interleaved(sample.offset - sample.onset + 1)[0]
    alignment = align(np.median(np.stack(points)[row], axis=0), size=CROP_PX)
    analysed = normalized(np.stack([alignment.warp(images[k]) for k in row]))
    assert np.abs(trained - analysed).max() < 0.06, "two gray levels of rounding in the warp at the most"
    assert np.abs(trained - analysed).mean() < 1e-3


def test_the_mesh_gives_nearly_the_same_crop(dataset: FolderDataset) -> None:
    """Eye corners within 3 px of the 144 square; on simulated faces, which neither model knows."""
    settings = DIS, replace(DIS, face="mesh")
    by_dlib, by_mesh = (sample_clips(dataset.samples[1], chosen)[0].landmarks for chosen in settings)
    assert by_dlib is not None and by_mesh is not None and not np.array_equal(by_dlib, by_mesh)
    assert np.abs(by_dlib[:, [36, 39, 42, 45]] - by_mesh[:, [36, 39, 42, 45]]).mean() < 3


def test_preparing_twice_does_nothing_twice(dataset: FolderDataset, tmp_path: Path) -> None:
    store, problems = prepare(dataset.samples, tmp_path / "store", DIS, processes=2)
    assert not problems and {e.person for e in store} == {("simulated", "p5-00000"), ("simulated", "p5-00001")}
    assert store.settings["kind"] == "simulated", "so that no report takes them for people"
    assert all(e.units for e in store)
    files = {p: p.stat().st_mtime_ns for p in (tmp_path / "store" / "clips").iterdir()}
    again, _ = prepare(dataset.samples, tmp_path / "store", DIS)
    assert again.entries == store.entries
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "store" / "clips").iterdir()} == files
    with pytest.raises(InputError, match="other settings"):
        prepare(dataset.samples, tmp_path / "store", replace(DIS, flow="farneback"))


def test_action_units_that_were_corrected_arrive(dataset: FolderDataset, tmp_path: Path) -> None:
    (first, second), root = dataset.samples, tmp_path / "store"
    prepare([first, replace(second, action_units=())], root, DIS)
    store, _ = prepare([first, replace(second, action_units=("AU4", "9"))], root, DIS)
    assert {e.units for e in store if e.subject == second.subject} == {(4, 9)}


def test_recordings_that_cannot_be_used_are_named(dataset: FolderDataset, tmp_path: Path) -> None:
    blank = tmp_path / "blank"
    blank.mkdir()
    for k in range(10):
        cv2.imwrite(str(blank / f"{k}.png"), np.full((120, 160), 90, np.uint8))
    faceless = Sample(dataset="set", subject="x", name="blank", source=blank, fps=Fraction(50), label="none")
    short = replace(dataset.samples[0], name="short", onset=10, offset=14)
    beyond = replace(dataset.samples[0], name="beyond", onset=1031, offset=1052)
    store, problems = prepare([dataset.samples[0], faceless, short, beyond], tmp_path / "store", DIS)
    assert problems[-1].sample.name == "beyond" and "lies between onset 1031 and offset 1052" in problems[-1].reason
    assert [(p.sample.name, p.reason) for p in problems[:-1]] == [
        ("blank", "no face was found in 8 of a clip's 8 frames"),
        ("short", "5 frames are too few for a clip of 8"),
    ]
    assert {e.sample for e in store} == {"happiness_001"}
    assert could_be_filled(problems, DIS) == 1 and not could_be_filled(problems, replace(DIS, interpolation="tim"))
    with pytest.raises(InputError, match=r"no recording could be used.*8 frames$"):
        prepare([faceless], tmp_path / "other", DIS)
    with pytest.raises(InputError, match="clip of 8; with --interpolation tim"):
        prepare([short], tmp_path / "other", DIS)


@pytest.mark.parametrize("how", ["tim", "flow"])
def test_a_recording_too_short_for_a_clip_is_filled_if_asked(
    dataset: FolderDataset, tmp_path: Path, how: Interpolation
) -> None:
    sample = dataset.samples[0]
    assert sample.onset is not None
    short = replace(sample, offset=sample.onset + 4)
    with pytest.raises(InputError, match="5 frames are too few for a clip of 8"):
        sample_clips(short, DIS)
    filled = replace(DIS, interpolation=how)
    (clip,) = sample_clips(short, filled)
    np.testing.assert_allclose(clip.times_s, (sample.onset + np.arange(8) * 4 / 7) / 50)
    for ours, plain in zip(sample_clips(sample, filled), sample_clips(sample, DIS), strict=True):
        np.testing.assert_array_equal(ours.frames, plain.frames)  # long enough ones are left as they are
    store, problems = prepare([short], tmp_path / "store", filled)
    assert not problems and store.settings["interpolation"] == how
    with pytest.raises(InputError, match=r"other settings \(interpolation\)"):
        prepare([short], tmp_path / "store", DIS)
    with pytest.raises(InputError, match="1 frame cannot be interpolated"):
        sample_clips(replace(short, offset=sample.onset), filled)


def test_an_offset_beyond_the_end_of_a_video_is_no_clip(tmp_path: Path) -> None:
    levels = (np.full((96, 128, 3), k, np.uint8) for k in range(10))
    video = write_video(tmp_path / "short.mp4", levels, Fraction(10))
    sample = Sample(dataset="mine", subject="1", name="x", source=video, fps=Fraction(10), onset=2, offset=50)
    with pytest.raises(InputError, match="the offset 50 lies beyond its last frame, 9"):
        sample_clips(sample, DIS)


def test_a_clip_without_a_face_in_a_frame_keeps_its_one_alignment() -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (200, 200), np.uint8).astype(np.uint8)] * 8
    face = rng.uniform(60, 140, (68, 2)).astype(np.float32)
    landmarks = np.stack([face] * 8)
    whole = build_clip(images, landmarks, np.arange(8.0))
    landmarks[3] = np.nan
    holed = build_clip(images, landmarks, np.arange(8.0))
    assert (whole.frames == holed.frames).all() and holed.landmarks is not None
    assert np.isnan(holed.landmarks[3]).all() and np.isfinite(holed.landmarks[2]).all()
    with pytest.raises(InputError, match="1 of a clip's 8"):
        build_clip(images, landmarks, np.arange(8.0), align="per_frame")
    with pytest.raises(InputError, match="one each per frame"):
        build_clip(images, landmarks[:7], np.arange(8.0))


def test_simulated_clips_hold_their_expression_and_repeat(tmp_path: Path) -> None:
    settings = SimulatedClips(subjects=3, seed=2)
    store = prepare_simulated(tmp_path / "store", settings, processes=2)
    assert len(store) == 12 and sorted({str(e.label) for e in store}) == ["negative", "none", "positive", "surprise"]
    assert len({e.person for e in store}) == 3
    clip, _ = draw_clip(settings, 1, 2)
    entry = next(e for e in store if e.subject == clip.subject and e.sample.endswith("002"))
    read = store.read(entry)
    assert (read.frames == clip.frames).all() and clip.flow is not None and read.flow is not None
    assert np.abs(read.flow - clip.flow).max() <= 1 / 512 + 1e-6
    moving = [e for e in store if e.label != "none"]
    for entry in moving:
        flow = store.read(entry).flow
        assert flow is not None and np.hypot(flow[:, 0], flow[:, 1]).max() > 0.05
    other = SimulatedClips(subjects=3, seed=3)
    assert draw_clip(other, 1, 2)[0].subject != clip.subject, "people of another seed are other people"
    with pytest.raises(InputError, match=r"other settings \(seed\)"):
        prepare_simulated(tmp_path / "store", other)


def test_of_a_video_only_what_is_annotated_is_kept(dataset: FolderDataset, tmp_path: Path) -> None:
    """The clips are those of the whole video, whose other frames take no memory."""
    sample = dataset.samples[0]
    pictures = [np.asarray(f.image) for f in VideoReader(sample.source, fps=Fraction(50))]
    video = write_video(tmp_path / "v.mp4", pictures, Fraction(50))
    marked = replace(sample, source=video, onset=5, offset=20)
    frames = read_frames(marked)
    assert sorted(frames.images) == list(range(5, 21)) and frames.numbers.tolist() == list(range(21))
    whole = [as_gray(f.image) for f in VideoReader(video)]
    for row, image in frames.images.items():
        np.testing.assert_array_equal(image, whole[row])
    clips = sample_clips(marked, DIS)
    assert [c.times_s[0] for c in clips] == [k / 50 for k in (5, 6)]


def test_units_of_which_the_coder_was_not_certain_are_not_learned(dataset: FolderDataset) -> None:
    sample = replace(dataset.samples[0], action_units=tuple(map(str, read_action_units("(R6 or R12)+R15")[0])))
    assert sample_clips(sample, DIS)[0].units is None, "left out, AU6 and AU12 would count as not shown"
    certain = replace(sample, action_units=("R6", "15"))
    assert sample_clips(certain, DIS)[0].units == (6, 15)


def test_an_offset_whose_own_frame_was_skipped_is_not_beyond_the_end(
    dataset: FolderDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = dataset.samples[0]
    pictures = [np.asarray(f.image) for f in VideoReader(sample.source, fps=Fraction(50))][:24]
    video = write_video(tmp_path / "v.mp4", pictures, Fraction(50))
    marked = replace(sample, source=video, onset=2, offset=20)
    whole = VideoReader.__iter__
    monkeypatch.setattr(VideoReader, "__iter__", lambda self: (f for f in whole(self) if f.index != 20))
    assert len(sample_clips(marked, DIS)) == 2
    with pytest.raises(InputError, match="the offset 24 lies beyond its last frame, 23"):
        sample_clips(replace(marked, offset=24), DIS)
