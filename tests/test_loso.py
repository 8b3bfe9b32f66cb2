"""Folds: each subject held out once, finished ones not done again, killed ones taken up, leaks refused."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from clipsets import CLASSES, shifting_clip, shifting_store
from openmer import InputError, OutputError
from openmer.cli import main
from openmer.cli.training import ShortForms
from openmer.clips.store import ClipStore
from openmer.clips.transforms import EVAL
from openmer.datasets.reenacted import prepare_reenacted
from openmer.datasets.settings import ReenactedClips, SimulatedClips
from openmer.datasets.simulated import prepare_simulated
from openmer.evaluation import loso
from openmer.evaluation.loso import run_loso
from openmer.evaluation.metrics import Prediction
from openmer.evaluation.report import write_evaluation
from openmer.evaluation.settings import LosoSettings, Workers
from openmer.evaluation.summary import read_fold, summarise
from openmer.models.mol import create_model
from openmer.models.weights import ModelDescription, save_model
from openmer.training.data import ClipData
from openmer.training.loop import Devices
from openmer.training.settings import RECIPES, LossSettings, TrainSettings
from terminal import run as terminal

QUICK = TrainSettings(model="off-apexnet", steps=6, batch=4, lr=1e-3, warmup=0, checkpoint_every=2, transforms=EVAL)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ClipStore:
    return shifting_store(tmp_path_factory.mktemp("loso") / "store", subjects=3)


@pytest.fixture(scope="module")
def data(store: ClipStore) -> ClipData:
    return ClipData(store, store.entries, CLASSES, "motion")


def run(data: ClipData, settings: LosoSettings, out: Path, **more: object) -> tuple[dict[str, object], list[str]]:
    done: list[str] = []
    metrics = run_loso(data, settings, out, on=Workers(device="cpu", **more), on_fold=done.append)  # type: ignore[arg-type]
    return metrics, done


def test_a_classifier_that_nobody_taught_is_not_judged(data: ClipData, tmp_path: Path) -> None:
    training = TrainSettings(model="mol-lite", steps=1, losses=LossSettings(mer=0.0))
    for untaught in (training, replace(training, init="mol-lite")):  # mol-lite has none of these classes
        with pytest.raises(InputError, match="nothing would learn to recognize"):
            run(data, LosoSettings(training=untaught), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_progress_of_running_folds_is_read_from_their_logs(
    data: ClipData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openmer.evaluation.loso.WATCH_S", 0.01)
    settings, out = LosoSettings(training=replace(QUICK, steps=20, log_every=1)), tmp_path / "out"
    parts: list[float] = []
    run_loso(data, settings, out, on=Workers(device="cpu"), on_part=parts.append)
    assert sum(parts) == pytest.approx(3) and min(parts) >= 0
    assert any(0 < part % 1 < 1 for part in parts), "something is told inside a fold"
    parts.clear()
    run_loso(data, settings, out, on=Workers(device="cpu"), on_part=parts.append)
    assert parts[0] == 3 and sum(parts) == 3, "finished folds count at once"


def test_a_fold_that_was_stopped_before_its_clips_changed_begins_anew(
    data: ClipData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, out = LosoSettings(training=QUICK), tmp_path / "out"
    with monkeypatch.context() as patched:
        patched.setattr("openmer.evaluation.loso.predict", _stop)
        with pytest.raises(KeyboardInterrupt):
            run(data, settings, out)
    assert len(list(out.rglob("checkpoint.pt"))) == 1
    shifting_store(tmp_path / "other", subjects=3, seed=9)
    shutil.copy(data.store.root / "store.json", tmp_path / "other")  # the same settings, other clips
    other = ClipStore(tmp_path / "other")
    changed = ClipData(other, other.entries, CLASSES, "motion")
    metrics, done = run(changed, settings, out)
    assert len(done) == 3 and metrics["videos"] == 12


def _stop(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_what_cannot_be_is_refused_before_the_folder_is_made(data: ClipData, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="choose a smaller --batch"):
        run(data, LosoSettings(training=replace(QUICK, batch=1000)), tmp_path / "out")
    assert not (tmp_path / "out").exists(), "so that the command may be corrected"
    with pytest.raises(InputError, match="left, right, right"):
        ClipData(data.store, data.entries, (*CLASSES, CLASSES[-1]), "motion")
    for name, value in (("clip_norm", -1.0), ("lr", float("nan")), ("weight_decay", -1.0), ("seed", -1)):
        with pytest.raises(InputError, match=name):
            replace(QUICK, **{name: value})
    with pytest.raises(InputError, match="precision must be one of"):
        replace(QUICK, precision="bogus")
    with pytest.raises(InputError, match="a seed must not be negative"):
        LosoSettings(training=QUICK, seeds=(-1,))
    with pytest.raises(InputError, match="the same with every seed"):
        LosoSettings(training=RECIPES["few"], seeds=(0, 1))
    with pytest.raises(InputError, match="workers"):
        Workers(workers=-1)
    with pytest.raises(InputError, match="devices"):
        Devices("cpu", 0)
    with pytest.raises(InputError, match="there must be subjects"):
        SimulatedClips(subjects=0)
    with pytest.raises(InputError, match="the seed must not be negative"):
        ReenactedClips(seed=-1)
    picture = tmp_path / "face.png"
    picture.touch()
    for make in (
        lambda: prepare_simulated(tmp_path / "store", SimulatedClips(subjects=1), processes=-1),
        lambda: prepare_reenacted(tmp_path / "store", (picture,), ReenactedClips(), processes=-1),
    ):
        with pytest.raises(InputError, match="--processes must be at least 1"):
            make()
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("short", "given", "named"),
    [
        ({}, {"lr": 5.0}, "--lr"),
        ({}, {"weight_decay": 9.0}, "--weight-decay"),
        ({"augment": "strong"}, {}, "--augment"),
        ({"heads": ("flow",)}, {}, "--heads"),
    ],
)
def test_options_of_steps_are_refused_where_none_are_done(
    short: dict[str, Any], given: dict[str, Any], named: str
) -> None:
    with pytest.raises(InputError, match=f"and {named} is for learning in steps"):
        ShortForms(recipe="few", **short).applied(given)
    in_steps = ShortForms(recipe="few", **short).applied({**given, "kernel": False, "steps": 300})
    assert in_steps.steps == 300 and not in_steps.kernel


def test_every_video_is_judged_once_a_seed_by_who_never_saw_its_subject(data: ClipData, tmp_path: Path) -> None:
    metrics, done = run(data, LosoSettings(training=QUICK, seeds=(0, 1)), tmp_path / "out", workers=2)
    assert sorted(done) == sorted(2 * ["shifting/s0", "shifting/s1", "shifting/s2"])
    rows = [p for path in (tmp_path / "out").rglob("predictions.json") for p in read_fold(path, 2).predictions]
    assert sorted((p.seed, p.subject, p.sample) for p in rows) == sorted(
        (seed, f"s{s}", f"v{c}") for seed in (0, 1) for s in range(3) for c in range(4)
    )
    assert all(p.fold == f"shifting/{p.subject}" for p in rows)
    assert metrics["videos"] == 12 and metrics["scores"]["accuracy"]["n"] == 2  # type: ignore[index]
    table = (tmp_path / "out" / "predictions.csv").read_text().splitlines()
    assert len(table) == 25 and table[0].endswith("truth,predicted,p_left,p_right")
    assert not list((tmp_path / "out").rglob("checkpoint.pt")), "checkpoints of finished folds are removed"


def test_finished_folds_are_not_done_again(data: ClipData, tmp_path: Path) -> None:
    settings = LosoSettings(training=QUICK)
    first, _ = run(data, settings, tmp_path / "out")
    made = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("predictions.json")}
    gone = next(iter(made))
    gone.write_text("{broken")
    second, done = run(data, settings, tmp_path / "out")
    assert second == first and len(done) == 3
    assert [p for p in made if p.stat().st_mtime_ns != made[p]] == [gone], "only the damaged one was made anew"


def test_the_same_clips_under_another_protocol_are_another_evaluation(data: ClipData, tmp_path: Path) -> None:
    settings = LosoSettings(training=QUICK)
    run_loso(data, settings, tmp_path / "out", protocol={"name": "samm-3"})
    page = (tmp_path / "out" / "metrics.json").read_text()
    with pytest.raises(InputError, match=r"other settings or data; what differs: protocol"):
        run_loso(data, settings, tmp_path / "out", protocol={"name": "casme2-3"})
    assert (tmp_path / "out" / "metrics.json").read_text() == page


def test_another_evaluation_in_the_same_folder_is_refused(data: ClipData, tmp_path: Path) -> None:
    run(data, LosoSettings(training=QUICK), tmp_path / "out")
    with pytest.raises(InputError, match=r"other settings or data; what differs: lr"):
        run(data, LosoSettings(training=replace(QUICK, lr=1e-4)), tmp_path / "out")
    with pytest.raises(InputError, match="what differs: clips, folds"):
        run(data.subset(range(8)), LosoSettings(training=QUICK), tmp_path / "out")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("x")
    with pytest.raises(OutputError, match="left alone"):
        run(data, LosoSettings(training=QUICK), tmp_path / "mine")


def test_the_step_can_be_chosen_on_training_subjects_alone(data: ClipData, tmp_path: Path) -> None:
    training = replace(QUICK, validate_every=2)
    metrics, _ = run(data, LosoSettings(training=training, inner=0.5), tmp_path / "out")
    assert metrics["inner"] == 0.5
    logs = [path.read_text() for path in (tmp_path / "out").rglob("log.csv")]
    assert len(logs) == 3 and all("validation_uf1" in log for log in logs)
    for wrong in ({"validate_every": 0}, {"validate_every": 1 + QUICK.steps}, {"model": "constant"}):
        with pytest.raises(InputError, match="an inner split needs steps at which to compare"):
            LosoSettings(training=replace(training, **wrong), inner=0.5)
    with pytest.raises(InputError, match="give inner too"):
        LosoSettings(training=training)


def test_the_constant_guesser_is_judged_like_any_other(data: ClipData, tmp_path: Path) -> None:
    metrics, done = run(data, LosoSettings(training=replace(QUICK, model="constant", steps=1)), tmp_path / "out")
    assert len(done) == 3 and metrics["scores"]["accuracy"]["mean"] == 0.5  # type: ignore[index]


def test_a_planted_twin_is_refused(tmp_path: Path) -> None:
    """The same frames under two names: whoever copied them, they are never on both sides."""
    store = ClipStore.create(tmp_path / "store", {})
    rng = np.random.default_rng(0)
    clips = [shifting_clip(rng, label, "s0") for label in CLASSES]
    store.add("one", clips, dataset="d", samples=["a", "b"])
    store.add("two", [replace(c, subject="s1") for c in clips], dataset="d", samples=["a", "b"])
    store = ClipStore(tmp_path / "store")
    data = ClipData(store, store.entries, CLASSES, "motion")
    with pytest.raises(InputError, match="same frames are on both sides"):
        run(data, LosoSettings(training=QUICK), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_initial_weights_that_have_seen_who_is_judged_are_refused(data: ClipData, tmp_path: Path) -> None:
    """Held out of the folds, but not of the training before."""
    weights = tmp_path / "seen.safetensors"
    clips = ClipData(data.store, data.entries, CLASSES)
    tuned = LosoSettings(training=replace(QUICK, model="mol-lite", init=str(weights), steps=1, batch=2))
    network = create_model("mol-lite", num_classes=2)
    save_model(
        network, weights, ModelDescription(classes=CLASSES, trained_on="others", people=("shifting/s1", "elsewhere/*"))
    )
    with pytest.raises(InputError, match=r"trained on people who would be judged here \(shifting/s1\)"):
        run(clips, tuned, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    save_model(network, weights, ModelDescription(classes=CLASSES, trained_on="fog", people=("elsewhere/*",)))
    metrics, _ = run(clips, replace(tuned, split="3"), tmp_path / "out")
    assert metrics["initial_weights"] == {"trained_on": "fog", "people_are_recorded": True}
    save_model(
        create_model("mol-lite", num_classes=2),
        weights,
        ModelDescription(classes=CLASSES, trained_on="fog", people=("elsewhere/*",)),
    )
    with pytest.raises(InputError, match="what differs: initial_weights; choose another"):
        run(clips, replace(tuned, split="3"), tmp_path / "out")
    page = write_evaluation(tmp_path / "out").read_text()
    assert "trained on fog; by their names, none of the people judged here were in their training data" in page


def test_the_report_shows_no_network_on_people_whom_it_has_seen(
    data: ClipData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(data, LosoSettings(training=QUICK), tmp_path / "out")
    before = (tmp_path / "out" / "loso.json").read_text()
    network = create_model("mol-lite", num_classes=2)
    for people in (("shifting/*",), None, ("elsewhere/*",)):
        save_model(
            network,
            tmp_path / "w.safetensors",
            ModelDescription(classes=CLASSES, trained_on="others & more", people=people),
        )
        given = ["--weights", str(tmp_path / "w.safetensors"), "--store", str(data.store.root)]
        monkeypatch.setattr(sys, "argv", ["openmer", "report", str(tmp_path / "out"), *given])
        if people == ("shifting/*",):
            with pytest.raises(SystemExit):
                main()
            assert "trained on people who would be judged here" in " ".join(capsys.readouterr().err.split())
            assert not (tmp_path / "out" / "report.html").exists()
            continue
        main()
        page = (tmp_path / "out" / "report.html").read_text()
        assert "w.safetensors, which was trained on others &amp; more" in page
        assert ("its record does not name" in page) == (people is None)
    assert (tmp_path / "out" / "loso.json").read_text() == before


def test_classes_may_be_called_as_tables_call_nothing_and_numbers(data: ClipData, tmp_path: Path) -> None:
    names = {"left": "NA", "right": "01"}
    called = [replace(entry, label=names[str(entry.label)]) for entry in data.entries]
    clips = ClipData(data.store, called, ("NA", "01"), "motion")
    run(clips, LosoSettings(training=TrainSettings(model="constant")), tmp_path / "out")
    page = write_evaluation(tmp_path / "out").read_text()
    assert "<td>NA</td>" in page and "<td>01</td>" in page


def test_beside_the_scores_stands_what_one_answer_for_all_would_get(tmp_path: Path) -> None:
    """Eight videos: 1 none, 4 left, 3 right. Always `left` is right in 4 of 8; expression or none in 7 of 8."""
    rows = [
        Prediction(dataset="d", subject=f"s{k}", sample="v", truth=truth, probabilities=(1.0, 0.0, 0.0))
        for k, truth in enumerate([0, 1, 1, 1, 1, 2, 2, 2])
    ]
    found = summarise(rows, ("none", "left", "right"), (0,))["most_frequent_class"]
    assert found["class"] == "left" and found["scores"]["accuracy"] == 0.5 and found["scores"]["uar"] == 1 / 3
    assert found["scores"]["uf1"] == pytest.approx((2 * 4 / 12) / 3), "F1 of left is 2/3, of the others 0"
    assert found["detection"]["accuracy"] == 7 / 8 and found["detection"]["uf1"] == pytest.approx((14 / 15) / 2)


def test_a_class_that_only_the_held_out_subject_shows_is_refused(data: ClipData, tmp_path: Path) -> None:
    left = [k for k, e in enumerate(data.entries) if e.label == "left" or e.subject == "s0"]
    with pytest.raises(InputError, match="no training subject shows right"):
        run(data.subset(left), LosoSettings(training=QUICK), tmp_path / "out")


def test_a_subject_with_one_clip_is_a_fold_like_any(data: ClipData, tmp_path: Path) -> None:
    few = data.subset([k for k, e in enumerate(data.entries) if e.subject != "s0" or e.sample == "v0"])
    metrics, _ = run(few, LosoSettings(training=QUICK), tmp_path / "out")
    assert metrics["videos"] == 9 and metrics["subjects"] == 3


@pytest.mark.parametrize("wrong", [{"split": "people"}, {"seeds": ()}, {"seeds": (1, 1)}, {"inner": 1.0}])
def test_wrong_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InputError):
        LosoSettings(training=QUICK, **wrong)  # type: ignore[arg-type]


def test_the_report_shows_what_was_measured(data: ClipData, tmp_path: Path) -> None:
    run(data, LosoSettings(training=QUICK), tmp_path / "out")
    clips = ClipData(data.store, data.entries[:2], CLASSES)
    page = write_evaluation(tmp_path / "out", model=create_model("mol-lite", num_classes=2).eval(), data=clips)
    text = page.read_text()
    for said in ("off-apexnet", "leave one subject out, 3 folds", "12 videos of 3 subjects", "EPE", "NME", "UF1"):
        assert said in text
    assert "{{" not in text and "http" not in text.replace("http-equiv", "").replace("www.w3.org", "")
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert f"{metrics['scores']['uf1']['mean']:.3f}" in (tmp_path / "out" / "report.md").read_text()
    with pytest.raises(InputError, match="no finished evaluation"):
        write_evaluation(tmp_path)


def arguments(store: ClipStore, out: Path) -> list[str]:
    plain = ["--model", "off-apexnet", "--steps", "12", "--batch", "4", "--lr", "1e-3", "--checkpoint-every", "1"]
    return ["loso", str(store.root), "--out", str(out), "--device", "cpu", *plain]


def test_a_killed_run_ends_with_the_same_metrics(
    store: ClipStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGKILL within a fold, and after one; then the command again. `benchmarks/kill.py` does it at random moments."""
    assert terminal(monkeypatch, *arguments(store, tmp_path / "whole")) == 0
    again = arguments(store, tmp_path / "killed")
    for written in ("checkpoint.pt", "predictions.json"):
        command = [sys.executable, "-m", "openmer", *again]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
        while process.poll() is None and not list((tmp_path / "killed").rglob(written)):
            time.sleep(0.01)
        assert process.poll() is None, "it is killed before it has ended"
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert terminal(monkeypatch, *again) == 0
    both = [json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("whole", "killed")]
    assert both[0] == both[1]
    tables = [(tmp_path / name / "predictions.csv").read_text() for name in ("whole", "killed")]
    assert tables[0] == tables[1]


