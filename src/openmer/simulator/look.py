"""How a person's surface looks: skin with pores and folds, brows, lashes, lips, hair, beard.

It is painted once per person, in a cylindrical atlas of the mean head, so that it sticks to the surface and moves with
it. Colors and sizes are our choice.

Shape legend: the atlas has ATLAS_H rows and ATLAS_W columns; V vertices.
"""

from dataclasses import dataclass, replace
from functools import cache

import cv2
import numpy as np
import numpy.typing as npt

from openmer.clip import Array
from openmer.simulator.folds import FOLDS, Line
from openmer.simulator.head import head_model, landmarks

Mask = npt.NDArray[np.uint8]

ATLAS_H, ATLAS_W = 512, 512
SPAN = 4 * np.pi / 3  # radians about the head that the atlas shows; a camera in front sees no more
TEXEL_MM = 0.65  # about; in front, across and down
# What a texel holds: color in linear light, strength of highlights, slope of pores across and down, slope of the folds
# across and down where they are deepest, and the light that they then swallow.
RED, SHINE, PORES, FOLDED, SWALLOWED = 0, 3, slice(4, 6), slice(6, 8), 8
CHANNELS = 9
BEARDS = {"none": 0.66, "stubble": 0.18, "moustache": 0.04, "chin": 0.04, "full": 0.08}  # shares of people


def ears(template: Array) -> npt.NDArray[np.bool_]:
    """(..., 3) mm on the mean head -> (...) whether it is on an ear."""
    x, y, z = np.moveaxis(template, -1, 0)
    return np.asarray((np.abs(x) > 69) & (y > -45) & (y < 40) & (z > -40) & (z < 48))


@cache
def vertex_places() -> Array:
    """(V, 2) column and row of the atlas; ears, which stand before the hair, have the color of the cheek."""
    template = head_model().mesh_template
    places = atlas_places(template)
    front = np.float32(0.6 / SPAN * (ATLAS_W - 1))
    places[:, 0] -= np.where(ears(template), np.sign(template[:, 0]) * front, 0)
    return places


def atlas_places(template: Array) -> Array:
    """(..., 3) mm on the mean head -> (..., 2) column, row of the atlas."""
    mean = head_model().mean
    low, high = mean[:, 2].min(), mean[:, 2].max()
    column = (np.arctan2(template[..., 0], -template[..., 1]) / SPAN + 0.5) * (ATLAS_W - 1)
    row = (high - template[..., 2]) / (high - low) * (ATLAS_H - 1)
    return np.stack([column, row], -1).astype(np.float32)


@dataclass(frozen=True)
class Look:
    """A person's surface.

    Attributes:
        atlas: (ATLAS_H, ATLAS_W, CHANNELS).
        iris: (3,) RGB.
        frame: (3,) RGB of the glasses' frame, if any is worn.
    """

    atlas: Array
    iris: Array
    frame: Array

    @property
    def albedo(self) -> Array:
        """(ATLAS_H, ATLAS_W, 3) RGB, 0 to 1, linear light."""
        return self.atlas[..., RED:SHINE]


@dataclass(frozen=True)
class HairStyle:
    """How a person's hair is cut.

    Attributes:
        line: (ATLAS_W,) row of the hairline.
        thick_mm: how far it stands off the head.
        soft: rows over which it begins.
    """

    line: Array
    thick_mm: float
    soft: float

    def covers(self, places: Array) -> Array:
        """(..., 2) places in the atlas -> 0 to 1."""
        column = np.clip(np.rint(places[..., 0]), 0, ATLAS_W - 1).astype(np.intp)
        return np.asarray(np.clip((self.line[column] - places[..., 1]) / self.soft + 0.5, 0, 1), np.float32)


