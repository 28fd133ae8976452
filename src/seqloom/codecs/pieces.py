"""Text as pieces of words, learned from the training text or read from a `tokenizer.json`."""

from __future__ import annotations

import hashlib
import json
import re
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field as Limits
from pydantic import field_validator

from seqloom.codecs.base import Codec
from seqloom.codecs.merges import Merges
from seqloom.codecs.text import Strings, named
from seqloom.core.content import raw
from seqloom.core.errors import ConfigError, DataError, no_json
from seqloom.core.rng import Rng
from seqloom.sequence.canvas import Begun, Canvas, Encoded
from seqloom.sequence.space import Tokens
from seqloom.sequence.stop import ByteStop

if TYPE_CHECKING:
    from tokenizers import Tokenizer

FEWEST, MOST = 512, 32_768
"""Pieces that are learned of a little text, and of a lot."""
TOGETHER = 1 << 16
"""Characters that are encoded at once."""
LONGEST_WORD = 32
"""Symbols of a word that a prompt ends in, at most, in place of which others may be made."""
LONGEST = 1 << 22
"""Characters without a space between them that are held together at most."""
SPACE = "\N{LOWER ONE EIGHTH BLOCK}"
"""How tokenizers that fall back to bytes write a space."""
_BYTE = re.compile(r"<0x([0-9A-F]{2})>")
_INVALID = re.compile("[\udc80-\udcff]+")
_SEAM = re.compile(r"\S(?= \S)")
_WHITE = "\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_WORD = re.compile(f"[{_WHITE}]*[^{_WHITE}]+|[{_WHITE}]+")
"""A word with the white space before it, in Unicode's sense of white space, which is that of the library."""
REMEMBERED, LONG_WORD = 1 << 17, 64
"""Words whose symbols are kept at most, and characters of the longest."""
HINT = "give the tokenizer.json of a model, as the tokenizers library writes it"
FEW = 32
"""So few texts are not worth sharing out between cores."""
_PROBES = (
    "A\u00c9 a  b\t\n\n c\r\nd\x00 e\u0301 \ufb01 \uff21 \u00df \u6771\u4eac \N{GRINNING FACE} 1,234.5 'S don't ",
    " x",
)


