"""From a dataset's recordings to a store: find the face, align, take clips, compute the teacher's flow.

One pass of detection per recording and one flow per pair of frames; recordings run in parallel processes, and what
already exists is not made again.
"""

import hashlib
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from openmer.choices import FaceModelName
from openmer.clip import NONE, SIMULATED, Array, Clip, Gray, Sample, Times
from openmer.clips.build import build_clip
from openmer.clips.interpolation import even_places
from openmer.clips.sampling import TOO_FEW, interleaved, uniform
from openmer.clips.store import ClipStore, digest_of
from openmer.datasets.folder import MAX_RATE_ERROR
from openmer.datasets.settings import PrepareSettings
from openmer.datasets.trees import frame_files
from openmer.errors import InputError
from openmer.face.registry import face_model
from openmer.face.track import Face, FaceModel, FaceTracker
from openmer.facs import read_action_units
from openmer.media.reader import VideoReader, as_gray
from openmer.processes import check_processes, mapped

VERSION = 3  # of how clips and their labels are made; a store of another one is another store
FILLED = "with --interpolation tim, frames are drawn between those of recordings that are too short"
MARGIN = 0.25  # around cropped faces, of the longer side


@dataclass(frozen=True)
class Problem:
    """A recording from which no clips could be made, and why."""

    sample: Sample
    reason: str


_Done = tuple[str | None, str | None]  # the key in the store, and why there are no clips, if so


def prepare(
    samples: Sequence[Sample],
    root: Path | str,
    settings: PrepareSettings | None = None,
    *,
    processes: int = 1,
    on_sample: Callable[[], None] = lambda: None,
    on_replaced: Callable[[str], None] = lambda _: None,
) -> tuple[ClipStore, tuple[Problem, ...]]:
    """Fill a store, or continue where an earlier run stopped.

    Args:
        samples: recordings of any number of datasets.
        root: the store's folder.
        settings: see `PrepareSettings`.
        processes: at once.
        on_sample: called for each recording.
        on_replaced: called with DATASET/SUBJECT/SAMPLE of each recording whose clips were of other files or another
            annotation, and were replaced.

    Returns:
        The store, and the recordings that could not be used, which the caller should report.

    Raises:
        InputError: the store was made with other settings, or no recording could be used.
        OutputError: it cannot be written.
    """
    settings = settings or PrepareSettings()
    if not samples:
        raise InputError("there is no recording to prepare; openmer data check says what is missing")
    check_processes(processes)
    names = sorted({s.dataset for s in samples})
    kind = SIMULATED if names == [SIMULATED] else "recordings"
    how = {**asdict(settings), "device": settings.flow_device}
    described = {"kind": kind, "datasets": names, "version": VERSION, **how}
    store = ClipStore.create(root, described)
    work = [(store.root, sample, settings) for sample in samples]
    with store.filling():
        done = mapped(_fill, work, processes, on_item=on_sample, one_thread=True)
    problems = [Problem(s, reason) for s, (_, reason) in zip(samples, done, strict=True) if reason is not None]
    # Of pictures that cannot be read now, older clips stay; of an annotation that gives none any more, they do not.
    keys = {s.key: key for s, (key, _) in zip(samples, done, strict=True)}
    for video in _forget_older(ClipStore(root), keys):
        on_replaced(video)
    if len(problems) == len(samples):
        ClipStore(root).remove_if_empty()
        hint = f"; {FILLED}" if could_be_filled(problems, settings) else ""
        raise InputError(
            f"no recording could be used; the first: {problems[0].sample.name}: {problems[0].reason}{hint}"
        )
    return ClipStore(root), tuple(problems)


def could_be_filled(problems: Sequence[Problem], settings: PrepareSettings) -> int:
    """How many recordings could not be used only because frames were not drawn between theirs."""
    return sum(TOO_FEW in problem.reason for problem in problems) if settings.interpolation == "none" else 0


def _forget_older(store: ClipStore, keys: Mapping[tuple[str, str, str], str | None]) -> list[str]:
    """Remove what was made of recordings of these names from other files or annotation; returns the names."""
    older = {e.key: "/".join(e.video) for e in store if keys.get(e.video) not in (None, e.key)}
    for key in older:
        store.remove(key)
    return sorted(set(older.values()))


def not_asked_for(store: ClipStore, samples: Sequence[Sample]) -> list[str]:
    """Recordings that an earlier run put into the store and this one was not given."""
    asked = {s.key for s in samples}
    return sorted({"/".join(e.video) for e in store if e.video not in asked})


def _fill(root: Path, sample: Sample, settings: PrepareSettings) -> _Done:
    """Prepare one recording; no key if its pictures cannot be read."""
    known = None
    try:
        key = _key(sample)
        store = ClipStore(root)
        if not store.has(key):
            read = read_frames(sample, settings.face)
            known = key
            clips = _clips_of(read, sample, settings)
            store.add(key, clips, dataset=sample.dataset, samples=[sample.name] * len(clips))
    except InputError as error:
        return known, str(error)
    except OSError as error:
        return None, f"cannot read {error.filename or sample.source}: {error.strerror or error}"
    return key, None


def _key(sample: Sample) -> str:
    """A digest of the pictures used and of the annotation: what has changed is prepared again."""
    total = hashlib.sha256()
    for path in _files(sample):
        total.update(path.name.encode() + b"\0" + path.read_bytes())
    marks = (sample.label, sample.onset, sample.offset, str(sample.fps), sample.cropped)
    return digest_of([*sample.key, *marks, total.hexdigest(), *sample.action_units])


