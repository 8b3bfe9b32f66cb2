import cv2
import numpy as np

from footage import photograph
from openmer.face.align import align
from openmer.face.dlib_model import DlibFaceModel
from openmer.face.pose import HeadMotion, head_depth
from openmer.face.track import FaceTracker
from openmer.video.regions import (
    CROP_PX,
    REGION_NAMES,
    MotionMeter,
    eyes_open,
    face_skin,
    region_flow,
)
from openmer.video.report import on_face


def test_eye_aspect_ratio_by_hand() -> None:
    points = np.zeros((68, 2), np.float32)
    for start, height in ((36, 6.0), (42, 0.0)):
        points[start : start + 6] = [
            (0, 0), (7, -height / 2), (14, -height / 2), (20, 0), (14, height / 2), (7, height / 2)
        ]  # fmt: skip
    np.testing.assert_allclose(eyes_open(points), [0.3, 0.0])


def test_a_head_that_shifts_as_a_whole_leaves_its_regions_standing() -> None:
    gray = photograph()[..., 1]
    tracker, meter = FaceTracker(DlibFaceModel()), MotionMeter()
    for step in range(6):  # one pixel of the picture a frame, to the left
        frame = np.ascontiguousarray(gray[:, step : step + 400])
        motion = meter.update(step / 30, frame, tracker.update(frame))
    assert motion is not None
    expected = -motion.alignment.scale  # one pixel of the picture, in pixels of the crop
    assert abs(motion.head[0] - expected) < 0.1 and abs(motion.head[1]) < 0.1 and abs(motion.head[2]) < 0.1
    assert np.abs(motion.displacement).max() < 0.25
    assert motion.displacement.shape == (len(REGION_NAMES), 2)


def test_a_head_that_tilts_and_comes_nearer_is_measured_so() -> None:
    gray = photograph()[..., 1]
    tracker, meter = FaceTracker(DlibFaceModel()), MotionMeter()
    height, width = gray.shape
    steps = []
    for step in range(5):  # half a degree, anticlockwise, and half a percent per frame
        turn = cv2.getRotationMatrix2D((width / 2, height / 2), 0.5 * step, 1.005**step)
        frame = np.asarray(cv2.warpAffine(gray, turn, (width, height), flags=cv2.INTER_CUBIC), np.uint8)
        motion = meter.update(step / 30, frame, tracker.update(frame))
        assert motion is not None
        steps.append(motion.head)
    np.testing.assert_allclose(np.stack(steps)[1:, 2].mean(), -0.5, atol=0.05)
    np.testing.assert_allclose(np.stack(steps)[1:, 3].mean(), 0.5, atol=0.1)


def test_a_head_that_turns_leaves_its_regions_standing() -> None:
    """The picture is bent as a head that turns by half a degree a frame would bend it."""
    gray = photograph()[..., 1]
    face = FaceTracker(DlibFaceModel()).update(gray)
    assert face is not None
    size = max(gray.shape)
    depth = head_depth(face.landmarks, size)
    tracker, meter = FaceTracker(DlibFaceModel()), MotionMeter()
    turns = []
    for step in range(6):
        turn = HeadMotion(np.array([0, 0, 0, 0, -np.radians(0.5 * step), np.radians(0.3 * step)]))
        motion = meter.update(step / 30, _moved(gray, turn.field(depth)), tracker.update(gray))
        assert motion is not None
        turns.append(motion.head[4:])
    np.testing.assert_allclose(np.stack(turns)[1:].mean(0), [0.5, -0.3], atol=0.05)
    assert np.abs(motion.displacement).max() < 0.25


def _moved(gray: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """The picture (H, W) whose content has moved by a flow (2, S, S), S >= H, W."""
    flow = flow[:, : gray.shape[0], : gray.shape[1]]
    y, x = np.mgrid[: gray.shape[0], : gray.shape[1]].astype(np.float32)
    back = flow
    for _ in range(5):  # where a pixel's content comes from, by fixed-point steps
        back = np.stack([cv2.remap(axis, x - back[0], y - back[1], cv2.INTER_LINEAR) for axis in flow])
    return np.asarray(cv2.remap(gray, x - back[0], y - back[1], cv2.INTER_CUBIC))


def test_regional_flow_is_the_faces_own_by_hand() -> None:
    """The head shifts and turns; the skin within 12 px of a mouth corner moves by 2 px besides."""
    gray = cv2.cvtColor(photograph(), cv2.COLOR_RGB2GRAY)
    face = FaceTracker(DlibFaceModel()).update(gray)
    assert face is not None
    points = align(face.landmarks, size=CROP_PX).to_crop(face.landmarks)
    flow = HeadMotion(np.array([1.5, -0.7, 0.005, 0.01, 0.03, -0.02])).field(head_depth(points))
    y, x = np.mgrid[:CROP_PX, :CROP_PX]
    corner = points[48]
    flow[0][np.hypot(x - corner[0], y - corner[1]) < 12] += 2.0
    moved = region_flow(flow, points)
    mouth = REGION_NAMES.index("mouth_right")
    np.testing.assert_allclose(moved[mouth], [2.0, 0.0], atol=0.05)
    assert np.abs(np.delete(moved[:8], mouth, 0)).max() < 0.05, "from the brows to the other mouth corner"


def test_without_a_face_nothing_is_said_and_the_next_face_starts_anew() -> None:
    gray = photograph()[..., 1]
    tracker, meter = FaceTracker(DlibFaceModel()), MotionMeter()
    face = tracker.update(gray)
    assert meter.update(0.0, gray, face) is not None
    assert meter.update(0.1, gray, None) is None
    again = meter.update(0.2, gray, face)
    assert again is not None and not again.displacement.any()


def test_pictures_of_flow_show_the_face_alone() -> None:
    """A still background goes against the head: here by 5 px outside of the face, which itself stands still."""
    gray = cv2.cvtColor(photograph(), cv2.COLOR_RGB2GRAY)
    face = FaceTracker(DlibFaceModel()).update(gray)
    assert face is not None
    points = align(face.landmarks, size=CROP_PX).to_crop(face.landmarks)
    skin = face_skin(points)
    nose, corner = np.rint(points[30]).astype(int), (CROP_PX - 1, 0)
    assert skin[nose[1], nose[0]] == 1 and skin[corner] == 0 and 0.3 < skin.mean() < 0.9
    assert (face_skin(points, slice(1, 16)) <= skin).all(), "with less of the jaw it is a part"
    flow = np.zeros((2, CROP_PX, CROP_PX), np.float32)
    flow[0][skin == 0] = 5.0
    shown = on_face(flow, points)
    assert np.abs(shown[:, corner[0], corner[1]]).max() < 0.05 and np.abs(shown[:, nose[1], nose[0]]).max() < 0.05
