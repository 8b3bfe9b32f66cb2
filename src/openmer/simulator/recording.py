"""One simulated recording: who, what happens, how it is filmed; frames and truth for any moment.

Everything follows from the recording's numbers, so a frame, a landmark or the flow between any two frames can be
computed at any time, in any order, and is always the same.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import cv2
import numba
import numpy as np
import numpy.typing as npt
from scipy.signal import lfilter
from scipy.special import expit

from openmer.clip import ALIGNED_PX, NONE, Array, Times
from openmer.simulator.camera import Camera, Pose, Surface, exact_flow, rasterize
from openmer.simulator.facial_motion import (
    Event,
    Habits,
    draw_expression,
    draw_habits,
    draw_micro_px,
    total_coefficients,
)
from openmer.simulator.folds import folded
from openmer.simulator.head import Identity, draw_identity, front_skin, head_model, landmarks, seen_landmarks
from openmer.simulator.head_motion import Gesture, HeadMotion, draw_gesture, draw_head_motion, with_gestures
from openmer.simulator.look import Look, draw_hair_style, draw_look, hair_volume, infrared
from openmer.simulator.other_motion import OTHERS, draw_others, draw_speech
from openmer.simulator.render import Image, Scene, crop_camera, draw_scene, expose, shade
from openmer.simulator.settings import RecordingSettings
from openmer.simulator.streams import stream

SUPERSAMPLING = 2  # 1 is clearly worse, 4 barely better
METER = 3  # times as coarse
FACE_LIGHT = (0.1, 0.3)  # gray levels 90 to 147
LONG_MARGIN = 1.25  # a long video shows more than the aligned square
STRONGEST = 1.1  # of a unit, where 1 is a full expression
MACRO_RANGE_PX = (3.2, 10.0)
CALM = (0.1, 0.35, 0.9)  # factors on the head's sway
LIVELY, LIVELY_TURN = (0.3, 1.0, 2.5, 5.0), 2.5  # up to 25 degrees turned
GESTURE = {"calm": (0.15, 0.15), "lively": (0.75, 0.6)}  # how often a head makes a move, and its size
GESTURE_EVERY_S = 12.0
INFRARED, BACKDROP_MOVES = 0.08, 0.25  # shares of short recordings


@dataclass(frozen=True)
class Person:
    """A subject: a face, how it looks and how it moves."""

    identity: Identity
    look: Look
    habits: Habits


@lru_cache(maxsize=4)
def draw_person(seed: tuple[int, ...]) -> Person:
    """The person with this seed; painted once, however many recordings show them."""
    identity = draw_identity(stream("person", seed))
    rng = stream("look", seed)
    style = draw_hair_style(rng)
    haired = identity.thicker(hair_volume(style, rng))
    return Person(haired, draw_look(rng, style), draw_habits(stream("habits", seed)))


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
        backdrop_px: (T, 2) px by which what is behind the head has moved, or None.
    """

    person: Person
    camera: Camera
    scene: Scene
    times_s: Times
    poses: tuple[Pose, ...]
    events: tuple[Event, ...]
    light: Array
    noise_seed: tuple[int, ...]
    backdrop_px: Array | None = None

    def __len__(self) -> int:
        return len(self.times_s)

    @cached_property
    def coefficients(self) -> Array:
        """(T, B) of the head's fields."""
        return total_coefficients(self.events, self.times_s)

    def vertices(self, frame: int) -> Array:
        """(V, 3) mm."""
        return self._vertices(frame)

    @cached_property
    def _vertices(self) -> Callable[[int], Array]:
        """Frame -> where its vertices are; the last few are cached, as pictures, landmarks and flow all need them."""

        def placed(frame: int) -> Array:
            return self.poses[frame].apply(self.person.identity.posed(self.coefficients[frame]))

        return lru_cache(maxsize=16)(placed)

    def image(self, frame: int) -> Image:
        """(H, W, 3) uint8 RGB."""
        scene = self.scene if self.backdrop_px is None else _moved_behind(self.scene, self.backdrop_px[frame])
        rng = stream("noise", (*self.noise_seed, frame))
        rows = scene.mains.rows(float(self.times_s[frame]), self.camera.height) if scene.mains else None
        return expose(self._light_of(frame, self._surface(frame), scene), scene, rng, times=SUPERSAMPLING, rows=rows)

    def _light_of(self, frame: int, surface: Surface, scene: Scene) -> Array:
        """(H, W, 3) linear light."""
        folds = folded(self.coefficients[frame])
        return shade(surface, self.vertices(frame), folds, self.person.look, scene, float(self.light[frame]))

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
        wide, high = self.camera.width // METER, self.camera.height // METER  # a light meter needs no fine picture
        camera = Camera(wide, high, self.camera.distance, self.camera.focal / METER)
        surface = _seen(camera, self.vertices(0))
        linear = self._light_of(0, surface, self.scene)
        exposure = brightness / max(float(linear[surface.covered].mean()), 1e-4)
        return replace(self, scene=replace(self.scene, exposure=exposure))

    @cached_property
    def _fine(self) -> Camera:
        return self.camera.enlarged(SUPERSAMPLING)

    @cached_property
    def _surface(self) -> Callable[[int], Surface]:
        """Frame -> what it shows; the last few are cached, since a frame is needed for a picture and two flows."""

        def surface(frame: int) -> Surface:
            return _seen(self._fine, self.vertices(frame))

        return lru_cache(maxsize=16)(surface)