def test_ray_gives_the_same_as_processes(data: ClipData, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="Ray is not installed: needs the extra cluster")
    settings = LosoSettings(training=QUICK)
    here, _ = run(data, settings, tmp_path / "here")
    there, done = run(data, settings, tmp_path / "there", executor="ray", workers=2)
    assert len(done) == 3 and here == there


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "nowhere", "--out", "x"], "there is no store at nowhere"),
        (["loso", "STORE", "--out", "x", "--classes", "up", "down"], "no clip in STORE is labelled down, up"),
        (["loso", "STORE", "--out", "x", "--classes", "left"], "at least two classes"),
        (["loso", "STORE", "--out", "x", "--split", "9"], "3 subjects cannot be dealt into 9 folds"),
        (["train", "STORE", "--out", "x", "--model", "resnet"], "there is no model 'resnet'"),
        (["train", "STORE", "--out", "x", "--model", "ststnet", "--without", "fcc"], "are for MOL"),
        (["train", "STORE", "--out", "x", "--init", "nothing"], "no weights are called 'nothing'"),
        (["train", "STORE", "--out", "x", "--freeze", "backbone"], "add --init"),
        (["train", "STORE", "--out", "x", "--model", "ststnet", "--heads", "flow"], "has no other head than mer"),
        (["loso", "STORE", "--out", "x", "--address", "auto"], "add --executor ray"),
        (["prepare", "folder", "STORE", "--out", "x", "--frames", "cropped"], "are for licensed datasets"),
        (["prepare", "casme2", "STORE", "--out", "x", "--label", "emotion"], "--label is for a folder"),
        (["export", "mol-lite", "--to", "onnx", "--out", "x.onnx", "--video", "v.mp4"], "--video is for --to elan"),
        (["report", "STORE"], "no finished evaluation"),
        (["report", "STORE", "--weights", "w"], "belong together"),
    ],
)
def test_bad_input_ends_with_a_clear_line(
    store: ClipStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["openmer", *(str(store.root) if a == "STORE" else a for a in arguments)])
    with pytest.raises(SystemExit) as end:
        main()
    error = " ".join(capsys.readouterr().err.replace(str(store.root), "STORE").split())
    assert end.value.code == 1 and said in error and "Traceback" not in error
    assert not list(tmp_path.iterdir())


