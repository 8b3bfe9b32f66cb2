"""The head in depth, against hand-made motions, a slow twin and the simulator's exact flow."""

import cv2
import numpy as np
import pytest

from openmer.clip import Array
from openmer.face.pose import (
    POSED_BY,
    HeadMotion,
    HeadPose,
    Places,
    fit_head_motion,
    head_depth,
    head_pose,
    mean_head,
)
from openmer.simulator import head as simulated
from openmer.simulator.camera import Camera, Pose, exact_flow, rasterize

EVERYWHERE = np.arange(128 * 128)
FRONTAL = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1.0]])


def pictured(yaw: float = 0, pitch: float = 0, roll: float = 0, scale: float = 0.6) -> Array:
    """The mean head's landmarks in the crop: the simulator turns it, in its own axes (left, back, up)."""
    x, y, z = mean_head().landmarks.T
    moved = Pose(*np.radians([yaw, pitch, roll])).apply(np.stack([x, z, -y], 1).astype(np.float32))
    return np.stack([64 + scale * moved[:, 0], 60 - scale * moved[:, 2]], 1).astype(np.float32)


def bowl() -> Array:
    """A face as a bowl: nearest in the middle."""
    y, x = np.mgrid[:128, :128] - 63.5
    return ((x**2 + y**2) / 100 - 30).astype(np.float32)


def test_the_mean_head_is_a_face_seen_from_the_front() -> None:
    head = mean_head()
    points = head.landmarks
    assert points[36, 0] == pytest.approx(-points[45, 0]) and points[36, 0] < 0  # the subject's right is at the left
    assert points[8, 1] > points[33, 1] > points[27, 1] > points[19, 1]  # y is down
    assert points[30, 2] == points[:, 2].min()  # the nose tip is nearest
    assert points[[0, 16], 2].mean() > points[:, 2].mean() + 30  # the ears are far
    np.testing.assert_array_equal(head.depth, head.depth[:, ::-1])


def test_the_field_of_each_term_by_hand() -> None:
    depth = np.full((128, 128), -10, np.float32)
    place = np.s_[:, 73, 83]  # x = 19.5, y = 9.5 from the middle
    expected = {
        0: (1, 0),
        1: (0, 1),
        2: (19.5, 9.5),  # grows: away from the middle
        3: (-9.5, 19.5),  # rolls clockwise: what is right of the middle goes down
        4: (-10, 0),  # turns: what is near goes left
        5: (0, -10),
    }
    for term, (u, v) in expected.items():
        terms = np.zeros(6)
        terms[term] = 1
        assert HeadMotion(terms).field(depth)[place].tolist() == [u, v]


def test_what_a_motion_is_called() -> None:
    motion = HeadMotion(np.array([1.5, -2.5, 0.01, 0.02, -0.03, 0.04]))
    assert motion.shift_px == (1.5, -2.5)
    assert motion.growth_pct == pytest.approx(1)
    # Near places to the image's right: a turn to the subject's left. Near places up: a nod upwards.
    assert motion.turn_deg == pytest.approx((np.degrees(0.03), -np.degrees(0.04), np.degrees(np.arctan(0.02 / 1.01))))


def test_a_motion_is_measured_exactly_though_a_quarter_of_the_face_moves_otherwise() -> None:
    terms = np.array([1.5, -0.7, 0.01, -0.02, 0.03, 0.015])
    flow = HeadMotion(terms).field(bowl())
    flow[:, :32] += np.array([2, -3], np.float32)[:, None, None]
    rigid = EVERYWHERE[::7]
    np.testing.assert_allclose(fit_head_motion(flow, bowl(), rigid).terms, terms, atol=1e-5)


