"""Files: one is a thing, or holds many; a folder holds things. And which corpus a DATA word means."""

from __future__ import annotations

import difflib
import hashlib
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar, Literal

from seqloom.codecs.base import Codec
from seqloom.core.config import make, member, members_of
from seqloom.core.content import BOM, UTF8, lines_of, raw
from seqloom.core.errors import ConfigError, DataError, SeqloomError
from seqloom.core.progress import count
from seqloom.corpora import shards
from seqloom.corpora.base import (
    SPLITS,
    Corpus,
    Given,
    Item,
    Items,
    Prepared,
    bad_of,
    sources_of,
    with_way_past,
)
from seqloom.corpora.lists import looks_like
from seqloom.corpora.readers import (
    codec_for,
    codec_of_text,
    codecs_of_files,
    is_text_by_name,
    kind_of,
    looks_like_text,
    may_be_text,
)

STDIN = "-"
MARK = BOM.encode()


class Files(Corpus, name="files"):
    """A file, a folder of files, or standard input (`-`), read by the codec that has their suffix.

    One text or table is a stream, split by position. A folder holds things, shared out by a keyed order of their
    names; texts of which there are fewer than ten, and series, are each split by position. Lines or paragraphs of a
    text may be things, and a file may hold many things in parts that name the splits.
    """

    rank: ClassVar[int] = -1
    where: ClassVar[tuple[str, ...]] = ("path", "valid", "test")

    path: str
    """The file or folder; `-` is standard input."""
    items: Literal["auto", "file", "line", "paragraph"] = "auto"
    """What a thing is: a file (`auto`: or each of those that a file holds in parts), a line, or a paragraph."""
    ends: bool | None = None
    """Whether each thing ends by itself; None: those of a folder do, but for series, and one stream does not."""
    valid: str = ""
    """A file or folder with the validation split, or the part of the file that is it."""
    test: str = ""
    """A file or folder with the test split, or the part of the file that is it."""
    columns: tuple[str, ...] = ()
    """The columns of a table that are the series, in this order; empty: all columns of numbers."""
    future: tuple[str, ...] = ()
    """Columns that are known ahead of time, such as prices and holidays: each is a condition beside the rows."""
    suffixes: tuple[str, ...] = ()
    """Which files of a folder are read, such as `.md,.py`; empty: those of the codec, or where it has none any text."""
    skip_bad: bool = False
    """Pass over files, or lines, that cannot be read, and say how many there were; else the first is an error."""

    @classmethod
    def takes(cls, word: str, settings: Mapping[str, Any]) -> dict[str, Any] | None:
        if word == STDIN:
            return {"path": str(shards.spool(sys.stdin.buffer))}
        path = Path(os.path.abspath(word))
        if not path.exists():
            return None
        if not path.is_file() and not path.is_dir():  # a pipe is read once
            with path.open("rb") as pipe:
                path = shards.spool(pipe)
        beside = {key: str(Path(settings[key]).absolute()) for key in ("valid", "test") if _is_there(settings.get(key))}
        return {"path": str(path), **beside}

    @property
    def place(self) -> str:
        return shards.kept_of(self._root) or self.path

    @property
    def of_lines(self) -> bool:
        return self.items == "line"

    @property
    def _in_texts(self) -> bool:
        """Whether things are stretches of texts: lines or paragraphs."""
        return self.items in {"line", "paragraph"}

    def parts(self, path: Path) -> bool:
        return self._in_texts or path.is_dir()

    def default_codec(self) -> Codec:
        root = self._root
        if self._in_texts and not root.is_dir():
            return codec_of_text()  # whatever the file is called: a list of names may be one column of a .csv
        paths = list(files_under(root, self.suffixes)) if root.is_dir() else [root]
        return codec_for(paths, root, any_text=bool(self.suffixes))

    def reading(self, codec: Codec, given: Mapping[str, Given]) -> Codec:
        taken = {column: name for name, source in sources_of(given).items() for column in source.columns}
        try:
            return codec.choosing(self.columns, tuple(taken))
        except ConfigError as error:
            if self.columns or not taken:
                raise
            path = f"given.{next(iter(taken.values()))}.source"
            raise ConfigError(error.message, path=path, hint="source=folder is the name of a file's folder") from None

    def declares(self) -> Mapping[str, Given]:
        return {name: Given(source=f"column:{name}", enters="align") for name in self.future}

    def condition_codec(self, given: Given, codec: Codec) -> Codec:
        from seqloom.corpora.sources import source_of

        source = source_of(given.source)
        first = self._files(codec)[0]
        if given.enters == "align":
            own = source.codec(codec, first)
        else:
            own = codec.field_codec(first, *source.columns) if len(source.columns) == 1 else None
        return own or super().condition_codec(given, codec)

    def offers(self, codec: Codec | None, given: Mapping[str, Given]) -> Sequence[str]:
        try:
            main = self.reading(codec or self.default_codec(), given)
            return main.offers(self._files(main)[0])
        except SeqloomError:  # what is wrong with the data is said where they are prepared
            return ()

    def things(self, codec: Codec, given: Mapping[str, Given]) -> Items:
        files = [
            (file, split)
            for file, split in self._files_with_splits(codec)
            if not file.empty and not (self.skip_bad and self._wrong_with(file.path, codec))
        ]
        if broken := next((file.wrong for file, _ in files if file.wrong), None):
            raise broken
        stream = not self._root.is_dir()
        if not any(split == "" for _, split in files):
            wrong = (one.wrong for one in self._summaries.values())
            if bad := next(filter(None, chain(self._bad.values(), wrong)), None):
                raise bad
            raise DataError(
                "the file is empty" if stream else "all files of the folder are empty",
                path=self.place,
                hint="give some data to learn from",
            )

        @cache
        def parted() -> bool:
            return self.items == "auto" and any(self._parts(file.path, codec) for file, _ in files)

        named = bool(given)
        identity = [
            ["" if stream and not named else self._name(file.path), file.digest, split] for file, split in files
        ]
        ends = (self._in_texts or (codec.ends and (not stream or parted()))) if self.ends is None else self.ends
        return Items(
            each=lambda: (item for file, split in files for item in self._things_in(file, split, codec)),
            identity=[self.items, self.valid and parted(), self.test and parted(), identity, _parents(files, named)],
            size=sum(file.size for file, _ in files),
            ends=ends,
            whole=self._in_texts or (not codec.divisible and parted()),
        )

    def notes(self, codec: Codec, given: Mapping[str, Given]) -> Iterator[str]:
        files = [item for item, _ in self._files_with_splits(codec)]
        guessed = next((item for item in files if self._is_guess(item.path, codec)), None)
        if guessed is not None:
            known = guessed.path.name.lower().endswith(tuple(s for kind in codecs_of_files() for s in kind.suffixes))
            reason = "no table or other thing was found in it" if known else "nothing else is known by its suffix"
            yield f"{guessed.path.name} is read as text (codec={codec.name}): {reason}"
        empty = [item for item in files if item.empty]
        marked, returned = [item for item in files if item.mark], [item for item in files if item.returns]
        if empty:
            names = ", ".join(self._name(item.path) for item in empty[:3])
            yield f"{names}{' ...' * (len(empty) > 3)} {'is' if len(empty) == 1 else 'are'} empty and left out"
        if marked and codec.mends:
            yield f"a byte-order mark at the start of {_named(marked)} is left out"
        if returned and codec.mends:
            yield f"the line ends CR LF of {_named(returned)} are read as LF"
        if codec.mends and codec.written_in == UTF8 and (zeros := sum(item.zeros for item in files)):
            held = _named([item for item in files if item.zeros])
            yield f"{count(zeros, 'zero byte')} of {held} {'is' if zeros == 1 else 'are'} read as characters"
        stream = self.items == "auto" and self.ends is None and not self._root.is_dir()
        if stream and codec.reads_anything and (looks := looks_like(files[0].path, codec.written_in)):
            name = shards.kept_of(files[0].path) or files[0].path.name
            yield f"{name} is read as one text and looks like {looks}"
        yield from self._left_out(codec, files)

    def _left_out(self, codec: Codec, files: Sequence[_Summary]) -> Iterator[str]:
        """What is bad, where that is passed over, and what a folder holds besides."""
        if self.skip_bad:
            if self._in_texts:
                texts = (
                    one for file in files if not file.wrong for one in _texts(file.path, self.items, codec.written_in)
                )
                found = ((self._wrong_text(text, codec), line) for text, line in texts)
                name = files[0].path if len(files) == 1 else ""
                wrong = (one and DataError(one.message, path=name, line=line) for one, line in found)
                yield from bad_of(wrong, f"{self.items}s")
                yield from bad_of((file.wrong for file in files), "files")
            else:
                each = [(file.path, self._wrong_with(file.path, codec)) for file in files]
                yield from bad_of((own for _, own in each), "files")
                good = [path for path, own in each if own is None]
                many = (codec.good_parts(path) for path in good if self.items == "auto")
                yield from bad_of((one for parts, bad in many for one in (*chain(*parts.values()), *bad)), "things")
        yield from left_out(self._root, [file.path for file in files], "corpus.suffixes says which are read")

    @cached_property
    def _bad(self) -> dict[Path, DataError | None]:
        return {}

    def _wrong_with(self, path: Path, codec: Codec) -> DataError | None:
        """What is wrong with a file that is one thing."""
        if self._in_texts:
            return self._summaries[path].wrong
        if path not in self._bad:
            self._bad[path] = None
            try:
                parts, bad = codec.good_parts(path) if self.items == "auto" else ({}, ())
                if bad and not any(parts.values()):
                    raise bad[0]
                for _ in () if parts else codec.pieces(path):
                    pass
            except DataError as error:
                self._bad[path] = error
        return self._bad[path]

    def _parts(self, path: Path, codec: Codec) -> Mapping[str, Sequence[Any]]:
        """The things of a file that holds many, by part; without bad ones where these are passed over."""
        return codec.good_parts(path)[0] if self.skip_bad else codec.parts(path)

    def _wrong_text(self, text: bytes, codec: Codec) -> DataError | None:
        """What is wrong with a line or paragraph."""
        try:
            codec.typed(text.decode("utf-8", "surrogateescape"))
        except DataError as error:
            return error
        return None

    def _files(self, codec: Codec, root: Path | None = None) -> list[Path]:
        return _files(root or self._root, codec, self.suffixes)

    def prepare(
        self, codec: Codec | None, given: Mapping[str, Given], notify: Callable[[str], None] | None = None
    ) -> Prepared:
        try:
            return super().prepare(codec, given, notify)
        except DataError as error:
            if name := shards.kept_of(Path(error.path)):
                raise error.at(name, error.line) from None
            one_of_many = Path(error.path) in self._summaries and (
                self._root.is_dir() or self._holds_good(Path(error.path), codec or self.default_codec())
            )
            if self.skip_bad or not (one_of_many or (self.items != "auto" and error.line)):
                raise
            raise with_way_past(error) from None

    def _holds_good(self, path: Path, codec: Codec) -> bool:
        """Whether a file holds things that can be read beside those that cannot."""
        if self.items != "auto":
            return False
        try:
            parts, bad = codec.good_parts(path)
        except DataError:
            return False
        return bool(bad) and any(parts.values())

    @cached_property
    def _root(self) -> Path:
        """Where the files are; standard input is read once, into the cache."""
        return shards.spool(sys.stdin.buffer) if self.path == STDIN else Path(self.path)

    @cached_property
    def _summaries(self) -> dict[Path, _Summary]:
        return {}

    def _files_with_splits(self, codec: Codec) -> list[tuple[_Summary, str]]:
        """Every file, read once for its summary, and the split that it is given for."""
        files = [(path, "") for path in self._files(codec)]
        for split, word in (("valid", self.valid), ("test", self.test)):
            if _is_there(word):
                files += [(path, split) for path in self._files(codec, Path(word))]
            elif word and not any(word in codec.parts(path) for path, _ in files):
                raise DataError(
                    "there is no such file, and no such part of the data", path=word, hint=f"mend corpus.{split}"
                )
        for path, _ in files:
            if path not in self._summaries:
                self._summaries[path] = _summary_of(path)
        return [(self._summaries[path], split) for path, split in files]

    def _is_guess(self, path: Path, codec: Codec) -> bool:
        """Whether a file is read as text because no codec has its suffix."""
        asked = self.items != "auto" or bool(self.suffixes)
        guessed = bool(path.suffix) and not asked and path.parent != shards.spooled() and not is_text_by_name(path)
        return guessed and kind_of(path) is None and codec.name == codec_of_text().name

    def _things_in(self, file: _Summary, split: str, codec: Codec) -> Iterator[Item]:
        """The things of one file."""
        if self._in_texts:
            for text, line in _texts(file.path, self.items, codec.written_in):
                if self.skip_bad and self._wrong_text(text, codec):
                    continue
                digest = hashlib.sha256(text).hexdigest()
                yield Item(digest, text.decode("utf-8", "surrogateescape"), digest, split, path=file.path, line=line)
            return
        name = self._name(file.path)
        parts = self._parts(file.path, codec) if self.items == "auto" else {}
        if not parts:
            yield Item(name, file.path, file.digest, split, path=file.path, codec=codec)
        for part, values in parts.items():
            own_split = self._split_of(part, list(parts), file.path) or split
            for i, value in enumerate(values):
                digest = hashlib.sha256(f"{file.digest} {part} {i}".encode()).hexdigest()
                yield Item(f"{name} {part} {i}", value, digest, own_split, path=file.path, codec=codec)

    def _split_of(self, part: str, parts: list[str], path: Path) -> str:
        """The split that a part of a file is; nothing where its things are to be shared out."""
        splits = {**{name: name for name in SPLITS}, self.valid: "valid", self.test: "test"}
        if part in splits and part:
            return splits[part]
        if len(parts) == 1:
            return ""
        raise DataError(
            f"the part {part!r} is none of {', '.join(SPLITS)}",
            path=path,
            hint=f"corpus.valid={part} or corpus.test={part} says which it is",
        )

    def _name(self, path: Path) -> str:
        root = self._root
        return path.relative_to(root).as_posix() if root.is_dir() and path.is_relative_to(root) else path.name


