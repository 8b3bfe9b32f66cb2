from pathlib import Path

import cv2
import numpy as np
import pytest

from footage import MOUTH_RIGHT, photograph
from openmer import InputError
from openmer.clip import Gray
from openmer.face.dlib_model import DlibFaceModel, find_predictor
from openmer.face.track import Box, Detection, FaceTracker, Located, best_overlap


def test_box_iou_by_hand() -> None:
    a, b = Box(0, 0, 4, 4), Box(2, 2, 6, 6)
    assert a.iou(b) == pytest.approx(4 / 28)
    assert a.iou(Box(4, 0, 8, 4)) == 0
    assert a.grown(2) == Box(-2, -2, 6, 6)


def test_dlib_finds_the_face_and_its_mouth_corner() -> None:
    gray = cv2.cvtColor(photograph(), cv2.COLOR_RGB2GRAY)
    face = FaceTracker(DlibFaceModel()).update(gray)
    assert face is not None
    # Read off the photograph by eye; subject's right is the image's left.
    assert np.linalg.norm(face.landmarks[48] - np.array(MOUTH_RIGHT)) < 3
    assert face.landmarks[36, 0] < face.landmarks[45, 0]
    assert face.box.left < 200 < face.box.right


def test_landmarks_are_finer_than_a_pixel() -> None:
    gray = cv2.cvtColor(photograph(), cv2.COLOR_RGB2GRAY)
    model = DlibFaceModel()
    box = model.detect(gray)[0].box
    points = model.landmarks(gray, box)
    assert np.abs(points - np.round(points)).max() > 0.1


def test_landmarks_move_with_the_picture() -> None:
    gray = cv2.cvtColor(photograph(), cv2.COLOR_RGB2GRAY)
    model = DlibFaceModel()
    box = model.detect(gray)[0].box
    moved = Box(box.left - 30, box.top - 20, box.right - 30, box.bottom - 20)
    first, second = model.landmarks(gray, box), model.landmarks(gray[20:, 30:], moved)
    np.testing.assert_allclose(second, first - np.array([30, 20]), atol=0.5)


class Painted:
    """A face model that sees white squares in a black picture."""

    def search(self, gray: Gray, *, fine: bool) -> list[Detection]:
        count, _, stats, _ = cv2.connectedComponentsWithStats((gray > 128).astype(np.uint8))
        return [Detection(Box(x, y, x + w, y + h), 1.0) for x, y, w, h, _ in stats[1:count]]

    def locate(self, gray: Gray, face: Detection) -> Located:
        points = np.full((68, 2), (face.box.left + face.box.right) / 2, np.float32)
        return Located(face.box, face.score, points)

    def follow(self, gray: Gray, last: Located) -> Located | None:
        face = best_overlap(self.search(gray, fine=False), last.box)
        return None if face is None else self.locate(gray, face)


def picture(*squares: tuple[int, int, int]) -> Gray:
    image = np.zeros((480, 640), np.uint8)
    for x, y, side in squares:
        image[y : y + side, x : x + side] = 255
    return image


def test_the_largest_is_taken_and_then_followed_though_another_grows_larger() -> None:
    tracker = FaceTracker(Painted(), full_every=5)
    for step in range(20):
        face = tracker.update(picture((50 + 4 * step, 100, 100), (450, 100, 60 + 5 * step)))
        assert face is not None and face.track == 0
        assert face.box.left == pytest.approx(50 + 4 * step, abs=16)


def test_a_face_that_comes_back_in_its_place_keeps_its_track() -> None:
    tracker = FaceTracker(Painted(), patience=10)
    first = tracker.update(picture((100, 100, 100)))
    assert all(tracker.update(picture()) is None for _ in range(5))
    again = tracker.update(picture((110, 100, 100), (400, 100, 150)))
    assert first is not None and again is not None
    assert again.track == first.track and again.box.left < 150


def test_a_face_that_appears_elsewhere_is_another_track() -> None:
    tracker = FaceTracker(Painted())
    tracker.update(picture((100, 100, 100)))
    tracker.update(picture())
    other = tracker.update(picture((400, 100, 100)))
    assert other is not None and other.track == 1


def test_the_box_holds_still_while_the_face_does() -> None:
    gray = cv2.cvtColor(photograph(), cv2.COLOR_RGB2GRAY)
    tracker, boxes = FaceTracker(DlibFaceModel()), set()
    for step in range(6):
        face = tracker.update(np.ascontiguousarray(gray[:, step % 3 : step % 3 + 480]))
        assert face is not None
        boxes.add(face.box)
    assert len(boxes) == 1


def test_what_dlib_has_loaded_goes_from_one_model_to_the_next_and_is_never_shared() -> None:
    one, two = DlibFaceModel(), DlibFaceModel()
    assert one._detector is not two._detector and one._predictor is not two._predictor
    parts, gray = (one._detector, one._predictor), cv2.cvtColor(photograph(), cv2.COLOR_RGB2GRAY)
    (face,) = two.search(gray, fine=False)
    found = two.locate(gray, face)
    del one
    three = DlibFaceModel()
    assert (three._detector, three._predictor) == parts
    (again,) = three.search(gray, fine=False)
    assert again == face and np.array_equal(three.locate(gray, again).landmarks, found.landmarks)


def test_a_missing_or_wrong_predictor_is_explained(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no landmark predictor"):
        DlibFaceModel(tmp_path / "none.dat")
    wrong = tmp_path / "wrong.dat"
    wrong.write_bytes(b"not a predictor")
    with pytest.raises(InputError, match="is not a dlib shape predictor"):
        DlibFaceModel(wrong)
    with pytest.raises(InputError, match="predicts 5 points"):
        DlibFaceModel(find_predictor().with_name("shape_predictor_5_face_landmarks.dat"))


def test_without_the_package_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install face-recognition-models"):
        find_predictor()
