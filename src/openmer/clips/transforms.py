"""From a stored clip to the network's input: crop, flip, brightness, noise, gray normalisation.

`TRAIN` and `EVAL` are two objects, so that nothing random can slip into an evaluation.

Shape legend: T frames, S = 144 px stored, C = 128 px cropped.
"""

from dataclasses import dataclass

import numpy as np

from openmer.clip import Array, Gray
from openmer.clips.store import STORED_PX, StoredClip
from openmer.errors import InputError

CROP_PX = 128
LEAST_SPREAD = 8.0  # gray levels; a clip flatter than this is not stretched further

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
    """What is done to a clip; all frames of it alike, but for the noise.

    Attributes:
        random_crop: a random 128 px window of the 144, else the middle one.
        flip: chance of a mirror image.
        contrast: gray values are multiplied by up to 1 +- this; a constant factor and offset are taken out again by
            the normalisation, so what remains is what clipping and rounding do.
        flicker: each frame's brightness is multiplied by up to 1 +- this.
        noise: standard deviation of added noise is drawn from 0 to this, gray levels.
    """

    random_crop: bool = False
    flip: float = 0.0
    contrast: float = 0.0
    flicker: float = 0.0
    noise: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.flip <= 1 or min(self.contrast, self.flicker, self.noise) < 0:
            raise InputError(f"chances lie between 0 and 1, and sizes are not negative: {self}")


TRAIN = TransformSettings(random_crop=True, flip=0.5, contrast=0.2, flicker=0.01, noise=2.0)
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
    """(T, C, C) gray levels -> (T, 1, C, C): the whole clip's mean taken away, divided by its standard deviation.

    Nothing but the clip itself is used, so nothing leaks from other clips; brightness and contrast of the camera drop
    out, changes of light within the clip stay.
    """
    values = frames.astype(np.float32)
    spread = max(float(values.std()), LEAST_SPREAD)
    return np.asarray(((values - values.mean()) / spread)[:, None], np.float32)


def evaluation_input(frames: Gray) -> Array:
    """(T, S, S) aligned frames -> (T, 1, C, C) of their middle, as `EVAL` makes it."""
    return normalized(middle(frames))


def middle(frames: Gray) -> Gray:
    """(T, S, S) -> (T, C, C): what `EVAL` sees."""
    room = (STORED_PX - CROP_PX) // 2
    return np.ascontiguousarray(frames[:, room : room + CROP_PX, room : room + CROP_PX])


def transform(clip: StoredClip, settings: TransformSettings, rng: np.random.Generator) -> Example:
    """Cut and change a clip; landmarks and flow go with it.

    Args:
        clip: 144 px.
        settings: `TRAIN`, `EVAL` or your own.
        rng: not used by `EVAL`.
    """
    room = STORED_PX - CROP_PX
    left, top = (int(v) for v in rng.integers(0, room + 1, 2)) if settings.random_crop else (room // 2, room // 2)
    frames = clip.frames[:, top : top + CROP_PX, left : left + CROP_PX].astype(np.float32)
    landmarks = clip.landmarks - np.array([left, top], np.float32)
    flow = None if clip.flow is None else clip.flow[:, :, top : top + CROP_PX, left : left + CROP_PX]
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


def mirrored_landmarks(landmarks: Array) -> Array:
    """(..., 68, 2) px of the crop, of the picture's mirror image; right and left change their numbers."""
    out = landmarks[..., MIRRORED, :].copy()
    out[..., 0] = CROP_PX - 1 - out[..., 0]
    return out


def mirrored_flow(flow: Array | None) -> Array | None:
    """(..., 2, H, W) of the picture's mirror image: the columns turned round, dx with the other sign."""
    if flow is None:
        return None
    out = flow[..., ::-1].copy()
    out[..., 0, :, :] *= -1
    return out
