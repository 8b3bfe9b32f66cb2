"""How a simulated face is filmed: light, what is behind it, and the camera.

What the surface looks like is painted by `look`. Sizes are our choice, fitted to cameras where a source stands.

Shape legend: V vertices, F triangles, H rows, W columns of the picture.
"""

from dataclasses import dataclass, replace
from functools import cache
from typing import NamedTuple

import cv2
import numba
import numpy as np
import numpy.typing as npt

from openmer.clip import Array
from openmer.face.align import BOX_FACTOR, five_points
from openmer.simulator.camera import Camera, Surface
from openmer.simulator.head import GLASSES_PART, head_model, landmarks
from openmer.simulator.look import Look, vertex_places

Image = npt.NDArray[np.uint8]

SKIN, CAVITY, EYE_LEFT, EYE_RIGHT = range(4)
WHITE_RGB = (np.float32(0.32), np.float32(0.285), np.float32(0.26))  # of an eye, shaded by the lids
CAVITY_RGB = (np.float32(0.05), np.float32(0.015), np.float32(0.012))
TABLE = 8192  # steps of linear light for which the camera's curve is stored
GAMMA = 1 / 2.2
LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Mains:
    """A lamp on mains, seen by a camera that reads one row after the other: bands that roll over the picture.

    Attributes:
        depth: of the flicker, share of the light.
        hertz: of the light, twice that of the mains.
        readout_s: from the first to the last row.
        phase: radians.
    """

    depth: float
    hertz: float
    readout_s: float
    phase: float

    def rows(self, time_s: float, height: int) -> Array:
        """(H,) factor on each row's light."""
        moments = time_s + self.readout_s * np.arange(height) / height
        return np.asarray(1 + self.depth * np.sin(2 * np.pi * self.hertz * moments + self.phase), np.float32)


