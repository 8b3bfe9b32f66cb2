"""The signals of every frame as a Parquet file: `frames.csv` with typed columns, its units and its provenance.

Read it with any Parquet reader; `pyarrow.parquet.read_schema(path).metadata[b"openmer"]` is JSON with the provenance.
"""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from openmer.errors import InputError, to_install

SCHEMA = "openmer.frames/1"
WHOLE = ("frame", "track")
TRUTH = ("face_found",)
TEXT = ("picture",)
UNITS = {"_s": "s", "_px": "px", "_deg": "degrees", "_pct": "percent"}


def to_parquet(frames_csv: Path, provenance: Mapping[str, Any]) -> bytes:
    """The content of the file, one row per frame; integers, booleans and doubles, null where nothing is known.

    Raises:
        InputError: pyarrow is not installed, or `frames_csv` is missing or damaged.
    """
    try:
        import pyarrow as pa
        from pyarrow import csv, parquet
    except ImportError as error:
        raise InputError(f"Parquet needs pyarrow; {to_install('parquet', 'pyarrow')}") from error
    names = _columns(frames_csv)
    types = dict.fromkeys(WHOLE, pa.int64()) | dict.fromkeys(TRUTH, pa.bool_()) | dict.fromkeys(TEXT, pa.string())
    kinds = {name: types.get(name, pa.float64()) for name in names}
    options = csv.ConvertOptions(column_types=kinds, null_values=[""])
    try:
        table = csv.read_csv(frames_csv, convert_options=options)
    except pa.ArrowInvalid as error:
        raise InputError(f"{frames_csv} is damaged: {str(error).splitlines()[0]}") from error
    fields = [pa.field(name, kinds[name], metadata={"unit": _unit(name)}) for name in names]
    metadata = {"schema": SCHEMA, "units": UNITS, "provenance": dict(provenance)}
    schema = pa.schema(fields, metadata={"openmer": json.dumps(metadata)})
    buffer = io.BytesIO()
    parquet.write_table(table.cast(schema), buffer, compression="zstd")
    return buffer.getvalue()


def _columns(path: Path) -> list[str]:
    try:
        with path.open(encoding="utf-8") as file:
            names = file.readline().strip().split(",")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}, which openmer analyze writes: {error}") from error
    if "frame" not in names or "time_s" not in names:
        raise InputError(f"{path} is not a frames.csv of openmer analyze: it lacks the column frame or time_s")
    return names


def _unit(column: str) -> str:
    """The unit of a column, from the end of its name; 1 if it has none."""
    return next((unit for ending, unit in UNITS.items() if column.endswith(ending)), "1")
