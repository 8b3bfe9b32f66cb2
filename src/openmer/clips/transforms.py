"""From a stored clip to the network's input: crop, flip, brightness, noise, gray normalisation.

`TRAIN` and `EVAL` are two objects, so that nothing random can slip into an evaluation.

Shape legend: T frames, S = 144 px stored, C = 128 px cropped.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from openmer.clip import ALIGNED_PX, CROP_PX, Array, Gray
from openmer.clips.store import StoredClip
from openmer.errors import InputError

MIN_SPREAD = 8.0  # gray levels; a clip flatter than this is not stretched further

# A mirrored face's landmark k is the face's landmark MIRRORED[k] (iBUG 68 order).
MIRRORED = np.array(
    [
        *range(16, -1, -1),  # jaw
        *range(26, 16, -1),  # brows
        *range(27, 31),  # bridge of the nose
        *range(35, 30, -1),  # nostrils
        *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),  # eyes
        *range(54, 47, -1),  # outer lips, above
        *range(59, 54, -1),  # below
        *range(64, 59, -1),  # inner lips, above
        *range(67, 64, -1),  # below
    ]
)


@dataclass(frozen=True, kw_only=True)
class TransformSettings:
    """What is done to a clip: the same for all its frames, except for the noise.

    Attributes:
        random_crop: take a random 128 px window of the 144, instead of the middle one.
        flip: probability of a mirror image.
        contrast: gray values are multiplied by up to 1 +- this; normalisation removes a constant factor and offset, so
            only the effects of clipping and rounding remain.
        flicker: each frame's brightness is multiplied by up to 1 +- this.
        noise: standard deviation of added noise is drawn from 0 to this, gray levels.
        probability: probability that a clip gets any of the changes below.
        turn_deg: the picture is rotated by up to +- this.
        zoom: it is enlarged or reduced by up to this factor.
        stretch: the ratio of height to width is changed by up to this factor.
        shift_px: it is moved by up to +- this.
        sway_px: from the first to the last frame, the whole picture also moves by up to this, with slight rotation and
            zoom, as when a head moves; the flow includes this motion.
        blur_px: it is blurred with a Gaussian of up to this standard deviation.
        gamma: gray values are transformed by an exponent of up to this factor.
    """

    random_crop: bool = False
    flip: float = 0.0
    contrast: float = 0.0
    flicker: float = 0.0
    noise: float = 0.0
    probability: float = 0.0
    turn_deg: float = 0.0
    zoom: float = 1.0
    stretch: float = 1.0
    shift_px: float = 0.0
    sway_px: float = 0.0
    blur_px: float = 0.0
    gamma: float = 1.0

    def __post_init__(self) -> None:
        sizes = (self.contrast, self.flicker, self.noise, self.turn_deg, self.shift_px, self.sway_px, self.blur_px)
        if not (0 <= self.flip <= 1 and 0 <= self.probability <= 1) or min(sizes) < 0:
            raise InputError(f"probabilities lie between 0 and 1, and sizes are not negative: {self}")
        if min(self.zoom, self.stretch, self.gamma) < 1:
            raise InputError(f"factors are at least 1: {self}")


CROP = TransformSettings(random_crop=True, flip=0.5)
TRAIN = TransformSettings(random_crop=True, flip=0.5, contrast=0.2, flicker=0.01, noise=2.0)
# Real faces fill the crop differently from simulated ones, heads move, cameras blur.
STRONG = replace(
    TRAIN,
    probability=0.7,
    turn_deg=12,
    zoom=1.25,
    stretch=1.15,
    shift_px=8,
    sway_px=10,
    blur_px=1.2,
    gamma=1.6,
    noise=4.0,
)
EVAL = TransformSettings()


@dataclass(frozen=True)
class Example:
    """One clip as the network reads it.

    Attributes:
        frames: (T, 1, C, C) float32, the clip's mean 0 and standard deviation 1.
        landmarks: (T, 68, 2) px of the crop; NaN where unknown.
        flow: (T-1, 2, C, C) px, or None.
    """

    frames: Array
    landmarks: Array
    flow: Array | None


def normalized(frames: Gray | Array) -> Array:
    """(T, C, C) gray levels -> (T, 1, C, C): minus the whole clip's mean, divided by its standard deviation.

    Only the clip itself is used, so nothing leaks from other clips; the camera's brightness and contrast cancel out,
    changes of light within the clip remain.
    """
    values = frames.astype(np.float32)
    spread = max(float(values.std()), MIN_SPREAD)
    return np.asarray(((values - values.mean()) / spread)[:, None], np.float32)


def evaluation_input(frames: Gray) -> Array:
    """(T, S, S) aligned frames -> (T, 1, C, C), their middle, as with `EVAL`."""
    return normalized(center_crop(frames))


def center_crop(frames: Gray) -> Gray:
    """(T, S, S) -> (T, C, C): what `EVAL` sees."""
    room = (ALIGNED_PX - CROP_PX) // 2
    return np.ascontiguousarray(frames[:, room : room + CROP_PX, room : room + CROP_PX])


def transform(clip: StoredClip, settings: TransformSettings, rng: np.random.Generator) -> Example:
    """Crop and augment a clip, together with its landmarks and flow.

    Args:
        clip: 144 px.
        settings: `TRAIN`, `EVAL` or your own.
        rng: random numbers; not used with `EVAL`.
    """
    if settings.probability and rng.random() < settings.probability:
        frames, landmarks, flow = _moved(clip, settings, rng)
    else:
        frames, landmarks, flow = _cropped(clip, settings, rng)
    if settings.flip and rng.random() < settings.flip:
        frames, landmarks, flow = frames[:, :, ::-1], mirrored_landmarks(landmarks), mirrored_flow(flow)
    if settings.contrast or settings.flicker:
        factors = 1 + rng.uniform(-settings.flicker, settings.flicker, len(frames))
        factors *= 1 + rng.uniform(-settings.contrast, settings.contrast)
        frames = frames * factors[:, None, None].astype(np.float32)
    if settings.noise:
        sigma = np.float32(rng.uniform(0, settings.noise))
        frames = frames + sigma * rng.standard_normal(frames.shape, np.float32)
    if settings != EVAL:
        frames = np.clip(np.rint(frames), 0, 255)
    return Example(
        normalized(np.ascontiguousarray(frames)),
        np.ascontiguousarray(landmarks, np.float32),
        None if flow is None else np.ascontiguousarray(flow, np.float32),
    )


def _cropped(
    clip: StoredClip, settings: TransformSettings, rng: np.random.Generator
) -> tuple[Array, Array, Array | None]:
    """Frames, landmarks and flow of a window, either the middle or a random one."""
    room = ALIGNED_PX - CROP_PX
    left, top = (int(v) for v in rng.integers(0, room + 1, 2)) if settings.random_crop else (room // 2, room // 2)
    frames = clip.frames[:, top : top + CROP_PX, left : left + CROP_PX].astype(np.float32)
    landmarks = clip.landmarks - np.array([left, top], np.float32)
    flow = None if clip.flow is None else clip.flow[:, :, top : top + CROP_PX, left : left + CROP_PX]
    return frames, landmarks, flow


def _moved(
    clip: StoredClip, settings: TransformSettings, rng: np.random.Generator
) -> tuple[Array, Array, Array | None]:
    """Frames, landmarks and flow, all with the same affine map per frame; then blur and gamma."""
    maps = draw_maps(len(clip.frames), settings, rng)
    side = (CROP_PX, CROP_PX)
    frames = np.stack(
        [
            cv2.warpAffine(f, m, side, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
            for f, m in zip(clip.frames.astype(np.float32), maps, strict=True)
        ]
    )
    landmarks = np.einsum("tij,tpj->tpi", maps[:, :, :2], clip.landmarks) + maps[:, None, :, 2]
    flow = None if clip.flow is None else moved_flow(clip.flow, maps)
    sigma = rng.uniform(0, settings.blur_px) if settings.blur_px else 0.0
    if sigma > 0.2:
        frames = np.stack([cv2.GaussianBlur(f, (0, 0), sigma) for f in frames])
    bend = settings.gamma ** rng.uniform(-1, 1)
    frames = 255 * (np.clip(frames, 0, 255) / 255) ** np.float32(bend)
    return frames.astype(np.float32), landmarks.astype(np.float32), flow


def draw_maps(count: int, settings: TransformSettings, rng: np.random.Generator) -> Array:
    """(T, 2, 3) affine maps from the stored picture to the crop, one per frame, changing smoothly."""
    angle = np.radians(rng.uniform(-settings.turn_deg, settings.turn_deg))
    zoom, stretch = settings.zoom ** rng.uniform(-1, 1), settings.stretch ** rng.uniform(-0.5, 0.5)
    shift = rng.uniform(-settings.shift_px, settings.shift_px, 2)
    # A quarter of the way to each side of the middle is a straight path, the rest swings; small sways are more common.
    way = settings.sway_px * rng.random() ** 2
    moment = np.linspace(-0.5, 0.5, count)
    swing = 0.5 * moment[:, None] + 0.25 * np.sin(
        2 * np.pi * (rng.uniform(0.2, 1.0, 4) * moment[:, None] + rng.random(4))
    )
    sway = way * swing * rng.normal(0, 1, 4) * (1, 1, 0.01, 0.005)
    maps = np.empty((count, 2, 3), np.float32)
    for k, (dx, dy, more_angle, more_zoom) in enumerate(sway):
        cos, sin = np.cos(angle + more_angle), np.sin(angle + more_angle)
        linear = zoom * (1 + more_zoom) * np.array([[cos, -sin], [sin, cos]]) @ np.diag([stretch, 1 / stretch])
        maps[k, :, :2] = linear
        maps[k, :, 2] = (CROP_PX - 1) / 2 + shift + (dx, dy) - linear @ np.full(2, (ALIGNED_PX - 1) / 2)
    return maps


def moved_flow(flow: Array, maps: Array) -> Array:
    """Flow of the pictures after each has been mapped: (T-1, 2, S, S) and (T, 2, 3) -> (T-1, 2, C, C).

    What is now at x was at p = M_k^-1 x; it moves to p + f_k(p), which is now at M_{k+1} (p + f_k(p)).
    """
    y, x = np.mgrid[:CROP_PX, :CROP_PX].astype(np.float64)
    places = np.stack([x, y])
    out = np.empty((len(flow), 2, CROP_PX, CROP_PX), np.float32)
    for k, field in enumerate(flow):
        back = np.linalg.inv(maps[k, :, :2])
        before = np.einsum("ij,jhw->ihw", back, places - maps[k, :, 2, None, None])
        px, py = before.astype(np.float32)
        moved = [cv2.remap(part, px, py, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) for part in field]
        after = np.einsum("ij,jhw->ihw", maps[k + 1, :, :2], before + np.stack(moved)) + maps[k + 1, :, 2, None, None]
        out[k] = after - places
    return out


def mirrored_landmarks(landmarks: Array) -> Array:
    """Landmarks (..., 68, 2) of the mirrored picture, px of the crop; right and left swap their numbers."""
    out = landmarks[..., MIRRORED, :].copy()
    out[..., 0] = CROP_PX - 1 - out[..., 0]
    return out


def mirrored_flow(flow: Array | None) -> Array | None:
    """Flow (..., 2, H, W) of the mirrored picture: columns reversed, dx with opposite sign."""
    if flow is None:
        return None
    out = flow[..., ::-1].copy()
    out[..., 0, :, :] *= -1
    return out