@dataclass(frozen=True)
class Scene:
    """Light, background and camera of one recording.

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
        shot: share of the noise at mid gray that comes from the light itself; the rest, the sensor's, is as strong in
            the dark, where the camera's curve makes more of it.
        sharpened: how much the camera's own sharpening adds.
        contrast: 0 is a plain gamma; above, the camera's curve is steeper in the middle.
        mains: a lamp whose flicker rolls over the rows.
        gray: whether the camera has no colors.
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
    shot: float = 0.7
    sharpened: float = 0.0
    contrast: float = 0.0
    mains: Mains | None = None
    gray: bool = False

    @property
    def clean(self) -> "Scene":
        """The same scene through a camera without noise or compression."""
        return replace(self, noise=0.0, jpeg=None)


def draw_scene(rng: np.random.Generator, height: int, width: int) -> Scene:
    """One to three lights from the front half, something behind, a camera."""
    count = int(rng.integers(1, 4))
    lights = np.stack([rng.normal(0, 0.6, count), -np.abs(rng.normal(1, 0.3, count)), rng.normal(0.7, 0.35, count)], 1)
    lights /= np.linalg.norm(lights, axis=1, keepdims=True)
    strengths = rng.dirichlet(np.ones(count)) * rng.uniform(0.6, 0.9)
    dim = float(rng.random())  # in a dim room a camera's gain and noise are higher
    return Scene(
        lights.astype(np.float32),
        strengths.astype(np.float32),
        float(rng.uniform(0.12, 0.3)),
        _background(rng, height, width),
        1.0,
        float(rng.uniform(0.3, 0.7) if rng.random() < 0.8 else rng.uniform(0.7, 1.4)),  # one in five out of focus
        float(0.4 + 2.1 * dim**1.5),
        int(rng.integers(70, 98)) if rng.random() < 0.3 else None,
        float(rng.uniform(0.5, 1.4)) if rng.random() < 0.85 else 0.0,  # what a camera's own filters leave
        float(rng.uniform(0.0, 0.9)),
        float(rng.uniform(0.2, 1.0)) if rng.random() < 0.4 else 0.0,
        float(rng.uniform(0, 0.6)),
        _draw_mains(rng) if rng.random() < 0.35 else None,
        bool(rng.random() < 0.1),
    )


def _draw_mains(rng: np.random.Generator) -> Mains:
    hertz = 100.0 if rng.random() < 0.6 else 120.0
    return Mains(float(rng.uniform(0.004, 0.05)), hertz, float(rng.uniform(0.004, 0.03)), float(rng.uniform(0, 6.3)))


def _background(rng: np.random.Generator, height: int, width: int) -> Array:
    """(H, W, 3) RGB: a mottled wall; in half of the scenes furniture, windows and lamps before it, out of focus."""
    small = 36
    wall = rng.uniform(0.03, 0.45) * rng.uniform(0.85, 1.1, 3)
    pattern = cv2.GaussianBlur(rng.standard_normal((small, small), np.float32), (0, 0), rng.uniform(2, 9))
    picture = wall * (1 + rng.uniform(0, 0.15) * pattern / (pattern.std() + 1e-6))[..., None]
    picture = picture.astype(np.float32)
    if rng.random() < 0.5:
        for _ in range(rng.integers(2, 9)):
            color = (rng.uniform(0.01, 0.5) * rng.uniform(0.6, 1.1, 3)).tolist()
            x, y = int(rng.integers(-8, small)), int(rng.integers(-8, small))
            cv2.rectangle(picture, (x, y), (x + int(rng.integers(2, 22)), y + int(rng.integers(4, 30))), color, -1)
        picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.4, 1.6))
    large = cv2.resize(picture, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(large, 0.005, 0.9), np.float32)


@numba.njit(cache=True)
def _vertex_normals(vertices, faces):  # type: ignore[no-untyped-def]
    out = np.zeros_like(vertices)
    for t in range(faces.shape[0]):
        i, j, k = faces[t, 0], faces[t, 1], faces[t, 2]
        ux, uy, uz = vertices[j, 0] - vertices[i, 0], vertices[j, 1] - vertices[i, 1], vertices[j, 2] - vertices[i, 2]
        vx, vy, vz = vertices[k, 0] - vertices[i, 0], vertices[k, 1] - vertices[i, 1], vertices[k, 2] - vertices[i, 2]
        x, y, z = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for v in (i, j, k):
            out[v, 0] += x
            out[v, 1] += y
            out[v, 2] += z
    for v in range(out.shape[0]):
        size = np.sqrt(out[v, 0] ** 2 + out[v, 1] ** 2 + out[v, 2] ** 2) + np.float32(1e-9)
        for axis in range(3):
            out[v, axis] /= size
    return out


def vertex_normals(vertices: Array) -> Array:
    """(V, 3) unit normals, outwards."""
    return np.asarray(_vertex_normals(np.ascontiguousarray(vertices, np.float32), head_model().mesh_faces), np.float32)


class _Mesh(NamedTuple):
    """What each pixel shows of the surface (H, W), and the surface itself: (F,) kinds, (V, ...) the others."""

    triangle: npt.NDArray[np.int32]
    weights: Array
    faces: npt.NDArray[np.int32]
    kinds: npt.NDArray[np.uint8]
    normals: Array
    places: Array
    folded: Array
    across_up: Array


class _Paint(NamedTuple):
    """Colors; the eyes' middles on the mean head, mm."""

    eyes: Array
    atlas: Array
    iris: Array
    frame: Array


class _Lamps(NamedTuple):
    """Where light comes from, and how strong it is."""

    directions: Array
    halves: Array
    strengths: Array
    ambient: np.float32
    factor: np.float32


@cache
def triangle_kinds() -> npt.NDArray[np.uint8]:
    """(F,) what a triangle belongs to.

    The mouth's cavity is narrower than the mouth; beside it, the neck's skin would show between the lips, so it counts
    as cavity.
    """
    model = head_model()
    kinds = model.mesh_part[model.mesh_faces[:, 0]].copy()
    x, y, z = model.mesh_template[model.mesh_faces].mean(1).T
    kinds[(kinds == SKIN) & (np.abs(x) < 46) & (y > -45) & (z > -80) & (z < -50)] = CAVITY
    return np.asarray(kinds, np.uint8)


