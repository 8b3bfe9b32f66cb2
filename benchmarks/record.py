"""Write a measurement with what is needed to judge it: hardware, versions, commit."""

import json
import os
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from openmer.files import without_nan
from openmer.version import commit, cpu_name

COMMIT = commit()  # at the start of the run: the tree may change meanwhile
PACKAGES = ("openmer", "torch", "numpy", "opencv-contrib-python-headless", "opencv-python-headless", "av", "dlib-bin")
ELSEWHERE = "OPENMER_RESULTS"  # a folder for figures that are not measurements: those of a trial
RESULTS = Path(os.environ.get(ELSEWHERE) or Path(__file__).parent / "results")


def machine(device: str = "cpu") -> dict[str, Any]:
    """The machine the figures were measured on, with its GPU if one was used."""
    gpu = {"gpu": torch.cuda.get_device_name()} if device != "cpu" and torch.cuda.is_available() else {}
    return {
        "cpu": cpu_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        **gpu,
        "python": platform.python_version(),
        "versions": {n: v for n in PACKAGES if (v := _version(n)) is not None},
    }


def _version(package: str) -> str | None:
    """The version, or None if not installed: measuring only networks needs no video library."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def write(name: str, settings: dict[str, Any], figures: dict[str, Any], device: str = "cpu") -> Path:
    """Save the figures as results/NAME-DATE.json; `device` is where the networks ran."""
    RESULTS.mkdir(exist_ok=True)
    now = datetime.now(UTC)
    content = {
        "name": name,
        "date": now.isoformat(timespec="seconds"),
        "commit": COMMIT,
        "machine": machine(device),
        "settings": settings,
        "figures": without_nan(figures),
    }
    path = RESULTS / f"{name}-{now:%Y-%m-%d}.json"
    path.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")
    print(f"wrote {path}")
    return path
