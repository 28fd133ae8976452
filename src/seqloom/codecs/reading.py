"""Tables in files and texts: read once, and kept while splitting, fitting and encoding ask for them in turn."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from seqloom.codecs import frames
from seqloom.codecs.dialect import PREFIX, Dialect, Wanted
from seqloom.codecs.layout import tables_in
from seqloom.codecs.numerals import is_missing, looks_like_number
from seqloom.codecs.sheet import read_cells
from seqloom.codecs.table import Table
from seqloom.core.content import decoded, raw
from seqloom.core.errors import ConfigError, DataError

PROBED = 1 << 16
"""Bytes at the beginning of a file by which it is told whether it is a table of numbers."""


def read_table(path: Path, wanted: Wanted | None = None) -> Table:
    """The one series in a file; DataError where it holds several, or cannot be read."""
    tables = read_tables(path, wanted)
    if len(tables) > 1:
        raise DataError(
            f"the file holds {len(tables):,} series, where one is wanted", path=path, hint="give one of them as a file"
        )
    return next(iter(tables.values()))


def read_tables(path: Path, wanted: Wanted | None = None) -> Mapping[str, Table]:
    """The series in a file by their names. The last file is kept, as splitting, fitting and encoding ask in turn."""
    try:
        state = path.stat()
    except OSError:
        b"".join(raw(path))  # says what is wrong with it
        raise
    return _read(path, (state.st_mtime_ns, state.st_size, state.st_ino), wanted or Wanted())


@lru_cache(maxsize=2)
def _read(path: Path, state: tuple[int, int, int], wanted: Wanted) -> Mapping[str, Table]:
    if path.name.lower().endswith(frames.SUFFIXES):
        cells = frames.cells_of_file(path, wanted.dialect.freq, whole=not wanted.numbers)
        return tables_in(cells, path, wanted)
    return tables_of(text_of(path, wanted.dialect), path, wanted)


def text_of(path: Path, dialect: Dialect) -> str:
    """The text of a file."""
    data = b"".join(raw(path))
    encoding = dialect.encoding or ("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "")
    if encoding:
        try:
            return data.decode(encoding)
        except LookupError:
            raise ConfigError(
                f"there is no encoding {encoding!r}", path=f"{PREFIX}.encoding", hint="such as latin-1 or cp1252"
            ) from None
        except UnicodeDecodeError as error:
            raise DataError(
                f"the text is not {encoding}: {error.reason} at offset {error.start}", path=path, hint="try another"
            ) from None
    try:
        return "".join(decoded([data], path, mend=False))
    except DataError as error:
        windows = any(0x80 <= byte < 0xA0 for byte in data)  # where Latin-1 has no signs
        likely, other = ("cp1252", "latin-1") if windows else ("latin-1", "cp1252")
        hint = f"{PREFIX}.encoding={likely} reads it, if that is what it is (or {other}, utf-16)"
        raise DataError(error.message, path=path, hint=hint) from None


def line_of(path: Path, column: str, cell: str, dialect: Dialect) -> int | None:
    """The first line of a file that has this cell in a column; None where none has."""
    if path.name.lower().endswith(frames.SUFFIXES):
        cells = frames.cells_of_file(path, dialect.freq)
    else:
        cells = read_cells(text_of(path, dialect), dialect, path)
    found = cells.columns[column].index_of(cell) if column in cells.columns else None
    return None if found is None else cells.lines[found]


def has_numbers(path: Path, dialect: Dialect) -> bool:
    """Whether a file is a table with a column of numbers, as far as its beginning shows."""
    if path.name.lower().endswith(frames.SUFFIXES):
        return frames.has_rows(path)
    try:
        beginning = next(raw(path), b"")[:PROBED].decode(dialect.encoding or "utf-8", "replace")
        cells = read_cells(beginning.rpartition("\n")[0] or beginning, dialect, path)
    except (DataError, LookupError):
        return False
    known = [[cell for cell in column.to_list() if not is_missing(cell)] for column in cells.columns.values()]
    return any(column and all(map(looks_like_number, column)) for column in known)


def table_of(text: str, path: Path | str = "", wanted: Wanted | None = None) -> Table:
    """The one series in a text."""
    tables = tables_of(text, path, wanted)
    if len(tables) > 1:
        raise DataError(
            f"the table holds {len(tables):,} series, where one is wanted", path=path, hint="give one of them"
        )
    return next(iter(tables.values()))


def tables_of(text: str, path: Path | str = "", wanted: Wanted | None = None) -> Mapping[str, Table]:
    """The series in a text by their names; one alone has none."""
    wanted = wanted or Wanted()
    try:
        cells = read_cells(text, wanted.dialect, path)
    except DataError:
        first = text[:PROBED].partition("\n")[0]
        for name in wanted.columns[:1]:
            # What is wrong with the rest is of no interest where a name that is asked for is missing.
            if first.strip() and not all(other in first for other in wanted.columns):
                raise DataError(
                    f"there is no column {name!r}: this is no table with that column",
                    path=path,
                    line=1,
                    hint="give a table with the columns that are wanted",
                ) from None
        raise
    return tables_in(cells, path, wanted)
