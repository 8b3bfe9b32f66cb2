"""Write a simulated dataset: a folder that `openmer.datasets.folder` reads like any user's own.

    OUT/dataset.json                 settings, versions, licence
    OUT/samples.csv                  a row a recording
    OUT/frames/SUBJECT/SAMPLE/N.png  the pictures, N the frame number
    OUT/truth/SUBJECT/SAMPLE.npz     landmarks, flow, visibility, curves
    OUT/contact_sheet.png            one picture of every subject

A subject is one identity; no identity is in two subjects. The same settings give the same bytes, on any number of
processes: each recording's chance comes from (seed, subject, sample) alone.
"""

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from openmer.clip import Array, Clip
from openmer.errors import InputError
from openmer.files import new_directory
from openmer.simulator.head import head_model
from openmer.simulator.motion import EMOTIONS, THREE_CLASS, Event
from openmer.simulator.recording import NONE, Recording, draw_person, draw_recording
from openmer.version import __version__

MARKER = "dataset.json"
OWN = (MARKER, "samples.csv", "frames", "truth", "contact_sheet.png")
SCHEMA = "openmer.simulated/1"
FLOW_STEP_PX = 1 / 256  # flow is stored as int16 in this unit: up to 128 px

COLUMNS = (
    "subject",
    "sample",
    "source",
    "fps",
    "emotion",
    "label",
    "action_units",
    "onset",
    "apex",
    "offset",
    "peak_px",
    "seed",
)


@dataclass(frozen=True, kw_only=True)
class SimulateSettings:
    """What is made.

    Attributes:
        subjects: people.
        samples: recordings of each.
        fps: frames a second, 25 to 1000.
        seed: everything drawn follows from it.
        size: of the pictures, px; they show the aligned square.
        emotions: to draw from, in turn; `none` is a recording without an expression.
        flow: whether exact flow is stored; without it, it can be made again from the seed.
    """

    subjects: int = 24
    samples: int = 10
    fps: float = 200.0
    seed: int = 0
    size: int = 144
    emotions: tuple[str, ...] = (*EMOTIONS, NONE)
    flow: bool = True

    def __post_init__(self) -> None:
        if self.subjects < 1 or self.samples < 1:
            raise InputError(f"there must be subjects and samples, got {self.subjects} and {self.samples}")
        if not 25 <= self.fps <= 1000:
            raise InputError(f"fps must lie between 25 and 1000, got {self.fps}")
        if not 64 <= self.size <= 1024:
            raise InputError(f"size must lie between 64 and 1024 px, got {self.size}")
        if self.seed < 0:
            raise InputError(f"the seed must not be negative, got {self.seed}")
        unknown = [e for e in self.emotions if e not in (*EMOTIONS, NONE)]
        if unknown or not self.emotions:
            raise InputError(f"unknown emotion {', '.join(unknown)}; there are {', '.join((*EMOTIONS, NONE))}")


def draw_sample(settings: SimulateSettings, subject: int, sample: int) -> tuple[Recording, Event | None, str]:
    """The recording that belongs to these numbers, its expression, and the emotion's name."""
    person = draw_person((settings.seed, subject))
    emotion = settings.emotions[(subject + sample) % len(settings.emotions)]
    recording, event = draw_recording(
        (settings.seed, subject, sample), person, emotion, fps=settings.fps, size=settings.size
    )
    return recording, event, emotion


def marks(recording: Recording, event: Event) -> tuple[int, int, int]:
    """Frame numbers of onset, apex and offset."""

    def nearest(moment: float) -> int:
        return int(np.abs(recording.times_s - moment).argmin())

    return nearest(event.onset_s), nearest(event.apex_s + event.hold_s / 2), nearest(event.offset_s)


def generate(
    out: Path,
    settings: SimulateSettings,
    *,
    overwrite: bool = False,
    processes: int = 1,
    on_sample: Callable[[], None] = lambda: None,
) -> int:
    """Write the dataset; the number of recordings.

    The folder appears whole or not at all.

    Raises:
        OutputError: `out` is taken or cannot be written.
    """
    wanted = [(s, k) for s in range(settings.subjects) for k in range(settings.samples)]
    with new_directory(out, overwrite=overwrite, marker=MARKER, own=OWN) as folder:
        work = [(folder, settings, s, k) for s, k in wanted]
        if processes == 1:
            rows = [_counted(_write_sample(*item), on_sample) for item in work]
        else:
            context = get_context("spawn")
            with ProcessPoolExecutor(processes, mp_context=context) as pool:
                parts = pool.map(_write_sample, *zip(*work, strict=True))
                rows = [_counted(row, on_sample) for row in parts]
        (folder / "samples.csv").write_text(_csv(rows))
        cv2.imwrite(str(folder / "contact_sheet.png"), _contact_sheet(folder, rows))
        content = {
            "schema": SCHEMA,
            "simulated": True,
            "settings": asdict(settings),
            "openmer": __version__,
            "licence": "CC0-1.0",
            "head": head_model().provenance,
            "units": {"flow": "int16 / 256 px of the picture, frame k to k+1", "landmarks": "px of the picture"},
        }
        (folder / MARKER).write_text(json.dumps(content, indent=2) + "\n")
    return len(rows)


