"""Batched TV-L1 beside its twin, OpenCV's."""

from functools import cache

import cv2
import numpy as np
import pytest
import torch

from openmer.clips.flow import clip_flow, optical_flow
from openmer.clips.tvl1 import TVL1Settings, tvl1_flow
from openmer.datasets.simulated import SimulatedClips, draw_clip


@cache
def pairs() -> tuple[np.ndarray, np.ndarray]:
    """A face without and with large motion of the head, and nothing at all."""
    clips = [draw_clip(SimulatedClips(subjects=2, seed=4, longest_s=0.5, shortest_s=0.5), k, 0)[0] for k in range(2)]
    frames = [clip.frames[:, 8:-8, 8:-8] for clip in clips]
    y, x = np.mgrid[:128, :128].astype(np.float32)
    shifted = cv2.remap(frames[0][0], x - 2.5, y + 1.5, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    first = np.stack([frames[0][0], frames[0][0], frames[1][0], frames[1][3]])
    return first, np.stack([frames[0][5], shifted, frames[1][4], frames[1][3]])


def test_it_equals_opencv_within_a_few_hundredths_of_a_pixel() -> None:
    first, second = pairs()
    found = tvl1_flow(torch.from_numpy(first), torch.from_numpy(second)).numpy()
    assert found.shape == (4, 2, 128, 128) and found.dtype == np.float32
    twin = np.stack([optical_flow(a, b, "tvl1") for a, b in zip(first, second, strict=True)])
    assert np.hypot(*twin[1]).mean() > 1, "there is motion to be measured"
    difference = np.linalg.norm(found - twin, axis=1).mean((1, 2))
    assert (difference < 0.05).all(), difference
    assert np.abs(found[3]).max() == 0, "a pair that is the same does not move"


def test_a_pair_does_not_depend_on_its_company() -> None:
    first, second = (torch.from_numpy(part[:2]) for part in pairs())
    settings = TVL1Settings(warps=2, outer=3, scales=2)
    together = tvl1_flow(first, second, settings)
    for k in range(2):
        torch.testing.assert_close(tvl1_flow(first[k : k + 1], second[k : k + 1], settings)[0], together[k])
    with pytest.raises(ValueError, match="the same size"):
        tvl1_flow(first, second[:, :64])


def test_the_flow_of_a_clip_is_that_of_its_pairs() -> None:
    frames = pairs()[0][:3]
    flow = clip_flow(frames, "dis")
    np.testing.assert_array_equal(flow[1], optical_flow(frames[1], frames[2], "dis"))
    assert flow.shape == (2, 2, 128, 128)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.skipif(not hasattr(cv2, "optflow"), reason="needs OpenCV's contrib modules")
def test_on_a_gpu_it_is_the_same() -> None:
    frames = pairs()[0][:2]
    difference = clip_flow(frames, "tvl1", "cuda") - clip_flow(frames, "tvl1")
    assert np.linalg.norm(difference, axis=1).mean() < 0.05
