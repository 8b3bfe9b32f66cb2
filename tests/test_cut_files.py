"""Files that were cut or broken off: what is missing is told, and what is left keeps its times and numbers.

Frame k of every video is a gray picture of brightness 20 + 10 k, so what a picture shows is its number.
"""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from openmer.media.clock import Notes, on_one_clock
from openmer.media.reader import VideoReader
from openmer.media.seek import FrameFinder
from test_clock import shown, without, write


def broken_off(path: Path, packet: int) -> Path:
    """The file without its end, from the middle of a packet on; MP4 needs its index before its pictures."""
    with av.open(str(path)) as container:
        places = [(p.pos, p.size) for p in container.demux(video=0) if p.pos is not None and p.size]
    at, size = places[packet]
    path.write_bytes(path.read_bytes()[: at + size // 2])
    return path


def indexed_first(path: Path, rate: int) -> Path:
    """An MP4 of 20 frames as cameras and web sites write it, its index before its pictures."""
    plain = write(path.with_name("plain.mp4"), rate=rate, codec="libx264", options={"crf": "1", "bf": "2", "g": "5"})
    with av.open(str(plain)) as source, av.open(str(path), "w", options={"movflags": "faststart"}) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    return path


@pytest.mark.parametrize("name", ["v.mp4", "v.avi"])
def test_a_file_that_breaks_off_gives_all_whole_frames_and_is_told(tmp_path: Path, name: str) -> None:
    """Half a picture would be taken for motion; a decoder of several threads must give those that it holds."""
    path = indexed_first(tmp_path / name, 30) if name == "v.mp4" else write(tmp_path / name)
    reader = VideoReader(broken_off(path, 10))  # in the file's order a key frame, and the one after frame 9
    frames = list(reader)
    assert [f.index for f in frames] == [shown(f) for f in frames] == list(range(10))
    assert [f.time_s for f in frames] == pytest.approx([k / 30 for k in range(10)], abs=1e-4)
    (problem,) = reader.problems
    assert problem.startswith("frames left out because a part of them is missing") and "from frame 10 on" in problem


@pytest.mark.parametrize("name", ["v.mp4", "v.mkv"])
def test_pictures_that_end_before_the_file_says_are_told(tmp_path: Path, name: str) -> None:
    """20 frames at 2 a second, of which 10 are left: the last one is at 4.5 s."""
    path = indexed_first(tmp_path / name, 2) if name == "v.mp4" else write(tmp_path / name, rate=2)
    assert [*VideoReader(path)][-1].time_s == pytest.approx(9.5) and VideoReader(path).problems == []
    reader = VideoReader(broken_off(path, 10))
    assert [f.index for f in reader] == list(range(10))
    assert "the pictures end at 4.50 s, and the file says 10.00 s; is it damaged or cut off?" in reader.problems
    part = VideoReader(path, end_s=2.0)
    assert len(list(part)) == 5 and not any("the pictures end" in problem for problem in part.problems), (
        "it was not read to its end"
    )


@pytest.mark.parametrize("name", ["v.mkv", "v.webm"])
def test_a_matroska_file_that_begins_late_is_whole(tmp_path: Path, name: str) -> None:
    """20 frames at 2 a second whose stamps begin at 19 s: Matroska states where they end, 29 s. Of 10 frames there is
    no picture after 4.5 s, while 10 s are stated."""
    codec = "libvpx" if name == "v.webm" else "mpeg4"
    path = write(tmp_path / name, codec=codec, rate=2, late_s=19.0)
    reader = VideoReader(path)
    assert [*reader][-1].time_s == pytest.approx(9.5, abs=1e-3)
    assert [problem[:40] for problem in reader.problems] == ["the clock of the file begins at 19.000 s"]
    reader = VideoReader(broken_off(path, 10))
    assert [f.index for f in reader] == list(range(10))
    assert "the pictures end at 4.50 s, and the file says 10.00 s; is it damaged or cut off?" in reader.problems


def test_pictures_before_the_first_that_stands_alone_count(tmp_path: Path) -> None:
    """Frames 0 to 2 were cut away, 3 to 9 cannot be decoded: the file's eighth frame is the first that can, 10."""
    options = {"crf": "1", "bf": "0", "g": "10", "x264-params": "scenecut=0"}
    path = write(tmp_path / "v.mkv", codec="libx264", options=options, change=without(0, 1, 2))
    reader = VideoReader(path)
    frames = list(reader)
    assert [shown(f) for f in frames] == list(range(10, 20)) and [f.index for f in frames] == list(range(7, 17))
    assert [f.time_s for f in frames] == pytest.approx([k / 30 for k in range(7, 17)], abs=1e-3)
    assert any("the file does not hold: 7, from frame 0 on" in problem for problem in reader.problems)


@pytest.mark.parametrize("sound", [False, True])
@pytest.mark.parametrize("options", [{"crf": "1", "bf": "0"}, {"crf": "1", "bf": "2"}], ids=["in order", "reordered"])
def test_pictures_before_0_are_left_out_and_the_others_found_again(
    tmp_path: Path, sound: bool, options: dict[str, str]
) -> None:
    """Frame 3 is at 0, as mpv 0.35 and Chromium 150 show it; Matroska gives reordered ones before it no time."""
    path = write(tmp_path / "v.mkv", codec="libx264", late_s=-0.1, sound=sound, sound_late_s=-0.1, options=options)
    frames = list(VideoReader(path))
    assert [f.index for f in frames] == [shown(f) for f in frames] == list(range(3, 20))
    assert [f.time_s for f in frames] == pytest.approx([k / 30 for k in range(17)], abs=1e-3)
    finder = FrameFinder(VideoReader(path), np.array([f.index for f in frames]), np.array([f.time_s for f in frames]))
    for frame in (frames[0], frames[9], frames[1]):
        *_, (number, image) = finder.up_to(frame.index)
        assert number == frame.index and np.array_equal(image, frame.image)


def test_frames_before_the_first_time_move_no_other() -> None:
    """They precede the file's 0, as pictures before 0 do in a Matroska file; mpv 0.35 and Chromium 150 show 0 there."""
    stamps = [None, None, Fraction(0), Fraction(1, 10), Fraction(2, 10)]
    notes = Notes()
    frames: Iterator[tuple[Fraction | None, int, None]] = ((s, k, None) for k, s in enumerate(stamps))
    assert [(at, k) for at, k, _ in on_one_clock(frames, Fraction(1, 10), notes)] == [
        (Fraction(0), 2),
        (Fraction(1, 10), 3),
        (Fraction(2, 10), 4),
    ]
    assert notes.sentences() == [
        "frames left out because neither they nor any before them have a time: 2, from frame 0 on"
    ]
