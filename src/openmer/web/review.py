"""`openmer review`: the page on which coders turn candidates into annotations, on this machine.

browser -> gate.py (token, host, origin) -> Starlette (this file) -> review/document.py, the coder's file
                                                                 -> review/material.py, frames and curves
"""

import webbrowser
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import uvicorn
from rich.console import Console
from rich.markup import escape
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from openmer.errors import InputError, OpenMERError, OutputError
from openmer.facs import UNIT_NAMES
from openmer.files import without_nan
from openmer.review.blind import blind_review
from openmer.review.document import (
    Change,
    Review,
    apply_change,
    new_review,
    read_review,
    result_name,
    review_path,
)
from openmer.review.material import Material, as_jpeg, opinion
from openmer.review.picture import KINDS, Gallery
from openmer.review.saving import ConflictError, write_review
from openmer.review.settings import MAGNIFIED, ReviewSettings
from openmer.timeline import CANDIDATE, SET_ASIDE
from openmer.web.gate import Gate, listen, new_token

STATIC = {"review.css": "text/css", "review.js": "text/javascript", "timeline.js": "text/javascript"}
PLAYED = {".mp4": "video/mp4", ".m4v": "video/mp4", ".webm": "video/webm"}  # by most browsers
MAX_CHANGE = 100_000  # bytes
MAX_WIDTH = 4096


class Desk:
    """One result on a coder's desk: its material and the coder's file.

    Raises:
        InputError: result, video or review cannot be used.
        OutputError: the review cannot be written.
    """

    def __init__(self, folder: Path, settings: ReviewSettings) -> None:
        self.material = Material(folder, settings.video)
        own = self.material.folder
        self.path = review_path(own, settings.coder)
        if not self.path.exists():
            coder, blind = settings.coder, settings.blind
            new = blind_review(own, coder, blind) if blind.blind else new_review(own, coder)
            write_review(self.path, new, replaces=None)
        review = read_review(self.path)
        self.blind = settings.blind.blind or review.blind
        self._gallery: Gallery | None = None

    def change(self, revision: int, change: Change) -> Review:
        """Apply a change to the revision that a window shows, and save it.

        Raises:
            ConflictError: another revision is saved.
            OpenMERError: the change cannot be made or saved.
        """
        review = read_review(self.path)
        if change.token and any(line.token == change.token for line in review.history):
            return review
        if review.revision != revision:
            raise ConflictError("another window saved meanwhile", review)
        changed = apply_change(review, change)
        if changed is not review:
            write_review(self.path, changed, replaces=review.revision)
        return changed

    def state(self, review: Review) -> dict[str, Any]:
        """What the page shows; nothing of the machine's opinion if the coder is blind."""
        timeline, info, material = self.material.timeline, self.material.reader.info, self.material
        entries = []
        for entry in review.entries:
            plain = msgspec.to_builtins(entry)
            machine = plain.pop("machine")
            if self.blind:
                plain["origin"] = "added" if entry.origin == "added" else "moment"
            elif machine is not None:
                plain["machine"] = {**machine, **opinion(timeline, machine["index"])}
            entries.append(plain)
        other = [] if self.blind else [i for i in timeline if i.label not in (CANDIDATE, SET_ASIDE)]
        content: dict[str, Any] = {
            "name": material.folder.name,
            "video": material.video.name,
            "file": self.path.name,
            "coder": review.coder,
            "blind": self.blind,
            "revision": review.revision,
            "entries": entries,
            "others": [[i.onset_s, i.offset_s, i.label] for i in (*other, *timeline.gaps)],
            "start_s": timeline.start_s,
            "end_s": max(timeline.end_s, float(material.times_s[-1])),
            "slowdown": info.clock.slowdown,
            "width": info.width,
            "height": info.height,
            "playable": material.video.suffix.lower() in PLAYED,
            "expressions": ["happiness", "surprise", "disgust", "repression", "sadness", "fear", "anger", "contempt"],
            "units": {str(number): name for number, name in UNIT_NAMES.items()},
        }
        return content

    def gallery(self, entry: str) -> Gallery:
        """Pictures of an entry as it is saved; the last one is kept."""
        interval = read_review(self.path).entry(entry).interval
        if self._gallery is None or self._gallery.interval != interval:
            self._gallery = Gallery(self.material, interval)
        return self._gallery


class _Asked(msgspec.Struct, forbid_unknown_fields=True):
    revision: int
    change: Change


