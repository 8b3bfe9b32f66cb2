"""One simulated recording: who, what happens, how it is filmed; frames and truth for any moment.

Everything follows from the recording's numbers, so a frame, a landmark or the flow between any two frames can be made
at any time, in any order, and is always the same.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt

from openmer.clip import Array, Times
from openmer.simulator.camera import Camera, Pose, Surface, exact_flow, rasterize
from openmer.simulator.head import Identity, draw_identity, head_model, landmarks
from openmer.simulator.motion import (
    EMOTIONS,
    Event,
    HeadMotion,
    draw_blink,
    draw_expression,
    draw_gaze,
    draw_head_motion,
    draw_micro_px,
    draw_speech,
    total_coefficients,
)
from openmer.simulator.render import Image, Look, Scene, crop_camera, draw_look, draw_scene, expose, shade

ALIGNED_PX = 144
SUPERSAMPLING = 2  # once is clearly worse, four times barely better
NONE = "none"
FACE_LIGHT = (0.12, 0.32)  # gray levels 97 to 152


@dataclass(frozen=True)
class Person:
    """A subject: a face and how it looks."""

    identity: Identity
    look: Look


@lru_cache(maxsize=4)
def draw_person(seed: tuple[int, ...]) -> Person:
    """The person that belongs to a seed; painted once, however many recordings there are of it."""
    rng = np.random.default_rng(seed)
    return Person(draw_identity(rng), draw_look(rng))


@dataclass(frozen=True)
class Recording:
    """A film of one person.

    Attributes:
        person: who.
        camera: from where; its picture is the aligned square (144 px) at `camera.width` pixels.
        scene: light, background, noise.
        times_s: (T,) seconds.
        poses: one a frame.
        events: what happens.
        light: (T,) factor on all light.
        noise_seed: of the camera's noise, a frame apart.
    """

    person: Person
    camera: Camera
    scene: Scene
    times_s: Times
    poses: tuple[Pose, ...]
    events: tuple[Event, ...]
    light: Array
    noise_seed: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.times_s)

    @cached_property
    def coefficients(self) -> Array:
        """(T, A) of the facial actions."""
        return total_coefficients(self.events, self.times_s)

    def vertices(self, frame: int) -> Array:
        """(V, 3) mm."""
        return self.poses[frame].apply(self.person.identity.posed(self.coefficients[frame]))

    def image(self, frame: int) -> Image:
        """(H, W, 3) uint8 RGB."""
        linear = shade(
            self._surface(frame), self.vertices(frame), self.person.look, self.scene, float(self.light[frame])
        )
        rng = np.random.default_rng([*self.noise_seed, frame])
        return expose(linear, self.scene, rng, times=SUPERSAMPLING)

    def landmarks(self, frame: int) -> Array:
        """(68, 2) px of the picture."""
        return self.camera.project(landmarks(self.vertices(frame)))[:, :2]

    def flow(self, first: int, second: int) -> tuple[Array, npt.NDArray[np.bool_]]:
        """Exact flow between any two frames.

        Returns:
            (2, H, W) px, 0 off the face; (H, W) whether the pixel's skin is still in sight in the second frame.
        """
        now, then = self.vertices(first), self.vertices(second)
        surfaces = self._surface(first), self._surface(second)
        flow, visible = exact_flow(surfaces, now, then, head_model().faces, self._fine)
        return _averaged(flow, visible)

    def exposed(self, brightness: float) -> "Recording":
        """The same film with the exposure that a camera's meter would choose for the face in the first frame.

        Args:
            brightness: mean of the face, linear light; 0.18 is gray level 117.
        """
        surface = self._surface(0)
        linear = shade(surface, self.vertices(0), self.person.look, self.scene, float(self.light[0]))
        exposure = brightness / max(float(linear[surface.covered].mean()), 1e-4)
        return replace(self, scene=replace(self.scene, exposure=exposure))

    @cached_property
    def _fine(self) -> Camera:
        return self.camera.enlarged(SUPERSAMPLING)

    @cached_property
    def _surface(self) -> Callable[[int], Surface]:
        """Frame -> what it shows; the last few are kept, since a frame belongs to a picture and to two flows."""

        def seen(frame: int) -> Surface:
            points = self._fine.project(self.vertices(frame))
            return rasterize(points, head_model().faces, self._fine.height, self._fine.width)

        return lru_cache(maxsize=16)(seen)


def _averaged(flow: Array, visible: npt.NDArray[np.bool_]) -> tuple[Array, npt.NDArray[np.bool_]]:
    """From the supersampled grid to the picture's: the mean of what is in sight; in sight where most of a pixel is."""
    times = SUPERSAMPLING
    height, width = visible.shape[0] // times, visible.shape[1] // times
    weight = visible.reshape(height, times, width, times).sum((1, 3))
    total = (flow * visible).reshape(2, height, times, width, times).sum((2, 4))
    return (total / np.maximum(weight, 1) / times).astype(np.float32), weight * 2 > times * times


