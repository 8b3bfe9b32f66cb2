"""The spotter on long simulated videos: how many micro-expressions it finds, how often it gives false alarms.

Run: python benchmarks/spotting.py [--out runs/spotting] [--engine mol-lite] [--videos 30] [--minutes 2] [--seed 100]
     python benchmarks/spotting.py --seed 200 --videos 6 --again runs/spotting/mol-lite-...-set-200-2min-30fps

With a network, the same candidates are judged at several rejection thresholds; 0 keeps all, which is the classical
spotter. A threshold must be chosen on a different seed than the one it is reported for.

`--again` is for trying a rule of the spotter: it takes what an earlier run has measured and what its network said, and
spots anew, in seconds instead of an hour. It writes nothing: tables are rounded, so a figure can change a little.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import as_completed
from dataclasses import replace
from pathlib import Path

import record
import torch
import tyro
from rich.console import Console
from scoring import strs

from openmer.choices import CLASSICAL
from openmer.evaluation.spotting import match_intervals, score_spotting, total_score
from openmer.models.engine import Engine, load_engine
from openmer.processes import worker_pool
from openmer.progress import progress
from openmer.simulator.facial_motion import OTHERS, THREE_CLASS
from openmer.simulator.generate import draw_video, person_name, write_video
from openmer.simulator.settings import SimulateSettings
from openmer.timeline import Interval, Timeline, read_timeline
from openmer.version import commit
from openmer.video.analyze import analyze
from openmer.video.measurements import read_signals
from openmer.video.recognition import apply_network
from openmer.video.settings import AnalyzeSettings
from openmer.video.spotting import spot

SIZES = ((0.0, 0.5), (0.5, 1.0), (1.0, 2.0), (2.0, 3.1))
CLASSES = tuple(sorted(set(THREE_CLASS.values()) - {OTHERS}))  # negative, positive, surprise
THRESHOLDS = (0.0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def main(
    out: Path = Path("runs/spotting"),
    engine: str = "mol-lite",
    videos: int = 30,
    minutes: float = 2.0,
    fps: float = 30.0,
    seed: int = 100,
    processes: int = 2,
    again: Path | None = None,
) -> None:
    """Simulate, analyse, compare, write. What is already simulated or analysed is kept, so a run can be stopped.

    Videos belong to their settings, timelines also to the weights and the commit.

    Args:
        out: folder of videos and timelines.
        engine: weights by name or file, or classical.
        videos: of one person each.
        minutes: of each.
        fps: frames a second.
        seed: of the people.
        processes: at once.
        again: an earlier run's timelines and tables, to spot anew with today's rules.
    """
    settings = SimulateSettings(subjects=videos, samples=1, fps=fps, seed=seed, size=256, minutes=minutes)
    root = (out if again is None else again.parent) / f"set-{seed}-{minutes:g}min-{fps:g}fps"
    people = [person_name(seed, k) for k in range(videos)]
    network = None if engine == CLASSICAL else load_engine(engine, "cpu")
    if again is not None:
        found = [spotted_anew(again / person, network) for person in people]
    else:
        # For these weights and this code only: an older timeline must not pass for theirs.
        weights = CLASSICAL if network is None else f"{network.name}-{network.record.sha256[:8]}"
        results = out / f"{weights}-{commit()}-{root.name}"
        with (
            worker_pool(processes, one_thread=True) as pool,
            progress(Console(stderr=True), "Videos", videos, "videos/s") as step,
        ):
            for each in as_completed(pool.submit(_done, root, results, settings, k, engine) for k in range(videos)):
                each.result()
                step()
        found = [read_timeline(results / person / "timeline.json") for person in people]
    pairs = [(f, read_timeline(_truth(root, person))) for f, person in zip(found, people, strict=True)]
    thresholds = (0.0,) if engine == CLASSICAL else THRESHOLDS
    said = [_said(settings, k) for k in range(videos)]
    figures = {
        f"expression_threshold {t:g}": judge([(_kept(f, t), truth) for f, truth in pairs], said) for t in thresholds
    }
    for name, values in figures.items():
        print(name, {k: values[k] for k in ("recall", "precision", "f1", "strs", "false_alarms_per_minute")})
    if again is not None:
        return
    settings_ = {"engine": engine, "videos": videos, "minutes": minutes, "fps": fps, "seed": seed}
    record.write(f"spotting-{seed}", settings_, figures)


def _truth(root: Path, person: str) -> Path:
    return root / "truth" / person / "long_001.json"


def _done(root: Path, results: Path, settings: SimulateSettings, subject: int, engine: str) -> None:
    """Simulate and analyse one video, or whatever of that is left to do."""
    torch.set_num_threads(1)
    person = person_name(settings.seed, subject)
    if not _truth(root, person).is_file():
        write_video(root, settings, subject, 0)
    out = results / person
    if not out.is_dir():
        video = root / "videos" / person / "long_001.mp4"
        analyze(video, out, AnalyzeSettings(overlay=False, engine=engine, expression_threshold=0.0))


def spotted_anew(folder: Path, network: Engine | None, expression_threshold: float = 0.0) -> Timeline:
    """The timeline that today's rules give for what was measured, with what the network said."""
    old = read_timeline(folder / "timeline.json")
    intervals = spot(read_signals(folder / "frames.csv"))
    if network is not None:
        intervals = tuple(apply_network(i, old.windows, network, expression_threshold) for i in intervals)
    return replace(old, intervals=intervals)


