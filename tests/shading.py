"""The slow and readable twin of `openmer.simulator.render.shade`."""

import cv2
import numpy as np
import numpy.typing as npt

from openmer.clip import Array
from openmer.simulator.camera import Surface
from openmer.simulator.head import GLASSES_PART, head_model
from openmer.simulator.look import FOLDED, PORES, RED, SHINE, SWALLOWED, Look, vertex_places
from openmer.simulator.render import CAVITY, EYE_LEFT, EYE_RIGHT, SKIN, Scene, triangle_kinds, vertex_normals


def shade_plainly(
    surface: Surface, vertices: Array, folded: Array, look: Look, scene: Scene, light: float = 1.0
) -> Array:
    """All pixels at once, step by step."""
    model = head_model()
    normal = surface.interpolate(vertex_normals(vertices), model.mesh_faces)
    column, row = np.moveaxis(surface.interpolate(vertex_places(), model.mesh_faces), -1, 0)
    limit = look.atlas.shape[0] - 1.001
    at = (column.clip(0, limit), row.clip(0, limit))
    exact = _bilinear(look.atlas, *at)
    deep = surface.interpolate(folded[:, None], model.mesh_faces)
    kind = triangle_kinds()[surface.triangle]
    skin = kind == SKIN
    slope = exact[..., PORES] + deep * exact[..., FOLDED]
    # The tangent that is horizontal in the picture, and the one that goes down.
    across = np.stack([-normal[..., 1], normal[..., 0], np.zeros_like(column)], -1)
    across /= np.linalg.norm(across, axis=2, keepdims=True) + 1e-6
    down = np.cross(across, normal)
    normal = np.where(skin[..., None], normal - slope[..., :1] * across - slope[..., 1:] * down, normal)
    normal /= np.linalg.norm(normal, axis=2, keepdims=True) + 1e-9
    albedo = exact[..., RED:SHINE].copy()
    template = surface.interpolate(model.mesh_template, model.mesh_faces)
    _paint_eyes(albedo, kind, template, look)
    albedo[kind == CAVITY] = (0.05, 0.015, 0.012)
    albedo[kind == GLASSES_PART] = look.frame
    # Wrapped diffuse light, softer than Lambert's as skin is, and a little highlight.
    toward = np.clip((normal @ scene.lights.T + 0.3) / 1.3, 0, 1)
    diffuse = (toward * (0.6 + 0.4 * toward)) @ scene.strengths
    half = scene.lights + np.array([0, -1, 0], np.float32)
    half /= np.linalg.norm(half, axis=1, keepdims=True)
    shiny = np.select([skin, kind == CAVITY], [exact[..., SHINE], 0.0], 0.2)
    facing = np.clip(normal @ half.T, 0, 1)
    highlight = np.where(facing > 0.7, facing**30, 0) @ scene.strengths * shiny
    seen = np.where(skin, 1 - deep[..., 0] * exact[..., SWALLOWED], 1.0)
    lit = albedo * (light * seen * (diffuse + scene.ambient))[..., None] + light * highlight[..., None]
    height, width = surface.triangle.shape
    behind = cv2.resize(scene.background, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.where(surface.covered[..., None], lit, behind * light).astype(np.float32)


def _bilinear(atlas: Array, column: Array, row: Array) -> Array:
    c, r = column.astype(int), row.astype(int)
    right, down = (column - c)[..., None], (row - r)[..., None]
    above = (1 - right) * atlas[r, c] + right * atlas[r, c + 1]
    below = (1 - right) * atlas[r + 1, c] + right * atlas[r + 1, c + 1]
    return np.asarray((1 - down) * above + down * below, np.float32)


def _paint_eyes(albedo: Array, kind: npt.NDArray[np.uint8], template: Array, look: Look) -> None:
    mean = head_model().mean
    for eye in (EYE_LEFT, EYE_RIGHT):
        here = kind == eye
        if not here.any():
            continue
        ball = mean[head_model().part == eye]
        middle = np.array([(ball[:, 0].min() + ball[:, 0].max()) / 2, 0, (ball[:, 2].min() + ball[:, 2].max()) / 2])
        radius = np.hypot(template[here][:, 0] - middle[0], template[here][:, 2] - middle[2])
        white = np.array([0.32, 0.285, 0.26], np.float32)  # in the lids' shade
        ring = np.clip((6.0 - radius) / 0.8, 0, 1)[:, None]
        pupil = np.clip((2.3 - radius) / 0.6, 0, 1)[:, None]
        albedo[here] = (white * (1 - ring) + look.iris * ring) * (1 - pupil) + 0.005 * pupil
