"""Which reviews are meant: files, results, or folders of results; and which two of them are of one analysis."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from openmer.errors import InputError
from openmer.exchange.export import TIMELINE, read_result
from openmer.review.document import Review, read_review, review_path, reviews_of
from openmer.video.files import SUMMARY_FILES


@dataclass(frozen=True)
class ReviewFile:
    """A review, where it was found, and whether the file itself was given."""

    path: Path
    review: Review
    given: bool

    @property
    def coder(self) -> str:
        """The coder's name, or what else tells the review from others."""
        return self.review.coder or str(self.path)


def gather(paths: Sequence[Path]) -> tuple[ReviewFile, ...]:
    """The reviews at these places, each file once.

    Args:
        paths: review files, folders that `openmer analyze` wrote, or folders that hold such folders.

    Raises:
        InputError: no place holds a review, or one holds what is no result, or a review that cannot be used.
    """
    reviews: dict[Path, ReviewFile] = {}
    paths = without_summaries(paths)
    for path in paths:
        for file in _files(path):
            reviews.setdefault(Path(os.path.realpath(file)), ReviewFile(file, read_review(file), file == path))
    if not reviews:
        results = sum(len(results_at(path)) for path in paths)
        raise InputError(
            f"there is no review in {', '.join(map(str, paths))}: no review.json or review-NAME.json beside any of "
            f"{results} {TIMELINE}; openmer review writes them"
        )
    return tuple(reviews.values())


def without_review(paths: Sequence[Path], reviews: Sequence[ReviewFile]) -> tuple[Path, ...]:
    """The places that were given and hold no review."""
    files = [one.path.absolute() for one in reviews]
    return tuple(p for p in without_summaries(paths) if not any(file.is_relative_to(p.absolute()) for file in files))


def results_at(path: Path) -> tuple[Path, ...]:
    """The results at a place: a result's folder, or all that lie in a folder and below; otherwise the place itself."""
    if not path.is_dir() or (path / TIMELINE).is_file():
        return (path,)
    return tuple(sorted(p.parent for p in path.rglob(TIMELINE))) or (path,)


def named_results(paths: Sequence[Path]) -> tuple[Path, ...]:
    """The results at several places; of a folder's `*`, what is a table or page over all results is passed over."""
    return tuple(result for path in without_summaries(paths) for result in results_at(path))


def without_summaries(paths: Sequence[Path]) -> tuple[Path, ...]:
    """The places but for the tables and the page that `openmer analyze` writes over many results."""
    kept = tuple(path for path in paths if path.name not in SUMMARY_FILES or not path.is_file())
    return kept or tuple(paths)


def _files(path: Path) -> tuple[Path, ...]:
    if not path.is_dir():
        return (path,)
    results = results_at(path)
    if not any((result / TIMELINE).is_file() for result in results):
        raise InputError(f"{path} holds no {TIMELINE}; give results that openmer analyze wrote, or reviews")
    return tuple(file for result in results for file in reviews_of(result))


def review_in(result: Path, coder: str | None = None) -> Review:
    """A coder's review of a result.

    Args:
        result: the folder that `openmer analyze` wrote, or the timeline.json in it.
        coder: whose; None for the only one there is.

    Raises:
        InputError: there is no result, no such review, or several and no coder is named.
    """
    folder = read_result(result).folder
    files = reviews_of(folder)
    names = ", ".join(path.name for path in files) or "none; openmer review writes them"
    if coder is not None:
        path = review_path(folder, coder)
        if path not in files:
            raise InputError(f"{folder} has no {path.name}; its reviews: {names}")
        return read_review(path)
    if len(files) != 1:
        raise InputError(f"{folder} has {len(files)} reviews, so say whose with --coder; its reviews: {names}")
    return read_review(files[0])


@dataclass(frozen=True)
class Paired:
    """Reviews two by two, with the two coders' names, and what was left out."""

    pairs: tuple[tuple[Review, Review], ...]
    coders: tuple[str, str]
    left_out: tuple[str, ...]


