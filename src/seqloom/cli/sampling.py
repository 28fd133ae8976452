"""The verbs that make something: sample, extend and infill."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seqloom.cli.beside import Asked, Ranked, Ranking
from seqloom.cli.queries import (
    AnnotatedQuery,
    Limits,
    annotated,
    collected,
    collected_several,
    each_asked,
    numbered_files,
    samples_of,
    write_files,
)
from seqloom.cli.session import (
    FORCE,
    JSON,
    SEED,
    Session,
    conditions_of,
    meant,
    positive,
    put,
    put_json,
    say,
    seed_of,
    several_of,
    sort_words,
    value_of,
    verb,
)
from seqloom.cli.sweep import changes_of, write_sweep
from seqloom.core.errors import ConfigError, DataError, UnsupportedQuery
from seqloom.core.outputs import OutputFile, OutputFolder
from seqloom.core.progress import listed

if TYPE_CHECKING:
    from seqloom.codecs.base import Codec
    from seqloom.model import Model
    from seqloom.sequence.answer import Answer
    from seqloom.sequence.query import Frame, Query, Score

KEYS = ("sampler", "given")
PATHS = 100
"""Samples that means and quantiles are taken over, unless it is said."""
EVERY = 0.05
"""Seconds between two prints of what has been settled of a text."""

COUNT = Annotated[int, typer.Option("-n", "--count", help="How many samples.")]
SWEEP = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY=V,V,...",
        help="The samples of each value side by side, with --out FILE.html as a page; several keys, every pair.",
    ),
]
LENGTH = Annotated[
    int | None,
    typer.Option(help="How many new elements; unless given the training window, or twice that where an end comes."),
]


@dataclass(frozen=True)
class Output:
    """The options that say where samples go."""

    out: Annotated[
        str | None,
        typer.Option(
            metavar="DIR|FILE", help="A folder for one file a sample; or one file, such as made.txt or made.csv."
        ),
    ] = None
    force: FORCE = False
    as_json: JSON = False

    def file(self) -> OutputFile | None:
        """The file that --out names."""
        return None if self.out is None else OutputFile.at(self.out, force=self.force)

    def folder(self, count: int, codec: Codec) -> OutputFolder | None:
        """The folder that --out names, for a file a sample; ConfigError where it is rather the name of one file."""
        if self.out is not None and not Path(self.out).is_dir() and self.out.endswith(codec.suffixes or ("\0",)):
            others = [suffix for suffix in codec.suffixes if codec.holds(suffix, count)]
            hint = f", or a file that holds all of them: {listed(others, 'or')}" * bool(others)
            raise ConfigError(
                f"one file of this name does not hold {count} samples", path="--out", hint=f"name a folder{hint}"
            )
        return None if self.out is None else numbered_files(self.out, count, codec, self.force)

    def names_a_file(self, count: int, codec: Codec) -> bool:
        """Whether --out names one file for so many samples: by its suffix, where such a file can hold them."""
        return self.out is not None and not Path(self.out).is_dir() and codec.holds(self.out, count)


@verb
def sample(
    session: Session,
    words: Annotated[list[str] | None, typer.Argument(metavar="RUN [key=value]...")] = None,
    n: COUNT = 1,
    length: LENGTH = None,
    *,
    limits: Limits,
    others: Asked,
    ranked: Ranked,
    seed: SEED = None,
    output: Output,
    frames: Annotated[
        str | None, typer.Option(metavar="DIR", help="A folder for the states of a diffusion on its way.")
    ] = None,
    sweep: SWEEP = None,
) -> None:
    """Make samples from nothing.

    Settings are sampler.KEY=VALUE (sampler.temperature=0.8), sampler=NAME and given.NAME=VALUE|@FILE.
    """
    (run,), settings = sort_words(words or [], "sample RUN", KEYS)
    positive(length, "--length")
    changes = changes_of(sweep or [], frames is not None)
    model = others.opened(run, session)
    ranking = ranked.opened(model, n, others.weights, session)
    canvases = model.empty(length, conditions_of(settings, model.given))
    if changes:
        number = seed_of(seed)
        several = [annotated(model, canvases, n, number, [*settings, *lay], limits) for lay in changes]
        write_sweep(model, changes, several, ranking, session, output)
        return
    asked = annotated(model, canvases, n, seed, settings, limits)
    if frames is None:
        _write_samples(model, asked, session, output, ranking)
        return
    from seqloom.cli.trajectory import Trajectory

    trajectory = Trajectory.of(model, asked.query, frames, output.force)
    _write_samples(model, asked, session, output, ranking, trajectory.watched)
    session.note(f"the states of the first sample: {trajectory.write()}")


@verb
def extend(
    session: Session,
    words: Annotated[
        list[str] | None, typer.Argument(metavar="RUN PREFIX|@FILE|- [key=value]...", show_default=False)
    ] = None,
    n: COUNT = 1,
    length: LENGTH = None,
    *,
    limits: Limits,
    others: Asked,
    ranked: Ranked,
    seed: SEED = None,
    output: Output,
) -> None:
    """Go on from a beginning.

    PREFIX is a text, @FILE or - for standard input; @@ begins a literal @, and -- comes before a literal dash.
    """
    (run, prefix), settings = sort_words(words or [], "extend RUN PREFIX|@FILE|-", KEYS)
    positive(length, "--length")
    prefix = meant(prefix, run)
    model = others.opened(run, session)
    ranking = ranked.opened(model, n, others.weights, session)
    value, steps = value_of(prefix, model.codec), length or model.room
    given = model.given.ahead(value, steps, None, conditions_of(settings, model.given))
    asked = annotated(model, model.canvas(value, steps), n, seed, settings, limits, given)
    _write_samples(model, asked, session, output, ranking)


@verb
def infill(
    session: Session,
    words: Annotated[
        list[str] | None, typer.Argument(metavar="RUN TEMPLATE|@FILE|- [key=value]...", show_default=False)
    ] = None,
    n: Annotated[int | None, typer.Option("-n", "--count", help="How many samples.")] = None,
    gap: Annotated[int | None, typer.Option(help="Make each gap so many elements.")] = None,
    blank: Annotated[str | None, typer.Option(help="How a gap is written, instead of underscores.")] = None,
    quantiles: Annotated[str | None, typer.Option(help="Of numbers: how sure each is, as 0.05,0.5,0.95.")] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave series as they are whose gaps cannot be filled, and count them.")
    ] = False,
    *,
    others: Asked,
    ranked: Ranked,
    seed: SEED = None,
    output: Output,
) -> None:
    """Fill the gaps of a template, or of every series in a table.

    In a text a gap is a run of three or more underscores, one for each unknown element; in a table it is an empty cell.
    With --quantiles the rows with gaps are printed with mean and quantiles over -n ways to fill them, 100 unless given.
    """
    (run, template), settings = sort_words(words or [], "infill RUN TEMPLATE|@FILE|-", KEYS)
    positive(gap, "--gap")
    positive(n, "-n")
    template = meant(template, run)
    model = others.opened(run, session)
    ranking = ranked.opened(model, n or 1, others.weights, session)
    values = several_of(template, model.codec) if template.startswith("@") and not template.startswith("@@") else []
    if ranking is not None and (len(values) > 1 or quantiles is not None):
        raise ConfigError("one template's samples can be ranked", path=ranked.option, hint="leave it out")
    if len(values) > 1:
        levels = None if quantiles is None else levels_of(quantiles)
        _infill_several(session, model, values, n, levels, seed, settings, output, skip_bad)
        return
    value = values[0] if values else value_of(template, model.codec)
    canvas, given = model.canvas(value, None, gap, blank), _beside(model, value, settings)
    if quantiles is not None:
        intervals = annotated(model, canvas, n or PATHS, seed, settings, given=given)
        _write_intervals(session, model, intervals, levels_of(quantiles), output)
        return
    asked = annotated(model, canvas, n or 1, seed, settings, given=given)
    _write_samples(model, asked, session, output, ranking)


def _beside(model: Model, value: Any, settings: Sequence[str]) -> dict[str, Any]:
    """The conditions of a value: those of the settings, and those that stand beside it in its file."""
    return model.given.ahead(value, 0, None, conditions_of(settings, model.given))


def _infill_several(
    session: Session,
    model: Model,
    values: Sequence[Any],
    n: int | None,
    levels: Sequence[float] | None,
    seed: int | None,
    settings: Sequence[str],
    output: Output,
    skip_bad: bool,
) -> None:
    """Fill the gaps of several series, and write all of them as their file has them."""
    import numpy as np

    codec, number = model.codec, n or (1 if levels is None else PATHS)
    gaps = [i for i, value in enumerate(values) if (cells := codec.numbers(value)) is None or np.isnan(cells).any()]
    if not gaps:
        raise DataError("there is no gap to fill: every cell of the table has a value", hint="empty some cells")
    file = output.file() if levels is not None or output.names_a_file(number, codec) else None
    folder = output.folder(number, codec) if file is None else None

    def query(value: Any) -> AnnotatedQuery:
        return annotated(model, model.canvas(value), number, seed, settings, given=_beside(model, value, settings))

    places = each_asked([values[i] for i in gaps], query, codec.called, skip_bad, session)
    asked = [one for _, one in places]
    answers = dict(zip([gaps[k] for k, _ in places], collected_several(model, asked, session), strict=True))
    if levels is not None:
        data, contents = _intervals(codec, list(answers.values()), levels, file)
    else:
        contents = [{"samples": [codec.as_json(value) for value in answer.values]} for answer in answers.values()]
        made = [
            tuple(answers[i].values[k] if i in answers else value for i, value in enumerate(values))
            for k in range(number)
        ]
        if file is not None:
            made = [tuple(codec.in_file(value, file.path.name) for value in own) for own in made]
        data = codec.together(made[0]) if number == 1 else codec.show_several(made, "sample")
        if folder is not None:
            write_files(folder, made, codec, session)
    if file is not None:
        session.wrote(file, codec.as_file(data, file.path.name))
    if output.as_json:
        each = [{"name": codec.called(values[i]), **own} for i, own in zip(answers, contents, strict=True)]
        put_json({"seed": asked[0].query.seed, "series": each})
    elif output.out is None:
        put(data)


def _write_intervals(
    session: Session,
    model: Model,
    asked: AnnotatedQuery,
    quantiles: Sequence[float],
    output: Output,
) -> None:
    """What was filled, as mean and quantiles of each row that had a gap."""
    codec = model.codec
    check_numbers(codec, "extend goes on from a beginning, and infill without --quantiles fills gaps")
    file = output.file()
    data, contents = _intervals(codec, [collected(model, asked, session)], quantiles, file)
    if file is not None:
        session.wrote(file, codec.as_file(data, file.path.name))
    if output.as_json:
        put_json({"seed": asked.query.seed, **contents[0]})
    elif file is None:
        put(data)


def _intervals(
    codec: Codec, answers: Sequence[Answer], levels: Sequence[float], file: OutputFile | None
) -> tuple[bytes, list[dict[str, Any]]]:
    """Mean and quantiles of the rows of each series that had a gap, as data for the file, and as JSON has them."""
    statistics = [answer.statistics(levels) for answer in answers]
    likes = [codec.join([codec.cut(answer.values[0], t, t + 1) for t in answer.new.tolist()]) for answer in answers]
    likes = likes if file is None else [codec.in_file(like, file.path.name) for like in likes]
    contents = [
        {"elements": [answer.elements[t] for t in answer.new], "summary": by_column(answer, own)}
        for answer, own in zip(answers, statistics, strict=True)
    ]
    return codec.summaries(likes, statistics), contents


def by_column(answer: Answer, statistics: Mapping[str, Any]) -> dict[str, dict[str, list[float]]]:
    """Statistics (T,D) as JSON has them: by column, then by name."""
    return {
        column: {name: array[:, d].tolist() for name, array in statistics.items()}
        for d, column in enumerate(answer.columns)
    }


def check_numbers(codec: Codec, hint: str) -> None:
    """UnsupportedQuery where what a model makes has no means and quantiles."""
    if not codec.numeric:
        raise UnsupportedQuery(
            f"a forecast has means and quantiles, which what this run makes (codec={codec.name}) has not", hint=hint
        )


def levels_of(text: str) -> tuple[float, ...]:
    """The quantiles that an option names, such as `0.05,0.5,0.95`; ConfigError where it names none."""
    try:
        levels = tuple(float(word) for word in text.split(","))
    except ValueError:
        levels = ()
    if not levels or not all(0 <= level <= 1 for level in levels):
        raise ConfigError(f"{text!r} are no quantiles", path="--quantiles", hint="numbers from 0 to 1: 0.05,0.5,0.95")
    return levels


# ---- answers --------------------------------------------------------------------------------------------------------


def _write_samples(
    model: Model,
    annotated: AnnotatedQuery,
    session: Session,
    output: Output,
    ranking: Ranking | None = None,
    watch: Callable[[Iterator[Frame]], Iterator[Frame]] = iter,
) -> None:
    """The samples of a query: printed as they are made, as JSON, or as files; `watch` wraps the iterator of frames."""
    codec, count = model.codec, annotated.query.count if ranking is None else ranking.kept(annotated.query.count)
    file = output.file() if output.names_a_file(count, codec) else None
    folder = None if file is not None else output.folder(count, codec)
    began = time.monotonic()
    at_once = ranking is None and not output.as_json and output.out is None
    if at_once and codec.progressive and not annotated.query.others:
        _print_growing(model, annotated.query, watch(annotated.frames(model, session)), session)
        return
    answer = collected(model, annotated, session, watch)
    likelihoods: list[Score] = []
    if ranking is not None:
        answer, likelihoods = ranking.applied(answer, annotated.given, session)
    seconds = time.monotonic() - began
    if folder is not None:
        write_files(folder, [(value,) for value in answer.values], codec, session)
    if file is not None:
        shown = _shown(model, [codec.in_file(value, file.path.name) for value in answer.values])
        session.wrote(file, codec.as_file(shown, file.path.name), f"{count} samples" if count > 1 else "")
    if output.as_json:
        put_json({"samples": samples_of(model, answer, likelihoods), "seconds": round(seconds, 3)})
    elif output.out is None:
        put(_shown(model, answer.values))


def _shown(model: Model, values: Sequence[Any]) -> bytes:
    """Samples as they are printed, or stand in one file."""
    codec = model.codec
    if len(values) == 1:
        return codec.show(values[0])
    if _of_lines(model):
        return b"".join(codec.show(value).removesuffix(b"\n") + b"\n" for value in values)
    return codec.show_several(values, "sample")


def _of_lines(model: Model) -> bool:
    """Whether what a model makes is a line each, as in a list: then several stand under each other."""
    return model.codec.one_line or (model.run is not None and model.run.recipe.corpus.of_lines)


def _print_growing(model: Model, query: Query, frames: Iterator[Frame], session: Session) -> None:
    """Print each sample as far as it is settled, in whole characters; one row after another."""
    latest: dict[int, Frame] = {}
    row, begun, printed, printed_at = query.first_row, False, 0, 0.0
    for frame in frames:
        latest[frame.row] = frame
        while (current := latest.get(row)) is not None:
            now = time.monotonic()
            if not current.done and now - printed_at < EVERY:
                break
            if not begun and query.count > 1 and not session.quiet:
                say(f"sample {row - query.first_row + 1} of {query.count}:")
            begun, printed_at = True, now
            made = model.codec.show(model.decode(current, query))
            made = made if current.done else whole_characters(made)
            put(made[printed:])
            printed = len(made)
            if not current.done:
                break
            put(_after(made, query.count, together=_of_lines(model) and not sys.stdout.isatty()))
            del latest[row]
            row, begun, printed = row + 1, False, 0


def _after(text: bytes, count: int, *, together: bool = False) -> bytes:
    """What is printed after a text: an empty line between several, unless together, and a line's end on a terminal."""
    if count == 1 and (text.endswith(b"\n") or not sys.stdout.isatty()):
        return b""
    return (b"" if text.endswith(b"\n") else b"\n") + (b"\n" if count > 1 and not together else b"")


def whole_characters(text: bytes) -> bytes:
    """UTF-8 without a last character that is only begun; bytes that are no UTF-8 are left as they are."""
    for back in range(1, min(4, len(text)) + 1):
        lead = text[-back]
        if lead & 0xC0 == 0x80:  # goes on with a character
            continue
        size = 4 if lead >= 0xF0 else 3 if lead >= 0xE0 else 2 if lead >= 0xC0 else 1
        return text[:-back] if size > back else text
    return text
