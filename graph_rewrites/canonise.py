"""Bringing any ONNX file into one form, so that the rules stay few; the outputs stay the same.

Local functions are inlined, and so are operators that runtimes themselves take apart; opsets below
21 are raised to 21 (newer ones kept); what onnxruntime fused is taken apart, and rectifiers that
were taken apart become Relu; everything that depends on no input is folded; loops of few, constant
steps are written out; Identity and Dropout disappear; what was exported in training mode is put
into inference form; shapes are inferred.
"""

from __future__ import annotations

import math

import onnx
import onnx.inliner
import onnx.shape_inference
import onnx.version_converter
import onnx_ir as ir
from onnx_ir.passes import common as passes
from onnxscript.optimizer import fold_constants

from .builder import constant_ints
from .ceilings import drop_lost_windows
from .contributed import take_fused_apart
from .dequantising import decode_quantised
from .errors import FailedPrecondition
from .patterns import recognise_rectifiers
from .sizes import fold_sizes, tell_apart
from .training import (
    batch_statistics_fixed,
    dropout_removed,
    fold_standardisation,
    note_training,
)
from .unrolling import unroll
from .vectors import make_matrices
from .weights import without_weights
from .widening import widen_halves

__all__ = ["OPSET", "canonise"]

OPSET = 21
IR_VERSION = 10
_TAKEN_APART = ("GroupNormalization",)
_LARGE = 1 << 16  # bytes; operators' settings are smaller
_FOLD_LIMIT = 1 << 27  # elements; a weight of VGG's first linear layer has 1.03e8


def canonise(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model in canonical form.

    Parameters
    ----------
    model
        A model with all its weights, as `read_model` returns it; it is not changed.

    Returns
    -------
    onnx.ModelProto
        Without functions, with opset 21 or newer, inferred shapes, named nodes.

    Raises
    ------
    FailedPrecondition
        ``NOT_CONVERTIBLE`` when the file cannot be brought to opset 21.
    """
    proto, weights = without_weights(model, _LARGE)  # the converters copy all again and again
    proto.ir_version = max(
        proto.ir_version, IR_VERSION
    )  # below 4 the converter wants all as inputs
    try:
        if proto.functions:
            proto = onnx.inliner.inline_local_functions(proto)
        trained = batch_statistics_fixed(proto.graph)
        proto = _taken_apart(proto)
        if _opset(proto) < OPSET:
            proto = onnx.version_converter.convert_version(proto, OPSET)
        canonical = ir.from_proto(proto)
        for name, tensor in weights.items():
            canonical.graph.initializers[name].const_value = ir.from_proto(tensor)
    except (onnx.version_converter.ConvertError, RuntimeError, ValueError, TypeError) as error:
        raise FailedPrecondition(
            "NOT_CONVERTIBLE",
            f"the model cannot be brought from opset {_opset(model)} to opset {OPSET}; check it "
            "with onnx.checker, or export it again with opset 18 or newer. Methods that need "
            "forward passes only, such as lime, still work",
        ) from error
    passes.RemoveInitializersFromInputsPass()(canonical)
    tell_apart(canonical.graph)
    unroll(canonical)
    widen_halves(canonical)
    decode_quantised(canonical)
    take_fused_apart(canonical.graph)
    _lift_constants(canonical)
    _fold(canonical)
    recognise_rectifiers(canonical.graph)
    trained += dropout_removed(canonical.graph)
    passes.IdentityEliminationPass()(canonical)
    passes.RemoveUnusedNodesPass()(canonical)
    passes.NameFixPass()(canonical)
    _infer_shapes(canonical)
    note_training(canonical, trained)
    return ir.to_proto(canonical)


def _taken_apart(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Replace the operators that runtimes run by the function ONNX defines them by."""
    if not any(node.op_type in _TAKEN_APART for node in proto.graph.node):
        return proto
    known = {value.name for value in (*proto.graph.value_info, *proto.graph.input)}
    for tensor in proto.graph.initializer:  # the inliner asks for every operand's type
        if tensor.name not in known:
            info = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            proto.graph.value_info.append(info)
    typed = onnx.shape_inference.infer_shapes(proto)
    names = [("", op_type) for op_type in _TAKEN_APART]
    return onnx.inliner.inline_selected_functions(typed, names, inline_schema_functions=True)


def _opset(proto: onnx.ModelProto) -> int:
    return next((o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")), OPSET)


def _fold(model: ir.Model) -> None:
    """Fold constants until nothing changes: a shape found makes the next one a constant."""
    nodes = -1
    while nodes != len(model.graph):
        nodes = len(model.graph)
        _infer_shapes(model)
        while drop_lost_windows(model.graph):
            _infer_shapes(model)
        fold_sizes(model.graph)
        fold_constants(
            model,
            onnx_shape_inference=True,
            input_size_limit=_FOLD_LIMIT,
            output_size_limit=_FOLD_LIMIT,
            should_fold=_is_folded,
        )
        _lift_constants(model)
        more = fold_standardisation(model.graph) | unroll(model) | make_matrices(model.graph)
        passes.RemoveUnusedNodesPass()(model)
        if not more and not any(node.op_type == "Shape" for node in model.graph):
            return


def _is_folded(node: ir.Node) -> bool | None:
    """Return what is to be folded, beside what always is; of several outputs nothing can be."""
    if len(node.outputs) > 1:
        return False
    sizes = constant_ints(node, 0) if node.op_type == "ConstantOfShape" else None
    return True if sizes is not None and math.prod(sizes) <= _FOLD_LIMIT else None


def _infer_shapes(model: ir.Model) -> None:
    """Infer shapes, anew where an earlier time called a size unknown: it may be known by now."""
    for node in model.graph:
        for output in node.outputs:
            names = [getattr(size, "value", size) for size in output.shape or ()]
            if any(str(name).startswith("unk__") for name in names):
                known = (None if str(name).startswith("unk__") else name for name in names)
                output.shape = ir.Shape(known)
    passes.ShapeInferencePass()(model)


def _lift_constants(model: ir.Model) -> None:
    passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