@cache
def _across_up() -> Array:
    return np.ascontiguousarray(head_model().mesh_template[:, [0, 2]], np.float32)


@cache
def eye_middles() -> Array:
    """(2, 2) x and z in mm of the centers of the left and right eyeballs, on the mean head."""
    model = head_model()
    balls = [model.mean[model.part == eye] for eye in (EYE_LEFT, EYE_RIGHT)]
    return np.array([[(ball[:, k].min() + ball[:, k].max()) / 2 for k in (0, 2)] for ball in balls], np.float32)


def shade(surface: Surface, vertices: Array, folded: Array, look: Look, scene: Scene, light: float = 1.0) -> Array:
    """The picture in linear light, before the camera: (H, W, 3), at the surface's resolution.

    Args:
        surface: what each pixel shows.
        vertices: (V, 3) mm, posed.
        folded: (V,) 0 to 1: how deep the skin's folds are.
        look: of the person.
        scene: of the recording; its background is scaled up to the surface's resolution.
        light: factor on all lights, for changes and flicker.
    """
    height, width = surface.triangle.shape
    behind = cv2.resize(scene.background, (width, height), interpolation=cv2.INTER_LINEAR)
    out = np.asarray(behind * np.float32(light), np.float32)
    half = scene.lights + np.array([0, -1, 0], np.float32)
    half /= np.linalg.norm(half, axis=1, keepdims=True)
    mesh = _Mesh(
        surface.triangle,
        surface.weights,
        head_model().mesh_faces,
        triangle_kinds(),
        vertex_normals(vertices),
        vertex_places(),
        folded,
        _across_up(),
    )
    paint = _Paint(eye_middles(), look.atlas, look.iris, look.frame)
    ambient, factor = np.float32(scene.ambient), np.float32(light)
    _shade(mesh, paint, _Lamps(scene.lights, half.astype(np.float32), scene.strengths, ambient, factor), out)
    return out


