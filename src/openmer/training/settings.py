"""All that a training run depends on except its data. No torch here: the command line is made from these classes.

Sources of the values: `LOSSES["paper"]` and `PAPER` are the recipe in the authors' released code.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from openmer.clips.transforms import CROP, TRAIN, TransformSettings
from openmer.errors import InputError
from openmer.models.config import HEADS, PARTS, PRESETS, Head

Balance = Literal["none", "weights", "sampler"]
Kind = Literal["clip", "motion"]
FlowLoss = Literal["mse", "epe", "relative"]
PRECISIONS = ("64-true", "32-true", "16-true", "16-mixed", "bf16-true", "bf16-mixed")
BASELINES = ("ststnet", "off-apexnet", "flow-svm", "constant")
FITTED = ("flow-svm", "constant")  # at once, without steps
MODELS = (*PRESETS, *BASELINES)
ENCODED_HEADS = frozenset[Head]({"mer", "landmarks", "units"})  # read features alone; flow reads the frames too


@dataclass(frozen=True, kw_only=True)
class LossSettings:
    """Which losses are used, and their weights in the sum.

    Attributes:
        mer: weight of the cross-entropy.
        flow: weight of the flow's loss.
        landmarks: weight of the landmarks' loss.
        units: weight of the action units' loss.
        flow_kind: `mse` (the authors'), `epe` (end-point error) or `relative` (end-point error where things move).
        label_smoothing: of the cross-entropy.
    """

    mer: float = 1.0
    flow: float = 1.0
    landmarks: float = 1.0
    units: float = 1.0
    flow_kind: FlowLoss = "relative"
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        if min(self.mer, self.flow, self.landmarks, self.units) < 0 or not 0 <= self.label_smoothing < 1:
            raise InputError(f"weights of losses must not be negative: {self}")


# `paper`: the weights in the README of the authors' code, whose landmark loss, with weight 0.1, sums over 7 frames
# where ours takes the mean. `openmer`: ours.
LOSSES = {
    "paper": LossSettings(mer=1.0, flow=10.0, landmarks=0.7, flow_kind="mse"),
    "openmer": LossSettings(mer=1.0, flow=2.0, landmarks=3.0, flow_kind="relative"),
}


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """How a network is trained.

    Attributes:
        model: A preset of MOL (mol, mol-authors, mol-lite), or a baseline: ststnet, off-apexnet, flow-svm, constant.
        switches: Attributes of `MOLConfig` that differ from the preset, such as `{"fcc": False}`.
        steps: Number of training steps, one batch each.
        batch: Clips per step, over all devices.
        lr: Peak learning rate.
        weight_decay: Of AdamW.
        schedule: The learning rate stays constant, or falls as a cosine to 1 % of its peak.
        warmup: Steps over which the learning rate rises; unless given on the command line, at most a quarter of all.
        clip_norm: Largest norm of a gradient; 0 does not clip.
        balance: Use classes as they come, weight them in the loss, or sample them with equal chance.
        losses: Their kinds and weights.
        transforms: How clips are augmented.
        seed: For initial weights, batches and dropout.
        init: Weights to start from: shipped ones by name, or a .safetensors file.
        init_parts: Parts taken from them: all, backbone, mer, flow, landmarks, units.
        freeze: Parts that stay unchanged: all, backbone, mer, flow, landmarks, units.
        views: With a frozen backbone: encode this many augmented views of each clip once (1 MB each, in the store;
            shared by folds and seeds) and learn from those, which is faster; 0 encodes the clips anew in every step.
        kernel: In place of steps, which must be 0: fit a classifier in closed form that compares a clip's motion with
            that of each of the clips. For some hundred clips, in seconds.
        pairs: When only flow and landmarks are learned: use this many pairs of each clip per step, drawn at random, so
            that more clips are seen in the same time (the pairs of a clip hardly differ); 0 uses all.
        precision: Arithmetic precision, in Lightning's terms: 32-true, or bf16-mixed on newer GPUs and CPUs.
        checkpoint_every: Steps between checkpoints.
        log_every: Steps between rows of log.csv.
        validate_every: Steps between validations on clips held out of training; the best weights are kept.
    """

    model: str = "mol-lite"
    switches: Mapping[str, Any] = field(default_factory=dict)
    steps: int = 1000
    batch: int = 16
    lr: float = 1.5e-3
    weight_decay: float = 1e-3
    schedule: Literal["constant", "cosine"] = "cosine"
    warmup: int = 50
    clip_norm: float = 1.0
    balance: Balance = "none"
    losses: LossSettings = LOSSES["openmer"]
    transforms: TransformSettings = TRAIN
    seed: int = 0
    init: str | None = None
    init_parts: tuple[str, ...] = ("all",)
    freeze: tuple[str, ...] = ()
    views: int = 0
    kernel: bool = False
    pairs: int = 0
    precision: str = "32-true"
    checkpoint_every: int = 100
    log_every: int = 10
    validate_every: int = 0

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise InputError(f"there is no model {self.model!r}; choose {', '.join(MODELS)}")
        if self.kernel and (self.steps or self.init is None or self.kind == "motion"):
            raise InputError(
                "a classifier that compares clips is fitted without steps, to the motion that the weights of init "
                "measure: set steps to 0 and give init (--init mol-lite), or leave kernel out (--no-kernel --steps 300)"
            )
        steps = 1 if self.kernel else self.steps
        if min(steps, self.batch, self.checkpoint_every, self.log_every) < 1 or not 0 < self.lr < math.inf:
            raise InputError("steps, batch, lr, checkpoint_every and log_every must be above 0, and lr finite")
        for name in ("warmup", "weight_decay", "clip_norm", "seed"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(f"{name} must be finite and must not be negative, got {getattr(self, name)}")
        if self.precision not in PRECISIONS:
            raise InputError(f"precision must be one of {', '.join(PRECISIONS)}, got {self.precision!r}")
        for name, given in (("init_parts", self.init_parts), ("freeze", self.freeze)):
            unknown = [part for part in given if part not in PARTS]
            if unknown:
                raise InputError(f"{name}: there is no part {', '.join(unknown)}; choose {', '.join(PARTS)}")
        if self.views < 0 or self.pairs < 0:
            raise InputError(f"views and pairs must not be negative, got {self.views} and {self.pairs}")
        if self.views:
            self._check_views()
        if self.pairs and (self.losses.mer or (self.switches.get("units") and self.losses.units)):
            raise InputError("some pairs of a clip are enough for flow and landmarks, and for no other head")

    def _check_views(self) -> None:
        """Views hold a frozen backbone's features of clips and no frames: flow would have nothing to read."""
        if not {"all", "backbone"} & set(self.freeze):
            raise InputError(
                "views are encoded once, so the backbone must be frozen; name it in freeze, or leave views at 0"
            )
        others = [h for h in HEADS if h not in ENCODED_HEADS and self.switches.get(h, True) and getattr(self.losses, h)]
        if others:
            raise InputError(
                f"views hold what mer, landmarks and units read, and {', '.join(others)} would have nothing to learn "
                "from: give its loss the weight 0 (--heads mer landmarks), or leave views at 0"
            )

    @property
    def kind(self) -> Kind:
        """What the model reads."""
        return "motion" if self.model in BASELINES else "clip"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain


# The authors' recipe [facts from their released code]: AdamW, no schedule, 1,000 steps per fold.
PAPER = TrainSettings(
    model="mol",
    steps=1000,
    batch=32,
    lr=1e-4,
    weight_decay=1e-3,
    schedule="constant",
    warmup=0,
    clip_norm=0.0,
    losses=LOSSES["paper"],
    transforms=TransformSettings(random_crop=True),
)
# For some hundred clips: a classifier that compares them by the motion that the shipped weights measure. The other
# settings are for steps in its place (--no-kernel --steps 300): recognition alone learns; its branch bends motion.
FEW = TrainSettings(
    steps=0,
    kernel=True,
    batch=32,
    lr=1e-3,
    weight_decay=1e-2,
    warmup=30,
    balance="sampler",
    losses=replace(LOSSES["openmer"], flow=0.0, landmarks=0.0, label_smoothing=0.05),
    init="mol-lite",
    freeze=("backbone", "flow", "landmarks"),
    views=4,
)
# Recognition of `mol` from raw frames. Strong augmentation, and more of dropout, keep it from beginning to learn
# (docs/LOG.md); action units say more of a clip than its class does. Flow and landmarks are left out.
FROM_FRAMES = TrainSettings(
    model="mol",
    switches={"flow": False, "landmarks": False, "units": (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 24)},
    steps=4000,
    lr=1e-3,
    warmup=100,
    losses=replace(LOSSES["openmer"], units=0.2, label_smoothing=0.05),
    transforms=CROP,
)
RECIPES = {"openmer": TrainSettings(), "paper": PAPER, "few": FEW, "mol": FROM_FRAMES}
