"""Tables in JSON: an object a row, an array of such, an object of columns, and series of GluonTS's form."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seqloom.codecs.dialect import PREFIX
from seqloom.core.content import decoded, lines_of_elements, objects_of, raw
from seqloom.core.errors import DataError, bad_document

LINES = (".jsonl", ".ndjson")
DOCUMENT = ".json"
PACKED = ("", ".gz")
SUFFIXES = tuple(f"{suffix}{packed}" for suffix in (*LINES, DOCUMENT) for packed in PACKED)
EXAMPLE = '{"start": "2024-01-01", "target": [1, 2]}'
"""A line of a file of series, for hints."""
HINT = 'write an array of rows, such as [{"date": "2024-01-01", "y": 1.5}], or columns: {"date": [...], "y": [...]}'
STATIC, ALONG, PAST = (
    ("feat_static_cat", "feat_static_real"),
    ("feat_dynamic_cat", "feat_dynamic_real"),
    ("past_feat_dynamic_cat", "past_feat_dynamic_real"),
)
"""What GluonTS has beside a series: of the whole of it, of each time and those ahead, and of each time alone."""
_WAYS = (
    (STATIC, "given.NAME.source=column:COLUMN makes one a condition"),
    (ALONG, "corpus.future=COLUMN,COLUMN reads them beside the rows"),
    (PAST, "corpus.columns=[...] reads columns as series"),
)
"""How each of these is read."""
_READ = {"start", "freq", "target", "item_id", *STATIC, *ALONG, *PAST}

Row = tuple[int, Mapping[str, Any]]
"""The line in which a row begins, and its cells."""


@dataclass
class Records:
    """The rows of a file, and what is said of them."""

    rows: Sequence[Row]
    remarks: list[str] = field(default_factory=list)
    beside: Mapping[str, str] = field(default_factory=dict)
    """Columns that are no series unless it is said, and how each is read."""


def records_of(path: Path, freq: str = "", *, whole: bool = False) -> Records:
    """The rows of a file of JSON.

    `freq` says how far apart the values of series are that only say when they start; of what is known of them ahead of
    time, all is read where the `whole` is asked for, else as much as there are values.
    """
    document = None if _has_lines(path) else _document(path)
    rows: Sequence[Row] = list(objects_of(path, EXAMPLE)) if document is None else _rows_of(*document, path)
    if rows and all("target" in row and isinstance(row["target"], list) for _, row in rows[:1]):
        return _Entries(rows, freq, whole, path).records()
    return Records(rows)


def has_records(path: Path) -> bool:
    """Whether a file of JSON holds a series, or a row with numbers, as far as its beginning shows."""
    row: Mapping[str, Any]
    try:
        document = None if _has_lines(path) else _document(path)
        (_, row), *_ = [next(objects_of(path, ""), (0, {}))] if document is None else _rows_of(*document, path)
    except (DataError, ValueError):  # ValueError: there is none
        return False
    plain = not any(isinstance(cell, list | dict) for cell in row.values()) or _has_lines(path)
    numbers = any(isinstance(cell, int | float) for cell in row.values())
    return isinstance(row.get("target"), list) or (plain and numbers)


def _has_lines(path: Path) -> bool:
    return path.name.lower().removesuffix(".gz").endswith(LINES)


def _document(path: Path) -> tuple[Any, str] | None:
    """What a file of JSON holds as a whole, and its text; None where it has an object a line all the same."""
    text = "".join(decoded(raw(path), path))
    try:
        return json.loads(text), text
    except (ValueError, RecursionError) as error:
        if text.lstrip().startswith("{") and "Extra data" in str(error):
            return None
        raise bad_document(error, HINT, path) from None


def _rows_of(document: Any, text: str, path: Path) -> list[Row]:
    """The rows of a document, which may lie in one of its fields."""
    if isinstance(document, list):
        if not all(isinstance(row, dict) for row in document):
            raise DataError("an element of the array is no object", path=path, hint=HINT)
        return list(zip(lines_of_elements(text), document, strict=True)) if document else []
    fields = document.values() if isinstance(document, dict) else ()
    for thing in (document, *fields):
        found = _columns_of(thing)
        if found is None and isinstance(thing, list) and thing and all(isinstance(row, dict) for row in thing):
            return [(i, row) for i, row in enumerate(thing, 1)]
        if found:
            names = list(found)
            cells = zip(*found.values(), strict=True)
            return [(i, dict(zip(names, row, strict=True))) for i, row in enumerate(cells, 1)]
    raise DataError("the file holds no table", path=path, hint=HINT)


def _columns_of(thing: Any) -> dict[str, list[Any]] | None:
    """The columns of an object that holds lists of them, or pandas's objects by index; None where it is no such one."""
    if not isinstance(thing, dict) or not thing or "target" in thing:
        return None
    if {"columns", "data"} <= thing.keys() and isinstance(thing["data"], list):  # pandas, orient=split
        names, rows = thing["columns"], thing["data"]
        if isinstance(names, list) and all(isinstance(row, list) and len(row) == len(names) for row in rows):
            columns = {str(name): [row[i] for row in rows] for i, name in enumerate(names)}
            return _with_index(thing.get("index", []), columns)
    columns = {str(name): list(column) for name, column in thing.items() if isinstance(column, list)}
    if len(columns) == len(thing) and len({*map(len, columns.values())}) == 1:
        return columns if not any(isinstance(cell, list | dict) for cell in next(iter(columns.values()))) else None
    index = next(iter(thing.values()))
    if not all(isinstance(column, dict) and column.keys() == index.keys() for column in thing.values()) or not index:
        return None
    if any(isinstance(cell, list | dict) for column in thing.values() for cell in list(column.values())[:1]):
        return None
    return _with_index(list(index), {str(name): list(column.values()) for name, column in thing.items()})


