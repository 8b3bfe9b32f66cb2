"""ELAN annotation files (.eaf): write a timeline as one, and read one of its tiers as a timeline.

The format is EAF 3.0 (Max Planck Institute for Psycholinguistics, EAFv3.0.xsd): tiers of annotations between time
slots in whole milliseconds of the media. Python's own XML modules suffice. A document type declaration is refused
before any of it is processed, so no entity is expanded and nothing outside the file is opened.
"""

import mimetypes
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn
from xml.etree.ElementTree import Element, SubElement, TreeBuilder, indent, tostring
from xml.parsers import expat

from openmer.errors import InputError
from openmer.exchange.events import described, lanes, milliseconds, moments, printable
from openmer.exchange.media import is_of, other_media, plain_name
from openmer.timeline import MAX_S, Interval, Timeline
from openmer.version import __version__

AUTHOR = "openmer"
FORMAT = "3.0"
SCHEMA_URL = "http://www.mpi.nl/tools/elan/EAFv3.0.xsd"
MOMENTS = "moments"
MOMENT_MS = 40  # ELAN has no point events: a key moment begins at its millisecond and lasts this long
UNITS = "milliseconds"
PROVENANCE_KEYS = ("engine", "trained_on", "caution")  # the parts of the provenance that are included

Span = tuple[int, int, str]  # begin and end in milliseconds, and words


def to_elan(timeline: Timeline, media: str | None = None) -> bytes:
    """The content of an .eaf file: a tier for each label, one for times without a face, one for key moments.

    Args:
        timeline: timeline of one video.
        media: path of the video relative to the folder of the .eaf file, with forward slashes; None for no media.
    """
    tiers = {label: [(*milliseconds(i), described(i)) for i in lane] for label, lane in lanes(timeline).items()}
    return elan_document(tiers, timeline, media)


def elan_document(tiers: Mapping[str, list[Span]], timeline: Timeline, media: str | None = None) -> bytes:
    """The content of an .eaf file with these tiers, and one for the key moments of the timeline's intervals.

    Args:
        tiers: name -> spans in order of time that do not overlap.
        timeline: intervals whose onset, apex and offset are key moments, and the provenance.
        media: as in `to_elan`.
    """
    name = MOMENTS
    while name in tiers:
        name += "'"
    tiers = {**tiers, name: _moment_spans(timeline)}
    root = Element(
        "ANNOTATION_DOCUMENT",
        {
            "AUTHOR": f"{AUTHOR} {__version__}",
            "DATE": datetime.now(UTC).isoformat(timespec="seconds"),
            "FORMAT": FORMAT,
            "VERSION": FORMAT,
            "xmlns:xsi": "http://www.w3.org/2001/XMLSchema-instance",
            "xsi:noNamespaceSchemaLocation": SCHEMA_URL,
        },
    )
    _add_header(root, timeline.provenance, media, sum(map(len, tiers.values())))
    _add_tiers(root, tiers, moments_tier=name)
    for kind in ("interval", "moment"):
        SubElement(
            root,
            "LINGUISTIC_TYPE",
            {"LINGUISTIC_TYPE_ID": kind, "TIME_ALIGNABLE": "true", "GRAPHIC_REFERENCES": "false"},
        )
    indent(root)
    return bytes(tostring(root, encoding="UTF-8", xml_declaration=True))


def media_path(video: Path, out: Path) -> str:
    """The video's path as an .eaf file at `out` states it: relative to its folder, so that both can move together."""
    try:
        path = Path(os.path.relpath(video.absolute(), out.absolute().parent)).as_posix()
    except ValueError:  # on different Windows drives there is no relative path
        return video.absolute().as_posix()
    return path if path.startswith("../") else f"./{path}"


def _moment_spans(timeline: Timeline) -> list[Span]:
    points = moments(timeline)
    following = [at for at, _ in points[1:]]
    ends = [min(at + MOMENT_MS, after) for (at, _), after in zip(points, following, strict=False)]
    ends += [at + MOMENT_MS for at, _ in points[-1:]]
    return [(at, end, words) for (at, words), end in zip(points, ends, strict=True)]


def _add_header(root: Element, provenance: Mapping[str, Any], media: str | None, annotations: int) -> None:
    header = SubElement(root, "HEADER", {"MEDIA_FILE": "", "TIME_UNITS": UNITS})
    if media is not None:
        kind = mimetypes.guess_type(media)[0] or "unknown"
        described_media = {"MEDIA_URL": media, "MIME_TYPE": kind, "RELATIVE_MEDIA_URL": media}
        SubElement(header, "MEDIA_DESCRIPTOR", {key: printable(value) for key, value in described_media.items()})
    properties = {f"openmer {key}": provenance[key] for key in PROVENANCE_KEYS if provenance.get(key)}
    for key, value in {"lastUsedAnnotationId": annotations, **properties}.items():
        SubElement(header, "PROPERTY", {"NAME": key}).text = printable(str(value))


