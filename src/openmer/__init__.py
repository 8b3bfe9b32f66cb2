"""OpenMER: facial micro-expressions, from a raw video to a timeline.

Only what needs no heavy library is imported here; the rest is imported on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from openmer.clip import Clip, Sample
from openmer.errors import InputError, OpenMERError, OutputError
from openmer.timeline import Interval, Timeline, read_timeline
from openmer.version import __version__

if TYPE_CHECKING:
    from openmer.exchange.elan import read_elan
    from openmer.models.authors import load_authors_checkpoint
    from openmer.models.config import MOLConfig
    from openmer.models.mol import MOL, MOLOutput, create_model
    from openmer.models.weights import ModelCard, ModelDescription, load_model, read_record, save_model
    from openmer.video.analyze import analyze
    from openmer.video.live import Moment, stream
    from openmer.video.settings import AnalyzeSettings, StreamSettings

_HOMES = {
    "openmer.exchange.elan": ("read_elan",),
    "openmer.models.authors": ("load_authors_checkpoint",),
    "openmer.models.config": ("MOLConfig",),
    "openmer.models.mol": ("MOL", "MOLOutput", "create_model"),
    "openmer.models.weights": ("ModelCard", "ModelDescription", "load_model", "read_record", "save_model"),
    "openmer.video.analyze": ("analyze",),
    "openmer.video.live": ("Moment", "stream"),
    "openmer.video.settings": ("AnalyzeSettings", "StreamSettings"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "MOL",
    "AnalyzeSettings",
    "Clip",
    "InputError",
    "Interval",
    "MOLConfig",
    "MOLOutput",
    "ModelCard",
    "ModelDescription",
    "Moment",
    "OpenMERError",
    "OutputError",
    "Sample",
    "StreamSettings",
    "Timeline",
    "__version__",
    "analyze",
    "create_model",
    "load_authors_checkpoint",
    "load_model",
    "read_elan",
    "read_record",
    "read_timeline",
    "save_model",
    "stream",
]


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        return getattr(import_module(_HOME_OF[name]), name)
    raise AttributeError(f"module 'openmer' has no attribute {name!r}")
