from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from openmer import InputError
from openmer.models.config import HEADS, PRESETS, MOLConfig
from openmer.models.lucas_kanade import FramePairs
from openmer.models.mol import MOL, HeatmapLandmarkHead, PairMotion, create_model
from openmer.models.weights import initialise


def test_gray_levels_as_they_are_stored_are_refused() -> None:
    with pytest.raises(InputError, match=r"as floats .* got torch.uint8; openmer.clips.transforms.evaluation_input"):
        create_model("mol-lite")(torch.zeros(1, 8, 1, 128, 128, dtype=torch.uint8))


def clip(model: MOL, batch: int = 1) -> torch.Tensor:
    torch.manual_seed(0)
    c = model.config
    return torch.randn(batch, c.frames, 1, c.size, c.size)


def gflop(model: MOL, heads: Any = None) -> float:
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        model(clip(model), heads)
    return counter.get_total_flops() / 1e9


@pytest.mark.parametrize("preset", PRESETS)
def test_shapes_of_every_preset(preset: str) -> None:
    model = create_model(preset, num_classes=5).eval()
    with torch.inference_mode():
        out = model(clip(model, 2))
    assert out.logits.shape == (2, 5)
    assert out.flow.shape == (2, 7, 2, 128, 128)
    assert out.landmarks.shape == (2, 7, 68, 2)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_batch_is_its_clips_one_by_one(preset: str) -> None:
    model = create_model(preset).eval()
    x = clip(model, 2)
    with torch.inference_mode():
        both, second = model(x), model(x[1:])
    for name in ("logits", "flow", "landmarks"):
        torch.testing.assert_close(getattr(both, name)[1:], getattr(second, name), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("head", HEADS)
def test_only_what_is_asked_for_is_computed(head: str) -> None:
    model = create_model("mol", units=(4, 12)).eval()
    with torch.inference_mode():
        alone, everything = model(clip(model), [head]), model(clip(model))
    field = {"mer": "logits"}.get(head, head)
    for name in everything._fields:
        if name == field:
            torch.testing.assert_close(getattr(alone, name), getattr(everything, name))
        else:
            assert getattr(alone, name) is None


def test_recognition_does_not_pay_for_flow() -> None:
    model = create_model("mol").eval()
    assert gflop(model, ["mer"]) < gflop(model) / 20


def test_mol_lite_takes_a_tenth_of_the_operations_and_under_10_mb() -> None:
    full, lite = create_model("mol").eval(), create_model("mol-lite").eval()
    assert gflop(lite) * 10 <= gflop(full)
    assert sum(p.numel() for p in lite.parameters()) * 4 < 10e6


def test_mol_authors_has_the_released_number_of_parameters() -> None:
    # 44.1 M with 5 classes, of which their feed-forward layers, never called and not built here, are a few hundred.
    model = create_model("mol-authors", num_classes=5)
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(44.1e6, rel=1e-3)


@pytest.mark.parametrize(
    "switches",
    [{"fcc": False}, {"ccc": False}, {"fcc": False, "ccc": False}, {"neighbors": 7}, {"graph": "positions"}],
)
def test_ablations_of_f5c_run_and_learn(switches: dict[str, Any]) -> None:
    model = create_model("mol-lite", mer_features=True, **switches)
    model(clip(model, 2), ["mer"]).logits.sum().backward()
    assert model.stack[0].weight.grad.abs().sum() > 0


def test_heads_that_are_switched_off_are_not_there() -> None:
    model = create_model("mol", flow=False, landmarks=False).eval()
    assert model.heads == ("mer",)
    assert model(clip(model)).flow is None
    with pytest.raises(InputError, match="has the heads mer"):
        model(clip(model), ["flow"])


@pytest.mark.parametrize(("frames", "size"), [(4, 128), (16, 64), (5, 192)])
@pytest.mark.parametrize("preset", PRESETS)
def test_other_lengths_and_sizes_work(preset: str, frames: int, size: int) -> None:
    model = create_model(preset, frames=frames, size=size).eval()
    with torch.inference_mode():
        out = model(clip(model))
    assert out.flow.shape == (1, frames - 1, 2, size, size)
    assert out.landmarks.shape == (1, frames - 1, 68, 2)


@pytest.mark.parametrize(
    ("switches", "said"),
    [
        ({"frames": 3}, "at least 4 frames"),
        ({"size": 100}, "64, 128, 192 or 256"),
        ({"size": 320}, "64, 128, 192 or 256"),
        ({"num_classes": 1}, "at least 2 classes"),
        ({"neighbors": 0}, "neighbors"),
        ({"neighbors": 128}, "neighbors"),
        ({"colour": True}, "unknown switch colour"),
        ({"flow_head": "FlowNet"}, "flow_head must be one of"),
        ({"graph": "bogus"}, "graph must be one of"),
        ({"fcc": "no"}, "fcc must be bool"),
        ({"neighbors": 2.5}, "neighbors must be int"),
        ({"fcc_length": 4}, "fcc_length must be"),
        ({"dropout": 1.0}, "dropout must be a float from 0 to below 1"),
        ({"dropout": 0}, "dropout must be a float from 0 to below 1"),
    ],
)
def test_what_cannot_work_is_refused_with_the_reason(switches: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        create_model("mol", **switches)


def test_unknown_presets_and_other_shapes_are_refused() -> None:
    with pytest.raises(InputError, match="choose mol, mol-authors, mol-lite"):
        create_model("mol-huge")
    model = create_model("mol-lite")
    for shape in ((1, 7, 1, 128, 128), (1, 1, 8, 128, 128), (8, 1, 128, 128), (1, 8, 1, 64, 64)):
        with pytest.raises(InputError, match="reads clips of shape"):
            model(torch.zeros(shape))
    with pytest.raises(InputError, match="has the heads"):
        model(torch.zeros(1, 8, 1, 128, 128), [])


@pytest.mark.parametrize("preset", PRESETS)
def test_flow_and_landmarks_alone_are_read_from_any_number_of_frames(preset: str) -> None:
    model = create_model(preset, units=(12,)).eval()
    x = clip(model)
    with torch.inference_mode():
        whole = model(x, ("flow", "landmarks"))
        for first, last in ((0, 2), (3, 6)):
            part = model(x[:, first:last], ("flow", "landmarks"))
            torch.testing.assert_close(part.flow, whole.flow[:, first : last - 1], rtol=1e-3, atol=1e-4)
            torch.testing.assert_close(part.landmarks, whole.landmarks[:, first : last - 1], rtol=1e-3, atol=1e-4)
        assert model(torch.cat([x, x], 1), ["flow"]).flow.shape == (1, 15, 2, 128, 128)
    for heads, frames in ((["mer"], 7), (["units", "flow"], 7), (["flow"], 1)):
        with pytest.raises(InputError, match="flow and landmarks alone take any number of frames from 2"):
            model(x[:, :frames], heads)


def test_train_and_eval_modes_differ() -> None:
    model = create_model("mol-lite")
    x = clip(model, 2)
    torch.manual_seed(0)
    first = model.train()(x, ["mer"]).logits
    assert not torch.equal(first, model(x, ["mer"]).logits), "dropout draws anew"
    model.eval()
    assert torch.equal(model(x, ["mer"]).logits, model(x, ["mer"]).logits)


def test_features_are_dropped_as_often_as_the_config_says() -> None:
    for dropout, equal in ((0.0, True), (0.1, False)):
        model = create_model("mol", flow=False, landmarks=False, dropout=dropout).train()
        x = clip(model, 2)
        assert torch.equal(model(x, ["mer"]).logits, model(x, ["mer"]).logits) is equal


def test_a_training_step_reaches_every_parameter() -> None:
    for preset in PRESETS:
        model = create_model(preset, frames=4, size=64)
        out = model(clip(model, 2))
        (out.logits.square().mean() + (out.flow - 1).square().mean() + (out.landmarks - 60).square().mean()).backward()
        idle = {n for n, p in model.named_parameters() if p.grad is None}
        assert not idle, preset


def test_inference_mode_and_training_can_alternate() -> None:
    model = create_model("mol")
    with torch.inference_mode():
        model(clip(model))
    model(clip(model, 2)).flow.sum().backward()


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("kinds", [("zero", "zero"), ("edge", "noise")])
def test_no_input_gives_nan_in_half_precision_nor_in_its_gradients(preset: str, kinds: tuple[str, str]) -> None:
    torch.manual_seed(0)
    model = create_model(preset, frames=4, size=64).train()
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    frames = {
        "zero": lambda k: torch.zeros(64, 64),
        "edge": lambda k: ((x + y) > 64 + k).float() * 255,
        "noise": lambda k: torch.randn(64, 64),
    }
    clip = torch.stack([torch.stack([frames[kind](k) for k in range(4)]) for kind in kinds])[:, :, None]
    with torch.autocast("cpu", torch.bfloat16):
        out = model(clip)
    loss = out.logits.float().square().mean() + out.flow.float().square().mean() + out.landmarks.float().mean()
    loss.backward()
    assert all(t.isfinite().all() for t in (out.logits, out.flow, out.landmarks))
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("preset", PRESETS)
def test_whole_networks_in_other_precisions(preset: str, dtype: torch.dtype) -> None:
    model = create_model(preset, frames=4, size=64).eval().to(dtype)
    with torch.inference_mode():
        out = model(torch.randn(1, 4, 1, 64, 64, dtype=dtype))
    assert out.flow.dtype == out.landmarks.dtype == dtype and out.flow.isfinite().all()


def test_soft_argmax_answers_in_pixels_of_the_crop() -> None:
    head = HeatmapLandmarkHead(MOLConfig(preset="mol-lite"), width=8)
    with torch.no_grad():
        head.heat.weight.zero_()
        head.heat.bias.zero_()
    # A flat heat map says: the middle of the crop.
    torch.testing.assert_close(head(torch.randn(2, 128, 16, 16)), torch.full((2, 68, 2), 63.5))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("preset", PRESETS)
def test_no_host_transfer_inside_the_forward_pass(preset: str) -> None:
    model = create_model(preset).cuda().eval()
    x = clip(model, 2).cuda()
    with torch.inference_mode():
        model(x)
        torch.cuda.set_sync_debug_mode("error")
        try:
            model(x)
        finally:
            torch.cuda.set_sync_debug_mode("default")


def test_the_motion_that_recognition_reads_is_that_within_the_face() -> None:
    """A bump of half a pixel to the right and a quarter up, alone and while the whole head moves by pixels."""
    rng = np.random.default_rng(0)
    texture = sum(cv2.GaussianBlur(rng.normal(0, 1, (168, 168)), (0, 0), s) * s for s in (2, 8, 16)).astype(np.float32)
    y, x = np.mgrid[:128, :128].astype(np.float32)
    bump = np.exp(-0.5 * ((x - 91.5) ** 2 + (y - 83.5) ** 2) / 12**2)

    def frame(local: float, head: tuple[float, float] = (0, 0)) -> torch.Tensor:
        moved = (x + 20 - head[0] - 0.5 * local * bump, y + 20 - head[1] + 0.25 * local * bump)
        return torch.from_numpy(cv2.remap(texture, *moved, cv2.INTER_CUBIC))

    clips = {"still": (0, (0, 0)), "bump": (1, (0, 0)), "head": (0, (3, -2)), "both": (1, (3, -2))}
    see, motion = FramePairs(128), PairMotion(PRESETS["mol-lite"])
    maps = {}
    for name, (local, head) in clips.items():
        found = motion(see(torch.stack([frame(0), frame(local, head)])[None])).detach()
        assert found.shape == (1, 6, 16, 16)
        maps[name] = found[0, [0, 1, 3, 4], 2:-2, 2:-2] / 4  # written in quarters of a pixel
    assert maps["still"].abs().max() < 1e-4
    assert maps["head"].abs().mean() < 0.05
    dx, dy = maps["bump"][[0, 2], 8, 9], maps["bump"][[1, 3], 8, 9]
    # Part of so wide a bump counts as the head's.
    assert (dx > 0.3).all() and (dx < 0.5).all() and (dy > -0.3).all() and (dy < -0.1).all()
    assert maps["bump"][:, :3].abs().mean() < 0.05
    torch.testing.assert_close(maps["both"][:, 8, 9], maps["bump"][:, 8, 9], atol=0.06, rtol=0)


def test_without_motion_there_is_only_the_papers_classifier() -> None:
    plain = create_model("mol-lite", motion=False)
    assert plain.mer.motion is None and plain.config.mer_features
    both = create_model("mol-lite", mer_features=True)
    names = {name for name, _ in both.named_parameters()} - set(dict(plain.named_parameters()))
    assert names and all(name.startswith("mer.motion.") for name in names)


def test_further_landmark_blocks_begin_as_if_they_were_not_there() -> None:
    torch.manual_seed(0)
    small, large = (create_model("mol-lite", landmark_blocks=blocks).eval() for blocks in (1, 3))
    taken = initialise(large, small)
    assert all(name.startswith("landmarks.more.") for name in taken) and len(taken) == 2 * 4
    frames = torch.randn(1, 8, 1, 128, 128)
    with torch.inference_mode():
        points = [m(frames, ("landmarks",)).landmarks for m in (small, large)]
    torch.testing.assert_close(points[0], points[1])
    with pytest.raises(InputError, match="landmark_blocks must lie between 1 and 16"):
        create_model("mol-lite", landmark_blocks=0)
