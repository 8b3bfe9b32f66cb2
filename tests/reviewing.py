"""A result with ten candidates and its video, whose frames carry their number; and a running `openmer review`."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from footage import MOUTH_RIGHT, Image, displaced, face_closeup, write_video
from openmer.face.dlib_model import DlibFaceModel
from openmer.face.track import FaceTracker
from openmer.timeline import Clock, Interval, Timeline
from webserver import wait_for

FPS, FRAMES, BLOCK = 30, 330, 8
APEXES = tuple(range(24, 330, 30))[:10]  # frames; onset 5 frames before, offset 6 after


def numbered(image: Image, number: int) -> Image:
    """With its number in ten black or white blocks at the upper left."""
    image = image.copy()
    for bit in range(10):
        image[:BLOCK, bit * BLOCK : (bit + 1) * BLOCK] = 255 * (number >> bit & 1)
    return image


def number_of(image: Image) -> int:
    """The number that a picture carries, at the video's own size."""
    middles = [int(image[BLOCK // 2, bit * BLOCK + BLOCK // 2].mean()) for bit in range(10)]
    return sum((value > 127) << bit for bit, value in enumerate(middles))


def write_result(folder: Path) -> Path:
    """`talk.mp4` in the folder, and its result in `talk`, as `openmer analyze` would write it."""
    face = cv2.resize(face_closeup(), (360, 300), interpolation=cv2.INTER_AREA)
    corner = ((MOUTH_RIGHT[0] - 100) * 1.5, (MOUTH_RIGHT[1] - 30) * 1.5)
    found = FaceTracker(DlibFaceModel()).update(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY))
    assert found is not None
    moved = {k: displaced(face, corner, (-0.8 * k, -0.6 * k), 12) for k in range(5)}
    reach = [max((4 - abs(frame - apex) for apex in APEXES), default=0) for frame in range(FRAMES)]
    frames = (numbered(moved[max(0, r)], k) for k, r in enumerate(reach))
    write_video(folder / "talk.mp4", frames, Fraction(FPS), crf="18")
    result = folder / "talk"
    result.mkdir()
    times = np.arange(FRAMES) / FPS
    pd.DataFrame(
        {
            "frame": np.arange(FRAMES),
            "time_s": [f"{t:.6f}" for t in times],
            "head_dx_px": 9.0,
            "mouth_dx_px": 0.0,
            "mouth_px": np.maximum(0, reach) * 0.5,
        }
    ).to_csv(result / "frames.csv", index=False)
    points = np.repeat(found.landmarks[None].astype(np.float32), FRAMES, axis=0)
    np.savez(result / "landmarks.npz", frame=np.arange(FRAMES), landmarks_px=points)
    intervals = [
        Interval(
            label="candidate",
            onset_s=float(round(times[a - 5], 6)),
            apex_s=float(round(times[a], 6)),
            offset_s=float(round(times[a + 6], 6)),
            onset_frame=a - 5,
            apex_frame=a,
            offset_frame=a + 6,
            score=7.5,
            peak_px=2.0,
            regions=("mouth",),
            probabilities={"none": 0.45, "positive": 0.4, "surprise": 0.15},  # positive, as `none` is less than half
        )
        for a in APEXES
    ]
    timeline = Timeline(
        intervals=tuple(intervals),
        start_s=0.0,
        end_s=FRAMES / FPS,
        clock=Clock(fps=float(FPS)),
        provenance={"source": "talk.mp4", "settings": {"fps": None}},
    )
    (result / "timeline.json").write_text(timeline.to_json())
    return result


@dataclass
class Desk:
    """A running `openmer review`."""

    url: str
    process: subprocess.Popen[bytes]

    def kill(self) -> None:
        """At once, without a chance to tidy up."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@contextmanager
def reviewing(result: Path, *options: str) -> Iterator[Desk]:
    """Start it and wait until it says its address."""
    log = result.parent / "review.log"
    command = [sys.executable, "-m", "openmer", "review", str(result), "--no-browser", *options]
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=out, stderr=out)
    try:
        wait_for(lambda: b"Ctrl-C" in log.read_bytes() or process.poll() is not None, 60)
        found = re.search(r"http://\S+/", log.read_text())
        assert found, log.read_text()
        yield Desk(found[0], process)
    finally:
        process.kill()
        process.wait()
