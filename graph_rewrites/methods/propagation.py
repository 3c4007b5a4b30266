"""One relevance propagation: from the score to the image, with its residual."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir
from onnxplain.graph_rewrites.builder import constant_array
from onnxplain.graph_rewrites.composites import (
    Composite,
    RuleSettings,
    keep_sign,
    read_rules,
    rule_names,
)
from onnxplain.graph_rewrites.engine import backward, label
from onnxplain.graph_rewrites.features import Features, bottlenecks
from onnxplain.graph_rewrites.paths import nodes_between
from onnxplain.graph_rewrites.patterns import simplify
from onnxplain.graph_rewrites.rewriting import Maps, Rewriting
from onnxplain.graph_rewrites.rules.bounds import ImageBounds
from onnxplain.graph_rewrites.rules.layers import bias_after, is_layer, is_mergeable
from onnxplain.graph_rewrites.rules.products import is_within_activation
from onnxplain.graph_rewrites.rules.relevance import Propagation, relevance_table
from onnxplain.graph_rewrites.rules.relevance_rules import is_not_negative

__all__ = ["Readings", "propagated"]

_SHARING = (
    "Add", "AveragePool", "BatchNormalization", "GlobalAveragePool", "Mean", "ReduceMean",
    "ReduceSum", "Resize", "Sub", "Sum",
)  # fmt: skip
_CENTRING = ("InstanceNormalization", "LayerNormalization")


@dataclass(frozen=True, kw_only=True)
class Readings:
    """How relevance passes what is no layer with weights; see `Propagation`."""

    activations: str = "pass"
    lrn: str = "pass"
    gate: str = "signal"
    resize: str = "norm"
    batch_norm: str = "merge"
    add: str = "norm"


def propagated(
    rewriting: Rewriting,
    composite: Composite,
    *,
    start: str,
    reduction: str,
    settings: RuleSettings | None = None,
    rules: str | None = None,
    readings: Readings | None = None,
    layer: str | None = None,
    profile: bool = False,
    conserves: bool = True,
) -> Maps:
    """Return the maps of relevance propagation.

    Parameters
    ----------
    start
        What is distributed: ``score``, the score itself; ``positive_score``, its positive part;
        ``one``.
    settings, rules
        The numbers in the rules, and overrides of the composite; see `rule_names`.
    layer
        Name of a tensor ``[N, K, h, w]``: where relevance is read, instead of at the image.
    profile
        Whether to sum the relevance before every layer with weights that all paths go through.
    conserves
        Whether the maps are to sum to what is distributed; the residual is the difference.
    """
    op, anatomy, how = rewriting.op, rewriting.anatomy, readings or Readings()
    overrides = read_rules(rules)
    rewriting.tell_rounding()
    places = [] if layer is None else _onward(rewriting.features(layer).value)
    simplify(rewriting.graph)
    nodes = nodes_between([anatomy.pixels], [anatomy.logits], lambda node: False)
    settings = settings or RuleSettings()
    names = rule_names(composite, nodes, overrides)
    by_name = settings.rules()
    assigned = {node: by_name[name] for node, name in names.items()}
    for option in settings.idle({*names.values()}):
        rewriting.warn("OPTION_UNUSED", f"{option} is of a rule that no layer has here")
    bounded = any(rule.is_bounded for rule in assigned.values())
    propagation = Propagation(
        assigned,
        anatomy.pixels,
        ImageBounds(anatomy.pixels, *rewriting.bounds()) if bounded else None,
        bias=settings.bias,
        parts={node for node in nodes if is_within_activation(node)},
        warn=rewriting.warn,
        **vars(how),
    )
    if keep_sign(assigned):
        _tell_what_brings_signs(rewriting, nodes, how)
    relevance = _start(rewriting, start)
    features = None if layer is None else _features(rewriting, nodes, places)
    read = _read_at([anatomy.pixels, *bottlenecks(nodes, anatomy)]) if profile else []
    wrt = [anatomy.pixels if features is None else features.value, *read]
    arrived, *inner = backward(op, relevance_table(propagation), {anatomy.logits: relevance}, wrt)
    given = rewriting.total(relevance)
    maps = {}
    if conserves and (features is None or features.value in bottlenecks(nodes, anatomy)):
        maps["residual"] = op.Sub(
            rewriting.total(arrived), given
        )  # beside other ways no sum is claimed
    if features is None:
        maps |= {
            "attribution": arrived,
            "heatmap": rewriting.reduce_channels(arrived, reduction),
        }
    else:
        native = rewriting.reduce_channels(arrived, reduction, features.channel_axis)
        maps |= {"native_heatmap": native, "heatmap": rewriting.upsample(native)}
    if profile:
        sums = {anatomy.logits.name: given}
        for value, there in zip(reversed(read), reversed(inner), strict=True):
            if (found := op.sum_rows(there, value, anatomy.image)) is not None:
                sums[value.name] = found
        maps["profile"] = rewriting.named_numbers("profile", [*sums], [*sums.values()])
    if propagation.amplifications:
        labels, ratios = zip(*propagation.amplifications, strict=True)
        maps["amplification"] = rewriting.named_numbers("amplification", labels, ratios)
    return Maps(**maps)


def _onward(value: ir.Value) -> list[str]:
    """Return the names of a tensor and of what is made of it alone, in order."""
    names = [value.name or ""]
    while len(value.uses()) == 1:
        ((user, _),) = value.uses()
        value = user.outputs[0]
        names.append(value.name or "")
    return names


def _features(rewriting: Rewriting, nodes: Sequence[ir.Node], places: list[str]) -> Features:
    """Return the first of these tensors that patterns left, and warn where it is not the first."""
    left = {output.name for node in nodes for output in node.outputs}
    name = next((place for place in places if place in left), places[0])
    if name != places[0]:
        rewriting.warn(
            "LAYER_MERGED",
            f"{places[0]} is no tensor of its own in relevance propagation, because the layer "
            f"before it takes in what follows: relevance is read after that, at {name}",
        )
    return rewriting.features(name)


def _start(rewriting: Rewriting, start: str) -> ir.Value:
    op, logits = rewriting.op, rewriting.anatomy.logits
    weights = op.reshape_like(op.CastLike(rewriting.weights, logits), logits)
    if start == "one":
        return weights
    relevance = op.Mul(weights, logits)
    return op.Relu(relevance) if start == "positive_score" else relevance


def _read_at(values: Sequence[ir.Value]) -> list[ir.Value]:
    """Return, of tensors that all paths go through, the first and what layers with weights take."""
    inner = [value for value in values[1:] if any(is_layer(user) for user, _ in value.uses())]
    return [values[0], *inner]


def _is_bias(node: ir.Node) -> bool:
    """Return whether an Add is the bias of a layer before it."""
    makers = [value.producer() for value in node.inputs if value is not None]
    return any(maker is not None and bias_after(maker) is node for maker in makers)


def _tell_what_brings_signs(rewriting: Rewriting, nodes: Sequence[ir.Node], how: Readings) -> None:
    """Warn of sums of signed values: they alone turn relevance of one sign into the other."""
    signed = [
        label(node)
        for node in nodes
        if node.op_type in _CENTRING
        or (
            node.op_type in _SHARING
            and not (node.op_type == "Add" and how.add == "zplus")
            and not (how.batch_norm == "merge" and is_mergeable(node))
            and not (how.activations == "gradient" and is_within_activation(node))
            and not _is_bias(node)
            and not all(
                value is None or is_not_negative(value) or constant_array(value) is not None
                for value in node.inputs
            )
        )
    ]
    if signed:
        shown = ", ".join(signed[:5]) + (f" and {len(signed) - 5} more" if signed[5:] else "")
        rewriting.warn(
            "SIGNED_SUMMANDS",
            f"relevance may change sign at sums of positive and negative values: {shown}",
        )
