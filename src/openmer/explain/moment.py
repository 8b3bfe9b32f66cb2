"""Explain one window of a video: the decision, where and when it comes from, what moved, and which units that may be.

Shape legend: T frames, C = 128 px crop, R regions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from openmer.choices import Attributor
from openmer.clip import CROP_PX, Array, Gray
from openmer.clips.flow import optical_flow
from openmer.explain.attribution import Attribution, Channel, attribute, strongest_channels
from openmer.explain.units import LikelyUnit, likely_units
from openmer.facs import UNIT_NAMES
from openmer.models.engine import Engine, by_name
from openmer.page import figure_uri
from openmer.timeline import most_likely
from openmer.video.regions import REGION_NAMES, region_discs, region_flow
from openmer.video.windows import predict_crops

SMOOTH_PX = 3.0
ELSEWHERE = "elsewhere"


@dataclass(frozen=True)
class Explanation:
    """What the network saw in one window.

    Attributes:
        probabilities: class probabilities of the window.
        attribution: attribution of the log-odds of `attribution.target`.
        channels: channels of F(g), strongest first.
        shares: share of the attribution in each region, and elsewhere; they sum to 1.
        motion: (R, 2) px of the crop, regions minus the head's motion, from the window's first frame to `apex`.
        units: action units that may have moved, judged by the motion of the regions.
        named: action units, such as `AU12`, with the network's probabilities; None if it names none.
        apex: index of the frame within the window in which the regions are farthest from where they began.
    """

    probabilities: dict[str, float]
    attribution: Attribution
    channels: tuple[Channel, ...]
    shares: dict[str, float]
    motion: Array
    units: tuple[LikelyUnit, ...]
    named: dict[str, float] | None
    apex: int

    def sentence(self) -> str:
        """The explanation in words."""
        a = self.attribution
        change = (
            f"{a.target} {self.probabilities[a.target]:.2f} in this window: compared with the same face standing "
            f"still, its log-odds {'rose' if a.moving >= a.still else 'fell'} from {a.still:.1f} to {a.moving:.1f}."
        )
        largest = sorted(((v, k) for k, v in self.shares.items() if k != ELSEWHERE), reverse=True)[:3]
        places = ", ".join(f"{k.replace('_', ' ')} ({v:.0%})" for v, k in largest)
        regions = f"The twelve regions hold {1 - self.shares[ELSEWHERE]:.0%} of what mattered, most of it at {places}."
        return " ".join([change, regions, *self._units_in_words()])

    def _units_in_words(self) -> list[str]:
        sentences = []
        if self.named is not None:
            likely = sorted(((p, name) for name, p in self.named.items() if p >= 0.5), reverse=True)
            names = ", ".join(f"{_in_words(name)} ({p:.2f})" for p, name in likely)
            sentences.append(f"The network names these action units: {names or 'none'}.")
        if not self.units:
            return [*sentences, "The regions moved too little to name action units from their motion."]
        names = ", ".join(f"AU{u.unit} {UNIT_NAMES[u.unit]} ({u.px:.1f} px{_side(u)})" for u in self.units)
        return [*sentences, f"These action units would move the regions in this way: {names}."]

    def to_json(self) -> dict[str, Any]:
        """The explanation as plain values, without the maps."""
        a = self.attribution
        return {
            "target": a.target,
            "method": a.method,
            "probabilities": self.probabilities,
            "log_odds": {"clip": round(a.moving, 4), "still": round(a.still, 4)},
            "share_of_frames": None if a.frames is None else [round(float(v), 4) for v in a.frames],
            "share_of_regions": {k: round(v, 4) for k, v in self.shares.items()},
            "motion_px": {n: [round(float(v), 4) for v in m] for n, m in zip(REGION_NAMES, self.motion, strict=True)},
            "network_units": self.named,
            "likely_units": [
                {"unit": u.unit, "name": UNIT_NAMES[u.unit], "px": round(u.px, 4), "right": round(u.right, 3)}
                for u in self.units
            ],
            "channels": [{"number": c.number, "share": round(c.share, 4)} for c in self.channels],
        }


def _in_words(unit: str) -> str:
    """Such as `AU12 lip corner puller`; only the number if the unit has no name here."""
    return f"{unit} {UNIT_NAMES.get(int(unit[2:]), '')}".rstrip()


def _side(unit: LikelyUnit) -> str:
    if 0.35 <= unit.right <= 0.65:
        return ""
    return ", more on the person's right" if unit.right > 0.5 else ", more on the person's left"


def explain_window(
    engine: Engine,
    crops_TCC: Gray,
    landmarks: Array,
    *,
    target: str | None = None,
    method: Attributor = "integrated",
) -> Explanation:
    """Explain the network's decision for a window.

    Args:
        engine: the network, in torch.
        crops_TCC: (T, C, C) gray levels, aligned by one alignment.
        landmarks: (68, 2) px of the crop.
        target: class to explain; by default the one that the report names.
        method: see `attribute`.

    Raises:
        InputError: the class is unknown, captum is not installed, or the network runs in onnxruntime.
    """
    model, classes = engine.model, tuple(engine.record.classes)
    answer = predict_crops(engine, crops_TCC)
    probabilities = answer.probabilities
    named = dict(zip(classes, map(float, probabilities), strict=True))
    target = target or most_likely(named) or classes[0]  # as the report names it
    temperature = engine.record.temperature or 1.0
    attribution = attribute(model, crops_TCC, classes, target, method=method, temperature=temperature)
    motion, apex = window_motion(crops_TCC, landmarks)
    return Explanation(
        probabilities={c: round(float(p), 4) for c, p in zip(classes, probabilities, strict=True)},
        attribution=attribution,
        channels=strongest_channels(model, crops_TCC, classes, target, temperature=temperature),
        shares=region_shares(attribution, landmarks),
        motion=motion,
        units=likely_units(motion),
        named=None if answer.units is None else by_name(engine.record.config.unit_names, answer.units),
        apex=apex,
    )


def window_motion(crops_TCC: Gray, landmarks: Array) -> tuple[Array, int]:
    """Displacement of the regions when they are farthest from where they began, (R, 2) px of the crop; and the frame.

    Args:
        crops_TCC: (T, C, C) gray levels.
        landmarks: (68, 2) px of the crop.
    """
    moved = np.stack([region_flow(optical_flow(crops_TCC[0], crop, "tvl1"), landmarks) for crop in crops_TCC[1:]])
    apex = int(np.linalg.norm(moved, axis=2).max(1).argmax())
    return moved[apex], apex + 1


def region_shares(attribution: Attribution, landmarks: Array) -> dict[str, float]:
    """Share of an attribution in each region's disc; a pixel belongs to the nearest disc that contains it.

    Args:
        attribution: with places of (C, C).
        landmarks: (68, 2) px of the crop.
    """
    owner = np.full(CROP_PX * CROP_PX, len(REGION_NAMES))
    nearest = np.full(CROP_PX * CROP_PX, np.inf)
    y, x = np.divmod(np.arange(CROP_PX * CROP_PX), CROP_PX)
    for k, disc in enumerate(region_discs(landmarks)):
        if not len(disc):
            continue
        distance = np.hypot(x[disc] - x[disc].mean(), y[disc] - y[disc].mean())
        closer = distance < nearest[disc]
        owner[disc[closer]], nearest[disc[closer]] = k, distance[closer]
    parts = np.bincount(owner, attribution.map.ravel(), len(REGION_NAMES) + 1)
    total = max(float(parts.sum()), 1e-12)
    return {name: float(v) / total for name, v in zip((*REGION_NAMES, ELSEWHERE), parts, strict=True)}


def heat(crop: Gray, places: Array, most: float) -> npt.NDArray[np.uint8]:
    """A map drawn over a crop; the face stays gray where nothing mattered: (C, C) and (C, C) -> (C, C, 3) RGB."""
    strength = np.clip(cv2.GaussianBlur(places, (0, 0), SMOOTH_PX) / max(most, 1e-12), 0, 1)[..., None]
    colour = matplotlib.colormaps["inferno"](0.25 + 0.75 * strength[..., 0])[..., :3]
    gray = np.repeat(crop[..., None] / 255, 3, 2)
    return np.asarray(np.rint(255 * (gray * (1 - 0.85 * strength) + colour * 0.85 * strength)), np.uint8)


def explained_figure(explanation: Explanation, crops_TCC: Gray, times_s: Sequence[float]) -> str:
    """The explanation as a drawing (data URI): where, when, and which regions and channels."""
    a = explanation.attribution
    figure = Figure(figsize=(11, 5.4), layout="constrained")
    grid = figure.add_gridspec(2, 1, height_ratios=(1.9, 1))
    upper, lower = figure.add_subfigure(grid[0]), figure.add_subfigure(grid[1])
    where, when, regions = upper.subplots(1, 3, width_ratios=(1, 1.1, 1.6))
    blurred = cv2.GaussianBlur(a.map, (0, 0), SMOOTH_PX)
    where.imshow(heat(crops_TCC[explanation.apex], a.map, float(blurred.max())))
    where.set_title(f"where {a.target} comes from", fontsize=10)
    where.set_axis_off()
    if a.frames is None:
        when.text(0.5, 0.5, "places were held still\nin all frames at once", ha="center", va="center", fontsize=9)
        when.set_axis_off()
    else:
        when.bar(range(len(times_s)), a.frames, color="#d55e00")
        when.set_xticks(range(len(times_s)), [f"{t:.2f}" for t in times_s], rotation=60, fontsize=8)
        when.set_title("share of each frame", fontsize=10)
        when.set_xlabel("seconds", fontsize=9)
    names = (*REGION_NAMES, ELSEWHERE)
    rows = np.arange(len(names))
    shares = [explanation.shares[name] for name in names]
    regions.barh(rows - 0.2, shares, 0.4, color="#d55e00")
    regions.set_yticks(rows, [n.replace("_", " ") for n in names], fontsize=8)
    regions.invert_yaxis()
    px = regions.twiny()
    px.barh(rows[:-1] + 0.2, np.linalg.norm(explanation.motion, axis=1), 0.4, color="#56b4e9")
    regions.set_xlabel("share of the attribution", fontsize=9, color="#d55e00")
    px.set_xlabel("motion, px of the crop", fontsize=9, color="#0072b2")
    if not explanation.channels:
        lower.suptitle("This network decides from motion alone; no channels of F(g) take part.", fontsize=10, y=0.6)
        return figure_uri(figure)
    maps = lower.subplots(1, len(explanation.channels))
    for axes, channel in zip(np.atleast_1d(maps), explanation.channels, strict=True):
        change = np.asarray(cv2.resize(channel.change, (CROP_PX, CROP_PX)), np.float32)
        axes.imshow(heat(crops_TCC[explanation.apex], change, float(change.max())))
        axes.set_title(f"channel {channel.number}: {channel.share:.0%}", fontsize=9)
        axes.set_axis_off()
    return figure_uri(figure)
