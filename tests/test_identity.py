"""A recording is known again by its content, whatever its name and place."""

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from footage import face_closeup, noisy, write_video
from openmer import AnalyzeSettings, InputError, analyze
from openmer.media.identity import PART, PARTS, source_digest
from openmer.review.material import Material


def test_moved_and_renamed_it_is_the_same_and_one_changed_byte_makes_another(tmp_path: Path) -> None:
    one, other = tmp_path / "a.mp4", tmp_path / "elsewhere" / "b.mkv"
    other.parent.mkdir()
    content = bytearray(range(256)) * 20
    one.write_bytes(content)
    other.write_bytes(content)
    assert source_digest(one) == source_digest(other) and len(source_digest(one)) == 16
    content[-1] = 0
    other.write_bytes(content)
    assert source_digest(one) != source_digest(other)


def test_of_a_large_file_the_size_and_some_parts_count(tmp_path: Path) -> None:
    path = tmp_path / "large"
    size = 4 * PARTS * PART
    digests = set()
    for length, changed in ((size, None), (size + 1, None), (size, 0), (size, size // 2), (size, size - 1)):
        with path.open("wb") as file:
            file.truncate(length)  # sparse
            if changed is not None:
                start = (size - PART) * round(changed / size * (PARTS - 1)) // (PARTS - 1)
                file.seek(start)
                file.write(b"x")
        digests.add(source_digest(path))
    assert len(digests) == 5


def test_of_a_folder_names_sizes_and_both_ends_count(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for k in range(1, 5):
        cv2.imwrite(str(folder / f"img{k}.bmp"), np.full((20, 30), 40 * k, np.uint8))
    first = source_digest(folder)
    (folder / "notes.txt").write_text("not a picture")
    assert source_digest(folder) == first
    cv2.imwrite(str(folder / "img4.bmp"), np.full((20, 30), 7, np.uint8))
    changed = source_digest(folder)
    (folder / "img2.bmp").unlink()
    assert len({first, changed, source_digest(folder)}) == 3


def test_a_review_refuses_another_recording_of_the_same_name(tmp_path: Path) -> None:
    """Two folders with `talk.mp4` in each: the frames of the wrong one must not be shown beside the result."""
    rng = np.random.default_rng(0)
    right, wrong = tmp_path / "right" / "talk.mp4", tmp_path / "wrong" / "talk.mp4"
    for path, size in ((right, 1.0), (wrong, 1.2)):
        path.parent.mkdir()
        write_video(path, (noisy(face_closeup(size), rng) for _ in range(12)), Fraction(30))
    out = tmp_path / "wrong" / "result"
    timeline = analyze(right, out, AnalyzeSettings(engine="classical", overlay=False))
    assert timeline.provenance["source_digest"] == source_digest(right)
    with pytest.raises(InputError, match=r"wrong.talk\.mp4 has the name .* is another one.*--video"):
        Material(out)
    assert Material(out, right).image(3).shape[2] == 3
