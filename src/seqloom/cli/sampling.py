"""The verbs that make something: sample, extend, infill and forecast."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seqloom.cli.session import (
    JSON,
    SEED,
    WEIGHTS,
    Session,
    conditions_of,
    path_of,
    positive,
    put,
    put_json,
    say,
    seed_of,
    sort_words,
    value_of,
    verb,
)
from seqloom.core.errors import ConfigError, DataError, RunError, UnsupportedQuery

if TYPE_CHECKING:
    from seqloom.codecs.table import Table
    from seqloom.model import Answer, Model
    from seqloom.samplers.base import Sampler
    from seqloom.sequence.canvas import Canvas
    from seqloom.sequence.query import Frame, Query

KEYS = ("sampler", "given")
EVERY = 0.05
"""Seconds between two looks at what has been settled while a text is printed."""
PATHS = 100
QUANTILES = tuple(i / 10 for i in range(1, 10))
HISTORY = 4096
"""Rows of a history that a forecast goes on from, at most: no model here remembers longer."""

COUNT = Annotated[int, typer.Option("-n", "--count", help="How many samples.")]
FOLDER = Annotated[str | None, typer.Option("--out", help="A folder for one file a sample.")]
STOP = Annotated[list[str] | None, typer.Option(help="End before this text comes up; may be given several times.")]
ALLOW = Annotated[str | None, typer.Option(help="A regular expression: only characters that match it are drawn.")]
LENGTH = Annotated[int | None, typer.Option(help="How many new elements; the training window unless given.")]


@verb
def sample(
    session: Session,
    words: Annotated[list[str] | None, typer.Argument(metavar="RUN [key=value]...")] = None,
    n: COUNT = 1,
    length: LENGTH = None,
    stop: STOP = None,
    allow: ALLOW = None,
    seed: SEED = None,
    weights: WEIGHTS = "best",
    out: FOLDER = None,
    frames: Annotated[str | None, typer.Option(help="A folder for the states of a diffusion on its way.")] = None,
    as_json: JSON = False,
) -> None:
    """Make samples from nothing.

    Settings are sampler.KEY=VALUE (sampler.temperature=0.8), sampler=NAME and given.NAME=VALUE|@FILE.
    """
    (run,), settings = sort_words(words or [], "sample RUN", KEYS)
    model = opened(run, weights, session)
    positive(length, "--length")
    asked = _asked(model, model.empty(length), n, seed, settings, stop, allow)
    if frames is None:
        _give(model, asked.query, asked.frames(model, session), session, out, as_json)
        return
    from seqloom.cli.trajectory import Trajectory

    trajectory = Trajectory.of(model, asked.query, frames)
    _give(model, asked.query, trajectory.watched(asked.frames(model, session)), session, out, as_json)
    session.note(f"the states of the first sample: {trajectory.write()}")


@verb
def extend(
    session: Session,
    words: Annotated[
        list[str] | None, typer.Argument(metavar="RUN PREFIX|@FILE|- [key=value]...", show_default=False)
    ] = None,
    n: COUNT = 1,
    length: LENGTH = None,
    stop: STOP = None,
    allow: ALLOW = None,
    seed: SEED = None,
    weights: WEIGHTS = "best",
    out: FOLDER = None,
    as_json: JSON = False,
) -> None:
    """Go on from a beginning.

    PREFIX is a text, @FILE or - for standard input; @@ begins a literal @, and -- comes before a literal dash.
    """
    (run, prefix), settings = sort_words(words or [], "extend RUN PREFIX|@FILE|-", KEYS)
    model = opened(run, weights, session)
    positive(length, "--length")
    canvas = model.codec.canvas(value_of(prefix, model.codec), length or model.network.window)
    asked = _asked(model, canvas, n, seed, settings, stop, allow)
    _give(model, asked.query, asked.frames(model, session), session, out, as_json)


@verb
def infill(
    session: Session,
    words: Annotated[
        list[str] | None, typer.Argument(metavar="RUN TEMPLATE|@FILE|- [key=value]...", show_default=False)
    ] = None,
    n: COUNT = 1,
    gap: Annotated[int | None, typer.Option(help="Make each gap so many elements.")] = None,
    blank: Annotated[str | None, typer.Option(help="How a gap is written, instead of underscores.")] = None,
    seed: SEED = None,
    weights: WEIGHTS = "best",
    out: FOLDER = None,
    as_json: JSON = False,
) -> None:
    """Fill the gaps of a template.

    In a text a gap is a run of three or more underscores, one for each unknown element; in a table it is an empty cell.
    """
    (run, template), settings = sort_words(words or [], "infill RUN TEMPLATE|@FILE|-", KEYS)
    positive(gap, "--gap")
    positive(n, "-n")
    model = opened(run, weights, session)
    canvas = model.codec.canvas(value_of(template, model.codec), None, gap, blank)
    asked = _asked(model, canvas, n, seed, settings)
    _give(model, asked.query, asked.frames(model, session), session, out, as_json)


@verb
def forecast(
    session: Session,
    words: Annotated[list[str] | None, typer.Argument(metavar="RUN [FILE] [key=value]...")] = None,
    horizon: Annotated[int | None, typer.Option(help="How many rows to go on for.")] = None,
    out: Annotated[str | None, typer.Option(help="The file to write; with --paths perhaps a folder.")] = None,
    paths: Annotated[int | None, typer.Option("-n", "--paths", help="Write so many joint paths, no quantiles.")] = None,
    seed: SEED = None,
    weights: WEIGHTS = "best",
) -> None:
    """Go on in time from a table, or from the end of the training file.

    Writes the time and, for each column, mean and quantiles over 100 sample paths: NAME_mean, NAME_0.1 ... NAME_0.9.
    """
    plain, settings = sort_words(words or [], "forecast RUN [FILE]", KEYS)
    if horizon is None:
        raise ConfigError("how far to go on is not said", path="--horizon", hint="give a number of rows: --horizon 24")
    positive(horizon, "--horizon")
    positive(paths, "--paths")
    model = opened(plain[0], weights, session)
    if model.codec.unit != "value":
        raise UnsupportedQuery(
            "a forecast goes on in time, and this is a model of text",
            hint=f"go on from a text: seqloom extend {path_of(plain[0])} PREFIX --length {horizon}",
        )
    history = _history(model, plain[1:], session)
    asked = _asked(model, model.codec.canvas(history, horizon), paths or PATHS, seed, settings)
    answer = model.collect(asked.query, _last(asked.frames(model, session)))
    if paths is None:
        _write_or_put(_quantile_table(model, answer, horizon), out, plain[1:])
    elif out is None or Path(out).suffix in {".csv", ".gz"}:
        _write_or_put(_numbered([_tail(model, value, horizon) for value in answer.values], "path"), out, plain[1:])
    else:
        _write_files(out, [_tail(model, value, horizon) for value in answer.values], model.codec.suffixes[0], session)


# ---- questions ------------------------------------------------------------------------------------------------------


def opened(run: str, weights: str, session: Session) -> Model:
    """The model of a run, and on stderr what there is to say of its checkpoint."""
    if weights not in {"best", "last"}:
        raise ConfigError(f"there are no weights called {weights!r}", path="--weights", hint="best or last")
    session.compute()
    from seqloom.model import load

    model = load(path_of(run), weights)  # type: ignore[arg-type]
    for note in model.notes[:-1]:  # the last says which checkpoint it is
        session.note(note)
    session.detail(model.notes[-1])
    return model


def sampler_of(model: Model, settings: Sequence[str]) -> Sampler:
    """The model's sampler with the settings `sampler.KEY=VALUE` laid upon it, or the one that `sampler=NAME` names."""
    from seqloom.core.config import make, merge, parse_pairs
    from seqloom.samplers.base import Sampler

    pairs = parse_pairs(word for word in settings if word.partition("=")[0].partition(".")[0] == "sampler")
    if not pairs:
        return model.sampler
    over = pairs["sampler"]
    if isinstance(over, str):
        over = {"name": over}
    if not isinstance(over, dict):
        raise ConfigError(f"{over!r} is no sampler", path="sampler", hint="`seqloom list sampler` shows them")
    try:
        return make(Sampler, merge({"sampler": model.sampler.plain()}, {"sampler": over})["sampler"])  # type: ignore[type-abstract]
    except ConfigError as error:
        raise error.under("sampler") from None


