"""How `openmer serve` runs, and what its page offers."""

from dataclasses import dataclass, field
from pathlib import Path

from openmer.choices import Device, FaceModelName
from openmer.web.jobs import Limits


@dataclass(frozen=True)
class ServeSettings:
    """How a server runs.

    Attributes:
        host: address to listen on.
        port: port to listen on.
        engine: a .safetensors file offered beside the engines that come with the package.
        device: where networks run.
        face: who finds faces and landmarks: `dlib` or `mesh`.
        files: a folder of this machine whose videos the page lists, of any length, to be analysed where they lie.
        limits: what is allowed.
    """

    host: str = "127.0.0.1"
    port: int = 7860
    engine: Path | None = None
    device: Device = "auto"
    face: FaceModelName = "dlib"
    files: Path | None = None
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True)
class Choice:
    """An engine that the page offers.

    Attributes:
        key: its name in the browser; a path would reveal too much.
        engine: as in `openmer analyze --engine`.
        label: its description for the user.
        note: what it was trained on.
    """

    key: str
    engine: str
    label: str
    note: str