class Pieces(Strings):
    """Text whose symbols stand for runs of bytes, every single byte among them: whatever is read has symbols.

    A text can be written in several ways, of which `encode` takes one: its likelihood is a bound on that of the text.
    A character that is only begun is in a value as Python has bytes that are no UTF-8, by lone surrogates.
    """

    rank: ClassVar[int] = -1

    @property
    def ambiguous(self) -> bool:
        return True

    def for_more(self) -> Codec:
        return self

    @property
    @abstractmethod
    def spelling(self) -> list[bytes]:
        """The bytes that each symbol stands for."""

    @abstractmethod
    def symbols_of(self, text: str) -> list[int]:
        """The symbols of a text that is valid UTF-8, and made alike."""

    @property
    def space(self) -> Tokens:
        return Tokens(size=len(self.spelling))

    def symbols(self) -> list[str]:
        return [named(data) for data in self.spelling]

    def encode(self, value: str) -> Encoded:
        found = [self._symbols_of_any(value)] if len(value) <= TOGETHER else self._together(value)
        x = np.concatenate([np.zeros(0, np.int64), *(np.array(part, np.int64) for part in found)])
        return Encoded(x, np.ones(len(x), bool))

    def _together(self, value: str) -> list[list[int]]:
        """The symbols of the parts of a long value."""
        parts = list(in_parts([value], TOGETHER))
        if _INVALID.search(value):
            return [self._symbols_of_any(part) for part in parts]
        return self.symbols_of_several([self.normal(part) for part in parts])

    def symbols_of_several(self, texts: Sequence[str]) -> list[list[int]]:
        """The symbols of each of several texts."""
        return [self.symbols_of(text) for text in texts]

    def decode(self, encoded: Encoded) -> str:
        data = b"".join(self.spelling[symbol] for symbol in encoded.x[encoded.known].tolist())
        return data.decode("utf-8", "surrogateescape")

    def size(self, value: str) -> int:
        return len(self.encode(value).x)

    def cut(self, value: str, begin: int, end: int) -> str:
        x = self.encode(value).x[begin:end]
        return self.decode(Encoded(x, np.ones(len(x), bool)))

    def element_names(self, value: str) -> list[str]:
        return [named(self.spelling[symbol]) for symbol in self.encode(value).x.tolist()]

    def matching(self, pattern: re.Pattern[str]) -> list[int]:
        """The symbols all of whose characters match a pattern."""
        names = enumerate(self.symbols())
        return [symbol for symbol, name in names if name and all(map(pattern.fullmatch, name))]

    def begun(self, symbols: NDArray[np.int64]) -> Begun | None:
        spelled = [self.spelling[symbol] for symbol in symbols[-LONGEST_WORD:].tolist()]
        starts = [count for count in range(1, len(spelled)) if spelled[-count][:1].isspace()]
        count = starts[0] if starts else min(1, len(symbols) - 1)
        return Begun(b"".join(spelled[-count:]), self.spelling, count) if count > 0 else None

    def stop(self, value: str, canvas: Canvas) -> ByteStop:
        first = canvas.begun.get(int(canvas.shown.argmin()))
        text = self._coded(self.normal(value))
        return ByteStop(text, self.spelling, self.single, 0 if first is None else len(first.text))

    @property
    def opening(self) -> str:
        return "\n"

    def pieces(self, content: Any, begin: int = 0, end: int | None = None) -> Iterator[str]:
        return in_parts(super().pieces(content, begin, end))

    def show(self, value: str) -> bytes:
        return self._coded(value)

    def _coded(self, value: str) -> bytes:
        try:
            return value.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            return super()._coded(value)

    def _symbols_of_any(self, value: str) -> list[int]:
        """The symbols of a value; bytes that are no UTF-8 are symbols by themselves."""
        if value.isascii():
            return self.symbols_of(self.normal(value))
        value = self._coded(value).decode("utf-8", "surrogateescape")
        found, begin = [], 0
        for match in _INVALID.finditer(value):
            found += self.symbols_of(self.normal(value[begin : match.start()])) if match.start() > begin else []
            found += [self.single[ord(character) - 0xDC00] for character in match.group()]
            begin = match.end()
        return found + (self.symbols_of(self.normal(value[begin:])) if begin < len(value) else [])

    @cached_property
    def single(self) -> list[int]:
        """The symbol of each single byte."""
        numbers = {data: number for number, data in reversed(list(enumerate(self.spelling))) if len(data) == 1}
        return [numbers[bytes([byte])] for byte in range(256)]


