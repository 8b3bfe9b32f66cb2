import struct
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from footage import write_video
from openmer import InputError
from openmer.media.reader import VideoReader


def gray_levels(count: int) -> list[np.ndarray]:
    """Frames that tell their number by their brightness."""
    return [np.full((48, 64, 3), 20 + 10 * k, np.uint8) for k in range(count)]


def test_frames_come_in_order_with_exact_times(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", gray_levels(6), Fraction(30000, 1001))
    reader = VideoReader(path, gray=True)
    frames = list(reader)
    assert reader.info.fps == Fraction(30000, 1001)
    assert [f.index for f in frames] == list(range(6))
    assert [f.time_s for f in frames] == [float(Fraction(1001, 30000) * k) for k in range(6)]
    assert [round(float(f.image.mean())) for f in frames] == pytest.approx([20 + 10 * k for k in range(6)], abs=2)
    assert len(list(reader)) == 6, "a reader can be gone through twice"


def test_variable_frame_rate_is_kept(tmp_path: Path) -> None:
    stamps = [0, 40, 50, 200, 333]
    path = write_video(tmp_path / "v.mkv", gray_levels(5), Fraction(30), pts=stamps)
    assert [f.time_s for f in VideoReader(path)] == pytest.approx([s / 1000 for s in stamps], abs=1e-9)


def test_start_and_end_cut_by_time_and_keep_the_numbering(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", gray_levels(10), Fraction(10))
    frames = list(VideoReader(path, start_s=0.3, end_s=0.6))
    assert [f.index for f in frames] == [3, 4, 5, 6]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_times_printed_with_6_digits_hold_their_own_frame(tmp_path: Path, kind: str) -> None:
    """Frames 2 and 10 of 30 a second are at 0.06666... and 0.33333... s; a tenth of a millisecond more or less is not
    there."""
    if kind == "file":
        path = write_video(tmp_path / "v.mp4", gray_levels(12), Fraction(30))
    else:
        path = tmp_path
        for k, image in enumerate(gray_levels(12)):
            cv2.imwrite(str(path / f"{k}.png"), image)

    def numbers(start_s: float, end_s: float) -> list[int]:
        reader = VideoReader(path, fps=Fraction(30), start_s=start_s, end_s=end_s)
        found = [f.index for f in reader]
        assert reader.expected_frames == len(found)
        return found

    assert numbers(0.066667, 0.333333) == list(range(2, 11))
    assert numbers(0.0668, 0.3332) == list(range(3, 10))
    assert [f.index for f in VideoReader(path, fps=Fraction(30), start_s=0.366667)] == [11]
    with pytest.raises(InputError, match=r"ends at 0\.37 s, before 0\.3668 s"):
        list(VideoReader(path, fps=Fraction(30), start_s=0.3668))


def test_a_start_beyond_the_end_says_where_the_end_is(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", gray_levels(10), Fraction(10))
    with pytest.raises(InputError, match=r"v.mp4 ends at 0.90 s, before 30 s"):
        list(VideoReader(path, start_s=30))


def turned(path: Path) -> Path:
    """Write a quarter turn clockwise into the track header of an mp4, as a phone held upright does."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 4 + 20 + 8 + 8  # version and flags, times and ids, reserved, layer to reserved
    clockwise = (0, 1 << 16, 0, -(1 << 16), 0, 0, 64 << 16, 0, 1 << 30)
    data[at : at + 36] = struct.pack(">9i", *clockwise)
    path.write_bytes(bytes(data))
    return path


def test_rotation_metadata_is_applied(tmp_path: Path) -> None:
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:24, :32] = 255  # white in the upper left corner
    path = turned(write_video(tmp_path / "v.mp4", [picture] * 3, Fraction(30)))
    reader = VideoReader(path, gray=True)
    image = next(iter(reader)).image
    assert (reader.info.width, reader.info.height) == (48, 64)
    assert image.shape == (64, 48)
    # Turned clockwise, the upper left corner comes to lie at the upper right.
    assert image[:30, 26:].mean() > 240 and image[:30, :22].mean() < 15 and image[34:].mean() < 15


def test_pixels_that_are_not_square_are_made_so(tmp_path: Path) -> None:
    path = tmp_path / "v.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(2, 1)
        picture = np.zeros((48, 64, 3), np.uint8)
        picture[:, 32:] = 255
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    reader = VideoReader(path, gray=True)
    image = next(iter(reader)).image
    assert (reader.info.width, reader.info.height) == (128, 48) and image.shape == (48, 128)
    assert image[:, :60].mean() < 10 and image[:, 68:].mean() > 245


def transport_stream(
    path: Path, size: tuple[int, int], aspect: Fraction | None, *, codec: str = "mpeg2video", interlaced: bool = False
) -> bytes:
    """Ten gray pictures; an aspect of None is one that the pictures do not state."""
    width, height = size
    options = {"flags": "+ildct+ilme"} if interlaced else {}
    with av.open(str(path), "w", format="mpegts") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        for _ in range(10):
            picture = av.VideoFrame.from_ndarray(np.full((height, width, 3), 90, np.uint8), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path.read_bytes()


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(
    ("size", "aspect", "said"),
    [
        ((160, 96), "1", "the picture size of .* changes from 128x96 to 160x96"),
        ((128, 128), "1", "the picture size of .* changes from 128x96 to 128x128"),
        ((96, 96), "4/3", "the picture size of .* changes from 128x96 to 96x96"),
        ((128, 96), "4/3", "the pixel shape of .* changes from 1:1 to 4:3"),
    ],
    ids=["wider", "higher", "as wide on a screen", "wide screen"],
)
def test_a_change_inside_a_file_is_refused_and_what_is_before_it_read(
    tmp_path: Path, size: tuple[int, int], aspect: str, said: str, interlaced: bool
) -> None:
    """As when a channel changes its programme: frame 10, at 0.4 s, is the first of the other kind. A decoder knows the
    new shape of pixels one picture early."""
    one = transport_stream(tmp_path / "one.ts", (128, 96), Fraction(1), interlaced=interlaced)
    other = transport_stream(tmp_path / "other.ts", size, Fraction(aspect), interlaced=interlaced)
    path = tmp_path / "joined.ts"
    path.write_bytes(one + other)
    with pytest.raises(InputError, match=rf"{said} \(0\.(36 s, frame 9|40 s, frame 10)\); cut the video at that point"):
        list(VideoReader(path))
    before = list(VideoReader(path, end_s=0.34))
    assert [f.index for f in before] == list(range(9)) and {f.image.shape for f in before} == {(96, 128, 3)}


@pytest.mark.parametrize("aspects", [(None, "1"), ("1", None), ("4/3", None), ("4/3", "4/3")])
def test_a_pixel_shape_that_is_missing_is_no_change(tmp_path: Path, aspects: tuple[str | None, str | None]) -> None:
    parts = [None if a is None else Fraction(a) for a in aspects]
    path = tmp_path / "joined.ts"
    path.write_bytes(b"".join(transport_stream(tmp_path / "part.ts", (96, 96), a, codec="libx264") for a in parts))
    width = 128 if aspects[0] == "4/3" else 96
    assert [f.image.shape for f in VideoReader(path)] == [(96, width, 3)] * 20


def test_a_name_with_a_colon_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_video(tmp_path / "v.mp4", gray_levels(3), Fraction(30)).rename(tmp_path / "12:30.mp4")
    monkeypatch.chdir(tmp_path)
    assert len(list(VideoReader(Path("12:30.mp4")))) == 3


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("talk.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1,\n{other}\n#EXT-X-ENDLIST\n"),
        ("talk.mp4", "ffconcat version 1.0\nfile {other}\n"),
        ("talk.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n"),
    ],
    ids=["playlist", "concat", "address"],
)
def test_a_file_that_names_other_files_is_refused(tmp_path: Path, name: str, text: str) -> None:
    write_video(tmp_path / "other.ts", (np.full((64, 64, 3), k, np.uint8) for k in range(10)), Fraction(30))
    (tmp_path / name).write_text(text.format(other="other.ts"))
    with pytest.raises(InputError, match=r"is a list of other files|cannot read .* as a video"):
        VideoReader(tmp_path / name)


def test_a_title_in_another_encoding_is_no_reason_to_stop(tmp_path: Path) -> None:
    path = tmp_path / "v.mkv"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "TITLEtitle"
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for image in gray_levels(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    data = path.read_bytes()
    assert b"TITLEtitle" in data
    path.write_bytes(data.replace(b"TITLEtitle", b"\xb0\xff\xfe\xe9title\xe9"))
    assert len(list(VideoReader(path))) == 3


def test_a_folder_is_read_by_number_and_keeps_holes_in_time(tmp_path: Path) -> None:
    for number in (8, 9, 10, 12):
        cv2.imwrite(str(tmp_path / f"img{number}.png"), np.full((8, 8), number, np.uint8))
    (tmp_path / "notes.txt").write_text("not an image")
    frames = list(VideoReader(tmp_path, fps=Fraction(200), gray=True))
    assert [int(f.image[0, 0]) for f in frames] == [8, 9, 10, 12]
    assert [f.time_s for f in frames] == pytest.approx([0, 0.005, 0.01, 0.02])


def test_pictures_that_are_no_frames_are_named_and_left_out(tmp_path: Path) -> None:
    for name in ("img1.png", "img2.png", "img2(2).png", "img1 - Copy.png", "cover.png"):
        cv2.imwrite(str(tmp_path / name), np.zeros((8, 8), np.uint8))
    (tmp_path / "img3.png").write_bytes(b"")
    reader = VideoReader(tmp_path, fps=Fraction(30))
    assert reader.numbers == (1, 2) and len(list(reader)) == 2
    assert [said.partition(":")[0] for said in reader.problems] == ["4 images, such as cover.png, are left out"]
    with pytest.raises(InputError, match=r"ends at 0\.03 s, before 5 s"):
        list(VideoReader(tmp_path, fps=Fraction(30), start_s=5))


def test_numbers_in_brackets_are_numbers_where_there_are_no_others(tmp_path: Path) -> None:
    """So Windows names many files that are renamed at once."""
    for k in (1, 2, 10):
        cv2.imwrite(str(tmp_path / f"frame ({k}).png"), np.zeros((8, 8), np.uint8))
    assert VideoReader(tmp_path, fps=Fraction(30)).numbers == (1, 2, 10)


@pytest.mark.parametrize(
    ("names", "fps", "said"),
    [
        ([], 30, "no images"),
        (["a.png"], 30, "no image in .* has a number"),
        (["a1 - Copy.png", f"a{10**18}.png"], 30, "no image in .* has a number"),
        (["a1.png", "b01.png"], 30, "several series"),
        (["a1.png"], None, "--fps"),
    ],
)
def test_a_bad_folder_is_explained(tmp_path: Path, names: list[str], fps: int | None, said: str) -> None:
    for name in names:
        cv2.imwrite(str(tmp_path / name), np.zeros((8, 8), np.uint8))
    with pytest.raises(InputError, match=said):
        VideoReader(tmp_path, fps=None if fps is None else Fraction(fps))


def test_images_of_different_size_are_refused(tmp_path: Path) -> None:
    for number, side in ((1, 8), (2, 9)):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.zeros((side, side), np.uint8))
    with pytest.raises(InputError, match="the same size"):
        list(VideoReader(tmp_path, fps=Fraction(30)))


def test_an_unreadable_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"1\.png"):
        VideoReader(tmp_path, fps=Fraction(30))


def audio_only(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_files_that_are_no_video_are_explained(tmp_path: Path) -> None:
    text, empty = tmp_path / "text.mp4", tmp_path / "empty.mp4"
    text.write_text("this is a text\n" * 100)
    empty.touch()
    whole = write_video(tmp_path / "whole.mp4", gray_levels(10), Fraction(30))
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])  # the index stands at the end and is gone
    for path, said in (
        (text, "is it a video"),
        (empty, "the file is empty"),
        (cut, "complete"),
        (audio_only(tmp_path / "sound.mp4"), "no video stream, only audio"),
        (tmp_path / "nothing.mp4", "no file or folder"),
    ):
        with pytest.raises(InputError, match=said):
            VideoReader(path)


def test_a_stream_cut_in_the_middle_gives_what_is_there(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 255, (96, 128, 3), np.uint8) for _ in range(30)]
    whole = write_video(tmp_path / "whole.mkv", frames, Fraction(30))
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    assert 5 < len(list(VideoReader(cut))) < 30


@pytest.mark.parametrize(("start", "end", "fps"), [(-1.0, None, None), (2.0, 1.0, None), (0.0, None, Fraction(0))])
def test_impossible_settings_are_refused(tmp_path: Path, start: float, end: float | None, fps: Fraction | None) -> None:
    path = write_video(tmp_path / "v.mp4", gray_levels(2), Fraction(30))
    with pytest.raises(InputError):
        VideoReader(path, start_s=start, end_s=end, fps=fps)


def test_a_picture_that_is_left_out_keeps_its_number(tmp_path: Path) -> None:
    """Numbers are places in decoding order, to which annotations refer."""
    path = tmp_path / "v.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for k, stamp in enumerate((0, 1, 1, 2)):
            picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 40 * k, np.uint8), format="rgb24")
            picture.pts = k
            for packet in stream.encode(picture):
                packet.pts = packet.dts = round(stamp * 1000 / 30)
                packet.time_base = Fraction(1, 1000)
                container.mux(packet)
    reader = VideoReader(path, gray=True)
    assert [(f.index, round(float(f.image.mean()) / 40)) for f in reader] == [(0, 0), (1, 1), (3, 3)]
    assert reader.problems == ["frames left out because they are not later than the frame before: 1, from frame 2 on"]
