"""The network's part of an analysis: windows of a few frames go through MOL while the video is read.

A window is like a training clip: frames spread evenly over about 0.6 s, cropped with one alignment. Neighbouring
windows share most of their frames, so that wherever an expression occurs, some window shows all of it.

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
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import expit, softmax

from openmer.clip import CROP_PX, NONE, Array, Gray
from openmer.clips.build import build_clip
from openmer.clips.transforms import evaluation_input, normalized
from openmer.errors import InputError
from openmer.face.align import Alignment, align_clip
from openmer.face.track import Face
from openmer.models.config import HEADS
from openmer.models.mol import MOL
from openmer.models.onnx import OnnxNetwork, export_onnx
from openmer.models.weights import ModelCard, load_model, read_record
from openmer.timeline import CANDIDATE, SET_ASIDE, Interval, Window
from openmer.video.regions import REGION_NAMES, region_flow

Runtime = Literal["torch", "onnx"]
CLASSICAL = "classical"  # the engine without a network
DEFAULT_ENGINE = "mol-lite"
CAUTION = (
    "A candidate is a place to look, not an emotion, and says nothing about what a person feels or hides. "
    "Not validated on real micro-expressions."
)
SPACING_S = 0.085  # between a window's frames: 0.6 s from the first to the eighth
LONGEST_S = 0.9  # of a window, as in training; at lower frame rates the network gives no opinion
HOP = 2  # frames of a window between the starts of neighbouring windows
BATCH = 4
TOO_SHORT = "no face was followed for as long as a window lasts"


@dataclass(frozen=True)
class Engine:
    """A network and the record of its weights.

    Attributes:
        name: name of the weights.
        record: record of the weights.
        network: the network, in torch or in onnxruntime.
    """

    name: str
    record: ModelCard
    network: MOL | OnnxNetwork

    @property
    def frames(self) -> int:
        """T, the number of frames in a window."""
        return self.record.config.frames

    @property
    def none(self) -> str | None:
        """The class that stands for no expression, if the network has one."""
        return NONE if NONE in self.record.classes else None

    @property
    def model(self) -> MOL:
        """The network in torch, which a stream needs in order to run it pair by pair.

        Raises:
            InputError: it runs in onnxruntime.
        """
        if not isinstance(self.network, MOL):
            raise InputError("a stream needs weights in torch, not ONNX: an ONNX graph reads whole clips")
        return self.network

    def ask(self, clips: Array) -> "Answer":
        """Run the network on clips, (w, T, 1, C, C).

        Raises:
            InputError: it has no recognition head.
        """
        if isinstance(self.network, MOL):
            with torch.inference_mode():
                answer = self.network(torch.from_numpy(clips).to(next(self.network.parameters()).device))
            logits, flow, points, units = (None if a is None else a.float().cpu().numpy() for a in answer)
        else:
            found = self.network(clips)
            logits, flow, points, units = (found.get(head) for head in HEADS)
        if logits is None:
            raise InputError(f"{self.name} gives no classes; a network with the recognition head is needed")
        shown = None if units is None else np.asarray(expit(units), np.float32)
        return Answer(np.asarray(softmax(logits, axis=1), np.float32), flow, points, shown)


class Answer(NamedTuple):
    """A network's output for w clips.

    Attributes:
        probabilities: (w, K) class probabilities.
        flow: (w, P, 2, C, C) px of the crop, from frame k to k+1, or None.
        landmarks: (w, P, 68, 2) px of the crop, for frames 2 to T, or None.
        units: (w, U) probabilities of the config's action units, or None.
    """

    probabilities: Array
    flow: Array | None
    landmarks: Array | None
    units: Array | None

    def of(self, k: int) -> "Answer":
        """The output for one clip, without the first dimension."""
        return Answer(self.probabilities[k], *(None if part is None else part[k] for part in self[1:]))


def provenance_of(name: str, record: ModelCard | None) -> dict[str, Any]:
    """What a result says about the weights behind it, or that there are none."""
    if record is None:
        return {
            "engine": CLASSICAL,
            "trained_on": "No learned recognition: motion is measured, and short excursions are marked.",
        }
    return {
        "engine": name,
        "trained_on": record.trained_on,
        "classes": list(record.classes),
        "weights_sha256": record.sha256,
    }


def load_engine(name_or_path: str | Path, device: str = "auto", runtime: Runtime = "torch") -> Engine:
    """Load weights that come with the package, a .safetensors file, or an .onnx file.

    Args:
        name_or_path: name or path of the weights.
        device: `auto`, `cpu` or `cuda`.
        runtime: `onnx` first converts the weights to an ONNX graph, which takes a few seconds.

    Raises:
        InputError: there are no such weights, they were trained for another crop, or there is no such device.
    """
    graph = OnnxNetwork(name_or_path) if Path(name_or_path).suffix == ".onnx" else None
    record = read_record(name_or_path) if graph is None else graph.record
    if record.config.size != CROP_PX:
        raise InputError(f"videos are analysed in crops of {CROP_PX} px, these weights read {record.config.size}")
    if device == "cuda" and (runtime == "onnx" or graph is not None):
        raise InputError("onnxruntime is used on the CPU here; leave out --device cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: no usable GPU was found; leave it out to run on the CPU")
    name = Path(name_or_path).stem
    if graph is not None:
        return Engine(name, record, graph)
    model = load_model(name_or_path)
    where = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
    return Engine(name, record, _as_onnx(model, record) if runtime == "onnx" else model.to(where))


def _as_onnx(model: MOL, record: ModelCard) -> OnnxNetwork:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        export_onnx(model, record, path)
        return OnnxNetwork(path)


@dataclass(frozen=True)
class Held:
    """A frame held for a window."""

    index: int
    time_s: float
    gray: Gray
    landmarks: Array


@dataclass(frozen=True)
class Verdict:
    """The network's output for one window.

    Attributes:
        frames: (T,) frame numbers.
        times_s: (T,) seconds.
        probabilities: (K,) class probabilities.
        flow: (P, 2, C, C) px of the crop, from frame k to k+1.
        landmarks: (P, 68, 2) px of the crop, for frames 2 to T.
        units: (U,) probabilities of action units.
        alignment: from the image to the crop, one for the window.
    """

    frames: npt.NDArray[np.int64]
    times_s: npt.NDArray[np.float64]
    probabilities: Array
    flow: Array | None
    landmarks: Array | None
    units: Array | None
    alignment: Alignment

    def window(self, record: ModelCard) -> Window:
        """The window as a timeline stores it."""
        return Window(
            start_s=round(float(self.times_s[0]), 6),
            end_s=round(float(self.times_s[-1]), 6),
            start_frame=int(self.frames[0]),
            end_frame=int(self.frames[-1]),
            probabilities=by_name(record.classes, self.probabilities),
            action_units=None if self.units is None else by_name(record.config.unit_names, self.units),
        )


def by_name(names: Sequence[str], shares: Array) -> dict[str, float]:
    """Probabilities by name, rounded as in results."""
    return {name: round(float(p), 4) for name, p in zip(names, shares, strict=True)}


def judge_windows(engine: Engine, windows: Sequence[Sequence[Held]]) -> list[Verdict]:
    """Run the network on windows of T frames each."""
    cut = [_cut(window) for window in windows]
    answer = engine.ask(np.stack([frames for frames, _ in cut]))
    return [
        Verdict(
            np.array([held.index for held in window], np.int64),
            np.array([held.time_s for held in window]),
            *answer.of(k),
            alignment,
        )
        for k, (window, (_, alignment)) in enumerate(zip(windows, cut, strict=True))
    ]


def look(engine: Engine, crops_TCC: Gray) -> Answer:  # noqa: N803
    """Run the network on one window of crops that are already cut, (T, C, C)."""
    return engine.ask(normalized(crops_TCC)[None]).of(0)


def _cut(window: Sequence[Held]) -> tuple[Array, Alignment]:
    """(T, 1, C, C), made by the same steps that prepare a clip for training, and the alignment to the crop."""
    landmarks = np.stack([held.landmarks for held in window])
    clip = build_clip([held.gray for held in window], landmarks, np.array([held.time_s for held in window]))
    return evaluation_input(clip.frames), align_clip(landmarks, size=CROP_PX)[0]


@dataclass(frozen=True)
class Recognition:
    """The network's output for a whole video.

    Attributes:
        engine: the network.
        windows: windows with class probabilities, in order of time.
        frames: (m,) numbers of the frames with landmarks from the network.
        landmarks: (m, 68, 2) px of the image.
        pairs: (n, 2) frame numbers from and to.
        pair_times_s: (n, 2) seconds.
        motion: (n, R, 2) px of the crop: its flow averaged over each region, minus the head's motion.
        silent: why the network gave no opinion, if it gave none.
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
        """Class probabilities for an interval."""
        return _means(w.probabilities for w in windows_of(interval, self.windows))

    @property
    def classes(self) -> tuple[str, ...]:
        """Names, in the order of the network's outputs."""
        return self.engine.record.classes

    def windows_csv(self) -> str:
        """The content of `windows.csv`: one row per window, one column per class and per action unit."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        units = dict.fromkeys(name for w in self.windows for name in w.action_units or ())
        names = [f"p_{name}" for name in (*self.classes, *units)]
        writer.writerow(["start_s", "end_s", "start_frame", "end_frame", *names])
        for w in self.windows:
            shares = [f"{w.probabilities[name]:.4f}" for name in self.classes]
            shares += [f"{(w.action_units or {})[name]:.4f}" for name in units]
            writer.writerow([f"{w.start_s:.6f}", f"{w.end_s:.6f}", w.start_frame, w.end_frame, *shares])
        return buffer.getvalue()

    def flow_csv(self) -> str:
        """The content of `network_flow.csv`: one row per pair of frames, dx and dy of every region."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        columns = [f"{name}_{axis}_px" for name in REGION_NAMES for axis in ("dx", "dy")]
        writer.writerow(["from_frame", "to_frame", "from_s", "to_s", *columns])
        for (a, b), (s, e), motion in zip(self.pairs, self.pair_times_s, self.motion, strict=True):
            writer.writerow([a, b, f"{s:.6f}", f"{e:.6f}", *(f"{v:.4f}" for v in motion.ravel())])
        return buffer.getvalue()


