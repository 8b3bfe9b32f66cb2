"""Read checkpoints that were trained with the authors' own code.

Maps the names in their state dict to ours. Only tensors are unpickled. The feed-forward layers that their FCC builds
but never calls are in their checkpoints and are ignored here.
"""

import re
import warnings
from pathlib import Path

import torch
from torch import Tensor

from openmer.errors import InputError
from openmer.models.mol import MOL, create_model

_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
_NEVER_CALLED = re.compile(r"FCC_[12]\.ffn\.")


def _names() -> dict[str, str]:
    """Ours -> theirs, for everything that is not stacked."""
    names: dict[str, str] = {}

    def pair(ours: str, theirs: str, ends: tuple[str, ...] = ("weight", "bias")) -> None:
        names.update({f"{ours}.{end}": f"{theirs}.{end}" for end in ends})

    for k in range(4):
        pair(f"stack.{k}", f"conv_stack.conv_stack.{k}")
    for block, number in (("first", 1), ("second", 2)):
        for half in range(2):
            pair(f"{block}.fcc.norm.{half}", f"FCC_{number}.pre_Norm_{half + 1}", _NORM)
        pair(f"{block}.ccc.centre", f"CCC_{number}.conv1")
        pair(f"{block}.ccc.edge", f"CCC_{number}.conv2")
    pair("mer.conv", "mer_3dcnn.conv3d")
    pair("mer.hidden", "mer_3dcnn.fc1")
    pair("mer.classify", "mer_3dcnn.fc2")
    pair("landmarks.conv", "ldm_predictor.convldm")
    pair("landmarks.hidden", "ldm_predictor.fc1")
    pair("landmarks.points", "ldm_predictor.fc2")
    layers = {"redirect": "conv_redir"} | {f"conv{k}": f"conv{k}" for k in range(1, 7)}
    layers |= {f"conv{k}_1": f"conv{k}_1" for k in range(3, 7)}
    for ours, theirs in layers.items():
        pair(f"flow.{ours}.0", f"flownet.{theirs}.0", ("weight",))
        pair(f"flow.{ours}.1", f"flownet.{theirs}.1", _NORM)
    for level in range(6):
        pair(f"flow.up.{level}.0", f"flownet.deconv{5 - level}.0", ("weight",))
        pair(f"flow.flow_up.{level}", f"flownet.upsampled_flow{6 - level}_to_{5 - level}", ("weight",))
    for level in range(7):
        pair(f"flow.flow.{level}", f"flownet.predict_flow{6 - level}", ("weight",))
    return names


def _stacked(number: int) -> dict[str, list[list[str]]]:
    """What FCC keeps in one tensor: [half][first, second convolution] -> their name.

    Their numbers count the convolutions, not the halves: half one is convolved by 1_H, then 2_W; half two by 1_W, then
    2_H.
    """
    order = [["1_H", "2_W"], ["1_W", "2_H"]]
    fcc = f"FCC_{number}"
    return {
        "kernel": [[f"{fcc}.meta_kernel_{name}" for name in half] for half in order],
        "bias": [[f"{fcc}.meta_{name}_bias" for name in half] for half in order],
        "position": [[f"{fcc}.meta_pe_{name}" for name in half] for half in order],
    }


def load_authors_checkpoint(path: Path | str, neighbors: int = 4) -> MOL:
    """Read a state dict with the authors' names into a `mol-authors` network, in eval mode.

    Args:
        path: a file written by `torch.save(model.state_dict(), path)` of the authors' code.
        neighbors: the K it was trained with; the file does not say.

    Raises:
        InputError: the file is missing, is not a state dict, or has missing or unexpected names or shapes; all are
            listed.
    """
    theirs = _read(Path(path))
    classes = theirs.get("mer_3dcnn.fc2.weight")
    num_classes = len(classes) if classes is not None and classes.ndim == 2 and len(classes) > 1 else 2
    model = create_model("mol-authors", num_classes=num_classes, neighbors=neighbors)
    wanted = model.state_dict()
    sources: dict[str, list[str]] = {ours: [name] for ours, name in _names().items()}
    for block, number in (("first", 1), ("second", 2)):
        for part, halves in _stacked(number).items():
            sources[f"{block}.fcc.{part}"] = [name for half in halves for name in half]

    used = {name for names in sources.values() for name in names}
    problems = [f"missing: {name}" for name in sorted(used - set(theirs))]
    problems += [f"unexpected: {name}" for name in sorted(set(theirs) - used) if not _NEVER_CALLED.match(name)]
    state: dict[str, Tensor] = {}
    for ours, names in sources.items():
        if any(name not in theirs for name in names):
            continue
        share = wanted[ours].numel() // len(names)
        odd = [name for name in names if theirs[name].numel() != share]
        problems += [f"shape: {name} is {tuple(theirs[name].shape)}, expected {share} values" for name in odd]
        if not odd:
            state[ours] = torch.stack([theirs[n].flatten() for n in names]).view_as(wanted[ours]).to(wanted[ours].dtype)
    if problems:
        listed = "\n  ".join(problems[:40]) + (f"\n  and {len(problems) - 40} more" if len(problems) > 40 else "")
        raise InputError(f"{path} is not a checkpoint of the authors' MOL:\n  {listed}")
    model.load_state_dict(state)
    return model.eval()


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise InputError(f"there is no checkpoint at {path}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns about odd files, then refuses or reads them anyway
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can raise anything; torch's own advice would be to run it
        raise InputError(
            f"{path} is damaged, or holds something other than tensors, which is never run ({type(error).__name__})"
        ) from error
    tensors = isinstance(content, dict) and all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()
    )
    if not tensors or not content:
        raise InputError(f"{path} is not a state dict: it must map names to tensors and hold nothing else")
    state: dict[str, Tensor] = content
    return state
