"""The face models by name."""

from pathlib import Path

from openmer.choices import FaceModelName
from openmer.errors import InputError
from openmer.face.track import FaceModel


def face_model(name: FaceModelName = "dlib", predictor: Path | None = None) -> FaceModel:
    """A face model by name; only its own libraries are imported.

    Args:
        name: `dlib` or `mesh`.
        predictor: another file of dlib's 68-point predictor.

    Raises:
        InputError: the name is unknown, what the model needs is missing, or a predictor was given to the mesh.
    """
    if name == "dlib":
        from openmer.face.dlib_model import DlibFaceModel

        return DlibFaceModel(predictor)
    if predictor is not None:
        raise InputError("--predictor is a file of dlib's: leave it out, or choose --face dlib")
    if name == "mesh":
        from openmer.face.mesh import MeshFaceModel

        return MeshFaceModel()
    raise InputError(f"unknown face model {name!r}; choose dlib or mesh")
