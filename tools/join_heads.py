"""Give weights a second opinion: the recognition head of others that share their backbone.

Run: git show 2085f60:src/openmer/weights/mol-lite.safetensors > runs/first/mol-lite.safetensors
     git show 2085f60:src/openmer/weights/mol-lite.json > runs/first/mol-lite.json
     python tools/join_heads.py src/openmer/weights/mol-lite.safetensors runs/first/mol-lite.safetensors --share 0.3

The first weights keep all they have. The others' head reads F(g) and how each pair moves as they are
(`MOLConfig.pairwise`); logits become (1 - share) of the first head's and share of the second's, by scaling the last
layers.
"""

from dataclasses import fields, replace
from pathlib import Path

import torch
import tyro

from openmer.models.mol import MOL
from openmer.models.weights import ModelDescription, load_model, read_record, save_model
from openmer.version import __version__, commit

HEAD, PAIRWISE = "mer.", "mer.pairwise."


def joined(first: MOL, second: MOL, share: float) -> MOL:
    """The first network with the second's recognition head beside its own.

    Args:
        first: recognizes by centered motion, alone.
        second: recognizes by F(g) and pairs as they are.
        share: of the second's logits, 0 to 1.
    """
    state, other = first.state_dict(), second.state_dict()
    differing = [n for n in state if not n.startswith((HEAD, "units.")) and not torch.equal(state[n], other[n])]
    if differing:
        raise SystemExit(f"these weights do not share their backbone: {', '.join(differing[:3])}")
    state |= {n.replace(HEAD, PAIRWISE, 1): value for n, value in other.items() if n.startswith(HEAD)}
    for name in state:
        if name.startswith(HEAD) and ".classify." in name:
            state[name] = state[name] * (share if name.startswith(PAIRWISE) else 1 - share)
    model = MOL(replace(first.config, pairwise=True))
    model.load_state_dict(state)
    return model.eval()


def main(first: Path, second: Path, /, share: float, out: Path | None = None) -> None:
    """Join and write.

    Args:
        first: weights that recognize by centered motion.
        second: weights whose head is added.
        share: of the second's logits.
        out: the file; by default the first one's.
    """
    records = [read_record(path) for path in (first, second)]
    if records[0].classes != records[1].classes or records[0].config.pairwise:
        raise SystemExit(f"{first} must have the classes of {second}, and no second opinion yet")
    about = {f.name: getattr(records[0], f.name) for f in fields(ModelDescription)}
    people = sorted({name for record in records for name in record.people or ()})
    notes = (
        f"openmer {__version__}, {commit()}; second opinion: {share:g}; docs/models/mol-lite.md says how it was made"
    )
    described = ModelDescription(**{**about, "people": tuple(people), "notes": notes})
    record = save_model(joined(load_model(first), load_model(second), share), out or first, described)
    print(f"{record.file}, sha256 {record.sha256[:12]}")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
