"""The routes of `openmer serve`: the page, its sessions, the videos that are sent, and the files of results.

A session is one open page. It begins with a request for a name that nobody can guess, and lasts while the page listens
to its events; when the page is closed, its analysis ends and everything of it is deleted.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import anyio
import msgspec
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from openmer.errors import InputError, OpenMERError
from openmer.media.find import VIDEO_SUFFIXES
from openmer.page import render
from openmer.web.gate import HEADERS, POLICY, Gate
from openmer.web.jobs import Job, Jobs
from openmer.web.settings import Choice

POLL_S = 0.2
ALIVE_S = 10.0  # between signs of life to a page to which nothing happens
AWAY_S = 5.0  # a page that listens no longer may come back so long
MAX_SESSIONS = 1000
MAX_LISTED = 5000
NAME_BYTES = 150  # of a file's name
STATIC = {"serve.css": "text/css", "serve.js": "text/javascript", "result.js": "text/javascript"}
INLINE = {".mp4", ".png", ".svg"}  # in the page; everything else is for download
# The drawings of a result place their marks by style attributes.
PAGE_HEADERS = {
    **HEADERS,
    "content-security-policy": POLICY.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'"),
}


@dataclass
class Session:
    """An open page.

    Attributes:
        listeners: how many connections listen to its events; more than one for a moment, when it connects again.
        away_since: when the last one went, on the monotonic clock.
    """

    listeners: int = 0
    away_since: float = 0.0


class Sessions:
    """The open pages; those that are gone for a while are forgotten with all they had."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._open: dict[str, Session] = {}

    def begin(self) -> str:
        """A new session's name.

        Raises:
            InputError: there are too many.
        """
        self.sweep()
        if len(self._open) >= MAX_SESSIONS:
            raise InputError("too many pages are open; try again later")
        name = secrets.token_urlsafe(24)
        self._open[name] = Session(away_since=time.monotonic())
        return name

    def __contains__(self, name: str) -> bool:
        return name in self._open

    def leave(self, name: str) -> None:
        """End a session, and delete everything it had."""
        if self._open.pop(name, None) is not None:
            self._jobs.give_up(name)

    def sweep(self) -> None:
        """End sessions to which nobody listens any more."""
        oldest = time.monotonic() - AWAY_S
        for name in [n for n, s in self._open.items() if not s.listeners and s.away_since < oldest]:
            self.leave(name)

    async def events(self, name: str) -> AsyncIterator[str]:
        """Server-sent events: what the page has to show, whenever that changes."""
        session = self._open[name]
        session.listeners += 1
        last: tuple[Any] | None = None
        told = time.monotonic()
        try:
            while name in self._open:
                job = self._jobs.of(name)
                now = None if job is None else (job.token, job.state, job.progress, self._jobs.ahead(job))
                if last is None or now != last[0]:
                    expired = job is None and last is not None and last[0] is not None and last[0][1] == "done"
                    view = _deleted(self._jobs) if expired else _view(self._jobs, job)
                    yield f"data: {msgspec.json.encode(view).decode()}\n\n"
                    last, told = (now,), time.monotonic()
                elif time.monotonic() - told > ALIVE_S:
                    yield ": here\n\n"
                    told = time.monotonic()
                await asyncio.sleep(POLL_S)
        finally:
            session.listeners -= 1
            session.away_since = time.monotonic()


def _deleted(jobs: Jobs) -> dict[str, str]:
    """What a page shows whose result is no longer kept; one that asked for that shows nothing of it."""
    text = (
        f"The result has been deleted, as all are after {jobs.limits.keep_minutes:g} minutes; analyse the video again."
    )
    return {"state": "free", "html": render("serve/message.html.j2", text=text, calm=False)}


def _view(jobs: Jobs, job: Job | None) -> dict[str, str]:
    """What a page shows: a form, a status with a way to cancel, or a result."""
    if job is None:
        return {"state": "free", "html": ""}
    if not job.over:
        waiting = job.state == "waiting"
        html = render("serve/status.html.j2", progress=job.progress, waiting=waiting, ahead=jobs.ahead(job))
        return {"state": "busy", "html": html}
    if job.state == "done":
        with suppress(FileNotFoundError):  # given up in the meantime
            return {"state": "done", "html": job.page.read_text(encoding="utf-8")}
        return {"state": "free", "html": ""}
    calm = job.state == "cancelled"
    return {
        "state": "free",
        "html": render("serve/message.html.j2", text="Cancelled." if calm else job.message, calm=calm),
    }


