"""Which frames become a clip."""

import numpy as np
import pytest

from openmer import InputError
from openmer.clips.sampling import interleaved, uniform


def test_the_papers_clips_by_hand() -> None:
    assert interleaved(17).tolist() == [[0, 2, 4, 6, 8, 10, 12, 14], [1, 3, 5, 7, 9, 11, 13, 15]]
    assert interleaved(8).tolist() == [list(range(8))]
    assert interleaved(9, frames=4).tolist() == [[0, 2, 4, 6], [1, 3, 5, 7]]


@pytest.mark.parametrize("length", [8, 23, 64, 141])
def test_interleaved_clips_share_no_frame(length: int) -> None:
    chosen = interleaved(length)
    assert chosen.shape == (length // 8, 8) and len(np.unique(chosen)) == chosen.size and chosen.max() < length


def test_uniform_goes_from_onset_to_offset() -> None:
    assert uniform(10, 24).tolist() == [[10, 12, 14, 16, 18, 20, 22, 24]]
    assert uniform(0, 7).tolist() == [list(range(8))]


def test_too_few_frames_are_refused() -> None:
    for call in (lambda: interleaved(7), lambda: uniform(3, 9)):
        with pytest.raises(InputError, match="7 frames are too few for a clip of 8"):
            call()
    with pytest.raises(InputError, match="at least 2"):
        interleaved(5, frames=1)
