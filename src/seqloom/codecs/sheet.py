"""A table as its file has it: lines, delimiter, names and raw cells, so that one can be filled to the byte."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from seqloom.codecs.dialect import PREFIX, Dialect
from seqloom.codecs.numerals import is_missing, looks_like_number
from seqloom.codecs.spelling import is_date
from seqloom.codecs.written import DELIMITERS, SPACES, quoted
from seqloom.core.content import BOM
from seqloom.core.errors import DataError

if TYPE_CHECKING:
    import polars

SAMPLE = 200
"""Lines at the beginning, and a quarter as many at the end, by which a delimiter is told."""
COMMENTS = ("#", "%", "//")
SUMS = re.compile(r"(grand |sub)?(total|sum|summe|gesamt|average|mean|avg|mittel(wert)?|count)s?:?", re.IGNORECASE)
"""What stands before a sum at the end of a table."""
EACH = "every row needs a cell for each column; an empty one is a missing value"
"""What is said where a line has other cells than the header."""
_QUOTED = re.compile(r'\s*"((?:[^"]|"")*)"\s*')

Row = tuple[str, str]
"""The cells of a row as its line has them, and what follows up to the next row: the line's end, comments."""


@dataclass(frozen=True)
class Sheet:
    """The lines of a table, in the order of its rows; those that a table made for itself are empty."""

    head: str
    """All that stands before the first row."""
    rows: tuple[Row, ...]
    names: tuple[str, ...]
    """What each column is called, in the order of the file."""
    delimiter: str = ","
    made: bool = False
    """There is no text: the table comes from a frame."""
    descending: bool = False
    """The last row of the series is the first of the file."""
    gaps: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    """Which rows of a column of numbers hold none."""

    @property
    def end(self) -> str:
        """What ends a line."""
        text = self.head + "".join(follows for _, follows in self.rows[:2])
        return next((end for end in ("\r\n", "\n", "\r") if end in text), "\n")

    def part(self, begin: int, end: int) -> Sheet:
        """The lines of some rows."""
        if begin == 0 and end >= len(self.rows):
            return self
        gaps = {name: gap[begin:end] for name, gap in self.gaps.items()}
        return replace(self, rows=self.rows[begin:end], gaps=gaps)

    @staticmethod
    def joined(parts: Sequence[Sheet]) -> Sheet:
        """The lines of parts that follow each other."""
        first = parts[0]
        gaps = {name: np.concatenate([part.gaps[name] for part in parts]) for name in first.gaps}
        return replace(first, rows=tuple(row for part in parts for row in part.rows), gaps=gaps)

    def changed(self, line: str, cells: Mapping[int, str]) -> str:
        """A line with other cells at these places."""
        if not cells:
            return line
        if self.delimiter == SPACES:
            words = re.split(r"(\s+)", line)
            places = [i for i, word in enumerate(words) if word.strip()]
            for place, cell in cells.items():
                words[places[place]] = cell
            return "".join(words)
        own = split(line, self.delimiter)
        for place, cell in cells.items():
            own[place] = quoted(cell, re.escape(self.delimiter))
        return self.delimiter.join(own)

    def text(self, lines: Sequence[str | None]) -> str:
        """The whole file with these lines as its rows; None: a row that is not written."""
        pairs = list(zip(lines, [*self.rows, *[("", "")] * (len(lines) - len(self.rows))], strict=True))
        written = [self.head]
        for line, (_, follows) in reversed(pairs) if self.descending else pairs:
            if line is None:
                continue
            if written[-1] and not written[-1].endswith(("\n", "\r")):
                written.append(self.end)
            written.append(line + follows if follows else line + self.end)
        if pairs and pairs[-1][1][0] and not pairs[-1][1][1] and not self.descending:
            written[-1] = written[-1].removesuffix(self.end)
        return "".join(written)


@dataclass(frozen=True)
class Cells:
    """The cells of a table by column, stripped and without quotes."""

    sheet: Sheet
    columns: Mapping[str, polars.Series]
    lines: Sequence[int]
    """The line of the file that each row begins in."""
    remarks: tuple[str, ...] = ()
    """What was left out or guessed, in words."""
    beside: Mapping[str, str] = field(default_factory=dict)
    """Columns that are no series unless it is said, and how each is read."""

    @property
    def height(self) -> int:
        """Rows."""
        return len(self.lines)


def read_cells(text: str, dialect: Dialect, path: Path | str = "") -> Cells:
    """The cells of a table in a text; DataError with the line where the rows are not alike."""
    return _Reader(text, dialect, path).cells()


