"""Tables that are no text: frames of polars and pandas, Arrow tables, dicts, Parquet and JSON lines."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from seqloom.codecs import records
from seqloom.codecs.records import Records
from seqloom.codecs.sheet import Cells, Sheet
from seqloom.core.content import raw
from seqloom.core.dated import dated
from seqloom.core.errors import DataError

if TYPE_CHECKING:
    import polars

PARQUET = (".parquet", ".pq")
ARROW = (".arrow", ".feather")
SUFFIXES = (*PARQUET, *ARROW, *records.SUFFIXES)


def cells_of_file(path: Path, freq: str = "", *, whole: bool = False) -> Cells:
    """The cells of a file that is a frame; for `freq` and `whole` see `records_of`."""
    name = path.name.lower()
    if name.endswith(records.SUFFIXES):
        found = records.records_of(path, freq, whole=whole)
        cells = cells_of(_frame_of(found, path), path)
        lines = [line for line, _ in found.rows]
        return replace(cells, lines=lines, remarks=tuple(found.remarks), beside=found.beside)
    import polars

    data = io.BytesIO(b"".join(raw(path)))
    kind = "Parquet" if name.endswith(PARQUET) else "Arrow"
    try:
        return cells_of(polars.read_parquet(data) if kind == "Parquet" else polars.read_ipc(data), path)
    except (polars.exceptions.PolarsError, OSError) as error:
        message = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"the file is no {kind}: {message}", path=path, hint="write it again") from None


def as_file(text: bytes, name: str) -> bytes:
    """A table written with commas as a file of this name has it: Parquet, Arrow, JSON lines, or the text itself."""
    lower = name.lower()
    if not lower.endswith(SUFFIXES):
        return text
    import polars

    frame, data = polars.read_csv(io.BytesIO(text), infer_schema=False), io.BytesIO()
    frame = frame.select(_typed(column, dates=not lower.endswith(records.SUFFIXES)) for column in frame)
    if lower.endswith(PARQUET):
        frame.write_parquet(data)
    elif lower.endswith(ARROW):
        frame.write_ipc(data)
    elif lower.removesuffix(".gz").endswith(records.DOCUMENT):
        frame.write_json(data)
    else:
        frame.write_ndjson(data)
    return data.getvalue()


def _typed(words: polars.Series, *, dates: bool) -> polars.Series:
    """A column of words as numbers, or as dates where a file has a type for them, if that loses nothing."""
    import polars

    whole = words.cast(polars.Int64, strict=False)
    if whole.cast(polars.String).equals(words):  # but not 007
        return whole
    known = words.drop_nulls()
    if known.str.contains(r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$").all():
        return words.cast(polars.Float64)
    if len(known) and known.str.to_lowercase().is_in(["true", "false"]).all():
        return words.str.to_lowercase() == "true"
    return dated(words.name, words) if dates else words


def has_rows(path: Path) -> bool:
    """Whether a file is a frame of columns, or has a series or a row with numbers in its first line."""
    return not path.name.lower().endswith(records.SUFFIXES) or records.has_records(path)


def frame_of(thing: Any) -> polars.DataFrame | None:
    """A frame of what a Python program has: a frame of polars or pandas, an Arrow table or a dict of columns."""
    import polars

    if isinstance(thing, polars.LazyFrame):
        return thing.collect()
    if isinstance(thing, polars.DataFrame):
        return thing
    if hasattr(thing, "to_frame") and hasattr(thing, "index") and not hasattr(thing, "columns"):  # a series of pandas
        thing = thing.to_frame()
    if hasattr(thing, "columns") and hasattr(thing, "index") and hasattr(thing, "__getitem__"):  # of pandas
        if getattr(thing.index, "nlevels", 1) > 1:  # of several series, say: each level is a column
            thing = thing.reset_index()
        columns = {str(name): list(thing[name]) for name in thing.columns}
        index = list(thing.index)
        if index != list(range(len(index))):
            called = next(name for name in (str(thing.index.name or "date"), "index", "date_") if name not in columns)
            columns = {called: index, **columns}
        thing = columns
    elif hasattr(thing, "__arrow_c_stream__"):
        return polars.DataFrame(thing)
    if not isinstance(thing, Mapping):
        return None
    columns = {str(name): list(column) for name, column in thing.items()}
    if len({len(column) for column in columns.values()}) > 1:
        raise DataError("the columns of a series are of one length", hint="give lists that are equally long")
    return polars.DataFrame({name: [_cell(cell) for cell in column] for name, column in columns.items()})


def numbers_of(array: Any, columns: Sequence[str]) -> NDArray[np.float64]:
    """An array (T,D) of these columns, or (T,) of the only one, as numbers; DataError where it is no such one."""
    if not np.size(array):
        raise DataError("the array is empty", hint="a series needs a row for each time")
    try:
        if np.iscomplexobj(array):
            raise TypeError("it holds complex numbers")
        values = np.asarray(array, np.float64)
    except (ValueError, TypeError) as error:
        raise DataError(f"the array is no table of numbers: {error}", hint="leave unknown cells nan") from None
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2 or values.shape[1] != len(columns):
        raise DataError(
            f"an array of shape {np.shape(array)} is no series of {len(columns)} columns",
            hint=f"one row a time, one column each for {', '.join(columns)}",
        )
    return values


def parquet_of(thing: Any) -> bytes | None:
    """What a Python program has as a Parquet file holds it; None where it is no frame."""
    import polars

    frame = frame_of(thing)
    if frame is None:
        return None
    cells_of(frame)  # says which of its columns no table can have
    data = io.BytesIO()
    try:
        frame.write_parquet(data)
    except (polars.exceptions.PolarsError, OSError) as error:
        raise DataError(f"the frame cannot be kept: {error}", hint="write a file, and name it") from None
    return data.getvalue()


def cells_of(frame: polars.DataFrame, path: Path | str = "") -> Cells:
    """The cells of a frame, as a table that is a text has them."""
    if not frame.height or not frame.width:
        raise DataError("the table is empty", path=path, hint="a series needs columns and rows")
    columns = {name: _strings(frame[name], path) for name in frame.columns}
    sheet = Sheet("", (("", ""),) * frame.height, tuple(frame.columns), made=True)
    return Cells(sheet, columns, range(1, frame.height + 1))


def _strings(column: polars.Series, path: Path | str) -> polars.Series:
    """A column as words: numbers in full, moments as ISO 8601 has them, nothing where there is none."""
    import polars

    kind = column.dtype
    if isinstance(kind, polars.List | polars.Array | polars.Struct | polars.Binary | polars.Object):
        raise DataError(
            f"column {column.name!r} holds {kind} in its cells", path=path, hint="a cell is one number, date or word"
        )
    if isinstance(kind, polars.Datetime):
        local = column.dt.replace_time_zone(None) if kind.time_zone else column
        text = local.dt.strftime("%Y-%m-%d %H:%M:%S" if _even_seconds(column) else "%Y-%m-%d %H:%M:%S%.6f")
        if kind.time_zone:
            text = text + column.dt.strftime("%:z")
        column = text
    elif isinstance(kind, polars.Duration):
        column = column.dt.total_microseconds() / 1e6
    return column.cast(polars.String, strict=False).fill_null("").str.strip_chars()


def _even_seconds(column: polars.Series) -> bool:
    return bool((column.drop_nulls().dt.microsecond() == 0).all())


def _cell(cell: Any) -> str:
    """A value of Python as a word."""
    if cell is None or type(cell).__name__ == "NAType" or cell != cell:  # pandas.NA is neither equal nor unequal
        return ""
    if isinstance(cell, datetime):
        text = cell.isoformat(" ")
        return text
    if isinstance(cell, date):
        return cell.isoformat()
    if hasattr(cell, "item"):  # a number of numpy
        cell = cell.item()
    return repr(cell) if isinstance(cell, float) else str(cell)


def _frame_of(found: Records, path: Path) -> polars.DataFrame:
    """The rows of a file of JSON as a frame of words."""
    import polars

    rows = found.rows
    names = list(dict.fromkeys(name for _, row in rows for name in row))
    columns = {name: [_cell(_plain(row.get(name), name, n, path)) for n, row in rows] for name in names}
    return polars.DataFrame(columns)


def _plain(cell: Any, name: str, line: int, path: Path) -> Any:
    if isinstance(cell, list | dict):
        raise DataError(
            f"{name!r} holds {type(cell).__name__}s", path=path, line=line, hint="a cell is one number, date or word"
        )
    return cell