class Learned(Pieces):
    """Pieces as the `tokenizers` library learns, writes and applies them: of bytes, so that nothing is unknown."""

    most: int | None = Limits(default=None, ge=257)
    """Pieces, the 256 single bytes among them; None: by the bytes of the training text, 512 to 32,768."""
    special: tuple[str, ...] = ()
    """Texts that are one symbol each wherever they stand, such as `<sep>`."""
    pretrained: str = ""
    """A `tokenizer.json` that is taken as it is, in place of pieces that are learned."""
    tokenizer: dict[str, Any] = {}
    """The tokenizer, in the library's own format; empty: to be learned."""

    learned_from: ClassVar[int]
    """Characters of the training text that pieces are learned from at most, spread over all of it."""

    @field_validator("special")
    @classmethod
    def _without_spaces(cls, special: tuple[str, ...]) -> tuple[str, ...]:
        if wrong := next((text for text in special if not text or re.search(r"\s", text)), None):
            raise ValueError(f"{wrong!r} is empty or has a space in it")
        return special

    @field_validator("tokenizer", mode="before")
    @classmethod
    def _no_name(cls, tokenizer: object) -> object:
        if isinstance(tokenizer, str):
            raise ValueError(f"this is the tokenizer itself; one in a file is pretrained={tokenizer}")
        return tokenizer

    @property
    def fitted(self) -> bool:
        return bool(self.tokenizer)

    @property
    def space(self) -> Tokens:
        if not self.tokenizer:
            raise ConfigError("there are no pieces until the codec is fitted", path="codec.tokenizer")
        return super().space

    @property
    def learned_elsewhere(self) -> str:
        if not self.pretrained:
            return ""
        return hashlib.sha256(_content(Path(self.pretrained))).hexdigest()

    @cached_property
    def never(self) -> tuple[int, ...]:
        return tuple(number for number, data in enumerate(self.spelling) if not data)

    @property
    def loses(self) -> str:
        own = "what the tokenizer itself makes alike" if self._changes else ""
        return " and ".join(filter(None, [super().loses, own]))

    def fit(self, values: Iterable[str]) -> Self:
        if self.pretrained:
            return self.replace(tokenizer=_pretrained(Path(self.pretrained)))
        texts, size = _spread(values, self.learned_from)
        if not size:
            raise DataError("there is no text to learn pieces from")
        tokenizer, trainer = self.untrained(self.most or advised(size))
        tokenizer.train_from_iterator(map(self.normal, texts), trainer)
        return self.replace(tokenizer=json.loads(tokenizer.to_str()))

    @abstractmethod
    def untrained(self, most: int) -> tuple[Tokenizer, Any]:
        """A tokenizer that has learned nothing, and what teaches it so many pieces."""

    def notes(self, splits: Mapping[str, Iterable[Any]]) -> list[str]:
        size = f"{len(self.spelling):,} pieces, so many by the size of the training text (codec.most)"
        chosen = [] if self.most or self.pretrained else [size]
        alike = "the tokenizer itself makes text alike: what it changes is lost (codec.pretrained)"
        return [*super().notes(splits), *chosen, *([alike] if self._changes else [])]

    def symbols_of(self, text: str) -> list[int]:
        return self._of_words(text) if self._within_words else self.plain_symbols_of([text])[0]

    def symbols_of_several(self, texts: Sequence[str]) -> list[list[int]]:
        return list(map(self._of_words, texts)) if self._within_words else self.plain_symbols_of(texts)

    def plain_symbols_of(self, texts: Sequence[str]) -> list[list[int]]:
        """The symbols of each of several texts as the library finds them; of many, on all cores."""
        if len(texts) < FEW:
            return [self._tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
        return [one.ids for one in self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]

    def _of_words(self, text: str) -> list[int]:
        """The symbols of a text, each word of which is given to the library once."""
        words, known = _WORD.findall(text), self._remembered
        if len(known) > REMEMBERED:
            known.clear()
        if new := [word for word in set(words) if word not in known]:  # (a difference goes through all that is known)
            known.update(zip(new, self.plain_symbols_of(new), strict=True))
        found = list(chain.from_iterable(map(known.__getitem__, words)))
        for word in new:
            if len(word) > LONG_WORD:
                del known[word]
        return found

    @cached_property
    def _changes(self) -> bool:
        """Whether some text does not come back from its pieces as it was."""
        return bool(self.pretrained) and any(self.decode(self.encode(text)) != self.normal(text) for text in _PROBES)

    @cached_property
    def _within_words(self) -> bool:
        """Whether no piece stands across the end of a word, as where the library parts them, so that each can be known.

        Other tokenizers join a mark and the end of its line, or whole texts.
        """
        parts, tokenizer = self.tokenizer["pre_tokenizer"] or {}, self.tokenizer
        alone = parts.get("type") == "ByteLevel" and parts.get("use_regex", True) and not parts["add_prefix_space"]
        spaced = any(
            re.search(r"\s", one["content"]) or one["lstrip"] or one["rstrip"] for one in tokenizer["added_tokens"]
        )
        return alone and not tokenizer["normalizer"] and not spaced

    @cached_property
    def _remembered(self) -> dict[str, list[int]]:
        """The symbols of words that were read."""
        return {}

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        from tokenizers import Tokenizer

        return Tokenizer.from_str(json.dumps(self.tokenizer))

    @cached_property
    def spelling(self) -> list[bytes]:
        names = {number: name for name, number in self._tokenizer.get_vocab(with_added_tokens=False).items()}
        bytewise = _has(self.tokenizer["pre_tokenizer"], "ByteLevel")
        spelled = _in_level if bytewise else _with_fallback
        literally = str.encode if bytewise else _with_fallback
        added = {one["id"]: literally(one["content"]) for one in self.tokenizer["added_tokens"]}
        size = 1 + max([*names, *added])
        return [added[i] if i in added else spelled(names[i]) if i in names else b"" for i in range(size)]


class Bpe(Learned, name="bpe"):
    """Pieces of words by byte-pair encoding (Sennrich et al. 2016), over bytes (Radford et al. 2019).

    The two that stand together most often become one, again and again.
    """

    learned_from: ClassVar[int] = 50_000_000

    def untrained(self, most: int) -> tuple[Tokenizer, Any]:
        from tokenizers import Tokenizer, models, trainers

        settings = _settings(most, self.special)
        return _in_bytes(Tokenizer(models.BPE())), trainers.BpeTrainer(**settings)

    def written_anew(
        self, rows: Sequence[NDArray[np.int64]], rng: Rng, share: float
    ) -> tuple[list[NDArray[np.int64]], list[NDArray[np.int64]]]:
        return self._merges.anew(rows, rng, share)

    @cached_property
    def _merges(self) -> Merges:
        tokenizer, words = self.tokenizer, self._tokenizer.pre_tokenizer
        merged = tokenizer["model"]["type"] == "BPE"
        if not merged or tokenizer["normalizer"] or not _has(tokenizer["pre_tokenizer"], "ByteLevel"):
            raise ConfigError(
                "this tokenizer joins no bytes to pieces, so no merge can be left out",
                path="feed.augment",
                hint="leave codec.pretrained unset, or bpe_dropout out",
            )
        return Merges(tokenizer["model"], words, self.spelling, self.single)


class Unigram(Learned, name="unigram"):
    """Pieces of words by how likely they make the text, each drawn by itself (Kudo 2018), over bytes.

    Learning them takes far longer than those of `bpe`, and no two learnings agree to the last digit.
    """

    learned_from: ClassVar[int] = 10_000_000

    def untrained(self, most: int) -> tuple[Tokenizer, Any]:
        from tokenizers import Tokenizer, models, trainers

        settings = _settings(most, self.special)
        return _in_bytes(Tokenizer(models.Unigram())), trainers.UnigramTrainer(**settings)


def advised(size: int) -> int:
    """Pieces for a training text of so many bytes: a power of two that grows a little slower than its root."""
    return int(np.clip(2 ** round(np.log2(4 * size**0.45)), FEWEST, MOST))


def in_parts(texts: Iterable[str], most: int = 0) -> Iterator[str]:
    """A text that comes in pieces, parted before spaces between words alone, where no symbol stands across.

    Parts are at most about `most` characters long; 0: as long as they come.
    """
    held = ""
    for text in texts:
        held += text
        while most and len(held) > most and (at := _seam(held, most)):
            yield held[:at]
            held = held[at:]
        if not most and (at := _seam(held, len(held)) or len(held) * (len(held) > LONGEST)):
            yield held[:at]
            held = held[at:]
    if held:
        yield held


def _seam(text: str, most: int) -> int:
    """The last place up to `most` where a space parts two words, or the first one after it; 0: there is none."""
    for begin in (max(0, most - 1000), 0):
        places = [match.end() for match in _SEAM.finditer(text, begin, most)]
        if places:
            return places[-1]
    match = _SEAM.search(text, most)
    return match.end() if match else 0


def _spread(values: Iterable[str], most: int) -> tuple[list[str], int]:
    """Texts of at most `most` characters from all over these, and how many bytes they all are."""
    kept: list[str] = []
    every, length, size = 1, 0, 0
    for number, text in enumerate(values):
        size += len(text.encode("utf-8", "surrogatepass"))
        if number % every == 0:
            kept.append(text)
            length += len(text)
        if length > most and len(kept) > 1:
            kept, every = kept[::2], 2 * every
            length = sum(map(len, kept))
    return kept, size


def _settings(most: int, special: Sequence[str]) -> dict[str, Any]:
    """What both ways to learn pieces are told."""
    from tokenizers import AddedToken, pre_tokenizers

    return {
        "vocab_size": most,
        "initial_alphabet": sorted(pre_tokenizers.ByteLevel.alphabet()),
        "special_tokens": [AddedToken(text, normalized=False, special=True) for text in special],
        "show_progress": False,
    }


def _in_bytes(tokenizer: Tokenizer) -> Tokenizer:
    """A tokenizer that reads bytes, written as characters that can be seen."""
    from tokenizers import decoders, pre_tokenizers

    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _content(path: Path) -> bytes:
    """What a file holds; of a folder the error names the tokenizer in it."""
    if path.is_dir():
        there = path / "tokenizer.json"
        hint = f"give {there}" if there.is_file() else HINT
        raise DataError("this is a folder, where a file is wanted", path=path, hint=hint)
    return b"".join(raw(path))


def _pretrained(path: Path) -> dict[str, Any]:
    """What a `tokenizer.json` says, without what is put around or before a text; an error where it is none."""
    from tokenizers import Tokenizer

    hint, text = HINT, _content(path).decode("utf-8", "replace")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"the file is no tokenizer, for it is no JSON: {no_json(error)}", path=path, hint=hint
        ) from None
    if not isinstance(found, dict) or "model" not in found:
        has = f": it has {', '.join(map(repr, list(found)[:4]))}" if isinstance(found, dict) and found else ""
        raise DataError(f"the file is no tokenizer, but other JSON{has}", path=path, hint=hint)
    try:
        tokenizer = Tokenizer.from_str(text)
        pieces = tokenizer.get_vocab()
        content: dict[str, Any] = json.loads(tokenizer.to_str())  # with every part that the file leaves out
    except Exception as error:  # the library raises no narrower one
        reason = " ".join(str(error).split())
        raise DataError(f"the file is no tokenizer: {reason}", path=path, hint=hint) from None
    bytewise = _has(content["pre_tokenizer"], "ByteLevel")
    single = {f"<0x{byte:02X}>" for byte in _OF_UTF8}
    if bytewise:
        single = {name for name, byte in _LEVEL.items() if byte in _OF_UTF8}
    whole = bytewise or content["model"].get("byte_fallback")
    if not whole or not single <= pieces.keys():  # what has no piece would be left out in silence
        message = f"this tokenizer ({content['model']['type']}) has characters that are unknown to it"
        hint = "take one over all bytes, or with byte fallback; codec=words and codec=bpe learn their own"
        raise DataError(message, path=path, hint=hint)
    content |= {"truncation": None, "padding": None, "post_processor": None}
    taken: dict[str, Any] = _without_prefix(content)
    return taken


