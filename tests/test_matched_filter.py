"""The trial rule of the spotter (`benchmarks/matched_filter.py`) on hand-made curves."""

import numpy as np
from matched_filter import spot_matched

from openmer import Interval
from openmer.video.regions import REGION_NAMES
from openmer.video.spotting import Signals

BROWS = [k for k, name in enumerate(REGION_NAMES) if "inner_brow" in name]
MOUTH = [k for k, name in enumerate(REGION_NAMES) if name in ("mouth_right", "mouth_left", "lower_lip", "chin")]


def signals(fps: float = 30, seconds: float = 12) -> Signals:
    rng = np.random.default_rng(0)
    n = int(seconds * fps)
    return Signals(
        frames=np.arange(n),
        times_s=np.arange(n) / fps,
        displacement=rng.normal(0, 0.03, (n, len(REGION_NAMES), 2)).astype(np.float32),
        head=np.zeros((n, 6), np.float32),
        eyes_open=np.full((n, 2), 0.3, np.float32),
        track=np.zeros(n, np.int64),
    )


def test_noise_alone_is_nothing() -> None:
    assert spot_matched(signals(seconds=60)) == []


def test_brows_are_seen_while_the_mouth_speaks() -> None:
    s = signals()
    speech = np.cumsum(np.random.default_rng(1).normal(0, 0.4, len(s.times_s)))
    s.displacement[:, MOUTH, 1] += speech[:, None]
    assert spot_matched(s) == []
    s.displacement[:, BROWS, 1] -= (0.8 * np.sin(np.pi * np.clip((s.times_s - 6) / 0.4, 0, 1)) ** 2)[:, None]
    (found,) = spot_matched(s)
    assert found.iou(Interval(onset_s=6.0, offset_s=6.4, label="truth")) > 0.5
