"""`openmer review`: what the server gives and refuses, and a whole review in Chromium, by keyboard."""

import json
import os
import shutil
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("uvicorn", reason="needs the extra `web`")
pytest.importorskip("playwright", reason="needs playwright")

from playwright.sync_api import Browser, Page, expect, sync_playwright

from openmer.errors import InputError
from openmer.media.identity import source_digest
from openmer.review.annotations import Annotation, review_from
from openmer.review.document import read_review, review_path
from openmer.review.material import Material, find_video
from openmer.review.picture import Gallery
from openmer.review.saving import write_review
from openmer.timeline import Interval, read_timeline
from reviewing import APEXES, FPS, Desk, number_of, reviewing, write_result

CHROMIUM = shutil.which("chromium")
browsing = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium, such as Debian's")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_result(tmp_path_factory.mktemp("made"))


@pytest.fixture
def result(made: Path, tmp_path: Path) -> Path:
    """A result of its own, with its video beside it."""
    shutil.copy(made.parent / "talk.mp4", tmp_path / "talk.mp4")
    return Path(shutil.copytree(made, tmp_path / "talk"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        options = ["--no-sandbox"] if os.getuid() == 0 else []
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        yield running
        running.close()


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[[Desk], Page]]:
    pages, problems = [], []

    def opened(desk: Desk, **options: Any) -> Page:
        page = browser.new_context(viewport={"width": 1280, "height": 800}, **options).new_page()
        page.on("pageerror", lambda error: problems.append(f"script: {error}"))
        page.on("request", lambda r: None if r.url.startswith((desk.url, "data:", "blob:")) else problems.append(r.url))
        page.goto(desk.url)
        page.wait_for_selector("body[data-ready]")
        pages.append(page)
        return page

    yield opened
    for page in pages:
        page.context.close()
    assert problems == []


def saved(page: Page, revision: int) -> None:
    """Wait until this window shows that a revision is saved."""
    expect(page.locator(f"#saved[data-revision='{revision}']")).to_contain_text("saved in", timeout=10_000)


def at_frame(page: Page, frame: int) -> None:
    expect(page.locator("#now")).to_contain_text(f"frame {frame} ")
    expect(page.locator("#picture")).to_have_attribute("data-frame", str(frame))


# ---- without a browser


def test_every_frame_is_the_one_that_was_asked_for_in_any_order(result: Path) -> None:
    material = Material(result)
    for frame in (0, 300, 299, 12, 251, 250, 249, 329, 1):
        picture = cv2.imdecode(np.frombuffer(material.jpeg(frame, 4096), np.uint8), cv2.IMREAD_COLOR)
        assert number_of(picture) == frame
        assert number_of(material.image(frame)) == frame
    with pytest.raises(InputError, match="has no frame 330"):
        material.image(330)


def test_a_video_that_is_another_is_refused_not_shown(result: Path) -> None:
    table = (result / "frames.csv").read_text().replace("\n6,0.200000", "\n6,0.210000")
    (result / "frames.csv").write_text(table)
    with pytest.raises(InputError, match=r"no frame at 0\.210000 s, where frame 6"):
        Material(result).image(6)


def test_a_curve_keeps_its_peaks_at_any_zoom(result: Path) -> None:
    material = Material(result)
    whole = material.curve(0, 11, 4)
    assert whole.high.tolist() == [2.0] * 4 and whole.low.tolist() == [0.0] * 4
    fine = material.curve(-0.01, 0.99, 30)
    assert fine.high.tolist() == fine.low.tolist() == material.motion[:30].tolist()
    assert int(np.argmax(fine.high)) == APEXES[0]
    assert np.isnan(material.curve(20, 30, 3).high).all()


def test_pictures_of_a_candidate(result: Path, tmp_path: Path) -> None:
    material = Material(result)
    gallery = Gallery(material, material.timeline.intervals[0])
    svg = gallery.drawn("svg").decode()
    assert all(text in svg for text in ("frame 19", "frame 24", "frame 30", "20 px", "100 ms", "seconds of the file"))
    png = cv2.imdecode(np.frombuffer(gallery.drawn("png"), np.uint8), cv2.IMREAD_COLOR)
    assert png.shape[1] == pytest.approx(2160, abs=4)
    still, moved = gallery.magnified(19, 4).astype(int), gallery.magnified(24, 4).astype(int)
    assert np.abs(moved - still).mean() > 5 * np.abs(gallery.magnified(20, 4).astype(int) - still).mean()
    assert gallery.drawn("gif").startswith(b"GIF89a")
    (tmp_path / "m.mp4").write_bytes(gallery.drawn("mp4"))
    film = cv2.VideoCapture(str(tmp_path / "m.mp4"))
    assert film.get(cv2.CAP_PROP_FRAME_COUNT) == 24 and film.get(cv2.CAP_PROP_FPS) == pytest.approx(FPS / 4)
    with pytest.raises(InputError, match="ends in"):
        gallery.drawn("bmp")


def asked(url: str, body: object = None, **headers: str) -> tuple[int, bytes]:
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=20) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def test_only_who_knows_the_address_and_comes_from_its_own_page_is_answered(result: Path) -> None:
    with reviewing(result, "--coder", "ada", "--blind") as desk:
        root = desk.url.rsplit("/", 2)[0]
        assert asked(f"{desk.url}api/0/state")[0] == 200
        for path in ("/", "/api/0/state", "/wrong/api/0/state", "/static/review.js"):
            assert asked(root + path)[0] == 404
        for path in (
            "static/../review.html",
            "static/..%2f..%2fbase.html.j2",
            "api/1/state",
            "api/0/frame/9999.jpg?w=9",
        ):
            assert asked(desk.url + path)[0] in (404, 422)
        assert asked(f"{desk.url}api/0/state", Host="evil.example")[0] == 421
        assert asked(f"{desk.url}api/0/state", Origin="http://evil.example")[0] == 403
        assert asked(f"{desk.url}api/0/state", **{"Sec-Fetch-Site": "cross-site"})[0] == 403
        change = {"revision": 0, "change": {"do": "set", "entry": "e1", "values": {"verdict": "accepted"}}}
        assert asked(f"{desk.url}api/0/change", change, **{"Content-Type": "text/plain"})[0] == 415
        kind = {"Content-Type": "application/json"}
        assert asked(f"{desk.url}api/0/change", {"revision": 0}, **kind)[0] == 422
        assert asked(f"{desk.url}api/0/change", change, **kind)[0] == 200
        assert asked(f"{desk.url}api/0/change", change, **kind)[0] == 409

        # A blind coder's page is told nothing of the machine's opinion.
        state = asked(f"{desk.url}api/0/state")[1].decode()
        assert not any(word in state for word in ("machine", "score", "positive", "peak_px", "candidate"))
        assert asked(f"{desk.url}api/0/curve?from=0&to=9&bins=9")[0] == 403
        for kind in ("svg", "png"):  # the curve is in them
            assert asked(f"{desk.url}api/0/save/e1.{kind}")[0] == 403
    assert read_review(result / "review-ada.json").blind
    before = {path.name for path in result.iterdir()}
    assert before == {"timeline.json", "frames.csv", "landmarks.npz", "review-ada.json"}


