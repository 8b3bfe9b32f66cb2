"""One simulated recording: who, what happens, how it is filmed; frames and truth for any moment.

Everything follows from the recording's numbers, so a frame, a landmark or the flow between any two frames can be
computed at any time, in any order, and is always the same.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from openmer.clip import ALIGNED_PX, NONE, Array, Times
from openmer.simulator.camera import Camera, Pose, Surface, exact_flow, rasterize
from openmer.simulator.head import Identity, draw_identity, head_model, landmarks, seen_landmarks
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
from openmer.simulator.render import SKIN, Image, Look, Scene, crop_camera, draw_look, draw_scene, expose, shade

Head = Literal["calm", "lively", "mixed"]
SUPERSAMPLING = 2  # 1 is clearly worse, 4 barely better
FACE_LIGHT = (0.12, 0.32)  # gray levels 97 to 152
LONG_MARGIN = 1.25  # a long video shows more than the aligned square
STRONGEST = 1.1  # of a unit, where 1 is a full expression
MACRO_RANGE_PX = (3.2, 10.0)
CALM = (0.15, 0.5, 1.0)  # factors on the head's sway
LIVELY, LIVELY_TURN = (0.5, 2.0, 5.0, 10.0), 2.5  # up to 25 degrees turned, and up to some 20 degrees a second
BLINK_EVERY_S, GAZE_EVERY_S = 4.0, 8.0  # some 15 blinks a minute (Bentivoglio et al. 1997)


@dataclass(frozen=True)
class Person:
    """A subject: a face and how it looks."""

    identity: Identity
    look: Look


@lru_cache(maxsize=4)
def draw_person(seed: tuple[int, ...]) -> Person:
    """The person with this seed; painted once, however many recordings show them."""
    rng = np.random.default_rng(seed)
    return Person(draw_identity(rng), draw_look(rng))


@dataclass(frozen=True)
class Recording:
    """A film of one person.

    Attributes:
        person: who.
        camera: its picture is the aligned square (144 px) at `camera.width` pixels.
        scene: light, background, noise.
        times_s: (T,) seconds.
        poses: one per frame.
        events: what happens.
        light: (T,) factor on all light.
        noise_seed: of the camera's noise, combined with the frame number.
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
        """(68, 2) px of the picture; the jaw's on the visible contour."""
        return seen_landmarks(self.vertices(frame), self.camera)

    def flow(self, first: int, second: int) -> tuple[Array, npt.NDArray[np.bool_]]:
        """Exact flow between any two frames.

        Returns:
            (2, H, W) px, 0 off the face; (H, W) whether the pixel's skin is still visible in the second frame.
        """
        now, then = self.vertices(first), self.vertices(second)
        surfaces = self._surface(first), self._surface(second)
        flow, visible = exact_flow(surfaces, now, then, head_model().mesh_faces, self._fine)
        return _averaged(flow, visible)

    def exposed(self, brightness: float) -> "Recording":
        """The same film, exposed as a light meter would for the face in the first frame.

        Args:
            brightness: mean over the face, linear light; 0.18 is gray level 117.
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
        """Frame -> what it shows; the last few are cached, since a frame is needed for a picture and two flows."""

        def seen(frame: int) -> Surface:
            points = self._fine.project(self.vertices(frame))
            return rasterize(points, head_model().mesh_faces, self._fine.height, self._fine.width)

        return lru_cache(maxsize=16)(seen)


def _averaged(flow: Array, visible: npt.NDArray[np.bool_]) -> tuple[Array, npt.NDArray[np.bool_]]:
    """From the supersampled grid to the picture's: the mean of what is visible; visible where most of a pixel is."""
    times = SUPERSAMPLING
    height, width = visible.shape[0] // times, visible.shape[1] // times
    weight = visible.reshape(height, times, width, times).sum((1, 3))
    total = (flow * visible).reshape(2, height, times, width, times).sum((2, 4))
    return (total / np.maximum(weight, 1) / times).astype(np.float32), weight * 2 > times * times


def unit_curves(events: Sequence[Event], times_s: Times) -> dict[int, Array]:
    """Each action unit that occurs -> (T, 2) strength on the subject's right and left; 1 is a full expression."""
    curves: dict[int, Array] = {}
    for event in events:
        shown = np.stack([event.curve(times_s), event.curve(times_s - event.lag_s)], 1)
        for unit, strength in event.units.items():
            before = curves.get(unit, np.zeros((len(times_s), 2), np.float32))
            curves[unit] = (before + shown * strength).astype(np.float32)
    return dict(sorted(curves.items()))


def face_centre(vertices: Array) -> Array:
    """The middle of what eyes, nose tip and mouth span: (V, 3) -> (3,) mm."""
    points = landmarks(vertices)[[36, 39, 42, 45, 30, 48, 54]]
    return np.asarray((points.min(0) + points.max(0)) / 2)


def centred(motion: HeadMotion, neutral: Array) -> HeadMotion:
    """The same motion with the centre of the face (eyes, nose, mouth) on the camera's axis at rest."""
    middle = face_centre(motion.rest.apply(neutral))
    x, y, z = motion.rest.shift
    rest = replace(motion.rest, shift=(x - float(middle[0]), y, z - float(middle[2])))
    return replace(motion, rest=rest)


