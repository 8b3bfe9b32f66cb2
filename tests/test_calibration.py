"""Probabilities that mean what they say, and answers that keep what is promised: by hand."""

import json
import shutil
from dataclasses import asdict, replace
from importlib import resources
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from calibrate import calibrate, main

from clipsets import shifting_store
from footage import smirk, write_video
from openmer import Interval, Timeline, create_model, read_record, save_model
from openmer.cli.videos import _summary
from openmer.errors import InputError
from openmer.evaluation.calibration import (
    answers,
    choose_threshold,
    cross_entropy,
    design_effect,
    fit_temperature,
    lower_bound,
    tempered,
)
from openmer.evaluation.metrics import Prediction
from openmer.exchange.events import described
from openmer.models.engine import Engine, provenance_of
from openmer.models.weights import ModelCard, ModelDescription, Unsure
from openmer.timeline import CANDIDATE, Window
from openmer.video.analyze import _asked, analyze
from openmer.video.recognition import apply_network
from openmer.video.settings import AnalyzeSettings

CLASSES = ("negative", "none", "positive")


def prediction(*probabilities: float, truth: int = 0, person: int = 0) -> Prediction:
    return Prediction(dataset="d", subject=f"s{person}", sample="v", truth=truth, probabilities=probabilities)


def test_the_temperature_by_hand() -> None:
    """Sure to 0.9 and right 3 times of 4: 0.75 is meant. The logit ln 9 has to become ln 3, so T = ln 9 / ln 3 = 2."""
    found = [prediction(0.9, 0.1, truth=k // 3) for k in range(4)]
    assert fit_temperature(found) == pytest.approx(2, abs=1e-3)
    assert tempered(found, 2)[0] == pytest.approx([0.75, 0.25])
    assert cross_entropy(found) == pytest.approx(-(3 * np.log(0.9) + np.log(0.1)) / 4)
    assert cross_entropy(found, 2) == pytest.approx(-(3 * np.log(0.75) + np.log(0.25)) / 4)
    # Shy ones are made surer: 0.6 that is right 9 times of 10; T = ln 1.5 / ln 9.
    shy = [prediction(0.6, 0.4, truth=k // 9) for k in range(10)]
    assert fit_temperature(shy) == pytest.approx(np.log(1.5) / np.log(9), abs=1e-3)


def test_a_class_that_was_impossible_and_true_is_a_finite_mistake() -> None:
    assert cross_entropy([prediction(1.0, 0.0, truth=1)]) == pytest.approx(-np.log(1e-12))


def test_predictions_that_determine_no_temperature_are_refused() -> None:
    with pytest.raises(InputError, match="these 3 predictions determine no temperature"):
        fit_temperature([prediction(0.9, 0.1)] * 3)
    with pytest.raises(InputError, match="these 2 predictions determine no temperature"):
        fit_temperature([prediction(0.9, 0.1, truth=k) for k in range(2)])
    with pytest.raises(InputError, match="there are no predictions"):
        fit_temperature([])


def test_the_answer_is_the_one_that_a_timeline_gives() -> None:
    """`none` is the answer only if it is likelier than all expressions together."""
    shown = prediction(0.35, 0.4, 0.25, truth=0)
    not_shown = prediction(0.2, 0.6, 0.2, truth=1)
    largest, right = answers([shown, not_shown, replace(shown, truth=1)], CLASSES, 1.0)
    assert largest.tolist() == [0.4, 0.6, 0.4] and right.tolist() == [True, True, False]


def test_bounds_by_hand() -> None:
    assert lower_bound(29, 29, 0.95) == pytest.approx(0.05 ** (1 / 29)), "all right: p to the power of n is 0.05"
    assert lower_bound(0, 5, 0.95) == 0
    # One of two right: 1 - (1 - p)^2 = 0.05.
    assert lower_bound(1, 2, 0.95) == pytest.approx(1 - 0.95**0.5)


def test_videos_of_a_person_count_as_far_as_they_differ() -> None:
    """Four people, two videos each, all or none right: 4/3 * 4 * 1^2 / 8^2 = 1/12, where independent ones have 1/32."""
    right = np.array([1, 1, 1, 1, 0, 0, 0, 0], bool)
    assert design_effect(right, [0, 0, 1, 1, 2, 2, 3, 3]) == pytest.approx(32 / 12)
    assert design_effect(right, [0, 1, 2, 3, 0, 1, 2, 3]) == 1, "one of two right in each: more alike than by chance"
    assert design_effect(right, [0] * 8) == design_effect(right[:4], [0, 1, 2, 3]) == 1


def ranked(right: int, people: int = 100) -> list[Prediction]:
    """100 videos, sure to 0.99, 0.985, ... 0.495; the surest are right."""
    rows = [0.99 - 0.005 * k for k in range(100)]
    return [prediction(p, 0, 1 - p, truth=0 if k < right else 1, person=k % people) for k, p in enumerate(rows)]


def test_the_threshold_by_hand() -> None:
    """60 right in a row show 0.005^(1/60) = 0.916 (a tenth of 0.05); 50 only 0.899; of 70, ten are wrong."""
    found = choose_threshold(ranked(60), CLASSES, 0.9, on="made")
    assert found == Unsure(threshold=0.695, accuracy=0.9, confidence=0.95, answered=0.6, on="made")
    # A milder promise: 60 of 70 show 0.72, 60 of 80 show 0.60.
    assert choose_threshold(ranked(60), CLASSES, 0.7).answered == 0.7
    assert choose_threshold(ranked(100), CLASSES, 0.9).answered == 1


def test_what_cannot_be_promised_is_refused() -> None:
    with pytest.raises(
        InputError, match=r"0\.95 cannot be promised from 100 videos of 100 people: at best, 1\.000 of 60"
    ):
        choose_threshold(ranked(60), CLASSES, 0.95)
    # Three people whose videos are all right, two whose are all wrong: one video each would do as well.
    alike = [replace(p, subject=f"s{k // 20}") for k, p in enumerate(ranked(60))]
    with pytest.raises(InputError, match=r"0\.9 cannot be promised from 100 videos of 5 people"):
        choose_threshold(alike, CLASSES, 0.9)
    for accuracy in (0.0, 1.0):
        with pytest.raises(InputError, match="between 0 and 1"):
            choose_threshold(ranked(60), CLASSES, accuracy)


def test_the_temperature_moves_the_threshold_with_the_probabilities() -> None:
    """The 60th is sure to 0.695; with T = 2, odds of 0.695 / 0.305 have their root: 0.6015."""
    found = choose_threshold(ranked(60), CLASSES, 0.9, temperature=2)
    assert found.threshold == pytest.approx(0.6015, abs=1e-4) and found.answered == 0.6


RULE = Unsure(threshold=0.7, accuracy=0.9, confidence=0.95, answered=0.5, on="videos made by hand")


def card(**more: Any) -> ModelCard:
    return replace(read_record("mol-lite"), **({"classes": CLASSES, "temperature": None, "unsure": None} | more))


def judged(record: ModelCard, **probabilities: float) -> Interval:
    found = Interval(label=CANDIDATE, onset_s=0.4, apex_s=0.5, offset_s=0.6)
    window = Window(start_s=0, end_s=1, start_frame=0, end_frame=30, probabilities=probabilities)
    return apply_network(found, [window], Engine("x", record, None), 0.5)  # type: ignore[arg-type]


def test_a_candidate_below_the_threshold_is_unsure_and_nothing_else_changes() -> None:
    low = {"negative": 0.2, "none": 0.11, "positive": 0.69}
    without, unsure = judged(card(), **low), judged(card(unsure=RULE), **low)
    assert without.unsure is None and unsure.unsure is True
    assert replace(unsure, unsure=None) == without and unsure.expression == "positive"
    sure = judged(card(unsure=RULE), negative=0.2, none=0.1, positive=0.7)
    assert sure.unsure is False
    assert described(unsure) == "candidate: p(expression)=0.89 (unsure)"
    assert described(sure) == "candidate: p(expression)=0.90"


def test_a_timeline_keeps_it_beside_the_probabilities() -> None:
    low = {"negative": 0.2, "none": 0.11, "positive": 0.69}
    timeline = Timeline(intervals=(judged(card(unsure=RULE), **low),), start_s=0, end_s=1)
    (again,) = Timeline.from_json(timeline.to_json())
    assert again.unsure is True and again.probabilities == low
    header, row = timeline.to_csv().splitlines()
    assert header.endswith(",p_negative,p_none,p_positive,unsure") and row.endswith(",0.2,0.11,0.69,yes")
    plain = Timeline(intervals=(judged(card(), **low),), start_s=0, end_s=1).to_csv()
    assert plain.splitlines()[0].endswith(",p_negative,p_none,p_positive")


def test_the_card_divides_the_logits() -> None:
    logits = np.log(np.array([[0.9, 0.09, 0.01]], np.float32))
    without = Engine("x", card(), None).probabilities(logits)  # type: ignore[arg-type]
    assert without[0] == pytest.approx([0.9, 0.09, 0.01])
    roots = np.sqrt([0.9, 0.09, 0.01])
    halved = Engine("x", card(temperature=2.0), None).probabilities(logits)  # type: ignore[arg-type]
    assert halved[0] == pytest.approx(roots / roots.sum())
    assert "unsure" not in provenance_of("x", card()) and "temperature" not in provenance_of("x", card())
    said = provenance_of("x", card(temperature=2.0, unsure=RULE))
    assert said["temperature"] == 2 and said["unsure"] == asdict(RULE)


def test_the_command_line_counts_them() -> None:
    about = {"frames_with_face": 30, "trained_on": "nothing"}
    rows = [judged(card(unsure=RULE), negative=1 - p, none=0.0, positive=p) for p in (0.6, 0.65, 0.9)]
    window = Window(start_s=0, end_s=1, start_frame=0, end_frame=30, probabilities={"none": 1.0})
    timeline = Timeline(intervals=tuple(rows), start_s=0, end_s=1, windows=(window,), provenance=about)
    assert _summary(timeline).endswith("trained on nothing; it is unsure about 2 of the 3")
    sure = replace(timeline, intervals=(rows[2],))
    assert _summary(sure).endswith("trained on nothing")


def test_a_report_says_unsure(tmp_path: Path) -> None:
    """The shipped weights, with a record that asks for more than they can be sure of."""
    shipped = Path(str(resources.files("openmer"))) / "weights"
    weights = Path(shutil.copy(shipped / "mol-lite.safetensors", tmp_path))
    content = json.loads((shipped / "mol-lite.json").read_text())
    content |= {"temperature": 4.0, "unsure": asdict(RULE) | {"threshold": 0.999}}
    weights.with_suffix(".json").write_text(json.dumps(content))
    video = write_video(tmp_path / "talk.mp4", smirk(30, 0.4, 0.3, 2.0, 1.6), 30)
    settings = AnalyzeSettings(engine=str(weights), overlay=False, expression_threshold=0)
    timeline = analyze(video, tmp_path / "out", settings)
    found = timeline.labelled(CANDIDATE)
    assert found and all(i.unsure for i in found)
    assert timeline.provenance["temperature"] == 4 and timeline.provenance["unsure"]["threshold"] == 0.999
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<th>answer</th>" in page and page.count("</td><td>unsure</td>") == len(found)
    assert "On\nvideos made by hand, at least 90 % of the other answers were right" in page


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "fresh.safetensors"
    save_model(
        create_model("mol-lite", num_classes=2),
        path,
        ModelDescription(classes=("left", "right"), trained_on="nothing"),
    )
    return path


def test_a_record_holds_both_or_says_what_is_wrong(weights: Path) -> None:
    path = weights.with_suffix(".json")
    content = json.loads(path.read_text())
    without = {k: v for k, v in content.items() if k not in ("temperature", "unsure")}
    path.write_text(json.dumps(without))
    assert read_record(weights).temperature is None and read_record(weights).unsure is None
    path.write_text(json.dumps(without | {"temperature": 1.5, "unsure": asdict(RULE)}))
    assert read_record(weights).temperature == 1.5 and read_record(weights).unsure == RULE
    path.write_text(json.dumps(without | {"temperature": 0.0}))
    with pytest.raises(InputError, match="its temperature must be above 0"):
        read_record(weights)
    path.write_text(json.dumps(without | {"unsure": asdict(RULE) | {"threshold": 1.5}}))
    with pytest.raises(InputError, match="its threshold of unsure must lie between 0 and 1"):
        read_record(weights)


def evaluation(folder: Path, found: list[Prediction]) -> Path:
    """As `openmer loso` leaves it."""
    fold = folder / "folds" / "seed0" / "everybody"
    fold.mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps({"classes": ["left", "right"]}))
    rows = [asdict(p) for p in found]
    (fold / "predictions.json").write_text(json.dumps({"digest": "d", "predictions": rows}))
    return folder


def test_predictions_of_an_evaluation_fit_the_record(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """400 people, sure to 0.9 and right in 3 of 4: T = 2, so all are sure to 0.75; 0.95 of them is never shown."""
    found = [prediction(0.9, 0.1, truth=int(k % 4 == 3), person=k) for k in range(400)]
    again = [replace(p, seed=1, truth=0) for p in found]
    folder = evaluation(tmp_path / "loso", [*found, *again])
    before = weights.with_suffix(".json").read_text()
    with pytest.raises(InputError, match=r"0\.95 cannot be promised from 400 videos of 400 people"):
        calibrate([folder], str(weights), 0.95, 0.95)
    assert weights.with_suffix(".json").read_text() == before, "nothing is written"
    calibrate([folder], str(weights), 0.65, 0.95)
    record = read_record(weights)
    assert record.temperature == pytest.approx(2, abs=1e-3) and record.unsure is not None
    assert record.unsure.threshold == pytest.approx(0.75, abs=1e-3) and record.unsure.answered == 1
    assert record.unsure.on == "400 videos of 400 people (loso)"
    assert "400 of 400 answered, 300 of these right" in capsys.readouterr().out
    calibrate([folder], str(weights), 0, 0.95)
    assert read_record(weights).unsure is None, "it belonged to the other temperature"


def test_a_store_is_judged_and_people_are_fitted_on_or_checked_on(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = shifting_store(tmp_path / "store", subjects=2, clips=2).root
    with pytest.raises(InputError, match="is among the people to fit on and to check on"):
        calibrate([store], str(weights), 0.9, 0.95, [store])
    with pytest.raises(SystemExit, match=r"error: .*nothing"):
        main((tmp_path / "nothing",), str(weights))
    with pytest.raises(InputError, match="give stores of clips of people left out"):
        calibrate([], str(weights), 0.9, 0.95)
    (store / "unfinished").touch()
    with pytest.raises(InputError, match="store is incomplete: repeat the command"):
        calibrate([store], str(weights), 0.9, 0.95)
    (store / "unfinished").unlink()
    found = [prediction(0.9, 0.1, truth=int(k % 4 == 3), person=k) for k in range(400)]
    calibrate([evaluation(tmp_path / "loso", found)], str(weights), 0.65, 0.95, [store])
    assert "of 4 answered" in capsys.readouterr().out


def test_weights_that_have_seen_somebody_are_refused(weights: Path, tmp_path: Path) -> None:
    path = weights.with_suffix(".json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"people": ["shifting/s*"]}))
    with pytest.raises(InputError, match="was trained on people who would be judged here"):
        calibrate([shifting_store(tmp_path / "store", subjects=2, clips=2).root], str(weights), 0.9, 0.95)


@pytest.mark.parametrize("alike", [0.0, 0.2])
def test_the_promise_is_kept_on_new_people(alike: float) -> None:
    """60 people, four videos each, drawn 200 times: an answer is right with its own probability, and people differ."""
    broken = made = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        sure = rng.uniform(0.5, 1, 240)
        own = np.repeat(rng.uniform(-alike, alike, 60), 4)
        right = rng.random(240) < np.clip(sure + own, 0, 1)
        rows = [
            prediction(p, 1 - p, truth=int(not r), person=k // 4)
            for k, (p, r) in enumerate(zip(sure, right, strict=True))
        ]
        try:
            found = choose_threshold(rows, ("a", "b"), 0.75)
        except InputError:
            continue
        new = rng.uniform(found.threshold, 1, 20_000)
        accuracy = np.clip(new + rng.uniform(-alike, alike, 20_000), 0, 1).mean()
        made, broken = made + 1, broken + int(accuracy < 0.75)
    assert made > 100 and broken <= 0.05 * 200


def test_a_moment_that_is_asked_for_has_units_and_may_be_unsure() -> None:
    window = Window(
        start_s=0,
        end_s=1,
        start_frame=0,
        end_frame=30,
        probabilities={"negative": 0.6, "none": 0.4, "positive": 0.0},
        action_units={"AU4": 0.8},
    )
    measured = SimpleNamespace(signals=SimpleNamespace(times_s=np.arange(31) / 30, frames=np.arange(31)))
    for rule, unsure in ((RULE, True), (replace(RULE, threshold=0.5), False), (None, None)):
        engine = Engine("x", card(unsure=rule), None)  # type: ignore[arg-type]
        person = SimpleNamespace(measured=measured, recognition=SimpleNamespace(engine=engine))
        timeline = Timeline(intervals=(), start_s=0.0, end_s=1.0, windows=(window,))
        found = _asked(0.5, SimpleNamespace(timeline=timeline, person=person))
        assert found.unsure is unsure and found.action_units == {"AU4": 0.8} and found.apex_frame == 15
