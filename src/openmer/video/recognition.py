"""The network's part of an analysis: windows of a few frames go through MOL while the video is read.

A window is what a training clip is: frames spread evenly over about 0.6 s, cut by one alignment. Neighbouring windows
share most of their frames, so that wherever an expression lies, some window shows it whole.

Shape legend: w windows, T frames of a window, P = T - 1 pairs, K classes, R regions.
"""

import csv
import io
import tempfile
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import softmax

from openmer.clip import Array, Gray
from openmer.clips.build import build_clip
from openmer.clips.transforms import CROP_PX, evaluation_input, normalized
from openmer.errors import InputError
from openmer.face.align import Alignment, align_clip
from openmer.face.detect import Face
from openmer.labels import NONE
from openmer.models.mol import MOL
from openmer.models.onnx import OnnxNetwork, export_onnx
from openmer.models.weights import WeightsRecord, load_model, read_record
from openmer.timeline import Interval, Window
from openmer.video.motion import REGION_NAMES, region_flow
from openmer.video.spotting import CANDIDATE, SET_ASIDE

Runtime = Literal["torch", "onnx"]
SPACING_S = 0.085  # between a window's frames: 0.6 s from the first to the eighth
LONGEST_S = 0.9  # of a window, as in training; at fewer frames a second the network stays silent
HOP = 2  # frames of a window between the starts of neighbouring windows
BATCH = 4
TOO_SHORT = "no face was followed for as long as a window lasts"


@dataclass(frozen=True)
class Engine:
    """A network and what it is.

    Attributes:
        name: of the weights.
        record: of the weights.
        network: in torch or in onnxruntime.
    """

    name: str
    record: WeightsRecord
    network: MOL | OnnxNetwork

    @property
    def frames(self) -> int:
        """T of a window."""
        return self.record.config.frames

    @property
    def none(self) -> str | None:
        """The class that stands for no expression, if the network has one."""
        return NONE if NONE in self.record.classes else None

    @property
    def model(self) -> MOL:
        """The network in torch, pair by pair, which a stream needs.

        Raises:
            InputError: it runs in onnxruntime.
        """
        if not isinstance(self.network, MOL):
            raise InputError("a stream needs weights in torch, not ONNX: an ONNX graph reads whole clips")
        return self.network

    def ask(self, clips: Array) -> tuple[Array | None, Array | None, Array]:
        """Clips (w, T, 1, C, C) -> flow (w, P, 2, C, C), landmarks (w, P, 68, 2), probabilities (w, K)."""
        if isinstance(self.network, MOL):
            with torch.inference_mode():
                answer = self.network(torch.from_numpy(clips).to(next(self.network.parameters()).device))
            logits, flow, points = (None if a is None else a.float().cpu().numpy() for a in answer)
        else:
            found = self.network(clips)
            logits, flow, points = found.get("mer"), found.get("flow"), found.get("landmarks")
        if logits is None:
            raise InputError(f"{self.name} gives no class; a network with the recognition head is needed")
        return flow, points, np.asarray(softmax(logits, axis=1), np.float32)


def load_engine(name_or_path: str | Path, device: str = "auto", runtime: Runtime = "torch") -> Engine:
    """Weights that come with the package, a .safetensors file, or an .onnx file.

    Args:
        name_or_path: of the weights.
        device: `auto`, `cpu` or `cuda`.
        runtime: `onnx` turns weights into an ONNX graph first, which takes some seconds.

    Raises:
        InputError: there are none, they were trained for another crop, or there is no such device.
    """
    graph = OnnxNetwork(name_or_path) if Path(name_or_path).suffix == ".onnx" else None
    record = read_record(name_or_path) if graph is None else graph.record
    if record.config.size != CROP_PX:
        raise InputError(f"videos are analysed in crops of {CROP_PX} px, these weights read {record.config.size}")
    if device == "cuda" and (runtime == "onnx" or graph is not None):
        raise InputError("onnxruntime is used on the CPU here; leave --device cuda away")
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: no usable GPU was found; leave it away to run on the CPU")
    name = Path(name_or_path).stem
    if graph is not None:
        return Engine(name, record, graph)
    model = load_model(name_or_path)
    where = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
    return Engine(name, record, _as_onnx(model, record) if runtime == "onnx" else model.to(where))


