"""The mesh as a face model: equal to MediaPipe's own answers and to its slow twin; found, followed, lost."""

import hashlib
import json
import math
import sys
from importlib import resources
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from footage import MOUTH_RIGHT, photograph
from openmer import InputError
from openmer.clip import Array, Gray
from openmer.face import mesh
from openmer.face.mesh import MeshFaceModel
from openmer.face.mesh_fast import FastDetector, FastMesh
from openmer.face.mesh_net import AttentionMesh, anchors
from openmer.face.registry import face_model
from openmer.face.track import Box, Detection, FaceTracker, Located

GOLDEN = json.loads((Path(__file__).parent / "data" / "face_mesh.json").read_text())


def gray() -> Gray:
    return np.asarray(cv2.cvtColor(photograph(), cv2.COLOR_RGB2GRAY), np.uint8)


def part(image: np.ndarray, at: list[int], side: int) -> Array:
    return image[at[0] : at[0] + side, at[1] : at[1] + side].astype(np.float32)


def test_the_mesh_is_that_of_mediapipe() -> None:
    picture = torch.tensor(part(photograph(), GOLDEN["mesh"]["at"], 192)).permute(2, 0, 1)[None] / 255
    with torch.inference_mode():
        points, logit = mesh.networks()[1](picture)
    np.testing.assert_allclose(points.numpy(), GOLDEN["mesh"]["points"], atol=2e-3)
    assert logit > 5


def test_the_detector_is_that_of_mediapipe() -> None:
    golden = GOLDEN["detector"]
    picture = torch.tensor(part(photograph(), golden["at"], 128)).permute(2, 0, 1)[None] / 127.5 - 1
    with torch.inference_mode():
        boxes, logits = mesh.networks()[0](picture)
    # MediaPipe averages all boxes of a face by their scores.
    probability = logits[0].sigmoid().numpy()
    weight = np.where(probability > 0.5, probability, 0)
    values = boxes[0].reshape(-1, 8, 2).numpy()
    values[:, [0, *range(2, 8)]] += 128 * anchors().numpy()[:, None]
    center, size, *keys = np.einsum("a,akd->kd", weight / weight.sum(), values)
    assert probability.max() == pytest.approx(golden["score"], abs=1e-4)
    np.testing.assert_allclose([*(center - size / 2), *size], golden["box"], atol=2e-3)
    np.testing.assert_allclose(keys, golden["keys"], atol=2e-3)


def test_the_fast_networks_equal_their_slow_twins() -> None:
    detector, net = mesh.networks()
    fast_detector, fast_mesh = FastDetector(detector), FastMesh(net)
    rng = np.random.default_rng(0)
    photographed = part(gray(), GOLDEN["mesh"]["at"], 192) / 255
    with torch.inference_mode():
        for picture in (photographed, rng.random((192, 192), np.float32)):
            points, logit = fast_mesh(picture)
            slow = net(torch.tensor(picture).expand(1, 3, -1, -1))
            np.testing.assert_allclose(points, slow[0].numpy(), atol=1e-3)
            assert logit == pytest.approx(slow[1].item(), abs=1e-3)
            small = picture[:128, :128] * 2 - 1
            boxes, logits = fast_detector(small)
            slow = detector(torch.tensor(small).expand(1, 3, -1, -1))
            np.testing.assert_allclose(boxes, slow[0][0].numpy(), atol=1e-3)
            np.testing.assert_allclose(logits, slow[1][0].numpy(), atol=1e-3)


def test_the_frame_of_a_region_by_hand() -> None:
    """Corners level, 6 px apart, other points 2 px above and below: 6 x 4 px, half as large again, in 16 x 16."""
    points = torch.zeros(468, 2)
    points[61], points[291] = torch.tensor([10.0, 20.0]), torch.tensor([16.0, 20.0])
    points[list(mesh_points(AttentionMesh()))[1:]] = torch.tensor([13.0, 20.0])
    points[0], points[17] = torch.tensor([13.0, 18.0]), torch.tensor([13.0, 22.0])
    points[61], points[291] = torch.tensor([10.0, 20.0]), torch.tensor([16.0, 20.0])
    frame = AttentionMesh().regions[0].frame(points)  # type: ignore[operator]
    # The part's middle, 8, is the region's, (13, 20); a pixel of the part is 9/16 by 6/16 px.
    np.testing.assert_allclose(frame, [[9 / 16, 0, 13 - 8 * 9 / 16], [0, 6 / 16, 20 - 8 * 6 / 16]], atol=1e-6)


