"""Fuzz what reads other people's files: timelines, reviews, ELAN files, truth tables, samples.csv, weight records.

Run: python benchmarks/fuzz.py [--seconds 60] [--only elan]

With atheris (pip install atheris), which is guided by code coverage; without it, by random damage. Each reader gets
bytes and may return or raise an OpenMERError; anything else is a finding, and its input is kept.
"""

import importlib.util
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import tyro

TARGETS = ("timeline", "review", "elan", "truth", "samples", "record")
SEED_TIMELINE = {
    "schema": "openmer.timeline/1",
    "start_s": 0.0,
    "end_s": 4.0,
    "intervals": [
        {
            "onset_s": 0.5,
            "offset_s": 0.9,
            "label": "candidate",
            "apex_s": 0.7,
            "regions": ["brow_left"],
            "peak_px": 1.2,
        },
        {
            "onset_s": 1,
            "offset_s": 2,
            "label": "blink",
            "regions": [],
            "onset_frame": 3,
            "probabilities": {"none": 0.5},
        },
    ],
    "gaps": [],
    "windows": [{"start_s": 0, "end_s": 1, "start_frame": 0, "end_frame": 9, "probabilities": {"none": 1.0}}],
    "provenance": {"source": "talk.mp4"},
}


def reader(target: str, folder: Path) -> tuple[Callable[[bytes], object], bytes]:
    """A function that reads bytes, and an intact example."""
    from openmer.datasets.folder import FolderDataset
    from openmer.exchange.boris import to_boris_csv
    from openmer.exchange.elan import read_elan, to_elan
    from openmer.exchange.table import read_table
    from openmer.review.agreement import agreement_of
    from openmer.review.document import read_review
    from openmer.review.export import chosen
    from openmer.timeline import Timeline, read_timeline

    good = Timeline.from_json(json.dumps(SEED_TIMELINE))
    path = folder / "input"

    def written(read: Callable[[Path], object]) -> Callable[[bytes], object]:
        def call(data: bytes) -> object:
            path.write_bytes(data)
            return read(path)

        return call

    def timeline(there: Path) -> object:
        found = read_timeline(there)
        # Whatever is accepted must work for everything made from it.
        return found.to_json(), found.to_csv(), to_elan(found), to_boris_csv(found)

    def reviewed(there: Path) -> object:
        review = read_review(there)
        return chosen(review, rejected=True), agreement_of([(review, review)])

    def samples(there: Path) -> object:
        there.rename(folder / "samples.csv")
        return FolderDataset(folder)

    if target == "timeline":
        return written(timeline), good.to_json().encode()
    if target == "review":
        return written(reviewed), _good_review()
    if target == "elan":
        return written(lambda there: read_elan(there, "candidate")), to_elan(good, "./talk.mp4")
    if target == "truth":
        return written(read_table), good.to_csv().encode()
    if target == "samples":
        (folder / "frames").mkdir()
        row = "a,x,frames,30000/1001,surprise,1,6,12,1+2"
        return written(samples), f"subject,sample,source,fps,label,onset,apex,offset,action_units\n{row}\n".encode()
    return written(_record), _good_record()


def _record(path: Path) -> object:
    from openmer.models.weights import record_from

    try:
        content = path.read_bytes()
    except (ValueError, RecursionError):
        return None  # `read_record` reports that; here only the content counts
    return record_from(content, path)


def _good_record() -> bytes:
    from openmer.models.weights import shipped

    content: dict[str, Any] = json.loads(shipped()["mol-lite"].read_text())
    return json.dumps(content | {"scores": {}, "notes": ""}).encode()


