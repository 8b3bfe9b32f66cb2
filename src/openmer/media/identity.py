"""Whether a file is the recording that it was: a short digest, quick for hours of video too."""

import hashlib
from pathlib import Path

from openmer.errors import InputError
from openmer.media.folder import numbered_pictures

PART = 1 << 20  # bytes
PARTS = 8  # read of a large file, at even distances, the first and the last among them


def source_digest(source: Path) -> str:
    """A digest of a video file or of a folder of numbered pictures, 16 hexadecimal digits.

    Of a large file, its size and `PARTS` parts of it count; of a folder, the names and sizes of its pictures and the
    content of the first and the last one. The name and place of the source do not count, so it may be moved.

    Raises:
        InputError: it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        if source.is_dir():
            pictures = [path for _, path in numbered_pictures(source).numbered]
            for path in pictures:
                digest.update(f"{path.name}\0{path.stat().st_size}\0".encode(errors="surrogateescape"))
            for path in (pictures[0], pictures[-1]):
                digest.update(path.read_bytes())
        else:
            _add_file(digest, source)
    except OSError as error:
        raise InputError(f"cannot read {source}: {error.strerror or error}") from error
    return digest.hexdigest()[:16]


def _add_file(digest: "hashlib._Hash", path: Path) -> None:
    size = path.stat().st_size
    digest.update(str(size).encode())
    with path.open("rb") as file:
        for k in range(PARTS):
            file.seek(max(0, size - PART) * k // (PARTS - 1))
            digest.update(file.read(PART))
            if size <= PART:
                return
