"""How well a network names action units on simulated people that it has not seen, against naming them from regions.

Run: python benchmarks/units.py [--weights mol-lite runs/mol-lite/units-1/model.safetensors ...] [--out runs/units]

The clips are those that the shipped weights were judged on: 60 people with calm heads and 60 with lively ones, four
clips each. Several weights are seeds of one training, for which the spread is given. OUT keeps the clips for the next
run.
"""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import record
import tyro
from rich.console import Console
from rich.table import Table
from scoring import judge_units, units_over_seeds

from openmer.clips.store import ClipStore
from openmer.clips.transforms import center_crop
from openmer.datasets.simulated import SimulatedClips, prepare_simulated
from openmer.evaluation.splits import check_unseen
from openmer.explain.moment import window_motion
from openmer.explain.units import likely_units
from openmer.models.weights import load_model, read_record
from openmer.progress import progress
from openmer.training.data import ClipData

HEADS = {
    "calm": SimulatedClips(subjects=60, seed=77),
    "lively": SimulatedClips(subjects=60, seed=78, head="lively"),
}
ROOM = 8  # px between the stored square and the crop


def main(weights: tuple[str, ...] = ("mol-lite",), out: Path = Path("runs/units"), subjects: int | None = None) -> None:
    """Judge and write.

    Args:
        weights: by name or file; several give the spread.
        out: folder of the clips.
        subjects: fewer people, for a trial.
    """
    console = Console()
    figures = {}
    for head, settings in HEADS.items():
        if subjects is not None:
            settings = replace(settings, subjects=subjects)
        with progress(console, f"Simulating, {head}", settings.subjects, "people/s") as step:
            store = prepare_simulated(out / head, settings, processes=os.cpu_count() or 1, on_subject=step)
        data = ClipData(store, store.entries, read_record(weights[0]).classes)
        for name in weights:
            check_unseen(read_record(name), name, data.people)
        figures[head] = units_over_seeds([judge_units(load_model(name), data) for name in weights])
        figures[head]["first_right_by_regions"] = by_regions(store, console)
    console.print(_table(figures))
    record.write("units", {"weights": [Path(name).name for name in weights], "subjects": subjects or 60}, figures)


def by_regions(store: ClipStore, console: Console) -> float:
    """Without a network: how often the unit that best explains the twelve regions' motion is shown. Flow is TV-L1."""
    right = []
    shown = [entry for entry in store if entry.units]
    with progress(console, "By regions", len(shown), "clips/s") as step:
        for entry in shown:
            clip = store.read(entry, flow=False)
            motion, _ = window_motion(center_crop(clip.frames), clip.landmarks[0] - ROOM)
            guess = likely_units(motion)
            right.append(bool(guess) and guess[0].unit in (entry.units or ()))
            step()
    return float(np.mean(right))


def _table(figures: dict[str, dict[str, Any]]) -> Table:
    table = Table("heads", "likeliest unit is shown", "by regions", "mean F1")
    for head, found in figures.items():
        table.add_row(
            head, _said(found["first_right"]), f"{found['first_right_by_regions']:.3f}", _said(found["f1_mean"])
        )
    return table


def _said(value: dict[str, Any]) -> str:
    return f"{value['mean']:.3f}" + ("" if value["sd"] is None else f" ± {value['sd']:.3f}")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
