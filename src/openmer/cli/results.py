"""`openmer export` and `score`: results for other programs, and against other people's annotation."""

from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console
from rich.markup import escape

from openmer.errors import InputError


def export(
    result: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RESULT")],
    /,
    to: Literal["elan", "boris", "csv", "parquet", "onnx"],
    out: Path,
    video: Path | None = None,
    heads: tuple[Literal["mer", "flow", "landmarks", "units"], ...] = (),
    overwrite: bool = False,
) -> None:
    """Write a result for another program: ELAN, BORIS, a spreadsheet, or Parquet; or a network as ONNX.

    docs/exchange.md says what each file contains and how to open it.

    For example:

      openmer export results/talk --to elan --out talk.eaf --video talk.mp4
      openmer export results/talk --to boris --out talk.xlsx
      openmer export results/talk --to csv --out talk.csv
      openmer export results/talk --to parquet --out talk.parquet
      openmer export mol-lite --to onnx --out mol-lite.onnx --heads mer

    Args:
        result: The folder that `openmer analyze` wrote, or a timeline.json; for ONNX, weights as in --engine.
        to: Tiers for ELAN, events for BORIS, one row per interval (csv), or the signals of every frame (parquet).
        out: The file to write; its ending must fit the format.
        video: For ELAN: where the video is; by default beside the .eaf, under the name it was analysed by.
        heads: For ONNX: which of the network's heads; all by default.
        overwrite: Replace an existing file at OUT.
    """
    if to == "onnx":
        if video is not None:
            raise InputError("--video is for --to elan")
        from openmer.models.onnx import export_onnx
        from openmer.models.weights import load_model, read_record

        export_onnx(load_model(result), read_record(result), out, heads=heads or None, overwrite=overwrite)
        Console(stderr=True).print(f"[bold]{escape(str(out))}[/]", highlight=False)
        return
    if heads:
        raise InputError("--heads is for --to onnx")
    from openmer.exchange.export import export as run

    run(result, to, out, video=video, overwrite=overwrite)
    Console(stderr=True).print(f"[bold]{escape(str(out))}[/]", highlight=False)


def score(
    result: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RESULT")],
    /,
    truth: Path,
    tier: str | None = None,
    labels: tuple[str, ...] = ("candidate",),
    iou: float = 0.5,
    out: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Compare what was found in a video with what people annotated in it, by MEGC's rule for spotting.

    A candidate is a hit if its intersection over union with an annotated interval is at least 0.5; each counts once.

    For example:

      openmer score results/talk --truth talk-by-hand.eaf --tier micro
      openmer score results/talk --truth talk.csv --out score.json
      openmer score results/long --truth simulated/truth/p10-00000/long_001.json --tier micro

    Args:
        result: The folder that `openmer analyze` wrote, or a timeline.json.
        truth: An ELAN .eaf, a table with onset_s and offset_s, events exported from BORIS, or a timeline .json.
        tier: Tier of the .eaf; for other files, the label that counts. Needed if there are several.
        labels: Labels in the result that count as found.
        iou: Least intersection over union with a true interval that makes a hit (MEGC: 0.5).
        out: Write counts, ratios and the table as JSON.
        overwrite: Replace an existing file at OUT.
    """
    import json

    from openmer.evaluation.compare import score_against
    from openmer.exchange.export import read_result
    from openmer.exchange.truth import read_truth
    from openmer.files import write_new_file
    from openmer.timeline import LABELS

    found = read_result(result).timeline
    annotated = read_truth(truth, tier, found.provenance.get("source"))
    there = sorted({*LABELS, *(i.label for i in found)})
    unknown = [label for label in labels if label not in there]
    if unknown or not labels:
        raise InputError(
            f"no result has the label {', '.join(unknown) or '(none is named)'}; choose {', '.join(there)}"
        )
    judged = score_against(found, annotated, labels=labels, min_iou=iou)
    if out is not None:
        content = json.dumps(judged.to_json(found, annotated), indent=2, allow_nan=False) + "\n"
        write_new_file(out, content.encode(), overwrite=overwrite)
    console = Console()
    for warning in annotated.provenance.get("warnings", ()):
        console.print(f"[yellow]warning:[/] {escape(warning)}", highlight=False, soft_wrap=True)
    if judged.rows:
        console.print(judged.table())
    console.print(judged.summary(), highlight=False, soft_wrap=True)
