"""Action units from the annotation to the timeline: known, learned, judged, named."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from scoring import judge_units

from clipsets import CLASSES, shifting_clip
from footage import smirk
from openmer import InputError
from openmer.clip import Sample
from openmer.clips.store import ClipStore
from openmer.clips.transforms import EVAL
from openmer.datasets.prepare import _units
from openmer.datasets.simulated import SimulatedClips, draw_clip
from openmer.models.config import MOLConfig
from openmer.models.engine import load_engine
from openmer.models.incremental import Incremental
from openmer.models.mol import MOL, create_model
from openmer.models.weights import load_model, read_record
from openmer.simulator.generate import draw_sample
from openmer.timeline import Interval, Timeline, Window
from openmer.training.data import ClipData
from openmer.training.loop import train
from openmer.training.losses import units_loss
from openmer.training.settings import LossSettings, TrainSettings
from openmer.video.live import stream
from openmer.video.recognition import Recognition, mean_probabilities, windows_of
from openmer.video.settings import StreamSettings

SHOWN: dict[str, tuple[int, ...] | None] = {"left": (4, 7), "right": (12,)}
SMALL = TrainSettings(
    model="mol-lite",
    switches={"units": (4, 12)},
    steps=25,
    batch=4,
    warmup=0,
    lr=1e-2,
    transforms=EVAL,
    losses=LossSettings(mer=0.0, flow=0.0, landmarks=0.0),
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ClipData:
    """A patch that goes left shows 4 and 7, one that goes right 12; of the last clip nobody knows."""
    store = ClipStore.create(tmp_path_factory.mktemp("units") / "store", {})
    rng = np.random.default_rng(0)
    for k in range(3):
        clips = [shifting_clip(rng, name, f"s{k}", patch=True) for name in (*CLASSES, "left")]
        known = [replace(clip, units=SHOWN[str(clip.label)]) for clip in clips[:2]]
        store.add(f"{k}", [*known, clips[2]], dataset="shifting", samples=["a", "b", "c"])
    return ClipData(ClipStore(store.root), ClipStore(store.root).entries, CLASSES)


def test_a_store_keeps_what_a_clip_shows_and_that_nobody_knows(data: ClipData) -> None:
    assert [e.units for e in data.entries[:3]] == [(4, 7), (12,), None]
    batch = data.evaluation_batch([0, 1, 2], units=(12, 4, 1))
    assert batch.units[:2].tolist() == [[0, 1, 0], [1, 0, 0]] and batch.units[2].isnan().all()
    assert data.evaluation_batch([0]).units.shape == (1, 0)


@pytest.mark.parametrize(
    ("annotated", "label", "known"),
    [
        (("4", "L12"), "negative", (4, 12)),
        (("R6", "6"), "positive", (6,)),
        ((), "none", ()),
        ((), "negative", None),
    ],
)
def test_units_of_an_annotation(annotated: tuple[str, ...], label: str, known: tuple[int, ...] | None) -> None:
    sample = Sample(
        dataset="d",
        subject="s",
        name="n",
        source=Path(),
        fps=Fraction(30),
        label=label,
        action_units=annotated,
    )
    assert _units(sample) == known


def test_a_simulated_clip_says_what_was_shown() -> None:
    """The units that a coder would note, not the traces that come along; and nothing is nothing."""
    settings = SimulatedClips(subjects=1, samples=9, seed=3, emotions=("happiness", "none", "contempt"))
    traces = 0
    for sample in range(9):
        clip, emotion = draw_clip(settings, 0, sample)
        _, event, _ = draw_sample(settings.recordings, 0, sample)
        if event is None:
            assert emotion == "none" and clip.units == ()
        else:
            assert clip.units == event.coded and set(event.coded) <= set(event.units)
            traces += len(event.units) - len(event.coded)
    assert traces > 0


def test_loss_by_hand() -> None:
    logits = torch.tensor([[0.0, 100.0, 5.0], [0.0, 0.0, 0.0]])
    shown = torch.tensor([[1.0, 1.0, float("nan")], [float("nan")] * 3])
    assert units_loss(logits, shown).tolist() == pytest.approx([np.log(2), 0.0])


def test_the_head_learns_and_changes_nothing_else(data: ClipData, tmp_path: Path) -> None:
    first = train(replace(SMALL, steps=1, switches={}, losses=LossSettings()), data, tmp_path / "first")
    weights = str(tmp_path / "first" / "model.safetensors")
    frozen = ("backbone", "mer", "flow", "landmarks")
    model = train(replace(SMALL, init=weights, freeze=frozen), data)
    assert isinstance(model, MOL) and isinstance(first, MOL) and model.heads == ("mer", "flow", "landmarks", "units")
    before, after = first.state_dict(), model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    clip = data.evaluation_batch([0, 1]).inputs
    with torch.inference_mode():
        for name in ("logits", "flow", "landmarks"):
            assert torch.equal(getattr(first(clip), name), getattr(model(clip), name))
        assert first(clip).units is None
        assert (model(clip).units > 0).tolist() == [[True, False], [False, True]]
        assert torch.equal(model(clip, ("units",)).units, model(clip).units)


def test_units_that_no_clip_shows_are_refused(data: ClipData, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no clip in .* is known to show action unit 1, 2; there are 4, 7, 12"):
        train(replace(SMALL, switches={"units": (1, 2, 4)}), data, tmp_path / "run")
    unknown = ClipData(data.store, [replace(e, units=None) for e in data.entries], CLASSES)
    with pytest.raises(InputError, match="prepare the store again"):
        train(SMALL, unknown, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("units", [(4, 4), (0,), (100,), ("4",), [4], 4])
def test_units_that_are_none_are_refused(units: object) -> None:
    with pytest.raises(InputError, match="numbers of action units"):
        MOLConfig(units=units)  # type: ignore[arg-type]


def test_judged_by_hand(data: ClipData) -> None:
    """A network that always says 12, and 4 less surely: right first in 3 of 6 known clips; F1 of both is 2/3."""
    model = create_model("mol-lite", num_classes=2, units=(4, 12, 17)).eval()
    assert model.units is not None
    with torch.no_grad():
        model.units.read.weight.zero_()
        model.units.read.bias.copy_(torch.tensor([1.0, 2.0, -1.0]))
    found = judge_units(model, data, min_clips=1)
    assert found["first_right"] == 0.5 and found["clips"] == 6 and found["shown"] == {"4": 3, "12": 3, "17": 0}
    assert found["f1"] == pytest.approx({"4": 2 / 3, "12": 2 / 3}), "17 is shown by nobody"
    few = create_model("mol-lite", num_classes=2, units=(4,)).eval()
    assert judge_units(few, data)["first_right"] == 0.5, "where only 12 is shown it must be wrong"
    with pytest.raises(InputError, match="a network that names them"):
        judge_units(create_model("mol-lite", num_classes=2).eval(), data)


def test_a_stream_names_them_as_the_whole_clip_does() -> None:
    torch.manual_seed(0)
    model = create_model("mol-lite", frames=4, size=64, units=(4, 12)).eval()
    frames = torch.nn.functional.avg_pool2d(torch.randn(1, 4, 70, 70), 7, 1) * 5
    stream = Incremental(model, ("units",))
    answers = [stream.push(frame) for frame in frames[0]]
    with torch.inference_mode():
        whole = model(frames[:, :, None]).units
    assert answers[2] is not None and answers[2].units is None
    assert answers[3] is not None and answers[3].logits is None
    torch.testing.assert_close(answers[3].units, whole, atol=1e-4, rtol=1e-4)


def test_a_timeline_carries_them_and_reads_older_ones() -> None:
    units = {"AU4": 0.25, "AU12": 0.75, "AU6": 0.75}
    interval = Interval(
        label="candidate", onset_s=0, offset_s=1, probabilities={"none": 0.1, "a": 0.9}, action_units=units
    )
    assert interval.shown_units == ("AU12", "AU6")
    blink = Interval(label="blink", onset_s=2, offset_s=3)
    timeline = Timeline(intervals=(interval, blink), start_s=0, end_s=4, windows=(window(0.0, units),))
    text = timeline.to_json()
    assert Timeline.from_json(text) == timeline
    rows = timeline.to_csv().splitlines()
    assert (
        rows[0].endswith("p_none,p_a,action_units") and rows[1].endswith("0.1,0.9,AU12+AU6") and rows[2].endswith(",,,")
    )
    plain = Timeline(intervals=(blink,), start_s=0, end_s=4)
    assert "action_units" not in plain.to_csv()
    without = plain.to_json().replace(',\n      "action_units": null', "")
    assert '"action_units": null' not in without and Timeline.from_json(without) == plain
    with pytest.raises(InputError, match=r"Expected `float`, got `str`.*action_units"):
        Timeline.from_json(text.replace("0.25", '"many"'))


def window(start_s: float, action_units: dict[str, float] | None) -> Window:
    shares = {"negative": 0.0, "none": 1.0, "positive": 0.0, "surprise": 0.0}
    return Window(
        start_s=start_s, end_s=start_s + 1, start_frame=0, end_frame=1, probabilities=shares, action_units=action_units
    )


def test_a_table_of_windows_has_units_where_the_network_was_asked_for_them() -> None:
    """An ONNX graph can be written without the head that its record tells of."""
    pairs, points = np.zeros((0, 2), np.int64), np.zeros((0, 68, 2), np.float32)
    nothing = (pairs[:, 0], points, pairs, pairs.astype(float), points[:, :12])
    engine = load_engine("mol-lite", "cpu")
    row = "0.000000,1.000000,0,1,0.0000,1.0000,0.0000,0.0000"
    asked, other = (Recognition(engine, (window(0.0, units),), *nothing) for units in ({"AU4": 0.25}, None))
    assert asked.windows_csv().endswith(f"p_surprise,p_AU4\n{row},0.2500\n")
    assert other.windows_csv().endswith(f"p_surprise\n{row}\n")


def test_a_stream_gives_a_candidate_its_units() -> None:
    frames = ((k / 30, image) for k, image in enumerate(smirk(30, 0.9, 0.3, 1.5, 2.5)))
    candidates = [
        i
        for m in stream(frames, StreamSettings(device="cpu", expression_threshold=0.0))
        for i in m.intervals
        if i.label == "candidate"
    ]
    assert candidates and set(candidates[0].action_units or ()) == set(load_model("mol-lite").config.unit_names)


def test_an_interval_has_the_mean_of_its_windows() -> None:
    windows = [window(0.0, {"AU4": 0.2}), window(0.1, {"AU4": 0.4}), window(5.0, {"AU4": 1.0})]
    seen = windows_of(Interval(label="candidate", onset_s=0.4, offset_s=0.6), windows)
    assert seen == windows[:2] and mean_probabilities(w.action_units for w in seen) == {"AU4": pytest.approx(0.3)}
    assert mean_probabilities([None, None]) is None and mean_probabilities([]) is None


def test_the_shipped_weights_name_units_that_the_simulator_shows() -> None:
    record, model = read_record("mol-lite"), load_model("mol-lite")
    assert model.heads == ("mer", "flow", "landmarks", "units")
    assert set(record.config.units) >= {1, 2, 4, 6, 7, 12}
    assert record.scores["photographs"]["likeliest_unit_shown"] > 0.75
