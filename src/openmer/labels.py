"""The field's terms: emotions, action units, and the protocols by which results are compared.

A protocol says which recordings count, which class each emotion becomes, and how many there must be, so that a missing
folder or a stray label is noticed before anything is trained. Each names its source; where the literature uses several
sets under one name, each has its own protocol.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from openmer.clip import Sample
from openmer.errors import InputError

THREE = ("negative", "positive", "surprise")
_SPELLINGS = {"other": "others", "happy": "happiness", "sad": "sadness", "surprised": "surprise", "fearful": "fear"}


def canonical_emotion(text: str) -> str:
    """In lower case, without surrounding spaces; `Other` and `Others` become the same."""
    plain = " ".join(text.split()).lower()
    return _SPELLINGS.get(plain, plain)


# Ekman, Friesen, Hager 2002.
UNIT_NAMES: Mapping[int, str] = {
    1: "inner brow raiser",
    2: "outer brow raiser",
    4: "brow lowerer",
    5: "upper lid raiser",
    6: "cheek raiser",
    7: "lid tightener",
    9: "nose wrinkler",
    10: "upper lip raiser",
    12: "lip corner puller",
    14: "dimpler",
    15: "lip corner depressor",
    16: "lower lip depressor",
    17: "chin raiser",
    18: "lip pucker",
    20: "lip stretcher",
    23: "lip tightener",
    24: "lip pressor",
    25: "lips part",
    26: "jaw drop",
    28: "lip suck",
    45: "blink",
}


@dataclass(frozen=True)
class ActionUnit:
    """One unit of the Facial Action Coding System.

    Attributes:
        number: such as 12.
        side: `L`, `R` (the subject's own), `T`, `B` (top, bottom), `A` (asymmetric), `U` (unilateral), or empty for
            both sides.
        intensity: `A` (trace) to `E` (maximum), or empty.
        certain: False if the coder gave it as one of several.
    """

    number: int
    side: str = ""
    intensity: str = ""
    certain: bool = True

    def __str__(self) -> str:
        return f"{self.side}{self.number}{self.intensity}{'' if self.certain else '?'}"


_UNIT = re.compile(r"(?<![A-Za-z0-9])(?:AU)?([LRTBUA]?)(\d{1,2})([A-E]?)(?![0-9a-z])")
_STRENGTH = re.compile(r":(\d+(?:\.\d+)?)\s*$")  # of the simulator, 0 to 1


def parse_action_units(cell: object) -> tuple[ActionUnit, ...]:
    """The units in a table's cell, such as `4+7`, `L12`, `AU12`, `15A+17`, `(R6 or R12)+R15`, `4D+ref(6)+43E`, or 12.

    The simulator's `R12:0.5+L12:0` also states the strength; a unit of strength 0 is left out.

    For `R6 or R12` both are returned, neither as certain; likewise `ref(6)` and `6?`, as `str` writes such a unit.
    Words that are not units are left out; `?` alone and an empty cell give none.
    """
    if cell is None or (isinstance(cell, float) and cell != cell):
        return ()
    text = str(int(cell)) if isinstance(cell, float) and cell == int(cell) else str(cell)
    found = []
    for part in re.split(r"[+,，;]", text):
        strength = _STRENGTH.search(part)
        if strength is not None:
            if not float(strength[1]):
                continue
            part = part[: strength.start()]
        matches = list(_UNIT.finditer(part.replace("/", " ")))
        certain = len(matches) == 1 and "ref" not in part.lower() and "?" not in part
        found += [ActionUnit(int(m[2]), m[1], m[3], certain) for m in matches]
    return tuple(found)


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

    def differences(self, found: Sequence[tuple[str, str, str]]) -> tuple[str, ...]:
        """What differs from the counts that the protocol requires; empty if they are met.

        Args:
            found: (dataset, subject, class) of each recording that counts.
        """
        said = []
        total = len(found)
        if self.totals and total not in self.totals:
            said.append(f"{total} recordings, expected {_either(self.totals)}")
        counts = Counter(label for _, _, label in found)
        for name, expected in self.per_class.items():
            if counts[name] not in expected:
                said.append(f"{name}: {counts[name]}, expected {_either(expected)}")
        people = {(dataset, subject) for dataset, subject, _ in found}
        if self.people is not None and len(people) != self.people:
            said.append(f"{len(people)} subjects, expected {self.people}")
        for key, expected in self.per_subject.items():
            there = Counter(label for dataset, subject, label in found if (dataset, subject) == key)
            of_subject = tuple(there[name] for name in self.classes)
            if of_subject != expected:
                wanted = ", ".join(f"{n} {c}" for n, c in zip(expected, self.classes, strict=True))
                got = ", ".join(f"{n} {c}" for n, c in zip(of_subject, self.classes, strict=True))
                said.append(f"{key[0]} subject {key[1]}: {got}; expected {wanted}")
        if self.per_subject:
            said += [f"{d} subject {s} should not be there" for d, s in sorted(people - set(self.per_subject))]
        return tuple(said)


def _either(numbers: Iterable[int]) -> str:
    return " or ".join(map(str, dict.fromkeys(numbers)))


def _same(*emotions: str) -> dict[str, str]:
    return {e: e for e in emotions}


def _counts(text: str, dataset: str) -> dict[tuple[str, str], tuple[int, ...]]:
    """`01 2 1 0, 02 5 1 3`: subject and the counts of negative, positive, surprise."""
    rows = (part.split() for part in text.split(","))
    return {(dataset, row[0]): tuple(int(v) for v in row[1:]) for row in rows}


_MEGC_CASME2 = {
    "disgust": "negative",
    "repression": "negative",
    "happiness": "positive",
    "surprise": "surprise",
}
_WIDE_CASME2 = {**_MEGC_CASME2, "sadness": "negative", "fear": "negative"}
_SAMM3 = {
    **dict.fromkeys(("anger", "contempt", "disgust", "fear", "sadness"), "negative"),
    "happiness": "positive",
    "surprise": "surprise",
}
_SMIC3 = _same(*THREE)
_CASME3 = {
    **dict.fromkeys(("disgust", "fear", "anger", "sadness"), "negative"),
    "happiness": "positive",
    "surprise": "surprise",
}
_NOT_IN_MEGC = frozenset({("04", "EP12_01f"), ("05", "EP09_05f"), ("24", "EP02_07")})
_MEGC = "See, Yap, Li, Hong, Wang: MEGC 2019, composite database evaluation"
_MOL_AUTHORS_CASME2 = frozenset(f"{n:02d}" for n in range(1, 27) if n != 18)
_CLIPS = "their scores count clips, not recordings; subject lists and order of classes as in their code"

# Recordings of each subject, (negative, positive, surprise), as the official list of MEGC 2019 has them.
_CASME2_SUBJECTS = _counts(
    "01 2 1 0, 02 5 1 3, 03 4 0 1, 04 2 0 0, 05 0 1 5, 06 1 1 2, 07 5 0 0, 08 1 0 0, 09 5 5 0, 11 4 0 0, 12 5 2 4, "
    "13 0 2 0, 14 0 3 0, 15 1 1 1, 16 1 2 0, 17 23 7 1, 19 3 3 5, 20 2 0 0, 21 1 0 0, 22 2 0 0, 23 7 1 0, 24 2 0 1, "
    "25 3 0 2, 26 9 2 0",
    "casme2",
)
_SAMM_SUBJECTS = _counts(
    "006 9 0 2, 007 1 5 2, 009 3 0 1, 010 4 0 0, 011 13 7 0, 012 2 0 1, 013 6 0 0, 014 2 7 1, 015 2 0 1, 016 2 1 2, "
    "017 3 0 1, 018 2 0 1, 019 0 1 0, 020 2 2 0, 021 2 0 0, 022 3 2 0, 023 1 0 0, 024 1 0 0, 026 9 0 0, 028 1 0 2, "
    "030 3 0 0, 031 1 0 0, 032 4 0 0, 033 4 1 0, 034 3 0 0, 035 7 0 1, 036 1 0 0, 037 1 0 0",
    "samm",
)
_SMIC_SUBJECTS = _counts(
    "s1 3 2 1, s2 0 1 5, s3 22 11 6, s4 10 4 5, s5 1 0 1, s6 2 0 2, s8 9 4 0, s9 0 1 3, s11 3 3 1, s12 0 8 1, "
    "s13 0 10 0, s14 3 2 5, s15 1 1 2, s18 2 0 5, s19 0 1 1, s20 14 3 5",
    "smic-hs",
)

_ALL = (
    Protocol(
        name="casme2-5",
        source="Yan et al. 2014; five classes with enough recordings, fear and sadness left out",
        classes=("disgust", "happiness", "others", "repression", "surprise"),
        mapping={"casme2": _same("disgust", "happiness", "others", "repression", "surprise")},
        totals=(246, 247),
        per_class={
            "others": (99,),
            "disgust": (63, 64),
            "happiness": (32,),
            "repression": (27,),
            "surprise": (25,),
        },
        people=26,
    ),
    Protocol(
        name="casme2-3",
        source=_MEGC,
        classes=THREE,
        mapping={"casme2": _MEGC_CASME2},
        excluded={"casme2": _NOT_IN_MEGC},
        totals=(145,),
        per_class={"negative": (88,), "positive": (32,), "surprise": (25,)},
        people=24,
        per_subject=_CASME2_SUBJECTS,
    ),
    Protocol(
        name="casme2-3-147",
        source="as MEGC 2019, no recording left out (148 with the later workbook's 24/EP02_07)",
        classes=THREE,
        mapping={"casme2": _MEGC_CASME2},
        totals=(147, 148),
        per_class={"negative": (90, 91), "positive": (32,), "surprise": (25,)},
        people=24,
    ),
    Protocol(
        name="casme2-3-156",
        source="sadness and fear are negative too, as MMNet and MOL have it (157 with the later workbook)",
        classes=THREE,
        mapping={"casme2": _WIDE_CASME2},
        totals=(156, 157),
        per_class={"negative": (99, 100), "positive": (32,), "surprise": (25,)},
        people=25,
    ),
    Protocol(
        name="samm-5",
        source="Davison et al. 2018; five classes with enough recordings",
        classes=("anger", "contempt", "happiness", "others", "surprise"),
        mapping={"samm": _same("anger", "contempt", "happiness", "others", "surprise")},
        totals=(136,),
        per_class={"anger": (57,), "happiness": (26,), "others": (26,), "surprise": (15,), "contempt": (12,)},
        people=27,
    ),
    Protocol(
        name="samm-3",
        source=_MEGC,
        classes=THREE,
        mapping={"samm": _SAMM3},
        totals=(133,),
        per_class={"negative": (92,), "positive": (26,), "surprise": (15,)},
        people=28,
        per_subject=_SAMM_SUBJECTS,
    ),
    Protocol(
        name="smic-hs-3",
        source="Li et al. 2013",
        classes=THREE,
        mapping={"smic-hs": _SMIC3},
        totals=(164,),
        per_class={"negative": (70,), "positive": (51,), "surprise": (43,)},
        people=16,
        per_subject=_SMIC_SUBJECTS,
    ),
    *(
        Protocol(
            name=f"smic-{camera}-3",
            source="Li et al. 2013; classes as in the HS recordings of the same eight subjects, which are 71 too",
            classes=THREE,
            mapping={f"smic-{camera}": _SMIC3},
            totals=(71,),
            per_class={"negative": (23,), "positive": (28,), "surprise": (20,)},
            people=8,
        )
        for camera in ("vis", "nir")
    ),
    Protocol(
        name="composite",
        source=_MEGC,
        classes=THREE,
        mapping={"smic-hs": _SMIC3, "casme2": _MEGC_CASME2, "samm": _SAMM3},
        excluded={"casme2": _NOT_IN_MEGC},
        totals=(442,),
        per_class={"negative": (250,), "positive": (109,), "surprise": (83,)},
        people=68,
        per_subject={**_SMIC_SUBJECTS, **_CASME2_SUBJECTS, **_SAMM_SUBJECTS},
    ),
    Protocol(
        name="casme3-3",
        source="Li et al. 2022 (part A, second release of the workbook); others left out",
        classes=THREE,
        mapping={"casme3": _CASME3},
        totals=(699,),
        per_class={"negative": (457,), "positive": (55,), "surprise": (187,)},
        people=88,
    ),
    Protocol(
        name="casme3-4",
        source="Li et al. 2022 (part A, second release of the workbook)",
        classes=(*THREE, "others"),
        mapping={"casme3": {**_CASME3, "others": "others"}},
        totals=(860,),
        per_class={"negative": (457,), "positive": (55,), "surprise": (187,), "others": (161,)},
        people=94,
    ),
    Protocol(
        name="casme3-7",
        source="Li et al. 2022 (part A, second release of the workbook)",
        classes=("anger", "disgust", "fear", "happiness", "others", "sadness", "surprise"),
        mapping={"casme3": _same("anger", "disgust", "fear", "happiness", "others", "sadness", "surprise")},
        totals=(860,),
        per_class={
            "disgust": (250,),
            "surprise": (187,),
            "others": (161,),
            "fear": (86,),
            "anger": (64,),
            "sadness": (57,),
            "happiness": (55,),
        },
        people=94,
    ),
    Protocol(
        name="casme-sq-3",
        source="Qu et al. 2018; the 57 micro-expressions without others",
        classes=THREE,
        mapping={"casme-sq": _same(*THREE)},
        totals=(38,),
        per_class={"negative": (21,), "positive": (8,), "surprise": (9,)},
    ),
    Protocol(
        name="mmew-6",
        source="Ben et al. 2021; others left out. Counts are not confirmed by a public list",
        classes=("anger", "disgust", "fear", "happiness", "sadness", "surprise"),
        mapping={"mmew": _same("anger", "disgust", "fear", "happiness", "sadness", "surprise")},
        totals=(234,),
        per_class={
            "happiness": (36,),
            "anger": (8,),
            "surprise": (89,),
            "disgust": (72,),
            "fear": (16,),
            "sadness": (13,),
        },
    ),
    Protocol(
        name="mmew-4",
        source="Ben et al. 2021. Counts are not confirmed by a public list",
        classes=("disgust", "happiness", "others", "surprise"),
        mapping={"mmew": _same("disgust", "happiness", "others", "surprise")},
        totals=(263,),
        per_class={"happiness": (36,), "surprise": (89,), "disgust": (72,), "others": (66,)},
    ),
    Protocol(
        name="mol-authors-casme2-3",
        source="the MOL authors' subject list: 25, with 10, without 18",
        classes=("surprise", "positive", "negative"),
        mapping={"casme2": _WIDE_CASME2},
        subjects={"casme2": _MOL_AUTHORS_CASME2},
        totals=(156, 157),
        per_class={"negative": (99, 100), "positive": (32,), "surprise": (25,)},
        people=25,
        comparable=_CLIPS + "; negative has sadness and fear, so there are 156 recordings and not 145",
    ),
    Protocol(
        name="mol-authors-casme2-5",
        source="the MOL authors' subject list: 25 of 26",
        classes=("surprise", "happiness", "disgust", "repression", "others"),
        mapping={"casme2": _same("disgust", "happiness", "others", "repression", "surprise")},
        subjects={"casme2": _MOL_AUTHORS_CASME2},
        totals=(243, 244),
        per_class={
            "others": (96,),
            "disgust": (63, 64),
            "happiness": (32,),
            "repression": (27,),
            "surprise": (25,),
        },
        people=25,
        comparable=_CLIPS + "; subject 18 is missing, whose three recordings are others",
    ),
    Protocol(
        name="mol-authors-samm-3",
        source="the MOL authors' subject list: 28",
        classes=("surprise", "positive", "negative"),
        mapping={"samm": _SAMM3},
        totals=(133,),
        per_class={"negative": (92,), "positive": (26,), "surprise": (15,)},
        people=28,
        comparable=_CLIPS,
    ),
    Protocol(
        name="mol-authors-samm-5",
        source="the MOL authors' subject list; it also names 036, who has no recording in these classes",
        classes=("surprise", "happiness", "anger", "contempt", "others"),
        mapping={"samm": _same("anger", "contempt", "happiness", "others", "surprise")},
        totals=(136,),
        per_class={"anger": (57,), "happiness": (26,), "others": (26,), "surprise": (15,), "contempt": (12,)},
        people=27,
        comparable=_CLIPS,
    ),
    Protocol(
        name="mol-authors-smic-3",
        source="the MOL authors' subject list: 16",
        classes=("surprise", "positive", "negative"),
        mapping={"smic-hs": _SMIC3},
        totals=(164,),
        per_class={"negative": (70,), "positive": (51,), "surprise": (43,)},
        people=16,
        comparable=_CLIPS,
    ),
)
PROTOCOLS: dict[str, Protocol] = {p.name: p for p in _ALL}


def protocol(name: str) -> Protocol:
    """The protocol of this name.

    Raises:
        InputError: there is no protocol of this name.
    """
    if name not in PROTOCOLS:
        raise InputError(f"there is no protocol {name!r}; choose {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]
