"""What each part of MOL contributes: same clips, same split, one part removed at a time. Prints a table.

Run: python benchmarks/ablation.py --out runs/ablation [--subjects 200] [--steps 300] [--seeds 0 1 2]
On a GPU: ... --model mol --subjects 1000 --held-out 60 --device cuda --jobs 3
Recognition from raw frames, on half of the pixels: ... --recipe mol --size 64 --learn STORE --judge STORE --seeds 0 1 2
Beside the other tasks, with few clips and many: ... --variants whole "with flow" --clips 60 240 1000 4000

Every variant learns from the same simulated people and is judged on the same others. A finished variant is not
repeated.
"""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import record
import torch
import tyro
from rich.console import Console
from rich.table import Table
from scoring import judge_flow, judge_landmarks, uf1_of_three
from torch.nn.functional import avg_pool2d

from openmer.clips.store import ClipStore
from openmer.datasets.simulated import SimulatedClips, prepare_simulated
from openmer.errors import InputError
from openmer.evaluation.evaluate import predict
from openmer.evaluation.metrics import class_scores, detection_scores, spread
from openmer.files import write_atomic
from openmer.models.config import PRESETS
from openmer.models.mol import MOL
from openmer.processes import worker_pool
from openmer.progress import progress
from openmer.training.data import Batch, ClipData
from openmer.training.loop import Devices, train
from openmer.training.settings import RECIPES, TrainSettings

CLASSES = ("negative", "none", "positive", "surprise")
# What is switched off or changed; the graph of `mol-authors` is the one over positions.
VARIANTS: dict[str, dict[str, Any]] = {
    "whole": {},
    "without FCC": {"fcc": False},
    "without CCC": {"ccc": False},
    "without both": {"fcc": False, "ccc": False},
    "not centered": {"centered": False},
    "graph of positions": {"graph": "positions"},
    "without flow": {"flow": False},
    "without landmarks": {"landmarks": False},
    # With a recipe that learns recognition alone: the side tasks beside it.
    "with flow": {"flow": True, "flow_head": "lite"},
    "with landmarks": {"landmarks": True, "landmark_head": "heatmap"},
    "with both": {"flow": True, "flow_head": "lite", "landmarks": True, "landmark_head": "heatmap"},
    "without closed-form motion": {"motion": False},
    "with closed-form motion": {"motion": True},
    "graph of mol-authors": {"graph": "positions", "graph_itself": True, "graph_subtractions": 2, "graph_mix": False},
}


class HalvedClips(ClipData):
    """Clips of half the width and height, for networks of 64 px: an eighth of the time."""

    def _batch(self, *args: Any, **kwargs: Any) -> Batch:
        batch = super()._batch(*args, **kwargs)
        frames = avg_pool2d(batch.inputs.flatten(0, 1), 2).unflatten(0, batch.inputs.shape[:2])
        flow = batch.flow
        if flow is not None:
            flow = avg_pool2d(flow.flatten(0, 1), 2).unflatten(0, flow.shape[:2]) / 2
        return replace(batch, inputs=frames, landmarks=(batch.landmarks - 0.5) / 2, flow=flow)


