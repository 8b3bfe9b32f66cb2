"""Fold by fold, each trained without ever seeing who is held out: in local processes, on GPUs, or on a Ray cluster.

    OUT/loso.json                      settings, split, classes; digest
    OUT/folds/SEED/FOLD/run/           the training run with its checkpoint, until the fold is finished
    OUT/folds/SEED/FOLD/predictions.json   when the fold is finished
    OUT/predictions.csv, OUT/metrics.json  when all are finished

A finished fold, known by the digest of everything it depends on, is not repeated; one that was killed continues from
its checkpoint. Which step's weights are judged is fixed beforehand, or chosen on people held out of the training side.
"""

import hashlib
import json
import re
import shutil
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np
import torch

from openmer.clips.store import ClipStore, digest_of
from openmer.errors import InputError, OutputError
from openmer.evaluation.evaluate import predict, validation
from openmer.evaluation.settings import LosoSettings, Workers
from openmer.evaluation.splits import Fold, check_leak, check_unseen
from openmer.evaluation.summary import FoldResult, predictions_table, read_fold, summarise
from openmer.files import read_json, without_nan, write_atomic
from openmer.models.weights import ModelCard, read_record
from openmer.processes import completed_on_ray, worker_pool
from openmer.training.data import ClipData
from openmer.training.loop import Devices, check_batch, train
from openmer.training.run import claim_folder
from openmer.training.settings import BASELINES, FITTED, TrainSettings
from openmer.version import __version__, commit, cpu_name

PREDICTIONS = "predictions.json"  # of a finished fold
SCHEMA = "openmer.loso/1"
WATCH_S = 2.0  # between looks at how far running folds are


@dataclass(frozen=True, kw_only=True)
class _Task:
    """One training run as plain values, so that it can be sent to another process or machine."""

    store: Path
    keys: tuple[tuple[str, int, str | None], ...]
    classes: tuple[str, ...]
    training: TrainSettings
    fold: str
    train: tuple[int, ...]
    test: tuple[int, ...]
    inner: float
    out: Path
    digest: str
    threads: int = 0  # 0 leaves the number as it is
    device: str = "cpu"  # or cuda:K


def run_loso(
    data: ClipData,
    settings: LosoSettings,
    out: Path,
    *,
    on: Workers = Workers(),
    protocol: Mapping[str, Any] | None = None,
    on_fold: Callable[[str], None] = lambda _: None,
    on_part: Callable[[float], None] = lambda _: None,
) -> dict[str, Any]:
    """Train and judge all folds of all seeds, or those left to do; returns the metrics, None where there is no number.

    Args:
        data: the clips, with classes.
        settings: see `LosoSettings`.
        out: the folder.
        on: where the folds are trained.
        protocol: what the metrics say about the protocol that chose recordings and classes.
        on_fold: called with a fold's name when it ends, immediately for those already finished.
        on_part: called, from another thread, with how much was done since the last call: 1.0 is a fold.

    Raises:
        InputError: the data cannot be split, or the folder holds another evaluation.
        OutputError: the folder cannot be written, or a worker died (run it again to continue).
    """
    folds = settings.folds(data)
    begun = None if settings.training.init is None else read_record(settings.training.init)
    if begun is not None:
        check_unseen(begun, str(settings.training.init), data.people)
    _check_learned(settings.training, data.classes, begun)
    if settings.training.model not in FITTED and not settings.training.kernel:
        check_batch(settings.training, min(len(fold.train) for fold in folds))
    weights = None if begun is None else begun.sha256
    _claim(
        out,
        settings,
        data,
        folds,
        {"protocol": None if protocol is None else str(protocol["name"]), "initial_weights": weights},
    )
    tasks = [
        _task(data, settings, fold, replace(settings.training, seed=seed), out, weights)
        for seed in settings.seeds
        for fold in folds
    ]
    finished = [task for task in tasks if _is_finished(task)]
    left = [task for task in tasks if task not in finished]
    on_part(float(len(finished)))
    for task in finished:
        on_fold(task.fold)
    run = _with_ray if on.executor == "ray" else _with_processes
    with _watched(left, on_part):
        for name in run(left, on):
            on_fold(name)
    results = [read_fold(task.out / PREDICTIONS, len(data.classes)) for task in tasks]
    predictions = [p for result in results for p in result.predictions]
    metrics = summarise(predictions, data.classes, settings.seeds)
    metrics |= {"folds": len(folds), "split": settings.split, "inner": settings.inner, "machine": cpu_name()}
    metrics["made_by"] = sorted({result.made_by for result in results})
    if begun is not None:
        metrics["initial_weights"] = {"trained_on": begun.trained_on, "people_are_recorded": begun.people is not None}
    if protocol is not None:
        metrics["protocol"] = dict(protocol)
    metrics = {name: without_nan(value) for name, value in metrics.items()}
    try:
        write_atomic(out / "predictions.csv", predictions_table(predictions, data.classes))
        write_atomic(out / "metrics.json", json.dumps(metrics, indent=2) + "\n")
    except OSError as error:
        raise OutputError(f"cannot write the result in {out}: {error.strerror or error}") from error
    return metrics


