"""The verb classify: the label of each of many texts, with probabilities."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seqloom.cli.applying import SKIP_BAD, path_of_lines
from seqloom.cli.beside import opened
from seqloom.cli.session import WEIGHTS, Session, check_file, conditions_of, put, sort_words, tried_of, verb
from seqloom.core import durable
from seqloom.core.errors import DataError
from seqloom.core.progress import Progress, count

if TYPE_CHECKING:
    from seqloom.model import Model

TEXT = "text"
"""What the text is called whose label is told, in a table."""


@verb
def classify(
    session: Session,
    words: Annotated[list[str] | None, typer.Argument(metavar="RUN FILE|- [given.NAME=VALUE]...")] = None,
    label: Annotated[str | None, typer.Option(help="The condition that is told, where there are several.")] = None,
    weights: WEIGHTS = "best",
    skip_bad: SKIP_BAD = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON object a line, with the probability of every label.")
    ] = False,
) -> None:
    """Tell the label of each line of a file, in the same order.

    A model that was trained to answer with a label is asked for it. Of one that makes texts beside a label, it is the
    label under which the text is likeliest. FILE has a text a line, or is a table (.tsv, .csv, .jsonl); of a model of
    drawings or of series it is a file of these.
    """
    (run, file), settings = sort_words(words or [], "classify RUN FILE|-", ("given",))
    check_file(file)
    model = opened(run, weights, session)
    name = model.told(label or "")
    beside = conditions_of(settings, model.given)
    from seqloom.corpora.asking import asked_in

    if name:
        column = str(getattr(model.run.recipe.corpus, TEXT, "")) if model.run is not None else ""
        codecs, columns = {TEXT: model.codec}, {TEXT: column}
    else:
        codecs = {key: codec for key, codec in model.given.items() if key not in {*beside, *model.given.searched}}
        columns = model.given.columns
    if name and not model.codec.space.symbolic:  # drawings or series, of which a file holds several
        asked: list[tuple[int, dict[str, Any] | DataError]] = [
            (number, value if isinstance(value, DataError) else {TEXT: value})
            for number, value in enumerate(tried_of(file, model.codec), 1)
        ]
    else:
        path = path_of_lines(file)
        asked = list(asked_in(path, codecs, columns, model.codec))
        if not name:
            asked = [(line, _checked(model, own, path, line)) for line, own in asked]
    bad = [own for _, own in asked if isinstance(own, DataError)]
    if bad and not skip_bad:
        raise DataError(
            bad[0].message, path=file, line=bad[0].line, hint=f"{bad[0].hint or 'mend it'}; --skip-bad passes over it"
        )
    good = [own for _, own in asked if not isinstance(own, DataError)]
    if bad:
        session.note(f"{count(len(bad), 'line')} bad and left empty, the first: {bad[0]}")
    with Progress(max(1, len(good)), "lines", quiet=session.quiet) as bar:
        values = [own[TEXT] if name else own for own in good]
        told = model.classify(values, label=name, given=beside, progress=bar.update)
        for number, own in _in_order(asked, told):
            bar.clear()
            if as_json:
                fields = {"error": own.message} if isinstance(own, DataError) else _fields(own)
                put(durable.json_bytes(durable.finite({"line": number, **fields})))
            else:
                put("\n" if isinstance(own, DataError) else f"{next(iter(own))}\n")


def _checked(model: Model, own: dict[str, Any] | DataError, path: Path, line: int) -> dict[str, Any] | DataError:
    """The conditions of a line, or what is wrong with them."""
    if not isinstance(own, DataError):
        try:
            model.given.check(own)
        except DataError as error:
            return error.at(path, line)
    return own


def _in_order(
    asked: list[tuple[int, dict[str, Any] | DataError]], told: Iterator[dict[str, float]]
) -> Iterator[tuple[int, dict[str, float] | DataError]]:
    """The labels of each line with their probabilities, or what is wrong with it."""
    for number, own in asked:
        yield number, own if isinstance(own, DataError) else next(told)


def _fields(probabilities: dict[str, float]) -> dict[str, Any]:
    return {"label": next(iter(probabilities)), "probabilities": probabilities}
