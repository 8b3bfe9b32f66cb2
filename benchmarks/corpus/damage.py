"""What is done to whole inputs: to any bytes, and by form to text, JSON, arrays, tables, XML and archives."""

import csv
import io
import json
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

DEEP = 200_000
HUGE = (10**9, 10**400, float("inf"), float("nan"))
TEXTS = ("text", "x" * 5000, "../elsewhere", "/dev/zero", "<script>alert(1)</script>[bold]")
WRONG: tuple[Any, ...] = (None, [], {}, [[]], -1, 0, 1.5, True, *HUGE, *TEXTS)
DIGITS = ("9" * 20, "9" * 5000)
NUMBERS = ("nan", "inf", "-1", "0", "3.5", "1,5", "30/0", "1e300", "1e400", "1e-400", "1e999999999", *DIGITS)
ODD = ("0x10", "1_0", "٣٠", "==A1", "a/b", "../..", "🙂", "[bold]</script>{{x}}", "", " ", "\0", "\n", "x" * 5000)
CELLS = (*NUMBERS, *ODD)


def cut(data: bytes, share: float) -> bytes:
    """The beginning."""
    return data[: int(len(data) * share)]


def flipped(data: bytes, rng: np.random.Generator, bits: int, *, after: int = 0) -> bytes:
    """Some bits turned over."""
    out = bytearray(data)
    for at in rng.integers(min(after, len(out) - 1), len(out), bits):
        out[int(at)] ^= 1 << int(rng.integers(8))
    return bytes(out)


def holed(data: bytes, rng: np.random.Generator, size: int) -> bytes:
    """A stretch of zeros."""
    at = int(rng.integers(0, max(1, len(data) - size)))
    return data[:at] + bytes(min(size, len(data) - at)) + data[at + size :]