def _with_index(index: Sequence[Any], columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Columns after those of an index that does more than count the rows."""
    if not index or [str(one) for one in index] == [str(i) for i in range(len(index))]:
        return columns
    called = next(name for name in ("date", "index", "date_") if name not in columns)
    return {called: list(index), **columns}


class _Entries:
    """Series of GluonTS's form: start, frequency, values, of one channel or several, and what stands beside them."""

    def __init__(self, entries: Sequence[Row], freq: str, whole: bool, path: Path) -> None:
        self.entries, self.freq, self.whole, self.path = entries, freq, whole, path

    def records(self) -> Records:
        rows = [(line, row) for line, entry in self.entries for row in self._rows(line, entry)]
        names = dict.fromkeys(name for _, row in rows for name in row)
        beside = {name: way for features, way in _WAYS for name in names if name.startswith(features)}
        return Records(rows, list(self._remarks()), beside)

    def _rows(self, line: int, entry: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        target = entry.get("target")
        if not isinstance(target, list) or not target:
            raise self._error("'target' is no list of numbers", line, "write one number for each time")
        channels = _numbered("target", target if isinstance(target[0], list) else [target])
        length = len(channels[next(iter(channels))])
        if any(len(channel) != length for channel in channels.values()):
            raise self._error("the channels of 'target' are of several lengths", line, "fill with null")
        static, along = self._static(line, entry), self._along(line, entry, length)
        size = max(map(len, along.values()), default=length) if self.whole else length
        dates = self._dates(line, entry, size)
        name = entry.get("item_id")
        for t in range(size):
            row: dict[str, Any] = {"item_id": str(line if name is None else name)}
            if dates:
                row["date"] = dates[t]
            row |= {name: channel[t] if t < length else None for name, channel in channels.items()}
            yield row | static | {name: column[t] if t < len(column) else None for name, column in along.items()}

    def _static(self, line: int, entry: Mapping[str, Any]) -> dict[str, Any]:
        """What holds for a whole series, by the names of columns."""
        found: dict[str, Any] = {}
        for name in STATIC:
            values = entry.get(name)
            if values is not None and not isinstance(values, list):
                raise self._error(f"{name!r} is no list", line, "write a list with a value for each feature")
            found |= _numbered(name, values or [])
        return found

    def _along(self, line: int, entry: Mapping[str, Any], length: int) -> dict[str, list[Any]]:
        """What stands beside each time, by the names of columns."""
        found: dict[str, list[Any]] = {}
        for name in (*ALONG, *PAST):
            rows = entry.get(name)
            if rows is not None and not (isinstance(rows, list) and all(isinstance(row, list) for row in rows)):
                raise self._error(f"{name!r} is no list of lists", line, "write a list for each feature")
            short = next((len(row) for row in rows or () if len(row) < length), None)
            if short is not None:
                missing = f"{name!r} has {short} values, where 'target' has {length}"
                raise self._error(missing, line, "a feature has a value for each time")
            found |= _numbered(name, rows or [])
        return found

    def _dates(self, line: int, entry: Mapping[str, Any], length: int) -> Sequence[str]:
        """The dates of a series of which it is known when it starts and how often it is measured; else none."""
        start, every = str(entry.get("start") or ""), self.freq or str(entry.get("freq") or "")
        if not start or not every:
            return ()
        from seqloom.codecs.dates import Calendar
        from seqloom.codecs.steps import often

        calendar, _ = Calendar.spelled([start], self.path, [line])
        found = often(every)
        if found is None:
            raise self._error(f"{every!r} is no frequency that is known", line, "such as H, D, W or M")
        return calendar.replace(**found).after(start, length, first=0)

    def _remarks(self) -> Iterator[str]:
        """What is not read of the series, in words."""
        entries = [entry for _, entry in self.entries]
        if not self.freq and any(one.get("start") and not one.get("freq") for one in entries):
            yield (
                "'start' is left out, for no 'freq' says how far apart the values are "
                f"({PREFIX}.freq=H says that it is an hour; D, W, M, 15min ...)"
            )
        if others := dict.fromkeys(key for one in entries for key in one if key not in _READ):
            yield f"{', '.join(map(repr, others))} {'is' if len(others) == 1 else 'are'} left out"

    def _error(self, message: str, line: int, hint: str) -> DataError:
        return DataError(message, path=self.path, line=line, hint=hint)


def _numbered(name: str, values: Sequence[Any]) -> dict[str, Any]:
    """Values under a name, which is numbered where there are several."""
    return {name: values[0]} if len(values) == 1 else {f"{name}_{i}": value for i, value in enumerate(values, 1)}
