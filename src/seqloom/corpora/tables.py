"""The rows of tables of texts: TSV, CSV, JSON and Parquet, one after another."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from seqloom.core.content import UTF8, cell_of, decoded, lines_of, lines_of_elements, raw, tried_objects, unpacked_name
from seqloom.core.errors import DataError, bad_document, bad_line

DELIMITERS = {".tsv": "\t", ".csv": ","}
SPELLED = (",", ";", "\t", "|")
"""What may stand between the cells of a file that is called .csv: what its first line has most of."""
JSON_LINES, JSON = (".jsonl", ".ndjson"), ".json"
PARQUET = (".parquet", ".pq")
EXAMPLE = '{"en": "a dog", "de": "ein Hund"}'
"""A line of a file of JSON lines."""
TOGETHER = 4096
"""Rows of a Parquet file that are read at once."""

Row = tuple[int, dict[str, str]]
"""The line that a row begins in, or its number where it has no line, and its cells by column."""


def is_table(path: Path, *, named: bool = True) -> bool:
    """Whether a file is one by its name; among those of a folder, none of which was `named`, .json may be anything."""
    kind = _format_of(path)
    return bool(kind) and (named or kind != "array")


def is_number(cell: str) -> bool:
    """Whether a cell is a finite number."""
    try:
        return math.isfinite(float(cell))
    except ValueError:
        return False


def rows_of(path: Path, encoding: str = UTF8) -> Iterator[Row | DataError]:
    """The rows of a table; in place of one that is bad, where others follow, what is wrong with it."""
    kind = _format_of(path)
    if kind == "json":
        return _json_lines(path, encoding)
    if kind == "array":
        return _json_array(path, encoding)
    return _parquet(path) if kind == "parquet" else _delimited(path, kind or "\t", encoding)


def first_of(path: Path) -> dict[str, str] | None:
    """The first row of a file of JSON lines all of whose cells are texts; None where it has none such."""
    try:
        first = next((line for line in lines_of(path) if line.strip()), b"")
        row = json.loads(first)
    except (DataError, ValueError, RecursionError):  # what is wrong is said where it is read
        return None
    return row if isinstance(row, dict) and row and all(isinstance(cell, str) for cell in row.values()) else None


def format_is(path: Path, kind: str) -> bool:
    """Whether a file is `json` lines, `parquet`, or delimited by this sign."""
    return _format_of(path) == kind


def _format_of(path: Path) -> str:
    """`json` (lines), `array`, `parquet`, or what stands between cells; nothing where it is no table by its name."""
    name = unpacked_name(path)
    if name.endswith(JSON_LINES):
        return "json"
    if name.endswith(JSON):
        return "array"
    if name.endswith(PARQUET):
        return "parquet"
    return next((delimiter for suffix, delimiter in DELIMITERS.items() if name.endswith(suffix)), "")


def _json_lines(path: Path, encoding: str) -> Iterator[Row | DataError]:
    for one in tried_objects(path, EXAMPLE, encoding):
        yield one if isinstance(one, DataError) else (one[0], _cells_of(one[1]))


def _json_array(path: Path, encoding: str) -> Iterator[Row | DataError]:
    """The objects of one array; of a file that has an object a line all the same, its lines."""
    hint = f"write an array of objects, such as [{EXAMPLE}]"
    try:
        text = "".join(decoded(raw(path, encoding=encoding), path))
        rows = json.loads(text)
    except (ValueError, RecursionError) as error:
        if text.lstrip().startswith("{") and "Extra data" in str(error):
            yield from _json_lines(path, encoding)
            return
        raise bad_document(error, hint, path) from None
    if not isinstance(rows, list):
        raise DataError("the file holds no array", path=path, hint=hint)
    for line, row in zip(lines_of_elements(text), rows, strict=True):
        if isinstance(row, dict):
            yield line, _cells_of(row)
        else:
            yield DataError("the element of the array is no object", path=path, line=line, hint=hint)


def _cells_of(row: Mapping[str, Any]) -> dict[str, str]:
    """The values of an object, or of a row of a frame, as texts."""
    return {name: cell_of(value) for name, value in row.items()}


def _parquet(path: Path) -> Iterator[Row | DataError]:
    import polars

    try:
        frame = polars.scan_parquet(path)
        for begin in range(0, frame.select(polars.len()).collect().item(), TOGETHER):
            rows = frame.slice(begin, TOGETHER).collect().iter_rows(named=True)
            for number, row in enumerate(rows, begin + 1):
                yield number, _cells_of(row)
    except (polars.exceptions.PolarsError, OSError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"the file is no Parquet that can be read: {reason}", path=path) from None


def _delimited(path: Path, delimiter: str, encoding: str) -> Iterator[Row | DataError]:
    header: list[str] = []
    for line, cells in _cells(path, delimiter, encoding):
        if not header:
            header = cells
            twice = next((name for i, name in enumerate(header) if name in header[:i]), None)
            if twice is not None:
                message = f"two columns are called {twice!r}"
                raise DataError(message, path=path, line=line, hint="the first line names the columns")
        elif len(cells) != len(header):
            rule = (
                "no cell of a TSV file holds a tab"
                if delimiter == "\t"
                else "quote cells that hold what stands between"
            )
            yield DataError(
                f"the line has {len(cells)} cells where the header has {len(header)}",
                path=path,
                line=line,
                hint=f"every row needs a cell for each column; {rule}",
            )
        else:
            yield line, dict(zip(header, cells, strict=True))


def _cells(path: Path, delimiter: str, encoding: str) -> Iterator[tuple[int, list[str]]]:
    """The cells of each line: of TSV as they stand, of CSV without quotes, blank lines passed over."""
    texts = (line.decode("utf-8", "surrogateescape") for line in lines_of(path, encoding))
    if delimiter == "\t":
        yield from ((line, text.split("\t")) for line, text in enumerate(texts, 1) if text)
        return
    first = next(texts, "")
    heads = re.sub(r'"[^"]*"', "", first)
    delimiter = max(SPELLED, key=heads.count)
    reader = csv.reader((f"{text}\n" for text in chain([first], texts)), strict=True, delimiter=delimiter)
    begin = 1
    try:
        for cells in reader:
            begin = reader.line_num + 1
            if cells:
                yield reader.line_num, cells
    except csv.Error as error:
        # a quote that is never closed takes all lines after it: what is to be mended is where the row begins
        raise DataError(f"the row is no CSV: {error}", path=path, line=begin, hint="mend its quotes") from None


def header_in_another_encoding(names: Iterable[str], path: Path) -> DataError | None:
    """The error of a table none of whose wanted columns was found because its header is not UTF-8."""
    data = "".join(names).encode("utf-8", "surrogateescape")
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return bad_line(error, "", path=path, line=1)
    return None
