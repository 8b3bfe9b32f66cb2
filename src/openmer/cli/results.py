"""`openmer export` and `score`: results for other programs, and against other people's annotation."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console
from rich.markup import escape

from openmer.choices import ExportFormat
from openmer.errors import InputError, OutputError
from openmer.evaluation.settings import MEGC_IOU
from openmer.models.config import Head
from openmer.timeline import CANDIDATE, LABELS


@dataclass(frozen=True)
class Reviewed:
    """What of a coder's review is exported.

    Attributes:
        reviewed: Instead of what the analysis found, what a coder accepted or added in openmer review.
        coder: Whose review, if a result has several.
        rejected: Also what was rejected, labelled none.
        subject: For --to samples: the person in all of these videos.
        subjects: For --to samples: a table with the columns video and subject.
    """

    reviewed: bool = False
    coder: str | None = None
    rejected: bool = False
    subject: str | None = None
    subjects: Path | None = None


ANALYSED = Reviewed()


def export(
    results: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RESULT...")],
    /,
    to: Literal[ExportFormat, "samples", "onnx"],
    out: Path,
    video: Path | None = None,
    heads: tuple[Head, ...] = (),
    overwrite: bool = False,
    review: Annotated[Reviewed, tyro.conf.arg(name="")] = ANALYSED,
) -> None:
    """Write a result for another program: ELAN, BORIS, a spreadsheet, or Parquet; or a network as ONNX.

    With --reviewed, what a coder made of the result; with --to samples, the reviews of many results as a samples.csv,
    which openmer prepare reads. docs/exchange.md says what each file contains and how to open it.

    For example:

      openmer export results/talk --to elan --out talk.eaf --video talk.mp4
      openmer export results/talk --to boris --out talk.xlsx
      openmer export results/talk --to csv --out talk.csv
      openmer export results/talk --to parquet --out talk.parquet
      openmer export results/talk --reviewed --coder ada --to elan --out ada.eaf --video talk.mp4
      openmer export results --reviewed --coder ada --to elan --out annotations --video videos
      openmer export results/talk results/walk --to samples --out videos/samples.csv --subjects people.csv --rejected
      openmer export mol-lite --to onnx --out mol-lite.onnx --heads mer

    Args:
        results: The folder that `openmer analyze` wrote, or a timeline.json; several, or a folder of them; for ONNX,
            weights as in --engine.
        to: Tiers for ELAN, events for BORIS, one row per interval (csv), or the signals of every frame (parquet; one
            row per interval with --reviewed); recordings to learn from (samples).
        out: The file to write; its ending must fit the format. Of several results, the folder for a file of each.
        video: For ELAN: the video, or the folder in which it is; by default beside the .eaf, under the name it was
            analysed by. For samples: the folder in which the videos are; by default anywhere below that of samples.csv.
        heads: For ONNX: which of the network's heads; all by default.
        overwrite: Replace an existing file at OUT.
        review: What of a coder's review is exported.
    """
    if heads and to != "onnx":
        raise InputError("--heads is for --to onnx")
    if to != "samples" and (review.subject or review.subjects):
        raise InputError("--subject and --subjects are for --to samples")
    if to == "samples":
        _export_samples(results, out, video, review, overwrite)
        return
    if to == "onnx":
        if video is not None:
            raise InputError("--video is for --to elan")
        if len(results) != 1:
            raise InputError(f"give the weights of one network, got {len(results)}")
        from openmer.models.onnx import export_onnx
        from openmer.models.weights import load_model, read_record

        export_onnx(load_model(results[0]), read_record(results[0]), out, heads=heads or None, overwrite=overwrite)
    else:
        if not results:
            raise InputError("give a folder that openmer analyze wrote")
        if not review.reviewed and review != ANALYSED:
            raise InputError("--coder and --rejected are for --reviewed")
        from openmer.review.gather import named_results

        places = named_results(results)
        if places == results[:1]:
            _export_one(places[0], to, out, video, review, overwrite)
        else:
            _export_each(places, to, out, video, review, overwrite)
    Console(stderr=True).print(f"[bold]{escape(str(out))}[/]", highlight=False)


def _export_one(
    result: Path, to: ExportFormat, out: Path, video: Path | None, review: Reviewed, overwrite: bool
) -> None:
    from openmer.exchange.export import export as run
    from openmer.exchange.export import read_result
    from openmer.review.export import export_reviewed
    from openmer.review.gather import review_in

    if video is not None and video.exists():
        from openmer.media.identity import source_digest
        from openmer.review.material import find_video

        analyzed = read_result(result)
        video = find_video(analyzed.folder, analyzed.timeline, video)
        known = analyzed.timeline.provenance.get("source_digest")
        own = Path(str(analyzed.timeline.provenance.get("source", "")))
        converted = video.stem == own.stem and video.suffix != own.suffix  # for a program that cannot play the other
        if known is not None and not converted and source_digest(video) != known:
            raise InputError(f"{video} is not what was analysed in {result}; give that, or the folder in which it lies")
    if review.reviewed:
        opinions = review_in(result, review.coder)
        export_reviewed(result, opinions, to, out, video=video, rejected=review.rejected, overwrite=overwrite)
    else:
        run(result, to, out, video=video, overwrite=overwrite)


def _export_each(
    results: Sequence[Path], to: ExportFormat, out: Path, video: Path | None, review: Reviewed, overwrite: bool
) -> None:
    """Write a file for each result into a folder; results of which nothing can be written are named and left out."""
    from openmer.exchange.export import ENDINGS
    from openmer.media.find import BETWEEN

    if out.suffix or (out.exists() and not out.is_dir()):
        raise InputError(f"of {len(results)} results each has a file, so --out is a folder, got {out}")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write to {out}: {error.strerror or error}; choose another --out") from error
    common = Path(os.path.commonpath([result.resolve().parent for result in results]))
    names = [BETWEEN.join(result.resolve().relative_to(common).parts) for result in results]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"two of the results would be written as {twice}{ENDINGS[to][0]}; rename a folder")
    written = 0
    for result, name in zip(results, names, strict=True):
        try:
            _export_one(result, to, out / f"{name}{ENDINGS[to][0]}", video, review, overwrite)
            written += 1
        except InputError as error:
            Console(stderr=True).print(
                f"[yellow]left out:[/] {escape(name)}: {escape(str(error))}", highlight=False, soft_wrap=True
            )
    if not written:
        raise InputError(f"nothing was written of {len(results)} results")


def _export_samples(
    results: tuple[Path, ...], out: Path, video: Path | None, review: Reviewed, overwrite: bool
) -> None:
    """Write the reviews of several results as a dataset."""
    from openmer.exchange.export import TIMELINE
    from openmer.review.document import reviews_of
    from openmer.review.gather import named_results, review_in
    from openmer.review.samples import read_subjects, write_samples

    if not results or (review.subject is None) == (review.subjects is None):
        raise InputError(
            "give results, and who is in them: --subject NAME for one person in all, or --subjects with a table of the "
            "columns video and subject; a person must not be on both sides of a split"
        )
    subjects = read_subjects(review.subjects) if review.subjects is not None else str(review.subject)
    every = named_results(results)
    open_ = [each for each in every if len(every) > 1 and (each / TIMELINE).is_file() and not reviews_of(each)]
    chosen = [each for each in every if each not in open_]
    reviewed = [(result, review_in(result, review.coder)) for result in chosen]
    samples = write_samples(reviewed, out, subjects, video=video, rejected=review.rejected, overwrite=overwrite)
    console = Console(stderr=True)
    if open_:
        console.print(f"[yellow]left out:[/] {len(open_)} results without a review", highlight=False)
    if samples.unnamed:
        console.print(f"[yellow]left out:[/] {samples.unnamed} accepted without an expression's name", highlight=False)
    counts = ", ".join(f"{name} {count}" for name, count in samples.labels.items())
    console.print(f"{escape(counts)}\n[bold]{escape(str(out))}[/]", highlight=False)


def score(
    result: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RESULT")],
    /,
    truth: Path,
    tier: str | None = None,
    labels: tuple[str, ...] = (CANDIDATE,),
    iou: float = MEGC_IOU,
    out: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Compare what was found in a video with what people annotated in it, by MEGC's rule for spotting.

    A candidate is a hit if its intersection over union with an annotated interval is at least --iou; each counts once.

    For example:

      openmer score results/talk --truth talk-by-hand.eaf --tier micro
      openmer score results/talk --truth talk.csv --out score.json
      openmer score results/long --truth simulated/truth/p10-00000/long_001.json --tier micro

    Args:
        result: The folder that `openmer analyze` wrote, or a timeline.json.
        truth: An ELAN .eaf, a table with onset_s and offset_s, events exported from BORIS, or a timeline .json.
        tier: Tier of the .eaf; for other files, the label that counts. Needed if there are several.
        labels: Labels in the result that count as found.
        iou: Least intersection over union with a true interval that makes a hit; by default MEGC's.
        out: Write counts, ratios and the table as JSON.
        overwrite: Replace an existing file at OUT.
    """
    import json

    from openmer.evaluation.compare import score_against
    from openmer.exchange.export import read_result
    from openmer.exchange.truth import read_truth
    from openmer.files import write_new_file

    timeline = read_result(result).timeline
    annotated = read_truth(truth, tier, timeline.provenance.get("source"))
    known = sorted({*LABELS, *(i.label for i in timeline)})
    unknown = [label for label in labels if label not in known]
    if unknown or not labels:
        raise InputError(
            f"no result has the label {', '.join(unknown) or '(none is named)'}; choose {', '.join(known)}"
        )
    comparison = score_against(timeline, annotated, labels=labels, min_iou=iou)
    if out is not None:
        content = json.dumps(comparison.to_json(timeline, annotated), indent=2, allow_nan=False) + "\n"
        write_new_file(out, content.encode(), overwrite=overwrite)
    console = Console()
    for warning in annotated.provenance.get("warnings", ()):
        console.print(f"[yellow]warning:[/] {escape(warning)}", highlight=False, soft_wrap=True)
    if comparison.rows:
        console.print(comparison.table())
    console.print(comparison.summary(), highlight=False, soft_wrap=True)
