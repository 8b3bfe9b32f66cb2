"""How each action unit moves the skin: the one place where the head's facial actions are corrected.

The head's own actions move the mouth's corner for units 14, 23 and 24 as for a smile, units 2 and 5 only an edge, and
the cheek almost straight up in a smile. So each unit is described here by what FACS says of it (Ekman, Friesen, Hager
2002; the lines of pull are those of its muscles): pulls at places of the mean face, and the head's own actions where
lids and lips need their exact shape. Skin is tied together, so what is pulled drags its surroundings along: every
field is diffused along the surface. Sizes in mm are our choice, for a full expression.

Directions are degrees in the picture for the subject's left side: 0 outwards, 90 up, 180 inwards, 270 down. The right
side mirrors them.

Shape legend: V vertices, B fields.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array, csr_array, diags_array, eye_array
from scipy.sparse.csgraph import dijkstra
from scipy.sparse.linalg import splu

from openmer.clip import Array

Side = Literal["Right", "Left"]
SIDES: tuple[Side, Side] = ("Right", "Left")
NARROW_MM, WIDE_MM = 4.0, 13.0  # how far skin drags its surroundings along, in people of stiff and of loose skin
FOLD_MM = 6.0  # folds of the surface narrower than this are smoothed before the skin's direction is taken
SHAPES = ("narrow", "wide")
TURNS = ("", "turned")  # the field, and the same turned by 90 degrees in the skin


@dataclass(frozen=True)
class Pull:
    """One place that a muscle moves.

    Attributes:
        x: mm outwards from the middle, on the mean face.
        z: mm up; the pupils are near 9, the mouth's corner at (23, -62), the inner brow at (12, 25).
        direction: degrees.
        mm: how far.
        wide: mm, standard deviation to the sides.
        tall: mm, up and down.
        lip: only the upper or the lower lip and what is above or below it.
        bulge: mm outwards from the face.
    """

    x: float
    z: float
    direction: float
    mm: float
    wide: float
    tall: float
    lip: Literal["", "upper", "lower"] = ""
    bulge: float = 0.0


@dataclass(frozen=True)
class UnitMotion:
    """What a unit does.

    Attributes:
        facs: what FACS says that moves, and where.
        pulls: of its left side.
        actions: the head's own actions and their weights; a stem with `Left` and `Right` forms is sided.
    """

    facs: str
    pulls: tuple[Pull, ...] = ()
    actions: tuple[tuple[str, float], ...] = ()


_LID = "eyeBlink"
UNIT_MOTIONS: dict[int, UnitMotion] = {
    1: UnitMotion(
        "frontalis, inner part: the inner brow and the middle of the forehead go up",
        (Pull(13, 27, 92, 5, 13, 11), Pull(13, 45, 90, 1.6, 15, 12), Pull(22, 18, 95, 2.0, 10, 6)),
    ),
    2: UnitMotion(
        "frontalis, outer part: the outer brow, the lid's fold below it and the forehead above it go up",
        (Pull(45, 28, 94, 6, 16, 11), Pull(42, 46, 92, 1.8, 16, 13), Pull(38, 19, 92, 2.8, 13, 6)),
    ),
    4: UnitMotion(
        "corrugator, depressor supercilii, procerus: brows down and together, with glabella and upper lids",
        (
            Pull(18, 27, 236, 5, 12, 11),
            Pull(33, 29, 242, 3.6, 13, 10),
            Pull(5, 14, 266, 1.4, 7, 11),
            Pull(48, 27, 242, 1.6, 12, 9),
            Pull(20, 44, 256, 1.0, 16, 12),
            Pull(28, 17, 255, 2.4, 14, 6),
        ),
    ),
    5: UnitMotion(
        "levator palpebrae: the upper lid goes up, its skin with it",
        (Pull(31, 19, 90, 1.2, 13, 6),),
        (("eyeWide", 1.0),),
    ),
    6: UnitMotion(
        "orbicularis oculi, outer part: cheek up, skin around the eye drawn in",
        (
            Pull(38, -16, 97, 5, 16, 13, bulge=1.0),
            Pull(33, 0, 95, 3.4, 15, 6),
            Pull(56, 6, 172, 2.6, 9, 13),
            Pull(46, 28, 255, 1.2, 13, 8),
        ),
        (("eyeSquint", 0.2),),
    ),
    7: UnitMotion(
        "orbicularis oculi, inner part: the lower lid up and inwards, the upper lid a little down",
        (
            Pull(33, 2, 100, 3.0, 14, 5),
            Pull(33, -8, 96, 1.6, 15, 8),
            Pull(50, 8, 170, 1.4, 7, 8),
            Pull(33, 18, 262, 1.2, 14, 6),
            Pull(36, 29, 262, 0.8, 16, 8),
        ),
        (("eyeSquint", 0.15),),
    ),
    9: UnitMotion(
        "levator labii alaeque nasi: the nose's wings and the cheek beside it up, the inner brow down",
        (
            Pull(13, -34, 93, 4, 8, 9),
            Pull(11, -16, 92, 3.2, 8, 11),
            Pull(25, -22, 96, 2.6, 11, 12),
            Pull(14, 24, 250, 3.4, 12, 10),
            Pull(8, -52, 90, 1.8, 9, 7, "upper"),
        ),
    ),
    10: UnitMotion(
        "levator labii superioris: the upper lip up, the skin beside the nose with it",
        (Pull(17, -42, 86, 3.8, 11, 11, "upper"), Pull(28, -26, 84, 2.6, 12, 12), Pull(12, -52, 90, 2, 10, 6, "upper")),
        (("mouthUpperUp", 0.6),),
    ),
    12: UnitMotion(
        "zygomaticus major: the corner obliquely up and outwards, the fold deeper, the cheek lifted",
        (
            Pull(24, -62, 38, 10, 10, 9),
            Pull(37, -50, 41, 9.5, 13, 13, bulge=1.5),
            Pull(42, -28, 56, 7, 16, 15, bulge=1.5),
            Pull(10, -56, 24, 3, 9, 8),
            Pull(34, -76, 44, 5, 13, 11),
            Pull(34, 0, 88, 1.4, 14, 7),
        ),
    ),
    14: UnitMotion(
        "buccinator: the skin beside the corner inwards, the corner tight and pressed back",
        (Pull(33, -60, 182, 4.6, 9, 12, bulge=-1.5), Pull(44, -52, 184, 2.2, 13, 15), Pull(22, -62, 178, 1.2, 6, 6)),
    ),
    15: UnitMotion(
        "depressor anguli oris: the corner down, the skin above it stretched",
        (
            Pull(24, -62, 277, 6, 8, 8),
            Pull(30, -78, 272, 4.2, 10, 11),
            Pull(30, -48, 268, 2.8, 12, 11),
            Pull(12, -62, 276, 1.6, 8, 8),
        ),
    ),
    16: UnitMotion(
        "depressor labii inferioris: the lower lip down and flat",
        (Pull(13, -78, 280, 3, 11, 9, "lower"),),
        (("mouthLowerDown", 1.0),),
    ),
    17: UnitMotion(
        "mentalis: the chin's boss up, the lower lip pushed up",
        (
            Pull(0, -92, 90, 2.4, 15, 11, "lower", bulge=0.6),
            Pull(0, -78, 90, 1.6, 15, 8, "lower"),
            Pull(24, -66, 262, 1.2, 8, 8),
        ),
        (("mouthShrugLower", 0.35), ("mouthShrugUpper", 0.12)),
    ),
    18: UnitMotion(
        "incisivii: the corners inwards, the lips forward",
        (Pull(25, -62, 180, 4, 10, 10), Pull(36, -60, 180, 2, 12, 14)),
        (("mouthPucker", 0.6),),
    ),
    20: UnitMotion(
        "risorius: the corner straight outwards, the cheek beside it flat",
        (
            Pull(24, -62, 356, 7, 9, 9),
            Pull(38, -62, 357, 5.2, 13, 14),
            Pull(12, -62, 358, 3.2, 8, 9),
            Pull(28, -82, 345, 3, 13, 11),
        ),
    ),
    23: UnitMotion(
        "orbicularis oris: the lips tight and narrow, their red rolled in",
        (
            Pull(0, -54, 270, 1.0, 14, 6, "upper"),
            Pull(0, -72, 90, 1.2, 14, 7, "lower"),
            Pull(24, -62, 180, 1.9, 9, 8),
        ),
        (("mouthRollUpper", 0.25), ("mouthRollLower", 0.25)),
    ),
    24: UnitMotion(
        "orbicularis oris: the lips pressed on each other, the chin a little up",
        (
            Pull(0, -53, 270, 1.6, 17, 7, "upper"),
            Pull(0, -73, 90, 1.8, 17, 8, "lower"),
            Pull(0, -90, 90, 0.8, 16, 10, "lower"),
            Pull(26, -62, 180, 1.0, 8, 8),
        ),
        (("mouthRollUpper", 0.12), ("mouthRollLower", 0.12)),
    ),
    25: UnitMotion("the lips part", (), (("mouthLowerDown", 0.5), ("mouthUpperUp", 0.2))),
    26: UnitMotion("the jaw drops", (), (("jawOpen", 1.0),)),
    28: UnitMotion("the lips are sucked in", (), (("mouthRollUpper", 1.0), ("mouthRollLower", 1.0))),
    43: UnitMotion("the eyes close", (Pull(33, 2, 120, 1, 14, 5),), ((_LID, 1.0),)),
    45: UnitMotion(
        "the eyes close and open: the upper lid down, the lower a little inwards",
        (Pull(33, 2, 160, 1, 14, 5),),
        ((_LID, 1.0),),
    ),
}


@dataclass(frozen=True)
class Skin:
    """The mean head's surface, on which fields are made.

    Attributes:
        points: (V, 3) mm.
        normals: (V, 3) outwards.
        moving: (V,) 0 to 1: how much muscles of the face move it; eyes, the mouth's inside and the back do not move.
        upper: (V,) 0 to 1: belongs to the upper lip rather than to the lower.
        laplacian: (V, V) of the graph of edges, 1/mm^2.
    """

    points: Array
    normals: Array
    moving: Array
    upper: Array
    laplacian: csr_array


def diffused(laplacian: csr_array, field: Array, mm: float) -> Array:
    """(V, D) -> (V, D): two implicit steps of diffusion along the surface, over about `mm`."""
    solver = splu((eye_array(len(field)) + (mm**2 / 4) * laplacian).tocsc(), permc_spec="MMD_AT_PLUS_A")
    return np.asarray(solver.solve(solver.solve(field.astype(np.float64))), np.float32)


def build_skin(points: Array, faces: npt.NDArray[np.int32], part: npt.NDArray[np.uint8], landmarks: Array) -> Skin:
    """The surface of the mean head.

    Args:
        points: (V, 3) mm.
        faces: (F, 3) triangles.
        part: (V,) connected part, 0 is skin.
        landmarks: (68, 3) mm.
    """
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    edges = np.unique(np.sort(edges, 1), axis=0)
    length = np.linalg.norm(points[edges[:, 0]] - points[edges[:, 1]], axis=1).clip(0.3)
    of_face = np.cross(points[faces[:, 1]] - points[faces[:, 0]], points[faces[:, 2]] - points[faces[:, 0]])
    sums = np.stack([np.bincount(faces.ravel(), np.repeat(of_face[:, k], 3), len(points)) for k in range(3)], 1)
    size = len(points)

    def symmetric(values: Array) -> csr_array:
        one = coo_array((values, (edges[:, 0], edges[:, 1])), shape=(size, size)).tocsr()
        return csr_array(one + one.T)

    ties = symmetric(1 / length**2)
    degree = np.asarray(ties.sum(1)).ravel()
    # The mean over a vertex's neighbors of the slope's change is a quarter of the Laplacian.
    neighbors = np.bincount(edges.ravel(), minlength=size).clip(1)
    laplacian = csr_array((diags_array(degree) - ties).multiply(4 / neighbors[:, None]))
    # Folds as at lips and lids are passed over: skin does not move differently in them.
    normals = diffused(laplacian, sums / (np.linalg.norm(sums, axis=1, keepdims=True) + 1e-9), FOLD_MM)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-9
    near = [_nearest(points, landmarks[k], part) for k in (50, 51, 52, 61, 62, 63)]
    far = [_nearest(points, landmarks[k], part) for k in (56, 57, 58, 65, 66, 67)]
    to_upper, to_lower = (dijkstra(symmetric(length), indices=ends, min_only=True) for ends in (near, far))
    with np.errstate(invalid="ignore"):
        upper = np.nan_to_num((to_lower - to_upper) / (to_lower + to_upper + 1e-6), posinf=0, neginf=0)
    moving = (part == 0) * np.clip(0.9 - 1.6 * normals[:, 1], 0, 1) * np.clip((25 - points[:, 1]) / 40, 0, 1)
    return Skin(
        points,
        normals,
        moving.astype(np.float32),
        np.clip(0.5 + 3 * upper, 0, 1).astype(np.float32),
        laplacian,
    )


def _nearest(points: Array, place: Array, part: npt.NDArray[np.uint8]) -> int:
    return int(np.where(part == 0, np.linalg.norm(points - place, axis=1), np.inf).argmin())


def pulled(skin: Skin, pull: Pull, side: Side) -> Array:
    """(V, 3) mm: what one pull does before the skin spreads it."""
    sign = 1.0 if side == "Left" else -1.0
    if pull.x == 0:  # both sides share it
        sign, share = 1.0, 0.5
    else:
        share = 1.0
    x, z = skin.points[:, 0] - sign * pull.x, skin.points[:, 2] - pull.z
    amount = skin.moving * np.exp(-0.5 * ((x / pull.wide) ** 2 + (z / pull.tall) ** 2))
    if pull.lip:
        amount = amount * (skin.upper if pull.lip == "upper" else 1 - skin.upper)
    angle = np.deg2rad(pull.direction)
    toward = np.array([sign * np.cos(angle), 0, np.sin(angle)])
    # Skin slides over what is below it: the motion stays in the surface.
    steep = np.minimum(skin.normals[:, 1], -0.5)
    depth = np.clip(-(skin.normals @ toward) / steep, -0.7, 0.7)
    motion = pull.mm * (toward + depth[:, None] * np.array([0, 1, 0])) + pull.bulge * skin.normals
    return np.asarray(share * amount[:, None] * motion, np.float32)


def unit_field_names() -> tuple[str, ...]:
    """Names of the fields, `AU12Left`, `AU12Left wide`, ...: four for each unit and side."""
    return tuple(
        " ".join(filter(None, (f"AU{unit}{side}", shape if shape == "wide" else "", turn)))
        for unit in UNIT_MOTIONS
        for side in SIDES
        for shape in SHAPES
        for turn in TURNS
    )


def unit_fields(skin: Skin, actions: dict[str, Array]) -> Array:
    """(B, V, 3) mm: for each unit and side the field in stiff and in loose skin, each as it is and turned.

    Args:
        skin: of the mean head.
        actions: the head's own, (V, 3) each.
    """
    sharp = []
    for motion in UNIT_MOTIONS.values():
        for side in SIDES:
            field = sum((pulled(skin, p, side) for p in motion.pulls), np.zeros_like(skin.points))
            own = sum((w * _of_action(actions, n, side) for n, w in motion.actions), np.zeros_like(skin.points))
            sharp.append((field, own))
    stacked = np.concatenate([field for field, _ in sharp], 1)
    spread = [diffused(skin.laplacian, stacked, mm).reshape(len(skin.points), -1, 3) for mm in (NARROW_MM, WIDE_MM)]
    fields = []
    for k, (field, own) in enumerate(sharp):
        for shape in spread:
            soft = shape[:, k] * skin.moving[:, None]
            size = np.linalg.norm(field, axis=1).max()
            soft = soft * (size / max(float(np.linalg.norm(soft, axis=1).max()), 1e-6)) + own
            fields += [soft, np.cross(skin.normals, soft)]
    return np.asarray(fields, np.float32)


def _of_action(actions: dict[str, Array], stem: str, side: Side) -> Array:
    """One side of an action; of one that has no sides, half."""
    return actions[stem + side] if stem + side in actions else 0.5 * actions[stem]


def field_weights(strength: float, spread: float, turn: float) -> Array:
    """(4,) weights of one unit's fields on one side.

    Args:
        strength: 1 is a full expression.
        spread: 0 in stiff skin, 1 in loose skin.
        turn: radians by which the direction differs, counted about the outward normal.
    """
    shape = np.array([1 - spread, spread])
    return np.asarray(strength * np.outer(shape, [np.cos(turn), np.sin(turn)]).ravel(), np.float32)
