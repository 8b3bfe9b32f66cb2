"""Round trips: what an analysis says of a file's clock and numbers means the same to other programs, and back again."""

import shutil
import struct
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from footage import Image, smirk
from openmer import AnalyzeSettings, Timeline, analyze
from openmer.datasets.folder import FolderDataset
from openmer.datasets.prepare import prepare, read_frames
from openmer.evaluation.compare import score_against
from openmer.exchange.elan import read_elan
from openmer.exchange.export import export
from openmer.media.reader import VideoReader
from openmer.review.annotations import read_annotations, review_from
from openmer.review.document import Set, apply_change, new_review
from openmer.review.export import export_reviewed
from openmer.review.samples import write_samples
from openmer.timeline import read_timeline
from openmer.video.measurements import read_signals
from openmer.video.spotting import spot

PLAIN = AnalyzeSettings(engine="classical", overlay=False)
LATE_S = 0.7


@pytest.fixture(scope="module")
def frames() -> list[Image]:
    """Two seconds at 60 a second, with one movement from 0.9 to 1.2 s."""
    return list(smirk(60, 0.9, 0.3, 2.5, 2.0))


def late_rotated_variable(path: Path, frames: list[Image]) -> Path:
    """An MP4 whose sound begins 0.7 s before its pictures, which lie on their side and come at uneven times."""
    clock = 90_000
    stamps = [round(clock * (LATE_S + k / 60 + 0.003 * (k % 3))) for k in range(len(frames))]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=60, options={"crf": "8", "preset": "ultrafast", "bf": "0"})
        lying = [np.ascontiguousarray(np.rot90(frame)) for frame in frames]
        stream.height, stream.width = lying[0].shape[:2]
        stream.pix_fmt, stream.codec_context.time_base = "yuv420p", Fraction(1, clock)
        sound = container.add_stream("aac", rate=48000)
        for k in range(150):
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            silence.rate, silence.pts, silence.time_base = 48000, 1024 * k, Fraction(1, 48000)
            container.mux(sound.encode(silence))
        container.mux(sound.encode(None))
        for stamp, image in zip(stamps, lying, strict=True):
            picture = av.VideoFrame.from_ndarray(image, format="rgb24")
            picture.pts, picture.time_base = stamp, Fraction(1, clock)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 4 + 20 + 8 + 8  # of the video, the first track: turned clockwise
    data[at : at + 36] = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    path.write_bytes(bytes(data))
    return path


@pytest.fixture(scope="module")
def late(tmp_path_factory: pytest.TempPathFactory, frames: list[Image]) -> Path:
    """A folder with `talk.mp4` and its result in `talk`."""
    folder = tmp_path_factory.mktemp("late")
    analyze(late_rotated_variable(folder / "talk.mp4", frames), folder / "talk", PLAIN)
    return folder


def test_an_annotation_in_the_files_clock_is_found(late: Path, tmp_path: Path, frames: list[Image]) -> None:
    path = late / "talk.mp4"
    reader = VideoReader(path)
    assert (reader.info.width, reader.info.height) == frames[0].shape[1::-1], "upright again"
    timeline = read_timeline(late / "talk" / "timeline.json")
    (mark,) = timeline.labelled("candidate")
    with av.open(str(path)) as container:  # what any other program reads from the file
        shown = [float(frame.pts * frame.time_base) for frame in container.decode(video=0)]
    onset, offset = shown[mark.onset_frame or 0], shown[mark.offset_frame or 0]
    assert mark.onset_frame is not None and LATE_S + 0.8 < onset < offset < LATE_S + 1.4
    export(late / "talk", "elan", tmp_path / "talk.eaf", video=path)
    text = (tmp_path / "talk.eaf").read_text()
    assert f'TIME_VALUE="{round(1000 * onset)}"' in text and f'TIME_VALUE="{round(1000 * offset)}"' in text
    truth = read_elan(tmp_path / "talk.eaf", "candidate", "talk.mp4")
    (row,) = score_against(timeline, truth).rows
    assert row.kind == "hit" and row.iou == pytest.approx(1, abs=0.01)
    part = analyze(path, tmp_path / "part", AnalyzeSettings(engine="classical", overlay=False, start_s=onset - 0.5))
    assert part.start_s >= onset - 0.5 and part.labelled("candidate")[0].onset_frame == mark.onset_frame


