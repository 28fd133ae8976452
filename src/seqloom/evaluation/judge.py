"""The results of one finished run: its test scores, samples, speed and learning curve, as plain values."""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from seqloom import run as runs
from seqloom.core import durable
from seqloom.core.errors import UnsupportedQuery
from seqloom.corpora.base import Split
from seqloom.evaluation.answers import answers_of, source_of
from seqloom.evaluation.evaluate import evaluate_model, prepare, values_of
from seqloom.evaluation.further import NO_MORE, FurtherMeasures
from seqloom.evaluation.novelty import originals
from seqloom.evaluation.synthesis import WINDOWS, drawn
from seqloom.evaluation.texts import beside_of, spread, texts_of
from seqloom.filler import Running
from seqloom.metrics.answers import AnswersMetric
from seqloom.metrics.base import Metric, MetricRecord
from seqloom.metrics.forecast import ForecastMetric
from seqloom.metrics.novelty import NoveltyMetric
from seqloom.model import Model, load
from seqloom.network.cost import cost
from seqloom.sequence.canvas import Canvas, Encoded
from seqloom.sequence.query import Query

LONGEST_SAMPLE = 256
"""Elements of a sample that the report shows."""
SAMPLES, PATHS = 8, 40
"""Samples that are made in one go: to be shown, or as paths of a forecast."""
SHOWN = 3
"""Samples of them that the report shows as text."""
PASSES = 3
"""Forward passes that a step of training costs: the backward pass is about two."""
LONGEST_FORECAST = 48
BEFORE = 512
"""Elements that a forecast goes on from."""
ANSWERED = 100
"""Sources of the test split that are answered, where texts are made from others."""
FEWEST, MOST = 8, 64
"""Windows of an expensive likelihood."""


def judged(
    run: runs.Run,
    *,
    briefly: bool = False,
    device: torch.device | str = "cpu",
    further: FurtherMeasures = NO_MORE,
) -> dict[str, Any]:
    """The results of a finished run, as plain values: its test scores, samples, speed and learning curve.

    Left to right, a window costs its length squared; `briefly` keeps that to a tenth of what training cost.
    """
    report = durable.read_json(run.path / runs.REPORT)
    model = load(run, device=device)
    windows = MOST
    if briefly:
        windows = int(np.clip(0.25 * report["elements"] / model.network.window**2, FEWEST, MOST))
    synthesis = further.synthesis
    more: list[Metric] = []
    if further.horizon is not None:
        more.append(ForecastMetric(horizon=further.horizon, windows=further.windows))
    if synthesis is not None:
        more.append(synthesis)
    scores = evaluate_model(model, windows=windows, more=more)
    samples, rate, values = _samples(model)
    return {
        "run": str(run.path),
        "parameters": report["parameters"],
        "seconds": report["seconds"],
        "elements_per_second": report["elements_per_second"],
        "peak_memory_mb": report["peak_memory_mb"],
        "fingerprint": scores["fingerprint"],
        "metrics": durable.finite(scores["metrics"]),
        "failed": scores["failed"],
        "samples_per_second": rate,
        "first_element_ms": _first_element(model),
        "samples": samples,
        "answers": durable.finite(_answers(model)),
        "novelty": durable.finite(_novelty(model, values, samples["length"])),
        "windows": None if synthesis is None else _listed(drawn(model, synthesis.length, WINDOWS, 0)),
        "operations": _operations(run),
        "curve": [
            [record["seconds"], record["elements"], record["valid"]]
            for record in durable.Journal.read(run.path / runs.LOG)
            if "valid" in record
        ],
    }


def _operations(run: runs.Run) -> int:
    """Multiplications and additions for each element that training reads: a forward and a backward pass."""
    recipe = run.recipe
    spec = recipe.process.spec(run.space)
    return PASSES * cost(recipe.backbone, spec, run.space, run.conditions(), 1, recipe.feed.window).operations


def _first_element(model: Model) -> float:
    """Milliseconds from a question to the first element of a sample that is final; the model has answered before."""
    query = model.query(model.empty(LONGEST_SAMPLE if model.codec.space.symbolic else None))
    running, began = Running(query), time.monotonic()
    for frame in model.stream(query):
        running.take(frame)
        if running.settled:
            break
    return 1000 * (time.monotonic() - began)


def _novelty(model: Model, values: Sequence[Any], length: int) -> list[MetricRecord]:
    """How new and varied samples are, where they are of symbols."""
    assert model.run is not None
    if not model.codec.space.symbolic or model.codec.choices:
        return []
    splits = prepare(model.run).splits
    return NoveltyMetric().records(originals(model.codec, values, splits["train"].data, splits["test"].data, length))


def _answers(model: Model) -> dict[str, Any] | None:
    """How like its answers to sources of the test split are to the true ones, where texts are made from others.

    `model` has its measures, `baselines` those of what is answered without a model.
    """
    assert model.run is not None
    if not source_of(model):
        return None
    prepared = prepare(model.run)
    values = partial(values_of, model.run, None, "test")
    metric = AnswersMetric(pairs=ANSWERED)
    answers = answers_of(model, prepared, prepared.splits["test"], values, metric, 0)
    beside = metric.baselines(answers)
    return {"model": metric.records(answers, beside), "baselines": beside}


