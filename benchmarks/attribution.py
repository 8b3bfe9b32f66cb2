"""How much of a decision's attribution is where the active units move the face: networks against chance.

Run: python benchmarks/attribution.py [--weights mol-lite runs/ablation/.../model.safetensors] [--subjects 24]

The region is exact: where the simulator's active units, without head, blinks or speech, move the face by at least a
third of the largest motion. Chance is the region's share of the crop; a second yardstick is the share of all gray-level
changes from the first frame, which needs no network. Also: how often the units that `openmer explain` names were shown.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import record
import tyro
from rich.console import Console
from rich.table import Table

from openmer.choices import Attributor
from openmer.clip import CROP_PX
from openmer.clips.transforms import center_crop
from openmer.datasets.simulated import SimulatedClips, draw_clip
from openmer.explain.attribution import METHODS, attribute
from openmer.explain.moment import explain_window
from openmer.explain.units import likely_units
from openmer.models.engine import Engine, load_engine
from openmer.models.mol import MOL
from openmer.models.weights import load_model, read_record
from openmer.progress import progress
from openmer.simulator.facial_motion import Event
from openmer.simulator.generate import draw_sample
from openmer.simulator.recording import Recording
from openmer.video.regions import region_flow

ACTIVE = 1 / 3  # of the largest motion of the active units
SMOOTH_PX = 3.0
# Units named from the motion of regions; the same with the expression's exact flow; the network's three likeliest.
UNIT_KINDS = ("", "exact flow, ", "network, ")
ROOM = 8  # px between the stored square and the crop


class Network(NamedTuple):
    """One that is judged, and its classes."""

    model: MOL
    classes: tuple[str, ...]


def main(
    weights: tuple[Path, ...] = (Path("mol-lite"),),
    names: tuple[str, ...] = (),
    subjects: int = 24,
    seed: int = 77,
    methods: tuple[Attributor, ...] = ("integrated",),
    units: bool = True,
    name: str = "attribution",
    device: str = "cpu",
) -> None:
    """Measure and write.

    Args:
        weights: networks, by name or file.
        names: what the table calls them.
        subjects: simulated people that the weights have not seen, four clips each; only clips with an expression count.
        seed: of the people.
        methods: of attribution.
        units: whether to judge the named action units too.
        name: of the result file.
        device: cpu or cuda.
    """
    console = Console()
    networks = {
        name: Network(load_model(file).to(device), tuple(read_record(file).classes))
        for name, file in zip(names or [str(w) for w in weights], weights, strict=True)
    }
    engine = load_engine(weights[0], device) if units else None
    settings = SimulatedClips(subjects=subjects, seed=seed)
    rows: dict[str, dict[str, list[float]]] = {}
    unit_hits: dict[str, list[float]] = {f"{kind}{which}": [] for kind in UNIT_KINDS for which in ("first", "any")}
    with progress(console, "Attributing", subjects * settings.samples, "clips/s") as step:
        for subject in range(subjects):
            for sample in range(settings.samples):
                _one(settings, subject, sample, networks, methods, rows, (engine, unit_hits))
                step()
    figures: dict[str, Any] = {row: _spread(values, subjects) for row, values in rows.items()}
    if units:
        figures["action units"] = {k: _mean(v) for k, v in unit_hits.items()}
    console.print(_table(figures))
    if set(methods) - set(METHODS):
        raise ValueError(methods)
    written = {"subjects": subjects, "seed": seed, "active": ACTIVE, "methods": list(methods), "names": list(networks)}
    record.write(name, written, figures, device)


def _one(
    settings: SimulatedClips,
    subject: int,
    sample: int,
    networks: dict[str, Network],
    methods: Sequence[Attributor],
    rows: dict[str, dict[str, list[float]]],
    of_units: tuple[Engine | None, dict[str, list[float]]],
) -> None:
    recording, event, _ = draw_sample(settings.recordings, subject, sample)
    if event is None:
        return
    clip, _ = draw_clip(settings, subject, sample)
    if clip.landmarks is None or clip.label is None:
        raise RuntimeError("the simulator gives both")
    crops = center_crop(clip.frames)
    displaced = expression_flow(recording, event)
    size = np.hypot(*displaced)
    region = size >= ACTIVE * size.max()
    change = np.abs(crops.astype(np.float32) - crops[0]).sum(0)
    _note(rows, "chance: share of the crop", subject, float(region.mean()), _hit(np.ones_like(change), region))
    _note(rows, "change of gray", subject, float((change * region).sum() / change.sum()), _hit(change, region))
    points = clip.landmarks[0] - ROOM
    for name, (model, classes) in networks.items():
        for method in methods:
            side = model.config.size  # networks of 64 px read every crop halved
            small = np.stack([cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA) for crop in crops])
            found = attribute(model, small, classes, clip.label, method=method)
            inside = cv2.resize(region.astype(np.float32), (side, side), interpolation=cv2.INTER_AREA)
            places = cv2.resize(found.map, region.shape, interpolation=cv2.INTER_NEAREST)
            _note(rows, f"{name}, {method}", subject, found.share(inside), _hit(places, region))
    engine, unit_hits = of_units
    if engine is not None:
        shown = {unit for unit, strength in event.units.items() if max(strength) > 0}
        seen = explain_window(engine, crops, points)
        by_regions = [u.unit for u in seen.units]
        by_network = [int(name[2:]) for name, p in sorted((seen.named or {}).items(), key=lambda row: -row[1])][:3]
        exact = [u.unit for u in likely_units(region_flow(displaced, points))]
        for kind, guess in zip(UNIT_KINDS, (by_regions, exact, by_network), strict=True):
            unit_hits[f"{kind}first"].append(float(bool(guess) and guess[0] in shown))
            unit_hits[f"{kind}any"].append(float(bool(shown & set(guess))))


def expression_flow(recording: Recording, event: Event) -> npt.NDArray[np.float32]:
    """(2, C, C) px: how the expression alone moves the face, from before it to its apex."""
    alone = replace(
        recording,
        events=(event,),
        poses=(recording.poses[0],) * 2,
        times_s=np.array([event.onset_s, event.apex_s + event.hold_s / 2]),
    )
    return alone.flow(0, 1)[0][:, ROOM : ROOM + CROP_PX, ROOM : ROOM + CROP_PX]


def _hit(places: npt.NDArray[np.float32], region: npt.NDArray[np.bool_]) -> float:
    """Whether the maximum is in the region (the pointing game, Zhang et al. 2016); chance for a flat map."""
    if np.ptp(places) == 0:
        return float(region.mean())
    smooth = cv2.GaussianBlur(places, (0, 0), SMOOTH_PX)
    return float(region[np.unravel_index(int(smooth.argmax()), smooth.shape)])


def _note(rows: dict[str, dict[str, list[float]]], name: str, subject: int, share: float, hit: float) -> None:
    row = rows.setdefault(name, {"subject": [], "share": [], "hit": []})
    row["subject"].append(subject)
    row["share"].append(share)
    row["hit"].append(hit)


def _spread(values: dict[str, list[float]], subjects: int) -> dict[str, Any]:
    """Mean over clips; 95 % interval by resampling people."""
    rng = np.random.default_rng(0)
    who = np.array(values["subject"])
    out: dict[str, Any] = {"clips": len(who)}
    groups = [np.flatnonzero(who == s) for s in range(subjects)]
    for key in ("share", "hit"):
        column = np.array(values[key])
        draws = [
            column[np.concatenate([groups[g] for g in rng.integers(0, subjects, subjects)])].mean() for _ in range(1000)
        ]
        low, high = np.percentile(draws, [2.5, 97.5])
        out[key] = {
            "mean": round(float(column.mean()), 4),
            "sd_over_clips": round(float(column.std(ddof=1)), 4),
            "interval_95": [round(float(low), 4), round(float(high), 4)],
        }
    return out


def _mean(values: list[float]) -> dict[str, float]:
    return {"mean": round(float(np.mean(values)), 4), "clips": len(values)}


def _table(figures: dict[str, Any]) -> Table:
    table = Table("", "share in the active region", "95 %", "strongest place in it")
    for name, f in figures.items():
        if "share" in f:
            low, high = f["share"]["interval_95"]
            table.add_row(name, f"{f['share']['mean']:.3f}", f"{low:.3f} to {high:.3f}", f"{f['hit']['mean']:.2f}")
    for name, f in figures.get("action units", {}).items():
        table.add_row(f"unit named rightly: {name}", f"{f['mean']:.3f}", "", "")
    return table


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
