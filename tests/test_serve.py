"""The web page's parts without a browser: limits, the queue, what is kept and for how long, what can be reached."""

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import sys
import time
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from multiprocessing.connection import Connection
from pathlib import Path

import av
import numpy as np
import pytest

pytest.importorskip("starlette", reason="needs the extra `web`")
pytest.importorskip("uvicorn", reason="needs the extra `web`")

from footage import excursions, face_closeup, noisy, write_video
from openmer import InputError, Interval, Timeline
from openmer.cli import main
from openmer.models.weights import shipped
from openmer.timeline import Clock, Window
from openmer.video.analyze import Analysis
from openmer.video.measurements import measurements_of, row_of
from openmer.web import jobs as queue
from openmer.web.jobs import KILLED, MAX_WAITING, Job, Jobs
from openmer.web.private import PREFIX, private_folder
from openmer.web.routes import AWAY_S, Sessions, _listed, _plain, _videos
from openmer.web.settings import Limits
from openmer.web.view import lanes, numbering, probabilities, size, ticks, write_page
from openmer.web.worker import Order, Progress, check, without_folders
from test_reader import audio_only
from webserver import Server, serving, wait_for


def wall(path: Path, frames: int) -> Path:
    return write_video(path, [np.full((96, 128, 3), 128, np.uint8)] * frames, Fraction(30))


# What is refused before anything is decoded.


def test_the_page_numbers_frames_of_rounded_stamps_as_they_are() -> None:
    """Two minutes of 30 frames a second in whole milliseconds, as in every MKV; their median step is 33 ms."""
    frames = np.arange(7, 3607)
    times = np.round((frames - 7) / 30, 3)
    step, first = numbering(times, frames)
    assert first == 7 and step == pytest.approx(1 / 30, rel=1e-5)
    assert numbering(np.delete(times, 40), np.delete(frames, 40))[1] == 7, "a frame that was left out changes no number"
    assert numbering(times**1.1, frames)[1] is None
    assert numbering(np.array([0.5]), np.array([3])) == (1.0, 3)


def test_a_video_longer_than_allowed_is_refused_by_its_packets(tmp_path: Path) -> None:
    video = wall(tmp_path / "long.mp4", 90)
    check(video, 3.0)
    with pytest.raises(InputError, match=r"^long.mp4 is longer than 2.5 seconds"):
        check(video, 2.5)


def test_a_recording_that_states_no_length_is_measured_too(tmp_path: Path) -> None:
    """A browser's recorder writes WebM as it goes; the header has no duration."""
    video = write_video(
        tmp_path / "camera.webm", [np.zeros((64, 64, 3), np.uint8)] * 60, Fraction(30), codec="libvpx", crf="30"
    )
    with pytest.raises(InputError, match="longer than 1 seconds"):
        check(video, 1.0)


def test_what_is_no_video_is_refused_in_a_sentence_without_folders(tmp_path: Path) -> None:
    text = tmp_path / "talk.mp4"
    text.write_text("no video")
    for bad in (text, audio_only(tmp_path / "sound.mp4")):
        with pytest.raises(InputError) as refused:
            check(bad, 10)
        assert str(refused.value).startswith(bad.name) and str(tmp_path) not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("talk.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1,\nsecret.ts\n#EXT-X-ENDLIST\n"),
        ("talk.mp4", "ffconcat version 1.0\nfile secret.ts\n"),
    ],
    ids=["playlist", "concat"],
)
def test_a_file_that_points_to_other_files_is_refused(tmp_path: Path, name: str, text: str) -> None:
    wall(tmp_path / "secret.ts", 30)
    upload = tmp_path / name
    upload.write_text(text)
    with av.open(f"file:{upload}") as container:
        assert len(container.streams.video) == 1, "unless it is refused, the other file is read"
    with pytest.raises(InputError, match="could not be read as a video"):
        check(upload, 10)


def test_messages_lose_the_folders_of_the_server(tmp_path: Path) -> None:
    video = tmp_path / "talk.mp4"
    order = Order(video, tmp_path / "TOKEN", "classical", "cpu", 5, "/results/TOKEN/")
    assert without_folders(f"cannot read {video} as a video", order) == "cannot read talk.mp4 as a video"
    full = f"could not write the result: No space left on device ({tmp_path / 'TOKEN' / 'result'})"
    assert without_folders(full, order) == "could not write the result: No space left on device (the result)"


