"""Draw the network for the docs, using the names in the code: data flow, and what FCC and CCC do.

Run: python tools/draw_model.py docs/images/model.svg

Frames are simulated; feature maps, neighbours, flow, landmarks and probabilities are those of the shipped weights.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Rectangle

from openmer import load_model, read_record
from openmer.clip import Array
from openmer.clips.flow import flow_to_color
from openmer.clips.transforms import center_crop, evaluation_input
from openmer.models.f5c import CCC
from openmer.simulator.generate import clip_stream
from openmer.simulator.settings import SimulateSettings

FIRST, SECOND, SHARED, HEAD, INK = "#3b6fb6", "#d9822b", "#7a7a7a", "#3f8f5b", "#222222"
SCALE = 1.28  # of all text: pages show the drawing at two thirds of its size
NODE = 5  # the channel whose neighbours are shown


@dataclass(frozen=True)
class Seen:
    """What is shown: one pair of a clip, and the network's features and results for it."""

    frames: Array
    raw: tuple[Array, Array]
    refined: tuple[Array, Array]
    flow: Array
    points: Array
    probabilities: dict[str, float]
    mixed: Array
    neighbours: tuple[int, ...]


def look() -> Seen:
    """Run the shipped weights on one simulated surprise."""
    model = load_model("mol-lite")
    clip, _ = next(clip_stream(SimulateSettings(emotions=("surprise",), fps=50, seed=4242)))
    inputs = torch.from_numpy(evaluation_input(clip.frames))[None]
    with torch.inference_mode():
        answer = model(inputs)
        pair = int(answer.flow[0].norm(dim=1).mean((1, 2)).argmax())
        raw = model.stack(inputs[0, pair : pair + 2])
        refined = (model.first(raw[:1])[0], model.second(raw[1:])[0])
        ccc = model.first.ccc
        assert isinstance(ccc, CCC) and model.first.fcc is not None  # noqa: S101
        mixed = model.first.fcc(raw[:1])
        near = ccc.nearest(mixed.flatten(2))[0, NODE].tolist()
    return Seen(
        frames=center_crop(clip.frames)[pair : pair + 2],
        raw=(raw[0].numpy(), raw[1].numpy()),
        refined=(refined[0].numpy(), refined[1].numpy()),
        flow=answer.flow[0, pair].numpy(),
        points=answer.landmarks[0, pair].numpy(),
        probabilities=dict(zip(read_record("mol-lite").classes, answer.logits.softmax(1)[0].tolist(), strict=True)),
        mixed=mixed[0].numpy(),
        neighbours=tuple(near),
    )


class Sheet:
    """A page on which one unit is a tenth of an inch."""

    def __init__(self, width: float, height: float) -> None:
        self.figure = Figure(figsize=(width / 10, height / 10), facecolor="white")
        self.axes: Axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set_xlim(0, width)
        self.axes.set_ylim(0, height)
        self.axes.set_aspect("equal")
        self.axes.set_axis_off()

    def box(self, x: float, y: float, w: float, h: float, said: str = "", colour: str = SHARED, **more: float) -> None:
        """A rounded box with `said` in its centre."""
        patch = FancyBboxPatch(
            (x, y), w, h, boxstyle="round,pad=0,rounding_size=0.8", edgecolor=colour, facecolor=_light(colour), lw=1.3
        )
        self.axes.add_patch(patch)
        self.say(x + w / 2, y + h / 2, said, **more)

    def say(self, x: float, y: float, said: str, size: float = 8.5, colour: str = INK, **more: object) -> None:
        """Text centred at (x, y)."""
        options: dict[str, object] = {"ha": "center", "va": "center", "linespacing": 1.25, **more}
        self.axes.text(x, y, said, fontsize=SCALE * size, color=colour, **options)

    def arrow(self, points: Sequence[tuple[float, float]], colour: str = INK, style: str = "-") -> None:
        """Straight lines from point to point, with a tip at the last."""
        for start, end in pairwise(points[:-1]):
            self.axes.plot(*zip(start, end, strict=True), color=colour, lw=1.1, ls=style, solid_capstyle="round")
        tip = FancyArrowPatch(
            points[-2],
            points[-1],
            arrowstyle="-|>",
            mutation_scale=9,
            color=colour,
            lw=1.1,
            shrinkA=0,
            shrinkB=0,
            ls=style,
        )
        self.axes.add_patch(tip)

    def picture(self, image: Array, x: float, y: float, side: float, edge: str = INK, *, front: int = 2) -> None:
        """A square picture, gray or RGB, its lower left corner at (x, y); feature maps in colours."""
        cmap = "viridis" if image.dtype == np.float32 else "gray"
        place = (x, x + side, y, y + side)
        self.axes.imshow(image, extent=place, cmap=cmap, interpolation="nearest", aspect="auto", zorder=front)
        self.axes.add_patch(Rectangle((x, y), side, side, fill=False, edgecolor=edge, lw=0.9, zorder=front))

    def maps(self, features: Array, x: float, y: float, edge: str, side: float = 6.0) -> None:
        """Some channels of (C, S, S), overlapping."""
        for k, channel in enumerate((96, 64, 5)):
            self.picture(features[channel], x + 0.9 * (2 - k), y + 0.9 * (2 - k), side, edge, front=2 + k)

    def plus(self, x: float, y: float) -> None:
        """A plus sign in a circle, for a sum."""
        self.axes.add_patch(Circle((x, y), 1.2, facecolor="white", edgecolor=INK, lw=1.1, zorder=4))
        self.axes.plot([x - 0.7, x + 0.7], [y, y], color=INK, lw=1.1, zorder=5)
        self.axes.plot([x, x], [y - 0.7, y + 0.7], color=INK, lw=1.1, zorder=5)