def _claim(
    out: Path, settings: LosoSettings, data: ClipData, folds: Sequence[Fold], more: Mapping[str, str | None]
) -> None:
    """Make the folder, or check that it holds this very evaluation; initial weights are compared by their digest."""
    content = {
        "settings": json.loads(json.dumps(asdict(settings))),
        **more,
        "classes": list(data.classes),
        "store": dict(data.store.settings),
        "clips": data.counts(),
        "folds": [f.name for f in folds],
    }

    def differing(before: Mapping[str, Any]) -> str:
        changed = [name for name in content if before.get(name) != content[name]]
        return ", ".join(part for name in changed for part in _parts(name, before.get(name), content[name]))

    claim_folder(out, "loso.json", {"schema": SCHEMA, **content}, differing)


def _parts(name: str, before: Any, now: Any) -> list[str]:
    """What differs in a value; for settings, the names of those that differ."""
    if name != "settings" or not isinstance(before, dict):
        return [name]
    trained = before.get("training")
    pairs = {**now, **now["training"]}
    old = {**before, **(trained if isinstance(trained, dict) else {})}
    return sorted(k for k in pairs if k != "training" and old.get(k) != pairs[k]) or [name]


def _task(
    data: ClipData, settings: LosoSettings, fold: Fold, training: TrainSettings, out: Path, weights: str | None
) -> _Task:
    """One fold of one seed; `weights` is the digest of the initial ones."""
    store = data.store
    keys = tuple((e.key, e.number, e.label) for e in data.entries)
    digests = [e.frames_digest for e in data.entries]
    parts: list[Any] = [training.to_json(), store.digest, keys, digests, data.classes, settings.inner]
    parts += [] if weights is None else [weights]
    digest = digest_of([*parts, fold.name, fold.train.tolist(), fold.test.tolist()])
    return _Task(
        store=store.root.absolute(),
        keys=keys,
        classes=data.classes,
        training=training,
        fold=fold.name,
        train=tuple(fold.train.tolist()),
        test=tuple(fold.test.tolist()),
        inner=settings.inner,
        out=(out / "folds" / f"seed{training.seed}" / _folder_name(fold.name)).absolute(),
        digest=digest,
    )


def _folder_name(fold: str) -> str:
    """A name that any file system accepts and no two folds share."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", fold) + "-" + hashlib.sha256(fold.encode()).hexdigest()[:6]


@contextmanager
def _watched(tasks: Sequence[_Task], on_part: Callable[[float], None]) -> Iterator[None]:
    """Tell now and then how much of the folds is done, by what they have written: whoever trains them need not say."""
    open_, told, end = list(tasks), 0.0, Event()

    def look() -> None:
        nonlocal open_, told
        open_ = [task for task in open_ if not _is_finished(task)]
        now = len(tasks) - len(open_) + sum(map(_trained, open_))
        on_part(now - told)
        told = now

    def watch() -> None:
        while not end.wait(WATCH_S):
            look()

    thread = Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()
        look()


def _trained(task: _Task) -> float:
    """Share of a fold's steps that its log has."""
    try:
        last = (task.out / "run" / "log.csv").read_text(encoding="utf-8").splitlines()[-1]
        return min(1.0, int(last.partition(",")[0]) / max(1, task.training.steps))
    except (OSError, ValueError, IndexError):  # not begun, or replaced just now
        return 0.0


def _is_finished(task: _Task) -> bool:
    try:
        return read_json(task.out / PREDICTIONS, FoldResult).digest == task.digest
    except InputError:  # none yet, or cut off as it was written
        return False


def _check_learned(training: TrainSettings, classes: Sequence[str], begun: ModelCard | None) -> None:
    """Refuse to judge a classifier that nobody taught.

    Raises:
        InputError: recognition has no loss, and the initial weights do not know all classes.
    """
    if training.kernel or training.model in BASELINES or training.losses.mer:
        return
    known = begun is not None and {"all", "mer"} & set(training.init_parts) and set(classes) <= set(begun.classes)
    if not known:
        raise InputError(
            "nothing would learn to recognize: --heads leaves out mer, and no initial weights know all classes, "
            f"{', '.join(classes)}; the score would be a random classifier's. Name mer in --heads"
        )


