"""The slow and readable twin of `openmer.simulator.render.shade`."""

import cv2
import numpy as np
import numpy.typing as npt

from openmer.clip import Array
from openmer.simulator.camera import Surface
from openmer.simulator.head import GLASSES_PART, head_model
from openmer.simulator.render import (
    CAVITY,
    EYE_LEFT,
    EYE_RIGHT,
    SKIN,
    Look,
    Scene,
    atlas_places,
    vertex_normals,
)


def shade_plainly(surface: Surface, vertices: Array, look: Look, scene: Scene, light: float = 1.0) -> Array:
    """All pixels at once, step by step."""
    model = head_model()
    normal = surface.interpolate(vertex_normals(vertices), model.mesh_faces)
    normal /= np.linalg.norm(normal, axis=2, keepdims=True) + 1e-9
    template = surface.interpolate(model.mesh_template, model.mesh_faces)
    column, row = np.moveaxis(atlas_places(template), -1, 0)
    albedo = np.asarray(cv2.remap(look.albedo, column, row, cv2.INTER_LINEAR), np.float32)
    part = model.mesh_part[model.mesh_faces[np.maximum(surface.triangle, 0), 0]]
    _paint_eyes(albedo, part, template, look)
    # The mouth's cavity is narrower than the mouth; beside it one would see the neck's skin through the lips.
    x, y, z = np.moveaxis(template, -1, 0)
    inside = (part == CAVITY) | ((part == SKIN) & (np.abs(x) < 46) & (y > -45) & (z > -80) & (z < -50))
    albedo[inside] = (0.05, 0.015, 0.012)
    albedo[part == GLASSES_PART] = look.frame
    # Wrapped diffuse light, softer than Lambert's as skin is, and a little highlight.
    toward = normal @ scene.lights.T
    diffuse = (np.clip((toward + 0.3) / 1.3, 0, 1) ** 1.3) @ scene.strengths
    half = scene.lights + np.array([0, -1, 0], np.float32)
    half /= np.linalg.norm(half, axis=1, keepdims=True)
    shiny = np.where(part >= EYE_LEFT, 0.2, np.where(inside, 0.0, look.shine))
    highlight = (np.clip(normal @ half.T, 0, 1) ** 30) @ scene.strengths * shiny
    lit = albedo * (light * diffuse + scene.ambient * light)[..., None] + light * highlight[..., None]
    height, width = surface.triangle.shape
    behind = cv2.resize(scene.background, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.where(surface.covered[..., None], lit, behind * light).astype(np.float32)


def _paint_eyes(albedo: Array, part: npt.NDArray[np.uint8], template: Array, look: Look) -> None:
    mean = head_model().mean
    for eye in (EYE_LEFT, EYE_RIGHT):
        here = part == eye
        if not here.any():
            continue
        ball = mean[head_model().part == eye]
        middle = np.array([(ball[:, 0].min() + ball[:, 0].max()) / 2, 0, (ball[:, 2].min() + ball[:, 2].max()) / 2])
        radius = np.hypot(template[here][:, 0] - middle[0], template[here][:, 2] - middle[2])
        white = np.array([0.42, 0.38, 0.35], np.float32)  # in the lids' shade
        ring = np.clip((6.0 - radius) / 0.8, 0, 1)[:, None]
        pupil = np.clip((2.3 - radius) / 0.6, 0, 1)[:, None]
        albedo[here] = (white * (1 - ring) + look.iris * ring) * (1 - pupil) + 0.005 * pupil
