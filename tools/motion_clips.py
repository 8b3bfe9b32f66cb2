"""Draw clips of the simulator as motion alone, without pictures: some twenty times as fast.

Run: python tools/motion_clips.py runs/motion/second.npz --subjects 4000 --seed 1001

Each clip is what `prepare-simulated` would show with heads of all kinds, before it is painted: how the visible surface
has moved since the first frame, exactly. To draw with the first edition's motion, run this file with the package of
commit 2085f60: `git worktree add runs/first 2085f60`, then `PYTHONPATH=runs/first/src python tools/motion_clips.py ...`

    displacement   (N, P, 2, G, G) float16 px of the 128 crop, since the first frame, mean over the cells of a grid
    covered        (N, G, G) float16 share of each cell that shows the head
    emotion        (N,) names
    units          (N, 50) whether each action unit would be coded
    peak_px        (N,) largest motion of the expression
"""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import tyro
from rich.console import Console

from openmer.datasets import simulated
from openmer.progress import progress
from openmer.simulator import recording as films
from openmer.simulator.camera import Camera, rasterize
from openmer.simulator.head import head_model

SIDE = 72  # the aligned square of 144 px at half its size; the crop is its middle
GRID = 32
CROP = slice((SIDE - 2 * GRID) // 2, (SIDE + 2 * GRID) // 2)
MOST_UNITS = 50


def displacement(recording: Any, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Frames (T,) of a recording -> (P, 2, G, G) px and (G, G) share that is covered."""
    model = head_model()
    faces = getattr(model, "mesh_faces", model.faces)
    camera = recording.camera
    small = Camera(SIDE, SIDE, camera.distance, camera.focal * SIDE / camera.width)
    points = [small.project(recording.vertices(int(k))) for k in frames]
    surface = rasterize(points[0], faces, SIDE, SIDE)
    moved = np.stack([(later - points[0])[:, :2] for later in points[1:]], 1).reshape(len(points[0]), -1)
    field = surface.interpolate(moved, faces) * (144 / SIDE)
    covered = surface.covered.astype(np.float32)
    share = _cells(covered[..., None])[..., 0]
    mean = _cells(field * covered[..., None]) / np.maximum(share, 0.25)[..., None]
    return mean.transpose(2, 0, 1).reshape(len(frames) - 1, 2, GRID, GRID), share


def _cells(picture: np.ndarray) -> np.ndarray:
    return picture[CROP, CROP].reshape(GRID, 2, GRID, 2, -1).mean((1, 3))


def coded(event: Any) -> np.ndarray:
    """(50,) whether each unit would be coded; the first edition has no list of its own."""
    out = np.zeros(MOST_UNITS, bool)
    if event is not None:
        out[list(getattr(event, "coded", None) or event.units)] = True
    return out


def main(out: tyro.conf.Positional[Path], subjects: int = 4000, samples: int = 4, seed: int = 1001) -> None:
    """Draw and save.

    Args:
        out: the file.
        subjects: people.
        samples: clips of each.
        seed: everything drawn follows from it.
    """
    settings = simulated.SimulatedClips(subjects=subjects, samples=samples, seed=seed, head="mixed")
    plain = SimpleNamespace(clean=None)
    rows: list[tuple[Any, ...]] = []
    unpainted = [
        patch.object(films, "draw_scene", lambda *_: plain),
        patch.object(films, "draw_look", lambda *_: plain),
        patch.object(films, "infrared", lambda look: look, create=True),
        patch.object(films.Recording, "exposed", lambda film, _: film),
    ]
    for one in unpainted:
        one.start()
    with progress(Console(stderr=True), f"Drawing {out.name}", subjects * samples, "clips/s") as step:
        for subject in range(subjects):
            for sample in range(samples):
                recording, event, emotion = simulated.draw_sample(settings.recordings, subject, sample)
                rng = np.random.default_rng([99, seed, subject, sample])
                frames = simulated.choose_frames(recording, event, settings, rng)
                moved, share = displacement(recording, frames)
                peak = getattr(event, "peak_px", None) or 0.0
                rows.append((moved.astype(np.float16), share.astype(np.float16), emotion, coded(event), peak))
                step()
    names = ("displacement", "covered", "emotion", "units", "peak_px")
    out.parent.mkdir(parents=True, exist_ok=True)
    np.savez(out, **{name: np.stack(values) for name, values in zip(names, zip(*rows, strict=True), strict=True)})


if __name__ == "__main__":
    sys.exit(tyro.cli(main, description=__doc__))
