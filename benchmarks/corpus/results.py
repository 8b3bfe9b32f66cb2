"""Damaged results: timelines, annotations, stores, runs and evaluations, through the commands that read them."""

import csv
import io
import json
import shutil
import zipfile
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
    eaf = to_elan(whole.timeline(), "./talk.mp4")
    table = whole.timeline().to_csv().encode()
    bad = {f"{name}.eaf": data for name, data in damage.of_bytes(eaf, rng, many=4)}
    bad |= {f"{name}.eaf": data for name, data in (*damage.of_text(eaf.decode()), *_elan(eaf))}
    bad |= {f"{name}.csv": data for name, data in damage.of_bytes(table, rng, many=2)}
    bad |= {f"{name}.csv": data for name, data in (*damage.of_text(table.decode()), *_csv(table.decode()))}
    bad |= {"a timeline called.xml": result.read_bytes()}
    for number, (name, data) in enumerate(bad.items()):
        path = root / f"{number}{Path(name).suffix}"
        path.write_bytes(data)
        command = ("score", str(result), "--truth", str(path), "--tier", "candidate", "--out", f"{path}.json")
        yield Case(f"results/truth {name}", command[:6] if path.suffix == ".csv" and number % 2 else command, (path,))


def _elan(eaf: bytes) -> Iterator[tuple[str, bytes]]:
    head, _, body = eaf.partition(b"\n")
    entities = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">'
    entities += b"".join(b'<!ENTITY %c "%s">' % (98 + k, b"&%c;" % (97 + k) * 10) for k in range(9)) + b"]>"
    yield "entities that multiply", head + entities + body.replace(b"candidate", b"&j;")
    outside = b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>'
    yield "an entity from outside", head + outside + body.replace(b"candidate", b"&e;")
    yield "a document type from outside", head + b'<!DOCTYPE x SYSTEM "http://localhost/x.dtd">' + body
    yield "deep elements", head + b"<ANNOTATION_DOCUMENT>" + b"<TIER>" * damage.DEEP
    yield "deep elements, closed", head + b"<TIER>" * damage.DEEP + b"</TIER>" * damage.DEEP
    yield (
        "a million attributes",
        head + b"<ANNOTATION_DOCUMENT " + b" ".join(b'a%d=""' % k for k in range(1000)) + b"/>",
    )
    yield "another root", head + b"<html><body/></html>"
    yield "no tier", head + b"<ANNOTATION_DOCUMENT/>"
    for value in (b"", b"-5", b"1.5", b"1e9", b"NaN", b"9" * 400, b"9" * 5000, b"\xd9\xa3", b" 7 ", b"1_000"):
        yield f"time is {value[:6]!r}", eaf.replace(b'TIME_VALUE="700"', b'TIME_VALUE="' + value + b'"')
        yield f"all times are {value[:6]!r}", _attribute(eaf, b"TIME_VALUE", value)
    for name in (b"TIME_SLOT_ID", b"TIME_SLOT_REF1", b"TIER_ID", b"ANNOTATION_ID", b"TIME_UNITS", b"TIME_VALUE"):
        yield f"{name.decode()} gone", eaf.replace(name, b"x")
        yield f"{name.decode()} empty", _attribute(eaf, name, b"")
    yield "time origin is text", eaf.replace(b"<MEDIA_DESCRIPTOR", b'<MEDIA_DESCRIPTOR TIME_ORIGIN="x"')
    yield (
        "time origin is huge",
        eaf.replace(b"<MEDIA_DESCRIPTOR", b'<MEDIA_DESCRIPTOR TIME_ORIGIN="' + b"9" * 400 + b'"'),
    )
    yield "another encoding", eaf.replace(b"UTF-8", b"EBCDIC-XX")
    yield "encoding of sixteen bits", eaf.replace(b"UTF-8", b"UTF-16")


def _attribute(eaf: bytes, name: bytes, value: bytes) -> bytes:
    parts = eaf.split(name + b'="')
    return (name + b'="').join([parts[0], *(value + part[part.index(b'"') :] for part in parts[1:])])


def _csv(table: str) -> Iterator[tuple[str, bytes]]:
    header, *rows = table.splitlines()
    for value in ("", "nan", "inf", "-1", "1e400", "1e308", "x", "1,5", "9" * 400):
        cells = next(csv.reader(rows))
        for column in (0, 2):
            changed = io.StringIO()
            csv.writer(changed).writerow([*cells[:column], value, *cells[column + 1 :]])
            yield f"{header.split(',')[column]} is {value[:6]}", f"{header}\n{changed.getvalue()}".encode()
    yield "semicolons", table.replace(",", ";").encode()
    yield "header alone", header.encode()
    yield "no header", "\n".join(rows).encode()
    yield "columns twice", f"{header},{header}\n{rows[0]},{rows[0]}\n".encode()
    yield "rows too long", f"{header}\n{rows[0]}{',x' * 50}\n".encode()
    yield "a cell of a million letters", f"{header}\n{rows[0].replace('candidate', 'c' * 1_000_000)}\n".encode()
    yield "an open quote", f'{header}\n"{rows[0]}\n'.encode()


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
    for k, (name, bad) in enumerate((*damage.of_bytes(first.read_bytes(), rng, many=3), *_clips(first))):
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


