"""A part of the corpus of `benchmarks/damaged.py`: damage ends with one clear line, and nothing older is lost."""

import struct
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from corpus import networks, results, tables, whole
from corpus.case import Case
from damaged import digests, judged, meet

from openmer import InputError, OutputError
from openmer.media.reader import read_rate
from openmer.media.writer import VideoWriter
from openmer.models.mol import create_model
from openmer.models.weights import ModelDescription, save_model
from openmer.video.analyze import analyze
from openmer.video.settings import AnalyzeSettings

Make = Callable[[Path, np.random.Generator], Iterator[Case]]


def records(root: Path, rng: np.random.Generator) -> Iterator[Case]:
    saved = root / "whole.safetensors"
    save_model(
        create_model("mol-lite", num_classes=3, flow=False),
        saved,
        ModelDescription(classes=("a", "b", "c"), trained_on="nothing"),
    )
    yield from networks.records(root, saved, rng)


def checkpoints(root: Path, rng: np.random.Generator) -> Iterator[Case]:
    yield from networks.checkpoints(root, {"mer.weight": torch.zeros(40, 40)}, rng)


# Of each kind those that once crashed, hung or passed for good, and every so many others.
SAMPLED: dict[str, tuple[Make, int, tuple[str, ...]]] = {
    "timelines": (
        results.timelines,
        30,
        ("deep in a value", "only 9999", "regions.0 is", "probabilities is", "end_s is"),
    ),
    "annotations": (results.annotations, 20, ("TIME_ORIGIN is '9", "entities", "deep elements")),
    "stores": (
        results.stores,
        30,
        ("deep", "index label is 3", "index label is []", "index subject is None", "index key is ../.."),
    ),
    "records": (records, 20, ("sha256 is", "fcc_length is", "num_classes is", "deep")),
    "checkpoints": (checkpoints, 8, ("code", "without end")),
    "samples.csv": (tables.samples_csv, 40, ("'loop'", "'xxx", "1e999999999", "'../outside'", "'link")),
    "workbooks": (tables.workbooks, 25, ("far to the right", "multiply", "huge numbers")),
}


@pytest.mark.parametrize("kind", SAMPLED)
def test_damage_ends_with_a_line_and_loses_nothing(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["openmer"])
    monkeypatch.setenv("COLUMNS", "200")
    make, step, known = SAMPLED[kind]
    root = tmp_path / "corpus"
    if kind in ("records", "checkpoints"):
        root.mkdir()
    cases = list(make(root, np.random.default_rng(2)))  # a seed in whose corpus each of `known` comes
    named = {name: [case for case in cases if name in case.name][:3] for name in known}
    assert all(named.values()), "every kind that was mended is still in the corpus"
    chosen = dict.fromkeys([*(case for found in named.values() for case in found), *cases[::step]])
    for number, case in enumerate(chosen):
        before, said = digests(case.keeps), tmp_path / f"{number}.txt"
        outcome = judged(case, meet(case, said), said.read_text(errors="replace"), before, 0.0)
        assert outcome.end in ("clear", "accepted"), outcome
    assert not list(tmp_path.rglob("planted")), "nothing in a file was run"


@pytest.mark.parametrize(("scale", "rate", "said"), [(1, 2**31 - 1, r"2\.15e\+09"), (2**31 - 1, 1, "4.66e-10")])
def test_a_rate_that_no_camera_has_is_refused(tmp_path: Path, scale: int, rate: int, said: str) -> None:
    path = tmp_path / "v.avi"
    data = whole.video(path, [np.full((48, 64, 3), 90, np.uint8)] * 3, codec="mjpeg", pixels="yuvj420p")
    at = data.index(b"strh") + 28  # scale and rate of the stream
    path.write_bytes(data[:at] + struct.pack("<II", scale, rate) + data[at + 8 :])
    with pytest.raises(InputError, match=f"the video states {said} frames a second"):
        analyze(path, tmp_path / "out", AnalyzeSettings(overlay=False, engine="classical"))


@pytest.mark.parametrize("text", ["1e999999999", "1E-4000", "9" * 5000, "nan", "30/0", "-30", "0", ""])
def test_rates_that_are_none_are_refused_at_once(text: str) -> None:
    with pytest.raises(InputError, match=r"--fps must be"):
        read_rate(text, "--fps")


def test_a_time_that_no_file_can_say_is_an_error_of_the_output(tmp_path: Path) -> None:
    picture = np.zeros((48, 64, 3), np.uint8)
    with (
        pytest.raises(OutputError, match=r"could not be written to v\.mp4"),
        VideoWriter(tmp_path / "v.mp4", 64, 48, Fraction(30)) as writer,
    ):
        for k in range(100):
            writer.write(picture, k * 1e13)
