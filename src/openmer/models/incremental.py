"""MOL on a stream of frames: each new frame costs one pair, not a whole clip.

Everything except the class and action unit heads works on pairs of frames, so the results of a pair are kept until it
leaves the window. If the frames are normalised alike, the answer equals that of the whole network on the last T
frames; a test checks this.
"""

from collections import deque
from collections.abc import Collection

import torch
from torch import Tensor

from openmer.errors import InputError
from openmer.models.config import Head
from openmer.models.mol import MOL, Encoded, MOLOutput


class Incremental:
    """A window of the last T frames that moves on by one.

    Args:
        model: in eval mode.
        heads: the heads to compute; by default all that the network has.

    Raises:
        InputError: the network is in training mode, or lacks a head.
    """

    def __init__(self, model: MOL, heads: Collection[Head] | None = None) -> None:
        if model.training:
            raise InputError("a network on a stream must be in eval mode: call model.eval()")
        self._wanted = tuple(model.heads if heads is None else heads)
        missing = sorted(set(self._wanted) - set(model.heads))
        if missing or not self._wanted:
            raise InputError(
                f"this network has the heads {', '.join(model.heads)}; asked for {', '.join(missing) or 'none'}"
            )
        self._model = model
        self._pairs: deque[Encoded] = deque(maxlen=model.config.frames - 1)
        self._last: tuple[Tensor, Tensor] | None = None

    def reset(self) -> None:
        """Forget all frames."""
        self._pairs.clear()
        self._last = None

    def push(self, frame_HW: Tensor) -> MOLOutput | None:
        """Add the next frame, normalised like the ones before.

        Args:
            frame_HW: float, on the network's device.

        Returns:
            Flow (1, 1, 2, H, W) and landmarks (1, 1, 68, 2) of the new pair and, once there are T frames, logits (1, K)
            and action units (1, U) of the last T; None for the first frame.
        """
        size = self._model.config.size
        if tuple(frame_HW.shape) != (size, size):
            raise InputError(f"this network reads frames of {size} x {size}, got {tuple(frame_HW.shape)}")
        with torch.inference_mode():
            features = self._model.stack(frame_HW[None, None])[None]
            last, self._last = self._last, (frame_HW, features)
            if last is None:
                return None
            clip = torch.stack([last[0], frame_HW])[None]
            pair = self._model.encode(last[1], features, clip, self._wanted)
            self._pairs.append(pair)
            full = len(self._pairs) == self._pairs.maxlen
            whole = self._model.decide(self._window(), self._wanted) if full else MOLOutput()
            return MOLOutput(whole.logits, pair.flow, pair.landmarks, whole.units)

    def _window(self) -> Encoded:
        moved = [pair.moved for pair in self._pairs if pair.moved is not None]
        return Encoded(
            torch.cat([pair.first for pair in self._pairs], 1),
            torch.cat([pair.second for pair in self._pairs], 1),
            torch.cat(moved, 1) if moved else None,
            None,
            None,
        )
