"""Add false-alarm rates to a record of weights, for `openmer analyze --alarms-per-minute`.

Run: python benchmarks/spotting.py --seed 200 --videos 6
     python tools/operating_points.py benchmarks/results/spotting-200-DATE.json

The people measured must not be those on whom spotting is reported (seed 100).
"""

import json
from pathlib import Path

import tyro

from openmer.files import write_atomic

RECORD = Path(__file__).parents[1] / "src" / "openmer" / "weights" / "mol-lite.json"


def main(measured: Path, /, record: Path = RECORD) -> None:
    """Copy the points into the record.

    Args:
        measured: a file written by benchmarks/spotting.py.
        record: of the weights that were measured.
    """
    found = json.loads(measured.read_text())
    settings = found["settings"]
    content = json.loads(record.read_text())
    if Path(settings["engine"]).stem != record.stem:
        raise SystemExit(f"{measured} is of {settings['engine']}, the record of {record.stem}")
    points = [
        {
            "expression_threshold": float(name.removeprefix("expression_threshold ")),
            "alarms_per_minute": values["false_alarms_per_minute"],
            "recall": values["recall"],
            "f1": values["f1"],
        }
        for name, values in found["figures"].items()
    ]
    content["scores"]["operating_points"] = {
        "on": f"{settings['videos']} simulated videos of {settings['minutes']:g} min, {settings['fps']:g} frames/s, "
        f"seed {settings['seed']}, commit {found['commit']}",
        "points": points,
    }
    write_atomic(record, json.dumps(content, indent=2, allow_nan=False) + "\n")
    print(f"{len(points)} points in {record}")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
