"""A tiny task that a network can solve: textures that shift right, left, down or stay."""

from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.ndimage import shift as moved

from openmer.clip import Clip
from openmer.clips.store import ClipStore, digest_of

CLASSES = ("left", "right")
STEP_PX = 1.0


PATCH = slice(80, 128)  # rows and columns: off the middle, as a corner of the mouth is


def shifting_clip(rng: np.random.Generator, label: str, subject: str, *, patch: bool = False) -> Clip:
    """Eight frames of one texture, one pixel to the left or right a frame; landmarks and flow are exact.

    With `patch` only what is seen through a window moves, as a face does on a still head.
    """
    texture = gaussian_filter(rng.standard_normal((160, 160)), 2.0)
    texture = 128 + 40 * texture / texture.std()
    dx = STEP_PX if label == "right" else -STEP_PX
    frames = [moved(texture, (0, k * dx), order=1, mode="wrap")[8:152, 8:152] for k in range(8)]
    flow = np.zeros((7, 2, 144, 144), np.float32)
    flow[:, 0] = dx
    if patch:
        still = frames[0]
        frames = [_through_window(frame, still) for frame in frames]
        flow = np.stack([np.stack([_through_window(part, np.zeros_like(part)) for part in field]) for field in flow])
    first = rng.uniform(40, 100, (68, 2))
    first[36:42] = [50, 60]
    first[42:48] = [90, 60]
    landmarks = first + np.arange(8)[:, None, None] * np.array([0.0 if patch else dx, 0.0])
    return Clip(
        frames=np.clip(np.rint(frames), 0, 255).astype(np.uint8),
        times_s=np.arange(8) / 30,
        subject=subject,
        label=label,
        landmarks=landmarks.astype(np.float32),
        flow=flow,
    )


def _through_window(inside: np.ndarray, outside: np.ndarray) -> np.ndarray:
    joined = outside.copy()
    joined[PATCH, PATCH] = inside[PATCH, PATCH]
    return joined


def shifting_store(root: Path, subjects: int = 4, clips: int = 4, seed: int = 0) -> ClipStore:
    """A store in which every subject has as many clips in which a patch goes left as right."""
    store = ClipStore.create(root, {"kind": "shifting", "seed": seed})
    rng = np.random.default_rng(seed)
    for k in range(subjects):
        made = [shifting_clip(rng, CLASSES[c % 2], f"s{k}", patch=True) for c in range(clips)]
        store.add(digest_of([seed, k]), made, dataset="shifting", samples=[f"v{c}" for c in range(clips)])
    return ClipStore(root)
