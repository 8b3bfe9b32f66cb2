"""Who may talk to a server on this machine: whoever knows its token, from its own page, by its own name."""

import hmac
import secrets

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}
NAMES = ("127.0.0.1", "localhost")


def new_token() -> str:
    """What an address of the server begins with; nobody can guess it."""
    return secrets.token_urlsafe(24)


class Gate:
    """ASGI middleware: admits requests for `/TOKEN/...` by one of the server's names, from its own pages.

    Args:
        app: what is behind it; it sees paths without the token.
        token: the server's.
        port: on which it listens.
    """

    def __init__(self, app: ASGIApp, token: str, port: int) -> None:
        self._app = app
        self._prefix = f"/{token}/"
        self._hosts = {f"{name}:{port}" for name in NAMES}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse the request, or pass it on."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        headers, path = Headers(scope=scope), scope["path"]
        host, origin = headers.get("host", ""), headers.get("origin")
        answer: ASGIApp
        if host not in self._hosts:
            answer = PlainTextResponse("wrong host name", 421)
        elif origin not in (None, f"http://{host}") or headers.get("sec-fetch-site", "none") not in (
            "same-origin",
            "none",
        ):
            answer = PlainTextResponse("not from here", 403)
        elif not hmac.compare_digest(path[: len(self._prefix)].encode(), self._prefix.encode()):
            answer = PlainTextResponse("not found; open the address that the server printed, all of it", 404)
        else:
            scope = {**scope, "path": path[len(self._prefix) - 1 :], "root_path": ""}
            scope.pop("raw_path", None)
            answer = self._app
        await answer(scope, receive, with_headers)
