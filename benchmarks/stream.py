"""Live analysis: frames a second and latency at several input rates, with all outputs and with recognition alone.

Run: python benchmarks/stream.py [--rates 30 100 200] [--seconds 8] [--engine mol-lite]

A simulated face is played in real time through the same source as `openmer analyze --live`, so frames that come too
fast are dropped. Latency is the time from when a frame was due until all its results were known.
"""

import tempfile
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import record
import tyro

from openmer.media.camera import LiveSource
from openmer.media.writer import VideoWriter
from openmer.simulator.facial_motion import EMOTIONS
from openmer.simulator.recording import draw_long, draw_person
from openmer.simulator.settings import RecordingSettings
from openmer.video.live import stream
from openmer.video.settings import StreamSettings

SIZE, RIM = 256, (56, 56, 192, 192)  # a face in a picture of 640 x 368


def main(rates: tuple[int, ...] = (30, 100, 200), seconds: float = 8.0, engine: str = "mol-lite") -> None:
    """Measure and write."""
    wanted = {
        "all outputs": StreamSettings(engine=engine),
        "recognition alone": StreamSettings(engine=engine, motion=False, heads=("mer",)),
        "classical": StreamSettings(engine="classical"),
    }
    figures: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for rate in rates:
            video = _video(Path(folder) / f"{rate}.mp4", rate, seconds)
            figures[f"{rate} frames/s"] = {name: _watched(video, settings) for name, settings in wanted.items()}
            print(rate, figures[f"{rate} frames/s"])
    record.write(
        "stream", {"rates": list(rates), "seconds": seconds, "engine": engine, "picture": "640 x 368"}, figures
    )


def _video(path: Path, rate: int, seconds: float) -> Path:
    recording = draw_long(
        (9, rate), draw_person((9, 0)), list(EMOTIONS), RecordingSettings(fps=rate, size=SIZE), minutes=0.2
    )
    width, height = SIZE + RIM[2] + RIM[3], SIZE + RIM[0] + RIM[1]
    with VideoWriter(path, width, height, Fraction(rate)) as writer:
        for k in range(round(seconds * rate)):
            image = cv2.copyMakeBorder(recording.image(k), *RIM, cv2.BORDER_REPLICATE)
            writer.write(np.asarray(image, np.uint8), k / rate)
    return path


def _watched(video: Path, settings: StreamSettings) -> dict[str, float]:
    next(iter(stream([(0.0, np.zeros((64, 64, 3), np.uint8))], settings)))  # loads whatever has to be loaded
    source = LiveSource(video)
    known, work = [], []  # time from a frame's own time to its results, and the part of it that was work
    for moment in stream(source, settings):
        known.append(time.monotonic() - moment.time_s)
        work.append(moment.work_s)
        last_s = moment.time_s
    # The frame that waited least is taken not to have waited at all: that gives the start of the source's clock.
    began = min(k - w for k, w in zip(known, work, strict=True))
    late, lasted, frames = np.array(known) - began, known[-1] + last_s - began, len(known)
    return {
        "frames_a_second": round(frames / lasted, 1),
        "dropped": source.dropped,
        "work_ms_median": round(1000 * float(np.median(work)), 1),
        "work_ms_95": round(1000 * float(np.percentile(work, 95)), 1),
        "latency_ms_median": round(1000 * float(np.median(late)), 1),
        "latency_ms_95": round(1000 * float(np.percentile(late, 95)), 1),
    }


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
