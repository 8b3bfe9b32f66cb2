"""A folder for videos of faces that nobody else can read, and that is deleted when the server ends."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows does not have it; folders left by a killed server are then not found
    fcntl = None  # type: ignore[assignment]

PREFIX = "openmer-serve-"
LOCK = "lock"


@contextmanager
def private_folder() -> Iterator[Path]:
    """Yield a new folder with mode 0700; everything in it is deleted at the end.

    A server that was killed could not delete its own. Each server holds a lock on its folder while it runs, so an
    unlocked folder no longer belongs to any server and is deleted here.
    """
    _sweep(Path(tempfile.gettempdir()))
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    try:
        with (folder / LOCK).open("w") as lock:
            _try_lock(lock.fileno())
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sweep(parent: Path) -> None:
    for folder in parent.glob(f"{PREFIX}*"):
        with suppress(OSError):
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                continue
            with (folder / LOCK).open("r+") as lock:
                if _try_lock(lock.fileno()):
                    shutil.rmtree(folder, ignore_errors=True)


def _try_lock(file: int) -> bool:
    if fcntl is None:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
