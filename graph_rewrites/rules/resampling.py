"""Gradients of changing the resolution."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnxplain.graph_rewrites.builder import Builder, attribute, constant_array, dims, operand, rank
from onnxplain.graph_rewrites.engine import Contributions, UnsupportedNodeError

from .tables import gradient

__all__: list[str] = []


@gradient.rule("Resize", since=19)
def resize(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Dx = H^T dy W^T for the matrices of y = H x W along height and width.

    All of Resize's interpolations are linear and work on one axis at a time, so the matrices are
    what it makes of identity matrices; runtimes fold them at load time.
    """
    x, y = operand(node), node.outputs[0]
    if rank(x) != 4 or attribute(node, "coordinate_transformation_mode") == "tf_crop_and_resize":
        raise UnsupportedNodeError("it is no resize of [N, C, H, W]")
    if attribute(node, "keep_aspect_ratio_policy", "stretch") != "stretch":
        raise UnsupportedNodeError("it keeps the aspect ratio")
    if dims(x)[1] != dims(y)[1] or (dims(x)[0] is not None and dims(x)[0] != dims(y)[0]):
        raise UnsupportedNodeError("it resizes the batch or the channels")
    axes = [axis % 4 for axis in attribute(node, "axes", [0, 1, 2, 3])]
    height = _along(op, node, axes, 2)
    width = _along(op, node, axes, 3)
    dx = dy if height is None else op.MatMul(op.Transpose(height, perm=[0, 1, 3, 2]), dy)
    dx = dx if width is None else op.MatMul(dx, op.Transpose(width, perm=[0, 1, 3, 2]))
    return [dx, *[None] * (len(node.inputs) - 1)]


def _along(op: Builder, node: ir.Node, axes: list[int], axis: int) -> ir.Value | None:
    """Return what the node makes of an identity matrix along ``axis``, None for itself."""
    if axis not in axes:
        return None
    x = operand(node)
    size = dims(x)[axis]
    identity = _identity(op, x, axis)
    names = set(node.attributes) - {"axes"}
    attributes = {name: attribute(node, name) for name in names}
    place = axes.index(axis)
    scales = constant_array(node.inputs[2]) if len(node.inputs) > 2 else None
    if scales is not None and scales.size:
        if scales[place] == 1:
            return None
        factors = op.constant(scales[place : place + 1].astype(np.float32))
        return op.Resize(identity, None, factors, axes=[axis], **attributes)
    if size is not None and dims(node.outputs[0])[axis] == size:
        return None
    length = op.Shape(node.outputs[0], start=axis, end=axis + 1)
    return op.Resize(identity, None, None, length, axes=[axis], **attributes)


def _identity(op: Builder, x: ir.Value, axis: int) -> ir.Value:
    """Return ``[1, 1, n, n]`` for the length n of an axis of ``x``."""
    size = dims(x)[axis]
    if size is not None and x.dtype is not None:
        return op.constant(np.eye(size, dtype=x.dtype.numpy())[None, None])
    length = op.Shape(x, start=axis, end=axis + 1)
    eye = op.EyeLike(op.Expand(op.scalar(0.0, x), op.Concat(length, length, axis=0)))
    return op.Unsqueeze(eye, [0, 1])


@gradient.rule("SpaceToDepth")
def space_to_depth(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Dx = dy put back."""
    return [op.DepthToSpace(dy, blocksize=attribute(node, "blocksize"), mode="DCR")]


@gradient.rule("DepthToSpace")
def depth_to_space(op: Builder, node: ir.Node, dy: ir.Value) -> Contributions:
    """Dx = dy put back."""
    x, block = operand(node), attribute(node, "blocksize")
    dx = op.SpaceToDepth(dy, blocksize=block)
    if attribute(node, "mode", "DCR") == "DCR":
        return [dx]
    channels = dims(x)[1]
    if channels is None:
        raise UnsupportedNodeError("the number of channels of its input is unknown")
    depths = [0, block * block, channels // block**2, -1]
    by_colour = op.Transpose(op.Reshape(dx, depths), perm=[0, 2, 1, 3])
    return [op.reshape_like(by_colour, x)]
