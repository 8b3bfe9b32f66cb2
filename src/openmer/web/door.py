"""Which routes of the web server can be reached at all, and what its pages may load: nothing from elsewhere.

Gradio has more routes than this page needs (proxies, recorders, docs); a list of what is allowed is easier to verify
than a list of what is not.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import unquote

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from openmer.web.jobs import Jobs

API = "/gradio_api"
PAGES = {"/", "/config", "/theme.css", "/favicon.ico", "/manifest.json", "/robots.txt"} | {
    f"{API}/{name}"
    for name in (
        "queue/join",
        "queue/data",
        "startup-events",
        "theme.css",
        "cancel",
        "reset",
        "upload",
        "upload_progress",
    )
}
FOLDERS = ("/assets/", "/static/", "/results/", f"{API}/heartbeat/")
UPLOADED = f"{API}/file="
FORM_BYTES = 100_000  # overhead of a multipart form around its file
POLICY = (
    "default-src 'self'; script-src 'self' blob: 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' blob:; font-src 'self' data:; worker-src 'self' blob:; "
    "connect-src 'self' blob:; object-src 'none'; form-action 'self'; frame-ancestors 'self'"
)
HEADERS = {"content-security-policy": POLICY, "x-content-type-options": "nosniff", "referrer-policy": "no-referrer"}
SHOWN = {".mp4", ".png"}  # in the page; everything else is for download


class Door:
    """ASGI middleware: admits only listed routes, and states what a page may load.

    Args:
        app: the application behind it.
        uploads: the only folder from which Gradio may serve files.
        max_mb: largest upload.
        hosts: host names by which the server may be addressed, or None for any. On a loopback address, this keeps out
            pages of other sites whose name was made to point here (DNS rebinding).
    """

    def __init__(self, app: ASGIApp, uploads: Path, max_mb: float, hosts: frozenset[str] | None) -> None:
        self._app = app
        self._uploads = uploads
        self._max_mb = max_mb
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse the request, or pass it on."""
        if scope["type"] != "http":  # the server's own startup and shutdown
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        refusal = self._refusal(scope["path"], Headers(scope=scope))
        await (refusal or self._app)(scope, receive, with_headers)

    def _refusal(self, path: str, headers: Headers) -> Response | None:
        if self._hosts is not None and _name(headers.get("host", "")) not in self._hosts:
            return PlainTextResponse("wrong host name", 421)
        if path.startswith(UPLOADED):
            return None if self._is_upload(path.removeprefix(UPLOADED)) else PlainTextResponse("not allowed", 403)
        if path not in PAGES and not path.startswith(FOLDERS):
            return PlainTextResponse("not found", 404)
        if path == f"{API}/upload":
            # One form can hold many files, each below Gradio's own limit, so the size of the whole form counts here.
            length = headers.get("content-length")
            if length is None or "transfer-encoding" in headers:  # if both are there, the length is not the one read
                return PlainTextResponse("an upload must state its length", 411)
            if int(length) > self._max_mb * 1e6 + FORM_BYTES:
                return PlainTextResponse(f"larger than {self._max_mb:g} MB, the limit here", 413)
        return None

    def _is_upload(self, name: str) -> bool:
        path = Path(unquote(name)).resolve()
        return path.is_relative_to(self._uploads.resolve()) and path.is_file()


def _name(host: str) -> str:
    """A host without its port: `localhost:7860`, `[::1]:7860`."""
    return host.rsplit(":", 1)[0] if host.rsplit(":", 1)[-1].isdigit() else host


def results(jobs: Jobs) -> Callable[[Request], Awaitable[Response]]:
    """The route that serves the files of finished results to whoever knows their token."""

    async def one_file(request: Request) -> Response:
        name = request.path_params["name"]
        path = jobs.file(request.path_params["token"], name)
        if path is None:
            return PlainTextResponse("This result has been deleted; analyse the video again.", 404)
        kind = "inline" if path.suffix in SHOWN else "attachment"
        return FileResponse(path, filename=name, content_disposition_type=kind, headers={"cache-control": "no-store"})

    return one_file
