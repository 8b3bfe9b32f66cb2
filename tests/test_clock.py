"""Troubles of files that people report: a test a kind, each file made here, each right value worked by hand.

Frame k of every video is a gray picture of brightness 20 + 10 k, so what a picture shows is its number.
"""

import struct
from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageSequence

from openmer import InputError
from openmer.media.clock import Notes, on_one_clock, stretches, typical_step
from openmer.media.reader import Frame, VideoReader
from openmer.video.figure import SLOWER, write_moving
from openmer.video.frame import Light

MS = Fraction(1, 1000)
Change = Callable[[int, "av.Packet"], "av.Packet | None"]


def level(number: int) -> npt.NDArray[np.uint8]:
    return np.full((48, 64, 3), 20 + 10 * number, np.uint8)


def shown(frame: Frame) -> int:
    """The number that a picture shows."""
    return round((float(frame.image.mean()) - 20) / 10)


def write(
    path: Path,
    count: int = 20,
    *,
    codec: str = "mpeg4",
    rate: int = 30,
    form: str | None = None,
    late_s: float = 0.0,
    sound: bool = False,
    sound_late_s: float = 0.0,
    change: Change | None = None,
    tags: dict[str, str] | None = None,
    options: dict[str, str] | None = None,
    pictures: Iterable[npt.NDArray[np.uint8]] | None = None,
) -> Path:
    """A video of `count` frames; `change` gets each packet before it is written, None leaves it out."""
    moving = {"avoid_negative_ts": "disabled"} | ({"movflags": "+use_metadata_tags"} if tags else {})
    with av.open(str(path), "w", format=form, options=moving) as container:
        container.metadata.update(tags or {})
        stream = container.add_stream(codec, rate=rate, options={"g": "1"} if options is None else options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p" if codec == "mjpeg" else "yuv420p"
        audio = container.add_stream("aac", rate=48000) if sound else None
        if audio is not None:
            for k in range(round(count / rate * 48000 / 1024) + 40):
                silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
                silence.rate, silence.time_base = 48000, Fraction(1, 48000)
                silence.pts = 1024 * k + round(48000 * sound_late_s)
                container.mux(audio.encode(silence))
            container.mux(audio.encode(None))
        packets = []
        for image in pictures or map(level, range(count)):
            packets += stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24"))
        packets += stream.encode(None)
        for k, packet in enumerate(packets):
            if late_s:
                shift = round(Fraction(late_s).limit_denominator(10**6) / packet.time_base)
                packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
            changed = packet if change is None else change(k, packet)
            if changed is not None:
                container.mux(changed)
    return path


def at_ms(stamps: Iterable[int]) -> Change:
    """Packets with these stamps in milliseconds."""
    given = list(stamps)

    def change(k: int, packet: "av.Packet") -> "av.Packet":
        packet.pts = packet.dts = given[k]
        packet.time_base = MS
        return packet

    return change


def without(*numbers: int) -> Change:
    return lambda k, packet: None if k in numbers else packet


@pytest.mark.parametrize("name", ["late.mkv", "late.mp4", "late.ts", "late.mov"])
def test_a_picture_stream_that_starts_late_is_on_the_files_clock(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, late_s=0.7, sound=True)
    frames = list(VideoReader(path))
    assert [f.time_s for f in frames] == pytest.approx([0.7 + k / 30 for k in range(20)], abs=0.03)
    assert [f.index for f in frames] == list(range(20)), "numbers still count pictures"
    part = list(VideoReader(path, start_s=1.0, end_s=1.1))
    assert part[0].time_s >= 1.0 and {shown(f) for f in part} <= {8, 9, 10, 11, 12}


@pytest.mark.parametrize("name", ["late.mp4", "late.mov"])
@pytest.mark.parametrize("sound", [False, True])
def test_an_mp4_counts_from_0_even_if_everything_in_it_is_late(tmp_path: Path, name: str, sound: bool) -> None:
    """Pictures delayed by an empty edit, sound half as long: mpv 0.35 and Chromium 150 show the first at 0.7 s."""
    path = write(tmp_path / name, late_s=0.7, sound=sound, sound_late_s=0.35)
    assert [f.time_s for f in VideoReader(path)] == pytest.approx([0.7 + k / 30 for k in range(20)], abs=0.03)


@pytest.mark.parametrize("name", ["v.mkv", "v.mp4"])
def test_sound_that_begins_before_0_moves_no_picture(tmp_path: Path, name: str) -> None:
    """It only fills the decoder; mpv 0.35 shows the first picture at 0."""
    path = write(tmp_path / name, sound=True, sound_late_s=-0.022)
    assert [f.time_s for f in VideoReader(path)] == pytest.approx([k / 30 for k in range(20)], abs=1e-3)


def test_where_players_count_differently_it_is_told(tmp_path: Path) -> None:
    """A Matroska file whose first stamp is 0.7 s: mpv 0.35 shows 0 there, Chromium 150 shows 0.7."""
    reader = VideoReader(write(tmp_path / "late.mkv", late_s=0.7))
    assert [f.time_s for f in reader] == pytest.approx([k / 30 for k in range(20)], abs=1e-3)
    (remark,) = reader.problems
    assert "begins at 0.700 s" in remark and "browser" in remark
    assert VideoReader(write(tmp_path / "v.mkv")).problems == []


def test_a_transport_stream_starts_at_zero_whatever_its_first_stamp(tmp_path: Path) -> None:
    path = write(tmp_path / "v.ts", late_s=3600.0)
    assert [f.time_s for f in VideoReader(path)] == pytest.approx([k / 30 for k in range(20)], abs=1e-4)


@pytest.mark.parametrize("before", [10, 19])
def test_a_clock_of_33_bits_that_wraps_runs_on(tmp_path: Path, before: int) -> None:
    start = 2**33 - before * 3000

    (tmp_path / "a.ts").write_bytes(_ts(tmp_path, [(start + 3000 * k) % 2**33 for k in range(20)]))
    frames = list(VideoReader(tmp_path / "a.ts"))
    assert [shown(f) for f in frames] == list(range(20))
    assert [f.time_s for f in frames] == pytest.approx([k / 30 for k in range(20)], abs=1e-4)


def _ts(folder: Path, stamps: list[int]) -> bytes:
    """A transport stream whose stamps are rewritten in the packets themselves; it has no times of decoding."""
    data = bytearray(write(folder / "plain.ts", len(stamps)).read_bytes())
    waiting = iter(stamps)
    for at in range(0, len(data), 188):
        start = data.find(b"\x00\x00\x01\xe0", at, at + 188)
        if start >= 0 and data[start + 7] & 0x80:
            stamp, kind = next(waiting), data[start + 9] >> 4
            words = [kind << 4 | (stamp >> 30) << 1 | 1, (stamp >> 15 & 0x7FFF) << 1 | 1, (stamp & 0x7FFF) << 1 | 1]
            data[start + 9 : start + 14] = struct.pack(">BHH", *words)
    return bytes(data)


def test_two_recordings_in_one_file_are_both_read_and_told_once(tmp_path: Path) -> None:
    one = write(tmp_path / "one.ts").read_bytes()
    (tmp_path / "two.ts").write_bytes(one + one)
    reader = VideoReader(tmp_path / "two.ts")
    frames = list(reader)
    assert [shown(f) for f in frames] == [*range(20), *range(20)]
    assert [f.time_s for f in frames] == pytest.approx([k / 30 for k in range(40)], abs=1e-3)
    assert reader.problems == [
        "parts whose times start anew, as in joined recordings (the clock runs on there): 1, from frame 20 on"
    ]


def test_a_pause_stays_and_the_rate_is_that_of_the_steps(tmp_path: Path) -> None:
    stamps = [round(1000 * k / 30) + (60_000 if k >= 10 else 0) for k in range(20)]
    reader = VideoReader(write(tmp_path / "v.mkv", change=at_ms(stamps)))
    assert [f.time_s for f in reader] == pytest.approx([s / 1000 for s in stamps], abs=1e-9)
    assert reader.info.clock.fps == pytest.approx(30, rel=0.01) and reader.problems == []


@pytest.mark.parametrize(
    ("stamps", "numbers", "problem"),
    [
        ([0, 33, 67, 900_000, 133, 167, 200], [0, 1, 2, 4, 5, 6], "far from their neighbours'"),
        ([900_000, 33, 67, 100, 133, 167, 200], [1, 2, 3, 4, 5, 6], "far from their neighbours'"),
        ([0, 33, 67, 100, 133, 167, 900_000], [0, 1, 2, 3, 4, 5], "far from their neighbours'"),
        ([0, 33, 67, 67, 67, 167, 200], [0, 1, 2, 5, 6], "not later than the frame before"),
    ],
    ids=["wild", "wild first", "wild last", "stuck"],
)
def test_stamps_that_are_wrong_drop_their_frame_and_are_told_once(
    tmp_path: Path, stamps: list[int], numbers: list[int], problem: str
) -> None:
    (tmp_path / "v.ts").write_bytes(_ts(tmp_path, [90 * stamp for stamp in stamps]))
    reader = VideoReader(tmp_path / "v.ts")
    frames = list(reader)
    assert [f.index for f in frames] == [shown(f) for f in frames] == numbers
    first = stamps[numbers[0]]
    assert [f.time_s for f in frames] == pytest.approx([(stamps[n] - first) / 1000 for n in numbers], abs=1e-6)
    assert len(reader.problems) == 1 and problem in reader.problems[0]


def test_frames_without_a_time_get_one_between_their_neighbours() -> None:
    stamps = [Fraction(0), Fraction(1, 10), None, None, Fraction(4, 10), Fraction(5, 10)]
    notes = Notes()
    timed = on_one_clock(((s, k, None) for k, s in enumerate(stamps)), Fraction(1, 10), notes)
    assert [at for at, _, _ in timed] == [Fraction(k, 10) for k in range(6)]
    (sentence,) = notes.sentences()
    assert sentence == "frames without a time of their own, which get one from their neighbours: 2, from frame 2 on"


def test_the_usual_step_is_not_that_of_rounding_nor_of_a_pause() -> None:
    stamps = [Fraction(round(1000 * k / 30), 1000) for k in range(31)]
    assert typical_step(stamps) == Fraction(1, 30)
    assert typical_step([*stamps, Fraction(3600)]) == Fraction(1, 30)
    assert typical_step([Fraction(1)]) is None


def test_stretches_are_judged_by_their_own_steps() -> None:
    # 5 frames a second, then a minute's pause, then 60 a second with three frames missing, one frame alone
    slow, fast = np.arange(6) * 0.2, 61 + np.arange(30) / 60
    holed = np.delete(fast, range(10, 17))
    times = np.concatenate([slow, holed, [200.0]])
    assert [(part.start, part.stop) for part in stretches(times)] == [(0, 6), (6, 16), (16, 29), (29, 30)]
    assert stretches(np.array([1.0])) == [slice(0, 1)]


@pytest.mark.parametrize(
    ("codec", "form"),
    [("libx264", "h264"), ("libx265", "hevc"), ("mpeg4", "m4v"), ("mjpeg", "mjpeg"), ("mpeg2video", "mpeg2video")],
)
def test_a_raw_stream_has_no_times_and_asks_for_its_rate(tmp_path: Path, codec: str, form: str) -> None:
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    path = write(tmp_path / f"v.{form}", codec=codec, form=form, options=options)
    with pytest.raises(InputError, match=r"no timestamps .*--fps"):
        VideoReader(path)
    reader = VideoReader(path, fps=Fraction(50))
    assert [(f.index, f.time_s) for f in reader] == [(k, k / 50) for k in range(20)]
    assert (reader.info.clock.fps, reader.info.clock.slowdown) == (50, 1)


def test_empty_frames_of_an_avi_count_and_take_their_time(tmp_path: Path) -> None:
    path = write(tmp_path / "v.avi", change=without(5, 6, 7, 8))
    frames = list(VideoReader(path))
    assert [f.index for f in frames] == [shown(f) for f in frames] == [*range(5), *range(9, 20)]
    assert [f.time_s for f in frames] == pytest.approx([f.index / 30 for f in frames])
    slow = VideoReader(path, fps=Fraction(240))
    assert [f.time_s for f in slow] == pytest.approx([f.index / 30 for f in frames]), "the file's own clock stays"
    assert [f.real_s for f in slow] == pytest.approx([f.index / 240 for f in frames])


@pytest.mark.parametrize("codec", ["mpeg4", "mjpeg", "libx264"])
def test_empty_frames_elsewhere_count_in_their_own_place(tmp_path: Path, codec: str) -> None:
    """A decoder of several threads gives pictures many packets later than it gets them."""

    def emptied(k: int, packet: "av.Packet") -> "av.Packet":
        if k not in (3, 4, 11):
            return packet
        empty = av.Packet(0)
        empty.pts, empty.dts, empty.time_base, empty.stream = packet.pts, packet.dts, packet.time_base, packet.stream
        return empty

    options = {"g": "1"} | ({"crf": "1", "bf": "0"} if codec == "libx264" else {})
    frames = list(VideoReader(write(tmp_path / "v.nut", codec=codec, options=options, change=emptied)))
    assert [f.index for f in frames] == [shown(f) for f in frames] == [k for k in range(20) if k not in (3, 4, 11)]
    assert [f.time_s for f in frames] == pytest.approx([f.index / 30 for f in frames], abs=6e-4)


def test_reordered_frames_of_an_avi_are_all_read(tmp_path: Path) -> None:
    path = write(tmp_path / "v.avi", codec="libx264", options={"crf": "1", "bf": "2", "b-adapt": "0"})
    frames = list(VideoReader(path))
    assert [f.index for f in frames] == [shown(f) for f in frames] == list(range(20))
    assert [f.time_s for f in frames] == pytest.approx([k / 30 for k in range(20)])


def test_a_slow_motion_tag_makes_a_second_clock_and_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "v.mp4", tags={"com.android.capture.fps": "240.000000"})
    reader = VideoReader(path)
    frames = list(reader)
    clock = reader.info.clock
    assert (clock.fps, clock.slowdown, clock.real_fps) == (30, 8, 240)
    assert clock.real_fps_from == "com.android.capture.fps"
    assert [f.time_s for f in frames] == pytest.approx([k / 30 for k in range(20)])
    assert [f.real_s for f in frames] == pytest.approx([k / 240 for k in range(20)])
    assert len(reader.problems) == 1 and "com.android.capture.fps" in reader.problems[0]
    assert "--fps 240" in reader.problems[0]
    plain = VideoReader(path, fps=Fraction(30))
    assert plain.info.clock.slowdown == 1 and plain.problems == []


