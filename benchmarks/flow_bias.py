"""How much of a known small motion each flow method reports, how noisy it is at rest, and what it costs.

A real photograph, a smooth bump of motion at a mouth corner (Gaussian of 6 px), sensor noise of 2 gray levels.
Flow is averaged over a disc of 7 px, as the spotter does.

Run: python benchmarks/flow_bias.py
"""

import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import record

from openmer.clips.flow import optical_flow

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from footage import displaced, noisy, photograph

CORNER, SIGMA, RADIUS = (39.0, 77.0), 6.0, 7.0
REST = ((39, 77), (88, 77), (35, 25), (90, 25), (66, 60), (63, 110))


def main() -> None:
    """Measure and write."""
    gray = cv2.cvtColor(photograph(), cv2.COLOR_RGB2GRAY)
    face = cv2.resize(gray[70:185, 165:280], (128, 128), interpolation=cv2.INTER_CUBIC)
    y, x = np.mgrid[:128, :128]
    bump = np.exp(-((x - CORNER[0]) ** 2 + (y - CORNER[1]) ** 2) / (2 * SIGMA**2))
    there = np.hypot(x - CORNER[0], y - CORNER[1]) < RADIUS
    discs = [np.hypot(x - a, y - b) < RADIUS for a, b in REST]
    direction = np.array([-0.8, -0.6])
    figures: dict[str, Any] = {}
    for method in ("tvl1", "dis", "farneback"):
        rng = np.random.default_rng(0)
        first = noisy(face, rng)
        resting = [noisy(face, rng) for _ in range(16)]
        start = time.perf_counter()
        flows = [optical_flow(first, second, method) for second in resting]
        row: dict[str, float] = {"ms": round(1000 * (time.perf_counter() - start) / len(flows), 2)}
        row["noise_px"] = round(float(np.mean([np.std([f[:, d].mean(1) for f in flows], axis=0) for d in discs])), 4)
        for peak in (0.5, 1.5):
            moved = displaced(face, CORNER, (peak * direction[0], peak * direction[1]), SIGMA)
            found = np.mean(
                [optical_flow(first, noisy(moved, rng), method)[:, there].mean(1) @ direction for _ in range(8)]
            )
            row[f"share_of_{peak}_px"] = round(float(found / (peak * bump[there].mean())), 3)
        figures[method] = row
        print(method, row)
    record.write("flow_bias", {"sigma_px": SIGMA, "noise_levels": 2.0}, figures)


if __name__ == "__main__":
    main()
