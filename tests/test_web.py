"""The web page in a browser: Debian's Chromium, driven by Playwright, against a server in a process of its own."""

import json
import os
import re
import shutil
import signal
import zipfile
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("uvicorn", reason="needs the extra `web`")
pytest.importorskip("playwright", reason="needs playwright")

from playwright.sync_api import Browser, Page, expect, sync_playwright

from footage import face_closeup, noisy, smirk, write_video
from webserver import Server, serving, wait_for

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium, such as Debian's")

MAX_SECONDS = 8
ANALYSED_MS = 120_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    options = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    if os.getuid() == 0:
        options.append("--no-sandbox")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        yield running
        running.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("tmp"), "--max-seconds", str(MAX_SECONDS), "--max-mb", "2") as running:
        yield running


@pytest.fixture
def visit(browser: Browser, server: Server) -> Iterator[Callable[[], Page]]:
    """Opens a page of a new user; each must have loaded nothing from elsewhere and met no error of a script."""
    pages, problems = [], []

    def opened() -> Page:
        page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
        page.on("pageerror", lambda error: problems.append(f"script: {error}"))
        page.on("request", lambda r: problems.append(r.url) if _elsewhere(r.url, server) else None)
        page.goto(server.url)
        page.wait_for_selector("#om-go")
        pages.append(page)
        return page

    yield opened
    for page in pages:
        page.context.close()
    assert problems == []
    server.wait_until_empty()  # nothing is left of those who went


def _elsewhere(url: str, server: Server) -> bool:
    return not url.startswith((f"{server.url}/", "data:", f"blob:{server.url}/"))


@pytest.fixture(scope="module")
def smirking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A candidate at 1.55 s."""
    path = tmp_path_factory.mktemp("clips") / "talk & smile.mp4"
    return write_video(path, smirk(30, 1.4, 0.3, 1.5, 3.0), Fraction(30), crf="20")


@pytest.fixture(scope="module")
def long_enough(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nothing happens, for as long as is allowed: time enough to act meanwhile."""
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("clips") / "still.mp4"
    frames = (noisy(face_closeup(1.0), rng) for _ in range(int((MAX_SECONDS - 0.1) * 60)))
    return write_video(path, frames, Fraction(60), crf="30")


def analyse(page: Page, video: Path, method: str = "classical") -> None:
    page.get_by_label(re.compile(method)).check()
    page.set_input_files("input[type=file]", video)
    page.wait_for_selector("#om-video video")
    page.click("#om-go")


def moment(page: Page) -> float:
    """Where the video stands, in seconds."""
    page.wait_for_function("() => !document.querySelector('.om-screen video').seeking")
    return float(page.evaluate("document.querySelector('.om-screen video').currentTime"))


def cursor(page: Page) -> float:
    """Where the cursor stands, as a share of the timeline."""
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return float(page.evaluate("parseFloat(document.querySelector('.om-cursor').style.left) / 100"))


