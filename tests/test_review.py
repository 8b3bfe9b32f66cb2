"""`review.json`: nothing is lost, nothing foreign is touched, every change has its line."""

import os
import threading
from pathlib import Path

import msgspec
import pytest

from openmer.errors import InputError, OutputError
from openmer.facs import ActionUnit
from openmer.review import document
from openmer.review.document import (
    Add,
    Redo,
    Remove,
    Review,
    Set,
    Undo,
    apply_change,
    new_review,
    read_review,
    review_path,
    reviews_of,
)
from openmer.review.saving import ConflictError, write_review
from openmer.timeline import Interval, Timeline


def interval(onset: float, label: str = "candidate") -> Interval:
    return Interval(
        label=label,
        onset_s=onset,
        apex_s=onset + 0.2,
        offset_s=onset + 0.4,
        onset_frame=round(30 * onset),
        apex_frame=round(30 * onset) + 6,
        offset_frame=round(30 * onset) + 12,
        probabilities={"positive": 0.9, "none": 0.1},
    )


@pytest.fixture
def result(tmp_path: Path) -> Path:
    """A result with a blink (index 0), a candidate (1) and one that was set aside (2)."""
    folder = tmp_path / "talk"
    folder.mkdir()
    found = (interval(3.0, "set_aside"), interval(1.0), interval(0.5, "blink"))
    timeline = Timeline(intervals=found, start_s=0, end_s=10, provenance={"source": "talk.mp4"})
    (folder / "timeline.json").write_text(timeline.to_json())
    return folder


def test_a_new_review_asks_about_candidates_and_controls_by_time(result: Path) -> None:
    review = new_review(result, "ada", controls=[interval(2.0, "control")])
    assert [(e.id, e.origin, e.onset_s, e.verdict) for e in review.entries] == [
        ("e1", "candidate", 1.0, "none"),
        ("e2", "control", 2.0, "none"),
        ("e3", "candidate", 3.0, "none"),
    ]
    assert [e.machine and (e.machine.index, e.machine.label) for e in review.entries] == [
        (1, "candidate"),
        None,
        (2, "set_aside"),
    ]
    assert review.source.video == "talk.mp4"
    assert (review.coder, review.revision) == ("ada", 0)


def test_a_name_becomes_the_files_name_or_is_refused(result: Path) -> None:
    assert review_path(result).name == "review.json"
    assert review_path(result, "zoë").name == "review-zoë.json"
    for name in ("../x", "a/b", "a b", ".x", "-x", "x" * 41):
        with pytest.raises(InputError, match="coder's name"):
            new_review(result, name)
    for name in ("", "bob", "ada"):
        write_review(review_path(result, name), new_review(result, name), replaces=None)
    assert [p.name for p in reviews_of(result)] == ["review.json", "review-ada.json", "review-bob.json"]


def test_every_change_has_a_line_and_can_be_undone_and_redone(result: Path) -> None:
    before = new_review(result)
    units = [{"number": 12, "side": "L", "intensity": "C", "certain": True}]
    values = {"verdict": "accepted", "expression": "happiness", "action_units": units, "offset_s": 1.5}
    after = apply_change(before, Set(entry="e1", values=values))
    assert after.entry("e1").action_units == (ActionUnit(12, "L", "C"),)
    assert (after.entry("e1").onset_s, after.entry("e1").offset_s, after.revision) == (1.0, 1.5, 1)
    assert after.entry("e1").machine == before.entry("e1").machine
    (line,) = after.history
    assert (line.do, line.entry) == ("set", "e1")
    assert line.before == {"offset_s": 1.4, "verdict": "none", "expression": "", "action_units": []}
    assert line.after == values
    undone = apply_change(after, Undo())
    assert (undone.entries, undone.revision, len(undone.history)) == (before.entries, 2, 2)
    assert apply_change(undone, Redo()).entries == after.entries
    with pytest.raises(InputError, match="nothing to undo"):
        apply_change(undone, Undo())
    with pytest.raises(InputError, match="nothing to redo"):
        apply_change(apply_change(undone, Set(entry="e2", values={"note": "x"})), Redo())


def test_undo_goes_back_step_by_step(result: Path) -> None:
    review = new_review(result)
    for text in ("one", "two"):
        review = apply_change(review, Set(entry="e1", values={"note": text}))
    notes = []
    for change in (Undo(), Undo(), Redo(), Redo(), Undo()):
        review = apply_change(review, change)
        notes.append(review.entry("e1").note)
    assert notes == ["one", "", "one", "two", "one"]


def test_what_was_missed_is_added_and_its_name_never_given_again(result: Path) -> None:
    added = apply_change(new_review(result), Add(values={"onset_s": 2.0, "offset_s": 2.5}))
    assert [(e.id, e.origin, e.verdict) for e in added.entries] == [
        ("e1", "candidate", "none"),
        ("e3", "added", "accepted"),
        ("e2", "candidate", "none"),
    ]
    removed = apply_change(added, Remove(entry="e3"))
    assert [e.id for e in removed.entries] == ["e1", "e2"]
    again = apply_change(removed, Add(values={"onset_s": 2.0, "offset_s": 2.5}))
    assert [e.id for e in again.entries] == ["e1", "e4", "e2"]
    assert apply_change(removed, Undo()).entry("e3") == added.entry("e3")
    with pytest.raises(InputError, match="reject it"):
        apply_change(added, Remove(entry="e1"))


