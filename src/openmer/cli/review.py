"""`openmer review`, `agree`, `tune`, `figure`: from candidates to annotations and what follows from them."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.markup import escape

from openmer.errors import InputError, to_install
from openmer.review.settings import MAGNIFIED, ReviewSettings
from openmer.timeline import CANDIDATE


@dataclass(frozen=True)
class Imported:
    """Annotations from another program.

    Attributes:
        annotations: Begin the coder's file with these annotations, of an ELAN .eaf, events exported from BORIS, or a
            table with onset_s and offset_s, and end; openmer review without it opens the page.
        tier: Tier of the .eaf; of a table, the label that counts.
        complete: All of the video is annotated there: reject the candidates that no annotation meets.
    """

    annotations: Annotated[Path | None, tyro.conf.arg(name="import")] = None
    tier: str | None = None
    complete: bool = False


NOTHING = Imported()
DEFAULT = ReviewSettings()


def review(
    results: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RESULT...")],
    /,
    *,
    settings: Annotated[ReviewSettings, tyro.conf.arg(name="")] = DEFAULT,
    imported: Annotated[Imported, tyro.conf.arg(name="")] = NOTHING,
) -> None:
    """Review candidates in the browser: accept, reject, relabel, move, add. Needs the extra `web`.

    Every decision is saved at once in review.json beside the result, or with a name in review-NAME.json; the analysis
    itself is never changed. Only this machine can reach the page, and only by the address that is printed.

    For example:

      openmer review results/talk
      openmer review results --video videos --coder ada
      openmer review results/talk results/interview --video ~/videos
      openmer review results/talk --coder ada --blind --controls 10
      openmer review results/talk --coder ada --import talk.eaf --tier micro

    Args:
        results: Folders that openmer analyze wrote, or a folder that holds them.
        settings: How results are reviewed.
        imported: Annotations from another program.
    """
    if imported != NOTHING:
        _import(results, settings.coder, imported)
        return
    if importlib.util.find_spec("uvicorn") is None or importlib.util.find_spec("starlette") is None:
        raise InputError(f"the page needs starlette and uvicorn; {to_install('web', 'starlette uvicorn')}")
    if not results:
        raise InputError("give a folder that openmer analyze wrote")
    from openmer.review.gather import named_results
    from openmer.web.review import review as run

    run(named_results(results), settings, Console(stderr=True))


def _import(results: tuple[Path, ...], coder: str, imported: Imported) -> None:
    """Write a coder's file from annotations."""
    from openmer.exchange.export import read_result
    from openmer.review.annotations import read_annotations, review_from
    from openmer.review.document import review_path
    from openmer.review.saving import write_review

    if imported.annotations is None:
        raise InputError("--tier and --complete are for --import")
    if len(results) != 1:
        raise InputError(f"annotations are imported into one RESULT, got {len(results)}")
    result = read_result(results[0])
    path = review_path(result.folder, coder)
    if path.exists():
        raise InputError(f"{path} exists, and is left as it is; choose another --coder, or move it away")
    read = read_annotations(imported.annotations, imported.tier, result.timeline.provenance.get("source"))
    review = review_from(result.folder, read.rows, coder, complete=imported.complete)
    write_review(path, review, replaces=None)
    console = Console(stderr=True)
    for warning in read.warnings:
        console.print(f"[yellow]warning:[/] {escape(warning)}", highlight=False, soft_wrap=True)
    matched = sum(e.origin == "candidate" and e.verdict == "accepted" for e in review.entries)
    console.print(f"{len(read.rows)} annotations, {matched} of them at candidates", highlight=False)
    console.print(f"[bold]{escape(str(path))}[/]", highlight=False)


