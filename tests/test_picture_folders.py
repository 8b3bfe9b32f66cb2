"""Pictures as cameras and programs write them: names that hold moments, stacks, EXIF in the frames of a video.

Picture k is gray, of brightness 20 + 10 k, so what a picture shows is its number.
"""

import io
import struct
import unicodedata
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from openmer import InputError
from openmer.media.container import MAYBE_MIRRORED
from openmer.media.reader import VideoReader
from test_clock import MATRIX, UPRIGHT, corners, level, lying, shown


def folder_of(path: Path, names: list[str]) -> Path:
    path.mkdir()
    for k, name in enumerate(names):
        cv2.imwrite(str(path / name), level(k))
    return path


def test_names_that_hold_moments_are_told_or_refused(tmp_path: Path) -> None:
    """A camera at 100 a second names pictures by milliseconds: as frames at 100 a second they would last 10 times as
    long; at 1000 a second their times are right. By microseconds they would be a picture every 100 s."""
    ms = folder_of(tmp_path / "ms", [f"{1_700_000_000_000 + 10 * k}.png" for k in range(4)])
    reader = VideoReader(ms, fps=Fraction(100))
    (told,) = reader.problems
    assert "rise by 10 from picture to picture, which at 100 a second is a picture every 0.1 s" in told
    reader = VideoReader(ms, fps=Fraction(1000))
    assert [f.time_s for f in reader] == pytest.approx([0, 0.01, 0.02, 0.03])
    assert reader.info.clock.fps == pytest.approx(100), "pictures a second, not units of the numbers"
    us = folder_of(tmp_path / "us", [f"{1_700_000_000_000_000 + 10_000 * k}.png" for k in range(4)])
    with pytest.raises(InputError, match=r"us rise by 10000 .* a picture every 100 s; if they are moments, --fps is"):
        VideoReader(us, fps=Fraction(100))


def test_numbers_without_a_picture_are_told(tmp_path: Path) -> None:
    """Frames 8, 9 and 10 were not saved; the pictures after them keep their times."""
    pictures = folder_of(tmp_path / "clip", [f"img{n:03d}.png" for n in (6, 7, 11, 12)])
    reader = VideoReader(pictures, fps=Fraction(100))
    assert [f.time_s for f in reader] == pytest.approx([0, 0.01, 0.05, 0.06])
    assert reader.problems == ["3 numbers have no picture, the first after 7; the time of as many frames passes there"]


def test_zeros_of_changing_length_and_numbers_beyond_32_bits(tmp_path: Path) -> None:
    names = ["img8.png", "img09.png", "img010.png", "img11.png"]
    for number, paths in ((8, names), (3_000_000_000, [f"f{3_000_000_000 + k}.png" for k in range(4)])):
        reader = VideoReader(folder_of(tmp_path / str(number), paths), fps=Fraction(100))
        assert [(f.index, shown(f)) for f in reader] == [(number + k, k) for k in range(4)]
        assert reader.problems == []


def test_accents_in_two_forms_are_one_series(tmp_path: Path) -> None:
    """Half of the pictures were copied by a Macintosh, which writes `é` as two characters."""
    names = [unicodedata.normalize("NFD" if k % 2 else "NFC", f"caméra #1 100% {k}.png") for k in range(4)]
    frames = list(VideoReader(folder_of(tmp_path / "clip", names), fps=Fraction(100)))
    assert [(f.index, shown(f), f.picture) for f in frames] == [(k, k, names[k]) for k in range(4)]


def test_a_stack_of_pictures_in_one_file_is_refused(tmp_path: Path) -> None:
    """Of which only the first picture would be read."""
    folder_of(tmp_path / "clip", ["stack1.tif"])
    assert cv2.imwritemulti(str(tmp_path / "clip" / "stack1.tif"), [level(k) for k in range(3)])
    for source in (tmp_path / "clip", tmp_path / "clip" / "stack1.tif"):
        with pytest.raises(InputError, match=r"stack1.tif is a stack of 3 pictures; save each as a file of its own"):
            VideoReader(source, fps=Fraction(100))


@pytest.mark.parametrize("kind", ["CMYK", "1", "P", "LA", "RGBA"])
def test_pictures_of_any_kind_show_their_light(tmp_path: Path, kind: str) -> None:
    from PIL import Image

    name = "a{}.jpg" if kind == "CMYK" else "a{}.png"
    for k, light in enumerate((20, 200)):  # with one bit a pixel, so many of 255 are white
        Image.fromarray(np.full((48, 64, 3), light, np.uint8)).convert(kind).save(tmp_path / name.format(k))
    dark, bright = (float(f.image.mean()) for f in VideoReader(tmp_path, fps=Fraction(100), gray=True))
    assert (dark, bright) == pytest.approx((20, 200), abs=3)


def with_exif(path: Path, orientation: int) -> Path:
    """MJPEG with EXIF in its frames, as cameras write it, lying as the file's matrix says."""
    from PIL import Image

    exif, picture = Image.Exif(), io.BytesIO()
    exif[0x131] = "camera"
    Image.fromarray(lying(1)).save(picture, "JPEG", quality=95, exif=exif)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        for k in range(3):
            packet = av.Packet(picture.getvalue())
            packet.pts = packet.dts = k
            packet.time_base, packet.stream, packet.is_keyframe = Fraction(1, 30), stream, True
            container.mux(packet)
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 4 + 20 + 8 + 8
    a, b, c, d = (value << 16 for value in MATRIX[orientation])
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(bytes(data))
    return path


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_exif_in_the_frames_of_a_video_is_no_hindrance(tmp_path: Path, orientation: int) -> None:
    reader = VideoReader(with_exif(tmp_path / "v.mov", orientation))
    frames = list(reader)
    assert len(frames) == 3 and corners(frames[0].image) == corners(UPRIGHT[orientation](lying(orientation)))
    assert [p for p in reader.problems if "mirrored" in p] == ([MAYBE_MIRRORED] if orientation != 1 else [])


@pytest.mark.parametrize("orientation", [2, 5, 7])
def test_where_a_mirror_cannot_be_read_it_is_told(tmp_path: Path, orientation: int) -> None:
    """Left and right may be wrong there, which nobody must have to guess."""
    assert MAYBE_MIRRORED in VideoReader(with_exif(tmp_path / "v.mov", orientation)).problems
