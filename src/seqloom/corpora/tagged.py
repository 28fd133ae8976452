"""Tagged texts: sentences in which each word has a label, from columns of words or from rows of lists."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from pydantic import field_validator

from seqloom.codecs.base import Codec
from seqloom.core.config import nearest
from seqloom.core.content import check_utf8, digest_of, digest_of_text, lines_of
from seqloom.core.errors import ConfigError, DataError
from seqloom.core.progress import count
from seqloom.corpora.base import Corpus, Given, Item, Items, bad_of, passing, written_in
from seqloom.corpora.readers import codec_of_words, codecs
from seqloom.corpora.sources import checked
from seqloom.corpora.tables import is_table, rows_of

SUFFIXES = (".conll", ".conllu", ".bio", ".iob", ".iob2")
UNIVERSAL = ".conllu"
"""Universal Dependencies: the second column is the word, the fourth its part of speech."""
BREAK = "-DOCSTART-"
"""The word of a line of CoNLL files that is none."""

Sentence = tuple[int, tuple[str, ...], tuple[str, ...]]
"""The line that it begins in, its words and their labels."""


class Tagged(Corpus, name="tagged"):
    """Sentences in which each word has a label: the labels are modelled, the words stand beside them.

    A file of CoNLL's kind has a word a line, with its label in another column, and an empty line after each sentence.
    In a table (.csv, .jsonl, .parquet) a row is a sentence: one column has the words, another as many labels, as lists
    or with spaces between.
    """

    rank: ClassVar[int] = 2
    where: ClassVar[tuple[str, ...]] = ("path", "valid", "test")

    path: str
    """The file."""
    words: str = ""
    """The column of the words: its name, or its number from 1; nothing: the first."""
    tags: str = ""
    """The column of the labels: its name, or its number from 1; nothing: the last."""
    valid: str = ""
    """A file like `path` with the validation split."""
    test: str = ""
    """A file like `path` with the test split."""
    skip_bad: bool = False
    """Pass over sentences that cannot be read, and say how many there were; else the first is an error."""

    @field_validator("words", "tags", mode="before")
    @classmethod
    def _numbered(cls, column: object) -> object:
        """A column by its number."""
        return str(column) if isinstance(column, int) else column

    @classmethod
    def takes(cls, word: str, settings: Mapping[str, Any]) -> dict[str, Any] | None:
        path = Path(word).absolute()
        if not path.is_file() or not (path.name.endswith(SUFFIXES) or "tags" in settings):
            return None
        return {"path": str(path), **cls.beside(settings)}

    @property
    def place(self) -> str:
        return self.path

    def default_codec(self) -> Codec:
        return codec_of_words()

    def condition_codec(self, given: Given, codec: Codec) -> Codec:
        return next(kind for kind in codecs() if kind.enters == "align")()

    def declares(self) -> Mapping[str, Given]:
        # Read both ways, so that what follows a word is known too; never left out, for nothing is made of nothing.
        return {"words": Given(source="pair", encoder={}, drop=0.0)}

    def things(self, codec: Codec, given: Mapping[str, Given]) -> Items:
        files = [("", self.path), ("valid", self.valid), ("test", self.test)]
        each = [(split, Path(path)) for split, path in files if path]
        digests = [(split, *digest_of(path)) for split, path in each]
        return Items(
            each=lambda: (one for file in each for one in self._items(codec, given, *file) if isinstance(one, Item)),
            identity=[self.words, self.tags, [[split, digest] for split, digest, _ in digests]],
            size=sum(size for *_, size in digests),
            ends=codec.ends,
            whole=True,
        )

    def notes(self, codec: Codec, given: Mapping[str, Given]) -> Iterator[str]:
        if self.skip_bad:
            files = [Path(path) for path in (self.path, self.valid, self.test) if path]
            yield from bad_of((one for path in files for one in self._items(codec, given, "", path)), "sentences")

    def _items(self, codec: Codec, given: Mapping[str, Given], split: str, path: Path) -> Iterator[Item | DataError]:
        """The sentences of a file, and in place of those that are passed over what is wrong with them."""
        encoding = written_in([codec, *(one.codec for one in given.values() if one.codec is not None)])
        return passing(checked(self._sentences(split, path, encoding), codec, given), self.skip_bad)

    def _sentences(self, split: str, path: Path, encoding: str) -> Iterator[Item | DataError]:
        """The sentences of a file, and in place of those that cannot be read what is wrong with them."""
        rows = iter(self._rows(path, encoding) if is_table(path) else self._columns(path, encoding))
        while True:
            try:
                row = next(rows, None)
            except DataError as error:
                raise _of_words(error) from None
            if row is None:
                return
            if isinstance(row, DataError):
                yield _of_words(row)
                continue
            line, words, tags = row
            try:
                check_utf8(" ".join((*words, *tags)))
            except DataError as error:
                yield _of_words(error.at(path, line))
                continue
            whole = json.dumps([words, tags])
            digest = digest_of_text(whole)
            yield Item(whole, tags, digest, split, path=path, pair=words, line=line)

    def _columns(self, path: Path, encoding: str) -> Iterator[Sentence | DataError]:
        """The sentences of a file with a word a line, and what is wrong with others."""
        universal = path.name.endswith(UNIVERSAL)
        word_at, tag_at = ("2", "4") if universal else ("1", "")
        first, words, tags, wrong = 0, list[str](), list[str](), list[DataError]()
        for line, data in enumerate((*lines_of(path, encoding), b""), 1):
            text = data.decode("utf-8", "surrogateescape").strip()
            if universal and text.startswith("#"):
                continue
            if not text or text.startswith(BREAK):
                if wrong or words:
                    yield wrong[0] if wrong else (first, tuple(words), tuple(tags))
                first, words, tags, wrong = 0, [], [], []
                continue
            cells = text.split("\t") if "\t" in text else text.split()
            if universal and not cells[0].isdigit():  # a contraction, or a word that is only thought
                continue
            first = first or line
            try:
                words.append(self._cell(cells, self.words or word_at, path, line))
                tags.append(self._cell(cells, self.tags or tag_at, path, line))
            except DataError as error:
                wrong.append(error)

    @staticmethod
    def _cell(cells: list[str], column: str, path: Path, line: int) -> str:
        number = len(cells) if not column else int(column) if column.isdigit() else 0
        if not 0 < number <= len(cells) or len(cells) < 2:
            what = f"the line has {count(len(cells), 'column')}" + f", and no column {column!r}" * (len(cells) > 1)
            hint = "a word and its label are in columns of their own, which corpus.words and corpus.tags number from 1"
            raise DataError(what, path=path, line=line, hint=hint)
        return cells[number - 1]

    def _rows(self, path: Path, encoding: str) -> Iterator[Sentence | DataError]:
        """The sentences of a table with one a row, and what is wrong with others."""
        for row in rows_of(path, encoding):
            if isinstance(row, DataError):
                yield row
                continue
            line, cells = row
            names = list(cells)
            chosen = self.words or names[0], self.tags or names[-1]
            for name, key in zip(chosen, ("words", "tags"), strict=True):
                if name not in cells:
                    raise ConfigError(f"there is no column {name!r}", path=f"corpus.{key}", hint=nearest(name, names))
            words, tags = (_listed(cells[name]) for name in chosen)
            if words and len(words) == len(tags):
                yield line, words, tags
                continue
            message = f"{count(len(words), 'word')} and {count(len(tags), 'label')}"
            yield DataError(message, path=path, line=line, hint="give each word one label, and no word none")


def _of_words(error: DataError) -> DataError:
    """The error of a file in another encoding, with the setting that says which: labels have none, the words do."""
    hint = "say what it is: given.words.codec.encoding="
    for known in re.findall(r"codec\.encoding=([\w-]+)", error.hint)[:1]:
        return DataError(error.message, path=error.path, line=error.line, hint=hint + known)
    return error


def _listed(cell: str) -> tuple[str, ...]:
    """The words of a cell: a list as JSON has it, or words with spaces between."""
    try:
        found = json.loads(cell)
    except ValueError:
        found = None
    return tuple(map(str, found)) if isinstance(found, list) else tuple(cell.split())
