"""`openmer serve`: a page for one video at a time, on this machine.

    browser -> door.py -> Gradio (this file) -> jobs.py, the queue -> worker.py, one process per analysis
    browser <- the result as a page (view.py, templates/web_result.html.j2, web.css, web.js) and its files

The server itself does not load torch; each analysis does, in its own process.
"""

import asyncio
import os
import tempfile
import threading
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.resources import files
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from openmer.choices import Device, FaceModelName
from openmer.errors import InputError
from openmer.page import render
from openmer.web.jobs import Job, Jobs, Limits
from openmer.web.private import private_folder

LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})
POLL_S = 0.2
MAX_SESSIONS = 50  # that Gradio remembers; by default it would keep the last 10,000 closed ones, some 30 KiB each


@dataclass(frozen=True)
class ServeSettings:
    """How a server runs.

    Attributes:
        host: address to listen on.
        port: port to listen on.
        engine: a .safetensors file offered beside the engines that come with the package.
        device: where networks run.
        face: who finds faces and landmarks: `dlib` or `mesh`.
        limits: what is allowed.
    """

    host: str = "127.0.0.1"
    port: int = 7860
    engine: Path | None = None
    device: Device = "auto"
    face: FaceModelName = "dlib"
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True)
class Choice:
    """An engine that the page offers.

    Attributes:
        key: its name in the browser; a path would reveal too much.
        engine: as in `openmer analyze --engine`.
        label: its description for the user.
        note: what it was trained on.
    """

    key: str
    engine: str
    label: str
    note: str


