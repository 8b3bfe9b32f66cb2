"""Follow everybody in a video, and keep them apart where they cross, cover each other, leave and return.

Each person is followed from frame to frame as `FaceTracker` follows one. A face that is where the person was and looks
as the person last did is the same person's. Whenever that is in doubt (two people are at one face, the look has
changed, a face comes back or is new), the recognizer decides; a face that it does not take for the person is nobody's.
So a person who is covered is lost for a while, and does not become the other one.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from openmer.clip import Array, Gray
from openmer.face.likeness import Recognizer, look
from openmer.face.track import Box, Face, FaceModel, Located

ONE_FACE = 0.35  # IoU above which two boxes are one face's
NEAR_GROWTH = 1.6  # people are near each other if their boxes, grown so much, touch
LIKE, LIKE_NEAR = 0.8, 0.93  # correlation with the last confirmed look that needs no recognizer; near others
SAME_PERSON = 0.6  # distance of the recognizer's numbers: its author's threshold
SAME_ELSEWHERE = 0.55  # for a face that is not where the person was
CLEARLY = 0.05  # how much nearer the person must be than anybody else
NEW_VIEW = 0.25  # a face farther than this from all known views of its person is another view
VIEWS = 8  # kept of each person


@dataclass
class _Person:
    """One person, and what is known of how they look."""

    number: int
    last: Located
    look: Array
    views: list[Array]
    track: int = 0
    lost_for: int = 0  # frames; 0 while seen
    claimed: int | None = field(default=None)  # index of the face that is where they were

    def distance(self, numbers: Array) -> float:
        return min(float(np.linalg.norm(view - numbers)) for view in self.views)


@dataclass
class _Detection:
    """A face in the present frame, and whose it may be."""

    face: Located
    look: Array
    searched: bool  # in the whole picture; only such a face can be a new person's
    numbers: Array = field(default_factory=lambda: np.empty(0, np.float32))  # the recognizer's, once asked


class PeopleTracker:
    """Follows all faces of a video.

    Args:
        model: finds faces and landmarks.
        recognizer: tells people apart.
        search_every: frames between searches of the whole picture, in which new people are found.
        patience: frames for which a person who was lost is looked for more often.
    """

    often = 5

    def __init__(self, model: FaceModel, recognizer: Recognizer, *, search_every: int = 15, patience: int = 30) -> None:
        self._model = model
        self._recognizer = recognizer
        self._search_every = search_every
        self._patience = patience
        self._people: dict[int, _Person] = {}
        self._forgotten: deque[int] = deque()
        self._next = 0
        self._since_search = search_every  # the first frame is searched

    def update(self, gray: Gray) -> dict[int, Face]:
        """The faces in the next frame, (H, W) uint8, by the number of the person; new people from left to right."""
        while self._forgotten:
            self._people.pop(self._forgotten.popleft(), None)
        faces: list[_Detection] = []
        for person in self._people.values():
            person.claimed = None
            if not person.lost_for:
                self._follow(gray, person, faces)
        checked = self._since_search + 1 >= self._search_every
        if checked or self._looks_for_lost():
            self._search(gray, faces, fine=checked and not faces)
        near = self._near()
        sure = {
            p.number: p.claimed
            for p in self._people.values()
            if p.claimed is not None and self._unchanged(p, faces, near if not checked else set(self._people))
        }
        taken = sure | self._recognized(gray, faces, sure, near)
        self._take(taken, faces, near)
        self._add_new(gray, faces, set(taken.values()))
        return {
            p.number: Face(p.last.box, p.last.score, p.last.landmarks, p.track)
            for p in self._people.values()
            if not p.lost_for
        }

    def forget(self, number: int) -> None:
        """Forget a person from the next frame on, who would be a new one on return; from any thread."""
        self._forgotten.append(number)

    def _follow(self, gray: Gray, person: _Person, faces: list[_Detection]) -> None:
        face = self._model.follow(gray, person.last)
        if face is None:
            return
        for k, other in enumerate(faces):  # somebody else was led to the same face
            if other.face.box.iou(face.box) > ONE_FACE:
                person.claimed = k
                return
        person.claimed = len(faces)
        faces.append(_Detection(face, look(gray, face), searched=False))

    def _looks_for_lost(self) -> bool:
        """Whether somebody has just been lost, or is still expected back soon."""
        gone = [p for p in self._people.values() if p.claimed is None and p.lost_for <= self._patience]
        return any(p.lost_for % self.often == 0 for p in gone)

    def _search(self, gray: Gray, faces: list[_Detection], *, fine: bool) -> None:
        self._since_search = -1
        detections = self._model.search(gray, fine=fine)
        for detection in sorted(detections, key=lambda d: d.box.left):
            if any(detection.box.iou(other.face.box) > ONE_FACE for other in faces):
                continue
            face = self._model.locate(gray, detection)
            if face is None or any(face.box.iou(other.face.box) > ONE_FACE for other in faces):
                continue
            faces.append(_Detection(face, look(gray, face), searched=True))

    def _near(self) -> set[int]:
        """Numbers of people whose faces nearly touch, or did when one was last seen."""
        boxes = {p.number: p.last.box.grown(NEAR_GROWTH) for p in self._people.values() if p.lost_for <= self._patience}
        pairs = [(a, b) for a, b in combinations(boxes, 2) if boxes[a].iou(boxes[b]) > 0]
        return {number for pair in pairs for number in pair}

    def _unchanged(self, person: _Person, faces: Sequence[_Detection], near: set[int]) -> bool:
        """Whether the face that is where the person was is theirs alone and looks as they last did."""
        if sum(p.claimed == person.claimed for p in self._people.values()) > 1 or person.claimed is None:
            return False
        least = LIKE_NEAR if person.number in near else LIKE
        return float(faces[person.claimed].look @ person.look) > least

    def _recognized(
        self, gray: Gray, faces: Sequence[_Detection], sure: dict[int, int], near: set[int]
    ) -> dict[int, int]:
        """Who has which of the other faces, by the recognizer: the most alike first."""
        free = [k for k in range(len(faces)) if k not in sure.values()]
        people = [p for p in self._people.values() if p.number not in sure]
        for k in free:
            faces[k].numbers = self._recognizer(gray, faces[k].face)
        distances = [(p.distance(faces[k].numbers), p, k) for p in people for k in free]
        taken: dict[int, int] = {}
        for distance, person, k in sorted(distances, key=lambda d: d[0]):
            if person.number in taken or k in taken.values():
                continue
            in_place = person.claimed == k or person.last.box.iou(faces[k].face.box) > ONE_FACE
            rivals = (p for p in people if p is not person and (p.claimed == k or p.lost_for or p.number in near))
            rival = min((p.distance(faces[k].numbers) for p in rivals), default=np.inf)
            if distance < (SAME_PERSON if in_place else SAME_ELSEWHERE) and distance < rival - CLEARLY:
                taken[person.number] = k
        return taken

    def _take(self, taken: dict[int, int], faces: Sequence[_Detection], near: set[int]) -> None:
        self._since_search += 1
        for person in self._people.values():
            if person.number not in taken:
                person.lost_for += 1
                continue
            new = faces[taken[person.number]]
            elsewhere = _moved(person.last.box, new.face.box) and person.claimed != taken[person.number]
            if elsewhere or person.lost_for > self._patience:
                person.track += 1
            person.last, person.lost_for = new.face, 0
            if len(new.numbers):
                person.look = new.look
                if person.number not in near and person.distance(new.numbers) > NEW_VIEW:
                    person.views = [*person.views[-VIEWS + 1 :], new.numbers]

    def _add_new(self, gray: Gray, faces: Sequence[_Detection], taken: set[int]) -> None:
        for k, new in enumerate(faces):
            if k in taken or not new.searched:
                continue
            gone = [p for p in self._people.values() if p.lost_for]
            if min((p.distance(new.numbers) for p in gone), default=np.inf) < SAME_PERSON:
                continue  # one of the lost, but it stays open which
            self._people[self._next] = _Person(self._next, new.face, new.look, [new.numbers])
            self._next += 1


def _moved(before: Box, after: Box) -> bool:
    """Whether a face is elsewhere."""
    return before.iou(after) <= ONE_FACE
