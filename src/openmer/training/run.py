"""The folder of a run: what it is, its checkpoint, its log, and at the end its weights.

OUT/run.json             settings, data, versions, commit
OUT/checkpoint.pt        model, optimizer, random state; tensors and plain values only
OUT/log.csv              one row every few steps; OUT/tensorboard/ holds the same
OUT/model.safetensors    the weights, and their card OUT/model.json
"""

import io
import json
import math
import platform
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from openmer.clip import SIMULATED
from openmer.errors import InputError, OutputError
from openmer.files import read_json, write_atomic
from openmer.models.mol import MOL
from openmer.models.weights import RUN_WEIGHTS, ModelCard, ModelDescription, read_record, save_model
from openmer.training.data import ClipData
from openmer.training.settings import TrainSettings
from openmer.version import __version__, commit

SCHEMA = "openmer.run/1"
PREPROCESSING = {
    "crop": "aligned square of 144 px, its middle 128 px, gray",
    "normalisation": "the clip's mean taken away, divided by its standard deviation (at least 8 gray levels)",
    "flow": "(dx, dy) px of the crop, frame k to k+1",
    "landmarks": "(x, y) px of the crop, iBUG 68, frames 2 to T",
}
Validate = Callable[[nn.Module], Mapping[str, float]]


class Run:
    """The folder of a run.

    Args:
        out: the folder, or None to write nothing.
        settings: of the run.
        data: clips to learn from.
        digest: of settings and data, which identifies a checkpoint.
        main: whether this process writes; with several GPUs, only one does.

    Raises:
        InputError: the folder holds a run with other settings or data, or a damaged one.
        OutputError: it cannot be written, or holds other files.
    """

    def __init__(self, out: Path | None, settings: TrainSettings, data: ClipData, digest: str, *, main: bool) -> None:
        self._settings, self._data, self._digest = settings, data, digest
        self._best: dict[str, Tensor] | None = None  # weights on the validation clips, if there are any
        self._best_score = -math.inf
        self._out = out
        self._writes = out is not None and main
        self._rows: list[dict[str, float]] = []
        self._board: Any = None
        if out is None or not main:
            return
        content = {
            "digest": digest,
            "settings": settings.to_json(),
            "store": dict(data.store.settings),
            "clips": data.counts(),
            "subjects": len({e.person for e in data.entries}),
            "torch": torch.__version__,
            "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
        }
        claim_folder(out, "run.json", {"schema": SCHEMA, **content}, self._differing)
        from torch.utils.tensorboard import SummaryWriter

        self._board = SummaryWriter(str(out / "tensorboard"))

    def _differing(self, before: Mapping[str, Any]) -> str:
        """What differs from an earlier run in the folder: settings by name, or the data."""
        if before.get("digest") == self._digest:
            return ""
        was, now = before.get("settings"), self._settings.to_json()
        if not isinstance(was, dict):
            return "its settings are damaged"
        names = sorted(k for k in {*was, *now} if was.get(k) != now.get(k))
        return ", ".join(names) or "the clips or the initial weights differ"

    def resume(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
        """Restore model, optimizer and random state; returns the number of steps done."""
        path = None if self._out is None else self._out / "checkpoint.pt"
        if path is None or not path.exists():
            return 0
        try:
            saved = torch.load(path, map_location="cpu", weights_only=True)
            if saved["digest"] != self._digest:
                raise InputError(f"the checkpoint {path} belongs to a run with other settings or data")
            model.load_state_dict(saved["model"])
            optimizer.load_state_dict(saved["optimizer"])
            torch.set_rng_state(saved["random"])
            if isinstance(saved["random_cuda"], Tensor) and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
                torch.cuda.set_rng_state(saved["random_cuda"])
            self._best, self._best_score = saved["best"], float(saved["best_score"])
            if self._best is not None and _shapes(self._best) != _shapes(model.state_dict()):
                raise ValueError("the best weights are of another network")
            self._rows, step = saved["rows"], saved["step"]
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

    def log(self, step: int, values: Mapping[str, float], part: str = "train") -> None:
        """Add a row to log.csv, and the values to that part of TensorBoard."""
        columns = values if part == "train" else {f"{part}_{name}": value for name, value in values.items()}
        self._rows.append({"step": step, **columns})
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(f"{part}/{name}", value, step)

    def validated(self, step: int, model: nn.Module, validate: Validate) -> None:
        """Score the model and keep it if it is the best so far."""
        model.eval()
        with torch.no_grad():
            scores = dict(validate(model))
        self.log(step, scores, "validation")
        if scores["score"] > self._best_score:
            self._best_score = scores["score"]
            self._best = {k: v.detach().cpu().clone() for k, v in model.state_dict().items()}

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
            "best": self._best,
            "best_score": self._best_score,
            "rows": self._rows,
        }
        torch.save(content, buffer)
        try:
            write_atomic(self._out / "checkpoint.pt", buffer.getvalue())
            write_atomic(self._out / "log.csv", _table(self._rows))
        except OSError as error:
            raise OutputError(f"cannot write the checkpoint in {self._out}: {error.strerror or error}") from error

    def close(self, model: nn.Module, trained_on: str, *, finished: bool) -> nn.Module:
        """End the run; a finished one returns the best weights, or the last, and MOL's are written with their card."""
        if self._board is not None:
            self._board.close()
        if finished and self._best is not None:
            model.load_state_dict(self._best)
        if finished and self._writes and self._out is not None and isinstance(model, MOL):
            self._write_weights(model, self._out / RUN_WEIGHTS, trained_on)
        return model

    def _write_weights(self, model: MOL, path: Path, trained_on: str) -> None:
        data, init = self._data, self._settings.init
        begun = None if init is None else read_record(init)
        clips = f"{data.store.settings.get('kind', 'clips')} ({len(data)} clips)"
        if begun is not None:
            clips += f"; begun from weights trained on {begun.trained_on}"
        how = f"compares {model.config.kernel} clips" if self._settings.kernel else f"{self._settings.steps} steps"
        save_model(
            model,
            path,
            ModelDescription(
                classes=data.classes,
                trained_on=trained_on or clips,
                preprocessing=PREPROCESSING,
                notes=f"openmer {__version__}, {commit() or 'no commit known'}, {how}",
                people=_people(data, begun),
            ),
        )


