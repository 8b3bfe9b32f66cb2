"""From vertices to pixels: head pose, a pinhole camera, a z-buffer, and the exact flow between two poses.

Pixels: x right, y down, pixel centres at integers. Camera space is the head's: +x image right, +z up, the camera looks
along +y.

Shape legend: V vertices, F triangles, H rows, W columns.
"""

from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from openmer.clip import Array


@dataclass(frozen=True)
class Pose:
    """Position of the head: rotations in radians about its centre, then a shift in mm.

    Attributes:
        yaw: to the subject's left, positive.
        pitch: downwards, positive.
        roll: clockwise in the image, positive.
        shift: (x, y, z) mm.
    """

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    shift: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def apply(self, vertices: Array) -> Array:
        """(V, 3) mm -> (V, 3) mm."""
        cy, sy = np.cos(self.yaw), np.sin(self.yaw)
        cp, sp = np.cos(self.pitch), np.sin(self.pitch)
        cr, sr = np.cos(self.roll), np.sin(self.roll)
        yaw = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
        pitch = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
        roll = np.array([[cr, 0, sr], [0, 1, 0], [-sr, 0, cr]])
        return np.asarray(vertices @ (roll @ pitch @ yaw).T + np.array(self.shift), np.float32)


@dataclass(frozen=True)
class Camera:
    """A pinhole in front of the face.

    Attributes:
        width: of the picture, px.
        height: of the picture, px.
        distance: from the head's centre, mm.
        focal: px.
    """

    width: int
    height: int
    distance: float = 900.0
    focal: float = 900.0

    def project(self, points: Array) -> Array:
        """(..., 3) mm -> (..., 3): x px, y px, depth mm."""
        depth = self.distance + points[..., 1]
        x = (self.width - 1) / 2 + self.focal * points[..., 0] / depth
        y = (self.height - 1) / 2 - self.focal * points[..., 2] / depth
        return np.stack([x, y, depth], -1).astype(np.float32)

    def enlarged(self, times: int) -> "Camera":
        """The same view with `times` times the pixels."""
        return Camera(self.width * times, self.height * times, self.distance, self.focal * times)


@dataclass(frozen=True)
class Surface:
    """Which point of which triangle each pixel shows.

    Attributes:
        triangle: (H, W) index, -1 where there is none.
        weights: (H, W, 3) barycentric on the surface (perspective undone).
        depth: (H, W) mm.
    """

    triangle: npt.NDArray[np.int32]
    weights: Array
    depth: Array

    @property
    def covered(self) -> npt.NDArray[np.bool_]:
        """(H, W)."""
        return self.triangle >= 0

    def interpolate(self, attribute: Array, faces: npt.NDArray[np.int32]) -> Array:
        """(V, D) -> (H, W, D); 0 where there is no surface."""
        out = np.zeros((*self.triangle.shape, attribute.shape[1]), np.float32)
        _interpolate(self.triangle, self.weights, faces, np.ascontiguousarray(attribute, np.float32), out)
        return out


@numba.njit(cache=True)
def _interpolate(triangle, weights, faces, attribute, out):  # type: ignore[no-untyped-def]
    for y in range(triangle.shape[0]):
        for x in range(triangle.shape[1]):
            t = triangle[y, x]
            if t >= 0:
                for d in range(attribute.shape[1]):
                    value = np.float32(0)
                    for k in range(3):
                        value += weights[y, x, k] * attribute[faces[t, k], d]
                    out[y, x, d] = value


EDGE = 1e-9  # px: a pixel on the edge of two triangles must not be missed by both