def build(desks: Sequence[Desk], token: str) -> Starlette:
    """The application: `/TOKEN/` is the page, all else is what it asks for."""

    def at(request: Request) -> Desk:
        number: int = request.path_params["desk"]
        if number >= len(desks):
            raise InputError("there is no such result")
        return desks[number]

    def page(request: Request) -> Response:
        return Response(_static("review.html"), media_type="text/html", headers={"cache-control": "no-cache"})

    def static(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in STATIC:
            return JSONResponse({"message": "not found"}, 404)
        return Response(_static(name), media_type=STATIC[name], headers={"cache-control": "no-cache"})

    def listed(request: Request) -> Response:
        rows = []
        for desk in desks:
            entries = read_review(desk.path).entries
            done = sum(e.verdict != "none" for e in entries)
            rows.append({"name": result_name(desk.material.folder), "judged": done, "total": len(entries)})
        return JSONResponse(rows)

    def state(request: Request) -> Response:
        desk = at(request)
        return _json(desk.state(read_review(desk.path)))

    def times(request: Request) -> Response:
        material = at(request).material
        numbers = np.concatenate([material.frames.astype("<f8"), material.times_s.astype("<f8")])
        return Response(numbers.tobytes(), media_type="application/octet-stream")

    def curve(request: Request) -> Response:
        desk = at(request)
        if desk.blind:
            return JSONResponse({"message": "not shown to a blind coder"}, 403)
        asked = _numbers(request, "from", "to", "bins")
        bands = desk.material.curve(asked[0], asked[1], int(asked[2]))
        data = np.concatenate([bands.low, bands.high]).astype("<f4").tobytes()
        return Response(data, media_type="application/octet-stream", headers={"cache-control": "max-age=3600"})

    def frame(request: Request) -> Response:
        width = min(MAX_WIDTH, max(16, int(_numbers(request, "w")[0])))
        data = at(request).material.jpeg(request.path_params["frame"], width)
        return Response(data, media_type="image/jpeg", headers={"cache-control": "private, max-age=3600"})

    def magnified(request: Request) -> Response:
        desk, times = at(request), _times(request)
        image = desk.gallery(request.path_params["entry"]).magnified(request.path_params["frame"], times)
        return Response(as_jpeg(image, MAX_WIDTH), media_type="image/jpeg", headers={"cache-control": "no-store"})

    def video(request: Request) -> Response:
        path = at(request).material.video
        return FileResponse(path, media_type=PLAYED.get(path.suffix.lower(), "application/octet-stream"))

    def saved(request: Request) -> Response:
        desk, entry, kind = at(request), request.path_params["entry"], request.path_params["kind"]
        if kind not in KINDS:
            return JSONResponse({"message": "not found"}, 404)
        if desk.blind and kind in ("svg", "png"):  # the machine's curve is in them
            return JSONResponse({"message": "not shown to a blind coder"}, 403)
        times = _times(request) if "times" in request.query_params else MAGNIFIED
        data = desk.gallery(entry).drawn(kind, times)
        headers = {"content-disposition": "attachment", "cache-control": "no-store"}
        return Response(data, media_type=KINDS[kind], headers=headers)

    async def change(request: Request) -> Response:
        if request.headers.get("content-type", "").partition(";")[0] != "application/json":
            return JSONResponse({"message": "a change is JSON"}, 415)
        if int(request.headers.get("content-length", MAX_CHANGE + 1)) > MAX_CHANGE:
            return JSONResponse({"message": "this change is too large"}, 413)
        desk = at(request)
        try:
            asked = msgspec.json.decode(await request.body(), type=_Asked)
        except msgspec.MsgspecError as error:
            raise InputError(f"this is not a change: {error}") from error
        try:  # not in a thread of its own: one change after another
            return _json(desk.state(desk.change(asked.revision, asked.change)))
        except ConflictError as error:
            return _json({"message": str(error), "state": desk.state(error.current)}, 409)

    def refused(request: Request, error: Exception) -> Response:
        return JSONResponse({"message": str(error)}, 507 if isinstance(error, OutputError) else 422)

    def route(path: str, endpoint: Callable[[Request], Any], method: str = "GET") -> Route:
        return Route(path, endpoint, methods=[method])

    of = "/api/{desk:int}"
    return Starlette(
        routes=[
            route("/", page),
            route("/static/{name}", static),
            route("/api/results", listed),
            route(f"{of}/state", state),
            route(f"{of}/times", times),
            route(f"{of}/curve", curve),
            route(f"{of}/frame/{{frame:int}}.jpg", frame),
            route(f"{of}/magnified/{{entry}}/{{frame:int}}.jpg", magnified),
            route(f"{of}/video", video),
            route(f"{of}/save/{{entry}}.{{kind}}", saved),
            route(f"{of}/change", change, "POST"),
        ],
        middleware=[Middleware(Gate, token=token)],
        exception_handlers={OpenMERError: refused},
    )


def _json(content: dict[str, Any], status: int = 200) -> Response:
    return Response(
        msgspec.json.encode(without_nan(content)), status, {"cache-control": "no-store"}, "application/json"
    )


def _static(name: str) -> bytes:
    return files("openmer").joinpath("templates", "review", name).read_bytes()


def _numbers(request: Request, *names: str) -> list[float]:
    try:
        numbers = [float(request.query_params[name]) for name in names]
    except (KeyError, ValueError) as error:
        raise InputError(f"numbers are needed: {', '.join(names)}") from error
    if not np.isfinite(numbers).all():
        raise InputError(f"finite numbers are needed: {', '.join(names)}")
    return numbers


def _times(request: Request) -> float:
    return min(20.0, max(1.0, _numbers(request, "times")[0]))


def review(results: Sequence[Path], settings: ReviewSettings, console: Console) -> None:
    """Serve the page until interrupted.

    Raises:
        InputError: a result, its video or its review cannot be used, or the port is taken.
        OutputError: a review cannot be written beside its result.
    """
    desks = [Desk(folder, settings) for folder in results]
    with listen("127.0.0.1", settings.port) as listener:
        port, token = listener.getsockname()[1], new_token()
        address = f"http://127.0.0.1:{port}/{token}/"
        server = uvicorn.Server(uvicorn.Config(build(desks, token), log_level="warning", access_log=False))
        for desk in desks:
            console.print(f"{escape(str(desk.path))}", highlight=False, soft_wrap=True)
        console.print(f"open [bold]{escape(address)}[/] in a browser; stop with Ctrl-C", soft_wrap=True)
        if settings.browser:
            webbrowser.open(address)
        with suppress(KeyboardInterrupt):  # Ctrl-C is the intended way to stop
            server.run(sockets=[listener])
        console.print("stopped; every decision is saved")
