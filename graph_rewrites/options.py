"""The options' types and meanings, one per name, shared by all methods.

A method takes an option by annotating a keyword-only parameter with the alias here; an option has
one meaning everywhere, only its default is the method's own.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt

from .option import Averaged, Colours, Help, PerChannel, Range, Several

__all__ = [
    "Add",
    "Alpha",
    "Baseline",
    "BatchNorm",
    "Beta",
    "Bias",
    "BatchSize",
    "CompositeName",
    "Contrastive",
    "Epsilon",
    "Gamma",
    "Gate",
    "High",
    "InputDomain",
    "Budget",
    "DeepLiftVariant",
    "Difference",
    "FeatureSelection",
    "Fill",
    "Granularity",
    "Keep",
    "KernelWidth",
    "Layer",
    "Low",
    "Lrn",
    "MaxDepth",
    "MinMembers",
    "NCells",
    "NClusters",
    "NFeatures",
    "NPicks",
    "NSamples",
    "NSegments",
    "NSteps",
    "Noise",
    "Patch",
    "Product",
    "Profile",
    "Quadrature",
    "Reduction",
    "Relu",
    "Resize",
    "Rules",
    "Score",
    "Seed",
    "Segmenter",
    "Segments",
    "SmoothGradVariant",
    "Start",
    "Step",
    "Stride",
    "Tolerance",
]

Score = Annotated[
    Literal["logit", "probability"],
    Help("what is explained: the value before the final softmax or sigmoid, or the probability"),
]
Reduction = Annotated[
    Literal["sum", "max_abs", "l2"],
    Help("how the channels of the attribution become one heatmap"),
]
Relu = Annotated[bool, Help("keep only positive evidence, as published; false: the signed map")]
Layer = Annotated[
    str | None,
    Several(),
    Help(
        "name of the tensor taken as feature map, or where relevance is read; or several; unset: "
        "found in the graph, or the image"
    ),
]
NSamples = Annotated[int, Range(2, 1_000_000), Help("number of perturbed samples")]
BatchSize = Annotated[
    int | None,
    Range(1, 4096),
    Help("samples per forward pass; unset: chosen from the model's size"),
]
Seed = Annotated[int, Range(0, 2**63 - 1), Help("seed of every random choice")]
Segments = Annotated[
    npt.NDArray[np.integer[Any]] | None,
    Help(
        "superpixels of your own instead: for each pixel that the model sees the number of its "
        "superpixel, as an array [H, W], or a .npy or .png file; unset: the segmenter finds them"
    ),
]
Segmenter = Annotated[
    Literal["auto", "quickshift", "slic", "felzenszwalb", "watershed", "grid"],
    Help(
        "how the picture is cut into superpixels; auto: quickshift, slic above 512x512, "
        "a grid when there would be under 8"
    ),
]
NSegments = Annotated[
    int, Range(2, 10_000), Help("cells or segments wanted from the grid, slic and watershed")
]
KernelWidth = Annotated[
    float, Range(1e-6, 1e6), Help("width of LIME's sample kernel in cosine distance")
]
Baseline = Annotated[
    Literal["zero", "black", "mean", "blur", "uniform"] | npt.NDArray[np.floating[Any]],
    Averaged(),
    Help(
        "what stands for nothing to be seen: 0 in the input's own units, black, the image's mean "
        "colour, the image blurred, uniform noise, or an array in the units of the model's input "
        "that broadcasts to it (a .npy file); or several, to take the mean over them"
    ),
]
NSteps = Annotated[int, Range(1, 10_000), Help("points on the path from the baseline")]
Quadrature = Annotated[
    Literal["gauss_legendre", "trapezoid"], Help("how the integral along the path is summed")
]
Noise = Annotated[
    float, Range(0, 10), Help("standard deviation of the noise, as a share of the input's range")
]
SmoothGradVariant = Annotated[
    Literal["mean", "squared", "var"],
    Help("mean of the noisy gradients, of their squares, or their variance"),
]
Patch = Annotated[
    int | None,
    Range(1, 8192),
    Help("side of the square window in pixels; unset: an eighth of the input's shorter side"),
]
Stride = Annotated[
    int | None,
    Range(1, 8192),
    Help("pixels from one window to the next; unset: half the window"),
]
NCells = Annotated[int, Range(2, 100), Help("cells of a mask's grid on each side")]
Keep = Annotated[float, Range(0.01, 0.99), Help("probability that a cell of a mask is seen")]
Tolerance = Annotated[
    float,
    Range(0, 1),
    Help(
        "end when the estimated error of the map, as a share of its variation, is below this; "
        "0: take all samples"
    ),
]
Fill = Annotated[
    Literal["mean", "black", "grey", "white", "blur", "noise"],
    Colours(),
    Help(
        "what hides a superpixel: its mean colour, a colour, by name or as #rrggbb, the image "
        "blurred, or uniform noise"
    ),
]
FeatureSelection = Annotated[
    Literal["none", "highest_weights", "lasso_path", "forward"],
    Help("how LIME chooses the superpixels that may have a weight; none: all have one"),
]
NFeatures = Annotated[
    int, Range(1, 10_000), Help("superpixels chosen at most, where there is a selection")
]
NPicks = Annotated[int, Range(1, 10_000), Help("images picked at most")]
NClusters = Annotated[int, Range(1, 1000), Help("groups of what looks alike, at most")]
MinMembers = Annotated[
    int, Range(2, 1_000_000), Help("images that a group with its own surrogate has at least")
]
MaxDepth = Annotated[int, Range(0, 16), Help("splits above a leaf of the tree at most")]
Granularity = Annotated[
    Literal["pixel", "pixel_joint", "patch", "segments"],
    Help("what is moved at once: one channel of a pixel, all of them, a patch or a superpixel"),
]
Difference = Annotated[
    Literal["central", "forward"], Help("whether the input moves both ways or one way")
]
Step = Annotated[
    float | None,
    Range(1e-7, 1),
    Help(
        "how far the input moves, as a share of its range; unset: 0.001, or for integer and "
        "quantised models 0.01 and at least one level"
    ),
]
Budget = Annotated[
    int | None,
    Range(32, 1_000_000_000),
    Help("forward passes to spend, on coarse squares first; unset: as many as exactness needs"),
]
CompositeName = Annotated[
    Literal[
        "epsilon",
        "epsilon_plus",
        "epsilon_plus_flat",
        "epsilon_alpha2_beta1",
        "epsilon_alpha2_beta1_flat",
        "epsilon_gamma_box",
        "alpha1_beta0",
        "alpha2_beta1",
        "gamma",
        "flat_epsilon",
    ],
    Help("which rule holds at which layer"),
]
Start = Annotated[
    Literal["score", "positive_score", "one"],
    Help("what is distributed: the score, its positive part, or 1"),
]
Rules = Annotated[
    str | None,
    Help(
        "rules for single layers, before the composite's: PATTERN:RULE, comma between them; a "
        "pattern is a node's name with * and ?, or an operator; the first that fits holds"
    ),
]
Alpha = Annotated[float, Range(1, 1e6), Help("weight of the positive share in the rule alpha_beta")]
Beta = Annotated[float, Range(0, 1e6), Help("weight of the negative share: alpha - 1")]
Bias = Annotated[
    Literal["keep", "ignore", "clamp"],
    Help("what biases take of the relevance: their share, nothing, or theirs where below 0"),
]
Lrn = Annotated[
    Literal["pass", "gradient"], Help("how relevance passes local response normalisation")
]
Gate = Annotated[
    Literal["signal", "gradient"],
    Help("how a product of signal and gate shares: all to the signal, or by its gradient"),
]
Resize = Annotated[
    Literal["norm", "gradient"],
    Help("how relevance passes interpolation: in proportion to what is summed, or by gradient"),
]
BatchNorm = Annotated[
    Literal["merge", "linear", "pass", "gradient"],
    Help(
        "batch normalisation that follows no layer with weights: part of the layers behind it "
        "where that is exact, a layer of its own, passed by, or by its gradient"
    ),
]
Add = Annotated[
    Literal["norm", "zplus"],
    Help("how a sum of branches shares: in proportion to the summands, or to the positive ones"),
]
DeepLiftVariant = Annotated[
    Literal["rescale", "reveal_cancel"],
    Help("whether activations treat what comes as one, or its positive and negative terms apart"),
]
Product = Annotated[
    Literal["split", "gradient"],
    Help("how a product shares: each factor with the mean of the other, or by its gradient"),
]
Profile = Annotated[
    bool, Help("also sum the relevance before every layer with weights that all paths pass")
]
Low = Annotated[
    float | None,
    PerChannel(),
    Range(-1e6, 1e6),
    Help(
        "smallest value of the model's input, one for all channels or one for each, for the rule "
        "zbox; unset: by the preprocessing"
    ),
]
High = Annotated[
    float | None,
    PerChannel(),
    Range(-1e6, 1e6),
    Help("largest value of the model's input, as low"),
]
Contrastive = Annotated[
    bool, Help("subtract what speaks against the class, by the negated last layer")
]
Epsilon = Annotated[float, Range(1e-12, 1e6), Help("stabiliser of the rule epsilon")]
Gamma = Annotated[float, Range(0, 1e6), Help("how much more the rule gamma weighs its side")]
InputDomain = Annotated[
    Literal["auto", "real", "box", "positive"],
    Help(
        "what the image's values are: any number, between the preprocessing's bounds, not "
        "negative; auto: box where bounds are known, else real"
    ),
]