@pytest.mark.parametrize("name", ["workers", "max_mb", "max_seconds", "keep_minutes"])
def test_limits_must_be_more_than_nothing(name: str) -> None:
    with pytest.raises(InputError, match=f"--{name.replace('_', '-')} must be more than 0"):
        Limits(**{name: 0})


# The queue, with analyses that only wait.


def endless(order: Order, pipe: Connection) -> None:
    """Stands for an analysis that goes on."""
    pipe.send(Progress("Measuring", 1, 2))
    time.sleep(1000)


@pytest.fixture
def clock() -> list[float]:
    return [1000.0]


@pytest.fixture
def waiting_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: list[float]) -> Iterator[Jobs]:
    monkeypatch.setattr(queue, "run", endless)
    jobs = Jobs(tmp_path, Limits(keep_minutes=1), clock=lambda: clock[0])
    yield jobs
    jobs.stop()


def upload(jobs: Jobs, name: str = "talk.mp4") -> Path:
    path = jobs.new_upload(name)
    path.write_bytes(b"a video")
    return path


def hear(jobs: Jobs, job: Job, stage: str) -> None:
    def heard() -> bool:
        jobs.tick()
        return job.progress.stage == stage

    wait_for(heard, 30)


def test_the_second_waits_until_the_first_is_cancelled(waiting_room: Jobs) -> None:
    first = waiting_room.submit("anna", upload(waiting_room), "classical")
    second, third = (waiting_room.submit(who, upload(waiting_room), "classical") for who in ("ben", "cleo"))
    assert [j.state for j in (first, second, third)] == ["running", "waiting", "waiting"]
    assert (waiting_room.ahead(second), waiting_room.ahead(third)) == (0, 1)
    hear(waiting_room, first, "Measuring")
    assert first.process is not None
    number = first.process.pid
    waiting_room.cancel("anna")
    waiting_room.tick()
    assert [j.state for j in (first, second, third)] == ["cancelled", "running", "waiting"]
    with pytest.raises(ProcessLookupError):
        os.kill(number or 0, 0)
    assert not first.order.folder.exists()


def test_a_killed_analysis_fails_with_a_sentence_and_the_next_one_starts(waiting_room: Jobs) -> None:
    first = waiting_room.submit("anna", upload(waiting_room), "classical")
    second = waiting_room.submit("ben", upload(waiting_room), "classical")
    hear(waiting_room, first, "Measuring")
    assert first.process is not None and first.process.pid is not None
    os.kill(first.process.pid, signal.SIGKILL)
    wait_for(lambda: (waiting_room.tick(), first.over)[1], 10)
    assert (first.state, first.message, second.state) == ("failed", KILLED, "running")


