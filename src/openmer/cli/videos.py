"""`openmer analyze`, `explain`, `serve`: from a video to its timeline."""

import importlib.util
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.markup import escape

from openmer.errors import InputError, to_install
from openmer.explain.settings import ExplainSettings
from openmer.processes import Cluster
from openmer.timeline import Timeline
from openmer.video.settings import AnalyzeSettings, StreamSettings
from openmer.web.settings import ServeSettings

DEFAULT, DEFAULT_PLAIN, DEFAULT_EXPLAIN = AnalyzeSettings(), AnalyzeSettings(overlay=False), ExplainSettings()
Video = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="VIDEO")]


def analyze(
    videos: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="VIDEO|FOLDER...")] = (),
    /,
    *,
    out: Path,
    live: str | None = None,
    tuned: Path | None = None,
    overwrite: bool = False,
    on: Annotated[Cluster, tyro.conf.arg(name="")] = Cluster(),
    settings: Annotated[AnalyzeSettings, tyro.conf.arg(name="")] = DEFAULT,
) -> None:
    """Find candidate micro-expressions in a video and write a report.

    Writes to the folder OUT: report.html, overlay.mp4, timeline.json, timeline.csv, frames.csv, landmarks.npz, and,
    with a network, windows.csv and network_flow.csv. Everything runs on this machine; nothing is sent anywhere.
    With --faces all, OUT has a folder with these for each person (person-1, ...), one report.html, one overlay.mp4.

    Of several videos, or of a folder of videos and its folders, each has a folder in OUT, beside index.html and
    summary.csv over all; so has one video if OUT holds such results already. Run again after an interruption, it goes
    on; a video that cannot be analysed is left out.

    For example:

      openmer analyze talk.mp4 --out results/talk
      openmer analyze frames/ --fps 200 --out results/clip
      openmer analyze talk.mp4 --out results/part --start 10 --end 20.5 --no-overlay
      openmer analyze talk.mp4 --out results/plain --engine classical
      openmer analyze talk.mp4 --out results/own --engine runs/tuned/model.safetensors
      openmer analyze panel.mp4 --out results/panel --faces all
      openmer analyze interviews/ --out results
      openmer analyze interviews/ --out results --tuned lab.json
      openmer analyze a/talk.mp4 b/talk.mp4 --out results --workers 4 --no-overlay
      openmer analyze interviews/ --out results --executor ray --address auto
      openmer analyze --live 0 --out results/live

    Args:
        videos: A video file, or a folder of numbered images; or several, or a folder that holds videos.
        out: The folder to create; of several videos, that in which each has its own.
        live: Instead of VIDEO, the number of a camera (0 is the first), or a video to be played in real time: shows in
            the terminal what moves, ends with Ctrl-C or at --end, and writes the timeline and the tables.
        tuned: Thresholds that openmer tune wrote for recordings like these.
        overwrite: Replace an existing result in OUT.
        on: Where several videos are analysed.
        settings: How the video is analysed.
    """
    if tuned is not None:
        from openmer.video.tuned import apply_tuned, read_tuned

        settings = apply_tuned(settings, read_tuned(tuned))
    from openmer.media.find import holds_videos
    from openmer.video.summary import holds_many

    console = Console(stderr=True)
    many = len(videos) > 1 or any(holds_videos(video, pictures=settings.fps is not None) for video in videos)
    many = many or (live is None and holds_many(out))
    if on != Cluster() and not many:
        raise InputError("--executor is for several videos, or a folder of them: leave it out")
    if live is not None:
        if videos:
            raise InputError("--live replaces VIDEO: leave out VIDEO")
        _watch(live, out, settings, overwrite, console)
        return
    if not videos:
        raise InputError("give a VIDEO to analyse, or a camera with --live 0")
    if many:
        _analyze_many(videos, out, settings, on, overwrite=overwrite)
        return
    from openmer.video.analyze import analyze as run

    result = run(videos[0], out, settings, overwrite=overwrite, console=console)
    timelines = (result,) if isinstance(result, Timeline) else result
    for timeline in timelines:
        console.print(escape(_summary(timeline)), highlight=False)
    console.print(f"[bold]{escape(str(out / 'report.html'))}[/]", highlight=False)


def _analyze_many(
    videos: tuple[Path, ...], out: Path, settings: AnalyzeSettings, on: Cluster, *, overwrite: bool
) -> None:
    from openmer.video.many import analyze_many
    from openmer.video.summary import PAGE, TABLE

    console = Console(stderr=True)
    rows = analyze_many(videos, out, settings, overwrite=overwrite, on=on, console=console)
    done, failed = ({row.name for row in rows if row.status == status} for status in ("done", "failed"))
    candidates = sum(row.candidates or 0 for row in rows)
    console.print(
        f"{candidates} candidate{'' if candidates == 1 else 's'} in {len(done)} video{'' if len(done) == 1 else 's'}",
        highlight=False,
    )
    console.print(f"[bold]{escape(str(out / PAGE))}[/]", highlight=False)
    if failed:
        which = "1 video was" if len(failed) == 1 else f"{len(failed)} videos were"
        raise InputError(f"{which} left out; {out / TABLE} says why")


