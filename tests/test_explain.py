"""What the network saw: attributions that add up, regions and units by hand, and the command."""

import json
import runpy
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from footage import smirk, write_video
from openmer.clip import CROP_PX
from openmer.clips.transforms import center_crop
from openmer.datasets.simulated import SimulatedClips, draw_clip
from openmer.errors import InputError
from openmer.explain.attribution import Attribution, attribute, strongest_channels
from openmer.explain.moment import ELSEWHERE, explain_window, region_shares
from openmer.explain.run import explain
from openmer.explain.settings import ExplainSettings
from openmer.explain.units import likely_units, signatures
from openmer.models.engine import load_engine
from openmer.models.mol import MOL, create_model
from openmer.models.weights import load_model, read_record
from openmer.video.regions import REGION_NAMES, region_discs
from openmer.video.report import on_even_grid
from openmer.video.settings import AnalyzeSettings
from openmer.video.windows import predict_crops
from terminal import run

CLASSES = ("negative", "none", "positive", "surprise")
RIGHT, LEFT = 0, 1


@pytest.fixture(scope="module")
def model() -> MOL:
    return load_model("mol-lite")


@pytest.fixture(scope="module")
def smiling() -> tuple[np.ndarray, np.ndarray]:
    """(T, C, C) crops of a simulated smile, and the landmarks of its first frame."""
    settings = SimulatedClips(subjects=1, seed=903, emotions=("happiness",), like="samm", windows="any")
    clip, emotion = draw_clip(settings, 0, 0)
    assert emotion == "happiness" and clip.landmarks is not None
    return center_crop(clip.frames), clip.landmarks[0] - 8