@dataclass(eq=False)
class Line:
    """A line, or several where a cell in quotes goes over their ends."""

    body: str
    end: str
    """Its end, and later what follows it that is no row."""
    line: int


class _Reader:
    """Finds the rows of a table among the lines of a text."""

    def __init__(self, text: str, dialect: Dialect, path: Path | str) -> None:
        self.dialect, self.path = dialect, path
        self.remarks: list[str] = []
        self.records = whole_lines(text, path)
        # Excel is told by a line such as `sep=;` before the table.
        said = re.fullmatch(r"\ufeff?\"?sep=(.)\"?", self.records[0].body.strip()) if self.records else None
        self.first = max(dialect.skip, int(said is not None))
        told = said.group(1) if said else _delimiter([one.body for one in self.records[dialect.skip :]], dialect)
        self.delimiter = dialect.delimiter or told

    def cells(self) -> Cells:
        comments = {id(one) for one in self.records[self.first :] if self._is_comment(one)}
        self.comments = len(comments)
        kept = [
            one for one in self.records[self.first :] if one.body and id(one) not in comments and not one.body.isspace()
        ]
        if not kept:
            raise self._error("the table is empty", "a series needs a header and rows under it")
        self.counts = {id(one): count for one, count in zip(kept, self._counted(kept), strict=True)}
        # Of widths that are as frequent the first one's: a table of two lines has the width of its header.
        self.width = Counter(self.counts.values()).most_common(1)[0][0]
        if self.delimiter == "\t" and self.width > 1:  # a row of tabs alone is one of which nothing is known
            empty = "\t" * (self.width - 1)
            kept = [one for one in self.records[self.first :] if id(one) in self.counts or one.body == empty]
            self.counts = {id(one): self.width for one in kept} | self.counts
        top = self._top(kept)
        names, rows = self._with_levels(*self._header(kept[top:]))
        rows = self._without_units(self._without_names(kept[top], rows))
        rows = self._without_footnotes(self._with_blanks(rows) if self.width == 1 else rows)
        if not rows:
            raise self._error("the table has a header but no rows", "a series needs a header and rows under it")
        self._check(rows, names)
        head = self._attach(rows)
        columns = _columns([row.body for row in rows], self.delimiter, self.width)
        if len(names) < self.width:
            blank = all(not cell for cell in columns[-1].to_list())
            names = [*names, ""] if blank else ["", *names]
        found = self._named(names, columns)
        sheet = Sheet(head, tuple((row.body, row.end) for row in rows), tuple(names), self.delimiter)
        return Cells(sheet, found, [row.line for row in rows], tuple(self.remarks))

    def _is_comment(self, record: Line) -> bool:
        text = record.body
        if text[:1].isalnum() and not self.dialect.comment:  # nearly all of them
            return False
        text = text.lstrip().removeprefix('"')
        return text.startswith(self.dialect.comment or COMMENTS)

    def _counted(self, kept: Sequence[Line]) -> list[int]:
        return [len(self._split(one)) if '"' in one.body else self._plain_count(one.body) for one in kept]

    def _plain_count(self, body: str) -> int:
        return len(body.split()) if self.delimiter == SPACES else body.count(self.delimiter) + 1

    def _split(self, record: Line) -> list[str]:
        return split(record.body, self.delimiter, self.path, record.line)

    def _words(self, record: Line) -> list[str]:
        return [unquoted(cell) for cell in self._split(record)]

    def _top(self, kept: Sequence[Line]) -> int:
        """The first record that is as wide as the table; R leaves the name of the first column out."""
        top = 0
        for top, one in enumerate(kept):
            count = self.counts[id(one)]
            words = [cell for cell in self._words(one) if cell]
            if count == self.width and (len(words) > 1 or self.width < 3):  # a title may have delimiters after it
                break
            nexts = kept[top + 1 : top + 2]
            short = count == self.width - 1 and not any(map(looks_like_number, self._words(one)))
            if short and nexts and any(looks_like_number(cell) or is_date(cell) for cell in self._words(nexts[0])):
                break
        if self.width == 1:
            top = 0
        if top:
            self.remarks.append(f"{_lines(top, ' before the table')} left out")
        return top

    def _header(self, kept: Sequence[Line]) -> tuple[list[str], list[Line]]:
        """The names of the columns, and the records under them."""
        first, rest = self._words(kept[0]), [self._words(one) for one in kept[1:21]]
        given = self.dialect.header
        names = [name.strip() for name in first]
        names[0] = names[0].removeprefix(BOM).strip()
        if given if given is not None else is_header(names, rest):
            if len(names) < self.width and names[0].lower() in DATE_NAMES:
                hint = "a number with a comma needs quotes, or another sign between cells"
                raise self._ragged(self.width, len(names), kept[1], hint)
            self._say_comments()
            return names, list(kept[1:])
        commented = self._commented_header(kept[0])
        self._say_comments(less=bool(commented))
        if commented:
            return commented, list(kept)
        self.remarks.append("the first row holds values: the columns are called column1, column2 ...")
        return [f"column{i}" for i in range(1, self.width + 1)], list(kept)

    def _commented_header(self, first: Line) -> list[str]:
        """The names in the last comment before the first row, where it is as wide."""
        before = self.records[: self.records.index(first)]
        for one in reversed(before if self.dialect.header is not False else []):
            if not self._is_comment(one):
                break
            text = re.sub(r"^[#%/\s]+", "", one.body)
            names = [unquoted(cell) for cell in split(text, self.delimiter)]
            if len(names) != self.width or not all(names):
                break
            if len({*names}) == len(names):  # units are not: they repeat
                return names
        return []

    def _say_comments(self, less: int = 0) -> None:
        if self.comments > less:
            self.remarks.append(f"{_lines(self.comments - less, ' of comment')} left out")

    def _without_names(self, header: Line, rows: list[Line]) -> list[Line]:
        """The rows without the names of the columns, which files that were put together repeat."""
        repeated = [row for row in rows if row.body == header.body and row is not header]
        if not repeated or header in rows:
            return rows
        self.remarks.append(f"{_lines(len(repeated), ' that repeats the names')} left out")
        return [row for row in rows if row.body != header.body]

    def _with_levels(self, names: list[str], rows: list[Line]) -> tuple[list[str], list[Line]]:
        """With the name of the first column, where it has a row of its own: pandas writes that of an index so."""
        for place in range(min(2, len(rows) - 1)):
            first, *others = self._words(rows[place])
            below = [cell for cell in self._words(rows[place + 1])[1:] if not is_missing(cell)]
            if _kind(first) != "word" or is_missing(first) or not others or any(others):
                continue
            above = self._words(rows[0])[1:] if place else []
            if not any(map(looks_like_number, below)) or any(map(looks_like_number, above)):
                continue
            several = len(set(above)) > 1  # a name for each of them, such as the prices of several shares
            level = above if several else [""] * len(names)
            names = [first, *(f"{name} {word}".strip() for name, word in zip(names[1:], level, strict=False))]
            under = "row under the names calls" if place == 0 else "2 rows under the names call"
            also = ", and each column by both of its names" if several else ""
            self.remarks.append(f"the {under} the first column {first!r}{also}")
            return names, rows[place + 1 :]
        return names, rows

    def _without_units(self, rows: list[Line]) -> list[Line]:
        """The rows without one of units under the names: words where the rows below have numbers."""
        if len(rows) < 2:
            return rows
        first, second = self._words(rows[0]), self._words(rows[1])
        numeric = [i for i, cell in enumerate(second) if looks_like_number(cell) and i < len(first)]
        dated = [i for i, cell in enumerate(second) if is_date(cell) and i < len(first)]
        words = [i for i in numeric if not is_missing(first[i]) and not looks_like_number(first[i])]
        plain = all(i in words or is_missing(first[i]) for i in numeric)
        if not words or not plain or any(is_date(first[i]) for i in dated):
            return rows
        below = [self._words(row) for row in rows[1:6]]
        if not all(looks_like_number(row[i]) or is_missing(row[i]) for row in below for i in words if i < len(row)):
            return rows
        self.remarks.append("the row under the names is one of units and is left out")
        return rows[1:]

    def _with_blanks(self, rows: list[Line]) -> list[Line]:
        """Of one column: an empty line between others is a missing value."""
        if not rows:
            return rows
        begin, end = self.records.index(rows[0]), self.records.index(rows[-1])
        return [one for one in self.records[begin : end + 1] if not self._is_comment(one)]

    def _without_footnotes(self, rows: list[Line]) -> list[Line]:
        """The rows without what stands under them: text in one cell, and as many rows as the settings say."""
        end = len(rows) - self.dialect.footer
        begun = end
        while end > 1 and self.width > 1:
            cells = [cell for cell in self._words(rows[end - 1]) if cell]
            if len(cells) > 1 or any(map(_is_value, cells)):
                break
            end -= 1
        if begun > end:
            self.remarks.append(f"{_lines(begun - end, ' under the table')} left out")
        if self.dialect.footer:
            last = "line is" if self.dialect.footer == 1 else f"{self.dialect.footer} lines are"
            self.remarks.append(f"the last {last} left out")
        return rows[:end]

    def _check(self, rows: Sequence[Line], names: Sequence[str]) -> None:
        """Every row has as many cells, and the last is no sum."""
        for row in rows:
            count = self.counts.get(id(row), 1)
            if count != self.width:
                raise self._ragged(count, max(len(names), self.width), row)
        if len(names) < self.width - 1:
            raise self._ragged(self.width, len(names), rows[0])
        word = next((cell for cell in self._words(rows[-1]) if cell), "")
        if self.width > 1 and SUMS.fullmatch(word):
            raise self._error(
                f"the last row begins with {word!r}, as a sum does",
                f"{PREFIX}.footer=1 leaves it out",
                rows[-1].line,
            )

    def _attach(self, rows: Sequence[Line]) -> str:
        """Put what stands between rows and after them behind the row before; return what stands before the first."""
        places = {id(row) for row in rows}
        head, last = "", None
        for one in self.records:
            if id(one) in places:
                last = one
            elif last is None:
                head += one.body + one.end
            else:
                last.end += one.body + one.end
        return head

    def _named(self, names: list[str], columns: Sequence[polars.Series]) -> dict[str, polars.Series]:
        """The columns by name; those without a name and cells are left out, and repeated ones as settings say."""
        found: dict[str, polars.Series] = {}
        for i, (name, column) in enumerate(zip(names, columns, strict=True)):
            if not name and i and not (column != "").any():
                self.remarks.append(f"an empty {'last ' * (i == len(names) - 1)}column is left out")
                continue
            if not name and i:
                name = f"column{i + 1}"
                self.remarks.append(f"a column without a name is called {name!r}")
            if name in found:
                if not self.dialect.repeated:
                    raise self._error(
                        f"two columns are called {name!r}",
                        f"{PREFIX}.repeated=number calls the second {name}_2, {PREFIX}.repeated=first leaves it out; "
                        "or give each a name of its own",
                        1,
                    )
                if self.dialect.repeated == "first":
                    names[i] = ""
                    continue
                name = next(f"{name}_{k}" for k in range(2, len(names) + 2) if f"{name}_{k}" not in names)
            names[i] = name
            found[name] = column
        return found

    def _ragged(self, cells: int, names: int, record: Line, hint: str = EACH) -> DataError:
        return self._error(f"the line has {cells} cells where the header has {names}", hint, record.line)

    def _error(self, message: str, hint: str, line: int | None = None) -> DataError:
        return DataError(message, path=self.path, line=line, hint=hint)


