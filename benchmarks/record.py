"""Write a measurement with what is needed to judge it: hardware, versions, commit."""

import json
import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from openmer.bench import cpu_name
from openmer.files import without_nan
from openmer.version import commit

COMMIT = commit()  # as the run begins: the tree may change while it lasts
PACKAGES = ("openmer", "torch", "numpy", "opencv-contrib-python-headless", "av", "dlib-bin")
ELSEWHERE = "OPENMER_RESULTS"  # a folder for figures that are no measurements: those of a trial
RESULTS = Path(os.environ.get(ELSEWHERE) or Path(__file__).parent / "results")


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "cpu": cpu_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "python": platform.python_version(),
        "versions": {n: version(n) for n in PACKAGES},
    }


def write(name: str, settings: dict[str, Any], figures: dict[str, Any]) -> Path:
    """Save the figures as results/NAME-DATE.json."""
    RESULTS.mkdir(exist_ok=True)
    now = datetime.now(UTC)
    content = {
        "name": name,
        "date": now.isoformat(timespec="seconds"),
        "commit": COMMIT,
        "machine": machine(),
        "settings": settings,
        "figures": without_nan(figures),
    }
    path = RESULTS / f"{name}-{now:%Y-%m-%d}.json"
    path.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")
    print(f"wrote {path}")
    return path