def draw_hair_style(rng: np.random.Generator) -> HairStyle:
    """A hairline that drops at the temples, with a fringe, a parting or receding corners."""
    points = atlas_places(landmarks(head_model().mean))
    column = np.arange(ATLAS_W, dtype=np.float32)
    across = (column / (ATLAS_W - 1) - 0.5) * SPAN  # radians from the front
    brow = points[17:27, 1].min()
    fringe = rng.random() < 0.35
    top = brow - (rng.uniform(12, 42) if fringe else rng.uniform(52, 88))
    receding = 0.0 if fringe else rng.uniform(0, 45) * rng.random()
    corners = -receding * np.exp(-(((np.abs(across) - 0.55) / 0.2) ** 2))
    slanted = (across - rng.uniform(-0.5, 0.5)) * rng.normal(0, 18)
    temples = rng.uniform(120, 300) / (1 + np.exp(-(np.abs(across) - rng.uniform(0.95, 1.15)) / 0.07))
    wobble = _waves(rng, 14) * rng.uniform(3, 9) + _waves(rng, 2.5) * (rng.uniform(2, 9) if fringe else 2)
    line = top + corners + slanted * (np.abs(across) < 1) + temples + wobble
    return HairStyle(line.astype(np.float32), float(min(rng.gamma(2.0, 4.5), 20.0)), float(rng.uniform(4, 12)))


def _waves(rng: np.random.Generator, wide: float) -> Array:
    """(ATLAS_W,) smooth noise of unit size."""
    noise = cv2.GaussianBlur(rng.standard_normal((1, ATLAS_W)).astype(np.float32), (0, 0), wide)
    return np.asarray(noise[0] / noise.std(), np.float32)


def hair_volume(style: HairStyle, rng: np.random.Generator) -> Array:
    """(V, 3) mm by which hair stands off the mean head, in tufts."""
    model = head_model()
    out = model.mean - np.array([0, 20, 0], np.float32)
    out /= np.linalg.norm(out, axis=1, keepdims=True)
    places = atlas_places(model.mean)
    deep = np.clip((style.line[np.clip(places[:, 0], 0, ATLAS_W - 1).astype(int)] - places[:, 1]) / 45, 0, 1)
    back = np.clip((model.mean[:, 1] + 60) / 60, 0, 1)  # behind the temples it is thick at once
    tufts = (
        1 + 0.25 * _tile("tufts")[np.clip(places[:, 1], 0, 511).astype(int), np.clip(places[:, 0], 0, 511).astype(int)]
    )
    near = np.abs(model.mean[:, 0]) * ((model.mean[:, 1] > -60) & (model.mean[:, 2] < 70))
    free = np.clip((70 - near) / 8, 0, 1)  # ears stay where they are, and so do brows
    free = free * np.where(model.mean[:, 1] < -45, np.clip((model.mean[:, 2] - 38) / 8, 0, 1), 1)
    height = (
        style.thick_mm
        * np.maximum(np.sqrt(deep), back * (deep > 0))
        * tufts
        * free
        * (model.part == 0)
        * (model.mean[:, 2] > -30)
    )
    return np.asarray(height[:, None] * out, np.float32)


def draw_look(rng: np.random.Generator, style: HairStyle) -> Look:
    """Paint a new person's skin, brows, lips, hair and perhaps a beard."""
    atlas = np.zeros((ATLAS_H, ATLAS_W, CHANNELS), np.float32)
    points = atlas_places(landmarks(head_model().mean))
    tone = np.array([0.62, 0.40, 0.30]) * np.exp(-rng.uniform(0, 1.6) * np.array([0.75, 1.0, 1.15]))
    hair = np.minimum(np.array([0.22, 0.15, 0.09]) * np.exp(rng.normal(-1.1, 0.8)), 0.45 * tone)
    if rng.random() < 0.1:  # gray
        hair = np.full(3, rng.uniform(0.15, 0.4)) * np.array([1.0, 0.98, 0.95])
    aged = float(rng.beta(1.2, 1.8))
    skin = _skin(points, tone, rng)
    _paint_folds(atlas, skin, aged, rng)
    _relief(atlas, float(rng.uniform(0.01, 0.045)), rng)
    atlas[..., SHINE] = _shine(points, tone, rng)
    _blend(skin, _lips(points), tone * np.array([0.95, 0.62, 0.62]), 0.75)
    _blend(skin, _brows(points, rng), hair, rng.uniform(0.7, 1.0))
    beard = str(rng.choice(list(BEARDS), p=list(BEARDS.values())))
    if beard != "none":
        bristles = _beard(points, beard, rng)
        _blend(skin, bristles, hair, rng.uniform(0.35, 0.6) if beard == "stubble" else rng.uniform(0.75, 0.97))
        atlas[..., SHINE] *= 1 - 0.7 * bristles.astype(np.float32) / 255
    _blend(skin, _lashes(points, rng), 0.4 * hair, rng.uniform(0.6, 1.0))
    _paint_hair(atlas, skin, style, hair, rng)
    atlas[..., RED:SHINE] = np.clip(skin, 0.003, 0.95)
    frames = np.array([[0.01, 0.01, 0.01], [0.06, 0.03, 0.015], [0.25, 0.22, 0.2], [0.12, 0.02, 0.02]])
    irises = np.array([[0.03, 0.015, 0.008], [0.06, 0.03, 0.015], [0.06, 0.11, 0.17], [0.08, 0.11, 0.06]])
    iris = irises[rng.integers(4 if tone[0] > 0.35 else 2)]  # dark skin goes with dark eyes
    return Look(atlas, iris.astype(np.float32), frames[rng.integers(4)].astype(np.float32))