@numba.njit(cache=True, fastmath=True, error_model="numpy")
def _shade(mesh, paint, lamps, out):  # type: ignore[no-untyped-def]
    """Shade pixel by pixel, where there is a surface; `tests/shading.py` has the same in plain numpy."""
    triangle, weights, faces, kinds, normals, places, folded, across_up = mesh
    eyes, atlas, iris, frame = paint
    lights, halves, strengths, ambient, light = lamps
    one, zero = np.float32(1), np.float32(0)
    columns, rows = atlas.shape[1], atlas.shape[0]
    wrap, spread = np.float32(0.3), np.float32(1 / 1.3)
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
            kind = kinds[t]
            seen = one
            if kind == SKIN:
                column = wi * places[i, 0] + wj * places[j, 0] + wk * places[k, 0]
                row = wi * places[i, 1] + wj * places[j, 1] + wk * places[k, 1]
                deep = wi * folded[i] + wj * folded[j] + wk * folded[k]
                column = min(max(column, zero), np.float32(columns - 1.001))
                row = min(max(row, zero), np.float32(rows - 1.001))
                c, r = int(column), int(row)
                right, down = column - np.float32(c), row - np.float32(r)
                a, b = (one - right) * (one - down), right * (one - down)
                d, e = (one - right) * down, right * down
                red = a * atlas[r, c, 0] + b * atlas[r, c + 1, 0] + d * atlas[r + 1, c, 0] + e * atlas[r + 1, c + 1, 0]
                green = (
                    a * atlas[r, c, 1] + b * atlas[r, c + 1, 1] + d * atlas[r + 1, c, 1] + e * atlas[r + 1, c + 1, 1]
                )
                blue = a * atlas[r, c, 2] + b * atlas[r, c + 1, 2] + d * atlas[r + 1, c, 2] + e * atlas[r + 1, c + 1, 2]
                shine = (
                    a * atlas[r, c, 3] + b * atlas[r, c + 1, 3] + d * atlas[r + 1, c, 3] + e * atlas[r + 1, c + 1, 3]
                )
                slope = (
                    a * atlas[r, c, 4] + b * atlas[r, c + 1, 4] + d * atlas[r + 1, c, 4] + e * atlas[r + 1, c + 1, 4]
                )
                fall = a * atlas[r, c, 5] + b * atlas[r, c + 1, 5] + d * atlas[r + 1, c, 5] + e * atlas[r + 1, c + 1, 5]
                if deep > np.float32(1e-3):
                    slope += deep * (
                        a * atlas[r, c, 6]
                        + b * atlas[r, c + 1, 6]
                        + d * atlas[r + 1, c, 6]
                        + e * atlas[r + 1, c + 1, 6]
                    )
                    fall += deep * (
                        a * atlas[r, c, 7]
                        + b * atlas[r, c + 1, 7]
                        + d * atlas[r + 1, c, 7]
                        + e * atlas[r + 1, c + 1, 7]
                    )
                    seen -= deep * (
                        a * atlas[r, c, 8]
                        + b * atlas[r, c + 1, 8]
                        + d * atlas[r + 1, c, 8]
                        + e * atlas[r + 1, c + 1, 8]
                    )
                # A slope leans the normal away: across along the horizontal of the surface, down along its own down.
                flat = one / (np.sqrt(nx * nx + ny * ny) + np.float32(1e-6))
                tx, ty = -ny * flat, nx * flat
                lx, ly, lz = ty * nz, -tx * nz, tx * ny - ty * nx
                nx, ny, nz = nx - slope * tx - fall * lx, ny - slope * ty - fall * ly, nz - fall * lz
            elif kind == GLASSES_PART:
                red, green, blue = frame[0], frame[1], frame[2]
                shine = np.float32(0.2)
            elif kind == CAVITY:
                red, green, blue = CAVITY_RGB
                shine = zero
            else:
                x = wi * across_up[i, 0] + wj * across_up[j, 0] + wk * across_up[k, 0]
                z = wi * across_up[i, 1] + wj * across_up[j, 1] + wk * across_up[k, 1]
                radius = np.hypot(x - eyes[kind - EYE_LEFT, 0], z - eyes[kind - EYE_LEFT, 1])
                ring = min(max((6 - radius) / np.float32(0.8), zero), one)
                pupil = min(max((np.float32(2.3) - radius) / np.float32(0.6), zero), one)
                black = np.float32(0.005) * pupil
                red = (WHITE_RGB[0] * (one - ring) + iris[0] * ring) * (one - pupil) + black
                green = (WHITE_RGB[1] * (one - ring) + iris[1] * ring) * (one - pupil) + black
                blue = (WHITE_RGB[2] * (one - ring) + iris[2] * ring) * (one - pupil) + black
                shine = np.float32(0.2)
            unit = one / (np.sqrt(nx * nx + ny * ny + nz * nz) + np.float32(1e-9))
            # Wrapped diffuse light, softer than Lambert's as on skin, and a small highlight.
            diffuse = highlight = zero
            for n in range(len(strengths)):
                toward = ((nx * lights[n, 0] + ny * lights[n, 1] + nz * lights[n, 2]) * unit + wrap) * spread
                if toward > 0:
                    toward = min(toward, one)
                    diffuse += strengths[n] * toward * (np.float32(0.6) + np.float32(0.4) * toward)
                facing = (nx * halves[n, 0] + ny * halves[n, 1] + nz * halves[n, 2]) * unit
                if facing > np.float32(0.7):
                    facing = min(facing, one)
                    twice = facing * facing
                    four = twice * twice
                    eight = four * four
                    highlight += strengths[n] * eight * eight * eight * four * twice
            lit = light * (diffuse + ambient) * seen
            glow = light * highlight * shine
            out[v, u, 0] = red * lit + glow
            out[v, u, 1] = green * lit + glow
            out[v, u, 2] = blue * lit + glow


