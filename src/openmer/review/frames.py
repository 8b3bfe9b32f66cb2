"""The numbers and times of a result's frames, from its frames.csv."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from openmer.errors import InputError
from openmer.exchange.export import FRAMES

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True)
class FrameTimes:
    """The analysed frames.

    Attributes:
        frames: (n,) the source's own numbers, rising.
        times_s: (n,) seconds of the file, rising.
    """

    frames: npt.NDArray[np.int64]
    times_s: npt.NDArray[np.float64]

    def nearest(self, moment_s: float) -> int:
        """The row of the frame nearest to a moment; of two, the earlier."""
        return int(np.argmin(np.abs(self.times_s - moment_s)))

    def frame(self, moment_s: float | None) -> int | None:
        """The number of the frame nearest to a moment; None of None."""
        return None if moment_s is None else int(self.frames[self.nearest(moment_s)])


def read_frame_times(result: Path) -> FrameTimes:
    """The frames of a result's folder.

    Raises:
        InputError: its frames.csv cannot be read or is damaged.
    """
    table = frames_table(result / FRAMES)
    return FrameTimes(table["frame"].to_numpy(np.int64), table["time_s"].to_numpy(np.float64))


def frames_table(path: Path, *, motion: bool = False) -> "DataFrame":
    """The columns `frame` and `time_s` of a frames.csv, with `motion` also all that end in `_px`.

    Raises:
        InputError: it cannot be read, or lacks frames or times.
    """
    import pandas as pd  # only where a table is read: the command line starts sooner

    try:
        table = pd.read_csv(path, usecols=lambda name: name in ("frame", "time_s") or (motion and name.endswith("_px")))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}, which openmer analyze writes: {error}") from error
    if not {"frame", "time_s"} <= set(table) or table.empty or table[["frame", "time_s"]].isna().to_numpy().any():
        raise InputError(f"{path} lacks frames and their times; analyse the video again")
    return table
