"""What is said of several seeds' predictions, on numbers made by hand."""

from pathlib import Path

import pytest
from scoring import flow_over_seeds, landmarks_over_seeds, recall_by_motion, recognition_over_seeds

from clipsets import shifting_store
from openmer.evaluation.metrics import Prediction
from openmer.training.data import ClipData

CLASSES = ("left", "none", "right")
LEFT, NONE, RIGHT = range(3)


def said(truth: int, predicted: int, subject: str = "s0", sample: str = "v0") -> Prediction:
    sure = tuple(0.8 if k == predicted else 0.1 for k in range(3))
    return Prediction(
        dataset="shifting", subject=subject, sample=sample, fold="", seed=0, truth=truth, probabilities=sure
    )


def test_scores_of_two_seeds_by_hand() -> None:
    first = [said(LEFT, LEFT), said(LEFT, RIGHT), said(RIGHT, RIGHT), said(NONE, NONE)]  # 3 of 4; all detected
    second = [said(LEFT, LEFT), said(LEFT, NONE), said(RIGHT, NONE), said(NONE, NONE)]  # 2 of 4; 2 are missed
    found = recognition_over_seeds([first, second], CLASSES)
    assert found["accuracy"]["mean"] == pytest.approx((0.75 + 0.5) / 2)
    assert found["accuracy"]["sd"] == pytest.approx(0.25 / 2**0.5)
    assert found["detection_accuracy"]["mean"] == pytest.approx((1 + 0.5) / 2)
    assert found["confusion_of_the_first_seed"]["rows_are_true"] == [[1, 0, 1], [0, 1, 0], [0, 0, 1]]


def test_recall_by_motion_by_hand(tmp_path: Path) -> None:
    store = shifting_store(tmp_path / "store", subjects=1)  # 7 steps of a pixel each: 7 px in all four clips
    data = ClipData(store, store.entries, CLASSES)
    names = [(LEFT, LEFT, "v0"), (RIGHT, LEFT, "v1"), (LEFT, NONE, "v2"), (RIGHT, RIGHT, "v3")]
    run = [said(truth, predicted, sample=sample) for truth, predicted, sample in names]
    found = recall_by_motion([run, run], data)
    assert found == {"3 px and more": {"clips": 4, "found": 0.75, "named_rightly": 0.5}}


def test_landmarks_of_two_seeds_by_hand() -> None:
    names = ("nme_mean", "nme_median", "failures_at_10_percent", "frames")
    one, two = (dict(zip(names, values, strict=True)) for values in ((0.03, 0.02, 0.0, 7), (0.05, 0.04, 0.1, 7)))
    found = landmarks_over_seeds([one, two])
    assert found["nme_mean"]["mean"] == pytest.approx(0.04)
    assert found["nme_mean"]["sd"] == pytest.approx(0.02 / 2**0.5)
    assert found["failures_at_10_percent"]["mean"] == pytest.approx(0.05) and found["frames"] == 7


def test_flow_of_two_seeds_by_hand() -> None:
    one, two = ({"network": px} for px in (0.1, 0.3))
    found = flow_over_seeds(
        [
            {"all": one, "far": one, "moving": one | {"tvl1": 0.5}, "by_motion": {"0 to 1 px": one}},
            {"all": two, "far": two, "moving": two, "by_motion": {"0 to 1 px": two}},
        ]
    )
    assert found["moving"] == {"network": 0.1, "tvl1": 0.5}
    over = found["network_over_seeds"]
    for value in (over["all"], over["moving"], over["far"], over["by_motion"]["0 to 1 px"]):
        assert value["mean"] == pytest.approx(0.2) and value["sd"] == pytest.approx(0.2 / 2**0.5)
