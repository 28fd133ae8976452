"""Answers to the sources of a split, beside the true ones: BLEU, chrF, ROUGE, exact match, word and character error."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import Field

from seqloom.core.errors import UnsupportedQuery
from seqloom.metrics.base import Metric, MetricRecord, View
from seqloom.metrics.likeness import Bleu, CharacterError, Chrf, Exact, Likeness, Rouge, WordError
from seqloom.samplers.base import Sampler


@dataclass(frozen=True)
class Answers:
    """What a model answered to some sources, the true answers, and what is answered without a model, by name."""

    made: Sequence[str]
    truth: Sequence[str]
    baselines: Mapping[str, Sequence[str]]
    how: str = ""
    """By which sampler, and chosen how."""


class AnswersMetric(Metric, name="answers"):
    """How like the answers to sources of the split are to the true ones.

    Of data in which a text is made from another: the model answers as `apply` does. An interval is over pairs. Beside
    each value stand those of copying the source, of the commonest answer in training, and of the answer to the training
    source that is nearest.
    """

    pairs: int = Field(default=200, ge=0)
    """Pairs of the split that are answered, evenly spread over it; 0: all."""
    sampler: Sampler | None = None
    """How answers are made; None: about the likeliest, or where there are several samples as the run says."""
    samples: int = Field(default=1, ge=1)
    """Samples of each, of which `mbr` takes one."""
    mbr: Likeness = Chrf()
    """By what the sample of least expected loss is taken, where there are several."""
    by: tuple[Likeness, ...] = (Bleu(), Chrf(), Rouge(), Exact(), WordError(), CharacterError())
    """What is measured, where its library is installed."""

    def measure(self, view: View) -> list[MetricRecord]:
        if view.answers is None:
            raise UnsupportedQuery("there are no sources to answer", hint="leave the metric out")
        answers = view.answers(self, view.seed)
        return self.records(answers, self.baselines(answers))

    def baselines(self, answers: Answers) -> dict[str, list[MetricRecord]]:
        """All measures of what is answered without a model, by name."""
        return {name: self.of(texts, answers.truth, {}) for name, texts in answers.baselines.items()}

    def records(self, answers: Answers, beside: Mapping[str, Sequence[MetricRecord]]) -> list[MetricRecord]:
        """All measures of the answers, each with those of the baselines in its context."""
        contexts = {
            one.measures: ", ".join(
                f"{name}: {record['value']:.3g}"
                for name, records in beside.items()
                for record in records
                if record["name"] == one.measures
            )
            for one in self.by
        }
        return self.of(answers.made, answers.truth, contexts, answers.how)

    def of(
        self, made: Sequence[str], truth: Sequence[str], contexts: Mapping[str, str], how: str = ""
    ) -> list[MetricRecord]:
        """The measures of some texts beside the true ones."""
        return [_record(one, made, truth, how, contexts.get(one.measures, "")) for one in self.by if not one.missing]


def _record(likeness: Likeness, made: Sequence[str], truth: Sequence[str], how: str, context: str) -> MetricRecord:
    counts = likeness.of(made, truth)
    low, high, error = likeness.interval(counts)
    said = [f"95 %: {low:.3g} to {high:.3g}", context, how, likeness.signature]
    return {
        "name": likeness.measures,
        "value": likeness.value(counts.sum(0)),
        "unit": likeness.unit,
        "kind": "estimate",
        "stderr": error,
        "interval": [low, high],
        "better": likeness.better,
        "count": len(made),
        "context": "; ".join(filter(None, said)),
        "signature": likeness.signature,
    }


Answering = Callable[[AnswersMetric, int], Answers]
"""The answers that a metric asks for, from a seed."""