def infrared(look: Look) -> Look:
    """The same person to a near-infrared camera: all skin is bright and smooth, lips and moles fade, hair gains.

    Sizes are our choice, by the eye.
    """
    gray = look.albedo @ np.array([0.7, 0.2, 0.1], np.float32)
    atlas = look.atlas.copy()
    atlas[..., RED:SHINE] = 0.75 * cv2.pow(gray, 0.45)[..., None]
    atlas[..., SHINE] *= 1.5
    return replace(look, atlas=atlas, iris=np.full(3, 0.12, np.float32))


_TILES = {
    "grain": (0.8, 0.8),
    "spots": (1.7, 1.7),
    "blotches": (4, 4),
    "patches": (12, 12),
    "strands": (0.8, 7),
    "tufts": (9, 9),
}


@cache
def _tile(name: str) -> Array:
    """(2 * ATLAS_H, 2 * ATLAS_W) noise of unit size, the same for all; people get different parts of it."""
    across, down = _TILES[name]
    rng = np.random.default_rng([7, *map(ord, name)])
    noise = rng.standard_normal((2 * ATLAS_H, 2 * ATLAS_W), np.float32)
    noise = np.asarray(cv2.GaussianBlur(noise, (0, 0), sigmaX=across, sigmaY=down), np.float32)
    return np.asarray(noise / noise.std(), np.float32)


def _part(name: str, rng: np.random.Generator) -> Array:
    """(ATLAS_H, ATLAS_W) of such noise, somewhere, perhaps mirrored."""
    row, column, turn = int(rng.integers(ATLAS_H)), int(rng.integers(ATLAS_W)), int(rng.integers(4))
    part = _tile(name)[row : row + ATLAS_H, column : column + ATLAS_W]
    return part[:: 1 if turn < 2 else -1, :: 1 if turn % 2 else -1]


def _skin(points: Array, tone: Array, rng: np.random.Generator) -> Array:
    """(ATLAS_H, ATLAS_W, 3) of mottled skin: most is even, some is freckled."""
    freckled = rng.uniform(0.6, 1.2) if rng.random() < 0.15 else rng.uniform(0.0, 0.3)
    mottled = np.zeros((ATLAS_H, ATLAS_W), np.float32)
    for name, strength in (
        ("grain", 0.09 * freckled),
        ("spots", 0.07 * freckled),
        ("blotches", 0.05),
        ("patches", 0.06),
    ):
        mottled += np.float32(strength * rng.uniform(0.3, 1.1)) * _part(name, rng)
    wide = cv2.resize(rng.standard_normal((7, 7), np.float32), (ATLAS_W, ATLAS_H), interpolation=cv2.INTER_CUBIC)
    mottled += np.float32(0.09) * wide
    np.clip(mottled, -0.5, 0.5, out=mottled)
    mottled -= _shadows(points, rng)
    red = (
        0.25
        * rng.random()
        * (
            _spot(points[[31, 35]].mean(0), 18)
            + _spot(points[1:3].mean(0) + np.array([22, 0]), 30)
            + _spot(points[14:16].mean(0) - np.array([22, 0]), 30)
        )
    )
    skin = np.empty((ATLAS_H, ATLAS_W, 3), np.float32)
    for k, (part, blush) in enumerate(((0.75, 0.4), (1.0, -0.3), (1.0, -0.3))):
        skin[..., k] = np.float32(tone[k]) * (1 + np.float32(part) * mottled) * (1 + np.float32(blush) * red)
    _paint_moles(skin, rng)
    return skin