def test_from_a_video_to_its_timeline_and_back_into_the_video(
    visit: Callable[[], Page], smirking: Path, tmp_path: Path
) -> None:
    page = visit()
    analyse(page, smirking, "mol-lite")
    expect(page.locator(".om-status")).to_contain_text("of 90 frames", timeout=60_000)
    assert page.locator(".om-status").inner_text().startswith(("Measuring", "Drawing"))
    expect(page.locator(".om-result")).to_be_visible(timeout=ANALYSED_MS)
    expect(page.locator("h2")).to_have_text("talk & smile.mp4")
    expect(page.locator("#om-go")).to_be_hidden()
    page.wait_for_function("() => document.querySelector('.om-screen video').readyState >= 2")

    # A click in the middle of the timeline, a row of the list, a mark, and the cursor each time.
    page.locator(".om-plot .om-heat").click()
    assert moment(page) == pytest.approx(1.5, abs=0.05) and cursor(page) == pytest.approx(0.5, abs=0.02)
    page.keyboard.press("ArrowRight")
    assert moment(page) == pytest.approx(1.5 + 1 / 30, abs=0.05)
    page.locator(".om-row").first.click()
    assert moment(page) == pytest.approx(1.55, abs=0.08) and cursor(page) == pytest.approx(1.55 / 3, abs=0.03)
    assert "om-now" in (page.locator(".om-row").first.get_attribute("class") or "")
    page.locator(".om-plot .om-axis").click(position={"x": 2, "y": 8})
    assert moment(page) < 0.1
    page.locator(".om-plot [data-seek]").first.click()
    assert moment(page) == pytest.approx(1.55, abs=0.08)

    # The frame that is shown is named, also after half of its time: 30 a second, frame 45 from 1.5 s on.
    for seconds, frame in ((1.501, 45), (1.52, 45), (1.532, 45), (1.5345, 46)):
        page.evaluate("s => { document.querySelector('.om-screen video').currentTime = s }", seconds)
        expect(page.locator(".om-clock span")).to_have_text(f" · frame {frame}")
    assert 30 * float(page.locator(".om-result").get_attribute("data-step") or 0) == pytest.approx(1, abs=1e-10)

    # The cursor follows the video; a moment played slowly ends by itself.
    before = cursor(page)
    page.click("[data-act=play]")
    wait_for(lambda: cursor(page) > before + 0.05, 20)
    page.locator("[data-slow]").first.click()
    assert page.evaluate("document.querySelector('.om-screen video').playbackRate") == 0.25
    page.wait_for_function("() => document.querySelector('.om-screen video').paused", timeout=30_000)
    assert moment(page) == pytest.approx(1.7 + 0.2, abs=0.2)

    # Pictures, and what a network says from window to window.
    assert page.locator(".om-net path").count() == 4
    assert page.locator(".om-moment img").count() >= 6
    page.locator(".om-moment").last.scroll_into_view_if_needed()
    page.wait_for_function("() => [...document.querySelectorAll('.om-moment img')].every(i => i.naturalWidth > 0)")

    with page.expect_download() as waited:
        page.click("text=All as a zip")
    with zipfile.ZipFile(waited.value.path()) as archive:
        names = {Path(name).name for name in archive.namelist()}
        found = json.loads(archive.read("openmer/timeline.json"))
    links = page.locator(".om-files a")
    assert names == set(links.all_inner_texts()) >= {"report.html", "overlay.mp4", "frames.csv", "windows.csv"}
    assert found["provenance"]["source"] == "talk & smile.mp4"
    with page.expect_download() as waited:
        links.filter(has_text="timeline.csv").click()
    assert Path(waited.value.path()).read_text().startswith("schema,label,onset_s")

    page.click("#om-again")
    expect(page.locator("#om-go")).to_be_visible()
    expect(page.locator(".om-result")).to_have_count(0)


def test_what_the_network_saw_is_shown_where_it_is_asked_for(visit: Callable[[], Page], smirking: Path) -> None:
    page = visit()
    page.check("#om-explain input")
    analyse(page, smirking, "mol-lite")
    expect(page.locator(".om-result")).to_be_visible(timeout=ANALYSED_MS)
    why = page.locator(".om-why").first
    why.scroll_into_view_if_needed()
    expect(why).to_contain_text("compared with the same face standing still")
    page.wait_for_function("() => [...document.querySelectorAll('.om-why img')].every(i => i.naturalWidth > 0)")
    expect(page.locator(".om-files")).to_contain_text("explanations.json")


def test_the_note_is_in_sight_on_a_phone_and_says_what_the_weights_are(visit: Callable[[], Page]) -> None:
    page = visit()
    page.set_viewport_size({"width": 390, "height": 844})
    note = page.locator(".om-note")
    for said in ("trained on simulated faces", "not validated on real", "detect lies", "judge people", "watch anyone"):
        expect(note).to_contain_text(said)
    page.evaluate("scrollTo(0, 0)")
    for _ in range(2):
        box = note.bounding_box()
        assert box is not None and box["y"] + box["height"] <= 845 and box["width"] == pytest.approx(390, abs=2)
        page.evaluate("scrollTo(0, document.body.scrollHeight)")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.get_by_label(re.compile("classical")).check()
    expect(note).to_contain_text("nothing was learned")


def text_file(path: Path) -> Path:
    path.write_text("no video at all")
    return path


def gray_wall(path: Path, frames: int) -> Path:
    return write_video(path, [np.full((96, 128, 3), 128, np.uint8)] * frames, Fraction(30))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (text_file, "talk.mp4 could not be read as a video"),
        (lambda p: gray_wall(p, 30 * MAX_SECONDS + 30), f"longer than {MAX_SECONDS} seconds"),
        (lambda p: gray_wall(p, 10), "no face was found"),
    ],
    ids=["no video", "too long", "no face"],
)
def test_what_cannot_be_analysed_is_one_clear_sentence(
    visit: Callable[[], Page], server: Server, tmp_path: Path, make: Callable[[Path], Path], said: str
) -> None:
    page = visit()
    analyse(page, make(tmp_path / "talk.mp4"))
    error = page.locator("#om-status .om-error")
    expect(error).to_contain_text(said, timeout=60_000)
    assert str(server.temporary) not in error.inner_text() and "/" not in error.inner_text()
    expect(page.locator("#om-go")).to_be_enabled()


def test_a_file_that_is_too_large_is_refused(visit: Callable[[], Page], server: Server, tmp_path: Path) -> None:
    page = visit()
    large = tmp_path / "large.mp4"
    large.write_bytes(bytes(3_000_000))
    page.set_input_files("input[type=file]", large)
    expect(page.get_by_text("larger than 2 MB")).to_be_visible()
    assert server.kept() == set()
    page.set_input_files("input[type=file]", gray_wall(tmp_path / "small.mp4", 10))
    page.wait_for_selector("#om-video video")
    expect(page.get_by_text("larger than 2 MB")).to_be_hidden()


