"""Thresholds from reviews, on hand-made signals: what is chosen, how recordings left out do, what is refused."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from openmer.errors import InputError
from openmer.evaluation.spotting import SpottingScore
from openmer.review.document import Add, Set, apply_change, new_review, review_path
from openmer.review.gather import gather
from openmer.review.saving import write_review
from openmer.review.tune import Recording, Row, Thresholds, Tuning, read_recording, score_of, scored, tune
from openmer.timeline import Interval, Timeline, Window
from openmer.video.regions import REGION_NAMES
from openmer.video.settings import AnalyzeSettings, SpottingSettings
from openmer.video.spotting import Signals, spot
from openmer.video.tuned import apply_tuned, read_tuned
from terminal import run

MOUTH, FPS, EVERY_S, LASTS_S = REGION_NAMES.index("mouth_right"), 30, 4.0, 0.3
HOW = {"engine": "classical", "face": "dlib", "flow": "dis", "align": "per_clip"}
SETTINGS: dict[str, Any] = {**HOW, "spotting": asdict(SpottingSettings()), "expression_threshold": 0.5}


def moved(heights: Sequence[float]) -> Signals:
    """Every four seconds, the corner of the mouth rises by so many px for 0.3 s."""
    n = round(FPS * EVERY_S * (len(heights) + 1))
    times = np.arange(n) / FPS
    displacement = np.random.default_rng(0).normal(0, 0.01, (n, len(REGION_NAMES), 2)).astype(np.float32)
    for k, height in enumerate(heights):
        phase = np.clip((times - at(k).onset_s) / LASTS_S, 0, 1)
        displacement[:, MOUTH, 1] -= height * np.sin(np.pi * phase).astype(np.float32) ** 2
    return Signals(
        frames=np.arange(n),
        times_s=times,
        displacement=displacement,
        head=np.zeros((n, 6), np.float32),
        eyes_open=np.full((n, 2), 0.3, np.float32),
        track=np.zeros(n, np.int64),
    )


def at(k: int, label: str = "truth") -> Interval:
    """Where the movement of this number is."""
    return Interval(label=label, onset_s=EVERY_S * (k + 1), offset_s=EVERY_S * (k + 1) + LASTS_S)


def timeline(count: int, settings: dict[str, Any] | None = None, shares: Sequence[float] = ()) -> Timeline:
    """With `shares`, a network sees so much of an expression around each movement."""
    return Timeline(
        intervals=tuple(at(k, "candidate") for k in range(count)),
        start_s=0,
        end_s=EVERY_S * (count + 1),
        windows=tuple(
            Window(
                start_s=at(k).onset_s - 1,
                end_s=at(k).offset_s + 1,
                start_frame=0,
                end_frame=1,
                probabilities={"positive": share, "none": 1 - share},
            )
            for k, share in enumerate(shares)
        ),
        provenance={"source": "talk.mp4", "settings": settings or SETTINGS},
    )


def recording(heights: Sequence[float], true: Sequence[int], name: str = "talk", **more: Any) -> Recording:
    return Recording(name, moved(heights), timeline(len(heights), **more), tuple(at(k) for k in true))


def test_the_spotter_finds_these_movements() -> None:
    assert [round(i.onset_s) for i in spot(moved([0.8, 0.35, 0.15]))] == [4, 8], ".15 px is below min_px, .2"


def test_small_movements_that_are_rejected_raise_the_threshold() -> None:
    """In each of three, 3 large ones are accepted and 2 of .35 px rejected: 3 hits, 2 false alarms; F1 6/8, then 1."""
    tuning = tune([recording([0.8, 0.35, 0.8, 0.35, 0.8], [0, 2, 4], name) for name in "abc"])
    assert tuning.in_use == Thresholds(5.0, 0.2)
    assert (tuning.before.hits, tuning.before.misses, tuning.before.false_alarms) == (9, 0, 6)
    assert tuning.before.f1 == pytest.approx(0.75) and tuning.after.f1 == 1
    assert tuning.chance == 1 / 8 and not tuning.helps, "of the 8 ways to exchange three, none but this gains as much"
    assert tuning.chosen == Thresholds(5.0, 0.4), "the smallest change of the grid that leaves .35 px out"
    assert [row.chosen for row in tuning.rows] == [tuning.chosen] * 3


def test_one_that_loses_makes_a_gain_of_five_likelier_to_be_chance() -> None:
    """Hits and alarms of each 5 and 2, then 5 and 0; of the last the reverse. F1 50/58, then 50/52.

    As much is gained where the second set has alarms in one of the five, and more where in none: 5 + 1 of 32 ways.
    """
    few, many = SpottingScore(hits=5, seconds=60), SpottingScore(hits=5, false_alarms=2, seconds=60)
    t = Thresholds(5, 0.2)
    better = [Row(name, many, few, t) for name in "abcd"]
    tuning = Tuning(t, t, (*better, Row("e", few, many, t)))
    assert tuning.before.f1 == pytest.approx(50 / 58) and tuning.after.f1 == pytest.approx(50 / 52)
    assert tuning.chance == 6 / 32 and not tuning.helps
    every = Tuning(t, t, (*better, Row("e", many, few, t)))
    assert every.chance == 1 / 32 and every.helps


def test_a_person_is_left_out_with_all_recordings() -> None:
    """Of p1 small ones are true in both recordings; the thresholds of p2 and p3, .4 px, miss all of them."""
    others = [
        replace(recording([0.8, 0.35, 0.8, 0.35, 0.8], [0, 2, 4], name), subject=person)
        for name, person in (("a", "p2"), ("b", "p3"), ("c", "p3"))
    ]
    own = [replace(recording([0.35] * 3, [0, 1, 2], name), subject="p1") for name in "de"]
    tuning = tune([*others, *own])
    assert [row.name for row in tuning.rows] == ["p2", "p3", "p1"]
    last = tuning.rows[2]
    assert last.chosen == Thresholds(5.0, 0.4) and (last.before.hits, last.after.hits, last.after.misses) == (6, 0, 6)
    with pytest.raises(InputError, match="of 2 people; at least 3 are needed"):
        tune([*others[:2], others[2]])


def test_small_movements_that_are_added_lower_it() -> None:
    """Of .8 and .15 px, all are true: 2 of 4 hits, F1 4/6; at .1 or .15 px all four."""
    tuning = tune([recording([0.8, 0.15, 0.8, 0.15], [0, 1, 2, 3], name) for name in "abc"])
    assert tuning.before.f1 == pytest.approx(2 / 3) and tuning.after.f1 == 1
    assert tuning.chosen.min_px < 0.15 + 1e-9 and tuning.chosen.expression is None


def test_what_is_left_out_has_no_part_in_the_choice() -> None:
    """In the third the small ones are true. The others choose .4 px for it, at which its 3 small ones are missed."""
    others = [recording([0.8, 0.35, 0.8, 0.35, 0.8], [0, 2, 4], name) for name in "ab"]
    tuning = tune([*others, recording([0.35, 0.35, 0.35], [0, 1, 2], "c")])
    last = tuning.rows[2]
    assert last.chosen == Thresholds(5.0, 0.4)
    assert (last.before.hits, last.after.hits, last.after.misses) == (3, 0, 3)


def test_the_networks_threshold_is_chosen_too() -> None:
    """True ones have .75 of an expression, the false one .55: at .5 a false alarm in each, at .6 or .7 none."""
    shares = (0.75, 0.55, 0.75)
    tuning = tune([recording([0.8, 0.8, 0.8], [0, 2], name, shares=shares) for name in "abc"])
    assert tuning.in_use == Thresholds(5.0, 0.2, 0.5) and tuning.chosen == Thresholds(5.0, 0.2, 0.6)
    assert (tuning.before.false_alarms, tuning.after.false_alarms, tuning.after.hits) == (3, 0, 6)


def test_what_nobody_is_sure_of_counts_neither_way() -> None:
    unsure = replace(recording([0.8, 0.8, 0.8], [0]), unsure=(at(1),))
    found = [at(0), at(1), at(2)]
    assert score_of(found, unsure) == SpottingScore(hits=1, misses=0, false_alarms=1, seconds=16)
    assert score_of([], unsure) == SpottingScore(hits=0, misses=1, seconds=16)


def test_where_nothing_can_be_gained_the_thresholds_stay() -> None:
    tuning = tune([recording([0.8, 0.8], [0, 1], name) for name in "abc"])
    assert tuning.chosen == tuning.in_use and not tuning.helps


def test_settings_in_use_are_among_those_tried() -> None:
    own = {**SETTINGS, "spotting": asdict(SpottingSettings(contrast=5.5, min_px=0.25))}
    scores = scored(recording([0.8], [0], settings=own), Thresholds(5.5, 0.25))
    assert scores[Thresholds(5.5, 0.25)].hits == 1 and len(scores) == 8 * 6 + 1


def test_analyses_with_different_settings_are_refused() -> None:
    plain, other = recording([0.8], [0], "a"), recording([0.8], [0], "b", settings={**SETTINGS, "face": "mesh"})
    with pytest.raises(InputError, match=r"a and b were analysed with different settings \(face\)"):
        tune([plain, other])
    with pytest.raises(InputError, match="network's opinion"):
        tune([plain, recording([0.8], [0], "b", shares=[0.5])])
    with pytest.raises(InputError, match="does not say its engine"):
        tune([recording([0.8], [0], "b", settings={"face": "dlib"})])


def write_lab(folder: Path, heights: Sequence[float], true: Sequence[int], coder: str = "") -> Path:
    """A result with its review: the candidates are the movements; the last one is added by hand."""
    folder.mkdir(parents=True)
    s = moved(heights)
    columns: dict[str, Any] = {"frame": s.frames, "time_s": np.round(s.times_s, 6), "track": s.track}
    for name in ("head_dx_px", "head_dy_px", "head_roll_deg", "head_growth_pct", "head_yaw_deg", "head_pitch_deg"):
        columns[name] = 0.0
    columns |= {"eye_open_right": 0.3, "eye_open_left": 0.3}
    for k, region in enumerate(REGION_NAMES):
        columns |= {f"{region}_{axis}_px": s.displacement[:, k, j] for j, axis in enumerate(("dx", "dy"))}
    pd.DataFrame(columns).to_csv(folder / "frames.csv", index=False)
    whole = timeline(len(heights))
    shown = replace(whole, intervals=whole.intervals[:-1], provenance={**whole.provenance, "source": folder.name})
    (folder / "timeline.json").write_text(shown.to_json())
    review = new_review(folder, coder)
    for k, entry in enumerate(review.entries):
        verdict = "accepted" if k in true else "rejected"
        review = apply_change(review, Set(entry=entry.id, values={"verdict": verdict}))
    last = at(len(heights) - 1)
    review = apply_change(review, Add(values={"onset_s": last.onset_s, "offset_s": last.offset_s}))
    write_review(review_path(folder, coder), review, replaces=None)
    return folder


def test_tune_and_analyze_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """5 accepted, 2 rejected of .35 px in each of five: F1 2 x 25 / (2 x 25 + 10) = 50/60 before; chance 1 in 2^5."""
    heights = [0.8, 0.35, 0.8, 0.8, 0.35, 0.8, 0.8]
    for name in "abcde":
        write_lab(tmp_path / "results" / name, heights, [0, 2, 3, 5])
    out = tmp_path / "lab.json"
    assert run(monkeypatch, "tune", tmp_path / "results", "--out", out) == 0
    said = capsys.readouterr().out
    assert "0.83" in said and "1.00" in said and "chosen on all: contrast 5, min_px 0.4" in said
    assert "F1 of those left out: 0.83 before, 1.00 after" in said and "with probability 0.031" in said
    content = json.loads(out.read_text())
    assert (content["contrast"], content["min_px"], content["expression_threshold"]) == (5.0, 0.4, None)
    assert content["measured_with"] == HOW
    assert content["tuned_on"] == {"recordings": 5, "accepted": 25, "rejected": 10, "coders": [""]}
    assert (content["left_out"]["people"], content["left_out"]["chance"]) == (5, 1 / 32)
    before, after = content["left_out"]["before"], content["left_out"]["after"]
    assert (before["hits"], before["false_alarms"], before["f1"]) == (25, 10, pytest.approx(50 / 60))
    assert after["f1"] == 1
    assert run(monkeypatch, "tune", tmp_path / "results", "--out", out) == 1
    assert "--overwrite" in capsys.readouterr().err

    tuned = apply_tuned(AnalyzeSettings(engine="classical"), read_tuned(out))
    assert (tuned.spotting.min_px, tuned.spotting.contrast, tuned.expression_threshold) == (0.4, 5.0, 0.5)
    assert [round(i.onset_s) for i in spot(moved([0.8, 0.35]), tuned.spotting)] == [4]
    assert run(monkeypatch, "analyze", tmp_path / "x.mp4", "--out", tmp_path / "x", "--tuned", out) == 1
    assert "tuned on analyses with --engine classical" in " ".join(capsys.readouterr().err.split())
    more = ("--engine", "classical", "--expression-threshold", "0.7")
    assert run(monkeypatch, "analyze", tmp_path / "x.mp4", "--out", tmp_path / "x", "--tuned", out, *more) == 1
    assert "leave out --expression-threshold" in " ".join(capsys.readouterr().err.split())
    out.write_text(json.dumps({**content, "contrast": -1}))
    with pytest.raises(InputError, match="out of range"):
        read_tuned(out)


def test_a_gain_that_may_be_chance_is_not_written_unless_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As above, but of five recordings two are of one person: four people, of whom chance gains in 1 of 16."""
    for name in "abcde":
        write_lab(tmp_path / "results" / name, [0.8, 0.35, 0.8, 0.8, 0.35, 0.8, 0.8], [0, 2, 3, 5])
    (tmp_path / "results" / "index.html").write_text("a page over all, as analyze writes it")
    (tmp_path / "people.csv").write_text("video,subject\na,p1\nb,p1\nc,p2\nd,p3\ne,p4\n")
    out = tmp_path / "lab.json"
    given = ("tune", *sorted((tmp_path / "results").iterdir()), "--subjects", tmp_path / "people.csv", "--out", out)
    assert run(monkeypatch, *given) == 1
    assert "by chance with probability 0.062, above 0.05" in " ".join(capsys.readouterr().err.split())
    assert not out.exists()
    assert run(monkeypatch, *given, "--write-anyway") == 0
    assert "each person, left out" in capsys.readouterr().out
    assert json.loads(out.read_text())["left_out"]["chance"] == 1 / 16
    (tmp_path / "people.csv").write_text("video,subject\na,p1\n")
    assert run(monkeypatch, *given, "--overwrite") == 1
    assert "the table of subjects has neither b nor b" in " ".join(capsys.readouterr().err.split())