def _seen(camera: Camera, vertices: Array) -> Surface:
    """The head and what it wears."""
    model = head_model()
    return rasterize(camera.project(vertices), model.mesh_faces, camera.height, camera.width, closed=len(model.faces))


def _moved_behind(scene: Scene, by_px: Array) -> Scene:
    height, width = scene.background.shape[:2]
    shift = np.array([[1, 0, by_px[0]], [0, 1, by_px[1]]], np.float32)
    moved = cv2.warpAffine(scene.background, shift, (width, height), borderMode=cv2.BORDER_REFLECT)
    return replace(scene, background=np.asarray(moved, np.float32))


def _averaged(flow: Array, visible: npt.NDArray[np.bool_]) -> tuple[Array, npt.NDArray[np.bool_]]:
    """From the supersampled grid to the picture's: the mean of what is visible; visible where most of a pixel is."""
    times = SUPERSAMPLING
    height, width = visible.shape[0] // times, visible.shape[1] // times
    mean, most = np.zeros((2, height, width), np.float32), np.zeros((height, width), np.bool_)
    _average(flow, visible, times, mean, most)
    return mean, most


@numba.njit(cache=True)
def _average(flow, visible, times, mean, most):  # type: ignore[no-untyped-def]
    for y in range(mean.shape[1]):
        for x in range(mean.shape[2]):
            count, dx, dy = 0, 0.0, 0.0
            for v in range(y * times, (y + 1) * times):
                for u in range(x * times, (x + 1) * times):
                    if visible[v, u]:
                        count += 1
                        dx += flow[0, v, u]
                        dy += flow[1, v, u]
            if count:
                mean[0, y, x] = dx / count / times
                mean[1, y, x] = dy / count / times
            most[y, x] = 2 * count > times * times


def unit_curves(events: Sequence[Event], times_s: Times) -> dict[int, Array]:
    """Each action unit that occurs -> (T, 2) strength on the subject's right and left; 1 is a full expression."""
    curves: dict[int, Array] = {}
    for event in events:
        for unit, strength in event.units.items():
            curve = np.stack([event.curve(times_s - lag) for lag in event.lags_s.get(unit, (0.0, 0.0))], 1)
            before = curves.get(unit, np.zeros((len(times_s), 2), np.float32))
            curves[unit] = (before + curve * strength).astype(np.float32)
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
    neutral = camera.project(pose.apply(identity.vertices))[:, :2]
    strength, most = 0.05, STRONGEST / max(max(both) for both in event.units.values())
    weights, reach = event.weights, 0.0
    for _ in range(4):  # clipping and perspective make it slightly non-linear
        moved = camera.project(pose.apply(identity.posed(strength * weights)))[:, :2]
        reach = float(np.linalg.norm(moved - neutral, axis=1)[front_skin()].max() * to_crop)
        strength = min(strength * peak_px / max(reach, 1e-6), most)
    return replace(event.times_strength(strength), peak_px=reach)


