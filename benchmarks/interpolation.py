"""Frames between frames: clips filmed at 25 frames a second and interpolated, against the same moments at 200.

Run: python benchmarks/interpolation.py [--people 40] [--processes 2] [--trial]

Short simulated micro-expressions of people whom the shipped weights have not seen. From each, every eighth frame from
onset to offset is kept, beginning at a random one, as a camera of 25 frames a second would (every sixteenth, for clips
of very few frames); those with 2 to 7 frames
are filled up to 8 by each way, and compared with the 8 frames that a camera of 200 takes at those moments: gray levels
of frames that had to be made, DIS flow from frame to frame against the exact flow (on skin, px of the 144 square), and
what `mol-lite` says of the clip. `repeat` takes the nearest frame, `mix` the two neighbors without moving them; both
are here for comparison only. Recordings without an expression are cut to the same lengths.
"""

from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import record
import torch
import tyro

from openmer import load_model, read_record
from openmer.clip import NONE, Gray
from openmer.clips.flow import optical_flow
from openmer.clips.interpolation import even_places, interpolated
from openmer.clips.transforms import evaluation_input
from openmer.processes import mapped
from openmer.simulator.facial_motion import EMOTIONS, THREE_CLASS
from openmer.simulator.generate import draw_sample, marks
from openmer.simulator.settings import SimulateSettings

FRAMES = 8  # of a clip
RATES = {"25/s": 8, "12.5/s": 16}  # every so many frames of 200 a second; the second for clips of very few frames
WAYS = ("200/s", "repeat", "mix", "tim", "flow")
SEED = 77  # the shipped weights have seen people of the seeds 0 and 1
ENGINE = "mol-lite"


def main(people: int = 40, samples: int = 4, processes: int = 2, trial: bool = False) -> None:
    """Draw, interpolate, judge, write."""
    if trial:
        people, samples, processes = 2, 2, 1
    figures: dict[str, Any] = {}
    for rate, keep in RATES.items():
        work = [(person, sample, keep) for person in range(people) for sample in range(samples)]
        drawn = mapped(_judged, work, processes, one_thread=True, on_item=lambda: None)
        figures[rate] = _figures(drawn)
        print(rate, figures[rate]["counted"])
        for way, values in figures[rate]["ways"].items():
            print(f"  {way:8}", values)
    settings = {"people": people, "samples": samples, "seed": SEED, "engine": ENGINE}
    record.write("interpolation", settings, figures)


def _figures(drawn: list[dict[str, Any] | int]) -> dict[str, Any]:
    """What was judged, and the figures of each way."""
    rows = [row for row in drawn if isinstance(row, dict)]
    lengths = [row["frames"] for row in rows]
    counted = {
        "recordings": len(drawn),
        "with 8 frames or more": sum(row == FRAMES for row in drawn),
        "interpolated": len(rows),
        "frames": {str(n): lengths.count(n) for n in sorted(set(lengths))},
    }
    return {"counted": counted, "ways": {way: _summary(way, rows) for way in WAYS if rows}}


def _summary(way: str, rows: list[dict[str, Any]]) -> dict[str, float]:
    """Means over clips; shares of clips."""
    own = [row["ways"][way] for row in rows]
    real = [row["ways"]["200/s"]["class"] for row in rows]
    return {
        "gray_error": round(float(np.mean([o["gray"] for o in own])), 3),
        "flow_error_px": round(float(np.mean([o["epe"] for o in own])), 4),
        "true_flow_px": round(float(np.mean([row["motion"] for row in rows])), 4),
        "agrees_with_200": round(float(np.mean([o["class"] == r for o, r in zip(own, real, strict=True)])), 3),
        "right": round(float(np.mean([o["class"] == row["label"] for o, row in zip(own, rows, strict=True)])), 3),
        "probability_moved": round(float(np.mean([o["moved"] for o in own])), 3),
    }


def _judged(person: int, sample: int, keep: int) -> dict[str, Any] | int:
    """One clip by all ways; 8 if it has enough frames, 0 if it has fewer than two."""
    classes = [next(e for e in EMOTIONS if THREE_CLASS[e] == label) for label in ("negative", "positive", "surprise")]
    settings = SimulateSettings(fps=200, seed=SEED, emotions=(*classes, NONE))
    recording, event, emotion = draw_sample(settings, person, sample)
    rng = np.random.default_rng([SEED, person, sample])
    if event is None:
        length = int(rng.integers(3 * keep, min(FRAMES * keep, len(recording))))
        onset = int(rng.integers(0, len(recording) - length))
        offset = onset + length - 1
    else:
        onset, _, offset = marks(recording, event)
    kept = np.arange(onset + int(rng.integers(0, keep)), offset + 1, keep)
    if not 2 <= len(kept) < FRAMES:
        return FRAMES if len(kept) >= FRAMES else 0
    places = even_places(len(kept), FRAMES)
    moments = np.rint(np.interp(places, np.arange(len(kept)), kept)).astype(int)
    few = _gray([recording.image(int(k)) for k in kept])
    truth = _gray([recording.image(int(k)) for k in moments])
    exact = [recording.flow(int(a), int(b)) for a, b in pairwise(moments)]
    made = {
        "200/s": truth,
        "repeat": few[np.rint(places).astype(int)],
        "mix": _mixed(few, places),
        "tim": interpolated(few, places, "tim"),
        "flow": interpolated(few, places, "flow"),
    }
    probabilities = {way: _probabilities(frames) for way, frames in made.items()}
    between = places != np.rint(places)
    ways = {}
    for way, frames in made.items():
        errors = [
            np.hypot(*(optical_flow(a, b, "dis") - flow))[skin].mean()
            for (a, b), (flow, skin) in zip(pairwise(frames), exact, strict=True)
        ]
        ways[way] = {
            "gray": float(np.abs(frames[between].astype(float) - truth[between]).mean()),
            "epe": float(np.mean(errors)),
            "class": int(probabilities[way].argmax()),
            "moved": float(np.abs(probabilities[way] - probabilities["200/s"]).sum() / 2),
        }
    names = read_record(ENGINE).classes
    motion = float(np.mean([np.hypot(*flow)[skin].mean() for flow, skin in exact]))
    label = names.index(THREE_CLASS.get(emotion, NONE))
    return {"frames": len(kept), "label": label, "motion": motion, "ways": ways}


def _gray(images: list[Any]) -> Gray:
    return np.stack([cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in images]).astype(np.uint8)


def _mixed(frames: Gray, places: Any) -> Gray:
    before = np.minimum(places.astype(int), len(frames) - 2)
    s = (places - before)[:, None, None]
    return np.rint((1 - s) * frames[before] + s * frames[before + 1]).astype(np.uint8)


def _probabilities(frames: Gray) -> Any:
    """Of the shipped network's classes."""
    with torch.inference_mode():
        output = load_model(ENGINE).eval()(torch.from_numpy(evaluation_input(frames))[None], ("mer",))
    return output.logits.softmax(-1)[0].numpy()


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
