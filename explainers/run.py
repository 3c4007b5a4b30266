"""What a black-box method gets and what it gives."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from .baselines import Baseline
from .control import Control
from .perturbation import Masking
from .summary import Summary

__all__ = ["Result", "Run"]


class Run(Protocol):
    """One input to explain by forward passes.

    Attributes
    ----------
    picture
        What is perturbed: uint8 ``[H, W, 1 or 3]`` as resized and cropped, or with ``from_tensor``
        the model's own input as ``[H, W, C]`` in its own units.
    from_tensor
        Whether ``picture`` is the model's input itself.
    segmentation_picture
        uint8 ``[H, W, 3]``: what segmentation sees.
    targets
        The classes to explain.
    batch_size
        Pictures of one `predict` call, and masks of one batch.
    control
        For progress, once a batch, which also ends the run when the caller gave up.
    """

    picture: npt.NDArray[Any]
    from_tensor: bool
    segmentation_picture: npt.NDArray[np.uint8]
    targets: tuple[int, ...]
    batch_size: int
    control: Control

    def predict(self, pictures: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Return the scores ``[B, n_classes]`` of pictures ``[B, H, W, C]``.

        They may be of another dtype than ``picture``; values need not be whole.
        """
        ...

    def masked(
        self, masking: Masking, batches: Iterable[tuple[npt.NDArray[Any], ...]]
    ) -> Generator[npt.NDArray[np.float64], None, None]:
        """Yield the scores ``[B, n_classes]`` of a picture seen through batches of masks.

        The batches may be taken some ahead of what is yielded; close what is not used to its end.
        """
        ...

    def baseline(self, given: Baseline, random: np.random.Generator) -> npt.NDArray[np.float32]:
        """Return what stands for nothing to be seen, ``[H, W, C]`` in the units of ``picture``.

        ``given`` is as the option ``baseline`` says.
        """
        ...

    def warn(self, code: str, message: str) -> None:
        """Tell the reader something; ``code`` is ``UPPER_SNAKE``."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Result:
    """What a method found for one target; see `Explanation` for the attributes.

    ``amplification`` says for every sum of branches, by its node's name, how many times the
    relevance that arrives its shares add up to, regardless of sign. ``scores`` is the model's own
    output that holds them, as the graph that was run gives it.
    """

    heatmap: npt.NDArray[np.float32]
    native_heatmap: npt.NDArray[np.float32] | None = None
    attribution: npt.NDArray[np.float32] | None = None
    segments: npt.NDArray[np.int32] | None = None
    coefficients: npt.NDArray[np.float64] | None = None
    residual: float | None = None
    measures: Mapping[str, float] = field(default_factory=dict)
    profile: Mapping[str, float] = field(default_factory=dict)
    amplification: Mapping[str, float] = field(default_factory=dict)
    summary: Summary | None = None
    scores: npt.NDArray[np.float32] | None = None
