"""SP-LIME, k-LIME and LIME-SUP: what several images have in common."""

import json

import numpy as np
import pytest
from onnxplain.explainers import load
from onnxplain.explainers.methods import k_lime, lime, lime_sup, sp_lime
from onnxplain.explainers.set_run import SetRun
from onnxplain.graph_rewrites import InvalidArgument
from sklearn.linear_model import Ridge

from tests.models import PREPROCESSING, tiny_cnn
from tests.runs import FakeRun

CELLS = 4  # two by two, each of 4 x 4 pixels


def blocks(colours, side=4):
    """Pictures ``[N, 2 side, 2 side, C]`` of four cells of one colour each ``[N, 4, C]``."""
    cells = np.asarray(colours, np.uint8).reshape(len(colours), 2, 2, -1)
    return cells.repeat(side, axis=1).repeat(side, axis=2)


def set_run(pictures, model, n_targets=1):
    runs = [FakeRun(one, model, targets=tuple(range(n_targets))) for one in pictures]
    scores = np.concatenate([model(one[None].astype(np.float64)) for one in pictures])
    return SetRun(runs, scores[:, :n_targets])


def means(pictures):
    """Each cell's mean, of all channels together, 0 to 1."""
    cells = pictures.reshape(len(pictures), 2, 4, 2, 4, -1)
    return cells.mean(axis=(2, 4, 5)).reshape(len(pictures), 4) / 255


RANDOM = np.random.default_rng(0)
COLOURS = RANDOM.integers(0, 256, (40, CELLS, 1))


@pytest.mark.parametrize("n_features", [1, 2, 4])
def test_picks_are_those_of_the_formula(n_features):
    weights = RANDOM.normal(size=(4, 2))
    run = set_run(blocks(COLOURS[:7]), lambda pictures: means(pictures) ** 2 @ weights, 2)
    options = {"segmenter": "grid", "n_segments": CELLS, "fill": "black", "n_samples": 60}
    found = sp_lime(run, n_picks=3, n_features=n_features, **options)
    for target in range(2):
        amounts = np.array([np.abs(lime(one, **options)[target].coefficients) for one in run.runs])
        for row in amounts:
            row[np.argsort(row)[: CELLS - n_features]] = 0
        importance = [sum(column) ** 0.5 for column in amounts.T]

        def shown(images, amounts=amounts, importance=importance):
            return sum(
                value
                for j, value in enumerate(importance)
                if any(amounts[i, j] > 0 for i in images)
            )

        picked = []
        for _ in range(3):
            rest = [i for i in range(7) if i not in picked]
            picked.append(max(rest, key=lambda i, picked=picked: shown([*picked, i])))
        summary = found[0][target].summary
        assert summary.picked == tuple(picked)
        np.testing.assert_allclose(summary.importance, importance)
        expected = [shown(picked[: n + 1]) / sum(importance) for n in range(3)]
        np.testing.assert_allclose(summary.coverage, expected)
        assert all(results[target].summary is summary for results in found)


def test_superpixels_that_look_alike_are_one_column_wherever_they_are():
    red, green, blue, grey = (200, 0, 0), (0, 200, 0), (0, 0, 200), (90, 90, 90)
    pictures = blocks(
        [[red, grey, grey, grey], [grey, grey, grey, red], [grey, green, grey, blue]], side=24
    )

    def colourful(pictures):
        return (pictures.max(axis=-1) - pictures.min(axis=-1)).mean(axis=(1, 2))[:, None]

    options = {"n_features": 2, "fill": "grey", "n_picks": 2}
    found = sp_lime(set_run(pictures, colourful), segmenter="felzenszwalb", n_clusters=4, **options)
    summary = found[0][0].summary
    assert summary.axis == "appearance"
    assert set(summary.colours) == {"#c80000", "#00c800", "#0000c8", "#5a5a5a"}
    # The third picture alone shows two colours; of the others, which show the same, one is enough.
    assert summary.picked[0] == 2
    assert summary.picked[1] in (0, 1)
    assert summary.coverage[1] == pytest.approx(1)


