"""Pairs: rows of a table, or lines of two files, of which one text is modelled and the other given."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any, ClassVar

from seqloom.codecs.base import Codec
from seqloom.core.config import nearest
from seqloom.core.content import lines_of, objects_of, raw
from seqloom.core.errors import ConfigError, DataError
from seqloom.corpora.base import Corpus, Given, Item, Items, codec_of_text
from seqloom.corpora.files import is_read

TABLES = {".tsv": "\t", ".csv": ","}
JSON_LINES = (".jsonl", ".ndjson")
EXAMPLE = '{"en": "a dog", "de": "ein Hund"}'
"""A line of a file of JSON lines."""


class Pairs(Corpus, name="pairs"):
    """A TSV, CSV or JSON lines file with named columns, or two files whose lines belong together.

    One column is modelled, and each cell of it ends by itself; the others can be conditions (`source=column:NAME`).
    Of two files `path` is modelled and `source` is what is given (`source=pair`).
    """

    rank: ClassVar[int] = 1
    where: ClassVar[tuple[str, ...]] = ("path", "source", "valid", "test", "valid_source", "test_source")

    path: str
    """The table, or the file whose lines are modelled."""
    text: str = ""
    """The column that is modelled."""
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

    @classmethod
    def takes(cls, word: str, settings: Mapping[str, Any]) -> dict[str, Any] | None:
        path = Path(word).absolute()
        if not path.is_file() or not ({"text", "source"} & set(settings) or _looks_paired(path)):
            return None
        files = ("source", "valid", "test", "valid_source", "test_source")
        return {"path": str(path)} | {key: str(Path(settings[key]).absolute()) for key in files if settings.get(key)}

    @property
    def place(self) -> str:
        return self.path

    def default_codec(self) -> Codec:
        return codec_of_text()

    def condition_codec(self, given: Given, codec: Codec) -> Codec:
        return codec_of_text()

    def declares(self) -> Mapping[str, Given]:
        return {"source": Given(codec=codec_of_text(), source="pair")} if self.source else {}

    def things(self, codec: Codec, given: Mapping[str, Given]) -> Items:
        if self.source and self.text:
            raise ConfigError("either a column of one file or a second file", path="corpus.source")
        files = [("", self.path, self.source)]
        for split, path, source in (("valid", self.valid, self.valid_source), ("test", self.test, self.test_source)):
            if bool(source) != bool(self.source and path):
                key = f"corpus.{split}_source"
                raise ConfigError("each of the two files of a split must be given", path=key)
            files += [(split, path, source)] if path else []
        by_split = [(split, [_digest(name) for name in names if name]) for split, *names in files]
        return Items(
            each=lambda: (item for file in files for item in self._rows(*file)),
            identity=[self.text, [[split, *(digest for digest, _ in digests)] for split, digests in by_split]],
            size=sum(size for _, digests in by_split for _, size in digests),
            ends=True,
            whole=True,
        )

    def _rows(self, split: str, path: str, source: str) -> Iterator[Item]:
        file = Path(path)
        if source:
            yield from _parallel(file, Path(source), split)
            return
        for line, cells in _table(file):
            if not self.text:
                raise ConfigError("which column is modelled?", path="corpus.text", hint=f"one of: {', '.join(cells)}")
            if self.text not in cells:
                raise DataError(
                    f"there is no column {self.text!r}", path=path, line=line, hint=nearest(self.text, cells)
                )
            text = cells[self.text]
            if not text:
                raise DataError(
                    f"column {self.text!r} is empty", path=path, line=line, hint="leave the row out, or fill the cell"
                )
            whole = json.dumps(cells, sort_keys=True)
            rest = {name: cell for name, cell in cells.items() if name != self.text}
            yield Item(whole, text, _hash(whole), split, path=file, cells=rest, line=line)


def _parallel(path: Path, source: Path, split: str) -> Iterator[Item]:
    """Line k of one file with line k of the other."""
    for line, (text, beside) in enumerate(zip_longest(lines_of(path), lines_of(source)), 1):
        if text is None or beside is None:
            short, long = (path, source) if text is None else (source, path)
            raise DataError(
                f"the file ends after {line - 1} lines, and {long} goes on",
                path=short,
                line=line - 1,
                hint="line k of one belongs to line k of the other: give both as many lines",
            )
        if not text.strip():
            raise DataError("the line is empty", path=path, line=line, hint="leave it out of both files")
        target, given = (part.decode("utf-8", "surrogateescape") for part in (text, beside))
        whole = json.dumps([target, given])
        yield Item(whole, target, _hash(whole), split, path=path, pair=given, line=line)


def _table(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a table by column, each with its line."""
    kind = _format_of(path)
    if kind == "json":
        yield from _json_lines(path)
        return
    header: list[str] = []
    for line, cells in _cells(path, kind):
        if not header:
            header = cells
            twice = next((name for i, name in enumerate(header) if name in header[:i]), None)
            if twice is not None or len(header) < 2:
                message = f"two columns are called {twice!r}" if twice is not None else "there is only one column"
                raise DataError(message, path=path, line=line, hint="the first line names the columns, two or more")
        elif len(cells) != len(header):
            raise DataError(
                f"the line has {len(cells)} cells where the header has {len(header)}",
                path=path,
                line=line,
                hint="every row needs a cell for each column; quote cells of a CSV file that hold a comma",
            )
        else:
            yield line, dict(zip(header, cells, strict=True))


def _cells(path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The cells of each line: of TSV as they stand, of CSV without quotes, blank lines passed over."""
    texts = (line.decode("utf-8", "surrogateescape") for line in lines_of(path))
    if delimiter == "\t":
        yield from ((line, text.split("\t")) for line, text in enumerate(texts, 1) if text)
        return
    reader = csv.reader((f"{text}\n" for text in texts), strict=True)
    try:
        for cells in reader:
            if cells:
                yield reader.line_num, cells
    except csv.Error as error:
        raise DataError(
            f"the row is no CSV: {error}", path=path, line=reader.line_num, hint="mend its quotes"
        ) from None


def _json_lines(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    for line, row in objects_of(path, EXAMPLE):
        if not all(isinstance(cell, str) for cell in row.values()):
            hint = f"write one object a line, such as {EXAMPLE}"
            raise DataError("the line is no object of texts", path=path, line=line, hint=hint)
        yield line, row


def _looks_paired(path: Path) -> bool:
    """Whether a file can be nothing but rows of texts: TSV without numbers, or JSON lines that begin with texts."""
    if _format_of(path) != "json":
        return _format_of(path) == "\t" and not is_read(path)
    try:
        return next(_json_lines(path), None) is not None
    except DataError:
        return False


def _format_of(path: Path) -> str:
    """`json`, or what stands between cells."""
    name = path.name.lower().removesuffix(".gz")
    if name.endswith(JSON_LINES):
        return "json"
    return next((delimiter for suffix, delimiter in TABLES.items() if name.endswith(suffix)), "")


def _digest(path: str) -> tuple[str, int]:
    """The hash of a file's content, and its bytes."""
    digest, size = hashlib.sha256(), 0
    for piece in raw(Path(path)):
        digest.update(piece)
        size += len(piece)
    return digest.hexdigest(), size


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
