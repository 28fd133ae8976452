"""Which codec reads a file, a text or a word, where the user names none."""

from __future__ import annotations

import mimetypes
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from seqloom.codecs.base import Codec
from seqloom.core.config import members_of
from seqloom.core.content import raw
from seqloom.core.errors import DataError


def codecs() -> list[type[Codec]]:
    """All codecs that there are."""
    return list(members_of(Codec).values())  # type: ignore[arg-type]


def codec_of_words() -> Codec:
    """What reads a condition that is a word: the codec whose values are added to every position."""
    return max((kind for kind in codecs() if kind.enters == "add"), key=lambda kind: kind.rank)()


def codec_of_text() -> Codec:
    """What reads a text, and a file whose suffix no codec has."""
    return max((kind for kind in codecs() if kind.reads_anything), key=lambda kind: kind.rank)()


def codec_for(paths: Iterable[Path], root: Path, *, any_text: bool = False) -> Codec:
    """The codec that reads these files: asked of the codecs' suffixes, rank and probe; else that of text.

    Where not `any_text` is meant, only files that look like it, or are called so, are taken for text.
    """
    paths = list(paths)
    kinds: dict[type[Codec], Path] = {}
    last = None
    for last in paths:
        kind = kind_of(last)
        if kind is not None:
            kinds.setdefault(kind, last)
    if len(kinds) > 1:
        names = " and ".join(f"{path.name} (codec={kind.name})" for kind, path in kinds.items())
        raise DataError(
            f"the folder holds files of several kinds: {names}",
            path=root,
            hint="say which are meant: " + ", ".join(f"codec={kind.name}" for kind in kinds),
        )
    if kinds:
        return next(iter(kinds))()
    text = any_text or any(map(may_be_text, paths))
    if last is None or (root.is_dir() and not text):
        known = sorted({suffix for kind in codecs_of_files() for suffix in kind.suffixes})
        there = Counter(path.suffix for path in paths).most_common(3)
        found = (
            ": it has " + ", ".join(f"{suffix or 'no suffix'} {count:,}" for suffix, count in there) if there else ""
        )
        raise DataError(
            f"the folder holds nothing that can be read{found}",
            path=root,
            hint=f"files that can be: {', '.join(known)}",
        )
    return codec_of_text()


def kind_of(path: Path) -> type[Codec] | None:
    """The codec that reads a file, or one that would be called so, where the user names none."""
    fitting = _with_suffix(path)
    if len(fitting) > 1 and path.is_file():
        fitting = [kind for kind in fitting if kind().probe(path)]
    return max(fitting, key=lambda kind: kind.rank, default=None)


def is_read(path: Path) -> bool:
    """Whether a codec that has the suffix of a file says that it is one of its own."""
    return any(kind().probe(path) for kind in _with_suffix(path))


def codecs_of_files() -> list[type[Codec]]:
    """Those that may read a file where none is named; those of conditions do not."""
    return [kind for kind in codecs() if kind.rank >= 0]


def _with_suffix(path: Path) -> list[type[Codec]]:
    """Those that have the suffix of a file."""
    return [kind for kind in codecs_of_files() if path.name.lower().endswith(kind.suffixes)]


def looks_like_text(path: Path) -> bool:
    """Whether the beginning of a file is UTF-8 without zeros."""
    try:
        beginning = next(raw(path), b"")[:4096]
        decoded = beginning.decode()
    except DataError:  # packed and broken, which is an error where it is read
        return True
    except UnicodeDecodeError as error:
        return error.start > len(beginning) - 4 and len(beginning) == 4096  # a character was cut
    return bool(decoded) and "\0" not in decoded


def may_be_text(path: Path) -> bool:
    """Whether a file is read where any text is: it looks like text, or it is called so, and is in another encoding."""
    return is_text_by_name(path) or looks_like_text(path)


def is_text_by_name(path: Path) -> bool:
    """Whether a suffix stands for text: Markdown, source code and the like."""
    return (mimetypes.guess_type(path.name)[0] or "").startswith("text/")