def test_an_analysis_that_cannot_be_started_fails_and_holds_up_nobody(
    waiting_room: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(11, "Resource temporarily unavailable")

    with monkeypatch.context() as broken:
        broken.setattr("multiprocessing.context.SpawnProcess._Popen", full)
        first = waiting_room.submit("anna", upload(waiting_room), "classical")
    second = waiting_room.submit("ben", upload(waiting_room), "classical")
    waiting_room.tick()
    assert (first.state, first.message, second.state) == ("failed", KILLED, "running")


def test_a_session_has_one_analysis_at_a_time(waiting_room: Jobs) -> None:
    first = waiting_room.submit("anna", upload(waiting_room), "classical")
    second = waiting_room.submit("anna", upload(waiting_room), "classical")
    assert (first.state, second.state) == ("cancelled", "running")


def test_too_many_who_wait_are_sent_away(waiting_room: Jobs) -> None:
    for k in range(MAX_WAITING + 1):
        waiting_room.submit(f"guest {k}", upload(waiting_room), "classical")
    with pytest.raises(InputError, match="try again"):
        waiting_room.submit("one more", upload(waiting_room), "classical")


def aged(path: Path, seconds: float) -> None:
    os.utime(path.parent, (time.time() - seconds,) * 2)


def test_an_upload_is_taken_by_its_analysis_and_goes_with_it(waiting_room: Jobs) -> None:
    path = upload(waiting_room)
    job = waiting_room.submit("anna", path, "classical")
    assert not path.parent.exists() and job.order.video.read_bytes() == b"a video"
    waiting_room.give_up("anna")
    assert not job.order.folder.exists() and list(waiting_room.uploads.iterdir()) == []


def test_a_file_of_this_machine_is_of_any_length_and_stays(waiting_room: Jobs, tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    path = tmp_path / "thesis" / "talk.mp4"
    path.write_bytes(b"a video")
    (tmp_path / "thesis" / "notes.txt").touch()
    for end in (waiting_room.cancel, waiting_room.give_up):
        job = waiting_room.submit("anna", path, "classical", keep=True)
        assert job.order.video == path and job.order.max_seconds == float("inf")
        end("anna")
    job = waiting_room.submit("anna", path, "classical", keep=True)
    waiting_room._end(job, "done")
    waiting_room.give_up("anna")
    assert sorted(p.name for p in path.parent.iterdir()) == ["notes.txt", "talk.mp4"]


def test_what_is_old_is_deleted(waiting_room: Jobs, clock: list[float]) -> None:
    job = waiting_room.submit("anna", upload(waiting_room), "classical")
    sent = upload(waiting_room)  # and never analysed
    waiting_room.cancel("anna")
    clock[0] += 59
    waiting_room.tick()
    assert sent.exists() and waiting_room.of("anna") is job
    aged(sent, 61)
    waiting_room.tick()
    assert not sent.parent.exists()
    clock[0] += 2
    waiting_room.tick()
    assert waiting_room.of("anna") is None and not job.order.folder.exists()


def test_an_upload_that_is_gone_or_lies_elsewhere_is_refused(waiting_room: Jobs) -> None:
    with pytest.raises(InputError, match="send it again"):
        waiting_room.submit("anna", waiting_room.uploads / "gone.mp4", "classical")
    (elsewhere := waiting_room.uploads.parent / "talk.mp4").touch()
    with pytest.raises(InputError, match="send it again"):
        waiting_room.submit("anna", elsewhere, "classical")


# One real analysis.


@pytest.fixture(scope="module")
def analysed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Jobs, Job]]:
    jobs = Jobs(tmp_path_factory.mktemp("serve"), Limits())
    rng = np.random.default_rng(0)
    path = jobs.new_upload("talk <b>&.mp4")
    write_video(path, (noisy(face_closeup(1.0), rng) for _ in range(20)), Fraction(30))
    jobs.start()
    job = jobs.submit("anna", path, "classical")
    wait_for(lambda: job.over, 120)
    yield jobs, job
    jobs.stop()


def test_a_finished_analysis_has_a_page_all_files_and_a_zip_of_them(analysed: tuple[Jobs, Job]) -> None:
    jobs, job = analysed
    assert (job.state, job.message) == ("done", "")
    written = {"timeline.json", "timeline.csv", "frames.csv", "landmarks.npz", "report.html", "overlay.mp4"}
    page = job.page.read_text()
    for name in written:
        assert jobs.file(job.token, name) is not None
        assert f'href="results/{job.token}/{name}"' in page
    packed = jobs.file(job.token, "all.zip")
    assert packed is not None
    with zipfile.ZipFile(packed) as archive:
        assert {Path(name).name for name in archive.namelist()} == written
    assert not job.order.video.exists(), "the video is not kept longer than it is needed"


def test_the_page_escapes_names_and_loads_only_from_its_server(analysed: tuple[Jobs, Job]) -> None:
    page = analysed[1].page.read_text()
    assert "talk &lt;b&gt;&amp;.mp4" in page and "<b>&" not in page
    assert "<script" not in page and "http" not in page


def test_only_files_of_the_result_are_given_and_only_for_its_token(analysed: tuple[Jobs, Job]) -> None:
    jobs, job = analysed
    for name in ("page.html", "../page.html", "/etc/passwd", "..", "", "."):
        assert jobs.file(job.token, name) is None
    assert jobs.file("another", "timeline.csv") is None
    assert jobs.file("ü", "timeline.csv") is None


