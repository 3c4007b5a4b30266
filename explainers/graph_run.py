"""What a method of many passes through rewritten graphs works with."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from onnxplain.graph_rewrites import get_method
from scipy.ndimage import zoom

from .classifier import Classifier
from .control import Control
from .explanation import Notice
from .inputs import PreparedInput
from .white_box import WhiteBox

__all__ = ["GraphRun"]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]


class GraphRun:
    """One input explained by many passes through its model's graphs.

    Attributes
    ----------
    x
        The model's input, ``[1, ...]``.
    low, high
        The smallest and largest value of each channel of ``x``, broadcastable to it: what the
        preprocessing makes of 0 and 255, else ``x``'s own extremes.
    targets
        The classes to explain.
    control
        For progress and cancellation.
    """

    def __init__(
        self,
        prepared: PreparedInput,
        classifier: Classifier,
        white_box: WhiteBox,
        targets: tuple[int, ...],
        batch_size: int | None,
        control: Control,
    ) -> None:
        self.x = prepared.x
        self.targets = targets
        self.control = control
        self.batch_size = classifier.fixed_batch or batch_size or white_box.batch_size
        self.layer: str | None = None
        self.evaluations = 0
        self.notices: list[Notice] = []
        self._classifier, self._white_box = classifier, white_box
        layout = classifier.interface.layout
        self.channel_axis = 1 if layout == "NCHW" else 3
        self.low, self.high = self._bounds(prepared)

    def warn(self, code: str, message: str) -> None:
        """Add a notice to the explanation."""
        self.notices.append(Notice(code, message))

    def gradients(
        self, inputs: Array, target: int, score: Literal["logit", "probability"]
    ) -> Array:
        """Return the target's gradient at each of ``inputs`` ``[B, ...]``."""
        self.evaluations += len(inputs)
        method = get_method("gradient")
        options = method.resolve({"score": score})
        targets = [target] * len(inputs)
        return self._white_box.maps(method, options, inputs, targets, self.control)["attribution"]

    def scores(self, inputs: Array, score: Literal["logit", "probability"] = "logit") -> Floats:
        """Return the scores ``[B, n_classes]`` of ``inputs`` ``[B, ...]``."""
        self.evaluations += len(inputs)
        found = self._classifier.scores(inputs, self.control, self.batch_size)
        return found.of_kind(score)

    def features(self, layer: str | None) -> Array:
        """Return the feature map ``[K, h, w]`` of ``x``."""
        parts = self._white_box.parts(layer)
        self.layer = parts.split.layer
        self.evaluations += 1
        (found,) = self._white_box.run_rows(
            parts.trunk, {parts.split.image: self.x}, [parts.split.layer], self.control
        )
        return np.moveaxis(found[0], parts.split.channel_axis - 1, 0)

    def head_scores(self, features: Array, layer: str | None) -> Floats:
        """Return the logits ``[B, n_classes]`` of feature maps ``[B, K, h, w]``."""
        parts = self._white_box.parts(layer)
        self.evaluations += len(features)
        (name,) = (value.name for value in parts.head.inputs)
        (output,) = (value.name for value in parts.head.outputs)
        given = np.ascontiguousarray(np.moveaxis(features, 1, parts.split.channel_axis))
        (found,) = self._white_box.run_rows(
            parts.head, {name: given}, [output], self.control, self.batch_size
        )
        return found.reshape(len(features), -1).astype(np.float64)

    def upsampled(self, native: Array) -> npt.NDArray[np.float32]:
        """Return ``[h, w]`` resized bilinearly, with half-pixel centres, to ``[H, W]``."""
        sizes = zip(self.spatial_shape, native.shape, strict=True)
        factors = [size / given for size, given in sizes]
        found = zoom(native.astype(np.float64), factors, order=1, mode="nearest", grid_mode=True)
        return np.asarray(found, np.float32)

    @property
    def spatial_shape(self) -> tuple[int, int]:
        """Height and width of the input."""
        height, width = np.delete(self.x.shape, [0, self.channel_axis])
        return int(height), int(width)

    def reduce_channels(self, attribution: Array, reduction: str) -> npt.NDArray[np.float32]:
        """Return ``[H, W]`` from an attribution ``[*input]``."""
        axis = self.channel_axis - 1
        if reduction == "sum":
            return np.asarray(attribution.sum(axis=axis), np.float32)
        if reduction == "l2":
            return np.asarray(np.sqrt(np.square(attribution).sum(axis=axis)), np.float32)
        return np.asarray(np.abs(attribution).max(axis=axis), np.float32)

    def _bounds(self, prepared: PreparedInput) -> tuple[Array, Array]:
        if prepared.known is None:
            return self.x.min(keepdims=True), self.x.max(keepdims=True)
        shape = [1, 1, 1, 1]
        shape[self.channel_axis] = -1
        low, high = prepared.known.bounds()
        return low.reshape(shape), high.reshape(shape)
