"""What means of frames give recognition: each of a clip's 8 frames, averaged with its neighbors, by frame rate.

Run: python benchmarks/means.py [--people 60] [--rates 50 100 200] [--processes 2]

Simulated recordings of people whom the shipped weights have not seen, heads calm and lively, without a codec. The
8 frames of a clip are those that a store has. Each is averaged with those around it, as interleaved clips of
`openmer prepare` are, or with those before it, as `openmer analyze` and `openmer stream` do. `one` is no mean.
"""

import math
from typing import Any

import cv2
import numpy as np
import record
import torch
import tyro
from rich.console import Console
from rich.table import Table
from scoring import uf1_of_three

from openmer.clip import NONE, SIMULATED, Array
from openmer.clips.transforms import center_crop, normalized
from openmer.datasets.simulated import SimulatedClips, choose_frames
from openmer.evaluation.metrics import Prediction, class_scores, detection_scores
from openmer.models.weights import load_model, read_record
from openmer.processes import mapped
from openmer.progress import progress
from openmer.simulator.facial_motion import THREE_CLASS
from openmer.simulator.generate import draw_sample, person_name
from openmer.simulator.streams import stream
from openmer.video.windows import MEAN_S

ENGINE = "mol-lite"
CLASSES = read_record(ENGINE).classes
# Seconds that a mean lasts, and whether it lies around its frame or before it.
MEANS = {
    "one": (0.0, "around"),
    "30 ms around": (0.03, "around"),
    "50 ms around": (0.05, "around"),
    "70 ms around": (0.07, "around"),
    "130 ms around": (0.13, "around"),
    "50 ms before": (MEAN_S, "before"),
}


def main(people: int = 60, rates: tuple[float, ...] = (50.0, 100.0, 200.0), seed: int = 77, processes: int = 1) -> None:
    """Draw, average, judge, write.

    Args:
        people: simulated, four clips each.
        rates: frames per second.
        seed: of the people.
        processes: at a time.
    """
    console = Console()
    figures: dict[str, Any] = {}
    for rate in rates:
        settings = SimulatedClips(subjects=people, seed=seed, fps=rate, head="mixed", compressed=0.0)
        work = [(settings, person, sample) for person in range(people) for sample in range(settings.samples)]
        with progress(console, f"{rate:g} frames a second", len(work), "clips/s") as step:
            drawn = mapped(_judged, work, processes, one_thread=True, on_item=step)
        figures[f"{rate:g}"] = {mean: _scores([clip[mean] for clip in drawn]) for mean in MEANS}
    written = {"people": people, "seed": seed, "engine": ENGINE, "heads": "mixed"}
    record.write("means", written, figures)
    console.print(_of_rates(figures))


def frames_of_mean(frame: int, last: int, rate: float, mean_s: float, where: str) -> range:
    """Numbers of the frames that a mean is of: as many as begin within its time, of 0 to `last`."""
    count = max(math.ceil(mean_s * rate - 1e-6), 1)  # as `in_mean` has it
    first = frame - (count // 2 if where == "around" else count - 1)
    return range(max(first, 0), min(first + count - 1, last) + 1)


def _judged(settings: SimulatedClips, person: int, sample: int) -> dict[str, Prediction]:
    """What the network says of one clip, by mean."""
    recording, event, emotion = draw_sample(settings.recordings, person, sample)
    chosen = choose_frames(recording, event, settings, stream("clip", (settings.seed, person, sample)))
    truth = CLASSES.index(THREE_CLASS.get(emotion, NONE))
    seen: dict[int, Array] = {}

    def picture(frame: int) -> Array:
        if frame not in seen:
            gray = cv2.cvtColor(recording.image(frame), cv2.COLOR_RGB2GRAY)
            seen[frame] = center_crop(np.asarray(gray)[None])[0].astype(np.float32)
        return seen[frame]

    answers = {}
    for mean, (mean_s, where) in MEANS.items():
        frames = [frames_of_mean(int(k), len(recording) - 1, settings.fps, mean_s, where) for k in chosen]
        clip = np.stack([np.mean([picture(k) for k in of_mean], axis=0) for of_mean in frames])
        with torch.inference_mode():
            logits = load_model(ENGINE)(torch.from_numpy(normalized(clip))[None], ("mer",)).logits
        shares = tuple(float(p) for p in torch.softmax(logits[0], 0))
        answers[mean] = Prediction(
            dataset=SIMULATED,
            subject=person_name(settings.seed, person),
            sample=str(sample),
            truth=truth,
            probabilities=shares,
        )
    return answers


def _scores(answers: list[Prediction]) -> dict[str, float]:
    none = CLASSES.index(NONE)
    return {
        "uf1_of_three": round(uf1_of_three(answers, none), 4),
        "accuracy_of_four": round(class_scores(answers, len(CLASSES)).accuracy, 4),
        "expression_or_none": round(detection_scores(answers, none).accuracy, 4),
    }


def _of_rates(figures: dict[str, dict[str, dict[str, float]]]) -> Table:
    table = Table("UF1 of three (accuracy of four)", *(f"{rate}/s" for rate in figures))
    for mean in MEANS:
        cells = [f"{of[mean]['uf1_of_three']:.2f} ({of[mean]['accuracy_of_four']:.2f})" for of in figures.values()]
        table.add_row(mean, *cells)
    return table


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
