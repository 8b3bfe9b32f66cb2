"""Write a simulated dataset: a folder that `openmer.datasets.folder` reads like any user's own.

    OUT/dataset.json                 settings, versions, licence
    OUT/samples.csv                  one row per recording
    OUT/frames/SUBJECT/SAMPLE/N.png  the pictures, N the frame number
    OUT/truth/SUBJECT/SAMPLE.npz     landmarks, flow, visibility, curves
    OUT/contact_sheet.png            one picture of every subject

Long videos, for spotting, have these instead of the frames

    OUT/videos/SUBJECT/SAMPLE.mp4    nearly lossless H.264
    OUT/intervals.csv                everything that happens in them, one row each
    OUT/truth/SUBJECT/SAMPLE.json    the same as a timeline

A subject is one identity; no two subjects share one. The same settings give the same bytes, on any number of processes:
a recording's randomness comes from (seed, subject, sample) alone.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from fractions import Fraction
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from openmer.clip import FLOW_STEP_PX, NONE, Array, Clip
from openmer.errors import InputError
from openmer.files import new_directory, table_text
from openmer.processes import mapped
from openmer.simulator.facial_motion import EMOTIONS, THREE_CLASS, Event
from openmer.simulator.head import head_model
from openmer.simulator.recording import Recording, draw_long, draw_person, draw_recording, unit_curves
from openmer.simulator.settings import SimulateSettings, dealt
from openmer.simulator.shown_units import emotion_shares
from openmer.simulator.streams import stream
from openmer.timeline import Interval, Timeline
from openmer.version import __version__, commit

MARKER = "dataset.json"
OWN = (MARKER, "samples.csv", "intervals.csv", "frames", "videos", "truth", "contact_sheet.png")
SCHEMA = "openmer.simulated/1"
MAX_FLOW_PX = 127
NONE_SHARE = 0.25  # of recordings without an expression, where emotions have their natural shares

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


INTERVAL_COLUMNS = (
    "subject",
    "sample",
    "kind",
    "emotion",
    "label",
    "action_units",
    "onset",
    "apex",
    "offset",
    "onset_s",
    "apex_s",
    "offset_s",
    "peak_px",
)


def emotion_of(settings: SimulateSettings, subject: int, sample: int) -> str:
    """The emotion of the recording with these numbers."""
    if settings.shares == "balanced":
        return settings.emotions[(subject + sample) % len(settings.emotions)]
    if settings.shares == "dataset":
        cards = dealt(settings.like, settings.seed)
        return cards[(sample * settings.subjects + subject) % len(cards)]
    shares = {e: share for e, share in emotion_shares(settings.like).items() if e in settings.emotions}
    total = sum(shares.values())
    nothing = NONE_SHARE if NONE in settings.emotions else 0.0
    rng = stream("emotion", (settings.seed, subject, sample))
    if not shares or rng.random() < nothing:
        return NONE
    return str(rng.choice(list(shares), p=np.array(list(shares.values())) / total))


def draw_sample(settings: SimulateSettings, subject: int, sample: int) -> tuple[Recording, Event | None, str]:
    """The recording with these numbers, its expression, and the emotion's name."""
    person = draw_person((settings.seed, subject))
    emotion = emotion_of(settings, subject, sample)
    recording, event = draw_recording((settings.seed, subject, sample), person, emotion, settings)
    return recording, event, emotion


def draw_video(settings: SimulateSettings, subject: int, sample: int) -> Recording:
    """The long recording with these numbers."""
    if settings.minutes is None:
        raise InputError("these settings are for short recordings; set minutes")
    return draw_long(
        (settings.seed, subject, sample),
        draw_person((settings.seed, subject)),
        [e for e in settings.emotions if e != NONE] or list(EMOTIONS),
        settings,
        minutes=settings.minutes,
    )


def marks(recording: Recording, event: Event) -> tuple[int, int, int]:
    """Frame numbers of onset, apex and offset."""

    def nearest(moment: float) -> int:
        return int(np.abs(recording.times_s - moment).argmin())

    onset, apex, offset = _moments(event)
    return nearest(onset), nearest(apex), nearest(offset)


def _moments(event: Event) -> tuple[float, float, float]:
    """Seconds at which it begins, is at its full strength, and is over."""
    return event.onset_s, event.apex_s + event.hold_s / 2, event.offset_s


def truth_timeline(recording: Recording) -> Timeline:
    """What happens in a recording; the label of an interval is the kind of event."""
    intervals = []
    for event in recording.events:
        onset, apex, offset = _moments(event)
        frames = marks(recording, event)
        intervals.append(
            Interval(
                onset_s=onset,
                apex_s=apex,
                offset_s=offset,
                label=event.kind,
                onset_frame=frames[0],
                apex_frame=frames[1],
                peak_px=event.peak_px,
                offset_frame=frames[2],
            )
        )
    end = float(recording.times_s[-1])
    return Timeline(intervals=tuple(intervals), start_s=0.0, end_s=end, provenance={"simulated": True})


