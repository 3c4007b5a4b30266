"""ONNX models in double precision, in the reference evaluator: ground truth for tests."""

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from onnx.reference.ops.op_batch_normalization import BatchNormalization_14
from scipy.special import erf

FLOAT, DOUBLE = TensorProto.FLOAT, TensorProto.DOUBLE


def in_double(model):
    """Return the model with every float tensor, input, output, cast and constant in double."""
    double = onnx.ModelProto()
    double.CopyFrom(model)
    for tensor in double.graph.initializer:
        _widen(tensor)
    for info in (*double.graph.input, *double.graph.output, *double.graph.value_info):
        if info.type.tensor_type.elem_type == FLOAT:
            info.type.tensor_type.elem_type = DOUBLE
    for node in double.graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                _widen(attribute.t)
            elif attribute.name in ("to", "dtype") and attribute.i == FLOAT:
                attribute.i = DOUBLE
            elif attribute.name == "value_float":  # an old spelling of Constant
                tensor = numpy_helper.from_array(np.array(attribute.f))
                attribute.CopyFrom(onnx.helper.make_attribute("value", tensor))
    return double


class LRN(OpRun):
    """onnx 1.23's own is wrong: its window of channels is one short."""

    def _run(self, x, alpha=1e-4, beta=0.75, bias=1.0, size=None):
        squares = np.zeros_like(x)
        for channel in range(x.shape[1]):
            first = max(0, channel - (size - 1) // 2)
            window = x[:, first : channel + size // 2 + 1]
            squares[:, channel] = np.sum(window**2, axis=1)
        return (x / (bias + alpha / size * squares) ** beta,)


class Erf(OpRun):
    """onnx 1.23's own computes in float32."""

    def _run(self, x):
        return (erf(x).astype(x.dtype),)


class Gelu(OpRun):
    """onnx 1.23's own computes in float32."""

    def _run(self, x, approximate=None):
        if approximate == "tanh":
            inner = np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))
            return ((x * (1 + inner) / 2).astype(x.dtype),)
        return ((x * (1 + erf(x / np.sqrt(2))) / 2).astype(x.dtype),)


class MeanVarianceNormalization(OpRun):
    """onnx 1.23's own, a function, adds a float32."""

    def _run(self, x, axes=None):
        mean, deviation = (f(x, axis=tuple(axes), keepdims=True) for f in (np.mean, np.std))
        return ((x - mean) / (deviation + x.dtype.type(1e-9)),)


class BatchNormalization(BatchNormalization_14):
    """onnx 1.23's own takes the statistics from its input below opset 14."""

    def _run(self, x, scale, bias, mean, var, epsilon=None, momentum=None, training_mode=None):
        return super()._run(x, scale, bias, mean, var, epsilon, momentum, training_mode or 0)


