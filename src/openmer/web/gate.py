"""Who may talk to a server on this machine: its own pages, by its own name, with its token if it has one."""

import hmac
import secrets
import socket
from collections.abc import Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from openmer.errors import InputError

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
LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})


def new_token() -> str:
    """What an address of the server begins with; nobody can guess it."""
    return secrets.token_urlsafe(24)


def listen(host: str, port: int) -> socket.socket:
    """A socket on which a server can be reached from now on; who connects early waits.

    Raises:
        InputError: the address is unknown or taken.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except (OSError, OverflowError) as error:
        raise InputError(f"{host} is not an address of this machine, or {port} is not a port ({error})") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()
    except OSError as error:
        listener.close()
        raise InputError(f"port {port} of {host} cannot be used ({error.strerror}); choose another --port") from error
    return listener


class Gate:
    """ASGI middleware: admits requests by one of the server's names, from its own pages, and states what they may load.

    Args:
        app: what is behind it; it sees paths without the token.
        token: with which all paths must begin; empty for none.
        hosts: names by which the server may be addressed, or None for any. On a loopback address this keeps out pages
            of other sites whose name was made to point here (DNS rebinding).
        headers: of all answers.
    """

    def __init__(
        self,
        app: ASGIApp,
        token: str = "",
        hosts: frozenset[str] | None = LOOPBACK,
        headers: Mapping[str, str] = HEADERS,
    ) -> None:
        self._app = app
        self._prefix = f"/{token}/" if token else "/"
        self._hosts = hosts
        self._headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse the request, or pass it on."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self._headers)
            await send(message)

        refusal = self._refusal(Headers(scope=scope), scope["path"])
        if refusal is None:
            scope = {**scope, "path": scope["path"][len(self._prefix) - 1 :], "root_path": ""}
            scope.pop("raw_path", None)
        await (refusal or self._app)(scope, receive, with_headers)

    def _refusal(self, headers: Headers, path: str) -> ASGIApp | None:
        host, origin = headers.get("host", ""), headers.get("origin")
        if self._hosts is not None and _name(host) not in self._hosts:
            return PlainTextResponse("wrong host name", 421)
        if origin not in (None, f"http://{host}", f"https://{host}") or headers.get("sec-fetch-site", "none") not in (
            "same-origin",
            "none",
        ):
            return PlainTextResponse("not from here: type or paste the address", 403)
        if not hmac.compare_digest(path[: len(self._prefix)].encode(), self._prefix.encode()):
            return PlainTextResponse("not found; open the address that the server printed, all of it", 404)
        return None


def _name(host: str) -> str:
    """A host without its port: `localhost:7860`, `[::1]:7860`."""
    return host.rsplit(":", 1)[0] if host.rsplit(":", 1)[-1].isdigit() else host
