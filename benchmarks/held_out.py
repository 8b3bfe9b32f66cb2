"""How networks do on simulated people that they have not seen: classes, expression or none, landmarks, flow.

Run: python benchmarks/held_out.py [--weights mol-lite runs/mol-lite/units-1/model.safetensors ...] [--out runs/units]

The clips are those of `benchmarks/units.py`, which judges action units. Several weights are seeds of one training, for
which the spread is given.
"""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import record
import tyro
from rich.console import Console
from rich.table import Table
from scoring import (
    flow_over_seeds,
    judge_flow,
    judge_landmarks,
    landmarks_over_seeds,
    recall_by_motion,
    recognition_over_seeds,
)
from units import HEADS

from openmer.datasets.simulated import prepare_simulated
from openmer.evaluation.evaluate import predict
from openmer.evaluation.splits import check_unseen
from openmer.models.weights import load_model, read_record
from openmer.progress import progress
from openmer.training.data import ClipData

CLASSICAL = (("moving", "tvl1"), ("far", "dis"))  # shown in the table next to the network's flow


def main(
    weights: tuple[str, ...] = ("mol-lite",),
    out: Path = Path("runs/units"),
    flow: bool = True,
    classical: bool = True,
    subjects: int | None = None,
    device: str = "cpu",
) -> None:
    """Judge and write.

    Args:
        weights: by name or file; several give the spread.
        out: folder of the clips.
        flow: whether to judge flow too.
        classical: whether to judge TV-L1 and DIS too, which takes most of the time and does not depend on the weights.
        subjects: fewer people, for a trial.
        device: cpu or cuda.
    """
    console = Console()
    classes = read_record(weights[0]).classes
    models = [load_model(name).to(device) for name in weights]
    figures: dict[str, Any] = {}
    for head, settings in HEADS.items():
        if subjects is not None:
            settings = replace(settings, subjects=subjects)
        with progress(console, f"Simulating, {head}", settings.subjects, "people/s") as step:
            store = prepare_simulated(out / head, settings, processes=os.cpu_count() or 1, on_subject=step)
        data = ClipData(store, store.entries, classes)
        for name in weights:
            check_unseen(read_record(name), name, data.people)
        with progress(console, f"Judging, {head}", len(data) * len(models), "clips/s") as step:
            runs = [predict(model, data, on_clip=step) for model in models]
        with progress(console, f"Landmarks, {head}", len(models), "networks/s") as step:
            landmarks = []
            for model in models:
                landmarks.append(judge_landmarks(model, data))
                step()
        figures[head] = {
            "data": f"{len(data)} simulated clips of {settings.subjects} people that were never trained on",
            "heads": settings.head,
            "recognition": recognition_over_seeds(runs, classes),
            "recall_by_motion": recall_by_motion(runs, data),
            "landmarks": landmarks_over_seeds(landmarks),
        }
        if flow:
            with progress(console, f"Flow, {head}", len(data) * len(models), "clips/s") as step:
                found = [judge_flow(models[0], data, methods=("tvl1", "dis") if classical else (), on_clip=step)]
                found += [judge_flow(model, data, methods=(), on_clip=step) for model in models[1:]]
            figures[head]["flow_px"] = flow_over_seeds(found)
    console.print(_table(figures))
    settings_ = {"weights": [Path(name).name for name in weights], "flow": flow, "classical": classical}
    record.write("held_out", settings_, figures, device)


def _table(figures: dict[str, Any]) -> Table:
    scores = ("accuracy", "uf1", "detection_accuracy", "detection_uf1")
    flows = ("EPE moving, px", "TV-L1's", "EPE beyond 0.2 px, px", "DIS's")
    table = Table("heads", "accuracy", "UF1", "expression or none", "its UF1", "NME, %", *flows)
    for head, found in figures.items():
        flow = found.get("flow_px")
        table.add_row(
            head,
            *(_said(found["recognition"][score]) for score in scores),
            _said(found["landmarks"]["nme_mean"], 100, 2),
            *(("",) * 4 if flow is None else _errors(flow)),
        )
    return table


def _errors(flow: dict[str, Any]) -> tuple[str, ...]:
    ours = flow["network_over_seeds"]
    theirs = [f"{flow[kind][method]:.3f}" if method in flow[kind] else "" for kind, method in CLASSICAL]
    return _said(ours["moving"]), theirs[0], _said(ours["far"]), theirs[1]


def _said(value: dict[str, Any], factor: float = 1, digits: int = 3) -> str:
    sd = "" if value["sd"] is None else f" ± {factor * value['sd']:.{digits}f}"
    return f"{factor * value['mean']:.{digits}f}{sd}"


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
