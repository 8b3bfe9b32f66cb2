"""Clips and videos of real faces with drawn expressions: what is added is known, everything else is as it was."""

from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import cv2
import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from footage import face_closeup, noisy, photograph, write_video
from openmer.cli.datasets import prepare_simulated
from openmer.clip import ALIGNED_PX, NONE, Array, Clip
from openmer.clips.store import ClipStore
from openmer.datasets import reenacted
from openmer.datasets.reenacted import MIN_SIZE, prepare_reenacted, reenacted_clips
from openmer.datasets.settings import ReenactedClips
from openmer.errors import InputError
from openmer.media.reader import VideoReader
from openmer.simulator import implant as implant_module
from openmer.simulator.facial_motion import Event, draw_expression
from openmer.simulator.head import draw_identity
from openmer.simulator.implant import RESAMPLED, FollowedFace, Implant, ImplantedVideo, follow_face
from openmer.simulator.showcase import write_showcase
from openmer.timeline import CANDIDATE
from openmer.video.analyze import AnalyzeSettings, analyze

FPS = 25
SECONDS = 1.6


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photo") / "eileen.png"
    cv2.imwrite(str(path), photograph()[..., ::-1])
    return path


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Somebody who sits still before a noisy camera."""
    path = tmp_path_factory.mktemp("video") / "calm.mp4"
    rng = np.random.default_rng(0)
    write_video(path, (noisy(face_closeup(1.5), rng) for _ in range(round(SECONDS * FPS))), Fraction(FPS))
    return path


@pytest.fixture(scope="module")
def followed(video: Path) -> FollowedFace:
    return follow_face(video)


@pytest.fixture(scope="module")
def clips(photo: Path) -> list[tuple[Clip, str]]:
    return list(reenacted_clips(photo, ReenactedClips(samples=4, seed=3, size_px=(2.0, 3.0))))


def _affine_rest(flow: Array) -> float:
    """The largest part of a flow that no affine map explains, px."""
    y, x = np.mgrid[: flow.shape[1], : flow.shape[2]]
    known = np.stack([np.ones(x.size), x.ravel(), y.ravel()], 1)
    values = flow.reshape(2, -1).T
    return float(np.abs(values - known @ np.linalg.lstsq(known, values, rcond=None)[0]).max())


def test_a_photograph_shows_each_class_and_who_it_is(clips: list[tuple[Clip, str]]) -> None:
    assert sorted(clip.label or "" for clip, _ in clips) == ["negative", NONE, "positive", "surprise"]
    for clip, name in clips:
        assert clip.subject == "eileen" and clip.frames.shape == (8, ALIGNED_PX, ALIGNED_PX)
        assert (clip.units == ()) == (clip.label == NONE) == ("px" not in name)
        assert 0.3 - 1e-9 <= clip.times_s[-1] - clip.times_s[0] <= 0.9


def test_its_flow_is_exact(clips: list[tuple[Clip, str]]) -> None:
    """Landmarks go where the flow says, and the next frame, fetched back along the flow, is this one."""
    y, x = np.mgrid[:ALIGNED_PX, :ALIGNED_PX].astype(np.float32)
    for clip, _ in clips:
        assert clip.flow is not None and clip.landmarks is not None
        for k, flow in enumerate(clip.flow):
            points = clip.landmarks[k]
            step = np.stack([map_coordinates(part, points.T[::-1], order=1, mode="nearest") for part in flow], 1)
            assert np.abs(points + step - clip.landmarks[k + 1]).max() < 0.05
        inside = slice(16, -16)
        first, last = clip.frames[0].astype(np.float32), clip.frames[1].astype(np.float32)
        back = cv2.remap(last, x + clip.flow[0][0], y + clip.flow[0][1], cv2.INTER_CUBIC)
        noise = np.abs(cv2.GaussianBlur(back - first, (0, 0), 1.5))[inside, inside]
        assert noise.mean() < 0.6  # what is left is the camera's


def test_without_an_expression_only_the_picture_sways(clips: list[tuple[Clip, str]]) -> None:
    rest = {clip.label: max(_affine_rest(step) for step in clip.flow) for clip, _ in clips if clip.flow is not None}
    assert rest.pop(NONE) < 1e-3
    assert min(rest.values()) > 0.3


def test_an_expression_that_would_fold_the_picture_is_shown_smaller_and_named_so(photo: Path) -> None:
    """Thirty px are a quarter of the crop: some expressions fold it, and no clip is lost for it."""
    sizes = []
    for clip, name in reenacted_clips(photo, ReenactedClips(samples=3, seed=3, size_px=(30.0, 30.0))):
        sizes.append(float(name.rsplit("_", 1)[1].removesuffix("px")))
        assert clip.flow is not None
        largest = max(np.linalg.norm(clip.flow[:k].sum(0), axis=0).max() for k in range(1, 8))
        assert largest < sizes[-1] + 8, "the picture sways as well"
    assert len(sizes) == 3 and max(sizes) == 30 and 30 * MIN_SIZE <= min(sizes) < 30


def test_a_store_of_videos_and_photographs(video: Path, photo: Path, tmp_path: Path) -> None:
    empty = tmp_path / "wall.png"
    cv2.imwrite(str(empty), np.full((200, 200, 3), 128, np.uint8))
    settings = ReenactedClips(samples=2, seed=1, emotions=("happiness", NONE))
    store, left_out = prepare_reenacted(tmp_path / "store", (video, photo, empty), settings)
    assert [(left.source.name, "no face" in left.reason) for left in left_out] == [("wall.png", True)]
    assert {(entry.subject, entry.label) for entry in store} == {
        (who, label) for who in ("calm", "eileen") for label in ("positive", NONE)
    }
    calm = next(entry for entry in store if entry.subject == "calm" and entry.label == "positive")
    clip = ClipStore(tmp_path / "store").read(calm)
    assert clip.flow is not None and np.abs(clip.flow).max() > 0.1
    again, _ = prepare_reenacted(tmp_path / "store", (video, photo, empty), settings)
    assert [e.frames_digest for e in again] == [e.frames_digest for e in store]


def test_clips_of_a_picture_that_was_replaced_are_made_anew(photo: Path, tmp_path: Path) -> None:
    picture, settings = tmp_path / "eileen.png", ReenactedClips(samples=1, seed=1, emotions=(NONE,))
    replaced: list[str] = []
    stores = []
    for mirrored in (False, True, True):
        image = cv2.imread(str(photo))
        cv2.imwrite(str(picture), image[:, ::-1] if mirrored else image)
        store, _ = prepare_reenacted(tmp_path / "store", (picture,), settings, on_replaced=replaced.append)
        stores.append([entry.frames_digest for entry in store])
    assert [len(digests) for digests in stores] == [1, 1, 1] and replaced == ["eileen"]
    assert stores[0] != stores[1] == stores[2]


def test_slow_motion_is_refused(tmp_path: Path) -> None:
    """Drawn in the file's seconds, an expression of .3 s would have lasted .04 s."""
    path = tmp_path / "slow.mp4"
    with av.open(str(path), "w", options={"movflags": "+use_metadata_tags"}) as container:
        container.metadata["com.android.capture.fps"] = "240.000000"
        stream = container.add_stream("libx264", rate=30)
        stream.height, stream.width, stream.pix_fmt = 64, 64, "yuv420p"
        for _ in range(30):
            image = np.full((64, 64, 3), 128, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    with pytest.raises(InputError, match=r"slow motion or a time lapse \(8 s of the file show one second\)"):
        next(reenacted.reenacted_clips(path, ReenactedClips(samples=1)))


def test_frames_that_give_no_picture_shift_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plans count pictures in the order in which they are read; a file's numbers count frames without one too."""
    numbers = [0, 1, 2, 7, 8, 9]
    frames = [SimpleNamespace(index=k, image=np.full((4, 4, 3), k, np.uint8)) for k in numbers]
    monkeypatch.setattr(reenacted, "VideoReader", lambda *_, **__: frames)
    plan = SimpleNamespace(frames=np.array([1, 3, 4]))
    ((_, pictures),) = reenacted._cut(Path("v.avi"), [plan])  # type: ignore[list-item]
    assert [int(p[0, 0]) for p in pictures] == [1, 7, 8]


def test_what_gives_no_clips_is_refused(photo: Path, tmp_path: Path) -> None:
    empty = tmp_path / "wall.png"
    cv2.imwrite(str(empty), np.full((200, 200, 3), 128, np.uint8))
    with pytest.raises(InputError, match=r"wall\.png: .*no face"):
        prepare_reenacted(tmp_path / "store", (empty,), ReenactedClips(samples=1))
    with pytest.raises(InputError, match="two are named eileen"):
        prepare_reenacted(tmp_path / "other", (photo, tmp_path / "eileen.mp4"), ReenactedClips(samples=1))
    with pytest.raises(InputError, match="two are named Eileen and eileen"):
        prepare_reenacted(tmp_path / "other", (photo, tmp_path / "Eileen.mp4"), ReenactedClips(samples=1))
    with pytest.raises(InputError, match=r"is a folder; name the files in it"):
        prepare_reenacted(tmp_path / "third", (tmp_path,), ReenactedClips(samples=1))
    assert not (tmp_path / "third").exists()
    with pytest.raises(InputError, match="sizes"):
        ReenactedClips(size_px=(2.0, 1.0))


def test_the_command_line_says_what_does_not_go_together(photo: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--subjects is not for --reenact"):
        prepare_simulated(tmp_path / "store", {"subjects": 3}, (photo,))
    with pytest.raises(InputError, match="--head and --like are not for --reenact"):
        prepare_simulated(tmp_path / "store", {"head": "lively", "like": "samm"}, (photo,))
    with pytest.raises(InputError, match="--size-px is only for --reenact"):
        prepare_simulated(tmp_path / "store", {"size_px": (1.0, 2.0)})


# --- implants in a video ---


def _smile(onset_s: float) -> Event:
    return draw_expression(np.random.default_rng(4), "happiness", onset_s, like="samm")  # whose fades are short


def _implanted(video: Path, followed: FollowedFace, *implants: Implant) -> ImplantedVideo:
    return ImplantedVideo(video, followed, implants, draw_identity(np.random.default_rng(0)))


def test_outside_of_implants_nothing_changes(video: Path, followed: FollowedFace, tmp_path: Path) -> None:
    implant = Implant(_smile(0.5), 2.0)
    made = _implanted(video, followed, implant)
    truth = implant.interval
    changed = {}
    for frame, (moment, picture) in zip(VideoReader(video), made, strict=True):
        changed[moment] = float(np.abs(picture.astype(int) - frame.image).mean())
    apex = min(changed, key=lambda moment: abs(moment - (truth.apex_s or 0)))
    assert changed[apex] > 0.1
    assert all(value == 0 for moment, value in changed.items() if not 0.4 < moment < truth.offset_s + 0.1)
    assert [(i.label, i.peak_px) for i in made.truth] == [("micro", 2.0)]
    made.write(tmp_path / "implanted.mp4")
    assert len(list(VideoReader(tmp_path / "implanted.mp4"))) == len(changed)


def test_implants_count_pictures_not_the_numbers_of_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """The face was followed picture by picture, and frames without one have numbers too."""
    times = np.arange(6) / 25
    numbers = [0, 1, 2, 7, 8, 9]
    frames = [
        SimpleNamespace(index=number, time_s=time, image=np.full((4, 4, 3), number, np.uint8))
        for number, time in zip(numbers, times, strict=True)
    ]
    monkeypatch.setattr(implant_module, "VideoReader", lambda *_, **__: frames)
    unseen = FollowedFace(times, np.full((6, 68, 2), np.nan, np.float32), np.full(6, -1))
    shown = list(_implanted(Path("v.avi"), unseen))
    assert [(moment, int(picture[0, 0, 0])) for moment, picture in shown] == list(zip(times, numbers, strict=True))


def test_the_control_moves_nothing(video: Path, followed: FollowedFace) -> None:
    event = _smile(0.5)
    frame = int(np.abs(followed.times_s - event.apex_s).argmin())
    picture = next(f.image for f in VideoReader(video) if f.index == frame)
    shown = _implanted(video, followed, Implant(event, 2.0)).picture(frame, picture).astype(int)
    control = _implanted(video, followed, Implant(event, 2.0, control=True))
    rest = np.abs(control.picture(frame, picture).astype(int) - picture).mean()
    assert 0 < rest < 0.4 * np.abs(shown - picture).mean()
    assert [i.label for i in control.truth] == [RESAMPLED]


def test_a_face_must_be_there(video: Path, followed: FollowedFace, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no one face is found"):
        _implanted(video, followed, Implant(_smile(SECONDS + 1), 1.0))
    wall = tmp_path / "wall.mp4"
    write_video(wall, (np.full((120, 160, 3), 90, np.uint8) for _ in range(10)), Fraction(FPS))
    with pytest.raises(InputError, match="0 of 10 frames"):
        follow_face(wall)


def test_the_showcase_has_one_expression_to_find_and_it_is_found_and_named(tmp_path: Path) -> None:
    made = write_showcase(tmp_path, seconds=2.0, fps=30)
    (truth,) = made.truth
    settings = AnalyzeSettings(overlay=False)
    assert analyze(made.untouched, tmp_path / "before", settings).labelled(CANDIDATE) == ()
    (candidate,) = analyze(made.implanted, tmp_path / "after", settings).labelled(CANDIDATE)
    assert candidate.iou(truth) > 0.5 and candidate.expression == "positive"