# The drawing, by hand.


def timeline() -> Timeline:
    windows = tuple(
        Window(start_s=k, end_s=k + 2, start_frame=0, end_frame=1, probabilities={"none": n, "positive": 1 - n})
        for k, n in ((0.0, 0.75), (1.0, 0.5))
    )
    return Timeline(
        intervals=(
            Interval(onset_s=2, offset_s=3, apex_s=2.5, label="candidate", regions=("chin",)),
            Interval(onset_s=8, offset_s=8.001, label="blink"),
        ),
        gaps=(Interval(onset_s=9, offset_s=10, label="no_face"),),
        windows=windows,
        start_s=0,
        end_s=10,
    )


def test_marks_lie_where_they_belong_and_are_wide_enough_to_hit() -> None:
    candidates, blinks, gaps = lanes(timeline(), 0, 10)
    (bar,) = candidates.bars
    assert (bar.left, bar.width, bar.seek_s) == (pytest.approx(0.2), pytest.approx(0.1), 2.5)
    assert bar.title == "candidate, 2.50 s: chin"
    assert blinks.bars[0].width == 0.003 and blinks.bars[0].seek_s == 8
    assert gaps.name == "no face" and gaps.bars[0].left + gaps.bars[0].width == pytest.approx(1)


def test_the_list_gives_durations_as_they_were_recorded(tmp_path: Path) -> None:
    """Four times slowed, so a second of the file was a quarter of one; the moment stays the file's."""
    about = {"source": "slow.mp4", "frames_with_face": 300, "engine": "classical", "trained_on": "", "warnings": []}
    slowed = replace(timeline(), clock=Clock(fps=30.0, slowdown=4.0), provenance=about)
    frames = excursions(np.arange(300) / 30, {2.3: 3}, np.random.default_rng(0))
    measured = measurements_of([row_of(frame) for frame in frames])
    (result := tmp_path / "result").mkdir()
    write_page(tmp_path / "page.html", Analysis(slowed, measured, ()), result, tmp_path / "extras", "results/")
    candidate, blink, *_ = re.findall(r'nowrap">([0-9.]+)</td><td>(\d+)</td>', (tmp_path / "page.html").read_text())
    assert candidate == ("2.50", "250") and blink == ("8.00", "0")


def test_without_events_the_candidates_lane_is_still_there() -> None:
    (lane,) = lanes(Timeline(intervals=(), start_s=0, end_s=1), 0, 1)
    assert (lane.name, lane.bars) == ("candidates", ())


def test_probabilities_stand_on_each_other() -> None:
    """Middles at 1 s and 2 s, so bars from 0.5 to 1.5 and 2.5 s of 10; `none` lies on top."""
    (positive, _, below), (none, _, above) = probabilities(timeline(), 0, 10)
    assert (positive, none) == ("positive", "none")
    assert below == "M50.0 100.0v-25.0h100.0v25.0zM150.0 100.0v-50.0h100.0v50.0z"
    assert above == "M50.0 75.0v-75.0h100.0v75.0zM150.0 50.0v-50.0h100.0v50.0z"


def test_ticks_are_at_round_seconds() -> None:
    assert ticks(0, 10) == [(k / 5, str(2 * k)) for k in range(6)]
    assert [text for _, text in ticks(1.5, 2.1)] == ["1.5", "1.6", "1.7", "1.8", "1.9", "2.0", "2.1"]
    assert ticks(1.5, 2.1)[0][0] == pytest.approx(0)


def test_sizes_are_for_people() -> None:
    assert (size(12), size(2_345), size(2_345_678)) == ("1 KB", "2 KB", "2.3 MB")


# The private folder.


def test_the_folder_is_closed_to_others_and_gone_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    left = tmp_path / f"{PREFIX}killed"
    left.mkdir()
    (left / "lock").touch()
    with private_folder() as first:
        assert not left.exists(), "nobody holds its lock"
        assert first.stat().st_mode & 0o777 == 0o700
        with private_folder() as second:
            assert first.exists() and second.exists(), "the lock of the first is held"
    assert list(tmp_path.iterdir()) == []