@pytest.mark.parametrize(
    ("shown_fps", "recorded", "slowdown"),
    [
        *((24, "30.0", 1), (20, "30.0", 1), (29, "30.0", 1), (30, "53.9", 1), (30, "54", 1.8), (15, "30", 2)),
        *((30, "24", 1), (30, "17", 1), (30, "16.5", 0.55), (30, "1", 1 / 30)),
    ],
)
def test_a_tag_near_the_rate_of_the_file_is_told_and_not_believed(
    tmp_path: Path, shown_fps: int, recorded: str, slowdown: float
) -> None:
    """In dim light a phone takes fewer pictures a second than its tag says, and real time is that of the file."""
    path = write(tmp_path / "v.mp4", rate=shown_fps, tags={"com.android.capture.fps": recorded})
    reader = VideoReader(path)
    assert reader.info.clock.slowdown == pytest.approx(slowdown) and reader.info.clock.fps == pytest.approx(shown_fps)
    (told,) = reader.problems
    assert f"capture.fps says that {float(recorded):g} frames a second were recorded" in told
    assert ("is not believed" in told) == (slowdown == 1) == (reader.info.clock.real_fps_from == "")
    forced = VideoReader(path, fps=Fraction(recorded))
    assert f"--fps {float(recorded):g}" in told and forced.problems == []
    assert forced.info.clock.slowdown == pytest.approx(float(recorded) / shown_fps)