def _samples(model: Model) -> tuple[dict[str, Any], float, Sequence[Any]]:
    """Samples to show (`texts`, a `picture`, or `paths`), how many were made in a second, and all of them."""
    assert model.run is not None
    prepared = prepare(model.run)
    codec, test = model.codec, prepared.splits["test"]
    longest = int(test.data.sizes.max()) + prepared.ends
    history = truth = None
    forecasts = codec.numeric
    if forecasts:
        count, length = PATHS, min(LONGEST_FORECAST, max(1, model.network.window // 2), longest)
        history, truth = _around_test(model, length)
    else:
        count, length = SAMPLES, min(LONGEST_SAMPLE, longest)
    canvas, *others = model.empty(length) if history is None else model.canvas(history, length)
    # Beside the conditions of one sequence all samples would be alike: each has those of another, where they can.
    varied = bool(test.given) and not forecasts and not test.aligned
    numbers = spread(len(test.data), count) if varied else [0]
    given = [beside_of(test, number) for number in numbers]
    queries = [
        Query(canvas, model.sampler, 1 if varied else count, 0, row, own, others=others)
        for row, own in enumerate(given)
    ]
    count = len(queries) if varied else count
    began = time.monotonic()
    answers = list(model.answers(queries))
    rate = count / max(1e-9, time.monotonic() - began)
    made = [value for answer in answers for value in answer.values]
    shown: dict[str, Any] = {"count": count, "length": length}
    if forecasts:
        ends = [codec.cut(value, codec.size(value) - length, codec.size(value)) for value in made]
        shown["columns"] = codec.number_names()
        shown["paths"] = [_listed(codec.numbers(end)) for end in ends]
        shown["history"] = None if history is None else _listed(codec.numbers(history))
        shown["truth"] = None if truth is None else _listed(codec.numbers(truth))
        shown["filled"] = _filled(model, given[0])
    elif (picture := codec.picture(made)) is not None:
        shown["picture"] = base64.b64encode(picture).decode()
    else:
        shown["texts"] = [codec.as_text(value) for value in made[:SHOWN]]
        shown["beside"] = [_beside(model, test, number) for number in numbers[:SHOWN]] if varied else []
    return shown, rate, made


def _beside(model: Model, test: Split, number: int) -> list[list[str]]:
    """The conditions of one sequence of the test split as texts by name, and the sequence itself."""
    there = [(name, flat) for name, flat in test.given.items() if len(flat.row(number))]
    conditions = [[name, *texts_of(model.given[name], flat, [number])] for name, flat in there]
    return [*conditions, ["the true one", *texts_of(model.codec, test.data, [number])]]


def _filled(model: Model, given: Mapping[str, Encoded]) -> dict[str, Any] | None:
    """The first rows of the test split as a gap, filled several times from what stands before and after it.

    None where the model reads from the left only, or the split is too short.
    """
    codec, window = model.codec, model.network.window
    length = min(LONGEST_FORECAST, max(1, window // 3))
    before, following = _around_test(model, 2 * length)
    if before is None or codec.size(following) < 2 * length:
        return None
    begin = max(0, codec.size(before) - length)
    value = codec.join([codec.cut(before, begin, codec.size(before)), following])
    size = codec.size(value)
    inside = (np.arange(size) >= size - 2 * length) & (np.arange(size) < size - length)
    canvases = []
    for row in codec.rows(value):
        encoded = codec.encode(row)
        gap = inside.reshape((-1,) + (1,) * (encoded.known.ndim - 1))
        canvases.append(Canvas(encoded.x, encoded.known & ~gap, ~encoded.known, encoded.origin))
    first, *others = canvases
    try:
        answer = model.answer(Query(first, model.sampler, PATHS, 0, 0, given, others=others))
    except UnsupportedQuery:
        return None
    numbers = codec.numbers(value)
    assert numbers is not None
    return {
        "paths": [_listed(codec.numbers(one)) for one in answer.values],
        "known": _listed(np.where(inside[:, None], np.nan, numbers)),
        "truth": _listed(np.where(inside[:, None], numbers, np.nan)),
    }


def _around_test(model: Model, length: int) -> tuple[Any, Any]:
    """What stands before the test split of one sequence, and its beginning; nothing where there are several."""
    assert model.run is not None
    corpus, codec = model.run.recipe.corpus, model.codec
    parts = {name: list(corpus.values(codec, name)) for name in ("train", "valid", "test")}
    if len(parts["test"]) != 1 or len(parts["train"]) != 1:
        return None, None
    whole, test = corpus.full(codec)[0], parts["test"][0]
    begin = codec.size(whole) - codec.size(test)
    return codec.cut(whole, max(0, begin - BEFORE), begin), codec.cut(test, 0, min(length, codec.size(test)))


def _listed(numbers: Any) -> Any:
    """Numbers as JSON has them: what is missing as null."""
    values = np.asarray(numbers, object)
    values[~np.isfinite(np.asarray(numbers, np.float64))] = None
    return values.tolist()
