"""What a method gets that explains several inputs together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from onnxplain.graph_rewrites import InvalidArgument, Violation

from .run import Run

__all__ = ["SetRun"]


@dataclass(frozen=True, eq=False)
class SetRun:
    """Several inputs to explain together.

    It is explained by a list of results for each input, one for each of its targets.

    Attributes
    ----------
    runs
        One for each input, all with as many targets.
    scores
        The score of each input and target ``[N, T]``, of the kind that the options say.
    """

    runs: Sequence[Run]
    scores: npt.NDArray[np.float64]

    def warn(self, code: str, message: str) -> None:
        """Tell the readers of every input's explanation something; see `Run.warn`."""
        for run in self.runs:
            run.warn(code, message)

    def check_sizes(self, instead: str) -> None:
        """Refuse inputs of different sizes, which share no cells; ``instead`` says what to do.

        Raises
        ------
        InvalidArgument
            ``INPUT_INVALID``.
        """
        sizes = list(dict.fromkeys(run.segmentation_picture.shape[:2] for run in self.runs))
        if len(sizes) > 1:
            shown = ", ".join(f"{width} x {height}" for height, width in sizes[:3])
            message = f"inputs of different sizes ({shown}) share no cells; {instead}"
            raise InvalidArgument(
                "INPUT_INVALID", message, violations=[Violation("image", message)]
            )
