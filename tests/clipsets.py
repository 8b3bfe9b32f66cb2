"""A tiny task that a network can solve: textures that shift right, left, down or stay."""

from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.ndimage import shift as moved

from openmer.clip import Clip
from openmer.clips.store import ClipStore, digest_of

CLASSES = ("left", "right")
STEP_PX = 1.0


def shifting_clip(rng: np.random.Generator, label: str, subject: str) -> Clip:
    """Eight frames of one texture, one pixel to the left or right a frame; landmarks and flow are exact."""
    texture = gaussian_filter(rng.standard_normal((160, 160)), 2.0)
    texture = 128 + 40 * texture / texture.std()
    dx = STEP_PX if label == "right" else -STEP_PX
    frames = [moved(texture, (0, k * dx), order=1, mode="wrap")[8:152, 8:152] for k in range(8)]
    flow = np.zeros((7, 2, 144, 144), np.float32)
    flow[:, 0] = dx
    first = rng.uniform(40, 100, (68, 2))
    first[36:42] = [50, 60]
    first[42:48] = [90, 60]
    landmarks = first + np.arange(8)[:, None, None] * np.array([dx, 0.0])
    return Clip(
        frames=np.clip(np.rint(frames), 0, 255).astype(np.uint8),
        times_s=np.arange(8) / 30,
        subject=subject,
        label=label,
        landmarks=landmarks.astype(np.float32),
        flow=flow,
    )


def shifting_store(root: Path, subjects: int = 4, clips: int = 4, seed: int = 0) -> ClipStore:
    """A store in which every subject has as many clips that go left as right."""
    store = ClipStore.create(root, {"kind": "shifting", "seed": seed})
    rng = np.random.default_rng(seed)
    for k in range(subjects):
        made = [shifting_clip(rng, CLASSES[c % 2], f"s{k}") for c in range(clips)]
        store.add(digest_of([seed, k]), made, dataset="shifting", samples=[f"v{c}" for c in range(clips)])
    return ClipStore(root)
