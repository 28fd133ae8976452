"""Samples of models beside the real series, and what they are judged beside: copies, held-out windows, a Gaussian."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from seqloom.codecs.base import Codec
from seqloom.core.errors import DataError, UnsupportedQuery
from seqloom.core.rng import Rng
from seqloom.corpora.base import Corpus
from seqloom.corpora.files import corpus_like
from seqloom.evaluation.measured import MeasuredRow, by_name
from seqloom.evaluation.synthesis_table import SynthesisTable
from seqloom.filler import Running
from seqloom.metrics.synthesis import COPIES, MOST_SAMPLES, Reality, Synthesis, SynthesisMetric
from seqloom.model import Model
from seqloom.rolling import ALL_AS_TEST

Numbers = NDArray[np.float64]
Progress = Callable[[float, str], None]

DRAWING = 0.2
"""Of the time that a table takes, about, the share that sampling takes."""
OF_HELD_OUT = ("error_both", "error_made")
"""Measures that held-out windows cannot have: they are what is tested on."""
CONTROLS = 3
WINDOWS = 8
"""Windows of each source that are shown."""


def reality_of(corpus: Corpus, codec: Codec, split: str, length: int, other: Corpus | None = None) -> Reality:
    """The series of the training split, and those of another split that was held out, or of another corpus.

    Errors:
        UnsupportedQuery where such data are no numbers, DataError where there are too few windows.
    """
    if not codec.numeric:
        raise UnsupportedQuery(
            f"samples of data of codec={codec.name} are no numbers that could be compared",
            hint="leave --synthetic out: evaluate scores their likelihood",
        )
    train = _numbers(codec, corpus, "train")
    if not train:
        raise DataError("there is no training split to compare samples with", hint="give it a share in corpus.splits")
    held = _numbers(codec, corpus, split) if other is None else _numbers(codec, other, "test")
    return Reality(train, held, length)


def _numbers(codec: Codec, corpus: Corpus, split: str) -> list[Numbers]:
    found = [codec.numbers(value) for value in corpus.values(codec, split)]
    return [one for one in found if one is not None]


def reality_of_run(model: Model, data: str | Corpus | None, split: str, length: int) -> Reality:
    """What the samples of a run are compared with: its training data, and a split of them or other data."""
    assert model.run is not None
    corpus = model.run.recipe.corpus
    other = None if data is None else corpus_like(corpus, data, splits=ALL_AS_TEST)
    return reality_of(corpus, model.codec, split, length, other)


def synthesis_of(
    model: Model,
    data: str | Corpus | None,
    split: str,
    length: int,
    samples: int | None,
    seed: int,
) -> Synthesis:
    """Samples of a run beside its training data and what was held out."""
    reality = reality_of_run(model, data, split, length)
    return Synthesis(drawn(model, length, samples or len_of(reality), seed), reality)


def len_of(reality: Reality) -> int:
    """How many samples suit the data."""
    return min(MOST_SAMPLES, len(reality.windows))


def drawn(model: Model, length: int, samples: int, seed: int, progress: Progress | None = None) -> Numbers:
    """Samples (N,T,D) of a model."""
    query = model.query(model.empty(length), samples, seed)
    running = Running(query)
    for frame in model.stream(query):
        running.take(frame)
        if progress is not None:
            progress(running.settled / running.total, f"{running.done} of {samples} samples")
    answer = model.collect(query, running.ordered)
    if answer.paths is None or answer.paths.shape[1] != length:
        raise UnsupportedQuery("the samples of this model are of different lengths", hint="score their likelihood")
    return answer.paths


def control_rows(
    reality: Reality, asked: SynthesisMetric, samples: int, seed: int, progress: Progress | None = None
) -> list[MeasuredRow]:
    """What models are judged beside, measured as they are."""
    rows = []
    for number, (name, made) in enumerate(reality.controls(samples, Rng.of(seed, 1)).items()):

        def report(share: float, done: int = number, label: str = name) -> None:
            if progress is not None:
                progress((done + share) / CONTROLS, f"judging {label}")

        measured = by_name(asked.records(made, reality, seed, report))
        if made is reality.held_windows:
            measured = {key: record for key, record in measured.items() if key not in OF_HELD_OUT}
        rows.append(MeasuredRow(name, measured, baseline=True))
    return rows


def synthesis_table(
    reality: Reality, models: Sequence[MeasuredRow], controls: Sequence[MeasuredRow], columns: Sequence[str]
) -> SynthesisTable:
    """The table of rows about the same data."""
    held, shown = len(reality.held_windows), reality.controls(WINDOWS, Rng.of(0, 0))[COPIES]
    return SynthesisTable(reality.length, len(reality.windows), held, shown, tuple(columns), rows=(*models, *controls))


def evaluate_synthesis(
    model: Model,
    data: str | Corpus | None,
    split: str,
    asked: SynthesisMetric,
    seed: int = 0,
    progress: Progress | None = None,
) -> SynthesisTable:
    """Samples of a run, measured beside copies of its training data, held-out windows and a Gaussian.

    Errors:
        UnsupportedQuery where such data are no numbers, DataError where there are too few windows.
    """
    assert model.run is not None

    def part(begin: float, share: float) -> Progress:
        def report(done: float, text: str) -> None:
            if progress is not None:
                progress(begin + share * done, text)

        return report

    reality = reality_of_run(model, data, split, asked.length)
    samples = asked.samples or len_of(reality)
    made = drawn(model, asked.length, samples, seed, part(0.0, DRAWING))
    each = (1 - DRAWING) / (1 + CONTROLS)
    judging = part(DRAWING, each)
    name = model.run.path.name
    measured = by_name(asked.records(made, reality, seed, lambda share: judging(share, f"judging {name}")))
    controls = control_rows(reality, asked, samples, seed, part(DRAWING + each, CONTROLS * each))
    return synthesis_table(reality, [MeasuredRow(name, measured)], controls, model.codec.number_names())