def corpus_of(data: str | Path, settings: Mapping[str, Any] | str | None = None) -> Corpus:
    """The corpus that a DATA word means: a file, a folder, `-`, `builtin:NAME`.

    `settings` are those of the corpus, or its name. Where they say which corpus it is, and not where its things are,
    that one is asked what the word means.
    DataError where no corpus takes the word.
    """
    data = str(data)
    rest = {"name": settings} if isinstance(settings, str) else dict(settings or {})
    if "name" in rest:
        return _corpus_called(data, rest)
    corpora: dict[str, type[Corpus]] = members_of(Corpus)  # type: ignore[assignment]
    meant: dict[str, Any] = {}
    for name, corpus in sorted(corpora.items(), key=lambda entry: -entry[1].rank):
        own = corpus.takes(data, rest)
        if own is None:
            continue
        meant = meant or {"name": name, **rest, **own}
        if rest.keys() <= corpus.model_fields.keys():  # else the settings may be those of another that takes it
            meant = {"name": name, **rest, **own}
            break
    if not meant:
        raise DataError("there is no such file or folder", path=data, hint=_neighbour(Path(os.path.abspath(data))))
    try:
        return make(Corpus, meant)  # type: ignore[type-abstract]
    except ConfigError as error:
        raise error.under("corpus") from None


