"""Emotion in spoken clips: F5C beside plain convolutions with as many weights. An example, not a product.

    python examples/07_f5c_on_speech.py FOLDER

FOLDER holds .wav files named as in RAVDESS: of 03-01-06-01-02-01-12.wav the third number is the emotion, the last the
actor. A quarter of the actors, another with each seed, is left out of the training. Prints accuracies on them.
"""

from pathlib import Path

import av
import torch
import tyro
from torch import Tensor, nn

from openmer.models.f5c import CCC, F5C, FCC

RATE, SECONDS, BANDS, C, S = 16_000, 4, 64, 32, 16  # F5C gets C channels of S bands and S moments


def mel_filters(bands: int, bins: int) -> Tensor:
    """(bands, bins) triangles, evenly spaced and as wide in mel, that is log(1 + Hz / 700), up to half the rate."""
    mel = (1 + torch.linspace(0, RATE / 2, bins) / 700).log()
    centers = torch.linspace(0, float(mel[-1]), bands + 2)[1:-1, None]
    return (1 - (mel - centers).abs() / centers[0]).clamp(min=0)


def log_mel(path: Path) -> Tensor:
    """(1, BANDS, BANDS) of mean 0 and deviation 1: the first SECONDS, then silence if the clip is shorter."""
    to_mono = av.AudioResampler("flt", "mono", RATE)
    with av.open(path) as file:
        parts = [p.to_ndarray()[0] for f in (*file.decode(audio=0), None) for p in to_mono.resample(f)]
    sound = torch.cat([*map(torch.from_numpy, parts), torch.zeros(SECONDS * RATE)])[: SECONDS * RATE]
    spectra = torch.stft(sound, 1024, len(sound) // BANDS, window=torch.hann_window(1024), return_complex=True)
    mel = (mel_filters(BANDS, 513) @ spectra[:, :BANDS].abs() ** 2 + 1e-6).log()
    return nn.functional.layer_norm(mel, mel.shape)[None]


def main(folder: Path, /, steps: int = 200, seed: int = 0) -> dict[str, float]:
    paths = sorted(folder.rglob("*-*-*-*-*-*-*.wav"))
    assert paths, f"there are no .wav files named as in RAVDESS in {folder}"
    x, numbers = torch.stack([log_mel(p) for p in paths]), torch.tensor([[*map(int, p.stem.split("-"))] for p in paths])
    y, held = numbers[:, 2] - 1, numbers[:, 6] % 4 == seed % 4
    torch.manual_seed(seed)
    wide = nn.Sequential(nn.Conv2d(C, 233, 3, padding=1), nn.ReLU(), nn.Conv2d(233, C, 3, padding=1))
    found = {"guessing": float(y[held].bincount().max() / held.sum())}
    for name, block in {"f5c": F5C(FCC(C, S), CCC(C, S**2)), "convolutions": wide}.items():
        net = nn.Sequential(nn.Conv2d(1, C, 7, 4, 3), block, nn.AvgPool2d((1, S)), nn.Flatten(), nn.Linear(C * S, 8))
        adam = torch.optim.AdamW(net.parameters(), 1e-3)
        for some in (~held).nonzero()[:, 0][torch.randint(int((~held).sum()), (steps, 32))]:
            adam.zero_grad()
            nn.functional.cross_entropy(net(x[some]), y[some]).backward()
            adam.step()
        found[name] = float((net.eval()(x[held]).argmax(1) == y[held]).float().mean())
    return found


if __name__ == "__main__":
    print(tyro.cli(main, description=__doc__))
