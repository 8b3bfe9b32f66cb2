"""Batches from stores: the same for the same seed, no matter when training was interrupted.

Which clips are in a batch, and how they are cropped and augmented, follows from (seed, step) alone, so there is no
sampler state to lose.

Shape legend: B clips, T frames, C = 128 px.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from openmer.clip import Array
from openmer.clips.flow import optical_flow, stacked_motion
from openmer.clips.store import ClipStore, Entry, StoredClip
from openmer.clips.transforms import EVAL, TransformSettings, center_crop, transform
from openmer.errors import InputError
from openmer.training.settings import Balance, Kind, TrainSettings


@dataclass(frozen=True)
class Batch:
    """What a training step reads.

    Attributes:
        inputs: (B, T, 1, C, C) frames, or (B, 3, 28, 28) dx, dy, strain from the first frame to the apex.
        labels: (B,) class numbers, -1 where unknown.
        flow: (B, T-1, 2, C, C) px, or None if not all clips have it.
        landmarks: (B, T, 68, 2) px, NaN where unknown.
        units: (B, U) whether each requested action unit is shown, NaN where unknown.
    """

    inputs: Tensor
    labels: Tensor
    flow: Tensor | None
    landmarks: Tensor
    units: Tensor

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch on another device."""
        flow = None if self.flow is None else self.flow.to(device)
        rest = (self.landmarks.to(device), self.units.to(device))
        return Batch(self.inputs.to(device), self.labels.to(device), flow, *rest)


