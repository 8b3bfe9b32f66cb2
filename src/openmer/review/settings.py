"""How results are reviewed: each setting stands here once; the command line is made from it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from openmer.errors import InputError, check_port

MAGNIFIED = 4.0  # how many times motion is enlarged in a moving picture, unless asked otherwise


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


@dataclass(frozen=True)
class ReviewSettings:
    """How results are reviewed.

    Attributes:
        coder: Your name: each coder has a file.
        blind: How blind the coder is.
        video: The video, or the folder in which the videos are, also in folders below; by default they are looked for
            beside the results.
        port: Port to listen on; 0 takes any that is free.
        browser: Open the page in a browser.
    """

    coder: str = ""
    blind: Annotated[BlindSettings, tyro.conf.arg(name="")] = field(default_factory=BlindSettings)
    video: Path | None = None
    port: int = 0
    browser: bool = True

    def __post_init__(self) -> None:
        check_port(self.port)
