"""Hand-made videos with known motion, from one real photograph (scikit-image's astronaut, public domain, NASA)."""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt
import skimage.data

from openmer.clip import Times
from openmer.face.align import align
from openmer.face.dlib_model import DlibFaceModel
from openmer.face.track import Box, Face, FaceTracker
from openmer.video.frame import FrameResult
from openmer.video.measurements import HEAD_COLUMNS
from openmer.video.regions import REGION_NAMES, FrameMotion

Image = npt.NDArray[np.uint8]

# In the photograph, read off by eye: the mouth corner at the image's left (the subject's right).
MOUTH_RIGHT = (200.0, 139.0)


@cache
def photograph() -> Image:
    """(512, 512, 3) RGB: a frontal face about 90 px wide."""
    return skimage.data.astronaut()


@cache
def face_closeup(zoom: float = 2.5) -> Image:
    """The upper half of the photograph, enlarged: a face about 220 px wide."""
    part = photograph()[30:230, 100:340]
    return cv2.resize(part, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC)


def noisy(image: Image, rng: np.random.Generator, sigma: float = 2.0) -> Image:
    """The picture with a sensor's noise."""
    noise = rng.standard_normal(image.shape, np.float32)
    return np.clip(np.rint(image + np.float32(sigma) * noise), 0, 255).astype(np.uint8)


def displaced(image: Image, centre: tuple[float, float], shift: tuple[float, float], sigma: float) -> Image:
    """The picture with a smooth bump of motion: `shift` px at `centre`, a Gaussian of `sigma` px around it.

    The warp samples backwards, so the inverse of the displacement is found by fixed-point iteration.
    """
    if np.hypot(*shift) < 1e-9:  # also the sine of pi is not quite 0
        return image
    y, x = np.mgrid[: image.shape[0], : image.shape[1]].astype(np.float32)
    u = np.zeros((2, *x.shape), np.float32)
    for _ in range(8):
        bump = np.exp(-((x - u[0] - centre[0]) ** 2 + (y - u[1] - centre[1]) ** 2) / (2 * sigma**2))
        u = np.stack([shift[0] * bump, shift[1] * bump]).astype(np.float32)
    return cv2.remap(image, x - u[0], y - u[1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


def write_video(
    path: Path,
    frames: Iterable[Image],
    fps: Fraction,
    *,
    codec: str = "libx264",
    crf: str = "1",
    pts: list[int] | None = None,
) -> Path:
    """Write RGB frames; with `pts` (milliseconds) the frame rate varies."""
    with av.open(str(path), "w") as container:
        stream = None
        for index, frame in enumerate(frames):
            if stream is None:
                stream = container.add_stream(codec, rate=fps, options={"crf": crf, "preset": "ultrafast"})
                stream.height, stream.width = frame.shape[:2]
                stream.pix_fmt = "yuv420p"
                if pts is not None:
                    stream.codec_context.time_base = Fraction(1, 1000)
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            if pts is not None:
                picture.pts, picture.time_base = pts[index], Fraction(1, 1000)
            container.mux(stream.encode(picture))
        if stream is not None:
            container.mux(stream.encode(None))
    return path


def smirk(fps: int, onset_s: float, duration_s: float, peak_px: float, seconds: float) -> Iterator[Image]:
    """The photograph with one mouth corner drawn up and out, `peak_px` of the 128 crop at the apex."""
    image, rng = face_closeup(), np.random.default_rng(1)
    face = FaceTracker(DlibFaceModel()).update(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))
    assert face is not None
    scale = align(face.landmarks).scale
    corner = ((MOUTH_RIGHT[0] - 100) * 2.5, (MOUTH_RIGHT[1] - 30) * 2.5)
    for k in range(int(seconds * fps)):
        phase = np.clip((k / fps - onset_s) / duration_s, 0, 1)
        reach = peak_px * np.sin(np.pi * phase) ** 2 / scale
        yield noisy(displaced(image, corner, (-0.8 * reach, -0.6 * reach), 6 / scale), rng)


def excursions(times: Times, events: dict[float, int], rng: np.random.Generator) -> Iterator[FrameResult]:
    """A still face in which a region goes 2 px to the side and back within .3 s, at each of these seconds."""
    points = rng.normal(0, 20, (68, 2)).astype(np.float32) + 100
    face = Face(Box(0, 0, 100, 100), 1.0, points, 0)
    for number, now in enumerate(times):
        moved = rng.normal(0, 0.03, (len(REGION_NAMES), 2))
        for begin, region in events.items():
            moved[region, 0] += 2 * np.sin(np.pi * np.clip((now - begin) / 0.3, 0, 1)) ** 2
        motion = FrameMotion(
            displacement=moved.astype(np.float32),
            head=np.zeros(len(HEAD_COLUMNS), np.float32),
            flow_median_px=0.0,
            eyes_open=np.full(2, 0.3, np.float32),
            alignment=None,  # type: ignore[arg-type]  # nobody asks
            flow=np.zeros((2, 1, 1), np.float32),
        )
        yield FrameResult(number, float(now), face, motion, 1.0)
