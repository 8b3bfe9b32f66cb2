"""Every measured number that the README and the documents quote stands in a file of benchmarks/results.

Decimal numbers and percentages of the named sections are compared with the values of the named files, rounded as they
are quoted, also times 100 (percent) and 1000 (milliseconds). What is derived from two values is computed here; what is
a setting or a goal is listed with the reason. docs/LOG.md is history and names its files itself.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
NUMBER = re.compile(r"(?<![\w.-])(\d+\.\d+|\d+(?= %))(?![\w.]*-\d)")
LITE, REAL = "mol-lite-2026-11-25", "real_video-2026-11-25"


@dataclass(frozen=True)
class Quotes:
    """A part of a document that quotes measurements.

    Attributes:
        document: its path.
        start: text at which the part begins.
        end: text at which it ends.
        sources: files of benchmarks/results, without their ending.
        derived: number as quoted -> two paths into the first source, whose ratio it is.
        given: numbers that are no measurement, with the reason.
    """

    document: str
    start: str
    end: str
    sources: tuple[str, ...]
    derived: dict[str, tuple[str, str]] = field(default_factory=dict)
    given: dict[str, str] = field(default_factory=dict)


FLOW = "figures/flow_px/moving/"
LIVELY_FLOW = "figures/lively/flow_px/moving/"
QUOTES = (
    Quotes("README.md", "## Results", "## Limits", (LITE, REAL)),
    Quotes(
        "docs/models/mol-lite.md",
        "Recognition, 3 seeds",
        "## On one real video",
        (LITE, "mol-lite-2026-11-24"),
        derived={
            "0.57": (f"{FLOW}network", f"{FLOW}tvl1"),
            "0.74": (f"{LIVELY_FLOW}network", f"{LIVELY_FLOW}tvl1"),
        },
        given={
            "95": "the level of an interval",
            "0.956": "a goal",
            "0.7": "a goal",
            "3": "a goal",
            "10": "the failure threshold of NME",
            "0.5": "an edge of a bin",
            "0.1": "an edge of a bin",
            "0.3": "an edge of a bin",
            "0.654": "the first version on lively heads: docs/LOG.md",
            "0.838": "the first version on lively heads: docs/LOG.md",
            "0.412": "the first version on lively heads: docs/LOG.md",
            "7.1": "the first version on lively heads: docs/LOG.md",
        },
    ),
    Quotes(
        "docs/models/mol-lite.md", "- flow, gray levels left", "## What it was not", (REAL, "real_video-2026-11-24")
    ),
    Quotes(
        "docs/limits.md", "- On ten simulated videos", "## ", ("spotting-2026-11-24", "spotting-200-2026-11-25", REAL)
    ),
    Quotes(
        "docs/explain.md",
        "| | share of the attribution",
        "An attribution says",
        ("attribution-2026-11-25",),
    ),
    Quotes("docs/model.md", "| parameters, M", "Float32, batch 1", ("models-cpu-2026-11-24",)),
)


def values(content: Any) -> Iterator[float]:
    """All numbers of a JSON value."""
    if isinstance(content, dict):
        content = list(content.values())
    if isinstance(content, list):
        for item in content:
            yield from values(item)
    elif isinstance(content, int | float) and not isinstance(content, bool):
        yield float(content)


def part_of(quotes: Quotes) -> str:
    """The text between the marks; an error where it is no longer there."""
    text = (ROOT / quotes.document).read_text()
    begin = text.index(quotes.start)
    stop = text.find(quotes.end, begin + len(quotes.start))
    return text[begin : stop if stop >= 0 else len(text)]


def as_quoted(value: float, quoted: str) -> bool:
    """Whether the value, rounded to as many digits, is the quoted number."""
    digits = len(quoted.partition(".")[2])
    # Half a unit of the last digit, and a hair: 0.8875 may be quoted as 0.888 or 0.887.
    return abs(value - float(quoted)) <= 0.5 * 10**-digits + 1e-9


def at(content: Any, path: str) -> float:
    """The value at a path with slashes."""
    for key in path.split("/"):
        content = content[key]
    return float(content)


def unknown(quotes: Quotes, text: str) -> list[str]:
    """Numbers of the text that no source gives."""
    contents = [json.loads((RESULTS / f"{name}.json").read_text()) for name in quotes.sources]
    known = [v * scale for content in contents for v in values(content) for scale in (1, 100, 1000, 1e-6, 1e-9)]
    missing = []
    for number in dict.fromkeys(NUMBER.findall(text)):
        if number in quotes.derived:
            above, below = (at(contents[0], path) for path in quotes.derived[number])
            good = as_quoted(above / below, number)
        else:
            good = number in quotes.given or any(as_quoted(v, number) for v in known)
        if not good:
            missing.append(number)
    return missing


@pytest.mark.parametrize("quotes", QUOTES, ids=lambda q: f"{q.document}: {q.start}")
def test_quoted_numbers_were_measured(quotes: Quotes) -> None:
    text = part_of(quotes)
    assert NUMBER.findall(text), "the part quotes nothing; is it the right one?"
    assert unknown(quotes, text) == []


def test_a_number_that_nobody_measured_is_seen() -> None:
    assert unknown(QUOTES[0], "accuracy 0.8934 and 99.7 %, in 1.5e-3") == ["0.8934", "99.7"]


@pytest.mark.parametrize("document", ["README.md", *(str(p.relative_to(ROOT)) for p in (ROOT / "docs").glob("*.md"))])
def test_result_files_that_are_named_exist(document: str) -> None:
    named = re.findall(r"[\w-]+-\d{4}-\d{2}-\d{2}\.json", (ROOT / document).read_text())
    assert [name for name in named if not (RESULTS / name).is_file()] == []


def test_the_record_of_the_weights_carries_the_measured_operating_points() -> None:
    content = json.loads((ROOT / "src" / "openmer" / "weights" / "mol-lite.json").read_text())
    measured = json.loads((RESULTS / "spotting-200-2026-11-25.json").read_text())["figures"]
    points = content["scores"]["operating_points"]["points"]
    assert len(points) == len(measured)
    for point in points:
        values = measured[f"least_expression {point['least_expression']:g}"]
        assert point["alarms_per_minute"] == values["false_alarms_per_minute"] and point["recall"] == values["recall"]
