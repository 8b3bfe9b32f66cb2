"""`openmer serve`: a page on this machine for one video at a time.

    browser -> gate.py (host, origin, token) -> routes.py (Starlette) -> jobs.py, the queue -> worker.py, a process each
    browser <- events: progress, then the result as a part of the page (view.py, templates/serve) and its files

The server itself does not load torch; each analysis does, in its own process.
"""

import tempfile
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path

import uvicorn
from rich.console import Console
from rich.markup import escape

from openmer.choices import Device
from openmer.errors import InputError
from openmer.web.gate import LOOPBACK, listen, new_token
from openmer.web.jobs import Jobs
from openmer.web.private import private_folder
from openmer.web.routes import build
from openmer.web.settings import Choice, ServeSettings

GRACEFUL_S = 1  # for open connections when the server ends


def serve(settings: ServeSettings, console: Console) -> None:
    """Serve until interrupted; then delete all users' files.

    Raises:
        InputError: the weights or the folder cannot be used, the port is taken, or a folder is to be shown to others.
    """
    local = settings.host in LOOPBACK | {"::1"}
    if settings.files is not None:
        _check_folder(settings.files, local=local)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        choices = pool.submit(offered, settings.engine, settings.device).result()
    with private_folder() as folder, listen(settings.host, settings.port) as listener:
        jobs = Jobs(folder, settings.limits, settings.device, settings.face)
        tempfile.tempdir = str(jobs.uploads)  # nothing is written anywhere else
        token = "" if settings.files is None else new_token()
        site = build(jobs, choices, settings.files, token=token, hosts=LOOPBACK if local else None)
        config = uvicorn.Config(site, log_level="warning", access_log=False, timeout_graceful_shutdown=GRACEFUL_S)
        jobs.start()
        try:
            _greet(settings, listener.getsockname()[1], token, console, local=local)
            with suppress(KeyboardInterrupt):  # Ctrl-C is the intended way to stop
                uvicorn.Server(config).run(sockets=[listener])
        finally:
            jobs.stop()


def _check_folder(folder: Path, *, local: bool) -> None:
    if not local:
        raise InputError("--files shows a folder of this machine, which others must not see: leave out --host")
    try:
        next(folder.iterdir(), None)
    except OSError as error:
        raise InputError(f"--files must be a folder that can be read; {folder}: {error.strerror or error}") from error


def offered(own: Path | None, device: Device) -> tuple[Choice, ...]:
    """The engines to offer; runs in a separate process, since reading weights loads torch.

    Raises:
        InputError: `own` cannot be used.
    """
    from openmer.choices import CLASSICAL, DEFAULT_ENGINE
    from openmer.models.engine import load_engine

    shipped = load_engine(DEFAULT_ENGINE, device)
    choices = [
        Choice(
            DEFAULT_ENGINE,
            DEFAULT_ENGINE,
            f"motion and a network's opinion ({DEFAULT_ENGINE})",
            _trained(shipped.record.trained_on),
        ),
        Choice(
            CLASSICAL, CLASSICAL, f"motion alone ({CLASSICAL})", "Motion is measured; nothing was learned from data."
        ),
    ]
    if own is not None:
        mine = load_engine(own, device)
        label = f"motion and the opinion of your weights ({own.stem})"
        choices.insert(0, Choice("own", str(own.absolute()), label, _trained(mine.record.trained_on)))
    return tuple(choices)


def _trained(on: str) -> str:
    return f"The network was trained on {on.rstrip('.')}."


def _greet(settings: ServeSettings, port: int, token: str, console: Console, *, local: bool) -> None:
    if not local:
        console.print(
            "[yellow]warning:[/] everyone who can reach this machine over the network can use this page; it has no "
            "password, and videos of faces travel unencrypted. Put it behind a server that adds both."
        )
    address = f"http://{'localhost' if local else settings.host}:{port}" + (f"/{token}/" if token else "")
    console.print(f"open [bold]{escape(address)}[/] in a browser; stop with Ctrl-C", soft_wrap=True)