@cache
def _curve(contrast: float) -> Array:
    """(TABLE + 2,) gray levels for linear light from 0 to 1."""
    levels = np.linspace(0, 1, TABLE + 1) ** GAMMA
    steep = levels * levels * (3 - 2 * levels)
    curve = 255 * (levels + contrast * (steep - levels))
    return np.append(curve, 255).astype(np.float32)


def expose(linear: Array, scene: Scene, rng: np.random.Generator, *, times: int, rows: Array | None = None) -> Image:
    """Simulate the camera -> (H, W, 3) uint8: lens, exposure, sharpening, noise, compression.

    Args:
        linear: (H, W, 3) light, `times` times as fine as the picture.
        scene: whose camera.
        rng: of the noise.
        times: supersampling.
        rows: (H,) factor on each row's light.
    """
    height, width = linear.shape[0] // times, linear.shape[1] // times
    small = cv2.resize(linear, (width, height), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), scene.blur)
    gain = np.full(height, scene.exposure, np.float32) if rows is None else np.float32(scene.exposure) * rows
    levels = _developed(small, gain, _curve(round(scene.contrast, 2)))
    if scene.gray:
        levels = np.repeat(levels @ np.array(LUMA, np.float32)[:, None], 3, 2)
    if scene.sharpened > 0:
        levels += np.float32(scene.sharpened) * (levels - cv2.GaussianBlur(levels, (0, 0), 1.0))
    if scene.noise > 0:
        _add_noise(levels, scene, rng)
    picture = np.asarray(np.clip(np.rint(levels), 0, 255), np.uint8)
    return picture if scene.jpeg is None else _compressed(picture, scene.jpeg)


def _add_noise(levels: Array, scene: Scene, rng: np.random.Generator) -> None:
    """Add noise of the brightness, and coarser noise of the colors, as sensors with a mosaic of colors have."""
    height, width = levels.shape[:2]
    noise = rng.standard_normal((height, width), np.float32)
    if scene.grain > 0:
        noise = np.asarray(cv2.GaussianBlur(noise, (0, 0), scene.grain), np.float32)
        noise /= noise.std()
    if not scene.gray:
        colors = rng.standard_normal(((height + 1) // 2, (width + 1) // 2, 3), np.float32)
        colors -= (colors @ np.array(LUMA, np.float32))[..., None]
        colors = np.asarray(cv2.resize(colors, (width, height), interpolation=cv2.INTER_NEAREST), np.float32)
    else:
        colors = np.zeros((height, width, 3), np.float32)
    _noisy(levels, noise, colors, np.float32(scene.noise) * _noise_sizes(round(scene.shot, 2)))


@cache
def _noise_sizes(shot: float) -> Array:
    """(256,) noise at each gray level, as a share of that at mid gray."""
    light = np.maximum(np.arange(256) / 128, 0.2) ** (1 / GAMMA)
    return np.asarray(np.sqrt(1 - shot + shot * light) * light ** (GAMMA - 1), np.float32)


@numba.njit(cache=True)
def _noisy(levels, noise, colors, sizes):  # type: ignore[no-untyped-def]
    for y in range(levels.shape[0]):
        for x in range(levels.shape[1]):
            size = sizes[int(min(max(levels[y, x, 1], np.float32(0)), np.float32(255)))]
            for k in range(3):
                levels[y, x, k] += size * (noise[y, x] + np.float32(0.6) * colors[y, x, k])


@numba.njit(cache=True)
def _developed(small, gain, curve):  # type: ignore[no-untyped-def]
    out = np.empty_like(small)
    last = np.float32(curve.shape[0] - 2)
    for y in range(small.shape[0]):
        for x in range(small.shape[1]):
            for k in range(3):
                place = min(max(small[y, x, k] * gain[y], np.float32(0)), np.float32(1)) * last
                step = int(place)
                rest = place - np.float32(step)
                out[y, x, k] = curve[step] + rest * (curve[step + 1] - curve[step])
    return out


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
