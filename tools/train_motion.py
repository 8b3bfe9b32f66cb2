"""Make the recognition head of `mol-lite` that ships: from motion, most of it drawn without pictures.

Run: python tools/train_motion.py --out runs/motion --motion runs/motion/second.npz --stores runs/motion/rendered

Pictures are slow to draw, and motion is what the head reads, so most clips are motion alone (`tools/motion_clips.py`).
What the network would measure of them is computed from the equation that it solves: products of gradients are taken
from painted clips, the change of brightness follows from the motion, and noise is what differences of a camera's noise
would add. Clips of `--stores`, with their pictures, are mixed in. Backbone, flow and landmarks stay as they are.

    OUT/head.safetensors     after the last step, or the last checkpoint
    OUT/judged.json          scores on the stores of `--judged`
    src/openmer/weights/     with --pack: the weights and their record
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
import tyro
from rich.console import Console
from sklearn.metrics import f1_score
from torch import Tensor, nn
from torch.nn import functional as F

from openmer.clips.store import ClipStore
from openmer.files import write_atomic
from openmer.models.lucas_kanade import FramePairs, affine_part, gradient_products, middle_of, warp
from openmer.models.mol import MOL, create_model
from openmer.models.motion_branch import GRID, CenteredMotionBranch
from openmer.models.weights import ModelDescription, initialise, load_model, save_model
from openmer.progress import progress
from openmer.simulator.facial_motion import THREE_CLASS
from openmer.training.data import ClipData
from openmer.training.run import PREPROCESSING
from openmer.version import __version__, commit

CLASSES = ("negative", "none", "positive", "surprise")
UNITS = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 24)
TRAINED_ON = "simulated faces; not validated on real micro-expressions"
# Seeds of `tools/train_mol_lite.py` (backbone, flow, landmarks) and of the files and stores that docs/models names.
SEEN = tuple(f"simulated/p{seed}-*" for seed in (0, 1, 1001, 1002))
PAIRS = 7
NOISE, NOISE_SPREAD = 0.04, 0.8  # of a frame, in units of the frames' standard deviation; log-normal
NOISE_PIXELS = 6.0  # of the 16 in a cell, so many are independent after smoothing


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How the head learns.

    Attributes:
        steps: of `batch` clips.
        batch: clips.
        lr: largest learning rate, of one cycle.
        painted: share of a batch that has pictures.
        units: weight of the units' loss.
        still: share of clips without pictures in which nothing moves at all; they show `none`.
        seed: of weights, order and noise.
    """

    steps: int = 6000
    batch: int = 64
    lr: float = 2e-3
    painted: float = 0.4
    units: float = 0.3
    still: float = 0.08
    seed: int = 0


