"""Weights on disk: tensors as safetensors, and beside them a record of what they are and where they come from.

`NAME.safetensors` holds tensors and nothing that could run; `NAME.json` is the record. The record carries the digest of
the tensors, so that neither can be changed or swapped unnoticed.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from importlib import resources
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from openmer.clip import alike, person_of
from openmer.errors import InputError, OutputError
from openmer.files import decode_json, write_atomic
from openmer.models.config import MOLConfig, belongs_to
from openmer.models.mol import MOL

SCHEMA = "openmer.weights/1"
RUN_WEIGHTS = "model.safetensors"  # in the folder of a training run


@dataclass(frozen=True, kw_only=True)
class Unsure:
    """When the answer is `unsure`: where the largest probability, with the card's temperature, is below a threshold.

    Attributes:
        threshold: 0 to 1.
        accuracy: share of right answers that is promised where the answer is not `unsure`.
        confidence: with which it is promised, 0 to 1.
        answered: share of the videos, among those on which it was chosen, that are not `unsure`.
        on: the videos on which it was chosen; the promise is for such videos only.
    """

    threshold: float
    accuracy: float
    confidence: float
    answered: float
    on: str


@dataclass(frozen=True, kw_only=True)
class ModelDescription:
    """What nobody can see from the weights themselves.

    Attributes:
        classes: names of the classes, in the order of the logits.
        trained_on: the data, called `simulated` if it is; `nothing` for fresh weights.
        scores: figures with their protocol, or empty if nothing was measured.
        preprocessing: how frames become the network's input.
        licence: of the weights.
        notes: whatever else a user should know.
        people: whom the weights have seen, as `dataset/subject`, or the beginning of such names and `*`; None if
            unknown.
        temperature: by which logits are divided before they become probabilities; None leaves them as they are.
        unsure: when the answer is `unsure`; None if that was not chosen.
    """

    classes: tuple[str, ...]
    trained_on: str
    scores: Mapping[str, Any] = field(default_factory=dict)
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    licence: str = "unknown"
    notes: str = ""
    people: tuple[str, ...] | None = None
    temperature: float | None = None
    unsure: Unsure | None = None


@dataclass(frozen=True, kw_only=True)
class ModelCard(ModelDescription):
    """What the weights are; every result made with them carries it.

    Attributes:
        file: name of the safetensors file beside the record.
        sha256: its digest.
        config: of the network.
    """

    file: str
    sha256: str
    config: MOLConfig

    def known(self, people: Iterable[tuple[str, str]]) -> list[str]:
        """Those of the given people, (dataset, subject), whom the weights have seen; empty if that is not recorded."""
        apart = [name.partition("/") for name in self.people or ()]
        own = [person_of(dataset, "")[0] + slash + subject for dataset, slash, subject in apart]
        exact, beginnings = set(map(_spelled, own)), tuple(name[:-1] for name in own if name.endswith("*"))
        names = sorted({"/".join(person_of(*person)) for person in people})
        return [name for name in names if _spelled(name) in exact or name.startswith(beginnings)]


def _spelled(name: str) -> str:
    """`dataset/subject`, the same for all spellings of a person."""
    dataset, _, subject = name.partition("/")
    return f"{dataset}/{alike(subject)}"


def save_model(model: MOL, path: Path | str, description: ModelDescription) -> ModelCard:
    """Write `path` (.safetensors) and its record (.json).

    Raises:
        InputError: the number of classes is not that of the network, or the name does not end in .safetensors.
        OutputError: the files cannot be written.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise InputError(f"weights are saved as .safetensors, got {path.name}")
    named = len(description.classes)
    if named != model.config.num_classes:
        raise InputError(f"the network has {model.config.num_classes} classes, {named} names were given")
    data = safetensors.torch.save({k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()})
    own: dict[str, Any] = {"file": path.name, "sha256": hashlib.sha256(data).hexdigest(), "config": model.config}
    record = ModelCard(**own, **vars(description))
    try:
        content = {"schema": SCHEMA, **dict.fromkeys(own), **asdict(record)}  # these come first
        text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        raise InputError(f"scores and preprocessing must be plain finite values: {error}") from error
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, data)
        write_atomic(path.with_suffix(".json"), text)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
    return record


def shipped() -> dict[str, Path]:
    """Name -> record of the weights that come with the package."""
    folder = resources.files("openmer").joinpath("weights")
    return {p.stem: p for p in sorted(Path(str(folder)).glob("*.json"))}


def read_record(name_or_path: Path | str) -> ModelCard:
    """Read the record of shipped weights, by name, or of a .safetensors or .json file.

    Raises:
        InputError: there is none, or it cannot be understood.
    """
    path = _record_path(name_or_path)
    try:
        return record_from(path.read_bytes(), path)
    except OSError as error:
        raise InputError(f"cannot read the record {path}: {error.strerror or error}") from error


@dataclass(frozen=True, kw_only=True)
class _Header:
    """What is looked at before the rest: a later version's file is told from a damaged one."""

    schema: str
    config: dict[str, Any]


