"""Human annotation as a timeline with intervals of one kind: from ELAN, a table, or a timeline."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

from openmer.errors import InputError
from openmer.exchange.elan import read_elan
from openmer.exchange.table import read_csv
from openmer.timeline import Timeline, read_timeline

READERS = {".eaf": read_elan, ".csv": read_csv, ".json": read_timeline}


def read_truth(path: Path | str, tier: str | None = None) -> Timeline:
    """Read the annotation of a video.

    Args:
        path: an .eaf file, a .csv table with onset_s and offset_s, or a timeline.json.
        tier: tier of the .eaf file; for a table or a timeline, the label that counts. May be omitted if there is only
            one.

    Raises:
        InputError: it cannot be read, or there is no such tier or label; the message lists the existing ones.
    """
    path = Path(path)
    ending = path.suffix.lower()
    if ending not in READERS:
        raise InputError(f"the truth must be an ELAN .eaf, a .csv or a timeline .json, got {path}")
    if ending == ".eaf":
        return read_elan(path, tier)
    return _of_one_label(read_csv(path) if ending == ".csv" else read_timeline(path), tier, path)


def _of_one_label(timeline: Timeline, label: str | None, path: Path) -> Timeline:
    counts = Counter(i.label for i in timeline)
    there = ", ".join(f"{name} ({count})" for name, count in counts.items()) or "none at all"
    if label is None and len(counts) > 1:
        raise InputError(f"{path} has several labels, so one has to be named (--tier); labels: {there}")
    if label is not None and label not in counts:
        raise InputError(f"{path} has nothing labelled {label!r}; labels: {there}")
    chosen = next(iter(counts), "") if label is None else label
    return replace(timeline, intervals=timeline.labelled(chosen), provenance={"source": path.name, "tier": chosen})
