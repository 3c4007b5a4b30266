"""A model that explains what it sees."""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy.typing as npt
from onnxplain.graph_rewrites import Interface, get_method
from onnxplain.graph_rewrites.patterns import Folded

from .access import Applicability, applicability, check_access, check_limits
from .classifier import Classifier
from .clock import Clock
from .control import Control
from .events import Event, stream
from .explanation import Explanation
from .images import ImageLike
from .inputs import PreparedInput, prepare
from .prediction import TOP, Prediction, predict
from .predictor import Predictor
from .preprocessing import Preprocessing
from .question import Question
from .sources import PreprocessingLike, read_labels, read_preprocessing
from .targets import Target, is_several
from .white_box import WhiteBox

__all__ = ["Model"]


class Model:
    """A loaded classifier; made by `load`, used by several threads at once.

    Attributes
    ----------
    name, sha256
        Its name and its file's hash.
    provider, threads
        onnxruntime's execution provider and its threads; of a model elsewhere its address, and 0.
    labels
        The classes' names, if known.
    preprocessing
        What turns an image into its input, if known; without it only ``tensor=`` works.
    preprocessing_source
        Where that was found: a preset, a file's name, the file's metadata.
    inputs, outputs
        The tensors the file takes and gives.
    exporter
        What wrote the file, such as ``pytorch 2.9``; empty when it does not say.
    opset
        The file's opset of the domain ai.onnx.
    """

    def __init__(
        self,
        predictor: Predictor,
        white_box: WhiteBox | None,
        *,
        name: str,
        sha256: str,
        provider: str,
        threads: int,
        preprocessing: Preprocessing | None,
        preprocessing_source: str = "",
        labels: Sequence[str] | str | os.PathLike[str] | None,
        exporter: str,
        opset: int,
    ) -> None:
        self.name, self.sha256 = name, sha256
        self.provider, self.threads = provider, threads
        self.preprocessing, self.preprocessing_source = preprocessing, preprocessing_source
        self._classifier = Classifier(predictor)
        self._graphs = white_box
        known = labels
        if known is None and preprocessing is not None:
            known = preprocessing.labels
        self.labels = None if known is None else read_labels(known, self.n_classes)
        self.inputs, self.outputs = predictor.inputs, predictor.outputs
        self.exporter, self.opset = exporter, opset

    @property
    def interface(self) -> Interface:
        """Which of its tensors are the image, the scores and the logits, and what they are."""
        return self._classifier.interface

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return self.interface.n_classes

    @property
    def feature_layer(self) -> str | None:
        """The tensor that CAM methods take as feature map; ``None`` when there is none."""
        return None if self._graphs is None else self._graphs.feature_layer

    @property
    def folded(self) -> Mapping[str, Sequence[Folded]]:
        """What methods of relevance fold into other nodes, by the pattern's name."""
        return {} if self._graphs is None else self._graphs.folded

    def applicability(self) -> tuple[Applicability, ...]:
        """Return for every method whether it applies to this model, by name."""
        return applicability(self._graphs, self.provider)

    def predict(
        self,
        image: ImageLike | None = None,
        *,
        tensor: npt.ArrayLike | None = None,
        preprocessing: PreprocessingLike | None = None,
        top: int = TOP,
    ) -> Prediction:
        """Return the classes of the highest scores for one image or tensor; see `explain`."""
        (prepared,) = self._prepare(image, tensor, preprocessing)
        return predict(self._classifier.scores(prepared.x, Control()), self.labels, top)

    def explain(
        self,
        image: ImageLike | Sequence[ImageLike] | None = None,
        *,
        tensor: npt.ArrayLike | None = None,
        method: str = "grad_cam",
        target: Target = None,
        preprocessing: PreprocessingLike | None = None,
        time_budget: float | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        control: Control | None = None,
        **options: Any,
    ) -> Explanation | list[Explanation]:
        """Explain what the model sees.

        Parameters
        ----------
        image
            A path, encoded bytes, a PIL image or a uint8 array ``[H, W, C]``; or a list of these.
        tensor
            Instead of an image the model's own input, ``[N, ...]`` or one without the batch axis.
        method
            See `list_methods`.
        target
            A class index, a label, ``"top3"``, a mapping of indices or labels to weights for the
            weighted sum of their scores, such as ``{"cat": 1, "dog": -1}``, or a list of these; by
            default the class of the highest score.
        preprocessing
            Instead of the model's own: a preset's name, a JSON file, a mapping.
        time_budget
            Seconds for each image, after which a method that takes samples gives the map of those
            it has, with the warning ``STOPPED_EARLY``; a batch is always done.
        checkpoint
            A file ``.npz`` where `sensitivity` of one image keeps what it has measured, twice a
            minute and when it is cancelled; when the file is there, it goes on from it. With the
            same batch size the map is that of a run without a break.
        control
            For progress and cancellation.
        **options
            The method's options.

        Returns
        -------
        Explanation or list of Explanation
            One for one image, target and layer; else a list: for each image all targets, for each
            of these all layers.

        Raises
        ------
        InvalidArgument
            Something in the call is wrong; the violations name every field.
        NotFound
            There is no such file or label.
        FailedPrecondition
            The method does not apply to this model, or the model failed; with the reason.
        """
        found = self.explain_all(
            image,
            tensor=tensor,
            method=method,
            target=target,
            preprocessing=preprocessing,
            time_budget=time_budget,
            checkpoint=checkpoint,
            control=control,
            **options,
        )
        listed = any(isinstance(one, list | tuple) for one in (image, options.get("layer")))
        return found if listed or is_several(target) or len(found) > 1 else found[0]

    def explain_all(
        self,
        image: ImageLike | Sequence[ImageLike] | None = None,
        *,
        tensor: npt.ArrayLike | None = None,
        method: str = "grad_cam",
        target: Target = None,
        preprocessing: PreprocessingLike | None = None,
        time_budget: float | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        control: Control | None = None,
        **options: Any,
    ) -> list[Explanation]:
        """As `explain`, always a list."""
        declared = get_method(method)
        check_access(declared, self._graphs, self.provider)
        resolved = declared.resolve(options)
        control = control or Control()
        clock = Clock(partial(control.report, done=0, total=0))
        with clock.stage("preprocess"):
            inputs = self._prepare(image, tensor, preprocessing)
        check_limits(declared, time_budget, checkpoint=checkpoint is not None, n_inputs=len(inputs))
        question = Question(
            method=declared,
            options=resolved,
            target=target,
            model_name=self.name,
            model_sha256=self.sha256,
            provider=self.provider,
            threads=self.threads,
            labels=self.labels,
            classifier=self._classifier,
            graphs=self._graphs,
            control=control,
            clock=clock,
            time_budget=time_budget,
            checkpoint=checkpoint,
        )
        return question.answer(inputs)

    def stream(
        self,
        image: ImageLike | Sequence[ImageLike] | None = None,
        *,
        control: Control | None = None,
        **arguments: Any,
    ) -> Generator[Event, None, None]:
        """Explain as `explain_all` does, with its arguments, and tell how far that is.

        Yields
        ------
        Progress
            The latest one whenever there is a new one, with an estimate of the maps where the
            method takes samples. Its maps are made when asked for.
        Explained
            The end, with all explanations.

        Notes
        -----
        The work begins with the first event, on a thread of its own. Close the generator to cancel
        it; what goes wrong is raised here.
        """
        held = control or Control()
        return stream(partial(self.explain_all, image, control=held, **arguments), held)

    def _prepare(
        self,
        image: ImageLike | Sequence[ImageLike] | None,
        tensor: npt.ArrayLike | None,
        preprocessing: PreprocessingLike | None,
    ) -> list[PreparedInput]:
        known = self.preprocessing if preprocessing is None else read_preprocessing(preprocessing)
        return prepare(image, tensor, known, self._classifier)
