"""One analysis in a process of its own: it can be ended at any moment, and its memory is freed when it ends.

Nothing here depends on the server. Progress is sent through a pipe, as the messages below.
"""

import math
import os
import signal
import sys
import traceback
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from openmer.choices import Device, FaceModelName
from openmer.errors import InputError, OpenMERError, bare_names
from openmer.processes import end_with_parent

RESULT = "result"  # the folder that `analyze` writes
PAGE = "page.html"  # what the browser shows, beside it
EXTRAS = "extras"  # what the page shows and offers beside the result: pictures, a zip
ZIP = "all.zip"
MAX_PIXELS = 4096 * 2304  # of a picture
# What browsers and cameras write. Others can refer to further files (playlists, scripts), which must not be read.
FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,ogg,asf,flv"


@dataclass(frozen=True)
class Order:
    """What is to be analysed.

    Attributes:
        video: the file; one that was sent lies in `folder`.
        folder: where the result and the page go.
        engine: as in `openmer analyze --engine`.
        device: as in `openmer analyze --device`.
        max_seconds: longer videos are refused.
        links: prefix of the names of the result's files in the page.
        explain: whether to say where the network's decisions come from.
        face: as in `openmer analyze --face`.
    """

    video: Path
    folder: Path
    engine: str
    device: Device
    max_seconds: float
    links: str
    explain: bool = False
    face: FaceModelName = "dlib"


@dataclass(frozen=True)
class Progress:
    """How far a stage has got."""

    stage: str
    done: int
    total: int | None


@dataclass(frozen=True)
class Done:
    """The page and the result are written."""


@dataclass(frozen=True)
class Failed:
    """The analysis ended without a result; the message is for the user and names no folder."""

    message: str


Message = Progress | Done | Failed


def run(order: Order, pipe: Connection) -> None:
    """Carry out one order; the entry point of the process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole terminal; the server ends this process
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    end_with_parent()  # also between two reports, which may be long
    try:
        _analyse(order, pipe.send)
        pipe.send(Done())
    except OpenMERError as error:
        pipe.send(Failed(without_folders(str(error), order)))
    except BrokenPipeError:
        os._exit(1)  # the server is gone; nobody is waiting
    except Exception as error:
        traceback.print_exc()
        pipe.send(Failed(f"The analysis failed ({type(error).__name__}). See the server's terminal for details."))
        sys.exit(1)


def _analyse(order: Order, send: Callable[[Message], None]) -> None:
    send(Progress("Starting", 0, None))
    check(order.video, order.max_seconds)
    from openmer.choices import CLASSICAL
    from openmer.video.analyze import run_analysis
    from openmer.video.settings import AnalyzeSettings
    from openmer.web.view import write_page

    settings = AnalyzeSettings(engine=order.engine, device=order.device, face=order.face)
    out = order.folder / RESULT
    explainer = None
    if order.explain and order.engine != CLASSICAL:  # the classical engine has nothing to explain but motion
        from openmer.explain.run import explainer_of
        from openmer.explain.settings import ExplainSettings

        explainer = explainer_of(ExplainSettings())
    whole = run_analysis(order.video, out, settings, watch=lambda *step: send(Progress(*step)), explainer=explainer)
    send(Progress("Preparing the page", 0, None))
    extras = order.folder / EXTRAS
    write_page(order.folder / PAGE, whole, out, extras, order.links)
    zip_all(out, extras / ZIP)


def zip_all(folder: Path, target: Path) -> None:
    """Zip all files of a folder; videos and compressed arrays would not get smaller and are stored as they are."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.iterdir()):
            packed = path.suffix in (".mp4", ".npz")
            archive.write(path, f"openmer/{path.name}", zipfile.ZIP_STORED if packed else zipfile.ZIP_DEFLATED)


def check(video: Path, max_seconds: float) -> None:
    """Refuse anything that is not a plain video file, is too long, or has too large pictures, before decoding it.

    The length is taken from the packets: files recorded by a browser state none, and a header may say anything.
    """
    import av.error

    from openmer.media.container import open_file, picture_stream
    from openmer.media.reader import MAX_FPS

    try:
        with open_file(video, format_whitelist=FORMATS) as container:
            pictures = picture_stream(container, Path(video.name))
            size = pictures.codec_context
            if size.width * size.height > MAX_PIXELS:
                raise InputError(
                    f"the pictures of {video.name} are {size.width} x {size.height}, more than {MAX_PIXELS / 1e6:.1f} "
                    "million pixels; scale them down, or crop to the face"
                )
            first, last, packets = None, 0.0, 0
            for packet in container.demux(pictures) if math.isfinite(max_seconds) else ():
                packets += 1
                if packets > MAX_FPS * max_seconds:
                    raise InputError(f"{video.name} has more than {MAX_FPS} pictures a second, too many for a video")
                stamp = packet.dts if packet.pts is None else packet.pts
                if stamp is None or not packet.time_base:
                    continue
                at = float(stamp * packet.time_base)
                first = at if first is None else min(first, at)
                last = max(last, at)
                if last - first > max_seconds:
                    raise InputError(f"{video.name} is longer than {max_seconds:g} seconds, the limit here; shorten it")
    except (av.error.FFmpegError, OSError) as error:
        raise InputError(
            f"{video.name} could not be read as a video; is it one, and complete? MP4, MOV, WebM, MKV, AVI and MPEG "
            "files are supported"
        ) from error


def without_folders(message: str, order: Order) -> str:
    """The message with the server's paths replaced by bare names."""
    return bare_names(message, {order.video: order.video.name, order.folder / RESULT: "the result", order.folder: ""})
