"""Damaged results: timelines, annotations, stores, runs and evaluations, through the commands that read them."""

import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clipsets import shifting_store
from corpus import damage, whole
from corpus.case import Case
from openmer.exchange.elan import to_elan

GUESSER = ("--model", "constant", "--device", "cpu")
# All of a clip is read by this one.
WHOLE_CLIP = ("--model", "mol-lite", "--steps", "2", "--batch", "6", "--checkpoint-every", "2")
SMALL = ("--model", "off-apexnet", "--steps", "2", "--batch", "2", "--checkpoint-every", "1")


def cases(root: Path, rng: np.random.Generator) -> Iterator[Case]:
    """What openmer itself wrote, or ELAN, and was then damaged."""
    yield from timelines(root / "timelines", rng)
    yield from annotations(root / "truth", rng)
    yield from stores(root / "stores", rng)
    yield from _runs(root / "runs", rng)
    yield from _evaluations(root / "evaluations", rng)


def timelines(root: Path, rng: np.random.Generator) -> Iterator[Case]:
    """Timelines, through `openmer score` and `export`."""
    good = whole.result(root / "whole")
    content = json.loads((good / "timeline.json").read_text())
    commands = {
        "score": ("score", "{}", "--truth", str(good / "timeline.json"), "--tier", "candidate"),
        "elan": ("export", "{}", "--to", "elan", "--out", "{}.eaf"),
        "boris": ("export", "{}", "--to", "boris", "--out", "{}.xlsx"),
        "csv": ("export", "{}", "--to", "csv", "--out", "{}.csv"),
    }
    for number, (name, bad) in enumerate(damage.of_json(content, rng, leaves=110)):
        path = root / str(number) / "timeline.json"
        path.parent.mkdir()
        path.write_bytes(bad)
        kind = list(commands)[number % len(commands)]
        command = tuple(part.replace("{}", str(path)) for part in commands[kind])
        yield Case(f"results/timeline {name}, {kind}", command, (path,))


def annotations(root: Path, rng: np.random.Generator) -> Iterator[Case]:
    """ELAN files and tables of truth, through `openmer score`."""
    root.mkdir()
    result = root / "timeline.json"
    result.write_text(whole.timeline().to_json())
    eaf = to_elan(whole.timeline(), "./talk.mp4").replace(b"<MEDIA_DESCRIPTOR", b'<MEDIA_DESCRIPTOR TIME_ORIGIN="0"')
    header, row = whole.timeline().to_csv().splitlines()[:2]
    numbers = [value.encode() for value in ("", "-5", "1.5", "1e9", "NaN", "9" * 400, "9" * 5000, "٣", " 7 ", "1_000")]
    cells = dict.fromkeys(("onset_s", "offset_s"), damage.CELLS)
    bad = {f"{name}.eaf": data for name, data in damage.of_bytes(eaf, rng, many=4)}
    bad |= {f"{name}.eaf": data for name, data in damage.of_text(eaf.decode())}
    bad |= {f"{name}.eaf": data for name, data in damage.of_xml(eaf, b"candidate")}
    bad |= {f"{name}.eaf": data for name, data in _times(eaf, numbers)}
    bad |= {f"{name}.csv": data for name, data in damage.of_bytes(f"{header}\n{row}\n".encode(), rng, many=2)}
    bad |= {f"{name}.csv": data for name, data in damage.of_table(header, row)}
    bad |= {f"{name}.csv": data for name, data in damage.of_cells(header, row, cells)}
    bad |= {"a timeline called.xml": result.read_bytes()}
    for number, (name, data) in enumerate(bad.items()):
        path = root / f"{number}{Path(name).suffix}"
        path.write_bytes(data)
        command = ("score", str(result), "--truth", str(path), "--tier", "candidate", "--out", f"{path}.json")
        yield Case(f"results/truth {name}", command[:6] if path.suffix == ".csv" and number % 2 else command, (path,))


