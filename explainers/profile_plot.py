"""The conservation profile of relevance propagation as a picture."""

from __future__ import annotations

import io
from collections.abc import Mapping

from matplotlib.figure import Figure
from PIL import Image

__all__ = ["profile_plot"]

_INCHES_A_ROW = 0.22
_DOTS = 100


def profile_plot(profile: Mapping[str, float]) -> Image.Image:
    """Draw the sum of relevance at every tensor, from the score at the top to the image.

    The line is what was distributed: where bars leave it, biases and stabilisers took relevance,
    or sums that nearly cancel invented some.

    Parameters
    ----------
    profile
        Sums by the tensor's name, from the score to the image; not empty.
    """
    names, sums = list(profile), list(profile.values())
    figure = Figure(figsize=(7, 1.2 + _INCHES_A_ROW * len(names)), layout="constrained")
    axes = figure.subplots()
    rows = range(len(names))
    axes.barh(rows, sums, color=["#b2182b" if found > 0 else "#2166ac" for found in sums])
    axes.axvline(sums[0], color="black", linewidth=1, linestyle="--")
    axes.axvline(0, color="black", linewidth=0.5)
    axes.set_yticks(rows, names, fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel("sum of relevance; dashed: what was distributed")
    axes.spines[["top", "right"]].set_visible(False)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=_DOTS)
    return Image.open(stream).convert("RGB")