def mesh_points(net: AttentionMesh) -> list[int]:
    return net.regions[0].points.tolist()  # type: ignore[operator, union-attr, no-any-return]


def test_the_weights_say_where_they_come_from() -> None:
    folder = resources.files("openmer.face")
    card = json.loads((folder / "mesh.json").read_text())
    assert card["licence"] == "Apache-2.0" and "MediaPipe" in card["copyright"]
    assert card["sha256"] == hashlib.sha256((folder / "mesh.safetensors").read_bytes()).hexdigest()


def test_the_face_of_the_photograph_and_its_mouth_corner() -> None:
    face = FaceTracker(MeshFaceModel()).update(gray())
    assert face is not None and face.score > 0.99
    assert np.linalg.norm(face.landmarks[48] - np.array(MOUTH_RIGHT)) < 3
    assert face.landmarks[36, 0] < face.landmarks[45, 0]


def test_points_follow_the_picture() -> None:
    model, whole = MeshFaceModel(), gray()
    face = model.locate(whole, model.search(whole, fine=False)[0])
    assert face is not None
    box = Box(face.box.left - 30, face.box.top - 20, face.box.right - 30, face.box.bottom - 20, face.box.roll)
    moved = model.follow(np.ascontiguousarray(whole[20:, 30:]), Located(box, 1.0, face.landmarks))
    again = model.follow(whole, face)
    assert moved is not None and again is not None
    np.testing.assert_allclose(moved.landmarks, again.landmarks - np.array([30, 20]), atol=0.02)


@pytest.mark.parametrize("times", [3, 7])
def test_points_do_not_depend_on_the_size_of_the_picture(times: int) -> None:
    """Enlarged so that the crop is averaged: pixel k becomes the pixels around times k + (times - 1) / 2."""
    model, whole = MeshFaceModel(), gray()[30:230, 100:340]
    face = model.locate(whole, model.search(whole, fine=False)[0])
    assert face is not None
    large = np.kron(whole, np.ones((times, times), np.uint8))
    edges = ((v + 0.0) * times for v in (face.box.left, face.box.top, face.box.right, face.box.bottom))
    enlarged = model.follow(large, Located(Box(*edges, face.box.roll), 1.0, face.landmarks))
    again = model.follow(whole, face)
    assert enlarged is not None and again is not None
    np.testing.assert_allclose((enlarged.landmarks + 0.5) / times - 0.5, again.landmarks, atol=0.6)


@pytest.mark.parametrize("degrees", [-80, -35, 35, 80])
def test_a_face_that_is_turned_in_the_picture_is_found(degrees: float) -> None:
    whole = gray()
    turn = cv2.getRotationMatrix2D((222, 125), -degrees, 1)
    turned = np.asarray(cv2.warpAffine(whole, turn, (512, 512), borderMode=cv2.BORDER_REPLICATE), np.uint8)
    level, face = FaceTracker(MeshFaceModel()).update(whole), FaceTracker(MeshFaceModel()).update(turned)
    assert level is not None and face is not None
    expected = level.landmarks @ turn[:, :2].T + turn[:, 2]
    assert np.linalg.norm(face.landmarks - expected, axis=1).mean() < 2
    assert math.degrees(face.box.roll - level.box.roll) == pytest.approx(degrees, abs=3)


@pytest.mark.parametrize(("side", "fine"), [(110, False), (50, True)])
def test_a_small_face_is_found(side: int, fine: bool) -> None:
    """The face is 100 of 190 px of a square, which is put into a picture of 640 x 480: 58 and 26 px."""
    picture = np.full((480, 640), 90, np.uint8)
    square = cv2.resize(gray()[20:210, 128:318], (side, side), interpolation=cv2.INTER_AREA)
    picture[300 : 300 + side, 420 : 420 + side] = square
    (face,) = MeshFaceModel().search(picture, fine=fine)
    assert 420 < face.box.left < face.box.right < 420 + side and 300 < face.box.top < face.box.bottom < 300 + side


