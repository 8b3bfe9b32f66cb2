"""What MOL is made of: its heads by name, its settings, its presets.

Shape legend: T frames, H rows, W columns, S side of the feature map (an eighth of H), K neighbours.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, get_args

from openmer.errors import InputError

Graph = Literal["channels", "positions"]  # what the nodes of the graph are, see `CCC`
Head = Literal["mer", "flow", "landmarks", "units"]
HEADS: tuple[Head, ...] = get_args(Head)
CLIP_HEADS: frozenset[Head] = frozenset({"mer", "units"})  # read a whole clip; the others read pairs
PARTS = ("all", "backbone", *HEADS)  # parts of the weights that can be taken over or frozen

CHANNELS = 128
_CHOICES = {
    "graph": ("channels", "positions"),
    "flow_head": ("flownet", "lite"),
    "landmark_head": ("dense", "heatmap"),
}


@dataclass(frozen=True, kw_only=True)
class MOLConfig:
    """What a network is made of; saved in full beside its weights.

    Attributes:
        preset: the name of the preset it is based on.
        num_classes: number of micro-expression classes, 2 to 1000.
        frames: T, at least 4.
        size: H = W, a multiple of 64 from 64 to 256.
        fcc: whether F5C has its fully-connected convolution.
        ccc: whether F5C has its channel correspondence convolution.
        flow: whether there is a flow head.
        landmarks: whether there is a landmark head.
        neighbors: K of the graph.
        graph: what the nodes' neighbours are, see `CCC`.
        graph_itself: whether a node is its own first neighbour.
        graph_subtractions: 0 to 8; how often the centre is subtracted.
        graph_mix: whether the figure's 1x1 convolution is included.
        fcc_length: stored length of FCC's kernels, up to 1024, or None for the side of the map.
        flow_head: `flownet` or `lite`.
        landmark_head: `dense` (two fully connected layers) or `heatmap`.
        landmark_blocks: residual blocks of the heat-map head on the grid of F(g).
        motion: whether the classifier also reads windowed least-squares flow of each pair, beside F(g).
        mer_features: whether the classifier reads F(g); one of this and `motion` must be.
        centered: whether recognition reads what changes: features minus the clip's mean over time, and motion since the
            first frame, free of the head's and divided by its own size. Weights of the first edition are not centered.
        dropout: share of F(g) that the classifier is without in each step of training. The released model's .5
            keeps centered features from learning to begin with (docs/fidelity.md).
        pairwise: whether a second classifier adds its opinion: one that reads F(g) of both frames of each pair and how
            they move as they are, not centered. Needs centered motion.
        kernel: number of clips whose displacement a clip's is compared with, for a classifier that is fitted to them in
            closed form; 0 is none. Needs centered motion.
        units: FACS action units that an extra head reports, from what the classifier sees; none by default.
    """

    preset: str = "mol"
    num_classes: int = 3
    frames: int = 8
    size: int = 128
    fcc: bool = True
    ccc: bool = True
    flow: bool = True
    landmarks: bool = True
    neighbors: int = 4
    graph: Graph = "channels"
    graph_itself: bool = False
    graph_subtractions: int = 1
    graph_mix: bool = True
    fcc_length: int | None = None
    flow_head: Literal["flownet", "lite"] = "flownet"
    landmark_head: Literal["dense", "heatmap"] = "dense"
    landmark_blocks: int = 1
    motion: bool = False
    mer_features: bool = True
    centered: bool = False
    dropout: float = 0.5
    pairwise: bool = False
    kernel: int = 0
    units: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        whole = ("num_classes", "frames", "size", "neighbors", "graph_subtractions", "landmark_blocks")
        parts = ("fcc", "ccc", "flow", "landmarks", "motion", "mer_features")
        switches = (*parts, "graph_itself", "graph_mix", "centered", "pairwise")
        for name, kind in {**dict.fromkeys(whole, int), **dict.fromkeys(switches, bool)}.items():
            if type(getattr(self, name)) is not kind:
                raise InputError(f"{name} must be {kind.__name__}, got {getattr(self, name)!r}")
        if type(self.kernel) is not int or self.kernel < 0 or (self.kernel and not (self.motion and self.centered)):
            raise InputError(f"kernel must count clips, and needs motion and centered, got {self.kernel!r:.40}")
        if self.pairwise and not (self.motion and self.centered):
            raise InputError("pairwise adds to the opinion of centered motion: it needs motion and centered")
        if not (type(self.dropout) is float and 0 <= self.dropout < 1):
            raise InputError(f"dropout must be a float from 0 to below 1, got {self.dropout!r:.40}")
        if not (self.motion or self.mer_features):
            raise InputError("the classifier must read something: motion, mer_features, or both")
        known = isinstance(self.units, tuple) and all(type(unit) is int and 0 < unit < 100 for unit in self.units)
        if not known or len(set(self.units)) < len(self.units):
            raise InputError(f"units must be numbers of action units, each once, got {self.units!r:.40}")
        if not 1 <= self.landmark_blocks <= 16:
            raise InputError(f"landmark_blocks must lie between 1 and 16, got {self.landmark_blocks!r:.40}")
        if not isinstance(self.preset, str):
            raise InputError(f"preset must be a name, got {self.preset!r:.40}")
        if not 0 <= self.graph_subtractions <= 8:
            raise InputError(f"graph_subtractions must lie between 0 and 8, got {self.graph_subtractions!r:.40}")
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise InputError(f"{name} must be one of {', '.join(choices)}, got {getattr(self, name)!r}")
        lengths = range(self.size // 8, 1025)
        if self.fcc_length is not None and not (type(self.fcc_length) is int and self.fcc_length in lengths):
            raise InputError(f"fcc_length must be None or {lengths[0]} to 1024, got {self.fcc_length!r:.40}")
        if self.frames > 1024:
            raise InputError(f"a clip of {self.frames} frames is longer than MOL can be built for (1024)")
        if self.frames < 4:
            raise InputError(f"MOL needs at least 4 frames for its 3-D convolution, got {self.frames}")
        if self.size % 64 or not 64 <= self.size <= 256:
            raise InputError(
                f"size must be 64, 128, 192 or 256, got {self.size}: the flow head halves the picture six times, and "
                "position embeddings are stored for feature maps of up to 32 x 32"
            )
        if not 2 <= self.num_classes <= 1000:
            raise InputError(f"there must be at least 2 classes and at most 1000, got {self.num_classes!r:.40}")
        nodes = CHANNELS if self.graph == "channels" else self.side**2
        if not 1 <= self.neighbors <= nodes - (not self.graph_itself):
            raise InputError(f"neighbors must lie between 1 and the other nodes of {nodes}, got {self.neighbors}")

    @property
    def side(self) -> int:
        """S."""
        return self.size // 8

    @property
    def unit_names(self) -> tuple[str, ...]:
        """The action units as results name them, such as `AU12`."""
        return tuple(f"AU{unit}" for unit in self.units)


Preset = Literal["mol", "mol-authors", "mol-lite"]
PRESETS: dict[str, MOLConfig] = {
    "mol": MOLConfig(preset="mol", centered=True, dropout=0.1),
    "mol-authors": MOLConfig(
        preset="mol-authors",
        graph="positions",
        graph_itself=True,
        graph_subtractions=2,
        graph_mix=False,
        fcc_length=32,
    ),
    "mol-lite": MOLConfig(
        preset="mol-lite",
        flow_head="lite",
        landmark_head="heatmap",
        landmark_blocks=3,
        motion=True,
        mer_features=False,
        centered=True,
    ),
}


def belongs_to(name: str, parts: Collection[str]) -> bool:
    """Whether a weight of this name belongs to one of the `PARTS`; the backbone is everything outside the heads."""
    head = name.split(".")[0]
    return any(part == "all" or part == head or (part == "backbone" and head not in HEADS) for part in parts)