# The command and the server over plain HTTP.


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["openmer", "serve", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    return int(end.value.code or 0)


def test_without_its_libraries_the_command_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert run(monkeypatch) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "install the extra `web`" in line and "pip install starlette uvicorn" in line


def test_help_has_examples(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "--help") == 0
    said = capsys.readouterr().out
    assert "openmer serve --engine runs/tuned/model.safetensors" in said and "--keep-minutes" in said


def test_bad_weights_end_the_command_with_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--engine", str(tmp_path / "none.safetensors")) == 1
    assert "no record of weights" in " ".join(capsys.readouterr().err.split())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("tmp")
    weights = shipped()["mol-lite"].with_suffix(".safetensors")
    own = folder / "mine" / weights.name  # the record holds the file's name
    own.parent.mkdir()
    shutil.copy(weights, own)
    shutil.copy(weights.with_suffix(".json"), own.with_suffix(".json"))
    with serving(folder, "--max-mb", "0.5", "--engine", str(own)) as running:
        yield running


def test_a_taken_port_is_explained(
    server: Server, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.create_connection(("127.0.0.1", server.port)):
        pass
    import subprocess

    command = [sys.executable, "-m", "openmer", "serve", "--port", str(server.port)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 1 and "Traceback" not in ended.stderr
    assert "choose another --port" in ended.stderr


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "//etc/passwd",
        "/%2Fetc%2Fpasswd",
        "/../../../../etc/passwd",
        "/static/../../../../../../etc/passwd",
        "/static/..%2F..%2F..%2F..%2F..%2Fetc%2Fpasswd",
        "/static/page.html.j2",
        "/results/x/..%2F..%2Flock",
        "/results/x/timeline.csv",
        "/api/sessions/nobody/events",
        "/docs",
        "/openapi.json",
    ],
)
def test_what_is_not_for_the_page_is_refused(server: Server, path: str) -> None:
    status, _, body = server.get(path)
    assert status in (403, 404) and b"root:" not in body


def test_the_start_page_allows_nothing_from_elsewhere(server: Server) -> None:
    status, headers, body = server.get("/")
    assert status == 200
    assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self';")
    assert "http" not in headers["content-security-policy"]
    assert b"http" not in body and b"trained on simulated faces" in body


def test_weights_of_ones_own_are_offered_without_their_path(server: Server) -> None:
    body = server.get("/")[2].decode()
    assert "your weights (mol-lite)" in body
    assert str(server.temporary) not in body


def test_another_name_for_this_machine_and_pages_from_elsewhere_are_refused(server: Server) -> None:
    assert server.get("/", Host=f"evil.example:{server.port}")[0] == 421
    assert server.get("/", Host=f"127.0.0.1:{server.port}")[0] == 200
    assert server.get("/", Host="localhost:8000")[0] == 200, "as through a tunnel"
    assert server.get("/", Origin="http://evil.example")[0] == 403
    assert server.get("/", **{"Sec-Fetch-Site": "cross-site"})[0] == 403


def begun(server: Server) -> str:
    """The address of a new session."""
    status, _, body = server.post("/api/sessions")
    assert status == 200
    return f"/api/sessions/{json.loads(body)['session']}"


def test_what_must_not_be_read_is_refused_before_it_is(server: Server) -> None:
    page = begun(server)
    large = {"Content-Length": "1000000"}
    assert server.post(f"{page}/analyse?name=a.mp4", **large)[::2] == (
        413,
        b"This video is larger than 0.5 MB, the limit here.",
    )
    assert server.post(f"{page}/analyse?name=a.mp4")[0] == 422, "empty"
    assert server.post("/api/sessions/nobody/analyse?name=a.mp4", b"x")[0] == 404
    assert server.post(f"{page}/analyse?file=/etc/passwd")[0] == 422, "no folder is shown"
    assert server.kept() == set()


@pytest.mark.parametrize("length", ["", "Content-Length: 5\r\n"], ids=["none", "one that does not count"])
def test_a_video_that_does_not_say_its_length_is_refused(server: Server, length: str) -> None:
    page = begun(server)
    with socket.create_connection(("localhost", server.port), timeout=20) as door:
        head = f"POST {page}/analyse?name=a.mp4 HTTP/1.1\r\nHost: localhost\r\n{length}Transfer-Encoding: chunked\r\n"
        door.sendall(f"{head}\r\n0\r\n\r\n".encode())
        assert door.recv(100).split()[1] in (b"411", b"400")


def test_half_a_video_leaves_nothing(server: Server) -> None:
    page = begun(server)
    with socket.create_connection(("localhost", server.port), timeout=20) as door:
        head = f"POST {page}/analyse?name=a.mp4 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n"
        door.sendall(head.encode() + bytes(50_000))
        wait_for(lambda: server.kept() == {"a.mp4"}, 10)
    wait_for(lambda: server.kept() == set(), 10)


def test_a_page_that_nobody_looks_at_is_forgotten_with_its_analysis(server: Server) -> None:
    """As after a crash of the browser: no farewell, no more listening."""
    page = begun(server)
    with socket.create_connection(("localhost", server.port), timeout=20) as door:
        door.sendall(f"GET {page}/events HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert b'"state":"free"' in door.recv(4000) + door.recv(4000)
        time.sleep(AWAY_S + 2)
        assert server.post(f"{page}/cancel")[0] == 204, "it listens, so it is there"
    wait_for(lambda: server.post(f"{page}/cancel")[0] == 404, AWAY_S + 10)


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("talk & <b>.mp4", "talk & <b>.mp4"),
        ("C:\\Users\\anna\\talk.MOV", "talk.MOV"),
        ("../../etc/passwd", "passwd"),
        ("..", "video."),
        ("", "video"),
        (".mp4", "video.mp4"),
        ("a\x00b\n.mp4", "ab.mp4"),
        ("é" * 200 + ".mp4", "é" * 73 + ".mp4"),
    ],
)
def test_names_become_plain(name: str, plain: str) -> None:
    assert _plain(name) == plain and len(_plain(name).encode()) <= 150