def test_what_a_coder_accepts_in_a_late_file_is_learned_from_the_same_frames(
    late: Path, tmp_path: Path, frames: list[Image]
) -> None:
    """analyze -> review -> ELAN -> another coder's review -> samples.csv -> prepare: the file's times and frames."""
    shutil.copytree(late, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "talk.mp4"
    (mark,) = read_timeline(tmp_path / "talk" / "timeline.json").labelled("candidate")
    values = {"verdict": "accepted", "expression": "contempt"}
    ada = apply_change(new_review(tmp_path / "talk", "ada"), Set(entry="e1", values=values))
    export_reviewed(tmp_path / "talk", ada, "elan", tmp_path / "ada.eaf", video=path)
    with av.open(str(path)) as container:
        shown = [float(frame.pts * frame.time_base) for frame in container.decode(video=0)]
    text = (tmp_path / "ada.eaf").read_text()
    for number in (mark.onset_frame, mark.apex_frame, mark.offset_frame):
        assert number is not None and f'TIME_VALUE="{round(1000 * shown[number])}"' in text
    bob = review_from(tmp_path / "talk", read_annotations(tmp_path / "ada.eaf", "ada", "talk.mp4").rows, "bob")
    marks = (mark.onset_frame, mark.apex_frame, mark.offset_frame)
    (entry,) = bob.entries
    assert (entry.origin, entry.onset_frame, entry.apex_frame, entry.offset_frame) == ("candidate", *marks)
    write_samples([(tmp_path / "talk", bob)], tmp_path / "samples.csv", "P1")
    (sample,) = FolderDataset(tmp_path)
    assert (sample.label, sample.onset, sample.apex, sample.offset) == ("contempt", *marks)
    read = read_frames(sample)
    at = int(np.searchsorted(read.numbers, marks[0]))
    assert read.numbers[at] == marks[0] and read.numbers[-1] == marks[2]
    errors = [np.abs(read.images[at] - cv2.cvtColor(f, cv2.COLOR_RGB2GRAY).astype(float)).mean() for f in frames]
    assert errors[marks[0] or 0] < 2, "the very picture, but for the codec"
    store, problems = prepare([sample], tmp_path / "store")
    assert not problems and {clip.label for clip in store} == {"contempt"}


def test_slow_motion_is_judged_in_real_time_and_marked_in_the_files(tmp_path: Path, frames: list[Image]) -> None:
    path = tmp_path / "slow.mp4"
    with av.open(str(path), "w", options={"movflags": "+use_metadata_tags"}) as container:
        container.metadata["com.android.capture.fps"] = "60.000000"
        stream = container.add_stream("libx264", rate=15, options={"crf": "8", "preset": "ultrafast"})
        stream.height, stream.width, stream.pix_fmt = *frames[0].shape[:2], "yuv420p"
        for image in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    timeline = analyze(path, tmp_path / "result", PLAIN)
    assert (timeline.clock.fps, timeline.clock.slowdown, timeline.clock.real_fps) == (15, 4, 60)
    (mark,) = timeline.labelled("candidate")
    assert mark.onset_frame is not None and mark.onset_s == pytest.approx(mark.onset_frame / 15, abs=1e-5)
    assert 4 * 0.85 < mark.onset_s < mark.offset_s < 4 * 1.3
    assert any("com.android.capture.fps" in warning for warning in timeline.provenance["warnings"])
    assert Timeline.from_json(timeline.to_json()) == timeline
    assert timeline.to_csv().splitlines()[0].endswith("real_duration_s")
    report = (tmp_path / "result" / "report.html").read_text(encoding="utf-8")
    assert f"{1000 * mark.duration_s / 4:.0f} ms of real time" in report
    assert f"<td>{mark.duration_s / 4:.3f}</td>" in report and "duration s, real time" in report
    again = spot(read_signals(tmp_path / "result" / "frames.csv"))
    assert [i.onset_s for i in again if i.label == "candidate"] == pytest.approx([mark.onset_s], abs=1e-3)


def test_a_folders_numbers_go_round(tmp_path: Path, frames: list[Image]) -> None:
    """From pictures that begin at 46 to a mark, into samples.csv, and back to the same pictures."""
    (tmp_path / "clip").mkdir()
    for k, image in enumerate(frames):
        cv2.imwrite(str(tmp_path / "clip" / f"img{46 + k}.png"), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    timeline = analyze(tmp_path / "clip", tmp_path / "result", AnalyzeSettings(**(vars(PLAIN) | {"fps": Fraction(60)})))
    (mark,) = timeline.labelled("candidate")
    assert mark.onset_frame is not None and mark.onset_s == pytest.approx((mark.onset_frame - 46) / 60, abs=1e-5)
    assert (mark.onset_picture, mark.apex_picture) == (f"img{mark.onset_frame}.png", f"img{mark.apex_frame}.png")
    row = f"1,a,clip,60,{mark.onset_frame},{mark.apex_frame},{mark.offset_frame}"
    (tmp_path / "samples.csv").write_text(f"subject,sample,source,fps,onset,apex,offset\n{row}\n")
    (sample,) = FolderDataset(tmp_path)
    read = read_frames(sample)
    assert read.numbers[0] == mark.onset_frame and read.numbers[-1] == mark.offset_frame
    first = cv2.cvtColor(frames[mark.onset_frame - 46], cv2.COLOR_RGB2GRAY)
    assert np.abs(read.images[0].astype(int) - first).max() <= 1
