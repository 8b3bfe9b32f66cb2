"""Read a dataset that OpenMER does not know: a subclass of Dataset that says where rows and frames are.

    python examples/03_add_a_dataset.py

A tiny one is simulated: one person, two clips, a row without frames. A folder with samples.csv needs no code.
"""

import csv
import tempfile
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import cv2
import tyro

from openmer.datasets.base import Dataset
from openmer.datasets.prepare import prepare
from openmer.datasets.row import Row
from openmer.datasets.settings import PrepareSettings
from openmer.datasets.trees import Tree, key_of
from openmer.simulator import generate, settings


class Pocket(Dataset):
    """POCKET: `P1/clip1/001.png`, 60 a second; coding.csv has person, clip, feeling, and frames on, top, off."""

    name, title, fps, layout = "pocket", "POCKET", Fraction(60), "P1/clip1/001.png"
    request, emotions = "simulated by this script", ("happiness", "surprise")

    def _rows(self) -> Iterable[Row]:
        for who, what, feeling, on, top, off in csv.reader((self.root / "coding.csv").read_text().splitlines()[1:]):
            yield Row(subject=who, name=what, label=feeling, onset=int(on), apex=int(top), offset=int(off))

    def _trees(self) -> Iterable[Tree]:
        return [Tree(self.root, "cropped", {key_of(p.parent.name, p.name): p for p in self.root.glob("P*/clip*")})]


def fake(root: Path) -> None:
    rows = ["person,clip,feeling,on,top,off", "P1,clip9,surprise,3,5,9"]
    for k in range(2):
        film, event, feeling = generate.draw_sample(settings.SimulateSettings(fps=60, emotions=Pocket.emotions), 0, k)
        (root / f"P1/clip{k}").mkdir(parents=True)
        for n in range(len(film)):
            cv2.imwrite(str(root / f"P1/clip{k}/{n:03d}.png"), film.image(n)[:, :, ::-1])
        rows.append(f"P1,clip{k},{feeling}," + ",".join(map(str, generate.marks(film, event))))
    (root / "coding.csv").write_text("\n".join(rows) + "\n")


def main(out: Path | None = None) -> None:
    fake((out := out or Path(tempfile.mkdtemp())) / "pocket")
    dataset = Pocket(out / "pocket")
    print(*(f"{f.kind}: {f.where} {f.what}" for f in dataset.findings), sep="\n")
    store, left_out = prepare(dataset.samples, out / "store", PrepareSettings(sampling="uniform", flow="dis"))
    print(f"{len(store)} clips of {len(dataset)} recordings in {store.root}, {len(left_out)} left out")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