def _without_prefix(part: Any) -> Any:
    """A tokenizer without the space that it puts before a text: the text would not come back."""
    if isinstance(part, list):
        return [_without_prefix(one) for one in part if not (isinstance(one, dict) and one.get("type") == "Prepend")]
    if not isinstance(part, dict) or part.get("type") == "Prepend":
        return None if isinstance(part, dict) else part
    changed = {"add_prefix_space": False, "prepend_scheme": "never"}
    kept = {key: value for key, value in part.items() if key not in {"vocab", "merges"}}
    return part | {key: changed.get(key, _without_prefix(value)) for key, value in kept.items()}


def _has(part: Any, kind: str) -> bool:
    """Whether a part of a tokenizer, or one in it, is of a kind."""
    if isinstance(part, list):
        return any(_has(one, kind) for one in part)
    return isinstance(part, dict) and (part.get("type") == kind or _has(part.get("pretokenizers"), kind))


def _in_level(name: str) -> bytes:
    """The bytes of a piece that is written by characters that can be seen."""
    return bytes(_LEVEL[character] for character in name)


def _with_fallback(name: str) -> bytes:
    """The bytes of a piece that is text, or one byte by its number."""
    match = _BYTE.fullmatch(name)
    return bytes([int(match[1], 16)]) if match else name.replace(SPACE, " ").encode()


def _level() -> dict[str, int]:
    """The byte that each character stands for: printable ones of Latin-1 for themselves, the rest from 256 on."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(rest)}


_LEVEL = _level()
_OF_UTF8 = {byte for byte in range(0xF5) if byte not in {0xC0, 0xC1}}
"""The bytes that stand in text."""