def _times(eaf: bytes, numbers: list[bytes]) -> Iterator[tuple[str, bytes]]:
    for name, data in damage.of_xml(eaf, b"candidate", values=numbers):
        if any(f"{column} is " in name for column in ("TIME_VALUE", "TIME_ORIGIN")):
            yield name, data


def stores(root: Path, rng: np.random.Generator) -> Iterator[Case]:
    """Stores, through `openmer loso` and `train`."""
    shifting_store(root / "whole", subjects=3, clips=2)
    content = json.loads((root / "whole" / "store.json").read_text())
    number = 0

    def case(name: str, *, train: bool) -> tuple[Path, Case]:
        nonlocal number
        number += 1
        store = Path(shutil.copytree(root / "whole", root / str(number)))
        verb, how = ("train", WHOLE_CLIP if "clips" in name else SMALL) if train else ("loso", GUESSER)
        command = (verb, str(store), "--out", str(root / f"{number}-out"), *how)
        return store, Case(f"results/store {name}, {verb}", command, (store,))

    for k, (name, bad) in enumerate(damage.of_json(content, rng, leaves=12)):
        store, made = case(f"store.json {name}", train=k % 4 == 0)
        (store / "store.json").write_bytes(bad)
        yield made
    first = sorted((root / "whole" / "clips").iterdir())[0]
    for k, (name, bad) in enumerate((*damage.of_bytes(first.read_bytes(), rng, many=3), *_clips(first, rng))):
        store, made = case(f"clips {name}", train=k % 3 != 0)
        (store / "clips" / first.name).write_bytes(bad)
        yield made
    store, made = case("clips are a folder", train=False)
    (store / "clips" / first.name).unlink()
    (store / "clips" / first.name).mkdir()
    yield made
    store, made = case("no clips", train=False)
    shutil.rmtree(store / "clips")
    yield made


def _clips(path: Path, rng: np.random.Generator) -> Iterator[tuple[str, bytes]]:
    with np.load(path) as stored:
        arrays = {name: stored[name] for name in stored.files}
    index = json.loads(str(arrays["index"]))

    def packed(changed: dict[str, Any]) -> bytes:
        buffer = io.BytesIO()
        np.savez(buffer, **changed)
        return buffer.getvalue()

    for name, changed in damage.of_arrays(arrays, ("frames0", "flow0", "landmarks0")):
        yield name, packed(changed)
    yield "no index", packed({name: array for name, array in arrays.items() if name != "index"})
    yield "index as bytes", packed(arrays | {"index": np.frombuffer(b"abc", np.uint8)})
    for name, row in damage.of_values(index[0], rng):
        yield f"index {name}", packed(arrays | {"index": np.array(json.dumps([row, *index[1:]]))})
    for name, text in damage.of_json(index[0], rng, leaves=0):
        yield f"index row {name}", packed(arrays | {"index": np.array((b"[" + text + b"]").decode(errors="replace"))})
    for key, value in (("label", 3), ("label", []), ("subject", None), ("key", "../../x")):  # these crashed once
        rows = json.dumps([row | {key: value} for row in index])
        yield f"index {key} is {value}, in all rows", packed(arrays | {"index": np.array(rows)})
    many = [*index, index[0] | {"number": 7}]
    yield "index of a number too many", packed(arrays | {"index": np.array(json.dumps(many))})
    frames = io.BytesIO()
    np.save(frames, arrays["frames0"])
    bomb = frames.getvalue().replace(b"(8, 144, 144)", b"(8, 144, 9**9)") + bytes(100_000_000)
    yield "a header with arithmetic, and a bomb", damage.repacked(path.read_bytes(), {"frames0.npy": bomb})
    yield from damage.of_archive(path.read_bytes())
    yield "a header of a trillion", path.read_bytes().replace(b"(8, 144, 144), }  ", b"(8, 99999999999,), ")


