"""How a network is evaluated, and where that runs. No torch here: the command line is made from these classes."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from openmer.errors import InputError
from openmer.evaluation.splits import Fold, leave_one_dataset_out, leave_one_subject_out, subject_kfold
from openmer.processes import Cluster
from openmer.training.settings import FITTED, TrainSettings

if TYPE_CHECKING:
    from openmer.training.data import ClipData

MEGC_IOU = 0.5  # intersection over union that makes a hit, by the rule of the Micro-Expression Grand Challenge


@dataclass(frozen=True, kw_only=True)
class LosoSettings:
    """How a network is evaluated.

    Attributes:
        training: Of every fold.
        split: subject (LOSO), dataset, or a number of groups of subjects.
        seeds: Repeat everything with each; the report then has means and standard deviations.
        inner: Share of the training subjects on which the best step is chosen; 0 takes the last step.
    """

    training: TrainSettings
    split: str = "subject"
    seeds: tuple[int, ...] = (0,)
    inner: float = 0.0

    def __post_init__(self) -> None:
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise InputError(f"there must be seeds, all different, got {self.seeds}")
        if min(self.seeds) < 0:
            raise InputError(f"a seed must not be negative, got {min(self.seeds)}")
        if self.training.kernel and self.seeds[1:]:
            raise InputError(
                "a classifier that compares clips is fitted in closed form, the same with every seed: give one seed"
            )
        if not 0 <= self.inner < 1:
            raise InputError(f"the inner share must lie between 0 and 1, got {self.inner}")
        every, steps = self.training.validate_every, self.training.steps
        if self.inner and (not 0 < every <= steps or self.training.model in FITTED):
            raise InputError(
                "an inner split needs steps at which to compare, and a network that learns: validate_every between 1 "
                f"and the {steps} steps, got {every}"
            )
        if every and not self.inner:
            raise InputError("validate_every compares steps on an inner split of the training people: give inner too")
        if self.split not in ("subject", "dataset") and not re.fullmatch(r"[0-9]+", self.split):
            raise InputError(f"split must be subject, dataset, or a number of groups, got {self.split!r}")

    def folds(self, data: "ClipData") -> tuple[Fold, ...]:
        """The folds over labelled clips.

        Raises:
            InputError: the data cannot be split this way, there is a leak, or a fold would train without a class.
        """
        labelled = np.flatnonzero(data.labels >= 0)
        entries = [data.entries[int(k)] for k in labelled]
        if self.split == "subject":
            split = leave_one_subject_out(entries)
        elif self.split == "dataset":
            split = leave_one_dataset_out(entries)
        else:
            split = subject_kfold(entries, int(self.split))
        folds = tuple(Fold(f.name, labelled[f.train], labelled[f.test]) for f in split)
        for fold in folds:
            absent = set(data.labels[labelled].tolist()) - set(data.labels[fold.train].tolist())
            if absent:
                names = ", ".join(data.classes[k] for k in sorted(absent))
                raise InputError(f"held out {fold.name}: no training subject shows {names}; choose other classes")
        return folds


@dataclass(frozen=True, kw_only=True)
class Workers(Cluster):
    """Where folds are trained.

    Attributes:
        workers: Trainings at once; 0 means one per GPU, or one on a CPU.
        device: Where the networks run; auto uses a GPU if there is one.
    """

    workers: int = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.workers < 0:
            raise InputError(f"workers must not be negative, got {self.workers}")