def _good_review() -> bytes:
    """With one change of each kind in its history."""
    from openmer.review.document import SCHEMA, Add, Redo, Remove, Review, Set, Source, Undo, apply_change

    source = Source(video="talk.mp4", timeline_sha256="0", start_s=0.0, end_s=4.0)
    review = Review(schema=SCHEMA, source=source, coder="Ann")
    marked = {"onset_s": 0.5, "apex_s": 0.7, "offset_s": 0.9, "action_units": [{"number": 12, "side": "R"}]}
    later = {"onset_s": 2.0, "offset_s": 2.5}
    changes = (Add(values=marked), Add(values=later), Set(entry="e1", values={"verdict": "rejected"}))
    for change in (*changes, Undo(), Redo(), Remove(entry="e2")):
        review = apply_change(review, change)
    return msgspec.json.encode(review)


def _used() -> float:
    """Seconds of processor time of the processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _once(read: Callable[[bytes], object], data: bytes) -> None:
    from openmer.errors import OpenMERError  # only after atheris has started to instrument imports

    try:
        read(data)
    except OpenMERError:
        return


def child(target: str, seconds: int, kept: Path) -> None:
    """Fuzz one reader in this process, which then ends."""
    folder = Path(tempfile.mkdtemp(dir=kept))
    if importlib.util.find_spec("atheris") is None:
        read, good = reader(target, folder)
        _at_random(read, good, seconds, kept / f"finding-{target}")
        return
    import atheris

    with atheris.instrument_imports(include=["openmer"]):
        read, good = reader(target, folder)
    corpus = folder / "corpus"
    corpus.mkdir()
    (corpus / "good").write_bytes(good)
    words = folder / "words"
    words.write_text(
        "\n".join(f'"{word}"' for word in sorted(set(re.findall(r"[A-Za-z_]{3,20}", good.decode())))) + "\n"
    )
    options = [
        f"-max_total_time={seconds}",
        f"-dict={words}",
        f"-artifact_prefix={kept}/finding-{target}-",
        "-max_len=8192",
    ]
    atheris.Setup([sys.argv[0], *options, "-timeout=20", "-rss_limit_mb=4096", str(corpus)], lambda d: _once(read, d))
    atheris.Fuzz()


def _at_random(read: Callable[[bytes], object], good: bytes, seconds: int, finding: Path) -> None:
    import numpy as np
    from corpus.damage import cut, flipped, holed

    rng = np.random.default_rng(0)
    runs, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        data = flipped(good, rng, int(rng.integers(1, 20)))
        data = holed(cut(data, float(rng.uniform(0.3, 1))), rng, 8) if rng.random() < 0.3 else data
        try:
            _once(read, data)
        except BaseException:
            finding.write_bytes(data)
            raise
        runs += 1
    print(f"Done {runs} runs")


def main(seconds: int = 60, only: str = "", target: str = "", kept: Path | None = None) -> None:
    """Fuzz all readers and print a line for each.

    Args:
        seconds: For each.
        only: One of them.
        target: Used for the processes that this one starts.
        kept: Where inputs that are findings are kept.
    """
    if target:
        child(target, seconds, kept or Path())
        return
    import record

    folder = Path(tempfile.mkdtemp()) if kept is None else kept
    figures: dict[str, Any] = {}
    for name in [only] if only else TARGETS:
        command = [sys.executable, __file__, "--target", name, "--seconds", str(seconds), "--kept", str(folder)]
        before = _used()
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONWARNINGS": "ignore"})
        said = done.stdout + done.stderr
        runs = re.findall(r"Done (\d+) runs", said) or re.findall(r"#(\d+)\s", said) or ["0"]
        covered = re.findall(r"cov: (\d+)", said)
        figures[name] = {
            "runs": int(runs[-1]),
            "edges": int(covered[-1]) if covered else None,
            "cpu_s": round(_used() - before),
            "found": done.returncode != 0,
        }
        print(name, figures[name], flush=True)
        if done.returncode:
            print(said[-3000:])
    with_atheris = importlib.util.find_spec("atheris") is not None
    if not only:
        record.write("fuzz", {"seconds": seconds, "atheris": with_atheris}, figures)
    if any(f["found"] for f in figures.values()):
        sys.exit(f"something else than an OpenMERError was raised; inputs are in {folder}")


if __name__ == "__main__":
    tyro.cli(main)
