"""Does recognition carry over to where it was not made? Networks and a plain SVM on flow, judged on the same clips.

Run: python benchmarks/transfer.py --stores second runs/second-held first runs/first-held photographs runs/photographs
       --learn runs/second runs/first --networks mol-lite runs/first-edition/mol-lite.safetensors

`flow-svm` learns from the clips of `--learn`, of each store and of all: the three expressions, flow to a guessed apex.
The networks are judged by the same three (`none` left out of their answers), by all four, by expression or none, and by
the action unit that they find likeliest.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from record import write
from rich.console import Console
from scoring import judge_units, uf1_of_three
from sklearn.metrics import f1_score

from openmer.clip import NONE
from openmer.clips.store import ClipStore
from openmer.evaluation.evaluate import predict
from openmer.models.baselines import FlowSVM
from openmer.models.weights import load_model, read_record
from openmer.progress import progress
from openmer.training.data import ClipData

THREE = ("negative", "positive", "surprise")


def main(stores: dict[str, Path], learn: tuple[Path, ...] = (), networks: tuple[str, ...] = ("mol-lite",)) -> None:
    """Judge and write.

    Args:
        stores: of clips to judge on, by the name that the result has.
        learn: stores of clips for `flow-svm`; without any, networks alone are judged.
        networks: weights by name or file; may be none.
    """
    console = Console(stderr=True)
    figures: dict[str, Any] = {}
    for name in networks:
        figures[Path(name).parent.name if "/" in name else name] = {
            label: _judged(name, root, console) for label, root in stores.items()
        }
    judged = {label: _motion(root, console) for label, root in stores.items() if learn}
    motions = {root.name: _motion(root, console) for root in learn}
    taught = {f"flow-svm of {name}": (motion,) for name, motion in motions.items()} if len(motions) > 1 else {}
    for name, parts in (taught | ({"flow-svm": tuple(motions.values())} if learn else {})).items():
        svm = FlowSVM(len(THREE)).fit(*(torch.cat(part) for part in zip(*parts, strict=True)))
        figures[name] = {label: _uf1(svm, *judge) for label, judge in judged.items()}
    counts = {root.name: len(ClipStore(root).entries) for root in (*learn, *stores.values())}
    named = ["/".join(Path(name).parts[-2:]) for name in networks]
    write("transfer" if networks else "transfer_flow", {"clips": counts, "networks": named}, figures)


def _uf1(svm: FlowSVM, motion: torch.Tensor, truth: torch.Tensor) -> dict[str, Any]:
    with torch.inference_mode():
        answer = svm(motion).logits.argmax(1)
    uf1 = f1_score(truth, answer, average="macro", labels=range(len(THREE)))
    return {"clips": len(truth), "uf1_of_three": round(float(uf1), 4)}


def _motion(root: Path, console: Console) -> tuple[torch.Tensor, torch.Tensor]:
    """Flow to the apex and classes of the expressions in a store."""
    store = ClipStore(root)
    data = ClipData(store, [e for e in store.entries if e.label in THREE], THREE, "motion")
    rows = []
    with progress(console, f"Flow of {root.name}", len(data), "clips/s") as step:
        for k in range(len(data)):
            rows.append(data.evaluation_batch(np.array([k])).inputs)
            step()
    return torch.cat(rows), torch.from_numpy(data.labels)


def _judged(name: str, root: Path, console: Console) -> dict[str, Any]:
    classes = read_record(name).classes
    store, model = ClipStore(root), load_model(name)
    data = ClipData(store, store.entries, classes)
    with progress(console, f"{name} on {root.name}", len(data), "clips/s") as step:
        answers = predict(model, data, on_clip=step)
    shares = np.array([a.probabilities for a in answers])
    truth = np.array([a.truth for a in answers])
    none = classes.index(NONE)
    shown = truth != none
    return {
        "clips": len(truth),
        "uf1_of_three": round(uf1_of_three(answers, none), 4),
        "accuracy_of_four": round(float((shares.argmax(1) == truth).mean()), 4),
        "expression_or_none": round(float(((shares[:, none] < 0.5) == shown).mean()), 4),
        "likeliest_unit_shown": round(float(judge_units(model, data)["first_right"]), 4),
    }


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
