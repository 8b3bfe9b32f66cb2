"""Build the mean head that `openmer.face.pose` poses: 68 landmarks and a map of depth, from the simulator's asset.

For maintainers; takes a second. The head is made symmetric, and its map of depth is smoothed a little, so that the
search along a line of sight ends.

Data: MakeHuman and MPFB2 targets, CC0, by way of `tools/build_head.py`.

Run: python tools/build_mean_head.py src/openmer/face/mean_head.safetensors
"""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
from safetensors.numpy import save_file

from openmer.simulator.camera import Camera, rasterize
from openmer.simulator.head import head_model, landmarks

MIRRORED = (
    *range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1),
    45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,
    *range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), *range(67, 64, -1),
)  # fmt: skip
STEP_MM = 4.0
COLUMNS, ROWS = 45, 65  # 176 mm x 256 mm
BLUR_MM = 4.0


def in_picture_axes(points: np.ndarray) -> np.ndarray:
    """The simulator's axes (left, back, up) to x right, y down, z away from the camera."""
    return np.stack([points[..., 0], -points[..., 2], points[..., 1]], -1)


def symmetric_landmarks() -> np.ndarray:
    """(68, 3) mm."""
    points = in_picture_axes(landmarks(head_model().mean)).astype(np.float64)
    return (points + points[list(MIRRORED)] * (-1, 1, 1)) / 2


def depth_map() -> np.ndarray:
    """(ROWS, COLUMNS) mm: z of the nearest surface; beside the head, that of its nearest edge."""
    model, far = head_model(), 1e5
    side, fine = 1024, 4  # pixels per mm; rays are nearly parallel
    camera = Camera(side, side, distance=far, focal=far * fine)
    surface = rasterize(camera.project(model.mean), model.faces, side, side)
    depth = np.where(surface.covered, surface.depth - far, np.nan).astype(np.float32)
    missing = (~surface.covered).astype(np.uint8)
    _, nearest = cv2.distanceTransformWithLabels(missing, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    lookup = np.zeros(nearest.max() + 1, np.float32)
    lookup[nearest[surface.covered]] = depth[surface.covered]
    filled = cv2.GaussianBlur(lookup[nearest], (0, 0), BLUR_MM * fine)
    filled = (filled + filled[:, ::-1]) / 2
    middle = (side - 1) / 2
    x = middle + fine * STEP_MM * (np.arange(COLUMNS) - (COLUMNS - 1) / 2)
    y = middle + fine * STEP_MM * (np.arange(ROWS) - (ROWS - 1) / 2)
    grid = np.meshgrid(x.astype(np.float32), y.astype(np.float32))
    return cv2.remap(filled, *grid, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def main(out: Path) -> None:
    """Make both, write."""
    provenance = {
        "what": "mean of 1500 simulated adults' heads, made symmetric; mm, x right, y down, z away from the camera",
        "made_by": "tools/build_mean_head.py",
        "source": head_model().provenance["source"],
        "licence": "CC0-1.0",
        "step_mm": STEP_MM,
        "blur_mm": BLUR_MM,
    }
    arrays = {
        "landmarks": np.round(symmetric_landmarks(), 2).astype(np.float32),
        "depth": np.round(depth_map(), 2).astype(np.float32),
    }
    save_file(arrays, out, {"provenance": json.dumps(provenance)})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
