"""Which frames of a recording become a clip.

Shape legend: L frames of the recording, T frames of a clip, n clips.
"""

import numpy as np
import numpy.typing as npt

from openmer.errors import InputError

TOO_FEW = "are too few for a clip of"
Indices = npt.NDArray[np.int64]


def interleaved(length: int, frames: int = 8) -> Indices:
    """The paper's clips: a recording of L frames gives L // T clips; clip j has frames j, j + s, ..., s = L // T.

    Source: the recipe of MOL's released code.

    Returns:
        (L // T, T) indices; no frame is in more than one clip.

    Raises:
        InputError: the recording is shorter than a clip.
    """
    _check(length, frames)
    step = length // frames
    return np.arange(step)[:, None] + step * np.arange(frames)


def uniform(onset: int, offset: int, frames: int = 8) -> Indices:
    """One clip with frames spaced evenly from onset to offset, both included (our choice).

    Returns:
        (1, T) indices.

    Raises:
        InputError: there are fewer frames than a clip has.
    """
    _check(offset - onset + 1, frames)
    return np.rint(np.linspace(onset, offset, frames)).astype(np.int64)[None]


def _check(length: int, frames: int) -> None:
    if frames < 2:
        raise InputError(f"a clip must have at least 2 frames, got {frames}")
    if length < frames:
        raise InputError(f"{length} frames {TOO_FEW} {frames}")
