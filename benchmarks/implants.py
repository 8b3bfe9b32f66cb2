"""Micro-expressions of known size and time in real videos: what the spotter finds, and names, of them.

Run: python benchmarks/implants.py [--out runs/implants] [--engine classical] [--people chosen]
     python benchmarks/implants.py --again runs/implants/found-...     (today's rules on an earlier run's tables)
     python benchmarks/implants.py --face mesh --name implants-mesh; ... --flat --name implants-flat  (parts exchanged)

Expressions drawn as the simulator draws them are warped into real videos (`openmer.simulator.reenact`), one every few
seconds, while the person sits calm, speaks or makes faces, or turns; which of them is measured on the untouched video.
Two controls are strewn in: the same resampling with nothing moved, and large slow expressions, which are no
micro-expressions. Every video is also analysed untouched, only written anew, to say what is found by chance.

People are divided once and for all (`face_videos.py`): rules and thresholds may be chosen on some, and are reported on
others. The motion is simulated; how real micro-expressions fare is not measured here.

The videos and their truth stay in OUT/videos, the timelines in OUT/found-ENGINE-COMMIT, so a run can be stopped.
"""

import json
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import as_completed
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal
from unittest.mock import patch

import cv2
import face_videos
import numpy as np
import pandas as pd
import record
import torch
import tyro
from matched_filter import spot_matched
from rich.console import Console
from rich.table import Table
from spotting import THRESHOLDS, spotted_anew

from openmer.choices import CLASSICAL, FaceModelName
from openmer.clip import CROP_PX, Array
from openmer.evaluation.spotting import match_intervals
from openmer.face.align import align, five_points
from openmer.face.pose import head_pose
from openmer.face.registry import face_model
from openmer.models.engine import Engine, load_engine
from openmer.processes import worker_pool
from openmer.progress import progress
from openmer.simulator.facial_motion import EMOTIONS, OTHERS, THREE_CLASS, Event, draw_expression
from openmer.simulator.head import draw_identity
from openmer.simulator.implant import RESAMPLED, FollowedFace, Implant, ImplantedVideo, follow_face
from openmer.simulator.reenact import steadied
from openmer.timeline import CANDIDATE, SET_ASIDE, Interval, Timeline, read_timeline
from openmer.video import regions
from openmer.video.analyze import analyze
from openmer.video.measurements import read_signals
from openmer.video.settings import AnalyzeSettings

SIZES_PX = (0.3, 0.5, 1.0, 2.0, 3.0)
LARGE_PX = (5.0, 8.0)
MICRO = "micro"
CALM, SPEECH, TURNING = SITUATIONS = ("calm", "speech", "turning")
CLASSES = tuple(sorted(set(THREE_CLASS.values()) - {OTHERS}))  # negative, positive, surprise
UNTOUCHED = 0  # the take without implants
PAUSE_S = (1.5, 3.5)  # between implants
LEAD_S = 0.4  # before and after an implant the face must be there
CONTROLS = 0.1  # share of each kind
# What the person does within LOOK_S of a moment: range of the head's angles, of its place, of the mouth.
LOOK_S, TURN_DEG, SHIFT_PX, OPEN_PX, WIDE_PX = 0.4, 4.0, 8.0, 1.5, 3.0
STEP_S = 0.1  # between moments that are judged
SEED = 26
CELL = "{found} ({touched}, {named}) of {of}"


@dataclass(frozen=True)
class Take:
    """One version of a video, with its truth.

    Attributes:
        video: which.
        number: 0 is the untouched one.
        root: the folder of all videos.
    """

    video: face_videos.FaceVideo
    number: int
    root: Path

    @property
    def name(self) -> str:
        """Of its files."""
        return f"{Path(self.video.file).stem}-{self.number}"

    @property
    def path(self) -> Path:
        """The video."""
        return self.root / f"{self.name}.mp4"

    @property
    def truth(self) -> dict[str, Any]:
        """What was implanted, and what the person does."""
        content: dict[str, Any] = json.loads((self.root / f"{self.name}.json").read_text())
        return content


