"""Draw the picture of `docs/real-pictures.md`: photographs in the public domain, untouched and re-enacted.

Run: python tools/draw_reenacted.py docs/images/reenacted.jpg

The photographs come with packages: scikit-image's astronaut (NASA) and matplotlib's grace_hopper (U.S. Navy).
"""

import sys
from dataclasses import replace
from pathlib import Path

import cv2
import matplotlib
import numpy as np
import skimage.data
from matplotlib.figure import Figure

from openmer.clip import ALIGNED_PX
from openmer.clips.flow import flow_to_color
from openmer.face.align import align
from openmer.face.registry import face_model
from openmer.face.track import FaceTracker
from openmer.simulator.facial_motion import draw_expression
from openmer.simulator.head import draw_identity
from openmer.simulator.reenact import Picture, Reenactment, cast, reenact

SIZE_PX, MAGNIFIED, SCALE = 2.0, 3, 2
SHOWN = (("happiness", {6, 12}), ("surprise", {1, 2}), ("anger", {4, 7}))


def photographs() -> dict[str, Picture]:
    """Name of the person -> RGB."""
    hopper = cv2.imread(str(Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"))
    return {"Eileen Collins": skimage.data.astronaut(), "Grace Hopper": cv2.cvtColor(hopper, cv2.COLOR_BGR2RGB)}


def main(path: Path) -> None:
    """One row per person and expression."""
    tracker = face_model()
    figure = Figure(figsize=(9, 1.55 * 2 * len(SHOWN)), layout="constrained")
    rows = figure.subplots(2 * len(SHOWN), 5)
    axes, first = iter(rows), rows[0]
    titles = ("untouched", f"{SIZE_PX:g} px", "difference, 4 times", "added flow", f"{MAGNIFIED} times the motion")
    for who, picture in photographs().items():
        face = FaceTracker(tracker).update(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY))
        if face is None:
            raise RuntimeError(f"no face in the photograph of {who}")
        square = align(face.landmarks, size=ALIGNED_PX, aligned=ALIGNED_PX)
        large = replace(square, matrix=square.matrix * SCALE, size=ALIGNED_PX * SCALE)
        for emotion, units in SHOWN:
            draws = (draw_expression(np.random.default_rng(seed), emotion, 0.0) for seed in range(1000))
            event = next(drawn for drawn in draws if set(drawn.units) == units)
            actor = cast(face.landmarks, draw_identity(np.random.default_rng(7)))
            shown, strong = (reenact(actor, event, SIZE_PX * times) for times in (1, MAGNIFIED))
            apex = event.apex_s + event.hold_s / 2
            changed, magnified = (_shown(r, picture, face.landmarks, apex) for r in (shown, strong))
            a, b, c = (large.warp(p) for p in (picture, changed, magnified))
            difference = np.clip(128 + 4 * (b.astype(int) - a).mean(2), 0, 255).astype(np.uint8)
            flow = _flow(shown, face.landmarks, apex, square.scale)
            row = next(axes)
            tiles = (a, b, np.stack([difference] * 3, 2), flow_to_color(flow, SIZE_PX), c)
            for axis, tile, title in zip(row, tiles, titles, strict=True):
                axis.imshow(tile)
                axis.set(xticks=[], yticks=[])
                axis.set_title(title if np.shares_memory(row, first) else "", fontsize=8)
            row[0].set_ylabel(f"{who}\n{emotion}, {'+'.join(map(str, sorted(units)))}", fontsize=8)
    figure.savefig(path, dpi=110, pil_kwargs={"quality": 88})


def _shown(shown: Reenactment, picture: Picture, face: np.ndarray, moment: float) -> Picture:
    return shown.on(face, moment).apply(picture)


def _flow(shown: Reenactment, face: np.ndarray, moment: float, scale: float) -> np.ndarray:
    """The added motion on the square, px of the crop."""
    y, x = np.mgrid[:ALIGNED_PX, :ALIGNED_PX].astype(np.float32)
    places = align(face, size=ALIGNED_PX).to_image(np.stack([x, y], -1))
    return np.moveaxis(shown.on(face, moment).at(places), -1, 0).astype(np.float32) * scale


if __name__ == "__main__":
    main(Path(sys.argv[1]))
