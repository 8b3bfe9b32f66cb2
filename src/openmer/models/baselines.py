"""The baselines that MOL is compared with, on the same folds.

STSTNet and Off-ApexNet read the optical flow from onset to apex. Here the apex is the frame with the largest mean
motion since the first one (`training.data.motion_to_apex`), so that they are told no more than MOL is. All return a
`MOLOutput` with only the logits.

Shape legend: B samples, H = W = 28.
"""

from itertools import combinations, pairwise
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from openmer.errors import InputError
from openmer.models.mol import MOLOutput

SIDE = 28
SVM_FILE = "flow-svm.safetensors"  # in the folder of a run
NEVER = -100.0  # the logit of a class that the training set does not have


def _checked(x: Tensor, channels: int) -> Tensor:
    if x.ndim != 4 or tuple(x.shape[1:]) != (channels, SIDE, SIDE):
        raise InputError(f"expected (B, {channels}, {SIDE}, {SIDE}): dx, dy, strain; got {tuple(x.shape)}")
    return x


class STSTNet(nn.Module):
    """Shallow Triple Stream Three-dimensional CNN (Liong, Gan, See, Khor, Huang, FG 2019).

    Three shallow streams of 3, 5 and 8 filters look at the same (dx, dy, strain); 400 features go to the classifier.
    Normalisation and dropout follow the authors' own PyTorch port as it is commonly described.

    Args:
        num_classes: number of classes.
    """

    def __init__(self, num_classes: int = 3) -> None:
        super().__init__()
        self.streams = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(3, filters, 3, padding=2),
                nn.ReLU(),
                nn.BatchNorm2d(filters),
                nn.MaxPool2d(3, 3, 1),
                nn.Dropout2d(),
            )
            for filters in (3, 5, 8)
        )
        self.classify = nn.Linear(16 * 5 * 5, num_classes)

    def forward(self, flow_strain_B3HW: Tensor) -> MOLOutput:
        """(B, 3, 28, 28): dx, dy, strain from onset to apex."""
        x = torch.cat([stream(_checked(flow_strain_B3HW, 3)) for stream in self.streams], 1)
        return MOLOutput(logits=self.classify(F.avg_pool2d(x, 2).flatten(1)))


class OffApexNet(nn.Module):
    """Optical Flow Features from Apex frame Network (Gan, Liong, Yau, Huang, Tan, SPIC 2019).

    One stream of two convolutions for dx, one for dy, then two fully connected layers of 1024.

    Args:
        num_classes: number of classes.
    """

    def __init__(self, num_classes: int = 3) -> None:
        super().__init__()
        self.streams = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(1, 6, 5, padding=2),
                nn.ReLU(),
                nn.MaxPool2d(2),
                nn.Conv2d(6, 16, 5, padding=2),
                nn.ReLU(),
                nn.MaxPool2d(2),
                nn.Flatten(),
            )
            for _ in range(2)
        )
        self.classify = nn.Sequential(
            nn.Linear(2 * 16 * 7 * 7, 1024), nn.ReLU(), nn.Linear(1024, 1024), nn.ReLU(), nn.Linear(1024, num_classes)
        )

    def forward(self, flow_B2HW: Tensor) -> MOLOutput:
        """(B, 2, 28, 28): dx, dy from onset to apex."""
        x = _checked(flow_B2HW, 2)
        parts = [stream(x[:, k : k + 1]) for k, stream in enumerate(self.streams)]
        return MOLOutput(logits=self.classify(torch.cat(parts, 1)))


