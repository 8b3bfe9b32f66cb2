"""Draw the simulator's pictures for the docs: identities, emotions with their motion, and the 68 landmarks.

Run: python tools/draw_simulator.py docs/images
"""

import sys
from pathlib import Path

import cv2
import numpy as np
from matplotlib.figure import Figure

from openmer.clips.flow import color_wheel, flow_to_color
from openmer.simulator.facial_motion import EMOTIONS
from openmer.simulator.recording import draw_person, draw_recording

PEAK_PX, MAGNIFIED = 1.5, 8


def identities(path: Path) -> None:
    """Thirty people, one recording each."""
    tiles = [draw_recording((40, k), draw_person((40, k)), "none", size=160)[0].image(0) for k in range(30)]
    rows = [np.concatenate(tiles[k : k + 10], 1) for k in range(0, 30, 10)]
    cv2.imwrite(str(path), cv2.cvtColor(np.concatenate(rows, 0), cv2.COLOR_RGB2BGR))


def emotions(path: Path) -> None:
    """One row per emotion: onset, apex, exact flow between them, the same expression eight times as large."""
    figure = Figure(figsize=(9, 2.3 * len(EMOTIONS)), layout="constrained")
    axes = figure.subplots(len(EMOTIONS), 4)
    titles = ("onset", f"apex, {PEAK_PX} px", "exact flow, onset to apex", f"motion {MAGNIFIED} times as large")
    for k, (row, emotion) in enumerate(zip(axes, EMOTIONS, strict=True)):
        person = draw_person((41, k))
        same = {"size": 288, "distractors": False, "noise": False}
        small, event = draw_recording((41, k), person, emotion, peak_px=PEAK_PX, **same)
        large, _ = draw_recording((41, k), person, emotion, peak_px=MAGNIFIED * PEAK_PX, **same)
        if event is None:
            raise RuntimeError("an emotion gave no event")
        apex = int(np.abs(small.times_s - event.apex_s).argmin())
        flow, _ = small.flow(0, apex)
        pictures = (small.image(0), small.image(apex), flow_to_color(flow / 2, PEAK_PX), large.image(apex))
        for axis, picture, title in zip(row, pictures, titles, strict=True):
            axis.imshow(picture)
            axis.set_xticks([])
            axis.set_yticks([])
            if k == 0:
                axis.set_title(title, fontsize=10)
        units = " + ".join(f"AU {unit}" for unit in event.units)
        row[0].set_ylabel(f"{emotion}\n{units}", fontsize=9)
    wheel = axes[0][2].inset_axes((0.8, 0.0, 0.2, 0.2))
    wheel.imshow(color_wheel(64))
    wheel.set_axis_off()
    figure.savefig(path, dpi=75)


def landmark_picture(path: Path) -> None:
    """The 68 points with their numbers on a frontal and a turned face."""
    figure = Figure(figsize=(11, 5.6), layout="constrained")
    for axis, seed in zip(figure.subplots(1, 2), ((42, 0), (70, 19)), strict=True):
        recording, _ = draw_recording(seed, draw_person(seed), "none", size=512, distractors=False, noise=False)
        axis.imshow(recording.image(0))
        points = recording.landmarks(0)
        axis.plot(*points.T, "o", color="#56b4e9", markersize=3, markeredgecolor="black", markeredgewidth=0.4)
        for k, (x, y) in enumerate(points):
            axis.annotate(str(k), (x, y), xytext=(2, 2), textcoords="offset points", fontsize=5.5, color="white")
        axis.set_xlim(0, 511)
        axis.set_ylim(511, 0)
        axis.set_axis_off()
    figure.savefig(path, dpi=90)


def main(folder: Path) -> None:
    """Draw all of them."""
    identities(folder / "simulated.png")
    emotions(folder / "emotions.png")
    landmark_picture(folder / "landmarks.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
