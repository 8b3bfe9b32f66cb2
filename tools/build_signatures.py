"""Build the file of what each action unit does to twelve regions, which `openmer.explain.units` compares motion with.

For maintainers; takes seconds. To be run again when the simulator's head or what passes for head motion changes; a test
compares the file with what this makes.

Run: python tools/build_signatures.py src/openmer/explain/signatures.safetensors
"""

import sys

import numpy as np
from safetensors.numpy import save_file

from openmer.clip import ALIGNED_PX, CROP_PX, Array
from openmer.simulator.camera import exact_flow, rasterize
from openmer.simulator.facial_motion import ACTION_UNITS, action_weights
from openmer.simulator.head import Identity, head_model, landmarks
from openmer.simulator.recording import face_centre
from openmer.simulator.render import crop_camera
from openmer.video.regions import region_flow


def signatures() -> dict[int, Array]:
    """What each unit does to an average face in frontal view: unit -> (2, R, 2) px of the crop, right side and left.

    The simulator's exact flow for a tenth of a full expression, minus what passes for head motion, as in a video.
    """
    model = head_model()
    face = Identity(model.mesh_template)
    neutral = face.vertices
    shift = face_centre(neutral) * (1, 0, 1)
    camera = crop_camera(ALIGNED_PX, neutral - shift)
    margin = (ALIGNED_PX - CROP_PX) // 2
    points = camera.project(landmarks(neutral - shift))[:, :2] - margin

    def moved(unit: int, right: float, left: float) -> Array:
        pair = (neutral - shift, face.posed(action_weights(unit, right, left)) - shift)
        drawn = [rasterize(camera.project(v), model.mesh_faces, ALIGNED_PX, ALIGNED_PX) for v in pair]
        flow, _ = exact_flow((drawn[0], drawn[1]), *pair, model.mesh_faces, camera)
        return 10 * region_flow(flow[:, margin:-margin, margin:-margin], points)

    return {unit: np.stack([moved(unit, 0.1, 0.0), moved(unit, 0.0, 0.1)]) for unit in ACTION_UNITS}


def main(path: str) -> None:
    """Write the file."""
    tensors = {f"AU{unit}": np.ascontiguousarray(motion, np.float32) for unit, motion in signatures().items()}
    save_file(tensors, path, {"made_by": "tools/build_signatures.py", "licence": "CC0"})


if __name__ == "__main__":
    main(sys.argv[1])
