"""Kill `openmer loso` at random moments, start it again, and compare its metrics with those of an undisturbed run.

Run: python benchmarks/kill.py [--kills 10] [--ray]

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
from pathlib import Path
from typing import Any

import numpy as np
import record
import tyro

from openmer.datasets.simulated import SimulatedClips, prepare_simulated

SUBJECTS = 4
TRAINING = ("--model", "mol-lite", "--steps", "10", "--batch", "4", "--checkpoint-every", "1", "--device", "cpu")


def main(kills: int = 10, seed: int = 0, ray: bool = False) -> None:
    """Measure and write."""
    if ray and importlib.util.find_spec("ray") is None:
        sys.exit("Ray is not installed; run `pip install 'openmer[cluster]'`")
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        prepare_simulated(root / "store", SimulatedClips(subjects=SUBJECTS), processes=2)
        start = time.perf_counter()
        whole = _metrics(_start(root, "whole", ray=ray), root / "whole")
        seconds = time.perf_counter() - start
        killed = _with_workers_killed(root, rng, kills, seconds) if ray else _killed(root, rng, kills, seconds)
        metrics = _metrics(_start(root, "killed", ray=ray), root / "killed")
        same = metrics == whole and _table(root / "killed") == _table(root / "whole")
    figures = {"kills": killed, "same_metrics_and_predictions": same, "undisturbed_s": round(seconds, 1)}
    print(figures)
    settings = {"subjects": SUBJECTS, "training": " ".join(TRAINING), "executor": "ray" if ray else "processes"}
    record.write("kill-ray" if ray else "kill", settings, figures)
    if not same:
        sys.exit("the metrics differ")


def _start(root: Path, name: str, *, ray: bool) -> subprocess.Popen[bytes]:
    more = ("--executor", "ray", "--workers", "2") if ray else ()
    command = [
        sys.executable,
        "-m",
        "openmer",
        "loso",
        str(root / "store"),
        "--out",
        str(root / name),
        *TRAINING,
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


def _killed(root: Path, rng: np.random.Generator, kills: int, seconds: float) -> int:
    """SIGKILL to the whole group at random moments; each run continues where the last one was killed."""
    done = 0
    for _ in range(kills):
        process = _start(root, "killed", ray=False)
        time.sleep(float(rng.uniform(2, max(4, seconds / 3))))
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            done += 1
        process.wait()
    return done


def _with_workers_killed(root: Path, rng: np.random.Generator, kills: int, seconds: float) -> int:
    """SIGKILL to Ray's worker processes while they train; Ray starts others and reassigns the folds."""
    process = _start(root, "killed", ray=True)
    done = 0
    while done < kills and process.poll() is None:
        time.sleep(float(rng.uniform(2, max(4, seconds / 6))))
        workers = subprocess.run(["pgrep", "-f", "ray::_run_task"], capture_output=True, text=True).stdout.split()
        if workers:
            os.kill(int(rng.choice(workers)), signal.SIGKILL)
            done += 1
    if process.wait():
        raise RuntimeError("openmer loso on Ray gave up")
    return done


if __name__ == "__main__":
    tyro.cli(main)
