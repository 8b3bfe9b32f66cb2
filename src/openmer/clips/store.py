"""Aligned clips on disk: made once by preparation, read many times by training.

    STORE/store.json        schema, settings and their digest
    STORE/clips/KEY.npz     clips of one recording, or of one person, uncompressed; KEY is a digest of their source
    STORE/unfinished        exists while the store is being filled, and stays if that was interrupted

A clip is stored as the aligned 144 px square, from which training cuts 128 px crops on the fly; landmarks and flow
are those of the square and are cropped with it. Each file is written under another name and renamed, so an interrupted
preparation can continue.

Shape legend: T frames, S = 144 px, 68 landmarks.
"""

import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from openmer.clip import ALIGNED_PX, FLOW_STEP_PX, NUM_LANDMARKS, Array, Clip, Gray, person_of
from openmer.errors import InputError, OutputError
from openmer.files import decode_json, read_json, write_atomic

SCHEMA = "openmer.store/1"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One clip of a store, not yet read.

    Attributes:
        key: key of its file: a digest.
        number: index of the clip within the file.
        dataset: name of the dataset.
        subject: id of the person, unique within the dataset.
        sample: name of the recording, unique within the subject.
        label: name of the class, or None.
        frames_digest: digest of the clip's pixels, to find copies under another name.
        units: FACS action units that are shown, or None if unknown.
    """

    key: str
    number: int
    dataset: str
    subject: str
    sample: str
    label: str | None
    frames_digest: str
    units: tuple[int, ...] | None = None

    @property
    def person(self) -> tuple[str, str]:
        """The person, who must not be on both sides of a split."""
        return person_of(self.dataset, self.subject)

    @property
    def video(self) -> tuple[str, str, str]:
        """(dataset, subject, sample): what a prediction refers to."""
        return (self.dataset, self.subject, self.sample)


@dataclass(frozen=True)
class StoredClip:
    """What training reads.

    Attributes:
        frames: (T, S, S) uint8.
        landmarks: (T, 68, 2) px of the square; NaN where unknown.
        flow: (T-1, 2, S, S) px from frame k to k+1, or None.
    """

    frames: Gray
    landmarks: Array
    flow: Array | None


@dataclass(frozen=True, kw_only=True)
class _Header:
    """What store.json holds."""

    schema: str
    settings: dict[str, Any]
    digest: str


def digest_of(content: Any) -> str:
    """Sixteen hex digits of the SHA-256 of plain settings (as sorted JSON)."""
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class ClipStore:
    """A folder of prepared clips.

    Args:
        root: the folder, made by `create` or by an earlier run.

    Raises:
        InputError: there is no store, or it is damaged or of another schema.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)
        path = self.root / "store.json"
        if not path.exists():
            raise InputError(f"there is no store at {self.root} (no store.json); make one with openmer prepare")
        header = read_json(path, _Header)
        if header.schema != SCHEMA:
            raise InputError(f"{path} is not a store of schema {SCHEMA}")
        if digest_of(header.settings) != header.digest:
            raise InputError(f"{path} was changed by hand: its settings do not match the digest it states")
        self.settings: Mapping[str, Any] = _in_current_words(header.settings)
        self.digest = header.digest

    @classmethod
    def create(cls, root: Path | str, settings: Mapping[str, Any]) -> "ClipStore":
        """Make a new store, or open the existing one if it was made with the same settings.

        Raises:
            InputError: the existing store was made with other settings.
            OutputError: it cannot be written.
        """
        root = Path(root)
        plain = json.loads(json.dumps(dict(settings), default=str))
        try:
            if root.exists() and not root.is_dir():
                raise OutputError(f"{root} is a file; a store is a folder: choose another --out")
            existing = (root / "store.json").exists()
            foreign = not existing and root.exists() and any(root.iterdir())
        except OSError as error:
            raise OutputError(f"cannot make a store at {root}: {error.strerror or error}") from error
        if existing:
            store = cls(root)
            if store.settings != plain:
                changed = sorted(k for k in {*plain, *store.settings} if plain.get(k) != store.settings.get(k))
                raise InputError(
                    f"the store {root} was made with other settings ({', '.join(changed)}); choose another folder, "
                    "or remove it"
                )
            return store
        if foreign:
            raise OutputError(f"{root} holds files but no store.json, so it is not a store and is left alone")
        try:
            (root / "clips").mkdir(parents=True, exist_ok=True)
            text = json.dumps({"schema": SCHEMA, "digest": digest_of(plain), "settings": plain}, indent=2)
            write_atomic(root / "store.json", text + "\n")
        except OSError as error:
            raise OutputError(f"cannot write the store {root}: {error.strerror or error}") from error
        return cls(root)

    def remove_if_empty(self) -> None:
        """Leave no store behind in which there is nothing: it would refuse the settings that could fill it."""
        if not self.entries:
            (self.root / "store.json").unlink(missing_ok=True)
            for folder in (self.root / "clips", self.root):
                with suppress(OSError):  # something of the user's lies there
                    folder.rmdir()

    @contextmanager
    def filling(self) -> Iterator[None]:
        """Mark the store as unfinished while it is being filled; the mark stays if that is interrupted.

        Raises:
            OutputError: it cannot be written.
        """
        try:
            self._mark.touch()
        except OSError as error:
            raise OutputError(f"cannot write the store {self.root}: {error.strerror or error}") from error
        yield
        self._mark.unlink(missing_ok=True)

    @property
    def finished(self) -> bool:
        """Whether the last filling was completed."""
        return not self._mark.exists()

    @property
    def _mark(self) -> Path:
        return self.root / "unfinished"

    @property
    def interleaved(self) -> bool:
        """Whether the clips of a recording are the phases of one: together they hold its frames, each once."""
        return self.settings.get("sampling") == "interleaved"

    def has(self, key: str) -> bool:
        """Whether this source is already in the store."""
        return self._path(key).is_file()

    def remove(self, key: str) -> None:
        """Delete the clips of a key."""
        self._path(key).unlink(missing_ok=True)

    def add(self, key: str, clips: Sequence[Clip], *, dataset: str, samples: Sequence[str]) -> None:
        """Write all clips of a key; an older version is replaced as a whole.

        Args:
            key: key of the source, for `has`.
            clips: 144 px frames, landmarks, optional flow.
            dataset: name of the dataset.
            samples: name of the recording that each clip belongs to.

        Raises:
            InputError: there are no clips, a clip is not 144 px, has no landmarks, or its flow is not finite.
            OutputError: the disk is full, or not writable.
        """
        if not clips:
            raise InputError(f"{dataset}: there are no clips to store")
        arrays: dict[str, npt.NDArray[Any]] = {}
        rows = []
        for number, (clip, sample) in enumerate(zip(clips, samples, strict=True)):
            name = f"{dataset} {clip.subject} {sample}"
            if clip.frames.shape[1:] != (ALIGNED_PX, ALIGNED_PX) or clip.landmarks is None:
                raise InputError(
                    f"{name}: a stored clip has {ALIGNED_PX} px frames and landmarks, got {clip.frames.shape}"
                )
            arrays[f"frames{number}"] = clip.frames
            arrays[f"landmarks{number}"] = clip.landmarks.astype(np.float32)
            if clip.flow is not None:
                if not np.isfinite(clip.flow).all():
                    raise InputError(f"{name}: the flow holds values that are not finite")
                if np.abs(clip.flow).max(initial=0) >= 128:
                    raise InputError(f"{name}: the flow reaches 128 px, which is not a face's motion")
                arrays[f"flow{number}"] = np.rint(clip.flow / FLOW_STEP_PX).astype(np.int16)
            rows.append(
                Entry(
                    key=key,
                    number=number,
                    dataset=dataset,
                    subject=clip.subject,
                    sample=sample,
                    label=clip.label,
                    frames_digest=hashlib.sha256(np.ascontiguousarray(clip.frames).tobytes()).hexdigest()[:32],
                    units=clip.units,
                )
            )
        buffer = io.BytesIO()
        arrays["index"] = np.array(json.dumps([asdict(row) for row in rows]))
        np.savez(buffer, allow_pickle=False, **arrays)
        try:
            write_atomic(self._path(key), buffer.getvalue())
        except OSError as error:
            raise OutputError(f"cannot write to the store {self.root}: {error.strerror or error}") from error

    @cached_property
    def entries(self) -> tuple[Entry, ...]:
        """All clips, in an order that does not depend on when they were made."""
        entries = [entry for path in sorted((self.root / "clips").glob("*.npz")) for entry in self._index(path)]
        return tuple(sorted(entries, key=lambda e: (*e.video, e.number)))

    def read(self, entry: Entry, *, flow: bool = True) -> StoredClip:
        """One clip, optionally without its flow, which is most of the data.

        Raises:
            InputError: its file is gone or damaged.
        """
        path = self._path(entry.key)
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                k = entry.number
                steps = stored[f"flow{k}"] if flow and f"flow{k}" in stored else None
                if steps is not None and steps.dtype != np.int16:
                    raise ValueError(f"its flow is {steps.dtype}, not int16")
                moved = None if steps is None else steps * np.float32(FLOW_STEP_PX)
                clip = StoredClip(stored[f"frames{k}"], stored[f"landmarks{k}"], moved)
        except Exception as error:  # a damaged archive can raise anything from zipfile, zlib and numpy
            raise InputError(f"cannot read the clip {path}: {error}; prepare it again") from error
        _check(clip, path)
        return clip

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def _index(self, path: Path) -> list[Entry]:
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                entries = decode_json(str(stored["index"]), list[Entry])
                if self._units_are_doubtful():
                    entries = [replace(entry, units=None) for entry in entries]
        except Exception as error:  # as above
            raise InputError(f"the clip file {path} is damaged ({error}); remove it and prepare it again") from error
        if any(entry.key != path.stem for entry in entries):
            raise InputError(f"the clip file {path} was renamed: it holds {entries[0].key}; prepare it again")
        return entries

    def _units_are_doubtful(self) -> bool:
        """Recordings prepared by version 1 lost which units the coder was not certain of."""
        return self.settings.get("kind") == "recordings" and self.settings.get("version") == 1

    def _path(self, key: str) -> Path:
        return self.root / "clips" / f"{key}.npz"