class ClipData:
    """Clips of a store, with classes.

    Args:
        store: where they are.
        entries: which of them.
        classes: names in the order of the logits.
        kind: what the model reads: the clip, or the motion up to its apex.

    Raises:
        InputError: there are no clips, one has a label that is not a class, or a class is named twice.
    """

    def __init__(self, store: ClipStore, entries: Sequence[Entry], classes: Sequence[str], kind: Kind = "clip") -> None:
        if not entries:
            raise InputError(f"there are no clips to learn from or to judge in {store.root}")
        unknown = sorted({str(e.label) for e in entries} - {*classes, "None"})
        if len(set(classes)) < len(classes):
            raise InputError(f"a class is named twice: {', '.join(classes)}")
        if unknown:
            raise InputError(f"the store has the labels {', '.join(unknown)}, the classes are {', '.join(classes)}")
        self.store = store
        self.entries = tuple(entries)
        self.classes = tuple(classes)
        self.kind: Kind = kind
        numbers = {name: k for k, name in enumerate(classes)}
        self.labels = np.array([-1 if e.label is None else numbers[e.label] for e in entries], np.int64)
        self._motion: dict[int, Array] = {}

    def __len__(self) -> int:
        return len(self.entries)

    def subset(self, indices: Sequence[int] | npt.NDArray[np.int64]) -> "ClipData":
        """Some of the clips, by their index."""
        return type(self)(self.store, [self.entries[int(k)] for k in indices], self.classes, self.kind)

    def counts(self) -> dict[str, int]:
        """Clips of each class, in the order of the classes."""
        counts = Counter(self.labels.tolist())
        return {name: counts[k] for k, name in enumerate(self.classes)}

    @property
    def people(self) -> set[tuple[str, str]]:
        """(dataset, subject) of everyone in the clips."""
        return {e.person for e in self.entries}

    def class_weights(self) -> Tensor:
        """(K,) inverse frequencies with mean 1 over the clips; 0 for an absent class."""
        counts = np.array(list(self.counts().values()), np.float64)
        present = counts > 0
        weights = np.where(present, counts.sum() / np.maximum(counts, 1) / max(1, present.sum()), 0.0)
        return torch.tensor(weights, dtype=torch.float32)

    def chosen(self, step: int, batch: int, *, seed: int, balance: Balance = "none") -> npt.NDArray[np.int64]:
        """(B,) indices of the clips of a step.

        Without balancing, every clip comes once before any is repeated; `sampler` draws classes with equal probability.
        """
        if balance == "sampler":
            rng = np.random.default_rng([seed, step, 2])
            chance = self.class_weights().numpy().astype(np.float64)[self.labels]
            chance[self.labels < 0] = 0
            if not chance.any():
                raise InputError("no clip has a label, so classes cannot be balanced")
            return rng.choice(len(self), batch, p=chance / chance.sum())
        places = np.arange(step * batch, (step + 1) * batch)
        order = {e: np.random.default_rng([seed, int(e), 3]).permutation(len(self)) for e in set(places // len(self))}
        return np.array([order[place // len(self)][place % len(self)] for place in places], np.int64)

    def training_batch(
        self,
        step: int,
        settings: TrainSettings,
        *,
        part: tuple[int, int] = (0, 1),
        flow: bool = True,
        units: Sequence[int] = (),
    ) -> Batch:
        """The batch of a step, cropped and augmented at random.

        Args:
            step: from 0.
            settings: of the run: batch, seed, balance, transforms, and pairs: if above 0, only that many neighbouring
                pairs of each clip, from anywhere in it.
            part: of several devices, each takes its part (k of n).
            flow: without it none is read, which is faster where none is learned; everything else is the same.
            units: action units to report.
        """
        seed = settings.seed
        places = self.chosen(step, settings.batch, seed=seed, balance=settings.balance)
        mine = range(part[0], settings.batch, part[1])
        rngs = [np.random.default_rng([seed, step, k, 4]) for k in mine]
        whole = self._batch(places[mine], rngs, settings.transforms, flow, units)
        if not settings.pairs or self.kind == "motion":
            return whole
        last = max(0, whole.inputs.shape[1] - 1 - settings.pairs)
        starts = [int(np.random.default_rng([seed, step, k, 7]).integers(last + 1)) for k in mine]
        return _cut(whole, starts, settings.pairs)

    def evaluation_batch(self, indices: Sequence[int] | npt.NDArray[np.int64], units: Sequence[int] = ()) -> Batch:
        """These clips, centre-cropped and not augmented."""
        rngs = [np.random.default_rng(0)] * len(indices)
        return self._batch(np.asarray(indices, np.int64), rngs, EVAL, units=units)

    def recordings(self) -> list[npt.NDArray[np.int64]]:
        """Indices of the labelled clips of each recording that may be averaged frame by frame: see `mean_inputs`.

        The clips of a recording that `prepare` interleaved; in other stores each clip stands alone.
        """
        groups: dict[object, list[int]] = {}
        for k in np.flatnonzero(self.labels >= 0):
            entry = self.entries[k]
            groups.setdefault((entry.key, *entry.video) if self.store.interleaved else k, []).append(int(k))
        return [np.array(group, np.int64) for group in groups.values()]

    def mean_inputs(self, recordings: Sequence[npt.NDArray[np.int64]]) -> Tensor:
        """(B, T, 1, C, C) what a network reads of whole recordings: the mean of their clips, frame by frame.

        The k-th frames of interleaved clips follow each other at once, so their mean is one frame of less noise,
        exposed for a little longer. At 200 frames a second a recording has some 8 clips.
        """
        return torch.stack([self.evaluation_batch(clips).inputs.mean(0) for clips in recordings])

    def _batch(
        self,
        indices: npt.NDArray[np.int64],
        rngs: Sequence[np.random.Generator],
        settings: TransformSettings,
        flow: bool = True,
        units: Sequence[int] = (),
    ) -> Batch:
        labels = torch.from_numpy(self.labels[indices])
        unit_labels = self.unit_labels(indices, units)
        if self.kind == "motion":
            motions = [self._changed_motion(int(k), settings, rng) for k, rng in zip(indices, rngs, strict=True)]
            return Batch(
                torch.from_numpy(np.stack(motions)), labels, None, torch.zeros(len(indices), 1, 68, 2), unit_labels
            )
        read = [self.store.read(self.entries[int(k)], flow=flow) for k in indices]
        examples = [transform(clip, settings, rng) for clip, rng in zip(read, rngs, strict=True)]
        flows = [e.flow for e in examples if e.flow is not None]
        return Batch(
            torch.from_numpy(np.stack([e.frames for e in examples])),
            labels,
            torch.from_numpy(np.stack(flows)) if len(flows) == len(examples) else None,
            torch.from_numpy(np.stack([e.landmarks for e in examples])),
            unit_labels,
        )

    def unit_labels(self, indices: npt.NDArray[np.int64], units: Sequence[int]) -> Tensor:
        """(B, U) whether these clips show each of the action units, NaN where unknown."""
        labels = [self.entries[int(k)].units for k in indices]
        rows = [[math.nan if known is None else float(unit in known) for unit in units] for known in labels]
        return torch.tensor(rows, dtype=torch.float32)

    def _changed_motion(self, index: int, settings: TransformSettings, rng: np.random.Generator) -> Array:
        """Cached once computed; the only augmentation that applies is the mirror image."""
        if index not in self._motion:
            self._motion[index] = motion_to_apex(self.store.read(self.entries[index], flow=False))
        motion = self._motion[index]
        if settings.flip and rng.random() < settings.flip:
            motion = motion[:, :, ::-1].copy()
            motion[0] *= -1
        return motion


def _cut(batch: Batch, starts: Sequence[int], pairs: int) -> Batch:
    """From each clip, the frames from its start on that make this many pairs, with what is known about them."""
    frames = [slice(start, start + pairs + 1) for start in starts]
    flow = batch.flow
    return replace(
        batch,
        inputs=torch.stack([clip[some] for clip, some in zip(batch.inputs, frames, strict=True)]),
        flow=None if flow is None else torch.stack([f[s : s + pairs] for f, s in zip(flow, starts, strict=True)]),
        landmarks=torch.stack([clip[some] for clip, some in zip(batch.landmarks, frames, strict=True)]),
    )


def motion_to_apex(clip: StoredClip) -> Array:
    """(3, 28, 28): dx, dy and strain from the first frame to the one farthest from it.

    STSTNet and Off-ApexNet are given the annotated apex; here it is the frame where the mean motion since the first
    frame is largest, so that they are told no more than MOL is.
    """
    frames = center_crop(clip.frames)
    flows = [optical_flow(frames[0], frame, "dis") for frame in frames[1:]]
    apex = int(np.argmax([np.hypot(*flow).mean() for flow in flows]))
    return stacked_motion(flows[apex])
