"""DeepLIFT."""

from __future__ import annotations

from onnxplain.graph_rewrites.method import Access, declare
from onnxplain.graph_rewrites.options import Baseline, DeepLiftVariant, Product, Reduction, Seed
from onnxplain.graph_rewrites.patterns import simplify
from onnxplain.graph_rewrites.rewriting import Maps, Rewriting
from onnxplain.graph_rewrites.rules.differences import Differences, difference_table
from onnxplain.graph_rewrites.twins import forward_again

__all__ = ["deep_lift"]


@declare(
    "deep_lift",
    title="DeepLIFT",
    paper="Shrikumar et al. 2017, sections 3.5.1, 3.5.2",
    access=Access.GRADIENT,
    returns=("attribution", "heatmap", "residual"),
)
def deep_lift(
    rewriting: Rewriting,
    *,
    variant: DeepLiftVariant = "rescale",
    baseline: Baseline = "zero",
    product: Product = "split",
    reduction: Reduction = "sum",
    seed: Seed = 0,
) -> Maps:
    """Share the difference of the score to a baseline's, by quotients instead of derivatives.

    The graph gets its ``baseline`` as an input; the options ``baseline`` and ``seed`` say what is
    put there. The residual is the attributions' sum minus ``f(x) - f(baseline)``.
    """
    op, anatomy = rewriting.op, rewriting.anatomy
    rewriting.tell_rounding()
    simplify(rewriting.graph)
    start = rewriting.baseline()
    twin = forward_again(op, anatomy.pixels, start, anatomy.logits)
    table = difference_table(Differences(twin, product, reveals=variant == "reveal_cancel"))
    multipliers = rewriting.backward(table, anatomy.pixels)
    attribution = op.Mul(multipliers, op.Sub(anatomy.pixels, start))
    change = op.Sub(anatomy.logits, twin[anatomy.logits])
    return Maps(
        attribution=attribution,
        heatmap=rewriting.reduce_channels(attribution, reduction),
        residual=op.Sub(rewriting.total(attribution), rewriting.of_target(change)),
    )
