"""When something happened: intervals and timelines in seconds of the file, as its player shows them.

An interval is the half-open stretch from its onset to its offset; its apex lies between them. Frames, if given, are the
source's own numbers: in a folder those in the pictures' names, in a file the place in order of presentation, from 0.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from openmer.clip import NONE as NONE
from openmer.errors import InputError
from openmer.files import decode_json, read_bytes, table_text

SCHEMA = "openmer.timeline/1"
# The labels of what an analysis finds.
CANDIDATE = "candidate"
SET_ASIDE = "set_aside"  # a candidate in which the network sees no expression
BLINK = "blink"
LARGE_MOTION = "large_motion"
NO_FACE = "no_face"  # of gaps
LABELS = (CANDIDATE, SET_ASIDE, BLINK, LARGE_MOTION)  # of intervals
UNITS = {
    "_s": "seconds of the file, as its player shows them",
    "_px": "pixels of the 128 crop",
    "_frame": "the source's own number",
}
# Names of settings in results of the first edition, and what they are called now; no other place knows the old ones.
FORMER_NAMES = {
    "least_expression": "expression_threshold",
    "least_s": "min_s",
    "least_px": "min_px",
    "most_px": "max_px",
    "foot": "rel_height",
    "astray": "max_return_error",
}
MAX_S = 1e9  # some thirty years; anything beyond is damage, and could not be converted to milliseconds
MAX_FACTOR = 1e12  # beyond what 32 bits of a container can state; what no camera has is told where frames are measured

_CSV_COLUMNS = (
    "schema",
    "label",
    "onset_s",
    "apex_s",
    "offset_s",
    "duration_s",
    "onset_frame",
    "apex_frame",
    "offset_frame",
    "score",
    "peak_px",
    "regions",
    "expression",
)
_PICTURES = ("onset_picture", "apex_picture", "offset_picture")


@dataclass(frozen=True, kw_only=True)
class Clock:
    """What the seconds of a result mean: seconds of the file, as its player shows them.

    Attributes:
        fps: frames a second of the file, measured; None if unknown.
        slowdown: seconds of the file that show one second of what was recorded; 1 but for slow motion (above 1) and
            time lapses (below). Durations are judged in real time: seconds of the file divided by this.
        real_fps_from: what says at which rate was recorded, `--fps` or the name of a tag; empty if there is one clock.

    Raises:
        InputError: a rate or the slowdown is not a positive number of a size that occurs.
    """

    fps: float | None = None
    slowdown: float = 1.0
    real_fps_from: str = ""

    def __post_init__(self) -> None:
        if not 1 / MAX_FACTOR <= self.slowdown <= MAX_FACTOR:
            raise InputError(f"a clock's slowdown is a positive number, 1 but for slow motion, got {self.slowdown}")
        if self.fps is not None and not 0 <= self.fps <= MAX_FACTOR:
            raise InputError(f"a clock's frames a second are a positive number, got {self.fps}")

    @property
    def real_fps(self) -> float | None:
        """Frames a second at which was recorded."""
        return None if self.fps is None else self.fps * self.slowdown


def most_likely(probabilities: Mapping[str, float]) -> str | None:
    """The most probable class, None of nothing; `none` only if it is likelier than all expressions together."""
    shown = dict(probabilities)
    if NONE in shown and len(shown) > 1 and shown[NONE] <= sum(shown.values()) / 2:
        del shown[NONE]
    return max(shown, key=shown.__getitem__, default=None)


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A stretch of time with a label.

    Attributes:
        onset_s: first moment, seconds.
        offset_s: last moment, seconds; later than the onset.
        apex_s: moment of the largest motion, seconds, or None.
        label: what it is, for example `candidate`, `blink`, `no face`.
        score: how certain the method is, in its own unit, or None.
        peak_px: largest motion, pixels of the 128 crop, or None.
        regions: facial regions that moved, strongest first.
        onset_frame: number of the frame at the onset, or None.
        apex_frame: number of the frame at the apex, or None.
        offset_frame: number of the frame at the offset, or None.
        onset_picture: in a folder, the name of the picture at the onset.
        apex_picture: likewise at the apex.
        offset_picture: likewise at the offset.
        probabilities: a network's opinion: class -> 0 to 1, or None without a network.
        action_units: action unit, such as `AU12` -> 0 to 1, each by itself; None if no network names any.
        unsure: whether the largest probability is too small for the accuracy that the network's weights promise; None
            if they promise none.

    Raises:
        InputError: a time is not finite or beyond `MAX_S`, the offset is not after the onset, or the apex is outside.
    """

    onset_s: float
    offset_s: float
    label: str
    apex_s: float | None = None
    score: float | None = None
    peak_px: float | None = None
    regions: tuple[str, ...] = ()
    onset_frame: int | None = None
    apex_frame: int | None = None
    offset_frame: int | None = None
    onset_picture: str | None = None
    apex_picture: str | None = None
    offset_picture: str | None = None
    probabilities: Mapping[str, float] | None = None
    action_units: Mapping[str, float] | None = None
    unsure: bool | None = None

    def __post_init__(self) -> None:
        if not (abs(self.onset_s) <= MAX_S and abs(self.offset_s) <= MAX_S):
            raise InputError(f"an interval needs finite times, got {self.onset_s} to {self.offset_s}")
        if not self.onset_s < self.offset_s:
            raise InputError(f"an interval must end after it begins, got {self.onset_s} to {self.offset_s}")
        if self.apex_s is not None and not self.onset_s <= self.apex_s <= self.offset_s:
            raise InputError(f"apex {self.apex_s} lies outside {self.onset_s} to {self.offset_s}")

    @property
    def shown_units(self) -> tuple[str, ...]:
        """Action units that the network considers more likely shown than not, most probable first."""
        likely = [(share, name) for name, share in (self.action_units or {}).items() if share >= 0.5]
        return tuple(name for _, name in sorted(likely, key=lambda f: (-f[0], f[1])))

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.offset_s - self.onset_s

    def slowed(self, slowdown: float) -> Self:
        """The interval in seconds of a file that shows what was recorded this many times slower."""
        if slowdown == 1:
            return self
        apex = None if self.apex_s is None else round(self.apex_s * slowdown, 6)
        onset, offset = round(self.onset_s * slowdown, 6), round(self.offset_s * slowdown, 6)
        return replace(self, onset_s=onset, apex_s=apex, offset_s=offset)

    @property
    def expression(self) -> str | None:
        """The most probable class, or None; `none` only if it is likelier than all expressions together."""
        return most_likely(self.probabilities or {})

    def overlap(self, other: "Interval") -> float:
        """Seconds that both intervals share; 0 if they only touch or are apart."""
        return max(0.0, min(self.offset_s, other.offset_s) - max(self.onset_s, other.onset_s))

    def gap(self, other: "Interval") -> float:
        """Seconds between the two; 0 if they touch or overlap."""
        return max(0.0, max(self.onset_s, other.onset_s) - min(self.offset_s, other.offset_s))

    def iou(self, other: "Interval") -> float:
        """Intersection over union, 0 to 1, of the two stretches of time."""
        shared = self.overlap(other)
        return shared / (self.duration_s + other.duration_s - shared)


