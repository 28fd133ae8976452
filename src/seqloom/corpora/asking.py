"""What is asked of a model many times: its conditions, one a line of a text or a row of a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from seqloom.codecs.base import Codec
from seqloom.core.content import lines_of
from seqloom.core.errors import ConfigError, DataError
from seqloom.corpora.base import written_in
from seqloom.corpora.tables import header_in_another_encoding, is_table, rows_of

Asked = tuple[int, dict[str, Any] | DataError]
"""A line, and its conditions as values of their codecs, or what is wrong with it."""


def asked_in(path: Path, codecs: Mapping[str, Codec], columns: Mapping[str, str], main: Codec) -> Iterator[Asked]:
    """The conditions of each line of a file, of those that have these codecs.

    A column of a table is called as its condition is, or as the column (`columns`) that it was learned from. What is
    wrong with all of the file is an error. The file is in the encoding of the conditions, or of what `main` reads.
    """
    if not codecs:
        hint = "`seqloom chat RUN` replies to each line of standard input" if main.ends_of_turn else ""
        hint = hint or "`seqloom sample` makes samples, `seqloom extend RUN @FILE` goes on with a text"
        raise ConfigError("the model has no condition to be read from a file", hint=hint)
    if is_table(path):
        yield from _of_table(path, codecs, columns, main)
        return
    if len(codecs) > 1:
        raise ConfigError(
            f"a line has one condition, and the model has {len(codecs)}: {', '.join(codecs)}",
            hint="give a .tsv, .csv or .jsonl with a column of each, or what all have in common as given.NAME=VALUE",
        )
    ((name, codec),) = codecs.items()
    for line, data in enumerate(lines_of(path, written_in([codec, main])), 1):
        text = data.decode("utf-8", "surrogateescape")
        yield line, _values(path, line, {name: text}, codecs)


def _of_table(path: Path, codecs: Mapping[str, Codec], columns: Mapping[str, str], main: Codec) -> Iterator[Asked]:
    rows = rows_of(path, written_in([*codecs.values(), main]))
    before: list[Any] = []
    first = None
    for row in rows:  # the first that can be read says which columns there are
        before.append(row)
        if not isinstance(row, DataError):
            first = row[1]
            break
    known = first or {}
    found = {name: own for name in codecs for own in (name, columns.get(name, "")) if own in known}
    found |= {name: name for name in codecs if name in known}
    if first is not None and not found:
        wanted = " or ".join(dict.fromkeys(own for name in codecs for own in (name, columns.get(name)) if own))
        raise header_in_another_encoding(known, path) or DataError(
            f"none of the columns is a condition of the model: {', '.join(known)}", path=path, hint=f"call it {wanted}"
        )
    for row in chain(before, rows):
        if isinstance(row, DataError):
            yield row.line or 0, row
        else:
            line, cells = row
            yield line, _values(path, line, {name: cells.get(own, "") for name, own in found.items()}, codecs)


def _values(path: Path, line: int, texts: Mapping[str, str], codecs: Mapping[str, Codec]) -> dict[str, Any] | DataError:
    """Conditions as values of their codecs; what is wrong where one is empty or cannot be read."""
    values = {}
    for name, text in texts.items():
        if not text.strip():
            return DataError(f"{name}: nothing is given, the cell or line is empty", path=path, line=line)
        try:
            values[name] = codecs[name].value_of(text)
        except DataError as error:
            return DataError(f"{name}: {error.message}", path=path, line=line, hint=error.hint)
    return values
