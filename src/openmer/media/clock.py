"""From the stamps of a file to one clock: what is late, wild, missing or joined, and stretches of steady steps."""

from collections import Counter, deque
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import islice, pairwise
from statistics import median, median_low
from typing import TypeVar

import numpy as np

from openmer.clip import Times

T = TypeVar("T")
AHEAD = 5  # frames looked at before a stamp is judged
MEMORY = 15  # steps from which the usual one is taken
MIN_JUMP_S = 1.0  # no shorter step is a jump
FAR_S = 10.0  # a single frame so far from all others carries a wrong stamp
MIN_GAP_S = 0.1  # no shorter step parts two stretches

UNTIMED = "frames without a time of their own, which get one from their neighbours"
NOT_LATER = "frames left out because they are not later than the frame before"
WILD = "frames left out because their time is far from their neighbours'"
NO_START = "frames left out because neither they nor any before them have a time"
JOINED = "parts whose times start anew, as in joined recordings (the clock runs on there)"


class Notes:
    """What was met while reading: one sentence for each kind, however often it was met."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._first: dict[str, int] = {}

    def add(self, kind: str, frame: int, count: int = 1) -> None:
        """Count frames, of which `frame` is the first."""
        self._counts[kind] += count
        self._first.setdefault(kind, frame)

    def count(self, kind: str) -> int:
        """How often it was met."""
        return self._counts[kind]

    def sentences(self) -> list[str]:
        """A sentence for each kind, with the number of frames and the first of them."""
        return [f"{kind}: {count}, from frame {self._first[kind]} on" for kind, count in self._counts.items()]


def typical_step(times: Iterable[Fraction]) -> Fraction | None:
    """The mean of the usual steps: those within half of their median. None without two different times.

    The median alone would be that of rounding: 33 ms instead of 1/30 s in a clock of milliseconds. Frames may come in
    bursts: where usual steps cover less than half of the time without pauses, the mean of all steps in it is taken.
    """
    steps = [b - a for a, b in pairwise(times) if b > a]
    if not steps:
        return None
    middle = median_low(steps)  # one of them
    usual = [step for step in steps if middle / 2 <= step <= middle * 3 / 2]
    steady = [step for step in steps if step <= max(Fraction(MIN_GAP_S), 3 * middle)]
    mean_of = usual if 2 * sum(usual) >= sum(steady) else steady
    return sum(mean_of, Fraction(0)) / len(mean_of)


def usual_step_s(times_s: Times) -> float | None:
    """The same of rising times in seconds; None without two."""
    steps = np.diff(times_s)
    if not len(steps):
        return None
    middle = np.median(steps)
    usual = steps[np.abs(steps - middle) <= middle / 2]
    steady = steps[steps <= max(MIN_GAP_S, 3 * middle)]
    return float((usual if 2 * usual.sum() >= steady.sum() else steady).mean())


def on_one_clock(
    stamped: Iterable[tuple[Fraction | None, int, T]], step: Fraction, notes: Notes, *, joins: bool = False
) -> Iterator[tuple[Fraction, int, T]]:
    """Give frames rising times, in seconds of the file.

    A pause stays a pause. Where times fall back and go on from there, as in joined recordings, the clock runs on. A
    stamp far from those around it is wrong, and its frame is left out. So are frames before the first stamp: times
    counted back from it would come before the file's first, where players show nothing.

    Args:
        stamped: stamp in seconds or None, number, and anything, in order of presentation.
        step: the usual step, seconds, until steps are measured.
        notes: gets what was met.
        joins: whether a large step forwards joins recordings as well, as in formats whose clock may start anew.
    """
    source = iter(stamped)
    ahead = deque(islice(source, AHEAD + 1))
    recent = deque([step], maxlen=MEMORY)
    last, shift = None, Fraction(0)
    while ahead:
        stamp, number, item = ahead.popleft()
        ahead.extend(islice(source, 1))
        if stamp is None and last is None:
            notes.add(NO_START, number)
            continue
        following = [s + shift for s, _, _ in ahead if s is not None]
        usual = median(recent)
        at = stamp + shift if stamp is not None else (last or 0) + usual
        if stamp is None:
            notes.add(UNTIMED, number)
        if last is None:
            if _wild_start(at, following):
                notes.add(WILD, number)
                continue
        else:
            limit = max(Fraction(MIN_JUMP_S), 10 * usual)
            if not 0 < at - last <= limit:
                fault = _fault(at, last, limit, following)
                if fault:
                    notes.add(fault, number)
                    continue
            if at <= last or (joins and at - last > FAR_S):
                notes.add(JOINED, number)
                shift += last + usual - at
                at = last + usual
            elif at - last <= limit:
                recent.append(at - last)
        last = at
        yield at, number, item


def _wild_start(at: Fraction, following: list[Fraction]) -> bool:
    """Whether the first stamp belongs to no recording: later than the next ones, which rise, or far before them."""
    rising = len(following) > 1 and following[0] < following[1]
    return rising and (at > following[0] or (following[0] - at > FAR_S and following[1] - following[0] < MIN_JUMP_S))


def _fault(at: Fraction, last: Fraction, limit: Fraction, following: list[Fraction]) -> str | None:
    """Why a frame whose step is no usual one is left out; None if a pause or another recording begins with it."""
    back_soon = any(0 < other - last <= limit for other in following)
    if at > last:
        return WILD if back_soon or (not following and at - last > FAR_S) else None
    if back_soon or not following or following[0] <= at:
        return WILD if last - at > limit else NOT_LATER
    return None


def stretches(times_s: Times) -> list[slice]:
    """Parts of rising times in which no frames are missing, each judged by its own steps.

    A step parts two stretches if it is longer than a tenth of a second and three times the usual step around it.
    """
    steps = np.diff(times_s)
    edges = [0]
    for k in np.flatnonzero(steps > MIN_GAP_S):
        before = steps[max(edges[-1], k - MEMORY) : k]
        around = before if len(before) else steps[k + 1 : k + 4]
        if len(around) and steps[k] > 3 * float(np.median(around)):
            edges.append(int(k) + 1)
    return [slice(a, b) for a, b in pairwise([*edges, len(times_s)])]
