"""Pairs: rows of tables, or lines of two files, of which one text is modelled and the rest may be given."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any, ClassVar

from seqloom.codecs.base import Codec
from seqloom.core.config import nearest_first
from seqloom.core.content import digest_of, digest_of_text, lines_of
from seqloom.core.errors import ConfigError, DataError
from seqloom.corpora.base import Corpus, Given, Item, Items, bad_of, passing, sources_of, written_in
from seqloom.corpora.files import files_under, left_out
from seqloom.corpora.readers import codec_of_text, is_read
from seqloom.corpora.sources import Pair, checked, source_of
from seqloom.corpora.tables import first_of, format_is, header_in_another_encoding, is_number, is_table, rows_of

LOOKED_AT = 1000
"""Rows by which it is told whether a column holds numbers."""

_HEAD = " (the first line names the columns)"
"""Of a table whose first line may have been meant as a row."""


class Pairs(Corpus, name="pairs"):
    """A TSV, CSV, JSON or Parquet file with named columns, a folder of such, or two files with a pair a line.

    One column is modelled, and each cell of it ends by itself; the others can be conditions (`source=column:NAME`).
    Of two files `path` is modelled and `source` is what is given (`source=pair`).
    """

    rank: ClassVar[int] = 1
    where: ClassVar[tuple[str, ...]] = ("path", "source", "valid", "test", "valid_source", "test_source")

    path: str
    """The table, a folder of tables, or the file whose lines are modelled."""
    text: str = ""
    """The column that is modelled; nothing: the only one."""
    source: str = ""
    """The file whose lines are given, where there are two."""
    valid: str = ""
    """A file like `path` with the validation split."""
    test: str = ""
    """A file like `path` with the test split."""
    valid_source: str = ""
    """The file whose lines are given beside those of `valid`, where there are two."""
    test_source: str = ""
    """The file whose lines are given beside those of `test`, where there are two."""

    skip_bad: bool = False
    """Pass over rows that cannot be read or have no text, and say how many there were; else the first is an error."""

    @classmethod
    def takes(cls, word: str, settings: Mapping[str, Any]) -> dict[str, Any] | None:
        path = Path(word).absolute()
        tables = path.is_file() and ({"text", "source"} & set(settings) or _looks_paired(path))
        if not tables and not (path.is_dir() and settings.get("text")):
            return None
        return {"path": str(path), **cls.beside(settings)}

    @property
    def place(self) -> str:
        return self.path

    @property
    def of_lines(self) -> bool:
        return bool(self.source)

    def parts(self, path: Path) -> bool:
        return bool(self.source) or is_table(path)

    def default_codec(self) -> Codec:
        return codec_of_text()

    def condition_codec(self, given: Given, codec: Codec) -> Codec:
        source = source_of(given.source)
        numbers = codec.codec_of_numbers(source.columns) if self._holds_numbers(codec, source.columns) else None
        return numbers or codec_of_text()

    def _holds_numbers(self, codec: Codec, columns: Sequence[str]) -> bool:
        """Whether a column is one of numbers, by its first cells."""
        if self.source or len(columns) != 1:
            return False
        rows = (
            row for row in rows_of(tables_of(Path(self.path))[0], codec.written_in) if not isinstance(row, DataError)
        )
        cells = [cell for _, row in islice(rows, LOOKED_AT) if (cell := row.get(columns[0]))]
        return bool(cells) and all(map(is_number, cells))

    def declares(self) -> Mapping[str, Given]:
        return {"source": Given(source="pair")} if self.source else {}

    def things(self, codec: Codec, given: Mapping[str, Given]) -> Items:
        if self.source and self.text:
            hint = "corpus.text is for a table, corpus.source for a file of which line k belongs to line k of this one"
            raise ConfigError("either a column of one file or a second file", path="corpus.source", hint=hint)
        if self.source and Path(self.source).resolve() == Path(self.path).resolve():
            hint = "the model would only copy: give another file"
            raise ConfigError("this is the file that is modelled", path="corpus.source", hint=hint)
        if twice := next((name for name, one in sources_of(given).items() if self.text in one.columns), None):
            hint = "the model would only copy: give another column"
            raise ConfigError(f"{self.text!r} is the column that is modelled", path=f"given.{twice}.source", hint=hint)
        files = [("", self.path, self.source)]
        for split, path, source in (("valid", self.valid, self.valid_source), ("test", self.test, self.test_source)):
            if bool(source) != bool(self.source and path):
                key, hint = f"corpus.{split}_source", f"corpus.{split}=FILE corpus.{split}_source=FILE"
                raise ConfigError("each of the two files of a split must be given", path=key, hint=hint)
            files += [(split, path, source)] if path else []
        each = [(split, table, source) for split, path, source in files for table in tables_of(Path(path), source)]
        digests = [
            (split, [digest_of(Path(name)) for name in (table, source) if name]) for split, table, source in each
        ]
        return Items(
            each=lambda: (
                item for file in each for item in self._things_of(codec, given, *file) if isinstance(item, Item)
            ),
            identity=[self.text, [[split, *(digest for digest, _ in own)] for split, own in digests]],
            size=sum(size for _, own in digests for _, size in own),
            ends=codec.ends,
            whole=True,
        )

    def notes(self, codec: Codec, given: Mapping[str, Given]) -> Iterator[str]:
        yield from left_out(Path(self.path), tables_of(Path(self.path), self.source), "corpus.text is for tables")
        if self.skip_bad:
            pairs = ((self.path, self.source), (self.valid, self.valid_source), (self.test, self.test_source))
            files = ((table, one) for path, one in pairs if path for table in tables_of(Path(path), one))
            yield from bad_of((item for file in files for item in self._things_of(codec, given, "", *file)), "rows")

    def _things_of(
        self, codec: Codec, given: Mapping[str, Given], split: str, path: Path, source: str
    ) -> Iterator[Item | DataError]:
        """The things of one file, and in place of those that are passed over what is wrong with them."""
        things = checked(self._rows(codec, given, split, path, source), codec, given)
        return passing(things, self.skip_bad, many=Path(self.path).is_dir())

    def _rows(
        self, codec: Codec, given: Mapping[str, Given], split: str, path: Path, source: str
    ) -> Iterator[Item | DataError]:
        beside = [one.codec for one in given.values() if one.codec is not None]
        if source:
            name = next((name for name, one in given.items() if one.source == Pair.name), "source")
            setting = f"given.{name}.codec.encoding"
            yield from _parallel(
                (path, written_in([codec])), (Path(source), written_in([*beside, codec]), setting), split
            )
            return
        keyed = format_is(path, "json") or format_is(path, "array")  # each row names its own columns
        head = "" if keyed or format_is(path, "parquet") else _HEAD
        for row in rows_of(path, written_in([codec, *beside])):
            if isinstance(row, DataError):
                yield row
                continue
            line, cells = row
            column = self.text or (next(iter(cells)) if len(cells) == 1 else "")
            if not column:
                raise ConfigError(
                    "which column is modelled?", path="corpus.text", hint=f"one of: {', '.join(cells)}{head}"
                )
            if column not in cells and not keyed:
                hint = nearest_first(column, cells)
                hint += "" if hint.startswith("did") else head
                missing = DataError(f"there is no column {column!r}", path=path, hint=hint)
                raise header_in_another_encoding(cells, path) or missing
            text = cells.get(column, "")
            if not text.strip():
                there = column in cells
                message = f"column {column!r} is empty" if there else f"there is no column {column!r}"
                hint = "leave the row out, or fill the cell" if there else nearest_first(column, cells)
                yield DataError(message, path=path, line=line, hint=hint)
                continue
            whole = json.dumps(cells, sort_keys=True)
            rest = {name: cell for name, cell in cells.items() if name != column}
            yield Item(whole, text, digest_of_text(whole), split, path=path, cells=rest, line=line)


def tables_of(path: Path, source: str = "") -> list[Path]:
    """The file, or the tables of a folder."""
    if source or not path.is_dir():
        return [path]
    found = [one for one in files_under(path) if is_table(one, named=False)]
    if not found:
        raise DataError(
            "the folder holds no table", path=path, hint="corpus.text is for .tsv, .csv, .jsonl and .parquet"
        )
    return found


def _parallel(modelled: tuple[Path, str], others: tuple[Path, str, str], split: str) -> Iterator[Item | DataError]:
    """Line k of one file with line k of the other, each with its encoding, and the other with the setting of that."""
    path, source = modelled[0], others[0]
    both = zip_longest(lines_of(*modelled), lines_of(*others))
    for line, (text, beside) in enumerate(both, 1):
        if text is None or beside is None:
            short, long = (path, source) if text is None else (source, path)
            raise DataError(
                f"the file ends after {line - 1} lines, and {long} goes on",
                path=short,
                line=line - 1,
                hint="line k of one belongs to line k of the other: give both as many lines",
            )
        if not text.strip():
            yield DataError("the line is empty", path=path, line=line, hint="leave it out of both files")
            continue
        target, given = (part.decode("utf-8", "surrogateescape") for part in (text, beside))
        whole = json.dumps([target, given])
        yield Item(whole, target, digest_of_text(whole), split, path=path, pair=given, pair_path=source, line=line)


def _looks_paired(path: Path) -> bool:
    """Whether a file can be nothing but rows of texts: TSV without numbers, or JSON lines that begin with texts."""
    return first_of(path) is not None if format_is(path, "json") else format_is(path, "\t") and not is_read(path)