@pytest.mark.parametrize(
    "rate", ["30", "30.000000", "29.97", "fast", "0", "1e99999999", "1e-9_99999999", "9e9999999999"]
)
def test_a_capture_rate_that_says_nothing_new_is_passed_over(tmp_path: Path, rate: str) -> None:
    reader = VideoReader(write(tmp_path / "v.mp4", tags={"com.android.capture.fps": rate}))
    assert reader.info.clock.slowdown == 1 and reader.problems == []


def test_the_default_stream_is_read_and_another_on_request(tmp_path: Path) -> None:
    path = tmp_path / "v.mkv"
    with av.open(str(path), "w") as container:
        screen = container.add_stream("mpeg4", rate=60)
        face = container.add_stream("mpeg4", rate=30)
        for stream in (screen, face):
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        screen.disposition, face.disposition = 0, av.stream.Disposition.default
        for stream, count, gray in ((screen, 20, 200), (face, 10, 60)):
            for _ in range(count):
                picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), gray, np.uint8), format="rgb24")
                container.mux(stream.encode(picture))
            container.mux(stream.encode(None))
    reader = VideoReader(path)
    frames = list(reader)
    assert len(frames) == 10 and abs(frames[0].image.mean() - 60) < 3
    assert reader.problems == [
        "of several video streams, 1 (mpeg4, 64x48) is read; --stream reads another: 0 (mpeg4, 64x48)"
    ]
    assert len(list(VideoReader(path, stream=0))) == 20
    with pytest.raises(InputError, match=r"no video stream 7 \(--stream\); it has 0 \(mpeg4, 64x48\), 1 "):
        VideoReader(path, stream=7)


