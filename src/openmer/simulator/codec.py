"""What a video's compression does to pictures: they are encoded and decoded by real codecs at usual rates.

Shape legend: T frames, H rows, W columns.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import av
import numpy as np
from av.codec.context import Flags

from openmer.clip import Gray

# MPEG-4 as older cameras, VP8 as calls in a browser; the others are H.264, as phones and web cameras write.
MPEG4_SHARE, VP8_SHARE = 0.15, 0.2
H264_CRF, MPEG4_QSCALE, VP8_QUANTIZER = (18, 34), (3, 14), (8, 50)
FULL_RANGE = np.clip(np.rint((np.arange(256) - 16) * 255 / 219), 0, 255).astype(np.uint8)  # of a video's luma


@dataclass(frozen=True)
class Codec:
    """A codec and how strongly it compresses.

    Attributes:
        name: FFmpeg's, of the encoder.
        decoder: of what it writes.
        options: of the encoder.
    """

    name: Literal["libx264", "mpeg4", "libvpx"]
    decoder: Literal["h264", "mpeg4", "vp8"]
    options: tuple[tuple[str, str], ...]


def draw_codec(rng: np.random.Generator) -> Codec:
    """A codec at a rate from hardly visible to poor."""
    which = rng.random()
    if which < VP8_SHARE and "libvpx" in av.codecs_available:
        quantizer = str(int(rng.integers(*VP8_QUANTIZER)))
        options = (("deadline", "realtime"), ("cpu-used", "8"), ("b", "1M"), ("qmin", quantizer), ("qmax", quantizer))
        return Codec("libvpx", "vp8", options)
    if which > 1 - MPEG4_SHARE or "libx264" not in av.codecs_available:
        scale = int(rng.integers(*MPEG4_QSCALE))
        return Codec("mpeg4", "mpeg4", (("qmin", str(scale)), ("qmax", str(scale))))
    preset = str(rng.choice(("ultrafast", "veryfast", "medium")))
    return Codec("libx264", "h264", (("crf", str(int(rng.integers(*H264_CRF)))), ("preset", preset)))


def recoded(frames: Gray, codec: Codec) -> Gray:
    """(T, H, W), both even -> the same after encoding and decoding, one frame after the other."""
    height, width = frames.shape[1:]
    encoder = av.VideoCodecContext.create(codec.name, "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.time_base, encoder.framerate = Fraction(1, 30), Fraction(30)
    encoder.options = dict(codec.options)
    encoder.thread_count = 1  # the same bytes on any machine
    encoder.flags |= Flags.bitexact
    packets = []
    for number, picture in enumerate(frames):
        frame = av.VideoFrame.from_ndarray(picture, format="gray").reformat(format="yuv420p")
        frame.pts, frame.time_base = number, encoder.time_base
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    decoder = av.VideoCodecContext.create(codec.decoder, "r")
    decoder.thread_count = 1
    if encoder.extradata:
        decoder.extradata = encoder.extradata
    pictures = [f for packet in packets for f in decoder.decode(packet)] + list(decoder.decode(None))
    pictures.sort(key=lambda f: f.pts or 0)
    # FFmpeg's own conversion to gray is not the same every time, by about one clip in ten.
    return np.asarray(FULL_RANGE[np.stack([f.to_ndarray(format="yuv420p")[:height] for f in pictures])], np.uint8)
