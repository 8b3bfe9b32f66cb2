"""Two coders' reviews of one result: every figure is worked by hand."""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import pandas as pd
import pytest

from openmer.errors import InputError
from openmer.review.agreement import Agreement, agreement_of, asked_about, kappa_of, moments_of
from openmer.review.agreement_report import sentences, to_json
from openmer.review.document import Add, Review, Set, Undo, apply_change, new_review, result_name, review_path
from openmer.review.gather import ReviewFile, pair_up
from openmer.review.saving import write_review
from openmer.timeline import Clock, Interval, Timeline, read_timeline
from terminal import run

YES, NO = {"verdict": "accepted"}, {"verdict": "rejected"}


def candidate(onset: float) -> Interval:
    """Half a second, its apex in the middle."""
    return Interval(label="candidate", onset_s=onset, apex_s=onset + 0.25, offset_s=onset + 0.5)


def write_result(folder: Path, candidates: int, *, video: str = "talk.mp4", slowdown: float = 1.0) -> Path:
    """Candidates e1, e2, ... at 1, 2, ... s."""
    folder.mkdir(parents=True)
    found = tuple(candidate(float(k)) for k in range(1, candidates + 1))
    timeline = Timeline(
        intervals=found,
        start_s=0,
        end_s=candidates + 2.0,
        provenance={"source": video},
        clock=Clock(fps=30, slowdown=slowdown),
    )
    (folder / "timeline.json").write_text(timeline.to_json())
    return folder


@pytest.fixture
def result(tmp_path: Path) -> Path:
    return write_result(tmp_path / "talk", 10)


def judged(
    result: Path,
    coder: str,
    values: dict[str, dict[str, object]],
    added: Sequence[dict[str, object]] = (),
    controls: Sequence[Interval] = (),
) -> Review:
    review = new_review(result, coder, controls=controls)
    for entry, value in values.items():
        review = apply_change(review, Set(entry=entry, values=value))
    for value in added:
        review = apply_change(review, Add(values=value))
    return review


def both(one: Review, other: Review) -> Agreement:
    return agreement_of([(one, other)])


def test_kappa_by_hand(result: Path) -> None:
    """Of 10: yes-yes 4, yes-no 2, no-yes 1, no-no 3.

    Observed 7/10. Ada says yes to 6/10, Bob to 5/10: by chance .6 x .5 + .4 x .5 = .5. Kappa (.7 - .5) / (1 - .5) = .4.
    """
    ada = judged(result, "ada", {f"e{k}": YES if k <= 6 else NO for k in range(1, 11)})
    bob = judged(result, "bob", {f"e{k}": YES if k in (1, 2, 3, 4, 7) else NO for k in range(1, 11)})
    found = both(ada, bob)
    presence = found.presence
    assert (presence.moments, presence.agreed, presence.given, presence.both) == (10, 7, (6, 5), 4)
    assert presence.kappa == pytest.approx(0.4)
    assert found.intervals == (6, 5, 4) and found.interval_f1 == pytest.approx(8 / 11)
    assert [(m.onset_s, m.disagreement) for m in found.disagreements] == [
        (5.0, "expression or none"),
        (6.0, "expression or none"),
        (7.0, "expression or none"),
    ]
    assert both(bob, ada).presence.kappa == pytest.approx(0.4)