def serve(settings: ServeSettings, console: Console) -> None:
    """Serve until interrupted; then delete all users' files.

    Raises:
        InputError: the weights cannot be used, or the port is taken.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        choices = pool.submit(offered, settings.engine, settings.device).result()
    with private_folder() as folder:
        jobs = Jobs(folder, settings.limits, settings.device, settings.face)
        tempfile.tempdir = str(jobs.uploads)  # nothing is written anywhere else, not even a partial upload
        os.environ |= {
            "GRADIO_ANALYTICS_ENABLED": "False",
            "GRADIO_TEMP_DIR": str(jobs.uploads),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            # Gradio checks whether its own server answers, and must not go through a proxy for that.
            "NO_PROXY": ",".join(filter(None, (os.environ.get("NO_PROXY"), "localhost", "127.0.0.1"))),
        }
        jobs.start()
        try:
            _launch(settings, jobs, choices, console)
        finally:
            jobs.stop()


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


def _launch(settings: ServeSettings, jobs: Jobs, choices: Sequence[Choice], console: Console) -> None:
    from starlette.middleware import Middleware
    from starlette.routing import Route

    from openmer.web.door import Door, results

    local = settings.host in LOOPBACK | {"::1"}
    door = Middleware(Door, uploads=jobs.uploads, max_mb=settings.limits.max_mb, hosts=LOOPBACK if local else None)
    route = Route("/results/{token}/{name}", results(jobs))
    page = build(jobs, choices)
    try:
        page.launch(
            server_name=settings.host,
            server_port=settings.port,
            max_file_size=int(settings.limits.max_mb * 1e6),
            state_session_capacity=MAX_SESSIONS,
            app_kwargs={"middleware": [door], "routes": [route]},
            theme=_theme(),
            css=_template("web.css"),
            head=f"<script>{_template('web.js')}</script>",
            footer_links=[],
            run_history=False,
            share=False,
            quiet=True,
            prevent_thread_lock=True,
            enable_monitoring=False,
            ssr_mode=False,
            mcp_server=False,
            pwa=False,
            show_error=False,
        )
    except OSError as error:
        raise InputError(f"port {settings.port} of {settings.host} cannot be used; choose another --port") from error
    try:
        _greet(settings, local, console)
        with suppress(KeyboardInterrupt):  # Ctrl-C is the intended way to stop
            threading.Event().wait()
    finally:
        page.close(verbose=False)


def _greet(settings: ServeSettings, local: bool, console: Console) -> None:
    if not local:
        console.print(
            "[yellow]warning:[/] everyone who can reach this machine over the network can use this page; it has no "
            "password, and videos of faces travel unencrypted. Put it behind a server that adds both."
        )
    address = "localhost" if local else settings.host
    console.print(f"open [bold]http://{escape(address)}:{settings.port}[/] in a browser; stop with Ctrl-C")


def build(jobs: Jobs, choices: Sequence[Choice]) -> Any:
    """The page as Gradio blocks, wired to the queue."""
    import gradio as gr

    with gr.Blocks(title="OpenMER", analytics_enabled=False) as page:
        _wire(gr, page, _lay_out(gr, jobs.limits, choices), jobs, choices)
    return page


@dataclass(frozen=True)
class Parts:
    """The Gradio components on the page, from top to bottom."""

    form: Any
    video: Any
    engine: Any
    explain: Any
    go: Any
    status: Any
    cancel: Any
    again: Any
    result: Any
    steps: Any
    note: Any


def _lay_out(gr: Any, limits: Limits, choices: Sequence[Choice]) -> Parts:
    gr.HTML(render("web_head.html.j2"))
    with gr.Column() as form, gr.Row(equal_height=False):
        with gr.Column(scale=3, min_width=300):
            video = gr.Video(label="Video", sources=["upload", "webcam"], elem_id="om-video")
        with gr.Column(scale=2, min_width=280):
            engine = gr.Radio([(c.label, c.key) for c in choices], value=choices[0].key, label="Method")
            explain = gr.Checkbox(
                label="Show what the network saw (a few seconds per key moment)", elem_id="om-explain"
            )
            go = gr.Button("Analyse", variant="primary", elem_id="om-go")
            gr.HTML(render("web_limits.html.j2", limits=limits))
    status = gr.HTML(visible=False, elem_id="om-status")
    cancel = gr.Button("Cancel", size="sm", visible=False, elem_id="om-cancel")
    again = gr.Button("Analyse another video", size="sm", visible=False, elem_id="om-again")
    result = gr.HTML(visible=False)
    with gr.Column() as steps:
        gr.HTML(render("web_steps.html.j2"))
    note = gr.HTML(_note(choices[0]), elem_id="om-note")
    return Parts(form, video, engine, explain, go, status, cancel, again, result, steps, note)


def _wire(gr: Any, page: Any, parts: Parts, jobs: Jobs, choices: Sequence[Choice]) -> None:
    """Connect events to actions. Gradio passes a request to every function that has an argument of that type."""

    async def analyse(path: str | None, name: str, explain: bool, request: gr.Request) -> AsyncIterator[list[Any]]:
        async for view in _follow(jobs, request.session_hash or "", path, _chosen(choices, name), explain):
            yield view.updates(gr)

    def another(request: gr.Request) -> list[Any]:
        jobs.leave(request.session_hash or "")
        return [None, *View().updates(gr)]

    def hold(path: str | None, request: gr.Request) -> None:
        if path:
            jobs.hold(request.session_hash or "", Path(path))

    def stop(request: gr.Request) -> None:
        jobs.cancel(request.session_hash or "")

    def leave(request: gr.Request) -> None:
        jobs.leave(request.session_hash or "")

    quiet = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": None}
    p = parts
    shown = [p.form, p.steps, p.go, p.cancel, p.again, p.status, p.result]
    p.video.change(hold, p.video, None, **quiet)
    p.engine.change(lambda name: _note(_chosen(choices, name)), p.engine, p.note, **quiet)
    p.go.click(analyse, [p.video, p.engine, p.explain], shown, **quiet)
    p.cancel.click(stop, None, None, **quiet)
    p.again.click(another, None, [p.video, *shown], **quiet)
    page.unload(leave)


@dataclass(frozen=True)
class View:
    """What the page shows: a form, a status with a way to cancel, or a result."""

    status: str = ""
    result: str = ""
    busy: bool = False

    def updates(self, gr: Any) -> list[Any]:
        """Updates for form, steps, go, cancel, again, status and result."""
        free = not self.busy
        return [
            gr.update(visible=not self.result),
            gr.update(visible=not self.result),
            gr.update(interactive=free),
            gr.update(visible=self.busy),
            gr.update(visible=bool(self.result)),
            gr.update(value=self.status, visible=bool(self.status)),
            gr.update(value=self.result, visible=bool(self.result)),
        ]


async def _follow(jobs: Jobs, session: str, path: str | None, choice: Choice, explain: bool) -> AsyncIterator[View]:
    """Queue a video and report its progress until it is over."""
    if not path:
        yield View(_said("Drop a video into the box first, or record one."))
        return
    upload = Path(path)
    jobs.hold(session, upload)
    try:
        job = jobs.submit(session, upload, choice.engine, explain=bool(explain))
    except InputError as error:
        yield View(_said(str(error)))
        return
    last = None
    while not job.over:
        view = View(_status(job, jobs.ahead(job)), busy=True)
        if view != last:
            yield view
        last = view
        await asyncio.sleep(POLL_S)
    if job.state == "done":
        with suppress(FileNotFoundError):  # given up in the meantime
            yield View(result=job.page.read_text(encoding="utf-8"))
            return
    yield View(_said(job.message) if job.state == "failed" else _said("Cancelled.", calm=True))


def _chosen(choices: Sequence[Choice], engine: str) -> Choice:
    """The chosen engine; a browser may send anything, even a path on this machine."""
    return next((c for c in choices if c.key == engine), choices[0])


def _status(job: Job, ahead: int) -> str:
    return render("web_status.html.j2", progress=job.progress, waiting=job.state == "waiting", ahead=ahead)


def _said(text: str, *, calm: bool = False) -> str:
    return render("web_said.html.j2", text=text, calm=calm)


def _note(choice: Choice) -> str:
    return render("web_note.html.j2", note=choice.note)


def _template(name: str) -> str:
    return files("openmer").joinpath("templates", name).read_text(encoding="utf-8")


def _theme() -> Any:
    """Use system fonts: Gradio's own would be fetched from Google."""
    import gradio as gr

    return gr.themes.Base(
        primary_hue="sky",
        neutral_hue="slate",
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    )
