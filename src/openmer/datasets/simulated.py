"""Clips straight from the simulator into a store: the training data of the shipped weights.

Nothing is detected or estimated on the way: frames, landmarks and flow are the simulator's own.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from openmer.clip import NONE, SIMULATED, Clip
from openmer.clips.store import ClipStore, digest_of
from openmer.errors import InputError
from openmer.processes import mapped
from openmer.simulator.generate import SimulateSettings, draw_sample, person_name
from openmer.simulator.motion import EMOTIONS, THREE_CLASS, Event
from openmer.simulator.recording import Head, Recording

NEGATIVE = tuple(e for e in EMOTIONS if THREE_CLASS[e] == "negative")
# Four classes in turn, so that all have the same number of recordings.
BALANCED = tuple(e for negative in NEGATIVE for e in (negative, "happiness", "surprise", NONE))
VERSION = 1  # of how clips are chosen; a store made differently is a different store


@dataclass(frozen=True, kw_only=True)
class SimulatedClips:
    """What is made.

    Attributes:
        subjects: people.
        samples: recordings of each, one clip per recording.
        seed: everything drawn follows from it; different seeds give different people.
        frames: of a clip.
        fps: of the recordings from which the frames are taken.
        emotions: taken in turn, shifted by one from person to person.
        shortest_s: shortest time between the first and the last frame.
        longest_s: longest.
        head: how much heads turn and move, see `draw_recording`.
    """

    subjects: int = 100
    samples: int = 4
    seed: int = 0
    frames: int = 8
    fps: float = 100.0
    emotions: tuple[str, ...] = BALANCED
    shortest_s: float = 0.3
    longest_s: float = 0.9
    head: Head = "calm"

    def __post_init__(self) -> None:
        if not 2 <= self.frames <= 64:
            raise InputError(f"a clip must have 2 to 64 frames, got {self.frames}")
        if not 0 < self.shortest_s <= self.longest_s:
            raise InputError(f"the clip must last from {self.shortest_s} to {self.longest_s} s, which cannot be")

    @property
    def recordings(self) -> SimulateSettings:
        """Settings of the recordings that the clips are cut from."""
        return SimulateSettings(
            subjects=self.subjects,
            samples=self.samples,
            seed=self.seed,
            fps=self.fps,
            emotions=self.emotions,
            head=self.head,
        )


def choose_frames(
    recording: Recording, event: Event | None, settings: SimulatedClips, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """(T,) evenly spaced frame numbers that contain the apex and most of the expression, if there is one.

    When a video is processed in windows, an expression can be anywhere in a window, so it must be in training too.
    """
    step = 1 / settings.fps
    most = recording.times_s[-1]
    least = settings.shortest_s if event is None else max(settings.shortest_s, 0.8 * (event.offset_s - event.onset_s))
    span = min(max(rng.uniform(least, max(least, settings.longest_s)), (settings.frames - 1) * step), most)
    low, high = 0.0, most - span
    if event is not None:
        # At least three quarters of the rise and the first quarter of the fall.
        apex, fall = event.apex_s + event.hold_s, event.offset_s - event.apex_s - event.hold_s
        low = min(max(low, apex + 0.25 * fall - span), high)
        high = max(low, min(high, event.onset_s + 0.25 * (event.apex_s - event.onset_s)))
    start = rng.uniform(low, high)
    chosen = np.rint(np.linspace(start, start + span, settings.frames) / step).astype(np.int64)
    return np.clip(chosen, 0, len(recording) - 1)


def draw_clip(settings: SimulatedClips, subject: int, sample: int) -> tuple[Clip, str]:
    """The clip with these numbers, with exact landmarks and flow, and the emotion's name."""
    recording, event, emotion = draw_sample(settings.recordings, subject, sample)
    rng = np.random.default_rng([settings.seed, subject, sample, 1])
    chosen = choose_frames(recording, event, settings, rng)
    images = [cv2.cvtColor(recording.image(int(k)), cv2.COLOR_RGB2GRAY) for k in chosen]
    clip = Clip(
        frames=np.asarray(np.stack(images), np.uint8),
        times_s=recording.times_s[chosen],
        subject=person_name(settings.seed, subject),
        label=THREE_CLASS.get(emotion, NONE),
        landmarks=np.stack([recording.landmarks(int(k)) for k in chosen]),
        flow=np.stack([recording.flow(int(a), int(b))[0] for a, b in pairwise(chosen)]),
        units=() if event is None else tuple(sorted(unit for unit, sides in event.units.items() if max(sides) > 0)),
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