def test_kappa_of_each_label_by_hand(result: Path) -> None:
    """Of 5, Ada: joy joy fear none none; Bob: joy fear fear none joy.

    All: observed 3/5; by chance joy 2/5 x 2/5 + fear 1/5 x 2/5 + none 2/5 x 1/5 = 8/25. (15 - 8) / (25 - 8) = 7/17.
    Joy against all else: same at 1, 3, 4: 3/5; chance 2/5 x 2/5 + 3/5 x 3/5 = 13/25; (15 - 13) / (25 - 13) = 1/6.
    Fear: same at 1, 3, 4, 5: 4/5; chance 1/5 x 2/5 + 4/5 x 3/5 = 14/25; (20 - 14) / (25 - 14) = 6/11.
    None: same at 1, 2, 3, 4: 4/5; chance 2/5 x 1/5 + 3/5 x 4/5 = 14/25; 6/11.
    """
    joy, fear = YES | {"expression": "joy"}, YES | {"expression": "Fear"}
    ada = judged(result, "ada", dict(zip(["e1", "e2", "e3", "e4", "e5"], [joy, joy, fear, NO, NO], strict=True)))
    bob = judged(result, "bob", dict(zip(["e1", "e2", "e3", "e4", "e5"], [joy, fear, fear, NO, joy], strict=True)))
    found = both(ada, bob)
    assert [(k.label, k.given, k.both, k.kappa) for k in found.kappas] == [
        ("", (3, 4), 3, pytest.approx(7 / 17)),
        ("joy", (2, 2), 1, pytest.approx(1 / 6)),
        ("fear", (1, 2), 1, pytest.approx(6 / 11)),
        ("none", (2, 1), 1, pytest.approx(6 / 11)),
    ]
    assert [(m.onset_s, m.disagreement) for m in found.disagreements] == [(2.0, "label"), (5.0, "expression or none")]
    assert found.open == (5, 5)


def test_one_label_throughout_has_no_kappa() -> None:
    assert math.isnan(kappa_of([("none", "none")] * 3).kappa)
    assert kappa_of([("joy", "none")] * 3).kappa == 0
    assert math.isnan(kappa_of([]).kappa)


def test_what_a_coder_adds_is_a_moment(result: Path) -> None:
    """
    seconds  1    1.5         4.0     4.4        5.2   5.6        20   20.5
    ada      e1 yes           [=======)          [=====)
    bob      e1 no                [=======)                       e? unsure
                              4.1     4.5
    IoU .3 / .5 = .6: one moment. The one at 5.2 stands alone: Bob marked nothing.
    """
    ada = judged(result, "ada", {"e1": YES}, [{"onset_s": 4.0, "offset_s": 4.4}, {"onset_s": 5.6, "offset_s": 5.9}])
    bob = judged(result, "bob", {"e1": NO}, [{"onset_s": 4.1, "offset_s": 4.5}])
    found = both(ada, bob)
    told = [(m.onset_s, m.origin, m.labels) for m in found.moments if m.counts]
    assert told == [
        (1.0, "candidate", ("expression", "none")),
        (4.0, "added", ("expression", "expression")),
        (5.6, "added", ("expression", "none")),
    ]
    assert found.moments[[m.onset_s for m in found.moments].index(4.0)].iou == pytest.approx(0.6)
    assert found.intervals == (3, 1, 1)


def test_who_rejects_and_adds_the_same_place_agrees(result: Path) -> None:
    """Bob rejects candidate 2 and adds what Ada has made of it: one moment, not two disagreements."""
    moved = YES | {"onset_s": 2.2, "apex_s": 2.5, "offset_s": 2.8}
    ada = judged(result, "ada", {"e2": moved})
    bob = judged(result, "bob", {"e2": NO}, [{"onset_s": 2.2, "offset_s": 2.7}])
    (moment,) = (m for m in moments_of(ada, bob) if m.counts)
    assert moment.labels == ("expression", "expression") and moment.iou == pytest.approx(5 / 6)


def test_unsure_or_unjudged_does_not_count_and_unsure_is_listed(result: Path) -> None:
    ada = judged(result, "ada", {"e1": YES, "e2": YES, "e3": {"verdict": "unsure"}})
    bob = judged(result, "bob", {"e1": {"verdict": "unsure"}, "e3": NO}, [{"onset_s": 9.7, "offset_s": 10.6}])
    found = both(ada, bob)
    assert found.presence.moments == 0, "Bob's own meets candidate 10 of Ada, which she has not judged: IoU .5 / .9"
    assert [(m.onset_s, m.disagreement) for m in found.disagreements] == [(1.0, "unsure"), (3.0, "unsure")]
    assert found.open == (7, 8)