def _as_onnx(model: MOL, record: WeightsRecord) -> OnnxNetwork:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        export_onnx(model, record, path)
        return OnnxNetwork(path)


@dataclass(frozen=True)
class Held:
    """A frame that a window is made of."""

    index: int
    time_s: float
    gray: Gray
    landmarks: Array


@dataclass(frozen=True)
class Verdict:
    """What the network says of one window.

    Attributes:
        frames: (T,) frame numbers.
        times_s: (T,) seconds.
        probabilities: (K,).
        flow: (P, 2, C, C) px of the crop, from frame k to k+1.
        landmarks: (P, 68, 2) px of the crop, of frames 2 to T.
        alignment: from the picture to the crop, one for the window.
    """

    frames: npt.NDArray[np.int64]
    times_s: npt.NDArray[np.float64]
    probabilities: Array
    flow: Array | None
    landmarks: Array | None
    alignment: Alignment

    def named(self, classes: Sequence[str]) -> dict[str, float]:
        """Probabilities by class."""
        return {name: round(float(p), 4) for name, p in zip(classes, self.probabilities, strict=True)}


def judge_windows(engine: Engine, windows: Sequence[Sequence[Held]]) -> list[Verdict]:
    """Run the network on windows of T frames each."""
    cut = [_cut(window) for window in windows]
    flow, landmarks, probabilities = engine.ask(np.stack([frames for frames, _ in cut]))
    return [
        Verdict(
            frames=np.array([held.index for held in window], np.int64),
            times_s=np.array([held.time_s for held in window]),
            probabilities=probabilities[k],
            flow=None if flow is None else flow[k],
            landmarks=None if landmarks is None else landmarks[k],
            alignment=alignment,
        )
        for k, (window, (_, alignment)) in enumerate(zip(windows, cut, strict=True))
    ]


def look(engine: Engine, crops_TCC: Gray) -> tuple[Array | None, Array | None, Array]:  # noqa: N803
    """One window of crops that are cut already: flow (P, 2, C, C), landmarks (P, 68, 2), probabilities (K,)."""
    flow, landmarks, probabilities = engine.ask(normalized(crops_TCC)[None])
    return None if flow is None else flow[0], None if landmarks is None else landmarks[0], probabilities[0]


def _cut(window: Sequence[Held]) -> tuple[Array, Alignment]:
    """(T, 1, C, C) by the very steps that prepare a clip for training, and the alignment to the crop."""
    landmarks = np.stack([held.landmarks for held in window])
    clip = build_clip([held.gray for held in window], landmarks, np.array([held.time_s for held in window]))
    return evaluation_input(clip.frames), align_clip(landmarks, size=CROP_PX)[0]


@dataclass(frozen=True)
class Recognition:
    """What the network said of a whole video.

    Attributes:
        engine: which network.
        windows: with class probabilities, in order of time.
        frames: (m,) numbers of the frames whose landmarks it gave.
        landmarks: (m, 68, 2) px of the picture.
        pairs: (n, 2) frame numbers from and to.
        pair_times_s: (n, 2) seconds.
        motion: (n, R, 2) px of the crop: its flow averaged over each region, less the head's motion.
        silent: why it said nothing, if so.
    """

    engine: Engine
    windows: tuple[Window, ...]
    frames: npt.NDArray[np.int64]
    landmarks: Array
    pairs: npt.NDArray[np.int64]
    pair_times_s: npt.NDArray[np.float64]
    motion: Array
    silent: str | None = None

    def of(self, interval: Interval) -> Mapping[str, float] | None:
        """Class probabilities of an interval."""
        return interval_probabilities(interval, self.windows, self.classes)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names, in the order of the network's outputs."""
        return self.engine.record.classes

    def windows_csv(self) -> str:
        """The content of `windows.csv`: a row a window, a column a class."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(["start_s", "end_s", "start_frame", "end_frame", *(f"p_{name}" for name in self.classes)])
        for w in self.windows:
            shares = [f"{w.probabilities[name]:.4f}" for name in self.classes]
            writer.writerow([f"{w.start_s:.6f}", f"{w.end_s:.6f}", w.start_frame, w.end_frame, *shares])
        return buffer.getvalue()

    def flow_csv(self) -> str:
        """The content of `network_flow.csv`: a row a pair of frames, dx and dy of every region."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        columns = [f"{name}_{axis}_px" for name in REGION_NAMES for axis in ("dx", "dy")]
        writer.writerow(["from_frame", "to_frame", "from_s", "to_s", *columns])
        for (a, b), (s, e), motion in zip(self.pairs, self.pair_times_s, self.motion, strict=True):
            writer.writerow([a, b, f"{s:.6f}", f"{e:.6f}", *(f"{v:.4f}" for v in motion.ravel())])
        return buffer.getvalue()


