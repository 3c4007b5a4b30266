"""Reading a model: from a path, bytes or a ModelProto, without trusting it."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError
from onnx.external_data_helper import load_external_data_for_model
from onnx_ir.passes.common import RemoveUnusedNodesPass

from .errors import FailedPrecondition, NotFound, Violation

__all__ = ["PROVENANCE_KEY", "ModelSource", "external_files", "provenance_of", "read_model"]

PROVENANCE_KEY = "onnxplain.rewrite"

ModelSource = str | os.PathLike[str] | bytes | onnx.ModelProto

TRUSTED_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})
MAX_BYTES = 8 << 30
OLDEST_OPSET = 7


def read_model(
    source: ModelSource,
    *,
    allow_domains: Iterable[str] = (),
    max_bytes: int = MAX_BYTES,
) -> onnx.ModelProto:
    """Read a model with all its weights, refusing what is unsafe.

    Parameters
    ----------
    source
        Path of an ONNX file, its bytes, or a model (which is not changed).
    allow_domains
        Operator domains to accept besides ai.onnx, ai.onnx.ml and com.microsoft.
    max_bytes
        Largest file, and largest external data, in bytes.

    Raises
    ------
    NotFound
        ``MODEL_FILE_NOT_FOUND``: there is no such file.
    FailedPrecondition
        ``NOT_ONNX``, ``MODEL_TOO_LARGE``, ``MODEL_UNSAFE`` (external data outside the model's own
        folder, operator domains that are not allowed), ``OPSET_UNSUPPORTED``.
    """
    folder: Path | None = None
    if isinstance(source, onnx.ModelProto):
        model = onnx.ModelProto()
        model.CopyFrom(source)
    elif isinstance(source, bytes):
        model = _parse(source, max_bytes)
    else:
        path = Path(source)
        model = _parse(_read_file(path, max_bytes), max_bytes)
        folder = path.resolve().parent
    _call_standard_by_no_name(model)
    _check_domains(model, frozenset(allow_domains))
    _load_external_data(model, folder, max_bytes)
    _check_opset(model)
    _forget_negative_sizes(model)
    return _original_part(model)


def external_files(path: str | os.PathLike[str]) -> list[Path]:
    """Return the files that hold weights of a model that `read_model` reads, by name."""
    model = onnx.load_model(path, load_external_data=False)
    entries = (entry for tensor in _tensors(model) for entry in tensor.external_data)
    names = {entry.value for entry in entries if entry.key == "location"}
    return [Path(path).resolve().parent / name for name in sorted(names)]


def provenance_of(model: onnx.ModelProto) -> dict[str, Any] | None:
    """Return what `rewrite` noted in a model: method, options, names of what it added.

    ``None`` for any other model, and where the note does not fit the graph.
    """
    for entry in model.metadata_props:
        if entry.key == PROVENANCE_KEY:
            return _checked_note(entry.value, model)
    return None


def _checked_note(text: str, model: onnx.ModelProto) -> dict[str, Any] | None:
    try:
        note = json.loads(text)
        inputs, outputs = frozenset(note["inputs"]), frozenset(note["outputs"])
    except (ValueError, RecursionError, TypeError, KeyError):
        return None
    fits = inputs <= {value.name for value in model.graph.input}
    fits = fits and outputs <= {value.name for value in model.graph.output}
    return note if fits and inputs and outputs else None


def _original_part(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a rewritten model without what the rewrite added; any other model as it is."""
    note = provenance_of(model)
    if note is None:
        return model
    rewritten = ir.from_proto(model)
    for values, kept in (
        (rewritten.graph.outputs, note["outputs"]),
        (rewritten.graph.inputs, note["inputs"]),
    ):
        values[:] = [value for value in values if value.name in kept]
    del rewritten.metadata_props[PROVENANCE_KEY]
    RemoveUnusedNodesPass()(rewritten)
    return ir.to_proto(rewritten)


def _read_file(path: Path, max_bytes: int) -> bytes:
    try:
        size = path.stat().st_size
        if size > max_bytes:
            raise _too_large(size, max_bytes)
        return path.read_bytes()
    except OSError:
        raise NotFound(
            "MODEL_FILE_NOT_FOUND",
            f"cannot read a model file {path.name!r}: give the path of an .onnx file",
            metadata={"resource_type": "file", "resource_name": path.name},
        ) from None


def _parse(data: bytes, max_bytes: int) -> onnx.ModelProto:
    if len(data) > max_bytes:
        raise _too_large(len(data), max_bytes)
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError:
        raise _not_onnx("its bytes are not an ONNX protobuf") from None
    if not model.graph.node or not model.opset_import or not model.graph.output:
        raise _not_onnx("it holds no graph with nodes, outputs and an opset")
    return model


def _not_onnx(why: str) -> FailedPrecondition:
    return FailedPrecondition(
        "NOT_ONNX", f"the file is not an ONNX model: {why}; export the model to ONNX first"
    )


