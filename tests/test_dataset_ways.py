"""The whole way on small rendered faces: data check, prepare, loso, report, for each dataset of MEGC 2019."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import fakes
from openmer.clips.store import ClipStore
from openmer.datasets.folder import FolderDataset
from openmer.datasets.prepare import read_frames, sample_clips
from openmer.datasets.protocols import THREE
from openmer.datasets.settings import PrepareSettings
from openmer.evaluation.metrics import Prediction
from openmer.evaluation.report import markdown
from openmer.evaluation.summary import summarise
from terminal import run

FRAMES = 10  # of a recording; a clip takes 8
TINY = ("--model", "off-apexnet", "--steps", "2", "--batch", "4", "--device", "cpu", "--incomplete")


def way(monkeypatch: pytest.MonkeyPatch, name: str, root: Path, protocol: str, out: Path) -> dict[str, Any]:
    """What a user types for one dataset; the metrics."""
    assert run(monkeypatch, "data", "check", name, root, "--protocol", protocol) == 1, "a few recordings are not all"
    store, result = out / "store", out / "result"
    assert run(monkeypatch, "prepare", name, root, "--out", store, "--flow", "dis", "--processes", "1") == 0
    assert run(monkeypatch, "loso", store, "--protocol", protocol, *TINY, "--out", result) == 0
    (result / "report.html").unlink()
    assert run(monkeypatch, "report", result) == 0
    assert "not comparable with published results" in (result / "report.html").read_text()
    metrics: dict[str, Any] = json.loads((result / "metrics.json").read_text())
    return metrics


def faces(folders: Sequence[Path], first: int) -> None:
    """Three recordings a person; nobody is in two datasets."""
    for k, folder in enumerate(folders):
        fakes.render(folder, first + k // 3, k % 3)


def samm(root: Path, people: Sequence[str] = ("006", "007")) -> Path:
    rows = [
        (person, f"{person}_1_{k}", 1, 95, 99, 94 + FRAMES, None, "Micro - 1/2", "4", emotion, 1, None)
        for person in people
        for k, emotion in enumerate(("Contempt", "Happiness", "Surprise"))
    ]
    fakes.samm(root, rows=rows, numbers=range(95, 95 + FRAMES))
    faces([root / "SAMM" / r[0] / r[1] for r in rows], 10)
    return root


def smic(root: Path, people: Sequence[str] = ("s1", "s20"), frames: str = "raw") -> Path:
    of = [(person, k + 1, label) for person in people for k, label in enumerate(THREE)]
    fakes.smic(root, of=of, length=FRAMES, frames=frames)
    folders = [p for p in root.rglob("s*_*_*") if p.parent.name in THREE]
    faces(sorted(folders, key=lambda p: (p.name.split("_")[0], p.name.split("_")[2])), 20)
    return root


def casme2(root: Path, people: Sequence[int] = (1, 2)) -> Path:
    emotions = ("repression", "happiness", "surprise")
    rows = [(p, f"EP0{k}_01", None, 9, 12, 20, None, 4, e) for p in people for k, e in enumerate(emotions)]
    fakes.casme2(root, rows=rows)
    faces([root / "CASME2_RAW_selected" / f"sub{r[0]:02d}" / r[1] for r in rows], 30)
    return root


def test_casme2_from_an_unpacked_dataset_to_a_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = ("disgust", "happiness", "surprise")
    rows = [
        (subject, f"EP0{k + 1}_01", None, 9, 12, 20, None, "4", label)
        for subject in (1, 2, 3)
        for k, label in enumerate(labels)
    ]
    root = fakes.casme2(tmp_path / "CASME2", rows=rows)
    for k, folder in enumerate(sorted((root / "CASME2_RAW_selected").glob("sub*/EP*"))):
        fakes.render(folder, k // 3, k % 3)
    broken = root / "CASME2_RAW_selected" / "sub03" / "EP03_01"
    for path in broken.iterdir():
        path.write_bytes(b"cut off")
    store = tmp_path / "store"
    assert run(monkeypatch, "prepare", "casme2", root, "--out", store, "--flow", "dis", "--processes", "1") == 0
    printed = " ".join(capsys.readouterr().err.split())
    assert "8 recordings" in printed and "left out 03/EP03_01" in printed
    loso = ("loso", store, "--protocol", "casme2-3", "--model", "off-apexnet", "--steps", "2", "--batch", "4")
    assert run(monkeypatch, *loso, "--out", tmp_path / "result") == 1
    assert "8 recordings, expected 145" in " ".join(capsys.readouterr().err.split())
    assert run(monkeypatch, *loso, "--incomplete", "--out", tmp_path / "result") == 0
    assert "not comparable: the store does not hold what casme2-3 needs" in " ".join(capsys.readouterr().err.split())
    metrics = json.loads((tmp_path / "result" / "metrics.json").read_text())
    assert metrics["classes"] == ["negative", "positive", "surprise"] and metrics["videos"] == 8
    assert metrics["protocol"]["differences"][0] == "8 recordings, expected 145"
    assert "not comparable with published results" in (tmp_path / "result" / "report.html").read_text()


def test_samm_from_an_unpacked_dataset_to_a_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = way(monkeypatch, "samm", samm(tmp_path / "SAMM"), "samm-3", tmp_path)
    assert metrics["videos"] == 6 and metrics["subjects"] == 2 and metrics["folds"] == 2
    assert metrics["classes"] == ["negative", "positive", "surprise"]
    assert [row["videos"] for row in metrics["per_class"]] == [2, 2, 2]
    assert metrics["protocol"]["differences"][0] == "6 recordings, expected 133"
    rows = (tmp_path / "result" / "predictions.csv").read_text().splitlines()[1:]
    assert sorted(r.split(",")[:3] for r in rows) == [
        ["samm", person, f"{person}_1_{k}"] for person in ("006", "007") for k in range(3)
    ]


def test_smic_from_cropped_faces_to_a_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = way(monkeypatch, "smic-hs", smic(tmp_path / "SMIC", frames="cropped"), "smic-hs-3", tmp_path)
    assert metrics["videos"] == 6 and metrics["subjects"] == 2 and metrics["folds"] == 2
    assert metrics["protocol"]["differences"][0] == "6 recordings, expected 164"
    store = json.loads((tmp_path / "result" / "loso.json").read_text())["store"]
    assert store["datasets"] == ["smic-hs"] and store["flow"] == "dis"


def test_the_composite_from_three_datasets_to_one_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "all"
    smic(root / "SMIC", ("s1",))
    casme2(root / "CASME2", (1,))
    samm(root / "SAMM_release", ("006",))
    metrics = way(monkeypatch, "composite", root, "composite", tmp_path)
    assert metrics["videos"] == 9 and metrics["subjects"] == 3 and metrics["folds"] == 3
    assert {name: part["videos"] for name, part in metrics["datasets"].items()} == {
        "casme2": 3,
        "samm": 3,
        "smic-hs": 3,
    }
    for scores in (metrics["scores"], *metrics["datasets"].values()):
        assert 0 <= scores["uf1"]["mean"] <= 1 and 0 <= scores["uar"]["mean"] <= 1
    page = (tmp_path / "result" / "report.html").read_text()
    assert all(f"<td>{name}</td><td>{n}</td>" in page for name, n in (("Full", 9), ("casme2", 3), ("smic-hs", 3)))


def predictions(dataset: str, *pairs: tuple[int, int]) -> list[Prediction]:
    """Of (true, predicted) class."""
    sure = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    return [
        Prediction(dataset=dataset, subject=f"p{k}", sample="v", truth=truth, probabilities=sure[answer])
        for k, (truth, answer) in enumerate(pairs)
    ]


def test_scores_of_the_whole_and_of_each_dataset_come_from_pooled_counts() -> None:
    """By hand, F1 of negative, positive, surprise.

    SMIC 1, 2/3, 0; CASME II 4/5, 0, 1; SAMM 2/3, 1, 2/3; Full 4/5, 2/3, 2/3, its recalls the same.
    """
    judged = [
        *predictions("smic-hs", (0, 0), (1, 1), (2, 1)),
        *predictions("casme2", (0, 0), (0, 0), (1, 0), (2, 2)),
        *predictions("samm", (0, 0), (0, 2), (1, 1), (2, 2)),
    ]
    metrics = summarise(judged, THREE, [0])
    assert metrics["subjects"] == 11, "p0 of one dataset is not p0 of another"
    by_name = {"Full": metrics["scores"], **metrics["datasets"]}
    uf1 = {name: scores["uf1"]["mean"] for name, scores in by_name.items()}
    uar = {name: scores["uar"]["mean"] for name, scores in by_name.items()}
    assert uf1 == pytest.approx({"Full": 32 / 45, "smic-hs": 5 / 9, "casme2": 3 / 5, "samm": 7 / 9})
    assert uar == pytest.approx({"Full": 32 / 45, "smic-hs": 2 / 3, "casme2": 2 / 3, "samm": 5 / 6})
    table = markdown("title", {**metrics, "split": "subject", "folds": 11, "inner": 0}, {}).splitlines()
    assert "| Full | 11 | 0.727 | 0.711 | 0.711 |" in table and "| samm | 4 | 0.750 | 0.778 | 0.833 |" in table


def test_what_analyze_prints_can_be_typed_into_samples_csv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures img46 to img69, one of them missing: the numbers of frames.csv mean the same pictures in samples.csv."""
    root = tmp_path / "mine"
    fakes.pictures(root / "film", [f"img{k}.png" for k in range(46, 70) if k != 50])
    fakes.render(root / "film", 0, 0)
    analyzed = ("analyze", root / "film", "--fps", "100", "--out", tmp_path / "result", "--engine", "classical")
    assert run(monkeypatch, *analyzed, "--no-overlay") == 0
    with (tmp_path / "result" / "frames.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["frame"], row["picture"]) for row in rows[:5]] == [
        (str(k), f"img{k}.png") for k in (46, 47, 48, 49, 51)
    ]
    first, last = rows[3], rows[13]
    typed = (
        ("subject", "sample", "source", "fps", "onset", "offset"),
        ("1", "x", "film", "100", first["frame"], last["frame"]),
    )
    (root / "samples.csv").write_text("\n".join(map(",".join, typed)))
    (sample,) = FolderDataset(root)
    read = read_frames(sample)
    pictures = [cv2.imread(str(root / "film" / row["picture"]), cv2.IMREAD_GRAYSCALE) for row in rows[3:14]]
    assert len(read.images) == 11 and read.numbers.tolist() == [int(row["frame"]) for row in rows[3:14]]
    for image, picture in zip(read.images.values(), pictures, strict=True):
        assert picture is not None and np.abs(image.astype(int) - picture).max() <= 1  # gray from color, rounded
    steps = np.diff([float(row["time_s"]) for row in rows[3:14]])
    np.testing.assert_allclose(np.diff(read.times_s), steps, atol=1e-6)
    (clip,) = sample_clips(sample, PrepareSettings(flow="dis", sampling="uniform"))
    assert clip.times_s[0] == pytest.approx(0.03) and clip.times_s[-1] == pytest.approx(0.14)


def test_macro_expressions_do_not_become_clips(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    micro = (1, "disgust1_1", 995, 999, 1004, "4", "negative", "micro-expression", "disgust")
    macro = (1, "disgust1_2", 996, 1000, 1006, "4", "negative", "macro-expression", "disgust")
    root = fakes.casme_sq(tmp_path / "CASME_SQ", rows=[micro, macro])
    fakes.render(root / "rawpic" / "s15" / "15_0101disgustteeth", 0, 0)
    store = tmp_path / "store"
    assert run(monkeypatch, "prepare", "casme-sq", root, "--out", store, "--flow", "dis", "--processes", "1") == 0
    assert "macro-expressions skipped: 1" in capsys.readouterr().err
    assert [(e.subject, e.sample, e.label) for e in ClipStore(store)] == [("s15", "disgust1_1", "negative")]
