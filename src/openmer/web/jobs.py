"""The queue: who waits, what runs, and when files are deleted. One process per analysis; one thread manages them all.

Everything that a session owns is tied to its name, which only its browser and the server know; what a browser can fetch
is tied to a random token.
"""

import multiprocessing
import os
import secrets
import shutil
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Literal

from openmer.choices import Device, FaceModelName
from openmer.errors import InputError
from openmer.web.worker import EXTRAS, PAGE, RESULT, Done, Failed, Order, Progress, run

State = Literal["waiting", "running", "done", "failed", "cancelled"]
TICK_S = 0.1
MAX_WAITING = 20
GRACE_S = 5.0  # least time an upload is kept, whoever left: someone else may have just uploaded the same file
UNHELD_S = 30.0  # least time for an upload of which no session speaks: the page was closed as it arrived
KILLED = (
    "The analysis was ended from outside, perhaps because memory ran out. The server is still running; "
    "a shorter or smaller video may work."
)


@dataclass(frozen=True)
class Limits:
    """What one server allows.

    Attributes:
        workers: number of analyses at a time.
        max_mb: largest upload.
        max_seconds: longest video.
        keep_minutes: longest time that files are kept.
    """

    workers: int = 1
    max_mb: float = 200
    max_seconds: float = 120
    keep_minutes: float = 60

    def __post_init__(self) -> None:
        for name in ("workers", "max_mb", "max_seconds", "keep_minutes"):
            if not 0 < getattr(self, name) < 1e6:
                raise InputError(f"--{name.replace('_', '-')} must be more than 0, got {getattr(self, name)}")


@dataclass
class Job:
    """One analysis of one session.

    Attributes:
        session: the session that owns it.
        order: what to analyse, and how.
        state: its state.
        progress: progress of the running stage.
        message: why it failed, for the user.
        ended: when it ended, on the monotonic clock.
    """

    session: str
    order: Order
    token: str
    state: State = "waiting"
    progress: Progress = field(default_factory=lambda: Progress("Waiting", 0, None))
    message: str = ""
    ended: float = 0.0
    process: BaseProcess | None = None
    pipe: Connection | None = None

    @property
    def over(self) -> bool:
        """Whether nothing more will happen."""
        return self.state not in ("waiting", "running")

    @property
    def page(self) -> Path:
        """The page that is shown when it is done."""
        return self.order.folder / PAGE