def slowly_fitted(flow: Array, depth: Array, rigid: Places) -> list[float]:
    """The same estimate, one place and one equation at a time."""
    rows = []
    for index in rigid.tolist():
        row, column = divmod(index, depth.shape[1])
        x, y, z = column - 63.5, row - 63.5, float(depth[row, column])
        rows.append(((1, 0, x, -y, z, 0), float(flow[0, row, column])))
        rows.append(((0, 1, y, x, 0, z), float(flow[1, row, column])))
    weights = [1.0] * len(rows)
    terms = np.zeros(6)
    for step in range(13):
        normal, right = np.zeros((6, 6)), np.zeros(6)
        for (equation, value), weight in zip(rows, weights, strict=True):
            normal += weight * np.outer(equation, equation)
            right += weight * value * np.array(equation)
        terms = np.linalg.solve(normal, right)
        missed = [value - float(np.dot(equation, terms)) for equation, value in rows]
        lengths = [float(np.hypot(missed[k], missed[k + 1])) for k in range(0, len(missed), 2)]
        limit = 4.685 * max(sorted(lengths)[len(lengths) // 2] / 1.1774, 0.02)
        for k, length in enumerate(lengths):
            tukey = (1 - (length / limit) ** 2) ** 2 if length < limit else 0.0
            weights[2 * k] = weights[2 * k + 1] = 1 / max(length, 0.02) if step < 9 else tukey
    return terms.tolist()


def test_the_fit_equals_its_slow_twin() -> None:
    rng = np.random.default_rng(0)
    flow = rng.normal(0, 0.3, (2, 128, 128)).astype(np.float32)
    flow[:, 30:60, 20:50] += 2
    rigid = np.sort(rng.choice(EVERYWHERE, 301, replace=False))
    terms = fit_head_motion(flow, bowl(), rigid).terms
    np.testing.assert_allclose(terms, slowly_fitted(flow, bowl(), rigid), rtol=1e-9)


@pytest.mark.parametrize("turn", [(0, 0, 0), (20, 0, 0), (0, 15, 0), (0, 0, -10), (-25, 10, 15)])
def test_the_pose_of_the_mean_head_itself_is_exact(turn: tuple[float, float, float]) -> None:
    pose = head_pose(pictured(*turn))
    assert pose.scale == pytest.approx(0.6, rel=1e-5)
    np.testing.assert_allclose(pose.rotation @ pose.rotation.T, np.eye(3), atol=1e-9)
    assert pose.degrees == pytest.approx(turn, abs=1e-3)


def slowly_found_depth(pose: HeadPose, x: int, y: int) -> float:
    """Along the line of sight from the near side, mm by mm, until the surface is met; from the landmarks' mean."""
    head, inverse = mean_head(), pose.rotation.T
    zero = float((head.landmarks[list(POSED_BY)] @ pose.rotation[2]).mean())
    for z in np.arange(-200, 150, 0.1):
        place = inverse @ np.array([(x - pose.shift[0]) / pose.scale, (y - pose.shift[1]) / pose.scale, z])
        grid = np.float32(place[:2] / head.step_mm + (np.array(head.depth.shape[::-1]) - 1) / 2)
        surface = cv2.remap(head.depth, grid[:1], grid[1:], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        if place[2] >= surface[0, 0]:
            return float((z - zero) * pose.scale)
    raise AssertionError("the line of sight misses the head")


@pytest.mark.parametrize("turn", [(0, 0, 0), (20, -10, 5), (-15, 15, 0)])
def test_the_depth_is_that_of_the_first_surface_on_the_line_of_sight(turn: tuple[float, float, float]) -> None:
    points = pictured(*turn)
    depth, pose = head_depth(points), head_pose(points)
    places = [np.rint(points[k]).astype(int).tolist() for k in (19, 24, 27, 30, 36, 45, 48, 54)]
    for x, y in places:
        assert depth[y, x] == pytest.approx(slowly_found_depth(pose, x, y), abs=0.3)


def test_depth_follows_the_size_of_the_picture_and_the_head() -> None:
    small = head_depth(pictured(10, 5, 0), 128)
    large = head_depth(2 * pictured(10, 5, 0) + 0.5, 256)
    halved = large.reshape(128, 2, 128, 2).mean((1, 3))
    np.testing.assert_allclose(halved[30:90, 40:88], 2 * small[30:90, 40:88], atol=0.2)  # on the face


def test_simulated_heads_that_turn_are_explained_by_depth_and_not_without() -> None:
    """People whose shape is not the mean head's, with an exact flow, seen from afar; px of the crop, on the face."""
    rng, camera = np.random.default_rng(1), Camera(128, 128, distance=9000, focal=128 / 190 * 9000)
    faces = simulated.head_model().mesh_faces
    with_depth, without = [], []
    for _ in range(6):
        person = simulated.draw_identity(rng)
        yaw, pitch = np.radians(rng.uniform(-15, 15, 2))
        turn = np.radians(rng.choice([-3, 3], 2))
        now = Pose(yaw, pitch).apply(person.vertices)
        then = Pose(yaw + turn[0], pitch + turn[1], shift=(2, 0, 1)).apply(person.vertices)
        surface = rasterize(camera.project(now), faces, 128, 128)
        flow, _ = exact_flow((surface, surface), now, then, faces, camera)
        points = simulated.seen_landmarks(now, camera)
        mask = np.zeros((128, 128), np.uint8)
        cv2.fillConvexPoly(mask, cv2.convexHull(np.rint(points[:27]).astype(np.int32)), 1)
        skin = np.flatnonzero((mask == 1) & surface.covered)
        depth = head_depth(points)
        motion = fit_head_motion(flow, depth, skin)
        flat = np.zeros_like(depth)
        for errors, field in (
            (with_depth, motion.field(depth)),
            (without, fit_head_motion(flow, flat, skin).field(flat)),
        ):
            errors.append(np.median(np.linalg.norm((flow - field).reshape(2, -1)[:, skin], axis=0)))
        np.testing.assert_allclose(motion.turn_deg[:2], np.degrees(turn), atol=0.8)
    assert np.mean(with_depth) < 0.4 * np.mean(without)