def _counted(row: dict[str, Any], on_sample: Callable[[], None]) -> dict[str, Any]:
    on_sample()
    return row


def _write_sample(folder: Path, settings: SimulateSettings, subject: int, sample: int) -> dict[str, Any]:
    """Write one recording; its row of samples.csv."""
    recording, event, emotion = draw_sample(settings, subject, sample)
    person, name = f"s{subject + 1:03d}", f"{emotion}_{sample + 1:03d}"
    pictures = folder / "frames" / person / name
    pictures.mkdir(parents=True)
    for frame in range(len(recording)):
        done, data = cv2.imencode(".png", cv2.cvtColor(recording.image(frame), cv2.COLOR_RGB2BGR))
        if not done:
            raise RuntimeError("OpenCV could not encode a PNG")
        (pictures / f"{frame:05d}.png").write_bytes(data.tobytes())
    at = marks(recording, event) if event else None
    _write_truth(folder / "truth" / person / f"{name}.npz", recording, settings, at[0] if at else None)
    onset, apex, offset = at or ("", "", "")
    units = event.units if event else {}
    return {
        "subject": person,
        "sample": name,
        "source": f"frames/{person}/{name}",
        "fps": settings.fps,
        "emotion": emotion,
        "label": THREE_CLASS.get(emotion, NONE),
        "action_units": "+".join(f"R{u}:{r:.4f}+L{u}:{le:.4f}" for u, (r, le) in units.items()),
        "onset": onset,
        "apex": apex,
        "offset": offset,
        "peak_px": round(_peak_px(recording, at[1]), 4) if at else 0,
        "seed": f"{settings.seed}-{subject}-{sample}",
    }


def _peak_px(recording: Recording, apex: int) -> float:
    """Largest motion of visible skin at the apex by the expression and all else, px of the 128 crop."""
    flow, visible = recording.flow(0, apex)
    return float(np.hypot(*flow)[visible].max() * 144 / recording.camera.width)


def _write_truth(path: Path, recording: Recording, settings: SimulateSettings, onset: int | None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    frames = range(len(recording))
    content: dict[str, Any] = {
        "times_s": recording.times_s,
        "landmarks_px": np.stack([recording.landmarks(k) for k in frames]),
        "actions": recording.coefficients,
        "action_names": np.array(head_model().action_names),
    }
    if settings.flow:
        steps = [recording.flow(k, k + 1) for k in frames[:-1]]
        content["flow"] = _stored(np.stack([flow for flow, _ in steps]))
        content["visible"] = np.packbits(np.stack([visible for _, visible in steps]), axis=-1)
        if onset is not None:
            content["flow_from_onset"] = _stored(np.stack([recording.flow(onset, k)[0] for k in frames]))
    np.savez_compressed(path, **content)


def _stored(flow: Array) -> Array:
    return np.asarray(np.rint(flow / FLOW_STEP_PX), np.int16)


def _csv(rows: Sequence[dict[str, Any]]) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def _contact_sheet(folder: Path, rows: Sequence[dict[str, Any]]) -> npt.NDArray[np.uint8]:
    """The first frame of each subject's first recording, at most 60."""
    first = {row["subject"]: row["source"] for row in reversed(rows)}
    paths = [folder / source / "00000.png" for _, source in sorted(first.items())[:60]]
    tiles = [np.asarray(cv2.imread(str(path)), np.uint8) for path in paths]
    columns = min(10, len(tiles))
    blank = np.full_like(tiles[0], 255)
    tiles += [blank] * (-len(tiles) % columns)
    lines = [np.concatenate(tiles[k : k + columns], 1) for k in range(0, len(tiles), columns)]
    return np.concatenate(lines, 0)


def stream(settings: SimulateSettings, *, frames: int = 8, first_subject: int = 0) -> Iterator[tuple[Clip, str]]:
    """Clips with exact truth straight from the simulator, without files, subject after subject without end.

    Args:
        settings: `subjects` is not used.
        frames: of a clip, evenly spread from before the onset to after the offset.
        first_subject: where to begin; give test subjects numbers that training never reaches.

    Yields:
        A clip with gray frames, landmarks (px) and flow (px, 0 where nothing is seen), and the emotion's name.
    """
    subject = first_subject
    while True:
        for sample in range(settings.samples):
            recording, _, emotion = draw_sample(settings, subject, sample)
            chosen = np.linspace(0, len(recording) - 1, frames).round().astype(int)
            images = [cv2.cvtColor(recording.image(k), cv2.COLOR_RGB2GRAY) for k in chosen]
            clip = Clip(
                frames=np.asarray(np.stack(images), np.uint8),
                times_s=recording.times_s[chosen],
                subject=f"s{subject + 1:03d}",
                label=THREE_CLASS.get(emotion, NONE),
                landmarks=np.stack([recording.landmarks(k) for k in chosen]),
                flow=np.stack([recording.flow(a, b)[0] for a, b in pairwise(chosen)]),
            )
            yield clip, emotion
        subject += 1