def _corpus_called(data: str, settings: dict[str, Any]) -> Corpus:
    """The corpus that the settings name, at the place that they say, or else the DATA word."""
    try:
        kind = member(Corpus, str(settings.pop("name")))  # type: ignore[type-abstract]
        own = None if set(kind.where) & set(settings) else kind.takes(data, settings)
        return kind.parse({**settings, **(own or {})})
    except ConfigError as error:
        raise error.under("corpus") from None


def corpus_like(corpus: Corpus, data: str | Path | Corpus, **settings: Any) -> Corpus:
    """The corpus of a DATA word, read as another one is where it is of the same kind; of a corpus itself."""
    if isinstance(data, Corpus):
        return data.replace(**settings)
    own = {key: getattr(corpus, key) for key in corpus.model_fields_set if key not in corpus.where}
    try:
        return corpus_of(data, own | settings)
    except ConfigError:
        return corpus_of(data, settings)


@dataclass(frozen=True)
class _Summary:
    """Facts about the bytes of a file: how many, their hash, what will be mended, and where it is broken."""

    path: Path
    size: int
    digest: str
    mark: bool
    returns: bool
    zeros: int
    wrong: DataError | None = None

    @property
    def empty(self) -> bool:
        return self.wrong is None and self.size == (len(MARK) if self.mark else 0)


