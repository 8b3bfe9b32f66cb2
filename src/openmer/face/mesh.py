"""BlazeFace and FaceMesh with attention as a face model: free weights (Apache-2.0), steadier points than dlib's.

The mesh's points are read from an upright square crop around the face. A face is followed by its own points: the crop
is kept until the face has moved, because the points depend on it a little.
"""

from functools import cache
from importlib import resources

import cv2
import numpy as np
import numpy.typing as npt

from openmer.clip import Array, Gray
from openmer.face.mesh_fast import FastDetector, FastMesh
from openmer.face.mesh_net import DETECTOR_PX, MESH_PX, AttentionMesh, FaceDetector, anchors
from openmer.face.track import Box, Detection, Located

# The mesh's points in iBUG 68 order: a published list, some points changed after comparison with dlib's.
POINTS_68 = (
    127, 234, 93, 132, 172, 136, 149, 176, 152, 400, 378, 365, 397, 361, 323, 454, 356,
    70, 63, 105, 66, 107, 336, 296, 334, 293, 300, 168, 197, 5, 4, 75, 97, 2, 326, 305,
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,
    61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87,
)  # fmt: skip
OUTER_EYES = (33, 263)
# Lips, lids and jaw lie higher in the mesh than where iBUG's annotators, and so dlib, place them: by so many distances
# of the outer eye corners. Chosen on two people, held up on three (benchmarks/face_models.py): crops agree within a px.
LOWERED = 0.012
CROP_GROWTH = 1.5  # side of the crop over the face's longer side
MIN_SCORE = 0.5
MIN_SCORE_AGAIN = 0.75  # of a second look at the face alone: text and hands reach 0.70, faces 0.77
LOOK_AGAIN_GROWTH = 2.2
OVERLAP = 0.3  # IoU above which two detections are one face
MAX_LOOKS = 4  # the detector's box may be turned by up to 30 degrees
MOVED = 0.06  # of the box's side: the crop is then taken anew


@cache
def networks() -> tuple[FaceDetector, AttentionMesh]:
    """Both networks with the weights that ship with the package; read once."""
    from safetensors.torch import load_file

    with resources.as_file(resources.files("openmer.face") / "mesh.safetensors") as path:
        stored = load_file(path)
    nets = FaceDetector(), AttentionMesh()
    for net, prefix in zip(nets, ("detector.", "mesh."), strict=True):
        net.load_state_dict({k.removeprefix(prefix): v.float() for k, v in stored.items() if k.startswith(prefix)})
        net.requires_grad_(False).eval()
    return nets


