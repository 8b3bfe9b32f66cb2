"""Rerun the figures that the README and the docs quote, part by part; then compare.

Run: python benchmarks/all.py [--part real] [--only analyze stream] [--list] [--trial]    (or: make bench-all PART=real)

Each part ends within two hours. Without a name, the first part that is not done is run, so the same command again goes
on to the next; `--list` says what is done. What is done at this state of `src` and `benchmarks` is not done again. What
two hours do not suffice for is stopped, and goes on in the next run where its script keeps what it has.

Each script writes benchmarks/results/NAME-DATE.json, from a clean commit. Then tests/test_quoted.py compares the docs
with the files that they name: if a figure has changed, name the new file there and update the quote. GPU benchmarks are
skipped if there is no GPU. The shipped weights themselves are made and judged by tools/train_mol_lite.py. A trial is
small enough to take minutes: it shows that everything runs; its measurements mean nothing and are thrown away.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import torch
import tyro
from record import COMMIT, ELSEWHERE, RESULTS
from rich.console import Console
from rich.table import Table
from speech import SYNTHESIZER

HERE = Path(__file__).parent
RUNS = HERE.parent / "runs"
LIMIT_S = 110 * 60.0  # of a part; the rest of two hours is for what surrounds it


class Benchmark(NamedTuple):
    """A Python command line.

    Attributes:
        script: a file here, or a module with its verb.
        arguments: for the measurement.
        trial: arguments for a trial instead.
        gpu: whether it needs a GPU; if there is none, it is skipped.
        program: one that it needs, of the system; without it, it is skipped.
        keeps: whether a run that is stopped goes on where it was.
    """

    script: tuple[str, ...]
    arguments: tuple[str, ...] = ()
    trial: tuple[str, ...] = ()
    gpu: bool = False
    program: str = ""
    keeps: bool = False


def _of(script: str, arguments: str = "", trial: str = "", **more: Any) -> Benchmark:
    return Benchmark(("{here}/" + script,), tuple(arguments.split()), tuple(trial.split()), **more)


# Networks made by the GPU's ablation, by the names of its folders.
TRAINED = ("whole-0", "whole-1", "without-FCC-0", "without-CCC-0", "without-both-0", "without-flow-0")
CALLED = ("mol-0", "mol-1", "mol-without-FCC", "mol-without-CCC", "mol-without-both", "mol-without-flow")
WEIGHTS = " ".join("{runs}/ablation-mol/runs/" + name + "/run/model.safetensors" for name in TRAINED)


PARTS: dict[str, dict[str, Benchmark]] = {
    "quick": {
        "models": Benchmark(
            ("-m", "openmer", "bench", "--onnx", "--out", "{results}/models-cpu-{date}.json"),
            trial=("--presets", "mol-lite", "--repeats", "1", "--train-batch", "1"),
        ),
        "flow_bias": _of("flow_bias.py"),
        "interpolation": _of("interpolation.py", trial="--trial"),
        "tune": _of("tune.py", trial="--recordings 3 --minutes 1.2 --seeds 0"),
        "simulator": _of("simulator.py", trial="--faces 3 --clips 1 --timed 1"),
        "draws": _of("draws.py", trial="--draws 20"),
        "prepare": _of("prepare.py", trial="--clips 2 --theirs 1"),
        "speech": _of("speech.py", trial="--actors 4 --steps 2 --seeds 1", program=SYNTHESIZER),
    },
    "real": {
        "real_video": _of("real_video.py", "--more {runs}/real", "--seconds 1.2"),
        "camera_statistics": _of(
            "camera_statistics.py", "--videos {runs}/real", "--videos {runs}/real --seconds 0.5 --people 2"
        ),
        "face_models": _of("face_models.py", "--folder {runs}/real", "--folder {runs}/real --seconds 0.4"),
        "implants": _of(
            "implants.py", "--out {runs}/implants", "--out {runs}/implants --trial --engine classical", keeps=True
        ),
    },
    "videos": {
        "analyze": _of("analyze.py", trial="--short 30 --lengths 30 60"),
        "stream": _of("stream.py", trial="--rates 30 --seconds 2"),
        "serve": _of(
            "serve.py", "--count 200 --engine classical --seconds 1", "--count 2 --engine classical --seconds 1"
        ),
        "review_scroll": _of("review_scroll.py", trial="--minutes 1 --rate 30 --seconds 1", program="chromium"),
        "endurance": _of("endurance.py", trial="--clips 3 --shared 2"),
    },
    "many": {
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
    },
    "broken": {
        "kill": _of("kill.py", "--kills 20 --longest-s 1", "--kills 1 --subjects 2 --steps 2"),
        "kill-ray": _of("kill.py", "--ray", "--ray --kills 1 --subjects 2 --steps 2"),
        "damaged": _of("damaged.py", trial="--only results/predictions.csv"),
    },
    "networks": {
        "units": _of("units.py", "--out {runs}/units", "--out {runs}/units --subjects 2", keeps=True),
        "held_out": _of("held_out.py", "--out {runs}/units", "--out {runs}/units --subjects 2", keeps=True),
        "means": _of("means.py", "--processes 2", "--people 2 --rates 50"),
        "attribution": _of(
            "attribution.py", "--methods integrated held", "--methods integrated held --subjects 1 --no-units"
        ),
    },
    "spotting": {
        "spotting-200": _of(
            "spotting.py",
            "--out {runs}/spotting --seed 200 --videos 6",
            "--out {runs}/spotting --seed 200 --videos 1 --minutes 0.2",
            keeps=True,
        ),
        "spotting": _of(
            "spotting.py", "--out {runs}/spotting", "--out {runs}/spotting --videos 1 --minutes 0.2", keeps=True
        ),
    },
    "training": {
        "ablation": _of(
            "ablation.py",
            "--out {runs}/ablation --steps 150",
            "--out {runs}/ablation --steps 2 --batch 2 --subjects 2 --held-out 1",
            keeps=True,
        ),
        "few_data": _of(
            "few_data.py",
            "--out {runs}/few",
            "--out {runs}/few --datasets casme2 --seeds 0 --groups 2 --steps 5 --size 6 8",
            keeps=True,
        ),
    },
    "gpu": {
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
            keeps=True,
        ),
        "attribution-presets": _of(
            "attribution.py",
            f"--weights mol-lite {WEIGHTS} --names mol-lite {' '.join(CALLED)} --no-units --name attribution-presets",
            f"--weights mol-lite {WEIGHTS} --names mol-lite {' '.join(CALLED)} --no-units --subjects 1",
            gpu=True,
        ),
    },
}
BENCHMARKS = {name: benchmark for part in PARTS.values() for name, benchmark in part.items()}


class Done(NamedTuple):
    """What an earlier run did.

    Attributes:
        at: the state of `src` and `benchmarks`, as the newest commit that changed either.
        minutes: that it took.
        how: done, failed or stopped.
    """

    at: str
    minutes: float
    how: str


class Book:
    """What is done, in a file that every benchmark that ends is written to.

    Args:
        path: of the file.
        at: the state of the code now.
    """

    def __init__(self, path: Path, at: str) -> None:
        self.path, self.at = path, at
        content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        self.done = {name: Done(**each) for name, each in content.items()}

    def has(self, name: str) -> bool:
        """Whether it was done at this state of the code, or need not be done here."""
        done = self.done.get(name)
        return missing(BENCHMARKS[name]) is not None or (done is not None and done.how == "done" and done.at == self.at)

    def write(self, name: str, seconds: float, how: str) -> None:
        """Add one."""
        self.done[name] = Done(self.at, round(seconds / 60, 1), how)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps({n: d._asdict() for n, d in self.done.items()}, indent=1) + "\n")


def main(
    part: str | None = None,
    only: tuple[str, ...] = (),
    list_: Annotated[bool, tyro.conf.arg(name="list")] = False,
    show: bool = False,
    trial: bool = False,
) -> None:
    """Run a part and report how each of its scripts went.

    Args:
        part: Its name; by default the first that is not done, in a trial all.
        only: Names of scripts instead, done or not.
        list_: Say what there is and what is done, and stop.
        show: Print the commands and stop.
        trial: Run as little as possible of each.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended, as after Ctrl-C
    console = Console()
    for given, known in (((part,) if part else (), PARTS), (only, BENCHMARKS)):
        if unknown := sorted(set(given) - set(known)):
            sys.exit(f"there is no {', '.join(unknown)}; choose from {', '.join(known)}")
    book = Book(RUNS / "bench-all.json", _state())
    if list_:
        console.print(_listed(book))
        return
    if part is None and not (only or show or trial):
        part = next((p for p, each in PARTS.items() if not all(book.has(n) for n in each)), None)
        if part is None:
            console.print("everything is done at this commit")
            return
    chosen = only or tuple(PARTS[part] if part else BENCHMARKS)
    if show:
        for name in chosen:
            print("python", *_command(BENCHMARKS[name], RUNS, RESULTS, trial))
        return
    if trial:
        with tempfile.TemporaryDirectory() as folder:
            sys.exit(int(_failed(chosen, Path(folder), Path(folder), None, console)))
    if COMMIT is None or COMMIT.endswith("+changes"):
        sys.exit("a figure must belong to a commit: commit the changes first, or run a --trial")
    left = chosen if only else tuple(n for n in chosen if not book.has(n))
    failed = _failed(left, RUNS, RESULTS, book, console)
    console.print(_listed(book))
    console.rule("what the documents quote")
    quoted = subprocess.run([sys.executable, "-m", "pytest", "-q", str(HERE.parent / "tests" / "test_quoted.py")])
    sys.exit(int(failed or quoted.returncode != 0))


