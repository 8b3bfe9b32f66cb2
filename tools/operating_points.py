"""Add false-alarm rates to a record of weights, for `openmer analyze --alarms-per-minute`.

Run: python benchmarks/implants.py --out runs/implants
     python tools/operating_points.py benchmarks/results/implants-DATE.json

The rates are those of real videos into which expressions were implanted, of the people on whom rules may be chosen:
candidates a minute that touch no implant. What comes of them on the other people stands in the same file.
"""

import json
from pathlib import Path

import tyro

from openmer.files import write_atomic

RECORD = Path(__file__).parents[1] / "src" / "openmer" / "weights" / "mol-lite.json"


def main(measured: Path, /, record: Path = RECORD) -> None:
    """Copy the points into the record.

    Args:
        measured: a file written by benchmarks/implants.py.
        record: of the weights that were measured.
    """
    found = json.loads(measured.read_text(encoding="utf-8"))
    settings = found["settings"]
    content = json.loads(record.read_text(encoding="utf-8"))
    if Path(settings["engine"]).stem != record.stem:
        raise SystemExit(f"{measured} is of {settings['engine']}, the record of {record.stem}")
    chosen = found["figures"]["thresholds"]["chosen"]
    people = sorted({video["person"] for video in settings["videos"] if video["half"] == "chosen"})
    content["scores"]["operating_points"] = {
        "on": f"{chosen[0]['minutes']:g} min of real video of {len(people)} people with implanted expressions "
        f"({measured.name}, commit {found['commit']})",
        "minutes": chosen[0]["minutes"],
        "points": [
            {
                "expression_threshold": point["expression_threshold"],
                "alarms_per_minute": point["elsewhere_a_minute"],
                "recall": point["found"] / point["of"],
            }
            for point in chosen
        ],
    }
    write_atomic(record, json.dumps(content, indent=2, allow_nan=False) + "\n")
    print(f"{len(chosen)} points in {record}")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