@dataclass(frozen=True, kw_only=True)
class Window:
    """A stretch of frames that a network judged as one clip.

    Attributes:
        start_s: time of its first frame, seconds.
        end_s: time of its last frame, seconds.
        start_frame: index of the first frame.
        end_frame: index of the last frame.
        probabilities: class -> 0 to 1.
        action_units: action unit, such as `AU12` -> 0 to 1, each by itself; None if the network names none.
        frames: indices of all its frames, which are evenly spaced in time; empty where a result does not say.
    """

    start_s: float
    end_s: float
    start_frame: int
    end_frame: int
    probabilities: Mapping[str, float]
    action_units: Mapping[str, float] | None = None
    frames: tuple[int, ...] = ()

    @property
    def middle_s(self) -> float:
        """The moment in its middle, seconds."""
        return (self.start_s + self.end_s) / 2


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """What was found in one video, and what it rests on.

    Attributes:
        intervals: intervals sorted by onset.
        start_s: first moment that was analysed, seconds.
        end_s: last moment that was analysed, seconds.
        clock: what the seconds mean.
        gaps: stretches in which no face was found, so nothing is known.
        windows: a network's output for successive, overlapping stretches. Empty without a network.
        provenance: the method, its settings, versions, the source's name, and what any weights were trained on.
    """

    intervals: tuple[Interval, ...]
    start_s: float
    end_s: float
    clock: Clock = field(default_factory=Clock)
    gaps: tuple[Interval, ...] = ()
    windows: tuple[Window, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "intervals", tuple(sorted(self.intervals, key=lambda i: (i.onset_s, i.offset_s))))

    def __iter__(self) -> Iterator[Interval]:
        return iter(self.intervals)

    def __len__(self) -> int:
        return len(self.intervals)

    def labelled(self, label: str) -> tuple[Interval, ...]:
        """The intervals that carry `label`, in order."""
        return tuple(i for i in self.intervals if i.label == label)

    def window_at(self, moment_s: float) -> Window | None:
        """The window whose middle is nearest to the moment, if it contains the moment."""
        nearest = min(self.windows, key=lambda w: abs(w.middle_s - moment_s), default=None)
        return None if nearest is None or not nearest.start_s <= moment_s <= nearest.end_s else nearest

    def to_json(self) -> str:
        """The timeline as JSON; every key with a unit ends in it."""
        content = {
            "schema": SCHEMA,
            "units": UNITS,
            "start_s": self.start_s,
            "end_s": self.end_s,
            "clock": asdict(self.clock) | {"real_fps": self.clock.real_fps},
            "intervals": [asdict(i) for i in self.intervals],
            "gaps": [asdict(i) for i in self.gaps],
            "windows": [asdict(w) for w in self.windows],
            "provenance": dict(self.provenance),
        }
        return json.dumps(content, indent=2, allow_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read what `to_json` wrote.

        Raises:
            InputError: the text is not JSON, has another schema, lacks a value or has one of the wrong type, or an
                interval is impossible.
        """
        content = decode_json(text, _Stored)
        if content.schema != SCHEMA:
            hint = "; openmer export --reviewed writes a review as a file that can be read here"
            of_review = str(content.schema).startswith("openmer.review/")
            raise InputError(
                f"expected a timeline of schema {SCHEMA}, got {content.schema!r}{hint if of_review else ''}"
            )
        if content.start_s is None or content.end_s is None:
            raise InputError("the timeline lacks start_s or end_s")
        return cls(
            intervals=content.intervals,
            start_s=content.start_s,
            end_s=content.end_s,
            clock=content.clock,
            gaps=content.gaps,
            windows=content.windows,
            provenance=_renamed(content.provenance),
        )

    def to_csv(self) -> str:
        """One row per interval, for a spreadsheet; regions joined by `+`, empty cells where a value is unknown.

        With a network, a column `p_CLASS` for each of its classes follows, `unsure` (yes, no) if its weights say when,
        `action_units` if it names any; from a folder of pictures their names; from slow motion the duration in real
        time.
        """
        classes = dict.fromkeys(name for i in self.intervals for name in i.probabilities or ())
        columns = [*_CSV_COLUMNS, *(f"p_{name}" for name in classes)]
        columns += ["unsure"] if any(i.unsure is not None for i in self.intervals) else []
        columns += ["action_units"] if any(i.action_units for i in self.intervals) else []
        columns += _PICTURES if any(i.onset_picture for i in self.intervals) else []
        columns += ["real_duration_s"] if self.clock.slowdown != 1 else []
        return table_text([self._csv_row(i) for i in self.intervals], columns)

    def _csv_row(self, interval: Interval) -> dict[str, Any]:
        row = asdict(interval)
        for name in ("onset_s", "apex_s", "offset_s"):
            row[name] = None if row[name] is None else f"{row[name]:.6f}"
        return row | {
            "schema": SCHEMA,
            "label": interval.label,
            "duration_s": f"{interval.duration_s:.6f}",
            "real_duration_s": f"{interval.duration_s / self.clock.slowdown:.6f}",
            "regions": "+".join(interval.regions),
            "expression": interval.expression,
            "action_units": "+".join(interval.shown_units),
            "unsure": None if interval.unsure is None else "yes" if interval.unsure else "no",
            **{f"p_{name}": share for name, share in (interval.probabilities or {}).items()},
        }


@dataclass(frozen=True, kw_only=True)
class _Stored:
    """The keys of a timeline's file."""

    schema: Any = None
    start_s: float | None = None
    end_s: float | None = None
    intervals: tuple[Interval, ...] = ()
    gaps: tuple[Interval, ...] = ()
    windows: tuple[Window, ...] = ()
    clock: Clock = field(default_factory=Clock)
    provenance: dict[str, Any] = field(default_factory=dict)


def _renamed(content: Any) -> Any:
    """A result's provenance with today's names of settings."""
    if not isinstance(content, dict):
        return content
    return {FORMER_NAMES.get(name, name): _renamed(value) for name, value in content.items()}


def read_timeline(path: Path) -> Timeline:
    """Read a `timeline.json`.

    Raises:
        InputError: the file is missing or is not a timeline.
    """
    content = read_bytes(path)
    try:
        return Timeline.from_json(content)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
