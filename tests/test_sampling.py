"""Which frames become a clip."""

import numpy as np
import pytest

from openmer import InputError
from openmer.clips.sampling import cover, phases


def test_the_papers_phases_by_hand() -> None:
    assert phases(17).tolist() == [[0, 2, 4, 6, 8, 10, 12, 14], [1, 3, 5, 7, 9, 11, 13, 15]]
    assert phases(8).tolist() == [list(range(8))]
    assert phases(9, frames=4).tolist() == [[0, 2, 4, 6], [1, 3, 5, 7]]


@pytest.mark.parametrize("length", [8, 23, 64, 141])
def test_phases_share_no_frame(length: int) -> None:
    chosen = phases(length)
    assert chosen.shape == (length // 8, 8) and len(np.unique(chosen)) == chosen.size and chosen.max() < length


def test_cover_goes_from_onset_to_offset() -> None:
    assert cover(10, 24).tolist() == [[10, 12, 14, 16, 18, 20, 22, 24]]
    assert cover(0, 7).tolist() == [list(range(8))]


def test_too_few_frames_are_refused() -> None:
    for call in (lambda: phases(7), lambda: cover(3, 9)):
        with pytest.raises(InputError, match="7 frames are too few for a clip of 8"):
            call()
    with pytest.raises(InputError, match="at least 2"):
        phases(5, frames=1)