def _files(sample: Sample) -> list[Path]:
    """The video, or the pictures from onset to offset."""
    if not sample.source.is_dir():
        return [sample.source]
    numbered = frame_files(sample.source)
    onset = min(numbered, default=0) if sample.onset is None else sample.onset
    offset = max(numbered, default=0) if sample.offset is None else sample.offset
    return [path for number, path in sorted(numbered.items()) if onset <= number <= offset]


def sample_clips(sample: Sample, settings: PrepareSettings) -> list[Clip]:
    """The aligned clips of one recording, from its onset to its offset if known.

    Raises:
        InputError: it cannot be read, is too short, or the face is missing in more than a few frames of a clip.
    """
    return _clips_of(read_frames(sample, settings.face), sample, settings)


def _clips_of(read: "Frames", sample: Sample, settings: PrepareSettings) -> list[Clip]:
    if not sample.source.is_dir() and sample.offset is not None and sample.offset > read.last:
        raise InputError(
            f"the offset {sample.offset} lies beyond its last frame, {read.last}; frames of a video count from 0"
        )
    first = 0 if sample.onset is None else int(np.searchsorted(read.numbers, sample.onset))
    end = len(read.numbers) if sample.offset is None else int(np.searchsorted(read.numbers, sample.offset, "right"))
    last = end - 1
    between = None
    if settings.interpolation != "none" and last - first + 1 < settings.frames:
        between = settings.interpolation, even_places(last - first + 1, settings.frames)
        chosen = np.arange(first, end)[None]
    elif settings.sampling == "uniform":
        chosen = uniform(first, last, settings.frames)
    else:
        chosen = first + interleaved(last - first + 1, settings.frames)
    return [
        replace(
            build_clip(
                [read.images[k] for k in row],
                read.landmarks[row],
                read.times_s[row],
                align=settings.align,
                flow=settings.flow,
                device=settings.flow_device,
                between=between,
            ),
            subject=sample.subject,
            label=sample.label,
            units=_units(sample),
        )
        for row in chosen
    ]


def _units(sample: Sample) -> tuple[int, ...] | None:
    """Action units that are shown, or None if it is not known of all: a unit left out here counts as not shown.

    So one of which the coder was not certain leaves the others unused too. Without any, only the label `none` says that
    none is shown.
    """
    units, unread = read_action_units("+".join(sample.action_units))
    if unread or not all(u.certain for u in units) or not (units or sample.label == NONE):
        return None
    return tuple(sorted({u.number for u in units}))


@dataclass(frozen=True)
class Frames:
    """A recording up to its offset.

    Attributes:
        images: gray, by row; only those from onset to offset, as a video can hold minutes beside them.
        times_s: (n,) seconds.
        landmarks: (n, 68, 2) px; NaN where no face was found.
        numbers: (n,) of the frames, as the annotation counts them.
        last: number of the last frame that was met, which may be the one after the offset; -1 if there is none.
    """

    images: dict[int, Gray]
    times_s: Times
    landmarks: Array
    numbers: npt.NDArray[np.int64]
    last: int


def read_frames(sample: Sample, face: FaceModelName = "dlib") -> Frames:
    """Every frame up to the offset with its face, tracked from frame to frame.

    Raises:
        InputError: the recording cannot be read.
    """
    tracker = FaceTracker(_face_model(face))
    images: dict[int, Gray] = {}
    times: list[float] = []
    faces: list[Face | None] = []
    numbers: list[int] = []
    last = -1
    reader = _reader(sample)
    for frame in reader:
        number = last = frame.index
        if sample.offset is not None and number > sample.offset:
            break
        gray = as_gray(frame.image)
        if sample.cropped:  # the detector needs more than the face
            room = round(MARGIN * max(gray.shape))
            gray = cv2.copyMakeBorder(gray, room, room, room, room, cv2.BORDER_REPLICATE).astype(np.uint8)
        if sample.onset is None or number >= sample.onset:
            images[len(times)] = gray
        times.append(frame.time_s)
        faces.append(tracker.update(gray))
        numbers.append(number)
    unknown = np.full((68, 2), np.nan, np.float32)
    landmarks = np.stack([unknown if f is None else f.landmarks for f in faces] or [unknown])
    return Frames(images, np.array(times), landmarks, np.array(numbers, np.int64), last)


@cache
def _face_model(name: FaceModelName) -> FaceModel:
    """Loaded once per process: that takes longer than finding the faces of a short recording."""
    return face_model(name)


def _reader(sample: Sample) -> VideoReader:
    """From a folder of pictures, only those from onset to offset are read: a folder can hold minutes."""
    if not sample.source.is_dir():
        reader = VideoReader(sample.source)
        own = reader.info.fps
        if own and abs(own - sample.fps) <= MAX_RATE_ERROR * own:
            return reader
        # It has no rate of its own, or is slow motion that was declared as it was filmed.
        return VideoReader(sample.source, fps=sample.fps)
    whole = VideoReader(sample.source, fps=sample.fps)
    numbers = whole.numbers
    if numbers is None or sample.onset is None or sample.offset is None:
        return whole
    first = bisect_left(numbers, sample.onset)
    last = bisect_right(numbers, sample.offset) - 1
    if first > last:
        raise InputError(
            f"no picture in {sample.source} lies between onset {sample.onset} and offset {sample.offset}: they are "
            f"numbered {numbers[0]} to {numbers[-1]}"
        )
    quarter = 0.25 / float(sample.fps)
    # A reader derives time from the picture numbers, starting at the first, so a gap in them is a gap in time.
    start, end = (float((numbers[k] - numbers[0]) / sample.fps) for k in (first, last))
    return VideoReader(sample.source, fps=sample.fps, start_s=max(0.0, start - quarter), end_s=end + quarter)
