import pytest
import torch
from torch import nn

from openmer.models.flow_head import DILATION, PATCH, FlowNetHead, LiteFlowHead, correlation, overlapping_offsets
from openmer.models.lucas_kanade import AffineHeadMotion, FramePairs, LucasKanade, affine_part, blur, pooled, warp


def slow_correlation(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    batch, depth, side, _ = first.shape
    reach = PATCH // 2
    out = torch.zeros(batch, PATCH * PATCH, side, side, dtype=first.dtype)
    for d in range(PATCH * PATCH):
        dy, dx = (d // PATCH - reach) * DILATION, (d % PATCH - reach) * DILATION
        for y in range(side):
            for x in range(side):
                if 0 <= y + dy < side and 0 <= x + dx < side:
                    out[:, d, y, x] = (first[:, :, y, x] * second[:, :, y + dy, x + dx]).sum(1) / depth
    return out


def test_correlation_equals_its_slow_twin_in_values_and_gradients() -> None:
    torch.manual_seed(0)
    maps = torch.randn(2, 2, 3, 8, 8, dtype=torch.double)
    channels, places = overlapping_offsets(8)
    results = []
    for fast in (True, False):
        first, second = maps[0].clone().requires_grad_(), maps[1].clone().requires_grad_()
        out = correlation(first, second, places) if fast else slow_correlation(first, second)[:, channels]
        (out * torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)).sum().backward()
        results.append((out.detach(), first.grad, second.grad))
    for fast_one, slow_one in zip(*results, strict=True):
        torch.testing.assert_close(fast_one, slow_one)


def test_the_channels_left_out_are_always_zero() -> None:
    first, second = torch.randn(2, 1, 3, 8, 8)
    channels, _ = overlapping_offsets(8)
    dropped = [d for d in range(PATCH * PATCH) if d not in set(channels.tolist())]
    assert not slow_correlation(first, second)[:, dropped].any()


def test_225_of_441_channels_remain_on_the_map_of_a_128_crop() -> None:
    assert len(overlapping_offsets(16)[0]) == 225


def test_conv3_1_without_dead_channels_equals_the_whole_layer() -> None:
    torch.manual_seed(0)
    head = FlowNetHead(4, 8).eval()
    full = torch.zeros(2, 32 + PATCH * PATCH + 8, 8, 8)
    full[:, head.kept] = torch.randn(2, len(head.kept), 8, 8)
    torch.testing.assert_close(head._join(full[:, head.kept]), head.conv3_1(full), rtol=1e-5, atol=1e-5)


def test_warp_by_hand() -> None:
    image = torch.arange(6.0).expand(1, 1, 4, 6)
    flow = torch.zeros(1, 2, 4, 6)
    flow[:, 0] = 1.5
    # out(x) = image(x + 1.5), and the rim goes on.
    torch.testing.assert_close(warp(image, flow)[0, 0, 0], torch.tensor([1.5, 2.5, 3.5, 4.5, 5.0, 5.0]))


def test_blur_keeps_the_mean_of_a_flat_map_and_the_sum_of_a_point() -> None:
    pairs = FramePairs(64)
    flat, point = torch.full((1, 1, 64, 64), 3.0), torch.zeros(1, 1, 64, 64)
    point[..., 32, 32] = 1
    torch.testing.assert_close(blur(flat, pairs.smooth), flat)
    assert blur(point, pairs.smooth).sum().item() == 1 or abs(blur(point, pairs.smooth).sum().item() - 1) < 1e-5


def texture(shift: tuple[float, float], slow: float = 1) -> torch.Tensor:
    """A smooth picture whose content is moved by `shift` (dx, dy) px; its waves are `slow` times longer."""
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    x, y = (x - shift[0]) / slow, (y - shift[1]) / slow
    return (torch.sin(x / 3.1 + 0.4 * y / 3) + torch.cos(y / 2.7 - 0.3 * x / 3))[None, None]


def test_closed_form_flow_finds_a_tenth_of_a_pixel() -> None:
    lk = LucasKanade(64)
    shift = (0.1, -0.05)
    with torch.no_grad():
        lk.damping.fill_(-20)
        solved, gradients = lk(texture((0, 0)), texture(shift))
    assert solved.shape == (1, 6, 32, 32) and gradients.shape == (1, 3, 64, 64)
    inner = solved[0, :, 4:-4, 4:-4]
    for window in range(2):
        dx, dy = inner[3 * window], inner[3 * window + 1]
        assert abs(dx.median().item() - shift[0]) < 0.003 and abs(dy.median().item() - shift[1]) < 0.003


def test_the_affine_part_by_hand() -> None:
    """dx = 1 + 2 x, dy = 3 - y over x, y from -1 to 1; a patch that moves otherwise does not sway it."""
    y, x = (line.expand(8, 8) for line in (torch.linspace(-1, 1, 8)[:, None], torch.linspace(-1, 1, 8)))
    flow = torch.stack([1 + 2 * x, 3 - y])[None]
    weight = torch.rand(8, 8, generator=torch.Generator().manual_seed(0)) + 0.1
    torch.testing.assert_close(affine_part(flow, weight), flow, atol=1e-4, rtol=0)
    spoiled = flow.clone()
    spoiled[:, :, 5:7, 1:3] += 2
    error = [(affine_part(spoiled, weight, rounds=n) - flow).abs().max().item() for n in (1, 6)]
    assert error[1] < 0.25 * error[0]


def test_the_heads_motion_is_followed_over_pixels() -> None:
    motion = AffineHeadMotion(64)
    for shift in ((0.0, 0.0), (4.0, -3.0), (-7.0, 2.0)):
        found = motion(texture((0, 0), slow=3), texture(shift, slow=3))
        truth = torch.tensor(shift).view(1, 2, 1, 1)
        assert found.shape == (1, 2, 64, 64)
        assert (found - truth)[..., 12:-12, 12:-12].abs().mean() < 0.05 * max(map(abs, shift)) + 0.02


def test_an_untrained_lite_head_says_no_more_than_the_heads_motion() -> None:
    head = LiteFlowHead(8, 64)
    clip = torch.randn(2, 3, 64, 64)
    features = torch.randn(2, 2, 8, 8, 8)
    pairs = FramePairs(64)(clip)
    flow = head(pairs, features, features)
    torch.testing.assert_close(flow, pairs.head.view(2, 2, 2, 64, 64))


def test_the_lite_head_learns_a_shift_of_a_tenth_of_a_pixel() -> None:
    torch.manual_seed(0)
    head, see = LiteFlowHead(4, 64, width=16), FramePairs(64)
    features = torch.zeros(1, 2, 4, 8, 8)
    optimizer = torch.optim.Adam(head.parameters(), 3e-3)
    shifts = [(0.1, 0.0), (0.0, 0.1), (-0.1, 0.1)]
    for step in range(90):
        dx, dy = shifts[step % 3]
        clip = torch.cat([texture((0, 0)), texture((dx, dy)), texture((2 * dx, 2 * dy))], 1)
        truth = torch.tensor([dx, dy]).view(1, 1, 2, 1, 1)
        loss = (head(see(clip), features, features) - truth).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    # A network that answers zero has a loss of 0.05 on two shifts and 0.1 on the third.
    assert loss.item() < 0.02


def test_leaky_relu_is_the_papers() -> None:
    head = FlowNetHead(4, 8)
    assert head.conv1[2].negative_slope == 0.1


@pytest.mark.parametrize("cell", [1, 2, 3, 4, 6, 8])
def test_means_over_squares_are_those_of_pooling(cell: int) -> None:
    maps = torch.randn(2, 3, 24, 48)
    with torch.no_grad():
        torch.testing.assert_close(pooled(maps, cell), nn.functional.avg_pool2d(maps, cell))
    torch.testing.assert_close(pooled(maps, cell), nn.functional.avg_pool2d(maps, cell), rtol=0, atol=0)


def test_the_lite_heads_entry_is_a_convolution_of_folded_maps() -> None:
    torch.manual_seed(0)
    head = LiteFlowHead(4, 64, width=16)
    pairs = FramePairs(64)(torch.randn(1, 3, 64, 64))
    seen = []
    head.fine[0].register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    with torch.no_grad():
        head(pairs, torch.randn(1, 2, 4, 8, 8), torch.randn(1, 2, 4, 8, 8))
        solved, gradients = head.estimate(pairs.first, warp(pairs.second, pairs.head))
        quarter = [
            nn.functional.pixel_unshuffle(solved, 2),
            nn.functional.pixel_unshuffle(torch.cat([gradients, pairs.first], 1), 4),
        ]
        slow = head.entry(torch.cat([*quarter, nn.functional.avg_pool2d(pairs.head, 4)], 1))
    torch.testing.assert_close(seen[0], slow)
