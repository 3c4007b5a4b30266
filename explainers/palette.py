"""What colour a heatmap's value has, and how strongly it covers the picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from onnxplain.graph_rewrites import InvalidArgument, Violation, nearest

__all__ = ["Palette", "Scale"]

Floats: TypeAlias = npt.NDArray[np.float64]

_SEQUENTIAL, _DIVERGING = "inferno", "bwr"
_PERCENTILE, _OUTLIER = 99.5, 2.0  # values beyond twice the percentile are cut off at it
_RAMP = 0.6  # weak evidence stays visible: opacity grows as strength ** 0.6


@dataclass(frozen=True)
class Scale:
    """The values at both ends of the colours; ``cut`` says that some values lie beyond."""

    low: float
    high: float
    cut: bool

    @classmethod
    def of(cls, values: Floats, signed: bool | None) -> Scale:
        """Return the scale of a map, by default symmetric about 0 if it has values below 0."""
        if signed is None:
            signed = bool(values.min() < 0)
        size = np.abs(values) if signed else np.maximum(values, 0)
        largest = float(size.max())
        usual = float(np.percentile(size, _PERCENTILE))
        high = usual if 0 < _OUTLIER * usual < largest else largest
        low = -high if signed else 0.0
        if not signed and high / 4 < values.min() < high:  # far from 0: the differences matter
            low = float(values.min())
        return cls(low, high, largest > high)

    def position(self, values: Floats) -> Floats:
        """Return where the values lie between the ends, 0 to 1."""
        if self.high == self.low:
            return np.zeros_like(values)
        return np.clip((values - self.low) / (self.high - self.low), 0, 1)

    def strength(self, position: Floats) -> Floats:
        """Return how much evidence a position is, 0 to 1."""
        return np.abs(2 * position - 1) if self.low < 0 else position

    @property
    def texts(self) -> list[str]:
        """The numbers at the top, the middle and the bottom; one where all values are equal."""
        if self.high == self.low:
            return [f"{self.high:.2g}"]
        values = (self.high, (self.low + self.high) / 2, self.low)
        texts = [f"{value:.2g}" for value in values]
        if len(set(texts)) < len(texts):
            texts = [f"{value:.4g}" for value in values]
        if self.cut:
            texts[0] = f"\N{GREATER-THAN OR EQUAL TO} {texts[0]}"
        if self.cut and self.low < 0:
            texts[2] = f"\N{LESS-THAN OR EQUAL TO} {texts[2]}"
        return texts


class Palette:
    """Paints values over a grey picture.

    Parameters
    ----------
    colormap
        Name of a Matplotlib colormap; by default a sequential or, for signed maps, a diverging one.
    opacity
        Of the strongest evidence, 0 to 1.
    scale
        Which values the colours stand for.
    """

    def __init__(self, colormap: str | None, opacity: float, scale: Scale) -> None:
        name = colormap or (_DIVERGING if scale.low < 0 else _SEQUENTIAL)
        if name not in mpl.colormaps:
            text = f"there is no colormap {name!r}; {nearest(name, mpl.colormaps)}"
            raise _out_of_range("colormap", text)
        if not 0 <= opacity <= 1:
            raise _out_of_range("opacity", f"opacity {opacity!r} is not from 0 to 1")
        self.scale = scale
        self._colours, self._opacity = mpl.colormaps[name], opacity

    def paint(self, values: Floats, grey: Floats) -> Floats:
        """Return ``[H, W, 3]``, 0 to 255, of values ``[H, W]`` over grey ``[H, W, 1]``."""
        position = self.scale.position(values)
        alpha = self._opacity * self.scale.strength(position)[..., None] ** _RAMP
        colours = 255 * np.asarray(self._colours(position))[..., :3]
        paper = (grey + 255) / 2 if self.scale.low < 0 else grey  # light, for a pale middle
        painted: Floats = alpha * colours + (1 - alpha) * paper
        return painted


def _out_of_range(option: str, message: str) -> InvalidArgument:
    return InvalidArgument("OPTION_OUT_OF_RANGE", message, violations=[Violation(option, message)])
