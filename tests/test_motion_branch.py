"""Recognition from centered motion: what it must not depend on, by hand."""

import pytest
import torch

from openmer import InputError, create_model
from openmer.models.config import MOLConfig
from openmer.models.lucas_kanade import FramePairs
from openmer.models.motion_branch import (
    DEPTH_RATIO,
    SIGMAS_PX,
    SIZE_FLOOR_PX,
    CenteredMotionBranch,
    HeadPart,
    PairDisplacement,
    Perturbation,
)

CONFIG = MOLConfig(motion=True, mer_features=False, centered=True)
LINE = torch.linspace(-1, 1, 16)
Y, X = LINE[:, None].expand(16, 16), LINE.expand(16, 16)


def branch() -> CenteredMotionBranch:
    torch.manual_seed(0)
    return CenteredMotionBranch(CONFIG, 128).eval()


def blob(dx: float, dy: float) -> torch.Tensor:
    """(2, 16, 16): motion at the mouth alone."""
    place = torch.exp(-((X / 0.2) ** 2) - ((Y - 0.5) / 0.15) ** 2)
    return torch.stack([dx * place, dy * place])


WINDOWS = len(SIGMAS_PX)
SURE = torch.zeros(1, WINDOWS, 16, 16)


def pairs_of(total: torch.Tensor) -> torch.Tensor:
    """Displacements (P, 2, 16, 16) since the first frame -> motions of the pairs, (1, P, 6, 16, 16)."""
    return torch.diff(total, dim=0, prepend=torch.zeros_like(total[:1])).repeat(1, WINDOWS, 1, 1)[None]


def test_what_the_head_does_is_taken_out() -> None:
    affine = torch.stack([0.5 + 0.3 * X - 0.2 * Y, -0.4 + 0.2 * X + 0.3 * Y])
    depth = X * X + DEPTH_RATIO * Y * Y
    head = affine + torch.stack([0.7 * depth, -0.3 * depth])
    part = HeadPart(16)
    assert torch.allclose(part(head[None])[0], head, atol=1e-4)
    smile = blob(0.3, -0.2)
    left = (head + smile)[None] - part((head + smile)[None])
    assert (left[0] - smile).square().sum(0).mean().sqrt() < 0.2 * smile.square().sum(0).mean().sqrt()


def test_neither_size_nor_pace_changes_what_the_class_is_read_from() -> None:
    model = branch()
    course = torch.tensor([0.1, 0.3, 0.6, 1.0, 0.8, 0.4, 0.1])[:, None, None, None]
    small, large = (pairs_of(course * size * blob(1.0, -1.0)) for size in (4.0, 8.0))
    (maps, scalars), (maps2, scalars2) = (model.summary(model.displacement(moved), SURE) for moved in (small, large))
    size, size2 = (torch.exp(s[0, 0]) for s in (scalars, scalars2))
    ratio, ratio2 = ((s - SIZE_FLOOR_PX) / s for s in (size, size2))  # the floor keeps noise small
    channels = 4 * WINDOWS
    assert torch.allclose(maps[:, :channels] / ratio, maps2[:, :channels] / ratio2, atol=0.01)
    assert float((size2 - SIZE_FLOOR_PX) / (size - SIZE_FLOOR_PX)) == pytest.approx(2, rel=1e-2)
    # The apex one frame earlier, the rest alike: the map that is common to the frames stays.
    earlier = pairs_of(torch.roll(course, -1, 0) * blob(1.0, -1.0))
    again, _ = model.summary(model.displacement(earlier), SURE)
    common = slice(0, 2 * WINDOWS)
    assert torch.nn.functional.cosine_similarity(again[:, common].flatten(), maps[:, common].flatten(), 0) > 0.999


def test_what_frames_have_in_common_is_told_from_noise() -> None:
    """Of one motion all follows its map; of noise in 7 frames hardly more than a seventh."""
    model = branch()
    course = torch.linspace(0.1, 1, 7)[:, None, None, None]
    _, scalars = model.summary(pairs_of(course * blob(1.0, -1.0)).cumsum(1), SURE)
    assert float(scalars[0, 1]) == pytest.approx(1, abs=1e-4)
    torch.manual_seed(0)
    maps, scalars = model.summary(torch.randn(1, 7, 2 * WINDOWS, 16, 16), SURE)
    assert 1 / 7 < float(scalars[0, 1]) < 0.25
    # The singular vector by the library that computes it in full.
    moved = torch.randn(1, 7, 2 * WINDOWS, 16, 16) * 0.1 + pairs_of(course * blob(1.0, -1.0)).cumsum(1)
    maps, scalars = model.summary(moved, SURE)
    weighted = (moved * model.middle.sqrt()).flatten(2)[0]
    u, values, _ = torch.linalg.svd(weighted, full_matrices=False)
    expected = torch.einsum("p,pcyx->cyx", u[:, 0] * u[:, 0].sum().sign(), moved[0]) / 7**0.5 / torch.exp(scalars[0, 0])
    assert torch.allclose(maps[0, : 2 * WINDOWS], expected, atol=0.02)
    assert float(scalars[0, 1]) == pytest.approx(float(values[0] ** 2 / values.square().sum()), abs=0.01)