def test_what_cannot_be_tuned_on_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "lab.json"

    def refused(*words: object) -> str:
        assert run(monkeypatch, "tune", *words, "--out", out) == 1
        assert not out.exists()
        return " ".join(capsys.readouterr().err.split())

    few = [write_lab(tmp_path / name, [0.8] * 3, [0, 1], "ada") for name in "ab"]
    assert "6 accepted in 2 recordings; at least 20 in 3 are needed" in refused(*few)
    enough = [write_lab(tmp_path / "r" / name, [0.8] * 8, range(8)) for name in "cde"]
    assert "F1 is not better than before" in refused(*enough)
    review = new_review(enough[0], "bob")
    write_review(review_path(enough[0], "bob"), review, replaces=None)
    assert "are of one recording, which would count twice" in refused(*enough)
    for name in "de":
        other = tmp_path / "r" / name
        write_review(review_path(other, "bob"), gather([other / "review.json"])[0].review, replaces=None)
    review = apply_change(review, Add(values={"onset_s": 1.0, "offset_s": 1.2}))
    write_review(review_path(enough[0], "bob"), review, replaces=0)
    assert "7 of 8 entries of" in refused(*(folder / "review-bob.json" for folder in enough), *few)
    moved_away = tmp_path / "ada.json"
    moved_away.write_bytes((enough[0] / "review.json").read_bytes())
    with pytest.raises(InputError, match=r"no timeline\.json beside"):
        read_recording(gather([moved_away])[0])


def test_without_any_score_nothing_is_better() -> None:
    nothing = Tuning(Thresholds(5, 0.2), Thresholds(5, 0.2), ())
    assert not nothing.helps