def test_the_inner_split_leaves_every_class_to_learn_from(data: ClipData, tmp_path: Path) -> None:
    """Of three people one shows all that goes right; held out by the inner split, nothing of it could be learned."""
    label = {"s0": "left", "s1": "left", "s2": "right", "s3": "right"}
    store = shifting_store(tmp_path / "store", subjects=4, clips=2)
    entries = [replace(e, label=label[e.subject]) for e in store.entries]
    uneven = ClipData(store, entries, CLASSES, "motion")
    training = replace(QUICK, steps=2, validate_every=1)
    for seed in range(6):
        settings = LosoSettings(training=training, inner=0.3, seeds=(seed,))
        task = loso._task(uneven, settings, settings.folds(uneven)[0], replace(training, seed=seed), tmp_path, None)
        learn, inner = loso._inner_split(uneven, np.array(task.train), task)
        assert {uneven.entries[k].label for k in learn} == {"left", "right"} and len(inner) == 2
    with pytest.raises(InputError, match="would leave a class without anyone"):
        loso._inner_split(uneven, np.array(task.train), replace(task, inner=0.6))


def test_no_two_trainings_share_a_gpu_while_another_idles(monkeypatch: pytest.MonkeyPatch) -> None:
    at_work: Counter[str] = Counter()
    most: Counter[str] = Counter()
    lock = threading.Lock()

    def trained(task: SimpleNamespace) -> str:
        with lock:
            at_work[task.device] += 1
            most[task.device] = max(most[task.device], at_work[task.device])
        time.sleep(0.3 if task.fold == "1" else 0.02)
        with lock:
            at_work[task.device] -= 1
        return str(task.fold)

    monkeypatch.setattr(loso, "_run_task", trained)
    monkeypatch.setattr(loso, "_gpus", lambda device: 2)
    monkeypatch.setattr(loso, "worker_pool", ThreadPoolExecutor)
    monkeypatch.setattr(loso, "replace", lambda task, **changes: SimpleNamespace(**vars(task) | changes))
    tasks = [SimpleNamespace(fold=str(k)) for k in range(8)]
    done = list(loso._with_processes(tasks, Workers(device="cuda")))  # type: ignore[arg-type]
    assert sorted(done) == [t.fold for t in tasks] and most == {"cuda:0": 1, "cuda:1": 1}


def test_a_result_says_whose_code_made_each_fold(data: ClipData, tmp_path: Path) -> None:
    settings = LosoSettings(training=QUICK)
    run(data, settings, tmp_path / "out")
    made = sorted((tmp_path / "out").rglob("predictions.json"))
    for path, name in zip(made, ("aaaaaaa", "bbbbbbb", "bbbbbbb"), strict=True):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"commit": name}))
    metrics, done = run(data, settings, tmp_path / "out")
    assert [str(said).rpartition(" ")[2] for said in metrics["made_by"]] == ["aaaaaaa", "bbbbbbb"] and len(done) == 3  # type: ignore[attr-defined]
    write_evaluation(tmp_path / "out")
    assert "not all folds were trained by the same code" in (tmp_path / "out" / "report.html").read_text()
