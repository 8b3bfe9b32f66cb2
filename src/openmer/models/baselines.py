"""The baselines that MOL is compared with, on the same folds.

STSTNet and Off-ApexNet read the optical flow from onset to apex. Here the apex is the frame with the largest mean
motion since the first one (`training.data.motion_to_apex`), so that they are told no more than MOL is. All return a
`MOLOutput` with only the logits.

Shape legend: B samples, H = W = 28.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from openmer.errors import InputError
from openmer.models.mol import MOLOutput

SIDE = 28


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
