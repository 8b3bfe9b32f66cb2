"""OpenMER: facial micro-expressions, from a raw video to a timeline.

What needs no heavy library is imported here; the rest is imported when it is first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from openmer.clip import Clip, Sample
from openmer.errors import InputError, OpenMERError, OutputError
from openmer.timeline import Interval, Timeline, read_timeline
from openmer.version import __version__

if TYPE_CHECKING:
    from openmer.video.analyze import AnalyzeSettings, analyze

_HOMES = {"AnalyzeSettings": "openmer.video.analyze", "analyze": "openmer.video.analyze"}

__all__ = [
    "AnalyzeSettings",
    "Clip",
    "InputError",
    "Interval",
    "OpenMERError",
    "OutputError",
    "Sample",
    "Timeline",
    "__version__",
    "analyze",
    "read_timeline",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'openmer' has no attribute {name!r}")