def test_a_page_says_that_its_result_has_been_deleted(waiting_room: Jobs) -> None:
    """Else it would turn into an empty form before its reader's eyes."""
    sessions = Sessions(waiting_room)
    name = sessions.begin()
    job = waiting_room.submit(name, upload(waiting_room), "classical")
    job.page.write_text("<h2>talk.mp4</h2>")
    waiting_room._end(job, "done")

    async def views() -> list[dict[str, str]]:
        events = sessions.events(name)
        first = await anext(events)
        waiting_room._delete(job)
        found = [first, await anext(events)]
        await events.aclose()  # type: ignore[attr-defined]  # a generator
        return [json.loads(event.removeprefix("data: ")) for event in found]

    shown, gone = asyncio.run(views())
    assert (shown["state"], shown["html"]) == ("done", "<h2>talk.mp4</h2>")
    assert gone["state"] == "free" and "deleted, as all are after 1 minutes;" in gone["html"]


# The videos of a folder.


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("interviews")
    (folder / "day 2").mkdir()
    wall(folder / "anna.mp4", 10)
    wall(folder / "day 2" / "ben.MKV", 10)
    (folder / "notes.txt").write_text("secret")
    (folder / ".hidden.mp4").write_bytes(b"x")
    outside = tmp_path_factory.mktemp("elsewhere") / "secret.mp4"
    outside.write_bytes(b"x")
    (folder / "link.mp4").symlink_to(outside)
    return folder