def _runs(root: Path, rng: np.random.Generator) -> Iterator[Case]:
    from openmer.cli.training import Judged, ShortForms, clip_data
    from openmer.training.loop import Devices, train

    made = shifting_store(root / "store", subjects=3, clips=2)
    settings = ShortForms().applied({"model": "off-apexnet", "steps": 2, "batch": 2, "checkpoint_every": 1})
    train(settings, clip_data(made.root, Judged(), settings.kind), root / "whole", stop_after=1, on=Devices("cpu"))
    run = json.loads((root / "whole" / "run.json").read_text())
    checkpoint = (root / "whole" / "checkpoint.pt").read_bytes()
    bad: list[tuple[str, str, bytes]] = [("run.json", *b) for b in damage.of_json(run, rng, leaves=6)][:40:2]
    bad += [("checkpoint.pt", *b) for b in damage.of_bytes(checkpoint, rng, many=2)]
    bad += [("checkpoint.pt", *b) for b in _training_checkpoints(checkpoint, rng)]
    for number, (file, name, data) in enumerate(bad):
        out = Path(shutil.copytree(root / "whole", root / str(number)))
        (out / file).write_bytes(data)
        yield Case(f"results/{file} {name}", ("train", str(made.root), "--out", str(out), *SMALL), (out,))


def _training_checkpoints(good: bytes, rng: np.random.Generator) -> Iterator[tuple[str, bytes]]:
    content = torch.load(io.BytesIO(good), weights_only=True)
    first = next(iter(content["model"]))
    for name, changed in (
        *damage.of_values(content, rng),
        ("a list", [1]),
        ("rows of lists", content | {"rows": [[1]]}),
        ("random too short", content | {"random": torch.zeros(3, dtype=torch.uint8)}),
        ("another shape", content | {"model": content["model"] | {first: torch.zeros(1)}}),
        ("NaN", content | {"model": content["model"] | {first: content["model"][first] * float("nan")}}),
        ("best of another network", content | {"best": {"x": torch.zeros(1)}}),
    ):
        buffer = io.BytesIO()
        torch.save(changed, buffer)
        yield name, buffer.getvalue()


def _evaluations(root: Path, rng: np.random.Generator) -> Iterator[Case]:
    from openmer.cli.training import Judged, ShortForms, clip_data
    from openmer.evaluation.loso import run_loso
    from openmer.evaluation.settings import LosoSettings, Workers

    made = shifting_store(root / "store", subjects=3, clips=2)
    settings = LosoSettings(training=ShortForms().applied({"model": "constant"}))
    data = clip_data(made.root, Judged(), settings.training.kind)
    run_loso(data, settings, root / "whole", on=Workers(device="cpu"))
    bad: list[tuple[str, str, bytes]] = []
    for file in ("metrics.json", "loso.json"):
        content = json.loads((root / "whole" / file).read_text())
        bad += [(file, *b) for b in damage.of_json(content, rng, leaves=25)]
    table = (root / "whole" / "predictions.csv").read_bytes()
    bad += [("predictions.csv", *b) for b in (*damage.of_bytes(table, rng), *damage.of_text(table.decode()))]
    for number, (file, name, data) in enumerate(bad):
        out = Path(shutil.copytree(root / "whole", root / str(number)))
        (out / file).write_bytes(data)
        again = file == "loso.json" and number % 2  # the evaluation itself reads it too
        command = ("loso", str(made.root), "--out", str(out), *GUESSER) if again else ("report", str(out))
        yield Case(f"results/{file} {name}, {command[0]}", command, (out,))
    folds = sorted((root / "whole" / "folds").glob("*/*/predictions.json"))
    fold = folds[0].relative_to(root / "whole")
    content = json.loads(folds[0].read_text())
    for number, (name, data) in enumerate(damage.of_json(content, rng, leaves=12)):
        out = Path(shutil.copytree(root / "whole", root / f"f{number}"))
        (out / fold).write_bytes(data)
        yield Case(f"results/fold {name}, loso", ("loso", str(made.root), "--out", str(out), *GUESSER), (out,))