def _state() -> str:
    """The newest commit that changed what is measured: results and documents change nothing."""
    command = ["git", "log", "-1", "--format=%h", "--", "src", "benchmarks", ":!benchmarks/results"]
    return subprocess.run(command, cwd=HERE.parent, capture_output=True, text=True).stdout.strip()


def _listed(book: Book) -> Table:
    table = Table("part", "benchmark", "now", "minutes, last time")
    for part, each in PARTS.items():
        for name, benchmark in each.items():
            last = book.done.get(name)
            now = missing(benchmark) or (
                "done" if book.has(name) else "to do" if last is None else f"to do ({last.how})"
            )
            table.add_row(part, name, now, f"{last.minutes:.1f}" if last else "")
    return table


def missing(benchmark: Benchmark) -> str | None:
    """Why it cannot be run here, or None."""
    if benchmark.gpu and not torch.cuda.is_available():
        return "left out: no GPU is here"
    if benchmark.program and shutil.which(benchmark.program) is None:
        return f"left out: {benchmark.program} is not installed"
    return None


def _command(benchmark: Benchmark, runs: Path, results: Path, trial: bool) -> list[str]:
    known = {"here": HERE, "results": results, "runs": runs, "date": time.strftime("%Y-%m-%d", time.gmtime())}
    words = (*benchmark.script, *(benchmark.trial if trial else benchmark.arguments))
    return [word.format(**known) for word in words]