def windows_of(interval: Interval, windows: Iterable[Window]) -> list[Window]:
    """The windows with the interval's apex well inside, or else the first that contains it at all."""
    apex = (interval.onset_s + interval.offset_s) / 2 if interval.apex_s is None else interval.apex_s
    around = [w for w in windows if w.start_s <= apex <= w.end_s]
    return [w for w in around if _well_inside(w, apex)] or around[:1]


def _means(rows: Iterable[Mapping[str, float] | None]) -> dict[str, float] | None:
    """The mean for each name; None if there is nothing."""
    there = [row for row in rows if row is not None]
    return {name: round(float(np.mean([row[name] for row in there])), 4) for name in there[0]} if there else None


def _well_inside(window: Window, moment_s: float) -> bool:
    room = 0.2 * (window.end_s - window.start_s)
    return window.start_s + room <= moment_s <= window.end_s - room


def threshold_for(record: ModelCard, alarms_per_minute: float) -> float:
    """The smallest `expression_threshold` at which these weights gave at most this many false alarms per minute.

    It was measured on simulated videos of people that the weights had not seen (`benchmarks/spotting.py`); real videos
    have other rates.

    Raises:
        InputError: nothing was measured for these weights, or no threshold is strict enough.
    """
    measured = record.scores.get("operating_points", {}).get("points", ())
    if not measured:
        raise InputError(
            f"the rate of false alarms of {record.file} has not been measured; leave out --alarms-per-minute, or "
            "measure it with benchmarks/spotting.py"
        )
    fitting = [p["expression_threshold"] for p in measured if p["alarms_per_minute"] <= alarms_per_minute]
    if not fitting:
        fewest = min(p["alarms_per_minute"] for p in measured)
        raise InputError(
            f"{alarms_per_minute:g} false alarms a minute cannot be promised: at its strictest, {record.file} gave "
            f"{fewest:g} a minute on simulated videos"
        )
    return float(min(fitting))