def main(
    out: Path,
    model: str = "mol-lite",
    subjects: int = 200,
    held_out: int = 40,
    steps: int = 300,
    batch: int = 16,
    seeds: tuple[int, ...] = (0,),
    variants: tuple[str, ...] = (),
    lr: float = 1.5e-3,
    precision: str = "bf16-mixed",
    device: str = "auto",
    jobs: int = 1,
    name: str = "ablation",
    recipe: str = "openmer",
    size: Literal[64, 128] = 128,
    learn: Path | None = None,
    judge: tuple[Path, ...] = (),
    clips: tuple[int, ...] = (),
    units: tuple[int, ...] | None = None,
) -> None:
    """Train, judge, write, print.

    Args:
        out: folder of stores and runs.
        model: the preset whose parts are switched off.
        subjects: to learn from, four clips each.
        held_out: others, to judge on.
        steps: of each training run.
        batch: clips per step.
        seeds: of repeated runs.
        variants: by name; by default all that differ from the preset.
        lr: peak learning rate.
        precision: of Fabric.
        device: auto, cpu or cuda.
        jobs: training runs at a time, each in its own process.
        name: of the results file.
        recipe: of training, by name; model, steps, batch, lr and precision are those given here.
        size: of the frames, px; 64 halves them.
        learn: a store to learn from, instead of simulating one.
        judge: stores to judge on, instead of simulating one.
        clips: learn from so many of the first clips, each number in turn; by default from all.
        units: action units to learn beside, all of them shown in the clips; by default those of the recipe.
    """
    variants = variants or tuple(v for v in VARIANTS if v == "whole" or _differs(model, v))
    unknown = sorted(set(variants) - set(VARIANTS))
    if unknown or not seeds:
        sys.exit(f"there is no variant {', '.join(unknown) or '(none is given)'}; choose from {', '.join(VARIANTS)}")
    console = Console()
    stores = [*filter(None, [learn]), *judge]
    for part, people, seed in (("train", subjects, 0), ("held-out", held_out, 77)) if learn is None else ():
        with progress(console, f"Simulating {part}", people, "people/s") as step:
            simulated = SimulatedClips(subjects=people, seed=seed)
            stores.append(prepare_simulated(out / part, simulated, processes=os.cpu_count() or 1, on_subject=step).root)
    often = max(50, steps // 4)  # a GPU does 50 steps a second, and each checkpoint is half a gigabyte
    begun = replace(RECIPES[recipe], model=model, steps=steps, batch=batch, lr=lr, precision=precision)
    if units is not None:
        begun = replace(begun, switches={**begun.switches, "units": units})
    base = replace(begun, checkpoint_every=often, warmup=min(begun.warmup, steps // 4))
    counts: tuple[int | None, ...] = clips or (None,)
    rows_of = {(v, n): v if n is None else f"{v}, {n} clips" for n in counts for v in variants}
    found: dict[str, list[dict[str, float]]] = {row: [] for row in rows_of.values()}
    tasks = [(variant, count, seed) for seed in seeds for variant, count in rows_of]
    folders = [out / "runs" / f"{rows_of[v, n].replace(',', '').replace(' ', '-')}-{seed}" for v, n, seed in tasks]
    # Without F5C's features in recognition, FCC and CCC would have no part in what is compared.
    settings = [
        replace(base, switches={**base.switches, "size": size, "mer_features": True, **VARIANTS[variant]}, seed=seed)
        for variant, _, seed in tasks
    ]
    few = [count for _, count, _ in tasks]
    with progress(console, "Variants", len(tasks), "variants/s") as step, worker_pool(jobs) as pool:
        done = pool.map(_judged, settings, [stores] * len(tasks), folders, [device] * len(tasks), few)
        for (variant, count, _), scores in zip(tasks, done, strict=True):
            found[rows_of[variant, count]].append(scores)
            step(rows_of[variant, count])
    rows = {row: {key: _seeds([run[key] for run in runs]) for key in runs[0]} for row, runs in found.items()}
    sizes = {store.name: len(ClipStore(store).entries) for store in stores}
    settings_ = {
        "model": model,
        "recipe": recipe,
        "size": size,
        "clips": sizes,
        "learned_from": list(clips),
        "units": list(base.switches.get("units", ())),
        "steps": steps,
        "batch": batch,
        "lr": lr,
    }
    record.write(name, {**settings_, "seeds": list(seeds), "precision": precision, "jobs": jobs}, rows, device)
    console.print(_table(rows))


def _seeds(values: list[float]) -> dict[str, Any]:
    """Mean, deviation, and each seed's own: variants of one seed are compared with each other."""
    return {**spread(values), "each": values}


def _differs(model: str, variant: str) -> bool:
    return any(getattr(PRESETS[model], switch) != value for switch, value in VARIANTS[variant].items())


def _judged(
    settings: TrainSettings, stores: list[Path], folder: Path, device: str, count: int | None = None
) -> dict[str, float]:
    """Train on all or the first clips and judge one variant, unless already done."""
    kept = folder / "scores.json"
    if kept.exists():
        content = json.loads(kept.read_text())
        if content["settings"] != settings.to_json():
            raise InputError(f"{folder} holds a training with other settings; choose another --out, or remove it")
        found: dict[str, float] = content["scores"]
        return found
    kind = HalvedClips if settings.switches["size"] == 64 else ClipData
    learn, *judged = (_clips(kind, ClipStore(store)) for store in stores)
    learn = learn if count is None else learn.subset(range(count))
    model = train(settings, learn, folder / "run", on=Devices(device, 1))
    if not isinstance(model, MOL):
        raise TypeError("a MOL is judged here")
    model.to("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")
    scores = {}
    for k, data in enumerate(judged):
        predictions = predict(model, data)
        four, two = class_scores(predictions, len(CLASSES)), detection_scores(predictions, CLASSES.index("none"))
        of_store = {
            "accuracy": four.accuracy,
            "uf1": four.uf1,
            "detection": two.accuracy,
            "uf1_of_three": uf1_of_three(predictions, CLASSES.index("none")),
        }
        scores |= {f"{key}{f' on {data.store.root.name}' * (k > 0)}": value for key, value in of_store.items()}
    data = judged[0]
    log = pd.read_csv(folder / "run" / "log.csv")
    scores["cross_entropy_of_the_last_tenth"] = float(log["mer"][log["step"] > 0.9 * settings.steps].mean())
    if model.flow:
        scores["epe_moving_px"] = judge_flow(model, data, methods=())["moving"]["network"]
    if model.landmarks:
        scores["nme"] = judge_landmarks(model, data)["nme_mean"]
    write_atomic(kept, json.dumps({"settings": settings.to_json(), "scores": scores}) + "\n")
    return scores


def _clips(kind: type[ClipData], store: ClipStore) -> ClipData:
    return kind(store, [entry for entry in store.entries if entry.label in CLASSES], CLASSES)


def _table(rows: dict[str, dict[str, dict[str, Any]]]) -> Table:
    table = Table("variant", "accuracy", "UF1", "detection", "EPE moving, px", "NME, %")
    for name, scores in rows.items():
        cells = [_cell(scores.get(key), 3) for key in ("accuracy", "uf1", "detection", "epe_moving_px")]
        table.add_row(name, *cells, _cell(scores.get("nme"), 2, times=100))
    return table


def _cell(value: dict[str, Any] | None, digits: int, times: float = 1) -> str:
    """Mean and deviation; a dash if the variant lacks the head, no deviation for a single seed."""
    shown = [f"{times * v:.{digits}f}" for k in ("mean", "sd") if value and (v := value[k]) is not None]
    return " ± ".join(shown) or "-"


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