def pair_up(reviews: Sequence[ReviewFile], coders: Sequence[str] = (), *, same_video: bool = False) -> Paired:
    """The two reviews of each analysis.

    Args:
        reviews: those of all coders.
        coders: the names of the two coders to compare, if there are more.
        same_video: pair by the video's name, and the person in it, instead of the analysis.

    Returns:
        The pairs, the first coder's review first; reviews of results that only one coder reviewed are left out.

    Raises:
        InputError: there are no pairs, an analysis has more than two reviews, or the coders differ between analyses.
    """
    if coders and (len(coders) != 2 or coders[0] == coders[1]):
        raise InputError(f"agreement is between two coders, got {', '.join(coders)}")
    given = sorted({one.review.coder for one in reviews if one.review.coder})
    unknown = [name for name in coders if name not in given]
    if unknown:
        raise InputError(
            f"no review is by {' or '.join(unknown)}; there are reviews by {', '.join(given) or 'nobody named'}"
        )
    groups: dict[tuple[str, int | None], list[ReviewFile]] = {}
    for one in reviews:
        if not coders or one.review.coder in coders:
            source = one.review.source
            key = (source.video, source.person) if same_video else (source.timeline_sha256, None)
            groups.setdefault(key, []).append(one)
    alone = [group[0] for group in groups.values() if len(group) == 1]
    if any(one.given for one in alone) or (len(alone) == len(groups) > 1):
        raise InputError(_apart([one for one in reviews if not coders or one.review.coder in coders], alone))
    names: tuple[str, str] | None = None
    pairs = []
    for group in (group for group in groups.values() if len(group) > 1):
        one, other = _two(group)
        if coders:
            one, other = sorted((one, other), key=lambda f: coders.index(f.review.coder))
        if names and (one.coder, other.coder) == names[::-1]:
            one, other = other, one
        if names and one.review.coder + other.review.coder and {one.coder, other.coder} != {*names}:
            raise InputError(
                f"{one.review.source.video} was reviewed by {one.coder} and {other.coder}, another video by "
                f"{' and '.join(names)}; compare two coders at a time, with --coders"
            )
        names = names or (one.coder, other.coder)
        pairs.append((one.review, other.review))
    if not pairs or names is None:
        of_coders = f" of {' and '.join(coders)}" if coders else ""
        raise InputError(f"no result has two reviews{of_coders}; each coder reviews with openmer review --coder NAME")
    return Paired(tuple(pairs), names, tuple(str(one.path) for one in alone))


def _two(group: Sequence[ReviewFile]) -> tuple[ReviewFile, ReviewFile]:
    if len(group) > 2 or (group[0].review.coder == group[1].review.coder != ""):
        listed = ", ".join(str(one.path) for one in group)
        if len(group) == 2:
            raise InputError(
                f"both reviews of {group[0].review.source.video} name the coder {group[0].review.coder} ({listed}), so "
                "they cannot be told apart; each coder reviews with another --coder"
            )
        raise InputError(
            f"{group[0].review.source.video} has {len(group)} reviews ({listed}); say which two coders with --coders, "
            "or give two files"
        )
    return group[0], group[1]


def _apart(reviews: Sequence[ReviewFile], alone: Sequence[ReviewFile]) -> str:
    """Why reviews that were given have no partner."""
    lonely = alone[0]
    others = [one for one in reviews if one is not lonely]
    if not others:
        return f"{lonely.path} is one review; two are compared: give the other coder's too, or the result that has both"
    of_video = [one.review.source for one in others if one.review.source.video == lonely.review.source.video]
    if of_video and all(source.person != lonely.review.source.person for source in of_video):
        return (
            f"{lonely.path} is of {lonely.review.source.whom} in {lonely.review.source.video}, the other review of "
            f"{of_video[0].whom}: there is nothing to compare it with"
        )
    if of_video:
        return (
            f"{lonely.path} is of another analysis of {lonely.review.source.video} than the other review, or of "
            "another video of that name; if it is one video, --same-video compares by time"
        )
    videos = ", ".join(dict.fromkeys(f"{one.path.name}: {one.review.source.video}" for one in others))
    return (
        f"{lonely.path} is a review of {lonely.review.source.video}, and no other review that was given is ({videos}): "
        "there is nothing to compare it with"
    )
