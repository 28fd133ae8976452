"""A model's answers to the sources of a split, beside the true ones and what is answered without a model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqloom.codecs.base import Codec
from seqloom.core.errors import UnsupportedQuery
from seqloom.corpora.base import Flat, Prepared, Split
from seqloom.evaluation.texts import beside_of, spread, text_of, texts_of
from seqloom.metrics.answers import Answers, AnswersMetric
from seqloom.metrics.base import Metric
from seqloom.model import Model

MOST = 100_000
"""Pairs of the training split, the last, that baselines go by."""
RUN = 4
"""Characters of the runs by which sources are near each other."""


def source_in(codec: Codec, given: Iterable[tuple[str, Codec, str]]) -> str:
    """The condition that is a text from which another text, or labels, are made, "" where there is none.

    Of each condition its name, its codec and where it enters.
    """
    if not (_is_text(codec) or codec.choices):
        return ""
    enters = ("attend", "align") if codec.choices else ("attend",)
    return next((name for name, own, where in given if where in enters and _is_text(own)), "")


def source_of(model: Model) -> str:
    """That of a run, where its texts end by themselves."""
    if model.run is None or not (model.run.ends or model.codec.choices):
        return ""
    given = ((name, codec, item.enters or codec.enters) for name, (codec, item) in model.run.given.items())
    return source_in(model.codec, given)


def beside_likelihood(model: Model) -> list[Metric]:
    """What is measured of a model beside its recipe's metrics, unless others are asked for: how right labels are."""
    return [AnswersMetric()] if model.codec.choices and source_of(model) else []


def answers_of(
    model: Model,
    prepared: Prepared,
    part: Split,
    values: Callable[[], Sequence[Any]],
    asked: AnswersMetric,
    seed: int,
    progress: Callable[[float], None] | None = None,
) -> Answers:
    """The answers of a model to sources of a split (`part`), whose `values` are as the files have them."""
    source = source_of(model)
    if not source:
        return _labels_of(model, prepared, part, values, asked, progress)
    numbers = spread(len(part.data), asked.pairs or len(part.data))
    given = [beside_of(part, number) for number in numbers]
    made = []
    total = max(1, len(numbers))
    report = None if progress is None else lambda done, _: progress(done / total)
    answers = model.apply(given, n=asked.samples, seed=seed, sampler=asked.sampler, beyond=True, progress=report)
    for answer in answers:
        chosen = answer if asked.samples == 1 else model.of_least_risk(answer, asked.mbr)
        made.append(text_of(model.codec, chosen.values[0]))
    every = values()
    assert len(every) == len(part.data), "each pair is a thing of its own"
    truth = [text_of(model.codec, every[i]) for i in numbers]
    sampler = asked.sampler or (model.answering if asked.samples == 1 else model.sampler)
    how = f"{sampler.name}" + (f", of {asked.samples} by {asked.mbr.measures}" if asked.samples > 1 else "")
    codec = model.given[source]
    sources = [codec.decode(own[source]) if source in own else "" for own in given]
    if not model.codec.choices or source not in model.network.aligned:
        sources = [text_of(codec, own) if own else "" for own in sources]
    train = prepared.splits["train"]
    beside = baselines(model.codec, train.data, codec, train.given[source], source, sources)
    return Answers(made, truth, beside, how, model.codec.choices)


def _labels_of(
    model: Model,
    prepared: Prepared,
    part: Split,
    values: Callable[[], Sequence[Any]],
    asked: AnswersMetric,
    progress: Callable[[float], None] | None,
) -> Answers:
    """The label that a model tells of each of some texts, by the one that makes it likeliest, beside the true ones."""
    every = values()
    known = [name for name, codec in model.given.items() if codec.choices and name not in part.aligned]
    if not known or len(every) != len(part.data):
        raise UnsupportedQuery(
            "these data have no text or label that is made from a text: there is nothing to answer",
            hint="leave the metric out; pairs of texts have a condition that is attended to",
        )
    name = model.told(known[0])
    flat, train = part.given[name], prepared.splits["train"]
    there = np.flatnonzero(flat.sizes).tolist()
    numbers = [there[i] for i in spread(len(there), asked.pairs or len(there))]
    report = None if progress is None else lambda done, _: progress(done / max(1, len(numbers)))
    told = model.classify([every[i] for i in numbers], label=name, progress=report)
    texts = [text_of(model.codec, every[i]) for i in numbers]
    return Answers(
        [next(iter(own)) for own in told],
        texts_of(model.given[name], flat, numbers),
        baselines(model.given[name], train.given[name], model.codec, train.data, "text", texts),
        f"{name} by likelihood",
        model.given[name].choices,
    )


def baselines(
    codec: Codec, answers: Flat, given: Codec, learned: Flat, source: str, sources: Sequence[str]
) -> dict[str, list[str]]:
    """What is answered to sources without a model, by name, from the answers and sources of the training split."""
    if codec.choices and given.enters == "align":
        return _word_by_word(codec, answers, learned, given, sources)
    copied = {} if codec.choices else {f"copy of {source}": list(sources)}
    numbers = [i for i in range(max(0, len(answers) - MOST), len(answers)) if len(answers.row(i))]
    if not numbers:
        return copied
    times = Counter(answers.row(i).tobytes() for i in numbers)
    ((commonest, _),) = times.most_common(1)
    same = next(i for i in numbers if answers.row(i).tobytes() == commonest)
    near = nearest(sources, texts_of(given, learned, numbers))
    return {
        **copied,
        "commonest answer": texts_of(codec, answers, [same]) * len(sources),
        f"answer to the nearest {source}": texts_of(codec, answers, [numbers[i] for i in near]),
    }


def _word_by_word(
    codec: Codec, answers: Flat, learned: Flat, given: Codec, sources: Sequence[str]
) -> dict[str, list[str]]:
    """The commonest label of all, and that of each word, for each word of some sources."""
    known = Counter(zip(learned.x.tolist(), answers.x.tolist(), strict=True))
    commonest = int(np.bincount(answers.x, minlength=1).argmax())
    by_word: dict[int, int] = {}
    for (word, label), _ in reversed(known.most_common()):
        by_word[word] = label
    names = codec.choices
    symbols = [given.encode(given.value_of(source)).x.tolist() for source in sources]
    return {
        "commonest label": ["\n".join([names[commonest]] * len(own)) for own in symbols],
        "commonest label of each word": [
            "\n".join(names[by_word.get(word, commonest)] for word in own) for own in symbols
        ],
    }


def nearest(texts: Sequence[str], among: Sequence[str]) -> list[int]:
    """For each text the number of that which is nearest: by the cosine of rare runs of characters they share."""
    holders: dict[str, list[int]] = {}
    for i, text in enumerate(among):
        for run in _runs(text):
            holders.setdefault(run, []).append(i)
    weight = {run: np.log(len(among) / len(own)) for run, own in holders.items()}
    size = np.array([sum(weight[run] ** 2 for run in _runs(text)) for text in among]) ** 0.5 + 1e-9
    found = []
    for text in texts:
        shared: NDArray[np.float64] = np.zeros(len(among))
        for run in _runs(text) & holders.keys():
            shared[holders[run]] += weight[run] ** 2
        found.append(int((shared / size).argmax()))
    return found


def _runs(text: str) -> set[str]:
    padded = f" {text} "
    return {padded[i : i + RUN] for i in range(max(1, len(padded) - RUN + 1))}


def _is_text(codec: Codec) -> bool:
    """Whether values are texts of many symbols."""
    return codec.space.symbolic and "text" in codec.as_json(codec.examples()[0]) and codec.enters != "add"