class Jobs:
    """All jobs of a server.

    Args:
        folder: where results and uploads are kept; private to the server.
        limits: what is allowed.
        device: where networks run.
        face: who finds faces.
        clock: monotonic time in seconds.
    """

    def __init__(
        self,
        folder: Path,
        limits: Limits,
        device: Device = "auto",
        face: FaceModelName = "dlib",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.uploads = folder / "uploads"
        self.limits = limits
        self._results = folder / "results"
        self._device, self._face = device, face
        self._clock = clock
        self._jobs: list[Job] = []  # in order of arrival
        self._held: dict[str, set[Path]] = {}  # session -> folders of its uploads; equal files share one
        self._left: set[Path] = set()  # folders of uploads whose session is over
        self._lock = threading.RLock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look_after, name="openmer-jobs", daemon=True)
        for part in (self.uploads, self._results):
            part.mkdir(mode=0o700)

    def submit(self, session: str, video: Path, engine: str, *, explain: bool = False) -> Job:
        """Queue an analysis, optionally with explanations; an older one of the same session is given up.

        Raises:
            InputError: the upload is gone or too large, or too many analyses are waiting.
        """
        with self._lock:
            self.give_up(session)
            self.hold(session, video)
            if sum(job.state == "waiting" for job in self._jobs) >= MAX_WAITING:
                raise InputError(f"{MAX_WAITING} analyses are already waiting; try again in a few minutes")
            token = secrets.token_urlsafe(16)
            folder = self._results / token
            folder.mkdir(mode=0o700)
            order = Order(
                _linked(video, self.uploads, folder / "input", self.limits.max_mb),
                folder,
                engine,
                self._device,
                self.limits.max_seconds,
                f"results/{token}/",
                explain,
                self._face,
            )
            job = Job(session, order, token)
            self._jobs.append(job)
            self.tick()
            return job

    def hold(self, session: str, upload: Path) -> None:
        """Note that a session uploaded a file, so that it is deleted with the session."""
        if upload.is_relative_to(self.uploads):
            with self._lock:
                self._held.setdefault(session, set()).add(upload.parent)

    def ahead(self, job: Job) -> int:
        """How many analyses must start before this one does."""
        with self._lock:
            waiting = [j for j in self._jobs if j.state == "waiting"]
            return waiting.index(job) if job in waiting else 0

    def cancel(self, session: str) -> None:
        """End the session's analysis now."""
        with self._lock:
            for job in self._of(session):
                if not job.over:
                    self._end(job, "cancelled")

    def give_up(self, session: str) -> None:
        """End the session's analysis and delete its result."""
        with self._lock:
            self.cancel(session)
            for job in self._of(session):
                self._delete(job)

    def leave(self, session: str) -> None:
        """End the session: delete everything it had, except uploads that another session also made."""
        with self._lock:
            self.give_up(session)
            self._left |= self._held.pop(session, set())

    def file(self, token: str, name: str) -> Path | None:
        """A file of a finished result, or None if there is none (any more)."""
        with self._lock:
            job = next((j for j in self._jobs if secrets.compare_digest(j.token.encode(), token.encode())), None)
            if job is None or job.state != "done":
                return None
            folders = (job.order.folder / RESULT, job.order.folder / EXTRAS)
            return next((p for folder in folders for p in folder.iterdir() if p.name == name), None)

    def tick(self) -> None:
        """Read the processes' messages, start waiting jobs, delete what is old."""
        with self._lock:
            for job in self._jobs:
                if job.state == "running":
                    self._hear(job)
            for job in self._jobs:
                if job.state == "waiting" and sum(j.state == "running" for j in self._jobs) < self.limits.workers:
                    self._start(job)
            oldest = self._clock() - 60 * self.limits.keep_minutes
            for job in [j for j in self._jobs if j.over and j.ended < oldest]:
                self._delete(job)
            self._delete_uploads()

    def start(self) -> None:
        """Manage the jobs in a thread until `stop`."""
        self._thread.start()

    def stop(self) -> None:
        """End all jobs; whoever created the folder deletes it."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        with self._lock:
            for session in {job.session for job in self._jobs}:
                self.give_up(session)

    def _look_after(self) -> None:
        while not self._stop.wait(TICK_S):
            try:
                self.tick()
            except Exception:  # such as a full disk: later requests must still be served
                traceback.print_exc()

    def _of(self, session: str) -> list[Job]:
        return [job for job in self._jobs if job.session == session]

    def _start(self, job: Job) -> None:
        # spawn, since a fork would copy the locks of the server's threads in whatever state they are in
        context = multiprocessing.get_context("spawn")
        job.pipe, child = context.Pipe(duplex=False)
        job.process = context.Process(target=run, args=(job.order, child), daemon=True)
        job.state, job.progress = "running", Progress("Starting", 0, None)
        with suppress(OSError):  # no memory for another process; `_hear` then finds the pipe closed
            job.process.start()
        child.close()

    def _hear(self, job: Job) -> None:
        if job.pipe is None or job.process is None:
            return
        try:
            while job.pipe.poll():
                message = job.pipe.recv()
                if isinstance(message, Progress):
                    job.progress = message
                    continue
                job.message = message.message if isinstance(message, Failed) else ""
                self._end(job, "done" if isinstance(message, Done) else "failed")
                return
        except (EOFError, OSError):  # it died without a message
            job.message = KILLED
            self._end(job, "failed")

    def _end(self, job: Job, state: State) -> None:
        if job.process is not None and job.pipe is not None:
            if job.process.pid is not None:
                job.process.kill()  # if it is done, everything is written and it only has to exit
                job.process.join()
            job.process.close()
            job.pipe.close()
            job.process = job.pipe = None
        shutil.rmtree(job.order.video.parent if state == "done" else job.order.folder, ignore_errors=True)
        job.state, job.ended = state, self._clock()

    def _delete(self, job: Job) -> None:
        shutil.rmtree(job.order.folder, ignore_errors=True)
        self._jobs.remove(job)

    def _delete_uploads(self) -> None:
        """Delete uploads whose sessions are over or never spoke of them, and old ones."""
        held = set().union(*self._held.values())
        self._left -= held
        for folder in self.uploads.iterdir():
            with suppress(OSError):
                age = time.time() - folder.stat().st_mtime
                arriving = not folder.is_dir()  # Gradio moves a file into a folder when all of it is there
                unheld_s = GRACE_S if folder in self._left else UNHELD_S
                if age > (60 * self.limits.keep_minutes if folder in held or arriving else unheld_s):
                    self._left.discard(folder)
                    shutil.rmtree(folder) if folder.is_dir() else folder.unlink()


def _linked(upload: Path, uploads: Path, folder: Path, max_mb: float) -> Path:
    """A second name for the upload, which may be deleted before it is read; without a copy if the disk allows it."""
    if not upload.is_file() or not upload.resolve().is_relative_to(uploads.resolve()):
        raise InputError("the upload has been deleted; drop the video again")
    if upload.stat().st_size > max_mb * 1e6:
        raise InputError(f"{upload.name} is larger than {max_mb:g} MB, the limit here")
    folder.mkdir(mode=0o700)
    target = folder / upload.name
    try:
        os.link(upload, target)
    except OSError:
        shutil.copyfile(upload, target)
    return target
