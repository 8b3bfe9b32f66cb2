"""Rerun the figures that the README and the documents quote, one script after another; then compare.

Run: python benchmarks/all.py [--only analyze stream] [--show]     (or: make bench-all)

Each script writes benchmarks/results/NAME-DATE.json. Then tests/test_quoted.py compares the documents with the files
that they name: where a figure has changed, name the new file there and quote anew. All of it takes most of a day on 2
cores; the shipped weights themselves are made and judged by tools/train_mol_lite.py.
"""

import subprocess
import sys
import time
from pathlib import Path

import tyro
from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent
RUNS = HERE.parent / "runs"
# What it is, and the command's arguments. Short ones first.
SCRIPTS: dict[str, tuple[str, ...]] = {
    "models": ("-m", "openmer", "bench", "--onnx", "--out", "{results}/models-cpu-{date}.json"),
    "flow_bias": ("{here}/flow_bias.py",),
    "real_video": ("{here}/real_video.py", "--more", "{runs}/real"),
    "analyze": ("{here}/analyze.py",),
    "stream": ("{here}/stream.py",),
    "simulator": ("{here}/simulator.py",),
    "serve": ("{here}/serve.py", "--count", "200", "--engine", "classical", "--seconds", "1"),
    "kill": ("{here}/kill.py",),
    "kill-ray": ("{here}/kill.py", "--ray"),
    "attribution": ("{here}/attribution.py", "--methods", "integrated", "held"),
    "units": ("{here}/units.py", "--out", "{runs}/units"),
    "held_out": ("{here}/held_out.py", "--out", "{runs}/units"),
    "prepare": ("{here}/prepare.py",),
    "spotting": ("{here}/spotting.py", "--out", "{runs}/spotting"),
    "spotting-200": ("{here}/spotting.py", "--out", "{runs}/spotting", "--seed", "200", "--videos", "6"),
    "ablation": ("{here}/ablation.py", "--out", "{runs}/ablation", "--steps", "150"),
}


def main(only: tuple[str, ...] = (), show: bool = False) -> None:
    """Run, and say how each went.

    Args:
        only: Names of scripts; all by default.
        show: Print the commands and stop.
    """
    console = Console()
    unknown = sorted(set(only) - set(SCRIPTS))
    if unknown:
        sys.exit(f"there is no {', '.join(unknown)}; choose from {', '.join(SCRIPTS)}")
    known = {"here": HERE, "results": HERE / "results", "runs": RUNS, "date": time.strftime("%Y-%m-%d", time.gmtime())}
    commands = {n: [part.format(**known) for part in SCRIPTS[n]] for n in only or SCRIPTS}
    if show:
        for command in commands.values():
            print("python", *command)
        return
    table = Table("benchmark", "how", "minutes")
    failed = False
    for name, command in commands.items():
        console.rule(name)
        start = time.perf_counter()
        code = subprocess.run([sys.executable, *command], check=False).returncode
        failed |= code != 0
        table.add_row(name, "done" if code == 0 else f"failed ({code})", f"{(time.perf_counter() - start) / 60:.1f}")
    console.print(table)
    console.rule("what the documents quote")
    quoted = subprocess.run([sys.executable, "-m", "pytest", "-q", str(HERE.parent / "tests" / "test_quoted.py")])
    sys.exit(int(failed or quoted.returncode != 0))


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
