"""Human annotation as a timeline with intervals of one kind: from ELAN, a table, or a timeline."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

from openmer.errors import InputError
from openmer.exchange.elan import read_elan
from openmer.exchange.table import read_table
from openmer.timeline import Timeline, read_timeline

TABLES = (".csv", ".tsv", ".xlsx")


def read_truth(path: Path | str, tier: str | None = None, video: str | None = None) -> Timeline:
    """Read the annotation of a video.

    Args:
        path: an .eaf file; a table with onset_s and offset_s, or events exported from BORIS; or a timeline.json.
        tier: tier of the .eaf file; for a table or a timeline, the label that counts. May be omitted if there is only
            one.
        video: name of the file that was analysed, to which the times refer.

    Raises:
        InputError: it cannot be read, or there is no such tier or label; the message lists the existing ones.
    """
    path = Path(path)
    ending = path.suffix.lower()
    if ending == ".eaf":
        return read_elan(path, tier, video)
    if ending == ".json":
        return _of_one_label(read_timeline(path), tier, path)
    if ending in TABLES:
        return _of_one_label(read_table(path, video), tier, path)
    raise InputError(f"the truth must be an ELAN .eaf, a table ({', '.join(TABLES)}) or a timeline .json, got {path}")


def _of_one_label(timeline: Timeline, label: str | None, path: Path) -> Timeline:
    counts = Counter(i.label for i in timeline)
    tiers = ", ".join(f"{name} ({count})" for name, count in counts.items()) or "none at all"
    if label is None and len(counts) > 1:
        raise InputError(f"{path} has several labels, so one has to be named (--tier); labels: {tiers}")
    if label is not None and label not in counts:
        raise InputError(f"{path} has nothing labelled {label!r}; labels: {tiers}")
    chosen = next(iter(counts), "") if label is None else label
    told = {"source": path.name, "tier": chosen}
    if path.suffix.lower() != ".json":  # an analysis has warnings of its own
        told |= {key: value for key, value in timeline.provenance.items() if key == "warnings"}
    return replace(timeline, intervals=timeline.labelled(chosen), provenance=told)