def claim_folder(
    out: Path, name: str, content: Mapping[str, Any], differing: Callable[[Mapping[str, Any]], str]
) -> None:
    """Make the folder of a piece of work, or check that it holds this very work already.

    Args:
        out: the folder.
        name: of the JSON file in it that says what the work is.
        content: of that file; the version of OpenMER is added.
        differing: from what an earlier file says, what differs; empty if it is the same work.

    Raises:
        InputError: the folder holds other work, or a damaged file.
        OutputError: it cannot be written, or holds other files.
    """
    path = out / name
    try:
        if path.exists():
            changed = differing(_earlier(path))
            if changed:
                raise InputError(
                    f"{out} holds a run with other settings or data; what differs: {changed}; choose another --out"
                )
        elif out.exists() and any(out.iterdir()):
            raise OutputError(f"{out} holds files but no {name}: it is not a folder of this command and is left alone")
        else:
            out.mkdir(parents=True, exist_ok=True)
            text = json.dumps({**content, "openmer": __version__, "commit": commit()}, indent=2)
            write_atomic(path, text + "\n")
    except OSError as error:
        raise OutputError(f"cannot write {out}: {error}") from error


def _earlier(path: Path) -> dict[str, Any]:
    try:
        return read_json(path, dict[str, Any])
    except InputError as error:
        raise InputError(f"{error}; choose another --out, or remove it") from error


def _table(rows: Sequence[Mapping[str, float]]) -> str:
    return pd.DataFrame(rows, columns=None if rows else ["step"]).to_csv(index=False)


def _shapes(state: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in state.items()}


def _people(data: ClipData, begun: ModelCard | None) -> tuple[str, ...] | None:
    """Whom the weights know, including those whom the initial weights know; None if these do not say."""
    names = {"/".join(person) for person in data.people}
    if data.store.settings.get("kind") == SIMULATED:  # one line per seed, not thousands
        names = {f"{name.rpartition('-')[0]}-*" for name in names}
    if begun is not None:
        if begun.people is None:
            return None
        names |= set(begun.people)
    return tuple(sorted(names))
