"""Build the wheel and the source archive, install only the wheel, and use it outside the checkout.

Run: make wheel-check

First only the core is installed, so commands that need an extra must name it in one line. Then the extras are
installed, and the same commands must work.
"""

import csv
import os
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

ROOT = Path(__file__).parent.parent
MAX_MB = 25.0
# Extra -> a command that needs it; in braces: a column of the simulated recording's row.
EXTRAS = {
    "explain": ("explain", "simulated/{source}", "--fps", "{fps}", "--at", "0.3", "--out", "why"),
    "web": ("serve",),
    "demo": ("demo", "--out", "demo"),
    "parquet": ("export", "result", "--to", "parquet", "--out", "frames.parquet"),
    "onnx": ("export", "mol-lite", "--to", "onnx", "--out", "mol.onnx"),
    "cluster": ("loso", "store", "--out", "ray", "--model", "constant", "--executor", "ray", "--device", "cpu"),
}
# `openmer serve` runs until stopped: the benchmark's client starts it, has a video analysed and loads the result.
SERVED = """
import sys
sys.path.insert(0, sys.argv[1])
import serve
serve.measured(serve.demo_video(), 1, "classical")
"""
QUIET = ("--quiet", "--disable-pip-version-check")


def called(*command: object, cwd: Path, fails: bool = False) -> str:
    """Run a command and return its output. It must succeed, or exit with code 1 and one line starting with `error:`."""
    start = time.perf_counter()
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"COLUMNS": "200"}
    done = subprocess.run(  # noqa: S603  (commands of this file)
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    said = done.stdout.strip()
    shown = " ".join((Path(str(command[0])).name, *(" ".join(str(part).split()) for part in command[1:])))
    print(f"{time.perf_counter() - start:6.1f} s  {shown[:150]}", flush=True)
    errors = [line for line in said.splitlines() if line.startswith("error:")]
    right = done.returncode == 1 and len(errors) == 1 and "Traceback" not in said if fails else done.returncode == 0
    if not right:
        sys.exit(f"exit code {done.returncode}:\n{said}")
    return errors[0] if fails else said


def build(folder: Path) -> Path:
    """Build both archives, which must be small; returns the wheel."""
    tool = folder / "tool"
    venv.create(tool, with_pip=True)
    called(tool / "bin" / "python", "-m", "pip", "install", *QUIET, "build", cwd=folder)
    called(tool / "bin" / "python", "-m", "build", "--outdir", folder / "dist", ROOT, cwd=folder)
    for path in sorted((folder / "dist").iterdir()):
        megabytes = path.stat().st_size / 1e6
        print(f"{megabytes:6.1f} MB {path.name}")
        if megabytes >= MAX_MB:
            sys.exit(f"{path.name} is not under {MAX_MB:g} MB")
    (wheel,) = (folder / "dist").glob("*.whl")
    return wheel


def use(folder: Path, wheel: Path) -> None:
    """Try a little of every workflow with the installed command."""
    clean = folder / "clean"
    venv.create(clean, with_pip=True)
    python, openmer = clean / "bin" / "python", clean / "bin" / "openmer"
    called(python, "-m", "pip", "install", *QUIET, "-c", ROOT / "constraints.txt", wheel, cwd=folder)
    where = called(python, "-c", "import openmer; print(openmer.__file__)", cwd=folder)
    if not Path(where).is_relative_to(clean):
        sys.exit(f"openmer was taken from {where}")
    called(openmer, "version", cwd=folder)
    called(openmer, "--help", cwd=folder)
    how = ("--subjects", "1", "--samples", "1", "--fps", "100", "--size", "200", "--processes", "1")
    called(openmer, "simulate", "--out", "simulated", *how, cwd=folder)
    with (folder / "simulated" / "samples.csv").open(encoding="utf-8") as file:
        row = next(csv.DictReader(file))
    called(openmer, "analyze", f"simulated/{row['source']}", "--fps", row["fps"], "--out", "result", cwd=folder)
    called(openmer, "export", "result", "--to", "elan", "--out", "result.eaf", cwd=folder)
    called(openmer, "prepare-simulated", "--out", "store", "--subjects", "3", "--processes", "1", cwd=folder)
    called(openmer, "loso", "store", "--out", "judged", "--model", "constant", "--device", "cpu", cwd=folder)
    commands = {extra: [part.format(**row) for part in command] for extra, command in EXTRAS.items()}
    for extra, command in commands.items():
        said = called(openmer, *command, cwd=folder, fails=True)
        if f"install the extra `{extra}`" not in said:
            sys.exit(f"{said!r} does not name the extra {extra}")
    called(
        python,
        "-m",
        "pip",
        "install",
        *QUIET,
        "-c",
        ROOT / "constraints.txt",
        f"{wheel}[{','.join(EXTRAS)}]",
        cwd=folder,
    )
    for extra, command in commands.items():
        if extra == "web":
            called(python, "-c", SERVED, ROOT / "benchmarks", cwd=folder)
        else:
            called(openmer, *command, cwd=folder)


def main() -> None:
    """Do all of it in a folder that is removed afterwards."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        use(folder, build(folder))
    print("the wheel is whole")


if __name__ == "__main__":
    main()
