"""Frames from a camera, or from a file in real time: the newest ones, and how many had to be dropped."""

import threading
import time
from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from openmer.errors import InputError
from openmer.media.reader import Frame, VideoReader
from openmer.timeline import Clock

WAITING = 2  # frames that may wait; a newer one displaces the oldest
_END = None


class LiveSource:
    """Frames as they arrive. A consumer that is too slow loses the older ones, so it never falls far behind.

    A thread reads; iterating gives frames until the source ends or `stop` is called.

    Args:
        source: the number of a camera, a device, a video file, or a folder of numbered images; files are played in
            real time.
        fps: frames per second of a folder of images.

    Attributes:
        fps: nominal frames per second of the source, or None.

    Raises:
        InputError: there is no such camera or file.
    """

    def __init__(self, source: str | Path, *, fps: Fraction | None = None) -> None:
        self._camera: cv2.VideoCapture | None = None
        self._reader: VideoReader | None = None
        if str(source).isdigit() or str(source).startswith("/dev/"):
            self._camera = _camera(str(source))
            self.fps = self._camera.get(cv2.CAP_PROP_FPS) or None
        else:
            self._reader = VideoReader(Path(source), fps=fps)
            self.fps = None if self._reader.info.fps is None else float(self._reader.info.fps)
        self._frames: deque[Frame | None] = deque()
        self._ready = threading.Condition()
        self._stopped = threading.Event()
        self._dropped = 0
        self._problem: Exception | None = None

    @property
    def clock(self) -> Clock | None:
        """What a file's seconds mean; None of a camera."""
        return None if self._reader is None else self._reader.info.clock

    @property
    def problems(self) -> tuple[str, ...]:
        """What was met while reading a file so far, a sentence each."""
        return () if self._reader is None else tuple(self._reader.problems)

    @property
    def dropped(self) -> int:
        """Number of frames that were not read in time."""
        return self._dropped

    def stop(self) -> None:
        """End the iteration."""
        self._stopped.set()
        with self._ready:
            self._ready.notify_all()

    def __iter__(self) -> Iterator[Frame]:
        """Give frames in the order in which they were taken.

        Raises:
            InputError: the source stopped with an error.
        """
        thread = threading.Thread(target=self._read, daemon=True)
        thread.start()
        try:
            while True:
                with self._ready:
                    self._ready.wait_for(lambda: bool(self._frames) or self._stopped.is_set())
                    if not self._frames:
                        break
                    frame = self._frames.popleft()
                if frame is _END:
                    break
                yield frame
            if isinstance(self._problem, InputError):
                raise self._problem
            if self._problem is not None:
                raise InputError(f"the pictures cannot be read ({self._problem})") from self._problem
        finally:
            self.stop()
            thread.join(timeout=2)
            if self._camera is not None:
                self._camera.release()

    def _read(self) -> None:
        try:
            for frame in self._from_camera() if self._camera is not None else self._paced():
                self._put(frame)
                if self._stopped.is_set():
                    return
        except Exception as error:  # whatever it is, whoever waits for frames must hear of it
            self._problem = error
        finally:
            self._put(_END)

    def _put(self, frame: Frame | None) -> None:
        with self._ready:
            while frame is not _END and len(self._frames) >= WAITING:
                self._frames.popleft()
                self._dropped += 1
            self._frames.append(frame)
            self._ready.notify_all()

    def _from_camera(self) -> Iterator[Frame]:
        assert self._camera is not None  # noqa: S101  (asked only then)
        start, number = time.monotonic(), 0
        while not self._stopped.is_set():
            ready, image = self._camera.read()
            if not ready:
                raise InputError(f"the camera gave no more pictures after {number}; is another program using it?")
            rgb: npt.NDArray[np.uint8] = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
            yield Frame(number, time.monotonic() - start, rgb)
            number += 1

    def _paced(self) -> Iterator[Frame]:
        assert self._reader is not None  # noqa: S101  (asked only then)
        start = time.monotonic()
        for frame in self._reader:
            ahead = frame.time_s - (time.monotonic() - start)
            if ahead > 0 and self._stopped.wait(ahead):
                return
            yield frame


def _camera(source: str) -> cv2.VideoCapture:
    camera = cv2.VideoCapture(int(source) if source.isdigit() else source)
    if not camera.isOpened():
        cameras = ", ".join(sorted(str(p) for p in Path("/dev").glob("video*"))) or "none"
        raise InputError(
            f"camera {source} cannot be opened; cameras of this machine: {cameras}. Another program may be using it, "
            "or you may lack permission to use it"
        )
    return camera