def _relief(atlas: Array, rough: float, rng: np.random.Generator) -> None:
    """Pores: slopes of the surface, which light and highlights show."""
    height = _part("grain", rng) + 0.5 * _part("spots", rng)
    atlas[:, 1:-1, PORES.start] = rough * (height[:, 2:] - height[:, :-2])
    atlas[1:-1, :, PORES.start + 1] = rough * (height[2:] - height[:-2])


def _shine(points: Array, tone: Array, rng: np.random.Generator) -> Array:
    """Highlights are strongest on forehead and nose."""
    oily = rng.uniform(0.3, 1.5)
    zone = 0.5 + oily * (_spot(points[27] - np.array([0, 60]), 50) + _spot(points[30], 14))
    return np.asarray(rng.uniform(0.04, 0.16) * tone[0] * zone, np.float32)


def _paint_folds(atlas: Array, skin: Array, aged: float, rng: np.random.Generator) -> None:
    """Folds: slopes and shade where they are deepest; what an old face keeps of them is painted in."""
    lines: Mask = np.zeros((ATLAS_H, ATLAS_W), np.uint8)
    kept: Mask = np.zeros((ATLAS_H, ATLAS_W), np.uint8)
    for fold in FOLDS.values():
        strong = float(np.clip(np.exp(rng.normal(-0.45, 0.4)), 0.2, 1.0))
        for line in fold.lines:
            for sign in (-1, 1):
                if rng.random() < 0.2:
                    continue
                path = np.round(_fold_path(line, sign, rng) * 16).astype(np.int32)
                level = strong * rng.uniform(0.6, 1.0)
                for mask, much in ((lines, level), (kept, level * fold.aged * aged)):
                    cv2.polylines(mask, [path], False, int(255 * much), 1, cv2.LINE_AA, 4)
    deep = _profile(lines)
    atlas[:, 1:-1, FOLDED.start] = (deep[:, :-2] - deep[:, 2:]) / (2 * TEXEL_MM)
    atlas[1:-1, :, FOLDED.start + 1] = (deep[:-2] - deep[2:]) / (2 * TEXEL_MM)
    atlas[..., SWALLOWED] = np.float32(0.35) * deep
    skin *= 1 - np.float32(0.3) * _profile(kept)[..., None]


def _fold_path(line: Line, sign: int, rng: np.random.Generator) -> Array:
    """(N, 2) places in the atlas of a line that differs a little from person to person and side to side."""
    places = np.array(line) + rng.normal(0, 1.0, (len(line), 2)) + rng.normal(0, 1.2, 2)
    across, up = sign * places[:, 0], places[:, 1]
    template = np.stack([across, _depth(across, up), up], 1)
    return atlas_places(np.asarray(template, np.float32))


@cache
def _front() -> tuple[Array, Array]:
    model = head_model()
    front = (model.part == 0) & (model.mean[:, 1] < -25)
    return model.mean[front][:, [0, 2]], model.mean[front, 1]


def _depth(across: npt.NDArray[np.float64], up: npt.NDArray[np.float64]) -> Array:
    """(N,) mm across and up -> (N,) where the mean face's skin is."""
    places, depth = _front()
    away = (places[:, 0] - across[:, None]) ** 2 + (places[:, 1] - up[:, None]) ** 2
    return np.asarray(depth[away.argmin(1)], np.float32)


def _profile(lines: Mask) -> Array:
    """Depth in mm of grooves along drawn lines, about 1 mm wide to each side, with a bulge beside them."""
    wide = lines.astype(np.float32) * np.float32(1 / 255)
    narrow = cv2.GaussianBlur(wide, (0, 0), 1.6)
    return np.asarray(4.0 * (narrow - 0.6 * cv2.GaussianBlur(narrow, (0, 0), 3.2)), np.float32)