def _add_tiers(root: Element, tiers: Mapping[str, list[Span]], *, moments_tier: str) -> None:
    """Add time slots in order, then the tiers. Each annotation has its own slots, so that moving one moves no other."""
    order = SubElement(root, "TIME_ORDER")
    spans = [(tier, k, span) for tier, spans_of_tier in tiers.items() for k, span in enumerate(spans_of_tier)]
    ends = sorted((span[side], side, tier, k) for tier, k, span in spans for side in (0, 1))
    slots = {(tier, k, side): f"ts{number}" for number, (_, side, tier, k) in enumerate(ends, start=1)}
    for at, side, tier, k in ends:
        SubElement(order, "TIME_SLOT", {"TIME_SLOT_ID": slots[tier, k, side], "TIME_VALUE": str(at)})
    number = 0
    for tier, spans_of_tier in tiers.items():
        kind = "moment" if tier == moments_tier else "interval"
        element = SubElement(root, "TIER", {"LINGUISTIC_TYPE_REF": kind, "TIER_ID": printable(tier)})
        for k, (_, _, words) in enumerate(spans_of_tier):
            number += 1
            annotation = SubElement(
                SubElement(element, "ANNOTATION"),
                "ALIGNABLE_ANNOTATION",
                {
                    "ANNOTATION_ID": f"a{number}",
                    "TIME_SLOT_REF1": slots[tier, k, 0],
                    "TIME_SLOT_REF2": slots[tier, k, 1],
                },
            )
            SubElement(annotation, "ANNOTATION_VALUE").text = printable(words)


@dataclass(frozen=True)
class Tier:
    """One tier of an .eaf file.

    Attributes:
        name: as it is called in the file.
        intervals: its annotations; labels as in `read_elan`, no apex.
        words: what each annotation says, whole.
        moments: (seconds, words) of the annotations of the tier of key moments.
        end_s: where the last annotation of the file ends.
        warnings: whole sentences.
    """

    name: str
    intervals: tuple[Interval, ...]
    words: tuple[str, ...]
    moments: tuple[tuple[float, str], ...]
    end_s: float
    warnings: tuple[str, ...] = ()


def read_elan(path: Path | str, tier: str | None = None, video: str | None = None) -> Timeline:
    """Read one tier of an .eaf file.

    An interval's label is the text of its annotation up to a colon or, if that is empty, the name of the tier. Of a
    file that OpenMER wrote, NAME 2, NAME 3 and so on, on which is what overlaps, are read with the tier NAME. ELAN
    does not store the length of the video: the timeline ends where the last annotation in the file does.

    Args:
        path: path of the file.
        tier: name of the tier; may be omitted if only one tier has annotations.
        video: name of the file that was analysed, to which the times refer: media in one .eaf may start at different
            moments. If the .eaf names other media only, `provenance` has a warning.

    Annotations without times of their own get those that ELAN shows them at: of a tier that divides another one
    symbolically, an even share of their parent; between slots with times, an even share of the stretch. How many there
    are stands in a warning in `provenance`.

    Raises:
        InputError: the file is not an .eaf, has no such tier (the message lists the existing ones), an annotation has
            no time and none follows, or its media start at different moments and none is the video.
    """
    read = read_tier(path, tier, video)
    told: dict[str, Any] = {"source": Path(path).name, "tier": read.name}
    return Timeline(
        intervals=read.intervals,
        start_s=0.0,
        end_s=read.end_s,
        provenance=told | ({"warnings": list(read.warnings)} if read.warnings else {}),
    )