# The eight ways in which a picture can lie, as EXIF numbers them: what must be done to see it upright.
UPRIGHT: dict[int, Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.uint8]]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}
# (a, b, c, d) of the matrix that does the same: pixel (x, y) goes to (a x + c y, b x + d y), y down.
MATRIX = {
    1: (1, 0, 0, 1),
    2: (-1, 0, 0, 1),
    3: (-1, 0, 0, -1),
    4: (1, 0, 0, -1),
    5: (0, 1, 1, 0),
    6: (0, 1, -1, 0),
    7: (0, -1, -1, 0),
    8: (0, -1, 1, 0),
}


def lying(orientation: int) -> npt.NDArray[np.uint8]:
    """64 x 48 as stored: three corners differ, so every orientation looks different."""
    stored = np.full((48, 64, 3), 30, np.uint8)
    stored[:24, :32], stored[:24, 32:] = 230, 130
    return np.ascontiguousarray(stored)


def corners(image: npt.NDArray[np.uint8]) -> list[int]:
    h, w = image.shape[:2]
    return [round(float(image[y : y + 4, x : x + 4].mean()), -1) for y in (4, h - 8) for x in (4, w - 8)]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("aspect", [1, 2])
def test_all_eight_orientations_of_a_file_are_upright(tmp_path: Path, orientation: int, aspect: int) -> None:
    path = tmp_path / "v.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(aspect)
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(lying(orientation), format="rgb24")))
        container.mux(stream.encode(None))
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 4 + 20 + 8 + 8
    a, b, c, d = (value << 16 for value in MATRIX[orientation])
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(bytes(data))
    reader = VideoReader(path)
    image = next(iter(reader)).image
    right = UPRIGHT[orientation](np.repeat(lying(orientation), aspect, axis=1))
    assert image.shape == right.shape == (reader.info.height, reader.info.width, 3)
    assert corners(image) == corners(right)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF"])