@dataclass(frozen=True)
class Asked:
    """A query, and what there is to say of it."""

    query: Query
    notes: tuple[str, ...]

    def frames(self, model: Model, session: Session) -> Iterator[Frame]:
        """The frames of the query; the notes are said with the first, once it is clear that it can be answered."""
        for i, frame in enumerate(model.stream(self.query)):
            if i == 0:
                for note in self.notes:
                    session.note(note)
            yield frame


def _asked(
    model: Model,
    canvas: Canvas,
    n: int,
    seed: int | None,
    settings: Sequence[str],
    stop: Sequence[str] | None = None,
    allow: str | None = None,
) -> Asked:
    """The query for a canvas, once what can be wrong with it was looked at."""
    positive(n, "-n")
    sampler, given = sampler_of(model, settings), conditions_of(settings, model.given)
    notes = [
        f"without given.{name}=..., the model makes what it learned for no {name}"
        for name in model.given
        if name not in given
    ]
    if note := past_the_window(model, canvas):
        notes.append(note)
    number = seed_of(seed)
    if seed is None:
        notes.append(f"seed {number}")
    return Asked(model.query(canvas, n, number, sampler, given, stop or (), allow), tuple(notes))


def past_the_window(model: Model, canvas: Canvas) -> str:
    """What happens to a canvas that is longer than what the model was trained on, if it is."""
    import numpy as np

    window, length = model.network.window, len(canvas) - canvas.context
    if length <= window:
        return ""
    told = f"{length} elements are more than the training window of {window}"
    if model.process.incremental and model.network.reach is None:
        return f"{told}: the recurrent state carries on"
    if model.process.incremental:
        return f"{told}: it slides, each new element sees {model.network.reach} at most"
    given = canvas.shown | canvas.absent
    empty = np.flatnonzero(~given if given.ndim == 1 else ~given.all(1))
    if len(empty) and empty[-1] - empty[0] >= window:
        return f"{told}: what is new is made window by window, each seeing the last half before it"
    return f"{told}: only that much is seen around what is new"


