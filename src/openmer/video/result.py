"""What an analysis of a file or a camera leaves behind: the timeline with its provenance, and the tables."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from openmer.choices import CLASSICAL
from openmer.media.clock import stretches
from openmer.models.engine import provenance_of
from openmer.timeline import Clock, Interval, Timeline
from openmer.version import __version__
from openmer.video.files import CAUTION
from openmer.video.files import EXPLANATIONS as EXPLANATIONS
from openmer.video.files import MARKER as MARKER
from openmer.video.files import RESULT_FILES as RESULT_FILES
from openmer.video.measurements import Measurements
from openmer.video.recognition import Recognition, RecognitionBuilder, apply_network
from openmer.video.settings import plain_settings
from openmer.video.spotting import FEW_FPS


@dataclass(frozen=True)
class SourceNotes:
    """What a timeline says about where its frames come from.

    Attributes:
        name: name of the source, without folders, which can identify people.
        warnings: what went wrong while reading, whole sentences.
        dropped: frames of a camera that came faster than they could be processed; None for a file.
        clock: what the seconds mean.
        person: number of the person, where everybody is analysed and the recognizer tells them apart.
        digest: by which the source is known again, see `source_digest`; None for a camera.
    """

    name: str
    warnings: Sequence[str] = ()
    dropped: int | None = None
    clock: Clock | None = None
    person: int | None = None
    digest: str | None = None


def with_opinions(
    intervals: Sequence[Interval], recognition: Recognition | RecognitionBuilder | None, expression_threshold: float
) -> tuple[Interval, ...]:
    """The spotter's intervals, candidates with the network's opinion."""
    if recognition is None:
        return tuple(intervals)
    windows, engine = recognition.windows, recognition.engine
    return tuple(apply_network(i, windows, engine, expression_threshold) for i in intervals)


def build_timeline(
    intervals: Sequence[Interval],
    measured: Measurements,
    recognition: Recognition | None,
    source: SourceNotes,
    settings: Mapping[str, Any],
) -> Timeline:
    """The timeline with everything that it rests on.

    Args:
        intervals: what was spotted.
        measured: one row per frame.
        recognition: the network's output, if one was used.
        source: where the frames come from.
        settings: the settings of the analysis.
    """
    engine = None if recognition is None else recognition.engine
    dropped = {} if source.dropped is None else {"frames_dropped": source.dropped}
    return Timeline(
        intervals=tuple(measured.named(i) for i in intervals),
        clock=source.clock or Clock(fps=1 / measured.step_s * measured.signals.slowdown),
        start_s=float(measured.signals.times_s[0]),
        end_s=measured.end_s,
        gaps=measured.gaps(),
        windows=() if recognition is None else recognition.windows,
        provenance={
            "source": source.name,
            **({} if source.digest is None else {"source_digest": source.digest}),
            **({} if source.person is None else {"person": source.person}),
            "openmer": __version__,
            **(provenance_of(CLASSICAL, None) if engine is None else provenance_of(engine.name, engine.record)),
            "caution": CAUTION,
            "warnings": warnings_of(measured, recognition, source),
            "frames_with_face": int(measured.with_face.sum()),
            **dropped,
            "settings": plain_settings(settings),
            "opencv": cv2.__version__,
            "python": platform.python_version(),
        },
    )


def warnings_of(measured: Measurements, recognition: Recognition | None, source: SourceNotes) -> list[str]:
    """What a reader of the result has to know, whole sentences."""
    warnings = []
    with_face, total = int(measured.with_face.sum()), len(measured.with_face)
    if with_face < total:
        few = "Only " if with_face < total / 2 else ""
        what = "no face was found" if source.person is None else "this person's face was not found"
        warnings.append(f"{few}{with_face} of {total} frames could be analysed; in the others {what}.")
    warnings += _of_times(measured)
    scales = [a.scale for a in measured.alignments if a is not None]
    if scales and np.median(scales) > 1.2:
        warnings.append(
            f"The face is small: it was enlarged {np.median(scales):.1f} times to fill the crop, so motion is "
            "measured less exactly than its pixels suggest."
        )
    tracks = len(set(measured.signals.track.tolist()) - {-1})
    if tracks > 1 and source.person is None:
        warnings.append(f"The face was lost and {tracks} tracks were followed; they may be different people.")
    elif tracks > 1:
        warnings.append(
            f"The face was lost and {tracks} tracks were followed; dlib's recognizer took them for the same person, "
            "and can be wrong."
        )
    if recognition is not None and recognition.silent is not None:
        where = " in parts of the video" if recognition.windows else ""
        warnings.append(f"The network gives no opinion{where}: {recognition.silent}.")
    if source.dropped:
        share = source.dropped / (source.dropped + total)
        warnings.append(
            f"{source.dropped} frames ({share:.0%}) came faster than they could be processed and were dropped."
        )
    return warnings + list(source.warnings)


def _of_times(measured: Measurements) -> list[str]:
    warnings, times = [], measured.signals.real_s
    fps = 1 / measured.step_s
    if fps < FEW_FPS:
        warnings.append(
            f"{fps:.3g} frames a second: a micro-expression lasts 1/25 to 1/2 s, so the shortest ones span one or "
            f"two frames here and can be missed; {FEW_FPS} or more are better, the datasets have 200."
        )
    edges = [part.start for part in stretches(times)[1:]]
    if edges:
        longest = float(max(np.diff(measured.signals.times_s)[edge - 1] for edge in edges))
        warnings.append(
            f"{len(edges)} gaps in time, the longest of {longest:.2f} s: frames are missing there, and nothing is "
            "marked across them."
        )
    return warnings


def write_tables(folder: Path, timeline: Timeline, measured: Measurements, recognition: Recognition | None) -> None:
    """Write the timeline, one row per frame, the landmarks, and with a network its windows and its motion."""
    (folder / MARKER).write_text(timeline.to_json() + "\n", encoding="utf-8")
    (folder / "timeline.csv").write_text(timeline.to_csv(), encoding="utf-8")
    measured.save_table(folder / "frames.csv")
    if recognition is not None:
        (folder / "windows.csv").write_text(recognition.windows_csv(), encoding="utf-8")
        (folder / "network_flow.csv").write_text(recognition.flow_csv(), encoding="utf-8")
    measured.save_landmarks(folder / "landmarks.npz", recognition)
