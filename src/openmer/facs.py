"""The Facial Action Coding System's terms: action units, their sides, and the names of emotions.

Source: Ekman, Friesen, Hager, Facial Action Coding System, 2002.
"""

import datetime
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, replace

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
    43: "eyes closed",
    45: "blink",
}
_LIP_UNITS = frozenset({8, 18, 22, 23, 24, 25, 28})  # of these, B is the bottom lip; of all others, both sides
_SPELLINGS = {"other": "others", "happy": "happiness", "sad": "sadness", "surprised": "surprise", "fearful": "fear"}


def canonical_emotion(text: str) -> str:
    """In lower case, without surrounding spaces; `Other` and `Others` become the same."""
    plain = " ".join(text.split()).lower()
    return _SPELLINGS.get(plain, plain)


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


# A unit: a side before or behind, one or two digits, an intensity, and the strength that the simulator states.
_UNIT = re.compile(
    r"(?:(?<![A-Z])(?:A ?/ ?)?([LRTBUA]) ?|(?<![A-Z0-9.:]))(\d{1,2})(?!\d|\.\d)([A-E](?: ?/ ?[A-E])?)?"
    r"(?: ?\(?(LR|[LR])\)?(?! ?\d))?(?::(\d+(?:\.\d+)?))?(?=[LRTBU] ?\d|[^A-Z0-9]|$)"
)
_LISTED = re.compile(r"[+,;&|\n、·]")
_BOTH = r"(?:L ?[/+&,]? ?R|R ?[/+&,]? ?L)"
# What people write for sides and units, in upper case -> as `_UNIT` reads it. The order matters.
_WRITTEN = (
    (re.compile(r"[‐-―−]"), "-"),
    (re.compile(r"[ \t\r]+"), " "),
    (re.compile(r"AUS? ?[:.#]? ?(?=[LRTBUA]?[ /]?[LR]? ?\d)"), " "),
    (re.compile(r"\bLEFT\b"), "L"),
    (re.compile(r"\bRIGHT\b"), "R"),
    (re.compile(r"\bUNILATERAL(?:LY)?\b"), "U"),
    (re.compile(r"\b(?:BILATERAL(?:LY)?|BILAT\.?|BOTH(?: SIDES)?)(?![A-Z])"), ""),
    (re.compile(rf"(?<![A-Z0-9])(?<!\d ){_BOTH} ?(?=\d)"), ""),
    (re.compile(rf"(?<=\d) ?\(?{_BOTH}\)?(?![A-Z0-9])(?! \d)"), ""),
    (re.compile(rf"(?<=\d[A-E]) ?\(?{_BOTH}\)?(?![A-Z0-9])(?! \d)"), ""),
)
_MONTHS = (
    "JAN|JANUARY|JANUAR|JANV|ENE|GEN|FEB|FEBRUARY|FEBRUAR|FÉVR|MAR|MARCH|MÄR|MÄRZ|MARS|APR|APRIL|AVR|ABR|MAY|MAI|MAG|"
    "JUN|JUNE|JUNI|JUIN|GIU|JUL|JULY|JULI|JUIL|LUG|AUG|AUGUST|AOÛT|AGO|SEP|SEPT|SEPTEMBER|SET|OCT|OCTOBER|OKT|"
    "OKTOBER|OTT|NOV|NOVEMBER|DEC|DECEMBER|DEZ|DEZEMBER|DÉC|DIC"
)
# A date as spreadsheet programs show it: 4-Jul, Jul-04, 04. Jul, 4月7日.
_DATE = re.compile(rf"\d ?[-./]? ?(?:{_MONTHS})\b|\b(?:{_MONTHS})\.?[-/ ]\d|\d月")
_DOUBT = re.compile(r"REF|\?|MAYBE|PERHAPS|POSS|PROBABL|UNCERTAIN|UNSURE|\bNO\b|\bNOT\b|WITHOUT|\bVS\b")
_UNREAD = re.compile(r"\d|(?<![A-Z])[LR](?![A-Z])")


def read_action_units(cell: object) -> tuple[tuple[ActionUnit, ...], str]:
    """The units in a table's cell, and what could not be read of it.

    Sides stand before or behind a unit (`L12`, `12L`, `left 12`, `R4L12`); `L/R 12`, `B12` and `bilateral 12` are both
    sides. Full-width digits and signs are read like plain ones. The simulator's `R12:0.5+L12:0` also states the
    strength; a unit of strength 0 is left out.

    For `R6 or R12` both are returned, neither as certain; likewise `ref(6)` and `6?`, as `str` writes such a unit, and
    what is denied (`not 7`). In `4+?` none is certain, as others may be shown.

    Args:
        cell: text or a number; None, NaN and an empty text give no units.

    Returns:
        The units in their order; a reason why the cell or a part of it was not read, or an empty text. Dates and
        fractions are never units: spreadsheet programs make them of `4-7` and `4,7`. Words are not units and are no
        reason either.
    """
    if cell is None or (isinstance(cell, float) and cell != cell):
        return (), ""
    if isinstance(cell, datetime.date | datetime.time):
        day = str(cell).removesuffix(" 00:00:00")
        return (), f"{day} is a date, as spreadsheet programs make of a cell such as 4-7; write 4+7, as text"
    if isinstance(cell, float) and cell != int(cell):
        return (), f"{cell:g} is a fraction, as spreadsheet programs make of a cell such as 4,7; write 4+7, as text"
    text = str(int(cell)) if isinstance(cell, float) else str(cell)
    plain = re.sub(r"^\s*(\d+)\.0+\s*$", r"\1", unicodedata.normalize("NFKC", text).upper())
    if _DATE.search(plain):
        return (
            (),
            f"{text.strip()[:60]!r} is a date, as spreadsheet programs make of a cell such as 4-7; write 4+7, as text",
        )
    if re.fullmatch(r"\s*-\s*\d+\s*", plain):
        return (
            (),
            f"{text.strip()[:60]!r} is a number below 0 and no action unit; leave the cell empty if there is none",
        )
    for pattern, written in _WRITTEN:
        plain = pattern.sub(written, plain)
    units: list[ActionUnit] = []
    unread = []
    more = False  # whether it is doubted that these are all
    for part in _LISTED.split(plain):
        matches = list(_UNIT.finditer(part))
        rest = _UNIT.sub(" ", part)
        several = len(matches) > 1 and re.search(r"\bOR\b|[/\\~-]", rest)
        doubtful = bool(several) or bool(_DOUBT.search(part))
        if _UNREAD.search(rest):
            unread.append(part.strip())
            continue
        more = more or ("?" in part and not matches)
        units += [_unit(match, certain=not doubtful) for match in matches if _is_active(match)]
    reason = f"{', '.join(unread)[:60]!r} is not an action unit in a known form; write it like R4+L12" if unread else ""
    return tuple(replace(unit, certain=False) if more else unit for unit in units), reason


def _is_active(match: re.Match[str]) -> bool:
    """Whether the unit is shown: it has a number, and its strength, if stated, is not 0."""
    return int(match[2]) > 0 and (match[5] is None or float(match[5]) > 0)


def _unit(match: re.Match[str], *, certain: bool) -> ActionUnit:
    number = int(match[2])
    side = match[1] or ("" if match[4] == "LR" else match[4]) or ""
    if side == "B" and number not in _LIP_UNITS:
        side = ""
    return ActionUnit(number, side, (match[3] or "")[:1], certain)