def scaled(
    event: Event, peak_px: float, identity: Identity, pose: Pose, camera: Camera, *, square: float | None = None
) -> Event:
    """The event scaled so that its largest motion at the apex is `peak_px` pixels of the 128 crop.

    Args:
        event: the relative strengths of its units are kept.
        peak_px: target; not reached if an action would have to exceed its full range.
        identity: whose face.
        pose: of the head.
        camera: the view.
        square: side of the aligned square in the picture, px; by default the picture is the square.
    """
    to_crop = ALIGNED_PX / (square or camera.width)
    seen = camera.project(pose.apply(identity.vertices))[:, :2]
    strength, most = 0.05, STRONGEST / max(max(both) for both in event.units.values())
    reach = 0.0
    for _ in range(4):  # clipping and perspective make it slightly non-linear
        moved = camera.project(pose.apply(identity.posed(strength * (event.right + event.left))))[:, :2]
        # Only skin: the insides of the eyes and the mouth are hidden.
        reach = float(np.linalg.norm(moved - seen, axis=1)[head_model().mesh_part == SKIN].max() * to_crop)
        strength = min(strength * peak_px / max(reach, 1e-6), most)
    units = {unit: (right * strength, left * strength) for unit, (right, left) in event.units.items()}
    return replace(event, right=strength * event.right, left=strength * event.left, units=units, peak_px=reach)


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
    head: Head = "calm",
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
        head: `calm` sits still before a camera, `lively` turns and moves as in a conversation, `mixed` is either at
            random.
    """
    rng = np.random.default_rng(list(seed))
    if head == "mixed":
        head = "lively" if np.random.default_rng([*seed, 9]).random() < 0.5 else "calm"
    liveliness = (1.0 if distractors else 0.0) * float(rng.choice(LIVELY if head == "lively" else CALM))
    turn = LIVELY_TURN if head == "lively" else 1.0
    motion = centred(draw_head_motion(rng, liveliness, turn), person.identity.vertices)
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
        scene if noise else scene.clean,
        times,
        tuple(motion.poses(times)),
        tuple(events),
        _light(rng, times, distractors),
        tuple(seed),
    )
    return recording.exposed(float(rng.uniform(*FACE_LIGHT))), main


def draw_long(
    seed: Sequence[int], person: Person, emotions: Sequence[str], *, minutes: float, fps: float, size: int
) -> Recording:
    """A film of several minutes for spotting: micro- and macro-expressions, speech, blinks, glances, a swaying head.

    How often each occurs is our choice: an expression or a bout of speech every five seconds or so, half of them
    micro-expressions of at most half a second.
    """
    rng = np.random.default_rng(list(seed))
    motion = centred(draw_head_motion(rng, float(rng.choice(CALM))), person.identity.vertices)
    neutral = motion.rest.apply(person.identity.vertices)
    camera = crop_camera(size, neutral, margin=LONG_MARGIN)
    seconds = 60 * minutes
    events: list[Event] = []
    now = rng.uniform(1.5, 4)
    while now < seconds - 4:
        what = rng.choice(["micro", "macro", "speech"], p=[0.5, 0.35, 0.15])
        if what == "speech":
            events += draw_speech(rng, now, rng.uniform(1, 3))
        else:
            drawn = draw_expression(rng, str(rng.choice(list(emotions))), now, kind=what)
            peak = draw_micro_px(rng) if what == "micro" else float(rng.uniform(*MACRO_RANGE_PX))
            events.append(scaled(drawn, peak, person.identity, motion.rest, camera, square=camera.width / LONG_MARGIN))
        now = max(e.offset_s + abs(e.lag_s) for e in events) + rng.uniform(1.5, 6)
    for draw, every in ((draw_blink, BLINK_EVERY_S), (draw_gaze, GAZE_EVERY_S)):
        now = rng.exponential(every)
        while now < seconds - 2:
            events.append(draw(rng, now))
            now = events[-1].offset_s + 0.3 + rng.exponential(every)
    times = np.arange(round(seconds * fps)) / fps
    recording = Recording(
        person,
        camera,
        draw_scene(rng, size, size),
        times,
        tuple(motion.poses(times)),
        tuple(sorted(events, key=lambda e: e.onset_s)),
        _light(rng, times, True),
        tuple(seed),
    )
    return recording.exposed(float(rng.uniform(*FACE_LIGHT)))


def _distractors(rng: np.random.Generator, emotion: str, seconds: float) -> list[Event]:
    """Other movements; more frequent in a film without an expression."""
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
        light += rng.uniform(-0.15, 0.15) * expit((times - rng.uniform(0, times[-1])) / 0.05)
    if distractors and rng.random() < 0.15:  # a lamp on 50 Hz mains
        light += rng.uniform(0.005, 0.03) * np.sin(2 * np.pi * 100 * times + rng.uniform(0, 6))
    return light.astype(np.float32)


__all__ = [
    "EMOTIONS",
    "Head",
    "Person",
    "Recording",
    "draw_long",
    "draw_person",
    "draw_recording",
    "unit_curves",
]