def test_a_folders_videos_are_listed_and_nothing_else(shelf: Path, tmp_path: Path) -> None:
    assert [row["name"] for row in _videos(shelf)] == ["anna.mp4", "day 2/ben.MKV"]
    strange = (
        "x" * 100_000 + ".mp4",
        "anna.mp4/" * 3000,
        "anna\0.mp4",
        "\udce9.mp4",
        "day 2/../anna.mp4",
    )
    for name in ("notes.txt", "../secret.mp4", "link.mp4", ".hidden.mp4", "/etc/passwd", "day 2", "", *strange):
        with pytest.raises(InputError, match="no such video"):
            _listed(shelf, name)
    assert _listed(shelf, "day 2/ben.MKV") == shelf / "day 2" / "ben.MKV"
    assert _videos(None) == []


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere all names are text")
def test_a_name_that_is_no_text_does_not_hide_the_other_videos(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    for name in (os.fsdecode(b"ren\xe9.mp4"), "anna.mp4"):
        (folder / name).write_bytes(b"x")
    (folder / "loop").symlink_to(folder)
    (folder / "up").symlink_to(tmp_path)
    os.mkfifo(folder / "pipe.mp4")
    assert [row["name"] for row in _videos(folder)] == ["anna.mp4"]


def test_a_shown_folder_is_for_those_who_have_the_address(shelf: Path, tmp_path: Path) -> None:
    with serving(tmp_path, "--files", str(shelf)) as server:
        assert server.get("/")[0] == server.get("/api/files")[0] == 404
        server.prefix = server.address().removeprefix(server.url).rstrip("/")
        assert server.prefix and server.get("/")[0] == 200
        assert [row["name"] for row in json.loads(server.get("/api/files")[2])] == ["anna.mp4", "day 2/ben.MKV"]
        page = begun(server)
        assert server.post(f"{page}/analyse?file=anna.mp4&engine=classical")[0] == 202
        assert server.post(f"{page}/analyse?file=..%2Felsewhere%2Fsecret.mp4")[0] == 422
        server.wait_until_empty(60)  # nobody listens, so the page is forgotten
    assert sorted(p.name for p in shelf.iterdir()) == [".hidden.mp4", "anna.mp4", "day 2", "link.mp4", "notes.txt"]


def test_a_folder_is_not_shown_to_others(
    shelf: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--host", "0.0.0.0", "--files", str(shelf)) == 1
    assert "others must not see" in " ".join(capsys.readouterr().err.split())
    assert run(monkeypatch, "--files", str(shelf / "none")) == 1
    assert "No such file" in " ".join(capsys.readouterr().err.split())


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_killed_server_leaves_no_process_and_the_next_one_clears_its_folder(shelf: Path, tmp_path: Path) -> None:
    with serving(tmp_path, "--files", str(shelf)) as server:
        server.prefix = server.address().removeprefix(server.url).rstrip("/")
        assert server.post(f"{begun(server)}/analyse?file=anna.mp4&engine=classical")[0] == 202
        wait_for(server.workers, 30)
        workers = server.workers()
        server.process.kill()
        server.process.wait()
        wait_for(lambda: not any(Path(f"/proc/{pid}/cmdline").exists() for pid in workers), 60)
        assert len(list(tmp_path.glob(f"{PREFIX}*"))) == 1
    with serving(tmp_path) as again:
        assert len(list(tmp_path.glob(f"{PREFIX}*"))) == 1 and not again.kept()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 0)])
def test_the_server_takes_its_folder_along_when_it_stops(tmp_path: Path, number: int, code: int) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job would ignore it
    with serving(tmp_path) as server:
        (folder,) = tmp_path.glob("openmer-serve-*")
        assert folder.stat().st_mode & 0o777 == 0o700
        assert server.stop(number) == code
        assert "Traceback" not in server.log.read_text()
    assert not folder.exists()


def test_the_stream_that_is_measured_is_the_one_that_is_analysed(tmp_path: Path) -> None:
    """The default stream is analysed, so its length counts: neither a long second one nor a short one."""
    check(_two_streams(tmp_path / "short.mp4", 5, 60), 3.0)
    path = _two_streams(tmp_path / "long.mp4", 60, 5)
    check(path, 10.0)
    with pytest.raises(InputError, match="longer than 3 seconds"):
        check(path, 3.0)


def _two_streams(path: Path, first: int, second: int) -> Path:
    """A file of two video streams of these lengths in frames, ten a second; the first is the default."""
    picture = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("libx264", rate=10) for _ in range(2)]
        for stream in streams:
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for stream, frames in zip(streams, (first, second), strict=True):
            for k in range(frames):
                picture.pts = k
                picture.time_base = Fraction(1, 10)
                container.mux(stream.encode(picture))
            container.mux(stream.encode(None))
    return path


def test_pictures_that_are_too_large_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wall(tmp_path / "talk.mp4", 5)
    monkeypatch.setattr("openmer.web.worker.MAX_PIXELS", 100)
    with pytest.raises(InputError, match="million pixels"):
        check(tmp_path / "talk.mp4", 10.0)
