"""Streams of random numbers that no two purposes share.

NumPy pads a short seed with zeros, so `[seed, subject]` and `[seed, subject, 0]` give the same numbers: in the first
edition a person and their first recording did. Here the purpose and the count of the numbers come first.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

Purpose = Literal["person", "recording", "noise", "clip", "emotion", "head", "look", "habits", "scene"]
_PURPOSES: tuple[Purpose, ...] = get_args(Purpose)


def stream(purpose: Purpose, numbers: Sequence[int]) -> np.random.Generator:
    """Random numbers for one purpose; the same for the same numbers, and for no others."""
    return np.random.default_rng([1 + _PURPOSES.index(purpose), len(numbers), *numbers])