def centred(motion: HeadMotion, neutral: Array) -> HeadMotion:
    """The same motion with the face's middle (eyes, nose, mouth) on the camera's axis at rest."""
    points = landmarks(motion.rest.apply(neutral))[[36, 39, 42, 45, 30, 48, 54]]
    middle = (points.min(0) + points.max(0)) / 2
    x, y, z = motion.rest.shift
    rest = replace(motion.rest, shift=(x - float(middle[0]), y, z - float(middle[2])))
    return replace(motion, rest=rest)


def scaled(event: Event, peak_px: float, identity: Identity, pose: Pose, camera: Camera) -> Event:
    """The event with its largest motion at the apex made `peak_px` pixels of the 128 crop."""
    seen = camera.project(pose.apply(identity.vertices))[:, :2]
    strength = 0.05
    for _ in range(4):  # clipping and perspective bend it a little
        moved = camera.project(pose.apply(identity.posed(strength * (event.right + event.left))))[:, :2]
        # Skin alone: the eyes' and the mouth's insides are out of sight.
        reach = np.linalg.norm(moved - seen, axis=1)[head_model().part == 0].max() * ALIGNED_PX / camera.width
        strength *= peak_px / max(float(reach), 1e-6)
    units = {unit: (right * strength, left * strength) for unit, (right, left) in event.units.items()}
    return replace(event, right=strength * event.right, left=strength * event.left, units=units)


def draw_recording(
    seed: Sequence[int],
    person: Person,
    emotion: str,
    *,
    fps: float = 200.0,
    size: int = ALIGNED_PX,
    peak_px: float | None = None,
    distractors: bool = True,
    noise: bool = True,
) -> tuple[Recording, Event | None]:
    """A short film with one micro-expression, or with none.

    Args:
        seed: everything drawn follows from it.
        person: who.
        emotion: one of `EMOTIONS`, or `none`.
        fps: frames a second.
        size: of the picture, px.
        peak_px: largest motion in px of the 128 crop; drawn by default.
        distractors: whether blinks, gaze, speech, head and light may move too.
        noise: whether the camera is noisy.
    """
    rng = np.random.default_rng(list(seed))
    liveliness = (1.0 if distractors else 0.0) * float(rng.choice([0.15, 0.5, 1.0]))
    motion = centred(draw_head_motion(rng, liveliness), person.identity.vertices)
    neutral = motion.rest.apply(person.identity.vertices)
    camera = crop_camera(size, neutral)
    lead, tail = rng.uniform(0.1, 0.3, 2)
    main: Event | None = None
    if emotion == NONE:
        end = lead + rng.uniform(0.2, 0.5)
    else:
        drawn = draw_expression(rng, emotion, lead)
        size_px = draw_micro_px(rng) if peak_px is None else peak_px
        main = scaled(drawn, size_px, person.identity, motion.rest, camera)
        end = main.offset_s + abs(main.lag_s)
    seconds = end + tail
    events = ([main] if main else []) + (_distractors(rng, emotion, seconds) if distractors else [])
    times = np.arange(max(8, round(seconds * fps))) / fps
    scene = draw_scene(rng, size, size)
    recording = Recording(
        person,
        camera,
        scene if noise else replace(scene, noise=0.0),
        times,
        tuple(motion.poses(times)),
        tuple(events),
        _light(rng, times, distractors),
        tuple(seed),
    )
    return recording.exposed(float(rng.uniform(*FACE_LIGHT))), main


def _distractors(rng: np.random.Generator, emotion: str, seconds: float) -> list[Event]:
    """What moves besides; a film without an expression has something more often."""
    often = 0.5 if emotion == NONE else 0.15
    events: list[Event] = []
    if rng.random() < often:
        events.append(draw_blink(rng, rng.uniform(0, seconds)))
    if rng.random() < often:
        events.append(draw_gaze(rng, rng.uniform(0, seconds)))
    if emotion == NONE and rng.random() < 0.3:
        events += draw_speech(rng, rng.uniform(0, seconds / 2), seconds / 2)
    return events


def _light(rng: np.random.Generator, times: Times, distractors: bool) -> Array:
    light = np.ones(len(times), np.float32)
    if distractors and rng.random() < 0.15:  # somebody opens a door
        light += rng.uniform(-0.15, 0.15) / (1 + np.exp(-(times - rng.uniform(0, times[-1])) / 0.05))
    if distractors and rng.random() < 0.15:  # a lamp on 50 Hz mains
        light += rng.uniform(0.005, 0.03) * np.sin(2 * np.pi * 100 * times + rng.uniform(0, 6))
    return light.astype(np.float32)


__all__ = ["EMOTIONS", "NONE", "Person", "Recording", "draw_person", "draw_recording"]