def reviewed(interval: Interval, windows: Iterable[Window], engine: Engine, expression_threshold: float) -> Interval:
    """Add the network's opinion to a candidate, and set it aside if the network sees too little of an expression."""
    if interval.label != CANDIDATE:
        return interval
    shown = windows_of(interval, windows)
    probabilities, units = _means(w.probabilities for w in shown), _means(w.action_units for w in shown)
    if probabilities is None:
        return interval
    aside = engine.none is not None and 1 - probabilities[engine.none] < expression_threshold
    return replace(interval, probabilities=probabilities, action_units=units, label=SET_ASIDE if aside else CANDIDATE)


class Recognizer:
    """Collects windows from the frames as they come, and runs the network on them in a thread alongside the reading.

    Holds only the frames of the current window and of the windows that wait.

    Args:
        engine: the network.
        fps: frames per second, or None if unknown: then 30.
        frames: how many will come, or None; a video shorter than a window is covered by one of the video's length.
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
            f"at {rate:.3g} frames a second, {self._length} frames last {(self._length - 1) / rate:.2g} s, longer "
            f"than in its training ({LONGEST_S} s)"
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
        """Add the next frame, (H, W)."""
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
        # The first window as soon as it is full, then one every hop.
        if len(self._held) == self._length and self._since % HOP == 1 % HOP:
            self._waiting.append(tuple(self._held))
            if len(self._waiting) >= BATCH:
                self._submit()

    def finish(self) -> Recognition:
        """Judge the waiting windows, and return everything that was found."""
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
        """Stop, without running what has not yet begun."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _submit(self) -> None:
        if self._waiting:
            self._running.append(self._pool.submit(judge_windows, self._engine, tuple(self._waiting)))
            self._waiting.clear()
        while len(self._running) > 2:
            self._take(self._running.popleft().result())

    def _take(self, verdicts: Iterable[Verdict]) -> None:
        for verdict in verdicts:
            self._windows.append(verdict.window(self._engine.record))
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