def _shadows(points: Array, rng: np.random.Generator) -> Array:
    """Where little light reaches: eye sockets, nostrils, below the lower lip, and beside the nose."""
    total = np.zeros((ATLAS_H, ATLAS_W), np.float32)
    spots: list[tuple[float, Array, float]] = []
    for eye, brow in ((points[36:42], points[17:22]), (points[42:48], points[22:27])):
        spots.append((rng.uniform(0.25, 0.5), (eye.mean(0) + brow.mean(0)) / 2, 9))
        inner = eye[3] if eye[3, 0] < points[27, 0] else eye[0]
        spots.append((rng.uniform(0.1, 0.35), (inner + points[27]) / 2, 5))
        spots.append((rng.uniform(0.0, 0.25), eye.mean(0) + np.array([0, 12]), 6))
    spots += [(rng.uniform(0.4, 0.8), points[nostril] + np.array([0, 1.0]), 2.2) for nostril in (32, 34)]
    spots.append((rng.uniform(0.15, 0.4), points[57] + np.array([0, 7]), 5))
    for strength, centre, sigma in spots:
        _add_spot(total, centre, sigma, strength)
    return np.asarray(np.clip(total, 0, 0.85), np.float32)


def _lashes(points: Array, rng: np.random.Generator) -> Mask:
    """A dark line along the lids, darker along the upper ones."""
    mask: Mask = np.zeros((ATLAS_H, ATLAS_W), np.uint8)
    for eye in (points[36:42], points[42:48]):
        for lid, dark in ((eye[:4], 255), (eye[[3, 4, 5, 0]], int(rng.integers(40, 120)))):
            line = np.round(lid * 16).astype(np.int32)
            cv2.polylines(mask, [line], False, dark, 3, cv2.LINE_AA, 4)
    return _blurred(mask, 0.7)


def _spot(centre: Array, sigma: float) -> Array:
    across = np.exp(-((np.arange(ATLAS_W) - centre[0]) ** 2) / (2 * sigma**2)).astype(np.float32)
    down = np.exp(-((np.arange(ATLAS_H) - centre[1]) ** 2) / (2 * sigma**2)).astype(np.float32)
    return np.asarray(np.outer(down, across))


def _add_spot(total: Array, centre: Array, sigma: float, strength: float) -> None:
    """Add a spot where it is."""
    reach = int(4 * sigma) + 1
    rows, columns = (np.arange(max(int(c) - reach, 0), int(c) + reach + 1) for c in (centre[1], centre[0]))
    down = np.exp(-((rows - centre[1]) ** 2) / (2 * sigma**2))
    across = np.exp(-((columns - centre[0]) ** 2) / (2 * sigma**2))
    total[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] += (strength * np.outer(down, across)).astype(
        np.float32
    )


def _paint_moles(skin: Array, rng: np.random.Generator) -> None:
    moles = np.zeros((ATLAS_H, ATLAS_W), np.float32)
    for _ in range(rng.integers(0, 14)):
        place = np.array([rng.uniform(0.2, 0.8) * ATLAS_W, rng.uniform(0.35, 0.95) * ATLAS_H])
        _add_spot(moles, np.clip(place, 20, ATLAS_W - 20), rng.uniform(0.7, 1.8), rng.uniform(0.3, 0.7))
    skin *= 1 - np.minimum(moles, 0.8)[..., None]


def _blurred(mask: Mask, sigma: float) -> Mask:
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), sigma), np.uint8)


def _blend(skin: Array, mask: Mask, color: Array, strength: float) -> None:
    """Cover the skin by a color where the mask says so."""
    left, top, width, height = cv2.boundingRect(mask)
    rows, columns = slice(top, top + height), slice(left, left + width)
    amount = np.float32(strength / 255) * mask[rows, columns, None].astype(np.float32)
    part = skin[rows, columns]
    part += amount * (np.asarray(color, np.float32) - part)


def _polygon(points: Array, soften: float) -> Mask:
    mask: Mask = np.zeros((ATLAS_H, ATLAS_W), np.uint8)
    cv2.fillPoly(mask, [np.round(points * 16).astype(np.int32)], 255, lineType=cv2.LINE_AA, shift=4)
    return _blurred(mask, soften)


def _lips(points: Array) -> Mask:
    return _polygon(points[48:60], 1.2)


def _strokes(starts: Array, ends: Array, level: int) -> Mask:
    mask: Mask = np.zeros((ATLAS_H, ATLAS_W), np.uint8)
    lines = np.round(np.stack([starts, ends], 1) * 16).astype(np.int32)
    cv2.polylines(mask, list(lines), False, level, 1, cv2.LINE_AA, 4)
    return mask


