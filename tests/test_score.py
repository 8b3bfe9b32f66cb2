"""`openmer score`: counts and ratios worked by hand, from an ELAN file, a table and a timeline."""

import json
import sys
from pathlib import Path

import pytest

from openmer import InputError, Interval, Timeline
from openmer.cli import main
from openmer.evaluation.compare import score_against
from openmer.exchange.elan import to_elan
from openmer.timeline import Clock
from terminal import run


def interval(onset: float, offset: float, label: str) -> Interval:
    return Interval(onset_s=onset, offset_s=offset, label=label)


# seconds    10        11        12   12.5  13        14   ...  30        39   40   41
# truth      [=========)         [====)                         [=========...........)  (45 to 46: not analysed)
# found        [=====)           [==========)         [====)
#            0.6 of 1: hit       0.5 of 1: hit        alarm     missed
FOUND = Timeline(
    intervals=(
        interval(10.2, 10.8, "candidate"),
        interval(12.0, 13.0, "candidate"),
        interval(14.0, 14.5, "candidate"),
        interval(30.0, 30.5, "set_aside"),
    ),
    start_s=10.0,
    end_s=40.0,
    provenance={"engine": "mol-lite", "trained_on": "simulated faces"},
)
TRUTH = Timeline(
    intervals=(
        interval(10.0, 11.0, "micro"),
        interval(12.0, 12.5, "micro"),
        interval(30.0, 30.6, "micro"),
        interval(39.0, 41.0, "micro"),
        interval(45.0, 46.0, "micro"),
    ),
    start_s=0.0,
    end_s=60.0,
)


def test_counts_ratios_and_rows_by_hand() -> None:
    judged = score_against(FOUND, TRUTH)
    score = judged.score
    assert (score.hits, score.misses, score.false_alarms, score.seconds) == (2, 2, 1, 30)
    assert (score.precision, score.recall) == (2 / 3, 2 / 4)
    assert score.f1 == pytest.approx(4 / 7) and score.false_alarms_per_minute == 2
    assert judged.outside == 1
    assert [(row.kind, row.onset_s, round(row.iou, 6)) for row in judged.rows] == [
        ("hit", 10.0, 0.6),
        ("hit", 12.0, 0.5),
        ("false alarm", 14.0, 0.0),
        ("miss", 30.0, 0.0),
        ("miss", 39.0, 0.0),
    ]


def test_what_counts_as_found_and_as_right_can_be_chosen() -> None:
    both = score_against(FOUND, TRUTH, labels=("candidate", "set_aside"))
    assert (both.score.hits, both.score.misses, both.score.false_alarms) == (3, 1, 1)
    strict = score_against(FOUND, TRUTH, min_iou=0.55)
    assert (strict.score.hits, strict.score.misses, strict.score.false_alarms) == (1, 3, 2)
    assert [round(row.iou, 6) for row in strict.rows if row.onset_s == 12.0] == [0.5, 0.5], "near misses say how near"


def test_a_rate_a_minute_is_of_real_time() -> None:
    """Four seconds of a file that was slowed down four times are one second."""
    slow = Timeline(
        intervals=(Interval(onset_s=1, offset_s=2, label="candidate"),),
        start_s=0.0,
        end_s=4.0,
        clock=Clock(fps=30.0, slowdown=4.0),
    )
    score = score_against(slow, Timeline(intervals=(), start_s=0.0, end_s=4.0)).score
    assert score.seconds == 1.0 and score.false_alarms_per_minute == 60.0


def test_nothing_against_nothing_has_no_ratios() -> None:
    nothing = Timeline(intervals=(), start_s=0, end_s=60)
    judged = score_against(nothing, nothing)
    assert judged.summary() == (
        "precision - (0 of 0), recall - (0 of 0), F1 - at IoU 0.5; 0.00 false alarms a minute in 60.0 s"
    )
    written = judged.to_json(nothing, nothing)
    assert written["precision"] is written["f1"] is None and written["rows"] == []
    with pytest.raises(InputError, match="nothing to score"):
        score_against(Timeline(intervals=(), start_s=1, end_s=1), TRUTH)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "result").mkdir()
    (tmp_path / "result" / "timeline.json").write_text(FOUND.to_json())
    (tmp_path / "truth.eaf").write_bytes(to_elan(TRUTH))
    (tmp_path / "truth.json").write_text(TRUTH.to_json())
    (tmp_path / "truth.csv").write_text("onset_s,offset_s\n10,11\n12,12.5\n30,30.6\n39,41\n45,46\n")
    return tmp_path


@pytest.mark.parametrize("truth", [("truth.eaf", "--tier", "micro"), ("truth.eaf",), ("truth.json",), ("truth.csv",)])
def test_every_kind_of_truth_gives_the_same_score(
    folder: Path, truth: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["openmer", "score", "result", "--truth", *truth, "--out", "score.json"])
    main()
    said = capsys.readouterr().out
    assert "precision 0.67 (2 of 3), recall 0.50 (2 of 4), F1 0.57 at IoU 0.5; 2.00 false alarms a minute" in said
    assert "1 annotated outside of it" in said and said.count("hit") == 2 and said.count("miss") == 2
    written = json.loads((folder / "score.json").read_text())
    assert (written["hits"], written["misses"], written["false_alarms"]) == (2, 2, 1)
    assert written["result"]["trained_on"] == "simulated faces"
    assert [row["kind"] for row in written["rows"]] == ["hit", "hit", "false alarm", "miss", "miss"]
    assert written["truth"] == {"source": truth[0], "tier": "annotated" if truth[0] == "truth.csv" else "micro"}


def test_a_label_that_no_result_has_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("score", folder / "result", "--truth", folder / "truth.csv", "--labels")
    assert run(monkeypatch, *given, "candidates") == 1
    assert (
        "no result has the label candidates; choose blink, candidate, large_motion, set_aside"
        in capsys.readouterr().err
    )
    assert run(monkeypatch, *given, "candidate", "set_aside") == 0


def test_an_unknown_tier_is_one_line_and_lists_the_tiers(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["openmer", "score", str(folder / "result"), "--truth", str(folder / "truth.eaf"), "--tier", "ME"]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit):
        main()
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "no tier 'ME'" in line and "micro (5)" in line
