"""Answers to the sources of a split, beside the true ones: BLEU, chrF, ROUGE, word error of texts, F1 of labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import Field

from seqloom.core.errors import UnsupportedQuery
from seqloom.metrics.base import Metric, MetricRecord, View
from seqloom.metrics.likeness import Bleu, CharacterError, Chrf, Exact, Likeness, Rouge, WordError
from seqloom.metrics.likeness_of_labels import F1, Accuracy, Entities, marks
from seqloom.samplers.base import Sampler


@dataclass(frozen=True)
class Answers:
    """What a model answered to some sources, the true answers, and what is answered without a model, by name."""

    made: Sequence[str]
    truth: Sequence[str]
    baselines: Mapping[str, Sequence[str]]
    how: str = ""
    """By which sampler, and chosen how."""
    labels: tuple[str, ...] = ()
    """Of which each answer has one, or one an element; none where answers are texts."""

    @property
    def suited(self) -> tuple[Likeness, ...]:
        """How such answers are measured."""
        if not self.labels:
            return (Bleu(), Chrf(), Rouge(), Exact(), WordError(), CharacterError())
        return (Accuracy(), F1(), Entities()) if marks(self.labels) else (Accuracy(), F1())


class AnswersMetric(Metric, name="answers"):
    """How like the answers to sources of the split are to the true ones.

    Of data in which a text or a label is made from another text: the model answers as `apply` does. Of texts beside
    which a label is given, what is measured is how well `classify` tells it. An interval is over pairs. Beside each
    value stand those of copying the source, of the commonest answer in training, and of the answer to the training
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
    by: tuple[Likeness, ...] | None = None
    """What is measured, where its library is installed; None: bleu, chrf, rouge, exact, word_error and character_error
    of texts, and of labels accuracy, f1, and entities where they mark some."""

    def measure(self, view: View) -> list[MetricRecord]:
        if view.answers is None:
            raise UnsupportedQuery("there are no sources to answer", hint="leave the metric out")
        answers = view.answers(self, view.seed)
        return self.records(answers, self.baselines(answers))

    def baselines(self, answers: Answers) -> dict[str, list[MetricRecord]]:
        """All measures of what is answered without a model, by name."""
        by = self.by or answers.suited
        return {name: records_of(by, texts, answers.truth) for name, texts in answers.baselines.items()}

    def records(self, answers: Answers, beside: Mapping[str, Sequence[MetricRecord]]) -> list[MetricRecord]:
        """All measures of the answers, each with those of the baselines in its context."""
        by = self.by or answers.suited
        contexts = {
            one.measures: ", ".join(
                f"{name}: {record['value']:.3g}"
                for name, records in beside.items()
                for record in records
                if record["name"] == one.measures
            )
            for one in by
        }
        return records_of(by, answers.made, answers.truth, contexts, answers.how)


def records_of(
    by: Sequence[Likeness],
    made: Sequence[str],
    truth: Sequence[str],
    contexts: Mapping[str, str] | None = None,
    how: str = "",
) -> list[MetricRecord]:
    """The measures of some texts beside the true ones."""
    beside = contexts or {}
    return [_record(one, made, truth, how, beside.get(one.measures, "")) for one in by if not one.missing]


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
