"""A classifier for few clips, in closed form: how alike a clip's motion is to that of clips whose class is known.

Kernel ridge regression of the classes with a Gaussian kernel. It is fitted in `openmer.training.kernel`.

Shape legend: B clips to judge, N clips to compare with, D = M S S values of a displacement, C classes.
"""

import torch
from torch import Tensor, nn

WIDTH = 0.6  # of the kernel: exp(WIDTH (cos - 1)); two clips that have nothing in common are alike by exp(-WIDTH)


class KernelClassifier(nn.Module):
    """Compares a clip's displacement with those of the clips that it was fitted to.

    Args:
        clips: N.
        values: D.
        classes: C.
    """

    def __init__(self, clips: int, values: int, classes: int) -> None:
        super().__init__()
        self.vectors: Tensor
        self.weights: Tensor
        self.scale: Tensor
        self.trust: Tensor
        self.register_buffer("vectors", torch.zeros(clips, values))
        self.register_buffer("weights", torch.zeros(clips, classes))
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("trust", torch.zeros(()))

    def forward(self, vectors_BD: Tensor) -> Tensor:
        """Output of `comparable` -> (B, C) scores, some 1 for the class and -1 for the others."""
        return alike(vectors_BD, self.vectors) @ self.weights

    def join(self, scores_BC: Tensor, logits_BC: Tensor) -> Tensor:
        """Scores and the network's own logits -> logits of both."""
        own = logits_BC.float().log_softmax(1)
        return (self.scale * scores_BC).log_softmax(1) + self.trust * own


def comparable(displacement_BPMSS: Tensor, middle_SS: Tensor) -> Tensor:
    """The displacement of the frame in which most has moved, divided by its size: (B, P, M, S, S) px -> (B, D)."""
    energy = (displacement_BPMSS.square().sum(2) * middle_SS).mean((2, 3))
    most = energy.argmax(1)[:, None, None, None, None].expand(-1, 1, *displacement_BPMSS.shape[2:])
    largest = displacement_BPMSS.gather(1, most).flatten(1)
    return largest / (largest.square().mean(1, keepdim=True).sqrt() + 1e-6)


def alike(these_BD: Tensor, those_ND: Tensor) -> Tensor:
    """(B, N) similarity from their cosine."""
    return torch.exp(WIDTH * (these_BD @ those_ND.T / these_BD.shape[1] - 1))
