"""Text as symbols: one a character, from a fitted alphabet, or one a byte."""

from __future__ import annotations

import math
import re
import unicodedata
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, AnyStr, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field as Limits
from pydantic import field_validator

from seqloom.codecs.base import Codec, Unsuited
from seqloom.codecs.number import Number
from seqloom.core.content import PACKED, UTF8, between, check_utf8, decoded, edge, edge_in, raw, write_bytes
from seqloom.core.errors import ConfigError, DataError
from seqloom.sequence.canvas import Begun, Canvas, Encoded
from seqloom.sequence.space import Tokens

MOST = 1000
"""Distinct characters up to which text is read by characters where the user names no codec."""
LARGE = 1_500_000
"""Bytes of training text from which on it is read in pieces of words where the user names no codec: so many teach
what the pieces are, and of them a network reads more text in the same time."""
WORDY = 0.05
"""The share of spaces from which on a text is taken to be one of words: molecules and proteins have none."""
UNKNOWN = "\N{REPLACEMENT CHARACTER}"

Form = Literal["nfc", "lower"]
LOSSES: dict[Form, str] = {"nfc": "ways to spell one character", "lower": "capital letters"}
"""What each form of text is without."""

_POINTS = 0x110000
_GAP = "_{3,}"


class Text(Codec):
    """What the text codecs share: where gaps stand, and that unknown characters are refused in what is typed."""

    suffixes: ClassVar[tuple[str, ...]] = (".txt", ".txt.gz", ".txt.zst")
    unit: ClassVar[str] = "byte"
    bits: ClassVar[bool] = True
    divisible: ClassVar[bool] = True
    positions: ClassVar[str] = "characters"
    progressive: ClassVar[bool] = True
    baselines: ClassVar[tuple[str, ...]] = ("unigram", "ngram", "xz")

    def codec_of_numbers(self, names: Sequence[str]) -> Codec | None:
        return Number() if len(names) == 1 else None

    def join(self, pieces: Sequence[Any]) -> Any:
        return type(self.typed(""))().join(pieces)

    def facts(self, splits: Mapping[str, Iterable[Any]]) -> dict[str, Any]:
        return {"kind": "text"}

    def canvas(
        self, template: Any, length: int | None = None, gap: int | None = None, blank: str | None = None
    ) -> Canvas:
        """A text with gaps, or one that goes on.

        A gap is a run of three or more underscores, one for each element to be made; with `blank` each occurrence of
        that mark is one. Where only `length` is asked for, the text is a beginning, and underscores in it are text.
        """
        if gap is not None and gap < 1:
            raise ConfigError("a gap has at least one element", path="gap")
        if blank == "":
            raise ConfigError("the mark of a gap cannot be empty", path="blank")
        if length is not None and length < 1:
            raise ConfigError("at least one new element must be asked for", path="length")
        value = self.typed("") if template is None else self.typed(template) if isinstance(template, str) else template
        looked_for = length is None or gap is not None or blank is not None
        parts = list(gaps(value, gap, blank)) if looked_for else [(value, 0)]
        if length is None and all(size == 0 for _, size in parts):
            mark = "three or more underscores" if blank is None else repr(blank)
            raise DataError("there is no gap to fill in the template", hint=f"a gap is written as {mark}")
        self.check(type(value)().join(part for part, _ in parts))
        if parts[-1][1] == 0:  # what is asked for follows on the last part
            parts[-1] = parts[-1][0], length or 0
        elif length:
            parts.append((type(value)(), length))
        x, shown, begun = np.zeros(0, np.int64), np.zeros(0, bool), {}
        for part, size in parts:
            symbols = self.encode(part).x
            known = np.ones(len(symbols), bool)
            if size and (one := self.begun(symbols)) is not None:
                begun[len(x) + len(symbols) - one.count] = one
                known[-one.count :] = False
            x = np.concatenate([x, symbols, np.zeros(size, np.int64)])
            shown = np.concatenate([shown, known, np.zeros(size, bool)])
        return Canvas(x, shown, np.zeros(len(x), bool), begun=begun)

    def begun(self, symbols: NDArray[np.int64]) -> Begun | None:
        """The end of some symbols before something to be made, where with it they may be other symbols."""
        return None


class Utf8(Text):
    """Text that is divided at its bytes, whatever reads it, each position moved on to where a character begins."""

    positions: ClassVar[str] = "bytes"
    reads_anything: ClassVar[bool] = True

    def extent(self, content: Any) -> int:
        """Bytes of a text, unpacked."""
        if isinstance(content, Path):
            plain = content.suffix not in PACKED and self.written_in == UTF8
            return content.stat().st_size if plain else sum(map(len, raw(content, encoding=self.written_in)))
        return len(self._bytes(content))

    def raw(self, content: Any, begin: int = 0, end: int | None = None) -> Iterator[bytes]:
        if isinstance(content, Path):
            yield from between(content, begin, end, self.written_in)
        else:
            data = self._bytes(content)
            yield data[edge_in(data, begin) : len(data) if end is None else edge_in(data, end)]

    def _bytes(self, content: Any) -> bytes:
        """What is typed, or a value, as bytes."""
        value = self.typed(content) if isinstance(content, str) else content
        return self._coded(value)

    @abstractmethod
    def _coded(self, value: Any) -> bytes:
        """A value in UTF-8, and back the same."""