def _run_task(task: _Task) -> str:
    """One fold of one seed: train, judge, write; returns the fold's name."""
    if task.threads:
        torch.set_num_threads(task.threads)
    store = ClipStore(task.store)
    known = {(e.key, e.number): e for e in store.entries}
    entries = [replace(known[key, number], label=label) for key, number, label in task.keys]
    data = ClipData(store, entries, task.classes, task.training.kind)
    check_leak(entries, Fold(task.fold, np.array(task.train), np.array(task.test)))
    learn, inner = _inner_split(data, np.array(task.train), task)
    run, begun = task.out / "run", task.out / "task"
    try:
        if not begun.is_file() or begun.read_text(encoding="utf-8") != task.digest:
            shutil.rmtree(run, ignore_errors=True)  # of clips that are others by now
            task.out.mkdir(parents=True, exist_ok=True)
            write_atomic(begun, task.digest)
    except OSError as error:
        raise OutputError(f"cannot write {task.out}: {error.strerror or error}") from error
    kind, _, number = task.device.partition(":")
    model = train(
        task.training,
        data.subset(learn),
        run,
        on=Devices(kind, [int(number)] if number else 1),
        validate=validation(data.subset(inner)) if len(inner) else None,
    ).to(task.device)
    predictions = predict(model, data.subset(np.array(task.test)), fold=task.fold, seed=task.training.seed)
    content = {
        "digest": task.digest,
        "openmer": __version__,
        "commit": commit(),
        "predictions": [asdict(p) for p in predictions],
    }
    try:
        task.out.mkdir(parents=True, exist_ok=True)  # the constant guesser leaves no run folder
        log = run / "log.csv"
        if log.exists():
            shutil.copyfile(log, task.out / "log.csv")
        write_atomic(task.out / PREDICTIONS, json.dumps(content) + "\n")
    except OSError as error:
        raise OutputError(f"cannot write {task.out}: {error.strerror or error}") from error
    shutil.rmtree(run, ignore_errors=True)  # the checkpoint is no longer needed
    return task.fold


def _inner_split(data: ClipData, train_: np.ndarray[Any, Any], task: _Task) -> tuple[Any, Any]:
    """Split the training side into clips to learn from and clips that choose the step."""
    if not task.inner:
        return train_, np.array([], np.int64)
    people = sorted({data.entries[int(k)].person for k in train_})
    count = max(1, round(task.inner * len(people)))
    if count >= len(people):
        raise InputError(f"held out {task.fold}: {len(people)} training subjects are too few for an inner split")
    shows: dict[tuple[str, str], set[int]] = {person: set() for person in people}
    for k in train_:
        shows[data.entries[int(k)].person].add(int(data.labels[k]))
    left = Counter(label for labels in shows.values() for label in labels)
    chosen: set[tuple[str, str]] = set()
    for k in np.random.default_rng([task.training.seed, 5]).permutation(len(people)):
        person = people[int(k)]
        if len(chosen) < count and all(left[label] > 1 for label in shows[person]):  # somebody shows each class still
            chosen.add(person)
            left -= Counter(shows[person])
    if len(chosen) < count:
        raise InputError(
            f"held out {task.fold}: an inner split of {count} people would leave a class without anyone to learn it "
            "from; choose a smaller --inner, or none"
        )
    inside = np.array([data.entries[int(k)].person in chosen for k in train_])
    return train_[~inside], train_[inside]


def _with_processes(tasks: Sequence[_Task], on: Workers) -> Iterator[str]:
    if not tasks:
        return
    gpus = _gpus(on.device)
    workers = min(on.workers or max(1, gpus), len(tasks))
    threads = max(1, torch.get_num_threads() // workers)  # OMP_NUM_THREADS counts
    free = deque(f"cuda:{k % gpus}" if gpus else "cpu" for k in range(workers))  # where the next fold may run
    if workers == 1:  # a process of its own would only take time to start
        for task in tasks:
            yield _run_task(replace(task, threads=threads, device=free[0]))
        return
    rest = iter(tasks)
    with worker_pool(workers) as pool:
        running: dict[Future[str], str] = {}
        try:
            while True:
                for task in islice(rest, len(free)):
                    device = free.popleft()
                    running[pool.submit(_run_task, replace(task, threads=threads, device=device))] = device
                if not running:
                    return
                for done in wait(running, return_when=FIRST_COMPLETED).done:
                    free.append(running.pop(done))
                    yield done.result()
        except BaseException:
            for future in running:
                future.cancel()
            raise


def _with_ray(tasks: Sequence[_Task], on: Workers) -> Iterator[str]:
    """Each fold is a Ray task; if its worker dies it is retried, from its checkpoint if the folder is shared."""
    gpus = _gpus(on.device)
    placed = [replace(t, threads=1, device="cuda:0" if gpus else "cpu") for t in tasks]
    for place, fold in completed_on_ray(
        _run_task, placed, address=on.address, workers=on.workers, gpus=1 if gpus else 0
    ):
        if fold is None:
            raise OutputError(f"Ray's workers died on {tasks[place].fold}; run the same command again to continue")
        yield fold


def _gpus(device: str) -> int:
    if device == "cpu":
        return 0
    count = torch.cuda.device_count()
    if device == "cuda" and not count:
        raise InputError("--device cuda, but no GPU can be used here")
    return count
