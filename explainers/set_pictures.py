"""Summaries of several inputs as pictures: the picked images, the groups, the tree."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from .explanation import Explanation
from .rendering import contact_sheet, font_of, overlay
from .summary import Clusters, Group, Picks, Tree

__all__ = ["summary_picture"]

_PAPER, _INK = (255, 255, 255), (40, 40, 40)
_GAP = 24
_THUMBNAILS = 6
_NODE = 224  # pixels across a node's picture, at least
_CHANNELS = ("red", "green", "blue")


def summary_picture(explanations: Sequence[Explanation]) -> Image.Image:
    """Draw what a method of several inputs found out about them together.

    The picked images are shown with their maps, the most telling one first. Of a group the map of
    its surrogate lies over the mean of its images, some of which are below: how the score rises as
    a cell gets lighter. In a tree, a node shows which cell parts its images: those where it is
    darker are on the left.

    Parameters
    ----------
    explanations
        Of all inputs, in order, for one target; their ``summary`` is drawn.
    """
    first = explanations[0]
    summary = first.summary
    named = first.label or f"class {first.target}"
    if isinstance(summary, Picks):
        title = f"{first.method}: {len(summary.picked)} of {len(explanations)} images"
        return contact_sheet(list(_picked(explanations, summary)), title=title)
    if isinstance(summary, Clusters):
        tiles = [
            _group(explanations, group, f"group {number}", summary.n_channels)
            for number, group in enumerate(summary.groups)
        ]
        return contact_sheet(tiles, title=f"{first.method}: {named}")
    if isinstance(summary, Tree):
        return _framed(_tree(explanations, summary, 0)[0], f"{first.method}: {named}")
    raise ValueError(f"{first.method} explains every input on its own: there is no summary")


def _picked(
    explanations: Sequence[Explanation], summary: Picks
) -> Iterator[tuple[Image.Image, str]]:
    for number, share in zip(summary.picked, summary.coverage, strict=True):
        one = explanations[number]
        named = one.label or f"class {one.target}"
        caption = f"image {number}: {named} {one.score:.3g}; {share:.0%} of what counts so far"
        yield one.overlay(), caption


def _group(
    explanations: Sequence[Explanation], group: Group, name: str, n_channels: int
) -> tuple[Image.Image, str]:
    """Return the map of a group's surrogate above some of its images, and a caption."""
    members = [explanations[number] for number in group.members] or [explanations[0]]
    weights = np.reshape(group.coefficients, (-1, n_channels)).sum(axis=1)
    cells = members[0].segments
    assert cells is not None
    drawn = overlay(_mean(members), weights[cells], signed=True, segments=cells)
    what = "images" if group.members else "samples"
    trust = f"R2 {group.r2:.2f}" if group.own else "too few: the surrogate of all"
    caption = f"{name}: {group.size} {what}, {trust}"
    if not group.members:
        return drawn, caption
    side = drawn.width // _THUMBNAILS
    height = max(1, side * drawn.height // drawn.width)
    result = Image.new("RGB", (drawn.width, drawn.height + height + 4), _PAPER)
    result.paste(drawn)
    for place, one in enumerate(members[:_THUMBNAILS]):
        small = _image(one.picture).resize((side - 2, height - 2), Image.Resampling.BILINEAR)
        result.paste(small, (place * side, drawn.height + 4))
    shown = ", ".join(map(str, group.members[:12])) + ", ..." * (len(group.members) > 12)
    return result, f"{caption}: {shown}"


def _tree(explanations: Sequence[Explanation], tree: Tree, number: int) -> tuple[Image.Image, int]:
    """Return the drawing of a node and what is below it, and where its own middle is."""
    group = tree.groups[number]
    if group.split is None:
        leaf = contact_sheet([_group(explanations, group, f"leaf {number}", tree.n_channels)])
        return leaf, leaf.width // 2
    split = group.split
    members = [explanations[one] for one in group.members] or [explanations[0]]
    cells = members[0].segments
    assert cells is not None
    what = "mean" if tree.n_channels == 1 else f"mean {_CHANNELS[split.channel]}"
    asked = f"{what} of the cell in colour at most {split.threshold:.2f}?"
    if not group.members:
        asked = "is the cell in colour hidden?"
    shown = (cells == split.cell)[..., None]
    mean = _mean(members)
    faded = np.where(shown, mean, 0.35 * mean.mean(axis=-1, keepdims=True) + 0.65 * 255)
    picture = _image(faded.astype(np.uint8))
    if (factor := -(-_NODE // picture.width)) > 1:
        picture = picture.resize((factor * picture.width, factor * picture.height))
    own = contact_sheet([(picture, f"{number}: {group.size}, R2 {group.r2:.2f}; {asked}")])
    sides = [_tree(explanations, tree, below) for below in (split.low, split.high)]
    width = sum(side.width for side, _ in sides) + _GAP
    below = own.height + 2 * _GAP
    result = Image.new(
        "RGB",
        (max(width, own.width), below + max(side.height for side, _ in sides)),
        _PAPER,
    )
    draw = ImageDraw.Draw(result)
    left = (result.width - width) // 2
    middles = []
    for side, middle in sides:
        result.paste(side, (left, below))
        middles.append(left + middle)
        left += side.width + _GAP
    middle = sum(middles) // 2
    middle = min(max(middle, own.width // 2), result.width - own.width // 2)
    result.paste(own, (middle - own.width // 2, 0))
    for end, word, anchor in zip(middles, ("yes", "no"), ("rb", "lb"), strict=True):
        draw.line((middle, own.height, end, below), _INK, 2)
        draw.text(((middle + end) / 2, own.height + _GAP - 8), word, _INK, font_of(18), anchor)
    return result, middle


def _framed(image: Image.Image, title: str) -> Image.Image:
    """Return the image below its title."""
    result = Image.new("RGB", (image.width, image.height + 3 * _GAP), _PAPER)
    result.paste(image, (0, 3 * _GAP))
    ImageDraw.Draw(result).text((_GAP, _GAP), title, _INK, font_of(_GAP))
    return result


def _mean(explanations: Sequence[Explanation]) -> npt.NDArray[np.uint8]:
    mean: npt.NDArray[Any] = np.mean([one.picture for one in explanations], axis=0)
    return np.asarray(np.rint(mean), np.uint8)


def _image(picture: npt.NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(np.broadcast_to(picture, (*picture.shape[:2], 3)))
