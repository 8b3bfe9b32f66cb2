"""Where in the face a decision comes from: one simulated smile explained, beside the action units that were shown.

    python examples/06_what_the_network_saw.py

Needs `pip install 'openmer[explain]'`. Writes why.svg, the drawing that `openmer explain` puts into its report, and
places.npz, which holds what each pixel of each frame added to the log-odds.
"""

import base64
import tempfile
from pathlib import Path

import numpy as np
import tyro

from openmer.clips.transforms import center_crop
from openmer.datasets.simulated import SimulatedClips, draw_clip
from openmer.explain.moment import explain_window, explained_figure
from openmer.models.engine import load_engine
from openmer.simulator.generate import draw_sample

RIM = 8  # clips are 144 px wide; the network reads the middle 128


def main(out: Path | None = None, seed: int = 901) -> None:
    out = out or Path(tempfile.mkdtemp())
    out.mkdir(parents=True, exist_ok=True)
    settings = SimulatedClips(subjects=1, seed=seed, emotions=("happiness",))
    _, event, _ = draw_sample(settings.recordings, 0, 0)
    clip, emotion = draw_clip(settings, 0, 0)
    assert event is not None and clip.landmarks is not None

    crops = center_crop(clip.frames)
    found = explain_window(load_engine("mol-lite", "cpu"), crops, clip.landmarks[0] - RIM)
    print(f"shown: {emotion}, action units {', '.join(map(str, event.units))}")
    print(found.sentence())
    mouth = sum(share for region, share in found.shares.items() if "mouth" in region or "lip" in region)
    print(f"{mouth:.0%} of what mattered lies at the mouth")

    figure = explained_figure(found, crops, clip.times_s.tolist())
    (out / "why.svg").write_bytes(base64.b64decode(figure.partition(",")[2]))
    np.savez_compressed(out / "places.npz", places=found.attribution.places, frames=found.attribution.frames)
    print(f"look at {out / 'why.svg'}")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
