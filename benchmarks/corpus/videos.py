"""Damaged video files, through `openmer analyze`."""

import struct
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from corpus import damage, whole
from corpus.case import Case


def cases(root: Path, rng: np.random.Generator) -> Iterator[Case]:
    """Containers with damage of every kind, wrong names, odd pictures."""
    for number, (name, data) in enumerate(_files(root, rng)):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        out = whole.result(root / "out" / str(number))
        # Every fifth the whole way, with network and overlay.
        short = () if number % 5 == 0 else ("--engine", "classical", "--no-overlay")
        yield Case(f"videos/{name}", ("analyze", str(path), "--out", str(out), "--overwrite", *short), (out,))


def _files(root: Path, rng: np.random.Generator) -> Iterator[tuple[str, bytes]]:
    good = _good(root)
    for name, data in good.items():
        ending = Path(name).suffix
        many = {".mp4": 4, ".mkv": 2}.get(ending, 1)
        for what, bad in damage.of_bytes(data, rng, many=many):
            yield f"{Path(name).stem} {what}{ending}", bad
    yield from _misnamed(good)
    yield from _headers(good, rng)
    yield from _odd(root)


def _good(root: Path) -> dict[str, bytes]:
    frames = whole.face()
    fast = {"preset": "ultrafast"}
    made = {
        "h264.mp4": whole.video(root / "h264.mp4", frames, options=fast),
        "sound.mkv": whole.video(root / "sound.mkv", frames, sound=True, options=fast),
        "mjpeg.avi": whole.video(root / "mjpeg.avi", frames, codec="mjpeg", pixels="yuvj420p"),
        "vp8.webm": whole.video(root / "vp8.webm", frames, codec="libvpx", options={"deadline": "realtime"}),
        "mpeg4.mov": whole.video(root / "mpeg4.mov", frames, codec="mpeg4"),
        "raw.mjpeg": b"".join(_jpeg(frame) for frame in frames),
    }
    for name in made:
        (root / name).unlink(missing_ok=True)
    return made


def _jpeg(frame: whole.Image) -> bytes:
    return cv2.imencode(".jpg", frame[..., ::-1])[1].tobytes()


def _misnamed(good: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    yield "an avi called.mp4", good["mjpeg.avi"]
    yield "an mp4 called.txt", good["h264.mp4"]
    yield "an mp4 without ending", good["h264.mp4"]
    yield "a png called.mp4", cv2.imencode(".png", whole.face()[0])[1].tobytes()
    yield "a text called.mkv", b"this is a text\n" * 200
    yield "a list of files.m3u8", b"#EXTM3U\n#EXTINF:10,\n/etc/passwd\n#EXT-X-ENDLIST\n"
    yield "a list of files.ffconcat", b"ffconcat version 1.0\nfile '/etc/passwd'\n"
    yield "a page called.mp4", b"<!DOCTYPE html><html><body>404 not found</body></html>"
    yield "a name with \U0001f600 [red]\u202e.mp4", good["h264.mp4"]
    yield "%d %s {x}.mp4", good["h264.mp4"]


def _headers(good: dict[str, bytes], rng: np.random.Generator) -> Iterator[tuple[str, bytes]]:
    mp4 = good["h264.mp4"]
    for box in (b"tkhd", b"avc1", b"mvhd", b"mdhd", b"stts", b"stsz", b"stsc", b"stco", b"ctts", b"avcC", b"elst"):
        at = mp4.find(box)
        if at < 0:
            continue
        for filling in (b"\0", b"\xff", b"\x7f"):
            size = min(40, struct.unpack(">I", mp4[at - 4 : at])[0] - 8)
            yield f"{box.decode()} full of {filling.hex()}.mp4", mp4[: at + 4] + filling * size + mp4[at + 4 + size :]
        yield f"{box.decode()} gone.mp4", mp4.replace(box, b"free", 1)
    at = mp4.find(b"avc1") + 28  # width and height in the sample's description
    for width, height in ((0, 0), (1, 1), (65535, 65535), (16384, 16384)):
        yield f"declared {width}x{height}.mp4", mp4[:at] + struct.pack(">HH", width, height) + mp4[at + 4 :]
    avi = good["mjpeg.avi"]
    at = avi.find(b"strf") + 12
    for width, height in ((60000, 60000), (-200, -200), (0, 0), (2**31 - 1, 1)):
        yield f"declared {width}x{height}.avi", avi[:at] + struct.pack("<ii", width, height) + avi[at + 8 :]
    at = avi.find(b"avih") + 8
    for period in (0, 1, 2**32 - 1):
        yield f"{period} us a frame.avi", avi[:at] + struct.pack("<I", period) + avi[at + 4 :]
    at = avi.find(b"strh") + 28
    for scale, rate in ((0, 0), (1, 0), (0, 30), (2**31 - 1, 1), (1, 2**31 - 1)):
        yield f"rate {rate} by {scale}.avi", avi[:at] + struct.pack("<II", scale, rate) + avi[at + 8 :]
    for k in range(6):
        yield (
            f"bits in the first kilobyte {k}.mkv",
            damage.flipped(good["sound.mkv"][:1024], rng, 12) + good["sound.mkv"][1024:],
        )
    yield (
        "huge.gif",
        b"GIF89a"
        + struct.pack("<HH", 65535, 65535)
        + b"\xf7\0\0"
        + bytes(768)
        + b",\0\0\0\0\xff\xff\xff\xff\0\x08\x02\x4c\x01\0;",
    )
    yield "huge.y4m", b"YUV4MPEG2 W60000 H60000 F30:1\nFRAME\n" + bytes(1000)
    yield "no size.y4m", b"YUV4MPEG2 W0 H0 F30:1\nFRAME\n"
    yield "no rate.y4m", b"YUV4MPEG2 W64 H64 F0:0\n" + (b"FRAME\n" + bytes(64 * 96)) * 3


def _odd(root: Path) -> Iterator[tuple[str, bytes]]:
    frames = whole.face()
    path = root / "odd.avi"
    for width, height in ((1, 1), (2, 2), (3, 200), (200, 3), (17, 33), (199, 201)):
        small = [cv2.resize(frame, (width, height)) for frame in frames]
        yield f"{width}x{height}.avi", whole.video(path, small, codec="ffv1", pixels="bgr0")
    for pixels in ("gray", "gray10le", "yuv444p10le", "bgra", "yuva420p", "rgb48le"):
        yield f"{pixels}.avi", whole.video(path, frames, codec="ffv1", pixels=pixels)
    path.unlink()
    smaller = [cv2.resize(frame, (120, 90)) for frame in frames]
    yield "grows smaller.mjpeg", b"".join(_jpeg(f) for f in (*frames, *smaller))
    yield "another size in the middle.mjpeg", b"".join(_jpeg(f) for f in (*frames[:6], smaller[0], *frames[6:]))
    yield "one frame.mjpeg", _jpeg(frames[0])
    yield "two frames.mjpeg", _jpeg(frames[0]) + _jpeg(frames[1])
    yield "no face.mjpeg", _jpeg(np.full((90, 120, 3), 90, np.uint8)) * 12
    wide = np.full((16, 8000, 3), 90, np.uint8)
    yield "very wide.mjpeg", _jpeg(wide) * 3
    annexb = root / "annexb.h264"
    first, second = whole.video(annexb, frames), whole.video(annexb, smaller)
    annexb.unlink()
    yield "size changes.h264", first + second
    yield "no key frame.h264", first[len(first) // 3 :]
