"""What is done to whole bytes and whole JSON."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np

DEEP = 200_000
WRONG: tuple[Any, ...] = (None, "text", [], {}, -1, 0, 1.5, True, 10**400, float("nan"), float("inf"), "x" * 5000, [[]])


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
