"""A folder of numbered pictures: which are its frames, their numbers, and their pixels upright in 8 bits."""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from statistics import median_low
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from openmer.errors import InputError

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"})
MAX_STEP_S = 1.0  # from picture to picture, beyond which their numbers do not count frames
MAX_DIGITS = 19  # of a frame's number; longer ones do not fit in 64 bits
_DIGITS = re.compile(r"\d+")
_NUMBER = re.compile(r"(\d+)\D*$")
_COPY = re.compile(r"\d ?\(\d+\)$| - copy", re.IGNORECASE)  # `img12(2).jpg`, `img12 - Copy.jpg`; not `frame (12).jpg`
_STRAY_SHARE = 0.1  # pictures named otherwise than the rest, up to which they are no second series
_PROBES = 9  # pictures, spread over the folder, that tell how many bits are used


@dataclass(frozen=True)
class Pictures:
    """The frames of a folder.

    Attributes:
        numbered: (number, path), sorted by number.
        left_out: what is said of pictures that are no frames, or an empty text.
        bits: how many bits of a pixel the pictures use, 8 to 16.
    """

    numbered: tuple[tuple[int, Path], ...]
    left_out: str
    bits: int

    def read(self, path: Path, *, gray: bool) -> tuple[npt.NDArray[np.uint8], bool]:
        """One picture as (H, W) gray or (H, W, 3) RGB, turned as EXIF says, and whether any pixel exceeds `bits`.

        Raises:
            InputError: it is not a readable image.
        """
        image = _decoded(path, cv2.IMREAD_GRAYSCALE if gray else cv2.IMREAD_COLOR_RGB)
        return to_8_bits(image, self.bits)


def numbered_pictures(folder: Path) -> Pictures:
    """Find the frames of a folder.

    Raises:
        InputError: the folder cannot be read, holds no numbered pictures, or their names do not say their order.
    """
    try:
        images = [p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith(".")]
        series = _one_series([path for path in sorted(images) if frame_number(path) is not None], folder)
    except OSError as error:
        raise InputError(f"cannot read {folder}: {error.strerror or error}") from error
    if not images:
        raise InputError(f"{folder} holds no images ({', '.join(sorted(IMAGE_SUFFIXES))})")
    others = sorted(path.name[:80] for path in set(images) - set(series))
    if not series:
        raise InputError(
            f"no image in {folder} has a number of at most {MAX_DIGITS - 1} digits in its name that says its place in "
            f"time, such as img12.png (there is {others[0]}); empty images and copies do not count"
        )
    numbered = tuple(sorted((number, path) for path, number in zip(series, _numbers(series, folder), strict=True)))
    refuse_stack(numbered[0][1])
    left_out = ""
    if others:
        who = f"{others[0]} is" if len(others) == 1 else f"{len(others)} images, such as {others[0]}, are"
        why = f"empty, a copy, without a number of at most {MAX_DIGITS - 1} digits, or named otherwise than the rest"
        left_out = f"{who} left out: {why}"
    return Pictures(numbered, left_out, _bits([path for _, path in numbered]))


def refuse_stack(path: Path) -> None:
    """Refuse a TIFF file of several pictures, of which only the first would be read.

    Raises:
        InputError: it is one.
    """
    if path.suffix.lower() in (".tif", ".tiff") and (pages := cv2.imcount(str(path))) > 1:
        raise InputError(
            f"{path} is a stack of {pages} pictures; save each as a file of its own, numbered, in a folder"
        )


def told_of_steps(pictures: Pictures, fps: Fraction) -> list[str]:
    """What is said of numbers that do not rise by one, since times are made of them.

    Raises:
        InputError: they rise by so much that they are no numbers of frames at this rate.
    """
    numbers = [number for number, _ in pictures.numbered]
    steps = [b - a for a, b in pairwise(numbers)]
    missing = sum(steps) - len(steps)
    if not missing:
        return []
    usual = median_low(steps)
    each = (
        f"{usual} from picture to picture, which at {float(fps):g} a second is a picture every {float(usual / fps):g} s"
    )
    if min(steps) > 1 and usual / fps > MAX_STEP_S:
        raise InputError(
            f"the numbers in {pictures.numbered[0][1].parent} rise by {each}; if they are moments, --fps is how many "
            "of their units make a second, 1000 for milliseconds; otherwise number the pictures through"
        )
    if min(steps) > 1:
        return [f"the numbers of the pictures, from which times are made, rise by {each}"]
    gap = next(k for k, step in enumerate(steps) if step > 1)
    return [
        f"{missing} numbers have no picture, the first after {numbers[gap]}; the time of as many frames passes there"
    ]


