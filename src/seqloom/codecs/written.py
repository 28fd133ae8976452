"""How a table is written: what parts its cells and ends its lines, and how the numbers of each column are spelled."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from seqloom.codecs.numerals import Style
from seqloom.core.config import Settings

DELIMITERS = ("\t", ";", "|", ",")
"""What stands between cells, in the order in which those that part all rows alike are preferred."""
SPACES = " "
"""Runs of spaces as a delimiter."""
ABSENT = "NA"
"""A cell without a value where spaces part the cells, so that an empty one would be none."""


class Written(Settings):
    """What is remembered of how a table is written, so that a new one is written alike."""

    delimiter: str = ","
    """What stands between cells."""
    end: str = "\n"
    """What ends a line."""
    styles: dict[str, Style] = {}
    """How the numbers of a column are written, where it is not as Python writes them."""

    def style(self, column: str) -> Style:
        """How the numbers of a column are written."""
        return self.styles.get(column, Style())

    def number(self, column: str, number: str) -> str:
        """The cell of a number of a column, which is written `1.5`, or of none."""
        return self.cell(self.style(column).write(number))

    def cell(self, text: str) -> str:
        """A cell with this content."""
        if self.delimiter == SPACES:
            return quoted(text, r"\s") if text else ABSENT
        place = DELIMITERS.index(self.delimiter) if self.delimiter in DELIMITERS else len(DELIMITERS)
        # What a reader would rather take for the delimiter is quoted, too.
        return quoted(text, re.escape("".join((*DELIMITERS[:place], self.delimiter))))

    def line(self, cells: Sequence[str]) -> str:
        """Cells as a line with its end."""
        return self.delimiter.join(cells) + self.end

    def of_statistics(self, columns: Sequence[str], statistics: Sequence[str]) -> Written:
        """How columns NAME_STATISTIC are written: the mean of yes and no is a number, their quantiles are words."""
        styles = {
            f"{column}_{name}": style.replace(words=None) if name == "mean" else style
            for column, style in self.styles.items()
            if column in columns
            for name in statistics
        }
        return self.replace(styles=styles)

    def called(self, name: str) -> Written:
        """How a new table is written into a file of this name: with tabs in a .tsv, and with none in a .csv."""
        suffixes = name.lower().removesuffix(".gz").removesuffix(".zst")
        if suffixes.endswith(".tsv"):
            return self if self.delimiter == "\t" else self.replace(delimiter="\t")
        if suffixes.endswith(".csv") and self.delimiter in {"\t", SPACES}:
            return self.replace(delimiter=";" if self._decimal_comma else ",")
        return self

    @property
    def bare(self) -> Written:
        """How it is written into a file that has types: numbers without units, words for yes and no as they are."""
        return Written(styles={name: Style(words=one.words) for name, one in self.styles.items() if one.words})

    @property
    def _decimal_comma(self) -> bool:
        return any(style.decimal == "," for style in self.styles.values())


PLAIN = Written()
"""As Python writes CSV."""


def styles_of(styles: Mapping[str, Style]) -> dict[str, Style]:
    """Of the styles of columns those that are worth remembering."""
    return {name: style for name, style in styles.items() if style != Style()}


def quoted(cell: str, signs: str = ",;|\t") -> str:
    """A cell as CSV writes it: in quotes where it holds one of these signs of a regular expression."""
    return '"' + cell.replace('"', '""') + '"' if re.search(f'["\r\n{signs}]', cell) else cell
