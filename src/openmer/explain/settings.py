"""What is explained, and how; the command line is made from it."""

from dataclasses import dataclass
from typing import Annotated

import tyro

from openmer.choices import Attributor


@dataclass(frozen=True)
class ExplainSettings:
    """What is explained, and how.

    Attributes:
        target: The class to explain; by default the most probable one in each window.
        method: integrated (gradients on the path from a still face, a few seconds per moment) or held (patches held
            still, four times slower).
        at_s: Moments to explain, seconds; by default the strongest candidates, or other events if there are few.
    """

    target: str | None = None
    method: Attributor = "integrated"
    at_s: Annotated[tuple[float, ...], tyro.conf.arg(name="at")] = ()