def of_bytes(data: bytes, rng: np.random.Generator, *, many: int = 1) -> Iterator[tuple[str, bytes]]:
    """Damage that any file can have; with `many` more of each kind."""
    yield "empty", b""
    yield "one byte", data[:1]
    yield "noise", rng.bytes(4096)
    yield "zeros", bytes(4096)
    for k in range(3 * many):
        yield f"cut {k}", cut(data, float(rng.uniform(0.05, 0.98)))
    for bits in (1, 16, 256):
        for k in range(many):
            yield f"{bits} bits {k}", flipped(data, rng, bits)
    for k in range(many):
        yield f"hole {k}", holed(data, rng, max(16, len(data) // 20))
    yield "head gone", data[min(64, len(data) // 4) :]
    yield "twice", data + data


def of_text(text: str) -> Iterator[tuple[str, bytes]]:
    """Encodings and characters."""
    yield "BOM", b"\xef\xbb\xbf" + text.encode()
    yield "UTF-16", text.encode("utf-16")
    yield "not UTF-8", text.encode() + b"\xff\xfe\xfa"
    yield "NUL", text.replace("a", "\0").encode()
    yield "carriage returns", text.replace("\n", "\r").encode()


def of_json(content: Any, rng: np.random.Generator, *, leaves: int) -> Iterator[tuple[str, bytes]]:
    """Damage to JSON: as text, as a whole, and `leaves` of its values put out of shape."""
    text = json.dumps(content, indent=2)
    yield from of_text(text)
    yield "empty", b""
    for share in (0.2, 0.6, 0.97):
        yield f"cut at {share}", cut(text.encode(), share)
    for what in ("null", "[]", "{}", "3", '"text"', "NaN", "[" * DEEP, '{"a":' * DEEP, "9" * 10_000):
        yield f"only {what[:8]}", what.encode()
    places = list(_places(content))
    for k in range(leaves):
        path = places[int(rng.integers(len(places)))]
        wrong = WRONG[int(rng.integers(len(WRONG)))]
        yield f"{k} {'.'.join(map(str, path))} is {str(wrong)[:8]}", json.dumps(_with(content, path, wrong)).encode()
    for key in content:
        yield f"without {key}", json.dumps({k: v for k, v in content.items() if k != key}).encode()
        wrong = WRONG[int(rng.integers(len(WRONG)))]
        yield f"{key} is {str(wrong)[:8]}", json.dumps(content | {key: wrong}).encode()
    first = next(iter(content))
    nested = json.dumps(content).replace(json.dumps({first: content[first]})[1:-1], f'"{first}": {"[" * DEEP}', 1)
    yield "deep in a value", nested.encode()


def _places(content: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where there are values, inner ones too."""
    if path:
        yield path
    inner = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in inner:
        yield from _places(value, (*path, key))


def _with(content: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A copy with another value at one place."""
    copy: Any = json.loads(json.dumps(content))
    at = copy
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return copy


def of_values(content: Mapping[str, Any], rng: np.random.Generator) -> Iterator[tuple[str, dict[str, Any]]]:
    """A dictionary without each of its values in turn, and with two that are something else."""
    for key in content:
        yield f"without {key}", {k: v for k, v in content.items() if k != key}
        for k in rng.choice(len(WRONG), 2, replace=False):
            yield f"{key} is {str(WRONG[k])[:8]}", {**content, key: WRONG[k]}


def of_arrays(arrays: Mapping[str, Any], names: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each of the named arrays in turn missing, or of another shape, type or value."""
    for name in names:
        array = arrays[name]
        changes = {
            "gone": None,
            "fewer": array[:-1],
            "smaller": array[..., :-1],
            "one dimension more": array[None],
            "no values": array[:0],
            "of another type": array.astype(np.int8 if array.dtype.kind == "f" else np.float64),
            "NaN": np.full(array.shape, np.nan, np.float32),
            "infinite": np.full(array.shape, np.inf, np.float32),
            "text": np.array("hello"),
            "objects": np.array([{}, 1], object),
        }
        for what, changed in changes.items():
            yield f"{name} {what}", {k: v for k, v in {**arrays, name: changed}.items() if v is not None}


def of_table(header: str, row: str) -> Iterator[tuple[str, bytes]]:
    """A table of one row: its separators, quotes, header and lengths."""
    whole = f"{header}\n{row}\n"
    first, cell = header.partition(",")[0], row.partition(",")[0]
    texts = {
        "as it should be": whole,
        "semicolons": whole.replace(",", ";"),
        "tabs": whole.replace(",", "\t"),
        "header alone": header + "\n",
        "no header": row + "\n",
        "header twice": f"{header}\n{whole}",
        "one column twice": f"{header},{first}\n{row},b\n",
        "all columns twice": f"{header},{header}\n{row},{row}\n",
        "cells too many": f"{header}\n{row}{',x' * 50}\n",
        "a cell less": f"{header}\n{row.rpartition(',')[0]}\n",
        "rows of other lengths": f"{whole}{row},1,2,3\nb\n",
        "an open quote": f'{header}\n"{row}\n',
        "quotes in cells": whole.replace(cell, f'"{cell}""b"', 1),
        "comments": f"# made by hand\n{whole}",
        "blank lines": f"\n\n{header}\n\n{row}\n\n",
        "the same row twice": f"{whole}{row}\n",
        "ten thousand wrong rows": f"{header}\n" + "a,,,,,,,,\n" * 10_000,
        "ten thousand columns": f"{header},{','.join(f'c{k}' for k in range(10_000))}\n{row}\n",
        "a cell of a million letters": f"{header}\n{row.rpartition(',')[0]},{'c' * 1_000_000}\n",
        "upper case": f"{header.upper()}\n{row}\n",
    }
    yield from ((name, text.encode()) for name, text in texts.items())
    yield from of_text(whole)
    for encoding in ("latin-1", "utf-32", "utf-7", "cp037"):
        yield encoding, whole.replace(cell, "ä", 1).encode(encoding, "replace")
    names, cells = header.split(","), next(csv.reader([row]))
    for gone in range(len(names)):
        lines = [",".join(part for k, part in enumerate(line) if k != gone) for line in (names, cells)]
        yield f"without {names[gone]}", "\n".join(lines).encode()


def of_cells(header: str, row: str, values: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, bytes]]:
    """The table with each of a column's values in turn."""
    names, cells = header.split(","), next(csv.reader([row]))
    for column, wrong in values.items():
        for value in wrong:
            text = io.StringIO()
            changed = [value if name == column else cell for name, cell in zip(names, cells, strict=True)]
            csv.writer(text, quoting=csv.QUOTE_ALL).writerow(changed)
            yield f"{column} is {value[:40]!r}", f"{header}\n{text.getvalue()}".encode("utf-8", "surrogatepass")


def of_xml(xml: bytes, word: bytes, *, values: Sequence[bytes] = (b"",)) -> Iterator[tuple[str, bytes]]:
    """Entities, depth, encodings; and each attribute in turn without its name, or with each of the values.

    Args:
        xml: the whole document.
        word: a text in it, in whose place an entity comes.
        values: of attributes.
    """
    head, _, body = xml.partition(b"\n") if xml.startswith(b"<?xml") else (b"<?xml version='1.0'?>", b"", xml)
    entities = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">'
    entities += b"".join(b'<!ENTITY %c "%s">' % (98 + k, b"&%c;" % (97 + k) * 10) for k in range(9)) + b"]>"
    outside = b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>'
    yield "entities that multiply", head + entities + body.replace(word, b"&j;", 1)
    yield "an entity from outside", head + outside + body.replace(word, b"&e;", 1)
    yield "a document type from outside", head + b'<!DOCTYPE x SYSTEM "http://localhost/x.dtd">' + body
    yield "deep elements", head + body.replace(b">", b">" + b"<x>" * DEEP, 1)
    yield "deep elements, closed", head + b"<x>" * DEEP + b"</x>" * DEEP
    yield "a thousand attributes", head + b"<x " + b" ".join(b'a%d=""' % k for k in range(1000)) + b"/>"
    yield "another root", head + b"<html><body/></html>"
    yield "another encoding", xml.replace(b"UTF-8", b"EBCDIC-XX").replace(b"utf-8", b"EBCDIC-XX")
    yield "encoding of sixteen bits", xml.replace(b"UTF-8", b"UTF-16").replace(b"utf-8", b"UTF-16")
    for name in dict.fromkeys(re.findall(rb'([\w:]+)="', body)):
        attribute = rb"(?<![\w:])" + re.escape(name) + rb'="[^"]*"'
        yield f"{name.decode()} gone", head + b"\n" + re.sub(attribute, b"", body)
        for value in values:
            new = name + b'="' + value + b'"'
            label = f"{name.decode()} is {value[:8].decode()!r}"
            yield label, head + b"\n" + re.sub(attribute, lambda _, new=new: new, body, count=1)
            yield f"each {label}", head + b"\n" + re.sub(attribute, lambda _, new=new: new, body)


def repacked(data: bytes, changes: Mapping[str, bytes | None], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """The archive with members exchanged, or left out where there is None."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w", method) as new:
        for name in old.namelist():
            content = changes.get(name, old.read(name))
            if content is not None:
                new.writestr(name, content)
    return buffer.getvalue()


def of_archive(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Each member in turn missing, cut, or a bomb."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    for name, content in members.items():
        yield f"without {Path(name).name}", repacked(data, {name: None})
        yield f"cut {Path(name).name}", repacked(data, {name: cut(content, 0.5)})
    yield "a bomb", repacked(data, {max(members, key=lambda name: len(members[name])): bytes(300_000_000)})
    yield "stored with lzma", repacked(data, {}, zipfile.ZIP_LZMA)