def test_differences_are_second_minus_first_in_real_time(tmp_path: Path) -> None:
    """Onsets +40, -20, 0 ms of the file; at half speed +20, -10, 0. The third pair nobody has moved."""
    result = write_result(tmp_path / "slow", 3, slowdown=2.0)
    ada = judged(result, "ada", {"e1": YES, "e2": YES, "e3": YES})
    later = YES | {"onset_s": 1.04, "offset_s": 1.6}
    bob = judged(result, "bob", {"e1": later, "e2": YES | {"onset_s": 1.98, "apex_s": None}, "e3": YES})
    onset, apex, offset = both(ada, bob).differences
    assert (onset.pairs, onset.median_ms, onset.median_size_ms) == (3, pytest.approx(0), pytest.approx(10))
    assert onset.range_ms == (pytest.approx(-10), pytest.approx(20))
    assert (apex.pairs, apex.median_ms) == (2, 0)
    assert (offset.median_ms, offset.range_ms) == (0, (0, pytest.approx(50)))
    assert [m.set_by_hand for m in both(ada, bob).pairs] == [True, True, False]


def test_the_same_candidate_moved_far_apart_is_to_settle(result: Path) -> None:
    ada = judged(result, "ada", {"e1": YES | {"offset_s": 1.3}})
    bob = judged(result, "bob", {"e1": YES | {"offset_s": 1.9}})
    found = both(ada, bob)
    assert found.presence.agreed == 1 and found.intervals == (1, 1, 0), "IoU .3 / .9"
    assert [m.disagreement for m in found.disagreements] == ["interval"]


def test_action_units_by_hand(result: Path) -> None:
    """{6, 12} and {12}, {4} and {4, 7}: 2 are given by both, 6 in all: 2 x 2 / 6."""

    def units(*numbers: int) -> dict[str, object]:
        return YES | {"action_units": [{"number": n, "intensity": "B"} for n in numbers]}

    ada = judged(result, "ada", {"e1": units(6, 12), "e2": units(4), "e3": NO})
    bob = judged(result, "bob", {"e1": units(12), "e2": units(4, 7), "e3": units(1)})
    assert both(ada, bob).action_units == (4, 6)


def test_false_accepts_on_controls(result: Path) -> None:
    """By time the controls at 1.6 and 3.6 are e2 and e5; Bob was not asked about them."""
    controls = [Interval(label="control", onset_s=t, offset_s=t + 0.3) for t in (1.6, 3.6)]
    ada = judged(result, "ada", {"e2": YES, "e5": NO, "e1": YES}, controls=controls)
    bob = judged(result, "bob", {"e1": YES})
    found = both(ada, bob)
    assert [(c.accepted, c.judged) for c in found.controls] == [(1, 2), (0, 0)]
    assert found.controls[0].rate == 0.5 and math.isnan(found.controls[1].rate)
    assert [(m.onset_s, m.labels) for m in found.moments if m.counts] == [
        (1.0, ("expression", "expression")),
        (1.6, ("expression", "none")),
    ], "a control that one coder alone was asked about and rejected is no moment"


def test_what_was_asked_comes_from_the_history(result: Path) -> None:
    review = judged(result, "ada", {"e1": {"onset_s": 1.1}, "e2": {"onset_s": 2.1}})
    review = apply_change(apply_change(review, Set(entry="e1", values={"onset_s": 1.2, "offset_s": 1.4})), Undo())
    asked = asked_about(review)
    assert (asked["e1"].onset_s, asked["e1"].offset_s, asked["e2"].onset_s) == (1.0, 1.5, 2.0)
    assert review.entry("e1").onset_s == 1.1


def test_counts_of_videos_are_added_first(tmp_path: Path) -> None:
    """Yes-yes and no-no in one, yes-no and no-no in the other: 3/4; chance 2/4 x 1/4 + 2/4 x 3/4 = 1/2; kappa 1/2."""
    pairs = []
    for name, bobs in (("one", YES), ("two", NO)):
        result = write_result(tmp_path / name, 2, video=f"{name}.mp4")
        ada, bob = judged(result, "ada", {"e1": YES, "e2": NO}), judged(result, "bob", {"e1": bobs, "e2": NO})
        pairs.append((ada, bob))
    found = agreement_of(pairs)
    assert (found.presence.moments, found.presence.kappa) == (4, pytest.approx(0.5))
    assert {m.video for m in found.moments} == {"one.mp4", "two.mp4"}


