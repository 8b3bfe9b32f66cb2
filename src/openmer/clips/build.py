"""From frames and landmarks of a recording to an aligned clip: the steps that datasets and videos share."""

from collections.abc import Sequence

import numpy as np

from openmer.choices import AlignMode, FlowDevice, FlowMethod, Interpolation
from openmer.clip import ALIGNED_PX, Array, Clip, Gray, Times
from openmer.clips.flow import clip_flow
from openmer.clips.interpolation import interpolated, interpolated_rows
from openmer.errors import InputError
from openmer.face.align import align_clip


def build_clip(
    images: Sequence[Gray],
    landmarks: Array,
    times_s: Times,
    *,
    align: AlignMode = "per_clip",
    flow: FlowMethod | None = None,
    device: FlowDevice = "cpu",
    between: tuple[Interpolation, Times] | None = None,
) -> Clip:
    """Aligned frames of 144 px, with their landmarks and, if requested, a teacher's flow.

    Args:
        images: T gray pictures.
        landmarks: (T, 68, 2) px of the pictures; NaN in frames without a face, a few of which are allowed if the clip
            has one alignment.
        times_s: (T,) seconds.
        align: one alignment for the clip (`per_clip`), or one per frame.
        flow: how the flow between frames is measured, or None for no flow.
        device: where TV-L1 flow is computed.
        between: how aligned frames are interpolated, and the places of the clip's frames among them; None for the
            frames themselves.

    Raises:
        InputError: the numbers of images, landmarks and times differ, or too many frames have no face.
    """
    if not len(images) == len(landmarks) == len(times_s):
        raise InputError(f"{len(images)} images, {len(landmarks)} landmarks, {len(times_s)} times: one each per frame")
    unknown = int((~np.isfinite(landmarks).all((1, 2))).sum())
    if unknown > (len(landmarks) // 4 if align == "per_clip" else 0):
        raise InputError(f"no face was found in {unknown} of a clip's {len(landmarks)} frames")
    alignments = align_clip(landmarks, align, size=ALIGNED_PX)
    frames = np.stack([a.warp(image) for a, image in zip(alignments, images, strict=True)])
    points = np.stack([a.to_crop(p) for a, p in zip(alignments, landmarks, strict=True)])
    if between is not None:
        how, places = between
        frames = interpolated(frames, places, how)
        points, times_s = interpolated_rows(points, places), interpolated_rows(times_s, places)
    return Clip(
        frames=frames,
        times_s=times_s,
        landmarks=points,
        flow=None if flow is None else clip_flow(frames, flow, device),
    )
