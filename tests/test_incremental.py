"""One new pair at a time gives what the whole clip gives."""

import pytest
import torch

from openmer import InputError
from openmer.models.incremental import Incremental
from openmer.models.mol import create_model


@pytest.mark.parametrize(("preset", "pairwise"), [("mol-lite", False), ("mol-lite", True), ("mol", False)])
def test_every_window_of_a_stream_is_the_whole_network_on_it(preset: str, pairwise: bool) -> None:
    torch.manual_seed(0)
    model = create_model(preset, frames=4, size=64, pairwise=pairwise).eval()
    frames = torch.nn.functional.avg_pool2d(torch.randn(1, 7, 70, 70), 7, 1) * 5
    stream = Incremental(model)
    assert stream.push(frames[0, 0]) is None
    for k in range(1, 7):
        answer = stream.push(frames[0, k])
        assert answer is not None and answer.flow is not None and answer.landmarks is not None
        if k < 3:
            assert answer.logits is None
            continue
        with torch.inference_mode():
            whole = model(frames[:, k - 3 : k + 1, None])
        torch.testing.assert_close(answer.logits, whole.logits, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(answer.flow[:, 0], whole.flow[:, -1], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(answer.landmarks[:, 0], whole.landmarks[:, -1], atol=1e-3, rtol=1e-4)


def test_after_a_reset_the_window_fills_anew() -> None:
    model = create_model("mol-lite", frames=4, size=64).eval()
    stream = Incremental(model, ("mer",))
    frames = torch.randn(5, 64, 64)
    answers = [stream.push(frame) for frame in frames[:4]]
    assert answers[-1] is not None and answers[-1].logits is not None and answers[-1].flow is None
    stream.reset()
    assert stream.push(frames[4]) is None


def test_what_cannot_be_streamed_is_said() -> None:
    model = create_model("mol-lite", frames=4, size=64, flow=False)
    with pytest.raises(InputError, match="eval mode"):
        Incremental(model)
    with pytest.raises(InputError, match="asked for flow"):
        Incremental(model.eval(), ("flow",))
    with pytest.raises(InputError, match="64 x 64"):
        Incremental(model).push(torch.zeros(32, 32))