def _failed(names: Sequence[str], runs: Path, results: Path, book: Book | None, console: Console) -> bool:
    """Run them, within the limit unless it is a trial, which has no book; returns whether any failed."""
    table, ways = Table("benchmark", "how", "minutes"), []
    begin = time.monotonic()
    for name in names:
        benchmark = BENCHMARKS[name]
        if why := missing(benchmark):
            table.add_row(name, why, "")
            continue
        left = None if book is None else LIMIT_S - (time.monotonic() - begin)
        if left is not None and left < 60:
            table.add_row(name, "not begun: the time of a part is over; run it again", "")
            continue
        console.rule(name)
        start = time.monotonic()
        how = run([sys.executable, *_command(benchmark, runs, results, book is None)], results, left)
        seconds = time.monotonic() - start
        if how == "stopped" and not benchmark.keeps and start - begin < 60:
            how = "failed: it takes longer than a part may"
        table.add_row(name, how, f"{seconds / 60:.1f}")
        ways.append(how)
        if book is not None:
            book.write(name, seconds, how)
    console.print(table)
    return any(how.startswith("failed") for how in ways)


def run(command: list[str], results: Path, limit_s: float | None) -> str:
    """Run a script for at most so long; returns `done`, `failed (CODE)` or `stopped`."""
    process = subprocess.Popen(command, env=os.environ | {ELSEWHERE: str(results)}, start_new_session=True)
    try:
        code = process.wait(limit_s)
    except subprocess.TimeoutExpired:
        return "stopped"
    finally:
        if process.poll() is None:  # its time is over, or somebody pressed Ctrl-C: its own processes go with it
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()
    return "done" if code == 0 else f"failed ({code})"


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