class Painted:
    """Clips with pictures: what the network's motion branch computes from them first.

    Attributes:
        products: (N, P, 5, G, G) float16, times 100.
        head: (N, P, 2, G, G) float16 px.
        labels: (N,).
        units: (N, U) or NaN where nothing is known.
    """

    def __init__(self, root: Path, console: Console) -> None:
        store = ClipStore(root)
        data = ClipData(store, store.entries, CLASSES)
        rows: list[tuple[Tensor, Tensor]] = []
        with torch.inference_mode(), progress(console, f"Reading {root.name}", len(data), "clips/s") as step:
            for start in range(0, len(data), 16):
                places = list(range(start, min(start + 16, len(data))))
                rows.append(self._of(data.evaluation_batch(places).inputs[:, :, 0]))
                for _ in places:
                    step()
        self.products, self.head = (torch.cat(part) for part in zip(*rows, strict=True))
        self.labels = torch.from_numpy(data.labels)
        known = data.unit_labels(np.arange(len(data)), UNITS)
        self.units = torch.full((len(data), len(UNITS)), torch.nan) if known is None else known.float()

    @staticmethod
    def _of(frames: Tensor) -> tuple[Tensor, Tensor]:
        seen = FramePairs(frames.shape[-1])(frames)
        products = F.avg_pool2d(gradient_products(seen.first, warp(seen.second, seen.head)), frames.shape[-1] // GRID)
        head = F.avg_pool2d(seen.head, frames.shape[-1] // GRID)
        return (products * 100).half().unflatten(0, (-1, PAIRS)), head.half().unflatten(0, (-1, PAIRS))

    def draw(self, count: int) -> tuple[Tensor, ...]:
        """Random clips: products, head, labels, units."""
        k = torch.randint(len(self.labels), (count,))
        return self.products[k].float() / 100, self.head[k].float(), self.labels[k], self.units[k]

    def textures(self, count: int) -> Tensor:
        """(B, 3, G, G) products of gradients along x and y of other faces, mirrored, stronger and weaker."""
        k = torch.randint(len(self.labels), (count,))
        found = self.products[k, PAIRS // 2, :3].float() / 100
        sign = found.new_tensor([1, -1, 1])[:, None, None]
        found = torch.where((torch.rand(count) < 0.5)[:, None, None, None], found.flip(-1) * sign, found)
        uneven = F.interpolate(torch.randn(count, 1, 5, 5), (GRID, GRID), mode="bicubic", align_corners=False)
        return found * torch.exp(0.5 * uneven + 0.5 * torch.randn(count, 1, 1, 1))


class Drawn:
    """Clips of motion alone, of several files of `tools/motion_clips.py`."""

    def __init__(self, paths: tuple[Path, ...]) -> None:
        moved, labels, units = [], [], []
        for path in paths:
            with np.load(path) as stored:
                names = stored["emotion"]
                kept = names != "others"
                moved.append(torch.from_numpy(stored["displacement"][kept]))
                classes = [CLASSES.index(THREE_CLASS.get(str(name), "none")) for name in names[kept]]
                labels.append(torch.tensor(classes))
                units.append(torch.from_numpy(stored["units"][kept][:, list(UNITS)]).float())
        self.moved, self.labels, self.units = torch.cat(moved), torch.cat(labels), torch.cat(units)
        self.middle = middle_of(GRID)

    def draw(self, count: int, textures: Tensor, recipe: Recipe) -> tuple[Tensor, ...]:
        """Random clips as the network would measure them on these textures; in a share of them nothing moves."""
        k = torch.randint(len(self.labels), (count,))
        moves = torch.rand(count) >= recipe.still
        sigma = torch.exp(NOISE_SPREAD * torch.randn(count)) * NOISE
        moved = self.moved[k].float() * _each(moves)
        products, head = measured(moved, textures, sigma, self.middle)
        labels = torch.where(moves, self.labels[k], CLASSES.index("none"))
        return products, head, labels, self.units[k] * moves[:, None]


def _each(values: Tensor) -> Tensor:
    """(B,) -> (B, 1, 1, 1, 1)."""
    return values[:, None, None, None, None]


def measured(moved: Tensor, textures: Tensor, sigma: Tensor, middle: Tensor) -> tuple[Tensor, Tensor]:
    """What least squares would be solved from, if a surface with these textures moved so.

    Args:
        moved: (B, P, 2, G, G) px since the first frame.
        textures: (B, 3, G, G) mean products of gradients: xx, xy, yy.
        sigma: (B,) noise of a frame.
        middle: (G, G) how much each place belongs to the face.

    Returns:
        (B, P, 5, G, G) products; (B, P, 2, G, G) px, the head's affine motion.
    """
    pair = torch.diff(moved, dim=1, prepend=torch.zeros_like(moved[:, :1]))
    head = affine_part(pair.flatten(0, 1), middle).unflatten(0, pair.shape[:2])
    rest = pair - head
    xx, xy, yy = textures[:, None].unbind(2)
    # Noise that a gradient multiplies has their covariance: sigma^2 (xx, xy; xy, yy).
    a = (xx + 1e-8).sqrt()
    b = xy / a
    c = (yy - b * b).clamp_min(0).sqrt()
    of_frame = torch.randn(len(moved), moved.shape[1] + 1, 2, *moved.shape[3:])
    noise = torch.stack([a * of_frame[:, :, 0], b * of_frame[:, :, 0] + c * of_frame[:, :, 1]], 2)
    noise = torch.diff(noise * (sigma / NOISE_PIXELS**0.5)[:, None, None, None, None], dim=1)
    xt = noise[:, :, 0] - xx * rest[:, :, 0] - xy * rest[:, :, 1]
    yt = noise[:, :, 1] - xy * rest[:, :, 0] - yy * rest[:, :, 1]
    still = textures[:, None].expand(-1, moved.shape[1], -1, -1, -1)
    return torch.cat([still, xt[:, :, None], yt[:, :, None]], 2), head


def seen_by(model: MOL, products: Tensor, head: Tensor) -> Tensor:
    """What the recognition head of a network reads its classes from."""
    branch = model.mer.motion
    if not isinstance(branch, CenteredMotionBranch):
        raise TypeError("this network does not read centered motion")
    moved = branch.estimate.solve(products.flatten(0, 1), head.flatten(0, 1)).unflatten(0, products.shape[:2])
    return model.mer.look(moved, moved, moved)


def judged(model: MOL, data: Painted) -> dict[str, float]:
    """UF1 of the three expressions among themselves, accuracy of four classes, of expression or none."""
    model.eval()
    none = CLASSES.index("none")
    with torch.inference_mode():
        parts = zip(data.products.split(64), data.head.split(64), strict=True)
        logits = torch.cat([model.mer(seen_by(model, p.float() / 100, h.float())) for p, h in parts])
    model.train()
    shown = data.labels != none
    three = logits.clone()
    three[:, none] = -torch.inf
    probability = logits.softmax(1)[:, none]
    return {
        "clips": len(data.labels),
        "uf1_of_three": round(float(f1_score(data.labels[shown], three[shown].argmax(1), average="macro")), 4),
        "accuracy_of_four": round(float((logits.argmax(1) == data.labels).float().mean()), 4),
        "expression_or_none": round(float(((probability < 0.5) == shown).float().mean()), 4),
    }


def main(
    out: Path,
    motion: tuple[Path, ...],
    stores: tuple[Path, ...],
    judge: tuple[Path, ...] = (),
    recipe: Recipe = Recipe(),
    every: int = 500,
    init: Path | None = None,
    pack: bool = False,
) -> None:
    """Train, and judge now and then.

    Args:
        out: folder of the result.
        motion: files of drawn motion.
        stores: of clips with pictures, to learn from.
        judge: stores to judge on.
        recipe: of training.
        every: so many steps, the head is judged and saved.
        init: a `head.safetensors` to continue from.
        pack: only write what `out` holds into the package.
    """
    console = Console(stderr=True)
    torch.manual_seed(recipe.seed)
    model = create_model("mol-lite", num_classes=len(CLASSES), centered=True, mer_features=False, units=UNITS)
    initialise(model, load_model("mol-lite"), ("backbone", "flow", "landmarks"), (CLASSES, CLASSES))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(("mer.", "units.")))
    if init is not None:
        model.load_state_dict(safetensors.torch.load_file(init))
    if pack:
        model.load_state_dict(safetensors.torch.load_file(out / "head.safetensors"))
        _pack(model, json.loads((out / "judged.json").read_text()))
        return
    painted = [Painted(root, console) for root in stores]
    others = {root.name: Painted(root, console) for root in judge}
    drawn = Drawn(motion)
    learned = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=recipe.lr, weight_decay=1e-2)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.lr, total_steps=recipe.steps, pct_start=0.1)
    out.mkdir(parents=True, exist_ok=True)
    losses: list[float] = []
    scores: dict[str, Any] = {}
    model.train()
    with progress(console, "Learning", recipe.steps, "steps/s") as step:
        for number in range(1, recipe.steps + 1):
            loss = _loss(model, _batch(painted, drawn, recipe), recipe)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(learned, 1.0)
            optimizer.step()
            cycle.step()
            losses.append(float(loss.detach()))
            step()
            if number % every == 0 or number == recipe.steps:
                scores = {name: judged(model, data) for name, data in others.items()}
                console.print(number, round(float(np.mean(losses[-every:])), 4), json.dumps(scores))
                safetensors.torch.save_file(model.state_dict(), out / "head.safetensors")
    write_atomic(out / "judged.json", json.dumps(scores, indent=2) + "\n")