def test_reviews_of_different_analyses_are_refused(tmp_path: Path) -> None:
    one, again = write_result(tmp_path / "one", 2), write_result(tmp_path / "again", 3)
    other = write_result(tmp_path / "other", 2, video="walk.mp4")
    ada = judged(one, "ada", {"e1": YES, "e2": NO})
    with pytest.raises(InputError, match=r"talk\.mp4, the other of walk\.mp4"):
        both(ada, judged(other, "bob", {}))
    bob = judged(again, "bob", {"e1": YES, "e2": NO, "e3": YES})
    with pytest.raises(InputError, match="--same-video"):
        both(ada, bob)
    found = agreement_of([(ada, bob)], same_video=True)
    assert [m.labels for m in found.moments] == [
        ("expression", "expression"),
        ("none", "none"),
        ("none", "expression"),
    ]


def test_a_video_in_which_a_coder_decided_nothing_is_named(tmp_path: Path) -> None:
    """It may never have been opened; what the other marked counts as a moment in which this one saw nothing."""
    pairs = []
    for name in ("talk", "interview"):
        result = write_result(tmp_path / name, 1, video=f"{name}.mp4")
        ada = judged(result, "ada", {"e1": YES})
        pairs.append((ada, judged(result, "bob", {"e1": YES}) if name == "talk" else new_review(result, "bob")))
    found = agreement_of(pairs)
    assert found.undecided == ((), ("interview.mp4",))
    assert "bob has decided nothing in interview.mp4" in "\n".join(sentences(found))
    assert to_json(found)["undecided"] == [[], ["interview.mp4"]]


def test_analyses_of_other_slow_motion_are_not_compared(tmp_path: Path) -> None:
    ada = judged(write_result(tmp_path / "one", 2), "ada", {"e1": YES, "e2": NO})
    slow = msgspec.structs.replace(ada.source, slowdown=8.0, timeline_sha256="0" * 64)
    with pytest.raises(InputError, match="slowed down 1 times, the other 8 times"):
        agreement_of([(ada, msgspec.structs.replace(ada, source=slow))], same_video=True)


def test_reviews_of_two_people_in_one_video_are_not_compared(tmp_path: Path) -> None:
    reviews = []
    for number, coder in ((1, "ada"), (2, "bob")):
        result = write_result(tmp_path / f"person-{number}", 2)
        timeline = read_timeline(result / "timeline.json")
        whose = replace(timeline, provenance={**timeline.provenance, "person": number})
        (result / "timeline.json").write_text(whose.to_json())
        reviews.append(judged(result, coder, {"e1": YES, "e2": NO}))
        assert reviews[-1].source.person == number
        assert result_name(result) == f"{tmp_path.name}/person-{number}"
    for same_video in (False, True):
        with pytest.raises(InputError, match=r"of person 1 in talk\.mp4, the other of person 2"):
            agreement_of([(reviews[0], reviews[1])], same_video=same_video)
    files = [ReviewFile(tmp_path / r.coder, r, given=False) for r in reviews]
    with pytest.raises(InputError, match=r"of person 1 in talk\.mp4, the other review of person 2"):
        pair_up(files, same_video=True)


def save(result: Path, *reviews: Review) -> None:
    for review in reviews:
        write_review(review_path(result, review.coder), review, replaces=None)


