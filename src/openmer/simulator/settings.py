"""What the simulator makes; the command line is made from it."""

from dataclasses import dataclass
from functools import cache
from typing import Literal, get_args

from openmer.clip import ALIGNED_PX, NONE
from openmer.errors import InputError
from openmer.simulator.shown_units import EMOTION_COUNTS, EMOTIONS, OTHERS, PEOPLE, Like
from openmer.simulator.streams import stream

Head = Literal["calm", "lively", "mixed"]
Shares = Literal["balanced", "natural", "dataset"]


@dataclass(frozen=True, kw_only=True)
class RecordingSettings:
    """How one recording is made.

    Attributes:
        fps: Frames per second, 25 to 1000.
        size: Side of the images, px; they show the aligned square.
        head: For short recordings: calm sits in front of a camera, lively turns and moves, mixed is either.
        like: Whose action units, sides and timing the expressions have, as counted in the datasets' annotations.
    """

    fps: float = 200.0
    size: int = ALIGNED_PX
    head: Head = "calm"
    like: Like = "mixture"

    def __post_init__(self) -> None:
        if not 25 <= self.fps <= 1000:
            raise InputError(f"fps must lie between 25 and 1000, got {self.fps}")
        if not 64 <= self.size <= 1024:
            raise InputError(f"size must lie between 64 and 1024 px, got {self.size}")
        for name, value, allowed in (("head", self.head, get_args(Head)), ("like", self.like, get_args(Like))):
            if value not in allowed:
                raise InputError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")


@dataclass(frozen=True, kw_only=True)
class SimulateSettings(RecordingSettings):
    """What is made.

    Attributes:
        subjects: Number of simulated people.
        samples: Recordings per person.
        seed: Determines everything random; another seed gives other people. mol-lite was trained on the people of
            seeds 0, 1, 1001 and 1002.
        emotions: Which ones to show, in turn: happiness, surprise, disgust, anger, fear, sadness, contempt,
            repression, others, none (a recording without an expression).
        flow: Store exact flow (most of the size); long videos have none.
        minutes: Length of each long video, for spotting; without it, recordings are short, of one expression each.
        shares: For short recordings: emotions in turn, or as often as the dataset has them (and none for a quarter),
            or exactly as many people and recordings of each emotion as it has.
    """

    subjects: int = 24
    samples: int = 10
    seed: int = 10
    emotions: tuple[str, ...] = (*EMOTIONS, NONE)
    flow: bool = True
    minutes: float | None = None
    shares: Shares = "balanced"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.subjects < 1 or self.samples < 1:
            raise InputError(f"there must be subjects and samples, got {self.subjects} and {self.samples}")
        if self.shares not in get_args(Shares):
            raise InputError(f"shares must be one of {', '.join(get_args(Shares))}, got {self.shares!r}")
        if self.seed < 0:
            raise InputError(f"the seed must not be negative, got {self.seed}")
        known = (*EMOTIONS, OTHERS, NONE)
        unknown = [e for e in self.emotions if e not in known]
        if unknown or not self.emotions:
            what = f"unknown emotion {', '.join(unknown)}" if unknown else "no emotion is named"
            raise InputError(f"{what}; there are {', '.join(known)}")
        if self.minutes is not None:
            self._check_long(self.minutes)
        elif self.shares != "balanced" and not set(self.emotions) & {*EMOTION_COUNTS[self.like], NONE}:
            raise InputError(f"{self.like} has none of the emotions {', '.join(self.emotions)}")

    def _check_long(self, minutes: float) -> None:
        if not 0.2 <= minutes <= 120:
            raise InputError(f"minutes must lie between 0.2 and 120, got {minutes}")
        if self.size % 2:
            raise InputError(f"a video's size must be even, got {self.size}")
        if self.shares != "balanced":
            raise InputError(
                "--shares is for short recordings; in long videos, every emotion is as frequent as the others"
            )
        if self.head != "calm":
            raise InputError("--head is for short recordings; in long videos, heads sway calmly")
        if set(self.emotions) <= {NONE}:
            raise InputError("a long video shows expressions; name one in --emotions, or leave out --emotions")

    @property
    def numbers(self) -> list[tuple[int, int]]:
        """Subject and sample of every recording."""
        every = [(s, k) for s in range(self.subjects) for k in range(self.samples)]
        if self.shares != "dataset":
            return every
        return [(s, k) for s, k in every if k * self.subjects + s < len(dealt(self.like, self.seed))]


LONG = SimulateSettings(samples=1, fps=30.0, size=256, minutes=2.0)  # of a long video, by default


def dataset_settings(like: Like) -> SimulateSettings:
    """A simulated dataset with as many people, and recordings of each emotion, as the one that it is like."""
    subjects = PEOPLE[like]
    samples = -(-sum(EMOTION_COUNTS[like].values()) // subjects)
    return SimulateSettings(subjects=subjects, samples=samples, like=like, shares="dataset")


@cache
def dealt(like: Like, seed: int) -> tuple[str, ...]:
    """The emotion of every recording of a dataset, in random order."""
    cards = [emotion for emotion, count in EMOTION_COUNTS[like].items() for _ in range(count)]
    return tuple(str(e) for e in stream("emotion", (seed,)).permutation(cards))
