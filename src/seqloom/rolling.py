"""Rolling origins: where in a split forecasts begin, and a model's forecasts from there. It is never fitted again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqloom.codecs.base import Codec
from seqloom.codecs.season import season_of
from seqloom.core.errors import ConfigError, DataError, SeqloomError, UnsupportedQuery
from seqloom.core.progress import count
from seqloom.corpora.base import Corpus, Given, Stretch
from seqloom.corpora.files import corpus_like
from seqloom.histories import HISTORY
from seqloom.metrics.forecast import Backtest, Forecast, Forecasts, seasonal_change
from seqloom.model import Model
from seqloom.run import Run

Numbers = NDArray[np.float64]
Progress = Callable[[float, str], None]

ORIGINS = 20
"""Origins in all, where nothing is said."""
ALL_AS_TEST = (0.0, 0.0, 1.0)
"""Shares that make all of a corpus its test split."""


@dataclass(frozen=True)
class Origin:
    """One place that is forecast from."""

    history: Any
    """What a model reads of it: a value of the codec."""
    past: Numbers
    """All numbers that precede it (T,D)."""
    truth: Numbers
    """What followed (H,D)."""
    given: Mapping[str, Any]
    """The conditions beside the history and what is forecast."""
    owner: int
    """The number of its series."""


@dataclass(frozen=True)
class Origins:
    """Several origins, and what is known of the training data: numbers (T,D) of each series."""

    each: Sequence[Origin]
    train: Sequence[Numbers]
    horizon: int
    stride: int
    season: int
    notes: tuple[str, ...] = ()

    @property
    def spread(self) -> Numbers:
        """The standard deviation of each channel's known training cells (D,); 1 where it never changes."""
        joined = np.concatenate(list(self.train))
        spread = np.ones(joined.shape[1])
        for d, channel in enumerate(joined.T):
            known = channel[~np.isnan(channel)]
            if len(known) and known.min() < known.max():
                spread[d] = known.std()
        return spread

    def measured(self, paths: Sequence[Numbers]) -> Forecasts:
        """Paths (N,H,D) from each origin, beside what followed."""
        each = [
            Forecast(made, origin.truth, seasonal_change(origin.past, self.season))
            for made, origin in zip(paths, self.each, strict=True)
        ]
        return Forecasts(each, self.spread, self.horizon, self.stride, self.season)

    @property
    def independent(self) -> float:
        """How many origins without rows in common they are worth: the rows that follow them, in horizons."""
        rows = {(one.owner, len(one.past) + i) for one in self.each for i in range(self.horizon)}
        return len(rows) / self.horizon

    def chosen(self, numbers: Sequence[int]) -> Origins:
        """Some of them."""
        return replace(self, each=[self.each[i] for i in numbers])

    @property
    def in_words(self) -> str:
        """How many there are and how they lie."""
        apart = f", {count(self.stride, 'row')} apart" if self.stride else ""
        return f"{count(len(self.each), 'origin')}{apart}"