class Strings(Utf8):
    """Text whose value is a `str`. What it costs is counted by the bytes of the text as it was given."""

    mends: ClassVar[bool] = True

    encoding: str = UTF8
    """What files are written in, such as latin-1; it is counted by what it is in UTF-8."""
    normalise: tuple[Form, ...] = ()
    """What is made alike before text becomes symbols: `nfc` (Unicode's composed characters), `lower` (no capitals)."""

    @property
    def written_in(self) -> str:
        return self.encoding

    @property
    def loses(self) -> str:
        return " and ".join(LOSSES[form] for form in self.normalise)

    def normal(self, value: str) -> str:
        """A text, made alike."""
        if "nfc" in self.normalise:
            value = unicodedata.normalize("NFC", value)
        return value.lower() if "lower" in self.normalise else value

    def notes(self, splits: Mapping[str, Iterable[Any]]) -> list[str]:
        forms = ",".join(self.normalise)
        return [
            *super().notes(splits),
            *([f"text is made alike (codec.normalise={forms}): {self.loses}"] * bool(forms)),
        ]

    def count(self, value: str) -> float:
        return len(self._coded(value))

    def extra_nats(self, value: str) -> float:
        return 0.0

    def read(self, path: Path) -> Iterator[str]:
        return decoded(raw(path, encoding=self.written_in), path)

    def pieces(self, content: Any, begin: int = 0, end: int | None = None) -> Iterator[str]:
        if not isinstance(content, Path):
            return decoded(self.raw(content, begin, end), start=begin)
        return decoded(self.raw(content, begin, end), content, start=edge(content, begin, self.written_in))

    def _coded(self, value: str) -> bytes:
        return value.encode("utf-8", "surrogatepass")

    def write(self, value: str, path: Path) -> None:
        write_bytes(self.show(value), path)

    def typed(self, text: str) -> str:
        """What was typed, with line ends as a file's are read; DataError where it is not text."""
        check_utf8(text)
        return text.replace("\r\n", "\n")

    def show(self, value: str) -> bytes:
        return value.encode("utf-8", "replace")

    def examples(self) -> list[str]:
        return ["the quick brown fox\n", "na\u00efve caf\u00e9 \u2014 \u6771\u4eac \N{GRINNING FACE}\t___\n", "a"]


class Characters(Strings, name="characters"):
    """One symbol a character, of an alphabet fitted on the training text; symbol 0 stands for any other character.

    An unknown character costs its symbol's nats and 8 bits for each of its UTF-8 bytes, and is never sampled.
    """

    rank: ClassVar[int] = 1
    fallback: ClassVar[str] = "bytes"
    coarser: ClassVar[str] = "bpe"

    alphabet: str = ""
    """The characters it knows, in the order of their symbols from 1 on; empty: to be fitted."""
    most: int = Limits(default=MOST, ge=1)
    """Distinct characters that fitting accepts; text with more of them is better read as bytes."""

    @field_validator("alphabet")
    @classmethod
    def _distinct(cls, alphabet: str) -> str:
        if len(set(alphabet)) != len(alphabet):
            raise ValueError("a character stands twice in the alphabet")
        return alphabet

    @property
    def fitted(self) -> bool:
        return bool(self.alphabet)

    @property
    def never(self) -> tuple[int, ...]:
        return (0,)

    @property
    def space(self) -> Tokens:
        if not self.alphabet:
            raise ConfigError("the alphabet is empty until the codec is fitted", path="codec.alphabet")
        return Tokens(size=len(self.alphabet) + 1)

    def fit(self, values: Iterable[str]) -> Self:
        alphabet = distinct(map(self.normal, values))
        if not alphabet:
            raise DataError("there is no text to take an alphabet from")
        if len(alphabet) > self.most:
            raise Unsuited(
                f"the text has {len(alphabet)} distinct characters, more than codec.most={self.most}",
                hint="read it as bytes (codec=bytes), or raise codec.most",
            )
        return self.replace(alphabet=alphabet)

    def wants_coarser(self, values: Iterable[str]) -> bool:
        """Whether there are LARGE bytes of words, or of a script whose characters are too many."""
        size = spaces = 0
        characters: set[str] = set()
        for value in values:
            size += len(value.encode("utf-8", "surrogatepass"))
            spaces += value.count(" ")
            characters.update(value)
            if size >= LARGE:
                return spaces >= WORDY * size or len(characters) > self.most
        return False

    def for_more(self) -> Codec:
        return self.replace(alphabet="")

    @property
    def one_line(self) -> bool:
        return self.fitted and "\n" not in self.alphabet

    def symbols(self) -> list[str]:
        return ["", *self.alphabet]

    def whole(self, path: Path) -> str:
        """What a file holds; a single line without its end, where what was learned from had no lines."""
        text: str = super().whole(path)
        return text.removesuffix("\n") if self.one_line and text.count("\n") == 1 else text

    def encode(self, value: str) -> Encoded:
        x = self._symbols[_points(self.normal(value))].astype(np.int64)
        return Encoded(x, np.ones(len(x), bool))

    def decode(self, encoded: Encoded) -> str:
        x = np.where(encoded.known & (encoded.x <= len(self.alphabet)), encoded.x, 0)
        return self._characters[x].tobytes().decode("utf-32-le", "surrogatepass")

    def check(self, value: str) -> None:
        value = self.normal(value)
        unknown = self._symbols[_points(value)] == 0
        if unknown.any():
            indices = np.flatnonzero(unknown)
            named = list(dict.fromkeys(value[i] for i in indices))
            listed = ", ".join(repr(character) for character in named[:5]) + (", ..." if len(named) > 5 else "")
            raise DataError(
                f"not in the model's alphabet: {listed}, first at character {indices[0] + 1}",
                hint="leave it out or write it otherwise; the alphabet holds what the training text has "
                "(codec=bytes reads anything)",
            )

    def extra_nats(self, value: str) -> float:
        points = _points(self.normal(value))
        unknown = points[self._symbols[points] == 0]
        size = sum(int((unknown >= least).sum()) for least in (0, 0x80, 0x800, 0x10000))
        return size * 8 * math.log(2)

    def element_names(self, value: str) -> list[str]:
        return list(self.normal(value))

    def size(self, value: str) -> int:
        return len(self.normal(value))

    def cut(self, value: str, begin: int, end: int) -> str:
        return self.normal(value)[begin:end]

    @property
    def opening(self) -> str | None:
        return "\n" if "\n" in self.alphabet else None

    def facts(self, splits: Mapping[str, Iterable[Any]]) -> dict[str, Any]:
        return {**super().facts(splits), "alphabet": self.alphabet}

    @cached_property
    def _symbols(self) -> NDArray[np.int32]:
        """The symbol of each code point."""
        table = np.zeros(_POINTS, np.int32)
        table[_points(self.alphabet)] = np.arange(1, len(self.alphabet) + 1)
        return table

    @cached_property
    def _characters(self) -> NDArray[np.uint32]:
        """The code point of each symbol."""
        return _points(UNKNOWN + self.alphabet)


