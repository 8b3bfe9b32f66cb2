"""Train a network on clips of some people and judge it on people it has not seen.

    python examples/02_train_your_own.py
    python examples/02_train_your_own.py --subjects 24 --steps 300 --out runs/mine

A few steps on a few simulated people teach little; the script only shows how it is done. For a reliable figure use
`openmer loso`, which holds every person out once. `openmer analyze --engine` takes run/model.safetensors.
"""

import tempfile
from pathlib import Path

import tyro

from openmer.datasets.simulated import SimulatedClips, prepare_simulated
from openmer.evaluation.evaluate import predict
from openmer.evaluation.splits import leave_one_subject_out
from openmer.training.data import ClipData
from openmer.training.loop import train
from openmer.training.settings import TrainSettings


def main(subjects: int = 2, steps: int = 3, batch: int = 4, out: Path | None = None) -> None:
    out = out or Path(tempfile.mkdtemp())
    # A seed whose people the shipped weights, from which we start, have not seen.
    store = prepare_simulated(out / "store", SimulatedClips(subjects=subjects, seed=4242))
    classes = sorted({entry.label for entry in store if entry.label is not None})
    data = ClipData(store, store.entries, classes)
    fold = leave_one_subject_out(store.entries)[-1]
    settings = TrainSettings(model="mol-lite", init="mol-lite", steps=steps, batch=batch, lr=3e-4, warmup=1)
    said = f"mol-lite, then {len(fold.train)} more simulated clips"
    model = train(settings, data.subset(fold.train), out / "run", trained_on=said)
    found = predict(model, data.subset(fold.test))
    for row in found:
        guess = classes[row.probabilities.index(max(row.probabilities))]
        print(f"{row.subject} {row.sample}: {classes[row.truth]}, taken for {guess}")
    right = sum(row.probabilities.index(max(row.probabilities)) == row.truth for row in found)
    print(f"{right} of {len(found)} clips of a person it never saw; weights: {out / 'run' / 'model.safetensors'}")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
