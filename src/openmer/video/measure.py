"""The first pass over a video: one row per frame, of one face or of everybody's."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace

from openmer.clip import Gray
from openmer.errors import InputError
from openmer.face.people import PeopleTracker
from openmer.face.track import Face
from openmer.media.reader import MAX_FPS, MIN_FPS, Frame, as_gray
from openmer.threads import ahead
from openmer.video.frame import FrameAnalyzer, FrameResult, Light, LocatedFrame
from openmer.video.measurements import FrameRow, Measurements, measurements_of, row_of
from openmer.video.overlay import FlowCache
from openmer.video.recognition import Recognition
from openmer.video.regions import MotionMeter
from openmer.video.windows import BatchNetwork

MAX_KNOWN = 32  # people, seen or lost; of more, who is lost and did not stay is forgotten


def measure(
    frames: Iterable[Frame],
    analyzer: FrameAnalyzer,
    flows: FlowCache | None = None,
    on_frame: Callable[[], None] = lambda: None,
    *,
    threads: int = 0,
) -> Measurements:
    """Measure all frames, one at a time.

    Args:
        frames: gray or color.
        analyzer: one step of the analysis.
        flows: keeps the flow of every frame for drawing.
        on_frame: called after each frame.
        threads: 1 looks for faces ahead of the rest, in a thread of its own; 0 does everything here.

    Raises:
        InputError: fewer than two frames, no camera's frame rate, or no face in any.
    """
    rows, light = [], Light()
    with closing(ahead(frames, analyzer.locate, threads=threads)) as located_frames:
        for located in located_frames:
            result = analyzer.measure(located)
            if result.face is None:
                light.add(located.gray)
            if flows is not None:
                flows.append(result.motion.flow if result.motion else None)
            rows.append(row_of(result))
            on_frame()
    measured = _checked(rows)
    if not measured.with_face.any():
        raise _no_face(len(rows), light)
    return measured


def _checked(rows: Sequence[FrameRow]) -> Measurements:
    if len(rows) < 2:
        count = "was 1" if len(rows) == 1 else f"were {len(rows)}"
        raise InputError(f"motion needs at least 2 frames, but there {count} in the part to analyse")
    measured = measurements_of(rows)
    if not 0.99 / MAX_FPS <= measured.step_s <= 1.01 / MIN_FPS:
        raise InputError(
            f"the video states {1 / measured.step_s:.3g} frames a second, which no camera records; give the rate of "
            "the recording with --fps"
        )
    return measured


def _no_face(frames: int, light: Light) -> InputError:
    return InputError(
        f"no face was found in any of {frames} frames; an upright frontal face of at least a sixteenth of the "
        f"picture's longer side is needed, not too blurred or compressed{light.words()}"
    )


@dataclass
class Measuring:
    """What measures one person.

    Attributes:
        meter: measures the motion.
        network: runs on the frames as well, or None.
        flows: keeps the flow of every frame for drawing, or None.
        rows: place of the frame -> its row, for the frames in which the person is seen.
    """

    meter: MotionMeter
    network: BatchNetwork | None = None
    flows: FlowCache | None = None
    rows: dict[int, FrameRow] = field(default_factory=dict)

    def add(self, place: int, frame: LocatedFrame) -> None:
        """Take the next frame, with this person's face or none."""
        if self.network is not None:
            self.network.update(frame)
        motion = self.meter.update(frame.real_s, frame.gray, frame.face)
        if self.flows is not None:
            self.flows.append(None if motion is None else motion.flow)
        if frame.face is not None:
            self.rows[place] = row_of(
                FrameResult(frame.index, frame.time_s, frame.face, motion, frame.slowdown, frame.picture)
            )

    def close(self) -> None:
        """Stop what runs."""
        if self.network is not None:
            self.network.close()


@dataclass(frozen=True)
class Person:
    """One person of a video, measured.

    Attributes:
        measured: one row per frame of the video, with a face where the person was seen.
        recognition: what the network says, if there is one.
        flows: flow of every frame for drawing, or None.
    """

    measured: Measurements
    recognition: Recognition | None
    flows: FlowCache | None

    @property
    def seen_s(self) -> float:
        """How long the person was seen, real seconds."""
        return float(self.measured.with_face.sum()) * self.measured.step_s


