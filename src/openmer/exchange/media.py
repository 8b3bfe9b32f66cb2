"""Which file an annotation belongs to: names of media in other programs, compared with the video's."""

import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote


def plain_name(link: str) -> str:
    """The name of a file without folders, from a path of any system or an address."""
    return str(re.split(r"[/\\]", unquote(link))[-1])


def is_of(video: str, links: Iterable[str]) -> bool:
    """Whether any link means the video, whatever its case, its accents' form, and the format it was converted to."""
    named = [name for link in links for name in (plain_name(link), re.split(r"[/\\]", link)[-1])]
    return _stem(video) in map(_stem, named)  # a path, unlike an address, may hold a percent sign of its own


def other_media(annotation: str, links: Iterable[str], video: str) -> str:
    """What is said of an annotation that names other media only."""
    names = ", ".join(dict.fromkeys(map(plain_name, links)))
    return f"{annotation} annotates {names[:200]}, not {video}; is it the annotation of another video?"


def _stem(name: str) -> str:
    return unicodedata.normalize("NFC", Path(name).stem).casefold()