# ---- in Chromium


@browsing
def test_looking_at_imported_words_does_not_change_them(result: Path, visit: Callable[[Desk], Page]) -> None:
    given = Annotation(interval=Interval(label="", onset_s=0.6, offset_s=1.0), expression="Happiness", note="See 12")
    write_review(review_path(result), review_from(result, [given]), replaces=None)
    before = read_review(review_path(result))
    with reviewing(result) as desk:
        page = visit(desk)
        for key in ("x", "Escape", "t", "Escape", "ArrowDown", "ArrowUp", "u"):
            page.keyboard.press(key)
        expect(page.locator("#saved")).to_have_attribute("data-revision", str(before.revision + 1))
    after = read_review(review_path(result))
    (line,) = after.history[before.revision :]
    assert line.after == {"verdict": "unsure"}


@browsing
def test_a_whole_review_by_keyboard_with_the_server_killed_in_the_middle(
    result: Path, visit: Callable[[Desk], Page]
) -> None:
    with reviewing(result) as desk:
        page = visit(desk)
        keys = page.keyboard
        at_frame(page, APEXES[0])
        expect(page.locator("#opinion")).to_have_text(
            "The machine: candidate; peak 2.00 px; mouth; network: positive 0.40"
        )
        for key, frame in (
            ("l", 25),
            ("j", 24),
            ("ArrowLeft", 23),
            ("Shift+ArrowRight", 33),
            ("Shift+J", 23),
            ("1", 19),
        ):
            keys.press(key)
            at_frame(page, frame)

        # The first: earlier onset, another apex, later offset, accepted, named, with units and a note.
        keys.press("j"), keys.press("[")
        keys.press("2"), keys.press("l"), keys.press("p")
        keys.press("3"), keys.press("l"), keys.press("l"), keys.press("]")
        keys.press("a")
        saved(page, 4)
        keys.press("x"), keys.type("Happiness"), keys.press("Enter")
        keys.press("c"), keys.type("L12C 6b"), keys.press("Enter"), keys.press("Escape")
        keys.press("t"), keys.type("a smile, ja"), keys.press("Escape")
        saved(page, 7)
        for k in range(1, 5):
            keys.press("ArrowDown")
            at_frame(page, APEXES[k])
            keys.press("r" if k % 2 else "u")
        saved(page, 11)
        keys.press("a"), keys.press("z")
        saved(page, 13)
        desk.kill()
        keys.press("r")
        expect(page.locator("#trouble")).to_contain_text("does not answer")

    with reviewing(result) as desk:
        page = visit(desk)
        keys = page.keyboard
        expect(page.locator("#progress")).to_have_text("5 of 10 judged")
        at_frame(page, APEXES[5])  # goes on with the first that is open
        for k in range(5, 10):
            keys.press("a" if k % 2 else "r")
            saved(page, 9 + k)
            keys.press(".")
        keys.press("1"), keys.press("Shift+L"), keys.press("Shift+L"), keys.press("n")
        saved(page, 19)
        expect(page.locator("#progress")).to_have_text("11 of 11 judged")

    review = read_review(result / "review.json")
    first, *_, added = review.entries
    assert (first.onset_frame, first.apex_frame, first.offset_frame) == (18, 25, 32)
    assert (first.onset_s, first.apex_s, first.offset_s) == (0.6, 0.833333, 1.066667)
    assert (first.verdict, first.expression, first.note) == ("accepted", "happiness", "a smile, ja")
    assert [str(unit) for unit in first.action_units] == ["L12C", "6B"]
    verdicts = "accepted rejected unsure rejected unsure accepted rejected accepted rejected accepted accepted"
    assert [e.verdict for e in review.entries] == verdicts.split()
    assert (added.origin, added.onset_frame, added.offset_frame) == ("added", APEXES[9] - 5 + 20, APEXES[9] - 5 + 29)


