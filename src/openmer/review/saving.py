"""Saving a review: all of it or nothing, and never over what somebody else saved meanwhile."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from openmer.errors import OpenMERError, OutputError
from openmer.files import write_atomic
from openmer.review.document import Review, read_review


class ConflictError(OpenMERError):
    """Somebody else, perhaps another window, saved meanwhile.

    Attributes:
        current: what is saved now.
    """

    def __init__(self, message: str, current: Review) -> None:
        super().__init__(message)
        self.current = current


def write_review(path: Path, review: Review, *, replaces: int | None) -> None:
    """Write a review, all of it or nothing.

    Args:
        path: the file; see `review_path`.
        review: what to write.
        replaces: the revision that must be on the disk now; None if there must be no file yet.

    Raises:
        ConflictError: another revision is there.
        InputError: what is there is damaged or foreign; it is left as it is.
        OutputError: the file cannot be written; the last good state stays.
    """
    try:
        with _locked(path.parent):
            current = read_review(path) if path.exists() or path.is_symlink() else None
            if current is not None and current.revision != replaces:
                raise ConflictError(f"{path.name} was changed meanwhile, perhaps in another window", current)
            if current is None and replaces is not None:
                raise OutputError(f"{path} is not there any more; save it again to write it anew")
            write_atomic(path, msgspec.json.format(msgspec.json.encode(review), indent=1) + b"\n", durable=True)
    except OSError as error:
        reason = error.strerror or error
        raise OutputError(f"cannot write {path}: {reason}; what was saved before is still there") from error


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other processes from writing in this folder meanwhile, where the system has such locks."""
    if sys.platform == "win32":
        yield
        return
    import fcntl

    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network drives have none
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
