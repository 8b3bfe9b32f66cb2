"""Fits the classifier that compares clips: for few clips, in place of steps of training.

What a clip's own people would be told without them follows exactly from the matrix of all clips, without fitting again
(Pahikkala et al., Fast n-fold cross-validation for regularized least-squares, 2006). So what has to be chosen is
chosen on people left out.

Shape legend: N clips, D values of a displacement, C classes.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from openmer.errors import InputError
from openmer.models.config import CLIP_HEADS
from openmer.models.kernel import alike
from openmer.models.mol import MOL
from openmer.training.data import ClipData
from openmer.training.encoded import encode

RIDGES = (0.1, 0.3, 1.0, 3.0, 10.0)
SCALES = (2.0, 4.0, 8.0)  # from a score between -1 and 1 to a logit
TRUSTS = (0.0, 0.5, 1.0)  # how much the network's own opinion counts beside
MOST_CLIPS = 4000
BATCH = 16


class Fit(NamedTuple):
    """What `fitted` chose.

    Attributes:
        weights: (N, C).
        scale: see `SCALES`.
        trust: see `TRUSTS`.
        uf1: on people left out, with these.
    """

    weights: Tensor
    scale: float
    trust: float
    uf1: float


def fitted(vectors: Tensor, labels: Tensor, people: Sequence[object], logits: Tensor, trusts: Sequence[float]) -> Fit:
    """Fit to clips, and choose ridge, scale and trust by UF1 on people left out; ties by the likelihood.

    Args:
        vectors: (N, D) output of `comparable`.
        labels: (N,) class numbers.
        people: of each clip; the clips of a person are left out together.
        logits: (N, C) the network's own, which has not learned from these clips.
        trusts: that may be chosen.

    Raises:
        InputError: there are too many clips, or fewer than two people, or a class has no clip.
    """
    from sklearn.metrics import f1_score  # takes a second to import

    classes = logits.shape[1]
    counts = torch.bincount(labels, minlength=classes)
    groups = [np.flatnonzero(np.array([p == person for p in people])) for person in dict.fromkeys(people)]
    if len(labels) > MOST_CLIPS or len(groups) < 2 or not bool(counts.all()):
        raise InputError(
            f"a classifier that compares clips is for 2 people and more, and up to {MOST_CLIPS} clips of all classes; "
            f"there are {len(groups)} people and {len(labels)} clips, by class {', '.join(map(str, counts.tolist()))}"
        )
    rare = (1 / counts.double())[labels]
    rare = rare / rare.mean()
    truth = 2 * F.one_hot(labels, classes).double() - 1
    kernel = alike(vectors.double(), vectors.double())
    own = logits.double().log_softmax(1)
    best: tuple[tuple[float, float], Fit] | None = None
    for ridge in RIDGES:
        weights, left_out = solved(kernel, truth, ridge / rare, groups)
        for scale, trust in product(SCALES, trusts):
            log_shares = ((scale * left_out).log_softmax(1) + trust * own).log_softmax(1)
            uf1 = float(f1_score(labels, log_shares.argmax(1), average="macro"))
            likelihood = float((rare * log_shares[torch.arange(len(labels)), labels]).mean())
            if best is None or (uf1, likelihood) > best[0]:
                best = (uf1, likelihood), Fit(weights.float(), scale, trust, uf1)
    assert best is not None  # noqa: S101  (there is at least one of each)
    return best[1]


def solved(
    kernel: Tensor, truth: Tensor, ridge: Tensor, groups: Sequence[npt.NDArray[np.int64]]
) -> tuple[Tensor, Tensor]:
    """Weights (N, C), and the scores (N, C) that each group of clips would have if it had been left out.

    Args:
        kernel: (N, N).
        truth: (N, C).
        ridge: (N,) added to the diagonal.
        groups: places of clips that are left out together.
    """
    inverse = torch.linalg.inv(kernel + torch.diag(ridge))
    weights = inverse @ truth
    left_out = torch.empty_like(truth)
    for group in groups:
        left_out[group] = truth[group] - torch.linalg.solve(inverse[group][:, group], weights[group])
    return weights, left_out


def with_kernel(model: MOL, data: ClipData, *, knows: bool, step: Callable[[], None] = lambda: None) -> tuple[MOL, Fit]:
    """The network with a classifier that is fitted to these clips, and what was chosen.

    Args:
        model: with centered motion; nothing in it changes.
        data: the clips.
        knows: whether the network's own opinion may count: whether it has learned all classes.
        step: called for each clip.

    Raises:
        InputError: see `fitted`; or the network reads no centered motion.
    """
    recordings = data.recordings()
    model.eval()
    vectors, own = [], []
    with torch.inference_mode():
        for start in range(0, len(recordings), BATCH):
            some = recordings[start : start + BATCH]
            encoded = encode(model, data.mean_inputs(some), features=model.reads_features(CLIP_HEADS))
            vectors.append(model.mer.comparable(encoded.moved))
            own.append(model.mer(model.mer.look(encoded.first, encoded.second, encoded.moved)))
            for _ in range(sum(map(len, some))):
                step()
        firsts = [int(clips[0]) for clips in recordings]
        people = [data.entries[k].person for k in firsts]
        labels = torch.from_numpy(data.labels[firsts])
        compared = torch.cat(vectors)
        fit = fitted(compared, labels, people, torch.cat(own), TRUSTS if knows else TRUSTS[:1])
    joined = MOL(replace(model.config, kernel=len(labels)))
    mine = {"vectors": compared, "weights": fit.weights, "scale": fit.scale, "trust": fit.trust}
    joined.load_state_dict({**model.state_dict(), **{f"mer.kernel.{k}": torch.as_tensor(v) for k, v in mine.items()}})
    return joined.eval(), fit