def picture_numbers(images: Sequence[Path], folder: Path) -> dict[Path, int]:
    """The frames among a folder's images, with the numbers by which they are read.

    Raises:
        InputError: their names do not say their order.
    """
    series = _one_series([path for path in sorted(images) if frame_number(path) is not None], folder)
    return dict(zip(series, _numbers(series, folder), strict=True)) if series else {}


def frame_number(path: Path) -> int | None:
    """The last number in a picture's name.

    None for what is no frame: other files, hidden or empty pictures, copies such as `img12(2).jpg`, pictures without a
    number, and with one of more than 18 digits.
    """
    if path.suffix.lower() not in IMAGE_SUFFIXES or path.name.startswith(".") or _COPY.search(path.stem):
        return None
    match = _NUMBER.search(path.stem)
    if match is None or len(match[1]) >= MAX_DIGITS or not path.stat().st_size:
        return None
    return int(match[1])


def _one_series(images: list[Path], folder: Path) -> list[Path]:
    """The pictures that are named alike but for their digits; a few strays are left out, two series are refused."""
    patterns = {path: _DIGITS.sub("#", unicodedata.normalize("NFC", path.name)).lower() for path in images}
    counts = Counter(patterns.values()).most_common()
    if len(counts) < 2:
        return images
    if sum(count for _, count in counts[1:]) > _STRAY_SHARE * len(images):
        examples = ", ".join(f"{pattern} ({count})" for pattern, count in counts[:4])
        raise InputError(f"the images in {folder} are of several series: {examples}; put each into a folder of its own")
    return [path for path in images if patterns[path] == counts[0][0]]


def _numbers(series: list[Path], folder: Path) -> list[int]:
    """The number in each name that says its place: the one that rises from picture to picture, with the least gaps."""
    fields = [[int(digits) for digits in _DIGITS.findall(path.stem)] for path in series]
    if len(series) == 1:
        return [fields[0][-1]]
    order = sorted(range(len(series)), key=fields.__getitem__)
    columns = list(zip(*fields, strict=True))
    rising = [c for c in columns if all(c[a] < c[b] for a, b in pairwise(order))]
    if rising:
        return list(min(reversed(rising), key=lambda column: max(column) - min(column)))
    seen_at: dict[int, str] = {}
    for path, number in zip(series, columns[-1], strict=True):
        if number in seen_at:
            raise InputError(f"{path.name} and {seen_at[number]} in {folder} have the same number")
        seen_at[number] = path.name
    raise InputError(
        f"the names in {folder}, such as {series[0].name}, hold several numbers, none of which rises from picture to "
        "picture; number the pictures through"
    )


def _bits(paths: list[Path]) -> int:
    """How many bits of a pixel are used, from pictures spread over the folder: 10 to 14 often lie in files of 16."""
    highest = 0
    for k in sorted({round(k) for k in np.linspace(0, len(paths) - 1, _PROBES)}):
        image = _decoded(paths[k], cv2.IMREAD_COLOR_RGB)  # one color can be brighter than the gray of all
        if image.dtype == np.uint8:
            return 8
        highest = max(highest, int(image.max()))
    return used_bits(highest)


def used_bits(highest: int) -> int:
    """The depth, of those that cameras have, that holds the highest value of a 16-bit picture."""
    return next(bits for bits in (8, 10, 12, 14, 16) if highest < 2**bits)


def to_8_bits(image: npt.NDArray[Any], bits: int) -> tuple[npt.NDArray[np.uint8], bool]:
    """A picture of `bits` bits in 8, rounded down, and whether any pixel is too bright for these bits; it is white."""
    if image.dtype == np.uint8:
        return np.asarray(image, np.uint8), False
    narrow = image >> (bits - 8)
    return np.minimum(narrow, 255).astype(np.uint8), bool(narrow.max() > 255)


def _decoded(path: Path, flag: int) -> npt.NDArray[Any]:
    try:
        data = np.fromfile(path, np.uint8)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    try:
        image = cv2.imdecode(data, flag | cv2.IMREAD_ANYDEPTH) if data.size else None
    except cv2.error as error:  # for example a header that states more pixels than OpenCV allows
        raise InputError(f"{path} is not a readable image: {error.err}") from error
    if image is None:
        raise InputError(f"{path} is not a readable image")
    if image.dtype not in (np.uint8, np.uint16):
        raise InputError(f"{path} has pixels of {image.dtype}; whole numbers of 8 or 16 bits are needed")
    return np.asarray(image)
