"""Settings that `openmer tune` found for one's own recordings, as a file that `openmer analyze --tuned` takes."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from openmer.errors import InputError
from openmer.files import read_json
from openmer.video.settings import AnalyzeSettings, MeasureSettings

SCHEMA = "openmer.tuned/1"
MEASURED_WITH = ("engine", "face", "flow", "align")  # what thresholds depend on

Settings = TypeVar("Settings", bound=MeasureSettings)


class Tuned(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Thresholds, and what they rest on.

    Attributes:
        schema: `openmer.tuned/1`.
        openmer: version that wrote it.
        contrast: as in `SpottingSettings`; likewise `min_px`.
        expression_threshold: as in `MeasureSettings`; None if no network was used.
        measured_with: the settings of the analyses that were reviewed, and without which the thresholds mean nothing.
        tuned_on: how many recordings, accepted and rejected entries, and whose.
        left_out: scores on recordings that were left out while thresholds were chosen, before and after.
    """

    schema: str
    openmer: str
    contrast: float
    min_px: float
    expression_threshold: float | None
    measured_with: dict[str, str]
    tuned_on: dict[str, Any]
    left_out: dict[str, Any]


def read_tuned(path: Path) -> Tuned:
    """Read what `openmer tune` wrote.

    Raises:
        InputError: it cannot be read, is damaged, or of another version.
    """
    tuned = read_json(path, Tuned)
    if tuned.schema != SCHEMA:
        raise InputError(f"{path} is of schema {tuned.schema!r}, and this version reads {SCHEMA}")
    threshold = tuned.expression_threshold
    if not (0 < tuned.contrast < 1e6 and 0 <= tuned.min_px < 1e6 and (threshold is None or 0 <= threshold <= 1)):
        raise InputError(f"{path} is damaged: its thresholds are out of range")
    return tuned


def measured_with(settings: MeasureSettings) -> dict[str, str]:
    """The part of the settings that tuned thresholds depend on, as a timeline's provenance states it."""
    stated = asdict(settings) | {"engine": Path(settings.engine).name}
    return {name: str(stated[name]) for name in MEASURED_WITH}


def apply_tuned(settings: Settings, tuned: Tuned) -> Settings:
    """The settings with tuned thresholds.

    Raises:
        InputError: the settings state a threshold themselves, or measure otherwise than what was tuned on.
    """
    plain = AnalyzeSettings()
    if settings.alarms_per_minute is not None or settings.expression_threshold != plain.expression_threshold:
        raise InputError("--tuned states the thresholds: leave out --expression-threshold and --alarms-per-minute")
    here = measured_with(settings)
    other = [f"--{name} {value}" for name, value in tuned.measured_with.items() if here.get(name) != value]
    if other:
        raise InputError(
            f"these thresholds were tuned on analyses with {' '.join(other)}; add that, or leave out --tuned"
        )
    threshold = settings.expression_threshold if tuned.expression_threshold is None else tuned.expression_threshold
    spotting = replace(settings.spotting, contrast=tuned.contrast, min_px=tuned.min_px)
    return replace(settings, spotting=spotting, expression_threshold=threshold)
