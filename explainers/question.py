"""What is asked of a model in one call, and its answer: explanations."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnxplain.graph_rewrites import Inputs, Method, one_by_one

from .checkpoint import Checkpoint, digest
from .classifier import Classifier, ScoreKind, Scores
from .clock import Clock
from .control import Control
from .explanation import Explanation, Provenance, caveats, finite
from .inputs import PreparedInput
from .outcome import Outcome, carry_out, carry_out_set
from .prediction import TOP, predict
from .targets import Target, Targets, resolve_targets
from .white_box import WhiteBox

__all__ = ["Question"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Question:
    """A method, its options and a target, asked of a model.

    Attributes
    ----------
    options
        Resolved.
    model_name, model_sha256, provider, threads
        See `Provenance`.
    labels
        The classes' names, if known.
    time_budget, checkpoint
        See `Model.explain`; checked.
    graphs
        ``None`` only where `check_access` lets the method through without.
    """

    method: Method
    options: Mapping[str, Any]
    target: Target
    model_name: str
    model_sha256: str
    provider: str
    threads: int
    labels: Sequence[str] | None
    classifier: Classifier
    graphs: WhiteBox | None
    control: Control
    clock: Clock
    time_budget: float | None
    checkpoint: str | os.PathLike[str] | None

    @property
    def _kind(self) -> ScoreKind:
        kind: ScoreKind = self.options.get("score", "logit")
        return kind

    def answer(self, inputs: Sequence[PreparedInput]) -> list[Explanation]:
        """Explain every input: for each all targets, for each of these all layers."""
        if self.method.inputs is not Inputs.SINGLY:
            return self._together(inputs)
        found = []
        for one in inputs:
            with self.control.within(self.time_budget):
                found += self._singly(one)
        return found

    def _singly(self, prepared: PreparedInput) -> list[Explanation]:
        with self.clock.stage("predict"):
            scores = self.classifier.scores(prepared.x, self.control)
            of_kind = scores.of_kind(self._kind)
        targets = resolve_targets(self.target, of_kind[0], self.labels)
        self.control.checkpoint = self._checkpoint_of(prepared, targets)
        outcomes = [
            carry_out(
                self.method,
                options,
                prepared,
                targets,
                scores,
                self.classifier,
                self.graphs,
                self.control,
                self.clock,
            )
            for options in one_by_one(self.options)
        ]
        return self._explanations(prepared, scores, targets, outcomes)

    def _checkpoint_of(self, prepared: PreparedInput, targets: Targets) -> Checkpoint | None:
        if self.checkpoint is None:
            return None
        identity = {
            "model": self.model_sha256,
            "input": digest(prepared.x),
            "targets": ", ".join(str(dict(asked.weights)) for asked in targets.items),
        }
        return Checkpoint(self.checkpoint, identity)

    def _together(self, inputs: Sequence[PreparedInput]) -> list[Explanation]:
        with self.clock.stage("predict"):
            scores = [self.classifier.scores(one.x, self.control) for one in inputs]
            of_kind = np.concatenate([one.of_kind(self._kind) for one in scores])
        meant = of_kind
        if self.method.inputs is Inputs.ALIKE:
            meant = np.broadcast_to(of_kind.mean(axis=0), of_kind.shape)
        targets = [resolve_targets(self.target, row, self.labels) for row in meant]
        explained = np.concatenate(
            [
                own.extend(row[None])[:, list(own.columns)]
                for own, row in zip(targets, of_kind, strict=True)
            ]
        )
        outcomes = carry_out_set(
            self.method,
            self.options,
            inputs,
            targets,
            explained,
            self.classifier,
            self.control,
            self.clock,
        )
        return [
            explanation
            for one, own_scores, own, outcome in zip(inputs, scores, targets, outcomes, strict=True)
            for explanation in self._explanations(one, own_scores, own, [outcome])
        ]

    def _explanations(
        self,
        prepared: PreparedInput,
        scores: Scores,
        targets: Targets,
        outcomes: Sequence[Outcome],
    ) -> list[Explanation]:
        """Return what was found for one input: for each target all outcomes."""
        explained = targets.extend(scores.of_kind(self._kind))[0, list(targets.columns)]
        provenances = [self._provenance(outcome, prepared) for outcome in outcomes]
        prediction = predict(scores, self.labels, TOP)
        return [
            Explanation(
                method=self.method.name,
                target=asked.index,
                target_weights=None if asked.index is not None else asked.weights,
                label=asked.label(self.labels),
                score=float(score),
                score_kind=self._kind,
                attribution=result.attribution,
                heatmap=finite(result.heatmap, self.method.name),
                native_heatmap=(
                    result.heatmap if result.native_heatmap is None else result.native_heatmap
                ),
                segments=result.segments,
                coefficients=result.coefficients,
                residual=result.residual,
                measures=result.measures,
                profile=result.profile,
                summary=result.summary,
                prediction=prediction,
                picture=prepared.picture,
                warnings=(*outcome.notices, *caveats(result, outcome.options)),
                provenance=provenance,
            )
            for position, (asked, score) in enumerate(zip(targets.items, explained, strict=True))
            for outcome, provenance in zip(outcomes, provenances, strict=True)
            for result in [outcome.results[position]]
        ]

    def _provenance(self, outcome: Outcome, prepared: PreparedInput) -> Provenance:
        return Provenance(
            options=dict(outcome.options),
            model_name=self.model_name,
            model_sha256=self.model_sha256,
            layer=outcome.layer,
            preprocessing=prepared.preprocessing.to_dict() if prepared.preprocessing else None,
            provider=self.provider,
            threads=self.threads,
            batch_size=outcome.batch_size,
            seed=outcome.options.get("seed"),
            evaluations=1 + outcome.evaluations,
            timings_ms=dict(self.clock.ms),
        )
