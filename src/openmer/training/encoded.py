"""A frozen backbone's features of clips, computed once: training a head then costs only the head.

    STORE/encoded/DIGEST/CLIP.npy         (V, P, D, S, S) float16: V augmented views of a clip
    STORE/encoded/DIGEST/CLIP-points.npy  (V, T, 68, 2) float32: their landmarks, px, NaN where unknown

DIGEST covers the backbone's weights and the augmentation, so folds and seeds share the files.

D = 2 C + M: features of both frames of a pair and its closed-form motion; M alone for a classifier that reads only
motion, and where no landmarks are learned.

Shape legend: V views, T frames, P = T - 1 pairs, C = 128 features, M channels of closed-form motion, S side of F(g).
"""

import hashlib
import io
import math
import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from openmer.clips.store import Entry, digest_of
from openmer.clips.transforms import TransformSettings, transform
from openmer.errors import InputError, OutputError
from openmer.files import write_atomic
from openmer.models.config import CHANNELS, CLIP_HEADS, Head, belongs_to
from openmer.models.mol import MOL, Encoded, MOLOutput
from openmer.training.data import Batch, ClipData
from openmer.training.settings import ENCODED_HEADS, TrainSettings

VERSION = 2  # of the stored files
POINTS = "-points"
N = TypeVar("N", np.float16, np.float32)
# Settings of the config that do not affect the backbone's features.
OF_HEADS = ("preset", "num_classes", "flow", "landmarks", "flow_head", "landmark_head", "landmark_blocks", "units")


class EncodedClips:
    """Views of clips, as seen by the heads that read the backbone's features and nothing else.

    A clip's views do not depend on the run, so training runs with the same frozen backbone share them.

    Args:
        data: the clips.
        model: its backbone is frozen.
        settings: how clips are augmented.
        views: number of views of each clip.
        heads: those that will read them.
    """

    def __init__(
        self,
        data: ClipData,
        model: MOL,
        settings: TransformSettings,
        views: int,
        heads: Collection[Head] = ENCODED_HEADS,
    ) -> None:
        self._data = data
        self._model = model
        self._settings = settings
        self._views = views
        self._features = model.reads_features(heads)
        digest = _digest(model, settings, views)
        self._root = data.store.root / "encoded" / (digest if self._features else f"{digest}-motion")

    def missing(self) -> list[Entry]:
        """The clips that are not encoded yet."""
        files = set(self._root.glob("*.npy"))
        return [e for e in self._data.entries if not {self._path(e), self._path(e, POINTS)} <= files]

    def fill(self, entries: Sequence[Entry], step: Callable[[], None] = lambda: None) -> None:
        """Encode these clips.

        Raises:
            OutputError: they cannot be written.
        """
        self._model.eval()
        device = next(self._model.parameters()).device
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            for entry in entries:
                features, points = self._encode(entry, device)
                write_atomic(self._path(entry, POINTS), _npy(points))
                write_atomic(self._path(entry), _npy(features))
                step()
        except OSError as error:
            raise OutputError(f"cannot write encoded clips to {self._root}: {error.strerror or error}") from error

    def training_batch(
        self, step: int, settings: TrainSettings, *, part: tuple[int, int] = (0, 1), units: Sequence[int] = ()
    ) -> Batch:
        """The clips of `ClipData.training_batch`, one view of each; `inputs` are (B, P, 2 C + M, S, S).

        With `settings.pairs`, only that many of each clip, drawn at random.

        Raises:
            InputError: an encoded clip is damaged.
        """
        seed, pairs = settings.seed, settings.pairs
        mine = range(part[0], settings.batch, part[1])
        places = self._data.chosen(step, settings.batch, seed=seed, balance=settings.balance)[mine]
        views = [int(np.random.default_rng([seed, step, k, 5]).integers(self._views)) for k in mine]
        drawn = [(self._data.entries[int(k)], view) for k, view in zip(places, views, strict=True)]
        features = [self._read(self._path(entry), view, np.float16, 5) for entry, view in drawn]
        points = [self._read(self._path(entry, POINTS), view, np.float32, 4) for entry, view in drawn]
        if pairs:
            rngs = [np.random.default_rng([seed, step, k, 6]) for k in mine]
            taken = [rng.permutation(len(f))[:pairs] for rng, f in zip(rngs, features, strict=True)]
            features = [f[some] for f, some in zip(features, taken, strict=True)]
            points = [p[[0, *(some + 1)]] for p, some in zip(points, taken, strict=True)]  # of second frames
        return Batch(
            torch.from_numpy(np.stack(features)).float(),
            torch.from_numpy(self._data.labels[places]),
            None,
            torch.from_numpy(np.stack(points)),
            self._data.unit_labels(places, units),
        )

    def _encode(self, entry: Entry, device: torch.device) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.float32]]:
        clip = self._data.store.read(entry, flow=False)
        source = int(entry.frames_digest[:8], 16)
        views = [
            transform(clip, self._settings, np.random.default_rng([source, entry.number, view]))
            for view in range(self._views)
        ]
        with torch.inference_mode():
            encoded = encode(
                self._model, torch.from_numpy(np.stack([v.frames for v in views])).to(device), features=self._features
            )
        points = np.stack([v.landmarks for v in views]).astype(np.float32)
        return packed(encoded, features=self._features).cpu().numpy().astype(np.float16), points

    def _read(self, path: Path, view: int, kind: type[N], axes: int) -> npt.NDArray[N]:
        """One of the views in a file."""
        try:
            with path.open("rb") as file:  # a memory-mapped file is read page by page, which takes longer than the head
                if np.lib.format.read_magic(file) != (1, 0):
                    raise ValueError("it has another format")
                shape, _, dtype = np.lib.format.read_array_header_1_0(file)
                if dtype != kind or len(shape) != axes or shape[0] != self._views:
                    raise ValueError(f"it holds {shape} of {dtype}")
                count = math.prod(shape[1:])
                file.seek(view * count * dtype.itemsize, os.SEEK_CUR)
                return np.fromfile(file, kind, count).reshape(shape[1:])
        except (OSError, ValueError, EOFError) as error:
            raise InputError(
                f"cannot read the encoded clip {path}: {error}; remove it to have it made again"
            ) from error

    def _path(self, entry: Entry, part: str = "") -> Path:
        return self._root / f"{entry.key}-{entry.number}{part}.npy"


