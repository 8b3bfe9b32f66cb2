"""How far simulated pictures are from a camera's: texture, noise, and motion where nobody moves.

Run: python benchmarks/camera_statistics.py --videos FOLDER

All is measured in the aligned square, as the network sees it. Of each real video and each simulated recording the
stillest fifth of the pairs of neighboring frames is taken. People are named `chosen` or `reported` as in
face_videos.py: only the former may be looked at when the simulator is changed.
"""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import record
import tyro
from face_videos import paths
from matplotlib.figure import Figure

from openmer.clip import NONE, Gray
from openmer.clips.flow import optical_flow
from openmer.face.align import align
from openmer.media.reader import VideoReader, as_gray
from openmer.simulator.codec import draw_codec, recoded
from openmer.simulator.implant import follow_face
from openmer.simulator.recording import draw_person, draw_recording
from openmer.simulator.settings import RecordingSettings

Picture = npt.NDArray[np.float32]
BANDS = ((0.03, 0.06), (0.06, 0.12), (0.12, 0.25), (0.25, 0.5))  # cycles a pixel
PATCHES = {"forehead": (14, 34, 46, 98), "left cheek": (78, 110, 24, 48), "right cheek": (78, 110, 96, 120)}
FACE = np.s_[28:126, 32:112]  # what is behind the head is left out
STILL = 0.2  # share of pairs
REPEATED = 0.02  # a frame in which fewer pixels change is the one before, shown again


def spectrum(picture: Picture) -> list[float]:
    """Standard deviation in each band of spatial frequency, gray levels, mean over patches of skin."""
    rows = []
    for top, bottom, left, right in PATCHES.values():
        patch = picture[top:bottom, left:right]
        y, x = np.mgrid[-1 : 1 : 1j * patch.shape[0], -1 : 1 : 1j * patch.shape[1]]
        ground = np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], -1).reshape(-1, 6)
        fit, *_ = np.linalg.lstsq(ground, patch.ravel(), rcond=None)
        window = np.outer(np.hanning(patch.shape[0]), np.hanning(patch.shape[1]))
        power = np.abs(np.fft.fft2((patch - (ground @ fit).reshape(patch.shape)) * window)) ** 2
        power /= patch.size * (window**2).sum()
        across = np.hypot(np.fft.fftfreq(patch.shape[0])[:, None], np.fft.fftfreq(patch.shape[1]))
        rows.append([np.sqrt(power[(across >= low) & (across < high)].sum()) for low, high in BANDS])
    return np.mean(rows, 0).tolist()


def _beside(noise: Picture) -> float:
    """Correlation of each pixel's noise with that of the next; NaN where nothing changes."""
    if min(noise[:, 1:].std(), noise[:, :-1].std()) == 0:
        return float("nan")
    return float(np.corrcoef(noise[:, 1:].ravel(), noise[:, :-1].ravel())[0, 1])


def statistics(pairs: list[tuple[Picture, Picture]]) -> dict[str, float]:
    """What is compared, of the stillest pairs."""
    pairs = [(a, b) for a, b in pairs if (a != b).mean() > REPEATED]
    flows = [optical_flow(a.astype(np.uint8), b.astype(np.uint8), "dis") for a, b in pairs]
    sizes = [np.hypot(*flow) for flow in flows]
    order = np.argsort([float(np.median(size[FACE])) for size in sizes])[: max(3, int(STILL * len(pairs)))]
    rows = []
    for k in order:
        first, second = pairs[k]
        skin = np.concatenate([(second - first)[t:b, le:r].ravel() for t, b, le, r in PATCHES.values()])
        level = np.concatenate([first[t:b, le:r].ravel() for t, b, le, r in PATCHES.values()])
        dark, bright = level < np.percentile(level, 30), level > np.percentile(level, 70)
        beside = [_beside((second - first)[t:b, le:r]) for t, b, le, r in PATCHES.values()]
        motion = sizes[k][FACE]
        bands = dict(zip((f"texture {low}-{high}" for low, high in BANDS), spectrum(first), strict=True))
        rows.append(
            bands
            | {
                "gray": float(level.mean()),
                "contrast": float(first.std()),
                "sharpness": float(np.percentile(np.abs(cv2.Laplacian(first, cv2.CV_32F)), 95)),
                "noise": float(skin.std() / np.sqrt(2)),
                "noise, dark over bright": float(skin[dark].std() / skin[bright].std())
                if skin[bright].std() > 0
                else np.nan,
                "noise, share of beside": float(np.nanmean(beside)) if np.isfinite(beside).any() else np.nan,
                "brightness": float(abs(skin.mean())),
                "flow median": float(np.median(motion)),
                "flow 95th": float(np.percentile(motion, 95)),
                "flow 99th": float(np.percentile(motion, 99)),
            }
        )
    middle = {}
    for name in rows[0]:
        known = [row[name] for row in rows if np.isfinite(row[name])]
        middle[name] = float(np.median(known)) if known else float("nan")
    return middle


