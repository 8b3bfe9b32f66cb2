"""What each part of MOL is worth: the same clips, the same split, one part less at a time. Prints a table.

Run: python benchmarks/ablation.py --out runs/ablation [--subjects 200] [--steps 300] [--seeds 0 1 2] [--device cuda]

Every variant learns from the same simulated people and is judged on the same others. A variant that is done is not done
again.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import record
import tyro
from rich.console import Console
from rich.table import Table

from openmer.datasets.simulated import SimulatedClips, prepare_simulated
from openmer.evaluation.judge import judge_flow, judge_landmarks, predict
from openmer.evaluation.metrics import class_scores, detection_scores, spread
from openmer.files import write_atomic
from openmer.models.mol import MOL
from openmer.progress import progress
from openmer.training.data import ClipData
from openmer.training.loop import TrainSettings, train

CLASSES = ("negative", "none", "positive", "surprise")
# What is switched off or changed; the graph of `mol-authors` is the one over positions.
VARIANTS: dict[str, dict[str, Any]] = {
    "whole": {},
    "without FCC": {"fcc": False},
    "without CCC": {"ccc": False},
    "without both": {"fcc": False, "ccc": False},
    "without flow": {"flow": False},
    "without landmarks": {"landmarks": False},
    "without closed-form motion": {"motion": False},
    "graph of mol-authors": {"graph": "positions", "graph_itself": True, "graph_subtractions": 2, "graph_mix": False},
}


def main(
    out: Path,
    model: str = "mol-lite",
    subjects: int = 200,
    held_out: int = 40,
    steps: int = 300,
    batch: int = 16,
    seeds: tuple[int, ...] = (0,),
    variants: tuple[str, ...] = tuple(VARIANTS),
    precision: str = "bf16-mixed",
    device: str = "auto",
    name: str = "ablation",
) -> None:
    """Train, judge, write, print.

    Args:
        out: where stores and runs lie.
        model: the preset whose parts are switched off.
        subjects: to learn from, four clips each.
        held_out: others, to judge on.
        steps: of each training.
        batch: clips a step.
        seeds: of repeated trainings.
        variants: by name, all unless some are chosen.
        precision: of Fabric.
        device: auto, cpu or cuda.
        name: of the file of results.
    """
    unknown = sorted(set(variants) - set(VARIANTS))
    if unknown or not variants or not seeds:
        sys.exit(f"there is no variant {', '.join(unknown) or '(none is given)'}; choose from {', '.join(VARIANTS)}")
    console = Console()
    learn, judge = (
        _clips(out / part, people, seed) for part, people, seed in (("train", subjects, 0), ("held-out", held_out, 77))
    )
    base = TrainSettings(model=model, steps=steps, batch=batch, lr=1.5e-3, precision=precision, checkpoint_every=50)
    rows = {}
    with progress(console, "Variants", len(variants) * len(seeds), "variants/s") as step:
        for variant in variants:
            runs = []
            for seed in seeds:
                settings = replace(base, switches=VARIANTS[variant], seed=seed)
                folder = out / "runs" / f"{variant.replace(' ', '-')}-{seed}"
                runs.append(_judged(settings, learn, judge, folder, device))
                step(variant)
            rows[variant] = {key: spread([run[key] for run in runs]) for key in runs[0]}
    settings_ = {"model": model, "subjects": subjects, "held_out": held_out, "steps": steps, "batch": batch}
    record.write(name, {**settings_, "seeds": list(seeds), "precision": precision}, rows)
    console.print(_table(rows))


def _clips(root: Path, subjects: int, seed: int) -> ClipData:
    store = prepare_simulated(root, SimulatedClips(subjects=subjects, seed=seed), processes=2)
    return ClipData(store, store.entries, CLASSES)


def _judged(settings: TrainSettings, learn: ClipData, data: ClipData, folder: Path, device: str) -> dict[str, float]:
    kept = folder / "scores.json"
    if kept.exists():
        found: dict[str, float] = json.loads(kept.read_text())
        return found
    model = train(settings, learn, folder / "run", accelerator=device)
    if not isinstance(model, MOL):
        raise TypeError("a MOL is judged here")
    predictions = predict(model, data)
    four, two = class_scores(predictions, len(CLASSES)), detection_scores(predictions, CLASSES.index("none"))
    scores = {"accuracy": four.accuracy, "uf1": four.uf1, "detection": two.accuracy}
    if model.flow:
        scores["epe_moving_px"] = judge_flow(model, data, methods=())["moving"]["network"]
    if model.landmarks:
        scores["nme"] = judge_landmarks(model, data)["nme_mean"]
    write_atomic(kept, json.dumps(scores) + "\n")
    return scores


def _table(rows: dict[str, dict[str, dict[str, float | None]]]) -> Table:
    table = Table("variant", "accuracy", "UF1", "detection", "EPE moving, px", "NME, %")
    for name, scores in rows.items():
        cells = [_cell(scores.get(key), 3) for key in ("accuracy", "uf1", "detection", "epe_moving_px")]
        table.add_row(name, *cells, _cell(scores.get("nme"), 2, times=100))
    return table


def _cell(value: dict[str, float | None] | None, digits: int, times: float = 1) -> str:
    """Mean and deviation; a dash where the variant has no such head, no deviation from a single seed."""
    shown = [f"{times * v:.{digits}f}" for k in ("mean", "sd") if value and (v := value[k]) is not None]
    return " ± ".join(shown) or "-"


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