class FeatureHeads(nn.Module):
    """The network after its backbone: output of `packed`, (B, P, 2 C + M, S, S) -> everything except flow."""

    def __init__(self, model: MOL) -> None:
        super().__init__()
        self.model = model

    def forward(self, packed_BPDSS: Tensor, heads: Collection[Head]) -> MOLOutput:  # noqa: N803
        """Any of `ENCODED_HEADS`."""
        motion = packed_BPDSS.shape[2] - 2 * CHANNELS
        if motion < 0:  # no features
            return self.model.decide(Encoded(packed_BPDSS, packed_BPDSS, packed_BPDSS, None, None), heads)
        first, second, moved = torch.split(packed_BPDSS, [CHANNELS, CHANNELS, motion], 2)
        moved_or_none = moved if motion else None
        points = self.model.locate(second) if "landmarks" in heads else None
        return self.model.decide(Encoded(first, second, moved_or_none, None, points), heads)


def encode(model: MOL, clip_BT1HW: Tensor, *, features: bool = True) -> Encoded:  # noqa: N803
    """The input of `ENCODED_HEADS` from (B, T, 1, H, W) gray frames; without features, of those that read motion."""
    heads: set[Head] = {*CLIP_HEADS, "landmarks"} if features else set(CLIP_HEADS)
    maps = model.stack(clip_BT1HW.flatten(0, 1)).unflatten(0, clip_BT1HW.shape[:2])
    return model.encode(maps[:, :-1], maps[:, 1:], clip_BT1HW[:, :, 0], heads)


def packed(encoded: Encoded, *, features: bool = True) -> Tensor:
    """Features of both frames of each pair and its motion, concatenated: (B, P, D, S, S); or its motion alone."""
    parts = (encoded.first, encoded.second, encoded.moved) if features else (encoded.moved,)
    return torch.cat([part for part in parts if part is not None], 2)


def _npy(values: npt.NDArray[N]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=False)
    return buffer.getvalue()


def _digest(model: MOL, settings: TransformSettings, views: int) -> str:
    """Digest of what encoded clips depend on besides the clips: weights and config except the heads', augmentation."""
    total = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        if belongs_to(name, ("backbone",)):
            total.update(name.encode() + value.detach().cpu().numpy().tobytes())
    made_of = {name: value for name, value in asdict(model.config).items() if name not in OF_HEADS}
    return digest_of([VERSION, total.hexdigest(), made_of, asdict(settings), views])