def draw_recording(
    seed: Sequence[int],
    person: Person,
    emotion: str,
    settings: RecordingSettings = RecordingSettings(),
    *,
    peak_px: float | None = None,
    distractors: bool = True,
    noise: bool = True,
) -> tuple[Recording, Event | None]:
    """A short film with one micro-expression, or with none.

    Args:
        seed: everything drawn follows from it.
        person: who.
        emotion: one of `EMOTIONS`, or `none`.
        settings: how it is made.
        peak_px: largest motion in px of the 128 crop; drawn by default.
        distractors: whether blinks, gaze, speech, head and light may move too.
        noise: whether the camera is noisy.
    """
    rng = stream("recording", seed)
    lively = settings.head == "lively" or (settings.head == "mixed" and stream("head", seed).random() < 0.5)
    liveliness = (1.0 if distractors else 0.0) * float(rng.choice(LIVELY if lively else CALM))
    motion = draw_head_motion(rng, liveliness, LIVELY_TURN if lively else 1.0)
    motion = centred(motion, person.identity.vertices)
    neutral = motion.rest.apply(person.identity.vertices)
    camera = crop_camera(settings.size, neutral)
    lead, tail = rng.uniform(0.1, 0.3, 2)
    main: Event | None = None
    if emotion == NONE:
        end = lead + rng.uniform(0.2, 0.5)
    else:
        drawn = draw_expression(rng, emotion, lead, like=settings.like, habits=person.habits)
        size_px = draw_micro_px(rng) if peak_px is None else peak_px
        main = scaled(drawn, size_px, person.identity, motion.rest, camera)
        end = main.end_s
    seconds = end + tail
    events = [main] if main else []
    if distractors:
        events += draw_others(rng, seconds, alone=main is None)
        often, extent = GESTURE["lively" if lively else "calm"]
        if rng.random() < often:
            motion = with_gestures(motion, [draw_gesture(rng, float(rng.uniform(-0.5, end)), extent)])
    times = np.arange(max(8, round(seconds * settings.fps))) / settings.fps
    scene = draw_scene(stream("scene", seed), settings.size, settings.size)
    if not distractors:
        scene = replace(scene, mains=None)
    elif rng.random() < INFRARED:
        person = replace(person, look=infrared(person.look))
    recording = Recording(
        person,
        camera,
        scene if noise else scene.clean,
        times,
        tuple(motion.poses(times)),
        tuple(events),
        _light(rng, times, distractors),
        tuple(seed),
        _backdrop(rng, times, settings.size) if distractors and rng.random() < BACKDROP_MOVES else None,
    )
    return recording.exposed(float(rng.uniform(*FACE_LIGHT))), main


