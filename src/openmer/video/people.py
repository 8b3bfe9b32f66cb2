"""What an analysis of several people leaves beside each one's own result: who is who, one report, one overlay."""

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from openmer.clip import Array
from openmer.page import image_uri, render
from openmer.timeline import CANDIDATE, Timeline
from openmer.video.files import FOLDER as FOLDER
from openmer.video.files import PEOPLE as PEOPLE
from openmer.video.measurements import Measurements
from openmer.video.overlay import SPARE_COLORS, Image, OverlayPainter, rgb_of, write
from openmer.video.report import MomentRow, findings

SCHEMA = "openmer.people/1"
PORTRAIT_PX = 160
GROUP_PX = 900  # width of the picture that shows who is who
SIDES, ABOVE, BELOW = 0.15, 0.45, 0.1  # around the landmarks, which leave out the forehead, as shares of their extent


def color_of(number: int) -> str:
    """The color of a person's box, from 1."""
    return SPARE_COLORS[(number - 1) % len(SPARE_COLORS)]


def _box(landmarks: Array) -> tuple[int, int, int, int]:
    """Left, top, right, bottom around a face, px."""
    (left, top), (right, bottom) = landmarks.min(0).tolist(), landmarks.max(0).tolist()
    extent = max(right - left, bottom - top)
    sides = SIDES * extent
    return round(left - sides), round(top - ABOVE * extent), round(right + sides), round(bottom + BELOW * extent)


def _framed(picture: Image, landmarks: Array, number: int, zoom: float) -> None:
    """Draw a person's box and number."""
    left, top, right, bottom = _box((landmarks + 0.5) * zoom - 0.5)
    cv2.rectangle(picture, (left, top), (right, bottom), rgb_of(color_of(number)), 2, cv2.LINE_AA)
    write(picture, str(number), max(20, top - 6), color_of(number), x=max(6, left + 4))


class Portraits:
    """Collects pictures of who is who while the video is read a second time.

    Args:
        people: what was measured of each person.

    Attributes:
        group: a frame with as many of them as possible, with numbered boxes.
        faces: each one's face, in the middle of their frames.
        last: place of the last frame that is needed.
    """

    def __init__(self, people: Sequence[Measurements]) -> None:
        self.group: Image | None = None
        self.faces: dict[int, Image] = {}
        self._people = people
        with_face = np.stack([p.with_face for p in people])
        together = np.flatnonzero(with_face.sum(0) == with_face.sum(0).max())
        self._together = int(together[len(together) // 2])
        middles = [np.flatnonzero(row) for row in with_face]
        self._middles = [int(places[len(places) // 2]) for places in middles]
        self.last = max(self._together, *self._middles)

    def add(self, place: int, image: Image) -> None:
        """Take the next frame, (H, W, 3) RGB, by its place among those measured."""
        for k, middle in enumerate(self._middles):
            if place == middle:
                left, top, right, bottom = _box(self._people[k].landmarks[place])
                part = image[max(0, top) : max(1, bottom), max(0, left) : max(1, right)]
                scale = PORTRAIT_PX / max(part.shape[:2])
                size = (max(1, round(part.shape[1] * scale)), max(1, round(part.shape[0] * scale)))
                self.faces[k] = np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_CUBIC), np.uint8)
        if place == self._together:
            zoom = GROUP_PX / image.shape[1]
            size = (GROUP_PX, max(1, round(image.shape[0] * zoom)))
            group = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
            for number, person in enumerate(self._people, start=1):
                if person.with_face[place]:
                    _framed(group, person.landmarks[place], number, zoom)
            self.group = group


class PeoplePainter:
    """Draws everybody on the frames of one video, with numbered boxes, above a timeline for each.

    Args:
        painters: one for each person.
        people: what was measured of each.
    """

    def __init__(self, painters: Sequence[OverlayPainter], people: Sequence[Measurements]) -> None:
        self._painters = painters
        self._people = people
        width, height = painters[0].size
        strip = painters[0].strip(0.0).shape[0]
        self.size = (width, height + (len(painters) - 1) * strip)

    def paint(self, row: int, image: Image, flows: Sequence[Array]) -> Image:
        """The picture for one row: (H, W, 3) RGB in, (size[1], size[0], 3) out; `flows` are each person's."""
        time_s = float(self._people[0].signals.times_s[row])
        picture = self._painters[0].enlarged(image)
        zoom = picture.shape[1] / image.shape[1]
        strips = []
        for number, (painter, person, flow) in enumerate(zip(self._painters, self._people, flows, strict=True), 1):
            picture = painter.draw_face(picture, row, flow)
            strip = painter.strip(time_s)
            write(strip, str(number), 26, color_of(number))
            strips.append(strip)
            if not person.with_face[row]:
                continue
            _framed(picture, person.landmarks[row], number, zoom)
            left, _, _, bottom = _box((person.landmarks[row] + 0.5) * zoom - 0.5)
            for k, (text, color) in enumerate(painter.events_at(time_s)):
                write(picture, text, bottom + 20 + 24 * k, color, x=max(6, left))
        write(picture, f"{time_s:.2f} s", 24, "#ffffff")
        return np.concatenate([picture, *strips])


def write_people(folder: Path, timelines: Sequence[Timeline], people: Sequence[Measurements], note: str) -> None:
    """Write `people.json`: who was found where, and in which folder each one's result is."""
    content = []
    for number, (timeline, measured) in enumerate(zip(timelines, people, strict=True), start=1):
        times_s = measured.signals.times_s[measured.with_face]
        content.append(
            {
                "person": number,
                "folder": FOLDER.format(number),
                "frames_with_face": len(times_s),
                "first_s": round(float(times_s[0]), 6),
                "last_s": round(float(times_s[-1]), 6),
                "candidates": len(timeline.labelled(CANDIDATE)),
            }
        )
    about = {key: timelines[0].provenance[key] for key in ("source", "openmer", "caution")}
    whole = {"schema": SCHEMA, **about, "left_out": note, "people": content}
    (folder / PEOPLE).write_text(json.dumps(whole, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def write_people_report(
    path: Path,
    people: Sequence[tuple[Measurements, Timeline, Sequence[MomentRow]]],
    portraits: Portraits,
    *,
    overlay: bool,
    note: str,
) -> None:
    """Write the page: who is who, then a section for each person."""
    sections = [
        {
            "number": number,
            "color": color_of(number),
            "face": image_uri(portraits.faces[number - 1]) if number - 1 in portraits.faces else None,
            "folder": FOLDER.format(number),
            "timeline": timeline,
            "seen": measured.signals.times_s[measured.with_face],
            "findings": render("findings.html.j2", **findings(measured, timeline, moments, overlay=False)),
        }
        for number, (measured, timeline, moments) in enumerate(people, start=1)
    ]
    measured, timeline, moments = people[0]
    page = render(
        "people.html.j2",
        **findings(measured, timeline, moments, overlay=overlay),
        people=sections,
        group=None if portraits.group is None else image_uri(portraits.group),
        note=note,
    )
    path.write_text(page, encoding="utf-8")