def read_tier(path: Path | str, tier: str | None = None, video: str | None = None) -> Tier:
    """Read one tier of an .eaf file with all that its annotations say; arguments and errors as in `read_elan`."""
    path = Path(path)
    root = _parsed(path)
    if root.tag != "ANNOTATION_DOCUMENT":
        raise InputError(f"{path} is not an ELAN file: it begins with {root.tag}, not ANNOTATION_DOCUMENT")
    origin, warnings = _origin(root, video, path)
    times = _slots(root, origin, path)
    element = _chosen(root, tier, path)
    spans, name = _spans(root, times), element.get("TIER_ID", "")
    annotations = [a for each in _with_lanes(root, element) for a in each.findall("ANNOTATION/*")]
    marked = [(a, each) for each in _moment_tiers(root) if each is not element for a in each.findall("ANNOTATION/*")]
    untimed = sum(None in (times.get(_slot(a, 1)), times.get(_slot(a, 2))) for a in annotations)
    if untimed:
        warnings.append(
            f"{untimed} of {len(annotations)} annotations of tier {name!r} in {path.name} have no times of their own "
            "and got an even share of the time that they divide, as ELAN shows them."
        )
    end = max((t for t in times.values() if t is not None), default=0)
    return Tier(
        name=name,
        intervals=tuple(_interval(a, element, spans, path) for a in annotations),
        words=tuple((a.findtext("ANNOTATION_VALUE") or "").strip() for a in annotations),
        moments=tuple(
            (_interval(a, each, spans, path).onset_s, a.findtext("ANNOTATION_VALUE") or "") for a, each in marked
        ),
        end_s=end / 1000,
        warnings=tuple(warnings),
    )


def _with_lanes(root: Element, tier: Element) -> list[Element]:
    """The tier and, in a file of ours, those onto which `lanes` put what overlaps."""
    name = tier.get("TIER_ID", "")
    if not root.get("AUTHOR", "").startswith(AUTHOR):
        return [tier]
    return [tier, *(t for t in root.findall("TIER") if re.fullmatch(re.escape(name) + r" \d+", t.get("TIER_ID", "")))]


def _moment_tiers(root: Element) -> list[Element]:
    return [t for t in root.findall("TIER") if t.get("TIER_ID", "").rstrip("'") == MOMENTS]


def _parsed(path: Path) -> Element:
    builder = TreeBuilder()
    parser = expat.ParserCreate()

    def refuse(name: str, *_: object) -> NoReturn:
        raise InputError(f"{path} declares a document type ({name}), which no ELAN file does; it is not read")

    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    try:
        parser.Parse(path.read_bytes(), True)
    except OSError as error:
        raise InputError(f"cannot read the ELAN file {path}: {error.strerror or error}") from error
    except (expat.ExpatError, LookupError, ValueError) as error:
        raise InputError(f"{path} is not an ELAN file: {error}") from error
    return builder.close()


def _origin(root: Element, video: str | None, path: Path) -> tuple[int, list[str]]:
    """The moment of the video at which annotations count from 0, milliseconds, and what to warn of.

    An .eaf may name several media that were synchronised, each with such a moment.
    """
    media = root.findall("HEADER/MEDIA_DESCRIPTOR")
    try:
        origins = {m: int(m.get("TIME_ORIGIN") or 0) for m in media}
    except ValueError as error:
        raise InputError(f"{path} has a damaged TIME_ORIGIN: {error}") from error
    links, warnings = [link for m in media for link in _links(m)], []
    if video is not None and links:
        own = [m for m in media if is_of(video, _links(m))]
        if not own and Path(video).suffix:  # a folder of pictures is no media of ELAN's
            warnings.append(other_media(path.name, links, video))
        media = own or media
    if len({origins[m] for m in media}) > 1:
        media = [m for m in media if m.get("MIME_TYPE", "").startswith("video")] or media
    used = {origins[m] for m in media}
    if len(used) > 1:
        names = ", ".join(dict.fromkeys(map(plain_name, links)))
        raise InputError(
            f"{path} has media that start at different moments ({names}), and none has the name of the analysed video"
            f"{f', {video}' if video else ''}; link the video in ELAN under its name"
        )
    return next(iter(used), 0), warnings


def _links(media: Element) -> list[str]:
    """The addresses under which a file is linked."""
    return [link for link in (media.get("MEDIA_URL"), media.get("RELATIVE_MEDIA_URL")) if link]


def _slots(root: Element, origin: int, path: Path) -> dict[str, int | None]:
    """Time of each time slot in milliseconds of the video; None if it has no time of its own."""
    header = root.find("HEADER")
    units = UNITS if header is None else header.get("TIME_UNITS", UNITS)
    if units != UNITS:
        raise InputError(f"{path} counts time in {units}; only milliseconds are read")
    try:
        times: dict[str, int | None] = {}
        for slot in root.findall("TIME_ORDER/TIME_SLOT"):
            value = slot.get("TIME_VALUE")
            at = None if value is None else origin + int(value)
            if at is not None and abs(at) > 1000 * MAX_S:
                raise ValueError(
                    f"{at:.3g} ms cannot be a time in a video" if abs(at) < 1e300 else "it cannot be a time in a video"
                )
            times[slot.attrib["TIME_SLOT_ID"]] = at
    except (KeyError, ValueError) as error:
        raise InputError(f"{path} has a damaged time slot: {error!r}") from error
    return times