@pytest.fixture(scope="module")
def half_moving() -> np.ndarray:
    """Noise that shifts by a pixel a frame in the right half of the picture and stands still in the left."""
    rng = np.random.default_rng(0)
    texture = np.kron(rng.integers(60, 200, (CROP_PX // 4, CROP_PX // 4)), np.ones((4, 4))).astype(np.uint8)
    frames = np.stack([texture] * 8)
    for k in range(8):
        frames[k, :, 64:] = np.roll(texture[:, 64:], k, axis=1)
    return frames


def test_integrated_gradients_add_up_to_what_the_motion_changed(model: MOL, smiling: tuple[np.ndarray, ...]) -> None:
    found = attribute(model, smiling[0], CLASSES, "positive")
    assert found.moving > found.still + 1
    assert found.places.sum() == pytest.approx(found.moving - found.still, rel=0.02)
    assert found.frames.sum() == pytest.approx(1, abs=1e-5)
    assert found.frames[0] == 0  # the first frame is what is compared with


def test_log_odds_are_those_of_the_probability_that_is_given(smiling: tuple[np.ndarray, ...]) -> None:
    engine = load_engine("mol-lite", "cpu")
    engine = replace(engine, record=replace(engine.record, temperature=3.0))
    for method in ("integrated", "held"):
        found = explain_window(engine, *smiling, method=method)  # type: ignore[arg-type]
        p = float(predict_crops(engine, smiling[0]).probabilities[CLASSES.index(found.attribution.target)])
        assert found.attribution.moving == pytest.approx(np.log(p / (1 - p)), abs=1e-3)
        assert (found.to_json()["share_of_frames"] is None) == (method == "held"), "places are held in all frames"


@pytest.mark.parametrize("method", ["integrated", "held"])
def test_what_stands_still_gets_no_share(model: MOL, half_moving: np.ndarray, method: str) -> None:
    found = attribute(model, half_moving, CLASSES, "surprise", method=method)  # type: ignore[arg-type]
    edge = 64 if method == "integrated" else 64 - 16  # a patch that holds some of the moving half reaches so far
    assert np.abs(found.places[..., :edge]).max() < 1e-5
    assert np.abs(found.places[..., 64:]).max() > 1e-3


def test_a_still_clip_has_nothing_to_attribute(model: MOL, half_moving: np.ndarray) -> None:
    found = attribute(model, np.stack([half_moving[0]] * 8), CLASSES, "none")
    assert found.moving == found.still
    assert not found.places.any() and not found.frames.any()


def test_attributing_leaves_the_model_as_it_was(model: MOL, half_moving: np.ndarray) -> None:
    model.train()
    attribute(model, half_moving, CLASSES, "none")
    assert model.training
    model.eval()
    assert all(p.grad is None for p in model.parameters())


def test_an_unknown_class_is_named(model: MOL, half_moving: np.ndarray) -> None:
    with pytest.raises(InputError, match="no class 'joy'; there are negative, none"):
        attribute(model, half_moving, CLASSES, "joy")


def test_all_comes_through_the_one_channel_that_is_read(half_moving: np.ndarray) -> None:
    torch.manual_seed(0)
    model = create_model("mol-lite", num_classes=4, motion=False).eval()
    with torch.no_grad():
        kept = model.mer.conv.weight[:, 5].clone()
        model.mer.conv.weight.zero_()
        model.mer.conv.weight[:, 5] = kept
    first = strongest_channels(model, half_moving, CLASSES, "none")[0]
    assert first.number == 5 and first.share == pytest.approx(1)
    assert first.change.shape == (16, 16)


def test_regions_share_the_map_by_their_discs(smiling: tuple[np.ndarray, ...]) -> None:
    points = smiling[1]
    disc = region_discs(points)[REGION_NAMES.index("mouth_left")]
    centre = np.unravel_index(disc[len(disc) // 2], (CROP_PX, CROP_PX))
    places = np.zeros((2, CROP_PX, CROP_PX), np.float32)
    places[0][centre], places[1][centre] = 1.5, -1.5  # for and against count alike
    places[0, 0, 0] = 1.0  # a corner of the picture
    shares = region_shares(Attribution("positive", "integrated", 1.0, 0.0, places), points)
    assert shares["mouth_left"] == pytest.approx(0.75) and shares[ELSEWHERE] == pytest.approx(0.25)
    assert sum(shares.values()) == pytest.approx(1)


def test_the_file_of_signatures_is_of_todays_head() -> None:
    script = Path(__file__).parents[1] / "tools" / "build_signatures.py"
    made = runpy.run_path(str(script))["signatures"]()
    assert list(made) == list(signatures())
    for unit, motion in signatures().items():
        assert np.allclose(motion, made[unit], atol=0.02), f"AU{unit}: run tools/build_signatures.py again"


def test_signatures_go_the_way_that_muscles_pull() -> None:
    right, left = REGION_NAMES.index("mouth_right"), REGION_NAMES.index("mouth_left")
    smile, brow = signatures()[12], signatures()[4].sum(0)
    assert smile[RIGHT, right, 0] < -1 and smile[RIGHT, right, 1] < -1  # the subject's right is the image's left
    assert smile[LEFT, left, 0] > 1 and smile[LEFT, left, 1] < -1
    assert np.abs(smile[RIGHT, left]).max() < 1
    assert brow[REGION_NAMES.index("inner_brow_right"), 1] > 1  # down


@pytest.mark.parametrize("unit", [1, 2, 4, 12, 15, 20])
def test_a_unit_is_found_from_its_own_motion(unit: int) -> None:
    found = likely_units(0.2 * signatures()[unit].sum(0))
    assert found[0].unit == unit and found[0].right == pytest.approx(0.5, abs=0.1)


def test_a_one_sided_unit_is_told_apart() -> None:
    found = likely_units(0.2 * signatures()[12][LEFT])
    assert found[0].unit == 12 and found[0].right < 0.1
    reach = 0.2 * np.linalg.norm(signatures()[12][LEFT], axis=1).max()
    assert found[0].px == pytest.approx(reach, rel=0.1)


@pytest.mark.parametrize("motion", [np.zeros((12, 2)), np.full((12, 2), 0.05), np.full((12, 2), np.nan)])
def test_no_unit_is_named_where_hardly_anything_moved(motion: np.ndarray) -> None:
    assert likely_units(motion.astype(np.float32)) == ()


def test_a_window_is_explained_in_words_and_numbers(smiling: tuple[np.ndarray, ...]) -> None:
    found = explain_window(load_engine("mol-lite", "cpu"), *smiling)
    content = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert content["target"] == "positive" == max(content["probabilities"], key=content["probabilities"].get)
    assert 12 in [unit["unit"] for unit in content["likely_units"]]
    seen = content["network_units"]
    assert max(seen, key=seen.get) == "AU12" and seen["AU12"] > 0.5 > seen["AU4"]
    assert set(content["share_of_regions"]) == {*REGION_NAMES, ELSEWHERE}
    assert "AU12 lip corner puller" in found.sentence() and found.sentence().startswith("positive ")


def test_shares_and_units_are_told_in_words(smiling: tuple[np.ndarray, ...]) -> None:
    found = explain_window(load_engine("mol-lite", "cpu"), *smiling)
    apart = {"inner_brow_left": 0.09, "eye_right": 0.05, "chin": 0.02, "nose": 0.01, "elsewhere": 0.83}
    said = replace(found, shares=apart).sentence()
    where = (
        "The twelve regions hold 17% of what mattered, most of it at inner brow left (9%), eye right (5%), chin (2%)."
    )
    assert where in said
    other = replace(found, named={"AU12": 0.9, "AU39": 0.8}).sentence()
    assert "AU12 lip corner puller (0.90), AU39 (0.80)." in other, "SAMM codes units that the simulator does not know"


def test_the_report_and_a_json_explain_what_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    video = write_video(tmp_path / "a.mp4", smirk(30, 1.4, 0.3, 1.5, 3.0), Fraction(30), crf="20")
    out = tmp_path / "why"
    assert run(monkeypatch, "explain", video, "--out", out, "--at", 1.5, "--target", "positive") == 0
    content = json.loads((out / "explanations.json").read_text())
    assert content["schema"] == "openmer.explanations/1" and "simulated" in content["trained_on"]
    (moment,) = content["moments"]
    assert moment["apex_s"] == 1.5 and moment["target"] == "positive"
    page = (out / "report.html").read_text()
    assert "What the network saw" in page and moment["sentence"].split(".")[0] in page
    assert "1.50 s" in capsys.readouterr().err
    assert run(monkeypatch, "explain", video, "--out", out, "--at", 9, "--overwrite") == 1
    assert json.loads((out / "explanations.json").read_text()) == content  # what was there is untouched


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--engine", "classical"), "the classical engine decides by motion alone"),
        (("--target", "joy"), "no class 'joy'"),
        (("--at", "-1"), "moments are seconds"),
    ],
)
def test_what_cannot_be_explained_is_said_before_anything_is_read(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    said: str,
) -> None:
    assert run(monkeypatch, "explain", "no-video.mp4", "--out", tmp_path / "out", *arguments) == 1
    assert said in capsys.readouterr().err


def test_without_captum_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(InputError, match=r"install the extra `explain`.*pip install captum"):
        explain("no-video.mp4", tmp_path / "out")


def test_an_unknown_method_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="choose integrated, held"):
        explain("a.mp4", tmp_path / "out", AnalyzeSettings(), ExplainSettings(method="magic"))  # type: ignore[arg-type]


def test_every_class_of_the_shipped_weights_has_a_name() -> None:
    assert tuple(read_record("mol-lite").classes) == CLASSES


def test_the_map_of_regions_has_no_holes_where_every_frame_was_measured() -> None:
    times = 17.866667 + np.arange(312) / 30
    grid = on_even_grid(times, np.ones((312, 1), np.float32), float(times[0]), float(times[-1] + 1 / 30))
    assert grid.shape == (312, 1) and np.isfinite(grid).all()


def test_the_surroundings_of_a_moment_are_as_long_in_real_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of 30 frames a second, filmed at 240, holds an eighth of a second of what happened in each of its own."""
    wall = np.full((48, 64, 3), 128, np.uint8)
    write_video(tmp_path / "slow.mp4", (wall for _ in range(30)), Fraction(30))
    asked: list[AnalyzeSettings] = []
    monkeypatch.setattr("openmer.explain.run.run_analyses", lambda *given, **_: asked.append(given[2]))
    for fps in (None, Fraction(240)):
        explain(tmp_path / "slow.mp4", tmp_path / "out", AnalyzeSettings(fps=fps), ExplainSettings(at_s=(20.0,)))
    assert [(a.start_s, a.end_s) for a in asked] == [(18.0, 22.0), (4.0, 36.0)]


def test_what_is_explained_is_what_the_report_names(
    model: MOL, smiling: tuple[np.ndarray, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """None is likeliest of the four, but an expression is likelier than none."""
    engine, asked = load_engine("mol-lite", "cpu"), []
    shown = dict(zip(engine.record.classes, (0.25, 0.45, 0.3, 0.0), strict=True))
    assert shown == {"negative": 0.25, "none": 0.45, "positive": 0.3, "surprise": 0.0}
    answer = predict_crops(engine, smiling[0])._replace(probabilities=np.array(list(shown.values())))
    monkeypatch.setattr("openmer.explain.moment.predict_crops", lambda *_: answer)

    def attributed(*given: Any, **how: Any) -> Attribution:
        asked.append(given[3])
        return attribute(*given, **how)

    monkeypatch.setattr("openmer.explain.moment.attribute", attributed)
    explain_window(engine, *smiling)
    assert asked == ["positive"]
