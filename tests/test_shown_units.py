"""Drawn expressions have the units, sides and timing of the tables that they follow."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from openmer import InputError
from openmer.simulator.facial_motion import draw_expression
from openmer.simulator.generate import emotion_of
from openmer.simulator.settings import SimulateSettings, dataset_settings
from openmer.simulator.shown_units import (
    EMOTION_COUNTS,
    NEGATIVE,
    TABLES,
    TIMINGS,
    class_draws,
    draw_timing,
    draw_units,
    emotion_draws,
    one_sided_share,
)

CLASSES = [(dataset, label) for dataset, tables in TABLES.items() for label in tables]
DRAWS = 3000
# The table's own numbers disagree: twelve of the 26 clips are left for 15 units, of which 7 are lip corner pullers.
SPARE = {("samm", "positive"): 0.08}


@pytest.mark.parametrize(("dataset", "label"), CLASSES)
def test_units_and_combinations_are_as_frequent_as_in_the_table(dataset: str, label: str) -> None:
    rng, table = np.random.default_rng(0), TABLES[dataset][label]
    emotions = NEGATIVE if label == "negative" else ("happiness" if label == "positive" else "surprise",)
    drawn = [draw_units(rng, dataset, emotions[k % len(emotions)]) for k in range(DRAWS)]
    spare = SPARE.get((dataset, label), 0.0)
    for unit, share in table.shares.items():
        assert np.mean([unit in units for units in drawn]) == pytest.approx(share, abs=0.03 + spare), unit
    counts = Counter(drawn)
    for units, clips in table.combinations.items():
        assert counts[units] / DRAWS == pytest.approx(clips / table.clips, abs=0.03), units
    assert np.mean([len(units) for units in drawn]) == pytest.approx(table.units_a_clip, abs=0.06 + 3 * spare)


def test_what_a_table_leaves_open_by_hand() -> None:
    """SAMM's surprise: 15 clips, 8 with 5 alone and 2 with 1+2; of the other five, 5 and 1 and 2 are in one each."""
    draws = class_draws("samm", "surprise")
    probability = dict(zip(draws.sets, draws.probability, strict=True))
    assert probability[5,] == pytest.approx(8 / 15) and probability[1, 2] == pytest.approx(2 / 15)
    others = {s: p for s, p in probability.items() if s not in ((5,), (1, 2))}
    assert sum(others.values()) == pytest.approx(5 / 15)
    assert sum(p for s, p in others.items() if 5 in s) == pytest.approx(1 / 15, abs=1e-3)


def test_emotions_of_a_class_differ_and_together_are_the_class() -> None:
    whole = class_draws("dfme", "negative").probability
    each = [emotion_draws("dfme", emotion).probability for emotion in NEGATIVE]
    np.testing.assert_allclose(np.mean(each, 0), whole, atol=1e-3)
    sets = class_draws("dfme", "negative").sets

    def share(emotion: str, unit: int) -> float:
        draws = emotion_draws("dfme", emotion)
        return float(sum(p for s, p in zip(draws.sets, draws.probability, strict=True) if unit in s))

    assert share("contempt", 14) > 2 * share("fear", 14) and share("disgust", 10) > 2 * share("fear", 10)
    assert (4, 7) in sets
    sided = [one_sided_share("dfme", emotion) for emotion in NEGATIVE]
    assert np.mean(sided) == pytest.approx(TABLES["dfme"]["negative"].one_sided)
    assert max(sided) == one_sided_share("dfme", "contempt")


def test_others_show_what_the_classes_show_and_boredom_is_refused() -> None:
    draws = emotion_draws("casme2", "others")
    assert draws.probability.sum() == pytest.approx(1) and (4, 7) in draws.sets and (1, 2) in draws.sets
    with pytest.raises(InputError, match="boredom"):
        emotion_draws("casme2", "boredom")


@pytest.mark.parametrize("dataset", TIMINGS)
def test_rise_fall_and_whole_last_as_long_as_in_the_table(dataset: str) -> None:
    rng, timing = np.random.default_rng(1), TIMINGS[dataset]
    drawn = np.array([draw_timing(rng, dataset) for _ in range(DRAWS)])
    wanted = ((drawn[:, 0], timing.rise), (drawn[:, 1], timing.fall), (drawn.sum(1), timing.whole))
    for values, percentiles in wanted:
        got = np.percentile(values, (5, 25, 50, 75, 95))
        # Whole is rise and fall together; the table has its own percentiles of it.
        np.testing.assert_allclose(got, percentiles, atol=0.05, rtol=0.1)
    assert (drawn.sum(1) > 0.5).mean() == pytest.approx(timing.long, abs=0.03)


def test_as_many_are_one_sided_as_were_coded() -> None:
    rng = np.random.default_rng(2)
    for dataset, emotion, share in (
        ("casme2", "surprise", 0.56),
        ("samm", "surprise", 0.07),
        ("dfme", "happiness", 0.17),
    ):
        sided = 0
        for _ in range(500):
            event = draw_expression(rng, emotion, 0.1, like=dataset)  # type: ignore[arg-type]
            both = [event.units[unit] for unit in event.coded]
            sided += any(min(pair) < 0.36 * max(pair) for pair in both)
        assert sided / 500 == pytest.approx(share, abs=0.08)


def test_slow_fades_are_a_kind_of_their_own() -> None:
    rng = np.random.default_rng(3)
    kinds = [draw_expression(rng, "disgust", 0.0, like="casme3") for _ in range(300)]
    fades = [e for e in kinds if e.kind == "fade"]
    assert 0.56 < len(fades) / 300 < 0.76
    assert all(e.offset_s > 0.5 and e.apex_s < 0.4 for e in fades)
    # Half of the way back is done early: it lingers.
    event = fades[0]
    middle = np.array([(event.apex_s + event.offset_s) / 2])
    assert event.curve(middle)[0] < 0.5
    assert all(e.kind == "micro" for e in (draw_expression(rng, "anger", 0.0, like="samm") for _ in range(100)))


def test_a_simulated_dataset_has_as_many_people_and_recordings_as_the_one_it_is_like() -> None:
    settings = replace(dataset_settings("casme2"), seed=5)
    assert settings.subjects == 26 and len(settings.numbers) == sum(EMOTION_COUNTS["casme2"].values()) == 255
    counts = Counter(emotion_of(settings, *numbers) for numbers in settings.numbers)
    assert counts == EMOTION_COUNTS["casme2"]
    per_person = Counter(subject for subject, _ in settings.numbers)
    assert set(per_person.values()) == {9, 10}


def test_natural_shares_are_those_of_the_dataset_and_a_quarter_is_none() -> None:
    settings = SimulateSettings(like="samm", shares="natural")
    counts = Counter(emotion_of(settings, subject, sample) for subject in range(300) for sample in range(10))
    assert counts["none"] / 3000 == pytest.approx(0.25, abs=0.03)
    # `others` is not among the emotions that are drawn by default: 57 of 133 are angry.
    assert counts["anger"] / 3000 == pytest.approx(0.75 * 57 / 133, abs=0.03) and "others" not in counts
    with pytest.raises(InputError, match="smic has none of the emotions anger"):
        SimulateSettings(like="smic", shares="natural", emotions=("anger",))
    with pytest.raises(InputError, match="like must be one of casme2"):
        SimulateSettings(like="ck")  # type: ignore[arg-type]