@browsing
def test_two_windows_do_not_overwrite_each_other(result: Path, visit: Callable[[Desk], Page]) -> None:
    with reviewing(result) as desk:
        one, two = visit(desk), visit(desk)
        one.keyboard.press("a")
        saved(one, 1)
        two.keyboard.press("r")
        expect(two.locator("#trouble")).to_contain_text("Changed in another window")
        expect(two.locator("[data-verdict=accepted]")).to_have_attribute("aria-pressed", "true")
        assert read_review(result / "review.json").entry("e1").verdict == "accepted"
        two.keyboard.press("r")
        saved(two, 2)
        expect(two.locator("#trouble")).to_be_hidden()
        assert read_review(result / "review.json").entry("e1").verdict == "rejected"


@browsing
def test_units_entered_faster_than_they_are_saved_are_all_kept(result: Path, visit: Callable[[Desk], Page]) -> None:
    with reviewing(result) as desk:
        page = visit(desk)
        page.route("**/change", lambda route: (time.sleep(0.3), route.continue_()))
        page.fill("#unit-new", "L12C"), page.press("#unit-new", "Enter")
        page.fill("#unit-new", "6B"), page.press("#unit-new", "Enter")
        saved(page, 2)
        assert list(map(str, read_review(result / "review.json").entry("e1").action_units)) == ["L12C", "6B"]
        page.get_by_label("Side of 12").select_option("R"), page.get_by_label("Intensity of 12").select_option("A")
        saved(page, 4)
        assert list(map(str, read_review(result / "review.json").entry("e1").action_units)) == ["R12A", "6B"]


@browsing
def test_undo_after_a_mark_that_was_refused_takes_nothing_else_back(
    result: Path, visit: Callable[[Desk], Page]
) -> None:
    with reviewing(result) as desk:
        page = visit(desk)
        keys, trouble = page.keyboard, page.locator("#trouble")
        keys.press("a")
        saved(page, 1)
        keys.press("1"), keys.press("j"), keys.press("]")  # an offset before the onset
        expect(trouble).to_contain_text("Not saved")
        keys.press("z")
        expect(trouble).to_contain_text("nothing of it to undo")
        assert read_review(result / "review.json").entry("e1").verdict == "accepted"
        keys.press("]"), keys.press("z"), keys.press("z")  # however fast: only the second takes the verdict back
        saved(page, 2)
        assert read_review(result / "review.json").entry("e1").verdict == "none"


