"""The queue: who waits, what runs, and when files are deleted. One process per analysis; one thread manages them all.

Everything that a session owns is tied to its name, which only its browser and the server know; what a browser can fetch
is tied to a random token. A video that was sent lies in a folder of its own until its analysis takes it.
"""

import math
import multiprocessing
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
from openmer.web.settings import Limits
from openmer.web.worker import EXTRAS, PAGE, RESULT, Done, Failed, Order, Progress, run

State = Literal["waiting", "running", "done", "failed", "cancelled"]
INPUT = "input"  # in the folder of an analysis: the video that was sent
TICK_S = 0.1
MAX_WAITING = 20
KILLED = (
    "The analysis was ended from outside, perhaps because memory ran out. The server is still running; "
    "a shorter or smaller video may work."
)


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
        self._lock = threading.RLock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look_after, name="openmer-jobs", daemon=True)
        for part in (self.uploads, self._results):
            part.mkdir(mode=0o700)

    def new_upload(self, name: str) -> Path:
        """Where a video of this name is to be written: the only file of a new folder, which `submit` takes over."""
        folder = self.uploads / secrets.token_urlsafe(16)
        folder.mkdir(mode=0o700)
        return folder / name

    def submit(self, session: str, video: Path, engine: str, *, explain: bool = False, keep: bool = False) -> Job:
        """Queue an analysis, optionally with explanations; an older one of the same session is given up.

        Args:
            session: whose.
            video: an upload, which the analysis takes over.
            engine: as in `openmer analyze --engine`.
            explain: whether to say where the network's decisions come from.
            keep: the video is a file on this machine, of any length, and stays where it is.

        Raises:
            InputError: the upload is gone, or too many analyses are waiting.
        """
        with self._lock:
            self.give_up(session)
            if sum(job.state == "waiting" for job in self._jobs) >= MAX_WAITING:
                raise InputError(f"{MAX_WAITING} analyses are already waiting; try again in a few minutes")
            token = secrets.token_urlsafe(16)
            folder = self._results / token
            folder.mkdir(mode=0o700)
            order = Order(
                video if keep else _taken(video, self.uploads, folder / INPUT),
                folder,
                engine,
                self._device,
                math.inf if keep else self.limits.max_seconds,
                f"results/{token}/",
                explain,
                self._face,
            )
            job = Job(session, order, token)
            self._jobs.append(job)
            self.tick()
            return job

    def of(self, session: str) -> Job | None:
        """The session's analysis, if it has one."""
        with self._lock:
            return next(iter(self._of(session)), None)

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
        shutil.rmtree(job.order.folder / INPUT if state == "done" else job.order.folder, ignore_errors=True)
        job.state, job.ended = state, self._clock()

    def _delete(self, job: Job) -> None:
        shutil.rmtree(job.order.folder, ignore_errors=True)
        self._jobs.remove(job)

    def _delete_uploads(self) -> None:
        """Delete videos that were sent and never taken: whoever sent them went away meanwhile."""
        for folder in self.uploads.iterdir():
            with suppress(OSError):
                if time.time() - folder.stat().st_mtime > 60 * self.limits.keep_minutes:
                    shutil.rmtree(folder)


def _taken(upload: Path, uploads: Path, folder: Path) -> Path:
    """The upload at its new place."""
    if not upload.is_file() or not upload.resolve().is_relative_to(uploads.resolve()):
        raise InputError("the video has been deleted; send it again")
    upload.parent.rename(folder)
    return folder / upload.name
