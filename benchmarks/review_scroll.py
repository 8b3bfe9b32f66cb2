"""The timeline of `openmer review` over an hour: pictures a second while it scrolls and zooms, in Chromium.

Run: python benchmarks/review_scroll.py [--minutes 60] [--rate 200] [--seconds 8]

The result is made up: noise with a bump every twenty seconds, which is a candidate. Needs playwright and chromium.
"""

import os
import shutil
import tempfile
import threading
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import record
import tyro
import uvicorn
from playwright.sync_api import sync_playwright

from openmer.media.writer import VideoWriter
from openmer.review.settings import ReviewSettings
from openmer.timeline import Clock, Interval, Timeline
from openmer.web.review import Desk, build

SCROLL = """
async ([seconds, span]) => {
  const line = openmer.line, gaps = [], begun = performance.now();
  line.show(0, span);
  let last = begun, drawn = line.drawn;
  while (last - begun < seconds * 1000) {
    const now = await new Promise(requestAnimationFrame);
    gaps.push(now - last); last = now;
    const by = span / 60;
    if (line.to + by >= line.end) line.show(0, span); else line.show(line.from + by, line.to + by);
  }
  gaps.sort((a, b) => a - b);
  const drawings = line.drawn - drawn;
  return { drawn_a_second: drawings / ((last - begun) / 1000), gap_ms_p95: gaps[Math.floor(0.95 * gaps.length)] };
}
"""


def main(minutes: float = 60.0, rate: int = 200, seconds: float = 8.0) -> None:
    """Measure and write."""
    with tempfile.TemporaryDirectory() as folder:
        result = _result(Path(folder), minutes * 60, rate)
        desk = Desk(result, ReviewSettings())
        server = uvicorn.Server(uvicorn.Config(build([desk], "token"), port=7917, log_level="warning"))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        try:
            figures = _scrolled("http://127.0.0.1:7917/token/", minutes * 60, seconds)
        finally:
            server.should_exit = True
            thread.join()
    record.write("review_scroll", {"minutes": minutes, "rate": rate}, figures)


def _scrolled(address: str, length_s: float, seconds: float) -> dict[str, dict[str, float]]:
    options = ["--no-sandbox"] if os.getuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=options)
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto(address)
        page.wait_for_selector("body[data-ready]", timeout=120_000)
        spans = {"ten seconds": 10.0, "a minute": 60.0, "ten minutes": 600.0, "all": length_s}
        figures = {name: page.evaluate(SCROLL, [seconds, span]) for name, span in spans.items() if span <= length_s}
        browser.close()
    return figures


def _result(folder: Path, length_s: float, rate: int) -> Path:
    with VideoWriter(folder / "talk.mp4", 64, 48, Fraction(rate)) as video:  # the timeline needs no more of it
        for k in range(10):
            video.write(np.zeros((48, 64, 3), np.uint8), k / rate)
    times = np.arange(int(length_s * rate)) / rate
    middles = np.arange(10.0, length_s - 1, 20.0)
    motion = np.abs(np.random.default_rng(0).normal(0, 0.1, len(times)))
    for middle in middles.tolist():
        motion += 2 * np.exp(-(((times - middle) / 0.1) ** 2))
    result = folder / "talk"
    result.mkdir()
    table = {"frame": np.arange(len(times)), "time_s": times, "mouth_dx_px": 0.0, "mouth_px": motion}
    pd.DataFrame(table).to_csv(result / "frames.csv", index=False, float_format="%.6f")
    intervals = tuple(
        Interval(label="candidate", onset_s=m - 0.2, apex_s=m, offset_s=m + 0.2) for m in middles.tolist()
    )
    timeline = Timeline(
        intervals=intervals,
        start_s=0.0,
        end_s=length_s,
        clock=Clock(fps=float(rate)),
        provenance={"source": "talk.mp4"},
    )
    (result / "timeline.json").write_text(timeline.to_json())
    return result


if __name__ == "__main__":
    tyro.cli(main)