def _too_large(size: int, limit: int) -> FailedPrecondition:
    return FailedPrecondition(
        "MODEL_TOO_LARGE",
        f"the model has {size} bytes, above the limit of {limit}",
        metadata={"size": str(size), "limit": str(limit)},
    )


def _check_domains(model: onnx.ModelProto, allowed: frozenset[str]) -> None:
    own = {function.domain for function in model.functions}
    known = TRUSTED_DOMAINS | allowed | own
    foreign = [
        Violation(node.name or node.output[0], f"operator {node.domain}::{node.op_type}")
        for node in _nodes(model)
        if node.domain not in known
    ]
    if foreign:
        names = ", ".join(sorted({violation.description for violation in foreign}))
        raise FailedPrecondition(
            "MODEL_UNSAFE",
            f"the model uses {names}; only ai.onnx, ai.onnx.ml and com.microsoft are allowed "
            "unless the domain is named in allow_domains",
            violations=foreign,
        )


def _check_opset(model: onnx.ModelProto) -> None:
    version = max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=0)
    if version and version < OLDEST_OPSET:
        raise FailedPrecondition(
            "OPSET_UNSUPPORTED",
            f"the model has opset {version}; opsets from {OLDEST_OPSET} on are supported: export "
            "it again with a newer one",
            metadata={"opset": str(version)},
        )


def _call_standard_by_no_name(model: onnx.ModelProto) -> None:
    """Call the domain ``ai.onnx`` as most files do: by the empty name."""
    spelled = [entry for entry in model.opset_import if entry.domain == "ai.onnx"]
    plain = any(entry.domain == "" for entry in model.opset_import)
    for entry in spelled:
        if plain:
            model.opset_import.remove(entry)
        entry.domain = ""
    waiting = [model.graph.node, *(function.node for function in model.functions)]
    while waiting:
        for node in waiting.pop():
            if node.domain == "ai.onnx":
                node.domain = ""
            for given in node.attribute:
                waiting += [graph.node for graph in (given.g, *given.graphs) if graph.node]


def _forget_negative_sizes(model: onnx.ModelProto) -> None:
    """Leave out sizes below 0, by which Paddle's converter means any size."""
    graph = model.graph
    for value in (*graph.input, *graph.output, *graph.value_info):
        for size in value.type.tensor_type.shape.dim:
            if size.dim_value < 0:
                size.Clear()


def _load_external_data(model: onnx.ModelProto, folder: Path | None, max_bytes: int) -> None:
    """Read external weights, after checking that each lies in the model's own folder."""
    external = [tensor for tensor in _tensors(model) if _is_external(tensor)]
    violations = [
        Violation(tensor.name, why)
        for tensor in external
        if (why := _why_unsafe(tensor, folder, max_bytes))
    ]
    if violations:
        raise FailedPrecondition(
            "MODEL_UNSAFE",
            f"external data of {violations[0].subject!r} is refused: {violations[0].description}; "
            "keep the data files in the model's own folder",
            violations=violations,
        )
    if external:
        load_external_data_for_model(model, str(folder))


def _is_external(tensor: onnx.TensorProto) -> bool:
    return tensor.data_location == onnx.TensorProto.EXTERNAL or bool(tensor.external_data)


def _why_unsafe(tensor: onnx.TensorProto, folder: Path | None, max_bytes: int) -> str:
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    if folder is None:
        return "a model given as bytes has no folder to read from"
    parts = PurePosixPath(location.replace("\\", "/"))
    if not location or parts.is_absolute() or ".." in parts.parts or ":" in location:
        return "its location leaves the model's folder"
    path = folder / location
    try:
        inside = path.resolve(strict=True).is_relative_to(folder)
        info = path.lstat()
        linked = not stat.S_ISREG(info.st_mode) or info.st_nlink > 1
        offset, length = (int(entries.get(key, "0")) for key in ("offset", "length"))
    except (OSError, ValueError):
        return "its file is missing or its offset is not a number"
    if not inside or linked:
        return "its location is a link"
    if offset < 0 or length < 0 or offset + length > info.st_size or info.st_size > max_bytes:
        return "its offset and length do not fit its file"
    return ""


def _graphs(model: onnx.ModelProto) -> Iterator[onnx.GraphProto | onnx.FunctionProto]:
    waiting: list[onnx.GraphProto | onnx.FunctionProto] = [model.graph, *model.functions]
    while waiting:
        graph = waiting.pop()
        yield graph
        for node in graph.node:
            for attribute in node.attribute:
                waiting.extend(attribute.graphs)
                if attribute.HasField("g"):
                    waiting.append(attribute.g)


def _nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    for graph in _graphs(model):
        yield from graph.node


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    for graph in _graphs(model):
        if isinstance(graph, onnx.GraphProto):
            yield from graph.initializer
            for sparse in graph.sparse_initializer:
                yield from (sparse.values, sparse.indices)
        for node in graph.node:
            for attribute in node.attribute:
                yield from attribute.tensors
                if attribute.HasField("t"):
                    yield attribute.t
                for sparse in (*attribute.sparse_tensors, attribute.sparse_tensor):
                    yield from (sparse.values, sparse.indices)