def main(
    out: Path = Path("runs/implants"),
    engine: str = "mol-lite",
    face: FaceModelName = AnalyzeSettings.face,
    people: Literal["all", "chosen", "reported"] = "all",
    takes: int = 3,
    processes: int = 2,
    again: Path | None = None,
    rule: Literal["classical", "matched"] = "classical",
    videos: Path | None = None,
    flat: bool = False,
    name: str = "implants",
    trial: bool = False,
) -> None:
    """Implant, analyse, compare, write.

    Args:
        out: folder of everything.
        engine: weights by name or file, or classical.
        face: who finds the face in what is analysed; the implants' places are dlib's.
        people: on whom rules may be chosen, or who is reported.
        takes: versions of each video, with other expressions at other moments.
        processes: at once.
        again: an earlier run's timelines and tables, to spot anew with today's rules.
        rule: with AGAIN, how to spot: as the analysis does, or by `matched_filter`, which is on trial and not named.
        videos: folder of the packages' videos, fetched if missing; by default one in OUT.
        flat: analyse as if all places of a head were equally far away, so that its motion is a similarity.
        name: of the results file.
        trial: only the demo's video, which needs no network.
    """
    if rule == "matched" and again is None:
        raise SystemExit("--rule matched spots anew: give --again")
    chosen = [v for v in face_videos.VIDEOS if people in ("all", v.half)]
    if trial:
        chosen, takes = [v for v in face_videos.VIDEOS if v.person == "carphone"], 1
    sources = face_videos.paths(videos or out / "sources", chosen)
    jobs = [Take(video, k, out / "videos") for k in range(takes + 1) for video in chosen]
    with worker_pool(processes, one_thread=True) as pool:
        with progress(Console(stderr=True), "Implanting", len(jobs), "videos/s") as step:
            for each in as_completed(pool.submit(_make, job, sources[job.video]) for job in jobs):
                each.result()
                step()
        network = None if engine == CLASSICAL else load_engine(engine, "cpu")
        by = CLASSICAL if network is None else f"{network.name}-{network.record.sha256[:8]}"
        results = again or out / f"found-{by}-{face}{'-flat' * flat}-{record.COMMIT}"
        if again is None:
            if record.COMMIT.endswith("changes"):  # an older timeline must not pass for one of this code
                shutil.rmtree(results, ignore_errors=True)
            with progress(Console(stderr=True), "Analysing", len(jobs), "videos/s") as step:
                for each in as_completed(pool.submit(_analyze, job, results, engine, face, flat) for job in jobs):
                    each.result()
                    step()
    timelines = {job: _timeline(results, job, network, None if again is None else rule) for job in jobs}
    for file, table in zip(("implants.csv", "elsewhere.csv"), outcomes(timelines, (CANDIDATE, SET_ASIDE)), strict=True):
        table.to_csv(results / file, index=False)
    figures = {"all": judge(timelines)} | {
        half: judge({j: t for j, t in timelines.items() if j.video.half == half})
        for half in sorted({v.half for v in chosen})
    }
    figures["people"] = {
        p: judge({j: t for j, t in timelines.items() if j.video.person == p})
        for p in sorted({v.person for v in chosen})
    }
    _show(figures)
    if network is not None and rule == "classical":
        figures["thresholds"] = {
            half: [_at_threshold(results, [j for j in jobs if j.video.half == half], network, t) for t in THRESHOLDS]
            for half in sorted({v.half for v in chosen})
        }
    if again is None:
        settings = {
            "engine": engine,
            "face": face,
            "flat": flat,
            "takes": takes,
            "people": people,
            "videos": [asdict(v) for v in chosen],
        }
        record.write(name, settings, figures)


def _make(take: Take, source: Path) -> None:
    """The video and its truth, unless they are there."""
    done = take.root / f"{take.name}.json"
    if done.is_file():
        return
    cv2.setNumThreads(1)
    take.root.mkdir(parents=True, exist_ok=True)
    face = _followed(take.root / f"{Path(take.video.file).stem}.npz", source)
    situations = _situations(face)
    rng = np.random.default_rng([SEED, take.number, *take.video.file.encode()])
    identity = draw_identity(np.random.default_rng([SEED, *take.video.person.encode()]))
    plan = [] if take.number == UNTOUCHED else list(_plan(face, situations, rng))
    made = ImplantedVideo(source, face, tuple(implant for implant, _ in plan), identity)
    part = take.root / f"{take.name}.part.mp4"
    made.write(part)
    part.rename(take.path)
    content = {
        "implanted": True,
        "video": asdict(take.video),
        "take": take.number,
        "commit": record.COMMIT,
        "implants": [
            {
                "kind": implant.interval.label,
                "onset_s": implant.interval.onset_s,
                "apex_s": implant.interval.apex_s,
                "offset_s": implant.interval.offset_s,
                "peak_px": implant.peak_px,
                "emotion": implant.event.emotion,
                "label": THREE_CLASS[implant.event.emotion],
                "action_units": sorted(implant.event.units),
                "situation": situation,
            }
            for implant, situation in plan
        ],
        "situations": situations,
    }
    (take.root / f"{take.name}.timeline.json").write_text(made.truth.to_json())  # for `openmer score --truth`
    temporary = done.with_suffix(".part")
    temporary.write_text(json.dumps(content, indent=1))
    temporary.rename(done)


