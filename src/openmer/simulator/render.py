"""How a simulated face looks: skin, brows, lips, eyes, hair, light, background, camera.

Skin is painted once per person, in a cylindrical atlas of the mean head, so that it sticks to the surface and moves
with it. Colours and sizes are our choice.

Shape legend: V vertices, H rows, W columns of the picture; the atlas has its own rows and columns.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import cv2
import numba
import numpy as np
import numpy.typing as npt

from openmer.clip import Array
from openmer.face.align import BOX_FACTOR, five_points
from openmer.simulator.camera import Camera, Surface
from openmer.simulator.head import GLASSES_PART, head_model, landmarks

Image = npt.NDArray[np.uint8]

ATLAS_H, ATLAS_W = 512, 768
SKIN, CAVITY, EYE_LEFT, EYE_RIGHT = range(4)
WHITE_RGB = (np.float32(0.42), np.float32(0.38), np.float32(0.35))  # of an eye, shaded by the lids
CAVITY_RGB = (np.float32(0.05), np.float32(0.015), np.float32(0.012))


def atlas_places(template: Array) -> Array:
    """(..., 3) mm on the mean head -> (..., 2) column, row of the atlas. The seam is at the back."""
    mean = head_model().mean
    low, high = mean[:, 2].min(), mean[:, 2].max()
    column = (np.arctan2(template[..., 0], -template[..., 1]) / (2 * np.pi) + 0.5) * (ATLAS_W - 1)
    row = (high - template[..., 2]) / (high - low) * (ATLAS_H - 1)
    return np.stack([column, row], -1).astype(np.float32)


@dataclass(frozen=True)
class Look:
    """A person's surface.

    Attributes:
        albedo: (ATLAS_H, ATLAS_W, 3) RGB, 0 to 1, linear light.
        iris: (3,) RGB.
        frame: (3,) RGB of the glasses' frame, if any is worn.
        shine: strength of highlights.
    """

    albedo: Array
    iris: Array
    frame: Array
    shine: float


def draw_look(rng: np.random.Generator) -> Look:
    """Paint a new person's skin, brows, lips, hair and perhaps a beard."""
    tone = np.array([0.62, 0.40, 0.30]) * np.exp(-rng.uniform(0, 1.6) * np.array([0.75, 1.0, 1.15]))
    albedo = np.broadcast_to(tone.astype(np.float32), (ATLAS_H, ATLAS_W, 3)).copy()
    points = atlas_places(landmarks(head_model().mean))
    albedo *= 1 + _mottling(rng)[..., None] * np.array([0.7, 1.0, 1.0], np.float32)
    redness = (
        0.25 * rng.random() * (_spot(points[[31, 35]].mean(0), 18) + _spot(points[1:3].mean(0) + np.array([22, 0]), 30))
    )
    albedo *= 1 + redness[..., None] * np.array([0.4, -0.3, -0.3], np.float32)
    _paint_moles(albedo, rng)
    albedo *= 1 - _shadows(points, rng)[..., None] * np.array([0.85, 1.0, 1.0], np.float32)
    hair = np.minimum(np.array([0.22, 0.15, 0.09]) * rng.uniform(0.15, 1.8) ** 1.5, 0.45 * tone)
    _blend(albedo, _lips(points), tone * np.array([0.95, 0.62, 0.62]), 0.75)
    _blend(albedo, _brows(points, rng), hair, rng.uniform(0.7, 1.0))
    if rng.random() < 0.35:
        _blend(albedo, _beard(points, rng), hair, rng.uniform(0.15, 0.6))
    _blend(albedo, _lashes(points, rng), 0.4 * hair, rng.uniform(0.6, 1.0))
    _blend(albedo, _hair(points, rng), hair, 0.97)
    frame = np.array([[0.01, 0.01, 0.01], [0.06, 0.03, 0.015], [0.25, 0.22, 0.2], [0.12, 0.02, 0.02]])[rng.integers(4)]
    irises = np.array([[0.03, 0.015, 0.008], [0.06, 0.03, 0.015], [0.06, 0.11, 0.17], [0.08, 0.11, 0.06]])
    iris = irises[rng.integers(4 if tone[0] > 0.35 else 2)]  # dark skin goes with dark eyes
    return Look(
        np.clip(albedo, 0.003, 0.95).astype(np.float32),
        iris.astype(np.float32),
        frame.astype(np.float32),
        float(rng.uniform(0.05, 0.2) * tone[0]),
    )


