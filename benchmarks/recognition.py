"""Recognition of simulated people that a network has not seen: classes, expression or none, by size of the motion.

Run: python benchmarks/recognition.py [--weights mol-lite runs/mol-lite/units-1/model.safetensors ...] [--out runs/...]

The clips are those of `benchmarks/units.py`. Several weights are seeds of one training; the spread over them is given.
"""

import os
from pathlib import Path
from typing import Any

import record
import tyro
from rich.console import Console
from rich.table import Table
from units import HEADS

from openmer.datasets.simulated import prepare_simulated
from openmer.evaluation.judge import predict, recall_by_motion, recognition_over_seeds
from openmer.evaluation.splits import check_unseen
from openmer.models.weights import load_model, read_record
from openmer.progress import progress
from openmer.training.data import ClipData


def main(weights: tuple[str, ...] = ("mol-lite",), out: Path = Path("runs/units")) -> None:
    """Judge and write.

    Args:
        weights: by name or file; of several the spread.
        out: where the clips lie.
    """
    console = Console()
    classes = read_record(weights[0]).classes
    models = [load_model(name) for name in weights]
    figures: dict[str, Any] = {}
    for head, settings in HEADS.items():
        with progress(console, f"Simulating, {head}", settings.subjects, "people/s") as step:
            store = prepare_simulated(out / head, settings, processes=os.cpu_count() or 1, on_subject=step)
        data = ClipData(store, store.entries, classes)
        for name in weights:
            check_unseen(read_record(name), name, data.people)
        with progress(console, f"Judging, {head}", len(data) * len(models), "clips/s") as step:
            runs = [predict(model, data, on_clip=step) for model in models]
        figures[head] = {
            "data": f"{len(data)} simulated clips of {settings.subjects} people that were never trained on",
            "heads": settings.head,
            "recognition": recognition_over_seeds(runs, classes),
            "recall_by_motion": recall_by_motion(runs, data),
        }
    console.print(_table(figures))
    record.write("recognition", {"weights": [Path(name).name for name in weights]}, figures)


def _table(figures: dict[str, Any]) -> Table:
    scores = ("accuracy", "uf1", "detection_accuracy", "detection_uf1")
    table = Table("heads", "accuracy", "UF1", "expression or none", "its UF1")
    for head, found in figures.items():
        values = [found["recognition"][score] for score in scores]
        table.add_row(head, *(f"{v['mean']:.3f}" + ("" if v["sd"] is None else f" ± {v['sd']:.3f}") for v in values))
    return table


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
