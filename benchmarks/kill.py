"""Kill `openmer loso` at random moments, start it again, and compare its metrics with those of an undisturbed run.

Run: python benchmarks/kill.py [--kills 20] [--ray]

A run is killed only after it has written something new, so each kill costs work, however long it takes to
start.

With --ray, the folds run on a local Ray with two workers, and one worker process at a time is killed while Ray keeps
running.
"""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import record
import tyro

from openmer.datasets.simulated import SimulatedClips, prepare_simulated

TRAINING = ("--model", "mol-lite", "--batch", "4", "--checkpoint-every", "1", "--device", "cpu")


def main(
    kills: int = 10,
    seed: int = 0,
    ray: bool = False,
    subjects: int = 4,
    steps: int = 10,
    longest_s: float | None = None,
) -> None:
    """Measure and write.

    Args:
        kills: How many.
        seed: Of the moments.
        ray: Whether workers of a local Ray are killed instead.
        subjects: Simulated people, a fold for each.
        steps: Of each training.
        longest_s: How long after that it may work at most; by default a tenth of the undisturbed run.
    """
    if ray and importlib.util.find_spec("ray") is None:
        sys.exit("Ray is not installed; run `pip install 'openmer[cluster]'`")
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        prepare_simulated(root / "store", SimulatedClips(subjects=subjects), processes=2)
        start = time.perf_counter()
        training = (*TRAINING, "--steps", str(steps))
        whole = _metrics(_start(root, "whole", training, ray=ray), root / "whole")
        seconds = time.perf_counter() - start
        longest_s = longest_s or max(2, seconds / 10)
        kill = _with_workers_killed if ray else _killed
        killed = kill(root, training, rng.uniform(0, longest_s, kills))
        metrics = _metrics(_start(root, "killed", training, ray=ray), root / "killed")
        same = metrics == whole and _table(root / "killed") == _table(root / "whole")
    figures = {"kills": killed, "same_metrics_and_predictions": same, "undisturbed_s": round(seconds, 1)}
    print(figures)
    settings = {
        "subjects": subjects,
        "longest_s": longest_s,
        "training": " ".join(training),
        "executor": "ray" if ray else "processes",
    }
    record.write("kill-ray" if ray else "kill", settings, figures)
    if not same:
        sys.exit("the metrics differ")


def _start(root: Path, name: str, training: Sequence[str], *, ray: bool) -> subprocess.Popen[bytes]:
    more = ("--executor", "ray", "--workers", "2") if ray else ()
    command = [
        sys.executable,
        "-m",
        "openmer",
        "loso",
        str(root / "store"),
        "--out",
        str(root / name),
        *training,
        *more,
    ]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)


def _metrics(process: subprocess.Popen[bytes], out: Path) -> dict[str, Any]:
    if process.wait():
        raise RuntimeError(f"openmer loso failed in {out}")
    content: dict[str, Any] = json.loads((out / "metrics.json").read_text())
    return content


def _table(out: Path) -> str:
    return (out / "predictions.csv").read_text()


def _killed(root: Path, training: Sequence[str], moments: Sequence[float]) -> int:
    """SIGKILL to the whole group at these moments; each run continues where the last one was killed."""
    done = 0
    for moment in moments:
        process = _start(root, "killed", training, ray=False)
        _goes_on(process, root / "killed")
        time.sleep(moment)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            done += 1
        process.wait()
    return done


def _with_workers_killed(root: Path, training: Sequence[str], moments: Sequence[float]) -> int:
    """SIGKILL to one of Ray's workers at these moments; Ray starts others and reassigns the folds."""
    process = _start(root, "killed", training, ray=True)
    done = 0
    for k, moment in enumerate(moments):
        _goes_on(process, root / "killed")
        time.sleep(moment)
        workers = subprocess.run(["pgrep", "-f", "ray::_run_task"], capture_output=True, text=True).stdout.split()
        if workers and process.poll() is None:
            os.kill(int(workers[k % len(workers)]), signal.SIGKILL)
            done += 1
    if process.wait():
        raise RuntimeError("openmer loso on Ray gave up")
    return done


def _goes_on(process: subprocess.Popen[bytes], out: Path) -> None:
    """Wait until a training writes a checkpoint or a fold its predictions, or the process ends."""
    before = _written(out)
    while process.poll() is None and _written(out) == before:
        time.sleep(0.05)


def _written(out: Path) -> set[tuple[Path, int]]:
    found = set()
    for path in (p for name in ("checkpoint.pt", "predictions.json") for p in out.glob(f"folds/**/{name}")):
        with suppress(FileNotFoundError):  # a fold that ends takes its checkpoint away
            found.add((path, path.stat().st_mtime_ns))
    return found


if __name__ == "__main__":
    tyro.cli(main)