# ---- answers --------------------------------------------------------------------------------------------------------


def _give(
    model: Model, query: Query, frames: Iterator[Frame], session: Session, out: str | None, as_json: bool
) -> None:
    """The samples of a query: printed as they are made, as JSON, or as files."""
    folder = _folder(out) if out is not None else None
    began = time.monotonic()
    if as_json or folder is not None or model.codec.unit == "value":
        answer = model.collect(query, _last(frames))
        seconds = time.monotonic() - began
        shown = [model.codec.show(value) for value in answer.values]
        if folder is not None:
            _write_files(str(folder), shown, model.codec.suffixes[0], session)
        if as_json:
            put_json({"samples": _samples(answer), "seconds": round(seconds, 3)})
        elif folder is None:
            put(shown[0] if len(shown) == 1 else _numbered(shown, "sample"))
        return
    _print_texts(model, query, frames, session)


def _last(frames: Iterator[Frame]) -> list[Frame]:
    """The last frame of each row."""
    last = {frame.row: frame for frame in frames}
    return [last[row] for row in sorted(last)]


def _print_texts(model: Model, query: Query, frames: Iterator[Frame], session: Session) -> None:
    """Print each text as far as it is settled, in whole characters; one row after another."""
    latest: dict[int, Frame] = {}
    row, begun, printed, looked = query.first_row, False, 0, 0.0
    for frame in frames:
        latest[frame.row] = frame
        while (here := latest.get(row)) is not None:
            now = time.monotonic()
            if not here.done and now - looked < EVERY:
                break
            if not begun and query.count > 1 and not session.quiet:
                say(f"sample {row - query.first_row + 1} of {query.count}:")
            begun, looked = True, now
            made = model.codec.show(model.decode(here, query.canvas))
            made = made if here.done else whole_characters(made)
            put(made[printed:])
            printed = len(made)
            if not here.done:
                break
            put(_after(made, query.count))
            del latest[row]
            row, begun, printed = row + 1, False, 0


def _after(text: bytes, count: int) -> bytes:
    """What stands after a text: an empty line between several, and the end of a line on a terminal."""
    if count == 1 and (text.endswith(b"\n") or not sys.stdout.isatty()):
        return b""
    return (b"" if text.endswith(b"\n") else b"\n") + (b"\n" if count > 1 else b"")


def whole_characters(text: bytes) -> bytes:
    """UTF-8 without a last character that is only begun; bytes that are no UTF-8 are left as they are."""
    for back in range(1, min(4, len(text)) + 1):
        lead = text[-back]
        if lead & 0xC0 == 0x80:  # goes on with a character
            continue
        size = 4 if lead >= 0xF0 else 3 if lead >= 0xE0 else 2 if lead >= 0xC0 else 1
        return text[:-back] if size > back else text
    return text


def _samples(answer: Answer) -> list[dict[str, Any]]:
    samples = [
        {**_value_fields(value), "seed": answer.seed, "row": row}
        for value, row in zip(answer.values, answer.rows, strict=True)
    ]
    for sample, score in zip(samples, answer.scores, strict=False):  # of a sampler that chooses between rows
        sample["score"] = score
    return samples


