"""Put MOL's feature block, F5C, into a network of your own.

    python examples/04_f5c_in_your_network.py

Is a dot on the left or the right? A 3x3 convolution sees a dot but not where it is; F5C does. Writes result.json.
"""

import json
import tempfile
from pathlib import Path

import torch
import tyro
from torch import Tensor, nn

from openmer.models.f5c import CCC, F5C, FCC

SIDE, CHANNELS = 16, 8


def network(block: nn.Module) -> nn.Module:
    """One convolution, the block, the largest value of each channel, and a linear answer."""
    stem = nn.Conv2d(1, CHANNELS, 3, padding=1)
    return nn.Sequential(stem, nn.ReLU(), block, nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(CHANNELS, 2))


def dots(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Noisy pictures with one dot, and 1 where it lies in the right half."""
    random = torch.Generator().manual_seed(seed)
    rows, columns = torch.randint(SIDE, (2, count), generator=random)
    x = 0.1 * torch.randn(count, 1, SIDE, SIDE, generator=random)
    x[torch.arange(count), 0, rows, columns] += 2
    return x, (columns >= SIDE // 2).long()


def accuracy(block: nn.Module, steps: int) -> float:
    net = network(block)
    adam = torch.optim.Adam(net.parameters(), 5e-3)
    for step in range(steps):
        x, y = dots(64, step)
        adam.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        adam.step()
    x, y = dots(512, steps)  # a seed that was not used for training
    return float((net.eval()(x).argmax(1) == y).float().mean())


def main(out: Path | None = None, steps: int = 120) -> None:
    out = out or Path(tempfile.mkdtemp())
    torch.manual_seed(0)
    f5c = F5C(FCC(CHANNELS, SIDE), CCC(CHANNELS, SIDE**2, neighbors=2))
    result = {"with_f5c": accuracy(f5c, steps), "without": accuracy(nn.Identity(), steps)}
    out.mkdir(parents=True, exist_ok=True)
    (out / "result.json").write_text(json.dumps(result))
    print("accuracy:", result)


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
