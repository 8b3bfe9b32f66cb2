"""Facial motion and landmarks as signals, without recognition, compared with the simulator's exact truth.

    python examples/05_flow_and_landmarks_only.py

MOL's heads are computed on request; here two of the three. Writes flow.png (estimated above, exact below) and
motion.npz. The network was trained on simulated faces like these, of other people: on your faces it will do worse.
On a single clip either flow can be better; docs/models/mol-lite.md has both over hundreds.
"""

import tempfile
from pathlib import Path

import cv2
import numpy as np
import torch
import tyro

from openmer import load_model
from openmer.clips.flow import clip_flow, flow_to_color
from openmer.clips.transforms import center_crop, evaluation_input
from openmer.simulator.generate import clip_stream
from openmer.simulator.settings import SimulateSettings

RIM = 8  # clips are 144 px wide; the network reads the middle 128


def main(out: Path | None = None, seed: int = 4242) -> None:
    out = out or Path(tempfile.mkdtemp())
    out.mkdir(parents=True, exist_ok=True)
    clip, emotion = next(clip_stream(SimulateSettings(emotions=("surprise",), fps=50, seed=seed)))
    assert clip.flow is not None and clip.landmarks is not None
    exact = clip.flow[:, :, RIM:-RIM, RIM:-RIM]

    with torch.inference_mode():
        batch = torch.from_numpy(evaluation_input(clip.frames))[None]
        answer = load_model("mol-lite").eval()(batch, heads=("flow", "landmarks"))
    flow, points = answer.flow[0].numpy(), answer.landmarks[0].numpy()
    classical = clip_flow(center_crop(clip.frames), "dis")

    moving = np.hypot(exact[:, 0], exact[:, 1]) > 0.2
    for name, estimate in (("mol-lite", flow), ("DIS", classical)):
        print(f"{emotion}, flow of {name}: {np.linalg.norm(estimate - exact, axis=1)[moving].mean():.3f} px off")
    print(f"landmarks: {np.linalg.norm(points - (clip.landmarks[1:] - RIM), axis=2).mean():.2f} px off")

    rows = [np.concatenate([flow_to_color(f, max_px=0.5) for f in fields], 1) for fields in (flow, exact)]
    cv2.imwrite(str(out / "flow.png"), cv2.cvtColor(np.concatenate(rows, 0), cv2.COLOR_RGB2BGR))
    np.savez_compressed(out / "motion.npz", flow_px=flow, landmarks_px=points, times_s=clip.times_s)
    print(f"look at {out / 'flow.png'}")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
