"""Rerun the figures that the README and the docs quote, one script after another; then compare.

Run: python benchmarks/all.py [--only analyze stream] [--show] [--trial]     (or: make bench-all, make bench-trial)

Each script writes benchmarks/results/NAME-DATE.json. Then tests/test_quoted.py compares the docs with the files that
they name: if a figure has changed, name the new file there and update the quote. All of it takes most of a day on 2
cores; GPU benchmarks are skipped if there is no GPU. The shipped weights themselves are made and judged by
tools/train_mol_lite.py. A trial is small enough to take minutes: it shows that everything runs; its measurements mean
nothing and are thrown away.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import torch
import tyro
from record import ELSEWHERE, RESULTS
from rich.console import Console
from rich.table import Table
from speech import SYNTHESIZER

HERE = Path(__file__).parent
RUNS = HERE.parent / "runs"


class Benchmark(NamedTuple):
    """A Python command line.

    Attributes:
        script: a file here, or a module with its verb.
        arguments: for the measurement.
        trial: arguments for a trial instead.
        gpu: whether it needs a GPU; if there is none, it is skipped.
        program: one that it needs, of the system; without it, it is skipped.
    """

    script: tuple[str, ...]
    arguments: tuple[str, ...] = ()
    trial: tuple[str, ...] = ()
    gpu: bool = False
    program: str = ""


def _of(script: str, arguments: str = "", trial: str = "", *, gpu: bool = False) -> Benchmark:
    return Benchmark(("{here}/" + script,), tuple(arguments.split()), tuple(trial.split()), gpu)


# Networks made by the GPU's ablation, by the names of its folders.
TRAINED = ("whole-0", "whole-1", "without-FCC-0", "without-CCC-0", "without-both-0", "without-flow-0")
CALLED = ("mol-0", "mol-1", "mol-without-FCC", "mol-without-CCC", "mol-without-both", "mol-without-flow")
WEIGHTS = " ".join("{runs}/ablation-mol/runs/" + name + "/run/model.safetensors" for name in TRAINED)


# Short ones first.
BENCHMARKS = {
    "models": Benchmark(
        ("-m", "openmer", "bench", "--onnx", "--out", "{results}/models-cpu-{date}.json"),
        trial=("--presets", "mol-lite", "--repeats", "1", "--train-batch", "1"),
    ),
    "flow_bias": _of("flow_bias.py"),
    "speech": _of("speech.py", trial="--actors 4 --steps 2 --seeds 1")._replace(program=SYNTHESIZER),
    "interpolation": _of("interpolation.py", trial="--trial"),
    "real_video": _of("real_video.py", "--more {runs}/real", "--seconds 1.2"),
    "face_models": _of("face_models.py", "--folder {runs}/real", "--folder {runs}/real --seconds 0.4"),
    "implants": _of("implants.py", "--out {runs}/implants", "--out {runs}/implants --trial --engine classical"),
    "tune": _of("tune.py", trial="--recordings 3 --minutes 1.2 --seeds 0"),
    "analyze": _of("analyze.py", trial="--short 30 --lengths 30 60"),
    "stream": _of("stream.py", trial="--rates 30 --seconds 2"),
    "simulator": _of("simulator.py", trial="--faces 3 --clips 1 --timed 1"),
    "serve": _of("serve.py", "--count 200 --engine classical --seconds 1", "--count 2 --engine classical --seconds 1"),
    "many": _of("many.py", "--videos 20 --kills 4", "--videos 2 --kills 1 --seconds 1 --alone 1"),
    "many-classical": _of(
        "many.py",
        "--videos 200 --kills 10 --rate 10 --width 160 --height 120 --engine classical",
        "--videos 2 --kills 1 --seconds 1 --alone 1 --engine classical",
    ),
    "many-ray": _of(
        "many.py",
        "--ray --videos 40 --kills 6 --rate 10 --width 160 --height 120 --workers 2 --engine classical",
        "--ray --videos 2 --kills 1 --seconds 1 --alone 1 --engine classical",
    ),
    "kill": _of("kill.py", trial="--kills 1"),
    "kill-ray": _of("kill.py", "--ray", "--ray --kills 1"),
    "damaged": _of("damaged.py", trial="--only results/predictions.csv"),
    "endurance": _of("endurance.py", trial="--clips 3 --shared 2"),
    "attribution": _of(
        "attribution.py", "--methods integrated held", "--methods integrated held --subjects 1 --no-units"
    ),
    "units": _of("units.py", "--out {runs}/units", "--out {runs}/units --subjects 2"),
    "few_data": _of(
        "few_data.py",
        "--out {runs}/few",
        "--out {runs}/few --datasets casme2 --seeds 0 --groups 2 --steps 5 --size 6 8",
    ),
    "held_out": _of("held_out.py", "--out {runs}/units", "--out {runs}/units --subjects 2"),
    "prepare": _of("prepare.py", trial="--clips 2 --theirs 1"),
    "spotting": _of("spotting.py", "--out {runs}/spotting", "--out {runs}/spotting --videos 1 --minutes 0.2"),
    "spotting-200": _of(
        "spotting.py",
        "--out {runs}/spotting --seed 200 --videos 6",
        "--out {runs}/spotting --seed 200 --videos 1 --minutes 0.2",
    ),
    "ablation": _of(
        "ablation.py",
        "--out {runs}/ablation --steps 150",
        "--out {runs}/ablation --steps 2 --batch 2 --subjects 2 --held-out 1",
    ),
    "models-cuda": Benchmark(
        ("-m", "openmer", "bench", "--device", "cuda", "--out", "{results}/models-cuda-{date}.json"),
        ("--presets", "mol", "--batch", "16", "--train-batch", "16"),
        ("--presets", "mol-lite", "--repeats", "1", "--train-batch", "1"),
        gpu=True,
    ),
    "ablation-mol": _of(
        "ablation.py",
        "--out {runs}/ablation-mol --model mol --device cuda --name ablation-mol --jobs 4 --seeds 0 1 --lr 5e-4 "
        "--subjects 1000 --held-out 60 --steps 1800",
        "--out {runs}/ablation-mol --model mol --device cuda --name ablation-mol --jobs 2 --seeds 0 1 --lr 5e-4 "
        "--subjects 2 --held-out 1 --steps 2 --batch 2",
        gpu=True,
    ),
    "attribution-presets": _of(
        "attribution.py",
        f"--weights mol-lite {WEIGHTS} --names mol-lite {' '.join(CALLED)} --no-units --name attribution-presets",
        f"--weights mol-lite {WEIGHTS} --names mol-lite {' '.join(CALLED)} --no-units --subjects 1",
        gpu=True,
    ),
}


def main(only: tuple[str, ...] = (), show: bool = False, trial: bool = False) -> None:
    """Run the scripts and report how each went.

    Args:
        only: Names of scripts; all by default.
        show: Print the commands and stop.
        trial: Run as little as possible of each.
    """
    console = Console()
    unknown = sorted(set(only) - set(BENCHMARKS))
    if unknown:
        sys.exit(f"there is no {', '.join(unknown)}; choose from {', '.join(BENCHMARKS)}")
    chosen = {n: b for n, b in BENCHMARKS.items() if n in (only or BENCHMARKS)}
    if show:
        for benchmark in chosen.values():
            print("python", *_command(benchmark, RUNS, RESULTS, trial))
        return
    if trial:
        with tempfile.TemporaryDirectory() as name:
            sys.exit(int(_failed(chosen, Path(name), Path(name), True, console)))
    failed = _failed(chosen, RUNS, RESULTS, False, console)
    console.rule("what the documents quote")
    quoted = subprocess.run([sys.executable, "-m", "pytest", "-q", str(HERE.parent / "tests" / "test_quoted.py")])
    sys.exit(int(failed or quoted.returncode != 0))


def _command(benchmark: Benchmark, runs: Path, results: Path, trial: bool) -> list[str]:
    known = {"here": HERE, "results": results, "runs": runs, "date": time.strftime("%Y-%m-%d", time.gmtime())}
    words = (*benchmark.script, *(benchmark.trial if trial else benchmark.arguments))
    return [word.format(**known) for word in words]


def _failed(chosen: dict[str, Benchmark], runs: Path, results: Path, trial: bool, console: Console) -> bool:
    """Run them; returns whether any failed."""
    table = Table("benchmark", "how", "minutes")
    failed = False
    for name, benchmark in chosen.items():
        if benchmark.gpu and not torch.cuda.is_available():
            table.add_row(name, "left out: no GPU is here", "")
            continue
        if benchmark.program and shutil.which(benchmark.program) is None:
            table.add_row(name, f"left out: {benchmark.program} is not installed", "")
            continue
        console.rule(name)
        start = time.perf_counter()
        command = [sys.executable, *_command(benchmark, runs, results, trial)]
        code = subprocess.run(command, check=False, env=os.environ | {ELSEWHERE: str(results)}).returncode
        failed |= code != 0
        table.add_row(name, "done" if code == 0 else f"failed ({code})", f"{(time.perf_counter() - start) / 60:.1f}")
    console.print(table)
    return failed


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