DATE_NAMES = frozenset({
    "date", "time", "timestamp", "datetime", "ds", "date_time", "date time", "dt", "datum", "zeit", "zeitstempel",
    "day", "fecha", "jour", "month", "monat", "week", "woche", "quarter", "quartal", "year", "jahr", "period", "ts",
    "utc", "utc time", "utc timestamp", "utc_timestamp", "cet_cest_timestamp", "local time", "date/time",
    "observation_date",
    "start", "tag", "when", "hour", "minute", "epoch", "unix", "unixtime", "unix timestamp", "time_period", "yearmonth",
})  # fmt: skip
"""Names of a column of dates."""


def is_header(first: Sequence[str], below: Sequence[Sequence[str]]) -> bool:
    """Whether a row names the columns, rather than being one of the values under it."""
    counting = [cell for cell in first if cell]
    if counting and all(re.fullmatch(r"[0-9]+", cell) for cell in counting):
        numbers = [int(cell) for cell in counting]
        named = len(numbers) > 1 and numbers[0] in (0, 1) and numbers == [numbers[0] + k for k in range(len(numbers))]
        return named and (not first[0] or not below or below[0][: len(first)] != [str(n + 1) for n in numbers])
    numbers = [int(cell) for cell in first if re.fullmatch("[0-9]{1,9}", cell)]
    if len(numbers) > 2 and numbers == [numbers[0] + k for k in range(len(numbers))]:
        return True  # years, or other times that are counted
    alike = 0
    for i, cell in enumerate(first[:50]):
        under = [row[i] for row in below if i < len(row) and not is_missing(row[i])]
        if is_missing(cell):
            continue
        kinds = {_kind(one) for one in under}
        kind = _kind(cell)
        if kind == "word" and kinds != {"word"}:
            return True
        if kind == "date" and kinds and "date" not in kinds:
            return True
        alike += kind != "word" and kind in kinds
    return not alike


