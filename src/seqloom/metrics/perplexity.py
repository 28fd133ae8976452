"""The perplexity of a text by its words, as published for language models, whatever a model's own symbols are."""

from __future__ import annotations

import math

from seqloom.core.errors import UnsupportedQuery
from seqloom.metrics.base import Metric, MetricRecord, View, metric_of
from seqloom.metrics.likelihood import score_of


class Perplexity(Metric, name="perplexity"):
    """exp(nats / words) of a split of texts: a word is what spaces part, and the end of each line is one too.

    So models of characters, of pieces and of words can be read beside published values of the same text (Mikolov et al.
    2010). Of the likelihoods that a process has, the first is taken; where that is a bound, so is the perplexity.
    """

    def measure(self, view: View) -> list[MetricRecord]:
        texts = view.values() if view.values is not None else ()
        words = sum(len(text.split()) + text.count("\n") for text in texts if isinstance(text, str))
        names = list(view.process.likelihoods())
        if not (words and names):
            raise UnsupportedQuery("only a likelihood of texts has a perplexity", hint="leave perplexity out")
        own = score_of(view, names[0], view.progress)
        units = view.reading.units / words  # of a word, though only a share of them may have been scored
        value = math.exp(own.per_unit * units)
        errors = {name: value * units * getattr(own, name) / own.count for name in ("stderr", "margin")}
        return [metric_of(self.name, own) | {"value": value, "unit": "a word", "count": words} | errors]
