"""Motion from onset to apex, in the folder layout that STSTNet's and HTNet's own programs read.

    OUT/export.json                                   what was made, and how
    OUT/samples.csv                                   one row per picture: recording, class, onset, apex
    OUT/STSNet_whole_norm_u_v_os/NAME.png             one picture per recording (HTNet's name for the folder)
    OUT/norm_u_v_os/SUBJECT/u_train/CLASS/NAME.png    for each held-out subject: all others' pictures,
    OUT/norm_u_v_os/SUBJECT/u_test/CLASS/NAME.png     and the subject's own; hard links if the disk supports them

A picture is 28 x 28 with dx, dy and strain as its three channels in OpenCV's order, each stretched to 0 to 255 by its
own smallest and largest value. Layout: Liong et al., STSTNet, FG 2019; Wang et al., HTNet, 2024.
"""

import json
import os
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from openmer.clip import Array, Sample
from openmer.clips.build import build_clip
from openmer.clips.flow import MOTION_PX, clip_flow, stacked_motion
from openmer.clips.transforms import center_crop
from openmer.datasets.prepare import Problem, read_frames
from openmer.datasets.protocols import THREE, Protocol, protocols
from openmer.datasets.settings import PrepareSettings
from openmer.errors import InputError
from openmer.files import new_directory, table_text
from openmer.processes import mapped
from openmer.version import __version__

MARKER = "export.json"
WHOLE, FOLDS = "STSNet_whole_norm_u_v_os", "norm_u_v_os"
SCHEMA = "openmer.export-ststnet/1"

Picture = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Labelled:
    """A recording and the number of its class."""

    sample: Sample
    label: int

    @property
    def subject(self) -> str:
        """The subject as STSTNet's and HTNet's folders name it: sub17, s03, 006."""
        plain = re.sub(r"[^\w.-]", "_", self.sample.subject)
        if self.sample.dataset == "casme2":
            return f"sub{plain}"
        smic = re.fullmatch(r"s(\d)", plain)
        return f"s0{smic[1]}" if smic else plain

    @property
    def file(self) -> str:
        """The picture's name; no recording's name can lead out of the folder."""
        return re.sub(r"[^\w.-]", "_", f"{self.subject}_{self.sample.name}") + ".png"


def three_classes(name: str, samples: Sequence[Sample]) -> tuple[tuple[str, ...], list[Labelled]]:
    """Negative 0, positive 1, surprise 2 by the dataset's own protocol; for other datasets, all labels by name.

    Args:
        name: of the dataset, or `composite`, or `folder`.
        samples: its recordings.

    Raises:
        InputError: no recording has a class.
    """
    rule = _rule(name)
    if rule is not None:
        classes = rule.classes
        labelled = [Labelled(sample, classes.index(label)) for sample, label in rule.of(samples)]
    else:
        classes = tuple(sorted({s.label for s in samples if s.label is not None}))
        labelled = [Labelled(s, classes.index(s.label)) for s in samples if s.label is not None]
    if not labelled:
        raise InputError(f"no recording of {name} has a class, so there is nothing to export")
    return classes, labelled


def _rule(name: str) -> Protocol | None:
    return next(
        (r for r in protocols().values() if r.classes == THREE and (name == r.name or {name} == {*r.mapping})), None
    )


def export_ststnet(
    name: str,
    samples: Sequence[Sample],
    out: Path,
    settings: PrepareSettings,
    *,
    overwrite: bool = False,
    processes: int = 1,
    on_sample: Callable[[], None] = lambda: None,
) -> tuple[Problem, ...]:
    """Write all pictures and the folders of every fold; returns the recordings that could not be used.

    Raises:
        InputError: no recording could be used.
        OutputError: `out` exists or cannot be written.
    """
    classes, wanted = three_classes(name, samples)
    _refuse_same_names(wanted)
    wanted = [replace(item, sample=_with_apex(item.sample)) for item in wanted]
    with new_directory(out, overwrite=overwrite, marker=MARKER, own=(MARKER, "samples.csv", WHOLE, FOLDS)) as folder:
        (folder / WHOLE).mkdir()
        work = [(item, folder / WHOLE, settings) for item in wanted]
        reasons = mapped(_write, work, processes, on_item=on_sample, one_thread=True)
        problems = tuple(Problem(w.sample, r) for w, r in zip(wanted, reasons, strict=True) if r is not None)
        made = [w for w, reason in zip(wanted, reasons, strict=True) if reason is None]
        if not made:
            raise InputError(
                f"no recording could be exported; the first: {problems[0].sample.name}: {problems[0].reason}"
            )
        _folds(folder, made, len(classes))
        (folder / "samples.csv").write_text(_table(made, classes), encoding="utf-8")
        content = {
            "schema": SCHEMA,
            "dataset": name,
            "classes": list(classes),
            "recordings": len(made),
            "left_out": len(problems),
            "flow": settings.flow,
            "picture": f"{MOTION_PX} x {MOTION_PX}, channels dx, dy, strain, each stretched to 0..255",
            "openmer": __version__,
        }
        (folder / MARKER).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return problems