class PeopleMeasuring:
    """Measures everybody in a video, frame by frame.

    Args:
        tracker: finds the faces and keeps people apart.
        begin: makes what measures a person who is new in this frame of the video, counted from 0.
        stay_s: how long somebody must be seen in all, real seconds; at most half of the video is asked.

    Attributes:
        known: the people, in the order in which they were first seen.
    """

    def __init__(self, tracker: PeopleTracker, begin: Callable[[int], Measuring], stay_s: float) -> None:
        self.known: dict[int, Measuring] = {}
        self._stay_s = stay_s
        self._tracker = tracker
        self._begin = begin
        self._empty: list[FrameRow] = []
        self._light = Light()
        self._too_many = 0

    def locate(self, frame: Frame) -> tuple[LocatedFrame, dict[int, Face]]:
        """Find the faces in the next frame; the frame is without any."""
        gray: Gray = as_gray(frame.image)
        faces = self._tracker.update(gray)
        return LocatedFrame(frame.index, frame.time_s, gray, None, frame.slowdown, frame.picture), faces

    def measure(self, located: tuple[LocatedFrame, dict[int, Face]]) -> None:
        """Measure the next frame, in the order in which `locate` returned them."""
        frame, faces = located
        place = len(self._empty)
        self._empty.append(row_of(FrameResult(frame.index, frame.time_s, None, None, frame.slowdown, frame.picture)))
        if not faces:
            self._light.add(frame.gray)
        for number in faces:
            if number not in self.known:
                self.known[number] = self._begin(place)
        for number, person in self.known.items():
            person.add(place, replace(frame, face=faces.get(number)))
        if len(self.known) > MAX_KNOWN:
            fewest = min(self.known, key=lambda n: (n in faces, len(self.known[n].rows)))
            rows = list(self.known[fewest].rows.values())
            if fewest not in faces and rows[-1].time_s - rows[0].time_s < self._stay_s * frame.slowdown:
                self.known.pop(fewest).close()
                self._tracker.forget(fewest)
                self._too_many += 1

    def finish(self) -> tuple[list[Person], str]:
        """Those who stayed, in the order in which they were first seen, and a sentence on the others, if any.

        Raises:
            InputError: fewer than two frames, no camera's frame rate, no face in any, or nobody stayed.
        """
        bare = _checked(self._empty)
        if not self.known:
            raise _no_face(len(self._empty), self._light)
        least = min(self._stay_s, 0.5 * len(self._empty) * bare.step_s)
        stayed: list[Person] = []
        others: list[Person] = []
        for person in self.known.values():
            rows = [person.rows.get(k, empty) for k, empty in enumerate(self._empty)]
            whole = Person(measurements_of(rows), None, person.flows)
            if whole.seen_s <= least * (1 - 1e-9):
                others.append(whole)
            elif person.network is None:
                stayed.append(whole)
            else:
                stayed.append(replace(whole, recognition=person.network.finish()))
        if not stayed:
            longest = max(p.seen_s for p in others)
            raise InputError(
                f"no person is in view for {least:.3g} s: of {len(others)}, the longest is seen for {longest:.2g} s; "
                "choose less with --stay"
            )
        return stayed, _left_out(others, self._too_many, least)

    def close(self) -> None:
        """Stop what runs."""
        for person in self.known.values():
            person.close()


def _left_out(others: Sequence[Person], forgotten: int, least_s: float) -> str:
    """A sentence on those who did not stay."""
    total = len(others) + forgotten
    if not total:
        return ""
    longest = max((person.seen_s for person in others), default=0.0)
    who = "1 more face was" if total == 1 else f"{total} more faces were"
    return (
        f"{who} seen, none for {least_s:.3g} s (the longest for {longest:.2g} s), and left out; less time with --stay "
        "includes them."
    )
