"""Damaged folders of numbered images, through `openmer analyze`."""

import io
import shutil
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from PIL import Image as Pillow

from corpus import damage, whole
from corpus.case import Case

SUFFIXES = (".png", ".jpg", ".bmp", ".tif")


def cases(root: Path, rng: np.random.Generator) -> Iterator[Case]:
    """Every format with each damage in its middle; then what a whole folder can have."""
    base = {suffix: root / f"base{suffix}" for suffix in SUFFIXES}
    for suffix, folder in base.items():
        whole.images(folder, whole.face(), suffix=suffix)
    number = 0

    def case(name: str, folder: Path, *more: str) -> Case:
        nonlocal number
        number += 1
        out = whole.result(root / "out" / str(number))
        how = ("--fps", "30", "--engine", "classical", "--no-overlay", *more)
        return Case(f"folders/{name}", ("analyze", str(folder), "--out", str(out), "--overwrite", *how), (out,))

    for suffix in SUFFIXES:
        whole_image = (base[suffix] / f"img006{suffix}").read_bytes()
        for what, bad in damage.of_bytes(whole_image, rng, many=1):
            # In the middle of the folder, and in every third case its first picture.
            where = 1 if what.startswith("cut 1") or what == "empty" else 6
            folder = _copied(base[suffix], root / f"{what}{suffix}")
            (folder / f"img{where:03d}{suffix}").write_bytes(bad)
            yield case(f"{what}{suffix}", folder)
    for what, change in _changes().items():
        folder = _copied(base[".png"], root / what)
        change(folder)
        yield case(what, folder)
    for fps in ("0", "-30", "1e999999", "nan", "30/0", "1/1000000", "1e-400"):
        yield case(f"fps {fps}", base[".png"], f"--fps={fps}")


def _copied(base: Path, folder: Path) -> Path:
    return Path(shutil.copytree(base, folder))


def _saved(frame: whole.Image, mode: str, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Pillow.fromarray(frame).convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


def _png(width: int, height: int, depth: int = 8, colour: int = 2, body: bytes = b"") -> bytes:
    """A PNG whose header says what one likes."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")


def _put(name: str, data: bytes) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).write_bytes(data)

    return change


def _all(make: Callable[[whole.Image], bytes], suffix: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        for number, frame in enumerate(whole.face(), 1):
            (folder / f"img{number:03d}.png").unlink()
            (folder / f"img{number:03d}{suffix}").write_bytes(make(frame))

    return change


def _renamed(name: Callable[[int], str]) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        for number, path in enumerate(sorted(folder.iterdir()), 1):
            path.rename(folder / name(number))

    return change


def _without(*numbers: int) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        for number in numbers:
            (folder / f"img{number:03d}.png").unlink()

    return change


def _link(name: str, target: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(target)

    return change


def _directory(folder: Path) -> None:
    (folder / "img006.png").unlink()
    (folder / "img006.png").mkdir()


def _changes() -> dict[str, Callable[[Path], None]]:
    first = whole.face()[0]
    deep = (first.astype(np.uint16) * 257)[..., ::-1]
    gif = [Pillow.fromarray(frame) for frame in whole.face()]
    buffer = io.BytesIO()
    gif[0].save(buffer, "PNG", save_all=True, append_images=gif[1:], duration=33)
    names: dict[str, Callable[[int], str]] = {
        "no numbers": lambda k: "abcdefghijklm"[k - 1] + ".png",
        "same numbers": lambda k: "abcdefghijklm"[k - 1] + "1.png",
        "huge numbers": lambda k: f"img{10**25 + k}.png",
        "thousands of digits": lambda k: "9" * 200 + f"{k:02d}.png",
        "numbers far apart": lambda k: f"img{k * 10**12}.png",
        "arabic digits": lambda k: f"img{'٠١٢٣٤٥٦٧٨٩'[k % 10]}{k}.png",
        "superscripts": lambda k: f"img²{k}.png",
    }
    return {
        "16 bit": _all(lambda f: cv2.imencode(".png", f.astype(np.uint16) * 257)[1].tobytes(), ".png"),
        "16 bit in the middle": _put("img006.png", cv2.imencode(".png", deep)[1].tobytes()),
        "alpha": _all(lambda f: _saved(f, "RGBA", "PNG"), ".png"),
        "one bit": _all(lambda f: _saved(f, "1", "PNG"), ".png"),
        "palette": _all(lambda f: _saved(f, "P", "PNG"), ".png"),
        "gray among colour": _put("img006.png", _saved(first, "L", "PNG")),
        "CMYK": _all(lambda f: _saved(f, "CMYK", "JPEG"), ".jpg"),
        "progressive": _all(lambda f: _saved(f, "RGB", "JPEG", progressive=True), ".jpg"),
        "float tif": _all(lambda f: cv2.imencode(".tif", f.astype(np.float32) / 255)[1].tobytes(), ".tif"),
        "animated": _put("img006.png", buffer.getvalue()),
        "a gif called png": _put("img006.png", _saved(first, "P", "GIF")),
        "another size": _put("img006.png", cv2.imencode(".png", np.zeros((90, 120, 3), np.uint8))[1].tobytes()),
        "turned by exif": _put("img006.png", _saved(first, "RGB", "PNG", exif=_turned())),
        "1x1": _all(lambda _: cv2.imencode(".png", np.zeros((1, 1, 3), np.uint8))[1].tobytes(), ".png"),
        "0x0": _put("img006.png", _png(0, 0)),
        "60000x60000": _put("img006.png", _png(60000, 60000)),
        "30000x30000 first": _put("img001.png", _png(30000, 30000)),
        "30000x30000": _put("img006.png", _png(30000, 30000)),
        "2147483647x1": _put("img006.png", _png(2**31 - 1, 1)),
        "a bomb": _put("img006.png", _png(12000, 12000, body=bytes(12000 * 36001))),
        "a bomb first": _put("img001.png", _png(12000, 12000, body=bytes(12000 * 36001))),
        "odd depth": _put("img006.png", _png(10, 10, depth=7)),
        "gaps": _without(3, 4, 7),
        "one picture": _without(*range(2, 13)),
        "two pictures": _without(*range(3, 13)),
        "no picture": _without(*range(1, 13)),
        "a link to nothing": _link("img006.png", "nowhere.png"),
        "a link to itself": _link("img006.png", "img006.png"),
        "a link to a device": _link("img006.png", "/dev/null"),
        "a folder called as a picture": _directory,
        "thumbnails": _put("Thumbs.db", b"thumbs"),
        "a hidden copy": _put("._img006.png", b"\0\5\x16\7"),
        **{what: _renamed(name) for what, name in names.items()},
    }


def _turned() -> Pillow.Exif:
    exif = Pillow.Exif()
    exif[0x0112] = 6
    return exif
