"""Give weights a second opinion: the recognition head of others that share their backbone.

Run: git show 3df1608:src/openmer/weights/mol-lite.safetensors > runs/centered/mol-lite.safetensors
     git show 2085f60:src/openmer/weights/mol-lite.safetensors > runs/first/mol-lite.safetensors
     (and both .json)
     python tools/join_heads.py runs/centered/mol-lite.safetensors runs/first/mol-lite.safetensors
       --out src/openmer/weights/mol-lite.safetensors

The first weights keep all they have. The others' head reads F(g) and how each pair moves as they are
(`MOLConfig.pairwise`). Logits are weighted means, with two shares of the second head: of whether there is an
expression, which is the logit of `none` and the mean of the others, and of which one it is, which is how they differ
from that mean. Both are linear, so they are part of the last layers' weights.
"""

from dataclasses import fields, replace
from pathlib import Path

import torch
import tyro
from torch import Tensor

from openmer.clip import NONE
from openmer.models.mol import MOL
from openmer.models.weights import ModelDescription, load_model, read_record, save_model
from openmer.version import __version__, commit

HEAD, PAIRWISE = "mer.", "mer.pairwise."


def joined(first: MOL, second: MOL, none: int, shares: tuple[float, float]) -> MOL:
    """The first network with the second's recognition head beside its own.

    Args:
        first: recognizes by centered motion, alone.
        second: recognizes by F(g) and pairs as they are.
        none: the class without an expression.
        shares: of the second's logits, 0 to 1: whether there is an expression, and which.
    """
    state, other = first.state_dict(), second.state_dict()
    differing = [n for n in state if not n.startswith((HEAD, "units.")) and not torch.equal(state[n], other[n])]
    if differing:
        raise SystemExit(f"these weights do not share their backbone: {', '.join(differing[:3])}")
    state |= {n.replace(HEAD, PAIRWISE, 1): value for n, value in other.items() if n.startswith(HEAD)}
    for name in state:
        if name.startswith(HEAD) and ".classify." in name:
            own = shares if name.startswith(PAIRWISE) else (1 - shares[0], 1 - shares[1])
            state[name] = weighted(state[name], none, own)
    model = MOL(replace(first.config, pairwise=True))
    model.load_state_dict(state)
    return model.eval()


def weighted(rows: Tensor, none: int, shares: tuple[float, float]) -> Tensor:
    """A last layer's weights or biases, a row for each class, so that its logits count by these shares."""
    shown = [k for k in range(len(rows)) if k != none]
    mean = rows[shown].mean(0)
    out = shares[0] * rows
    out[shown] = shares[0] * mean + shares[1] * (rows[shown] - mean)
    return out


def main(first: Path, second: Path, /, out: Path, any_share: float = 0.35, which_share: float = 0.1) -> None:
    """Join and write.

    Args:
        first: weights that recognize by centered motion.
        second: weights whose head is added.
        out: the file.
        any_share: of the second's opinion whether there is an expression.
        which_share: of its opinion which one.
    """
    records = [read_record(path) for path in (first, second)]
    if records[0].classes != records[1].classes or records[0].config.pairwise:
        raise SystemExit(f"{first} must have the classes of {second}, and no second opinion yet")
    about = {f.name: getattr(records[0], f.name) for f in fields(ModelDescription)}
    people = sorted({name for record in records for name in record.people or ()})
    notes = (
        f"openmer {__version__}, {commit()}, second opinion {any_share:g} and {which_share:g}; docs/models/mol-lite.md "
        "says how it was made"
    )
    described = ModelDescription(**{**about, "people": tuple(people), "notes": notes})
    none = records[0].classes.index(NONE)
    model = joined(load_model(first), load_model(second), none, (any_share, which_share))
    print(f"{out}, sha256 {save_model(model, out, described).sha256[:12]}")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
