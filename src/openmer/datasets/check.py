"""Whether a dataset on disk is complete: what was found, what is wrong, and whether a protocol's counts are met."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from openmer.clip import Sample
from openmer.datasets.base import Dataset, Finding
from openmer.datasets.protocols import Protocol, protocols
from openmer.datasets.registry import COMPOSITE, samples_of
from openmer.datasets.settings import PrepareSettings
from openmer.datasets.trees import frame_files
from openmer.errors import InputError, OutputError
from openmer.files import write_atomic

TILE = (160, 120)  # px, width and height
MAX_PICTURES = 40
COLUMNS = 8


@dataclass(frozen=True)
class Check:
    """What was found.

    Attributes:
        datasets: as read.
        samples: all recordings that can be used.
        findings: what is wrong, dataset by dataset.
        rules: each protocol that these datasets can be judged by, with the differences from its counts.
    """

    datasets: tuple[Dataset, ...]
    samples: tuple[Sample, ...]
    findings: tuple[Finding, ...]
    rules: dict[str, tuple[str, ...]]

    def counts(self) -> dict[str, Counter[str]]:
        """Dataset -> label -> recordings; macro-expressions are counted separately."""
        counts = {d.name: Counter[str]() for d in self.datasets}
        for sample in self.samples:
            label = sample.label or "no label"
            counts[sample.dataset][label if sample.kind == "micro" else f"{label} (macro)"] += 1
        return counts


def check(datasets: Sequence[Dataset]) -> Check:
    """Count, and compare with every protocol that needs exactly these datasets."""
    samples = samples_of(tuple(datasets))
    names = {d.name for d in datasets}
    rules = {
        rule.name: rule.differences([(s.dataset, s.subject, label) for s, label in rule.of(samples)])
        for rule in protocols().values()
        if set(rule.mapping) == names
    }
    return Check(tuple(datasets), samples, tuple(f for d in datasets for f in d.findings), rules)


def shorter_than_a_clip(samples: Sequence[Sample]) -> tuple[Sample, ...]:
    """Micro-expressions whose interval has fewer frames than a clip: prepared only with interpolation."""
    frames = PrepareSettings().frames
    return tuple(s for s in samples if s.kind == "micro" and _frames(s, frames) < frames)


def _frames(sample: Sample, enough: int) -> int:
    """How many a recording has from onset to offset; of what is not annotated or long, just that it is enough."""
    if sample.onset is None or sample.offset is None:
        return enough
    spanned = sample.offset - sample.onset + 1
    if spanned >= 4 * enough or not sample.source.is_dir():  # so many missing pictures are a finding of their own
        return spanned
    return sum(sample.onset <= number <= sample.offset for number in frame_files(sample.source))


def default_protocol(name: str) -> str | None:
    """The protocol by which a dataset is judged by default; None if only intervals are annotated."""
    if name == COMPOSITE:
        return COMPOSITE
    return next((rule.name for rule in protocols().values() if set(rule.mapping) == {name}), None)


def chosen_protocol(checked: Check, protocol: Protocol) -> tuple[str, ...]:
    """The differences from this protocol's counts.

    Raises:
        InputError: the protocol is for other datasets.
    """
    if protocol.name not in checked.rules:
        known = ", ".join(checked.rules) or "there is none"
        raise InputError(
            f"the protocol {protocol.name} is for {', '.join(protocol.mapping)}; for what was read choose: {known}"
        )
    return checked.rules[protocol.name]


def contact_sheet(samples: Sequence[Sample]) -> npt.NDArray[np.uint8]:
    """(H, W, 3) BGR: apex frames of recordings spread over all of them, each with subject and label."""
    chosen = [
        samples[k] for k in np.unique(np.linspace(0, len(samples) - 1, min(MAX_PICTURES, len(samples))).astype(int))
    ]
    tiles = [_tile(sample) for sample in chosen]
    columns = min(COLUMNS, len(tiles))
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % columns)
    rows = [np.concatenate(tiles[k : k + columns], 1) for k in range(0, len(tiles), columns)]
    return np.asarray(np.concatenate(rows, 0), np.uint8)


def _tile(sample: Sample) -> npt.NDArray[np.uint8]:
    width, height = TILE
    tile = np.full((height + 26, width, 3), 255, np.uint8)
    image = _picture(sample)
    if image is not None:
        scale = min(width / image.shape[1], height / image.shape[0])
        size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        left, top = (width - size[0]) // 2, (height - size[1]) // 2
        tile[top : top + size[1], left : left + size[0]] = small
    for k, text in enumerate((f"{sample.dataset} {sample.subject}/{sample.name}", sample.label or "")):
        place = (2, height + 10 + 12 * k)
        cv2.putText(tile, text[:28], place, cv2.FONT_HERSHEY_SIMPLEX, 0.35, (0, 0, 0), 1, cv2.LINE_AA)
    return tile


def _picture(sample: Sample) -> npt.NDArray[np.uint8] | None:
    """The picture whose name ends in the apex's number."""
    wanted = sample.onset if sample.apex is None else sample.apex
    path = None if wanted is None else frame_files(sample.source).get(wanted)
    image = None if path is None else cv2.imread(str(path), cv2.IMREAD_COLOR)
    return None if image is None else np.asarray(image, np.uint8)


def write_contact_sheet(samples: Sequence[Sample], path: Path) -> None:
    """Write the contact sheet as PNG; files of other types are never replaced.

    Raises:
        InputError: there are no recordings.
        OutputError: it cannot be written.
    """
    if path.suffix.lower() != ".png":
        raise OutputError(f"the contact sheet is a picture: --sheet must end in .png, got {path.name}")
    if not samples:
        raise InputError("there is no recording to show")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, cv2.imencode(".png", contact_sheet(samples))[1].tobytes())
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
