"""What a method of many passes through rewritten graphs works with."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from onnxplain.graph_rewrites import Access, get_method
from scipy.ndimage import zoom

from .classifier import Classifier, ScoreKind
from .control import Control
from .input_run import InputRun
from .inputs import PreparedInput
from .targets import Targets
from .white_box import WhiteBox

__all__ = ["GraphRun"]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]


class GraphRun(InputRun):
    """One input explained by many passes through its model's graphs.

    See `InputRun` for the attributes.
    """

    def __init__(
        self,
        prepared: PreparedInput,
        classifier: Classifier,
        white_box: WhiteBox,
        targets: Targets,
        batch_size: int | None,
        control: Control,
    ) -> None:
        super().__init__(
            prepared,
            classifier.extended(targets.extend),
            targets.columns,
            batch_size or white_box.batch_size,
            control,
        )
        self._white_box, self._targets = white_box, targets

    def forward(self, access: Access) -> tuple[Array, bool]:
        """Return the scores of ``x`` by the graph that methods of this access run on.

        And whether they are logits, or the output that the model's file has.
        """
        if access is Access.FEATURES:
            return self._head(self._trunk(self.layer), self.layer), True
        method = get_method("gradient")
        start = self._targets.start(self.targets[:1])
        maps = self._white_box.maps(method, method.defaults, self.x, start, self.control)
        return maps["scores"], False

    def gradients(self, inputs: Array, target: int, score: ScoreKind) -> Array:
        """Return the target's gradient at each of ``inputs`` ``[B, ...]``."""
        self.evaluations += len(inputs)
        method = get_method("gradient")
        options = method.resolve({"score": score})
        start = self._targets.start([target] * len(inputs))
        maps = self._white_box.maps(
            method, options, inputs, start, self.control, batch_size=self.batch_size
        )
        return maps["attribution"]

    def features(self, layer: str | None) -> Array:
        """Return the feature map ``[K, h, w]`` of ``x``."""
        split = self._white_box.parts(layer).split
        self.layer = split.layer
        self.evaluations += 1
        return np.moveaxis(self._trunk(layer)[0], split.channel_axis - 1, 0)

    def head_scores(self, features: Array, layer: str | None) -> Floats:
        """Return the logits ``[B, n_classes]`` of feature maps ``[B, K, h, w]``."""
        self.evaluations += len(features)
        channel_axis = self._white_box.parts(layer).split.channel_axis
        found = self._head(np.moveaxis(features, 1, channel_axis), layer)
        return self._targets.extend(found.reshape(len(features), -1).astype(np.float64))

    def _trunk(self, layer: str | None) -> Array:
        """Return the feature map of ``x`` as the model has it."""
        parts = self._white_box.parts(layer)
        (found,) = self._white_box.run_rows(
            parts.trunk, {parts.split.image: self.x}, [parts.split.layer], self.control
        )
        return found

    def _head(self, features: Array, layer: str | None) -> Array:
        """Return the logits of feature maps as the model has them."""
        parts = self._white_box.parts(layer)
        (name,) = (value.name for value in parts.head.inputs)
        (output,) = (value.name for value in parts.head.outputs)
        feeds = {name: np.ascontiguousarray(features)}
        (found,) = self._white_box.run_rows(
            parts.head, feeds, [output], self.control, self.batch_size
        )
        return found

    def upsampled(self, native: Array) -> npt.NDArray[np.float32]:
        """Return ``[h, w]`` resized bilinearly, with half-pixel centres, to ``[H, W]``."""
        sizes = zip(self.spatial_shape, native.shape, strict=True)
        factors = [size / given for size, given in sizes]
        found = zoom(native.astype(np.float64), factors, order=1, mode="nearest", grid_mode=True)
        return np.asarray(found, np.float32)
