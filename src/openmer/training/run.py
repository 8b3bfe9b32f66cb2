"""The folder of a run: what it is, its checkpoint, its log.

OUT/run.json             settings, data, versions, commit
OUT/checkpoint.pt        model, optimiser, random state; tensors and plain values only
OUT/log.csv              one row every few steps; OUT/tensorboard/ holds the same
"""

import csv
import io
import json
import math
import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from openmer.errors import InputError, OutputError
from openmer.files import write_atomic
from openmer.training.data import ClipData
from openmer.version import __version__, commit

if TYPE_CHECKING:
    from openmer.training.loop import TrainSettings

SCHEMA = "openmer.run/1"
Validate = Callable[[nn.Module], Mapping[str, float]]


class Run:
    """The folder of a run.

    Args:
        out: the folder, or None to write nothing.
        settings: of the run.
        data: clips to learn from.
        digest: of settings and data, which identifies a checkpoint.
        main: whether this process writes; with several GPUs, only one does.

    Attributes:
        best: the best weights on the validation clips, if there were any.

    Raises:
        InputError: the folder holds a run with other settings or data, or a damaged one.
        OutputError: it cannot be written, or holds other files.
    """

    def __init__(self, out: Path | None, settings: "TrainSettings", data: ClipData, digest: str, *, main: bool) -> None:
        self.best: dict[str, Tensor] | None = None
        self._best_score = -math.inf
        self._digest = digest
        self._out = out
        self._writes = out is not None and main
        self._rows: list[dict[str, float]] = []
        self._board: Any = None
        if out is None or not main:
            return
        path = out / "run.json"
        try:
            if path.exists():
                found = json.loads(path.read_text())
                if not isinstance(found, dict):
                    raise ValueError(f"{path} is no record of a run")
                if found.get("digest") != digest:
                    raise InputError(
                        f"{out} holds a run with other settings or data ({_changed(found, settings)}); "
                        "choose another --out, or remove it"
                    )
            elif out.exists() and any(out.iterdir()):
                raise OutputError(f"{out} holds files but no run.json, so it is not a run and is left alone")
            else:
                out.mkdir(parents=True, exist_ok=True)
                content = {
                    "schema": SCHEMA,
                    "digest": digest,
                    "settings": settings.to_json(),
                    "store": dict(data.store.settings),
                    "clips": data.counts(),
                    "subjects": len({e.person for e in data.entries}),
                    "openmer": __version__,
                    "commit": commit(),
                    "torch": torch.__version__,
                    "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
                }
                write_atomic(path, json.dumps(content, indent=2) + "\n")
        except (ValueError, RecursionError) as error:
            raise InputError(f"cannot read {path}: {error}; choose another --out, or remove it") from error
        except OSError as error:
            raise OutputError(f"cannot write the run {out}: {error}") from error
        from torch.utils.tensorboard import SummaryWriter

        self._board = SummaryWriter(str(out / "tensorboard"))

    def resume(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
        """Restore model, optimiser and random state; returns the number of steps done."""
        path = None if self._out is None else self._out / "checkpoint.pt"
        if path is None or not path.exists():
            return 0
        try:
            found = torch.load(path, map_location="cpu", weights_only=True)
            if found["digest"] != self._digest:
                raise InputError(f"the checkpoint {path} belongs to a run with other settings or data")
            model.load_state_dict(found["model"])
            optimizer.load_state_dict(found["optimizer"])
            torch.set_rng_state(found["random"])
            if isinstance(found["random_cuda"], Tensor) and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
                torch.cuda.set_rng_state(found["random_cuda"])
            self.best, self._best_score = found["best"], float(found["best_score"])
            if self.best is not None and _shapes(self.best) != _shapes(model.state_dict()):
                raise ValueError("the best weights are of another network")
            self._rows, step = found["rows"], found["step"]
            if type(step) is not int or step < 0 or not all(isinstance(row, dict) for row in self._rows):
                raise TypeError("steps are counted, and the log has rows")
            return step
        except InputError:
            raise
        except Exception as error:  # a damaged file can raise anything; torch's own advice would be to run it
            raise InputError(
                f"the checkpoint {path} cannot be read: it is damaged, or holds something other than tensors, which is "
                f"never run ({type(error).__name__}); remove it to start over"
            ) from error

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Add a row to log.csv and TensorBoard."""
        self._rows.append({"step": step, **values})
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(f"train/{name}", value, step)

    def validated(self, step: int, model: nn.Module, validate: Validate) -> None:
        """Score the model and keep it if it is the best so far."""
        model.eval()
        with torch.no_grad():
            scores = dict(validate(model))
        self._rows.append({"step": step, **{f"validation_{k}": v for k, v in scores.items()}})
        if self._board is not None:
            for name, value in scores.items():
                self._board.add_scalar(f"validation/{name}", value, step)
        if scores["score"] > self._best_score:
            self._best_score = scores["score"]
            self.best = {k: v.detach().cpu().clone() for k, v in model.state_dict().items()}

    def save(self, step: int, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Write the checkpoint and the log to temporary files, then rename them."""
        if not self._writes or self._out is None:
            return
        buffer = io.BytesIO()
        content = {
            "digest": self._digest,
            "step": step,
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None,  # type: ignore[no-untyped-call]
            "best": self.best,
            "best_score": self._best_score,
            "rows": self._rows,
        }
        torch.save(content, buffer)
        try:
            write_atomic(self._out / "checkpoint.pt", buffer.getvalue())
            write_atomic(self._out / "log.csv", _table(self._rows))
        except OSError as error:
            raise OutputError(f"cannot write the checkpoint in {self._out}: {error.strerror or error}") from error

    def close(self) -> None:
        """Close TensorBoard's file."""
        if self._board is not None:
            self._board.close()


def _shapes(state: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in state.items()}


def _changed(found: Mapping[str, Any], settings: "TrainSettings") -> str:
    """Which settings differ, or that it is the data."""
    before, now = found.get("settings"), settings.to_json()
    if not isinstance(before, dict):
        return "its settings are damaged"
    names = sorted(k for k in {*before, *now} if before.get(k) != now.get(k))
    return ", ".join(names) or "the clips or the initial weights differ"


def _table(rows: list[dict[str, float]]) -> str:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns or ["step"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()