def origins_of(
    corpus: Corpus,
    codec: Codec,
    given: Mapping[str, Given],
    split: str,
    asked: Backtest,
    learned: Corpus | None = None,
) -> Origins:
    """Where forecasts begin in a split; `learned` is the corpus of the training rows, where it is another.

    Errors:
        UnsupportedQuery where such data have no means and quantiles, DataError where the split is shorter than the
        horizon.
    """
    if not codec.numeric:
        raise UnsupportedQuery(
            f"a forecast has means and quantiles, which data of codec={codec.name} have not",
            hint="leave the horizon out: evaluate scores their likelihood",
        )
    horizon, windows, stride = asked.horizon, asked.windows, asked.stride
    parts = list(corpus.stretches(codec, split, given))
    going_on: list[str] = []
    if learned is not None and learned != corpus:
        parts, going_on = _with_history(parts, learned, codec, given)
    rooms = [(number, part, *_room(codec, part)) for number, part in enumerate(parts)]
    usable = [(number, part, begin, end) for number, part, begin, end in rooms if end - begin >= horizon]
    if not usable:
        longest = max((end - begin for _, _, begin, end in rooms), default=0)
        own = learned in {None, corpus}
        where = f"the {split} split has" if own else "these data have"
        raise DataError(
            f"nothing of {horizon:,} rows can be forecast: {where} at most {count(longest, 'consecutive row')} that "
            "known ones stand before",
            path=corpus.place,
            hint="a smaller --horizon, or more rows" + ": corpus.splits says how many a split has" * own,
        )
    if windows is None and stride is None:
        windows = max(1, ORIGINS // len(usable))
    least = min(end - begin for _, _, begin, end in usable) - horizon
    if stride is None:
        assert windows is not None
        stride = max(1, least // (windows - 1)) if windows > 1 else 0
    train, notes = _train_of(learned or corpus, codec, parts)
    notes = [*going_on, *notes]
    season = season_of(train, codec.seconds)
    each = []
    for number, part, begin, end in usable:
        starts = list(range(begin, end - horizon + 1, stride)) if stride else [begin]
        each += [_origin(codec, given, part, start, horizon, number) for start in starts[:windows]]
    each = [origin for origin in each if not np.isnan(origin.truth).all()]
    if not each:
        raise DataError("no cell of what would be forecast is known", hint="give a split with values in it")
    if len(usable) < len(parts):
        notes.append(f"{count(len(parts) - len(usable), 'series')} too short for the horizon: left out")
    return Origins(each, train, horizon, stride, season, tuple(notes))


def forecast_from(model: Model, origins: Origins, asked: Backtest, progress: Progress | None = None) -> list[Numbers]:
    """A model's sample paths (N,H,D) from each origin."""
    if asked.paths < 2:
        raise ConfigError(f"{asked.paths} paths have no spread", path="--paths", hint="give 2 or more")
    queries = []
    for origin in origins.each:
        history, given = _read_by(model, origin)
        queries.append(model.query(model.canvas(history, asked.horizon), asked.paths, asked.seed, given=given))
    made = []
    for answer in model.answers(queries, progress):
        if answer.paths is None:
            raise UnsupportedQuery("the samples of this model are of different lengths", hint="score their likelihood")
        made.append(answer.paths[:, -asked.horizon :])
    return made


def _read_by(model: Model, origin: Origin) -> tuple[Any, Mapping[str, Any]]:
    """Of an origin's history, and of what stands beside its rows, as much as is of account for a model."""
    size = model.codec.size(origin.history)
    first = 0 if model.filler.reads is None else max(0, size - model.filler.reads)
    if not first:
        return origin.history, origin.given
    given = dict(origin.given)
    for name in given.keys() & set(model.network.aligned):
        given[name] = model.given[name].cut(given[name], first, model.given[name].size(given[name]))
    return model.codec.cut(origin.history, first, size), given


def _with_history(
    parts: Sequence[Stretch], learned: Corpus, codec: Codec, given: Mapping[str, Given]
) -> tuple[list[Stretch], list[str]]:
    """Parts that go on where the data that were learned from end, after these; and what is to be said of it."""
    try:
        known = {
            codec.called(one.value): one for one in learned.replace(splits=ALL_AS_TEST).stretches(codec, "test", given)
        }
    except SeqloomError:  # data that cannot be read any more have a word of their own where they are missed
        return list(parts), []
    joined = []
    for part in parts:
        before = known.get(codec.called(part.value))
        if before is None or part.begin or not codec.goes_on(before.value, part.value):
            joined.append(part)
            continue
        beside = dict(part.given)
        for name, value in part.given.items():
            item = given[name]
            assert item.codec is not None
            if item.aligned:
                beside[name] = item.codec.join([before.given[name], value])
        joined.append(Stretch(codec.join([before.value, part.value]), codec.size(before.value), beside))
    count_joined = sum(one is not part for one, part in zip(joined, parts, strict=True))
    return joined, [
        f"{count(count_joined, 'series')} forecast from where the training data end"
    ] if count_joined else []


def _room(codec: Codec, part: Stretch) -> tuple[int, int]:
    """Between which positions of a part rows may be forecast: each with a past, and none beyond the last known one.

    Where nothing precedes the part, its first half is the past.
    """
    size = codec.size(part.value)
    begin = part.begin or size // 2
    numbers = codec.numbers(part.value)
    assert numbers is not None
    known = np.flatnonzero(~np.isnan(numbers).all(1))
    if not len(known):
        return size, size
    return max(begin, int(known[0]) + 1), int(known[-1]) + 1


def _origin(codec: Codec, given: Mapping[str, Given], part: Stretch, start: int, horizon: int, owner: int) -> Origin:
    numbers = codec.numbers(part.value)
    assert numbers is not None
    first = max(0, start - HISTORY)
    conditions = {}
    for name, value in part.given.items():
        item = given[name]
        assert item.codec is not None
        conditions[name] = item.codec.cut(value, first, start + horizon) if item.aligned else value
    history = codec.cut(part.value, first, start)
    return Origin(history, numbers[:start], numbers[start : start + horizon], conditions, owner)


def _train_of(corpus: Corpus, codec: Codec, parts: Sequence[Stretch]) -> tuple[list[Numbers], list[str]]:
    """The numbers of the training split; where that cannot be read, of what precedes the split."""
    notes: list[str] = []
    try:
        arrays = [codec.numbers(value) for value in corpus.values(codec, "train")]
    except SeqloomError as error:
        notes.append(f"the training data cannot be read, so baselines learn from what precedes the origins: {error}")
        arrays = []
    train = [array for array in arrays if array is not None and len(array)]
    if not train:
        pasts = [(codec.numbers(part.value), _room(codec, part)[0]) for part in parts]
        train = [array[:begin] for array, begin in pasts if array is not None and begin]
    return train, notes


def origins_of_run(run: Run, data: str | Corpus | None, split: str, asked: Backtest) -> Origins:
    """Origins in a split of a run's own data, or in other data, all of which are their test split."""
    own = run.recipe.corpus
    corpus = own if data is None else corpus_like(own, data, splits=ALL_AS_TEST)
    return origins_of(corpus, run.codec, run.fitted, split if data is None else "test", asked, own)


def forecasts_of(
    model: Model, data: str | Corpus | None, split: str, asked: Backtest, progress: Progress | None = None
) -> Forecasts:
    """What a model forecasts from the origins of a split, beside what followed."""
    assert model.run is not None
    origins = origins_of_run(model.run, data, split, asked)
    return origins.measured(forecast_from(model, origins, asked, progress))
