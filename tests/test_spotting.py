"""The spotter on hand-made curves: what it must mark and what it must leave."""

from dataclasses import replace

import numpy as np
import pytest

from openmer import Interval
from openmer.video.regions import REGION_NAMES
from openmer.video.settings import SpottingSettings
from openmer.video.spotting import Signals, region_motion, spot, spot_with

MOUTH, CHIN = REGION_NAMES.index("mouth_right"), REGION_NAMES.index("chin")
EYES = (REGION_NAMES.index("eye_right"), REGION_NAMES.index("eye_left"))


def signals(fps: float = 100, seconds: float = 8, noise: float = 0.01) -> Signals:
    rng = np.random.default_rng(0)
    n = int(seconds * fps)
    return Signals(
        frames=np.arange(n) + 50,
        times_s=np.arange(n) / fps + 0.5,
        displacement=rng.normal(0, noise, (n, len(REGION_NAMES), 2)).astype(np.float32),
        head=np.zeros((n, 6), np.float32),
        eyes_open=np.full((n, 2), 0.3, np.float32) + rng.normal(0, 0.005, (n, 2)).astype(np.float32),
        track=np.zeros(n, np.int64),
    )


def bump(s: Signals, onset: float, offset: float) -> np.ndarray:
    """A raised cosine from onset to offset, seconds, height 1."""
    phase = np.clip((s.times_s - onset) / (offset - onset), 0, 1)
    return np.sin(np.pi * phase) ** 2


@pytest.mark.parametrize("fps", [25, 30, 60, 100, 200])
@pytest.mark.parametrize("duration", [0.2, 0.3, 0.45])
def test_a_short_excursion_is_marked_where_it_is(fps: float, duration: float) -> None:
    s = signals(fps)
    s.displacement[:, MOUTH, 1] -= 0.8 * bump(s, 4.0, 4.0 + duration)
    (found,) = spot(s)
    assert found.label == "candidate" and found.regions[0] == "mouth_right"
    assert found.iou(Interval(onset_s=4.0, offset_s=4.0 + duration, label="truth")) > 0.6
    assert found.apex_s == pytest.approx(4.0 + duration / 2, abs=1.5 / fps)
    assert found.peak_px == pytest.approx(0.8, rel=0.3)
    # Frames are numbered from 50 and begin at 0.5 s.
    assert found.apex_frame == 50 + round((found.apex_s - 0.5) * fps)


def test_noise_alone_is_nothing() -> None:
    assert spot(signals(seconds=60, noise=0.03)) == ()


def test_what_goes_and_stays_is_no_candidate() -> None:
    s = signals()
    s.displacement[:, MOUTH, 1] -= np.clip((s.times_s - 3) / 0.2, 0, 1)
    assert spot(s) == ()


def test_a_long_expression_is_no_candidate() -> None:
    s = signals()
    s.displacement[:, MOUTH, 1] -= bump(s, 3.0, 4.4)
    assert spot(s) == ()


@pytest.mark.parametrize("fps", [30, 100, 200])
@pytest.mark.parametrize(("rests", "marked"), [(0.0, True), (0.5, True), (0.75, False), (1.5, False)])
def test_a_region_must_come_back_to_where_it_was(fps: float, rests: float, marked: bool) -> None:
    """Up by 2 px, then at `rests`, from which it has risen by 2 - `rests`; half of that is allowed."""
    s = signals(fps)
    s.displacement[:, MOUTH, 1] -= np.interp(s.times_s, (3, 3.1, 3.4, 3.5), (0, 2, 2, rests))
    assert [i.label for i in spot(s, SpottingSettings(max_return_error=np.inf))] == ["candidate"]
    assert bool(spot(s)) == marked


def test_a_region_that_is_always_busy_must_do_more() -> None:
    quiet, busy = signals(), signals()
    for s in (quiet, busy):
        s.displacement[:, MOUTH, 1] -= 0.5 * bump(s, 4.0, 4.3)
    busy.displacement[:, MOUTH, 0] += 0.5 * np.sin(2 * np.pi * 4 * busy.times_s)
    assert len(spot(quiet)) == 1 and spot(busy) == ()


