"""Clips straight from the simulator into a store: the training data of the shipped weights.

Nothing is detected or estimated on the way: frames, landmarks and flow are the simulator's own.
"""

from collections.abc import Callable
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from openmer.clip import NONE, SIMULATED, Clip
from openmer.clips.store import ClipStore, digest_of
from openmer.datasets.settings import BALANCED, SimulatedClips
from openmer.processes import check_processes, mapped
from openmer.simulator.codec import draw_codec, recoded
from openmer.simulator.facial_motion import THREE_CLASS, Event
from openmer.simulator.generate import draw_sample, person_name
from openmer.simulator.recording import Recording
from openmer.simulator.streams import stream

CUT = 0.5  # share of mixed clips that are cut by onset and apex
VERSION = 4  # of how clips are chosen; a store made differently is a different store


def choose_frames(
    recording: Recording, event: Event | None, settings: SimulatedClips, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """(T,) evenly spaced frame numbers that contain the apex and most of the expression, if there is one.

    When a video is processed in windows, an expression can be anywhere in a window, so it must be in training too.
    """
    step = 1 / settings.fps
    most = float(recording.times_s[-1])
    shortest = (settings.frames - 1) * step
    if settings.windows == "mixed" and rng.random() < CUT:
        start, end = _cut(event, most, settings, rng)
        end = min(max(end, start + shortest), most)
        return _spaced(recording, settings, max(min(start, end - shortest), 0.0), end)
    least = settings.shortest_s if event is None else _least_s(event, settings)
    span = min(max(rng.uniform(least, max(least, settings.longest_s)), shortest), most)
    low, high = 0.0, most - span
    if event is not None:
        # At least three quarters of the rise and the first quarter of the fall.
        apex = event.apex_s + event.hold_s
        fall = min(event.offset_s - apex, settings.longest_s)
        low = min(max(low, apex + 0.25 * fall - span), high)
        high = max(low, min(high, event.onset_s + 0.25 * (event.apex_s - event.onset_s)))
    start = rng.uniform(low, high)
    return _spaced(recording, settings, start, start + span)


def _cut(event: Event | None, most: float, settings: SimulatedClips, rng: np.random.Generator) -> tuple[float, float]:
    """From near the onset to near the apex, or on into the fall; where nothing is expressed, as short a time."""
    if event is None:
        start = rng.uniform(0, 0.8 * most)
        return start, start + float(np.exp(rng.uniform(np.log(0.08), np.log(0.6))))
    jitter = 0.15 * (event.apex_s - event.onset_s)
    start = max(event.onset_s + rng.normal(0, jitter), 0.0)
    if rng.random() < 0.5:
        return start, event.apex_s + event.hold_s / 2 + rng.normal(0, jitter)
    fall = min(event.offset_s - event.apex_s, settings.longest_s)
    return start, event.apex_s + rng.uniform(0.2, 1.0) * fall


def _least_s(event: Event, settings: SimulatedClips) -> float:
    """The shortest window that shows most of the event; of a slow fade, of what is seen first."""
    visible_s = min(event.offset_s - event.onset_s, settings.longest_s)
    return max(settings.shortest_s, 0.8 * visible_s)


def _spaced(recording: Recording, settings: SimulatedClips, start: float, end: float) -> npt.NDArray[np.int64]:
    chosen = np.rint(np.linspace(start, end, settings.frames) * settings.fps).astype(np.int64)
    return np.clip(chosen, 0, len(recording) - 1)


def draw_clip(settings: SimulatedClips, subject: int, sample: int) -> tuple[Clip, str]:
    """The clip with these numbers, with exact landmarks and flow, and the emotion's name."""
    recording, event, emotion = draw_sample(settings.recordings, subject, sample)
    rng = stream("clip", (settings.seed, subject, sample))
    chosen = choose_frames(recording, event, settings, rng)
    images = [cv2.cvtColor(recording.image(int(k)), cv2.COLOR_RGB2GRAY) for k in chosen]
    frames = np.asarray(np.stack(images), np.uint8)
    if rng.random() < settings.compressed:
        frames = recoded(frames, draw_codec(rng))
    clip = Clip(
        frames=frames,
        times_s=recording.times_s[chosen],
        subject=person_name(settings.seed, subject),
        label=THREE_CLASS.get(emotion, NONE),
        landmarks=np.stack([recording.landmarks(int(k)) for k in chosen]),
        flow=np.stack([recording.flow(int(a), int(b))[0] for a, b in pairwise(chosen)]),
        units=() if event is None else event.coded,
    )
    return clip, emotion


def prepare_simulated(
    root: Path | str,
    settings: SimulatedClips,
    *,
    processes: int = 1,
    on_subject: Callable[[], None] = lambda: None,
) -> ClipStore:
    """Fill a store, or continue where an earlier run stopped.

    Raises:
        InputError: the existing store was made with other settings.
        OutputError: it cannot be written.
    """
    check_processes(processes)
    store = ClipStore.create(root, {"kind": SIMULATED, "version": VERSION, **asdict(settings)})
    work = [s for s in range(settings.subjects) if not store.has(_key(settings, s))]
    for _ in range(settings.subjects - len(work)):
        on_subject()
    if not work and store.finished:  # it may be in a read-only place
        return store
    with store.filling():
        mapped(_fill, [(store.root, settings, subject) for subject in work], processes, on_item=on_subject)
    return ClipStore(root)


def _key(settings: SimulatedClips, subject: int) -> str:
    return digest_of([settings.seed, subject, VERSION])


def _fill(root: Path, settings: SimulatedClips, subject: int) -> None:
    drawn = [draw_clip(settings, subject, sample) for sample in range(settings.samples)]
    names = [f"{emotion}_{k:03d}" for k, (_, emotion) in enumerate(drawn)]
    ClipStore(root).add(_key(settings, subject), [clip for clip, _ in drawn], dataset=SIMULATED, samples=names)


__all__ = ["BALANCED", "SimulatedClips", "choose_frames", "draw_clip", "prepare_simulated"]
