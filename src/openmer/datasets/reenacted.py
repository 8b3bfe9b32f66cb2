"""Clips of real faces that show drawn expressions: from videos and photographs to a store, without annotation.

Of each video, stretches in which one face is found are drawn, and an expression is re-enacted in each (see
`openmer.simulator.reenact`); a photograph sways a little, with fresh noise in each frame. Clips without an expression
are sampled there and back, so that the resampling tells nothing.

Landmarks are the face model's, steadied, moved by what was added. Flow is what was added on top of the untouched
frames' own flow: of a photograph that is exact, of a video the face's own part is measured (DIS), the added one exact.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from scipy.ndimage import map_coordinates

from openmer.clip import ALIGNED_PX, NONE, REENACTED, Array, Clip, Gray, Times, alike
from openmer.clips.flow import optical_flow
from openmer.clips.store import ClipStore, digest_of
from openmer.datasets.settings import ReenactedClips
from openmer.errors import InputError
from openmer.face.align import Alignment, align
from openmer.face.registry import face_model
from openmer.face.track import FaceModel, FaceTracker
from openmer.media.reader import IMAGE_SUFFIXES, VideoReader, as_gray
from openmer.processes import check_processes, mapped
from openmer.simulator.facial_motion import THREE_CLASS, Event, draw_expression, draw_micro_px
from openmer.simulator.head import draw_identity
from openmer.simulator.implant import FollowedFace, follow_face
from openmer.simulator.reenact import Actor, AddedMotion, FoldError, cast, reenact

VERSION = 2  # of how clips are chosen; a store made differently is a different store
TRIES = 100  # to find a stretch of a video with a face
PHOTO_NOISE = (0.3, 2.0)  # gray levels of the crop, standard deviation
SHRINK = 0.8  # of a motion that would fold the picture
MIN_SIZE = 0.2  # of the size that was drawn; an expression that folds even then is an error
SWAY = (1.0, 0.7, 0.008, 0.006)  # right and down px of the crop, turn in radians, growth, over a clip


@dataclass(frozen=True)
class LeftOut:
    """A video or photograph that gives no clips.

    Attributes:
        source: the file.
        reason: why.
    """

    source: Path
    reason: str


@dataclass(frozen=True)
class PlannedClip:
    """What one clip will show.

    Attributes:
        number: of the clip among those of its video.
        emotion: its name, or `none`.
        event: as drawn, in the video's seconds; of `none`, what is sampled there and back.
        peak_px: its size, px of the 128 crop.
        times_s: (T,) seconds of its frames.
        frames: (T,) their numbers.
    """

    number: int
    emotion: str
    event: Event
    peak_px: float
    times_s: Times
    frames: npt.NDArray[np.int64]

    @property
    def name(self) -> str:
        """Of the recording, in the store."""
        return f"{self.emotion}_{self.number:03d}" + ("" if self.emotion == NONE else f"_{self.peak_px:.2f}px")


def prepare_reenacted(
    root: Path | str,
    sources: tuple[Path, ...],
    settings: ReenactedClips,
    *,
    processes: int = 1,
    on_source: Callable[[], None] = lambda: None,
    on_replaced: Callable[[str], None] = lambda _: None,
) -> tuple[ClipStore, tuple[LeftOut, ...]]:
    """Fill a store, or continue where an earlier run stopped.

    The subject of a clip is the name of its video: one person's videos need names that say so only if they are to be
    kept apart from others.

    Returns:
        The store, and which videos gave no clips, with the reason.

    Raises:
        InputError: one is a folder, two videos have the same name, no video is usable, or the store was made with other
            settings.
        OutputError: it cannot be written.
    """
    folders = [str(source) for source in sources if source.is_dir()]
    if folders:
        raise InputError(f"{folders[0]} is a folder; name the files in it, as {folders[0]}/*.jpg does")
    names = [source.stem for source in sources]
    spelled = [alike(name) for name in names]
    twice = sorted({name for name, one in zip(names, spelled, strict=True) if spelled.count(one) > 1})
    if twice:
        raise InputError(f"a video is named as its person is, and two are named {' and '.join(twice)}; rename one")
    check_processes(processes)
    store = ClipStore.create(root, {"kind": REENACTED, "version": VERSION, "sources": names, **asdict(settings)})
    with store.filling():
        done = mapped(_fill, [(store.root, source, settings) for source in sources], processes, on_item=on_source)
    keys = {source.stem: key for source, (key, _) in zip(sources, done, strict=True) if key is not None}
    older = {e.key: e.subject for e in ClipStore(root) if keys.get(e.subject) not in (None, e.key)}
    for key, name in older.items():
        ClipStore(root).remove(key)
        on_replaced(name)
    left_out = tuple(LeftOut(s, reason) for s, (_, reason) in zip(sources, done, strict=True) if reason)
    if len(left_out) == len(sources):
        ClipStore(root).remove_if_empty()
        raise InputError("; ".join(f"{left.source.name}: {left.reason}" for left in left_out))
    return ClipStore(root), left_out


def _fill(root: Path, source: Path, settings: ReenactedClips) -> tuple[str | None, str | None]:
    """All clips of a source into the store; returns their key, or why there are none."""
    store = ClipStore(root)
    try:
        with source.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        key = digest_of([settings.seed, source.stem, content, VERSION])
        if not store.has(key):
            drawn = list(reenacted_clips(source, settings))
            store.add(key, [clip for clip, _ in drawn], dataset=REENACTED, samples=[name for _, name in drawn])
    except InputError as error:
        return None, str(error)
    except OSError as error:
        return None, f"cannot read {source}: {error.strerror or error}"
    return key, None


def reenacted_clips(
    source: Path, settings: ReenactedClips, model: FaceModel | None = None
) -> Iterator[tuple[Clip, str]]:
    """The clips of one video or photograph, with the recording's name.

    Raises:
        InputError: it cannot be read, or shows no face for long enough.
    """
    seed = [settings.seed, *source.stem.encode()]
    identity = draw_identity(np.random.default_rng(seed))
    if source.suffix.lower() in IMAGE_SUFFIXES:
        gray, face = _photograph(source, model or face_model())
        for number in range(settings.samples):
            rng = np.random.default_rng([*seed, number])
            plan = _planned(settings, number, rng, 0.0, 0.04)
            still = [gray] * settings.frames, [face] * settings.frames
            yield _clip(plan, cast(face, identity), *still, source.stem, rng)
        return
    if (slowdown := VideoReader(source).info.clock.slowdown) != 1:
        raise InputError(
            f"{source} is slow motion or a time lapse ({slowdown:.3g} s of the file show one second), so expressions "
            "drawn in seconds of the file would not last as long as they should; write it with the rate at which it "
            "was recorded"
        )
    followed = follow_face(source, model)
    plans = [_stretch(followed, settings, k, np.random.default_rng([*seed, k])) for k in range(settings.samples)]
    for plan, pictures in _cut(source, plans):
        points = followed.steady[plan.frames]
        actor = cast(np.median(points, axis=0).astype(np.float32), identity)
        yield _clip(plan, actor, pictures, list(points), source.stem, None)


def _photograph(source: Path, model: FaceModel) -> tuple[Gray, Array]:
    """A picture and its largest face."""
    picture = cv2.imread(str(source), cv2.IMREAD_GRAYSCALE)
    if picture is None:
        raise InputError(f"{source} cannot be read as a picture")
    gray = np.asarray(picture, np.uint8)
    face = FaceTracker(model).update(gray)
    if face is None:
        raise InputError(f"{source}: no face was found; it must be frontal and a sixteenth of the picture wide")
    return gray, face.landmarks


def _stretch(face: FollowedFace, settings: ReenactedClips, number: int, rng: np.random.Generator) -> PlannedClip:
    """A clip at a moment where one face is seen throughout."""
    step = float(np.median(np.diff(face.times_s)))
    for _ in range(TRIES):
        plan = _planned(settings, number, rng, float(rng.uniform(face.times_s[0], face.times_s[-1])), step)
        frames = np.abs(face.times_s[:, None] - plan.times_s).argmin(0)
        inside = plan.times_s[-1] <= face.times_s[-1] and bool((np.diff(frames) > 0).all())
        if inside and face.usable(float(plan.times_s[0]) - step, float(plan.times_s[-1]) + step):
            return replace(plan, times_s=face.times_s[frames], frames=frames.astype(np.int64))
    raise InputError(f"no face could be followed for {settings.shortest_s} to {settings.longest_s} s")


def _planned(
    settings: ReenactedClips, number: int, rng: np.random.Generator, start_s: float, step_s: float
) -> PlannedClip:
    """A clip that begins at a moment and contains the apex and most of its expression, if it has one."""
    emotion = settings.emotions[number % len(settings.emotions)]
    drawn = (
        emotion if emotion != NONE else str(rng.choice([e for e in settings.emotions if e != NONE] or ["happiness"]))
    )
    once = int(rng.integers(2**32))
    event = draw_expression(np.random.default_rng(once), drawn, 0.0)
    shortest = max(settings.shortest_s, 0.8 * event.offset_s, (settings.frames - 1) * step_s)
    span = float(rng.uniform(shortest, max(shortest, settings.longest_s)))
    fall = event.offset_s - event.apex_s - event.hold_s
    # At least three quarters of the rise and the first quarter of the fall.
    latest = max(0.0, span - event.apex_s - event.hold_s - 0.25 * fall)
    onset = start_s + float(rng.uniform(min(-0.25 * event.apex_s, latest), latest))
    peak_px = draw_micro_px(rng) if settings.size_px is None else float(np.exp(rng.uniform(*np.log(settings.size_px))))
    return PlannedClip(
        number,
        emotion,
        draw_expression(np.random.default_rng(once), drawn, onset),
        peak_px,
        np.linspace(start_s, start_s + span, settings.frames),
        np.zeros(settings.frames, np.int64),
    )


def _cut(source: Path, plans: list[PlannedClip]) -> Iterator[tuple[PlannedClip, list[Gray]]]:
    """Each clip with its pictures, in one pass through the video; frames that give no picture are not counted."""
    waiting = sorted(plans, key=lambda plan: int(plan.frames[-1]))
    kept: dict[int, Gray] = {}
    for row, frame in enumerate(VideoReader(source, gray=True)):
        if any(row in plan.frames for plan in waiting):
            kept[row] = as_gray(frame.image)
        while waiting and waiting[0].frames[-1] <= row:
            plan = waiting.pop(0)
            yield plan, [kept[int(k)] for k in plan.frames]
            first = min((int(p.frames[0]) for p in waiting), default=row + 1)
            kept = {k: picture for k, picture in kept.items() if k >= first}
        if not waiting:
            return


_Pictures = tuple[Actor, list[Gray], list[Array], str, np.random.Generator | None]  # as `_clip_of_size` takes them


def _clip(plan: PlannedClip, *shown: *_Pictures) -> tuple[Clip, str]:
    """As `_clip_of_size`; an expression that would fold the picture is made smaller, and named so."""
    for size in plan.peak_px * SHRINK ** np.arange(np.ceil(np.log(MIN_SIZE) / np.log(SHRINK))):
        try:
            return _clip_of_size(replace(plan, peak_px=float(size)), *shown)
        except FoldError:
            continue
    raise FoldError(f"{plan.emotion} would fold the picture even at {size:.2g} px; ask for smaller sizes")


def _clip_of_size(
    plan: PlannedClip,
    actor: Actor,
    pictures: list[Gray],
    faces: list[Array],
    subject: str,
    still: np.random.Generator | None,
) -> tuple[Clip, str]:
    """Re-enact, then align: frames, landmarks and flow of the 144 px square; with the recording's name.

    Args:
        plan: what is shown.
        actor: who shows it.
        pictures: T untouched ones.
        faces: T times (68, 2) px of them.
        subject: of the clip.
        still: of a photograph: where its sway and its noise come from.
    """
    square = align(np.median(faces, axis=0).astype(np.float32), size=ALIGNED_PX)
    squares = [square] * len(faces) if still is None else _swaying(square, len(faces), still)
    nothing = plan.emotion == NONE
    shown = reenact(actor, plan.event, plan.peak_px)
    added = [shown.on(face, float(moment)) for face, moment in zip(faces, plan.times_s, strict=True)]
    changed = [a.apply(picture) for a, picture in zip(added, pictures, strict=True)]
    if nothing:
        changed = [a.undo(picture) for a, picture in zip(added, changed, strict=True)]
        added = [AddedMotion(np.zeros_like(a.field), a.corner) for a in added]
    frames = np.stack([s.warp(picture) for s, picture in zip(squares, changed, strict=True)])
    if still is not None:
        frames = np.clip(np.rint(frames + still.normal(0, still.uniform(*PHOTO_NOISE), frames.shape)), 0, 255)
    points = [s.to_crop((f + a.at(f)).astype(np.float32)) for s, f, a in zip(squares, faces, added, strict=True)]
    untouched = [square.warp(picture) for picture in pictures]
    steps = [
        _flow((squares[a], squares[b]), (added[a], added[b]), (untouched[a], untouched[b]) if still is None else None)
        for a, b in pairwise(range(len(added)))
    ]
    clip = Clip(
        frames=frames.astype(np.uint8),
        times_s=plan.times_s,
        subject=subject,
        label=NONE if nothing else THREE_CLASS[plan.emotion],
        landmarks=np.stack(points),
        flow=np.stack(steps),
        units=() if nothing else plan.event.coded,
    )
    return clip, plan.name


def _swaying(square: Alignment, count: int, rng: np.random.Generator) -> list[Alignment]:
    """The square's way over a photograph: shift, turn and scale, with a bend in each."""
    share = np.linspace(-0.5, 0.5, count)
    dx, dy, turn, grow = (size * (rng.normal() * share + 2 * rng.normal() * share**2) for size in SWAY)
    middle = (ALIGNED_PX - 1) / 2
    squares = []
    for k in range(count):
        linear = (1 + grow[k]) * np.array([[np.cos(turn[k]), -np.sin(turn[k])], [np.sin(turn[k]), np.cos(turn[k])]])
        shift = middle - linear @ np.full(2, middle) + (dx[k], dy[k])
        matrix = linear @ square.matrix
        matrix[:, 2] += shift
        squares.append(Alignment(matrix, ALIGNED_PX))
    return squares


def _flow(
    squares: tuple[Alignment, Alignment],
    added: tuple[AddedMotion, AddedMotion],
    moving: tuple[Gray, Gray] | None,
) -> Array:
    """(2, 144, 144) px: back to the untouched frame, along its own flow, and on to the next version.

    Args:
        squares: of both frames.
        added: to both.
        moving: both untouched squares, or None of a photograph, whose own motion is that of the squares.
    """
    y, x = np.mgrid[:ALIGNED_PX, :ALIGNED_PX].astype(np.float32)
    here = np.stack([x, y], -1)
    source = np.asarray(added[0].source(squares[0].to_image(here)), np.float32)
    if moving is not None:
        own = optical_flow(*moving, "dis")
        places = squares[0].to_crop(source)
        step = [map_coordinates(part, [places[..., 1], places[..., 0]], order=1, mode="nearest") for part in own]
        source = squares[0].to_image(places + np.stack(step, -1).astype(np.float32))
    moved = squares[1].to_crop((source + added[1].at(source)).astype(np.float32))
    return np.asarray(np.moveaxis(moved - here, -1, 0), np.float32)
