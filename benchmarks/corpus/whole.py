"""Small whole inputs: a simulated face as frames and videos, a result."""

from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt

from openmer.simulator.recording import draw_person, draw_recording
from openmer.simulator.settings import RecordingSettings
from openmer.timeline import Interval, Timeline, Window

Image = npt.NDArray[np.uint8]
FPS = 30


@cache
def face(count: int = 12, size: int = 200) -> tuple[Image, ...]:
    """(size, size, 3) RGB frames of a simulated surprise."""
    recording, _ = draw_recording((6, 0, 0), draw_person((6, 0)), "surprise", RecordingSettings(fps=100, size=size))
    return tuple(recording.image(int(k)) for k in np.linspace(0, len(recording) - 1, count))


def video(
    path: Path,
    frames: Sequence[Image],
    *,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    sound: bool = False,
    options: dict[str, str] | None = None,
) -> bytes:
    """Write the frames; the file's bytes."""
    with av.open(str(path), "w") as container:
        height, width = frames[0].shape[:2]
        stream: Any = container.add_stream(codec, rate=Fraction(FPS), options=options or {})
        stream.width, stream.height, stream.pix_fmt = width, height, pixels
        heard: Any = container.add_stream("aac", rate=44100) if sound else None
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
        if heard is not None:
            tone = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            tone.rate = 44100
            container.mux(heard.encode(tone))
            container.mux(heard.encode(None))
    return path.read_bytes()


def images(folder: Path, frames: Sequence[Image], *, suffix: str = ".png", first: int = 1) -> list[Path]:
    """A folder of numbered pictures."""
    folder.mkdir(parents=True)
    paths = []
    for number, frame in enumerate(frames, first):
        paths.append(folder / f"img{number:03d}{suffix}")
        cv2.imwrite(str(paths[-1]), cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    return paths


def timeline() -> Timeline:
    """With all that a timeline can hold."""
    shares = {"none": 0.2, "negative": 0.5, "surprise": 0.3}
    found = (
        Interval(
            onset_s=0.5,
            apex_s=0.7,
            offset_s=0.9,
            label="candidate",
            score=3.5,
            peak_px=1.2,
            regions=("mouth_right", "brow_left"),
            onset_frame=15,
            apex_frame=21,
            offset_frame=27,
            probabilities=shares,
        ),
        Interval(onset_s=1.5, offset_s=1.7, label="blink"),
    )
    window = Window(start_s=0.0, end_s=0.6, start_frame=0, end_frame=18, probabilities=shares)
    gap = Interval(onset_s=3.0, offset_s=3.5, label="no face")
    said = {"source": "talk.mp4", "engine": "mol-lite", "caution": "a place to look", "trained_on": "simulated faces"}
    return Timeline(intervals=found, start_s=0.0, end_s=4.0, gaps=(gap,), windows=(window,), provenance=said)


def result(folder: Path) -> Path:
    """An older good result of `openmer analyze`, as far as it must be kept."""
    folder.mkdir(parents=True)
    (folder / "timeline.json").write_text(timeline().to_json() + "\n")
    (folder / "timeline.csv").write_text(timeline().to_csv())
    return folder
