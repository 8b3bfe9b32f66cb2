"""Who is trained on and who is judged. Indices only; nobody is on both sides.

A person is identified by (dataset, subject): all clips of a person stay together.
"""

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from openmer.clip import alike
from openmer.errors import InputError

if TYPE_CHECKING:
    from openmer.models.weights import ModelCard

Indices = npt.NDArray[np.int64]


class Clipped(Protocol):
    """What a split has to know about a clip."""

    @property
    def dataset(self) -> str: ...  # noqa: D102

    @property
    def person(self) -> tuple[str, str]: ...  # noqa: D102

    @property
    def frames_digest(self) -> str: ...  # noqa: D102


@dataclass(frozen=True, eq=False)
class Fold:
    """One division into training and held-out clips.

    Attributes:
        name: who is held out.
        train: indices, ascending.
        test: indices, ascending.
    """

    name: str
    train: Indices
    test: Indices


def leave_one_subject_out(clips: Sequence[Clipped]) -> tuple[Fold, ...]:
    """LOSO: as many folds as people, each held out once.

    Raises:
        InputError: there are fewer than two people, or a leak.
    """
    return _folds(clips, [c.person for c in clips], "subjects", lambda person: "/".join(person))


def leave_one_dataset_out(clips: Sequence[Clipped]) -> tuple[Fold, ...]:
    """As many folds as datasets.

    Raises:
        InputError: there are fewer than two datasets, or a leak.
    """
    return _folds(clips, [c.dataset for c in clips], "datasets", str)


def subject_kfold(clips: Sequence[Clipped], folds: int, *, seed: int = 0) -> tuple[Fold, ...]:
    """People dealt into `folds` groups of nearly equal size, each held out once.

    Raises:
        InputError: there are fewer people than folds, fewer than two folds, or a leak.
    """
    people = sorted({c.person for c in clips})
    if not 2 <= folds <= len(people):
        raise InputError(f"{len(people)} subjects cannot be dealt into {folds} folds")
    order = np.random.default_rng(seed).permutation(len(people))
    group = {people[int(p)]: k % folds for k, p in enumerate(order)}
    return _folds(clips, [group[c.person] for c in clips], "groups", lambda k: f"fold {k + 1} of {folds}")


def check_leak(clips: Sequence[Clipped], fold: Fold) -> None:
    """Refuse a fold in which something is both learned from and judged.

    Raises:
        InputError: a clip, a person (also in another spelling), or a clip with the same frames is on both sides.
    """
    both = np.intersect1d(fold.train, fold.test)
    if len(both):
        raise InputError(f"{fold.name}: {len(both)} clips are on both sides of the split")
    trained = [clips[int(k)] for k in fold.train]
    tested = [clips[int(k)] for k in fold.test]
    people = {c.person for c in trained} & {c.person for c in tested}
    if people:
        named = ", ".join("/".join(p) for p in sorted(people)[:3])
        raise InputError(f"{fold.name}: the subject {named} is on both sides of the split")
    spelled = {(dataset, alike(subject)): subject for dataset, subject in (c.person for c in trained)}
    for dataset, subject in {c.person for c in tested}:
        other = spelled.get((dataset, alike(subject)))
        if other is not None:
            raise InputError(
                f"{fold.name}: {dataset}/{other} and {dataset}/{subject} look like one person, on both sides of "
                "the split; write the name one way and prepare the store anew"
            )
    by_digest = {c.frames_digest: c for c in trained}
    for clip in tested:
        if clip.frames_digest in by_digest:
            twin = by_digest[clip.frames_digest]
            raise InputError(
                f"{fold.name}: the same frames are on both sides of the split, as {'/'.join(twin.person)} and as "
                f"{'/'.join(clip.person)}"
            )


def check_unseen(record: "ModelCard", name: str, people: Iterable[tuple[str, str]]) -> None:
    """Refuse to judge on people whom the weights have seen.

    Args:
        record: of the weights; if it does not say whom they have seen, nobody is refused.
        name: of the weights, for the message.
        people: (dataset, subject) of everyone who would be judged.

    Raises:
        InputError: there are some.
    """
    known = record.known(people)
    if known:
        more = f" and {len(known) - 3} more" if len(known) > 3 else ""
        raise InputError(
            f"{name} was trained on people who would be judged here ({', '.join(known[:3])}{more}), so the scores "
            "would be for faces that it knows; use other weights, or clips of others (openmer prepare-simulated draws "
            "other people with another --seed)"
        )


def _folds(
    clips: Sequence[Clipped], groups: Sequence[Hashable], what: str, name: Callable[[Any], str]
) -> tuple[Fold, ...]:
    kinds = sorted(set(groups), key=str)
    if len(kinds) < 2:
        raise InputError(f"a split needs at least two {what}, there is {len(kinds)}")
    folds = []
    for kind in kinds:
        held = np.array([g == kind for g in groups])
        fold = Fold(name(kind), np.flatnonzero(~held), np.flatnonzero(held))
        check_leak(clips, fold)
        folds.append(fold)
    return tuple(folds)
