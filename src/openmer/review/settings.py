"""How results are reviewed: each setting stands here once; the command line is made from it."""

from dataclasses import dataclass

from openmer.errors import InputError


@dataclass(frozen=True)
class BlindSettings:
    """How blind a coder is.

    Attributes:
        blind: Hide what the machine thinks (labels, scores, curves), and show the candidates shuffled among controls,
            moments in which it found nothing.
        controls: How many controls; by default half as many as candidates.
        seed: From which controls and order are drawn; coders with the same seed have the same controls.
    """

    blind: bool = False
    controls: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.blind and (self.controls is not None or self.seed):
            raise InputError("--controls and --seed are for --blind")
        if (self.controls or 0) < 0 or self.seed < 0:
            raise InputError("--controls and --seed are whole numbers from 0")
