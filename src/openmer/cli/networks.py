"""`openmer bench` and `import-authors`: the networks themselves."""

from pathlib import Path
from typing import Annotated, get_args

import tyro
from rich.console import Console

from openmer.bench.settings import BenchSettings
from openmer.errors import InputError, OutputError
from openmer.models.config import PRESETS, Preset

SCALED = (
    "the authors' code scales gray values by a subject's mean and largest value, OpenMER by each clip's mean and "
    "standard deviation: how analyze works with these weights has not been tested"
)


def bench(
    presets: tuple[Preset, ...] = get_args(Preset),
    settings: Annotated[BenchSettings, tyro.conf.arg(name="")] = BenchSettings(),
    out: Path | None = None,
) -> None:
    """Measure what the networks cost on this machine: parameters, operations, time, memory.

    For example:

      openmer bench
      openmer bench --presets mol-lite --batch 8 --train-batch 0
      openmer bench --presets mol-lite --onnx
      openmer bench --device cuda --dtype bfloat16 --batch 32 --train-batch 32 --out cuda.json

    Args:
        presets: Networks to measure; all by default.
        settings: What is measured, and how.
        out: Write the figures as JSON, with hardware, versions and commit.
    """
    from openmer.bench.measure import run

    if not presets:
        raise InputError("name at least one of the --presets")
    run(presets, settings, out, Console())


def import_authors(
    checkpoint: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="CHECKPOINT")],
    out: Annotated[Path, tyro.conf.Positional],
    /,
    neighbors: int = PRESETS["mol-authors"].neighbors,
    classes: tuple[str, ...] = (),
    trained_on: str = "unknown: a converted checkpoint",
) -> None:
    """Convert a checkpoint of the authors' own MOL code to safetensors and a record.

    Nothing in the checkpoint is executed: only tensors are read.

    For example:

      openmer import-authors best.pth mol-casme2.safetensors --trained-on "CASME II, 5 classes, fold 3"

    Args:
        checkpoint: A state dict saved by the authors' code.
        out: The file to write, ending in .safetensors.
        neighbors: The k it was trained with; the file does not contain it.
        classes: Names of the classes, in order; by default class 0, class 1, ...
        trained_on: What it was trained on, for the record.
    """
    from openmer.models.authors import load_authors_checkpoint
    from openmer.models.weights import ModelDescription, save_model

    if out.exists() or out.with_suffix(".json").exists():
        raise OutputError(f"{out} or its record already exists; choose another name")
    model = load_authors_checkpoint(checkpoint, neighbors)
    names = classes or tuple(f"class {k}" for k in range(model.config.num_classes))
    save_model(
        model,
        out,
        ModelDescription(classes=names, trained_on=trained_on, notes=f"imported from {checkpoint.name}; {SCALED}"),
    )
    console = Console(stderr=True)
    console.print(f"wrote {out} and {out.with_suffix('.json').name}", markup=False)
    console.print(f"[yellow]warning:[/] {SCALED}", highlight=False)