def _brows(points: Array, rng: np.random.Generator) -> Mask:
    """Strokes along each brow's curve, thicker at the inner end, leaning outwards."""
    thick = rng.uniform(4, 9)
    starts, ends = [], []
    for start, outwards in ((17, -1), (22, 1)):
        curve = points[start : start + 5] if outwards > 0 else points[start : start + 5][::-1]
        count = int(rng.integers(220, 420))
        t = rng.beta(1.1, 1.4, count) * 3.98
        k = t.astype(int)
        place = curve[k] + (t - k)[:, None] * (curve[k + 1] - curve[k])
        place[:, 1] += rng.normal(0, 1, count) * thick / 3 * (1 - 0.14 * t) + 1
        starts.append(place)
        ends.append(place + np.stack([outwards * rng.uniform(3, 8, count), rng.uniform(-3.5, 0.5, count)], 1))
    return _blurred(_strokes(np.concatenate(starts), np.concatenate(ends), 170), 0.8)


def _beard(points: Array, kind: str, rng: np.random.Generator) -> Mask:
    """Bristles that hang down, denser here than there: on jaw and cheeks, the chin, above the lip, or all of them."""
    mouth = points[48:60]
    jaw = np.concatenate([points[2:15], points[[35, 33, 31]] + np.array([0, 8])])
    jaw[3:10, 1] += 14  # the underside of the chin
    lip = np.concatenate([points[[48, 49, 50, 51, 52, 53, 54]], points[[54, 35, 33, 31, 48]] + np.array([0, 7])])
    lip[7], lip[11] = points[54] + np.array([6, 4]), points[48] + np.array([-6, 4])
    chin = np.concatenate([points[[58, 57, 56]] + np.array([0, 4]), points[[9, 8, 7]] + np.array([0, 8])])
    outline = {"stubble": jaw, "full": jaw, "moustache": lip, "chin": chin}[kind]
    area = _polygon(outline, 7 if outline is jaw else 3).astype(np.float32) * (1 - _polygon(mouth, 2) / np.float32(255))
    uneven = np.clip(0.85 + 0.2 * _part("tufts", rng), 0.4, 1.2)
    count, length = (3500, 2.5) if kind == "stubble" else (4500, 9.0)
    low, high = outline.min(0), outline.max(0)
    starts = rng.uniform(low - 4, high + 4, (count, 2))
    inside = area[np.clip(starts[:, 1], 0, 511).astype(int), np.clip(starts[:, 0], 0, 511).astype(int)]
    starts = starts[rng.random(count) * 255 < inside]
    lean = (starts[:, 0] - points[8, 0]) / 150 + rng.normal(0, 0.25, len(starts))
    ends = starts + length * rng.uniform(0.4, 1.2, (len(starts), 1)) * np.stack([lean, np.ones(len(starts))], 1)
    hairs = _strokes(starts, ends, 255).astype(np.float32)
    ground = (0.3 if kind == "stubble" else 0.35) * area
    return np.asarray(np.clip((0.7 * hairs + ground) * uneven, 0, 255), np.uint8)


def _paint_hair(atlas: Array, skin: Array, style: HairStyle, hair: Array, rng: np.random.Generator) -> None:
    """Strands above the hairline, thin where they begin; hair shines along the head."""
    rows = np.arange(ATLAS_H, dtype=np.float32)[:, None]
    strands = _part("strands", rng)
    bottom = int(min(style.line.max() + 40, ATLAS_H))
    edge = np.clip((style.line - rows[:bottom]) / style.soft + 0.5 + 0.35 * strands[:bottom], 0, 1)
    amount = edge[..., None]
    color = hair.astype(np.float32) * np.clip(1 + 0.3 * strands[:bottom], 0.3, 2.2)[..., None]
    skin[:bottom] += amount * (color - skin[:bottom])
    atlas[:bottom, :, SHINE] = atlas[:bottom, :, SHINE] * (1 - edge) + edge * np.float32(rng.uniform(0.01, 0.06))
    atlas[:bottom, 1:-1, PORES.start] += 0.12 * edge[:, 1:-1] * (strands[:bottom, 2:] - strands[:bottom, :-2])
    for channel in (FOLDED.start, FOLDED.start + 1, SWALLOWED):
        atlas[:bottom, :, channel] *= 1 - edge
