"""A finished evaluation as a page, as Markdown and as JSON."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from matplotlib.figure import Figure

from openmer.clip import REENACTED, SIMULATED
from openmer.clips.flow import color_wheel, flow_to_color, optical_flow
from openmer.clips.transforms import EVAL, center_crop, transform
from openmer.errors import InputError, OutputError
from openmer.evaluation.metrics import Prediction, endpoint_error, landmark_errors, moving_pixels
from openmer.files import read_json, write_atomic
from openmer.models.config import HEADS
from openmer.models.mol import MOL
from openmer.page import figure_uri, image_uri, render
from openmer.training.data import ClipData

NAMES = {"accuracy": "accuracy", "uf1": "UF1", "uar": "UAR", "wf1": "WF1"}
LONGEST = 24  # characters of a name in a figure
INK, ACCENT = "#222222", "#0072b2"
OWN = ("report.html", "report.md", "report.json")


@dataclass(frozen=True)
class Illustration:
    """A row of pictures.

    Attributes:
        caption: what it shows.
        pictures: caption and data URI of each.
    """

    caption: str
    pictures: tuple[tuple[str, str], ...]


def write_evaluation(folder: Path, *, model: MOL | None = None, data: ClipData | None = None, about: str = "") -> Path:
    """Write `report.html`, `report.md` and `report.json` beside a finished evaluation.

    Args:
        folder: of `openmer loso`.
        model: whose flow and landmarks are shown; without it, none are.
        data: clips to show them on.
        about: which network and clips those are.

    Returns:
        The page.

    Raises:
        InputError: the folder holds no finished evaluation, or a damaged one.
        OutputError: the folder cannot be written.
    """
    run, metrics = _read(folder / "loso.json"), _read(folder / "metrics.json")
    illustrations = [] if model is None or data is None else examples(model, data)
    try:
        pages = _pages(folder, run, metrics, illustrations, about)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, jinja2.TemplateError) as error:
        raise InputError(
            f"the evaluation in {folder} is damaged, or of another version ({error!r:.200}); give its openmer loso "
            "command again: finished folds are kept"
        ) from error
    try:
        for name, text in pages.items():
            write_atomic(folder / name, text)
    except OSError as error:
        raise OutputError(f"cannot write the report in {folder}: {error.strerror or error}") from error
    return folder / "report.html"


def _pages(
    folder: Path, run: Mapping[str, Any], metrics: Mapping[str, Any], illustrations: Sequence[Illustration], about: str
) -> dict[str, str]:
    """Name -> content of the files."""
    rows = _first_seed(folder / "predictions.csv", metrics)
    training = run["settings"]["training"]
    classifier = ", clips compared" if training["kernel"] else ""
    title = f"{training['model']}{classifier}, {'/'.join(metrics['classes'])}"
    made = {
        "openmer, commit": _made_by(run, metrics),
        "model": training["model"],
        "changed from the preset": _listed(training["switches"]) or "nothing",
        "steps, batch": f"{training['steps']}, {training['batch']}",
        "learning rate, schedule, warm-up steps": f"{training['lr']:g}, {training['schedule']}, {training['warmup']}",
        "losses": _listed(training["losses"]),
        "initial weights": _begun(training["init"], metrics),
        "frozen": ", ".join(training["freeze"]) or "nothing",
        "clips": _listed(run["clips"]),
        "store": _listed(run["store"]),
        "machine": metrics.get("machine", "unknown"),
    }
    page = render(
        "evaluation.html.j2",
        title=title,
        run=run,
        m=metrics,
        names=NAMES,
        number=_number,
        protocol=_protocol(metrics),
        simulated=run["store"].get("kind") == SIMULATED,
        reenacted=run["store"].get("kind") == REENACTED,
        confusion=figure_uri(confusion_figure(np.array(metrics["confusion"][0]), metrics["classes"])),
        subjects=figure_uri(_subjects_figure(rows)),
        curves=_curves(folder),
        examples=illustrations,
        about=about,
        wheel=image_uri(color_wheel(96)),
        made=made,
    )
    return {
        "report.html": page,
        "report.md": markdown(title, metrics, made),
        "report.json": json.dumps({"title": title, "metrics": metrics, "made": made}, indent=2) + "\n",
    }


def _made_by(run: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    """Version and commit of the code that trained the folds."""
    versions = metrics.get("made_by") or [f"{run['openmer']}, {run['commit'] or 'unknown commit'}"]
    return "; ".join(versions) + (" (not all folds were trained by the same code)" if len(versions) > 1 else "")


def _begun(init: str | None, metrics: Mapping[str, Any]) -> str:
    """The initial weights, and whether they may have seen the people who were judged."""
    if init is None:
        return "random"
    known = metrics.get("initial_weights", {})
    overlap = (
        "by their names, none of the people judged here were in their training data"
        if known.get("people_are_recorded")
        else "their record does not name the people in their training data, who may be among those judged here"
    )
    return f"{Path(init).name}, trained on {known.get('trained_on', 'unknown data')}; {overlap}"


def _listed(values: Mapping[str, Any]) -> str:
    """Names with their values, as one readable line."""
    plain = {k: ", ".join(map(str, v)) if isinstance(v, list | tuple) else v for k, v in values.items()}
    return "; ".join(f"{k}: {v}" for k, v in plain.items())


def markdown(title: str, metrics: Mapping[str, Any], made: Mapping[str, Any]) -> str:
    """The tables, for a README or the draft of a paper."""
    lines = [
        f"# {title}",
        "",
        f"{_protocol(metrics)}, {metrics['videos']} videos of {metrics['subjects']} subjects",
        "",
    ]
    rule = metrics.get("protocol")
    if rule and (rule["not_comparable"] or rule["differences"]):
        reasons = "; ".join([*filter(None, [rule["not_comparable"]]), *rule["differences"]])
        lines += [f"**Not comparable with other results under {rule['name']}:** {reasons}", ""]
    lines += [
        "| | mean | sd | 95 % over subjects (first seed) | always the most frequent class |",
        "|---|---|---|---|---|",
    ]
    guess = metrics.get("most_frequent_class", {})
    for part, before in (("scores", ""), ("detection", "expression or none: ")):
        for name, s in metrics.get(part, {}).items():
            interval = s.get("interval_95_over_subjects")
            limits = "–" if interval is None else f"{_number(interval[0])} to {_number(interval[1])}"
            without = _number(guess.get(part, {}).get(name))
            lines.append(
                f"| {before}{NAMES[name]} | {_number(s['mean'])} | {_number(s['sd'])} | {limits} | {without} |"
            )
    shares = metrics.get("datasets", {})
    if shares:
        lines += ["", "| dataset | videos | accuracy | UF1 | UAR |", "|---|---|---|---|---|"]
        shares = {"Full": {"videos": metrics["videos"], **metrics["scores"]}, **shares}
    for name, s in shares.items():
        values = " | ".join(_number(s[k]["mean"]) for k in ("accuracy", "uf1", "uar"))
        lines.append(f"| {name} | {s['videos']} | {values} |")
    lines += ["", "| class | videos | precision | recall | F1 |", "|---|---|---|---|---|"]
    for row in metrics["per_class"]:
        values = " | ".join(_number(row[k]["mean"]) for k in ("precision", "recall", "f1"))
        lines.append(f"| {row['class']} | {row['videos']} | {values} |")
    lines += ["", *(f"- {key}: {value}" for key, value in made.items()), ""]
    return "\n".join(lines)


def confusion_figure(counts: npt.NDArray[np.int64], classes: Sequence[str]) -> Figure:
    """Rows are true, columns predicted; colour is the share of the row."""
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    figure = Figure(figsize=(1.6 + 0.9 * len(classes), 1.2 + 0.8 * len(classes)), layout="constrained")
    axis = figure.subplots()
    axis.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        colour = "white" if share[row, column] > 0.5 else INK
        text = f"{count}\n{100 * share[row, column]:.0f} %"
        axis.text(column, row, text, ha="center", va="center", color=colour, fontsize=9)
    names = [_plain(name) for name in classes]
    axis.set_xticks(range(len(classes)), names)
    axis.set_yticks(range(len(classes)), names)
    axis.set_xlabel("predicted")
    axis.set_ylabel("true")
    return figure


def _plain(words: str) -> str:
    """A name in a figure: shortened if too long, and without what matplotlib would read as mathematics."""
    short = words if len(words) <= LONGEST else words[: LONGEST - 1] + "\N{HORIZONTAL ELLIPSIS}"
    return short.replace("$", r"\$")


def examples(model: MOL, data: ClipData, *, count: int = 3) -> list[Illustration]:
    """The pair with the largest motion of a few clips: frame, true flow, the network's, TV-L1's, landmarks."""
    rows = []
    for index in np.linspace(0, len(data) - 1, count).astype(int):
        clip = data.store.read(data.entries[int(index)])
        example = transform(clip, EVAL, np.random.default_rng(0))
        if example.flow is None:
            continue
        with torch.inference_mode():
            answer = model(torch.from_numpy(example.frames)[None])
        pair = int(np.hypot(example.flow[:, 0], example.flow[:, 1]).mean((1, 2)).argmax())
        gray = center_crop(clip.frames)
        truth = example.flow[pair]
        scale = max(float(np.hypot(*truth).max()), 0.1)
        flows = {"true flow": truth}
        if answer.flow is not None:
            flows["network's flow"] = answer.flow[0, pair].numpy()
        flows["TV-L1"] = optical_flow(gray[pair], gray[pair + 1], "tvl1")
        where = moving_pixels(truth)
        pictures = [("frame", image_uri(_large(np.repeat(gray[pair][..., None], 3, 2))))]
        for name, flow in flows.items():
            error = endpoint_error(flow, truth)
            note = (
                "" if name == "true flow" or not where.any() else f", EPE {error[where].mean():.3f} px where it moves"
            )
            pictures.append((name + note, image_uri(_large(flow_to_color(flow, scale)))))
        if answer.landmarks is not None:
            points = answer.landmarks[0, pair].numpy()
            nme = landmark_errors(points[None], example.landmarks[pair + 1][None])[0]
            drawn = _landmarks(gray[pair + 1], example.landmarks[pair + 1], points)
            pictures.append((f"landmarks: true (white), network (blue), NME {100 * nme:.1f} %", figure_uri(drawn)))
        entry = data.entries[int(index)]
        rows.append(Illustration(f"{entry.subject} {entry.sample}, frames {pair} to {pair + 1}", tuple(pictures)))
    return rows


def _landmarks(gray: npt.NDArray[np.uint8], truth: npt.NDArray[Any], points: npt.NDArray[Any]) -> Figure:
    figure = Figure(figsize=(2.6, 2.6))
    axis = figure.add_axes((0, 0, 1, 1))
    axis.imshow(gray, cmap="gray", vmin=0, vmax=255)
    axis.plot(*truth.T, ".", color="white", markersize=3)
    axis.plot(*points.T, ".", color="#56b4e9", markersize=2)
    axis.set_axis_off()
    return figure


def _large(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(image.repeat(2, 0).repeat(2, 1))


def _subjects_figure(rows: Sequence[Prediction]) -> Figure:
    right: dict[str, list[bool]] = defaultdict(list)
    for row in rows:
        right["/".join(row.person)].append(row.predicted == row.truth)
    names = sorted(right)
    shares = [float(np.mean(right[n])) for n in names]
    alone = len({name.partition("/")[0] for name in names}) == 1  # one dataset: no need to name it at every bar
    labels = [name.partition("/")[2] if alone else name for name in names]
    figure = Figure(figsize=(max(11.0, 0.28 * len(names)), 3.0), layout="constrained")
    axis = figure.subplots()
    axis.bar(range(len(names)), shares, color=ACCENT)
    for k, (name, share) in enumerate(zip(names, shares, strict=True)):
        colour = "white" if share > 0.1 else INK
        axis.text(k, 0.02, str(len(right[name])), ha="center", color=colour, fontsize=8)
    axis.set_xticks(range(len(names)), [_plain(label) for label in labels], rotation=90, fontsize=8)
    axis.set_ylim(0, 1)
    axis.set_ylabel("share correct")
    axis.spines[["top", "right"]].set_visible(False)
    return figure


def _curves(folder: Path) -> str:
    """Learning curves of all folds, or nothing if none were kept."""
    logs = [pd.read_csv(path) for path in sorted(folder.glob("folds/*/*/log.csv"))]
    names = [n for n in ("loss", *HEADS) if any(n in log for log in logs)]
    if not names:
        return ""
    figure = Figure(figsize=(11.0, 2.6), layout="constrained")
    for axis, name in zip(np.ravel(figure.subplots(1, len(names))), names, strict=True):
        curves = [log.set_index("step")[name].dropna() for log in logs if name in log]
        for curve in curves:
            axis.plot(curve.index, curve.to_numpy(), color=ACCENT, alpha=0.25, linewidth=0.6)
        middle = pd.concat(curves, axis=1).median(axis=1)
        axis.plot(middle.index, middle.to_numpy(), color=INK, linewidth=1.4, marker="o" if len(middle) < 3 else "")
        axis.set_title(name, fontsize=9)
        axis.set_xlabel("step", fontsize=8)
        axis.tick_params(labelsize=7)
        axis.spines[["top", "right"]].set_visible(False)
    return figure_uri(figure)


def _first_seed(path: Path, metrics: Mapping[str, Any]) -> list[Prediction]:
    try:
        # Names are text: a class may be called 01 or NA.
        names = dict.fromkeys(("dataset", "subject", "sample", "truth", "predicted"), str)
        table = pd.read_csv(path, dtype=names, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {error}") from error
    classes = metrics["classes"]
    numbers = {name: k for k, name in enumerate(classes)}
    return [
        Prediction(
            dataset=str(row["dataset"]),
            subject=str(row["subject"]),
            sample=str(row["sample"]),
            truth=numbers[str(row["truth"])],
            probabilities=tuple(float(row[f"p_{name}"]) for name in classes),
        )
        for row in table[table["seed"] == metrics["seeds"][0]].to_dict("records")
    ]


def _read(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise InputError(f"{path.parent} holds no finished evaluation ({path.name} is missing); run openmer loso")
    return read_json(path, dict[str, Any])


def _protocol(metrics: Mapping[str, Any]) -> str:
    names = {"subject": "leave one subject out", "dataset": "leave one dataset out"}
    named = names.get(metrics["split"], f"{metrics['split']} groups of subjects, each held out once")
    return f"{named}, {metrics['folds']} folds"


def _number(value: float | None) -> str:
    return "–" if value is None or not np.isfinite(value) else f"{value:.3f}"
