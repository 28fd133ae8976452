"""The samples of several settings side by side, as a table for a terminal, as one page, or as JSON."""

from __future__ import annotations

import base64
import html
import itertools
import shutil
import textwrap
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from seqloom.cli.queries import AnnotatedQuery, samples_of
from seqloom.cli.session import Session, put, put_json
from seqloom.core.errors import ConfigError
from seqloom.core.page import page
from seqloom.core.progress import Progress, columns, printable

if TYPE_CHECKING:
    from seqloom.cli.beside import Ranking
    from seqloom.cli.sampling import Output
    from seqloom.codecs.base import Codec
    from seqloom.model import Model

NARROWEST = 24
"""Columns of a terminal that one setting is given at least; where there are fewer, settings stand below each other."""
BLANK = "(nothing but spaces and ends of lines)"
"""What stands for a sample in which there is nothing to see."""

_STYLE = """
table {{ border-collapse: collapse; table-layout: fixed; width: 100%; min-width: {width}rem; }}
th, td {{ border: 1px solid #8886; padding: .5rem .7rem; text-align: left; vertical-align: top; }}
"""


def changes_of(words: Sequence[str], frames: bool) -> list[list[str]]:
    """The settings of each column: every combination of the values of `KEY=V,V,...`."""
    if words and frames:
        raise ConfigError("--frames is of one sample of one setting", path="--sweep", hint="leave one of them out")
    ways = []
    for word in words:
        key, equals, values = word.partition("=")
        if not equals or key.partition(".")[0] not in {"sampler", "given"}:
            raise ConfigError(
                f"{word!r} is no setting of a sample with values",
                path="--sweep",
                hint="sampler.temperature=0.5,0.8,1.0",
            )
        ways.append([f"{key}={value}" for value in values.split(",")])
    return [list(way) for way in itertools.product(*ways)] if ways else []


def write_sweep(
    model: Model,
    changes: Sequence[Sequence[str]],
    several: Sequence[AnnotatedQuery],
    ranking: Ranking | None,
    session: Session,
    output: Output,
) -> None:
    """Make and show the samples of several queries, which share the network's calls and their random numbers."""
    file = output.file()
    codec = model.codec
    if file is None and not (output.as_json or codec.space.symbolic or codec.numeric):
        raise ConfigError("drawings stand side by side on a page", path="--sweep", hint="--out FILE.html")
    began = time.monotonic()
    for note in dict.fromkeys(note for one in several for note in one.notes):
        session.note(note)
    with Progress(1, "", quiet=session.quiet) as bar:
        answers = list(model.answers([one.query for one in several], bar.update))
    likelihoods: list[Any] = [[] for _ in answers]
    if ranking is not None:
        ranked = [ranking.applied(answer, several[0].given, session) for answer in answers]
        answers, likelihoods = [answer for answer, _ in ranked], [scores for _, scores in ranked]
    titles = [" ".join(lay) for lay in changes]
    if output.as_json:
        made = [samples_of(model, answer, scores) for answer, scores in zip(answers, likelihoods, strict=True)]
        rows = [{"settings": title, "samples": samples} for title, samples in zip(titles, made, strict=True)]
        put_json({"sweep": rows, "seconds": round(time.monotonic() - began, 3)})
    if file is not None:
        run = "" if model.run is None else str(model.run.path)
        drawn = f"Seed {answers[0].seed}: the samples of a row are drawn by the same random numbers."
        note = drawn if any(model.draws(one.query.sampler) for one in several) else ""
        values = [value for one in answers for value in one.values]
        cells = [[_cell(codec, value, values) for value in one.values] for one in answers]
        session.wrote(file, _page(titles, cells, f"Samples of {run}", note))
    elif not output.as_json:
        texts = [[_shown(codec, value) for value in one.values] for one in answers]
        put(_side_by_side(titles, texts, shutil.get_terminal_size((120, 40)).columns))


def _shown(codec: Codec, value: Any) -> str:
    """A sample as text in which everything can be seen."""
    text = codec.as_text(value)
    return printable(text.expandtabs(4)) if text.strip() else BLANK


def _side_by_side(titles: Sequence[str], texts: Sequence[Sequence[str]], width: int) -> str:
    """One column a setting, one block of lines a sample."""
    each = (width - 3 * (len(titles) - 1)) // len(titles)
    if each < NARROWEST:
        stacked = [
            f"── {title}\n" + "\n\n".join(text.rstrip("\n") for text in own)
            for title, own in zip(titles, texts, strict=True)
        ]
        return "\n\n".join(stacked) + "\n"
    blocks = [[_wrapped(title, each) for title in titles], [["─" * each] for _ in titles]]
    for i in range(max(map(len, texts))):
        blocks.append([_wrapped(own[i] if i < len(own) else "", each) for own in texts])
        blocks.append([[""] for _ in titles])
    lines = []
    for block in blocks[:-1]:
        for cells in itertools.zip_longest(*block, fillvalue=""):
            lines.append(" │ ".join(cell + " " * (each - columns(cell)) for cell in cells).rstrip())
    return "\n".join(lines) + "\n"


def _wrapped(text: str, width: int) -> list[str]:
    """A text as lines of at most so many columns, of which some letters take two."""
    lines = []
    for line in text.rstrip("\n").split("\n"):
        for part in textwrap.wrap(line, width, drop_whitespace=False, replace_whitespace=False) or [""]:
            while columns(part) > width:
                fitting = next(end for end in range(width, 0, -1) if columns(part[:end]) <= width)
                lines.append(part[:fitting])
                part = part[fitting:]
            lines.append(part)
    return lines


def _cell(codec: Codec, value: Any, others: Sequence[Any]) -> str:
    """A sample on a page beside others: a picture, where people would rather look at it, else its text."""
    picture = codec.picture([value], beside=others)
    if picture is not None:
        return f'<img alt="a sample" src="data:image/png;base64,{base64.b64encode(picture).decode()}">'
    # a page leaves out the first end of a line, which may be the text's
    return f"<pre>\n{html.escape(_shown(codec, value))}</pre>"


def _page(titles: Sequence[str], cells: Sequence[Sequence[str]], title: str, note: str) -> bytes:
    each = itertools.zip_longest(*cells, fillvalue="")
    rows = "\n".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in each)
    heads = "".join(f"<th>{html.escape(title)}</th>" for title in titles)
    table = f'<div class="wide" tabindex="0">\n<table>\n<tr>{heads}</tr>\n{rows}\n</table>\n</div>'
    return page(title, note, table, _STYLE.format(width=16 * len(titles)))
