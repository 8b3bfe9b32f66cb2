"""What MediaPipe itself says of one photograph, to which our conversion is held: writes tests/data/face_mesh.json.

For maintainers, in an environment of its own, because MediaPipe wants older packages than we do:

    python -m venv elsewhere
    elsewhere/bin/pip install mediapipe==0.10.21 scikit-image
    elsewhere/bin/python tools/check_face_mesh.py tests/data/face_mesh.json

The photograph is scikit-image's astronaut. Its parts are cut out pixel by pixel, in the size that the networks take, so
that no resampling comes between.
"""

import json
import sys
from importlib.metadata import version
from pathlib import Path

import mediapipe as mp
import numpy as np
import skimage.data
from google.protobuf import text_format
from mediapipe.framework import calculator_pb2
from mediapipe.framework.formats import rect_pb2
from mediapipe.python import packet_creator, packet_getter

MESH_AT, DETECTOR_AT = (21, 127), (60, 160)  # row, column
MESH = """
input_stream: "image"
input_stream: "roi"
input_side_packet: "with_attention"
node {
  calculator: "FaceLandmarkCpu"
  input_stream: "IMAGE:image"
  input_stream: "ROI:roi"
  input_side_packet: "WITH_ATTENTION:with_attention"
  output_stream: "LANDMARKS:result"
}
"""
DETECTOR = """
input_stream: "image"
node { calculator: "FaceDetectionShortRangeCpu" input_stream: "IMAGE:image" output_stream: "DETECTIONS:result" }
"""


def run(graph: str, picture: np.ndarray, getter: object, **more: object) -> list[object]:
    """What a graph of MediaPipe gives for one picture."""
    from mediapipe.python._framework_bindings import resource_util

    resource_util.set_resource_dir(str(Path(mp.__file__).parent.parent))
    config = text_format.Parse(graph, calculator_pb2.CalculatorGraphConfig())
    made = mp.CalculatorGraph(graph_config=config)
    results: list[object] = []
    made.observe_output_stream("result", lambda _, packet: results.append(getter(packet)))
    made.start_run({k: v for k, v in more.items() if k != "roi"})
    frame = mp.ImageFrame(image_format=mp.ImageFormat.SRGB, data=np.ascontiguousarray(picture))
    made.add_packet_to_input_stream("image", packet_creator.create_image_frame(frame).at(0))
    if "roi" in more:
        made.add_packet_to_input_stream("roi", more["roi"].at(0))
    made.close_all_packet_sources()
    made.wait_until_done()
    return results


def main(out: Path) -> None:
    """Run both, write."""
    photograph = skimage.data.astronaut()
    (row, column), side = MESH_AT, 192
    whole = packet_creator.create_proto(rect_pb2.NormalizedRect(x_center=0.5, y_center=0.5, width=1, height=1))
    attention = packet_creator.create_bool(True)
    part = photograph[row : row + side, column : column + side]
    (points,) = run(MESH, part, packet_getter.get_proto, roi=whole, with_attention=attention)
    mesh = [[round(side * v, 3) for v in (p.x, p.y, p.z)] for p in points.landmark[:468]]
    (row, column), side = DETECTOR_AT, 128
    part = photograph[row : row + side, column : column + side]
    ((face,),) = run(DETECTOR, part, packet_getter.get_proto_list)
    area = face.location_data.relative_bounding_box
    box = [round(side * v, 3) for v in (area.xmin, area.ymin, area.width, area.height)]
    keys = [[round(side * k.x, 3), round(side * k.y, 3)] for k in face.location_data.relative_keypoints]
    content = {
        "made_by": f"tools/check_face_mesh.py, mediapipe {version('mediapipe')}",
        "mesh": {"at": MESH_AT, "points": mesh},
        "detector": {"at": DETECTOR_AT, "score": round(face.score[0], 5), "box": box, "keys": keys},
    }
    out.write_text(json.dumps(content) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