def _kept(timeline: Timeline, least: float) -> Timeline:
    """The timeline as it would be with this threshold."""
    kept = (i for i in timeline if not i.probabilities or 1 - i.probabilities["none"] >= least)
    return replace(timeline, intervals=tuple(kept))


def _said(settings: SimulateSettings, subject: int) -> dict[float, str]:
    """The class of each micro-expression of a video, by its onset in seconds."""
    return {e.onset_s: THREE_CLASS[e.emotion] for e in draw_video(settings, subject, 0).events if e.kind == "micro"}


def judge(pairs: Sequence[tuple[Timeline, Timeline]], said: Sequence[Mapping[float, str]]) -> dict[str, object]:
    """MEGC's rule for micro-expressions, and its STRS; what the false alarms were; recall by size.

    STRS uses the network's most probable expression; a hit without a verdict (near an end of the video) has no class
    and is left out of recognition.
    """
    total = total_score(
        score_spotting(found.labelled("candidate"), truth.labelled("micro"), found.end_s - found.start_s)
        for found, truth in pairs
    )
    instead: Counter[str] = Counter()
    sizes: dict[str, list[bool]] = {f"{low} to {high} px": [] for low, high in SIZES}
    touched = 0
    true_classes: list[int] = []
    named: list[int] = []
    for (found, truth), classes in zip(pairs, said, strict=True):
        candidates, micro = found.labelled("candidate"), truth.labelled("micro")
        matched = match_intervals(candidates, micro)
        for k, interval in enumerate(micro):
            touched += any(interval.overlap(c) > 0 for c in candidates)
            for (low, high), hits in zip(SIZES, sizes.values(), strict=True):
                if low <= (interval.peak_px or 0) < high:
                    hits.append(any(b == k for _, b in matched))
        for a, b in matched:
            opinion = candidates[a].probabilities
            if opinion:
                true_classes.append(CLASSES.index(classes[micro[b].onset_s]))
                named.append(max(range(len(CLASSES)), key=lambda c: opinion[CLASSES[c]]))
        right = {a for a, _ in matched}
        instead.update(_what(c, truth) for k, c in enumerate(candidates) if k not in right)
    return {
        "micro_expressions": total.hits + total.misses,
        "recall": round(total.recall, 3),
        "recall_any_overlap": round(touched / max(1, total.hits + total.misses), 3),
        "precision": round(total.precision, 3),
        "f1": round(total.f1, 3),
        "strs": round(strs(total.f1, true_classes, named, len(CLASSES)), 3) if named else None,
        "hits_named": [sum(t == n for t, n in zip(true_classes, named, strict=True)), len(named)],
        "false_alarms_per_minute": round(total.false_alarms_per_minute, 2),
        "recall_by_peak": {k: [round(sum(v) / len(v), 3), len(v)] for k, v in sizes.items() if v},
        "false_alarms_were": dict(instead.most_common()),
    }


def _what(candidate: Interval, truth: Timeline) -> str:
    """The kind of event that overlaps it most, or nothing."""
    best = max(truth, key=candidate.overlap)
    return best.label if candidate.overlap(best) > 0 else "nothing"


if __name__ == "__main__":
    tyro.cli(main)