def test_all_eight_orientations_of_a_folder_are_upright(tmp_path: Path, orientation: int, form: str) -> None:

    exif = Image.Exif()
    exif[0x112] = orientation
    Image.fromarray(lying(orientation)).save(tmp_path / f"img1.{form.lower()}", form, exif=exif)
    (frame,) = VideoReader(tmp_path, fps=Fraction(30))
    assert corners(frame.image) == corners(UPRIGHT[orientation](lying(orientation)))


@pytest.mark.parametrize("container", ["v.mkv", "v.mpg"])
def test_interlaced_material_is_deinterlaced_and_told(tmp_path: Path, container: str) -> None:
    # A bar moves 8 px a field; the two fields of a frame hold it at two places.
    pictures = []
    for k in range(8):
        image = np.full((48, 128, 3), 30, np.uint8)
        for field in (0, 1):
            x = 8 + 8 * k + 8 * field // 2 * 2
            image[field::2, x : x + 8] = 220
        pictures.append(image)
    path = tmp_path / container
    with av.open(str(path), "w") as opened:
        stream = opened.add_stream("mpeg2video", rate=25, options={"flags": "+ildct+ilme", "q": "2", "g": "1"})
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 128, 48, "yuv420p", 4_000_000
        for image in pictures:
            opened.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        opened.mux(stream.encode(None))
    reader = VideoReader(path, gray=True)
    frames = list(reader)
    assert [f.index for f in frames] == list(range(8))
    assert [f.time_s for f in frames] == pytest.approx([k / 25 for k in range(8)], abs=2e-3)
    middle = frames[4].image.astype(int)
    combs = np.abs(middle[1:-1:2] - (middle[:-2:2] + middle[2::2]) / 2).mean()
    raw = np.asarray(cv2.cvtColor(pictures[4], cv2.COLOR_RGB2GRAY), int)
    assert combs < 0.3 * np.abs(raw[1:-1:2] - (raw[:-2:2] + raw[2::2]) / 2).mean()
    assert (
        len(reader.problems) == 1 and reader.problems[0].startswith("interlaced frames") and "8" in reader.problems[0]
    )


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
@pytest.mark.parametrize("color", [False, True])
def test_deep_pictures_are_scaled_by_the_bits_that_they_use(tmp_path: Path, bits: int, color: bool) -> None:
    top = 2**bits - 1
    image = np.full((16, 16, 3) if color else (16, 16), top // 2, np.uint16)
    image[:4] = top
    for k in range(3):
        cv2.imwrite(str(tmp_path / f"{k}.png"), image)
    reader = VideoReader(tmp_path, fps=Fraction(200), gray=True)
    frame = next(iter(reader)).image
    assert (int(frame[0, 0]), int(frame[8, 8])) == (255, 127)
    assert bool(reader.problems) == (bits < 16)


def test_deep_pictures_in_a_file_are_scaled_too(tmp_path: Path) -> None:
    path = tmp_path / "v.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=100)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "gray16le"
        for k in range(3):
            image = np.full((48, 64), 4095 if k else 2048, np.uint16)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="gray16le")))
        container.mux(stream.encode(None))
    reader = VideoReader(path)
    assert [round(float(f.image.mean())) for f in reader] == [128, 255, 255]
    assert reader.problems == ["pixels of 16 bits use 12, and are scaled by that"]