def _value_fields(value: Any) -> dict[str, Any]:
    """A value as JSON has it: `text`, or `values` by column."""
    if isinstance(value, str):
        return {"text": value}
    if isinstance(value, bytes):
        return {"text": value.decode("utf-8", "replace")}
    return {"values": {name: value.values[:, i].tolist() for i, name in enumerate(value.columns)}}


def _numbered(tables: Sequence[bytes], name: str) -> bytes:
    """Several tables as one, with a first column that counts them."""
    from seqloom.codecs.table import delimiter_of

    lines: list[str] = []
    for i, table in enumerate(tables):
        header, *rows = table.decode("utf-8", "replace").splitlines()
        mark = delimiter_of(header)
        lines += [f"{name}{mark}{header}"] if i == 0 else []
        lines += [f"{i}{mark}{row}" for row in rows]
    return "".join(f"{line}\n" for line in lines).encode()


def _folder(out: str) -> Path:
    """The folder for one file a sample; made when the samples are."""
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{out} is a file, where a folder is wanted", path="--out", hint="name another")
    return folder


def _write_files(out: str, shown: Sequence[bytes], suffix: str, session: Session) -> None:
    from seqloom.core import durable

    folder = _folder(out)
    _make(folder)
    for i, data in enumerate(shown):
        durable.write_bytes(folder / f"{i:04d}{suffix}", data)
    session.note(f"{len(shown)} files in {folder}: {0:04d}{suffix} to {len(shown) - 1:04d}{suffix}")


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{folder} cannot be made: {error.strerror}", hint="name another folder") from None


def _write_or_put(data: bytes, out: str | None, inputs: Sequence[str]) -> None:
    """A table into a file, or onto stdout."""
    if out is None:
        put(data)
        return
    from seqloom.core import durable

    path = Path(out)
    if path.is_dir():
        raise ConfigError(f"{out} is a folder, where a file is wanted", path="--out", hint=f"{path / 'forecast.csv'}")
    if any(Path(path_of(word).removeprefix("@")).resolve() == path.resolve() for word in inputs):
        raise ConfigError(f"{out} is what the forecast goes on from", path="--out", hint="write another file")
    _make(path.parent)
    durable.write_bytes(path, data)


# ---- forecasts ------------------------------------------------------------------------------------------------------


def _history(model: Model, words: Sequence[str], session: Session) -> Table:
    """The table that a forecast goes on from: a file's, or that of the training."""
    assert model.run is not None
    if words:
        word = words[0]
        found: Table = value_of(word if word == "-" or word.startswith("@") else f"@{path_of(word)}", model.codec)
    else:
        corpus = model.run.recipe.corpus
        tables = corpus.full(model.codec)
        if len(tables) != 1:
            raise DataError(
                f"the training data hold {len(tables)} series, so it is not clear which one goes on",
                hint="name the file to go on from: seqloom forecast RUN FILE",
            )
        found = tables[0]
        session.note("going on from the end of the training data")
        if corpus.fingerprints(model.codec) != dict(model.run.fingerprints):
            session.note("the data have changed since the model was trained: it goes on from what they are now")
    if len(found) > HISTORY:
        session.detail(f"the last {HISTORY} of {len(found)} rows are read")
        return found.rows(len(found) - HISTORY, len(found))
    return found


def _tail(model: Model, value: Table, horizon: int) -> bytes:
    """The new rows of a path alone, not as they would stand in the history's file."""
    return model.codec.show(replace(value.rows(len(value) - horizon, len(value)), lines=()))


def _quantile_table(model: Model, answer: Answer, horizon: int) -> bytes:
    """The time, and for each column its mean and quantiles."""
    import numpy as np

    from seqloom.codecs.series import Series
    from seqloom.codecs.table import Table

    codec, like = model.codec, answer.values[0]
    assert isinstance(codec, Series)
    numbers = {"mean": answer.mean, **{f"{q:g}": answer.quantile(q) for q in QUANTILES}}
    columns = tuple(f"{column}_{name}" for column in codec.columns for name in numbers)
    values = np.stack([table[-horizon:] for table in numbers.values()], -1).reshape(horizon, -1)
    # The same codec with these columns, so that each is written with the digits that are worth writing.
    means, scales = (np.repeat(known, len(numbers)).tolist() for known in (codec.means, codec.scales))
    wide = codec.replace(columns=columns, means=means, scales=scales)
    dates = None if like.dates is None else like.dates[-horizon:]
    return wide.show(Table(columns, values, dates, like.date_column))
