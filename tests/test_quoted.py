"""Every measured number that the README and the documents quote stands in a file of benchmarks/results.

Decimal numbers and percentages are compared, rounded as they are quoted. In `EXACT` parts each number, in the order of
the text, has the path of the value that it must be; in `TABLES`, which are long, each must be some value of the named
files. What is a ratio of two values is computed here; what is a setting or a goal is listed with the reason.
docs/LOG.md is history and names its files itself.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from openmer.errors import InputError
from openmer.models.engine import threshold_for
from openmer.models.mol import create_model
from openmer.models.weights import read_record

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
# Also the first of two that share one sign: `99 and 100 %`.
NUMBER = re.compile(r"(?<![\w.-])(\d+\.\d+|\d+(?= %|(?= and \d+ %)))(?![\w.]*-\d)")


GIVEN = "given"


@dataclass(frozen=True)
class Part:
    """A part of a document.

    Attributes:
        document: its path.
        start: text at which the part begins.
        end: text at which it ends.
    """

    document: str
    start: str
    end: str


@dataclass(frozen=True)
class Exact(Part):
    """One in which the origin of every number is known.

    Attributes:
        numbers: in the order of the text, `FILE/path/to/value`, or `given` for a setting; a file by its alias.
    """

    numbers: tuple[str, ...]


@dataclass(frozen=True)
class Tables(Part):
    """One with long tables.

    Attributes:
        sources: files of benchmarks/results, by alias.
        derived: number as quoted -> two paths whose ratio it is.
        given: numbers that are no measurement, with the reason.
    """

    sources: tuple[str, ...]
    derived: dict[str, tuple[str, str]] = field(default_factory=dict)
    given: dict[str, str] = field(default_factory=dict)


PARTS_OF_F5C = ("whole", "not centered", "without FCC", "without CCC", "without both", "graph of positions")
# As benchmarks/few_data.py simulates them, and of real people.
LIKE = tuple(f"few/figures/{name}" for name in ("casme2", "samm", "smic"))
FEW = ("mol-lite, compared/uf1/mean", "mol-lite, as it ships/uf1", "ststnet/uf1/mean", "flow-svm/uf1/mean")
PEOPLE = tuple(f"few_real/figures/{name}" for name in ("photographs", "videos"))
LIKE_NOW, PEOPLE_NOW = (tuple(w.replace("/", "_now/", 1) for w in where) for where in (LIKE, PEOPLE))
FILES = {
    "f5c": "ablation-f5c-2026-11-29",
    "joint": "ablation-joint-2026-11-30",
    "joint_more": "ablation-joint-more-2026-11-30",
    "few": "few_data-2026-11-29",
    "few_now": "few_data-2026-11-30",
    "few_real": "few_real-2026-11-29",
    "few_real_now": "few_real-2026-11-30",
    "draws": "draws-2026-11-29",
    "transfer_flow": "transfer_flow-2026-11-29",
    "heads": "held_out-2026-11-30",
    "heads_before": "held_out-2026-11-26",  # on the clips of the ablation of `mol`
    "real": "real_video-2026-11-30",
    "hour": "spotting-100-2026-11-30",
    "means": "means-2026-11-30",
    "seen": "attribution-2026-11-30",
    "models": "models-cpu-2026-11-29",
    "units": "units-2026-11-30",
    "baselines": "baselines-2026-11-25",
    "mol": "ablation-mol-2026-11-26",
    "cuda": "models-cuda-2026-11-26",
    "transfer": "transfer-2026-11-30",
    "alone": "transfer-2026-11-29",  # each of the two opinions of mol-lite alone, and the SVM
    "implants": "implants-2026-11-30",
    "implants_before": "implants-2026-11-29",  # with centered motion alone, one take
    "speech": "speech-2026-11-29",
}
MEASURED = ("uf1_of_three", "accuracy_of_four", "expression_or_none")
CARRIED = ("films", "photographs", "second", "first")
SVM = tuple(f"alone/figures/flow-svm/{d}/uf1_of_three" for d in CARRIED)


def _transfer(*networks: str) -> tuple[str, ...]:
    """Rows of `mol-lite` as it ships and of networks that it was made of."""
    rows = ("transfer/figures/mol-lite", *(f"alone/figures/{network}" for network in networks))
    return tuple(f"{row}/{d}/{v}" for row in rows for d in CARRIED for v in MEASURED)


SCORES = "heads_before/figures/calm/recognition"
BASE = "baselines/figures/calm"
HOUR = "hour/figures/expression_threshold"
ELSEWHERE = "implants/figures/reported/candidates/elsewhere_a_minute"
CHOSEN, REPORTED = ("implants/figures/thresholds/" + half for half in ("chosen", "reported"))


EXACT = (
    Exact(
        "README.md",
        "**Finding them in real video**",
        "**Flow and landmarks**",
        (
            *(GIVEN,) * 3,
            *(f"{ELSEWHERE}/{situation}" for situation in ("calm", "speech", "turning")),
            f"{REPORTED}/0/elsewhere_a_minute",
            f"{ELSEWHERE}/all",
        ),
    ),
    Exact(
        "docs/models/mol-lite.md",
        "sets candidates aside there",
        "**Landmarks and flow.**",
        (
            f"{REPORTED}/0/minutes",
            f"{REPORTED}/0/elsewhere_a_minute",
            f"{REPORTED}/4/elsewhere_a_minute",
            GIVEN,
            f"{REPORTED}/7/elsewhere_a_minute",
            GIVEN,
            f"{REPORTED}/8/elsewhere_a_minute",
            f"{REPORTED}/4/untouched_a_minute",
            f"{REPORTED}/0/untouched_a_minute",
            f"{CHOSEN}/0/minutes",
            f"{CHOSEN}/0/elsewhere_a_minute",
            f"{CHOSEN}/4/elsewhere_a_minute",
            GIVEN,
            f"{CHOSEN}/6/elsewhere_a_minute",
            GIVEN,
            f"{CHOSEN}/7/elsewhere_a_minute",
            *(GIVEN,) * 2,
            f"{REPORTED}/5/elsewhere_a_minute",
            GIVEN,
            f"{CHOSEN}/0/minutes",
            *(f"{REPORTED.replace('implants', 'implants_before')}/{k}/elsewhere_a_minute" for k in (4, 0)),
        ),
    ),
    Exact(
        "README.md",
        "**Flow and landmarks**",
        "On real faces",
        (
            "heads/figures/calm/flow_px/network_over_seeds/moving/mean",
            *(f"heads/figures/calm/flow_px/moving/{method}" for method in ("tvl1", "dis")),
            "heads/figures/calm/landmarks/nme_mean/mean",
        ),
    ),
    Exact("README.md", "On real faces", "flow is worse", ("real/figures/carphone_pristine.mp4/nme_against_dlib/mean",)),
    Exact("README.md", "| **mol-lite**, as it ships", "Where people speak", (*_transfer(), *SVM)),
    Exact(
        "docs/models/mol-lite.md",
        "| **mol-lite**, as it ships",
        "`transfer-",
        (*_transfer("mol-lite", "first-edition"), *SVM),
    ),
    Exact("docs/model.md", "| both, as it ships", "The first row is of", _transfer("mol-lite", "first-edition")),
    Exact(
        "docs/models/mol-lite.md",
        "likeliest is shown",
        "- **In real video",
        tuple(
            f"alone/figures/{network}/{domain}/likeliest_unit_shown"
            for network in ("mol-lite", "first-edition")
            for domain in CARRIED
        ),
    ),
    Exact(
        "docs/models/mol-lite.md",
        "100 frames a second: UF1",
        "(`means-",
        ("means/figures/100/one/uf1_of_three", "means/figures/100/70 ms around/uf1_of_three"),
    ),
    Exact(
        "docs/limits.md",
        "where the head turns",
        "- A candidate is a motion",
        (
            f"{ELSEWHERE}/all",
            f"{REPORTED}/0/elsewhere_a_minute",
            "real/figures/carphone_pristine.mp4/nme_against_dlib/mean",
            f"{HOUR} 0/recall",
            GIVEN,
            f"{HOUR} 0/recall_by_peak/0.0 to 0.5 px/0",
            f"{HOUR} 0/false_alarms_per_minute",
            f"{HOUR} 0.5/recall",
            f"{HOUR} 0.5/false_alarms_per_minute",
        ),
    ),
    Exact(
        "docs/limits.md",
        "- DIS, with which",
        "- Peaks",
        (
            "heads/figures/calm/flow_px/by_motion/0 to 0.1 px/dis",
            GIVEN,
            "heads/figures/calm/flow_px/by_motion/0 to 0.1 px/zero",
        ),
    ),
    Exact(
        "docs/explain.md",
        "| six real videos |",
        "**Where.**",
        (
            *(f"transfer/figures/mol-lite/{domain}/likeliest_unit_shown" for domain in CARRIED),
            *(f"units/figures/{head}/first_right_by_regions" for head in ("calm", "lively")),
            "seen/figures/action units/first/mean",
            "seen/figures/action units/exact flow, first/mean",
        ),
    ),
    Exact(
        "docs/explain.md",
        "| chance: the region's share",
        "So a map of these",
        tuple(
            f"seen/figures/{row}/{value}/mean"
            for row in ("chance: share of the crop", "change of gray", "mol-lite, integrated", "mol-lite, held")
            for value in ("share", "hit")
        ),
    ),
    Exact(
        "docs/model.md",
        "| parameters, M",
        "Float32, batch 1",
        (
            *(f"models/rows/{k}/figures/parameters_m" for k in range(3)),
            *(f"models/rows/{k}/figures/gflop/all" for k in range(3)),
            *(f"models/rows/{k}/figures/ms_a_clip_mer" for k in range(3)),
            *(f"models/rows/{k}/figures/ms_a_clip_all" for k in range(3)),
            *(f"models/rows/{k}/figures/ms_a_clip_mer_onnx" for k in range(3)),
            *(f"models/rows/{k}/figures/ms_a_clip_all_onnx" for k in range(3)),
        ),
    ),
    Exact(
        "docs/model.md",
        "| `mol`, mean of 2 seeds",
        "That is the network as",
        (
            "mol/figures/whole/accuracy/mean",
            "mol/figures/whole/accuracy/sd",
            *(f"mol/figures/whole/{name}/mean" for name in ("detection", "epe_moving_px", "nme")),
            *(
                f"mol/figures/{variant}/{name}/mean"
                for variant in ("without FCC", "without CCC", "without both")
                for name in ("accuracy", "detection", "epe_moving_px", "nme")
            ),
            *(f"mol/figures/without flow/{name}/mean" for name in ("accuracy", "detection", "nme")),
            f"{BASE}/constant/accuracy/mean",
            f"{BASE}/constant/detection_accuracy/mean",
            "heads_before/figures/calm/flow_px/moving/zero",
            *(f"{SCORES}/{name}/mean" for name in ("accuracy", "detection_accuracy")),
            "heads_before/figures/calm/flow_px/network_over_seeds/moving/mean",
            "heads_before/figures/calm/landmarks/nme_mean/mean",
            *(
                f"mol/figures/training, steps 701 to 810/{which}/cross_entropy"
                for which in ("with closed-form motion", "whole")
            ),
        ),
    ),
    Exact(
        "docs/model.md",
        "between the actors too",
        "About emotion",
        (
            *(f"speech/figures/{kind}/{value}" for kind in ("f5c", "convolutions") for value in ("mean", "sd")),
            "speech/figures/guessing/mean",
        ),
    ),
    Exact(
        "docs/train.md",
        "| **`--recipe few`** |",
        "Guessing is",
        (
            *(f"{where}/mol-lite, compared/uf1/mean" for where in (*PEOPLE_NOW, *LIKE_NOW)),
            *(f"{where}/mol-lite, as it ships/uf1" for where in (*PEOPLE_NOW, *LIKE_NOW)),
            *(
                path
                for model in ("mol-lite, tuned", "ststnet", "off-apexnet")
                for path in (
                    *(f"{where}/{model}/uf1/{value}" for where in PEOPLE for value in ("mean", "sd")),
                    *(f"{where}/{model}/uf1/mean" for where in LIKE),
                )
            ),
            *(f"{where}/flow-svm/uf1/mean" for where in (*PEOPLE, *LIKE)),
        ),
    ),
    Exact(
        "README.md",
        "fitted in seconds",
        "[Train]",
        (
            *(
                f"{where}/{score}"
                for now, before in zip(PEOPLE_NOW[::-1], PEOPLE[::-1], strict=True)
                for where, score in zip((now, now, before, before), FEW, strict=True)
            ),
            *(f"{where}/mol-lite, compared/uf1/mean" for where in LIKE_NOW),
            *(f"{where}/ststnet/uf1/mean" for where in LIKE),
        ),
    ),
    Exact(
        "docs/model.md",
        "| learned from | four classes: alone",
        "**Both together help",
        (
            *(
                f"joint/figures/{tasks}, {clips} clips/{score}/{value}"
                for clips in (60, 1000)
                for score in ("accuracy", "uf1_of_three")
                for tasks in ("whole", "with landmarks", "with both")
                for value in ("mean", "sd")
            ),
            "joint/figures/with both, 1000 clips/epe_moving_px/mean",
            "joint/figures/with both, 1000 clips/nme/mean",
        ),
    ),
    Exact(
        "docs/model.md",
        "**With 4,000 clips they do not**",
        "So the gain at 1,000",
        tuple(
            f"joint_more/figures/{tasks}, 4000 clips/{score}/mean"
            for score in ("accuracy", "uf1_of_three", "uf1_of_three on photographs")
            for tasks in ("whole", "with landmarks", "with flow", "with both")
        ),
    ),
    Exact(
        "docs/model.md",
        "| | four classes, accuracy | class of three",
        "**Centering decides",
        tuple(
            f"f5c/figures/{part}/{key}/{value}"
            for part in PARTS_OF_F5C
            for key in ("accuracy", "uf1_of_three", "uf1_of_three on second-held", "uf1_of_three on photographs")
            for value in ("mean", "sd")
        ),
    ),
    Exact("docs/model.md", "clips takes 40 ms", "(float32)", ("cuda/rows/0/figures/ms_a_clip_all",)),
)
# TV-L1 depends on no weights, and was measured on the same pairs.
FLOW = {
    (head, kind): (
        f"heads/figures/{head}/flow_px/network_over_seeds/{kind}/mean",
        f"heads/figures/{head}/flow_px/{kind}/tvl1",
    )
    for head in ("calm", "lively")
    for kind in ("moving", "far")
}  # ours and TV-L1's
TABLES = (
    Tables(
        "docs/models/mol-lite.md",
        "Flow: endpoint error",
        "## How it was made",
        ("heads",),
        derived={
            "0.75": FLOW["calm", "moving"],
            "0.73": FLOW["lively", "moving"],
            "0.78": FLOW["calm", "far"],
            "0.71": FLOW["lively", "far"],
        },
        given={
            "10": "the failure threshold of NME",
            "0.1": "an edge of a bin",
            "0.2": "what counts as far",
            "0.3": "an edge of a bin",
        },
    ),
    Tables("docs/models/mol-lite.md", "| seconds, frames a second |", "## Recognition", ("real",)),
    Tables("docs/simulator.md", "| learned from |", "The second generation carries over", ("transfer_flow",)),
    Tables("docs/simulator.md", "Of 5,000 draws of each class", "`--shares balanced` takes", ("draws",)),
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


def part_of(quotes: Part) -> str:
    """The text between the marks; an error where it is no longer there."""
    text = (ROOT / quotes.document).read_text()
    begin = text.index(quotes.start)
    stop = text.find(quotes.end, begin + len(quotes.start))
    return text[begin : stop if stop >= 0 else len(text)]


def content_of(alias: str) -> Any:
    return json.loads((RESULTS / f"{FILES[alias]}.json").read_text())


def as_quoted(value: float, quoted: str) -> bool:
    """Whether the value, rounded to as many digits, is the quoted number."""
    digits = len(quoted.partition(".")[2])
    # Half a unit of the last digit, and a hair: 0.8875 may be quoted as 0.888 or 0.887.
    return abs(value - float(quoted)) <= 0.5 * 10**-digits + 1e-9


def at(path: str) -> float:
    """The value at `ALIAS/key/key`; a number is a place in a list."""
    alias, *keys = path.split("/")
    content = content_of(alias)
    for key in keys:
        content = content[int(key) if isinstance(content, list) else key]
    return float(content)


def wrong(text: str, paths: tuple[str, ...]) -> list[str]:
    """Numbers of the text that are not the values at the paths, one for one."""
    found = [(m[1], text[m.end() : m.end() + 2] == " %") for m in NUMBER.finditer(text)]
    if len(found) != len(paths):
        return [f"{len(found)} numbers, {len(paths)} paths"]
    return [
        f"{number} is not {path}"
        for (number, percent), path in zip(found, paths, strict=True)
        if path != GIVEN and not any(as_quoted(at(path) * scale, number) for scale in ((100,) if percent else (1, 100)))
    ]


def unknown(quotes: Tables, text: str) -> list[str]:
    """Numbers of the text that no source gives."""
    known = [v * scale for alias in quotes.sources for v in values(content_of(alias)) for scale in (1, 100, 1000)]
    missing = []
    for number in dict.fromkeys(NUMBER.findall(text)):
        if number in quotes.derived:
            above, below = (at(path) for path in quotes.derived[number])
            good = as_quoted(above / below, number)
        else:
            good = number in quotes.given or any(as_quoted(v, number) for v in known)
        if not good:
            missing.append(number)
    return missing


@pytest.mark.parametrize("quotes", EXACT, ids=lambda q: q.document)
def test_every_number_is_the_value_that_it_is_said_to_be(quotes: Exact) -> None:
    assert wrong(part_of(quotes), quotes.numbers) == []


@pytest.mark.parametrize("quotes", TABLES, ids=lambda q: q.start)
def test_numbers_in_long_tables_were_measured(quotes: Tables) -> None:
    text = part_of(quotes)
    assert NUMBER.findall(text), "the part quotes nothing; is it the right one?"
    assert unknown(quotes, text) == []


def test_a_number_that_nobody_measured_is_seen() -> None:
    accuracy = f"{SCORES}/accuracy/mean"  # 0.925
    assert wrong("accuracy 0.925, which is 93 %", (accuracy, accuracy)) == []
    assert wrong("accuracy 0.94", (accuracy,)) == [f"0.94 is not {accuracy}"]
    assert wrong("accuracy 0.93 and 0.5", (accuracy,)) == ["2 numbers, 1 paths"]
    assert unknown(TABLES[1], "landmarks 77.7 %, in 1.5e-3") == ["77.7"]


@pytest.mark.parametrize("row", content_of("models")["rows"], ids=lambda r: r["settings"]["preset"])
def test_the_networks_that_were_measured_are_those_of_today(row: dict[str, Any]) -> None:
    model = create_model(row["settings"]["preset"])
    assert row["figures"]["parameters_m"] == round(sum(p.numel() for p in model.parameters()) / 1e6, 3)


# The log is history: files that it names may have been replaced.
DOCUMENTS = [ROOT / "README.md", *(p for p in (ROOT / "docs").rglob("*.md") if p.name != "LOG.md")]
NAMED = {p: set(re.findall(r"[\w-]+-\d{4}-\d{2}-\d{2}(?=\.json)", p.read_text())) for p in DOCUMENTS}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_result_files_that_are_named_exist(document: Path) -> None:
    assert [name for name in NAMED[document] if not (RESULTS / f"{name}.json").is_file()] == []


def test_no_older_result_is_kept_unless_it_is_quoted() -> None:
    results = {p.stem: p.stem[: -len("-2026-11-26")] for p in RESULTS.glob("*.json")}
    newest = {name: max(stem for stem, of in results.items() if of == name) for name in results.values()}
    quoted = {*FILES.values(), *(name for names in NAMED.values() for name in names)}
    assert set(results) - set(newest.values()) - quoted == set()


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.json")), ids=lambda p: p.stem)
def test_every_result_belongs_to_a_commit(path: Path) -> None:
    content = json.loads(path.read_text())
    assert re.fullmatch("[0-9a-f]{7,40}", content.get("commit") or content["machine"]["commit"])


def test_the_alarms_of_the_weights_are_those_of_the_people_on_whom_rules_may_be_chosen() -> None:
    record, measured = read_record("mol-lite"), content_of("implants")
    points = measured["figures"]["thresholds"]["chosen"]
    assert "real video of 2 people" in record.scores["operating_points"]["on"]
    rates = [p["alarms_per_minute"] for p in record.scores["operating_points"]["points"]]
    assert rates == [p["elsewhere_a_minute"] for p in points] == [1.4, 1.4, 1.17, 1.17, 1.17, 0.93, 0.7, 0.23, 0.0]
    assert [threshold_for(record, bound) for bound in (5, 1.2, 1.0)] == [0.0, 0.3, 0.6]
    with pytest.raises(InputError, match=r"counted over 4\.29 minutes .* cannot tell rates below 0\.23"):
        threshold_for(record, 0.2)


def test_the_record_of_the_weights_carries_what_was_measured() -> None:
    measured = content_of("transfer")["figures"]["mol-lite"]
    assert {name: read_record("mol-lite").scores[name] for name in measured} == measured
