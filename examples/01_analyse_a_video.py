"""Analyse a video, print what was found, and hand it to ELAN.

    python examples/01_analyse_a_video.py                                    # a simulated smile
    python examples/01_analyse_a_video.py --video talk.mp4 --out results     # your own

The folder result/ then holds the report, timeline and tables; annotations.eaf opens in ELAN.
"""

import tempfile
from fractions import Fraction
from pathlib import Path

import cv2
import tyro

from openmer import AnalyzeSettings, analyze
from openmer.exchange.events import described
from openmer.exchange.export import export
from openmer.media.writer import VideoWriter
from openmer.simulator.recording import draw_person, draw_recording
from openmer.simulator.settings import RecordingSettings


def simulated(path: Path, size: int, fps: int = 60) -> Path:
    """A video of a face that does not exist, which anyone may share."""
    recording, smile = draw_recording(
        (5, 0), draw_person((5, 0)), "happiness", RecordingSettings(fps=fps, size=size), peak_px=2.5, distractors=False
    )
    assert smile is not None
    print(f"simulated: a smile from {smile.onset_s:.2f} to {smile.offset_s:.2f} s")
    rim = size // 4  # faces are found with some room around them
    with VideoWriter(path, size + 2 * rim, size + 2 * rim, Fraction(fps)) as writer:
        for frame, time_s in enumerate(recording.times_s):
            image = cv2.copyMakeBorder(recording.image(frame), *[rim] * 4, cv2.BORDER_REPLICATE)
            writer.write(image, float(time_s))
    return path


def main(video: Path | None = None, out: Path | None = None, size: int = 192) -> None:
    out = out or Path(tempfile.mkdtemp())
    out.mkdir(parents=True, exist_ok=True)
    video = video or simulated(out / "smile.mp4", size)
    for found in analyze(video, out / "result", AnalyzeSettings(overlay=False)):
        print(f"{described(found)}, {found.onset_s:.2f} to {found.offset_s:.2f} s")
    export(out / "result", "elan", out / "annotations.eaf", video=video)
    print(f"look at {out / 'result' / 'report.html'}, or open {out / 'annotations.eaf'} in ELAN")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