def _light(colour: str) -> tuple[float, float, float]:
    red, green, blue = mpl.colors.to_rgb(colour)
    return (0.86 + 0.14 * red, 0.86 + 0.14 * green, 0.86 + 0.14 * blue)


def data_flow(sheet: Sheet, seen: Seen) -> None:
    """From two frames to the three heads."""
    rows = (66.0, 45.0)  # the lower edges of frame k and frame k+1
    for k, (y, name) in enumerate(zip(rows, ("frame k", "frame k+1"), strict=True)):
        sheet.picture(seen.frames[k], 3, y, 14)
        sheet.say(10, y - 1.6, name)
        middle_y = y + 7
        sheet.arrow([(17, middle_y), (21, middle_y)])
        sheet.arrow([(31, middle_y), (35, middle_y)])
        sheet.maps(seen.raw[k], 35.5, middle_y - 3.6, INK)
        sheet.say(39.4, middle_y - 5.4, "F(r)", style="italic")
        sheet.arrow([(43.7, middle_y), (47.5, middle_y)])
        colour, block = ((FIRST, "first"), (SECOND, "second"))[k]
        sheet.box(47.5, middle_y - 5, 20, 10, colour=colour)
        sheet.say(57.5, middle_y + 3.3, f"F5C, {block}", weight="bold", colour=colour)
        sheet.box(49, middle_y - 3.7, 7, 5, "FCC", colour)
        sheet.arrow([(56, middle_y - 1.2), (59, middle_y - 1.2)])
        sheet.box(59, middle_y - 3.7, 7, 5, "CCC", colour)
        sheet.arrow([(67.5, middle_y), (71, middle_y)])
        sheet.maps(seen.refined[k], 71.5, middle_y - 3.6, colour)
        sheet.say(75.4, middle_y - 5.4, f"F(g) {block}", style="italic")
    sheet.box(21, 46, 10, 33, "ConvStack\n\n4 convolu-\ntions,\none for\nall frames", SHARED)
    sheet.say(39.4, 62.6, "128 maps\n16 × 16", size=7.5, colour=SHARED)

    heads = ((71.5, "flow", "flow head"), (58.0, "mer", "MER head"), (44.5, "landmarks", "landmark head"))
    for y, key, title in heads:
        sheet.box(92, y, 18, 10.5, colour=HEAD)
        sheet.say(101, y + 8.6, title, weight="bold", colour=HEAD)
        sheet.arrow([(110, y + 5.25), (114, y + 5.25)])
        if key == "flow":
            sheet.say(101, y + 3.8, "correlation of\nthe two frames,\nencoder, decoder", size=8)
        elif key == "mer":
            for k in range(14):
                colour = (FIRST, SECOND)[k % 2]
                sheet.axes.add_patch(Rectangle((94.4 + 0.95 * k, y + 5.3), 0.75, 1.5, color=colour))
            sheet.say(101, y + 4.2, "F(g) of all 7 pairs, in time", size=6.5)
            sheet.say(101, y + 1.9, "3-D conv, max-pool, FC", size=8)
        else:
            sheet.say(101, y + 4.2, "convolution, FC, FC\nor heat maps", size=8)
    top, low = rows[0] + 7, rows[1] + 7
    for y, colour in ((top, FIRST), (low, SECOND)):
        shift = 0.9 if y == top else -0.9
        sheet.arrow([(79.7, y), (92, 76.2 + shift)], colour)
        sheet.arrow([(79.7, y), (92, 63.2 + shift)], colour)
    sheet.arrow([(79.7, low), (92, 49.7)], SECOND)
    for y in rows:
        sheet.axes.plot([1.2, 3], [y + 7, y + 7], color=SHARED, lw=1.1, ls="--")
    sheet.arrow([(1.2, rows[1] + 7), (1.2, 85), (101, 85), (101, 82)], SHARED, "--")
    sheet.say(58, 83.6, "both raw frames", size=7.5, colour=SHARED)

    sheet.picture(flow_to_color(seen.flow, 0.6), 115, 71.3, 11)
    sheet.say(120.5, 70, "flow, k to k+1", size=7.5)
    for k, (name, share) in enumerate(seen.probabilities.items()):
        y = 66.3 - 2.2 * k
        sheet.say(121.2, y, name, size=7, ha="right")
        sheet.axes.add_patch(Rectangle((122, y - 0.7), max(0.15, 5.0 * share), 1.4, color=HEAD))
    sheet.say(120.5, 57.2, "class of the clip", size=7.5)
    sheet.picture(seen.frames[1], 115, 44.3, 11)
    sheet.axes.plot(
        115 + 11 * (seen.points[:, 0] + 0.5) / 128,
        55.3 - 11 * (seen.points[:, 1] + 0.5) / 128,
        "o",
        color="#56b4e9",
        ms=1.8,
        mec="black",
        mew=0.2,
        zorder=4,
    )
    sheet.say(120.5, 43, "68 points of k+1", size=7.5)


