"""`openmer explain`: an analysis whose report also says where the network's decisions come from."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from openmer.choices import CLASSICAL
from openmer.clip import Array, Gray
from openmer.errors import InputError
from openmer.explain.attribution import METHODS, need_captum
from openmer.explain.moment import explain_window, explained_figure
from openmer.explain.settings import ExplainSettings
from openmer.models.engine import Engine
from openmer.models.weights import read_record
from openmer.progress import ProgressCallback
from openmer.video.analyze import Analysis, run_analyses, slowdown_of
from openmer.video.report import Explained, Explainer
from openmer.video.settings import AnalyzeSettings

MARGIN_S = 2.0  # of real time, analysed around the moments asked for: the spotter needs context


def explainer_of(settings: ExplainSettings) -> Explainer:
    """What `run_analyses` calls to explain one window."""

    def explained(engine: Engine, crops: Gray, landmarks: Array, times_s: Sequence[float]) -> Explained:
        explanation = explain_window(engine, crops, landmarks, target=settings.target, method=settings.method)
        return Explained(explanation.sentence(), explained_figure(explanation, crops, times_s), explanation.to_json())

    return explained


def explain(
    video: Path | str,
    out: Path | str,
    analysis: AnalyzeSettings | None = None,
    settings: ExplainSettings | None = None,
    *,
    overwrite: bool = False,
    console: Console | None = None,
    watch: ProgressCallback | None = None,
) -> tuple[Analysis, ...]:
    """Analyse a video and explain its key moments.

    Writes what `openmer.analyze` writes, `explanations.json`, and a report with a drawing for each moment. If moments
    are given but no part of the video is chosen, only their surroundings are analysed.

    Args:
        video: a video file, or a folder of numbered images.
        out: the folder to create.
        analysis: how the video is analysed; by default without an overlay.
        settings: see `ExplainSettings`.
        overwrite: whether an existing result at `out` may be replaced.
        console: where progress and warnings go; by default nowhere.
        watch: called at every step.

    Returns:
        One analysis; with `faces="all"` one for each person.

    Raises:
        InputError: as `analyze`; or the class or method is unknown, captum is missing, or no window contains a moment.
        OutputError: `out` already exists or cannot be written.
    """
    analysis = analysis or AnalyzeSettings(overlay=False)
    settings = settings or ExplainSettings()
    if settings.method not in METHODS:
        raise InputError(f"there is no method {settings.method!r}; choose {', '.join(METHODS)}")
    if any(not moment >= 0 for moment in settings.at_s):
        raise InputError(f"moments are seconds of the file, from 0 on, got {', '.join(map(str, settings.at_s))}")
    if analysis.engine == CLASSICAL:
        raise InputError("the classical engine decides by motion alone, which the report shows; choose a network")
    if analysis.runtime == "onnx" or Path(analysis.engine).suffix == ".onnx":
        raise InputError("explaining needs weights in torch, not ONNX: an ONNX graph has no gradients")
    need_captum()
    classes = read_record(analysis.engine).classes
    if settings.target is not None and settings.target not in classes:
        raise InputError(f"the network has no class {settings.target!r}; there are {', '.join(classes)}")
    outside = [m for m in settings.at_s if m < analysis.start_s or (analysis.end_s is not None and m > analysis.end_s)]
    if outside:
        raise InputError(f"{', '.join(f'{m:g}' for m in outside)} s lies outside the part set with --start and --end")
    if settings.at_s and not analysis.start_s and analysis.end_s is None:
        margin = MARGIN_S * slowdown_of(video, analysis)
        first, last = min(settings.at_s), max(settings.at_s)
        analysis = replace(analysis, start_s=max(0.0, first - margin), end_s=last + margin)
    return run_analyses(
        video,
        out,
        analysis,
        overwrite=overwrite,
        console=console,
        watch=watch,
        explainer=explainer_of(settings),
        asked_s=settings.at_s,
    )
