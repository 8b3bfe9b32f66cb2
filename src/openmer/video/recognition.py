"""What the network said about a whole video, and what that means for the spotter's candidates.

Shape legend: R regions.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from openmer.choices import CLASSICAL, Runtime
from openmer.clip import NUM_LANDMARKS, Array
from openmer.errors import InputError
from openmer.files import table_text
from openmer.models.engine import Engine, load_engine, threshold_for
from openmer.models.weights import ModelCard
from openmer.timeline import CANDIDATE, SET_ASIDE, Interval, Window
from openmer.video.regions import REGION_NAMES
from openmer.video.settings import MeasureSettings

TOO_SHORT = "no face was followed for as long as a window lasts"


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
        silent: why the network gave no opinion, in the whole of the video or in parts of it.
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
        return mean_probabilities(w.probabilities for w in windows_of(interval, self.windows))

    @property
    def classes(self) -> tuple[str, ...]:
        """Names, in the order of the network's outputs."""
        return self.engine.record.classes

    def windows_csv(self) -> str:
        """The content of `windows.csv`: one row per window, one column per class and per action unit."""
        units = dict.fromkeys(name for w in self.windows for name in w.action_units or ())
        rows = [
            {"start_s": f"{w.start_s:.6f}", "end_s": f"{w.end_s:.6f}"}
            | {"start_frame": w.start_frame, "end_frame": w.end_frame}
            | {f"p_{name}": f"{share:.4f}" for name, share in {**w.probabilities, **(w.action_units or {})}.items()}
            for w in self.windows
        ]
        names = [f"p_{name}" for name in (*self.classes, *units)]
        return table_text(rows, ["start_s", "end_s", "start_frame", "end_frame", *names])

    def flow_csv(self) -> str:
        """The content of `network_flow.csv`: one row per pair of frames, dx and dy of every region."""
        columns = [f"{name}_{axis}_px" for name in REGION_NAMES for axis in ("dx", "dy")]
        rows = [
            {"from_frame": a, "to_frame": b, "from_s": f"{s:.6f}", "to_s": f"{e:.6f}"}
            | dict(zip(columns, [f"{v:.4f}" for v in motion.ravel()], strict=True))
            for (a, b), (s, e), motion in zip(self.pairs, self.pair_times_s, self.motion, strict=True)
        ]
        return table_text(rows, ["from_frame", "to_frame", "from_s", "to_s", *columns])


@dataclass
class RecognitionBuilder:
    """Collects the network's output while the frames come.

    Attributes:
        engine: the network.
        windows: windows in order of time.
        landmarks: frame number -> (68, 2) px of the image.
        motion: frame numbers from and to -> their times in seconds, and the (R, 2) motion of the regions.
    """

    engine: Engine
    windows: list[Window] = field(default_factory=list)
    landmarks: dict[int, Array] = field(default_factory=dict)
    motion: dict[tuple[int, int], tuple[float, float, Array]] = field(default_factory=dict)

    def forget_before(self, time_s: float) -> None:
        """Forget windows that ended before a moment, and everything else: for a stream without an end."""
        self.windows = [w for w in self.windows if w.end_s >= time_s]
        self.landmarks.clear()
        self.motion.clear()

    def build(self, silent: str | None = None) -> Recognition:
        """Everything, in order; `silent` says why the network gave no opinion where it gave none."""
        frames, pairs = sorted(self.landmarks), sorted(self.motion)
        regions = len(REGION_NAMES)
        points = np.array([self.landmarks[k] for k in frames], np.float32)
        return Recognition(
            engine=self.engine,
            windows=tuple(self.windows),
            frames=np.array(frames, np.int64),
            landmarks=points.reshape(-1, NUM_LANDMARKS, 2),
            pairs=np.array(pairs, np.int64).reshape(-1, 2),
            pair_times_s=np.array([self.motion[k][:2] for k in pairs], np.float64).reshape(-1, 2),
            motion=np.array([self.motion[k][2] for k in pairs], np.float32).reshape(-1, regions, 2),
            silent=silent or (None if self.windows else TOO_SHORT),
        )


def windows_of(interval: Interval, windows: Iterable[Window]) -> list[Window]:
    """The windows with the interval's apex well inside, or else the first that contains it at all."""
    apex = (interval.onset_s + interval.offset_s) / 2 if interval.apex_s is None else interval.apex_s
    around = [w for w in windows if w.start_s <= apex <= w.end_s]
    return [w for w in around if _well_inside(w, apex)] or around[:1]


def _well_inside(window: Window, moment_s: float) -> bool:
    margin = 0.2 * (window.end_s - window.start_s)
    return window.start_s + margin <= moment_s <= window.end_s - margin


def is_unsure(record: ModelCard, probabilities: Mapping[str, float]) -> bool | None:
    """Whether the answer is `unsure`; None if the record of the weights has no threshold for it."""
    return None if record.unsure is None else max(probabilities.values()) < record.unsure.threshold


def mean_probabilities(rows: Iterable[Mapping[str, float] | None]) -> dict[str, float] | None:
    """The mean for each name; None if there is nothing."""
    known = [row for row in rows if row is not None]
    return {name: round(float(np.mean([row[name] for row in known])), 4) for name in known[0]} if known else None


def apply_network(
    interval: Interval, windows: Iterable[Window], engine: Engine, expression_threshold: float
) -> Interval:
    """Add the network's opinion to a candidate, and reject it if the network sees too little of an expression."""
    if interval.label != CANDIDATE:
        return interval
    around = windows_of(interval, windows)
    probabilities = mean_probabilities(w.probabilities for w in around)
    units = mean_probabilities(w.action_units for w in around)
    if probabilities is None:
        return interval
    rejected = engine.none is not None and 1 - probabilities[engine.none] < expression_threshold
    label = SET_ASIDE if rejected else CANDIDATE
    unsure = is_unsure(engine.record, probabilities)
    return replace(interval, probabilities=probabilities, action_units=units, label=label, unsure=unsure)


def engine_of(settings: MeasureSettings, runtime: Runtime = "torch") -> tuple[Engine | None, float]:
    """The network, or None for the classical engine; and the `expression_threshold` that holds.

    Raises:
        InputError: the engine cannot be loaded, or does not go with the device or with `alarms_per_minute`.
    """
    if settings.engine == CLASSICAL:
        if settings.device == "cuda":
            raise InputError("the classical engine runs on the CPU; leave out --device")
        if settings.alarms_per_minute is not None:
            raise InputError("--alarms-per-minute needs a network's opinion; the classical engine has none")
        return None, settings.expression_threshold
    engine = load_engine(settings.engine, settings.device, runtime)
    if settings.alarms_per_minute is None:
        return engine, settings.expression_threshold
    return engine, threshold_for(engine.record, settings.alarms_per_minute)
