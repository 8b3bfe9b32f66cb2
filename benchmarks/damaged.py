"""Hundreds of damaged inputs to the commands that read them: clear errors, crashes, hangs, lost results.

Run: python benchmarks/damaged.py [--seed 0] [--only results/] [--every 12] [--keep /tmp/corpus]

Each input is read in its own process, forked from one that has imported everything, with limits on memory and time. A
clear error ends with exit code 1 and one line that starts with `error:`, or is an OpenMERError of a function; a crash
is any other exception, exit code or signal. A result is lost if a command fails and leaves an older result changed.
"""

import contextlib
import hashlib
import multiprocessing
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import record
import tyro
from corpus import FAMILIES, every_case
from corpus.case import Case

from openmer.errors import OpenMERError

MEMORY_GB = 6.0  # of address space, of which torch and the rest take 2 before anything is read
HANG_S = 60  # of processor time, so that other work on the machine makes no hang
WAIT_S = 600.0  # for a case that waits instead of computing
PRELOADED = ("openmer.video.analyze", "openmer.training.loop", "openmer.evaluation.report", "openmer.models.onnx")
MORE = ("openmer.datasets.registry", "openmer.datasets.folder", "openmer.exchange.export", "openpyxl", "corpus")


@dataclass(frozen=True)
class Outcome:
    """How one input ended.

    Attributes:
        name: of the case.
        end: `clear`, `accepted`, `crash`, `hang` or `lost`.
        said: the error's line, or the end of the traceback.
        seconds: it took.
    """

    name: str
    end: str
    said: str
    seconds: float


def load_model(path: str) -> None:
    """Weights with their record."""
    from openmer.models.weights import load_model as load

    load(path)


def read_onnx(path: str) -> None:
    """A graph."""
    from openmer.models.onnx import OnnxNetwork

    OnnxNetwork(path)


FUNCTIONS: dict[str, Callable[..., None]] = {"load_model": load_model, "read_onnx": read_onnx}


def meet(case: Case, said: Path) -> int:
    """Run one case in this process; returns the exit code: 0, 1 for a clear error, or anything else."""
    with said.open("w", encoding="utf-8") as file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
        try:
            return _called(case)
        except BaseException:  # anything at all is what this looks for
            traceback.print_exc()
            return 70


def _called(case: Case) -> int:
    if case.command[0] in FUNCTIONS:
        try:
            FUNCTIONS[case.command[0]](*case.command[1:])
        except OpenMERError as error:
            print(f"error: {error}")
            return 1
        return 0
    from openmer.cli import main

    sys.argv = ["openmer", *case.command]
    try:
        main()
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    return 0


def _in_child(case: Case, said: Path, memory_gb: float) -> None:
    limit = int(memory_gb * 2**30)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (HANG_S, HANG_S + 1))
    with said.with_suffix(".low").open("w") as low:  # what libraries write past Python
        os.dup2(low.fileno(), 2)
    os.environ["COLUMNS"] = "200"
    os._exit(meet(case, said))  # without waiting for threads left by a library


def judged(case: Case, code: int | None, said: str, before: dict[Path, str], seconds: float) -> Outcome:
    """The verdict from an exit code (None if it timed out), the output and the files left."""
    lines = said.strip().splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    if code is None:
        return Outcome(case.name, "hang", f"not done after {seconds:.0f} s", seconds)
    if code == 0:
        return Outcome(case.name, "accepted", "", seconds)
    if code != 1 or len(errors) != 1 or "Traceback" in said:
        what = lines[-1] if lines else ""
        where = [line.strip() for line in lines if "/openmer/" in line][-1:]
        return Outcome(case.name, "crash", f"exit {code}: {what} {' '.join(where)}"[:500], seconds)
    after = digests(case.keeps)
    if any(after.get(file) != digest for file, digest in before.items()):
        return Outcome(case.name, "lost", errors[0], seconds)
    return Outcome(case.name, "clear", errors[0][:500], seconds)


def digests(kept: Iterable[Path]) -> dict[Path, str]:
    """File -> digest, for files and everything in folders."""
    found: dict[Path, str] = {}
    for path in kept:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                found[file] = hashlib.sha256(file.read_bytes()).hexdigest()
    return found


def in_process_of_its_own(context: multiprocessing.context.ForkServerContext, case: Case, said: Path) -> Outcome:
    """Run one case, for at most `HANG_S` of processor time and `WAIT_S` in all."""
    before = digests(case.keeps)
    start = time.perf_counter()
    process = context.Process(target=_in_child, args=(case, said, MEMORY_GB))
    process.start()
    process.join(WAIT_S)
    seconds = time.perf_counter() - start
    code = process.exitcode
    if code == -signal.SIGXCPU:
        code = None
    if process.is_alive():
        process.kill()
        process.join()
    words = said.read_text(encoding="utf-8", errors="replace") if said.exists() else ""
    return judged(case, code, words, before, seconds)


def main(seed: int = 0, only: str = "", every: int = 1, keep: Path | None = None) -> None:
    """Run all cases and write the counts.

    Args:
        seed: of the damage.
        only: only cases whose name starts with this; then nothing is written.
        every: take each so many-th case: a sample, which says so.
        keep: folder to keep the corpus in, for inspection.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*PRELOADED, *MORE])
    outcomes = []
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name) if keep is None else keep
        said = Path(name) / "said"
        said.mkdir()
        for number, case in enumerate(islice(every_case(root / "corpus", seed, only), 0, None, every)):
            outcome = in_process_of_its_own(context, case, said / f"{number}.txt")
            outcomes.append(outcome)
            if outcome.end not in ("clear", "accepted") or only:
                print(f"{outcome.end}  {outcome.name}  {outcome.seconds:.1f} s  {outcome.said}", flush=True)
    figures = _figures(outcomes) | {"seconds": round(time.perf_counter() - start)}
    print(figures["all"], figures["seconds"], "s")
    if not only:
        limits = {"memory_gb": MEMORY_GB, "hang_processor_s": HANG_S, "hang_s": WAIT_S}
        record.write("damaged", {"seed": seed, "every": every, **limits}, figures)
    if any(outcome.end in ("crash", "hang", "lost") for outcome in outcomes):
        sys.exit("not all of it was met with a clear error")


def _figures(outcomes: list[Outcome]) -> dict[str, object]:
    families = {f: dict(Counter(o.end for o in outcomes if o.name.startswith(f + "/"))) for f in FAMILIES}
    ends = Counter(o.end for o in outcomes)
    return {
        "all": {"inputs": len(outcomes), **{e: ends[e] for e in ("clear", "accepted", "crash", "hang", "lost")}},
        "families": families,
        "slowest": [asdict(o) for o in sorted(outcomes, key=lambda o: -o.seconds)[:5]],
        "not clear": [asdict(o) for o in outcomes if o.end in ("crash", "hang", "lost")],
    }


if __name__ == "__main__":
    tyro.cli(main)