def real_pairs(video: Path, seconds: float) -> Iterator[tuple[Picture, Picture]]:
    """Neighboring frames in one and the same aligned square."""
    face = follow_face(video, end_s=seconds)
    before: Gray | None = None
    for frame in VideoReader(video, end_s=seconds):
        if frame.index >= len(face.times_s):
            return
        picture = as_gray(frame.image)
        points = face.steady[frame.index - 1] if frame.index else face.steady[0]
        if before is not None and np.isfinite(points).all():
            square = align(points)
            yield square.warp(before).astype(np.float32), square.warp(picture).astype(np.float32)
        before = picture


def simulated_pairs(seed: int, number: int, compressed: bool) -> list[tuple[Picture, Picture]]:
    """Neighboring frames of a recording in which nothing is expressed."""
    person = draw_person((seed, number))
    recording, _ = draw_recording((seed, number, 0), person, NONE, RecordingSettings(fps=30.0))
    frames = np.stack([as_gray(recording.image(k)) for k in range(len(recording))])
    if compressed:
        frames = recoded(frames, draw_codec(np.random.default_rng([seed, number])))
    pictures = frames.astype(np.float32)
    return list(pairwise(pictures))


def main(videos: Path, people: int = 100, seed: int = 300, seconds: float = 20.0, picture: Path | None = None) -> None:
    """Measure and write.

    Args:
        videos: folder of the real videos; what is missing is fetched.
        people: simulated recordings, of one person each; a third is compressed.
        seed: of the simulated people.
        seconds: of each real video.
        picture: a figure of all.
    """
    real = {
        f"{video.person} {video.half} {video.file}": statistics(list(real_pairs(place, seconds)))
        for video, place in paths(videos).items()
    }
    simulated = [statistics(simulated_pairs(seed, k, k % 3 == 0)) for k in range(people)]
    names = list(simulated[0])
    spread = {n: np.nanpercentile([row[n] for row in simulated], (5, 25, 50, 75, 95)).round(4).tolist() for n in names}
    figures = {"real": {k: {n: round(v, 4) for n, v in row.items()} for k, row in real.items()}, "simulated": spread}
    for name in names:
        print(
            f"{name:26}", *(f"{row[name]:8.3f}" for row in real.values()), " | ", *(f"{v:8.3f}" for v in spread[name])
        )
    if picture:
        _draw(picture, real, simulated)
    record.write("camera_statistics", {"people": people, "seed": seed, "seconds": seconds}, figures)


def _draw(path: Path, real: dict[str, dict[str, float]], simulated: list[dict[str, float]]) -> None:
    names = list(simulated[0])
    figure = Figure(figsize=(12, 8), layout="constrained")
    axes = figure.subplots(4, 4).ravel()
    for axis in axes[len(names) :]:
        axis.set_axis_off()
    for axis, name in zip(axes, names, strict=False):
        values = [row[name] for row in simulated if np.isfinite(row[name])]
        axis.hist(values, 25, color="#bbbbbb")
        for person, row in real.items():
            axis.axvline(row[name], color="#d55e00" if " reported " in person else "#0072b2", linewidth=1.5)
        axis.set_title(name, fontsize=9)
        axis.set_yticks([])
    figure.savefig(path, dpi=80)


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
