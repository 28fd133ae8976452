"""Tagged texts: sentences in which each word has a label, from columns of words or from rows of lists."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from pydantic import field_validator

from seqloom.codecs.base import Codec
from seqloom.core.config import members_of, nearest
from seqloom.core.content import digest_of, lines_of
from seqloom.core.errors import ConfigError, DataError
from seqloom.core.progress import count
from seqloom.corpora.base import Corpus, Given, Item, Items, codec_of_words
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
        kinds: list[type[Codec]] = list(members_of(Codec).values())  # type: ignore[arg-type]
        return next(kind for kind in kinds if kind.enters == "align")()

    def declares(self) -> Mapping[str, Given]:
        # Read both ways, so that what follows a word is known too; never left out, for nothing is made of nothing.
        return {"words": Given(source="pair", encoder={}, drop=0.0)}

    def things(self, codec: Codec, given: Mapping[str, Given]) -> Items:
        files = [("", self.path), ("valid", self.valid), ("test", self.test)]
        each = [(split, Path(path)) for split, path in files if path]
        digests = [(split, *digest_of(path)) for split, path in each]
        return Items(
            each=lambda: (item for split, path in each for item in self._items(codec, split, path)),
            identity=[self.words, self.tags, [[split, digest] for split, digest, _ in digests]],
            size=sum(size for *_, size in digests),
            ends=codec.ends,
            whole=True,
        )

    def _items(self, codec: Codec, split: str, path: Path) -> Iterator[Item]:
        rows = self._rows(path, codec.written_in) if is_table(path) else self._columns(path, codec.written_in)
        for line, words, tags in rows:
            if len(words) != len(tags) or not words:
                raise DataError(
                    f"{count(len(words), 'word')} and {count(len(tags), 'label')}",
                    path=path,
                    line=line,
                    hint="give each word one label, and no word none",
                )
            whole = json.dumps([words, tags])
            digest = hashlib.sha256(whole.encode("utf-8", "surrogatepass")).hexdigest()
            yield Item(whole, tags, digest, split, path=path, pair=words, line=line)

    def _columns(self, path: Path, encoding: str) -> Iterator[Sentence]:
        """The sentences of a file with a word a line."""
        universal = path.name.endswith(UNIVERSAL)
        word_at, tag_at = ("2", "4") if universal else ("1", "")
        first, words, tags = 0, list[str](), list[str]()
        for line, data in enumerate((*lines_of(path, encoding), b""), 1):
            text = data.decode("utf-8", "surrogateescape").strip()
            if universal and text.startswith("#"):
                continue
            if not text or text.startswith(BREAK):
                if words:
                    yield first, tuple(words), tuple(tags)
                first, words, tags = 0, [], []
                continue
            cells = text.split("\t") if "\t" in text else text.split()
            if universal and not cells[0].isdigit():  # a contraction, or a word that is only thought
                continue
            first = first or line
            words.append(self._cell(cells, self.words or word_at, path, line))
            tags.append(self._cell(cells, self.tags or tag_at, path, line))

    @staticmethod
    def _cell(cells: list[str], column: str, path: Path, line: int) -> str:
        number = len(cells) if not column else int(column) if column.isdigit() else 0
        if not 0 < number <= len(cells) or len(cells) < 2:
            what = f"the line has {count(len(cells), 'column')}" + f", and no column {column!r}" * (len(cells) > 1)
            hint = "a word and its label are in columns of their own, which corpus.words and corpus.tags number from 1"
            raise DataError(what, path=path, line=line, hint=hint)
        return cells[number - 1]

    def _rows(self, path: Path, encoding: str) -> Iterator[Sentence]:
        """The sentences of a table with one a row."""
        for row in rows_of(path, encoding):
            if isinstance(row, DataError):
                raise row
            line, cells = row
            names = list(cells)
            chosen = self.words or names[0], self.tags or names[-1]
            for name, key in zip(chosen, ("words", "tags"), strict=True):
                if name not in cells:
                    raise ConfigError(f"there is no column {name!r}", path=f"corpus.{key}", hint=nearest(name, names))
            yield line, _listed(cells[chosen[0]]), _listed(cells[chosen[1]])


def _listed(cell: str) -> tuple[str, ...]:
    """The words of a cell: a list as JSON has it, or words with spaces between."""
    try:
        found = json.loads(cell)
    except ValueError:
        found = None
    return tuple(map(str, found)) if isinstance(found, list) else tuple(cell.split())