def _followed(kept: Path, source: Path) -> FollowedFace:
    """The face through the untouched video; kept for all takes."""
    if not kept.is_file():
        face = follow_face(source, face_model("dlib"))
        part = kept.with_suffix(".part.npz")
        np.savez_compressed(part, times_s=face.times_s, landmarks=face.landmarks, track=face.track)
        part.rename(kept)
    with np.load(kept) as stored:
        return FollowedFace(stored["times_s"], stored["landmarks"], stored["track"])


def _situations(face: FollowedFace) -> list[tuple[float, str]]:
    """(seconds, what the person does) every tenth of a second at which a face is there."""
    slow, quick = (steadied(face.landmarks, face.times_s, seconds) for seconds in (0.08, 0.04))
    known = face.track >= 0
    rows = np.full((len(known), 7), np.nan)
    for k in np.flatnonzero(known):
        scale = align(slow[k]).scale
        rows[k, :3] = head_pose(slow[k]).degrees
        rows[k, 3:5] = five_points(slow[k]).mean(0) * scale
        rows[k, 5] = np.linalg.norm(quick[k, 62] - quick[k, 66]) * scale
        rows[k, 6] = np.linalg.norm(quick[k, 48] - quick[k, 54]) * scale
    situations = []
    for moment in np.arange(face.times_s[0] + LOOK_S, face.times_s[-1] - LOOK_S, STEP_S):
        near = np.abs(face.times_s - moment) < LOOK_S
        if face.usable(moment - LOOK_S, moment + LOOK_S):
            situations.append((round(float(moment), 2), _what(np.ptp(rows[near], axis=0))))
    return situations


def _what(ranges: Array) -> str:
    if ranges[:3].max() > TURN_DEG or np.hypot(*ranges[3:5]) > SHIFT_PX:
        return TURNING
    return SPEECH if ranges[5] > OPEN_PX or ranges[6] > WIDE_PX else CALM


def _situation_at(situations: Sequence[tuple[float, str]], start_s: float, end_s: float) -> str | None:
    """The liveliest of a stretch; None where no face is there."""
    inside = {what for moment, what in situations if start_s <= moment <= end_s}
    if not inside and situations:
        moment, what = min(situations, key=lambda row: abs(row[0] - (start_s + end_s) / 2))
        inside = {what} if abs(moment - (start_s + end_s) / 2) < LOOK_S else set()
    return max(inside, key=SITUATIONS.index, default=None)


def _plan(
    face: FollowedFace, situations: Sequence[tuple[float, str]], rng: np.random.Generator
) -> Iterator[tuple[Implant, str]]:
    """Expressions every few seconds, in each situation about as often as the video allows, in each size as often."""
    count = dict.fromkeys(SITUATIONS, 0)
    left: dict[str, list[float]] = {what: [] for what in SITUATIONS}
    now, end = float(face.times_s[0]) + LEAD_S - PAUSE_S[0], float(face.times_s[-1])
    while now + PAUSE_S[0] < end:
        kind = str(rng.choice([MICRO, "macro", RESAMPLED], p=[1 - 2 * CONTROLS, CONTROLS, CONTROLS]))
        draw = partial(_drawn, kind, int(rng.integers(2**32)))
        length = draw(0.0).offset_s
        places = []
        for onset in np.arange(now + PAUSE_S[0], now + PAUSE_S[1], STEP_S):
            if face.usable(onset - LEAD_S, onset + length + LEAD_S):
                what = _situation_at(situations, onset, onset + length)
                places += [(count[what], float(rng.random()), float(onset), what)] if what else []
        if not places:
            now += PAUSE_S[1] - PAUSE_S[0]
            continue
        _, _, onset, what = min(places)
        now = onset + length
        if kind == "macro":
            yield Implant(draw(onset), float(rng.uniform(*LARGE_PX))), what
            continue
        if not left[what]:
            left[what] = list(rng.permutation(SIZES_PX))
        if kind == MICRO:
            count[what] += 1
        yield Implant(draw(onset), float(left[what].pop()), kind == RESAMPLED), what