def record_from(content: bytes | str, path: Path) -> ModelCard:
    """Read the record from JSON; `path` is for messages.

    Raises:
        InputError: it cannot be understood.
    """
    try:
        header = decode_json(content, _Header)
        if header.schema != SCHEMA:
            raise InputError(f"its schema is {header.schema:.40}, this version reads {SCHEMA}")
        unknown = set(header.config) - {f.name for f in fields(MOLConfig)}
        if unknown:
            raise InputError(f"it has settings that this version does not know: {', '.join(sorted(unknown))}")
        record = decode_json(content, ModelCard)
        if len(record.classes) != record.config.num_classes:
            raise InputError(f"it names {len(record.classes)} classes for {record.config.num_classes} logits")
        if not record.file or Path(record.file).name != record.file:
            raise InputError(f"it names a file outside its folder: {record.file!r}")
        if record.temperature is not None and not 0 < record.temperature < float("inf"):
            raise InputError(f"its temperature must be above 0, got {record.temperature}")
        if record.unsure is not None and not 0 <= record.unsure.threshold <= 1:
            raise InputError(f"its threshold of unsure must lie between 0 and 1, got {record.unsure.threshold}")
    except InputError as error:
        raise InputError(f"cannot read the record {path}: {error}") from error
    return record


def load_model(name_or_path: Path | str) -> MOL:
    """Load a network with its weights, in eval mode.

    Args:
        name_or_path: the name of weights that come with the package, or a .safetensors or .json file.

    Raises:
        InputError: the files are missing, do not belong together or were changed.
    """
    record = read_record(name_or_path)
    path = _record_path(name_or_path).with_name(record.file)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read the weights {path}: {error.strerror or error}") from error
    digest = hashlib.sha256(data).hexdigest()
    if digest != record.sha256:
        raise InputError(
            f"{path} is not the file that its record describes (sha256 {digest[:12]}..., expected "
            f"{record.sha256[:12]}...); it was changed or cut off: fetch both files again"
        )
    model = MOL(record.config)
    try:
        model.load_state_dict(safetensors.torch.load(data), strict=True)
    except (RuntimeError, safetensors.SafetensorError) as error:
        raise InputError(f"{path} does not fit the network that its record describes: {error}") from error
    broken = [name for name, tensor in model.state_dict().items() if not tensor.isfinite().all()]
    if broken:
        raise InputError(f"{path} holds values that are not finite: {', '.join(broken[:3])}; the training had diverged")
    return model.eval()


def _record_path(name_or_path: Path | str) -> Path:
    path = Path(name_or_path)
    if path.suffix == ".safetensors":
        path = path.with_suffix(".json")
    if path.suffix == ".json":
        if not path.is_file():
            raise InputError(f"there is no record of weights at {path}; it belongs beside the .safetensors file")
        return path
    known = shipped()
    if str(name_or_path) not in known:
        with suppress(OSError):  # a name too long for a file
            beside = next((p for p in (path / RUN_WEIGHTS, path.with_name(RUN_WEIGHTS)) if p.is_file()), None)
            if path.exists() and beside is not None:
                raise InputError(f"{path} holds no weights by itself; give {beside}")
        shipped_ones = f"there are {', '.join(known)}" if known else "no weights come with this version"
        raise InputError(
            f"no weights are called {str(name_or_path)!r}: {shipped_ones}; or give the path of a .safetensors file"
        )
    return known[str(name_or_path)]


def initialise(
    model: MOL,
    source: MOL,
    parts: tuple[str, ...] = ("all",),
    classes: tuple[Sequence[str], Sequence[str]] | None = None,
) -> list[str]:
    """Copy weights of the same name and shape; those of a class or an action unit go to that class or unit.

    Args:
        model: receives them.
        source: provides them.
        parts: which.
        classes: names of the model's classes and of the source's; without them, a last layer for the same number of
            classes is copied as it is, and any other stays fresh.

    Returns:
        Names of weights that were asked for but could not be copied, or not for every class or unit.

    Raises:
        InputError: nothing at all fits in one of the parts.
    """
    have, state = source.state_dict(), model.state_dict()
    taken: dict[str, Tensor] = {}
    left = []
    for name in (name for name in state if belongs_to(name, parts)):
        rows = _rows(name, model, source, classes)
        if rows and name in have and have[name].shape[1:] == state[name].shape[1:]:
            taken[name] = state[name].clone()
            for new, old in rows.items():
                taken[name][new] = have[name][old]
            if len(rows) < len(state[name]):
                left.append(name)
        elif rows is None and name in have and have[name].shape == state[name].shape:
            taken[name] = have[name]
        else:
            left.append(name)
    for part in parts:
        if not any(belongs_to(name, (part,)) for name in taken):
            raise InputError(f"none of {part} of {source.config.preset} fits {model.config.preset}")
    model.load_state_dict({**state, **taken})
    return left


def _rows(
    name: str, model: MOL, source: MOL, classes: tuple[Sequence[str], Sequence[str]] | None
) -> dict[int, int] | None:
    """For a last layer, row -> row of the source, by class or action unit; None for all other weights."""
    if ".classify." in name and classes is not None:
        new, old = (list(names) for names in classes)
        return {k: old.index(c) for k, c in enumerate(new) if c in old}
    if name.startswith("units."):
        units = list(source.config.units)
        return {k: units.index(u) for k, u in enumerate(model.config.units) if u in units}
    return None