def _is_value(cell: str) -> bool:
    """Whether the one cell of a row at the end of a table says something of the series, or of their sum."""
    return looks_like_number(cell) or is_date(cell) or bool(SUMS.fullmatch(cell))


def _kind(cell: str) -> str:
    if looks_like_number(cell):
        return "number"
    return "date" if is_date(cell) else "word"


def unquoted(cell: str) -> str:
    """What a raw cell holds, without spaces around it and without quotes."""
    match = _QUOTED.fullmatch(cell)
    return match.group(1).replace('""', '"').strip() if match else cell.strip()


def split(line: str, delimiter: str, path: Path | str = "", number: int | None = None) -> list[str]:
    """The raw cells of a line, quotes and spaces kept: joined by the delimiter they are the line again."""
    if delimiter == SPACES:
        return line.split()
    if '"' not in line:
        return line.split(delimiter)
    cells: list[str] = []
    cell: str | None = None
    for part in line.split(delimiter):
        cell = part if cell is None else f"{cell}{delimiter}{part}"
        if cell.count('"') % 2 == 0:
            cells.append(cell)
            cell = None
    if cell is not None:
        raise _open_quote(path, number)
    return cells


def _open_quote(path: Path | str, line: int | None) -> DataError:
    return DataError("a quote is not closed", path=path, line=line, hint="close the quote, or leave it out")