def test_a_brow_is_seen_while_the_mouth_speaks() -> None:
    """Four syllables a second move mouth and chin by 1.5 px throughout; the brows rise by 0.8 px once."""
    s = signals()
    syllables = 1.5 * np.sin(2 * np.pi * 4 * s.times_s) * (1 + 0.3 * np.sin(2 * np.pi * 0.7 * s.times_s))
    for region, name in enumerate(REGION_NAMES):
        if name.startswith(("mouth", "upper_lip", "lower_lip", "chin")):
            s.displacement[:, region, 1] += syllables
        elif "brow" in name:
            s.displacement[:, region, 1] -= 0.8 * bump(s, 4.0, 4.35)
    (found,) = spot(s)
    assert found.label == "candidate" and set(found.regions) == {n for n in REGION_NAMES if "brow" in n}
    assert found.iou(Interval(onset_s=4.0, offset_s=4.35, label="truth")) > 0.6


def test_a_movement_too_large_is_named_so() -> None:
    s = signals()
    s.displacement[:, CHIN, 1] += 9 * bump(s, 4.0, 4.4)
    s.displacement[:, MOUTH, 1] += bump(s, 4.0, 4.4)
    assert [i.label for i in spot(s)] == ["large_motion"]


def test_both_lids_are_a_blink_and_closing_eyes_are_too() -> None:
    s = signals()
    for eye in EYES:
        s.displacement[:, eye, 1] += bump(s, 2.0, 2.25)
    s.eyes_open[:] *= 1 - 0.6 * bump(s, 5.0, 5.3)[:, None]
    marked = spot(s)
    assert [i.label for i in marked] == ["blink", "blink"]
    assert [i.apex_s for i in marked] == pytest.approx([2.125, 5.15], abs=0.02)


def test_a_blink_is_one_wherever_the_lids_come_to_rest() -> None:
    s = signals()
    for eye in EYES:
        s.displacement[:, eye, 1] += bump(s, 2.0, 2.25) + 0.6 * np.clip((s.times_s - 2.05) / 0.2, 0, 1)
    assert [i.label for i in spot(s)] == ["blink"]


def test_lids_that_tremble_while_they_are_shut_do_not_blink() -> None:
    s = signals()
    s.eyes_open[(s.times_s > 3) & (s.times_s < 6)] = 0.1  # shut, or looking down, for three seconds
    for at in (3.6, 4.3, 5.1):
        s.eyes_open[:] *= 1 - 0.6 * bump(s, at, at + 0.2)[:, None]
    s.eyes_open[:] *= 1 - 0.6 * bump(s, 7.0, 7.2)[:, None]
    (blink,) = spot(s)
    assert blink.label == "blink" and blink.apex_s == pytest.approx(7.1, abs=0.02)


def test_a_mouth_that_moves_during_a_blink_stays_a_candidate() -> None:
    s = signals()
    s.displacement[:, MOUTH, 1] -= bump(s, 4.0, 4.3)
    for eye in EYES:
        s.displacement[:, eye, 1] += 0.5 * bump(s, 4.05, 4.25)
    assert "candidate" in [i.label for i in spot(s)]


def test_motion_that_the_head_explains_is_left() -> None:
    s = signals()
    s.displacement[:, MOUTH, 1] -= 0.5 * bump(s, 4.0, 4.3)
    nod = 6 * bump(s, 4.0, 4.3)
    s.head[1:, 1] = np.diff(nod)
    assert spot(s) == ()


@pytest.mark.parametrize(
    ("column", "moved", "label"),
    [
        (0, 5.0, "large_motion"),  # px
        (0, 3.0, "candidate"),
        (2, 8.0, "large_motion"),  # degrees: 6.0 px at the face's rim, 128 / 3 px from its middle
        (2, 4.0, "candidate"),  # 3.0 px
        (3, 12.0, "large_motion"),  # percent: 5.1 px
        (3, 6.0, "candidate"),  # 2.6 px
    ],
    ids=["shifts far", "shifts", "tilts far", "tilts", "comes much nearer", "comes nearer"],
)
def test_while_the_head_moves_far_nothing_is_a_candidate(column: int, moved: float, label: str) -> None:
    s = signals()
    s.displacement[:, MOUTH, 1] -= 2 * bump(s, 4.0, 4.3)
    inside = (s.times_s >= 4.0) & (s.times_s < 4.3)
    s.head[inside, column] = moved / inside.sum()
    assert [i.label for i in spot(s)] == [label]


def test_the_head_may_move_before_and_after() -> None:
    s = signals()
    s.displacement[:, MOUTH, 1] -= 2 * bump(s, 4.0, 4.3)
    s.head[(s.times_s < 3.8) | (s.times_s > 4.5)] = 0.5
    assert [i.label for i in spot(s)] == ["candidate"]


