"""Dates as frames have them, where words are written as ISO 8601 has it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars


def dated(name: str, words: Sequence[str] | polars.Series) -> polars.Series:
    """A column of words as dates or times where all of them are such; else as they are."""
    import polars

    column = polars.Series(name, words, dtype=polars.String)
    known = column.drop_nulls()
    for pattern, kind, spelling in (
        ("", polars.Date, "%Y-%m-%d"),
        ("[ T][0-9]{2}:[0-9]{2}", polars.Datetime, "%Y-%m-%d %H:%M"),
        (r"[ T][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?", polars.Datetime, "%Y-%m-%d %H:%M:%S%.f"),
    ):
        if len(known) and known.str.contains(f"^[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}{pattern}$").all():
            read = column.str.replace("T", " ", literal=True).str.strptime(kind, spelling, strict=False)
            return read if read.null_count() == column.null_count() else column  # there is no 30th of February
    return column