def whole_lines(text: str, path: Path | str = "") -> list[Line]:
    """The lines of a text; those that a cell in quotes goes over are one."""
    found: list[Line] = []
    held, began = "", 1
    for number, line in enumerate(io.StringIO(text, newline=""), 1):
        whole = held + line
        if '"' in whole and whole.count('"') % 2:
            if not held:
                began = number
            held = whole
            continue
        body = whole.rstrip("\r\n")
        found.append(Line(body, whole[len(body) :], began if held else number))
        held = ""
    if held:
        raise _open_quote(path, began)
    return found


def _delimiter(lines: Sequence[str], dialect: Dialect) -> str:
    """What parts the lines into as many cells each; a comma where nothing does."""
    marks = (dialect.comment,) if dialect.comment else COMMENTS
    told = [line for line in lines if line.strip() and not line.lstrip().startswith(marks)]
    told = told[:SAMPLE] + told[SAMPLE:][-SAMPLE // 4 :]
    best, share = ",", 0.0
    for delimiter in DELIMITERS:
        counts = Counter(len(_lenient(line, delimiter)) for line in told)
        for count, times in counts.most_common():
            if count > 1:
                # A few lines more or less are titles and notes; a comma inside numbers is in none of the names.
                if times / len(told) > share + 0.02:
                    best, share = delimiter, times / len(told)
                break
    if share < 0.5:
        counts = Counter(len(line.split()) for line in told)
        count, times = counts.most_common(1)[0] if counts else (1, 0)
        numeric = sum(any(map(looks_like_number, line.split()[1:])) for line in told)
        if count > 1 and times >= 0.8 * len(told) and numeric >= 0.8 * (len(told) - 1) > 0:
            return SPACES
    return best


def _lenient(line: str, delimiter: str) -> list[str]:
    try:
        return split(line, delimiter)
    except DataError:
        return [line]


def _columns(lines: Sequence[str], delimiter: str, width: int) -> list[polars.Series]:
    """The cells of lines by column, without quotes and the spaces around them."""
    import polars

    text = "\n".join(lines)
    if delimiter == SPACES:
        rows = [line.split() for line in lines]
    elif '"' in text or len(delimiter) > 1 or any("\n" in line for line in lines[:1]):
        rows = [[unquoted(cell) for cell in split(line, delimiter)] for line in lines]
    else:
        frame = polars.read_csv(
            text.encode("utf-8", "surrogatepass"),
            has_header=False,
            separator=delimiter,
            quote_char=None,
            infer_schema=False,
            empty_string_is_null=False,
        )
        if frame.height == len(lines) and frame.width == width:
            return [column.fill_null("").str.strip_chars() for column in frame]
        rows = [line.split(delimiter) for line in lines]
    columns = zip(*rows, strict=True)
    return [polars.Series([cell.strip() for cell in column], dtype=polars.String) for column in columns]


def _lines(count: int, what: str = "") -> str:
    return f"{count} line{'s' * (count > 1)}{what} {'are' if count > 1 else 'is'}"