def generate(
    out: Path,
    settings: SimulateSettings,
    *,
    overwrite: bool = False,
    processes: int = 1,
    on_sample: Callable[[], None] = lambda: None,
) -> int:
    """Write the dataset; returns the number of recordings.

    The folder appears complete or not at all.

    Raises:
        OutputError: `out` exists or cannot be written.
    """
    with new_directory(out, overwrite=overwrite, marker=MARKER, own=OWN) as folder:
        work = [(folder, settings, s, k) for s, k in settings.numbers]
        write = _write_sample if settings.minutes is None else write_video
        parts = mapped(write, work, processes, on_item=on_sample)
        rows = [row for row, _ in parts]
        (folder / "samples.csv").write_text(table_text(rows, COLUMNS), encoding="utf-8")
        if settings.minutes is not None:
            (folder / "intervals.csv").write_text(
                table_text([i for _, part in parts for i in part], INTERVAL_COLUMNS), encoding="utf-8"
            )
        sheet = _contact_sheet(settings)
        cv2.imwrite(str(folder / "contact_sheet.png"), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
        content = {
            "schema": SCHEMA,
            "simulated": True,
            "settings": asdict(settings),
            "openmer": __version__,
            "commit": commit(),
            "versions": {name: version(name) for name in ("numpy", "numba", "opencv-contrib-python-headless")},
            "licence": "CC0-1.0",
            "head": head_model().provenance,
            "units": {"flow": "int16 / 256 px of the picture, frame k to k+1", "landmarks": "px of the picture"},
        }
        (folder / MARKER).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return len(rows)


def person_name(seed: int, subject: int) -> str:
    """Name of an identity, the same everywhere: it identifies the people that a network has seen."""
    return f"p{seed}-{subject:05d}"


Part = tuple[dict[str, Any], list[dict[str, Any]]]  # a row of samples.csv, and rows of intervals.csv


def _write_sample(folder: Path, settings: SimulateSettings, subject: int, sample: int) -> Part:
    """Write one short recording."""
    recording, event, emotion = draw_sample(settings, subject, sample)
    person, name = person_name(settings.seed, subject), f"{emotion}_{sample + 1:03d}"
    pictures = folder / "frames" / person / name
    pictures.mkdir(parents=True)
    for frame in range(len(recording)):
        done, data = cv2.imencode(".png", cv2.cvtColor(recording.image(frame), cv2.COLOR_RGB2BGR))
        if not done:
            raise RuntimeError("OpenCV could not encode a PNG")
        (pictures / f"{frame:05d}.png").write_bytes(data.tobytes())
    at = marks(recording, event) if event else None
    truth = _truth(recording)
    if settings.flow:
        truth |= _flow_truth(recording, at[0] if at else None)
    _write_truth(folder / "truth" / person / f"{name}.npz", truth)
    onset, apex, offset = at or ("", "", "")
    row = {
        "subject": person,
        "sample": name,
        "source": f"frames/{person}/{name}",
        "fps": settings.fps,
        "emotion": emotion,
        "label": THREE_CLASS.get(emotion, NONE),
        "action_units": _units(event) if event else "",
        "onset": onset,
        "apex": apex,
        "offset": offset,
        "peak_px": round(_peak_px(recording, at[1]), 4) if at else 0,
        "seed": f"{settings.seed}-{subject}-{sample}",
    }
    return row, []


def write_video(folder: Path, settings: SimulateSettings, subject: int, sample: int) -> Part:
    """Write one long recording: its video, then its truth, `truth/SUBJECT/NAME.json` last."""
    from openmer.media.writer import VideoWriter  # clips need no video library

    recording = draw_video(settings, subject, sample)
    person, name = person_name(settings.seed, subject), f"long_{sample + 1:03d}"
    path = folder / "videos" / person / f"{name}.mp4"
    path.parent.mkdir(parents=True, exist_ok=True)
    rate = Fraction(settings.fps).limit_denominator(1001)
    with VideoWriter(path, settings.size, settings.size, rate, crf=14, repeatable=True) as writer:
        for frame in range(len(recording)):
            writer.write(recording.image(frame), float(recording.times_s[frame]))
    _write_truth(folder / "truth" / person / f"{name}.npz", _truth(recording))
    (folder / "truth" / person / f"{name}.json").write_text(truth_timeline(recording).to_json(), encoding="utf-8")
    row = dict.fromkeys(COLUMNS, "") | {
        "subject": person,
        "sample": name,
        "source": f"videos/{person}/{name}.mp4",
        "fps": settings.fps,
        "seed": f"{settings.seed}-{subject}-{sample}",
    }
    return row, [_interval_row(person, name, recording, event) for event in recording.events]


def _interval_row(person: str, name: str, recording: Recording, event: Event) -> dict[str, Any]:
    moments = [round(moment, 4) for moment in _moments(event)]
    return {
        "subject": person,
        "sample": name,
        "kind": event.kind,
        "emotion": event.emotion,
        "label": THREE_CLASS.get(event.emotion, ""),
        "action_units": _units(event),
        **dict(zip(("onset", "apex", "offset"), marks(recording, event), strict=True)),
        **dict(zip(("onset_s", "apex_s", "offset_s"), moments, strict=True)),
        "peak_px": "" if event.peak_px is None else round(event.peak_px, 3),
    }


def _units(event: Event) -> str:
    return "+".join(f"R{u}:{r:.4f}+L{u}:{le:.4f}" for u, (r, le) in event.units.items() if u in event.coded)


def _peak_px(recording: Recording, apex: int) -> float:
    """Largest motion of visible skin at the apex, from the expression and everything else, px of the 128 crop."""
    flow, visible = recording.flow(0, apex)
    return float(np.hypot(*flow)[visible].max() * 144 / recording.camera.width)


def _truth(recording: Recording) -> dict[str, Any]:
    """Landmarks, and the curves of the head's fields that move and of action units (right, left)."""
    units = unit_curves(recording.events, recording.times_s)
    moving = np.flatnonzero(recording.coefficients.any(0))
    return {
        "times_s": recording.times_s,
        "landmarks_px": np.stack([recording.landmarks(k) for k in range(len(recording))]),
        "fields": recording.coefficients[:, moving],
        "field_names": np.array(head_model().field_names)[moving],
        "action_units": np.array(list(units), np.int64),
        "action_unit_curves": np.array(list(units.values()), np.float32).reshape(len(units), len(recording), 2),
    }


def _flow_truth(recording: Recording, onset: int | None) -> dict[str, Any]:
    """Flow between frames and from the onset to every frame, and what stays visible."""
    frames = range(len(recording))
    steps = [recording.flow(k, k + 1) for k in frames[:-1]]
    content: dict[str, Any] = {
        "flow": _stored(np.stack([flow for flow, _ in steps])),
        "visible": np.packbits(np.stack([visible for _, visible in steps]), axis=-1),
    }
    if onset is not None:
        content["flow_from_onset"] = _stored(np.stack([recording.flow(onset, k)[0] for k in frames]))
    return content


def _write_truth(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **content)


def _stored(flow: Array) -> Array:
    """The flow as int16.

    Raises:
        InputError: it is too large for that.
    """
    if np.abs(flow).max(initial=0.0) >= MAX_FLOW_PX:
        raise InputError(
            f"the flow reaches {np.abs(flow).max():.0f} px, and files hold up to {MAX_FLOW_PX} px: make smaller "
            "pictures (--size), calm heads, or no flow (--no-flow)"
        )
    return np.asarray(np.rint(flow / FLOW_STEP_PX), np.int16)


def _contact_sheet(settings: SimulateSettings) -> npt.NDArray[np.uint8]:
    """The first frame of each subject's first recording, at most 60."""
    subjects = range(min(60, settings.subjects))
    if settings.minutes is None:
        tiles = [draw_sample(settings, subject, 0)[0].image(0) for subject in subjects]
    else:
        tiles = [draw_video(settings, subject, 0).image(0) for subject in subjects]
    columns = min(10, len(tiles))
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % columns)
    return np.concatenate([np.concatenate(tiles[k : k + columns], 1) for k in range(0, len(tiles), columns)], 0)


def clip_stream(settings: SimulateSettings, *, frames: int = 8, first_subject: int = 0) -> Iterator[tuple[Clip, str]]:
    """Clips with exact truth straight from the simulator, without files, subject by subject, endlessly.

    Args:
        settings: `subjects` is not used.
        frames: of a clip, evenly spaced from before the onset to after the offset.
        first_subject: where to begin; give test subjects numbers that training never reaches.

    Yields:
        A clip with gray frames, landmarks (px) and flow (px, 0 where nothing is visible), and the emotion's name.
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
                subject=person_name(settings.seed, subject),
                label=THREE_CLASS.get(emotion, NONE),
                landmarks=np.stack([recording.landmarks(k) for k in chosen]),
                flow=np.stack([recording.flow(a, b)[0] for a, b in pairwise(chosen)]),
            )
            yield clip, emotion
        subject += 1
