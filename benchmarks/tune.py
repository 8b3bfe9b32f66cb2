"""`openmer tune` in simulated labs: F1 before and after, on recordings that were left out.

Run: python benchmarks/tune.py [--recordings 8] [--minutes 1.5] [--seeds 0 1]

What is simulated is the spotter's input, the motion of twelve regions at 30 frames a second, not pictures: a quiet lab,
a camera with four times the noise, and people who speak for a third of the time. A simulated coder looks at the
candidates of the default thresholds, accepts those that meet a movement that was put in (IoU 0.5) and rejects the rest;
one coder adds all movements that were missed, another none. Scores are against that coder, and against what was put in.
No figure here says how the spotter does on people.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import record
import tyro
from scipy import signal

from openmer.evaluation.spotting import SpottingScore, match_intervals, score_spotting, total_score
from openmer.review.tune import Recording, Thresholds, tune
from openmer.timeline import Interval, Timeline
from openmer.video.regions import EYES, REGION_NAMES
from openmer.video.settings import SpottingSettings
from openmer.video.spotting import Signals, spot

FPS = 30
A_MINUTE = 6  # micro-expressions
SPEAKING = tuple(k for k, name in enumerate(REGION_NAMES) if "mouth" in name or "lip" in name or name == "chin")
STILL = tuple(k for k in range(len(REGION_NAMES)) if k not in EYES)
HOW = {"engine": "classical", "face": "dlib", "flow": "dis", "align": "per_clip"}


@dataclass(frozen=True)
class Lab:
    """One way in which recordings differ.

    Attributes:
        noise_px: standard deviation of each region's place, which what landmarks and flow do keeps for some 0.1 s.
        speech: share of the time in which people speak.
    """

    noise_px: float = 0.03
    speech: float = 0.0


LABS = {"quiet": Lab(), "noisy camera": Lab(noise_px=0.12), "people who speak": Lab(speech=1 / 3)}


def simulated(lab: Lab, minutes: float, rng: np.random.Generator) -> tuple[Signals, tuple[Interval, ...]]:
    """One recording's signals, and the movements that were put in."""
    n = round(60 * FPS * minutes)
    times = np.arange(n) / FPS
    places = _jitter((n, len(REGION_NAMES), 2), rng) * lab.noise_px
    places += np.cumsum(rng.normal(0, 0.003, places.shape), axis=0)  # people sit, and sway
    for onset, lasts, px in _syllables(lab, times[-1], rng):
        places[:, SPEAKING] += (_rise(times, onset, lasts) * px)[:, None, None] * rng.normal(0, 0.7, (len(SPEAKING), 2))
    put_in = []
    onsets = np.linspace(3, times[-1] - 3, round(A_MINUTE * minutes)) + rng.uniform(-1, 1, round(A_MINUTE * minutes))
    for onset in onsets:
        lasts, px, angle = rng.uniform(0.2, 0.45), rng.uniform(0.15, 1.5), rng.uniform(0, 2 * np.pi)
        direction = px * np.array([np.cos(angle), np.sin(angle)])
        places[:, rng.choice(STILL)] += _rise(times, onset, lasts)[:, None] * direction
        put_in.append(Interval(label="micro", onset_s=float(onset), offset_s=float(onset + lasts), peak_px=float(px)))
    still = np.zeros((n, 6), np.float32)
    open_ = np.full((n, 2), 0.3, np.float32)
    signals = Signals(np.arange(n), times, places.astype(np.float32), still, open_, np.zeros(n, np.int64))
    return signals, tuple(put_in)