@pytest.mark.parametrize("gray", [False, True])
def test_the_brightest_color_tells_how_many_bits_are_used(tmp_path: Path, gray: bool) -> None:
    """A face in warm light, of 12 bits: red 1500 of 4095, the gray of all below 1024. Divided by 16: 93, 37, 25."""
    image = np.full((8, 8, 3), (400, 600, 1500), np.uint16)  # blue, green, red, as OpenCV has them
    for k in range(3):
        cv2.imwrite(str(tmp_path / f"{k}.png"), image)
    reader = VideoReader(tmp_path, fps=Fraction(200), gray=gray)
    frame = next(iter(reader)).image
    assert reader.problems == ["pixels of 16 bits use 12, and are scaled by that"]
    if gray:
        assert int(frame[0, 0]) == pytest.approx((0.299 * 1500 + 0.587 * 600 + 0.114 * 400) / 16, abs=1)
    else:
        assert frame[0, 0].tolist() == [93, 37, 25]


def test_a_brighter_picture_later_on_is_told(tmp_path: Path) -> None:
    for k in range(40):
        cv2.imwrite(str(tmp_path / f"{k}.png"), np.full((8, 8), 5000 if k == 7 else 900, np.uint16))
    reader = VideoReader(tmp_path, fps=Fraction(200), gray=True)
    assert int(list(reader)[7].image[0, 0]) == 255
    assert any("brighter" in problem and "from frame 7 on" in problem for problem in reader.problems)