def _clips(path: Path) -> Iterator[tuple[str, bytes]]:
    with np.load(path) as stored:
        arrays = {name: stored[name] for name in stored.files}
    index = json.loads(str(arrays["index"]))

    def packed(**changes: Any) -> bytes:
        buffer = io.BytesIO()
        np.savez(buffer, **{k: v for k, v in {**arrays, **changes}.items() if v is not None})
        return buffer.getvalue()

    frames, flow, landmarks = arrays["frames0"], arrays["flow0"], arrays["landmarks0"]
    yield "frames smaller", packed(frames0=frames[:, :100, :100])
    yield "frames fewer", packed(frames0=frames[:5])
    yield "frames of another kind", packed(frames0=frames.astype(np.float64))
    yield "frames as text", packed(frames0=np.array("hello"))
    yield "frames as objects", packed(frames0=np.array([{}, 1], object))
    yield "no frames", packed(frames0=None)
    yield "flow smaller", packed(flow0=flow[:, :, :100, :100])
    yield "flow of NaN", packed(flow0=np.full(flow.shape, np.nan, np.float32))
    yield "no flow", packed(flow0=None)
    yield "landmarks fewer", packed(landmarks0=landmarks[:, :60])
    yield "landmarks infinite", packed(landmarks0=np.full_like(landmarks, np.inf))
    yield "landmarks NaN", packed(landmarks0=np.full_like(landmarks, np.nan))
    yield "landmarks as text", packed(landmarks0=np.array("hello"))
    yield "no index", packed(index=None)
    rows: dict[str, Any] = {
        "null": None,
        "a number": 3,
        "empty": [],
        "a list of lists": [[]],
        "deep": "[" * damage.DEEP,
        "a number too many": [*index, index[0] | {"number": 7}],
        "labels as numbers": [row | {"label": 3} for row in index],
        "no labels": [row | {"label": None} for row in index],
        "a label as a list": [row | {"label": []} for row in index],
        "subjects as null": [row | {"subject": None} for row in index],
        "subjects as numbers": [row | {"subject": 4} for row in index],
        "digests as numbers": [row | {"frames_digest": 4} for row in index],
        "keys elsewhere": [row | {"key": "../../x"} for row in index],
        "numbers as text": [row | {"number": "0"} for row in index],
        "negative numbers": [row | {"number": -1} for row in index],
        "unknown fields": [row | {"colour": 1} for row in index],
    }
    for name, value in rows.items():
        yield f"index {name}", packed(index=np.array(value if isinstance(value, str) else json.dumps(value)))
    yield "index as bytes", packed(index=np.frombuffer(b"abc", np.uint8))
    buffer = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            data = old.read(name)
            if name == "frames0.npy":
                data = data.replace(b"(8, 144, 144)", b"(8, 144, 9**9)") + bytes(100_000_000)
            new.writestr(name, data)
    yield "a header with arithmetic, and a bomb", buffer.getvalue()
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
    bad += [("checkpoint.pt", *b) for b in _training_checkpoints(root, checkpoint)]
    for number, (file, name, data) in enumerate(bad):
        out = Path(shutil.copytree(root / "whole", root / str(number)))
        (out / file).write_bytes(data)
        yield Case(f"results/{file} {name}", ("train", str(made.root), "--out", str(out), *SMALL), (out,))


def _training_checkpoints(root: Path, good: bytes) -> Iterator[tuple[str, bytes]]:
    content = torch.load(io.BytesIO(good), weights_only=True)
    first = next(iter(content["model"]))
    changes: dict[str, Any] = {
        "a list": [1],
        "empty": {},
        "another digest": content | {"digest": "x"},
        "step as text": content | {"step": "one"},
        "step beyond": content | {"step": 10**9},
        "step negative": content | {"step": -1},
        "rows as text": content | {"rows": "text"},
        "rows of lists": content | {"rows": [[1]]},
        "random too short": content | {"random": torch.zeros(3, dtype=torch.uint8)},
        "another shape": content | {"model": content["model"] | {first: torch.zeros(1)}},
        "NaN": content | {"model": content["model"] | {first: content["model"][first] * float("nan")}},
        "no optimiser": content | {"optimizer": {}},
        "best of another network": content | {"best": {"x": torch.zeros(1)}},
    }
    for name, changed in changes.items():
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
