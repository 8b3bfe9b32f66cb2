"""What `examples/07_f5c_on_speech.py` learns from synthetic voices: F5C beside plain convolutions.

Run: python benchmarks/speech.py                       (needs espeak-ng; Debian's package has that name)

The voices are a synthesizer's. An "emotion" is a pitch and a rate, and the "actors" differ in both too, so the figures
say whether the example learns, and nothing about emotion.
"""

import importlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import record
import tyro

from openmer.evaluation.metrics import spread

EXAMPLES = Path(__file__).parents[1] / "examples"
SYNTHESIZER = "espeak-ng"
# RAVDESS's number of the emotion -> steps of espeak-ng's pitch (0 to 99), and times its rate.
EMOTIONS = {1: (0, 1.0), 3: (15, 1.15), 4: (-15, 0.85), 5: (-8, 1.3), 6: (20, 0.95)}
STATEMENTS = {1: "Kids are talking by the door.", 2: "Dogs are sitting by the door."}
VOICES = ("m1", "f1", "m2", "f2", "m3", "f3", "m4", "f4", "m5", "f5", "m6", "m7")


def make_voices(
    folder: Path, actors: int, emotions: tuple[int, ...] = tuple(EMOTIONS), *, repetitions: int = 2, seed: int = 0
) -> int:
    """Write clips named as in RAVDESS, a folder for each actor; returns how many."""
    rng = np.random.default_rng(seed)
    count = 0
    for actor in range(1, actors + 1):
        own_pitch, own_rate = rng.normal(45, 8), rng.normal(165, 12)
        place = folder / f"Actor_{actor:02d}"
        place.mkdir(parents=True)
        for emotion in emotions:
            higher, faster = EMOTIONS[emotion]
            for statement, text in STATEMENTS.items():
                for repetition in range(1, repetitions + 1):
                    pitch = int(np.clip(own_pitch + higher + rng.normal(0, 4), 0, 99))
                    rate = int(own_rate * faster * rng.normal(1, 0.04))
                    path = place / f"03-01-{emotion:02d}-01-{statement:02d}-{repetition:02d}-{actor:02d}.wav"
                    voice = f"en+{VOICES[(actor - 1) % len(VOICES)]}"
                    words = (SYNTHESIZER, "-v", voice, "-p", str(pitch), "-s", str(rate), "-w", str(path), text)
                    subprocess.run(words, check=True, capture_output=True)
                    count += 1
    return count


def example() -> Any:
    """The example as a module; its name can only be imported in this way."""
    sys.path.insert(0, str(EXAMPLES))
    try:
        return importlib.import_module("07_f5c_on_speech")
    finally:
        sys.path.remove(str(EXAMPLES))


def main(actors: int = 24, steps: int = 200, seeds: int = 4) -> None:
    """Make the voices, train, write the accuracies on actors held out.

    Args:
        actors: how many there are; RAVDESS has 24.
        steps: of 32 clips.
        seeds: each holds out another quarter of the actors.
    """
    if shutil.which(SYNTHESIZER) is None:
        raise SystemExit(f"the voices are made by {SYNTHESIZER}, which is not here: apt-get install {SYNTHESIZER}")
    train = example().main
    with tempfile.TemporaryDirectory() as name:
        clips = make_voices(Path(name), actors)
        runs = [train(Path(name), steps=steps, seed=seed) for seed in range(seeds)]
    figures = {kind: spread([run[kind] for run in runs]) | {"each": [run[kind] for run in runs]} for kind in runs[0]}
    for kind, found in figures.items():
        print(kind, found)
    made_by = subprocess.run((SYNTHESIZER, "--version"), check=True, capture_output=True, text=True).stdout.strip()
    settings = {"actors": actors, "clips": clips, "steps": steps, "seeds": seeds, "synthesizer": made_by[:60]}
    record.write("speech", settings, figures)


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