@numba.njit(cache=True, error_model="numpy")
def _rasterize(points, faces, closed, triangle, weights, nearest):  # type: ignore[no-untyped-def]
    height, width = triangle.shape
    for t in range(len(faces)):
        a, b, c = faces[t, 0], faces[t, 1], faces[t, 2]
        ax, ay, az = points[a, 0], points[a, 1], points[a, 2]
        bx, by, bz = points[b, 0], points[b, 1], points[b, 2]
        cx, cy, cz = points[c, 0], points[c, 1], points[c, 2]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area == 0 or (area > 0 and t < closed) or min(az, bz, cz) <= 1:
            continue
        x0, x1 = max(0, int(np.ceil(min(ax, bx, cx)))), min(width - 1, int(np.floor(max(ax, bx, cx))))
        y0, y1 = max(0, int(np.ceil(min(ay, by, cy)))), min(height - 1, int(np.floor(max(ay, by, cy))))
        if x0 > x1 or y0 > y1:
            continue
        ia, ib, ic = 1 / az, 1 / bz, 1 / cz
        # Weights are linear along a row.
        over = 1 / area
        along_a, along_b = (by - cy) * over, (cy - ay) * over
        along_c = -along_a - along_b
        per_a = 1 / along_a if along_a != 0 else 0.0
        per_b = 1 / along_b if along_b != 0 else 0.0
        per_c = 1 / along_c if along_c != 0 else 0.0
        for y in range(y0, y1 + 1):
            row_a = (bx * (cy - y) - (by - y) * cx) * over
            row_b = (cx * (ay - y) - (cy - y) * ax) * over
            left, right = float(x0), float(x1)
            for start, along, per in (
                (row_a, along_a, per_a),
                (row_b, along_b, per_b),
                (1 - row_a - row_b, along_c, per_c),
            ):
                if along > 0:
                    left = max(left, -start * per - EDGE)
                elif along < 0:
                    right = min(right, -start * per + EDGE)
                elif start < 0:
                    right = -1.0
            for x in range(int(np.ceil(left)), int(np.floor(right)) + 1):
                wa = row_a + along_a * x
                wb = row_b + along_b * x
                wc = 1 - wa - wb
                inverse = wa * ia + wb * ib + wc * ic  # of the depth: no division if something nearer is there
                if inverse > nearest[y, x]:
                    nearest[y, x] = inverse
                    triangle[y, x] = t
                    weights[y, x, 0] = wa
                    weights[y, x, 1] = wb
    for y in range(height):  # perspective is undone once, for what is seen
        for x in range(width):
            t = triangle[y, x]
            if t >= 0:
                depth = 1 / nearest[y, x]
                wa, wb = weights[y, x, 0], weights[y, x, 1]
                weights[y, x, 2] = (1 - wa - wb) * depth / points[faces[t, 2], 2]
                weights[y, x, 0] = wa * depth / points[faces[t, 0], 2]
                weights[y, x, 1] = wb * depth / points[faces[t, 1], 2]
                nearest[y, x] = depth
            else:
                nearest[y, x] = np.inf


def rasterize(projected: Array, faces: npt.NDArray[np.int32], height: int, width: int, *, closed: int = 0) -> Surface:
    """What a pinhole sees: the nearest surface at each pixel's center.

    Args:
        projected: (V, 3) vertices.
        faces: (F, 3) triangles.
        height: of the picture, px.
        width: of the picture, px.
        closed: so many of the first triangles bound a body, and are seen from outside only.
    """
    triangle = np.full((height, width), -1, np.int32)
    weights = np.zeros((height, width, 3), np.float32)
    nearest = np.zeros((height, width))  # 1 / mm, then mm
    _rasterize(projected.astype(np.float64), faces, closed, triangle, weights, nearest)
    return Surface(triangle, weights, nearest.astype(np.float32))


def exact_flow(
    surfaces: tuple[Surface, Surface], now: Array, then: Array, faces: npt.NDArray[np.int32], camera: Camera
) -> tuple[Array, npt.NDArray[np.bool_]]:
    """How the visible surface moves, and which part of it stays visible.

    Args:
        surfaces: what the camera sees now and then.
        now: (V, 3) mm.
        then: (V, 3) mm.
        faces: triangles.
        camera: of both.

    Returns:
        (2, H, W) px (dx, dy), 0 where there is no surface; (H, W) whether the moved point is then the nearest one.
    """
    surface, later = surfaces
    view = ((camera.width - 1) / 2, (camera.height - 1) / 2, camera.distance, camera.focal)
    flow, visible = _exact_flow(surface.triangle, surface.weights, faces, now, then, later.depth, view)
    return flow, visible


@numba.njit(cache=True)
def _exact_flow(triangle, weights, faces, now, then, depth, view):  # type: ignore[no-untyped-def]
    height, width = triangle.shape
    flow, visible = np.zeros((2, height, width), np.float32), np.zeros((height, width), np.bool_)
    middle_x, middle_y, distance, focal = view
    for v in range(height):
        for u in range(width):
            t = triangle[v, u]
            if t < 0:
                continue
            x0 = y0 = z0 = x1 = y1 = z1 = 0.0
            for k in range(3):
                w, p = weights[v, u, k], faces[t, k]
                x0 += w * now[p, 0]
                y0 += w * now[p, 1]
                z0 += w * now[p, 2]
                x1 += w * then[p, 0]
                y1 += w * then[p, 1]
                z1 += w * then[p, 2]
            before, after = focal / (distance + y0), focal / (distance + y1)
            flow[0, v, u] = x1 * after - x0 * before
            flow[1, v, u] = z0 * before - z1 * after
            column = min(max(int(np.rint(middle_x + x1 * after)), 0), width - 1)
            row = min(max(int(np.rint(middle_y - z1 * after)), 0), height - 1)
            # 2 mm: the surface's slope over half a pixel; a head's folds are deeper.
            visible[v, u] = distance + y1 <= depth[row, column] + 2.0
    return flow, visible