def test_agree_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("one", "two"):
        result = write_result(tmp_path / "results" / name, 4, video=f"{name}.mp4")
        ada = judged(result, "ada", {"e1": YES, "e2": NO, "e3": YES, "e4": NO})
        bob = judged(result, "bob", {"e1": YES, "e2": NO, "e3": NO, "e4": NO})
        save(result, ada, bob)
    for ending in ("json", "csv", "html"):
        assert run(monkeypatch, "agree", tmp_path / "results", "--out", tmp_path / f"a.{ending}") == 0
    # 6 of 8 the same; chance 4/8 x 2/8 + 4/8 x 6/8 = 1/2: kappa 1/2
    assert "expression or none: kappa 0.50, the same in 6 of 8" in capsys.readouterr().out
    content = json.loads((tmp_path / "a.json").read_text())
    assert content["expression_or_none"]["kappa"] == pytest.approx(0.5) and content["coders"] == ["ada", "bob"]
    assert content["differences_ms"]["onset"] == {"pairs": 2, "median": 0, "median_size": 0, "min": 0, "max": 0}
    table = pd.read_csv(tmp_path / "a.csv")
    assert len(table) == 8 and list(table.loc[table["disagreement"].notna(), "onset_s_1"]) == [3.0, 3.0]
    # The same by a shell's *, beside the page over all and a result that nobody has reviewed.
    write_result(tmp_path / "results" / "three", 2, video="three.mp4")
    (tmp_path / "results" / "index.html").write_text("a page over all, as analyze writes it")
    capsys.readouterr()
    assert run(monkeypatch, "agree", *sorted((tmp_path / "results").iterdir())) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "three, not reviewed" in told and "the same in 6 of 8" in told
    page = (tmp_path / "a.html").read_text()
    assert page.count("<td>expression or none</td>") == 2 and "http" not in page


def test_which_reviews_are_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*words: object) -> str:
        assert run(monkeypatch, "agree", *words) == 1
        return " ".join(capsys.readouterr().err.split())

    one, two = (write_result(tmp_path / "r" / n, 2, video=f"{n}.mp4") for n in ("one", "two"))
    assert "give two reviews" in refused()
    assert "no review.json or review-NAME.json" in refused(one)
    assert "no review.json or review-NAME.json beside any of 2 timeline.json" in refused(one, two)
    save(one, judged(one, "ada", {"e1": YES}), judged(one, "bob", {"e1": NO}), judged(one, "eve", {"e1": YES}))
    save(two, judged(two, "ada", {"e1": YES}))
    again = write_result(tmp_path / "again", 2, video="one.mp4")
    (again / "timeline.json").write_text((again / "timeline.json").read_text() + "\n")
    save(again, judged(again, "bob", {"e1": YES}))
    assert "if it is one video, --same-video" in refused(two / "../one/review-eve.json", again)
    assert "has 3 reviews" in refused(one)
    copied = again / "review-copy.json"
    copied.write_bytes((again / "review-bob.json").read_bytes())
    assert "both reviews of one.mp4 name the coder bob" in refused(again)
    copied.unlink()
    copied.symlink_to(copied)
    assert "there is no review at" in refused(again)
    copied.unlink()
    assert "there is nothing to compare it with" in refused(one / "review-ada.json", two / "review-ada.json")
    assert "give the other coder's too" in refused(one / "review-ada.json")
    assert "there is no review at" in refused(one / "review-ada.json", one / "review-nobody.json")
    assert "between two coders" in refused(one, "--coders", "ada")
    assert "no review is by zoe; there are reviews by ada, bob, eve" in refused(one, "--coders", "ada", "zoe")
    assert "must end in" in refused(one, "--coders", "ada", "eve", "--out", tmp_path / "x.txt")
    assert run(monkeypatch, "agree", tmp_path / "r", "--coders", "eve", "ada") == 0
    told = capsys.readouterr().out
    assert "left out:" in told and "two/review-ada.json" in told.replace("\n", "")
    save(two, judged(two, "bob", {"e1": YES}))
    assert "two coders at a time" in refused(one / "review-eve.json", one / "review-ada.json", two)


def test_undefined_figures_are_null(result: Path) -> None:
    content = to_json(both(judged(result, "ada", {}), judged(result, "bob", {})))
    assert content["expression_or_none"]["kappa"] is None and content["intervals"]["f1"] is None
    json.dumps(content, allow_nan=False)