def test_pairs_are_added_up_with_the_head_in_them() -> None:
    """A picture that moves by (1, -.5) px each frame is (1, -.5) everywhere in each pair, not 0."""
    wide = torch.nn.functional.interpolate(torch.randn(1, 1, 20, 20), (160, 160), mode="bicubic")[0, 0]
    frames = torch.stack([wide[16 + k : 144 + k, 16 - 2 * k : 144 - 2 * k] for k in range(3)])[None]
    moved = PairDisplacement(CONFIG)(FramePairs(128)(frames))
    assert moved.shape == (2, 3 * WINDOWS, 16, 16)
    for k in range(WINDOWS):
        assert torch.allclose(moved[:, 2 * k, 3:-3, 3:-3].median(), torch.tensor(2.0), atol=0.05)
        assert torch.allclose(moved[:, 2 * k + 1, 3:-3, 3:-3].median(), torch.tensor(-1.0), atol=0.05)


def test_motion_is_bent_in_training_alone() -> None:
    moved = pairs_of(torch.linspace(0, 1, 7)[:, None, None, None] * blob(1.0, 0.0))
    perturb = Perturbation(16, probability=1.0)
    assert torch.equal(perturb.eval()(moved, SURE)[0], moved)
    torch.manual_seed(1)
    first, second = perturb.train()(moved, SURE)[0], perturb(moved, SURE)[0]
    assert not torch.equal(first, second) and first.isfinite().all()
    torch.manual_seed(1)
    assert torch.equal(perturb(moved, SURE)[0], first)


def test_a_mirrored_clip_moves_to_the_other_side() -> None:
    moved = pairs_of(torch.linspace(0, 1, 7)[:, None, None, None] * blob(1.0, 0.5).roll(5, -1))
    perturb = Perturbation(16, probability=0.0).train()
    torch.manual_seed(0)
    sure = torch.arange(16.0).expand(1, WINDOWS, 16, 16)  # more, the farther to the right
    total = round(float(moved[0, :, 0].sum()), 3)
    seen = set()
    for _ in range(20):
        bent, confidence = perturb(moved, sure)
        seen.add((round(float(bent[0, :, 0].sum()), 3), bool(confidence[0, 0, 0, 0] > confidence[0, 0, 0, -1])))
    assert seen == {(total, False), (-total, True)}


def test_the_classifier_reads_something() -> None:
    with pytest.raises(InputError, match="must read something"):
        MOLConfig(motion=False, mer_features=False)


def test_motion_alone_needs_no_features() -> None:
    model = create_model("mol-lite", num_classes=3, mer_features=False, centered=True).eval()
    assert not model.reads_features({"mer"}) and model.reads_features({"mer", "landmarks"})
    clip = torch.randn(2, 8, 1, 128, 128)
    with torch.inference_mode():
        alone, joint = model(clip, ("mer",)).logits, model(clip).logits
    assert alone is not None and joint is not None and torch.equal(alone, joint)


def test_centered_features_do_not_see_what_stands_still() -> None:
    """A constant added to F1 and another to F2, in all frames: nothing changes. Without centering, it does."""
    torch.manual_seed(0)
    first, second = torch.randn(2, 1, 7, 128, 8, 8)
    face1, face2 = 5 * torch.randn(2, 1, 1, 128, 8, 8)
    for centered in (True, False):
        head = create_model("mol", size=64, centered=centered, flow=False, landmarks=False).eval().mer
        with torch.inference_mode():
            still, moved = head.look(first, second), head.look(first + face1, second + face2)
        assert torch.allclose(still, moved, atol=1e-4) is centered and moved.isfinite().all()


def test_a_pairwise_head_adds_its_opinion_and_changes_nothing_else() -> None:
    torch.manual_seed(0)
    both = create_model("mol-lite", pairwise=True, units=(1, 12), frames=4, size=64).eval()
    state = both.state_dict()
    alone = create_model("mol-lite", units=(1, 12), frames=4, size=64).eval()
    alone.load_state_dict({name: state[name] for name in alone.state_dict()})
    plain = create_model("mol-lite", centered=False, mer_features=True, frames=4, size=64).eval()
    plain.load_state_dict({n: state[n.replace("mer.", "mer.pairwise.")] for n in plain.state_dict()})
    clip = torch.nn.functional.avg_pool2d(torch.randn(2, 4, 70, 70), 7, 1)[:, :, None] * 5
    with torch.inference_mode():
        joined, mine, other = both(clip), alone(clip), plain(clip, ("mer",))
    torch.testing.assert_close(joined.logits, mine.logits + other.logits, atol=1e-5, rtol=1e-4)
    for name in ("units", "flow", "landmarks"):
        torch.testing.assert_close(getattr(joined, name), getattr(mine, name))
    assert both.reads_features(("mer",)) and not alone.reads_features(("mer",))
    for without in ("motion", "centered"):
        with pytest.raises(InputError, match="it needs motion and centered"):
            create_model("mol-lite", pairwise=True, **{without: False})
