"""How `openmer serve` runs, and what its page offers; the command line is made from it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from openmer.choices import Device, FaceModelName
from openmer.errors import InputError, check_port


@dataclass(frozen=True)
class Limits:
    """What one server allows.

    Attributes:
        workers: Number of analyses at a time; others wait in a queue.
        max_mb: Largest upload, in millions of bytes.
        max_seconds: Longest video, in seconds.
        keep_minutes: Longest time that files are kept while a page stays open.
    """

    workers: int = 1
    max_mb: float = 200
    max_seconds: float = 120
    keep_minutes: float = 60

    def __post_init__(self) -> None:
        for name in ("workers", "max_mb", "max_seconds", "keep_minutes"):
            if not 0 < getattr(self, name) < 1e6:
                raise InputError(f"--{name.replace('_', '-')} must be more than 0, got {getattr(self, name)}")


@dataclass(frozen=True)
class ServeSettings:
    """How a server runs.

    Attributes:
        host: Address to listen on; 0.0.0.0 lets others in, without a password.
        port: Port to listen on.
        engine: A .safetensors file to offer beside mol-lite and classical.
        device: Where networks run.
        face: Who finds faces and landmarks: dlib, or mesh, whose weights may be used commercially.
        files: A folder of this machine whose videos the page lists, of any length; they stay where they are.
        limits: What is allowed.
    """

    host: str = "127.0.0.1"
    port: int = 7860
    engine: Path | None = None
    device: Device = "auto"
    face: FaceModelName = "dlib"
    files: Path | None = None
    limits: Annotated[Limits, tyro.conf.arg(name="")] = Limits()

    def __post_init__(self) -> None:
        check_port(self.port)


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
