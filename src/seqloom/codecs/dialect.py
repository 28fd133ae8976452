"""The dialect of a table: what a person may say of how it is written, where it is not told from the table itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import Field, field_validator

from seqloom.codecs.dates import Calendar
from seqloom.codecs.spelling import plain
from seqloom.core.config import Settings

PREFIX = "codec.dialect"
"""Where these settings stand in a recipe, for hints."""


class Dialect(Settings):
    """How a table is written. What is left open is told from each table, and said in one line."""

    encoding: str = ""
    """The encoding of the text, such as `latin-1` or `cp1252`; empty: UTF-8, or UTF-16 with its mark."""
    delimiter: str = ""
    """What stands between cells; empty: a comma, semicolon, tab, bar or spaces, whichever parts all rows alike."""
    decimal: Literal["", ".", ","] = ""
    """The decimal sign, where the cells leave it open."""
    header: bool | None = None
    """Whether the first row names the columns; None: unless it holds what the rows below it hold."""
    skip: int = Field(default=0, ge=0)
    """Lines before the table."""
    footer: int = Field(default=0, ge=0)
    """Rows at the end that are none of the series, such as sums."""
    comment: str = ""
    """What a line begins with that is left out; empty: `#`, `%` or `//` before the names, and `#` after them."""
    missing: tuple[str, ...] | None = None
    """Cells that stand for no value beside the usual ones (empty, `NA`, `?` ...); None: and `-9999` and the like, where
    it is far below all others. `[]`: the usual ones alone."""
    repeated: Literal["", "number", "first"] = ""
    """Columns of one name: `number` calls them y, y_2 ..., `first` reads the first one; empty: they are refused."""
    date: tuple[str, ...] = ()
    """The column of dates, or those that a date is parted into, in the order of `dates`; empty: told from the cells."""
    dates: str = ""
    """How dates are spelled, as `strftime` has it, such as `%d/%m/%Y` (`%q`: the quarter)."""
    freq: str = ""
    """How far apart the values of series are of which a file of JSON lines says no more than their `start`, as pandas
    writes it: `H`, `D`, `W`, `M`, `15min` ..."""
    zone: str = ""
    """The place whose clock the times are on, such as `Europe/Berlin`; empty: told where hours are there twice."""
    sort: bool = False
    """Sort the rows by date; else dates that go backward are refused, but where all of them do."""
    repeats: Literal["", "first", "last", "mean"] = ""
    """Which of several rows of one date is read; empty: they are refused."""
    even: bool = True
    """A date that is left out among even ones is a row without values; else rows follow each other as they stand."""
    series: tuple[str, ...] | None = None
    """The columns that tell several series apart; None: told from dates that repeat; `[]`: there is one series."""
    wide: bool | None = None
    """Each row is a series, and the columns are its times; None: where the names of the columns are dates or count."""

    @field_validator("missing", "date", "series", mode="before")
    @classmethod
    def _several(cls, value: object) -> object:
        """One word is as good as a list of them, and a number as the word that it is written with."""
        several = [value] if isinstance(value, str | int | float) else value
        return [str(one) for one in several] if isinstance(several, list | tuple) else several

    @field_validator("dates")
    @classmethod
    def _spelled(cls, value: str) -> str:
        return plain(value)


PLAIN = Dialect()


@dataclass(frozen=True)
class Wanted:
    """What is to be read of a table, and what is known of it from the one that a codec was fitted on."""

    dialect: Dialect = PLAIN
    columns: tuple[str, ...] = ()
    """The columns of numbers; none: all but the dates and the words."""
    words: tuple[str, ...] = ()
    """Columns that are kept as they stand."""
    perhaps: tuple[str, ...] = ()
    """Columns that are kept as they stand where the table has them."""
    date: str = ""
    """The column of dates."""
    calendar: Calendar | None = None
    """How dates were written; others are read as well, where these cells are not."""
    decimal: str = ""
    """The decimal sign, where the cells leave it open."""
    series: tuple[str, ...] = ()
    """The columns that tell series apart, where the table has them."""
    numbers: bool = True
    """Whether there must be columns of numbers; else dates and words are all that is read."""