def interval_probabilities(
    interval: Interval, windows: Iterable[Window], classes: Sequence[str]
) -> Mapping[str, float] | None:
    """The mean over the windows that have the interval's apex well inside; None where no window shows it."""
    apex = (interval.onset_s + interval.offset_s) / 2 if interval.apex_s is None else interval.apex_s
    around = [w for w in windows if w.start_s <= apex <= w.end_s]
    inside = [w for w in around if _well_inside(w, apex)] or around[:1]
    if not inside:
        return None
    return {name: round(float(np.mean([w.probabilities[name] for w in inside])), 4) for name in classes}


def _well_inside(window: Window, moment_s: float) -> bool:
    room = 0.2 * (window.end_s - window.start_s)
    return window.start_s + room <= moment_s <= window.end_s - room


def threshold_for(record: WeightsRecord, alarms_per_minute: float) -> float:
    """The smallest `least_expression` at which these weights gave no more false alarms than that.

    It was measured on simulated videos of people that the weights had not seen (`benchmarks/spotting.py`); real videos
    have other rates.

    Raises:
        InputError: nothing was measured for these weights, or no threshold is strict enough.
    """
    measured = record.scores.get("operating_points", {}).get("points", ())
    if not measured:
        raise InputError(
            f"nobody has measured how often {record.file} gives false alarms; leave --alarms-per-minute away, or "
            "measure with benchmarks/spotting.py"
        )
    fitting = [p["least_expression"] for p in measured if p["alarms_per_minute"] <= alarms_per_minute]
    if not fitting:
        fewest = min(p["alarms_per_minute"] for p in measured)
        raise InputError(
            f"{alarms_per_minute:g} false alarms a minute cannot be promised: at its strictest {record.file} gave "
            f"{fewest:g} a minute on simulated videos"
        )
    return float(min(fitting))


def reviewed(interval: Interval, windows: Iterable[Window], engine: Engine, least_expression: float) -> Interval:
    """A candidate with the network's probabilities; set aside where it sees too little of an expression."""
    if interval.label != CANDIDATE:
        return interval
    probabilities = interval_probabilities(interval, windows, engine.record.classes)
    if probabilities is None:
        return interval
    aside = engine.none is not None and 1 - probabilities[engine.none] < least_expression
    return replace(interval, probabilities=probabilities, label=SET_ASIDE if aside else CANDIDATE)