def _pack(model: MOL, scores: dict[str, Any]) -> None:
    save_model(
        model.eval(),
        Path(__file__).parents[1] / "src" / "openmer" / "weights" / "mol-lite.safetensors",
        ModelDescription(
            classes=CLASSES,
            trained_on=TRAINED_ON,
            scores={"on": "clips of people that were never trained on", **scores, "real_micro_expressions": None},
            preprocessing=PREPROCESSING,
            licence="Apache-2.0",
            notes=f"openmer {__version__}, {commit()}; docs/models/mol-lite.md says how it was made",
            people=SEEN,
        ),
    )


def _batch(painted: list[Painted], drawn: Drawn, recipe: Recipe) -> list[Tensor]:
    """Products, head, labels, units of clips with and without pictures; every second one mirrored."""
    count = round(recipe.batch * recipe.painted)
    share = torch.multinomial(torch.tensor([float(len(p.labels)) for p in painted]), recipe.batch, replacement=True)
    of_store = [int((share[:count] == k).sum()) for k in range(len(painted))]
    parts = [p.draw(n) for p, n in zip(painted, of_store, strict=True) if n]
    textured = [p.textures(int((share[count:] == k).sum())) for k, p in enumerate(painted)]
    textures = torch.cat(textured)
    parts.append(drawn.draw(len(textures), textures[torch.randperm(len(textures))], recipe))
    return [torch.cat(part) for part in zip(*parts, strict=True)]


def _loss(model: MOL, batch: list[Tensor], recipe: Recipe) -> Tensor:
    products, head, labels, units = batch
    seen = seen_by(model, products, head)
    loss = F.cross_entropy(model.mer(seen), labels, label_smoothing=0.05)
    if model.units is not None and recipe.units:
        known = units.isfinite()
        each = F.binary_cross_entropy_with_logits(model.units(seen), units.nan_to_num(), reduction="none")
        loss = loss + recipe.units * (each * known).sum() / known.sum().clamp_min(1)
    return loss


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