def _chosen(root: Element, name: str | None, path: Path) -> Element:
    tiers = {t.get("TIER_ID", ""): t for t in root.findall("TIER")}
    filled = [t for t in tiers.values() if t.find("ANNOTATION") is not None]
    filled = [t for t in filled if t not in _moment_tiers(root)] or filled
    listed = ", ".join(f"{key} ({len(t.findall('ANNOTATION'))})" for key, t in tiers.items()) or "none at all"
    if name is None and len(filled) == 1:
        return filled[0]
    if name is None:
        raise InputError(f"{path} has several tiers or none, so one has to be named (--tier); tiers: {listed}")
    if name not in tiers:
        raise InputError(f"{path} has no tier {name!r}; tiers: {listed}")
    return tiers[name]


def _slot(annotation: Element, side: int) -> str:
    return annotation.get(f"TIME_SLOT_REF{side}", "")


def _spans(root: Element, times: Mapping[str, int | None]) -> dict[str, tuple[float, float]]:
    """Begin and end of each annotation in milliseconds, of all whose times are given or follow from others."""
    spans: dict[str, tuple[float, float]] = {}
    parts: dict[str, list[list[str]]] = {}  # of an annotation: those of each tier that divides it, in order
    for tier in root.findall("TIER"):
        spans |= _aligned(tier.findall("ANNOTATION/ALIGNABLE_ANNOTATION"), times)
        siblings: dict[str, list[Element]] = {}
        for part in tier.findall("ANNOTATION/REF_ANNOTATION"):
            siblings.setdefault(part.get("ANNOTATION_REF", ""), []).append(part)
        for parent, children in siblings.items():
            parts.setdefault(parent, []).append(_ordered(children))
    waiting = list(spans)
    while waiting:
        parent = waiting.pop()
        for names in parts.pop(parent, ()):
            spans |= dict(zip(names, _even(*spans[parent], len(names)), strict=True))
            waiting += names
    return spans


def _ordered(children: list[Element]) -> list[str]:
    """The identifiers of annotations that divide one parent, each after the one that it names as its predecessor."""
    own = {child.get("ANNOTATION_ID", "") for child in children}
    after = {child.get("PREVIOUS_ANNOTATION"): child for child in children}
    names: list[str] = []
    for first in (child for child in children if child.get("PREVIOUS_ANNOTATION") not in own):
        child: Element | None = first
        while child is not None and len(names) < len(children):
            names.append(child.get("ANNOTATION_ID", ""))
            child = after.get(names[-1])
    return names


def _aligned(annotations: list[Element], times: Mapping[str, int | None]) -> dict[str, tuple[float, float]]:
    """The spans of a tier's annotations; those between slots with times share the stretch evenly."""
    spans: dict[str, tuple[float, float]] = {}
    after = {_slot(a, 1): a for a in annotations if times.get(_slot(a, 1)) is None}
    for first in annotations:
        begin, chain = times.get(_slot(first, 1)), [first]
        while times.get(_slot(chain[-1], 2)) is None and _slot(chain[-1], 2) in after and len(chain) < len(annotations):
            chain.append(after[_slot(chain[-1], 2)])
        end = times.get(_slot(chain[-1], 2))
        if begin is not None and end is not None:
            names = [a.get("ANNOTATION_ID", "") for a in chain]
            spans |= dict(zip(names, _even(begin, end, len(chain)), strict=True))
    return spans


def _even(begin: float, end: float, count: int) -> list[tuple[float, float]]:
    """Equal parts of a span."""
    step = (end - begin) / count
    return [(begin + k * step, begin + (k + 1) * step) for k in range(count)]


def _interval(annotation: Element, tier: Element, spans: Mapping[str, tuple[float, float]], path: Path) -> Interval:
    name, number = tier.get("TIER_ID", ""), annotation.get("ANNOTATION_ID", "?")
    if number not in spans:
        raise InputError(f"annotation {number} of tier {name!r} in {path} lacks a time; align it in ELAN")
    begin, end = spans[number]
    if not begin < end:
        raise InputError(
            f"annotation {number} of tier {name!r} in {path} lasts from {begin:g} to {end:g} ms; correct it in ELAN"
        )
    words = (annotation.findtext("ANNOTATION_VALUE") or "").partition(":")[0].strip()
    return Interval(onset_s=begin / 1000, offset_s=end / 1000, label=words or name)