def _summary_of(path: Path) -> _Summary:
    digest, size, first, returns, end, zeros = hashlib.sha256(), 0, b"", False, b"", 0
    try:
        for piece in raw(path):
            first = first or piece[:3]
            digest.update(piece)
            size += len(piece)
            returns = returns or b"\r\n" in piece or (end == b"\r" and piece[:1] == b"\n")
            end, zeros = piece[-1:], zeros + piece.count(0)
    except DataError as error:
        if not path.is_file():
            raise
        return _Summary(path, size, digest.hexdigest(), first == MARK, returns, zeros, error)
    return _Summary(path, size, digest.hexdigest(), first == MARK, returns, zeros)


def _texts(path: Path, what: str, encoding: str) -> Iterator[tuple[bytes, int]]:
    """The lines of a file that are not blank, or its paragraphs, as bytes without their ends; each with its line."""
    paragraph: list[bytes] = []
    for number, line in enumerate(lines_of(path, encoding), 1):
        blank = not line.strip()
        if what == "line" and not blank:
            yield line, number
        elif what == "paragraph" and not blank:
            paragraph.append(line)
        elif paragraph:
            yield b"\n".join(paragraph), number - len(paragraph)
            paragraph = []
    if paragraph:
        yield b"\n".join(paragraph), number - len(paragraph) + 1