@pytest.mark.parametrize("level_out", [0, 16, 128, 255])
def test_full_and_limited_ranges_give_the_same_gray(tmp_path: Path, level_out: int) -> None:
    for codec, pixels in (("mjpeg", "yuvj420p"), ("libx264", "yuv420p"), ("ffv1", "yuva420p"), ("ffv1", "bgra")):
        path = tmp_path / f"{codec}{pixels}.mkv"
        with av.open(str(path), "w") as container:
            stream = container.add_stream(codec, rate=30)
            stream.width, stream.height, stream.pix_fmt = 64, 48, pixels
            image = np.full((48, 64, 3), level_out, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode(None))
        (frame,) = VideoReader(path, gray=True)
        assert abs(float(frame.image.mean()) - level_out) <= 3, path.name


def test_a_gif_keeps_its_delays(tmp_path: Path) -> None:

    first, *others = (Image.fromarray(level(k)) for k in range(4))
    first.save(tmp_path / "v.gif", save_all=True, append_images=others, duration=[100, 50, 200, 50])
    frames = list(VideoReader(tmp_path / "v.gif"))
    assert [shown(f) for f in frames] == [0, 1, 2, 3]
    assert [f.time_s for f in frames] == pytest.approx([0, 0.1, 0.15, 0.35])


@pytest.mark.parametrize(
    ("names", "numbers"),
    [
        (["img46.jpg", "img47.jpg", "img49.jpg"], (46, 47, 49)),
        (["IMG_009.JPG", "IMG_010.JPG", "img_011.jpg", ".img_012.jpg"], (9, 10, 11)),
        (["take2_1_640x480.png", "take2_2_640x480.png", "take2_3_640x480.png"], (1, 2, 3)),
        (["f1_t100200.png", "f2_t100233.png", "f3_t100266.png"], (1, 2, 3)),
        ([*(f"a{k}.png" for k in range(1, 21)), "thumb512.png"], tuple(range(1, 21))),
    ],
    ids=["gaps", "upper case", "size in the name", "time in the name", "a stray"],
)
def test_a_folders_numbers_are_those_that_rise(tmp_path: Path, names: list[str], numbers: tuple[int, ...]) -> None:
    for name in names:
        cv2.imwrite(str(tmp_path / name), np.zeros((8, 8), np.uint8))
    reader = VideoReader(tmp_path, fps=Fraction(100))
    frames = list(reader)
    assert reader.numbers == tuple(f.index for f in frames) == numbers
    assert [f.time_s for f in frames] == pytest.approx([(n - numbers[0]) / 100 for n in numbers])
    assert all(f.picture in names for f in frames)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["a1.png", "a2.png", "b1.png", "b2.png"], r"several series: a#.png \(2\), b#.png \(2\)"),
        (["m0_s58.png", "m0_s59.png", "m1_s00.png", "m1_s58.png"], "same number"),
        (["m0_s58.png", "m0_s59.png", "m1_s00.png", "m1_s01.png"], "none of which rises"),
    ],
)
def test_names_that_do_not_say_their_order_are_refused(tmp_path: Path, names: list[str], said: str) -> None:
    for name in names:
        cv2.imwrite(str(tmp_path / name), np.zeros((8, 8), np.uint8))
    with pytest.raises(InputError, match=said):
        VideoReader(tmp_path, fps=Fraction(100))


@pytest.mark.parametrize(
    ("levels", "words"),
    [
        ((3, 15), "; the pictures are too dark: the brightest pixels reach 15 of 255"),
        ((240, 255), "; the pictures are too bright: the darkest pixels have 240 of 255"),
        ((10, 120), ""),
    ],
)
def test_pictures_too_dark_or_too_bright_for_a_face_are_told(levels: tuple[int, int], words: str) -> None:
    light, image = Light(), np.full((64, 64), levels[0], np.uint8)
    image[:32] = levels[1]
    light.add(image)
    assert light.words() == words


def test_a_moving_picture_as_a_gif_keeps_its_pace(tmp_path: Path) -> None:
    """Steps of a hundredth of a second: 60 frames of 240 a second last as long as they are slowed, in sum."""
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (16, 16, 3), np.uint8) for _ in range(60)]
    write_moving(tmp_path / "v.gif", pictures, 240.0)
    with Image.open(tmp_path / "v.gif") as made:
        lasts_ms = sum(frame.info["duration"] for frame in ImageSequence.Iterator(made))
    assert lasts_ms == pytest.approx(1000 * 60 / 240 * SLOWER, abs=10)