def test_there_is_no_face_in_noise_or_text() -> None:
    picture = np.random.default_rng(0).integers(0, 255, (240, 320), np.uint8)
    assert MeshFaceModel().search(picture, fine=True) == []
    page = np.full((480, 640), 255, np.uint8)
    for row in range(20, 480, 24):
        cv2.putText(page, "o: they looked at 00 (oo) O_O and 8-8 again", (8, row), cv2.FONT_HERSHEY_SIMPLEX, 0.8, 0, 2)
    assert MeshFaceModel().search(page, fine=True) == []


def test_a_face_that_goes_is_lost_and_comes_back() -> None:
    tracker, whole = FaceTracker(MeshFaceModel()), gray()
    gone = whole.copy()
    gone[40:220, 130:320] = 120
    first = tracker.update(whole)
    assert [tracker.update(gone) for _ in range(3)] == [None] * 3
    again = tracker.update(whole)
    assert first is not None and again is not None and again.track == first.track == 0


def test_the_box_holds_still_while_the_face_does() -> None:
    tracker, whole = FaceTracker(MeshFaceModel()), gray()
    boxes = set()
    for step in range(6):
        face = tracker.update(np.ascontiguousarray(whole[:, step % 3 : step % 3 + 480]))
        assert face is not None
        boxes.add(face.box)
    assert len(boxes) == 1


def test_the_box_around_points_by_hand() -> None:
    """Eyes on a line that falls by 45 degrees; the face is 20 long along it, 10 across."""
    points = np.full((468, 2), 50, np.float32)
    half = np.sqrt(0.5)
    points[33], points[263] = (50 - 10 * half, 50 - 10 * half), (50 + 10 * half, 50 + 10 * half)
    points[0], points[1] = (50 + 5 * half, 50 - 5 * half), (50 - 5 * half, 50 + 5 * half)
    box = mesh._box_of(points)
    assert (box.left, box.top, box.right, box.bottom) == pytest.approx((40.5, 40.5, 60.5, 60.5), abs=1e-4)
    assert box.roll == pytest.approx(np.pi / 4)


def test_a_crop_is_taken_anew_once_the_face_has_moved() -> None:
    last = Box(0, 0, 100, 100, 0.02)
    assert mesh._same(Box(4, 4, 104, 104, 0.02), last)
    assert not mesh._same(Box(7, 0, 107, 100, 0.02), last)
    assert not mesh._same(Box(-4, -4, 104, 104, 0.02), last)
    assert not mesh._same(Box(0, 0, 100, 100, 0.09), last)
    assert mesh._same(Box(0, 0, 100, 100, 0.02 - 2 * np.pi), last)


def test_tiles_cover_a_length_and_overlap_by_half() -> None:
    assert mesh._starts(640, 320) == [0, 160, 320]
    assert mesh._starts(480, 640) == [-80]
    assert mesh._starts(500, 320) == [0, 90, 180]


def test_of_overlapping_faces_the_best_is_kept() -> None:
    faces = [Detection(Box(0, 0, 10, 10), 0.6), Detection(Box(1, 0, 11, 10), 0.9), Detection(Box(30, 0, 40, 10), 0.7)]
    assert mesh._distinct(faces) == [faces[1], faces[2]]


def test_without_dlib_the_mesh_works_and_dlib_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dlib", None)
    assert FaceTracker(face_model("mesh")).update(gray()) is not None
    with pytest.raises(InputError, match=r"pip install dlib-bin face-recognition-models.*--face mesh"):
        face_model("dlib")


def test_a_predictor_is_none_of_the_mesh(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--face dlib"):
        face_model("mesh", tmp_path)
    with pytest.raises(InputError, match="unknown face model 'blaze'"):
        face_model("blaze")  # type: ignore[arg-type]
