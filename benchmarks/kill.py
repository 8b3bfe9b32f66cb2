"""Kill `openmer loso` at random moments, start it again, and compare its metrics with those of an undisturbed run.

Run: python benchmarks/kill.py [--kills 20] [--ray]

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
        longest_s: How long a run may work at most before it is killed; by default a third of the undisturbed one.
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
        longest_s = longest_s or max(4, seconds / (6 if ray else 3))
        kill = _with_workers_killed if ray else _killed
        killed = kill(root, training, rng.uniform(2, longest_s, kills))
        metrics = _metrics(_start(root, "killed", training, ray=ray), root / "killed")
        same = metrics == whole and _table(root / "killed") == _table(root / "whole")
    figures = {"kills": killed, "same_metrics_and_predictions": same, "undisturbed_s": round(seconds, 1)}
    print(figures)
    settings = {"subjects": subjects, "training": " ".join(training), "executor": "ray" if ray else "processes"}
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
        time.sleep(moment)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            done += 1
        process.wait()
    return done


def _with_workers_killed(root: Path, training: Sequence[str], moments: Sequence[float]) -> int:
    """SIGKILL to one of Ray's workers after each of these times; Ray starts others and reassigns the folds."""
    process = _start(root, "killed", training, ray=True)
    done = 0
    for k, moment in enumerate(moments):
        if process.poll() is not None:
            break
        time.sleep(moment)
        workers = subprocess.run(["pgrep", "-f", "ray::_run_task"], capture_output=True, text=True).stdout.split()
        if workers:
            os.kill(int(workers[k % len(workers)]), signal.SIGKILL)
            done += 1
    if process.wait():
        raise RuntimeError("openmer loso on Ray gave up")
    return done


if __name__ == "__main__":
    tyro.cli(main)