def fcc(sheet: Sheet, seen: Seen, x: float) -> None:
    """The inset of FCC's two halves."""
    sheet.axes.add_patch(Rectangle((x, 1), 63, 37, facecolor="#f6f6f6", edgecolor="#cccccc", lw=0.8, zorder=-1))
    sheet.say(x + 1.5, 35.8, "FCC: every position sees its whole column and row", ha="left", weight="bold", size=9)
    sheet.maps(seen.raw[0], x + 1.8, 14, INK, side=5.5)
    sheet.say(x + 5.4, 11.4, "128 maps,\nhalved", size=7.5)
    sheet.say(x + 58.6, 11.4, "128 maps", size=7.5)
    sheet.maps(seen.mixed, x + 54.6, 14, FIRST, side=5.5)
    for y, axes, name in ((24.5, ("column", "row"), "half one"), (6.5, ("row", "column"), "half two")):
        middle_y = y + 3.5
        sheet.say(x + 15.2, middle_y + 3.7, name, size=7.5, style="italic")
        sheet.arrow([(x + 9.4, 18.2 if y < 10 else 18.8), (x + 11.2, middle_y), (x + 14, middle_y)])
        sheet.box(x + 14, middle_y - 2.6, 9.5, 5.2, "+ position,\nBatchNorm", SHARED, size=7)
        sheet.arrow([(x + 23.5, middle_y), (x + 25.5, middle_y)])
        _grid(sheet, x + 25.5, y, axes[0])
        sheet.arrow([(x + 32.5, middle_y), (x + 34.2, middle_y)])
        sheet.box(x + 34.2, middle_y - 1.9, 6.6, 3.8, "+ position", SHARED, size=6.5)
        sheet.arrow([(x + 40.8, middle_y), (x + 42.5, middle_y)])
        _grid(sheet, x + 42.5, y, axes[1])
        sheet.plus(x + 52, middle_y)
        sheet.arrow([(x + 49.5, middle_y), (x + 50.8, middle_y)])
        rim = middle_y + 5.2 if y > 10 else middle_y - 5.2
        sheet.arrow(
            [(x + 12.2, middle_y), (x + 12.2, rim), (x + 52, rim), (x + 52, middle_y + (1.2 if y > 10 else -1.2))]
        )
        sheet.arrow([(x + 53.1, middle_y - 0.5 if y > 10 else middle_y + 0.5), (x + 55.6, 21.8 if y > 10 else 13.7)])
    sheet.say(
        x + 37.5,
        17.6,
        "circular 1-D convolutions, each channel by\nitself, as long as the side: O(H + W)",
        size=7.5,
    )


