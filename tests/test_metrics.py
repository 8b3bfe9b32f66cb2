"""Metrics against numbers worked out by hand, and against scikit-learn."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scoring import failure_rate, strs
from sklearn import metrics as reference

from openmer import InputError
from openmer.evaluation.metrics import (
    ClassScores,
    Prediction,
    bootstrap,
    class_scores,
    confusion_matrix,
    detection_scores,
    endpoint_error,
    landmark_errors,
    moving_pixels,
    spread,
)
from openmer.evaluation.summary import summarise


def said(truth: int, predicted: int, subject: str = "s", classes: int = 3) -> Prediction:
    probabilities = tuple(0.8 if k == predicted else 0.1 for k in range(classes))
    return Prediction(dataset="d", subject=subject, sample="v", truth=truth, probabilities=probabilities)


def test_three_classes_by_hand() -> None:
    scores = ClassScores(np.array([[2, 1, 0], [1, 3, 0], [0, 1, 0]]))
    assert scores.accuracy == 5 / 8
    np.testing.assert_allclose(scores.recall, [2 / 3, 3 / 4, 0])
    np.testing.assert_allclose(scores.f1, [2 / 3, 2 / 3, 0])
    assert scores.uar == pytest.approx((2 / 3 + 3 / 4) / 3) and scores.uf1 == pytest.approx(4 / 9)
    assert scores.wf1 == pytest.approx((3 * 2 / 3 + 4 * 2 / 3) / 8)
    assert math.isnan(scores.precision[2])


def test_an_absent_class_is_left_out_of_means() -> None:
    scores = ClassScores(np.array([[2, 0, 0], [0, 1, 0], [0, 0, 0]]))
    assert scores.uf1 == 1 and scores.uar == 1 and math.isnan(scores.f1[2])
    # Predicted once where there is none: it counts, with 0.
    assert ClassScores(np.array([[1, 0, 1], [0, 1, 0], [0, 0, 0]])).uf1 == pytest.approx((2 / 3 + 1 + 0) / 3)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30))
def test_the_same_as_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    truth, predicted = zip(*pairs, strict=True)
    scores = ClassScores(confusion_matrix(truth, predicted, 4))
    there = sorted({*truth, *predicted})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert scores.uf1 == pytest.approx(reference.f1_score(truth, predicted, labels=there, average="macro"))
        assert scores.wf1 == pytest.approx(reference.f1_score(truth, predicted, average="weighted"))
        assert scores.uar == pytest.approx(reference.balanced_accuracy_score(truth, predicted))
    assert scores.accuracy == pytest.approx(reference.accuracy_score(truth, predicted))


def test_counts_are_pooled_before_ratios() -> None:
    """One subject shows one class, another the other: means of folds would depend on how 0/0 is taken."""
    rows = [said(0, 0, "a"), said(0, 1, "a"), said(1, 1, "b"), said(2, 2, "b")]
    assert class_scores(rows, 3).uf1 == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)


def test_detection_takes_all_other_classes_together() -> None:
    row = Prediction(dataset="d", subject="s", sample="v", truth=2, probabilities=(0.4, 0.3, 0.3))
    assert row.predicted == 0, "none is likeliest of the three"
    assert detection_scores([row], none=0).accuracy == 1, "but something is likelier than none"


def test_bootstrap_draws_people() -> None:
    rows = [said(0, 0, "a")] * 50 + [said(0, 1, "b")] * 50
    low, high = bootstrap(rows, lambda part: class_scores(part, 3).accuracy, times=200)
    assert (low, high) == (0.0, 1.0), "two people: all right, or all wrong"
    with pytest.raises(InputError):
        bootstrap([], lambda _: 0.0)


def test_endpoint_error_and_moving_pixels_by_hand() -> None:
    truth = np.zeros((1, 2, 2, 2), np.float32)
    truth[0, :, 0, 0] = [3, 4]  # 5 px
    truth[0, :, 0, 1] = [0.3, 0]  # less than a tenth of it
    guess = np.zeros_like(truth)
    np.testing.assert_allclose(endpoint_error(guess, truth)[0], [[5, 0.3], [0, 0]], rtol=1e-6)
    assert moving_pixels(truth)[0].tolist() == [[True, False], [False, False]]
    assert not moving_pixels(np.full((2, 4, 4), 0.001, np.float32)).any()


def test_landmark_errors_by_hand() -> None:
    truth = np.zeros((2, 68, 2), np.float32)
    truth[:, 45, 0] = 50  # 36 at 0: the outer eye corners are 50 px apart
    points = truth.copy()
    points[0] += [3, 4]
    points[1] += [6, 8]
    errors = landmark_errors(points, truth)
    np.testing.assert_allclose(errors, [0.1, 0.2], rtol=1e-6)
    assert failure_rate(errors, at=0.15) == 0.5


def test_strs_by_hand() -> None:
    # Precision: class 0 1/1, class 1 1/2; recall: 1/2 and 1/1 -> both means .75.
    assert strs(0.4, [0, 0, 1], [0, 1, 1], 2) == pytest.approx(0.4 * 0.75)


def test_spread_by_hand() -> None:
    found = spread([1.0, 2.0, 3.0])
    assert found == {"mean": 2.0, "sd": 1.0, "n": 3} and spread([1.0])["sd"] is None
    with pytest.raises(InputError, match="do not belong together"):
        confusion_matrix([0], [0, 1], 2)


def test_the_interval_of_uf1_keeps_a_class_that_a_resample_lacks() -> None:
    """Ten people are right on two classes; the third, of an eleventh, is always missed: at most two thirds."""
    rows = [said(k % 2, k % 2, f"p{k}") for k in range(10)] + [said(2, 0, "p10")]
    low, high = summarise(rows, ("a", "b", "c"), (0,))["scores"]["uf1"]["interval_95_over_subjects"]
    assert low < class_scores(rows, 3).uf1 < high <= 2 / 3