def build(
    jobs: Jobs, choices: Sequence[Choice], folder: Path | None, *, token: str, hosts: frozenset[str] | None
) -> Starlette:
    """The application.

    Args:
        jobs: the queue.
        choices: the engines that are offered, the first one chosen.
        folder: whose videos are listed, or None.
        token: with which all paths begin; empty for none.
        hosts: see `Gate`.
    """
    sessions = Sessions(jobs)

    def page(_: Request) -> Response:
        name = None if folder is None else (folder.absolute().name or str(folder)).encode(errors="replace").decode()
        html = render("serve/page.html.j2", choices=choices, limits=jobs.limits, folder=name)
        return Response(html, media_type="text/html", headers={"cache-control": "no-cache"})

    def static(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in STATIC:
            return PlainTextResponse("not found", 404)
        data = files("openmer").joinpath("templates", "serve", name).read_bytes()
        return Response(data, media_type=STATIC[name], headers={"cache-control": "no-cache"})

    async def begin(_: Request) -> Response:
        return JSONResponse({"session": sessions.begin()}, headers={"cache-control": "no-store"})

    def of_session(does: Callable[[str, Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        async def checked(request: Request) -> Response:
            name = request.path_params["session"]
            if name not in sessions:
                return PlainTextResponse("the server does not know this page; load it again", 404)
            return await does(name, request)

        return checked

    async def events(name: str, _: Request) -> Response:
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        return StreamingResponse(sessions.events(name), media_type="text/event-stream", headers=headers)

    async def analyse(name: str, request: Request) -> Response:
        asked = request.query_params
        choice = next((c for c in choices if c.key == asked.get("engine")), choices[0])
        explain, listed = "explain" in asked, asked.get("file")
        if listed is not None:
            jobs.submit(name, _listed(folder, listed), choice.engine, explain=explain, keep=True)
            return Response(status_code=202)
        refused = _refused(request, jobs.limits.max_mb)
        if refused is not None:
            return refused
        path = jobs.new_upload(_plain(asked.get("name", "")))
        try:
            await _receive(request, path)
            if name not in sessions:
                raise InputError("the page was closed")
            jobs.submit(name, path, choice.engine, explain=explain)
        except ClientDisconnect:
            return Response(status_code=400)
        finally:
            with suppress(OSError):  # unless the analysis took it
                path.unlink(missing_ok=True)
                path.parent.rmdir()
        return Response(status_code=202)

    async def cancel(name: str, _: Request) -> Response:
        jobs.cancel(name)
        return Response(status_code=204)

    async def again(name: str, _: Request) -> Response:
        jobs.give_up(name)
        return Response(status_code=204)

    async def leave(name: str, _: Request) -> Response:
        sessions.leave(name)
        return Response(status_code=204)

    def listed(_: Request) -> Response:
        return JSONResponse(_videos(folder), headers={"cache-control": "no-store"})

    def one_file(request: Request) -> Response:
        """A file of a finished result, to whoever knows its token."""
        name = request.path_params["name"]
        path = jobs.file(request.path_params["token"], name)
        if path is None:
            return PlainTextResponse("This result has been deleted; analyse the video again.", 404)
        kind = "inline" if path.suffix in INLINE else "attachment"
        return FileResponse(path, filename=name, content_disposition_type=kind, headers={"cache-control": "no-store"})

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async def sweeping() -> None:
            while True:
                await asyncio.sleep(AWAY_S / 5)
                sessions.sweep()

        task = asyncio.create_task(sweeping())
        yield
        task.cancel()

    def refused(_: Request, error: Exception) -> Response:
        return PlainTextResponse(str(error), 422)

    here = "/api/sessions/{session}"
    return Starlette(
        routes=[
            Route("/", page),
            Route("/static/{name}", static),
            Route("/results/{token}/{name}", one_file),
            Route("/api/files", listed),
            Route("/api/sessions", begin, methods=["POST"]),
            Route(f"{here}/events", of_session(events)),
            *(
                Route(f"{here}/{does.__name__}", of_session(does), methods=["POST"])
                for does in (analyse, cancel, again, leave)
            ),
        ],
        middleware=[Middleware(Gate, token=token, hosts=hosts, headers=PAGE_HEADERS)],
        exception_handlers={OpenMERError: refused},
        lifespan=lifespan,
    )


def _refused(request: Request, max_mb: float) -> Response | None:
    """Why a video is not read, before any of it is."""
    length = request.headers.get("content-length", "")
    if (
        not length.isdigit() or "transfer-encoding" in request.headers
    ):  # if both are there, the length is not the one read
        return PlainTextResponse("a video must state its length", 411)
    if int(length) > max_mb * 1e6:
        return PlainTextResponse(f"This video is larger than {max_mb:g} MB, the limit here.", 413)
    if int(length) == 0:
        return PlainTextResponse("The video is empty.", 422)
    return None


async def _receive(request: Request, path: Path) -> None:
    """Write the body of a request to a file, part by part."""
    async with await anyio.open_file(path, "wb") as file, aclosing(request.stream()) as parts:
        async for part in parts:
            await file.write(part)


def _plain(name: str) -> str:
    """The name of a file without folders and control characters, short enough for a disk."""
    name = "".join(c for c in name.replace("\\", "/").rpartition("/")[2] if c.isprintable()).strip()
    stem, dot, suffix = name.rpartition(".")
    if not dot:
        stem, suffix = suffix, ""
    suffix = dot + suffix[:10]
    stem = stem.encode(errors="ignore")[: NAME_BYTES - len(suffix.encode())].decode(errors="ignore").strip(". ")
    return f"{stem or 'video'}{suffix}"


def _videos(folder: Path | None) -> list[dict[str, Any]]:
    """Name and size of the videos in a folder and those below it, hidden ones left out, by name."""
    videos: list[dict[str, Any]] = []
    for path in sorted(() if folder is None else folder.rglob("*")):
        if folder is not None and _is_listed(path, folder):
            videos.append({"name": path.relative_to(folder).as_posix(), "mb": round(path.stat().st_size / 1e6, 1)})
            if len(videos) == MAX_LISTED:
                break
    return videos


def _is_listed(path: Path, folder: Path) -> bool:
    """Whether a path is a video inside a folder, wherever links lead, and nothing on the way is hidden."""
    try:
        inside = path.resolve().relative_to(folder.resolve())
        name = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in (*inside.parts, *name.parts))
        name.as_posix().encode()  # a name that is no text cannot be shown, and must not hide the others
        return path.suffix.lower() in VIDEO_SUFFIXES and not hidden and path.is_file()
    except (OSError, ValueError):
        return False


def _listed(folder: Path | None, name: str) -> Path:
    """The listed video of this name.

    Raises:
        InputError: no such video is listed.
    """
    if folder is not None and _is_listed(folder / name, folder):
        return folder / name
    raise InputError("there is no such video in the folder any more; load the page again")