def draw_long(
    seed: Sequence[int],
    person: Person,
    emotions: Sequence[str],
    settings: RecordingSettings,
    *,
    minutes: float,
) -> Recording:
    """A film of several minutes for spotting: micro- and macro-expressions, speech and everything else people do.

    How often each occurs is our choice: an expression or a bout of speech every five seconds or so, half of them
    micro-expressions, most of at most half a second.
    """
    rng = stream("recording", seed)
    motion = centred(draw_head_motion(rng, float(rng.choice(CALM))), person.identity.vertices)
    neutral = motion.rest.apply(person.identity.vertices)
    camera = crop_camera(settings.size, neutral, margin=LONG_MARGIN)
    seconds = 60 * minutes
    events: list[Event] = []
    now = rng.uniform(1.5, 4)
    while now < seconds - 4:
        what = rng.choice(["micro", "macro", "speech"], p=[0.5, 0.35, 0.15])
        if what == "speech":
            events += draw_speech(rng, now, rng.uniform(1, 3))
        else:
            emotion = str(rng.choice(list(emotions)))
            drawn = draw_expression(rng, emotion, now, kind=what, like=settings.like, habits=person.habits)
            peak = draw_micro_px(rng) if what == "micro" else float(rng.uniform(*MACRO_RANGE_PX))
            events.append(scaled(drawn, peak, person.identity, motion.rest, camera, square=camera.width / LONG_MARGIN))
        now = max(e.end_s for e in events) + rng.uniform(1.5, 6)
    for draw, _, _, every in OTHERS.values():
        now = rng.exponential(every)
        while now < seconds - 2:
            events.append(draw(rng, now))
            now = events[-1].offset_s + 0.3 + rng.exponential(every)
    onsets = np.cumsum(rng.exponential(GESTURE_EVERY_S, int(2 * seconds / GESTURE_EVERY_S) + 8))
    motion = with_gestures(motion, _gestures_back(rng, onsets[onsets < seconds - 4]))
    times = np.arange(round(seconds * settings.fps)) / settings.fps
    recording = Recording(
        person,
        camera,
        draw_scene(stream("scene", seed), settings.size, settings.size),
        times,
        tuple(motion.poses(times)),
        tuple(sorted(events, key=lambda e: e.onset_s)),
        _light(rng, times, True),
        tuple(seed),
    )
    return recording.exposed(float(rng.uniform(*FACE_LIGHT)))


def _gestures_back(rng: np.random.Generator, onsets: Times) -> list[Gesture]:
    """Moves of the head, each taken back a little later, so that a head does not wander off."""
    gestures = []
    for onset in onsets:
        gesture = draw_gesture(rng, float(onset), float(rng.uniform(0.1, 0.7)))
        gestures.append(gesture)
        if gesture.turns == 0:
            later = gesture.onset_s + gesture.seconds + float(rng.uniform(0.2, 2.0))
            gestures.append(replace(gesture, onset_s=later, extent=-gesture.extent))
    return gestures


def _backdrop(rng: np.random.Generator, times: Times, size: int) -> Array:
    """(T, 2) px: what is behind the head drifts, as leaves, people and hand-held cameras make it."""
    amount = size / ALIGNED_PX * rng.exponential(3, (2, 2))
    rate, phase = rng.uniform(0.1, 1.5, (2, 2)), rng.uniform(0, 2 * np.pi, (2, 2))
    course = amount[..., None] * np.sin(2 * np.pi * rate[..., None] * times + phase[..., None])
    return np.asarray(course.sum(1).T, np.float32)


def _light(rng: np.random.Generator, times: Times, distractors: bool) -> Array:
    """(T,) factor: what changes in the room, and the camera's own exposure, which follows or hunts."""
    light = np.ones(len(times), np.float32)
    if not distractors:
        return light
    if rng.random() < 0.15:  # somebody opens a door, or a cloud passes
        light += rng.uniform(-0.15, 0.15) * expit((times - rng.uniform(0, times[-1])) / rng.choice((0.02, 0.05, 0.3)))
    if rng.random() < 0.3:
        light *= _auto_exposure(light, times, float(rng.uniform(0.1, 1.0)), float(rng.uniform(0.3, 0.9)))
    if rng.random() < 0.2:  # it hunts for the right one
        light *= 1 + rng.uniform(0.003, 0.02) * np.sin(2 * np.pi * rng.uniform(0.3, 3) * times + rng.uniform(0, 6))
    return light.astype(np.float32)


def _auto_exposure(light: Array, times: Times, seconds: float, share: float) -> Array:
    """(T,) what a camera does about a changing light: it undoes a share of it, some time later."""
    step = float(times[1] - times[0]) if len(times) > 1 else 1.0
    keep = float(np.exp(-step / seconds))
    (seen, _) = lfilter([1 - keep], [1, -keep], light, zi=[keep * float(light[0])])
    return np.asarray(np.clip(seen, 0.1, None) ** -share, np.float32)
