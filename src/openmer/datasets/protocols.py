"""The protocols by which results are compared; `protocols.toml` holds them.

A protocol says which recordings count, which class each emotion becomes, and how many there must be, so that a missing
folder or an unknown label is noticed before anything is trained. Each names its source; where the literature uses
several sets under one name, each has its own protocol.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import msgspec

from openmer.clip import Sample
from openmer.errors import InputError
from openmer.facs import canonical_emotion

THREE = ("negative", "positive", "surprise")
FILE = Path(__file__).with_name("protocols.toml")
SAME = "same"  # the classes are the dataset's own emotions

Key = tuple[str, str]  # subject, name of the recording


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Which recordings of which datasets become which classes.

    Attributes:
        name: as on the command line.
        source: who defined it.
        classes: in the order of the outputs.
        mapping: dataset -> emotion -> class; emotions not listed are left out.
        excluded: dataset -> recordings that are left out, (subject, name).
        subjects: dataset -> the only subjects that count; all if not listed.
        totals: allowed numbers of recordings; more than one if the released workbooks differ.
        per_class: class -> how many, for each of the totals.
        people: number of subjects.
        per_subject: (dataset, subject) -> recordings of each class, where known.
        comparable: why its results are not comparable with those of others; empty if they are.
    """

    name: str
    source: str
    classes: tuple[str, ...]
    mapping: Mapping[str, Mapping[str, str]]
    excluded: Mapping[str, frozenset[Key]] = field(default_factory=dict)
    subjects: Mapping[str, frozenset[str]] = field(default_factory=dict)
    totals: tuple[int, ...] = ()
    per_class: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    people: int | None = None
    per_subject: Mapping[tuple[str, str], tuple[int, ...]] = field(default_factory=dict)
    comparable: str = ""

    def label(self, dataset: str, subject: str, name: str, emotion: str | None) -> str | None:
        """The class of a recording, or None if it does not count."""
        if emotion is None or dataset not in self.mapping or (subject, name) in self.excluded.get(dataset, ()):
            return None
        allowed = self.subjects.get(dataset)
        if allowed is not None and subject not in allowed:
            return None
        return self.mapping[dataset].get(canonical_emotion(emotion))

    def of(self, samples: Iterable[Sample]) -> Iterator[tuple[Sample, str]]:
        """The recordings that count, with their class; macro-expressions never do."""
        for sample in samples:
            if sample.kind != "micro":
                continue
            label = self.label(sample.dataset, sample.subject, sample.name, sample.label)
            if label is not None:
                yield sample, label

    def differences(self, counted: Sequence[tuple[str, str, str]]) -> tuple[str, ...]:
        """What differs from the counts that the protocol requires; empty if they are met.

        Args:
            counted: (dataset, subject, class) of each recording that counts.
        """
        differing = []
        total = len(counted)
        if self.totals and total not in self.totals:
            differing.append(f"{total} recordings, expected {_either(self.totals)}")
        counts = Counter(label for _, _, label in counted)
        for name, expected in self.per_class.items():
            if counts[name] not in expected:
                differing.append(f"{name}: {counts[name]}, expected {_either(expected)}")
        people = {(dataset, subject) for dataset, subject, _ in counted}
        if self.people is not None and len(people) != self.people:
            differing.append(f"{len(people)} subjects, expected {self.people}")
        for (dataset, subject), expected in self.per_subject.items():
            of_subject = Counter(label for d, s, label in counted if (d, s) == (dataset, subject))
            numbers = tuple(of_subject[name] for name in self.classes)
            if numbers != expected:
                read, wanted = self._per_class(numbers), self._per_class(expected)
                differing.append(f"{dataset} subject {subject}: {read}; expected {wanted}")
        if self.per_subject:
            differing += [f"{d} subject {s} should not be there" for d, s in sorted(people - set(self.per_subject))]
        return tuple(differing)

    def _per_class(self, numbers: Sequence[int]) -> str:
        return ", ".join(f"{number} {label}" for number, label in zip(numbers, self.classes, strict=True))


def _either(numbers: Iterable[int]) -> str:
    return " or ".join(map(str, dict.fromkeys(numbers)))


class _Entry(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A protocol as the file has it: emotions and lists of subjects are named, not repeated."""

    name: str
    source: str
    classes: tuple[str, ...]
    emotions: dict[str, str]
    excluded: dict[str, frozenset[Key]] = {}
    subjects: dict[str, frozenset[str]] = {}
    totals: tuple[int, ...]
    per_class: dict[str, tuple[int, ...]]
    people: int | None = None
    per_subject: tuple[str, ...] = ()
    comparable: str = ""


class _File(msgspec.Struct, forbid_unknown_fields=True):
    emotions: dict[str, dict[str, tuple[str, ...]]]
    subjects: dict[str, dict[str, tuple[int, ...]]]
    protocol: list[_Entry]


def read_protocols(content: bytes) -> dict[str, Protocol]:
    """The protocols of a file, by name.

    Args:
        content: TOML, as in `protocols.toml`.

    Raises:
        InputError: a value has the wrong type, or a name refers to nothing.
    """
    try:
        file = msgspec.toml.decode(content, type=_File)
        return {entry.name: _protocol(entry, file) for entry in file.protocol}
    except msgspec.MsgspecError as error:
        raise InputError(f"the protocols cannot be read: {error}") from error
    except KeyError as error:
        raise InputError(f"a protocol refers to {error}, which the file does not have") from error


def _protocol(entry: _Entry, file: _File) -> Protocol:
    mapping = {
        dataset: {name: name for name in entry.classes}
        if group == SAME
        else {emotion: label for label, emotions in file.emotions[group].items() for emotion in emotions}
        for dataset, group in entry.emotions.items()
    }
    return Protocol(
        name=entry.name,
        source=entry.source,
        classes=entry.classes,
        mapping=mapping,
        excluded=entry.excluded,
        subjects=entry.subjects,
        totals=entry.totals,
        per_class=entry.per_class,
        people=entry.people,
        per_subject={(d, s): counts for d in entry.per_subject for s, counts in file.subjects[d].items()},
        comparable=entry.comparable,
    )


@cache
def protocols() -> Mapping[str, Protocol]:
    """All protocols by name."""
    return read_protocols(FILE.read_bytes())


def protocol(name: str) -> Protocol:
    """The protocol of this name.

    Raises:
        InputError: there is no protocol of this name.
    """
    known = protocols()
    if name not in known:
        raise InputError(f"there is no protocol {name!r}; choose {', '.join(known)}")
    return known[name]
