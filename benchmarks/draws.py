"""Do drawn expressions show what was counted in real ones? Five thousand draws of every class beside the tables.

Run: python benchmarks/draws.py
"""

from collections import Counter
from typing import Any

import numpy as np
import record
import tyro

from openmer.simulator.facial_motion import draw_expression
from openmer.simulator.shown_units import NEGATIVE, TABLES, TIMINGS, draw_timing

PERCENTILES = (5, 25, 50, 75, 95)
EMOTIONS = {"negative": NEGATIVE, "positive": ("happiness",), "surprise": ("surprise",)}
SIDED = 0.36  # of the stronger side: below it a coder notes one side only


def class_row(dataset: str, label: str, draws: int) -> dict[str, Any]:
    """Shares of units and sets, units a clip and one-sided clips: drawn, and in the table."""
    rng, table = np.random.default_rng([5, *map(ord, dataset + label)]), TABLES[dataset][label]
    emotions = EMOTIONS[label]
    events = [
        draw_expression(rng, emotions[k % len(emotions)], 0.0, like=dataset)  # type: ignore[arg-type]
        for k in range(draws)
    ]
    sets = Counter(event.coded for event in events)
    units = {unit: float(np.mean([unit in event.coded for event in events])) for unit in table.shares}
    sided = [any(min(e.units[u]) < SIDED * max(e.units[u]) for u in e.coded) for e in events]
    combinations = {"+".join(map(str, s)): [round(sets[s] / draws, 3), round(n / table.clips, 3)] for s, n in
                    table.combinations.items()}  # fmt: skip
    return {
        "units": {str(unit): [round(share, 3), table.shares[unit]] for unit, share in units.items()},
        "combinations": combinations,
        "units_a_clip": [round(float(np.mean([len(e.coded) for e in events])), 2), table.units_a_clip],
        "one_sided": [round(float(np.mean(sided)), 3), table.one_sided],
    }


def timing_row(dataset: str, draws: int) -> dict[str, Any]:
    """Percentiles in seconds: drawn, and in the table."""
    rng, timing = np.random.default_rng([6, *map(ord, dataset)]), TIMINGS[dataset]
    drawn = np.array([draw_timing(rng, dataset) for _ in range(draws)])
    columns = {"rise": drawn[:, 0], "fall": drawn[:, 1], "whole": drawn.sum(1)}
    return {
        name: [np.percentile(values, PERCENTILES).round(3).tolist(), list(getattr(timing, name))]
        for name, values in columns.items()
    } | {"over_half_a_second": [round(float((drawn.sum(1) > 0.5).mean()), 3), timing.long]}


def main(draws: int = 5000) -> None:
    """Count and write.

    Args:
        draws: of each class, and of each dataset's timing.
    """
    figures: dict[str, Any] = {"classes": {}, "timing": {d: timing_row(d, draws) for d in TIMINGS}}
    for dataset, tables in TABLES.items():
        for label in tables:
            row = class_row(dataset, label, draws)
            figures["classes"][f"{dataset} {label}"] = row
            units = " ".join(f"{u} {a:.2f}/{b:.2f}" for u, (a, b) in row["units"].items())
            print(f"{dataset} {label}: {units}; one-sided {row['one_sided']}, a clip {row['units_a_clip']}")
    record.write("draws", {"draws": draws}, figures)


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