class MeshFaceModel:
    """Faces by BlazeFace, 68 of the mesh's 468 points; for one thread at a time."""

    def __init__(self) -> None:
        detector, mesh = networks()
        self._detector, self._mesh = FastDetector(detector), FastMesh(mesh)
        self._anchors = anchors().numpy()

    def search(self, gray: Gray, *, fine: bool) -> list[Detection]:
        """All faces of about a twelfth of the longer side or more, best first; if none and `fine`, half as large."""
        longer = max(gray.shape)
        faces: list[Detection] = []
        for tile in (longer, longer / 2, longer / 4)[: 3 if fine else 2]:
            faces = faces or self._confirmed(gray, _distinct(self._in_tiles(gray, tile)))
        return faces

    def locate(self, gray: Gray, face: Detection) -> Located | None:
        """The points of a face that was detected: from the detector's box, then from the mesh's own till it stays."""
        located = self._look(gray, face.box)
        for _ in range(MAX_LOOKS - 1):
            if located is None or located.box == face.box:
                break
            face = Detection(located.box, face.score)
            located = self._look(gray, face.box)
        return located

    def follow(self, gray: Gray, last: Located) -> Located | None:
        """The points of the face that was in the last box."""
        return self._look(gray, last.box)

    def mesh(self, gray: Gray, box: Box) -> tuple[Array, float]:
        """(468, 3) points of the face in `box`, px of the picture, z nearer is less; how sure it is one, 0 to 1."""
        matrix = _to_crop(box.grown(CROP_GROWTH), MESH_PX)
        points, logit = self._mesh(_warped(gray, matrix, MESH_PX))
        scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
        # The network counts from the crop's corner, not from the first pixel's center.
        flat = (points[:, :2] - 0.5 - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T
        placed = np.concatenate([flat, points[:, 2:] / scale], 1)
        return placed.astype(np.float32), _probability(logit)

    def _look(self, gray: Gray, box: Box) -> Located | None:
        points, score = self.mesh(gray, box)
        if score < MIN_SCORE:
            return None
        own = _box_of(points[:, :2])
        return Located(box if _same(own, box) else own, score, _points_68(points))

    def _in_tiles(self, gray: Gray, tile: float) -> list[Detection]:
        """Faces in square parts that overlap by half."""
        height, width = gray.shape
        lefts, tops = _starts(width, tile), _starts(height, tile)
        return [face for x in lefts for y in tops for face in self._in_square(gray, Box(x, y, x + tile, y + tile))]

    def _in_square(self, gray: Gray, square: Box) -> list[Detection]:
        matrix = _to_crop(square, DETECTOR_PX)
        boxes, logits = self._detector(_warped(gray, matrix, DETECTOR_PX, outside=0) * 2 - 1)
        sure = np.flatnonzero(logits > np.log(MIN_SCORE / (1 - MIN_SCORE)))
        values = boxes[sure].reshape(-1, 8, 2) * np.float32(1 / DETECTOR_PX)
        values[:, 0] += self._anchors[sure]
        values[:, 2:] += self._anchors[sure, None]
        inverse = cv2.invertAffineTransform(matrix)
        faces = []
        for (center, size, *keys), logit in zip(values, logits[sure], strict=True):
            x, y = inverse[:, :2] @ (center * DETECTOR_PX - 0.5) + inverse[:, 2] + 0.5
            eyes = keys[1] - keys[0]
            roll = square.roll + float(np.arctan2(eyes[1], eyes[0]))
            faces.append(Detection(_square(x, y, float(size.max()) * square.width, roll), _probability(float(logit))))
        return faces

    def _confirmed(self, gray: Gray, faces: list[Detection]) -> list[Detection]:
        """Those that the detector sees again, and better, in a picture of the face alone."""
        sure = []
        for face in faces:
            again = self._in_square(gray, face.box.grown(LOOK_AGAIN_GROWTH))
            sure += [d for d in again if d.score >= MIN_SCORE_AGAIN and d.box.iou(face.box) > OVERLAP]
        return _distinct(sure)


def _starts(length: int, tile: float) -> list[float]:
    """Where tiles begin that overlap by half and cover a length; one, in the middle, if it is shorter than a tile."""
    if tile >= length:
        return [(length - tile) / 2]
    steps = int(np.ceil((length - tile) / (tile / 2)))
    return [k * (length - tile) / steps for k in range(steps + 1)]


def _distinct(faces: list[Detection]) -> list[Detection]:
    """Best first, without those that overlap a better one."""
    kept: list[Detection] = []
    for face in sorted(faces, key=lambda d: -d.score):
        if all(face.box.iou(other.box) <= OVERLAP for other in kept):
            kept.append(face)
    return kept


def _probability(logit: float) -> float:
    return float(1 / (1 + np.exp(-np.clip(logit, -80, 80))))


def _box_of(points: Array) -> Box:
    """The smallest upright square around the mesh's points, (468, 2); upright: the eyes are level."""
    across = points[OUTER_EYES[1]] - points[OUTER_EYES[0]]
    roll = float(np.arctan2(across[1], across[0]))
    cos, sin = np.cos(roll), np.sin(roll)
    turn = np.array([[cos, sin], [-sin, cos]])
    upright = points @ turn.T
    low, high = upright.min(0), upright.max(0)
    x, y = (low + high) / 2 @ turn
    # Edges are half a pixel before centers.
    return _square(x + 0.5, y + 0.5, float((high - low).max()), roll)


def _square(x: float, y: float, side: float, roll: float) -> Box:
    return Box(float(x - side / 2), float(y - side / 2), float(x + side / 2), float(y + side / 2), roll)


def _points_68(mesh: Array) -> Array:
    """(468, 3) -> (68, 2), where iBUG's annotators place them."""
    points = mesh[list(POINTS_68), :2]
    across = points[45] - points[36]
    return points + np.float32(LOWERED) * np.array([-across[1], across[0]], np.float32)


def _same(own: Box, last: Box) -> bool:
    """Whether a face's own box is so near the one it was read from that this one is kept."""
    limit = MOVED * last.width
    centers = (own.left + own.right - last.left - last.right) / 2, (own.top + own.bottom - last.top - last.bottom) / 2
    turned = (own.roll - last.roll + np.pi) % (2 * np.pi) - np.pi
    return bool(np.hypot(*centers) < limit and abs(own.width - last.width) < limit and abs(turned) < MOVED)


def _to_crop(box: Box, side: int) -> npt.NDArray[np.float64]:
    """(2, 3): from pixels of the picture to those of the box's crop, both with centers at whole numbers."""
    scale = side / box.width
    cos, sin = np.cos(box.roll) * scale, np.sin(box.roll) * scale
    matrix = np.array([[cos, sin, 0.0], [-sin, cos, 0.0]])
    # Edges are half a pixel before centers.
    center = np.array([(box.left + box.right) / 2 - 0.5, (box.top + box.bottom) / 2 - 0.5])
    matrix[:, 2] = (side - 1) / 2 - matrix[:, :2] @ center
    return matrix


def _warped(gray: Gray, matrix: npt.NDArray[np.float64], side: int, outside: int | None = None) -> Array:
    """The crop, (side, side) in [0, 1]; beyond the picture its edge goes on, or `outside`.

    What is much larger than the crop is first made smaller by averaging: sampling alone would alias, and aliases move.
    """
    inverse = cv2.invertAffineTransform(matrix)
    corners = np.array([[-1, -1], [side, -1], [-1, side], [side, side]]) @ inverse[:, :2].T + inverse[:, 2]
    times = int(np.hypot(inverse[0, 0], inverse[1, 0]))
    if times > 1:
        limits = np.array(gray.shape[::-1])
        low = np.clip(np.floor(corners.min(0)).astype(int), 0, limits - 1) // times * times
        high = np.clip(np.ceil(corners.max(0)).astype(int) + 1, low + times, limits)
        size = np.maximum((high - low) // times, 1)
        high = np.minimum(low + size * times, limits)
        part = gray[low[1] : high[1], low[0] : high[0]]
        gray = np.asarray(cv2.resize(part, size.tolist(), interpolation=cv2.INTER_AREA), np.uint8)
        shift = matrix[:, :2] @ (low + (times - 1) / 2) + matrix[:, 2]
        matrix = np.concatenate([matrix[:, :2] * times, shift[:, None]], 1)
    border = cv2.BORDER_REPLICATE if outside is None else cv2.BORDER_CONSTANT
    crop = cv2.warpAffine(
        gray, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=border, borderValue=outside or 0
    )
    return np.asarray(crop, np.float32) * np.float32(1 / 255)
