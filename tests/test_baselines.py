import pytest
import torch

from openmer import InputError
from openmer.models.baselines import ConstantGuesser, OffApexNet, STSTNet


def test_sizes_are_the_papers() -> None:
    # STSTNet: 16 filters of 3x3x3 with bias and normalisation, then 400 features to 3 classes.
    assert sum(p.numel() for p in STSTNet().parameters()) == 16 * 28 + 2 * 16 + 400 * 3 + 3
    # Off-ApexNet: twice (6 filters of 5x5, 16 of 5x5x6), then 1568 -> 1024 -> 1024 -> 3.
    streams = 2 * (6 * 26 + 16 * 151)
    assert sum(p.numel() for p in OffApexNet().parameters()) == streams + 1569 * 1024 + 1025 * 1024 + 1025 * 3


@pytest.mark.parametrize(("model", "channels"), [(STSTNet(5), 3), (OffApexNet(5), 2)])
def test_they_answer_with_logits_alone_and_can_learn(model: torch.nn.Module, channels: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(8, channels, 28, 28)
    labels = (x[:, 0].mean((1, 2)) > 0).long()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    for _ in range(60):
        model.train()
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x).logits, labels).backward()
        optimizer.step()
    out = model.eval()(x)
    assert out.flow is None and out.landmarks is None and out.logits.shape == (8, 5)
    assert (out.logits.argmax(1) == labels).all()
    with pytest.raises(InputError, match="28, 28"):
        model(torch.randn(2, channels, 32, 32))


def test_the_constant_guesser_by_hand() -> None:
    guesser = ConstantGuesser(3).fit(torch.tensor([0, 0, 0, 1]))
    # (3 + 1, 1 + 1, 0 + 1) of 7.
    torch.testing.assert_close(guesser(torch.zeros(2, 9)).logits.exp()[1], torch.tensor([4 / 7, 2 / 7, 1 / 7]))