def test_nothing_is_said_across_a_gap_or_a_change_of_person() -> None:
    s = signals()
    s.displacement[:, MOUTH, 1] -= bump(s, 4.0, 4.3)
    lost = (s.times_s > 4.1) & (s.times_s < 4.2)
    s.displacement[lost], s.head[lost], s.eyes_open[lost], s.track[lost] = np.nan, np.nan, np.nan, -1
    assert spot(s) == ()
    motion = region_motion(s)
    assert np.isnan(motion[lost]).all() and np.isfinite(motion[~lost]).all()


def test_a_hole_in_time_is_not_bridged_however_long() -> None:
    s = signals()
    s.displacement[:, MOUTH, 1] -= bump(s, 4.0, 4.3)
    keep = (s.times_s < 4.05) | (s.times_s > 4.25)
    times = np.where(s.times_s > 4.25, s.times_s + 1e8, s.times_s)
    cut = Signals(s.frames[keep], times[keep], s.displacement[keep], s.head[keep], s.eyes_open[keep], s.track[keep])
    assert spot(cut) == ()
    assert np.isfinite(region_motion(cut)).all()


def test_every_moment_is_a_frames() -> None:
    s = signals(30)
    s.displacement[:, MOUTH, 1] -= bump(s, 4.0, 4.3)
    (found,) = spot(s)
    for moment, frame in ((found.onset_s, found.onset_frame), (found.apex_s, found.apex_frame)):
        assert moment == pytest.approx(s.times_s[list(s.frames).index(frame)], abs=1e-6)


def test_an_uneven_frame_rate_is_taken_by_its_times() -> None:
    s = signals(200)
    s.displacement[:, MOUTH, 1] -= 0.8 * bump(s, 4.0, 4.3)
    keep = np.sort(np.random.default_rng(1).choice(len(s.times_s), len(s.times_s) // 2, replace=False))
    thinned = Signals(
        s.frames[keep], s.times_s[keep], s.displacement[keep], s.head[keep], s.eyes_open[keep], s.track[keep]
    )
    (found,) = spot(thinned)
    assert found.iou(Interval(onset_s=4.0, offset_s=4.3, label="truth")) > 0.6


@pytest.mark.parametrize("missing", [(), (404, 405, 412, 413)], ids=["all frames", "two gaps"])
@pytest.mark.parametrize(("moved_px", "marked"), [(3.0, True), (4.4, False)])
def test_the_heads_path_is_as_long_where_frames_are_missing(
    missing: tuple[int, ...], moved_px: float, marked: bool
) -> None:
    """A mouth that moves by 0.76 px must exceed a quarter of the head's path."""
    s = signals()
    s.displacement[:, MOUTH, 1] -= 0.76 * bump(s, 4.5, 4.8)
    inside = (s.times_s >= 4.5) & (s.times_s < 4.8)
    s.head[inside, 0] = moved_px / inside.sum()
    kept = np.setdiff1d(np.arange(len(s.times_s)), missing)
    left = {name: getattr(s, name)[kept] for name in ("frames", "times_s", "displacement", "eyes_open", "track")}
    steps = np.diff(np.cumsum(s.head, axis=0)[kept], axis=0, prepend=0)
    assert bool(spot(replace(s, **left, head=steps.astype(np.float32)))) == marked


@pytest.mark.parametrize("slowdown", [1.0, 4.0])
def test_thresholds_tried_together_mark_what_each_does_alone(slowdown: float) -> None:
    """Movements of many sizes, a blink, a second face after a gap."""
    s = signals(fps=50, seconds=16, noise=0.05)
    for k, height in enumerate((0.3, 0.6, 1.2, 6.0)):
        s.displacement[:, MOUTH, 1] -= height * bump(s, 1.0 + 2.0 * k, 1.3 + 2.0 * k)
    s.displacement[:, EYES, 1] += 2.0 * bump(s, 10.0, 10.3)[:, None]
    s.track[600:] = 1
    s = replace(s, times_s=s.times_s * slowdown, slowdown=slowdown)
    tried = [(contrast, min_px) for contrast in (1.5, 3.0, 5.0) for min_px in (0.1, 0.5)]
    alone = [spot(s, SpottingSettings(contrast=c, min_px=p, max_s=0.6)) for c, p in tried]
    assert list(spot_with(s, SpottingSettings(max_s=0.6), tried)) == alone
    assert len({len(found) for found in alone}) > 2 and {i.label for i in alone[0]} >= {"candidate", "large_motion"}