def _refuse_same_names(wanted: Sequence[Labelled]) -> None:
    """Check before anything is computed: two people in one folder would be in training and test at once."""
    people: dict[str, tuple[str, str]] = {}
    pictures: dict[str, tuple[str, str, str]] = {}
    for item in wanted:
        s = item.sample
        one, other = people.setdefault(item.subject.lower(), (s.dataset, s.subject)), (s.dataset, s.subject)
        if one != other or pictures.setdefault(item.file.lower(), s.key) != s.key:
            raise InputError(f"{'/'.join(s.key)} would get the same name as {'/'.join(one)} in an export; rename one")


def _with_apex(sample: Sample) -> Sample:
    """An unknown apex is put in the middle of the expression, as the literature does for SMIC."""
    if sample.apex is not None:
        return sample
    onset, offset = sample.onset, sample.offset
    between = None if onset is None or offset is None else (onset + offset) // 2
    return replace(sample, apex=between, apex_estimated=True)


def _write(item: Labelled, folder: Path, settings: PrepareSettings) -> str | None:
    """Write one picture; returns None, or why it cannot be made."""
    try:
        picture = motion_picture(item.sample, settings)
    except InputError as error:
        return str(error)
    if not cv2.imwrite(str(folder / item.file), picture):
        return f"the picture {item.file} could not be written"
    return None


def motion_picture(sample: Sample, settings: PrepareSettings) -> Picture:
    """(28, 28, 3): from the onset (else the first frame) to the apex (else the recording's middle).

    Raises:
        InputError: the recording cannot be read, or there is no face at its onset.
    """
    read = read_frames(sample, settings.face)
    rows = sorted(read.images)
    if not rows:
        raise InputError(f"{sample.source} holds no frame between its onset and its offset")
    for mark in (sample.apex, sample.offset):
        if not sample.source.is_dir() and mark is not None and mark > read.last:
            raise InputError(f"frame {mark} lies beyond the last of {sample.source}, {read.last}")
    apex = rows[len(rows) // 2] if sample.apex is None else int(np.searchsorted(read.numbers, sample.apex))
    chosen = [rows[0], min(max(apex, rows[0]), rows[-1])]
    # One alignment for both, from the face at the onset: landmarks jitter more than a micro-expression moves.
    points = np.repeat(read.landmarks[chosen[:1]], 2, 0)
    clip = build_clip([read.images[k] for k in chosen], points, np.arange(2.0))
    flow = clip_flow(center_crop(clip.frames), settings.flow, settings.flow_device)[0]
    return stretched(stacked_motion(flow))


def stretched(channels: Array) -> Picture:
    """(3, H, W) -> (H, W, 3) uint8, each channel stretched from its smallest to its largest value; a flat one is 0."""
    low, high = channels.min((1, 2), keepdims=True), channels.max((1, 2), keepdims=True)
    scaled = (channels - low) * (255 / np.maximum(high - low, 1e-12))
    return np.ascontiguousarray(np.rint(scaled).astype(np.uint8).transpose(1, 2, 0))


def _folds(folder: Path, made: Sequence[Labelled], classes: int) -> None:
    for subject in sorted({item.subject for item in made}):
        for part in ("u_train", "u_test"):
            for label in range(classes):
                (folder / FOLDS / subject / part / str(label)).mkdir(parents=True)
        for item in made:
            part = "u_test" if item.subject == subject else "u_train"
            _link(folder / WHOLE / item.file, folder / FOLDS / subject / part / str(item.label) / item.file)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without links
        shutil.copyfile(source, target)


def _table(made: Sequence[Labelled], classes: Sequence[str]) -> str:
    columns = ("file", "dataset", "subject", "sample", "class", "number", "onset", "apex", "apex_estimated")
    rows = []
    for item in made:
        s = item.sample
        row = [item.file, s.dataset, item.subject, s.name, classes[item.label], item.label, s.onset, s.apex]
        rows.append(dict(zip(columns, [*row, s.apex_estimated], strict=True)))
    return table_text(rows, columns)