class FlowSVM(nn.Module):
    """A support vector machine with a radial kernel on the flow from onset to apex (the yardstick of every transfer).

    The flow is divided by its root mean square, so that the size of a motion does not count. Fitted by scikit-learn
    (C 1, gamma 0.1 / features), one class against one; it answers in torch, from the support vectors alone. The logits
    are scikit-learn's one-against-rest values: votes, with confidences between equal votes; softmax of them orders the
    classes rightly and is not calibrated.

    Args:
        num_classes: number of classes; one that no clip of the training set has is never the answer.

    Shape legend: N clips of the training set, V support vectors, F = 2 * 28 * 28, P pairs of classes.
    """

    C, GAMMA = 1.0, 0.1

    def __init__(self, num_classes: int = 3) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.support_VF: Tensor
        self.weights_PV: Tensor
        self.bias_P: Tensor
        self.pairs_P2: Tensor
        self.present_K: Tensor
        self.register_buffer("support_VF", torch.zeros(0, 2 * SIDE * SIDE))
        self.register_buffer("weights_PV", torch.zeros(0, 0))
        self.register_buffer("bias_P", torch.zeros(0))
        self.register_buffer("pairs_P2", torch.zeros(0, 2, dtype=torch.int64))
        self.register_buffer("present_K", torch.zeros(num_classes, dtype=torch.bool))

    def fit(self, motion_N3HW: Tensor, labels_N: Tensor) -> "FlowSVM":
        """Learn from (N, 3, 28, 28): dx, dy, strain from onset to apex, and (N,) class numbers."""
        from sklearn.svm import SVC

        x_NF = _directions(motion_N3HW)
        present = sorted(set(labels_N.tolist()))
        self.present_K = torch.zeros(self.num_classes, dtype=torch.bool)
        self.present_K[present] = True
        if len(present) < 2:
            return self
        svm = SVC(C=self.C, gamma=self.GAMMA / x_NF.shape[1]).fit(x_NF.numpy(), labels_N.numpy())
        ends = [0, *svm.n_support_.cumsum().tolist()]
        of_class = [slice(a, b) for a, b in pairwise(ends)]
        pairs = list(combinations(range(len(present)), 2))
        weights_PV = torch.zeros(len(pairs), ends[-1])
        dual = torch.from_numpy(svm.dual_coef_).float()
        for row, (i, j) in enumerate(pairs):
            weights_PV[row, of_class[i]] = dual[j - 1, of_class[i]]
            weights_PV[row, of_class[j]] = dual[i, of_class[j]]
        # With two classes, scikit-learn's coefficients speak for the second, with more for the first of a pair.
        sign = -1.0 if len(present) == 2 else 1.0
        self.support_VF = torch.from_numpy(svm.support_vectors_).float()
        self.weights_PV = sign * weights_PV
        self.bias_P = sign * torch.from_numpy(svm.intercept_).float()
        self.pairs_P2 = torch.tensor([[present[i], present[j]] for i, j in pairs])
        return self

    def forward(self, motion_B3HW: Tensor) -> MOLOutput:
        """(B, 3, 28, 28): dx, dy, strain from onset to apex."""
        x_BF = _directions(motion_B3HW)
        votes_BK = x_BF.new_zeros(len(x_BF), self.num_classes)
        sums_BK = torch.zeros_like(votes_BK)
        if len(self.pairs_P2):
            distance_BV = torch.cdist(x_BF, self.support_VF, compute_mode="donot_use_mm_for_euclid_dist")
            kernel_BV = torch.exp(-self.GAMMA / x_BF.shape[1] * distance_BV.square())
            values_BP = kernel_BV @ self.weights_PV.T + self.bias_P
            first_P, second_P = self.pairs_P2.T
            votes_BK.index_add_(1, first_P, (values_BP >= 0).float())
            votes_BK.index_add_(1, second_P, (values_BP < 0).float())
            sums_BK.index_add_(1, first_P, values_BP).index_add_(1, second_P, -values_BP)
        logits_BK = votes_BK + sums_BK / (3 * (sums_BK.abs() + 1))
        return MOLOutput(logits=logits_BK.masked_fill(~self.present_K, NEVER))

    def save(self, path: Path) -> None:
        """Write the support vectors and their weights as safetensors."""
        save_file({name: tensor.contiguous() for name, tensor in self.state_dict().items()}, path)

    @classmethod
    def read(cls, path: Path) -> "FlowSVM":
        """The machine that `save` wrote.

        Raises:
            InputError: the file cannot be read, or holds something else.
        """
        try:
            tensors = load_file(path)
            model = cls(len(tensors["present_K"]))
            names = dict(model.named_buffers())
            vectors, pairs = len(tensors["support_VF"]), len(tensors["pairs_P2"])
            shapes = {"support_VF": (vectors, 2 * SIDE * SIDE), "weights_PV": (pairs, vectors), "bias_P": (pairs,)}
            sound = {n: (t.dtype, shapes.get(n, tuple(t.shape))) for n, t in tensors.items()}
            if set(tensors) != set(names) or sound != {n: (names[n].dtype, tuple(t.shape)) for n, t in tensors.items()}:
                raise InputError(f"{path} is not a {cls.__name__}: it holds {', '.join(sorted(tensors))}")
        except (OSError, KeyError, TypeError, SafetensorError) as error:
            raise InputError(f"cannot read {path}: {error}") from error
        for name, tensor in tensors.items():
            setattr(model, name, tensor)
        return model.eval()


def _directions(motion_B3HW: Tensor) -> Tensor:
    """(B, 3, 28, 28) -> (B, F): dx and dy of each sample, divided by their root mean square."""
    flow_BF = _checked(motion_B3HW, 3)[:, :2].flatten(1).float()
    return flow_BF / flow_BF.square().mean(1, keepdim=True).sqrt().clamp_min(1e-6)


class ConstantGuesser(nn.Module):
    """Answers with the class shares of the training set, whatever it sees: the score that any learning must beat.

    Args:
        num_classes: number of classes.
    """

    def __init__(self, num_classes: int = 3) -> None:
        super().__init__()
        self.log_share: Tensor
        self.register_buffer("log_share", torch.zeros(num_classes))

    def fit(self, labels: Tensor) -> "ConstantGuesser":
        """Learn from (N,) class numbers; an absent class gets a share of one in N + classes."""
        counts = torch.bincount(labels, minlength=len(self.log_share)).float() + 1
        self.log_share = (counts / counts.sum()).log()
        return self

    def forward(self, x: Tensor) -> MOLOutput:
        """Anything whose first dimension is B."""
        return MOLOutput(logits=self.log_share.expand(len(x), -1))
