import csv
import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openmer import InputError, Interval, Timeline, read_timeline


def interval(onset: float, offset: float, **more: object) -> Interval:
    return Interval(onset_s=onset, offset_s=offset, label="candidate", **more)  # type: ignore[arg-type]


# seconds      0    1    2    3    4    5    6
# a            [=========)
# b                 [=========)                 shares 1 s of 3
# c                                [====)       1 s after b
# d                      [====)                 touches a, lies in b
A, B, C, D = interval(0, 2), interval(1, 3), interval(4, 5), interval(2, 3)


def test_overlap_gap_and_iou_by_hand() -> None:
    assert A.overlap(B) == 1
    assert A.iou(B) == pytest.approx(1 / 3)
    assert A.gap(B) == 0
    assert B.gap(C) == 1 and C.gap(B) == 1
    assert A.overlap(D) == 0 and A.gap(D) == 0 and A.iou(D) == 0
    assert B.iou(D) == 0.5
    assert A.iou(A) == 1


times = st.floats(0, 1000, allow_nan=False).map(lambda v: round(v, 3))
intervals = st.tuples(times, times).filter(lambda p: p[0] < p[1]).map(lambda p: interval(*p))


@given(intervals, intervals)
def test_iou_is_symmetric_and_bounded(a: Interval, b: Interval) -> None:
    assert a.iou(b) == b.iou(a)
    assert 0 <= a.iou(b) <= 1
    assert a.overlap(b) == 0 or a.gap(b) == 0


@pytest.mark.parametrize(
    ("onset", "offset", "apex"),
    [(1, 1, None), (2, 1, None), (float("nan"), 1, None), (0, float("inf"), None), (0, 1, 2), (1, 2, 0.5)],
)
def test_impossible_intervals_are_refused(onset: float, offset: float, apex: float | None) -> None:
    with pytest.raises(InputError):
        interval(onset, offset, apex_s=apex)


def whole_timeline() -> Timeline:
    full = interval(4, 5, apex_s=4.5, score=2.0, peak_px=0.7, regions=("chin", "nose"), onset_frame=120)
    return Timeline(intervals=(full, A), start_s=0, end_s=6, gaps=(D,), provenance={"engine": "classical"})


def test_a_timeline_is_sorted_and_survives_json(tmp_path: Path) -> None:
    timeline = whole_timeline()
    assert [i.onset_s for i in timeline] == [0, 4]
    path = tmp_path / "timeline.json"
    path.write_text(timeline.to_json())
    assert read_timeline(path) == timeline


def test_csv_names_units_and_schema() -> None:
    rows = list(csv.DictReader(io.StringIO(whole_timeline().to_csv())))
    assert rows[1] == {
        "schema": "openmer.timeline/1",
        "label": "candidate",
        "onset_s": "4.000000",
        "apex_s": "4.500000",
        "offset_s": "5.000000",
        "duration_s": "1.000000",
        "onset_frame": "120",
        "apex_frame": "",
        "offset_frame": "",
        "score": "2.0",
        "peak_px": "0.7",
        "regions": "chin+nose",
        "expression": "",
    }


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", "3", '{"schema": "openmer.timeline/9"}', '{"schema": "openmer.timeline/1"}'],
)
def test_damaged_json_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        Timeline.from_json(text)


def test_an_impossible_interval_in_json_is_refused() -> None:
    content = json.loads(whole_timeline().to_json())
    content["intervals"][0]["offset_s"] = -1
    with pytest.raises(InputError, match="end after it begins"):
        Timeline.from_json(json.dumps(content))


@pytest.mark.parametrize(("name", "value"), [("slowdown", 0), ("slowdown", -2), ("slowdown", 1e300), ("fps", -25)])
def test_a_clock_that_nothing_can_be_divided_by_is_refused(name: str, value: float) -> None:
    content = json.loads(whole_timeline().to_json())
    content["clock"][name] = value
    with pytest.raises(InputError, match="a clock's"):
        Timeline.from_json(json.dumps(content))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere"):
        read_timeline(tmp_path / "nowhere.json")


def test_a_line_break_in_a_name_does_not_end_a_row() -> None:
    interval = Interval(onset_s=0.0, offset_s=1.0, label="a\rb", regions=("c\nd",))
    lines = Timeline(intervals=(interval,), start_s=0.0, end_s=1.0).to_csv().splitlines()
    assert len(lines) == 2 and "a b" in lines[1] and "c d" in lines[1]
