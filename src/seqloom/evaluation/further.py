"""What a comparison measures beside likelihoods: forecasts, and samples beside real windows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from seqloom.corpora.base import Corpus, Prepared
from seqloom.evaluation.naming import setting_words
from seqloom.evaluation.synthesis import reality_of
from seqloom.metrics.forecast import Backtest
from seqloom.metrics.synthesis import SynthesisMetric
from seqloom.rolling import Origins, origins_of


@dataclass(frozen=True)
class FurtherMeasures:
    """Measures that are taken only where they are asked for; see `compare`."""

    horizon: int | None = None
    """Rows of a forecast; None: no forecasts."""
    windows: int | None = None
    """Places in each series that forecasts begin at; None: 20 in all."""
    synthetic: Mapping[str, Any] | None = None
    """Settings of the metric `synthesis`, {} for its defaults; None: samples are not judged beside real windows."""

    @property
    def synthesis(self) -> SynthesisMetric | None:
        """The metric that judges samples."""
        return None if self.synthetic is None else SynthesisMetric.parse(self.synthetic)

    @property
    def said(self) -> dict[str, Any]:
        """What is asked for, by name."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @property
    def options(self) -> list[str]:
        """The same as options of the command line."""
        numbers = {"--horizon": self.horizon, "--windows": self.windows}
        words = [word for name, number in numbers.items() if number is not None for word in (name, str(number))]
        settings = [] if self.synthetic is None else setting_words({"synthesis": self.synthetic})
        return words if self.synthetic is None else [*words, "--synthetic", *settings]

    def origins(self, corpus: Corpus, prepared: Prepared) -> Origins | None:
        """Where in the test split forecasts begin, those of models and of baselines."""
        if self.horizon is None:
            return None
        return origins_of(corpus, prepared.codec, {}, "test", Backtest(self.horizon, self.windows))

    def check(self, corpus: Corpus, prepared: Prepared) -> None:
        """DataError or UnsupportedQuery where the test split cannot give what is asked for."""
        self.origins(corpus, prepared)
        if self.synthesis is not None:
            reality_of(corpus, prepared.codec, "test", self.synthesis.length)


NO_MORE = FurtherMeasures()
"""Likelihoods alone."""