def _jitter(shape: tuple[int, ...], rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Of standard deviation 1, along the first axis an autoregressive process that forgets in 0.1 s."""
    keeps = float(np.exp(-1 / (0.1 * FPS)))
    return np.asarray(signal.lfilter([np.sqrt(1 - keeps**2)], [1, -keeps], rng.normal(size=shape), axis=0))


def _syllables(lab: Lab, end_s: float, rng: np.random.Generator) -> Iterator[tuple[float, float, float]]:
    """Onset, duration and size of each; in phrases of three seconds."""
    for start in np.arange(0, end_s - 3, 3):
        if rng.uniform() < lab.speech:
            for onset in np.arange(start, start + 3, 0.25):
                yield onset + rng.uniform(0, 0.1), rng.uniform(0.12, 0.35), rng.uniform(0.2, 1.2)


def _rise(times: npt.NDArray[np.float64], onset: float, lasts: float) -> npt.NDArray[np.float64]:
    """From 0 to 1 and back."""
    return np.asarray(np.sin(np.pi * np.clip((times - onset) / lasts, 0, 1)) ** 2)


def reviewed(name: str, signals: Signals, put_in: tuple[Interval, ...], *, adds: bool) -> Recording:
    """A recording as a coder leaves it."""
    settings: dict[str, Any] = {**HOW, "spotting": asdict(SpottingSettings()), "expression_threshold": 0.5}
    candidates = [i for i in spot(signals) if i.label == "candidate"]
    pairs = match_intervals(candidates, put_in)
    accepted = [candidates[a] for a, _ in pairs]
    missed = [i for k, i in enumerate(put_in) if k not in {b for _, b in pairs}]
    end_s = float(signals.times_s[-1])
    timeline = Timeline(intervals=tuple(candidates), start_s=0, end_s=end_s, provenance={"settings": settings})
    truth = (*accepted, *missed) if adds else tuple(accepted)
    return Recording(name, signals, timeline, truth, rejected=len(candidates) - len(accepted))


def scores_of_lab(lab: Lab, recordings: int, minutes: float, seed: int, *, adds: bool) -> dict[str, Any]:
    """What tuning is worth in a lab."""
    rng = np.random.default_rng([seed, *(ord(c) for c in repr(lab))])
    made = [simulated(lab, minutes, rng) for _ in range(recordings)]
    tuning = tune([reviewed(str(k), *each, adds=adds) for k, each in enumerate(made)])

    def put_in(chosen: list[Thresholds]) -> SpottingScore:
        return total_score(_against(*each, at) for each, at in zip(made, chosen, strict=True))

    before, after = put_in([tuning.in_use] * recordings), put_in([row.chosen for row in tuning.rows])
    return {
        "movements": sum(len(truth) for _, truth in made),
        "f1_coder": [round(tuning.before.f1, 3), round(tuning.after.f1, 3)],
        "f1_put_in": [round(before.f1, 3), round(after.f1, 3)],
        "recall_put_in": [round(before.recall, 3), round(after.recall, 3)],
        "alarms_per_minute": [round(s.false_alarms_per_minute, 2) for s in (before, after)],
        "chosen": {"contrast": tuning.chosen.contrast, "min_px": tuning.chosen.min_px},
        "written": tuning.helps,
    }


def _against(signals: Signals, truth: tuple[Interval, ...], chosen: Thresholds) -> SpottingScore:
    found = spot(signals, SpottingSettings(contrast=chosen.contrast, min_px=chosen.min_px))
    return score_spotting([i for i in found if i.label == "candidate"], truth, float(signals.times_s[-1]))


def main(recordings: int = 8, minutes: float = 1.5, seeds: tuple[int, ...] = (0, 1)) -> None:
    """Simulate, review, tune, compare, write.

    Args:
        recordings: in each lab.
        minutes: of each.
        seeds: of what is simulated.
    """
    figures: dict[str, Any] = {}
    for name, lab in LABS.items():
        for adds in (True, False):
            coder = "adds what was missed" if adds else "adds nothing"
            for seed in seeds:
                found = scores_of_lab(lab, recordings, minutes, seed, adds=adds)
                figures.setdefault(name, {}).setdefault(coder, {})[f"seed {seed}"] = found
                print(f"{name}, {coder}, seed {seed}: {found}")
    record.write("tune", {"recordings": recordings, "minutes": minutes, "seeds": seeds}, figures)


if __name__ == "__main__":
    tyro.cli(main)
