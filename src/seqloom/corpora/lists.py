"""Whether a text is a list with a thing a line, or a table, told from its beginning; and what reads it so."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from seqloom.core.content import raw

LOOKED_AT = 1 << 16
"""Bytes by which it is told."""
FEWEST = 50
"""Lines that there must be of them."""
BEGINNING = 40
"""Characters of a line by which it is told whether lines begin alike."""
_DELIMITERS = ",;\t|"
_NUMBER = re.compile(r"[-+]?[0-9]+([.,][0-9]+)?([eE][-+]?[0-9]+)?")
_MARK = re.compile(r"__\w+__|<\|?/?\w+\|?>|\[\w+\]")
"""What is no word of a text but stands after each turn of a conversation."""


def looks_like(path: Path, encoding: str) -> str:
    """What a text that is read as one looks like, and the setting that reads it so; nothing where it is prose."""
    beginning = next(raw(path, encoding=encoding), b"")[:LOOKED_AT].decode("utf-8", "replace")
    lines = [line.removesuffix("\r") for line in beginning.split("\n")[:-1]]
    if len(lines) < FEWEST:
        return ""
    if mark := _separator_of(lines):
        return f"conversations: corpus.separator={mark} makes each line one, with turns that end so"
    if _is_table(lines):
        return "a table of numbers: codec=series reads it as one"
    return "a list: corpus.items=line makes each line a thing of its own" if _is_list(lines) else ""


def _separator_of(lines: Sequence[str]) -> str:
    """What ends nearly all lines, and parts some of them, as the turns of conversations are; or nothing."""
    ((mark, many),) = Counter(line.split()[-1] if line.strip() else "" for line in lines).most_common(1)
    parts = sum(line.count(mark) > 1 for line in lines) if mark else 0
    return mark if _MARK.fullmatch(mark) and many >= 0.98 * len(lines) and parts >= 0.5 * len(lines) else ""


def _is_table(lines: Sequence[str]) -> bool:
    """Whether nearly all lines have as many cells, of which some are numbers in nearly every line."""
    for delimiter in _DELIMITERS:
        rows = [line.split(delimiter) for line in lines]
        ((cells, many),) = Counter(map(len, rows)).most_common(1)
        numbers = sum(any(_NUMBER.fullmatch(cell.strip()) for cell in row) for row in rows)
        if cells > 1 and min(many, numbers) >= 0.98 * len(lines) - 1:
            return True
    return False


def _is_list(lines: Sequence[str]) -> bool:
    """Whether these are most likely names or molecules, sentences, or the entries of a log.

    Entries begin alike but for their numbers and words: with a date, for one.
    """
    short = sum(line == line.strip() and 0 < len(line.split()) <= 3 for line in lines)
    sentences = sum(line[:1].isupper() and line.rstrip(" \"')”»").endswith((".", "!", "?")) for line in lines)
    begins = Counter(re.sub(r"[^\W\d_]+", "a", re.sub(r"\d+", "0", line[:BEGINNING]))[:5] for line in lines)
    alike = max((many for begin, many in begins.items() if "0" in begin), default=0)
    return max(short / 0.98, sentences / 0.9, alike / 0.9) >= len(lines)
