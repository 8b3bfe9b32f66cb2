"""Nobody and nothing is on both sides."""

from dataclasses import dataclass

import numpy as np
import pytest

from openmer import InputError
from openmer.clips.store import Entry
from openmer.evaluation.splits import (
    Fold,
    check_leak,
    leave_one_dataset_out,
    leave_one_subject_out,
    subject_kfold,
)


@dataclass(frozen=True)
class C:
    dataset: str
    subject: str
    frames_digest: str

    @property
    def person(self) -> tuple[str, str]:
        return (self.dataset, self.subject)


CLIPS = [C("a", "1", "w"), C("a", "2", "x"), C("a", "1", "y"), C("b", "1", "z")]


def test_loso_by_hand() -> None:
    folds = leave_one_subject_out(CLIPS)
    assert [(f.name, f.test.tolist(), f.train.tolist()) for f in folds] == [
        ("a/1", [0, 2], [1, 3]),
        ("a/2", [1], [0, 2, 3]),
        ("b/1", [3], [0, 1, 2]),
    ]


def test_the_same_people_filmed_for_two_datasets_are_held_out_together() -> None:
    names = [("smic-hs", "s11"), ("smic-vis", "s11"), ("smic-hs", "s12"), ("casme2", "s11")]
    clips = [
        Entry(key=str(k), number=0, dataset=d, subject=s, sample="v", label=None, frames_digest=str(k))
        for k, (d, s) in enumerate(names)
    ]
    folds = leave_one_subject_out(clips)
    assert [(f.name, f.test.tolist()) for f in folds] == [("casme2/s11", [3]), ("smic/s11", [0, 1]), ("smic/s12", [2])]
    with pytest.raises(InputError, match="the subject smic/s11 is on both sides"):
        leave_one_dataset_out(clips)


def test_leave_one_dataset_out_by_hand() -> None:
    assert [(f.name, f.test.tolist()) for f in leave_one_dataset_out(CLIPS)] == [("a", [0, 1, 2]), ("b", [3])]


def test_kfold_holds_every_subject_out_once_and_keeps_them_whole() -> None:
    clips = [C("a", str(k % 7), str(k)) for k in range(40)]
    folds = subject_kfold(clips, 3, seed=1)
    assert sorted(np.concatenate([f.test for f in folds]).tolist()) == list(range(40))
    for fold in folds:
        assert not {clips[k].subject for k in fold.train} & {clips[k].subject for k in fold.test}
        assert len({clips[k].subject for k in fold.test}) in (2, 3)


def test_a_subject_on_both_sides_is_refused() -> None:
    with pytest.raises(InputError, match="the subject a/1 is on both sides"):
        check_leak(CLIPS, Fold("planted", np.array([0, 1]), np.array([2, 3])))
    with pytest.raises(InputError, match="1 clips are on both sides"):
        check_leak(CLIPS, Fold("planted", np.array([0, 1]), np.array([1])))


def test_a_subject_in_another_spelling_on_both_sides_is_refused() -> None:
    """Of two tables, prepared into one store one after the other."""
    clips = [C("a", "01", "w"), C("a", "2", "x"), C("a", "1.0", "y"), C("b", "1", "z")]
    with pytest.raises(InputError, match=r"a/(01|1\.0) and a/(01|1\.0) look like one person"):
        leave_one_subject_out(clips)
    assert len(leave_one_subject_out(clips[1:])) == 3


def test_the_same_frames_under_two_names_are_refused() -> None:
    clips = [C("a", "1", "same"), C("a", "2", "x"), C("b", "9", "same")]
    with pytest.raises(InputError, match="same frames are on both sides"):
        leave_one_subject_out(clips)


def test_what_cannot_be_split_is_refused() -> None:
    with pytest.raises(InputError, match="at least two subjects"):
        leave_one_subject_out(CLIPS[1:2])
    with pytest.raises(InputError, match="at least two datasets"):
        leave_one_dataset_out(CLIPS[:2])
    with pytest.raises(InputError, match="3 subjects cannot be dealt into 4"):
        subject_kfold(CLIPS, 4)