def test_without_a_video_the_page_asks_for_one(visit: Callable[[], Page]) -> None:
    page = visit()
    page.click("#om-go")
    expect(page.locator("#om-status .om-error")).to_contain_text("Drop a video")


def test_the_second_user_sees_the_queue_and_comes_next_when_the_first_cancels(
    visit: Callable[[], Page], server: Server, long_enough: Path, tmp_path: Path
) -> None:
    first, second = visit(), visit()
    analyse(first, long_enough)
    expect(first.locator(".om-status")).to_contain_text("Measuring", timeout=60_000)
    (worker,) = server.workers()
    analyse(second, gray_wall(tmp_path / "talk.mp4", 10))
    expect(second.locator(".om-status")).to_contain_text("Waiting: next in the queue", timeout=20_000)
    first.click("#om-cancel")
    expect(first.locator(".om-status")).to_have_text("Cancelled.", timeout=20_000)
    wait_for(lambda: worker not in server.workers(), 10)
    expect(second.locator("#om-status .om-error")).to_contain_text("no face was found", timeout=60_000)


def test_a_killed_analysis_leaves_the_server_serving(
    visit: Callable[[], Page], server: Server, long_enough: Path
) -> None:
    page = visit()
    analyse(page, long_enough)
    expect(page.locator(".om-status")).to_contain_text("Measuring", timeout=60_000)
    (worker,) = server.workers()
    os.kill(worker, signal.SIGKILL)
    expect(page.locator("#om-status .om-error")).to_contain_text("ended from outside", timeout=20_000)
    page.click("#om-go")
    expect(page.locator(".om-status")).to_contain_text("Measuring", timeout=60_000)


def test_closing_the_page_ends_the_analysis_and_deletes_the_files(
    visit: Callable[[], Page], server: Server, long_enough: Path
) -> None:
    page = visit()
    analyse(page, long_enough)
    expect(page.locator(".om-status")).to_contain_text("Measuring", timeout=60_000)
    assert "still.mp4" in server.kept() and len(server.workers()) == 1
    page.close()
    server.wait_until_empty()


def record(page: Page) -> None:
    """Some seconds of the browser's stand-in for a camera."""
    page.click("text=Record with the camera")
    page.wait_for_function("() => document.querySelector('#om-video video')?.readyState >= 2")
    page.get_by_role("button", name="Record", exact=True).click()
    page.wait_for_timeout(5000)  # a busy machine records nothing in the first seconds
    page.get_by_role("button", name="Stop").click()


def test_a_webcam_is_recorded_and_analysed(visit: Callable[[], Page]) -> None:
    """It shows no face; that the analysis says so shows that it was read."""
    page = visit()
    record(page)
    page.wait_for_selector("#om-clear")
    page.click("#om-go")
    expect(page.locator("#om-status .om-error")).to_contain_text("no face was found", timeout=60_000)


def test_a_recording_that_is_too_large_is_refused(visit: Callable[[], Page]) -> None:
    page = visit()
    page.locator("[data-max-bytes]").evaluate("element => { element.dataset.maxBytes = 100; }")
    record(page)
    expect(page.get_by_text("larger than 2 MB")).to_be_visible(timeout=20_000)


def test_a_video_of_the_servers_folder_is_found_and_analysed_with_the_keyboard(
    browser: Browser, smirking: Path, tmp_path: Path
) -> None:
    """Longer than an upload may be, and left where it is."""
    shelf = tmp_path / "interviews"
    shelf.mkdir()
    shutil.copy(smirking, shelf / "talk & smile.mp4")
    gray_wall(shelf / "wall.mp4", 10)
    with serving(tmp_path, "--files", str(shelf), "--max-seconds", "1") as running:
        page = browser.new_context(viewport={"width": 390, "height": 844}).new_page()
        page.goto(running.address())
        page.get_by_label("Find a video by its name").fill("SMILE")
        expect(page.get_by_label("wall.mp4")).to_be_hidden()
        page.keyboard.press("Tab")
        page.keyboard.press("Space")
        expect(page.get_by_label("talk & smile.mp4")).to_be_checked()
        page.get_by_label(re.compile("classical")).check()
        page.get_by_label(re.compile("classical")).press("Enter")
        expect(page.locator(".om-result")).to_be_visible(timeout=ANALYSED_MS)
        expect(page.locator("h2")).to_have_text("talk & smile.mp4")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        page.context.close()
        running.wait_until_empty()
    assert {path.name for path in shelf.iterdir()} == {"talk & smile.mp4", "wall.mp4"}
