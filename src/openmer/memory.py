"""Free memory goes back to the system while a long video is worked on.

Pictures and maps of every frame are taken and freed, from several threads, between small things that stay. What is free
then lies in pieces between them, which the C library keeps: some 25 MB a thousand frames (docs/LOG.md).
"""

import ctypes
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any, TypeVar

Item = TypeVar("Item")

EVERY = 500  # items; giving back takes some milliseconds


def give_back() -> None:
    """Give free memory back to the system, where the C library can (glibc)."""
    trim = _trim()
    if trim is not None:
        trim(0)


def given_back(items: Iterable[Item], every: int = EVERY) -> Iterator[Item]:
    """The same items; after every so many of them, and at the end, free memory is given back."""
    for number, item in enumerate(items, start=1):
        yield item
        if number % every == 0:
            give_back()
    give_back()


@cache
def _trim() -> Any:
    if not sys.platform.startswith("linux"):
        return None
    try:
        return ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):  # another C library, such as musl
        return None