class _Pool(OpRun):
    """Pools by their definition, along one axis after the other."""

    def windows(self, x, kernel_shape, strides, dilations, pads, auto_pad, ceil_mode):
        """Return by axis what every window covers: positions in x, ``[windows, taps]``.

        A window reaches from ``-begin`` to ``end``, so parts of it may lie outside of x.
        """
        n = len(kernel_shape)
        found = []
        for axis, (size, k) in enumerate(zip(x.shape[2:], kernel_shape, strict=True)):
            s, d = (strides or [1] * n)[axis], (dilations or [1] * n)[axis]
            begin, end = (pads or [0] * 2 * n)[axis], (pads or [0] * 2 * n)[axis + n]
            reach = d * (k - 1) + 1
            if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
                total = max((-(-size // s) - 1) * s + reach - size, 0)
                begin = -(-total // 2) if auto_pad == "SAME_LOWER" else total // 2
                end = total - begin
            steps = (size + begin + end - reach) / s
            count = int(np.ceil(steps) if ceil_mode else np.floor(steps)) + 1
            if ceil_mode and (count - 1) * s >= size + begin:
                count -= 1
            taps = np.arange(count)[:, None] * s - begin + np.arange(k) * d
            found.append((taps, size, (-begin <= taps) & (taps < size + end)))
        return found

    def taken(self, x, windows):
        """Return ``[N, C, *windows, taps]``, and which of these lie inside x."""
        inside = [(taps >= 0) & (taps < size) for taps, size, _ in windows]
        for axis, (taps, size, _) in enumerate(windows):
            x = np.take(x, np.clip(taps, 0, size - 1), axis=2 + 2 * axis)
        n = len(windows)
        order = [0, 1, *range(2, 2 + 2 * n, 2), *range(3, 3 + 2 * n, 2)]
        x = x.transpose(order)
        return x.reshape(*x.shape[: 2 + n], -1), self.outer(inside)

    def outer(self, masks):
        """Return ``[*windows, taps]`` of masks ``[windows, taps]`` by axis."""
        whole = np.ones((), bool)
        for mask in masks:
            whole = whole[..., None, None] & mask
        n = len(masks)
        whole = whole.transpose([*range(0, 2 * n, 2), *range(1, 2 * n, 2)])
        return whole.reshape(*whole.shape[:n], -1)


class MaxPool(_Pool):
    """onnx 1.23's own is wrong: indices where it pads at stride 1, and SAME_LOWER."""

    def _run(self, x, auto_pad=None, ceil_mode=None, dilations=None, kernel_shape=None,
             pads=None, storage_order=None, strides=None):  # fmt: skip
        windows = self.windows(x, kernel_shape, strides, dilations, pads, auto_pad, ceil_mode)
        values, inside = self.taken(x, windows)
        values = np.where(inside, values, -np.inf)
        winner = values.argmax(axis=-1)
        y = np.take_along_axis(values, winner[..., None], -1)[..., 0].astype(x.dtype)
        image, channel, *at = np.indices(winner.shape)
        taps = np.unravel_index(winner, kernel_shape)
        positions = [w[0][o, t] for w, o, t in zip(windows, at, taps, strict=True)]
        indices = np.ravel_multi_index((image, channel, *positions), x.shape)
        return (y, indices)[: len(self.onnx_node.output)]


class AveragePool(_Pool):
    """onnx 1.23's own is wrong: SAME_LOWER, and counts in ceil_mode."""

    def _run(self, x, auto_pad=None, ceil_mode=None, count_include_pad=None, dilations=None,
             kernel_shape=None, pads=None, strides=None):  # fmt: skip
        windows = self.windows(x, kernel_shape, strides, dilations, pads, auto_pad, ceil_mode)
        values, inside = self.taken(x, windows)
        counted = self.outer([within for *_, within in windows]) if count_include_pad else inside
        total = np.where(inside, values, 0).sum(axis=-1)
        return ((total / counted.sum(axis=-1)).astype(x.dtype),)


CORRECTED = [
    Erf, Gelu, LRN, MeanVarianceNormalization, BatchNormalization, MaxPool, AveragePool,
]  # fmt: skip


def evaluate(model, feeds):
    """Return the outputs by name of a model run in double."""
    return evaluator(model)(feeds)


def evaluator(model):
    """Return a function from a model's inputs to its outputs, by name, in double."""
    made = ReferenceEvaluator(in_double(model), new_ops=CORRECTED)

    def run(feeds):
        wide = {
            name: array.astype(np.float64) if array.dtype == np.float32 else array
            for name, array in feeds.items()
        }
        with np.errstate(all="ignore"):
            return dict(zip(made.output_names, made.run(None, wide), strict=True))

    return run


def central_differences(scores, x, target, step=1e-5):
    """Return d scores(x)[0, target] / dx for ``x`` ``[1, ...]``, all pixels in two batches.

    ``scores`` takes a batch of any size.
    """
    size = x.size
    steps = step * np.eye(size).reshape(size, *x.shape[1:])
    difference = scores(x + steps)[:, target] - scores(x - steps)[:, target]
    return (difference / (2 * step)).reshape(x.shape)


def relative_error(found, expected):
    """Return the largest ``||found - expected|| / ||expected||`` over the batch."""
    axes = tuple(range(1, np.ndim(expected)))
    error = np.sqrt(np.sum(np.square(np.asarray(found, np.float64) - expected), axis=axes))
    norm = np.sqrt(np.sum(np.square(np.asarray(expected, np.float64)), axis=axes))
    return float(np.max(error / np.maximum(norm, 1e-30)))


def _widen(tensor):
    if tensor.data_type == FLOAT:
        array = numpy_helper.to_array(tensor).astype(np.float64)
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
