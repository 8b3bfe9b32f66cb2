"""Control moments for blind coders: where they may lie, how long they are, and that two coders have the same."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from openmer.errors import InputError
from openmer.review.agreement import agreement_of
from openmer.review.agreement_report import sentences
from openmer.review.blind import blind_review, draw_controls
from openmer.review.document import Add, Set, apply_change, read_review, review_path
from openmer.review.frames import FrameTimes
from openmer.review.saving import write_review
from openmer.review.settings import BlindSettings
from openmer.timeline import Clock, Interval, Timeline

FPS = 25
BLIND = BlindSettings(blind=True)


def mark(label: str, onset: float, offset: float, apex: float | None = None) -> Interval:
    return Interval(label=label, onset_s=onset, apex_s=apex, offset_s=offset)


# seconds 0   1      2      3    4    5       6          12      14
#             candidate     blink     set aside          no face   end 20
MARKED = (
    mark("candidate", 1.0, 1.4, 1.08),
    mark("blink", 3.0, 3.2),
    mark("set_aside", 5.0, 5.2, 5.12),
    mark("large_motion", 8.0, 8.4),
)
AWAY = mark("no_face", 12.0, 14.0)


def timeline(slowdown: float = 1.0) -> Timeline:
    return Timeline(
        intervals=MARKED,
        gaps=(AWAY,),
        start_s=0,
        end_s=20,
        provenance={"source": "talk.mp4"},
        clock=Clock(fps=FPS, slowdown=slowdown),
    )


def every_frame(seconds: float = 20) -> FrameTimes:
    frames = np.arange(round(seconds * FPS))
    return FrameTimes(frames, frames / FPS)


@pytest.fixture
def result(tmp_path: Path) -> Path:
    folder = tmp_path / "talk"
    folder.mkdir()
    (folder / "timeline.json").write_text(timeline().to_json())
    times = every_frame()
    pd.DataFrame({"frame": times.frames, "time_s": times.times_s}).to_csv(folder / "frames.csv", index=False)
    return folder


@pytest.mark.parametrize("slowdown", [1.0, 2.0])
def test_controls_lie_where_nothing_was_marked(slowdown: float) -> None:
    for seed in range(20):
        drawn = draw_controls(timeline(slowdown), every_frame(), 6, seed)
        assert len(drawn) == 6
        others = [*MARKED, AWAY]
        for k, control in enumerate(drawn):
            near = min(control.gap(other) for other in (*others, *drawn[:k], *drawn[k + 1 :]))
            assert near >= 0.25 * slowdown, (seed, control)


def test_controls_are_as_long_as_candidates_and_whole_frames() -> None:
    """A candidate of 10 frames with its apex at the second, and one that was set aside, of 5, at the third."""
    shapes = {
        (
            round(i.duration_s, 6),
            round((i.apex_s or 0) - i.onset_s, 6),
            (i.offset_frame or 0) - (i.onset_frame or 0),
        )
        for seed in range(20)
        for i in draw_controls(timeline(), every_frame(), 4, seed)
    }
    assert shapes == {(0.4, 0.08, 10), (0.2, 0.12, 5)}
    for i in draw_controls(timeline(), every_frame(), 4, 1):
        assert i.onset_s == (i.onset_frame or 0) / FPS and i.apex_s == (i.apex_frame or 0) / FPS


def test_a_full_video_has_fewer_controls() -> None:
    """Of 2.5 s, the candidate and its margins leave 0 to .75 and 1.65 to 2.5: room for one of .4 s or two of .2 s."""
    for seed in range(10):
        drawn = draw_controls(timeline(), every_frame(2.5), 9, seed)
        assert 1 <= len(drawn) <= 4
        assert all(i.offset_s < 0.75 or i.onset_s > 1.65 for i in drawn)


def test_a_control_is_not_laid_across_missing_frames() -> None:
    frames = np.array([*range(10), *range(200, 210)])
    (once,) = {
        i.offset_frame - i.onset_frame
        for seed in range(20)
        for i in draw_controls(timeline(), FrameTimes(frames, frames / FPS), 1, seed)
        if i.onset_frame is not None and i.offset_frame is not None
    }
    assert once == 5, "ten frames in a row hold .2 s and not .4 s"


def test_coders_have_the_same_controls_in_another_order(result: Path) -> None:
    ada, again, bob = (blind_review(result, name, BLIND) for name in ("ada", "ada", "bob"))
    assert [e.id for e in ada.entries] == [e.id for e in again.entries]
    by_time = [sorted(review.entries, key=lambda e: e.onset_s) for review in (ada, bob)]
    assert by_time[0] == by_time[1]
    assert [e.id for e in by_time[0]] == ["e1", "e2", "e3"], "two candidates, so one control; ids say nothing"
    assert sorted(e.origin for e in ada.entries) == ["candidate", "candidate", "control"]
    many = [blind_review(result, "ada", BlindSettings(blind=True, controls=20, seed=s)) for s in (1, 2)]
    assert {e.onset_s for e in many[0].entries} != {e.onset_s for e in many[1].entries}
    assert [e.onset_s for e in many[0].entries] != sorted(e.onset_s for e in many[0].entries)
    orders = [[e.onset_s for e in blind_review(result, c, BlindSettings(blind=True, controls=9)).entries] for c in "ab"]
    assert orders[0] != orders[1] and sorted(orders[0]) == sorted(orders[1])
    assert many[1].seed == 2 and many[1].blind


def test_a_blind_review_is_saved_and_agreement_counts_its_controls(result: Path) -> None:
    reviews = []
    for name in ("ada", "bob"):
        review = blind_review(result, name, BlindSettings(blind=True, controls=4))
        path = review_path(result, name)
        write_review(path, review, replaces=None)
        for entry in review.entries:  # Ada accepts all; Bob only candidates
            verdict = "accepted" if name == "ada" or entry.origin == "candidate" else "rejected"
            review = apply_change(review, Set(entry=entry.id, values={"verdict": verdict}))
        review = apply_change(review, Add(values={"onset_s": 16.0, "offset_s": 16.2}))
        write_review(path, review, replaces=0)
        assert read_review(path).entries[-1].origin == "added", "the order stays, what is added comes last"
        reviews.append(read_review(path))
    found = agreement_of([(reviews[0], reviews[1])])
    assert [(c.accepted, c.judged) for c in found.controls] == [(4, 4), (0, 4)]
    assert found.presence.moments == 7
    assert found.blind == (1, 1) and "blind: ada in 1, bob in 1 of 1" in sentences(found)


def test_settings_that_do_not_fit_are_refused() -> None:
    for words in ({"controls": 3}, {"seed": 1}, {"blind": True, "controls": -1}, {"blind": True, "seed": -1}):
        with pytest.raises(InputError):
            BlindSettings(**words)  # type: ignore[arg-type]