def _files(root: Path, codec: Codec, wanted: tuple[str, ...]) -> list[Path]:
    """The file, or those of a folder that are wanted; else those of the codec, or any text where it has none."""
    if not root.is_dir():
        return [root]
    paths = list(files_under(root, wanted or codec.suffixes))
    if not paths and not wanted and codec.reads_anything:
        paths = [path for path in files_under(root) if may_be_text(path)]
    if not paths:
        suffixes = " or ".join(wanted or codec.suffixes) or "readable"
        raise DataError(f"the folder holds no {suffixes} file", path=root, hint="give a folder of such files")
    return paths


def left_out(root: Path, read: Iterable[Path], way: str) -> Iterator[str]:
    """What is said of the texts and tables of a folder that are not `read`, with the `way` to read them.

    What is called as those that are read is meant to be one, even where it does not look like text.
    """
    if not root.is_dir():
        return
    known = set(read)
    kinds = {path.suffix for path in known}
    others = (path for path in files_under(root) if path not in known)
    ends = Counter(path.suffix for path in others if path.suffix in kinds or looks_like_text(path))
    if ends:
        listed = ", ".join(f"{suffix or 'no suffix'} {count:,}" for suffix, count in ends.most_common(5))
        yield f"other files of the folder are left out: {listed} ({way})"


def files_under(root: Path, suffixes: tuple[str, ...] = ()) -> Iterator[Path]:
    """The files under a folder with one of these suffixes, sorted; hidden files and folders are passed over."""
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(folder, name)
            fits = not suffixes or name.lower().endswith(suffixes)
            if fits and not name.startswith(".") and path.is_file():
                yield path


def _parents(files: list[tuple[_Summary, str]], named: bool) -> list[str]:
    """The names of the folders that the files lie in, which a condition may ask for."""
    return [file.path.absolute().parent.name for file, _ in files] if named else []


def _is_there(word: str | None) -> bool:
    return bool(word) and Path(word).exists()  # type: ignore[arg-type]


def _neighbour(path: Path) -> str:
    names = [item.name for item in path.parent.iterdir()] if path.parent.is_dir() else []
    close = difflib.get_close_matches(path.name, names, n=1)
    if close:
        return f"did you mean {path.with_name(close[0])}?"
    return "DATA is a file, a folder, - for standard input, or builtin:NAME"


def _named(files: list[_Summary]) -> str:
    return files[0].path.name if len(files) == 1 else f"{len(files)} files"