def test_each_group_has_the_ridge_regression_of_its_own_pictures():
    bright = np.concatenate([COLOURS[:20] // 4, 191 + COLOURS[20:32] // 4, COLOURS[:1] * 0 + 128])
    pictures, weights = blocks(bright), RANDOM.normal(size=(4, 2))
    run = set_run(pictures, lambda pictures: means(pictures) ** 2 @ weights, 2)
    found = k_lime(run, n_clusters=3, min_members=5, n_segments=CELLS)
    x, y = means(pictures), run.scores
    for target in range(2):
        summary = found[0][target].summary
        assert [group.size for group in summary.groups] == [20, 12, 1]
        assert [group.own for group in summary.groups] == [True, True, False]
        everything = Ridge(alpha=1).fit(x, y[:, target])
        for group in summary.groups:
            members = list(group.members)
            expected = everything
            if group.own:
                expected = Ridge(alpha=1).fit(x[members], y[members, target])
                assert group.r2 == pytest.approx(expected.score(x[members], y[members, target]))
            np.testing.assert_allclose(group.coefficients, expected.coef_)
            assert group.intercept == pytest.approx(expected.intercept_)
            mean = x.mean(axis=0) if not group.own else x[members].mean(axis=0)
            for member in members:
                result = found[member][target]
                assert summary.groups[summary.group_of[member]] is group
                np.testing.assert_allclose(result.coefficients, expected.coef_ * (x[member] - mean))
                prediction = expected.predict(x[[member]])[0]
                assert result.measures["local_prediction"] == pytest.approx(prediction)
                shown = result.coefficients.astype(np.float32)[result.segments]
                np.testing.assert_array_equal(result.heatmap, shown)


def test_the_tree_parts_where_linear_surrogates_then_err_least():
    pictures = blocks(COLOURS)
    x = means(pictures)

    def model(pictures):
        cells = means(pictures)
        return np.where(cells[:, 2] > 0.5, cells[:, 0], -cells[:, 1])[:, None]

    run = set_run(pictures, model)
    found = lime_sup(run, max_depth=1, min_members=6, n_segments=CELLS)
    tree = found[0][0].summary
    y = run.scores[:, 0]

    def error(rows):
        return float(((y[rows] - Ridge(alpha=1).fit(x[rows], y[rows]).predict(x[rows])) ** 2).sum())

    errors = {}
    for cell in range(4):
        for threshold in np.quantile(x[:, cell], np.arange(1, 10) / 10):
            low = x[:, cell] <= threshold
            if min(low.sum(), (~low).sum()) >= 6:
                errors[cell, threshold] = error(low) + error(~low)
    split = tree.groups[0].split
    assert (split.cell, split.threshold) == pytest.approx(min(errors, key=errors.get))
    assert split.cell == 2
    for member, leaf in enumerate(tree.group_of):
        assert leaf == (split.low if x[member, 2] <= split.threshold else split.high)
        assert member in tree.groups[leaf].members
        assert found[member][0].measures["group"] == leaf
    for leaf in (split.low, split.high):
        rows = list(tree.groups[leaf].members)
        expected = Ridge(alpha=1).fit(x[rows], y[rows])
        np.testing.assert_allclose(tree.groups[leaf].coefficients, expected.coef_)


@pytest.mark.parametrize(("limit", "value"), [("max_depth", 0), ("min_members", 21)])
def test_a_tree_that_may_not_part_is_its_root(limit, value):
    run = set_run(blocks(COLOURS), lambda pictures: means(pictures)[:, :1] ** 2)
    found = lime_sup(run, n_segments=CELLS, **{limit: value})
    (root,) = found[0][0].summary.groups
    assert (root.size, root.split) == (40, None)
    assert ("FEW_INPUTS" in run.runs[0].warnings) == (limit == "min_members")


@pytest.mark.parametrize(
    ("method", "whole"), [(k_lime, {"n_clusters": 1}), (lime_sup, {"max_depth": 0})]
)
def test_a_single_picture_is_explained_by_samples_of_it(method, whole):
    weights = np.array([[1.0], [-2], [0], [0.5]])
    run = set_run(blocks(COLOURS[:1]), lambda pictures: means(pictures) @ weights)
    options = {"n_segments": CELLS, "n_samples": 400, "fill": "black"}
    ((result,),) = method(run, **options)
    assert "ONE_INPUT" in run.runs[0].warnings
    assert sum(group.size for group in result.summary.groups if group.split is None) == 400
    assert not any(group.members for group in result.summary.groups)
    ((result,),) = method(run, **options, **whole)  # in one group
    expected = COLOURS[0, :, 0] / 255 * weights[:, 0]  # what hiding each cell takes away
    np.testing.assert_allclose(result.coefficients, expected, atol=0.1)


@pytest.fixture(scope="module")
def model():
    return load(tiny_cnn(), preprocessing=PREPROCESSING)


PICTURES = list(RANDOM.integers(0, 256, (12, 32, 32, 3), np.uint8))


def test_groups_have_one_target_on_average_highest_and_picks_one_each(model):
    tops = [model.predict(one, top=5).top for one in PICTURES]
    mean = sum(
        np.array([score.probability for score in sorted(top, key=lambda one: one.index)])
        for top in tops
    )
    options = {"n_samples": 20, "n_segments": CELLS}
    for method in ("k_lime", "lime_sup"):
        found = model.explain(PICTURES, method=method, target="top2", **options)
        expected = np.argsort(-mean)[:2].tolist() * len(PICTURES)
        assert [one.target for one in found] == expected
    found = model.explain(PICTURES[:3], method="sp_lime", **options)
    assert [one.target for one in found] == [top[0].index for top in tops[:3]]
    for one, picture in zip(found, PICTURES, strict=False):
        alone = model.explain(picture, method="lime", **options)
        np.testing.assert_array_equal(one.heatmap, alone.heatmap)
        assert one.score == alone.score
        assert json.loads(json.dumps(one.to_dict()))["summary"]["kind"] == "picks"


def test_pictures_of_different_sizes_share_no_cells():
    sizes = {**PREPROCESSING, "resize": {"short_side": 32, "filter": "bilinear"}}
    model = load(tiny_cnn(size="S"), preprocessing=sizes)
    wide = [PICTURES[0], PICTURES[0][:, :20]]
    for method, options in (("k_lime", {}), ("sp_lime", {"segmenter": "grid"})):
        with pytest.raises(InvalidArgument, match=r"32 x 32, 32 x 51.* share no cells"):
            model.explain(wide, method=method, **options)
    assert len(model.explain(wide, method="sp_lime", n_samples=20)) == 2