def _drawn(kind: str, seed: int, onset_s: float) -> Event:
    rng = np.random.default_rng(seed)
    while True:
        event = draw_expression(rng, _emotion(rng), onset_s, kind="macro" if kind == "macro" else MICRO)
        if event.kind != "fade":  # what fades for longer than half a second is another question
            return event


def _emotion(rng: np.random.Generator) -> str:
    """Each of the three classes as often."""
    label = rng.choice(CLASSES)
    return str(rng.choice([e for e in EMOTIONS if THREE_CLASS[e] == label]))


def _analyze(take: Take, results: Path, engine: str, face: FaceModelName, flat: bool) -> None:
    torch.set_num_threads(1)
    if not (results / take.name).is_dir():
        with patch.object(regions, "head_depth", _flat) if flat else nullcontext():
            analyze(take.path, results / take.name, AnalyzeSettings(overlay=False, engine=engine, face=face))


def _flat(_: Array) -> Array:
    return np.zeros((CROP_PX, CROP_PX), np.float32)


def _timeline(results: Path, take: Take, network: Engine | None, rule: str | None) -> Timeline:
    """As analysed, or spotted anew by a rule."""
    folder = results / take.name
    if rule == "matched":
        candidates = spot_matched(read_signals(folder / "frames.csv"))
        return replace(read_timeline(folder / "timeline.json"), intervals=tuple(candidates))
    return (
        spotted_anew(folder, network, AnalyzeSettings.expression_threshold)
        if rule is not None
        else read_timeline(folder / "timeline.json")
    )


def _at_threshold(results: Path, jobs: Sequence[Take], network: Engine, threshold: float) -> dict[str, Any]:
    """How many candidates lie elsewhere a minute, and which implants are found, if more or fewer are set aside."""
    judged = _judged({j: spotted_anew(results / j.name, network, threshold) for j in jobs}, (CANDIDATE,))
    every = judged["implants"]["all"]["all"]
    return {
        "expression_threshold": threshold,
        "elsewhere_a_minute": judged["elsewhere_a_minute"]["all"],
        "untouched_a_minute": judged["untouched_a_minute"]["all"],
        "found": every["found"],
        "of": every["of"],
        "minutes": round(sum(judged["minutes"].values()), 2),
    }