class Bytes(Utf8, name="bytes"):
    """One symbol a byte: anything is readable, and a sample may be no valid text. A value is `bytes`."""

    @property
    def space(self) -> Tokens:
        return Tokens(size=256)

    def fit(self, values: Iterable[bytes]) -> Self:
        return self

    def encode(self, value: bytes) -> Encoded:
        x = np.frombuffer(value, np.uint8).astype(np.int64)
        return Encoded(x, np.ones(len(x), bool))

    def decode(self, encoded: Encoded) -> bytes:
        x = np.where(encoded.known, encoded.x, 0)
        return x.astype(np.uint8).tobytes()

    def count(self, value: bytes) -> float:
        return len(value)

    def extra_nats(self, value: bytes) -> float:
        return 0.0

    def read(self, path: Path) -> Iterator[bytes]:
        return raw(path)

    def pieces(self, content: Any, begin: int = 0, end: int | None = None) -> Iterator[bytes]:
        return self.raw(content, begin, end)

    @property
    def opening(self) -> bytes:
        return b"\n"

    def element_names(self, value: bytes) -> list[str]:
        return [named(bytes([byte])) for byte in value]

    def symbols(self) -> list[str]:
        return [named(bytes([byte])) for byte in range(256)]

    def _coded(self, value: bytes) -> bytes:
        return value

    def write(self, value: bytes, path: Path) -> None:
        write_bytes(value, path)

    def typed(self, text: str) -> bytes:
        try:
            return text.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            check_utf8(text)
            raise

    def show(self, value: bytes) -> bytes:
        return value

    def examples(self) -> list[bytes]:
        return [b"the quick brown fox\n", bytes(range(256)), "\u6771\u4eac".encode()]


def named(data: bytes) -> str:
    """Bytes as a person reads them, those that are no UTF-8 by their numbers."""
    return data.decode("utf-8", "backslashreplace")


def distinct(pieces: Iterable[str]) -> str:
    """The distinct characters of a text that comes in pieces, in order of their code points."""
    occurs = np.zeros(_POINTS, bool)
    for piece in pieces:
        occurs[_points(piece)] = True
    return "".join(map(chr, np.flatnonzero(occurs)))


def _points(text: str) -> NDArray[np.uint32]:
    """The code points of a text."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def gaps(text: AnyStr, gap: int | None, blank: str | None) -> Iterator[tuple[AnyStr, int]]:
    """What stands before each gap and how long the gap is; at the end the rest, before no gap."""
    mark = _GAP if blank is None else re.escape(blank)
    begin = 0
    pattern = re.compile(mark if isinstance(text, str) else mark.encode())
    for match in pattern.finditer(text):
        yield text[begin : match.start()], gap or match.end() - match.start()
        begin = match.end()
    yield text[begin:], 0