def _grid(sheet: Sheet, x: float, y: float, line: str) -> None:
    """An 8 x 8 map with the line that one position reads."""
    side, n = 7.0, 8
    cell = side / n
    for k in range(n):
        place = (x + 3 * cell, y + k * cell) if line == "column" else (x + k * cell, y + 4 * cell)
        sheet.axes.add_patch(Rectangle(place, cell, cell, facecolor="#a9c4e6", edgecolor="none"))
    sheet.axes.add_patch(Rectangle((x + 3 * cell, y + 4 * cell), cell, cell, facecolor=FIRST, edgecolor="none"))
    for k in range(n + 1):
        sheet.axes.plot([x + k * cell] * 2, [y, y + side], color="#9a9a9a", lw=0.4)
        sheet.axes.plot([x, x + side], [y + k * cell] * 2, color="#9a9a9a", lw=0.4)


def ccc(sheet: Sheet, seen: Seen, x: float) -> None:
    """The inset of CCC's graph."""
    sheet.axes.add_patch(Rectangle((x, 1), 62, 37, facecolor="#f6f6f6", edgecolor="#cccccc", lw=0.8, zorder=-1))
    sheet.say(x + 1.5, 35.8, "CCC: a graph whose nodes are the channels", ha="left", weight="bold", size=9)
    side, middle_xy = 5.2, (x + 14.5, 18.8)
    places = ((x + 2.5, 26.4), (x + 21.3, 26.4), (x + 2.5, 6.8), (x + 21.3, 6.8))
    for rank, (place, channel) in enumerate(zip(places, seen.neighbours, strict=True), start=1):
        corner = (place[0] + side / 2, place[1] + side / 2)
        toward = np.subtract(middle_xy, corner)
        end = np.subtract(middle_xy, 4.2 * toward / np.linalg.norm(toward))
        start = np.add(corner, 4.2 * toward / np.linalg.norm(toward))
        sheet.arrow([(float(start[0]), float(start[1])), (float(end[0]), float(end[1]))])
        sheet.picture(seen.mixed[channel], *place, side)
        sheet.say(corner[0], place[1] - 1.2, f"$f_{{j{rank}}}$", size=8.5)
    sheet.picture(seen.mixed[NODE], middle_xy[0] - side / 2, middle_xy[1] - side / 2, side, FIRST)
    sheet.say(middle_xy[0] + 4.1, middle_xy[1], "$f_i$", size=9.5)
    sheet.say(x + 14.5, 2.5, "the 4 most similar, by cosine", size=7.5)
    steps = (
        (27.2, "an edge:  ReLU($W_1 f_i + W_2 (f_j - f_i)$)"),
        (20.4, "its new value: maximum over j"),
        (13.6, "1 × 1 convolution over the nodes"),
    )
    for k, (y, said) in enumerate(steps):
        sheet.box(x + 31, y, 27, 4.6, said, FIRST, size=8)
        sheet.arrow([(x + 44.5, y), (x + 44.5, y - 2.2 if k < 2 else 9.4)])
    sheet.plus(x + 44.5, 8.2)
    sheet.arrow([(x + 27.6, 18.8), (x + 29.2, 18.8), (x + 29.2, 29.5), (x + 31, 29.5)])
    sheet.arrow([(x + 29.2, 18.8), (x + 29.2, 8.2), (x + 43.3, 8.2)])
    sheet.say(x + 36, 9.4, "the node itself", size=7)
    sheet.arrow([(x + 45.7, 8.2), (x + 52, 8.2)])
    sheet.say(x + 55.3, 8.2, "F(g)", style="italic")
    sheet.say(
        x + 44.5, 3.6, "a node is a channel's 16 × 16 map, 256 values;\nW₁ and W₂ are the same for all nodes", size=7.5
    )


def main(path: Path) -> None:
    """Draw it."""
    mpl.rcParams.update({"font.family": "DejaVu Sans", "mathtext.fontset": "dejavusans", "svg.hashsalt": "openmer"})
    seen = look()
    sheet = Sheet(130, 87)
    data_flow(sheet, seen)
    fcc(sheet, seen, 1.5)
    ccc(sheet, seen, 66.5)
    sheet.figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