def _check(clip: StoredClip, path: Path) -> None:
    """Check that the arrays have the shapes and types that `add` writes.

    Raises:
        InputError: they do not.
    """
    count = len(clip.frames) if clip.frames.ndim else 0
    square = (ALIGNED_PX, ALIGNED_PX)
    sound = clip.frames.dtype == np.uint8 and clip.landmarks.dtype == np.float32
    shapes = [clip.frames.shape == (count, *square), clip.landmarks.shape == (count, NUM_LANDMARKS, 2)]
    if clip.flow is not None:
        shapes.append(clip.flow.shape == (count - 1, 2, *square))
    if not count or not sound or not all(shapes):
        raise InputError(
            f"the clip file {path} is damaged: it has frames {clip.frames.shape} {clip.frames.dtype}, landmarks "
            f"{clip.landmarks.shape} {clip.landmarks.dtype}; remove it and prepare it again"
        )


def _in_current_words(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that the first edition wrote, in the words of today, with its only ways of what can be chosen now."""
    renamed = {"phases": "interleaved", "cover": "uniform"}
    if "sampling" not in settings:  # not prepared from recordings
        return dict(settings)
    return {
        "face": "dlib",
        "interpolation": "none",
        **settings,
        "sampling": renamed.get(str(settings["sampling"]), settings["sampling"]),
    }
