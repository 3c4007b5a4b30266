"""Rule tables: each operator has one rule, found by opset and inherited."""

import onnx_ir as ir
import pytest
from onnxplain.graph_rewrites import RuleTable


def node(op_type, domain=""):
    return ir.Node(domain, op_type, [ir.Value(name="x")], num_outputs=1)


def first(op, node, dy):
    return [dy]


def second(op, node, dy):
    return [None]


def test_an_operator_has_one_rule_for_each_opset():
    table = RuleTable("table")
    table.rule("Relu", "Abs")(first)
    table.rule("Relu", since=14)(second)
    assert table.find(node("Relu"), 13).rule is first
    assert table.find(node("Relu"), 14).rule is second
    assert table.find(node("Relu", "com.microsoft"), 14) is None
    for attempt in (
        lambda: table.rule("Relu", since=14)(first),
        lambda: table.non_differentiable("Abs"),
    ):
        with pytest.raises(ValueError, match="registered"):
            attempt()


def test_an_overlay_changes_some_rules_and_inherits_the_rest():
    root = RuleTable("root")
    root.rule("Relu", "Abs")(first)
    root.non_differentiable("Shape", "Round")
    overlay = RuleTable("overlay", root)
    overlay.rule("Relu", "Round")(second)
    assert overlay.find(node("Relu"), 21).rule is second
    assert overlay.find(node("Abs"), 21).rule is first
    assert root.find(node("Relu"), 21).rule is first
    assert overlay.is_constant(node("Shape"))
    assert not overlay.is_constant(node("Round"))
    assert root.is_constant(node("Round"))
    assert overlay.op_types() == {"Relu", "Abs", "Round"}
