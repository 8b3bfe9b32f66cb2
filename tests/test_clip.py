from typing import Any

import numpy as np
import pytest

from openmer import Clip, InputError


def clip(**changes: Any) -> Clip:
    content: dict[str, Any] = {
        "frames": np.zeros((3, 4, 5), np.uint8),
        "times_s": np.array([0.0, 0.1, 0.3]),
        "landmarks": np.zeros((3, 68, 2), np.float32),
        "flow": np.zeros((2, 2, 4, 5), np.float32),
        "onset": 0,
        "apex": 1,
        "offset": 2,
    }
    return Clip(**(content | changes))


def test_a_whole_clip_is_accepted() -> None:
    assert len(clip()) == 3


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"frames": np.zeros((3, 4, 5), np.float32)}, "uint8"),
        ({"frames": np.zeros((4, 5), np.uint8)}, "T, H, W"),
        ({"times_s": np.array([0.0, 0.1])}, "times_s"),
        ({"times_s": np.array([0.0, 0.2, 0.2])}, "rise"),
        ({"landmarks": np.zeros((3, 67, 2), np.float32)}, "landmarks"),
        ({"flow": np.zeros((3, 2, 4, 5), np.float32)}, "flow"),
        ({"apex": 3}, "0..2"),
        ({"onset": 2, "apex": 1}, "rise"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        clip(**changes)