def infrared(look: Look) -> Look:
    """The same person to a near-infrared camera: all skin is bright and smooth, lips and moles fade, hair gains.

    Sizes are our choice, by the eye.
    """
    gray = look.albedo @ np.array([0.7, 0.2, 0.1], np.float32)
    bright = 0.75 * cv2.pow(gray, 0.45)[..., None]
    return Look(
        np.repeat(bright, 3, 2),
        np.full(3, 0.12, np.float32),
        look.frame,
        1.5 * look.shine,
    )


def _shadows(points: Array, rng: np.random.Generator) -> Array:
    """Where little light reaches: eye sockets, nostrils, below the lower lip, and beside the nose."""
    total = np.zeros((ATLAS_H, ATLAS_W), np.float32)
    for eye, brow in ((points[36:42], points[17:22]), (points[42:48], points[22:27])):
        total += rng.uniform(0.25, 0.5) * _spot((eye.mean(0) + brow.mean(0)) / 2, 9)
        inner = eye[3] if eye[3, 0] < points[27, 0] else eye[0]
        total += rng.uniform(0.1, 0.35) * _spot((inner + points[27]) / 2, 5)
        total += rng.uniform(0.0, 0.25) * _spot(eye.mean(0) + np.array([0, 12]), 6)
    for nostril in (points[32], points[34]):
        total += rng.uniform(0.4, 0.8) * _spot(nostril + np.array([0, 1.0]), 2.2)
    total += rng.uniform(0.15, 0.4) * _spot(points[57] + np.array([0, 7]), 5)
    return np.clip(total, 0, 0.85)


def _lashes(points: Array, rng: np.random.Generator) -> Array:
    """A dark line along the lids, darker along the upper ones."""
    mask = np.zeros((ATLAS_H, ATLAS_W), np.uint8)
    for eye in (points[36:42], points[42:48]):
        for lid, dark in ((eye[:4], 255), (eye[[3, 4, 5, 0]], int(rng.integers(40, 120)))):
            line = np.round(lid * 16).astype(np.int32)
            cv2.polylines(mask, [line], False, dark, 3, cv2.LINE_AA, 4)
    return np.asarray(cv2.GaussianBlur(mask.astype(np.float32) / 255, (0, 0), 0.7), np.float32)