class Recognizer:
    """Collects windows from the frames as they come and has the network judge them, in a thread beside the reading.

    Holds no more frames than one window and the windows that wait.

    Args:
        engine: the network.
        fps: frames a second, or None where nobody knows: then 30.
        frames: how many will come, or None; a video shorter than a window is covered by one of its length.
    """

    def __init__(self, engine: Engine, fps: float | None, frames: int | None = None) -> None:
        self._engine = engine
        self._length = engine.frames
        rate = fps or 30.0
        apart = max(1, round(SPACING_S * rate))
        if frames is not None:
            apart = max(1, min(apart, (frames - 1) // (self._length - 1)))
        self._spacing_s = apart / rate
        self._slack_s = 0.5 / rate
        self.silent = (
            f"at {rate:.3g} frames a second {self._length} frames last {(self._length - 1) / rate:.2g} s, longer than "
            f"the network has learned ({LONGEST_S} s)"
            if (self._length - 1) * self._spacing_s > LONGEST_S
            else None
        )
        self._held: deque[Held] = deque(maxlen=self._length)
        self._track = -1
        self._since = 0
        self._waiting: list[tuple[Held, ...]] = []
        self._pool = ThreadPoolExecutor(1)
        self._running: deque[Future[list[Verdict]]] = deque()
        self._windows: list[Window] = []
        self._points: dict[int, Array] = {}
        self._motion: dict[tuple[int, int], tuple[float, float, Array]] = {}

    def update(self, index: int, time_s: float, gray: Gray, face: Face | None) -> None:
        """The next frame, (H, W)."""
        if self.silent is not None:
            return
        if face is None or face.track != self._track:
            self._held.clear()
        self._track = -1 if face is None else face.track
        if face is None:
            return
        if self._held:
            passed = time_s - self._held[-1].time_s
            if passed < self._spacing_s - self._slack_s:
                return
            if passed > 2 * self._spacing_s + self._slack_s:  # frames are missing
                self._held.clear()
        self._held.append(Held(index, time_s, gray, face.landmarks))
        self._since = 0 if len(self._held) < self._length else self._since + 1
        # The first window as soon as it is full, then one at every hop.
        if len(self._held) == self._length and self._since % HOP == 1 % HOP:
            self._waiting.append(tuple(self._held))
            if len(self._waiting) >= BATCH:
                self._submit()

    def finish(self) -> Recognition:
        """Judge what waits, and give all that was found."""
        self._submit()
        while self._running:
            self._take(self._running.popleft().result())
        self._pool.shutdown()
        frames = sorted(self._points)
        pairs = sorted(self._motion)
        regions = len(REGION_NAMES)
        return Recognition(
            engine=self._engine,
            windows=tuple(self._windows),
            frames=np.array(frames, np.int64),
            landmarks=np.stack([self._points[k] for k in frames]) if frames else np.zeros((0, 68, 2), np.float32),
            pairs=np.array(pairs, np.int64).reshape(-1, 2),
            pair_times_s=np.array([self._motion[k][:2] for k in pairs], np.float64).reshape(-1, 2),
            motion=np.array([self._motion[k][2] for k in pairs], np.float32).reshape(-1, regions, 2),
            silent=self.silent if self._windows or self.silent else TOO_SHORT,
        )

    def close(self) -> None:
        """Leave without waiting for what has not begun."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _submit(self) -> None:
        if self._waiting:
            self._running.append(self._pool.submit(judge_windows, self._engine, tuple(self._waiting)))
            self._waiting.clear()
        while len(self._running) > 2:
            self._take(self._running.popleft().result())

    def _take(self, verdicts: Iterable[Verdict]) -> None:
        for verdict in verdicts:
            self._windows.append(
                Window(
                    start_s=round(float(verdict.times_s[0]), 6),
                    end_s=round(float(verdict.times_s[-1]), 6),
                    start_frame=int(verdict.frames[0]),
                    end_frame=int(verdict.frames[-1]),
                    probabilities=verdict.named(self._engine.record.classes),
                )
            )
            if verdict.landmarks is not None:
                points = verdict.alignment.to_image(verdict.landmarks)
                self._points |= {
                    int(f): p for f, p in zip(verdict.frames[1:], points, strict=True) if f not in self._points
                }
            if verdict.flow is None or verdict.landmarks is None:
                continue
            for k, pair in enumerate(pairwise(verdict.frames.tolist())):
                if pair not in self._motion:
                    still = region_flow(verdict.flow[k], verdict.landmarks[k])
                    self._motion[pair] = (float(verdict.times_s[k]), float(verdict.times_s[k + 1]), still)