def _summary(timeline: Timeline) -> str:
    """What was found, in a sentence."""
    count, rejected = len(timeline.labelled("candidate")), len(timeline.labelled("set_aside"))
    about = timeline.provenance
    prefix = f"person {about['person']}: " if "person" in about else ""
    summary = f"{prefix}{count} candidate{'' if count == 1 else 's'} in {about['frames_with_face']} frames with a face"
    if timeline.windows:
        summary += f", {rejected} more set aside by the network, which was trained on {about['trained_on']}"
    unsure = sum(i.unsure is True for i in timeline.labelled("candidate"))
    if unsure:
        summary += f"; it is unsure about {unsure} of the {count}"
    return summary


def _watch(live: str, out: Path, settings: AnalyzeSettings, overwrite: bool, console: Console) -> None:
    from openmer.media.camera import LiveSource
    from openmer.video.watch import watch

    if settings.start_s:
        raise InputError("--live starts at once: leave out --start")
    if settings.stream is not None:
        raise InputError("--live reads a file's default stream: leave out --stream")
    if settings.faces != "largest":
        raise InputError("--live follows the largest face: leave out --faces")
    if settings.runtime == "onnx":
        raise InputError("--live feeds the network one pair of frames at a time, in torch: leave out --runtime")
    source, seconds = LiveSource(live, fps=settings.fps), settings.end_s
    timeline = watch(source, out, StreamSettings.like(settings), seconds=seconds, overwrite=overwrite, console=console)
    count = len(timeline.labelled("candidate"))
    console.print(f"{count} candidate{'' if count == 1 else 's'}; [bold]{escape(str(out))}[/]", highlight=False)


def explain(
    video: Video,
    /,
    *,
    out: Path,
    overwrite: bool = False,
    explanation: Annotated[ExplainSettings, tyro.conf.arg(name="")] = DEFAULT_EXPLAIN,
    settings: Annotated[AnalyzeSettings, tyro.conf.arg(name="")] = DEFAULT_PLAIN,
) -> None:
    """Show where in the face, and when, the network's decisions come from. Needs the extra `explain`.

    Writes what `openmer analyze` writes. For each key moment, the report shows a map of the face, the share of each
    frame and region, the strongest feature channels, and the action units that would move the face in this way;
    explanations.json holds the numbers. With --at and neither --start nor --end, only the surroundings of the moments
    are analysed, two seconds before and after.

    For example:

      openmer explain talk.mp4 --out results/why
      openmer explain talk.mp4 --out results/why --at 3.2 7.85
      openmer explain talk.mp4 --out results/why --at 3.2 --target surprise --method held

    Args:
        video: A video file, or a folder of numbered images.
        out: The folder to create.
        overwrite: Replace an existing result in OUT.
        explanation: What is explained, and how.
        settings: How the video is analysed.
    """
    from openmer.explain.run import explain as run

    console = Console(stderr=True)
    analyses = run(video, out, settings, explanation, overwrite=overwrite, console=console)
    for analysis in analyses:
        person = analysis.timeline.provenance.get("person")
        prefix = "" if person is None else f"person {person}, "
        for moment in analysis.moments:
            if moment.explained is not None:
                when = f"[bold]{prefix}{moment.interval.apex_s:.2f} s[/]"
                console.print(f"{when} {escape(moment.explained.sentence)}", highlight=False)
    if not any(m.explained for analysis in analyses for m in analysis.moments):
        console.print("nothing to explain: no event falls in a window of the network; choose a moment with --at")
    console.print(f"[bold]{escape(str(out / 'report.html'))}[/]", highlight=False)


def serve(settings: Annotated[ServeSettings, tyro.conf.arg(name="")] = ServeSettings()) -> None:
    """Serve a web page: drop in a video and see its timeline in the browser. Needs the extra `web`.

    Only this machine can reach it unless --host says otherwise. Nothing is sent anywhere or loaded from elsewhere;
    a user's files are deleted when the page is closed.

    For example:

      openmer serve
      openmer serve --port 8000 --max-seconds 300 --max-mb 500
      openmer serve --files ~/interviews
      openmer serve --engine runs/tuned/model.safetensors
      openmer serve --host 0.0.0.0 --workers 2

    Args:
        settings: How the server runs.
    """
    if importlib.util.find_spec("starlette") is None or importlib.util.find_spec("uvicorn") is None:
        raise InputError(f"the web page needs starlette and uvicorn; {to_install('web', 'starlette uvicorn')}")
    from openmer.web.app import serve as run

    run(settings, Console(stderr=True))