def _mottling(rng: np.random.Generator) -> Array:
    total = np.zeros((ATLAS_H, ATLAS_W), np.float32)
    for sigma, strength in ((0.7, 0.10), (1.6, 0.06), (4, 0.04), (12, 0.05), (40, 0.08)):
        coarse = max(int(sigma / 3), 1)  # wide spots need no fine grid
        drawn = rng.standard_normal((ATLAS_H // coarse + 1, ATLAS_W // coarse + 1), np.float32)
        noise = cv2.GaussianBlur(drawn, (0, 0), sigma / coarse)
        noise = cv2.resize(noise, (ATLAS_W, ATLAS_H), interpolation=cv2.INTER_CUBIC)
        total += np.float32(strength * rng.uniform(0.3, 1.1) / noise.std()) * noise
    return np.asarray(np.clip(total, -0.5, 0.5), np.float32)


def _spot(centre: Array, sigma: float) -> Array:
    across = np.exp(-((np.arange(ATLAS_W) - centre[0]) ** 2) / (2 * sigma**2)).astype(np.float32)
    down = np.exp(-((np.arange(ATLAS_H) - centre[1]) ** 2) / (2 * sigma**2)).astype(np.float32)
    return np.asarray(np.outer(down, across))


def _paint_moles(albedo: Array, rng: np.random.Generator) -> None:
    for _ in range(rng.integers(0, 14)):
        place = (rng.uniform(0.3, 0.7) * ATLAS_W, rng.uniform(0.35, 0.95) * ATLAS_H)
        spot = _spot(np.array(place, np.float32), rng.uniform(0.7, 1.8))
        rows, columns = (slice(max(int(p) - 12, 0), int(p) + 13) for p in (place[1], place[0]))
        albedo[rows, columns] *= 1 - spot[rows, columns, None] * rng.uniform(0.3, 0.7)


def _blend(albedo: Array, mask: Array, colour: Array, strength: float) -> None:
    amount = np.float32(strength) * mask[..., None]
    albedo += amount * (np.asarray(colour, np.float32) - albedo)


def _polygon(points: Array, soften: float) -> Array:
    mask = np.zeros((ATLAS_H, ATLAS_W), np.uint8)
    cv2.fillPoly(mask, [np.round(points * 16).astype(np.int32)], 255, lineType=cv2.LINE_AA, shift=4)
    return np.asarray(cv2.GaussianBlur(mask.astype(np.float32) / 255, (0, 0), soften), np.float32)


def _lips(points: Array) -> Array:
    return _polygon(points[48:60], 1.2)


def _brows(points: Array, rng: np.random.Generator) -> Array:
    """Strokes along each brow's curve, thicker at the inner end, leaning outwards."""
    mask = np.zeros((ATLAS_H, ATLAS_W), np.uint8)
    thick = rng.uniform(4, 9)
    for start, outwards in ((17, -1), (22, 1)):
        curve = points[start : start + 5] if outwards > 0 else points[start : start + 5][::-1]
        for _ in range(rng.integers(220, 420)):
            t = rng.beta(1.1, 1.4) * 3.98
            k = int(t)
            place = curve[k] + (t - k) * (curve[k + 1] - curve[k])
            place = place + np.array([0, rng.normal(0, thick / 3 * (1 - 0.14 * t)) + 1])
            tip = place + np.array([outwards * rng.uniform(3, 8), rng.uniform(-3.5, 0.5)])
            ends = [[int(v * 16) for v in end] for end in (place, tip)]
            cv2.line(mask, ends[0], ends[1], 170, 1, cv2.LINE_AA, 4)
    return np.asarray(cv2.GaussianBlur(mask.astype(np.float32) / 255, (0, 0), 0.8), np.float32)


def _beard(points: Array, rng: np.random.Generator) -> Array:
    outline = np.concatenate([points[2:15], points[[35, 33, 31]] + np.array([0, 8])])
    area = _polygon(outline, 6) * (1 - _polygon(points[48:60], 2))
    grain = cv2.GaussianBlur(rng.random((ATLAS_H, ATLAS_W)).astype(np.float32), (0, 0), 0.6)
    return np.asarray(np.clip(area * (0.3 + 1.4 * grain), 0, 1), np.float32)


def _hair(points: Array, rng: np.random.Generator) -> Array:
    """A cap above a hairline that drops at the temples."""
    row, column = np.mgrid[:ATLAS_H, :ATLAS_W]
    side = np.abs(column / (ATLAS_W - 1) - 0.5) * 2  # 0 in front, 1 at the back
    brow = points[17:27, 1].min()
    fringe = rng.random() < 0.3
    top = brow - (rng.uniform(18, 45) if fringe else rng.uniform(55, 85))
    wobble = cv2.GaussianBlur(rng.standard_normal((1, ATLAS_W)).astype(np.float32), (0, 0), 6)
    temples = 1 / (1 + np.exp(-(side - rng.uniform(0.28, 0.34)) / 0.02))
    line = top + 25 * wobble + temples * rng.uniform(90, 240)
    strands = cv2.GaussianBlur(rng.random((ATLAS_H, ATLAS_W)).astype(np.float32), (1, 0), sigmaX=0.8, sigmaY=6)
    if fringe:  # strands of different lengths
        line += 22 * (cv2.GaussianBlur(rng.random((1, ATLAS_W)).astype(np.float32), (0, 0), 1.5) - 0.5)
    edge = 1 / (1 + np.exp((row - line) / 3))
    return np.asarray(np.clip(edge * (0.75 + 0.5 * strands), 0, 1), np.float32)


@dataclass(frozen=True)
class Scene:
    """Light, background and camera noise of one recording.

    Attributes:
        lights: (L, 3) directions towards the lights, unit length.
        strengths: (L,).
        ambient: light from everywhere.
        background: (H, W, 3) RGB, linear.
        exposure: factor before gamma; a recording sets it by the face.
        blur: sigma of the lens, px of the picture.
        noise: standard deviation of the sensor's noise at mid gray, levels.
        jpeg: quality at which the camera stores a frame, or None if it does not compress.
        grain: sigma of what neighboring pixels share of the noise, px; 0 if every pixel has its own.
    """

    lights: Array
    strengths: Array
    ambient: float
    background: Array
    exposure: float
    blur: float
    noise: float
    jpeg: int | None = None
    grain: float = 0.0

    @property
    def clean(self) -> "Scene":
        """The same scene through a camera without noise or compression."""
        return replace(self, noise=0.0, jpeg=None)


def draw_scene(rng: np.random.Generator, height: int, width: int) -> Scene:
    """One to three lights from the front half, a plain or mottled wall."""
    count = int(rng.integers(1, 4))
    lights = np.stack([rng.normal(0, 0.6, count), -np.abs(rng.normal(1, 0.3, count)), rng.normal(0.7, 0.35, count)], 1)
    lights /= np.linalg.norm(lights, axis=1, keepdims=True)
    wall = rng.uniform(0.05, 0.6) * rng.uniform(0.85, 1.1, 3)
    pattern = cv2.GaussianBlur(rng.standard_normal((height, width)).astype(np.float32), (0, 0), rng.uniform(8, 40))
    background = wall * (1 + rng.uniform(0, 0.15) * pattern / (pattern.std() + 1e-6))[..., None]
    strengths = rng.dirichlet(np.ones(count)) * rng.uniform(0.6, 0.9)
    return Scene(
        lights.astype(np.float32),
        strengths.astype(np.float32),
        float(rng.uniform(0.12, 0.3)),
        np.clip(background, 0.01, 0.9).astype(np.float32),
        1.0,
        float(rng.uniform(0.3, 0.7) if rng.random() < 0.8 else rng.uniform(0.7, 1.4)),  # one in five out of focus
        float(rng.uniform(0.8, 2.5)),
        int(rng.integers(70, 98)) if rng.random() < 0.3 else None,
        float(rng.uniform(0.4, 0.9)) if rng.random() < 0.5 else 0.0,  # what a camera's own filters leave
    )


def vertex_normals(vertices: Array) -> Array:
    """(V, 3) unit normals, outwards."""
    faces = head_model().mesh_faces
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    of_faces = np.cross(b - a, c - a)
    sums = np.stack(
        [np.bincount(faces.ravel(), np.repeat(of_faces[:, axis], 3), minlength=len(vertices)) for axis in range(3)],
        1,
    )
    return np.asarray(sums / (np.linalg.norm(sums, axis=1, keepdims=True) + 1e-9), np.float32)


class _Mesh(NamedTuple):
    """What each pixel shows of the surface (H, W), and the surface itself."""

    triangle: npt.NDArray[np.int32]
    weights: Array
    faces: npt.NDArray[np.int32]
    parts: npt.NDArray[Any]
    normals: Array
    template: Array


class _Paint(NamedTuple):
    """Colors, and where on the mean head they lie, mm."""

    extent: tuple[float, float]
    eyes: Array
    atlas: Array
    iris: Array
    frame: Array
    shine: np.float32


class _Lamps(NamedTuple):
    """Where light comes from, and how strong it is."""

    directions: Array
    halves: Array
    strengths: Array
    ambient: np.float32
    factor: np.float32


def shade(surface: Surface, vertices: Array, look: Look, scene: Scene, light: float = 1.0) -> Array:
    """The picture in linear light, before the camera: (H, W, 3), at the surface's resolution.

    Args:
        surface: what each pixel shows.
        vertices: (V, 3) mm, posed.
        look: of the person.
        scene: of the recording; its background is scaled up to the surface's resolution.
        light: factor on all lights, for changes and flicker.
    """
    model = head_model()
    height, width = surface.triangle.shape
    behind = cv2.resize(scene.background, (width, height), interpolation=cv2.INTER_LINEAR)
    out = np.asarray(behind * np.float32(light), np.float32)
    half = scene.lights + np.array([0, -1, 0], np.float32)
    half /= np.linalg.norm(half, axis=1, keepdims=True)
    mesh = _Mesh(
        surface.triangle,
        surface.weights,
        model.mesh_faces,
        model.mesh_part,
        vertex_normals(vertices),
        model.mesh_template.astype(np.float32),
    )
    extent = (float(model.mean[:, 2].min()), float(model.mean[:, 2].max()))
    paint = _Paint(extent, _eye_middles(), look.albedo, look.iris, look.frame, np.float32(look.shine))
    ambient, factor = np.float32(scene.ambient), np.float32(light)
    _shade(mesh, paint, _Lamps(scene.lights, half.astype(np.float32), scene.strengths, ambient, factor), out)
    return out


@lru_cache(maxsize=1)
def _eye_middles() -> Array:
    """(2, 2) x and z in mm of the centres of the left and right eyeballs, on the mean head."""
    model = head_model()
    balls = [model.mean[model.part == eye] for eye in (EYE_LEFT, EYE_RIGHT)]
    return np.array([[(ball[:, k].min() + ball[:, k].max()) / 2 for k in (0, 2)] for ball in balls], np.float32)


@numba.njit(cache=True, fastmath=True, error_model="numpy")
def _shade(mesh, paint, lamps, out):  # type: ignore[no-untyped-def]
    """Shade pixel by pixel, where there is a surface; `tests/shading.py` has the same in plain numpy."""
    triangle, weights, faces, parts, normals, template = mesh
    extent, eyes, atlas, iris, frame, shine = paint
    lights, halves, strengths, ambient, light = lamps
    one, zero = np.float32(1), np.float32(0)
    columns, rows = atlas.shape[1], atlas.shape[0]
    a_turn, a_height = np.float32((columns - 1) / (2 * np.pi)), np.float32((rows - 1) / (extent[1] - extent[0]))
    front, top = np.float32((columns - 1) / 2), np.float32(extent[1])
    wrap, spread, power = np.float32(0.3), np.float32(1 / 1.3), np.float32(1.3)
    for v in range(triangle.shape[0]):
        for u in range(triangle.shape[1]):
            t = triangle[v, u]
            if t < 0:
                continue
            i, j, k = faces[t, 0], faces[t, 1], faces[t, 2]
            wi, wj, wk = weights[v, u, 0], weights[v, u, 1], weights[v, u, 2]
            nx = wi * normals[i, 0] + wj * normals[j, 0] + wk * normals[k, 0]
            ny = wi * normals[i, 1] + wj * normals[j, 1] + wk * normals[k, 1]
            nz = wi * normals[i, 2] + wj * normals[j, 2] + wk * normals[k, 2]
            unit = one / (np.sqrt(nx * nx + ny * ny + nz * nz) + np.float32(1e-9))
            x = wi * template[i, 0] + wj * template[j, 0] + wk * template[k, 0]
            y = wi * template[i, 1] + wj * template[j, 1] + wk * template[k, 1]
            z = wi * template[i, 2] + wj * template[j, 2] + wk * template[k, 2]
            part = parts[i]
            # The mouth's cavity is narrower than the mouth; beside it, the neck's skin would show between the lips.
            inside = part == CAVITY or (part == SKIN and abs(x) < 46 and y > -45 and -80 < z < -50)
            if part == GLASSES_PART:
                red, green, blue = frame[0], frame[1], frame[2]
            elif inside:
                red, green, blue = CAVITY_RGB
            elif part in (EYE_LEFT, EYE_RIGHT):
                radius = np.hypot(x - eyes[part - EYE_LEFT, 0], z - eyes[part - EYE_LEFT, 1])
                ring = min(max((6 - radius) / np.float32(0.8), zero), one)
                pupil = min(max((np.float32(2.3) - radius) / np.float32(0.6), zero), one)
                black = np.float32(0.005) * pupil
                red = (WHITE_RGB[0] * (one - ring) + iris[0] * ring) * (one - pupil) + black
                green = (WHITE_RGB[1] * (one - ring) + iris[1] * ring) * (one - pupil) + black
                blue = (WHITE_RGB[2] * (one - ring) + iris[2] * ring) * (one - pupil) + black
            else:
                column, row = np.arctan2(x, -y) * a_turn + front, (top - z) * a_height
                c, r = min(max(int(column), 0), columns - 2), min(max(int(row), 0), rows - 2)
                right, down = column - np.float32(c), row - np.float32(r)
                a, b = (one - right) * (one - down), right * (one - down)
                d, e = (one - right) * down, right * down
                red = a * atlas[r, c, 0] + b * atlas[r, c + 1, 0] + d * atlas[r + 1, c, 0] + e * atlas[r + 1, c + 1, 0]
                green = (
                    a * atlas[r, c, 1] + b * atlas[r, c + 1, 1] + d * atlas[r + 1, c, 1] + e * atlas[r + 1, c + 1, 1]
                )
                blue = a * atlas[r, c, 2] + b * atlas[r, c + 1, 2] + d * atlas[r + 1, c, 2] + e * atlas[r + 1, c + 1, 2]
            # Wrapped diffuse light, softer than Lambert's as on skin, and a small highlight.
            diffuse = highlight = zero
            for n in range(len(strengths)):
                toward = ((nx * lights[n, 0] + ny * lights[n, 1] + nz * lights[n, 2]) * unit + wrap) * spread
                if toward > 0:
                    diffuse += strengths[n] * np.exp(power * np.log(min(toward, one)))
                facing = (nx * halves[n, 0] + ny * halves[n, 1] + nz * halves[n, 2]) * unit
                if facing > 0:
                    highlight += strengths[n] * min(facing, one) ** 30
            lit = light * (diffuse + ambient)
            glow = light * highlight * (np.float32(0.2) if part >= EYE_LEFT else zero if inside else shine)
            out[v, u, 0] = red * lit + glow
            out[v, u, 1] = green * lit + glow
            out[v, u, 2] = blue * lit + glow


def expose(linear: Array, scene: Scene, rng: np.random.Generator, *, times: int) -> Image:
    """Simulate the camera: downsampled by `times`, blurred, exposed, with gamma and noise -> (H, W, 3) uint8."""
    height, width = linear.shape[0] // times, linear.shape[1] // times
    small = cv2.resize(linear, (width, height), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), scene.blur)
    levels = 255 * np.clip(small * scene.exposure, 0, 1) ** (1 / 2.2)
    if scene.noise > 0:
        sigma = scene.noise * np.sqrt(0.3 + 0.7 * levels / 128)
        noise = rng.standard_normal(levels.shape)
        if scene.grain > 0:
            noise = cv2.GaussianBlur(noise, (0, 0), scene.grain)
            noise /= noise.std()
        levels = levels + sigma * noise
    picture = np.asarray(np.clip(np.rint(levels), 0, 255), np.uint8)
    return picture if scene.jpeg is None else _compressed(picture, scene.jpeg)


def _compressed(picture: Image, quality: int) -> Image:
    done, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise RuntimeError("OpenCV could not encode a JPEG")
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)  # channels are swapped both ways, so stay RGB


def crop_camera(size: int, vertices: Array, *, margin: float = 1.0) -> Camera:
    """A camera whose picture is the aligned crop of this face: the box of the MOL recipe, here without rotation.

    Args:
        size: side of the picture; 144 shows the aligned square.
        vertices: (V, 3) mm of the neutral, posed face, about the origin.
        margin: how many times wider than the aligned square the view is.
    """
    five = five_points(landmarks(vertices))
    extent = float((five[:, [0, 2]].max(0) - five[:, [0, 2]].min(0)).max())
    distance = 900.0
    depth = distance + float(five[:, 1].mean())
    return Camera(size, size, distance, size * depth / (BOX_FACTOR * extent * margin))