def agree(
    reviews: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="REVIEW...")],
    /,
    *,
    coders: tuple[str, ...] = (),
    same_video: bool = False,
    out: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Compare two coders: Cohen's kappa, intervals, times, and what they have to settle together.

    REVIEW is a review.json, a result with two of them, or a folder of such results; counts of all videos are added
    before a ratio is taken. docs/review.md says what a moment is, over which kappa is taken.

    For example:

      openmer agree results/talk/review-ada.json results/talk/review-bob.json
      openmer agree results/talk results/interview --coders ada bob
      openmer agree results --coders ada bob --out agreement.html

    Args:
        reviews: Review files, results, or folders of results.
        coders: The names of the two coders, if a result has more reviews.
        same_video: The reviews are of different analyses of one video: compare by time alone.
        out: Write everything as .json, one row a moment as .csv, or a page as .html.
        overwrite: Replace an existing file at OUT.
    """
    from openmer.files import write_new_file
    from openmer.review.agreement import agreement_of
    from openmer.review.agreement_report import ENDINGS, sentences, tables, written
    from openmer.review.gather import gather, pair_up, without_review

    if not reviews:
        raise InputError("give two reviews, or results with two reviews each")
    if out is not None and out.suffix.lower() not in ENDINGS:
        raise InputError(f"--out must end in {', '.join(ENDINGS)}, got {out.name}")
    reviewed = gather(reviews)
    paired = pair_up(reviewed, coders, same_video=same_video)
    agreement = agreement_of(paired.pairs, paired.coders, same_video=same_video)
    if out is not None:
        write_new_file(out, written(agreement, out.suffix.lower()), overwrite=overwrite)
    console = Console()
    for path in paired.left_out:
        console.print(f"[yellow]left out:[/] {escape(path)}, of one coder only", highlight=False, soft_wrap=True)
    for place in without_review(reviews, reviewed):
        console.print(f"[yellow]left out:[/] {escape(str(place))}, not reviewed", highlight=False, soft_wrap=True)
    for sentence in sentences(agreement):
        console.print(escape(sentence), highlight=False, soft_wrap=True)
    for table in tables(agreement):
        console.print(table)
    if out is not None:
        Console(stderr=True).print(f"[bold]{escape(str(out))}[/]", highlight=False)


def tune(
    reviews: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="REVIEW...")],
    /,
    *,
    out: Path,
    coder: str | None = None,
    subjects: Path | None = None,
    write_anyway: bool = False,
    overwrite: bool = False,
) -> None:
    """Set the spotter's thresholds for your own recordings, from what coders accepted, rejected and added.

    REVIEW is a review.json beside its result, a result, or a folder of results, all analysed with the same settings.
    Recordings are spotted again, not measured again. F1 before and after is of people who were left out while the
    thresholds were chosen, each once; if it is not better, or chance may have made it so, nothing is written. openmer
    analyze --tuned takes the file.

    For example:

      openmer tune results --out lab.json
      openmer tune results/study/* --coder ada --subjects people.csv --out lab.json

    Args:
        reviews: Review files beside their results, results, or folders of results.
        out: The file to write.
        coder: Whose reviews, if results have several.
        subjects: A table with the columns video and subject, so that people are left out with all of their recordings;
            without it, each recording is taken to be of another person.
        write_anyway: Write the file even if it is not better on those left out.
        overwrite: Replace an existing file at OUT.
    """
    from openmer.files import write_new_file
    from openmer.progress import progress
    from openmer.review.gather import gather
    from openmer.review.samples import check_one_video_a_name, read_subjects
    from openmer.review.tune import MAX_CHANCE, check_enough, read_recording, tune_report, written
    from openmer.review.tune import tune as run

    if not reviews:
        raise InputError("give reviewed results")
    reviewed = [one for one in gather(reviews) if coder is None or one.review.coder == coder]
    check_enough(reviewed)
    people = None if subjects is None else read_subjects(subjects)
    if people is not None:
        check_one_video_a_name(people, [(one.path.parent, one.review) for one in reviewed])
    recordings = [read_recording(one, people) for one in reviewed]
    console = Console()
    with progress(Console(stderr=True), "Spotting", len(recordings), "recordings/s") as step:
        tuning = run(recordings, step)
    for line in tune_report(tuning):
        console.print(line, highlight=False, soft_wrap=isinstance(line, str))
    if not (tuning.helps or write_anyway):
        why = f"better, but by chance with probability {tuning.chance:.2g}, above {MAX_CHANCE:g}"
        raise InputError(
            f"on those left out, F1 is {why if tuning.after.f1 > tuning.before.f1 else 'not better than before'}: keep "
            "the thresholds, or review more people; nothing is written (--write-anyway does it)"
        )
    write_new_file(out, written(tuning), overwrite=overwrite)
    Console(stderr=True).print(f"[bold]{escape(str(out))}[/]", highlight=False)


def figure(
    result: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RESULT")],
    /,
    *,
    out: Path,
    candidate: int = 1,
    video: Path | None = None,
    magnify: float = MAGNIFIED,
    overwrite: bool = False,
) -> None:
    """Draw one candidate for a paper, or write its motion magnified.

    An .svg or .png shows the onset, apex and offset frames, the flow from onset to apex, and the motion over time. An
    .mp4 or .gif shows the motion magnified and slowed down.

    For example:

      openmer figure results/talk --candidate 2 --out figure2.svg
      openmer figure results/talk --candidate 2 --out motion.gif --magnify 6

    Args:
        result: The folder that openmer analyze wrote.
        out: The file to write: .svg, .png, .mp4 or .gif.
        candidate: Which candidate, from 1, by time.
        video: The video, or the folder in which it is; by default it is looked for beside the result.
        magnify: How many times the motion is enlarged in a moving picture.
        overwrite: Replace an existing file at OUT.
    """
    from openmer.files import write_new_file
    from openmer.review.material import Material
    from openmer.review.picture import Gallery

    material = Material(result, video)
    candidates = sorted(material.timeline.labelled(CANDIDATE), key=lambda i: i.onset_s)
    if not 1 <= candidate <= len(candidates):
        has = (
            f"has {len(candidates)} candidate{'' if len(candidates) == 1 else 's'}"
            if candidates
            else "has no candidates"
        )
        raise InputError(f"{result} {has}, so there is no candidate {candidate} to draw")
    data = Gallery(material, candidates[candidate - 1]).drawn(out.suffix.lower().removeprefix("."), magnify)
    write_new_file(out, data, overwrite=overwrite)
    Console(stderr=True).print(f"[bold]{escape(str(out))}[/]", highlight=False)