def test_a_blind_coder_sees_what_is_added_last(result: Path) -> None:
    added = apply_change(new_review(result, blind=True), Add(values={"onset_s": 0.1, "offset_s": 0.5}))
    assert [e.id for e in added.entries] == ["e1", "e2", "e3"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"onset_s": 2.0}, "end after it begins"),
        ({"apex_s": 9.0}, "apex 9.0 lies outside"),
        ({"onset_s": float("nan")}, "finite"),
        ({"onset_frame": 40}, "must rise"),
        ({"apex_s": None}, "a frame but no time"),
        ({"verdict": "perhaps"}, "verdict"),
        ({"origin": "added"}, "cannot be set"),
        ({"action_units": [{"number": 12, "side": "X"}]}, "X12 is not an action unit"),
        ({"action_units": [{"number": 12, "intensity": "F"}]}, "12F is not an action unit"),
        ({"note": "x" * 10_001}, "at most"),
    ],
)
def test_an_impossible_change_is_refused(result: Path, values: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        apply_change(new_review(result), Set(entry="e1", values=values))


def test_a_change_that_is_sent_twice_counts_once(result: Path) -> None:
    change = Add(values={"onset_s": 2.0, "offset_s": 2.5}, token="window1-7")
    once = apply_change(new_review(result), change)
    assert apply_change(once, change) is once
    unchanged = Set(entry="e1", values={"verdict": "none"})
    assert apply_change(once, unchanged) is once, "what changes nothing has no line"


def test_what_is_written_is_read_and_changes_come_from_json(result: Path) -> None:
    path = review_path(result)
    write_review(path, new_review(result), replaces=None)
    change = msgspec.json.decode(b'{"do": "set", "entry": "e2", "values": {"verdict": "unsure"}}', type=document.Change)
    changed = apply_change(read_review(path), change)
    write_review(path, changed, replaces=0)
    assert read_review(path) == changed
    assert [p.name for p in result.iterdir() if p.name.startswith(".")] == []


def test_two_windows_do_not_overwrite_each_other(result: Path) -> None:
    path = review_path(result)
    write_review(path, new_review(result), replaces=None)
    one, two = read_review(path), read_review(path)
    write_review(path, apply_change(one, Set(entry="e1", values={"note": "one"})), replaces=one.revision)
    with pytest.raises(ConflictError, match="changed meanwhile") as refused:
        write_review(path, apply_change(two, Set(entry="e1", values={"note": "two"})), replaces=two.revision)
    assert refused.value.current == read_review(path)
    assert read_review(path).entry("e1").note == "one"
    with pytest.raises(ConflictError):
        write_review(path, new_review(result), replaces=None)


def test_of_many_that_write_at_once_each_is_kept_or_told(result: Path) -> None:
    path = review_path(result)
    write_review(path, new_review(result), replaces=None)

    def work(name: str) -> None:
        for k in range(5):
            while True:
                review = read_review(path)
                changed = apply_change(review, Add(values={"onset_s": 2, "offset_s": 3, "note": f"{name}{k}"}))
                try:
                    write_review(path, changed, replaces=review.revision)
                    break
                except ConflictError:
                    pass

    threads = [threading.Thread(target=work, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    notes = {e.note for e in read_review(path).entries if e.origin == "added"}
    assert notes == {f"{name}{k}" for name in "abc" for k in range(5)}


def damaged(review: Review, result: Path) -> dict[str, bytes]:
    whole = msgspec.json.encode(review)
    plain = msgspec.json.decode(whole)
    return {
        "half of it": whole[: len(whole) // 2],
        "empty": b"",
        "another program's": b'{"title": "my notes"}',
        "a later version's": msgspec.json.encode(plain | {"schema": "openmer.review/2"}),
        "an unknown field": msgspec.json.encode(plain | {"mood": 1}),
        "a wrong revision": msgspec.json.encode(plain | {"revision": 7}),
        "a bad time": whole.replace(b'"offset_s":1.4', b'"offset_s":0.4', 1),
        "a clock that stands": whole.replace(b'"slowdown":1.0', b'"slowdown":0.0', 1),
        "the same id twice": whole.replace(b'"id":"e2"', b'"id":"e1"'),
        "another analysis": whole.replace(document.timeline_sha256(result).encode(), b"0" * 64),
    }


def test_a_damaged_or_foreign_file_is_refused_by_name_and_left_as_it_is(result: Path) -> None:
    path, review = review_path(result), new_review(result)
    for what, content in damaged(review, result).items():
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"review\.json"):
            read_review(path)
        for replaces in (None, 0):
            with pytest.raises(InputError, match="as it is"):
                write_review(path, review, replaces=replaces)
        assert path.read_bytes() == content, what


def test_a_review_away_from_its_result_can_be_read(result: Path, tmp_path: Path) -> None:
    path = tmp_path / "ada.json"
    write_review(path, new_review(result, "ada"), replaces=None)
    assert read_review(path).coder == "ada"


def test_a_full_disk_is_told_and_the_last_state_stays(result: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, review = review_path(result), new_review(result)
    write_review(path, review, replaces=None)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=r"review\.json: No space left.*still there"):
        write_review(path, apply_change(review, Set(entry="e1", values={"note": "x"})), replaces=0)
    assert read_review(path) == review
    assert sorted(p.name for p in result.iterdir()) == ["review.json", "timeline.json"]


def test_a_missing_folder_or_file_is_told(result: Path, tmp_path: Path) -> None:
    review = new_review(result)
    with pytest.raises(OutputError, match="cannot write"):
        write_review(tmp_path / "gone" / "review.json", review, replaces=None)
    with pytest.raises(OutputError, match="not there any more"):
        write_review(review_path(result), review, replaces=0)
