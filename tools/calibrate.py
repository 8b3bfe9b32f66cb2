"""Fit a temperature to weights, and the threshold below which they answer `unsure`, on people whom they have not seen.

Run: python tools/calibrate.py STORE... --weights mol-lite --promise 0.9 --check OTHER-STORE...

Writes `temperature` and `unsure` into the record of the weights, and nothing if the promise cannot be made. In place of
a store, a folder of `openmer loso` gives the predictions of its folds (of the first seed): for weights that were then
trained in the same way on everybody. With --check, says how the promise does on other people; that changes nothing.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import tyro
from rich.console import Console

from openmer.clips.store import ClipStore
from openmer.errors import InputError, OpenMERError
from openmer.evaluation.calibration import answers, choose_threshold, cross_entropy, fit_temperature
from openmer.evaluation.evaluate import predict
from openmer.evaluation.metrics import Prediction
from openmer.evaluation.splits import check_unseen
from openmer.evaluation.summary import read_fold
from openmer.files import read_json, write_atomic
from openmer.models.weights import Unsure, load_model, read_record, record_from, shipped
from openmer.progress import progress
from openmer.training.data import ClipData


def main(
    sources: tuple[Path, ...],
    /,
    weights: str = "mol-lite",
    promise: float = 0.9,
    confidence: float = 0.95,
    check: tuple[Path, ...] = (),
) -> None:
    """Fit, check, write.

    Args:
        sources: stores of clips, or folders of `openmer loso`.
        weights: name of shipped weights, or a .safetensors file.
        promise: share of right answers where the answer is not `unsure`; 0 fits the temperature alone.
        confidence: with which it is promised.
        check: stores of other people.
    """
    try:
        calibrate(sources, weights, promise, confidence, check)
    except OpenMERError as error:
        raise SystemExit(f"error: {error}") from error


def calibrate(
    sources: Sequence[Path], weights: str, promise: float, confidence: float, check: Sequence[Path] = ()
) -> None:
    """What `main` does, with errors as exceptions.

    Raises:
        InputError: a source cannot be used, the weights have seen somebody, or nothing can be promised.
    """
    if not sources:
        raise InputError("give stores of clips of people left out of the training, or folders of openmer loso")
    record = read_record(weights)
    found = [p for source in sources for p in predictions_of(source, weights)]
    others = [p for source in check for p in predictions_of(source, weights)]
    both = {p.person for p in found} & {p.person for p in others}
    if both:
        raise InputError(f"{'/'.join(min(both))} is among the people to fit on and to check on; check on others")
    on = f"{len(found)} videos of {len({p.person for p in found})} people ({', '.join(s.name for s in sources)})"
    temperature = round(fit_temperature(found), 4)
    before, after = cross_entropy(found), cross_entropy(found, temperature)
    print(f"temperature {temperature:.3f} on {on}: cross-entropy {before:.3f}, now {after:.3f}")
    unsure = None
    if promise:
        unsure = choose_threshold(found, record.classes, promise, temperature=temperature, confidence=confidence, on=on)
        print(f"unsure below {unsure.threshold:.4f}: {share(found, record.classes, temperature, unsure)}")
    if others:
        print(f"others: cross-entropy {cross_entropy(others):.3f}, now {cross_entropy(others, temperature):.3f}")
    if others and unsure is not None:
        print(f"others: {share(others, record.classes, temperature, unsure)}")
    if "operating_points" in record.scores:
        print(
            "the record's operating points were measured without this temperature: run tools/operating_points.py again"
        )
    path = shipped().get(weights) or Path(weights).with_suffix(".json")
    content = json.loads(path.read_text()) | {"temperature": temperature, "unsure": unsure and asdict(unsure)}
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    record_from(text, path)
    write_atomic(path, text)
    print(f"wrote {path}")


def predictions_of(source: Path, weights: str) -> list[Prediction]:
    """One prediction for each labelled video of a store, or of a finished evaluation's first seed.

    Raises:
        InputError: there are none of the weights' classes, or the weights have seen somebody in the store.
    """
    record = read_record(weights)
    if (source / "metrics.json").is_file():
        classes = tuple(read_json(source / "metrics.json", dict[str, object]).get("classes", ()))  # type: ignore[arg-type]
        if classes != record.classes:
            raise InputError(f"{source} is of the classes {', '.join(map(str, classes))}, not of those of {weights}")
        folds = sorted((source / "folds").glob("*/*/predictions.json"))
        every = [p for path in folds for p in read_fold(path, len(classes)).predictions]
        return [p for p in every if p.seed == min(q.seed for q in every)]
    store = ClipStore(source)
    if not store.finished:
        raise InputError(f"{source} is incomplete: repeat the command that made it, which continues where it stopped")
    data = ClipData(store, [e for e in store if e.label in record.classes], record.classes)
    if not len(data):
        raise InputError(f"no clip in {source} is labelled {', '.join(record.classes)}")
    check_unseen(record, weights, data.people)
    with progress(Console(stderr=True), f"Predicting {source.name}", len(data), "clips/s") as step:
        return predict(load_model(weights), data, on_clip=step)


def share(predictions: Sequence[Prediction], classes: Sequence[str], temperature: float, unsure: Unsure) -> str:
    """How many are answered, and how many of the answers are right."""
    largest, right = answers(predictions, classes, temperature)
    answered = largest >= unsure.threshold
    return (
        f"{answered.sum()} of {len(answered)} answered, {right[answered].sum()} of these right; "
        f"without `unsure` {right.sum()} of {len(right)}"
    )


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
