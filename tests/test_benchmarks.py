"""What the benchmarks count, by hand: figures that are quoted rest on it."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any

import ablation
import kill
import means
import pytest
import tyro
from all import BENCHMARKS, PARTS, Book, _command, run
from scoring import uf1_of_three
from spotting import judge

from openmer import version
from openmer.errors import InputError
from openmer.evaluation.metrics import Prediction
from openmer.timeline import Interval, Timeline
from openmer.training.settings import TrainSettings


def interval(onset_s: float, label: str, **opinion: float) -> Interval:
    return Interval(
        onset_s=onset_s,
        offset_s=onset_s + 0.4,
        label=label,
        peak_px=0.7,
        probabilities={"none": 0.0, "negative": 0.0, "positive": 0.0, "surprise": 0.0} | opinion if opinion else None,
    )


def timeline(*intervals: Interval) -> Timeline:
    return Timeline(intervals=intervals, start_s=0.0, end_s=60.0)


def test_the_judge_of_spotting_by_hand() -> None:
    """Three of four are found, one of them named wrongly; one false alarm is a syllable, one is nothing."""
    truth = timeline(
        interval(2, "micro"), interval(4, "micro"), interval(6, "micro"), interval(8, "micro"), interval(12, "speech")
    )
    found = timeline(
        interval(2, "candidate", positive=0.6),
        interval(4, "candidate", none=0.6, surprise=0.4),
        interval(6, "candidate", positive=0.9),
        interval(12.1, "candidate", none=1.0),
        interval(20, "candidate"),
    )
    figures = judge([(found, truth)], [{2: "positive", 4: "surprise", 6: "negative", 8: "negative"}])
    assert figures["recall"] == 3 / 4 and figures["precision"] == 3 / 5 and figures["f1"] == 0.667
    assert figures["false_alarms_per_minute"] == 2 and figures["false_alarms_were"] == {"speech": 1, "nothing": 1}
    # Macro precision (0 + 1/2 + 1) / 3, macro recall (0 + 1 + 1) / 3; their harmonic mean 4/7; 2/3 * 4/7 = 0.381.
    assert figures["hits_named"] == [2, 3] and figures["strs"] == 0.381
    assert figures["recall_by_peak"] == {"0.5 to 1.0 px": [0.75, 4]}


def test_classes_of_another_video_are_not_taken_for_this_ones() -> None:
    pair = timeline(interval(2, "candidate", positive=1.0)), timeline(interval(2, "micro"))
    with pytest.raises(KeyError):
        judge([pair], [{3: "positive"}])


def test_the_table_of_the_ablation_says_what_was_not_measured() -> None:
    assert ablation._cell(None, 2) == "-"
    assert ablation._cell({"mean": 0.0458, "sd": None, "n": 1}, 2, times=100) == "4.58"
    assert ablation._cell({"mean": 0.5, "sd": 0.25, "n": 2}, 3) == "0.500 ± 0.250"


def test_an_unknown_variant_is_said_before_anything_is_rendered(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"no variant without FFC; choose from whole, without FCC"):
        ablation.main(tmp_path / "out", variants=("without FFC",))
    assert not (tmp_path / "out").exists()


def test_scores_of_another_ablation_are_not_taken_for_these(tmp_path: Path) -> None:
    settings = TrainSettings(steps=10)
    kept = {"settings": settings.to_json(), "scores": {"accuracy": 0.5}}
    (tmp_path / "scores.json").write_text(json.dumps(kept))
    assert ablation._judged(settings, [], tmp_path, "cpu") == {"accuracy": 0.5}
    with pytest.raises(InputError, match="a training with other settings"):
        ablation._judged(replace(settings, steps=20), [], tmp_path, "cpu")


@pytest.mark.parametrize("trial", [False, True])
@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark_takes_the_arguments_that_it_is_given(name: str, trial: bool, tmp_path: Path) -> None:
    if name == "review_scroll":
        pytest.importorskip("playwright", reason="only benchmarks and the page's tests need it")
    given = _command(BENCHMARKS[name], tmp_path / "runs", tmp_path / "results", trial)
    if given[0] == "-m":
        from openmer.cli.networks import bench

        main, arguments = bench, given[3:]
    else:
        main, arguments = importlib.import_module(Path(given[0]).stem).main, given[1:]

    @wraps(main)
    def only_read(*read: Any, **named: Any) -> None:
        pass

    tyro.cli(only_read, args=arguments)


@pytest.mark.parametrize(
    ("rate", "mean_s", "where", "frames"),
    [
        (100.0, 0.0, "around", [20]),
        (100.0, 0.05, "around", [18, 19, 20, 21, 22]),
        (100.0, 0.05, "before", [16, 17, 18, 19, 20]),
        (50.0, 0.05, "before", [18, 19, 20]),
        (200.0, 0.13, "around", list(range(7, 33))),
    ],
)
def test_the_frames_of_a_mean_by_hand(rate: float, mean_s: float, where: str, frames: list[int]) -> None:
    assert list(means.frames_of_mean(20, 100, rate, mean_s, where)) == frames


def test_a_mean_at_the_end_of_a_recording_has_fewer_frames() -> None:
    assert list(means.frames_of_mean(0, 30, 100, 0.05, "around")) == [0, 1, 2]
    assert list(means.frames_of_mean(29, 30, 100, 0.05, "around")) == [27, 28, 29, 30]


def test_the_score_of_three_classes_leaves_out_clips_without_an_expression_and_that_answer() -> None:
    """Of none, a, b: an a is right where the network prefers none; a b is called a; the third shows nothing."""
    rows = [(1, (0.8, 0.15, 0.05)), (2, (0.1, 0.6, 0.3)), (0, (0.0, 0.5, 0.5))]
    answers = [Prediction(dataset="", subject="", sample="", truth=t, probabilities=shares) for t, shares in rows]
    # F1 of a: 2 / (2 + 1); of b: 0.
    assert uf1_of_three(answers, none=0) == pytest.approx(1 / 3)


def test_a_result_that_is_replaced_changes_nothing_of_what_is_measured(tmp_path: Path) -> None:
    """In a checkout of two files: the module that says the commit, and a result."""
    git = shutil.which("git") or pytest.skip("needs git")
    module, result = tmp_path / "src/openmer/version.py", tmp_path / "benchmarks/results/models.json"
    for path in (module, result):
        path.parent.mkdir(parents=True)
    shutil.copy(version.__file__, module)
    result.write_text("{}")
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    for words in (("init", "-q"), ("add", "."), (*who, "commit", "-q", "-m", "both")):
        subprocess.run([git, *words], cwd=tmp_path, check=True)
    spec = importlib.util.spec_from_file_location("elsewhere", module)
    assert spec is not None and spec.loader is not None
    elsewhere = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(elsewhere)
    clean = elsewhere.commit()
    assert re.fullmatch("[0-9a-f]{7,}", clean)
    result.write_text("[]")
    assert elsewhere.commit() == clean
    module.write_text(module.read_text() + "# changed\n")
    assert elsewhere.commit() == f"{clean}+changes"


def test_every_benchmark_has_one_part() -> None:
    assert sum(len(part) for part in PARTS.values()) == len(BENCHMARKS)


def test_a_script_whose_time_is_over_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    """The script and a process of its own would write for ever; nothing is written after both have been ended."""
    written = tmp_path / "written"
    writes = f"import time\nwhile True: open({str(written)!r}, 'a').write('x'); time.sleep(.01)"
    starts = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {writes!r}]); time.sleep(99)"
    assert run([sys.executable, "-c", starts], tmp_path, 1.5) == "stopped"
    size = written.stat().st_size if written.exists() else 0
    time.sleep(0.2)
    assert (written.stat().st_size if written.exists() else 0) == size


def test_a_script_that_ends_says_how(tmp_path: Path) -> None:
    assert run([sys.executable, "-c", "raise SystemExit(0)"], tmp_path, None) == "done"
    assert run([sys.executable, "-c", "raise SystemExit(3)"], tmp_path, None) == "failed (3)"


def test_what_is_done_is_known_again_until_the_code_changes(tmp_path: Path) -> None:
    book = Book(tmp_path / "runs/book.json", "abc1234")
    book.write("units", 90.0, "done")
    book.write("held_out", 6600.0, "stopped")
    again = Book(book.path, "abc1234")
    assert again.has("units") and not again.has("held_out") and not again.has("analyze")
    assert again.done["held_out"].minutes == 110.0
    assert not Book(book.path, "def5678").has("units")


def test_a_run_of_loso_goes_on_when_a_fold_writes(tmp_path: Path) -> None:
    assert kill._written(tmp_path) == set()
    checkpoint = tmp_path / "folds/seed0/a/run/checkpoint.pt"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_bytes(b"1")
    first = kill._written(tmp_path)
    os.utime(checkpoint, ns=(1, 1))
    assert len(first) == 1 and kill._written(tmp_path) not in (set(), first)
