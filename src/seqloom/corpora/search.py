"""What is known elsewhere: beside each thing the passage of other texts that fits best what else is given of it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import PrivateAttr, field_validator

from seqloom.codecs.base import Codec
from seqloom.core.content import decoded, digest_of, raw
from seqloom.core.errors import ConfigError, DataError, RunError
from seqloom.corpora.base import Item
from seqloom.corpora.sources import Source
from seqloom.corpora.tables import is_table, rows_of

if TYPE_CHECKING:
    from bm25s import BM25

TEXTS = (".txt", ".md", ".rst")
"""Files of a folder that have passages, beside tables."""
_WORD = re.compile(r"\w+")
_BREAK = re.compile(r"\n[ \t]*\n")
_DIGEST = re.compile(r"(.+)#([0-9a-f]{12})")


class Search(Source, name="search"):
    """The best passage of other texts by BM25 (Robertson & Zaragoza 2009): `search:FOLDER` or `search:FILE`.

    It is looked for by the words of the other texts that are given, in training and whenever a model is asked. A
    passage is a paragraph of a text, or a row of a table. One that is a part of the thing itself, or its own row with
    all that is given beside it, is passed over.
    """

    usual: ClassVar[Mapping[str, Any]] = {"codec": "bpe", "enters": "attend"}
    asks: ClassVar[bool] = True

    _others: dict[str, tuple[Source, Codec]] = PrivateAttr(default_factory=dict)

    @field_validator("argument")
    @classmethod
    def _as_it_is(cls, argument: str) -> str:
        """The place with a digest of what lies there, by which a run knows whether it is what was learned from."""
        if not argument:
            raise ConfigError("which texts?", path="source", hint="source=search:FOLDER, or search:FILE")
        if _DIGEST.fullmatch(argument):
            return argument
        path = Path(argument).absolute()
        if not path.exists():
            raise ConfigError(f"there is nothing at {path}", path="source", hint="name a folder or a file of texts")
        return f"{path}#{_digest(path)}"

    def among(self, others: Mapping[str, tuple[Source, Codec]]) -> Self:
        bound = self.model_copy()
        bound._others = dict(others)
        return bound

    def value(self, item: Item, codec: Codec, *, aligned: bool) -> Any:
        if not self._others:
            hint = "give another text beside it: given.source.source=column:NAME"
            raise ConfigError("there is no text to search by", path="source", hint=hint)
        texts = {}
        for name, (source, own) in self._others.items():
            value = source.value(item, own, aligned=False)
            if value is not None:
                texts[name] = own.as_text(value)
        own_text = item.content if isinstance(item.content, str) else ""
        found = self.found(texts, own_text)
        return None if found is None else codec.typed(found)

    def found(self, texts: Mapping[str, str], own: str = "") -> str | None:
        """The passage that fits some texts best, by the names of their conditions; None where no word of them is there.

        One that is a part of `own`, or holds it with all of the texts, is passed over.
        """
        passages: list[str]
        passages, index = _index(self.argument)
        words = [word for name in sorted(texts) for word in words_of(texts[name])]
        if not (known := [word for word in words if word in index.vocab_dict]):
            return None
        scores: NDArray[np.float64] = index.get_scores(known)
        itself = " ".join(own.split())
        whole = [" ".join(text.split()) for text in (own, *texts.values())]
        for i in np.argsort(-scores, kind="stable").tolist():
            if scores[i] <= 0:
                break
            passage = " ".join(passages[i].split())
            if not itself or not (passage in itself or all(text in passage for text in whole)):
                return passages[int(i)]
        return None


def words_of(text: str) -> list[str]:
    """Runs of letters and digits, in lower case."""
    return _WORD.findall(text.lower())


def passages_in(path: Path) -> Iterator[str]:
    """The passages of a file, or of the files of a folder: paragraphs of texts, and rows of tables."""
    for file in _files(path):
        if is_table(file):
            for row in rows_of(file):
                if isinstance(row, DataError):
                    raise row
                yield "\n".join(filter(None, row[1].values()))
            continue
        yield from (part.strip() for part in _BREAK.split("".join(decoded(raw(file), file))) if part.strip())


def _files(path: Path) -> list[Path]:
    """The file, or those of a folder that have passages."""
    if not path.is_dir():
        return [path]
    files = (one for one in path.rglob("*") if one.is_file())
    return sorted(one for one in files if one.suffix in TEXTS or is_table(one, named=False))


def _digest(path: Path) -> str:
    """A short hash of all files that have passages, and of where they lie in their folder."""
    digest = hashlib.sha256()
    for file in _files(path):
        digest.update(f"{file.relative_to(path) if path.is_dir() else ''}\0{digest_of(file)[0]}\n".encode())
    return digest.hexdigest()[:12]


@lru_cache(maxsize=8)
def _index(argument: str) -> tuple[list[str], BM25]:
    """The passages of a place and their index; DataError where they are not what they were."""
    if find_spec("bm25s") is None:
        raise ConfigError(
            "searching wants bm25s, which is not installed", path="source", hint="pip install 'seqloom[search]'"
        )
    from bm25s import BM25

    match = _DIGEST.fullmatch(argument)
    assert match is not None
    path = Path(match[1])
    if not path.exists():
        raise RunError(f"the passages at {path} are no longer there", hint="restore them, or train anew")
    if _digest(path) != match[2]:
        raise RunError(f"the passages at {path} are not those of the training", hint="restore them, or train anew")
    passages = list(passages_in(path))
    words = [words_of(passage) for passage in passages]
    if not any(words):
        raise DataError("there are no passages", path=path, hint=f"they are in files such as {', '.join(TEXTS)}")
    index = BM25()
    index.index(words, show_progress=False)
    return passages, index
