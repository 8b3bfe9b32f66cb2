"""What a file from elsewhere must not do: run code, reach outside of its folder, put markup into a page."""

import ast
import base64
import hashlib
import io
import json
import os
import pickle
import re
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fakes
import openmer
from clipsets import CLASSES, shifting_clip, shifting_store
from footage import face_closeup, noisy, write_video
from openmer import InputError
from openmer.clips.store import ClipStore
from openmer.clips.transforms import EVAL
from openmer.datasets.folder import FolderDataset
from openmer.datasets.registry import open_datasets
from openmer.evaluation.loso import run_loso
from openmer.evaluation.report import write_evaluation
from openmer.evaluation.settings import LosoSettings, Workers
from openmer.files import new_directory, write_atomic
from openmer.models.authors import load_authors_checkpoint
from openmer.models.mol import create_model
from openmer.models.weights import ModelDescription, load_model, save_model
from openmer.training.data import ClipData
from openmer.training.loop import Devices, train
from openmer.training.settings import TrainSettings
from openmer.video.analyze import analyze
from openmer.video.settings import AnalyzeSettings

SOURCES = sorted(Path(openmer.__file__).parent.rglob("*.py"))
MARKUP = "<script>alert('{}')</script>"
UNPICKLING = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "yaml"}


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """Every call with its dotted name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def said(call: ast.Call, keyword: str) -> Any:
    """The constant that a keyword is given, or None."""
    found = [k.value for k in call.keywords if k.arg == keyword]
    return found[0].value if found and isinstance(found[0], ast.Constant) else None


def test_nothing_in_the_package_can_run_what_it_reads() -> None:
    for path in SOURCES:
        tree = ast.parse(path.read_text())
        names = [a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names]
        names += [n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
        assert not UNPICKLING & {name.partition(".")[0] for name in names}, path
        for name, call in calls(tree):
            where = f"{path.name}:{call.lineno} {name}"
            assert name not in ("eval", "exec", "compile", "os.system", "os.popen", "pd.read_pickle"), where
            assert name != "torch.load" or said(call, "weights_only") is True, where
            assert name != "np.load" or "allow_pickle=True" not in ast.unparse(call), where
            assert said(call, "shell") is not True, where
            assert said(call, "autoescape") is not False, where


class Planted:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


@pytest.fixture
def sprung(tmp_path: Path) -> Iterator[Path]:
    """Where the file would be; it can be made, and at the end it was not."""
    path = tmp_path / "sprung"
    pickle.loads(pickle.dumps(Planted(path)))
    path.unlink()
    yield path
    assert not path.exists(), "code in a file was run"


def saved(content: object, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


def test_weights_that_are_a_pickle_do_not_run(tmp_path: Path, sprung: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_model(create_model("mol-lite"), path, ModelDescription(classes=("a", "b", "c"), trained_on="nothing"))
    record = json.loads(path.with_suffix(".json").read_text())
    for bad in (pickle.dumps(Planted(sprung)), saved({"w": Planted(sprung)})):
        path.write_bytes(bad)
        path.with_suffix(".json").write_text(json.dumps(record | {"sha256": hashlib.sha256(bad).hexdigest()}))
        with pytest.raises(InputError, match="does not fit the network"):
            load_model(path)
    for ending in (".pt", ".pth", ".npz", ".pkl"):
        other = path.with_suffix(ending)
        other.write_bytes(bad)
        with pytest.raises(InputError):
            load_model(other)


@pytest.mark.parametrize("new_format", [True, False])
def test_checkpoints_of_others_do_not_run(tmp_path: Path, sprung: Path, new_format: bool) -> None:
    path = tmp_path / "best.pth"
    path.write_bytes(saved({"w": Planted(sprung)}, _use_new_zipfile_serialization=new_format))
    with pytest.raises(InputError, match="which is never run"):
        load_authors_checkpoint(path)


def test_a_checkpoint_to_go_on_from_does_not_run(tmp_path: Path, sprung: Path) -> None:
    store = shifting_store(tmp_path / "store", subjects=2, clips=2)
    data = ClipData(store, store.entries, CLASSES, "motion")
    settings = TrainSettings(model="off-apexnet", steps=2, batch=2, transforms=EVAL)
    train(settings, data, tmp_path / "run", stop_after=1, on=Devices("cpu"))
    (tmp_path / "run" / "checkpoint.pt").write_bytes(saved({"digest": Planted(sprung)}))
    with pytest.raises(InputError, match="never run") as caught:
        train(settings, data, tmp_path / "run", on=Devices("cpu"))
    assert "weights_only" not in str(caught.value), "torch's advice to run it is not passed on"


def test_clips_that_hold_a_pickle_do_not_run(tmp_path: Path, sprung: Path) -> None:
    store = shifting_store(tmp_path / "store", subjects=1, clips=1)
    (path,) = (store.root / "clips").iterdir()
    with np.load(path) as good:
        arrays = {name: good[name] for name in good.files}
    for name in ("frames0", "index"):
        buffer = io.BytesIO()
        np.savez(buffer, **{**arrays, name: np.array([Planted(sprung)], object)})
        path.write_bytes(buffer.getvalue())
        with pytest.raises(InputError, match=path.name):
            again = ClipStore(store.root)
            again.read(again.entries[0])


def test_a_clip_cannot_name_a_file_elsewhere(tmp_path: Path) -> None:
    store = shifting_store(tmp_path / "store", subjects=1, clips=1)
    (path,) = (store.root / "clips").iterdir()
    with np.load(path) as good:
        arrays = {name: good[name] for name in good.files}
    rows = [row | {"key": "../../elsewhere"} for row in json.loads(str(arrays["index"]))]
    np.savez(path, **{**arrays, "index": np.array(json.dumps(rows))})
    with pytest.raises(InputError, match="was renamed"):
        _ = ClipStore(store.root).entries


@pytest.mark.parametrize("source", ["../secret", "/etc/passwd", "link", "link/img1.png", "a/../../secret", "a/../link"])
def test_a_table_reaches_nothing_outside_its_folder(tmp_path: Path, source: str) -> None:
    fakes.pictures(tmp_path / "secret", ["img1.png"])
    root = tmp_path / "data"
    (root / "a").mkdir(parents=True)
    (root / "link").symlink_to(tmp_path / "secret")
    (root / "samples.csv").write_text(f"subject,sample,source,fps\na,x,{source},30\n")
    with pytest.raises(InputError, match="outside of the dataset's folder"):
        FolderDataset(root)


@pytest.mark.parametrize("name", ["../../../secret", "/etc", "EP01_01/../../../../secret", ".."])
def test_a_workbook_reaches_nothing_outside_its_folder(tmp_path: Path, name: str) -> None:
    fakes.pictures(tmp_path / "secret", [f"img{k}.jpg" for k in range(9, 13)])
    good, bad = fakes.casme2_rows()[:2]
    root = fakes.casme2(tmp_path / "data", rows=[good, bad])
    workbook = root / "CASME2-coding-20140508.xlsx"
    fakes.sheet(workbook, "Sheet1", [fakes.clips.CASME2_HEADER, good, (bad[0], name, *bad[2:])])
    (dataset,) = open_datasets("casme2", root)
    assert [s.name for s in dataset] == [good[1]]
    assert all(s.source.resolve().is_relative_to(root.resolve()) for s in dataset)
    assert "missing folder" in {f.kind for f in dataset.findings}


def drawings(page: str) -> Iterator[str]:
    """The drawings inside a page."""
    for data in re.findall(r"data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)", page):
        yield base64.b64decode(data).decode()


def assert_tame(page: str) -> None:
    """No tag that came with a name; in the drawings neither, and no handler either."""
    for text in (page, *drawings(page)):
        assert "<script>alert" not in text and "<img src=x" not in text and "javascript:" not in text


def test_results_are_open_to_nobody_whom_the_umask_shuts_out(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        write_atomic(tmp_path / "clip.npz", b"a face")
        with new_directory(tmp_path / "out", overwrite=False, marker="m", own=("m",)) as folder:
            (folder / "m").touch()
    finally:
        os.umask(before)
    modes = [(tmp_path / name).stat().st_mode & 0o777 for name in ("clip.npz", "out", "out/m")]
    assert modes == [0o600, 0o700, 0o600]


def test_a_report_of_a_video_shows_names_as_text(tmp_path: Path) -> None:
    weights = tmp_path / "<b>w<b>.safetensors"
    classes = (MARKUP.format("class"), "none", "<img src=x onerror=alert(1)>", "d")
    save_model(
        create_model("mol-lite", num_classes=4),
        weights,
        ModelDescription(classes=classes, trained_on=MARKUP.format("data")),
    )
    rng = np.random.default_rng(0)
    frames = [noisy(face_closeup(1.0), rng) for _ in range(24)]
    # A slash cannot stand in a name, so the tag is not closed; a browser would run it all the same.
    video = write_video(tmp_path / "<img src=x onerror=alert(1)>.mp4", frames, Fraction(30))
    analyze(video, tmp_path / "out", AnalyzeSettings(overlay=False, engine=str(weights)))
    page = (tmp_path / "out" / "report.html").read_text()
    assert "&lt;img src=x onerror=alert(1)&gt;.mp4" in page and "&lt;script&gt;" in page
    assert_tame(page)


def test_a_report_of_an_evaluation_shows_names_as_text(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    store = ClipStore.create(tmp_path / "store", {"kind": MARKUP.format("kind")})
    labels = (MARKUP.format("label"), "<img src=x onerror=alert(1)>")
    for k in range(3):
        made = [shifting_clip(rng, c, MARKUP.format(f"subject {k}")) for c in CLASSES]
        clips = [replace(clip, label=label) for clip, label in zip(made, labels, strict=True)]
        store.add(f"{k}", clips, dataset=MARKUP.format("dataset"), samples=[MARKUP.format("a"), MARKUP.format("b")])
    store = ClipStore(store.root)
    data = ClipData(store, store.entries, labels, "motion")
    out = tmp_path / "out"
    run_loso(data, LosoSettings(training=TrainSettings(model="constant")), out, on=Workers(device="cpu"))
    write_evaluation(out)
    page = (out / "report.html").read_text()
    assert "&lt;script&gt;" in page and len(list(drawings(page))) >= 2
    assert_tame(page)
    assert all(path.resolve().is_relative_to(out.resolve()) for path in out.rglob("*")), (
        "names made no folders elsewhere"
    )


def test_a_bomb_in_a_workbook_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    root = fakes.casme2(tmp_path / "data", rows=fakes.casme2_rows()[:1])
    path = root / "CASME2-coding-20140508.xlsx"
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as book, book.open("xl/media/image1.png", "w") as member:
        for _ in range(60):
            member.write(bytes(10_000_000))
    assert path.stat().st_size < 2_000_000
    with pytest.raises(InputError, match="unpacks to 600 MB"):
        open_datasets("casme2", root)