def outcomes(timelines: dict[Take, Timeline], labels: Sequence[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """One row for each implant, and one for each spot that is elsewhere; spots are the intervals with these labels."""
    rows, spots = [], []
    for take, timeline in timelines.items():
        untouched = next(t for j, t in timelines.items() if (j.video, j.number) == (take.video, UNTOUCHED))
        about = {"person": take.video.person, "half": take.video.half, "take": take.name}
        truth = take.truth
        now, before = ([i for i in t if i.label in labels] for t in (timeline, untouched))
        rows += [about | row for row in _implants(truth["implants"], now, before)]
        shown = [_interval(row) for row in truth["implants"] if row["kind"] != RESAMPLED]
        for spot in now:
            what = _situation_at(truth["situations"], spot.onset_s, spot.offset_s)
            if what and not any(spot.overlap(i) > 0 for i in shown):
                spots.append(
                    about | {"situation": what, "onset_s": spot.onset_s, "untouched": take.number == UNTOUCHED}
                )
    return pd.DataFrame(rows), pd.DataFrame(spots, columns=[*about, "situation", "onset_s", "untouched"])


def _implants(
    truth: Sequence[dict[str, Any]], now: Sequence[Interval], before: Sequence[Interval]
) -> Iterator[dict[str, Any]]:
    """What became of each implant: found (IoU of at least 0.5 with a spot), touched, named; and the same by chance."""
    micro = [k for k, row in enumerate(truth) if row["kind"] == MICRO]
    intervals = [_interval(row) for row in truth]
    hits = {micro[b]: now[a] for a, b in match_intervals(now, [intervals[k] for k in micro])}
    chance = {micro[b] for _, b in match_intervals(before, [intervals[k] for k in micro])}
    for k, row in enumerate(truth):
        yield row | {
            "found": k in hits,
            "touched": any(spot.overlap(intervals[k]) > 0 for spot in now),
            "named": k in hits and _named(hits[k]) == row["label"],
            "found_by_chance": k in chance,
            "touched_by_chance": any(spot.overlap(intervals[k]) > 0 for spot in before),
        }


def judge(timelines: dict[Take, Timeline]) -> dict[str, Any]:
    """Scores by size and situation, of the candidates, and of them with what a network set aside."""
    kinds = {"candidates": (CANDIDATE,)}
    if any(t.labelled(SET_ASIDE) for t in timelines.values()):
        kinds["with those set aside"] = (CANDIDATE, SET_ASIDE)
    return {name: _judged(timelines, labels) for name, labels in kinds.items()}


def _judged(timelines: dict[Take, Timeline], labels: tuple[str, ...]) -> dict[str, Any]:
    rows, spots = outcomes(timelines, labels)
    what = ["found", "touched", "named", "found_by_chance", "touched_by_chance"]

    def counted(part: pd.DataFrame) -> dict[str, int]:
        return {"of": len(part)} | {name: int(part[name].sum()) for name in what}

    def by_situation(part: pd.DataFrame) -> dict[str, dict[str, int]]:
        return {s: counted(p) for s, p in part.groupby("situation")} | {"all": counted(part)}

    micro = rows[rows.kind == MICRO]
    return {
        "implants": {f"{size:g} px": by_situation(part) for size, part in micro.groupby("peak_px")}
        | {"all": by_situation(micro)},
        "controls": {kind: counted(part) for kind, part in rows[rows.kind != MICRO].groupby("kind")},
        "elsewhere_a_minute": _rates(spots[~spots.untouched.astype(bool)], _minutes(timelines, untouched=False)),
        "untouched_a_minute": _rates(spots[spots.untouched.astype(bool)], _minutes(timelines, untouched=True)),
        "minutes": {s: round(m, 2) for s, m in _minutes(timelines, untouched=False).items()},
    }


def _show(figures: dict[str, Any]) -> None:
    """The tables, on the terminal."""
    console = Console()
    for name, of_part in figures.items():
        for part, scores in [(name, of_part)] if name != "people" else of_part.items():
            for kind, judged in scores.items():
                table = Table("size", *SITUATIONS, "all", title=f"{part}, {kind}: found (touched, named rightly) of")
                for size, row in judged["implants"].items():
                    cells = [row.get(s) for s in (*SITUATIONS, "all")]
                    table.add_row(size, *("" if c is None else CELL.format(**c) for c in cells))
                for rate in ("elsewhere_a_minute", "untouched_a_minute"):
                    table.add_row(rate, *(f"{judged[rate].get(s, float('nan')):.2f}" for s in (*SITUATIONS, "all")))
                console.print(table)
                console.print({k: f"touched {c['touched']} of {c['of']}" for k, c in judged["controls"].items()})


def _minutes(takes: Iterable[Take], *, untouched: bool) -> dict[str, float]:
    moments = Counter(s for t in takes if (t.number == UNTOUCHED) == untouched for _, s in t.truth["situations"])
    return {s: moments[s] * STEP_S / 60 for s in SITUATIONS}


def _rates(spots: pd.DataFrame, minutes: dict[str, float]) -> dict[str, float]:
    rates = {s: float((spots.situation == s).sum() / m) for s, m in minutes.items() if m > 0}
    total = sum(minutes.values())
    return {s: round(rate, 2) for s, rate in rates.items()} | {"all": round(len(spots) / max(total, 1e-9), 2)}


def _interval(row: dict[str, Any]) -> Interval:
    return Interval(onset_s=row["onset_s"], apex_s=row["apex_s"], offset_s=row["offset_s"], label=row["kind"])


def _named(interval: Interval) -> str | None:
    """The likeliest expression, whatever the network says about whether there is one."""
    opinion = interval.probabilities
    return max(CLASSES, key=lambda c: opinion[c]) if opinion else None


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