@browsing
def test_dragging_playing_flicker_and_magnified_motion(result: Path, visit: Callable[[Desk], Page]) -> None:
    with reviewing(result) as desk:
        page = visit(desk)
        page.keyboard.press("e")
        x = page.evaluate(
            "() => { const l = openmer.line; return [l.x(l.selected.offset_s), l.x(l.selected.offset_s + 0.1)]; }"
        )
        box = page.locator("#timeline").bounding_box()
        assert box
        page.mouse.move(box["x"] + x[0], box["y"] + 60)
        page.mouse.down()
        page.mouse.move(box["x"] + x[1], box["y"] + 60, steps=3)
        page.mouse.up()
        saved(page, 1)
        assert read_review(result / "review.json").entry("e1").offset_frame == 33
        page.keyboard.press("f")
        page.wait_for_selector("#picture[data-frame='19']")
        page.wait_for_selector("#picture[data-frame='24']")
        page.keyboard.press("f")
        page.keyboard.press("m")
        page.wait_for_selector("#magnified:not([hidden])", timeout=20_000)
        page.keyboard.press("m")
        page.keyboard.press("3")
        page.keyboard.press("k")
        page.wait_for_function("() => Number(document.getElementById('timeline').getAttribute('aria-valuenow')) > 1.3")
        page.keyboard.press("k")
        page.keyboard.press("?")
        expect(page.locator("#help")).to_be_visible()
        page.keyboard.press("Escape")
        with page.expect_download() as download:
            page.click("[data-kind=svg]")
        assert download.value.suggested_filename == "talk-e1.svg"


@browsing
def test_a_folder_of_results_opens_at_the_first_with_something_to_judge(
    result: Path, visit: Callable[[Desk], Page]
) -> None:
    still = Path(shutil.copytree(result, result.parent / "still"))
    timeline = read_timeline(result / "timeline.json")
    (still / "timeline.json").write_text(replace(timeline, intervals=()).to_json())
    still.rename(result.parent / "a-still")
    with reviewing(result.parent) as desk:
        page = visit(desk)
        expect(page.locator("#result option")).to_have_text(["a-still", "talk"])
        expect(page.locator("#list li")).to_have_count(10)
        page.locator("#result").select_option("a-still")
        expect(page.locator("#progress")).to_have_text("0 of 0 judged")
        said = page.evaluate("() => getComputedStyle(document.getElementById('list'), '::before').content")
        assert "Nothing was found here to judge" in said
        page.keyboard.press("n"), page.keyboard.press("a")  # what is added is accepted, and stays so
        saved(page, 1)
        done = page.locator("#progress")
        expect(done).to_have_text("1 of 1 judged")
        page.keyboard.press("z")
        expect(done).to_have_text("0 of 0 judged")
        page.keyboard.press("Shift+Z")
        expect(done).to_have_text("1 of 1 judged")
        page.keyboard.press("Z")  # caps lock: still undo
        expect(done).to_have_text("0 of 0 judged")
        desk.process.send_signal(signal.SIGINT)
        assert desk.process.wait(timeout=30) == 0
    assert "stopped; every decision is saved" in (result.parent.parent / "review.log").read_text()


def test_the_video_is_found_in_folders_below_the_one_that_is_named(result: Path) -> None:
    known, timeline = result.parent / "talk.mp4", read_timeline(result / "timeline.json")
    videos = result.parent / "videos"
    for day, content in (("day1", b"another"), ("day2", known.read_bytes())):
        (videos / day).mkdir(parents=True)
        (videos / day / "talk.mp4").write_bytes(content)
    analyzed = replace(timeline, provenance={**timeline.provenance, "source_digest": source_digest(known)})
    assert find_video(result, analyzed, videos) == videos / "day2" / "talk.mp4"
    assert find_video(result, analyzed, videos / "day1") == videos / "day1" / "talk.mp4", "named, and refused later"
    with pytest.raises(InputError, match=r"talk\.mp4 of .* was not found in .*empty; say where with --video"):
        (videos / "empty").mkdir()
        find_video(result, analyzed, videos / "empty")
    with pytest.raises(InputError, match="none does not exist"):
        find_video(result, analyzed, videos / "none")
